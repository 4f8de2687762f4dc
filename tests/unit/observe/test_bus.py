"""The bus without connections: order, bounds, faults of observers (P-CAP-8)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from capnet.observe import Bus, CallFinished, Event, HandlerFailed, LimitHit, NameServed
from capnet.observe.bus import MAX_OBSERVERS, QUEUE_EVENTS


class Later:
    """A loop that runs what it was given when it is told to."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def soon(self, function: Callable[[], None]) -> None:
        self.waiting.append(function)

    def run(self) -> None:
        waiting, self.waiting = self.waiting, []
        for function in waiting:
            function()


def test_events_come_later_in_order_and_by_kind() -> None:
    later, limits, everything = Later(), list[Event](), list[Event]()
    bus = Bus(schedule=later.soon)
    bus.on(LimitHit, limits.append)
    bus.on(Event, everything.append)
    bus.publish(LimitHit, limit="a")
    bus.publish(NameServed, name="n", contract="c")
    assert not everything and len(later.waiting) == 1
    later.run()
    assert [type(event) for event in limits] == [LimitHit]
    assert [event.sequence for event in everything] == [1, 2]


def test_nobody_observes() -> None:
    bus = Bus(schedule=Later().soon)
    watched = [bus.observed]
    end = bus.on(Event, print)
    watched.append(bus.observed)
    end()
    end()
    watched.append(bus.observed)
    assert watched == [False, True, False]


def test_the_bus_above_hears_it_too() -> None:
    later, above, below = Later(), list[Event](), list[Event]()
    host = Bus(schedule=later.soon)
    connection = Bus(host, later.soon)
    host.on(Event, above.append)
    assert connection.observed
    connection.on(Event, below.append)
    connection.publish(LimitHit, limit="a", connection=7)
    host.publish(LimitHit, limit="b")
    later.run()
    assert [event.connection for event in above] == [7, 0] and [event.connection for event in below] == [7]


def test_the_oldest_are_dropped_when_nobody_delivers() -> None:
    later, seen = Later(), list[LimitHit]()
    bus = Bus(schedule=later.soon)
    bus.on(LimitHit, seen.append)
    for number in range(QUEUE_EVENTS + 10):
        bus.publish(LimitHit, limit=str(number))
    later.run()
    assert len(seen) == QUEUE_EVENTS and seen[0].limit == "10"
    assert bus._observers[0].dropped == 10


def test_one_that_raises_is_counted_and_the_next_event_is_still_its() -> None:
    later, seen = Later(), list[Event]()
    bus = Bus(schedule=later.soon)

    def raises(event: Event) -> None:
        seen.append(event)
        raise RuntimeError("no")

    bus.on(Event, raises)
    bus.publish(LimitHit, limit="a")
    bus.publish(LimitHit, limit="b")
    later.run()
    assert len(seen) == 2 and bus._observers[0].failures == 2


def test_an_observer_may_end_itself_and_publish() -> None:
    later, seen = Later(), list[Event]()
    bus = Bus(schedule=later.soon)

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
    bus.attach(later.soon)
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
    bus = Bus(schedule=later.soon)
    async with bus.feed((LimitHit,)) as feed:
        for number in range(3):
            bus.publish(LimitHit, limit=str(number))
            bus.publish(NameServed, name="n", contract="c")
        later.run()
        assert [(await anext(feed)).limit for _ in range(2)] == ["0", "1"]
    assert [event.limit async for event in feed] == ["2"]
    assert not bus.observed and feed.dropped == 0


async def test_a_feed_that_is_not_read_loses_the_oldest_and_counts() -> None:
    later = Later()
    bus = Bus(schedule=later.soon)
    async with bus.feed(()) as feed:
        for number in range(QUEUE_EVENTS + 5):
            bus.publish(LimitHit, limit=str(number))
            later.run()
        assert feed.dropped == 5
        assert (await anext(feed)).limit == "5"
