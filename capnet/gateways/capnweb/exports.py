"""What the client holds of ours: capabilities and sinks by number, counted as often as they were given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from capnet import CapnetError, FailedPrecondition, ResourceExhausted, Unavailable, Untyped

from .actions import Action, Give, Send, Stub
from .bounds import Bounds
from .expressions import Writer
from .lending import stub_of
from .messages import BadMessage, encode
from .values import count_of

__all__ = ["GONE", "Counts", "Exports"]

GONE: Final = FailedPrecondition("this was released, or kept for too long", reason="released")


@dataclass(slots=True)
class Counts:
    """What the parts of a session count together.

    Attributes:
        bounds: of the session.
        streams: open ones, both ways.
        stream_bytes: what was written by the client and is not used.
        asked: the last number of what was asked of the client.
        work: values that were looked at beside those in messages.
        reachable: the client can be asked for something.
    """

    bounds: Bounds
    streams: int = 0
    stream_bytes: int = 0
    asked: int = 0
    work: int = 0
    reachable: bool = True

    def check(self, value: Any) -> None:
        """Whether what was put together of others is no more than may come in a message.

        Raises:
            ResourceExhausted: it is.
        """
        self.work += count_of(value, self.bounds.max_values, self.bounds.max_depth)


@dataclass(slots=True)
class _Export:
    thing: Any
    count: int = 0


class Exports:
    """What the client holds, and the values that give it more.

    Args:
        counts: of the session.
    """

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._writer = Writer(self)
        self._held: dict[int, _Export] = {}
        self._numbers: dict[Any, int] = {}
        self._next = -1
        self._given: list[int] = []
        """By the value that is being written."""
        self._actions: list[Action] = []
        """That go before it."""

    def thing(self, number: int) -> Any:
        """What the client holds under a number.

        Raises:
            BadMessage: nothing was given under it. FailedPrecondition: it was released.
        """
        held = self._held.get(number)
        if held is not None:
            return held.thing
        if number <= self._next:
            raise BadMessage("nothing was given under this number")
        raise GONE.again()

    def write(self, value: Any) -> tuple[Any, list[Action]]:
        """The expression of a value, and what is to be done before it is sent. What is in it counts as given.

        Raises:
            CapnetError: it cannot be sent; then nothing was given.
        """
        self._given, self._actions = [], []
        asked, streams = self._counts.asked, self._counts.streams
        try:
            stub = stub_of(value)
            if stub is not None:  # by itself; clients could not take it as their own there (0.12)
                return ["export", self.capability(stub)], self._actions
            return self._writer.write(value), self._actions
        except CapnetError:
            self._counts.asked, self._counts.streams = asked, streams
            for number in self._given:
                self.release(number, 1)
            raise

    def error(self, error: CapnetError) -> Any:
        """The expression of an error."""
        return self._writer.error(error)

    def release(self, number: int, count: int) -> list[Action]:
        """The client gives something back; what is to be done then.

        Raises:
            BadMessage: it was not given so often.
        """
        held = self._held.get(number)
        if held is None or count > held.count:
            raise BadMessage("more is given back than was given")
        held.count -= count
        if held.count:
            return []
        del self._held[number]
        if isinstance(held.thing, Untyped | Stub):
            del self._numbers[held.thing]
            return []
        return [Give(number, held.thing, over=True)]

    def clear(self) -> list[Action]:
        """The client has gone, and holds nothing."""
        return [action for number, held in list(self._held.items()) for action in self.release(number, held.count)]

    # --- what things get as numbers: see `Writer` ---

    def capability(self, value: Untyped | Stub) -> int:
        """A capability; the same one has the same number as long as the client holds it."""
        number = self._numbers.get(value)
        if number is None:
            number = self._numbers[value] = self._new(value)
        return self._give(number)

    def sink(self, value: Any) -> int:
        """What the client can write into."""
        self._one_stream_more()
        number = self._give(self._new(value))
        self._actions.append(Give(number, value))
        return number

    def stream(self, value: Any) -> int:
        """What the client can read: a pipe is made there, and written into."""
        if not self._counts.reachable:
            raise Unavailable("a stream cannot be read in a batch", reason="batch")
        self._one_stream_more()
        self._counts.asked += 1
        self._actions += [Send(encode("pipe")), Give(self._counts.asked, value)]
        return self._counts.asked

    def other(self, value: Any) -> Any:
        """What is the client's own comes home."""
        stub = stub_of(value)
        if stub is not None and not stub.released:
            return ["import", stub.number]
        raise FailedPrecondition(f"a {type(value).__name__} cannot be sent to a client", reason="unencodable_result")

    def _new(self, thing: Any) -> int:
        if len(self._held) >= self._counts.bounds.max_exports:
            raise ResourceExhausted("the client holds too many capabilities", reason="max_exports")
        number = self._next
        self._next -= 1
        self._held[number] = _Export(thing)
        return number

    def _give(self, number: int) -> int:
        self._held[number].count += 1
        self._given.append(number)
        return number

    def _one_stream_more(self) -> None:
        if self._counts.streams >= self._counts.bounds.max_streams:
            raise ResourceExhausted("the client has too many streams open", reason="max_streams")
        self._counts.streams += 1
