"""What the tests of the command serve with `capnet run`."""

from __future__ import annotations

from capnet import Admission, Cap, InvalidArgument, Stream, call, stream


class Clock(Cap, name="test.Clock"):
    @call
    async def tick(self, fail: bool = False) -> int:
        """The next number."""
        ...

    @stream
    def ticks(self, to: int) -> Stream[int]: ...


class Counter(Clock):
    def __init__(self) -> None:
        self.ticked = 0

    async def tick(self, fail: bool = False) -> int:
        if fail:
            raise InvalidArgument("as it was told to", reason="told")
        self.ticked += 1
        return self.ticked

    async def ticks(self, to: int) -> Stream[int]:
        for number in range(to):
            yield number


class Wrong(Clock):
    """Has not all methods."""


class Closed:
    """A policy that lets nobody have anything."""

    def admit(self, request: Admission) -> bool:
        return False


counter = Counter()
number = 3


async def made() -> Counter:
    """An implementation, in time."""
    return Counter()


def careless() -> Counter:
    raise RuntimeError("a mistake of the user's")
