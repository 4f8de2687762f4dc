"""What one side of the pair should know, as plain Python: no engine is asked here what is true.

Numbers travel beside the references, so that whoever takes something can tell whether it is what was meant.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from capnet.engine.answers import Answer
from capnet.engine.calls import Call
from capnet.engine.exports import Export
from capnet.engine.imports import Import
from capnet.engine.stream import InStream, OutStream, Stream
from capnet.errors import CapnetError, StreamStopped
from capnet.testing.engines import EngineSide
from capnet.wire.references import CapRef, Reference, StreamRef

__all__ = ["NOTHING", "Asked", "Flow", "Path", "Result", "Shadow", "Slot", "Subject", "is_over"]

Path = tuple[str | int, ...]
"""Steps into a result."""
NOTHING: Final = object()
"""What stands at a path that leads nowhere."""


class Subject:
    """What a side hosts."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __repr__(self) -> str:
        return f"<Subject {self.number}>"


class Slot:
    """The shadow of one export: what answers behind its id now and before, and whether it has ended."""

    def __init__(self, export: Export | None, subject: Subject) -> None:
        self.export = export
        self.subject = subject
        self.history = {subject}
        self.ended: str | None = None


class Asked:
    """A call as its caller remembers it.

    Attributes:
        needs: the calls whose results it needs, each with the path into it and whether that is its target.
        timed: it has a deadline.
    """

    def __init__(self, serial: int, call: Call, needs: Sequence[tuple[int, Path, bool]], timed: bool) -> None:
        self.serial = serial
        self.call = call
        self.needs = needs
        self.timed = timed


class Result:
    """A result as it was given: `{"refs": references, "names": truth}`."""

    def __init__(self, references: Sequence[Reference], truth: list[Any]) -> None:
        self.references = references
        self.truth = truth

    def at(self, path: Path) -> Any:
        """What stands at a path: the result itself, one of its references, the truth or a part of it, or `NOTHING`."""
        parts: dict[str | int, Sequence[Any]] = {"refs": self.references, "names": self.truth}
        match path:
            case ():
                return self
            case (name,) if name in parts:
                return parts[name]
            case (name, int() as index) if name in parts and index < len(parts[name]):
                return parts[name][index]
            case _:
                return NOTHING

    def can_be_argument(self, path: Path) -> bool:
        """Whether an argument can ask for what stands there: streams cannot be taken out of a promise."""
        found = self.at(path)
        references = self.references if found is self or found is self.references else [found]
        return found is not NOTHING and not any(isinstance(reference, StreamRef) for reference in references)

    def can_be_called(self, path: Path) -> bool:
        """Whether a capability stands there."""
        return isinstance(self.at(path), CapRef)


class Flow:
    """The shadow of one stream: what has passed, and how either end has ended.

    Attributes:
        out, inn: its ends, as far as somebody has them.
        window, window_bytes: how far the producer may be ahead, in items and bytes.
        sent, received, used: items given to the producer's engine, taken from the consumer's, and done with.
        hand: items and bytes of what was taken and is not done with.
        last_word: what its producer ended it with: "clean", the reason of an error, or "closed" when it was too late.
        stopped: its consumer said that it wants no more.
        parents: capabilities that it ends with, by the name of the side.
    """

    def __init__(self, number: int, window: int, window_bytes: int) -> None:
        self.number = number
        self.window = window
        self.window_bytes = window_bytes
        self.out: OutStream | None = None
        self.inn: InStream | None = None
        self.sent = self.received = self.used = 0
        self.hand: deque[tuple[int, int]] = deque()
        self.last_word: str | None = None
        self.stopped = False
        self.parents: dict[str, Export] = {}
        self._told: dict[Stream, bool] = {}
        self._over: dict[Stream, CapnetError | None] = {}

    def attach(self, stream: Stream) -> None:
        """One end has come to somebody who knows what to do with it; what it says counts from now on."""
        if isinstance(stream, OutStream):
            assert self.out is None, "I9: a stream with two producers"
            self.out = stream
        else:
            assert self.inn is None, "I9: a stream with two consumers"
            self.inn = stream
        stream.token = self
        self._told[stream] = is_over(stream)

    def changed(self, stream: Stream) -> None:
        """The engine says that there is news of one end."""
        assert stream is self.out or stream is self.inn
        assert stream is self.out or stream not in self._over, "I6: something follows the end of a stream"
        self._told[stream] = self._told[stream] or is_over(stream)

    @property
    def over(self) -> bool:
        """Whether both ends are, and have said so."""
        ends = self.out, self.inn
        return all(stream is not None and stream in self._over for stream in ends) and not self.hand

    def check(self, *, early: bool) -> None:
        """What holds after every step: one end each, that was told and stays; order; the window.

        Args:
            early: its producer has not heard how wide the window is.
        """
        for stream in (self.out, self.inn):
            if stream is not None and is_over(stream):
                assert self._told[stream], "I6: a stream has ended and nobody was told"
                assert self._over.setdefault(stream, _end_of(stream)) is _end_of(stream), "I6: two ends of one stream"
            else:
                assert stream not in self._over, "I6: a stream goes on after its end"
        assert self.used <= self.received <= self.sent, "something came that was not sent"
        window = 1 if early else self.window
        assert self.sent - self.used <= window, "I7: more items than the window"
        if self.inn is not None:
            assert not (self.stopped and self.inn.batches), "items are kept for a reader who wants no more"
            sizes = [size for _, size in self.hand] + [batch[2] for batch in self.inn.batches]
            assert sum(sizes[:-1]) < self.window_bytes, "I7: more bytes than the window and one frame"

    def check_end(self) -> None:
        """How it must have ended, when everything has."""
        if self.inn is not None:
            assert self.inn.ended, "I6: a stream has no end"
            self._check_consumer(self.inn.error)
        if self.out is not None:
            assert self.last_word is not None
            stopped = isinstance(self.out.closed, StreamStopped)
            assert not stopped or self.inn is None or self.inn.stopped, "nobody has stopped it"

    def _check_consumer(self, error: CapnetError | None) -> None:
        if error is None:
            assert self.stopped or self.last_word == "clean", "I6: a clean end that nobody said"
        elif error.reason is None or error.reason != self.last_word:
            assert not (error.reason or "").startswith("ending"), "I6: the end of another stream"
            assert error.reason != "released", "an item of an honest peer named what it had given back"
            return
        assert self.stopped or self.received == self.sent, "P-STREAM-3: the end has overtaken an item"


def is_over(stream: Stream) -> bool:
    """Whether it has ended, as far as its engine knows."""
    return stream.ended if isinstance(stream, InStream) else stream.closed is not None


def _end_of(stream: Stream) -> CapnetError | None:
    return stream.error if isinstance(stream, InStream) else stream.closed


class Shadow:
    """What one side should know.

    Attributes:
        handles, promises, producing, consuming: what its driver owns; one entry for each owner.
        asked: all calls that got as far as the engine, by serial number; `pending` those that are owed an end.
        ends: how calls have ended: with None for a result, or code and reason. Calls that were given up have none.
        one_way: calls without an answer that nothing but a goaway can keep from arriving.
        replied: the results that were sent, by the serial number of the caller.
        over: its connection has ended, as it was told.
        made, started: how many calls were made on a reference, and the last that has started, by what they name.
    """

    def __init__(self, side: EngineSide) -> None:
        self.side = side
        self.subjects: dict[int, Subject] = {}
        self.slots: dict[int, Slot] = {}
        self.handles: list[Import] = []
        self.promises: list[Asked] = []
        self.producing: list[Flow] = []
        self.consuming: list[Flow] = []
        self.broken: set[Import] = set()
        self.asked: dict[int, Asked] = {}
        self.pending: dict[int, Call] = {}
        self.ends: dict[int, tuple[str, str | None] | None] = {}
        self.one_way: set[int] = set()
        self.contagion: dict[int, int] = {}
        self.running: list[Answer] = []
        self.stopped: set[Answer] = set()
        self.replied: dict[int, Result] = {}
        self.forwarded: set[int] = set()
        self.made: dict[Any, int] = {}
        self.started: dict[Any, int] = {}
        self.pings: set[int] = set()
        self.over = False

    def usable_promises(self) -> list[Asked]:
        """Those of which nothing is known to stand against calls on them."""
        return [asked for asked in self.promises if asked.call.failure is None]
