"""T18, T20, T21 and T23: names, texts and errors, against a host in the jail.

What a name may reach, what becomes of a peer's words in this program, and what of this program a peer can see.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from capnet.limits import Limits
from capnet.wire.frames import Op
from capnet.wire.references import CapRef, StreamRef
from tests.hostile.attack import Raw
from tests.hostile.bait import CANARY, PRIVATE
from tests.hostile.jail import MIB, jailed, measured, prompt
from tests.hostile.jail import anyio_backend as anyio_backend  # a fixture
from tests.integration.programs import ROOT

# --- T18: names ---

UNDECLARED = [
    *PRIVATE,
    *("__class__", "__dict__", "__doc__", "__module__", "__weakref__", "__annotations__", "__getattribute__"),
    *("_capnet_hosted", "capnet", "aclose", "close", "add.__globals__", "add.__func__", "../add", "add/..", "add "),
    *(" add", "Add", "ADD", "\N{CYRILLIC SMALL LETTER A}dd", "addé", "\N{FULLWIDTH LATIN SMALL LETTER A}dd", "%61dd"),
    *("add()", "add;ls", "$(add)", "{add}", "*", "x" * 256),
]
"""What looks like a method and is none: private, of Python, of another alphabet, of another letter."""
UNFIT = ["", "x" * 257, "x" * MIB, "é" * 129, "a\nb", "a\x00b", "\x1b[31madd", "add\u202e", "add\u200b", "\ue000"]
"""What is no name: too long, or not printable."""


async def test_t18_name_games_with_methods() -> None:
    """T18, P-CALL-9: the table decides: one error each, nothing was looked for, the connection is kept."""
    async with jailed("watched") as jail:
        raw, bait = await jail.holder()
        before = jail.figures().bait.get("touched", 0)
        for id, name in enumerate(UNDECLARED, 2):
            await raw.send([Op.CALL, id, bait, name, {}])
            assert (await raw.reply())[:3] == [Op.ERROR, id, "unimplemented"], name
        figures = jail.figures()
        assert figures.bait.get("touched", 0) == before and not figures.violations and figures.most <= 2 * MIB
        await raw.send([Op.CALL, 1000, bait, "_enter", {}], [Op.CALL, 1001, bait, "hold", {}])
        assert (await raw.reply())[2] == "unimplemented"  # and the counter counts, when the handler uses it
        assert (await jail.when(lambda figures: figures.bait["running"] == 1)).bait["touched"] > before


async def test_t18_names_that_are_none() -> None:
    """T18, P-OP, P-REF: as a method or an interface they end the connection, as a served name the call fails."""
    async with jailed() as jail:
        for name in UNFIT:
            raw, bait = await jail.holder("method")
            await raw.send([Op.CALL, 2, bait, name, {}])
            assert (await raw.reply())[:2] == [Op.ABORT, "P-OP"], name
            await raw.closed()
            raw, bait = await jail.holder("interface")
            await raw.send([Op.CALL, 2, bait, "echo", {"value": CapRef(name, 1, id=2)}])
            assert (await raw.reply())[:2] == [Op.ABORT, "P-REF"], name
            await raw.closed()
            raw = await jail.attacker("served")
            await raw.send([Op.CALL, 1, 0, "bootstrap", {"name": name}])
            assert (await raw.reply())[:3] == [Op.ERROR, 1, "invalid_argument"], name
            raw._sock.close()
        figures = await jail.when(lambda figures: figures.connections == 1)
        assert len(figures.violations) == 2 * len(UNFIT) and figures.most <= 16 * MIB


async def test_t18_names_that_are_not_served_and_such_that_are_denied() -> None:
    """T18, P-CAP-2: one cannot be told from the other, and nothing but the name itself leads to what is served."""
    async with jailed("unsure") as jail:
        raw = await jail.attacker()
        names = [
            "served",
            "not served",
            "SERVED",
            "served ",
            "s\N{CYRILLIC SMALL LETTER IE}rved",
            "../served",
            "capnet.Runtime",
            *PRIVATE,
        ]
        told: set[tuple[str, str]] = set()
        for id, name in enumerate(names, 1):
            await raw.send([Op.CALL, id, 0, "bootstrap", {"name": name}])
            code, text, details = (await raw.reply())[2:]
            told.add((code, repr(details)))
            assert text.replace(repr(name), "it") == "'it' is not for you".replace("'it'", "it"), text
        assert len(told) == 1 and {code for code, _ in told} == {"permission_denied"}
        assert not jail.figures().violations


# --- T20: a peer's errors ---

FORGED = "\r\n2026-01-01T00:00:00Z [error    ] forged               where='the vault is open'\n"
NASTY = [
    FORGED,
    "\x1b[2J\x1b]0;title\x07",
    "\x00\x08\x7f\x9b",
    "\u202eevil",
    "\u2028line",
    "%s %d {0} {x!r}",
    "$(reboot)",
]
CODES = [
    *("builtins.SystemExit", "SystemExit", "KeyboardInterrupt", "capnet.errors.ProtocolViolation", "os.system"),
    *("Internal", "__import__('os')", "internal\n", "", "x" * 100_000, *NASTY),
]


async def answered(raw: Raw, bait: int, id: int, method: str, answer: list[Any]) -> list[Any]:
    """The host's answer to a call that asks us, when we answer like this."""
    await raw.send([Op.CALL, id, bait, method, {"question": CapRef("capnet.Callable", 1, id=id)}])
    while (frame := await raw.frame())[0] != Op.CALL:
        assert frame[0] == Op.DROP, frame
    await raw.send([answer[0], frame[1], *answer[1:]])
    return await raw.reply()


@measured
async def test_t20_errors_that_a_peer_makes_up() -> None:
    """T20, P-ERR-1: a class of ours by a fixed table, whatever it is called; text of 4 KiB; the connection is kept."""
    async with jailed() as jail:
        raw, bait = await jail.holder()
        wild: dict[str, Any] = {
            "__class__": "os.system",
            "traceback": FORGED,
            "reason": {"x": 1},
            "retry": "now",
            "x" * 5000: [[]],
        }
        for id, code in enumerate(CODES, 2):
            text = (FORGED + "é" * MIB) if id % 5 == 0 else f"text {code}"
            reply = await answered(raw, bait, id, "ask", [Op.ERROR, code, text, wild])
            kind, size = reply[2].rsplit(" ", 1)
            assert kind == "capnet.errors.Internal" and int(size) <= 4096 + 100, reply
        figures = jail.figures()
        assert not figures.violations and figures.most <= 24 * MIB and figures.tables["raw"]["imports"] == 0


async def test_t20_error_of_ten_megabytes() -> None:
    """T20, P-FRAME-2: longer than a frame may be."""
    async with jailed() as jail:
        raw, bait = await jail.holder()
        await raw.send([Op.CALL, 2, bait, "ask", {"question": CapRef("capnet.Callable", 1, id=2)}])
        asked = await raw.frame()
        await raw.send([Op.ERROR, asked[1], "internal", "x" * (10 * MIB)])
        figures = await jail.ended(raw)
        assert figures.clause() == "P-FRAME-2" and figures.most <= 2 * MIB


def injected(log: str) -> list[str]:
    """What of a log could be taken for an entry of its own, or does something to a terminal."""
    lines = [line for line in log.split("\n") if line.startswith(("2026-01-01", "line"))]
    return lines + [repr(char) for char in log if char != "\n" and not (char.isprintable() or char == "\t")]


async def test_t20_log_injection_by_texts() -> None:
    """T20: reasons, messages and names of a peer come to observers as data, and stay on their line when these write."""
    async with jailed("loud") as jail:
        await jail.open_log()
        for number, text in enumerate(NASTY):
            raw, bait = await jail.holder(f"raw {number}")
            await raw.send([Op.CALL, 2, bait, text, {}] if text.isprintable() else [Op.PING, 1])
            await raw.send([Op.CALL, 3, bait, "hold", {}], [Op.CANCEL, 3, text])
            await raw.send([Op.CALL, 4, bait, "sink", {"items": StreamRef("out", id=1)}], [Op.END, 1, text, text])
            await raw.send([Op.CALL, 5, bait, "numbers", {"size": 1, "count": 1}], [Op.STOP, -1, text])
            await raw.send([Op.CALL, 6, bait, "ask", {"question": CapRef("capnet.Callable", 1, id=6)}])
            await raw.send([Op.CAP_REVOKED, [6], text])
            await raw.send([Op.ABORT, text, text] if number % 2 else [Op.GOAWAY, 9, text, text, 0])
            raw._sock.close()
        await jail.when(lambda figures: figures.connections == 1)
        assert "raw 0" in jail.log() and injected(jail.log()) == []


@pytest.mark.parametrize("text", NASTY[:5], ids=["entry", "terminal", "controls", "direction", "separator"])
async def test_t20_log_injection_by_a_handler_that_quotes_its_peer(text: str) -> None:
    """T20: a handler that fails with what it was told is logged; what the peer said stays data there."""
    async with jailed() as jail:
        await jail.open_log()
        raw, bait = await jail.holder()
        reply = await answered(raw, bait, 2, "pass_on", [Op.ERROR, "not_found", text])
        assert reply[2] == "internal"
        assert "it said" in jail.log() and injected(jail.log()) == []


# --- T21: what a peer sees ---

SECRETS = {"CAPNET_TEST_SECRET": f"{CANARY} of the environment", "PYTHONSTARTUP": f"/{CANARY}/startup"}
TELLTALE = (
    CANARY.encode(), b"Traceback", b"RuntimeError", b"KeyError", b".py", b"line ", b"object at 0x", b"bait",
    os.fsencode(str(ROOT)), b"site-packages", b"/tmp/",
)  # fmt: skip
"""What tells a peer about the inside of this program."""
HOWS = ["raise", "chain", "unencodable", "deep", "surrogate", "group", "anything else"]


async def test_t21_nothing_of_the_inside_leaves() -> None:
    """T21, I14: whatever a peer does to make something fail, no byte that it gets holds a secret, a path or a trace."""
    async with jailed("secretive", limits={"policy_timeout": 0.2}, environment=SECRETS) as jail:
        await jail.open_log()
        raw, bait = await jail.holder("raw", Limits(max_caps=16))
        ids = iter(range(2, 1000))
        assert CANARY in await jail.call("echo", {"value": f"{CANARY} of another peer"})
        for how in HOWS:
            await raw.send([Op.CALL, next(ids), bait, "fail", {"how": how}])
            assert (await raw.reply())[2] in ("internal", "failed_precondition", "invalid_argument"), how
        for name in ("raises", "hangs", "denied", "fallback", "served", CANARY[:6]):
            await raw.send([Op.CALL, next(ids), 0, "bootstrap", {"name": name}])
            assert (await raw.reply())[2] == "permission_denied", name
        for method in ("describe", "stats"):
            await raw.send([Op.CALL, next(ids), 1, method, {}])
            assert (await raw.reply())[0] == Op.RESULT, method
        await raw.send([Op.CALL, next(ids), 1, "events", {}])
        assert (await raw.reply())[0] == Op.RESULT
        await raw.send([Op.CALL, next(ids), bait, "failing", {}])
        while (frame := await raw.frame())[0] != Op.END:
            assert frame[0] in (Op.RESULT, Op.ITEMS), frame
        assert frame[2] == "internal"
        for arguments in ({}, {"how": 1}, {"how": "x", "self": 1}, {"how": [CapRef("x", 1, id=9)]}):
            await raw.send([Op.CALL, next(ids), bait, "fail", arguments])
            assert (await raw.reply())[0] == Op.ERROR
        for error in ("__traceback__", "__cause__", "_password"):
            await raw.send([Op.CALL, next(ids), bait, error, {}])
            assert (await raw.reply())[2] == "unimplemented"
        await raw.send([Op.CALL, next(ids), bait, "things", {"count": 20}])
        assert (await raw.reply())[2] == "resource_exhausted"
        assert CANARY in jail.log()  # so it was there to be told
        await raw.send([63])
        said = await raw.closed()
        assert [word for word in TELLTALE if word in said] == []
        assert (await jail.when(lambda figures: figures.connections == 1)).clause() == "P-OP"


# --- T23: observers ---


@measured
async def test_t23_observers_that_fail_and_write_under_a_flood() -> None:
    """T23: what an observer does costs its own events and nobody's call; what it misses and fails at is counted."""
    async with jailed("loud") as jail:
        await jail.open_log()
        raw, bait = await jail.holder()
        for start in range(2, 4002, 200):
            await raw.send(*([Op.CALL, id, bait, "add", {"a": id}] for id in range(start, start + 200)))
            for id in range(start, start + 200):
                assert await raw.reply() == [Op.RESULT, id, id + 10]
        prompt([await jail.served()])
        figures = await jail.when(lambda figures: figures.observer_failures > 0)
        assert not figures.violations and figures.most <= 8 * MIB and "CallFinished" in jail.log()
