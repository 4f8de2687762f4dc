"""Ways to misbehave towards a host, as fast as one can: each kind of attack that was found to cost a host much.

Each is a function that goes on until the host ends the connection, or it is cancelled.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from itertools import count
from typing import Any, Final

import anyio
from cbor2 import CBORTag

from capnet.wire.frames import Op
from capnet.wire.framing import FrameReader, header

from .stranger import Stranger

__all__ = ["KINDS"]

_NOTHING: dict[str, Any] = {}


async def flood_of_calls(peer: Stranger) -> None:
    """As many calls at once as may run, and the next ones with the answers."""
    frames, id, free = FrameReader(1_000_000), 2, 200
    while True:
        if free >= 50:
            await peer.send(peer.pack(*([Op.CALL, id + n, 2, "add", {"a": 1}] for n in range(free))), free)
            id, free = id + free, 0
        data = await peer.receive()
        if not data:
            return
        free += sum(1 for frame in frames.frames(data) if frame[1] == Op.RESULT)


async def flood_of_pings(peer: Stranger) -> None:
    """Until it is cut off."""
    data = peer.pack([Op.PING, 1]) * 1000
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(peer.drain)
        with suppress(OSError):
            while True:
                await peer.send(data, 1000)


async def slow_reader(peer: Stranger) -> None:
    """Asks for much and reads nothing, until it is given up."""
    id = 2
    while True:
        await peer.send(peer.pack([Op.CALL, id, 2, "echo", {"value": bytes(500_000)}]), 1)
        id += 1


async def slow_drip(peer: Stranger) -> None:
    """A long frame a byte at a time."""
    for byte in header(4_000_000) + bytes(100_000):
        await peer.send(bytes([byte]), 0)
        await anyio.sleep(0.005)


async def item_bombs(peer: Stranger) -> None:
    """Frames with more values than there may be: refused by the scan, and the connection with them."""
    payload = b"\x83\x03\x01" + b"\x9b" + (1_000_000).to_bytes(8) + b"\x80" * 1_000_000
    with suppress(OSError):
        await peer.send(header(len(payload)) + payload, 1)
    await peer.drain()


async def legal_bombs(peer: Stranger) -> None:
    """Calls with as many values as there may be, which fail for their arguments."""
    id = 2
    value: list[Any] = [[]] * 65_000
    frame = peer.pack([Op.CALL, id, 2, "add", {"a": value}])
    at = frame.index(b"\x85\x02\x02") + 2
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(peer.drain)
        with suppress(OSError):
            while True:
                id += 1
                await peer.send(_with_id(frame, at, id), 1)


async def cancel_storm(peer: Stranger) -> None:
    """Calls that are cancelled as they are made, until it is cut off."""
    id = 2
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(peer.drain)
        with suppress(OSError):
            while True:
                pairs: list[list[Any]] = []
                for n in range(id, id + 100):
                    pairs += [Op.CALL, n, 2, "hold", _NOTHING], [Op.CANCEL, n]
                await peer.send(peer.pack(*pairs), 200)
                id += 100


def _with_id(frame: bytes, at: int, id: int) -> bytes:
    """A call frame whose id of one byte is another one, of five."""
    changed = frame[:at] + b"\x1a" + id.to_bytes(4) + frame[at + 1 :]
    return header(len(changed) - 4) + changed[4:]


async def _keep_sending(peer: Stranger, frames: Callable[[int], Iterable[list[Any]]]) -> None:
    """One portion of frames after the other, each made from a number that counts up, while the answers are read."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(peer.drain)
        with suppress(OSError):
            for number in count(1):
                portion = list(frames(number))
                await peer.send(peer.pack(*portion), len(portion))
        tasks.cancel_scope.cancel()


def _calls(method: str, arguments: dict[str, Any], at_once: int = 20, target: int = 2) -> Callable[[int], Any]:
    """Portions of the same call."""

    def frames(number: int) -> Iterable[list[Any]]:
        return ([Op.CALL, 2 + number * at_once + n, target, method, arguments] for n in range(at_once))

    return frames


async def same_hashes(peer: Stranger) -> None:
    """Maps whose keys have all the same hash."""
    keys = {(n << 61) - n: None for n in range(1, 4000)}
    await _keep_sending(peer, _calls("echo", {"value": keys}, 1))


async def wide_text(peer: Stranger) -> None:
    """Text that takes four times as much memory as bytes on the wire."""
    await _keep_sending(peer, _calls("echo", {"value": ["x" * 60_000 + "\U0001f600"] * 8}, 1))


async def long_context(peer: Stranger) -> None:
    """Context that goes along with calls, as much of it as may."""
    meta = {"context": {"capnet.chain": "a " * 4000, **{f"key{n}": "v" * 8000 for n in range(16)}}}
    await _keep_sending(
        peer, lambda number: ([Op.CALL, 2 + number * 10 + n, 2, "add", {"a": 1}, meta] for n in range(10))
    )


async def copies(peer: Stranger) -> None:
    """A large result is kept, and goes into the arguments of many calls."""
    await peer.send(peer.pack([Op.CALL, 2, 2, "echo", {"value": list(range(20_000))}, {"keep": True}]), 1)
    await _keep_sending(peer, _calls("echo", {"value": [CBORTag(52412, [2])] * 2}))


async def describing(peer: Stranger) -> None:
    """Twenty bytes that ask for everything there is."""
    await _keep_sending(peer, _calls("describe", _NOTHING, target=1))


async def unknown_names(peer: Stranger) -> None:
    """Names that nobody serves, with or without waiting for them."""
    await _keep_sending(
        peer,
        lambda number: (
            [Op.CALL, 2 + number * 20 + n, 0, "bootstrap", {"name": f"test.X{number}.{n}", "wait_ms": n % 2 * 1000}]
            for n in range(20)
        ),
    )


async def replacements(peer: Stranger) -> None:
    """Lends a thousand capabilities, and replaces them all again and again."""
    ids = await _lend(peer)
    await _keep_sending(peer, lambda number: [[Op.CAP_REPLACED, ids, number]])


async def revocations(peer: Stranger) -> None:
    """Lends a thousand capabilities and takes them back, and does it again with others."""

    def frames(number: int) -> Iterable[list[Any]]:
        ids = list(range(number * 1000, number * 1000 + 1000))
        lent = [CBORTag(52411, [id, "test.Thing", 1]) for id in ids]
        yield [Op.CALL, 2 + number, 2, "keep", {"things": lent}]
        yield [Op.CAP_REVOKED, ids, "no more"]

    await _keep_sending(peer, frames)


async def fetched_and_dropped(peer: Stranger) -> None:
    """Has capabilities made by the hundred, and gives them back by ids that it guesses."""

    def frames(number: int) -> Iterable[list[Any]]:
        yield [Op.CALL, 2 + number, 2, "things", {"count": 100}]
        yield [Op.CANCEL, 2 + number]

    await _keep_sending(peer, frames)


async def failures(peer: Stranger) -> None:
    """Has handlers fail, which are logged with all there is to know."""
    await _keep_sending(peer, _calls("fail", {"how": "chain"}))


async def refusals(peer: Stranger) -> None:
    """Arguments that do not fit."""
    await _keep_sending(peer, _calls("add", {"a": "\U0001f600" * 1000}))


async def ends_with_details(peer: Stranger) -> None:
    """Streams that nobody reads, each ended with an error as large as may be."""

    def frames(number: int) -> Iterable[list[Any]]:
        first = 1 + number * 20
        streams = [CBORTag(52413, [first + n, "out"]) for n in range(20)]
        yield [Op.CALL, 2 + number, 2, "leave", {"many": streams}]
        for n in range(20):
            yield [Op.END, first + n, "internal", "m" * 4000, {"x": "d" * 8000}]

    await _keep_sending(peer, frames)


async def small_items(peer: Stranger) -> None:
    """A stream of the smallest items that nobody reads, beyond its window."""
    await peer.send(peer.pack([Op.CALL, 2, 2, "sink", {"items": CBORTag(52413, [1, "out"])}]), 1)
    await _keep_sending(peer, lambda _: [[Op.ITEMS, 1, [None] * 20]])


async def one_way_calls(peer: Stranger) -> None:
    """Calls that ask for no answer, without end."""
    await _keep_sending(peer, lambda _: ([Op.CALL, 0, 2, "add", {"a": 1}] for _ in range(50)))


async def comings_and_goings(peer: Stranger) -> None:
    """Connects and leaves, which is all."""
    peer.end()


async def _lend(peer: Stranger) -> list[int]:
    ids = list(range(1000))
    lent = [CBORTag(52411, [id, "test.Thing", 1]) for id in ids]
    await peer.send(peer.pack([Op.CALL, 2, 2, "keep", {"things": lent}]), 1)
    return ids


KINDS: Final[dict[str, Callable[[Stranger], Awaitable[None]]]] = {
    "calls": flood_of_calls,
    "pings": flood_of_pings,
    "slow reader": slow_reader,
    "slow drip": slow_drip,
    "item bombs": item_bombs,
    "legal bombs": legal_bombs,
    "cancels": cancel_storm,
    "same hashes": same_hashes,
    "wide text": wide_text,
    "long context": long_context,
    "copies": copies,
    "describing": describing,
    "unknown names": unknown_names,
    "replacements": replacements,
    "revocations": revocations,
    "fetched and dropped": fetched_and_dropped,
    "failures": failures,
    "refusals": refusals,
    "ends with details": ends_with_details,
    "small items": small_items,
    "one-way calls": one_way_calls,
    "comings and goings": comings_and_goings,
}
