"""An observer: what waits for it, bounded, and how it is handed over."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Any, ClassVar, Final, Protocol

from capnet.errors import EXITS

from .events import Event
from .failure import name_of
from .log import Log

__all__ = ["QUEUE_BYTES", "QUEUE_EVENTS", "TURN", "Counter", "Observer", "Reader"]

QUEUE_EVENTS: Final = 1024
"""Events that wait for one observer; the oldest are dropped, and counted, when there are more."""
QUEUE_BYTES: Final = 1024 * 1024
"""What they may take up; likewise."""
TURN: Final = 0.01
"""Seconds that observers may take of one turn of the loop. What is left waits for the next; one that holds up the loop
for as long with a single event, and then again, is given no other before the loop has had its share of the time."""
_log: Final = Log()


class Counter(Protocol):
    """Where it is counted what events take up that wait."""

    def add(self, charge: int, /) -> None:
        """So many bytes more."""
        ...

    def give(self, charge: int, /) -> None:
        """So many less."""
        ...


class Observer:
    """A function that is called with events."""

    __slots__ = ("counter", "dropped", "failures", "kinds", "observe", "queue", "rests", "size", "slow")

    wait_for_turn: ClassVar[bool] = True
    """Whether what it was given waits for a turn of the loop."""

    def __init__(self, kinds: tuple[type[Event], ...], observe: Callable[[Any], object]) -> None:
        self.kinds = kinds
        self.observe = observe
        self.queue: deque[tuple[Event, int]] = deque()
        self.size = 0
        """What is in the queue takes up so much."""
        self.counter: Counter | None = None
        """Where that is counted as well."""
        self.dropped = 0
        self.failures = 0
        self.slow = False
        """It held up the loop in its last turn. Once may be the machine's doing, which set the process aside."""
        self.rests = False
        """It has held up the loop in two turns, one after the other, and gets nothing for a while."""

    def put(self, event: Event, size: int) -> bool:
        """Take an event, and lose the oldest if there are too many; whether `deliver` is to follow."""
        while self.queue and (len(self.queue) >= QUEUE_EVENTS or self.size + size > QUEUE_BYTES):
            self.drop()
        self.queue.append((event, size))
        self.size += size
        if self.counter is not None:
            self.counter.add(size)
        return self.wait_for_turn and not self.rests

    def take(self) -> Event:
        """The oldest event."""
        event, size = self.queue.popleft()
        self.size -= size
        if self.counter is not None:
            self.counter.give(size)
        return event

    def drop(self) -> None:
        """Lose the oldest event."""
        self.take()
        self.dropped += 1

    def leave(self) -> None:
        """It takes part no more: what waits can still be taken, and counts for nobody."""
        if self.counter is not None:
            self.counter.give(self.size)
            self.counter = None

    def deliver(self, until: float) -> float:
        """Hand over what waits now, in order, until a time of `perf_counter` or until one event takes too long.

        Returns the seconds that the last one took.
        """
        ends = 0.0
        took = 0.0
        for _ in range(len(self.queue)):
            began = ends or perf_counter()
            if began > until or took >= TURN or not self.queue:  # it may have ended itself
                break
            event = self.take()
            try:
                self.observe(event)
            except EXITS:
                raise
            except BaseException as error:
                # An observer's fault is its own: it is counted, the next event is still its.
                self._failed(error)
            ends = perf_counter()
            took = ends - began
        return took

    def _failed(self, error: BaseException) -> None:
        self.failures += 1
        if self.failures == 1:
            _log.unexpected(f"observer {name_of(self.observe)}", "", error)


class Reader(Observer):
    """A feed's side: events wait there for who reads them."""

    __slots__ = ("waiter",)

    wait_for_turn = False

    def __init__(self, kinds: tuple[type[Event], ...]) -> None:
        super().__init__(kinds, lambda _: None)
        self.waiter: Any = None

    def put(self, event: Event, size: int) -> bool:
        """See `Observer`."""
        super().put(event, size)
        self.wake()
        return False

    def wake(self) -> None:
        """Let who waits look again."""
        if self.waiter is not None:
            self.waiter.set()
            self.waiter = None
