"""The bus: events on their way to observers, bounded and off the data path (reliability T23)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from inspect import iscoroutinefunction
from time import perf_counter, time
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar, cast
from weakref import WeakSet

from .events import Event
from .failure import MAX_TEXT, Failure
from .observer import TURN, Counter, Observer, Reader

__all__ = ["Bus", "Feed", "MAX_OBSERVERS", "Scheduler"]

E = TypeVar("E", bound=Event)

MAX_OBSERVERS: Final = 64
_EVENT_BYTES: Final = 400
"""What an event takes up beside its text, at most."""
REST: Final = 49
"""How many times as long as it held up the loop such an observer gets nothing."""
FAREWELL: Final = 0.25
"""Seconds that observers may take of the end, when what waits for them is handed over at once."""
_NOBODY: Final[dict[type[Event], Any]] = {}
"""Who takes events of a kind where nobody observes; nothing is put into it."""


class Scheduler(Protocol):
    """What a bus needs of a loop."""

    def now(self) -> float:
        """Seconds of its clock."""
        ...

    def call_soon(self, callback: Callable[[], None], /) -> object:
        """Run a function soon, off the caller's stack."""
        ...

    def call_at(self, when: float, callback: Callable[[], None], /) -> object:
        """Run a function at a time of `now`'s clock."""
        ...


class Bus:
    """Publishes to its own observers and to those of the bus above it.

    Args:
        parent: the host's bus, for a connection's.
        scheduler: the loop that hands events over. Without one they wait until `attach`.
        counter: counts what waits for its observers.
    """

    __slots__ = (
        "__weakref__",
        "_dropped",
        "_failures",
        "_observers",
        "_scheduled",
        "_scheduler",
        "_sequence",
        "_takers",
        "_wanted",
        "children",
        "counter",
        "observed",
        "parent",
    )

    created: ClassVar[Callable[[Bus], object] | None] = None
    """Told of each new bus that has none above it: a hook for tests and tools that watch all of a process."""

    def __init__(
        self, parent: Bus | None = None, scheduler: Scheduler | None = None, counter: Counter | None = None
    ) -> None:
        self.parent: Final = parent
        """The bus above it."""
        self.counter = counter
        """Counts what waits for its observers; of those that are added from now on."""
        self._scheduler = scheduler
        self._observers: tuple[Observer, ...] = ()
        self.children: WeakSet[Bus] | None = None
        self.observed: bool = parent is not None and parent.observed
        """Whether anybody observes anything, here or above; ask before gathering what an event would say."""
        # Found once for each kind, while anybody observes; most are never observed.
        self._wanted: dict[type[Event], bool] = {} if self.observed else _NOBODY
        self._takers: dict[type[Event], tuple[Observer, ...]] = {} if self.observed else _NOBODY
        self._scheduled = False
        self._sequence = 0
        self._dropped = self._failures = 0  # of observers that are gone
        if parent is not None:
            parent.children = parent.children or WeakSet()
            parent.children.add(self)
        elif Bus.created is not None:
            Bus.created(self)

    def attach(self, scheduler: Scheduler | None) -> None:
        """From now on events are handed over by this loop; None stops it, and what waits is handed over now."""
        self._scheduler = scheduler
        if scheduler is None:
            if self._observers or self.children:
                self._say_farewell()
        elif any(observer.queue for observer in self._observers):
            self._wake()

    def on(self, kind: type[E], observe: Callable[[E], object]) -> Callable[[], None]:
        """Call `observe` with every event of `kind` (or a subclass), soon after it happened.

        Returns a function that ends it at once; calling that twice is harmless.

        Raises:
            TypeError: `observe` is a coroutine function, or `kind` is no event. ValueError: too many observers.
        """
        if iscoroutinefunction(observe):
            raise TypeError("an observer is a plain function; use events() to await between events")
        observer = Observer((kind,), observe)
        self.add(observer)
        return partial(self._end, observer)

    def feed(self, kinds: tuple[type[Event], ...]) -> Feed[Any]:
        """A feed of the events of `kinds`, all when empty; it is open from `async with` to the end of the block."""
        return Feed(self, kinds or (Event,))

    def stats(self) -> dict[str, int]:
        """How many observe here, and what they missed or failed to take since the beginning."""
        return {
            "observers": len(self._observers),
            "events_dropped": self._dropped + sum(observer.dropped for observer in self._observers),
            "observer_failures": self._failures + sum(observer.failures for observer in self._observers),
        }

    def publish(self, kind: type[Event], **fields: Any) -> None:
        """Build an event, if anybody observes its kind, and queue it; returns at once and raises nothing of theirs."""
        wanted = self._wanted.get(kind)
        if wanted is None:
            wanted = self.wants(kind)
        if wanted:
            self._sequence += 1
            size = _EVENT_BYTES
            for name, value in fields.items():
                if isinstance(value, str):
                    if len(value) > MAX_TEXT:
                        fields[name] = value = value[:MAX_TEXT]
                    size += value.__sizeof__()
                elif isinstance(value, Failure):
                    size += value.size
            self.forward(kind(time=time(), sequence=self._sequence, **fields), size)

    def wants(self, kind: type[Event]) -> bool:
        """Whether anybody observes events of a kind, here or above."""
        if not self.observed:
            return False
        wanted = self._wanted.get(kind)
        if wanted is None:
            wanted = bool(self._takers_of(kind)) or (self.parent is not None and self.parent.wants(kind))
            self._wanted[kind] = wanted
        return wanted

    def forward(self, event: Event, size: int) -> None:
        """Queue an event that was built already and takes up `size` bytes, here and above."""
        if self._observers:
            takers = self._takers.get(type(event))
            for observer in self._takers_of(type(event)) if takers is None else takers:
                if observer.put(event, size):
                    self._wake()
        if self.parent is not None:
            self.parent.forward(event, size)

    def add(self, observer: Observer) -> None:
        """Let an observer take part.

        Raises:
            TypeError: it asks for what is no event. ValueError: there are too many.
        """
        given = cast("tuple[object, ...]", observer.kinds)  # checked also where no type checker has been
        if not all(isinstance(kind, type) and issubclass(kind, Event) for kind in given):
            raise TypeError("observe event types, such as capnet.observe.CallFinished")
        if len(self._observers) >= MAX_OBSERVERS:
            raise ValueError(f"more than {MAX_OBSERVERS} observers")
        observer.counter = self.counter
        self._observers += (observer,)
        self.refresh()

    def remove(self, observer: Observer) -> None:
        """Let it take part no more. Idempotent."""
        if observer in self._observers:
            self._observers = tuple(other for other in self._observers if other is not observer)
            observer.leave()
            self._dropped += observer.dropped
            self._failures += observer.failures
            self.refresh()

    def refresh(self) -> None:
        """Find out anew whether anybody observes, and have the buses below do so."""
        self.observed = bool(self._observers) or (self.parent is not None and self.parent.observed)
        self._wanted = {} if self.observed else _NOBODY
        self._takers = {} if self.observed else _NOBODY
        for child in self.children or ():
            child.refresh()

    def _takers_of(self, kind: type[Event]) -> tuple[Observer, ...]:
        """Who observes events of a kind here."""
        if not self._observers:
            return ()
        takers = self._takers.get(kind)
        if takers is None:
            takers = tuple(observer for observer in self._observers if issubclass(kind, observer.kinds))
            self._takers[kind] = takers
        return takers

    def _end(self, observer: Observer) -> None:
        self.remove(observer)
        observer.queue.clear()

    def _wake(self) -> None:
        if not self._scheduled and self._scheduler is not None:
            self._scheduled = True
            self._scheduler.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._scheduled = False
        scheduler = self._scheduler
        observers = tuple(observer for observer in self._observers if observer.wait_for_turn)
        for observer in observers:
            if observer.rests or scheduler is None:
                continue
            held_up = observer.deliver(perf_counter() + TURN / len(observers))
            was_slow, observer.slow = observer.slow, held_up >= TURN
            if was_slow and observer.slow and observer.queue:
                observer.rests = True
                scheduler.call_at(scheduler.now() + held_up * REST, partial(self._resume, observer))
            elif observer.queue:
                self._wake()

    def _resume(self, observer: Observer) -> None:
        observer.rests = False
        if observer.queue:
            self._wake()

    def _below(self) -> Iterator[Bus]:
        """Those below this one, the lowest first."""
        for child in self.children or ():
            yield from child._below()  # noqa: SLF001
            yield child

    def _say_farewell(self) -> None:
        """There will be no other turn: hand over what waits, as far as that does not hold up the end."""
        until = perf_counter() + FAREWELL
        for bus in (*self._below(), self):
            for observer in bus._observers:  # noqa: SLF001
                while observer.queue and observer.wait_for_turn and perf_counter() < until:
                    observer.deliver(until)
                while observer.wait_for_turn and observer.queue:
                    observer.drop()


class Feed(Generic[E]):
    """An async iterator of events; slow readers lose the oldest, and `dropped` says how many.

    async with connection.events(CallFinished) as feed:
        async for event in feed: ...
    """

    def __init__(self, bus: Bus, kinds: tuple[type[Event], ...]) -> None:
        self._bus = bus
        self._reader = Reader(kinds)
        self._open = False

    @property
    def dropped(self) -> int:
        """Events lost because they were not read in time."""
        return self._reader.dropped

    def open(self) -> None:
        """Begin to listen; what `async with` does first.

        Raises:
            TypeError: it asks for what is no event. ValueError: there are too many observers.
        """
        self._bus.add(self._reader)
        self._open = True

    def close(self) -> None:
        """Listen no more; what has come can still be read. Idempotent."""
        self._open = False
        self._bus.remove(self._reader)
        self._reader.wake()

    async def __aenter__(self) -> Feed[E]:
        self.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.close()

    def __aiter__(self) -> AsyncIterator[E]:
        return self

    async def __anext__(self) -> E:
        from anyio import Event as Waiter

        reader = self._reader
        while not reader.queue:
            if not self._open:
                raise StopAsyncIteration
            if reader.waiter is None:
                reader.waiter = Waiter()
            await reader.waiter.wait()
        return cast("E", reader.take())
