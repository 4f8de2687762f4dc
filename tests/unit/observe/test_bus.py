"""The bus without connections: order, bounds, faults of observers (P-CAP-8)."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable
from functools import partial

import pytest
import structlog
from structlog.testing import capture_logs

from capnet.observe import Bus, CallFinished, Event, HandlerFailed, LimitHit, NameServed
from capnet.observe.bus import FAREWELL, MAX_OBSERVERS, REST
from capnet.observe.failure import MAX_TEXT, failure_of
from capnet.observe.observer import QUEUE_BYTES, QUEUE_EVENTS, TURN
from tests.counting import calls_of


class Later:
    """A loop that runs what it was given when it is told to, with a clock that is moved by hand."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.waiting.append(callback)

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        self.timers.append((when, callback))

    def run(self) -> None:
        waiting, self.waiting = self.waiting, []
        for function in waiting:
            function()

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        due = [function for when, function in self.timers if when <= self.time]
        self.timers = [timer for timer in self.timers if timer[0] > self.time]
        for function in due:
            function()


class Clock:
    """What the bus takes for the time that its observers use up: it stands still but for who moves it."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in ("bus", "observer"):
        monkeypatch.setattr(f"capnet.observe.{module}.perf_counter", clock)
    return clock


def test_events_come_later_in_order_and_by_kind() -> None:
    later, limits, everything = Later(), list[Event](), list[Event]()
    bus = Bus(scheduler=later)
    bus.on(LimitHit, limits.append)
    bus.on(Event, everything.append)
    bus.publish(LimitHit, limit="a")
    bus.publish(NameServed, name="n", contract="c")
    assert not everything and len(later.waiting) == 1
    later.run()
    assert [type(event) for event in limits] == [LimitHit]
    assert [event.sequence for event in everything] == [1, 2]


def test_nobody_observes() -> None:
    bus = Bus(scheduler=Later())
    watched = [bus.observed]
    end = bus.on(Event, print)
    watched.append(bus.observed)
    end()
    end()
    watched.append(bus.observed)
    assert watched == [False, True, False]


def test_the_bus_above_hears_it_too() -> None:
    later, above, below = Later(), list[Event](), list[Event]()
    host = Bus(scheduler=later)
    connection = Bus(host, later)
    host.on(Event, above.append)
    assert connection.observed
    connection.on(Event, below.append)
    connection.publish(LimitHit, limit="a", connection=7)
    host.publish(LimitHit, limit="b")
    later.run()
    assert [event.connection for event in above] == [7, 0] and [event.connection for event in below] == [7]


def test_the_oldest_are_dropped_when_nobody_delivers() -> None:
    later, seen = Later(), list[LimitHit]()
    bus = Bus(scheduler=later)
    bus.on(LimitHit, seen.append)
    for number in range(QUEUE_EVENTS + 10):
        bus.publish(LimitHit, limit=str(number))
    later.run()
    assert len(seen) == QUEUE_EVENTS and seen[0].limit == "10"
    assert bus.stats() == {"observers": 1, "events_dropped": 10, "observer_failures": 0}


def test_one_that_raises_is_counted_and_the_next_event_is_still_its() -> None:
    later, seen = Later(), list[Event]()
    bus = Bus(scheduler=later)

    def raises(event: Event) -> None:
        seen.append(event)
        raise RuntimeError("no")

    bus.on(Event, raises)
    bus.publish(LimitHit, limit="a")
    bus.publish(LimitHit, limit="b")
    later.run()
    assert len(seen) == 2 and bus.stats()["observer_failures"] == 2


def test_an_observer_may_end_itself_and_publish() -> None:
    later, seen = Later(), list[Event]()
    bus = Bus(scheduler=later)

    def once(event: Event) -> None:
        seen.append(event)
        end()
        bus.publish(LimitHit, limit="from an observer")

    end = bus.on(Event, once)
    bus.on(HandlerFailed, seen.append)
    bus.publish(LimitHit, limit="a")
    later.run()
    later.run()
    assert len(seen) == 1


def test_what_waits_is_handed_over_when_a_loop_is_attached_or_goes() -> None:
    later, seen = Later(), list[Event]()
    bus = Bus()
    bus.on(Event, seen.append)
    bus.publish(LimitHit, limit="before there is a loop")
    bus.attach(later)
    later.run()
    assert len(seen) == 1
    bus.publish(LimitHit, limit="the loop goes")
    bus.attach(None)
    assert len(seen) == 2
    later.run()
    assert len(seen) == 2


def test_who_may_observe_what() -> None:
    async def coroutine(event: Event) -> None: ...

    bus = Bus()
    with pytest.raises(TypeError):
        bus.on(Event, coroutine)
    with pytest.raises(TypeError):
        bus.on(int, print)  # type: ignore[type-var]
    for _ in range(MAX_OBSERVERS):
        bus.on(Event, print)
    with pytest.raises(ValueError, match="64"):
        bus.on(CallFinished, print)


async def test_a_feed_gives_what_it_has_and_ends_with_its_block() -> None:
    later = Later()
    bus = Bus(scheduler=later)
    async with bus.feed((LimitHit,)) as feed:
        for number in range(3):
            bus.publish(LimitHit, limit=str(number))
            bus.publish(NameServed, name="n", contract="c")
        later.run()
        assert [(await anext(feed)).limit for _ in range(2)] == ["0", "1"]
    assert [event.limit async for event in feed] == ["2"]
    assert not bus.observed and feed.dropped == 0


async def test_a_feed_keeps_what_it_has_beside_an_observer() -> None:
    """What waits for a reader is not handed over with what is handed to functions."""
    later, seen = Later(), list[Event]()
    bus = Bus(scheduler=later)
    bus.on(Event, seen.append)
    async with bus.feed((LimitHit,)) as feed:
        bus.publish(LimitHit, limit="a")
        later.run()
        assert len(seen) == 1 and (await anext(feed)).limit == "a"


async def test_a_feed_that_is_not_read_loses_the_oldest_and_counts() -> None:
    later = Later()
    bus = Bus(scheduler=later)
    async with bus.feed(()) as feed:
        for number in range(QUEUE_EVENTS + 5):
            bus.publish(LimitHit, limit=str(number))
            later.run()
        assert feed.dropped == 5
        assert (await anext(feed)).limit == "5"


def test_one_that_holds_up_the_loop_rests_and_goes_on_later(clock: Clock) -> None:
    """Threat T23: for one second of the loop that it takes it waits for many; the others do not wait with it."""
    later, slow, quick = Later(), list[Event](), list[Event]()
    bus = Bus(scheduler=later)

    def blocks(event: Event) -> None:
        clock.time += 1.0
        slow.append(event)

    bus.on(Event, blocks)
    bus.on(Event, quick.append)
    for number in range(4):
        bus.publish(LimitHit, limit=str(number))
    later.run()
    assert (len(slow), len(quick)) == (1, 4)
    later.run()
    assert (len(slow), len(quick)) == (2, 4)
    bus.publish(LimitHit, limit="4")
    later.run()
    assert (len(slow), len(quick)) == (2, 5)
    later.sleep(REST - 1)
    later.run()
    assert len(slow) == 2
    later.sleep(1)
    later.run()
    assert len(slow) == 3
    later.sleep(2 * REST)
    later.run()
    later.sleep(2 * REST)
    later.run()
    assert slow == quick and not later.timers


def test_one_that_was_slow_once_does_not_rest(clock: Clock) -> None:
    """A busy machine sets a process aside for longer than a turn: that is not the observer's doing."""
    later, seen = Later(), list[Event]()
    bus = Bus(scheduler=later)

    def blocks_now_and_then(event: Event) -> None:
        clock.time += TURN if len(seen) % 2 == 0 else 0.0
        seen.append(event)

    bus.on(Event, blocks_now_and_then)
    for _ in range(3):
        bus.publish(LimitHit, limit="a")
        later.run()
        bus.publish(LimitHit, limit="a")
        later.run()
    assert len(seen) == 6 and not later.timers


def test_the_end_does_not_wait_for_one_that_holds_it_up(clock: Clock) -> None:
    """What it has no time for is dropped, and counted."""
    later, seen = Later(), list[Event]()
    bus = Bus(scheduler=later)

    def blocks(event: Event) -> None:
        clock.time += FAREWELL * 0.6
        seen.append(event)

    bus.on(Event, blocks)
    for number in range(10):
        bus.publish(LimitHit, limit=str(number))
    bus.attach(None)
    assert len(seen) == 2 and bus.stats()["events_dropped"] == 8


def test_many_events_for_one_take_no_more_than_a_share_of_a_turn(clock: Clock) -> None:
    later, seen = Later(), list[Event]()
    bus = Bus(scheduler=later)

    def works(event: Event) -> None:
        clock.time += TURN / 4
        seen.append(event)

    bus.on(Event, works)
    for number in range(12):
        bus.publish(LimitHit, limit=str(number))
    later.run()
    assert 4 <= len(seen) <= 5 and len(later.waiting) == 1 and not later.timers
    for _ in range(2):
        later.run()
    assert len(seen) == 12 and not later.waiting and bus.stats()["events_dropped"] == 0


def test_the_children_of_a_bus_are_heard_to_the_end() -> None:
    later, seen = Later(), list[Event]()
    host = Bus(scheduler=later)
    connection = Bus(host, later)
    connection.on(Event, seen.append)
    connection.publish(LimitHit, limit="a")
    host.attach(None)
    assert len(seen) == 1


def test_a_failing_observer_is_logged_once() -> None:
    """Fault 52: nothing is swallowed, and nothing fills the log."""
    later = Later()
    bus = Bus(scheduler=later)

    def raises(event: Event) -> None:
        raise RuntimeError("no")

    bus.on(Event, raises)
    structlog.configure()
    try:
        with capture_logs() as entries:
            for number in range(5):
                bus.publish(LimitHit, limit=str(number))
            later.run()
    finally:
        structlog.reset_defaults()
    assert len(entries) == 1 and "raises" in entries[0]["where"]


def test_what_raises_what_is_no_exception_disturbs_nobody_either() -> None:
    later, seen = Later(), list[Event]()
    bus = Bus(scheduler=later)

    def cancelled(event: Event) -> None:
        raise CancelledError

    def interrupted(event: Event) -> None:
        raise KeyboardInterrupt

    bus.on(Event, cancelled)
    bus.on(Event, seen.append)
    bus.publish(LimitHit, limit="a")
    later.run()
    assert len(seen) == 1
    bus.on(Event, interrupted)
    bus.publish(LimitHit, limit="b")
    with pytest.raises(KeyboardInterrupt):
        later.run()


def test_only_kinds_that_somebody_wants_are_built() -> None:
    later, seen = Later(), list[Event]()
    host = Bus(scheduler=later)
    connection = Bus(host, later)
    end = host.on(LimitHit, seen.append)
    assert connection.wants(LimitHit) and not connection.wants(NameServed)
    end()
    assert not connection.wants(LimitHit)
    connection.on(Event, seen.append)
    assert connection.wants(NameServed) and not host.wants(NameServed)


def test_who_wants_another_kind_costs_an_event_nothing() -> None:
    """T8: an event goes to those that take its kind, and the others are not asked each time."""
    later, seen = Later(), list[Event]()
    host = Bus(scheduler=later)
    connection = Bus(host, later)
    connection.on(LimitHit, seen.append)
    publish = partial(connection.publish, LimitHit, connection=1, peer="", limit="max_calls")
    publish()
    alone = calls_of(publish)
    for _ in range(20):
        connection.on(NameServed, seen.append)
        host.on(NameServed, seen.append)
    publish()
    assert calls_of(publish) == alone
    later.run()
    assert len(seen) == 4


def test_a_tool_may_watch_all_buses(monkeypatch: pytest.MonkeyPatch) -> None:
    created: list[Bus] = []
    monkeypatch.setattr(Bus, "created", created.append)
    host = Bus()
    Bus(host)
    assert created == [host]


def test_a_feed_of_what_is_no_event_is_refused() -> None:
    with pytest.raises(TypeError):
        Bus().feed((int,)).open()  # type: ignore[arg-type]


def test_text_in_an_event_is_cut() -> None:
    """T23: what a peer says may be long, and an event waits."""
    later, seen = Later(), list[LimitHit]()
    bus = Bus(scheduler=later)
    bus.on(LimitHit, seen.append)
    for text in ("a" * 100_000, "a" * MAX_TEXT, "\U0001f600" * 5000):
        bus.publish(LimitHit, limit=text)
    later.run()
    assert [len(event.limit) for event in seen] == [MAX_TEXT] * 3


class Counting:
    """Where it is counted what waits."""

    def __init__(self) -> None:
        self.used = 0

    def add(self, charge: int) -> None:
        self.used += charge

    def give(self, charge: int) -> None:
        self.used -= charge


async def test_what_waits_is_counted_until_it_is_taken() -> None:
    """P-LIMIT-3: for the bus of the observer, however it ends."""
    later, below, above = Later(), Counting(), Counting()
    host = Bus(scheduler=later, counter=above)
    connection = Bus(host, later, below)
    end = host.on(LimitHit, lambda event: None)
    async with connection.feed((LimitHit,)) as feed:
        connection.publish(LimitHit, limit="a" * 500)
        assert below.used == above.used > 500
        later.run()
        assert above.used == 0 and below.used > 500
        await anext(feed)
        assert below.used == 0
        connection.publish(LimitHit, limit="b")
        assert below.used and above.used
        end()
        assert above.used == 0
    assert below.used == 0 and (await anext(feed)).limit == "b" and below.used == 0


def test_the_oldest_are_dropped_when_they_take_up_too_much() -> None:
    """T23: by number there might be room for them."""
    counter, seen = Counting(), list[HandlerFailed]()
    bus = Bus(counter=counter)
    bus.on(HandlerFailed, seen.append)
    for number in range(600):
        failure = failure_of(ValueError("\U0001f600" * MAX_TEXT))
        bus.publish(HandlerFailed, where=str(number), correlation="", error=failure)
    assert counter.used <= QUEUE_BYTES
    bus.attach(Later())
    bus.attach(None)
    assert 200 < len(seen) < 300 and seen[-1].where == "599" and counter.used == 0
    assert bus.stats()["events_dropped"] == 600 - len(seen)
