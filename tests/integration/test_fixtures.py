"""Hosts and connections that a test has from its fixtures, as users have them: of one test, or of a module."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from capnet import Cap, Connection, Host, Stream, call, connect, stream
from capnet.testing import pair


class Room(Cap, name="fixtures.Room"):
    @call
    async def size(self) -> int: ...

    @stream
    def lines(self) -> Stream[int]: ...


class MemRoom(Room):
    async def size(self) -> int:
        return 1

    async def lines(self) -> Stream[int]:
        for number in range(100):
            yield number


@pytest.fixture(scope="module")
async def room_of_all(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Room]:
    """One for all tests here."""
    async with Host() as host:
        host.serve(MemRoom())
        await host.listen(url := f"unix:{tmp_path_factory.mktemp('room')}/s")
        async with connect(url) as connection:
            yield await connection.bootstrap(Room)


@pytest.fixture
async def host(tmp_path: Path) -> AsyncGenerator[Host]:
    async with Host() as host:
        host.serve(MemRoom())
        await host.listen(f"unix:{tmp_path}/s")
        yield host


@pytest.fixture
async def connection(host: Host, tmp_path: Path) -> AsyncGenerator[Connection]:
    async with connect(f"unix:{tmp_path}/s") as connection:
        yield connection


@pytest.fixture
async def room(connection: Connection) -> AsyncGenerator[Room]:
    async with await connection.bootstrap(Room) as room:
        yield room


@pytest.fixture
async def paired() -> AsyncGenerator[Room]:
    async with pair(MemRoom(), Room) as room:
        yield room


@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_has_its_own(room: Room, host: Host, turn: int) -> None:
    assert await room.size() == 1 and len(host.connections) == 1
    assert [line async for line in room.lines()] == list(range(100))
    async with host.scope("plug") as scope:
        scope.serve(MemRoom())


@pytest.mark.parametrize("turn", [1, 2])
async def test_all_of_them_share_one(room_of_all: Room, paired: Room, turn: int) -> None:
    assert await room_of_all.size() == await paired.size() == 1
    assert [line async for line in room_of_all.lines()] == list(range(100))


async def test_one_that_is_skipped_leaves_nothing(room: Room, paired: Room) -> None:
    pytest.skip("the fixtures end all the same")


async def test_a_stream_that_is_left_open(room: Room) -> None:
    """The end of the fixtures ends it."""
    assert await anext(room.lines()) == 0
