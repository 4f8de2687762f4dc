"""T5 to T11: ids, counts and calls that an honest peer would not send, against a host in the jail.

Each test asserts code and clause, whether the connection is kept, the memory that the host has grown by, and the time
its loop has lost; the last two also where no line says so: `jailed` does. What one engine does is in test_engine.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

import anyio
import pytest

from capnet.wire.frames import Op
from capnet.wire.references import CapRef
from tests.hostile.attack import Raw
from tests.hostile.jail import GREEDY, MIB, NOTHING, errors_of, fewer, jailed, measured, prompt, replies
from tests.hostile.jail import anyio_backend as anyio_backend  # a fixture

BOTH = pytest.mark.parametrize("loop", ["asyncio", "trio"])


def thing(id: int) -> CapRef:
    """A reference with any id."""
    return CapRef("test.Thing", 1, id=id)


async def silent(raw: Raw, *data: bytes) -> None:
    """Send these bytes again and again, and read nothing."""
    while True:
        await raw.send(*data)
        await anyio.lowlevel.checkpoint()


# --- T5: ids of others ---

IDS = 100_000
MOST = [1000] * 9 + [999]
"""Capabilities in one result after the other, until with the bait a peer holds all that it may."""
FEWER = 2000
"""Capabilities that a peer may hold where more would say nothing new: with the ten thousand of the default a run of
Python's collector takes longer than a frame may, as `test_t07_ten_thousand_held` says."""


@measured
async def test_t05_forged_ids() -> None:
    """T5: one peer tries all ids of another's table, calling each: none leads anywhere, no strike is forgotten."""
    ids, generous = fewer(IDS), {"max_strikes": 10**6, "control_burst": 10**6, "max_caps": FEWER}
    async with jailed(limits=generous) as jail:
        victim, theirs = await jail.holder("victim", GREEDY)
        await victim.send([Op.CALL, 2, theirs, "things", {"count": 1000}])
        assert (await victim.reply())[0] == Op.RESULT
        raw, bait = await jail.holder("raw", GREEDY)
        given, next_id = 0, bait
        for id in count(2):  # be given as many ids as the victim was, and ten times more
            if next_id >= ids:
                break
            await raw.send([Op.CALL, id, bait, "things", {"count": 1000}])
            caps = (await raw.reply())[2]
            given, next_id = given + len(caps), caps[-1].id
            await raw.send([Op.DROP, [[cap.id, 1] for cap in caps]])
        await jail.when(lambda figures: figures.tables["raw"]["exports"] == 1 and figures.bait["ended"] == given)
        tried = [id for id in range(next_id + 1) if id != bait]
        found: Counter[tuple[int, str, str]] = Counter()
        for start in range(0, len(tried), 200):
            part = tried[start : start + 200]
            await raw.send(*([Op.CALL, 1000 + id, id, "label", NOTHING] for id in part))
            found += await replies(raw, len(part))
        assert found == {
            (Op.ERROR, "unimplemented", ""): 2,  # the two that everybody has
            (Op.ERROR, "not_found", "released"): len(tried) - 2,
        }
        figures = jail.figures()
        assert len(tried) >= ids and figures.bait["labels"] == 0
        assert figures.bait["ended"] == given and figures.tables["victim"]["exports"] == 1001
        await victim.send([Op.CALL, 20, theirs, "keep", {"things": []}])
        assert (await victim.reply())[0] == Op.RESULT and not figures.violations


FORGED: dict[str, tuple[list[Any], str]] = {
    "call": ([Op.CALL, 2, 9000, "label", NOTHING], "P-ID-4"),
    "call on its answer": ([Op.CALL, 2, [1], "label", NOTHING], ""),
    "call home": ([Op.CALL, 2, 2, "keep", {"things": [thing(-9000)]}], "P-ID-4"),
    "drop": ([Op.DROP, [[9000, 1]]], "P-ID-4"),
    "cancel": ([Op.CANCEL, 9000], "P-ID-4"),
    "finish": ([Op.FINISH, 9000], "P-ID-4"),
    "result": ([Op.RESULT, 9000, None], "P-ID-4"),
    "error": ([Op.ERROR, 9000, "internal", ""], "P-ID-4"),
    "items": ([Op.ITEMS, 9000, [1]], "P-ID-4"),
    "items of ours": ([Op.ITEMS, -9000, [1]], "P-ID-4"),
    "credit": ([Op.CREDIT, -9000, 1, 1], "P-ID-4"),
    "end": ([Op.END, 9000], "P-ID-4"),
    "stop": ([Op.STOP, -9000], "P-ID-4"),
    "revoked": ([Op.CAP_REVOKED, [9000], ""], "P-CAP-6"),
    "replaced": ([Op.CAP_REPLACED, [9000], 1], "P-CAP-6"),
    "pong": ([Op.PONG, 9000], "P-ID-4"),
}


@measured
async def test_t05_ids_of_every_kind() -> None:
    """T5, P-ID-4: an id that this connection has never issued ends it, whatever others have under it."""
    async with jailed() as jail:
        victim, theirs = await jail.holder("victim", GREEDY)
        await victim.send([Op.CALL, 2, theirs, "things", {"count": 1000}])
        assert (await victim.reply())[0] == Op.RESULT
        for name, (frame, clause) in FORGED.items():
            raw, bait = await jail.holder(name)
            assert bait == 2
            await raw.send(frame)
            answer = await raw.reply()
            if clause:
                assert answer[:2] == [Op.ABORT, clause], name
                await raw.closed()
            else:
                assert answer[2:] == ["not_found", answer[3], {"reason": "released"}], name
        figures = await jail.when(lambda figures: figures.connections == 3)
        assert dict(figures.violations) == {name: clause for name, (_, clause) in FORGED.items() if clause}
        assert figures.tables["victim"]["exports"] == 1001 and figures.bait["labels"] == figures.bait["ended"] == 0


# --- T6: counts ---


DROPS: dict[str, tuple[list[list[Any]], str]] = {
    "one too many": ([[3, 3]], "P-REF-2"),
    "twice": ([[3, 2], [3, 1]], "P-ID-4"),
    "the largest": ([[3, 2**53 - 1]], "P-REF-2"),
    "beyond": ([[3, 2**63]], "P-OP"),
    "none": ([[3, 0]], "P-OP"),
    "negative": ([[3, -1]], "P-OP"),
    "the bootstrap": ([[0, 1]], "P-ID-3"),
    "the runtime": ([[1, 1]], "P-ID-3"),
    "never given": ([[77, 1]], "P-ID-4"),
}


async def test_t06_refcount_attack() -> None:
    """T6, P-REF-2: each ends the connection; what it held is closed once, what others hold of the same stays."""
    async with jailed() as jail:
        for name, (drops, clause) in DROPS.items():
            raw, bait = await jail.holder(name)
            await raw.send([Op.CALL, 2, bait, "things", {"count": 1}])
            assert (await raw.reply())[2][0].id == 3
            await raw.send([Op.CALL, 3, bait, "echo", {"value": thing(-3)}])  # a second reference to it
            await raw.reply()
            await raw.send([Op.DROP, drops])
            abort = await raw.reply()
            assert abort[0] == Op.ABORT and abort[1] in (clause, "P-REF-2"), (name, abort)
            await raw.closed()
            await jail.when(lambda figures: figures.bait["ended"] == figures.bait["made"])
        figures = jail.figures()
        assert figures.bait["ended"] == figures.bait["made"] == len(DROPS) == len(figures.violations)
        assert figures.most <= 4 * MIB


# --- T7: more capabilities than there may be ---


@measured
async def test_t07_capability_exhaustion_by_results() -> None:
    """T7, P-LIMIT-2: of a hundred thousand the peer has as many as it may; more fail, and nothing is kept of them."""
    async with jailed(limits={"max_caps": FEWER}) as jail:
        raw, bait = await jail.holder("raw", GREEDY)
        kept: list[list[CapRef]] = []
        full, calls = jail.figures(), fewer(100)
        for id in range(2, 2 + calls):
            await raw.send([Op.CALL, id, bait, "things", {"count": 1000}])
            answer = await raw.reply()
            if not kept:
                kept.append(answer[2])
            else:
                assert errors_of([answer]) == {("resource_exhausted", "max_caps_per_connection"): 1}
                await jail.when(lambda figures: figures.bait["made"] - figures.bait["ended"] == 1000)
            if id == 2 + calls // 5:
                full = jail.figures()
        await raw.send([Op.CALL, 200, bait, "things", {"count": 999}])
        kept.append((await raw.reply())[2])
        held = jail.figures()
        assert (
            held.tables["raw"]["exports"] == FEWER and held.bait["made"] == calls * 1000 + 999 and not held.violations
        )
        assert held.most - full.most <= 2 * MIB
        await raw.send([Op.DROP, [[cap.id, 1] for caps in kept for cap in caps]])
        figures = await jail.when(lambda figures: figures.bait["ended"] >= FEWER - 1)
        assert figures.tables["raw"]["exports"] == 1


async def test_t07_close_hooks_keep_up() -> None:
    """T7: calls of a few bytes that make the host open a thousand objects and close them: what is open is bounded."""
    async with jailed(limits={"max_caps": 16}) as jail:
        raw, bait = await jail.holder("raw", GREEDY)
        half = fewer(50)
        for start in (2, 2 + half):
            await raw.send(*([Op.CALL, id, bait, "things", {"count": 1000}] for id in range(start, start + half)))
            errors = errors_of([await raw.reply() for _ in range(half)])
            assert errors["resource_exhausted", "max_caps_per_connection"] == half
        figures = jail.figures(check=False)
        jail.begin_anew()
        made = figures.bait["made"]
        assert made == 2000 * half and figures.bait["ended"] >= 0.9 * made and figures.most <= 24 * MIB


@pytest.mark.parametrize("how", ["too many", "cannot travel", "nobody waits"])
async def test_t07_what_is_in_a_result_that_fails_is_closed(how: str) -> None:
    """T7: a peer that has its calls fail must not have the host's objects stay open: each that was made is closed."""
    async with jailed(limits={"max_caps": 16}) as jail:
        raw, bait = await jail.holder("raw", GREEDY)
        match how:
            case "too many":
                await raw.send([Op.CALL, 2, bait, "things", {"count": 20}])
            case "cannot travel":
                await raw.send([Op.CALL, 2, bait, "things_and_more", {}])
            case _:
                await raw.send([Op.CALL, 2, bait, "late_thing", {}])
                await jail.when(lambda figures: figures.bait["running"])
                await raw.send([Op.CANCEL, 2])
        assert (await raw.reply())[0] == Op.ERROR
        await jail.when(lambda figures: figures.bait["made"] and not figures.bait["running"])
        await jail.when(lambda figures: figures.bait["ended"] == figures.bait["made"])


@measured
async def test_t07_ten_thousand_held() -> None:
    """T7: while a peer holds all that it may, the loop is held up by nothing that others do."""
    async with jailed() as jail:
        raw, bait = await jail.holder("raw", GREEDY)
        for id, number in enumerate(MOST, 2):
            await raw.send([Op.CALL, id, bait, "things", {"count": number}])
            assert (await raw.reply())[0] == Op.RESULT
        other, theirs = await jail.holder("other", GREEDY)
        for id in range(2, 2 + fewer(40)):
            await other.send([Op.CALL, id, theirs, "things", {"count": 1000}])
            await other.send([Op.DROP, [[cap.id, 1] for cap in (await other.reply())[2]]])


DEAR = (
    "Each object with a close hook costs a task of its own, all of them made in the step in which the last peer lets go"
)


@measured
@pytest.mark.parametrize("how", ["drop", "violation"])
async def test_t07_ten_thousand_let_go_at_once(how: str) -> None:
    """T7: one frame, or the end of the connection, gives back all that a peer may hold."""
    async with jailed() as jail:
        raw, bait = await jail.holder("raw", GREEDY)
        ids: list[int] = []
        for id, number in enumerate(MOST, 2):
            await raw.send([Op.CALL, id, bait, "things", {"count": number}])
            ids += [cap.id for cap in (await raw.reply())[2]]
        jail.figures()
        await raw.send([Op.DROP, [[id, 1] for id in ids]] if how == "drop" else [63])
        await jail.when(lambda figures: figures.bait["ended"] == figures.bait["made"])


@measured
async def test_t07_capability_exhaustion_by_arguments() -> None:
    """T7, P-LIMIT-2: a peer that gives us more than we have said we hold is closed."""
    async with jailed() as jail:
        raw, bait = await jail.holder()
        for id in range(2, 12):
            first = id * 1000
            await raw.send([Op.CALL, id, bait, "keep", {"things": [thing(first + n) for n in range(1000)]}])
            assert (await raw.reply())[0] == Op.RESULT
        held = jail.figures()
        assert held.tables["raw"]["imports"] == 10_000 and held.most <= 32 * MIB
        await raw.send([Op.CALL, 20, bait, "keep", {"things": [thing(90_000)]}])
        figures = await jail.ended(raw)
        assert figures.clause() == "P-LIMIT-2"


# --- T8: calls without end ---


@measured
@BOTH
async def test_t08_call_flood(loop: str) -> None:
    """T8: calls as fast as they go and no reply read: what is owed is bounded, then nothing is read, then it goes."""
    async with jailed(limits={"write_timeout": 1.0}, loop=loop) as jail:
        raw, bait = await jail.holder()
        value = bytes(8192)
        calls = [raw.pack([Op.CALL, id, bait, "echo", {"value": value}]) for id in range(2, 3000)]
        latencies: list[float] = []
        most, figures = 0, jail.figures()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(raw.send, *calls)
            while (figures := jail.figures(check=False)).connections > 1:
                most = max(most, figures.tables.get("raw", {}).get("backlog", 0))
                latencies.append(await jail.served())
                await anyio.sleep(0.01)
        assert 8 * MIB < most < 10 * MIB and figures.most <= 24 * MIB
        figures = await jail.when(lambda figures: figures.ends)
        assert figures.ends[0][:3] == ["raw", "lost", ""] and not figures.violations
        prompt(latencies)


async def test_t08_calls_that_never_end() -> None:
    """T8, P-CALL-7: so many run, so many wait, the others fail; the connection is kept until these are too many."""
    async with jailed() as jail:
        raw, bait = await jail.holder()
        await raw.send(*([Op.CALL, id, bait, "hold", NOTHING] for id in range(2, 422)))
        assert await replies(raw, 100) == {(Op.ERROR, "resource_exhausted", "max_concurrent_calls"): 100}
        held = await jail.when(lambda figures: figures.bait["running"] == 256)
        assert (held.bait["most"], held.tables["raw"]["answers_queued"], held.connections) == (256, 64, 2)
        await raw.send([Op.CALL, 500, bait, "hold", NOTHING])
        figures = await jail.ended(raw)
        assert figures.clause() == "P-LIMIT-1" and figures.bait["cancelled"] == 256 and figures.most <= 8 * MIB


@measured
async def test_t08_dear_calls_in_one_chunk() -> None:
    """T8: twelve calls of a few bytes, with ten milliseconds of work in each, come at once: others come between."""
    async with jailed(limits={"max_caps": FEWER}) as jail:
        raw, bait = await jail.holder("raw", GREEDY)
        await raw.send(*([Op.CALL, id, bait, "things", {"count": 1000}] for id in range(2, 14)))
        await replies(raw, 12)


# --- T9, T10: what costs a peer nothing ---


@measured
@BOTH
async def test_t09_rapid_reset(loop: str) -> None:
    """T9, P-CALL-6, P-LIMIT-4: a handler keeps its place until it has ended; calls and cancels at wire speed end it."""
    async with jailed(loop=loop) as jail:
        raw, bait = await jail.holder()
        await raw.send(*(stubborn(id, bait) for id in range(2, 258)))
        await jail.when(lambda figures: figures.bait["running"] == 256)
        await raw.send(*([Op.CANCEL, id] for id in range(2, 258)), *(stubborn(id, bait) for id in range(300, 400)))
        assert (await replies(raw, 292))[Op.ERROR, "resource_exhausted", "max_concurrent_calls"] == 36
        held = jail.figures()
        assert (held.bait["running"], held.tables["raw"]["answers_queued"]) == (256, 64)
        await raw.send(*storm(range(400, 5000), stubborn, bait))
        figures = await jail.ended(raw)
        assert figures.clause() in ("P-LIMIT-4", "P-LIMIT-1") and figures.bait["most"] == 256
        assert figures.most <= 16 * MIB
        quiet = await jail.when(lambda figures: not figures.bait["running"])
        await anyio.sleep(0.2)
        assert jail.figures().steps - quiet.steps < 100, "nothing is left that turns the loop"


def stubborn(id: int, bait: int) -> list[Any]:
    """A call whose handler goes on for a while when it is cancelled."""
    return [Op.CALL, id, bait, "stubborn", {"seconds": 1.0}]


def storm(ids: Iterable[int], call: Callable[[int, int], list[Any]], bait: int) -> list[list[Any]]:
    """Each call, and its cancel right behind it."""
    frames: list[list[Any]] = []
    for id in ids:
        frames += call(id, bait), [Op.CANCEL, id]
    return frames


async def test_t09_rapid_reset_of_calls_that_never_start() -> None:
    """T9, P-LIMIT-4: also where the calls have ended before they could start, and no place was taken up."""
    async with jailed() as jail:
        raw, bait = await jail.holder()
        await raw.send(*storm(range(2, 3000), stubborn, bait))
        figures = await jail.ended(raw)
        assert figures.clause() == "P-LIMIT-4"
        assert figures.bait["most"] == 0 and figures.most <= 8 * MIB


PROVOKED: dict[str, tuple[list[Any], str]] = {
    "given back": ([3, "label", NOTHING], "P-LIMIT-1"),
    "revoked": ([4, "label", NOTHING], "P-LIMIT-4"),
    "a result that is not kept": ([[2], "label", NOTHING], "P-LIMIT-1"),
    "unknown method": ([2, "nothing", NOTHING], "P-LIMIT-4"),
    "arguments that do not fit": ([2, "add", {"a": "x"}], "P-LIMIT-4"),
}


@pytest.mark.parametrize(("call", "clause"), PROVOKED.values(), ids=PROVOKED)
async def test_t10_provoked_resets(call: list[Any], clause: str) -> None:
    """T10, P-LIMIT-1, P-LIMIT-4: errors that are ours to send are counted as if the peer had sent them."""
    async with jailed() as jail:
        raw, bait = await jail.holder()
        await raw.send([Op.CALL, 2, bait, "things", {"count": 2}])
        await raw.reply()
        await raw.send([Op.DROP, [[3, 1]]], [Op.CALL, 3, bait, "revoke_all", {}])
        assert await raw.reply() == [Op.RESULT, 3, 1]
        await raw.send(*([Op.CALL, id, *call] for id in range(10, 2000)))
        figures = await jail.ended(raw)
        assert figures.clause() == clause and figures.bait["labels"] == 0 and figures.most <= 8 * MIB


HARMLESS: dict[str, list[Any]] = {
    "handler that raises": ["fail", {"how": "raise"}],
    "handler that does not": ["add", {"a": 1}],
}


@measured
@pytest.mark.parametrize("call", HARMLESS.values(), ids=HARMLESS)
async def test_t10_errors_that_are_no_refusals(call: list[Any]) -> None:
    """T10: calls that fail when they run are calls: each has its one answer, nothing piles up, the peer is kept."""
    number = 3 + fewer(5000)
    async with jailed() as jail:
        await jail.open_log()
        raw, bait = await jail.holder()
        for start in range(3, number, 100):
            await raw.send(*([Op.CALL, id, bait, *call] for id in range(start, start + 100)))
            assert sum((await replies(raw, 100)).values()) == 100
        figures = jail.figures()
        assert not figures.violations and figures.tables["raw"]["answers"] == 0 and figures.most <= 8 * MIB
        assert len(jail.log()) < 100_000  # what its own code fails at is in the log, but not without bound


# --- T11: replies that are not read ---


HOARDS: dict[str, tuple[list[Any], str]] = {
    "pings": ([Op.PING, 1], "P-LIMIT-4"),
    "cancels": ([Op.CANCEL, 1], "P-LIMIT-4"),
}


@BOTH
@pytest.mark.parametrize(("frame", "clause"), HOARDS.values(), ids=HOARDS)
async def test_t11_reply_hoarding(frame: list[Any], clause: str, loop: str) -> None:
    """T11, P-LIMIT-4: replies that cost nothing to ask for and are not read: so many, and the peer is closed."""
    async with jailed(loop=loop) as jail:
        raw, _ = await jail.holder()
        await raw.send(*[raw.pack(frame)] * 5000)
        figures = await jail.ended(raw)
        assert figures.clause() == clause and figures.most <= 4 * MIB
        assert raw.bytes.count(raw.pack([Op.PONG, 1])) <= 2500  # of 5000: 1000, and 200 for each second


@measured
async def test_t11_small_replies_that_nobody_reads() -> None:
    """T11: many small ones take more than their bytes; the bound of the backlog holds for what they take."""
    bound = MIB // 8
    async with jailed(limits={"write_timeout": 0.3, "max_backlog": bound}) as jail:
        raw, bait = await jail.holder()
        call = [raw.pack([Op.CALL, id, bait, "add", {"a": 1}]) for id in range(2, 50_000)]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(silent, raw, *call)
            figures = await jail.when(lambda figures: figures.connections == 1)
            tasks.cancel_scope.cancel()
        figures = await jail.when(lambda figures: figures.ends)
        assert figures.ends[0][1] == "lost" and not figures.violations
        assert figures.most <= MIB // 2 + 11 * bound  # so 8 MiB, the default, are within the bar
