"""T12, T14 to T17, T19 and T22: streams, revocation, bootstraps and callbacks, against a host in the jail.

As in test_t05_calls.py: code and clause, whether the connection is kept, memory, and the time of the loop.
"""

from __future__ import annotations

from itertools import count
from typing import Any

import anyio
import pytest

from capnet.limits import Limits
from capnet.wire.frames import Op
from capnet.wire.hello import Hello
from capnet.wire.references import CapRef, StreamRef
from tests.cost import HANGS
from tests.hostile.jail import GREEDY, MIB, NOTHING, fewer, jailed, measured, prompt, replies
from tests.hostile.jail import anyio_backend as anyio_backend  # a fixture

BOTH = pytest.mark.parametrize("loop", ["asyncio", "trio"])

# --- T12: peers that do not read ---


async def test_t12_a_peer_that_announces_large_windows() -> None:
    """P-CONN-1: more than 2³¹-1 counts as that; it is the peer's memory, and no breach."""
    async with jailed() as jail:
        raw = jail.stranger()
        hello = Hello("raw").to_frame()
        hello[3]["stream_bytes"] = hello[3]["stream_items"] = 2**40
        await raw.send(hello, [Op.PING, 1])
        assert (await raw.frame())[0] == Op.HELLO
        assert await raw.frame() == [Op.PONG, 1]


@measured
@BOTH
async def test_t12_slow_reader_of_data(loop: str) -> None:
    """T12, P-CONN-5: fifty streams, much credit, and nothing read: they wait, the others do not; silence ends it."""
    async with jailed(limits={"keepalive": 1.0, "keepalive_timeout": 1.0}, loop=loop) as jail:
        raw, bait = await jail.holder("raw", GREEDY)
        await raw.send(*([Op.CALL, id, bait, "numbers", {"size": 65_536, "count": 10_000}] for id in range(2, 52)))
        full = await jail.when(lambda figures: figures.tables["raw"]["streams"] == 50)
        latencies: list[float] = []
        most = 0
        while (figures := jail.figures(check=False)).connections > 1:
            latencies.append(await jail.served())
            await anyio.sleep(0.01)
            most = max(most, figures.tables.get("raw", full.tables["raw"])["backlog"])
        assert most <= 8 * MIB and figures.most <= 24 * MIB and figures.bait["produced"] <= 50 * 20
        prompt(latencies)
        figures = await jail.when(lambda figures: figures.ends)
        assert figures.ends[0][:3] == ["raw", "idle", ""] and not figures.violations


async def test_t12_streams_that_are_granted_nothing() -> None:
    """T12, P-STREAM-2: with the least credit there is one item of each, for ever; pings go by."""
    least = Limits(stream_items=1, stream_bytes=1)
    async with jailed() as jail:
        raw, bait = await jail.holder("raw", least)
        await raw.send(*([Op.CALL, id, bait, "numbers", {"size": 65_536, "count": 10_000}] for id in range(2, 102)))
        items = 0
        while items < 100:
            items += (await raw.frame())[0] == Op.ITEMS
        await raw.send([Op.PING, 7])
        assert await raw.frame() == [Op.PONG, 7]
        figures = jail.figures()
        assert figures.bait["produced"] <= 200 and figures.tables["raw"]["streams"] == 100 and figures.most <= 24 * MIB


# --- T14, T15: streams ---


CREDITS: dict[str, tuple[list[list[Any]], str]] = {
    "items beyond credit": ([[Op.ITEMS, 1, [0] * 513]], "P-STREAM-2"),
    "bytes beyond credit": ([[Op.ITEMS, 1, [bytes(MIB)]], [Op.ITEMS, 1, [0]]], "P-STREAM-2"),
    "no credit": ([[Op.CREDIT, 3, 0, 0]], "P-OP"),
    "negative credit": ([[Op.CREDIT, 3, -1, 1]], "P-OP"),
    "credit beyond all": ([[Op.CREDIT, 3, 2**53 - 1, 0]], "P-STREAM-2"),
    "credit in portions": ([[Op.CREDIT, 3, 2**30, 0]] * 3, "P-STREAM-2"),
    "credit from a producer": ([[Op.CREDIT, 1, 1, 1]], "P-STREAM-1"),
    "items from a consumer": ([[Op.ITEMS, 3, [0]]], "P-STREAM-1"),
    "items after the end": ([[Op.END, 1], [Op.ITEMS, 1, [0]]], "P-STREAM-3"),
    "two ends": ([[Op.END, 1], [Op.END, 1]], "P-STREAM-3"),
    "an end and an error": ([[Op.END, 1], [Op.END, 1, "internal", "x"]], "P-STREAM-3"),
    "an id that is open": ([[Op.CALL, 9, 2, "sink", {"items": StreamRef("out", id=1)}]], "P-ID-1"),
    "more streams than there may be": (
        [[Op.CALL, 9, 2, "leave", {"many": [StreamRef("out", id=n) for n in range(10, 140)]}]],
        "P-LIMIT-2",
    ),
}


async def test_t14_t15_credit_abuse_and_lifecycle_abuse() -> None:
    """T14, T15, P-STREAM-1 to 3: each ends the connection with its clause, and its handlers with it."""
    async with jailed() as jail:
        for name, (frames, clause) in CREDITS.items():
            raw, bait = await jail.holder(name)
            await raw.send(
                [Op.CALL, 2, bait, "sink", {"items": StreamRef("out", id=1)}],
                [Op.CALL, 3, bait, "fill", {"into": StreamRef("in", id=3), "size": 1, "count": 10**6}],
            )
            await jail.when(lambda figures: figures.bait["running"] == 1)
            await raw.send(*frames)
            with anyio.fail_after(HANGS):
                while (frame := await raw.frame())[0] != Op.ABORT:
                    assert frame[0] == Op.ITEMS, (name, frame)
            assert frame[1] == clause, (name, frame)
            await raw.closed()
            await jail.when(lambda figures: figures.bait["running"] == 0 and figures.connections == 1)
        figures = jail.figures()
        assert dict(figures.violations) == {name: clause for name, (_, clause) in CREDITS.items()}
        assert figures.most <= 16 * MIB


async def test_t14_credit_that_crosses_the_end() -> None:
    """T14, P-STREAM-3: late credit and stops are no abuse."""
    async with jailed() as jail:
        raw, bait = await jail.holder()
        await raw.send([Op.CALL, 2, bait, "fill", {"into": StreamRef("in", id=3), "size": 1, "count": 3}])
        while (await raw.frame())[0] != Op.END:
            continue
        await raw.send([Op.CREDIT, 3, 5, 5], [Op.STOP, 3], [Op.PING, 1])
        while (await raw.frame()) != [Op.PONG, 1]:
            continue
        assert not jail.figures().violations


@measured
async def test_t15_streams_that_are_opened_and_left() -> None:
    """T15: many thousands, a hundred at a time: each has its one end, and nothing is left of them."""
    async with jailed() as jail:
        raw, bait = await jail.holder()
        ids = count(1)
        stops = 0
        early = jail.figures()
        rounds = fewer(500)
        for id in range(2, 2 + rounds):
            part = [next(ids) for _ in range(100)]
            await raw.send(
                [Op.CALL, id, bait, "leave", {"many": [StreamRef("out", id=n) for n in part]}],
                *([Op.END, n] for n in part),
            )
            while (frame := await raw.frame())[0] != Op.RESULT:
                stops += frame[0] == Op.STOP
            if id == 2 + rounds // 5:
                early = jail.figures()
        figures = await jail.when(lambda figures: figures.tables["raw"]["streams"] == 0)
        assert figures.most - early.most <= MIB and not figures.violations and stops < next(ids)


# --- T16, T17: revocation ---


@measured
async def test_t16_revoked_use() -> None:
    """T16, P-CAP-6: nothing of what was revoked runs again; the entry stays until it is given back, in the quota."""
    async with jailed() as jail:
        raw, bait = await jail.holder()
        await raw.send([Op.CALL, 2, bait, "things", {"count": 500}])
        ids = [cap.id for cap in (await raw.reply())[2]]
        # Some of these calls come before the revocation and some after it.
        await raw.send(*([Op.CALL, 10 + n, id, "label", NOTHING] for n, id in enumerate(ids[:250])))
        await raw.send([Op.CALL, 1000, bait, "revoke_all", {}])
        await raw.send(*([Op.CALL, 1001 + n, id, "label", NOTHING] for n, id in enumerate(ids)))
        found = await replies(raw, 751)
        labels = jail.figures().bait["labels"]
        assert found == {
            (Op.RESULT, "", ""): 251,
            (Op.ERROR, "failed_precondition", "revoked"): 500,
        }
        held = jail.figures()
        assert labels == 250 and held.tables["raw"]["exports"] == 501 and not held.violations
        await raw.send([Op.DROP, [[id, 1] for id in ids]], [Op.PING, 1])
        while (await raw.frame()) != [Op.PONG, 1]:
            continue
        assert (await jail.when(lambda figures: figures.tables["raw"]["exports"] == 1)).bait["labels"] == 250


@measured
async def test_t17_revocation_storm() -> None:
    """T17: ten thousand at once are told in as many words at most, each once, and nobody waits for it."""
    async with jailed() as jail:
        raw, bait = await jail.holder("raw", GREEDY)
        given: set[int] = set()
        for id in range(2, 11):
            await raw.send([Op.CALL, id, bait, "things", {"count": 1000}])
            given |= {cap.id for cap in (await raw.reply())[2]}
        jail.figures()
        await raw.send([Op.CALL, 20, bait, "revoke_all", {}])
        told: list[int] = []
        frames = 0
        while (frame := await raw.frame())[0] != Op.RESULT:
            assert frame[0] == Op.CAP_REVOKED
            told += frame[1]
            frames += 1
        assert frame == [Op.RESULT, 20, 9000] and sorted(told) == sorted(given) and frames <= 9000
        figures = jail.figures(check=False)
        assert figures.most <= 40 * MIB and not figures.violations
        jail.begin_anew()  # the host's own handler has revoked them one by one, which takes a while


@pytest.mark.parametrize("id", [0, 1, 9, 2**53 - 1])
async def test_t17_revocation_of_what_was_never_given(id: int) -> None:
    """T17, P-CAP-6."""
    async with jailed() as jail:
        raw = await jail.attacker()
        await raw.send([Op.CAP_REVOKED, [id], "mine now"])
        assert (await raw.reply())[:2] == [Op.ABORT, "P-CAP-6"]
        assert (await jail.ended(raw)).clause() == "P-CAP-6"


# --- T19: bootstraps ---


async def test_t19_bootstrap_flood() -> None:
    """T19: sixteen wait, the others fail, too many of these are the end."""
    async with jailed() as jail:
        raw = await jail.attacker()
        await raw.send(*([Op.CALL, id, 0, "bootstrap", {"name": f"no{id}", "wait_ms": 60_000}] for id in range(1, 117)))
        found = await replies(raw, 100)
        assert found == {(Op.ERROR, "resource_exhausted", "max_pending_bootstraps"): 100}
        assert jail.figures().tables["raw"]["answers"] == 16
        await raw.send([Op.CALL, 200, 0, "bootstrap", {"name": "no"}])
        assert (await jail.ended(raw)).clause() == "P-LIMIT-1"


async def test_t19_a_policy_that_is_no_good_denies() -> None:
    """T19, P-CAP-7: one that raises, hangs, or says anything but yes; what is served there looks like what is not."""
    names = ("raises", "hangs", "truthy", "none", "denied", "served", "not served")
    async with jailed("unsure", limits={"policy_timeout": 1.0}) as jail:
        await jail.open_log()
        raw, _ = await jail.holder()
        answers: dict[str, list[Any]] = {}
        for id, name in enumerate(names, 3):
            await raw.send([Op.CALL, id, 0, "bootstrap", {"name": name}])
            code, text, details = (await raw.reply())[2:]
            answers[name] = [code, text.replace(repr(name), "it"), details]
        assert {answer[0] for answer in answers.values()} == {"permission_denied"}
        assert answers["served"] == answers["not served"] == answers["none"] == answers["truthy"]
        await raw.send(*([Op.CALL, id, 0, "bootstrap", {"name": "hangs"}] for id in range(20, 60)))
        found = await replies(raw, 40)
        assert sum(found.values()) == 40 and found[Op.ERROR, "resource_exhausted", "max_pending_bootstraps"] == 24
        assert not jail.figures().violations


# --- T22: calls that call back ---


DEPTH = 400


@measured
@BOTH
async def test_t22_callback_recursion(loop: str) -> None:
    """T22, P-CALL-3: each call is answered with another call: so deep as calls may run, then errors, no deadlock."""
    async with jailed(loop=loop) as jail:
        raw, bait = await jail.holder()
        inner: list[int] = []
        refused = 0

        def again(id: int) -> list[Any]:
            back = CapRef("capnet.Callable", 1, id=1000 + id)
            return [Op.CALL, id, bait, "bounce", {"back": back, "depth": id}]

        await raw.send(again(2))
        id = 2
        while id < DEPTH:
            frame = await raw.frame()
            if frame[0] == Op.CALL:
                inner.append(frame[1])
            elif frame[0] == Op.ERROR:
                assert (frame[2], frame[4]["reason"]) == ("resource_exhausted", "max_concurrent_calls")
                refused += 1
            else:
                assert frame[0] == Op.DROP, frame
                continue
            id += 1
            await raw.send(again(id))
            if len(inner) == 256:  # from here on they wait in line, and nobody is called back
                rest = range(id + 1, DEPTH + 1)
                await raw.send(*(again(id) for id in rest))
                id = DEPTH
        held = await jail.when(lambda figures: figures.tables["raw"]["answers_queued"] == 64)
        assert held.bait["most"] == 256 and len(inner) == 256
        # The innermost is answered first, and all of them end, those in line as well.
        await raw.send(*([Op.RESULT, call, 1] for call in reversed(inner)))
        results = 0
        while results + refused < DEPTH - 1:
            frame = await raw.frame()
            if frame[0] == Op.CALL:
                await raw.send([Op.RESULT, frame[1], 1])
            elif frame[0] == Op.RESULT:
                assert frame[2] == 2
                results += 1
            elif frame[0] == Op.ERROR:
                refused += 1
        figures = await jail.when(lambda figures: figures.tables["raw"]["answers"] == 0)
        assert (results, refused) == (320, DEPTH - 1 - 320) and figures.tables["raw"]["calls"] == 0
        assert not figures.violations and figures.most <= 16 * MIB
