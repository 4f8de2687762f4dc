"""Many capabilities that end or are replaced at once: a part of them in each turn of the loop (T8, T17)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from capnet import Cap, CapnetError, Connection, Revoked, Unavailable, call, generation, on_broken, revoke
from capnet.connection.parts import _CLEANED_UP, Parts
from capnet.references.proxy import reference_of
from capnet.session.driver import PER_TURN
from capnet.testing import connected
from capnet.wire.frames import Op
from tests.connection.doors import Door, House
from tests.connection.shop import until
from tests.connection.tree import Tap, assert_nothing_left
from tests.loops import on_every_loop as on_every_loop

MANY = 5 * PER_TURN
FEW_FRAMES = 2 * MANY // PER_TURN
"""At most two for each turn, where one would do."""


class Shelf(Cap, name="test.Shelf"):
    """Passes on what it has."""

    @call
    async def doors(self) -> list[Door]: ...


class MemShelf(Shelf):
    def __init__(self) -> None:
        self.kept: list[Door] = []

    async def doors(self) -> list[Door]:
        return self.kept


class Street:
    """An owner of many doors, a program in the middle that has them all, and a third that has them from there.

    Attributes:
        middle, down: the connections of the one in the middle, to the owner and to the third.
        tap: what leaves for the third.
        doors: as the third has them.
    """

    def __init__(self, house: House, shelf: MemShelf, owner: Connection, middle: Connection, down: Connection) -> None:
        self.house = house
        self.shelf = shelf
        self.owner = owner
        self.middle = middle
        self.down = down
        self.tap = Tap.on(down)
        self.doors: list[Door] = []
        self.portions: list[int] = []
        """Of how many events the one in the middle has acted on at once."""

    def watch(self, callback: Callable[[CapnetError], object]) -> None:
        """Call it for each door that the third cannot use any more."""
        for door in self.doors:
            on_broken(door, callback)


@asynccontextmanager
async def street(monkeypatch: pytest.MonkeyPatch, act: str) -> AsyncGenerator[Street]:
    """Three programs, and a count of what `act`, a method of connections, does at once in the middle."""
    made, shelf = House(), MemShelf()
    async with (
        connected(made.root) as (owner, middle),
        connected(shelf) as (down, third),
    ):
        root = await middle.bootstrap(Door)
        shelf.kept = await root.many(MANY)
        shelf.kept.append(root)
        street = Street(made, shelf, owner, middle, down)
        street.doors = await (await third.bootstrap(Shelf)).doors()
        del root
        kind, original = next((kind, done) for kind, done in _CLEANED_UP.items() if done.__name__ == act)

        def counted(self: Parts, events: Iterable[Any]) -> None:
            told = list(events)
            if self is (down if act == "exports_ended" else middle)._parts:
                street.portions.append(len(told))
                assert len(told) == 1 or self.session.over or self.session.driver._going_on, "nothing is read meanwhile"
            original(self, told)

        monkeypatch.setitem(_CLEANED_UP, kind, counted)
        yield street
        del street.doors[:], shelf.kept[:]
        await assert_nothing_left(down, third, *(() if middle.closed else (owner, middle)))


def in_portions(portions: list[int]) -> bool:
    """Whether they were as many as a turn has, those that came first one by one."""
    return max(portions) == PER_TURN and portions.count(1) <= PER_TURN + 1 and sum(portions) > MANY


async def test_what_was_passed_on_and_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """P-CAP-5: whoever has it from us is told, of many at once in few frames."""
    async with street(monkeypatch, "imports_replaced") as here:
        here.owner._session.engine.exporting.tell_replaced(list(here.owner._session.engine.exports), 7)
        here.owner._session.driver.drain()
        await until(lambda: all(generation(door) == 7 for door in here.doors))
        assert in_portions(here.portions)
        assert here.tap.frames.count(Op.CAP_REPLACED) <= PER_TURN + FEW_FRAMES
        assert await here.doors[-1].name() == "root"


async def test_what_was_passed_on_and_is_revoked(monkeypatch: pytest.MonkeyPatch) -> None:
    """P-CAP-6: all is broken at once, though it takes some turns until everybody knows."""
    async with street(monkeypatch, "imports_broken") as here:
        told: list[CapnetError] = []
        first: list[bool] = []

        def look(error: CapnetError) -> None:
            first.append(all(reference_of(door).imported.broken is not None for door in here.shelf.kept))

        on_broken(here.shelf.kept[0], look)
        here.watch(told.append)
        revoke(here.house.root)
        await until(lambda: len(told) == MANY + 1)
        assert first == [True] and all(isinstance(error, Revoked) for error in told)
        assert in_portions(here.portions)
        assert here.tap.frames.count(Op.CAP_REVOKED) <= FEW_FRAMES


async def test_what_was_passed_on_and_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """P-CONN-6: the connection is over when everything is done that comes of its end, and not before."""
    async with street(monkeypatch, "imports_broken") as here:
        await here.owner.aclose(grace=0)
        assert not here.middle.closed or not here.middle._parts.cleanup.due
        await here.middle.wait_closed()
        assert not here.middle._parts.cleanup.due and in_portions(here.portions)
        for index in (0, -1):
            with pytest.raises((Revoked, Unavailable)):
                await here.doors[index].name()
        assert here.tap.frames.count(Op.CAP_REVOKED) <= FEW_FRAMES


async def test_what_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """P-REF-3: one frame gives back a thousand; their close hooks run once each, some in each turn."""
    async with street(monkeypatch, "exports_ended") as here:
        here.doors.clear()
        await until(lambda: sum(here.portions) > MANY)
        assert in_portions(here.portions)
        here.shelf.kept.clear()
        await until(lambda: len(here.house.closed) >= MANY and not here.owner.stats()["exports"])
        assert len(here.house.closed) == len(set(here.house.closed))
