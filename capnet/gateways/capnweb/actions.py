"""What a session says is to be done, and what it is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from capnet.gateways.actions import Close, Send

from .cells import Cell, Turn

__all__ = [
    "MAIN", "Action", "Answer", "Close", "Evaluate", "Forget", "Give", "Question", "Send", "Stub", "Writable",
]  # fmt: skip


class _Main:
    """The one of its kind."""


MAIN: Final = _Main()
"""What a session offers from the start."""


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Work out what an expression stands for, and settle the cell.

    Attributes:
        cell: an `Answer`, a `Question`, or what the client has promised.
        tree: see `Reader`.
    """

    cell: Cell
    tree: Any


@dataclass(frozen=True, slots=True)
class Forget:
    """The client does not wait for an answer any more: give up what was begun for it."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class Give:
    """A stream or a sink has its number now: begin to move its items, or end what was given back.

    Attributes:
        number: its number.
        end: the stream or the sink.
        over: the client has given it back.
    """

    number: int
    end: Any
    over: bool = False


Action: TypeAlias = "Send | Evaluate | Forget | Give | Close"


class Answer(Cell):
    """What the client has asked for.

    Attributes:
        number: of the client's.
        weight: what it takes up until it is there.
        size: what it takes up then.
        pulled: the client wants to be told.
        streamed: the client will not use it any further.
        released: the client does not want it any more.
    """

    __slots__ = ("number", "pulled", "released", "size", "streamed", "weight")

    def __init__(self, turn: Turn, number: int, weight: int, streamed: bool) -> None:
        super().__init__(turn)
        self.number = number
        self.weight = weight
        self.size = 0
        self.pulled = self.streamed = streamed
        self.released = False


class Question(Cell):
    """What the client is asked for.

    Attributes:
        number: of ours.
        streamed: it is written into; nothing comes back but whether it was.
    """

    __slots__ = ("number", "streamed")

    def __init__(self, turn: Turn, number: int, streamed: bool) -> None:
        super().__init__(turn)
        self.number = number
        self.streamed = streamed


class Stub:
    """An object or a function of the client's, which is given back when nobody has it any more.

    Attributes:
        number: of the client's.
        released: it was given back.
    """

    __slots__ = ("_session", "number", "released")

    def __init__(self, session: _Owner, number: int) -> None:
        self._session = session
        self.number = number
        self.released = False

    def release(self) -> None:
        """Give it back. Idempotent."""
        if not self.released:
            self.released = True
            self._session.give_back(self.number)

    def __del__(self) -> None:
        self.release()


class _Owner(Protocol):
    def give_back(self, number: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Writable:
    """Something of the client's that can be written into."""

    stub: Stub
