"""T1 to T4: bytes that are made to hurt, sent to a whole host in the jail (reliability §1).

Each test asserts the clause, whether the connection is kept, the memory that the host has grown by, and the time its
loop has lost. The decoder alone, with the bytes that it makes, is in test_wire.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import anyio
import pytest

from capnet.engine.events import AnswerEnded, CallArrived, CallFailed, Closed, ExportEnded, ImportBroken, StreamChanged
from capnet.limits import HANDSHAKE_FRAME, Limits
from capnet.testing.engines import RawPeer, capability
from capnet.wire.codec import Codec
from capnet.wire.frames import Op, check
from capnet.wire.framing import header
from capnet.wire.hello import Hello
from capnet.wire.references import CapRef, StreamRef
from tests.cost import BARS, HANGS
from tests.hostile.attack import Raw
from tests.hostile.dear import LARGEST
from tests.hostile.jail import (
    MIB,
    MOST_LOOP,
    MOST_MEMORY,
    Figures,
    Jail,
    errors_of,
    fewer,
    jailed,
    measured,
    watching,
)
from tests.hostile.jail import anyio_backend as anyio_backend  # a fixture
from tests.hostile.test_wire import (
    REFUSED,
    WRONG,
    accepted,
    is_array,
    is_int,
    is_map,
    is_of_the_table,
    mutants,
    repeated,
)
from tests.hostile.test_wire import SEEDS as TESTED_SEEDS

EACH = 64 * 1024
"""Bytes that one connection may cost which has announced much and sent little."""


# --- T1: a header that announces more than comes ---


@pytest.mark.parametrize("size", [HANDSHAKE_FRAME + 1, 2**31, 2**32 - 1], ids=lambda size: f"{size:#x}")
@pytest.mark.parametrize("greeted", [False, True], ids=["stranger", "greeted"])
async def test_t01_frame_bomb_by_length(greeted: bool, size: int) -> None:
    """T1, P-FRAME-2: many peers, each refused from the header alone, and closed."""
    count, limits = fewer(100), Limits()
    data = header(max(size, limits.max_frame + 1) if greeted else size)
    async with jailed() as jail:
        for number in range(count):
            raw = await jail.attacker(f"bomb {number}") if greeted else jail.stranger()
            for byte in data if number % 2 else (data,):  # at once, or byte by byte
                await raw.send(bytes([byte]) if isinstance(byte, int) else byte)
            said = await raw.closed()
            assert b"P-FRAME-2" in said if greeted else b"capnet/1" in said
        figures = await jail.when(lambda figures: figures.connections == 1)
        assert [clause for _, clause in figures.violations] == ["P-FRAME-2"] * count
        assert figures.most <= count * EACH


async def test_t01_frames_that_were_announced_and_do_not_come() -> None:
    """T1, P-FRAME-2: many legal headers of 4 MiB and a byte of each; what did not come is not there."""
    count = fewer(200)
    async with jailed() as jail:
        await announced(jail, count)
        held = jail.figures()
        assert held.connections == count + 1 and held.most <= count * EACH
    async with jailed(limits={"partial_frame_timeout": 0.5}) as jail:
        for raw in await announced(jail, count):
            assert b"P-FRAME-2" in await raw.closed()
        figures = await jail.when(lambda figures: figures.connections == 1)
        assert [clause for _, clause in figures.violations] == ["P-FRAME-2"] * count
        assert figures.most <= count * EACH


async def announced(jail: Jail, count: int) -> list[Raw]:
    """So many peers that have sent the beginning of a long frame."""
    peers = [await jail.attacker(f"slow {number}") for number in range(count)]
    for raw in peers:
        await raw.send(header(4 * MIB) + b"\x82")
    return peers


# --- T2, T3: frames that become more than they are ---


LARGE: dict[str, Callable[[], bytes]] = {
    f"{name}, the longest frame": lambda unit=unit: repeated(unit, 4 * MIB - 64)  # type: ignore[misc]
    for name, unit in {
        "arrays": "80",
        "maps": "a0",
        "maps with arrays": "a16080",
        "simple values": "e0",
        "nulls": "f6",
        "floats": "fb3ff8000000000000",
        "texts": "78" + "3c" + "61" * 60,
        "references": "d9ccbb8302616101",
    }.items()
}
BOMBS = {**REFUSED, **LARGE}
TRIES = 3 if BARS else 1
"""How often each is dropped; the best counts."""
ITEM_BOMBS = [
    *LARGE,
    "empty arrays", "empty maps", "arrays in arrays", "maps with arrays", "simple values", "undefined", "nulls",
    "small maps", "references", "maps in a map key", "maps in a map key, short",
]  # fmt: skip


async def attacked(jail: Jail, frame: bytes) -> Figures:
    """What the host says of itself when a peer has sent this frame and is gone."""
    jail.begin_anew()
    raw = await jail.attacker()
    with suppress(ConnectionError):
        await raw.send(header(len(frame)) + frame)
    with anyio.fail_after(HANGS):
        await raw.closed()
    while not (figures := jail.figures(check=False)).ends:
        continue
    return figures


async def drop_all() -> dict[str, Figures | str]:
    """What each bomb did: how large the host became, and then how long its steps were."""
    with watching("memory"):
        memory = await drop_each()
    with watching("steps"):
        steps = await drop_each()
    for name, found in steps.items():
        before = memory[name]
        if isinstance(found, Figures) and isinstance(before, Figures):
            found.most = before.most
        elif isinstance(before, str):
            steps[name] = before
    return steps


async def drop_each() -> dict[str, Figures | str]:
    """Each bomb at one host, one after the other; the text of what went wrong for one that the host did not survive."""
    found: dict[str, Figures | str] = {}
    names, name = list(BOMBS), ""
    while names:
        try:
            async with jailed() as jail:
                while names:
                    name = names.pop(0)
                    found[name] = "the host was gone"
                    frame = BOMBS[name]()
                    found[name] = min([await attacked(jail, frame) for _ in range(TRIES)], key=lambda one: one.step)
                    await jail.served()
                jail.begin_anew()
        except (AssertionError, TimeoutError) as error:
            found[name] = f"the host was gone: {error}"
    return found


@pytest.fixture(scope="module")
def bombed() -> dict[str, Figures | str]:
    """What each bomb did; one child for all of them."""
    return anyio.run(drop_all)


def refused(found: Figures | str) -> Figures:
    """Every bomb ends like this: by a clause of frames, the connection closed, memory and time within the bars."""
    assert isinstance(found, Figures), found
    assert found.clause() in {"P-FRAME-1", "P-FRAME-4"} and found.connections == 1
    assert [end[1] for end in found.ends] == ["violation"]
    assert found.most <= MOST_MEMORY, f"{found.most / MIB:.1f} MiB"
    assert found.step <= MOST_LOOP, f"{found.step * 1000:.1f} ms"
    return found


@pytest.mark.parametrize("name", [name for name in BOMBS if name not in ITEM_BOMBS])
def test_t02_decode_bomb(name: str, bombed: dict[str, Figures | str]) -> None:
    """T2, P-FRAME-1, P-FRAME-4: every row of reliability §5.1."""
    refused(bombed[name])


@pytest.mark.parametrize("name", ITEM_BOMBS)
def test_t03_item_bomb(name: str, bombed: dict[str, Figures | str]) -> None:
    """T3, P-FRAME-4: counted before it is decoded, so never more than a few copies of the frame itself."""
    assert refused(bombed[name]).most <= 32 * MIB


FULL: list[Any] = [[]] * 60_000
"""A legal value: 60 kB that become some 4 MB."""


@measured
async def test_t03_calls_that_hold_what_they_were_given() -> None:
    """T3, P-LIMIT-3: some are taken, the others are errors and strikes, and too many of these the end."""
    async with jailed(limits={"max_strikes": 15, "strike_window": 60.0}) as jail:
        raw, bait = await jail.holder()
        for id in range(2, 20):
            await raw.send([Op.CALL, id, bait, "hold", {"value": FULL}])
        errors = errors_of([await raw.reply() for _ in range(14)])
        held = jail.figures()
        assert errors == {("resource_exhausted", "max_call_charge"): 14} and held.bait["running"] == 4
        assert 24 * MIB < held.tables["raw"]["call_charge"] < 32 * MIB and held.connections == 2
        for id in range(100, 103):
            await raw.send([Op.CALL, id, bait, "hold", {"value": FULL}])
        figures = await jail.ended(raw)
        assert figures.clause() == "P-LIMIT-1" and figures.limits["max_call_charge"] == 16
        assert figures.bait["most"] == figures.bait["cancelled"] == 4


@measured
async def test_t03_items_and_results_that_nobody_takes() -> None:
    """T3, P-LIMIT-3: credit is for bytes, memory for what they become: the stream ends, the result is not kept."""
    async with jailed() as jail:
        raw, bait = await jail.holder()
        await raw.send([Op.CALL, 2, bait, "sink", {"items": StreamRef("out", id=1)}])
        for _ in range(5):
            await raw.send([Op.ITEMS, 1, [FULL]])
        assert (await raw.frame())[:2] == [Op.STOP, -1]
        await raw.send([Op.END, 1])
        for id in range(10, 20):
            await raw.send([Op.CALL, id, bait, "echo", {"value": FULL[:30_000]}, {"keep": True}])
            assert (await raw.reply())[:2] == [Op.RESULT, id]
        held = jail.figures()
        assert 12 * MIB <= held.tables["raw"]["held_charge"] <= 16 * MIB
        await raw.send([Op.CALL, 40, [19], "label", {}])
        assert (await raw.reply())[2] == "resource_exhausted"
        await raw.send([Op.PING, 1])
        assert await raw.frame() == [Op.PONG, 1]
        assert not jail.figures().violations


@measured
async def test_t03_the_largest_result_that_can_be_kept() -> None:
    """T3, P-CALL-8: to keep it must not cost more time than a frame may."""
    async with jailed() as jail:
        raw, bait = await jail.holder()
        await raw.send([Op.CALL, 2, bait, "echo", {"value": FULL}, {"keep": True}])
        assert (await raw.reply())[:2] == [Op.RESULT, 2]


@measured
async def test_t03_the_dearest_values_of_the_largest_frame() -> None:
    """T3, T8: to look at them and build what the contract declares takes no longer than a frame may."""
    async with jailed("dear") as jail:
        raw, _ = await jail.holder()
        await raw.send([Op.CALL, 2, 0, "bootstrap", {"name": "test.Dear"}])
        target = (await raw.reply())[2].id
        for id, (method, value) in enumerate(LARGEST.items(), 3):
            await raw.send([Op.CALL, id, target, method, {"value": value}])
            assert (await raw.reply())[:2] == [Op.RESULT, id], method
            jail.figures()
            jail.begin_anew()
        await raw.send([Op.CALL, 90, target, "lists", {"value": [{}] * 65_000}])
        assert (await raw.reply())[2] == "invalid_argument"


@measured
@pytest.mark.parametrize("loop", ["asyncio", "trio"])
async def test_t03_everything_that_may_be_held_at_once(loop: str) -> None:
    """T3, T8, T12: results kept, a backlog, an item, calls, and most of a frame, all of one peer: within the bar.

    The item is the largest that a frame can become, a letter of one byte each of which takes four.
    """
    wide = "a" * (4 * MIB - 100) + "\U0001f600"
    async with jailed(loop=loop) as jail:
        raw, bait = await jail.holder()
        for id in range(10, 14):
            await raw.send([Op.CALL, id, bait, "echo", {"value": bytes(MIB - 1000)}, {"keep": True}])
            assert (await raw.reply())[0] == Op.RESULT
        await raw.send([Op.CALL, 16, bait, "sink", {"items": StreamRef("out", id=1)}])
        await raw.send([Op.ITEMS, 1, [wide]])
        for id in range(20, 27):
            await raw.send([Op.CALL, id, bait, "echo", {"value": bytes(MIB)}])
        await jail.when(lambda figures: figures.tables["raw"]["backlog"] > 6 * MIB)
        for id in range(30, 37):
            await raw.send([Op.CALL, id, bait, "hold", {"value": bytes(4 * MIB - 100)}])
        await raw.send(header(4 * MIB) + b"\x85" + bytes(4 * MIB - 100))
        held = await jail.when(lambda figures: figures.bait["running"] >= 7)
        table = held.tables["raw"]
        assert table["call_charge"] > 27 * MIB and table["held_charge"] > 23 * MIB and table["backlog"] > 6 * MIB
        assert held.most <= MOST_MEMORY and not held.violations


# --- T4: frames with one thing wrong ---


STREAM_SEEDS: list[list[Any]] = [
    [Op.FINISH, 2],
    [Op.ITEMS, 1, [1, "b", {"c": [None]}]],
    [Op.CREDIT, 3, 4, 100],
    [Op.CREDIT, 0, 1, 0],
    [Op.END, 1],
    [Op.END, 1, "internal", "text"],
    [Op.END, 1, "internal", "text", {"reason": "x"}],
    [Op.STOP, 3],
    [Op.STOP, 3, "enough"],
]


def is_of_streams(frame: list[Any]) -> bool:
    """Whether a frame with an op from 6 to 10 has one of the shapes of P-OP."""
    op, size = frame[0], len(frame)
    texts = {index for index, value in enumerate(frame) if isinstance(value, str)}
    if op == Op.FINISH:
        return size == 2 and is_int(frame[1], 0)
    if size < 2 or not is_int(frame[1], 1 - 2**53):
        return False
    if op == Op.CREDIT:
        return size == 4 and is_int(frame[2], 0) and is_int(frame[3], 0) and frame[2] + frame[3] > 0
    if frame[1] == 0:
        return False
    if op == Op.ITEMS:
        return size == 3 and is_array(frame[2]) and bool(frame[2])
    if op == Op.STOP:
        return size == 2 or (size == 3 and texts == {2})
    return size == 2 or (size == 4 and texts == {2, 3}) or (size == 5 and texts == {2, 3} and is_map(frame[4]))


def is_legal(frame: Any) -> bool:
    """Whether something is a frame of P-OP."""
    if not is_array(frame):
        return False
    if frame and type(frame[0]) is int and Op.FINISH <= frame[0] <= Op.STOP:
        return is_of_streams(frame)
    return is_of_the_table(frame)


@pytest.mark.parametrize("seed", STREAM_SEEDS, ids=repr)
def test_t04_every_mutant_of_the_frames_of_streams(seed: list[Any]) -> None:
    """T4, P-OP: what test_wire.py does for the other frames; a mutant is refused, or is a frame of the table."""
    assert accepted(seed) and check(seed) and is_legal(seed)
    count = 0
    for mutant in mutants(seed):
        count += 1
        if is_array(mutant) and mutant and type(mutant[0]) is int and not Op.FINISH <= mutant[0] <= Op.STOP:
            continue  # another frame by now
        assert accepted(mutant) == is_legal(mutant), mutant
    assert count > len(WRONG)


CLAUSES = ("P-OP", "P-FRAME", "P-REF", "P-CONN-1")
"""Of which a frame with one thing wrong breaks one: the last where it has become a hello."""
ENDINGS = (Closed, CallFailed, AnswerEnded, ExportEnded, ImportBroken, StreamChanged)
"""What is told of everything when a connection ends."""


def busy() -> RawPeer:
    """An engine in which each frame of the seeds finds what it is about."""
    raw = RawPeer()
    engine, thing = raw.engine, capability("thing")
    engine.call(engine.imports.bootstrap, "m", {"x": thing}, [thing], "token")
    raw.say(
        [Op.CALL, 1, 0, "m", {"x": CapRef("test.Thing", 1, id=2)}],
        [Op.CALL, 2, 0, "m", {}, {"keep": True}],
        [Op.CALL, 3, 0, "m", {"x": StreamRef("out", id=1), "y": StreamRef("in", id=3)}],
    )
    engine.keepalive.ping()
    raw.collect()
    raw.events.clear()
    return raw


@pytest.mark.parametrize("seed", [*TESTED_SEEDS[1:], *STREAM_SEEDS], ids=repr)
def test_t04_what_is_refused_has_done_nothing(seed: list[Any]) -> None:
    """T4, P-FRAME-5: of a frame with one thing wrong nothing is told but the end of the connection, with its clause."""
    count = 0
    for mutant in _sample(illegal(seed), 60):
        raw = busy()
        charge = raw.engine.call_charge.used
        raw.engine.receive_data(raw.pack(mutant), 0.0)
        assert charge and raw.engine.lifecycle.closed, mutant
        raw.collect()
        assert raw.clause is not None and raw.clause.startswith(CLAUSES), (raw.clause, mutant)
        assert raw.events and all(isinstance(event, ENDINGS) for event in raw.events), (mutant, raw.events)
        assert not raw.take(CallArrived)
        count += 1
    assert count >= 20


def illegal(seed: list[Any]) -> Iterator[list[Any]]:
    """The mutants of a frame that travel and are none."""
    codec = Codec(Limits())
    for mutant in mutants(seed):
        if is_array(mutant) and not is_legal(mutant):
            codec.encode(mutant)
            yield mutant


def _sample(found: Iterator[list[Any]], most: int) -> list[list[Any]]:
    every = list(found)
    return every[:: max(1, len(every) // most)]


async def test_t04_a_frame_with_one_thing_wrong_ends_its_connection_only() -> None:
    """T4, P-ERR-3: at the host: one abort with the clause, the connection closed, the others served."""
    seeds = [*TESTED_SEEDS[1:], *STREAM_SEEDS]
    async with jailed() as jail:
        for number, seed in enumerate(seeds):
            (wrong,) = _sample(illegal(seed), 1)[:1]
            raw = await jail.attacker(f"raw {number}")
            await raw.send([Op.PING, 1], wrong)
            await raw.frame()
            assert (await _aborted(raw)).startswith(CLAUSES), wrong
        figures = await jail.when(lambda figures: figures.connections == 1)
        assert len(figures.violations) == len(seeds) and figures.most <= 4 * MIB


async def _aborted(raw: Raw) -> str:
    frame = await raw.reply()
    assert frame[0] == Op.ABORT, frame
    await raw.closed()
    return str(frame[1])


async def test_t04_a_second_hello_with_other_limits() -> None:
    """T4, P-CONN-1: what was agreed cannot be changed."""
    async with jailed() as jail:
        raw = await jail.attacker()
        await raw.send(Hello("raw", Limits(max_frame=2**31)).to_frame())
        assert await _aborted(raw) == "P-CONN-1"
        assert (await jail.when(lambda figures: figures.connections == 1)).clause() == "P-CONN-1"
