"""Hostile peers with virtual connections, against a real host that takes whatever is opened; nobody beside notices."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from capnet import Limits, Opening, ResourceExhausted, connect
from capnet.engine.channels import CHANNEL_WINDOW
from capnet.virtual.opening import DEEPEST
from capnet.wire.frames import Op
from capnet.wire.hello import VIRTUAL, Hello
from tests.connection.leaks import nothing_left as nothing_left  # a fixture
from tests.connection.shop import Shop, until
from tests.hostile.attack import Raw, Scene, scene

ROOM = 2**20
OPEN = [Op.OPEN, 1, ROOM]
NAMED = {"name": "test.Shop"}


@asynccontextmanager
async def taking(limits: Limits | None = None) -> AsyncGenerator[tuple[Scene, Raw]]:
    """A host that takes all that is opened, as one that it serves, and an attacker that has said hello."""
    async with scene(limits) as here:

        async def take(opening: Opening) -> None:
            here.host.accept(opening.transport({"taken": True}))

        here.host.on_open(take)
        async with here.attacker() as raw:
            await raw.greet(VIRTUAL)
            yield here, raw


async def opened(raw: Raw) -> None:
    """One is."""
    await raw.send(OPEN)
    assert (await raw.frame())[:2] == [Op.ACCEPT, -1]


def inside(raw: Raw, *parts: bytes | list[Any]) -> bytes:
    """What is said on it, as bytes."""
    return b"".join(part if isinstance(part, bytes) else raw.pack(part) for part in parts)


ATTACKS: dict[str, tuple[list[list[Any]], str]] = {
    "never opened": ([[Op.DATA, 7, b"x"]], "P-ID-4"),
    "of the host's, which it has not opened": ([[Op.ROOM, -1, 9]], "P-ID-4"),
    "opened again": ([OPEN], "P-ID-1"),
    "backwards": ([[Op.OPEN, 9, ROOM], [Op.OPEN, 8, ROOM]], "P-ID-1"),
    "an id that is no opener's": ([[Op.OPEN, -2, ROOM]], "P-OP"),
    "accepted by who has opened it": ([[Op.ACCEPT, -1, ROOM]], "P-ID-4"),
    "used before it is accepted": ([[Op.OPEN, 2, ROOM], [Op.DATA, 2, b"x"]], "P-VIRT-2"),
    "more than there is room for": ([[Op.DATA, 1, bytes(CHANNEL_WINDOW)], [Op.DATA, 1, b"x"]], "P-VIRT-3"),
    "nothing": ([[Op.DATA, 1, b""]], "P-OP"),
    "room without end": ([[Op.ROOM, 1, 2**31 - 1], [Op.ROOM, 1, 2**31 - 1]], "P-VIRT-3"),
    "behind its last word": ([[Op.CLOSE, 1], [Op.DATA, 1, b"x"]], "P-VIRT-4"),
    "words without end": ([[Op.OPEN, 2, ROOM, {"m": "x" * 5000}]], "P-VIRT-1"),
    "no words": ([[Op.OPEN, 2, ROOM, ["m"]]], "P-OP"),
}


@pytest.mark.parametrize("name", ATTACKS)
async def test_frames_that_no_honest_peer_sends(name: str) -> None:
    """P-VIRT-1 to P-VIRT-4: the connection around it ends, with all inside, and says why."""
    frames, clause = ATTACKS[name]
    async with taking() as (here, raw):
        await opened(raw)
        await raw.send(b"".join(raw.pack(frame) for frame in frames))
        await raw.closed()
        await until(lambda: len(here.host.connections) == 1)
        await until(lambda: clause in {violation.clause for violation in here.violations})


INSIDE: dict[str, bytes] = {
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "too long": b"\xff\xff\xff\xff",
    "empty": bytes(4),
}


@pytest.mark.parametrize("name", INSIDE)
async def test_what_is_no_connection_inside(name: str) -> None:
    """P-VIRT-5: it ends alone; who does it all the time has too many strikes."""
    async with taking(Limits(max_strikes=2)) as (here, raw):
        for number in (1, 2, 3):
            await raw.send([Op.OPEN, number, ROOM])
            while (await raw.frame())[:2] != [Op.ACCEPT, -number]:
                continue
            await raw.send([Op.DATA, number, INSIDE[name]])
            await until(lambda: len(here.violations) >= number)  # noqa: B023 - called here
            if number < 3:
                await raw.send([Op.CLOSE, number])
                await until(lambda: len(here.host.connections) == 2)
        await raw.closed()
        await until(lambda: len(here.host.connections) == 1)
        await until(lambda: "P-LIMIT-1" in {violation.clause for violation in here.violations})


async def test_it_is_said_byte_by_byte_and_in_one_piece() -> None:
    """P-FRAME, P-VIRT-3: pieces mean nothing; and what is said inside of one reaches no other."""
    async with taking() as (here, raw):
        await opened(raw)
        chance = Random(1)
        said = inside(raw, Hello("deep").to_frame(), [Op.CALL, 1, 0, "bootstrap", NAMED], [Op.CALL, 2, 1, "ping", {}])
        while said:
            size = chance.choice((1, 2, 7))
            await raw.send([Op.DATA, 1, said[:size]])
            said = said[size:]
        await until(lambda: any(one.peer_name == "deep" for one in here.host.connections))
        assert not here.violations


async def test_a_call_inside_has_nothing_of_what_is_around_it() -> None:
    """P-REF-2: ids are those of one connection; what was handed out around it is nothing in there."""
    async with taking() as (here, raw):
        await raw.send([Op.CALL, 1, 0, "bootstrap", NAMED])
        assert (await raw.reply())[0] == Op.RESULT
        await opened(raw)
        await raw.send([Op.DATA, 1, inside(raw, Hello("deep").to_frame(), [Op.CALL, 1, 2, "add", {"n": 1}])])
        await until(lambda: here.violations)
        assert here.violations[0].clause == "P-ID-4" and len(here.implementation.gate.entered) == 1
        await raw.send([Op.CALL, 2, 2, "add", {"number": 1}])
        assert (await raw.reply())[:2] in ([Op.RESULT, 2], [Op.ERROR, 2]), "around it all goes on"


async def test_who_opens_without_end() -> None:
    """P-VIRT-5, P-LIMIT-1: there are sixteen, each more is refused and a strike, and in the end nothing is left."""
    async with taking() as (here, raw):
        await raw.send(b"".join(raw.pack([Op.OPEN, number, ROOM]) for number in range(1, 3000)))
        await raw.closed()
        await until(lambda: "P-LIMIT-1" in {violation.clause for violation in here.violations})
        await until(lambda: len(here.host.connections) == 1)
        assert here.host.stats()["charge"] < 4096


async def test_one_inside_of_the_other() -> None:
    """P-VIRT-5: no deeper than eight, for each byte of the last goes through all of them."""
    async with scene() as here:

        async def take(opening: Opening) -> None:
            here.host.accept(opening.transport())

        here.host.on_open(take)
        async with connect(f"unix:{here.path}") as line:
            deep = line
            for _ in range(DEEPEST):
                deep = await deep.open()
            with pytest.raises(ResourceExhausted) as caught:
                await deep.open()
            assert (caught.value.reason, caught.value.retry) == ("max_virtual_depth", "never")
            assert await (await deep.bootstrap(Shop)).add(1) == 11
            assert len(here.host.connections) == DEEPEST + 2
        await until(lambda: len(here.host.connections) == 1)
