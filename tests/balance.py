"""The books of a whole test: every start that any bus in the process has told of has exactly one end (P-CAP-8).

A test with the parameter `observed` says itself whether there are books: what is observed goes other ways in places.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from capnet.observe import (
    Bus,
    CallFinished,
    CallStarted,
    CapDropped,
    CapExported,
    CapRevoked,
    ConnectionClosed,
    ConnectionOpened,
    Event,
    NameServed,
    NameUnserved,
    StreamClosed,
    StreamOpened,
    SwapBegan,
    SwapEnded,
)

APART = frozenset(("test_events", "test_runtime_events", "test_bus", "test_integration"))
"""Modules whose tests count observers, or how long something takes."""
EITHER_WAY = pytest.mark.parametrize("observed", [True, False], ids=["observed", "unobserved"])
UNOBSERVED = pytest.mark.parametrize("observed", [False], ids=["unobserved"])
STARTS = (CallStarted, CapExported, ConnectionOpened, NameServed, StreamOpened, SwapBegan)
ENDS = (CallFinished, CapDropped, CapRevoked, ConnectionClosed, NameUnserved, StreamClosed, SwapEnded)


class Books:
    """What has begun and not ended, by what it is."""

    def __init__(self) -> None:
        self.buses: list[Bus] = []
        self.open: Counter[tuple[object, ...]] = Counter()
        self.wrong: list[Event] = []
        """Ends of what had not begun, or had ended before; calls without a contract."""

    def keep(self, bus: Bus) -> None:
        """Observe a new bus, and with it those below it."""
        number = len(self.buses)
        self.buses.append(bus)
        bus.on(Event, lambda event: self.enter(number, event))

    def enter(self, bus: int, event: Event) -> None:
        """Take down one event."""
        if isinstance(event, CallStarted | CallFinished) and not event.contract:
            self.wrong.append(event)
        if isinstance(event, STARTS):
            self.open[_key(bus, event)] += 1
        elif isinstance(event, ENDS):
            key = _key(bus, event)
            self.open[key] -= 1
            if self.open[key] < 0:
                self.wrong.append(event)

    def check(self) -> None:
        """Everything has ended, and nothing twice.

        Raises:
            AssertionError: with what has not.
        """
        if any(bus.stats()["events_dropped"] for bus in self.buses):
            return  # a test that drowns its observers keeps no books
        assert not self.wrong, self.wrong
        assert not +self.open, +self.open


def _key(bus: int, event: Event) -> tuple[object, ...]:
    match event:
        case CallStarted() | CallFinished():
            return bus, event.connection, "call", event.direction, event.call
        case StreamOpened() | StreamClosed():
            return bus, event.connection, "stream", event.stream
        case CapExported() | CapDropped() | CapRevoked():
            return bus, event.connection, "cap", event.cap
        case NameServed() | NameUnserved():
            return bus, event.connection, "name", event.name
        case SwapBegan() | SwapEnded():
            return bus, event.connection, "swap", event.name
        case _:
            return bus, event.connection, "connection"


@pytest.fixture(autouse=True)
def every_start_has_its_end(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fault 53, over the whole suite: what a test's connections and hosts begin to do they end, once."""
    callspec = getattr(request.node, "callspec", None)  # pyright: ignore[reportUnknownMemberType]
    observed = callspec is None or callspec.params.get("observed", True)
    if request.path.stem in APART or not observed:
        yield
        return
    books = Books()
    Bus.created = books.keep
    try:
        yield
    finally:
        Bus.created = None
    books.check()
