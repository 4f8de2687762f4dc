"""Who comes and goes has one share of a host's time with all who do (threat T8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from capnet.loop import Loop
from capnet.session.door import AND_CLOSING, Door
from capnet.session.fair_share import FIRST_TURNS, LONG, MOMENT, FairShare, FairShares
from capnet.transport import Transport


class Clock:
    """Of a loop: its time goes on by hand, and its timers ring then."""

    def __init__(self) -> None:
        self.time = 1.0
        self.timers: list[tuple[float, Callable[[], object]]] = []

    def now(self) -> float:
        return self.time

    def call_at(self, when: float, callback: Callable[[], object]) -> None:
        self.timers.append((when, callback))

    def go_on(self, seconds: float) -> None:
        self.time += seconds
        due = [callback for when, callback in self.timers if when <= self.time]
        self.timers = [timer for timer in self.timers if timer[0] > self.time]
        for callback in due:
            callback()


class Visitor:
    """A transport that has come."""

    def __init__(self) -> None:
        self.turned_away = False

    def abort(self) -> None:
        self.turned_away = True


class House:
    """A host, in which `busy` connections want its time whenever it goes on."""

    def __init__(self, busy: int, *, opening: float, most: int = 1000) -> None:
        self.clock = Clock()
        self.shares = FairShares()
        self.others = [FairShare(self.shares) for _ in range(busy)]
        self.opening = opening
        self.inside: list[Visitor] = []
        self.door = Door(self.shares, self._let_in, most)

    def come(self) -> Visitor | None:
        visitor = Visitor()
        return visitor if self.door.come(cast("Transport", visitor), cast("Loop", self.clock)) else None

    def go_on(self, turns: int) -> None:
        """Each of the others has so many turns, which are short."""
        for _ in range(turns):
            for share in self.others:
                share.begin(self.clock.time, 64)
                self.clock.go_on(LONG / 2)
                share.end(self.clock.time)

    def _let_in(self, transport: Any) -> None:
        self.clock.time += self.opening
        self.inside.append(transport)


def test_a_host_with_nothing_else_to_do_lets_everybody_in_at_once() -> None:
    house = House(0, opening=LONG)
    for _ in range(100):
        assert house.come()
    assert len(house.inside) == 100 and not house.door


def test_those_who_come_have_one_share_together() -> None:
    house = House(9, opening=LONG)
    house.go_on(1)
    began = house.clock.time
    while len(house.inside) < 50:
        house.come()
        house.go_on(1)
    spent = 50 * LONG * AND_CLOSING
    assert 9 * spent * 0.8 <= house.clock.time - began <= 9 * spent * 1.5


def test_the_first_turns_of_a_connection_are_paid_for_by_those_who_come() -> None:
    house = House(9, opening=0.0)
    house.go_on(1)
    assert house.come()
    arriving = FairShare(house.shares, first=FIRST_TURNS)
    for _ in range(FIRST_TURNS):
        arriving.begin(house.clock.time, 64)
        house.clock.time += LONG
        arriving.end(house.clock.time)
    assert house.come() and not house.door  # which is told of those turns with it
    assert house.come() and len(house.door) == 1
    house.go_on(2 * FIRST_TURNS)
    assert len(house.door) == 1
    house.go_on(2)
    assert not house.door and len(house.inside) == 3


def test_nobody_waits_for_others_that_want_nothing() -> None:
    house = House(9, opening=LONG)
    house.go_on(1)
    house.come()
    house.come()
    assert len(house.door) == 1
    house.clock.go_on(MOMENT)
    house.clock.go_on(MOMENT)
    assert not house.door and len(house.inside) == 2


def test_no_more_than_so_many_wait_and_at_the_end_nobody_does() -> None:
    house = House(9, opening=LONG, most=2)
    house.go_on(1)
    came = [house.come() for _ in range(5)]
    assert [visitor is not None for visitor in came] == [True, True, True, False, False]
    house.door.close()
    assert [visitor.turned_away for visitor in came if visitor] == [False, True, True]
    house.go_on(10)
    assert len(house.inside) == 1 and not house.door
