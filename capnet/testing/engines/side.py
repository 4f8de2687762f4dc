"""One end of a pair of engines."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, TypeVar

from capnet.engine.answers import Answer
from capnet.engine.calls import Call, Target
from capnet.engine.engine import Engine
from capnet.engine.events import CallArrived, CallFailed, CallReturned, Event
from capnet.engine.inspect import snapshot
from capnet.engine.stream import InStream
from capnet.errors import CapnetError
from capnet.wire.references import Reference

from .link import Link

__all__ = ["EngineSide"]

E = TypeVar("E")


class EngineSide:
    """One end of an `EnginePair`.

    Attributes:
        engine: to be given intents; call `EnginePair.step` or `flush` afterwards.
        events: what it said and nobody has taken yet.
        last: what it said last, taken or not.
        incoming: the line towards it.
    """

    __slots__ = ("engine", "events", "incoming", "last", "name")

    def __init__(self, name: str, engine: Engine) -> None:
        self.name = name
        self.engine = engine
        self.events: list[Event] = []
        self.last: Event | None = None
        self.incoming = Link()

    def call(
        self,
        method: str,
        *references: Reference,
        target: Target | None = None,
        token: Any = None,
        timeout: float | None = None,
        one_way: bool = False,
        keep: bool = False,
        party: Hashable = None,
        within: Hashable = None,
    ) -> Call:
        """Call `method` of `target` (the bootstrap capability if none) with the references as its argument `refs`.

        The token is the method's name unless one is given. With `keep` its answer is kept, with one user.
        """
        call = self.engine.call(
            self.engine.imports.bootstrap if target is None else target,
            method,
            {"refs": list(references)} if references else {},
            references,
            method if token is None else token,
            timeout=timeout,
            one_way=one_way,
            may_keep=keep,
            party=party,
            within=within,
        )
        assert not keep or self.engine.calling.keep(call)
        return call

    def reply(self, answer: Answer, *references: Reference) -> None:
        """Answer with the list of these references, or None when there are none."""
        self.engine.reply(answer, list(references) or None, references)

    def read(self, stream: InStream) -> list[Any]:
        """Take the items that have come, and say that they are used; the references in them are the caller's."""
        values: list[Any] = []
        while (batch := self.engine.streaming.take(stream)) is not None:
            values += batch[0]
            self.engine.streaming.consumed(stream, len(batch[0]), batch[2])
        return values

    def take(self, kind: type[E]) -> list[E]:
        """The events of that kind, in order; they are taken out."""
        taken: list[E] = [event for event in self.events if isinstance(event, kind)]
        self.events = [event for event in self.events if not isinstance(event, kind)]
        return taken

    def arrived(self) -> Answer:
        """The answer that the oldest `CallArrived` asks for; the event is taken out."""
        event = next(event for event in self.events if isinstance(event, CallArrived))
        self.events.remove(event)
        return event.answer

    def returned(self) -> CallReturned:
        """The oldest `CallReturned`; it is taken out."""
        event = next(event for event in self.events if isinstance(event, CallReturned))
        self.events.remove(event)
        return event

    def failed(self) -> CapnetError:
        """The error of the oldest `CallFailed`; the event is taken out."""
        event = next(event for event in self.events if isinstance(event, CallFailed))
        self.events.remove(event)
        return event.error

    @property
    def closed(self) -> bool:
        """Whether its engine is over."""
        return self.engine.lifecycle.closed

    def __repr__(self) -> str:
        return f"<EngineSide {self.name} {snapshot(self.engine)}>"
