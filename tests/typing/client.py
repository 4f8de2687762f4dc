"""Use of proxies: every result has the declared type."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from typing import assert_type

from contract import Journal, Lobby, Member, Msg, Room, Topic

from capnet import (
    Cap,
    Connection,
    Host,
    Membrane,
    Occupant,
    Slot,
    Stream,
    blocking,
    channel,
    connect,
    dup,
    generation,
    link,
    notify,
    on_broken,
    pipe,
    restrict,
    revocable,
)
from capnet.contract import Sink


class Me(Member):
    async def notify(self, msg: Msg) -> None: ...


async def lines() -> Stream[str]:
    yield "x"


async def listen(msg: Msg) -> None: ...


async def stay() -> None:
    async with link("unix:chat.sock", patience=5) as desk:
        lobby = await desk.bootstrap(Lobby)
        assert_type(lobby, Lobby)
        room = await lobby.open("x")
        assert_type(room, Room)
        assert_type(await room.post("hi", urgent=True), int)
        async for msg in room.history(10):
            assert_type(msg, Msg)
        assert_type(await desk.bootstrap(Topic[int]), Topic[int])
        assert_type(generation(lobby), int)
        assert_type(desk.connection, Connection | None)
        on_broken(lobby, print)


async def options() -> None:
    async with Host() as host:
        await host.listen("tcp:127.0.0.1:0", token=None, backlog=16)
        await host.connect("exec:", argv=["lint"], cwd="/", env={"A": "b"}, on_exit=lambda code: print(code))
    async with connect("unix:chat.sock", allow_uids=[1000], development=True) as conn:
        assert_type(conn, Connection)


async def main() -> None:
    async with connect("unix:chat.sock") as conn:
        lobby = await conn.bootstrap(Lobby)
        assert_type(lobby, Lobby)
        async with await lobby.open("x") as room:
            assert_type(room, Room)
            assert_type(await room.post("hi", urgent=True), int)
            await room.join(Me())
            await room.watch(listen)
            async with aclosing(room.history(10)) as msgs:
                async for msg in msgs:
                    assert_type(msg, Msg)
            async for line in room.translate(lines(), to="fr"):
                assert_type(line, str)
            keep = dup(room)
            assert_type(keep, Room)
        on_broken(keep, print)
        assert_type(await lobby.rooms(), Mapping[str, Room])
        assert_type(await lobby.find("y"), Room | None)
        await lobby.merge([keep, (await lobby.rooms())["x"]])
        topic = await conn.bootstrap(Topic[int])
        await topic.publish(5)
        async for item in topic.items():
            assert_type(item, int)
        await topic.aclose()
        journal = await conn.bootstrap(Journal)
        async with await journal.writer() as log:
            assert_type(log, Sink[str])
            await log.send("x")


async def outside_of_a_block() -> None:
    conn = await connect("unix:chat.sock", wait=5)
    assert_type(conn, Connection)
    assert_type(await conn.bootstrap(Lobby), Lobby)
    await conn.aclose()
    async with Host() as host:
        await host.serve_forever(announce=True)
        assert_type(await host.connect("unix:chat.sock", wait=0.5), Connection)
        await host.wait_closed()
    async with connect("unix:chat.sock", wait=5) as conn:
        assert_type(conn, Connection)


def without_a_loop() -> None:
    with blocking.connect("unix:chat.sock", wait=5, backend="trio") as conn:
        lobby = conn.bootstrap(Lobby)
        assert_type(lobby, Lobby)
        room = conn.call(lobby.open, "x")
        assert_type(room, Room)
        assert_type(conn.call(room.post, "hi", urgent=True), int)
        assert_type(conn.call(dup, room), Room)
        assert_type(conn.call(lambda: pipe(lobby.open("x")).post("hi")), int)
        conn.call(room.watch, listen)
        for msg in conn.iterate(room.history, 10):
            assert_type(msg, Msg)
        for line in conn.iterate(room.translate, lines(), to="fr"):
            assert_type(line, str)
        for line in conn.iterate(lines()):
            assert_type(line, str)
        journal = conn.bootstrap(Journal)
        log = conn.call(journal.writer)
        conn.call(log.send, "x")
        assert_type(conn.bootstrap(Topic[int]), Topic[int])
        conn.call(conn.connection.serve, Me())


async def write(numbers: Sink[int], anything: Sink[object], journal: Journal) -> None:
    await numbers.send(1)
    await write(anything, anything, journal)
    await journal.follow(anything)


async def promises(lobby: Lobby, room: Room) -> None:
    assert_type(pipe(lobby.open("x")), Room)
    assert_type(await pipe(lobby.open("x")).post("hi"), int)
    assert_type(pipe(lobby.rooms())["a"], Room)
    assert_type(await lobby.merge([pipe(lobby.open("x")), pipe(lobby.rooms())["a"]]), Room)
    async with connect("unix:chat.sock") as conn:
        assert_type(pipe(conn.bootstrap(Lobby)), Lobby)
        assert_type(await pipe(pipe(conn.bootstrap(Lobby)).open("x")).post("hi"), int)
    assert_type(notify(room.post)("hi", urgent=True), None)
    assert_type(notify(pipe(lobby.open("x")).rename)(title="x"), None)


async def ends(room: Room, journal: Journal) -> None:
    into, entries = channel(Msg)
    assert_type(into, Sink[Msg])
    assert_type(entries, Stream[Msg])
    await journal.follow(into)
    async for entry in entries:
        assert_type(entry, Msg)
    lines, out = channel(str, buffer=8)
    async for line in room.translate(out):
        assert_type(line, str)
    await lines.send("x")


async def less(lobby: Lobby, room: Room) -> None:
    assert_type(restrict(room, methods={"post"}, rate="10/s", uses=3, until=60), Room)
    assert_type(restrict(room, where=lambda method, arguments: arguments["text"] != method), Room)
    lent, take_back = revocable(lobby)
    assert_type(lent, Lobby)
    take_back("over")
    membrane = Membrane(policy=lambda crossing: crossing.direction == "in")
    assert_type(membrane.wrap(room), Room)
    membrane.cut()


def anything(cap: Cap) -> Cap:
    return cap


async def what_another_program_gives(host: Host) -> None:
    plugin = await host.connect("exec:plugin")
    lobby = await plugin.bootstrap(Lobby)
    handle = host.serve(lobby)
    await host.replace(restrict(lobby, methods={"open"}), owner=handle)
    async with host.swap(await plugin.bootstrap(Lobby)) as swap:
        assert_type(swap.candidate, Lobby)
    slot = Slot(Lobby, wait=5)
    assert_type(slot, Slot[Lobby])
    assert_type(slot.proxy, Lobby)
    assert_type(slot.waiting(0), Lobby)
    assert_type(slot.current, Lobby | None)
    old = slot.set(lobby)
    assert_type(old, Occupant[Lobby] | None)
    if old is not None:
        assert_type(old.capability, Lobby)
    assert_type(Slot(Topic[int]).proxy, Topic[int])
