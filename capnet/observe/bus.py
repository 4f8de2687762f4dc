"""The bus: events on their way to observers, bounded and off the data path (reliability T23)."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from inspect import iscoroutinefunction
from typing import Any, Generic, TypeVar, cast
from weakref import WeakSet

from .events import Event

__all__ = ["Bus", "Feed", "MAX_OBSERVERS", "QUEUE_EVENTS"]

E = TypeVar("E", bound=Event)
Schedule = Callable[[Callable[[], None]], object]

MAX_OBSERVERS = 64
QUEUE_EVENTS = 1024
"""Events that wait for one observer; the oldest are dropped, and counted, when there are more."""


class Bus:
    """Publishes to its own observers and to those of the bus above it.

    Args:
        parent: the host's bus, for a connection's.
        schedule: runs a function soon, on the loop and off the caller's stack. Without it events wait until `attach`.
    """

    __slots__ = (
        "__weakref__",
        "children",
        "_observers",
        "_parent",
        "_schedule",
        "_scheduled",
        "_sequence",
        "observed",
    )

    def __init__(self, parent: Bus | None = None, schedule: Schedule | None = None) -> None:
        self._parent = parent
        self._schedule = schedule
        self._observers: list[_Observer] = []
        self.children: WeakSet[Bus] = WeakSet()
        self.observed: bool = parent is not None and parent.observed
        """Whether anybody observes anything, here or above; ask before building an event."""
        if parent is not None:
            parent.children.add(self)
        self._scheduled = False
        self._sequence = 0

    def attach(self, schedule: Schedule | None) -> None:
        """From now on events are handed over by `schedule`; None stops it, and what waits is handed over now."""
        self._schedule = schedule
        if schedule is None:
            self._deliver()
        elif any(observer.queue for observer in self._observers):
            self._wake()

    def on(self, kind: type[E], observe: Callable[[E], object]) -> Callable[[], None]:
        """Call `observe` with every event of `kind` (or a subclass), soon after it happened.

        Returns a function that ends it; calling that twice is harmless.

        Raises:
            TypeError: `observe` is a coroutine function, or `kind` is no event. ValueError: too many observers.
        """
        if iscoroutinefunction(observe):
            raise TypeError("an observer is a plain function; use events() to await between events")
        observer = _Observer((kind,), observe)
        self.add(observer)
        return lambda: self.remove(observer)

    def feed(self, kinds: tuple[type[Event], ...]) -> Feed[Any]:
        """A feed of the events of `kinds`, all when empty; it is open from `async with` to the end of the block."""
        return Feed(self, kinds or (Event,))

    def publish(self, kind: type[Event], **fields: Any) -> None:
        """Build an event and queue it for its observers; returns at once and raises nothing of theirs."""
        self._sequence += 1
        self.forward(kind(time=time.time(), sequence=self._sequence, **fields))

    def forward(self, event: Event) -> None:
        """Queue an event that was built already, here and above."""
        for observer in self._observers:
            if isinstance(event, observer.kinds):
                observer.put(event)
                self._wake()
        if self._parent is not None:
            self._parent.forward(event)

    def _wake(self) -> None:
        if not self._scheduled and self._schedule is not None:
            self._scheduled = True
            self._schedule(self._deliver)

    def _deliver(self) -> None:
        self._scheduled = False
        for observer in tuple(self._observers):
            observer.deliver()

    def add(self, observer: _Observer) -> None:
        """Let an observer take part.

        Raises:
            TypeError: it asks for what is no event. ValueError: there are too many.
        """
        given = cast("tuple[object, ...]", observer.kinds)  # checked also where no type checker has been
        if not all(isinstance(kind, type) and issubclass(kind, Event) for kind in given):
            raise TypeError("observe event types, such as capnet.CallFinished")
        if len(self._observers) >= MAX_OBSERVERS:
            raise ValueError(f"more than {MAX_OBSERVERS} observers")
        self._observers.append(observer)
        self.refresh()

    def remove(self, observer: _Observer) -> None:
        """Let it take part no more. Idempotent."""
        if observer in self._observers:
            self._observers.remove(observer)
            self.refresh()

    def refresh(self) -> None:
        """Find out anew whether anybody observes, and have the buses below do so."""
        self.observed = bool(self._observers) or (self._parent is not None and self._parent.observed)
        for child in self.children:
            child.refresh()


class _Observer:
    __slots__ = ("dropped", "failures", "kinds", "observe", "queue")

    def __init__(self, kinds: tuple[type[Event], ...], observe: Callable[[Any], object]) -> None:
        self.kinds = kinds
        self.observe = observe
        self.queue: deque[Event] = deque(maxlen=QUEUE_EVENTS)
        self.dropped = 0
        self.failures = 0

    def put(self, event: Event) -> None:
        if len(self.queue) == QUEUE_EVENTS:
            self.dropped += 1
        self.queue.append(event)

    def deliver(self) -> None:
        for _ in range(len(self.queue)):
            try:
                self.observe(self.queue.popleft())
            except Exception:
                # An observer's fault is its own: it is counted, the next event is still its.
                self.failures += 1


class Feed(Generic[E]):
    """An async iterator of events; slow readers lose the oldest, and `dropped` says how many.

    async with connection.events(CallFinished) as feed:
        async for event in feed: ...
    """

    def __init__(self, bus: Bus, kinds: tuple[type[Event], ...]) -> None:
        self._bus = bus
        self._observer = _Observer(kinds, self._put)
        self._ready: deque[Any] = deque(maxlen=QUEUE_EVENTS)
        self._overflow = 0
        self._waiter: Any = None
        self._open = False

    @property
    def dropped(self) -> int:
        """Events lost because they were not read in time."""
        return self._observer.dropped + self._overflow

    async def __aenter__(self) -> Feed[E]:
        self._bus.add(self._observer)
        self._open = True
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._open = False
        self._bus.remove(self._observer)
        self._wake()

    def __aiter__(self) -> AsyncIterator[E]:
        return self

    async def __anext__(self) -> E:
        from anyio import Event as Waiter

        while not self._ready:
            if not self._open:
                raise StopAsyncIteration
            self._waiter = Waiter()
            await self._waiter.wait()
        event: E = self._ready.popleft()
        return event

    def _put(self, event: Event) -> None:
        if len(self._ready) == QUEUE_EVENTS:
            self._overflow += 1
        self._ready.append(event)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None:
            self._waiter.set()
            self._waiter = None
