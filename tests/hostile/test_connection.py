"""Hostile peers against a real host on a unix socket, an honest client beside each: it must notice nothing.

The peer is a plain socket and speaks in bytes. For each attack: what it gets back, and whether it is closed.
"""

from __future__ import annotations

import os
import socket
import tempfile
from typing import Any

import anyio
import pytest

from capnet import Cap, Internal, InvalidArgument, Limits, Unavailable, call, connect
from capnet.observe import HandlerFailed
from capnet.testing import assert_no_leaks
from capnet.wire.frames import Op
from capnet.wire.framing import header
from capnet.wire.hello import Hello
from capnet.wire.references import CapRef
from tests.connection.leaks import nothing_left as nothing_left  # a fixture
from tests.connection.shop import MemShop, until
from tests.hostile.attack import Raw, scene

BOOTSTRAP = 0
NAMED = {"name": "test.Shop"}


# --- before and instead of a hello ---

STRANGERS = {
    "garbage": bytes(range(256)) * 8,
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "tls": bytes.fromhex("16030100c8010000c40303"),
    "oversized header": b"\xff\xff\xff\xff",
    "just over 4 KiB": header(4097),
    "empty frame": header(0),
    "text": b"\x00\x00\x00\x05hello",
}


@pytest.mark.parametrize("data", STRANGERS.values(), ids=STRANGERS)
async def test_a_stranger_gets_one_line_and_is_closed(data: bytes) -> None:
    """P-CONN-3, P-FRAME-2: a line that a person can read, no frame, no hello needed."""
    async with scene() as here, here.attacker() as raw:
        await raw.send(data)
        assert b"this is a capnet/1 endpoint" in await raw.closed()
        assert await here.clause() in ("P-CONN-1", "P-FRAME-1", "P-FRAME-2")


async def test_one_that_does_not_hang_up_is_cut_off() -> None:
    """The host's last frames have a second to be read, then the connection is gone whether the peer likes it or not."""
    async with scene() as here, here.attacker() as raw:
        await raw.send(b"\xff\xff\xff\xff")
        assert await here.clause() == "P-FRAME-2"


async def test_a_call_before_the_hello() -> None:
    """P-CONN-1."""
    async with scene() as here, here.attacker() as raw:
        await raw.send([Op.CALL, 1, BOOTSTRAP, "bootstrap", NAMED])
        await raw.closed()
        assert await here.clause() == "P-CONN-1"


async def test_a_second_hello() -> None:
    """P-CONN-1: the clause comes back in an abort frame."""
    async with scene() as here, here.attacker() as raw:
        await raw.greet()
        await raw.send(Hello("again").to_frame())
        assert (await raw.reply())[:2] == [Op.ABORT, "P-CONN-1"]
        await raw.closed()
        assert await here.clause() == "P-CONN-1"


async def test_a_hello_of_more_than_4_kib() -> None:
    """P-FRAME-2: judged from the header, before anything of it is kept."""
    async with scene() as here, here.attacker() as raw:
        await raw.send(Hello("raw", auth="x" * 4096).to_frame())
        await raw.closed()
        assert await here.clause() == "P-FRAME-2"


async def test_a_peer_that_says_nothing() -> None:
    """P-CONN-3: its time is the handshake's."""
    async with scene(Limits(handshake_timeout=0.5)) as here, here.attacker() as raw:
        assert b"this is a capnet/1 endpoint" in await raw.closed()
        assert await here.clause() == "P-CONN-3"


async def test_half_a_hello_and_silence() -> None:
    async with scene(Limits(handshake_timeout=0.5)) as here, here.attacker() as raw:
        await raw.send(raw.pack(Hello("raw").to_frame())[:20])
        await raw.closed()
        assert await here.clause() == "P-CONN-3"


async def test_half_a_frame_and_silence() -> None:
    """P-FRAME-2: a frame that was begun must be finished; pings sent meanwhile by us do not help the peer."""
    async with scene(Limits(partial_frame_timeout=0.3)) as here, here.attacker() as raw:
        await raw.greet()
        await raw.send(raw.pack([Op.PING, 1])[:-1])
        await raw.closed()
        assert await here.clause() == "P-FRAME-2"


# --- frames that an honest peer never sends ---


def _deep(depth: int) -> bytes:
    frame = b"\x85\x02\x01\x00\x69bootstrap\xa1\x64name" + b"\x81" * depth + b"\x00"
    return header(len(frame)) + frame


def _raw_frame(text: str) -> bytes:
    payload = bytes.fromhex(text)
    return header(len(payload)) + payload


VIOLATIONS: dict[str, tuple[bytes | list[Any], str]] = {
    "deep": (_deep(100), "P-FRAME"),
    "very deep": (_deep(100_000), "P-FRAME"),
    "foreign tag": (_raw_frame("820ec100"), "P-FRAME"),
    "bignum": (_raw_frame("820ec249010000000000000000"), "P-FRAME"),
    "indefinite length": (_raw_frame("9f0e01ff"), "P-FRAME"),
    "two items": (_raw_frame("820e01820e02"), "P-FRAME"),
    "duplicate key": (_raw_frame("850201006161a2616101616102"), "P-FRAME"),
    "not an array": (_raw_frame("a0"), "P-FRAME"),
    "empty array": ([], "P-OP"),
    "unknown op": ([63], "P-OP"),
    "call without arguments": ([Op.CALL, 1, 0, "bootstrap"], "P-OP"),
    "call with a list": ([Op.CALL, 1, 0, "bootstrap", ["x"]], "P-OP"),
    "negative call id": ([Op.CALL, -1, 0, "bootstrap", {}], "P-OP"),
    "text as call id": ([Op.CALL, "1", 0, "bootstrap", {}], "P-OP"),
    "true as call id": ([Op.CALL, True, 0, "bootstrap", {}], "P-OP"),
    "nameless method": ([Op.CALL, 1, 0, "", {}], "P-OP"),
    "capability never issued": ([Op.CALL, 1, 77, "x", {}], "P-ID"),
    "result of no call": ([Op.RESULT, 5, None], "P-ID"),
    "cancel of no call": ([Op.CANCEL, 9], "P-ID"),
    "drop of the bootstrap": ([Op.DROP, [[0, 1]]], "P-"),
    "drop of what was never given": ([Op.DROP, [[2, 1]]], "P-"),
    "drop of nothing": ([Op.DROP, [[2, 0]]], "P-OP"),
    "revocation of what was never given": ([Op.CAP_REVOKED, [2], "x"], "P-"),
    "revocation of the bootstrap": ([Op.CAP_REVOKED, [0], "x"], "P-"),
    "pong to no ping": ([Op.PONG, 1], "P-ID"),
}


@pytest.mark.parametrize(("attack", "clause"), VIOLATIONS.values(), ids=VIOLATIONS)
async def test_a_violation_gets_an_abort_with_its_clause_and_is_closed(attack: bytes | list[Any], clause: str) -> None:
    """P-ERR-3: one abort frame, then the end; in bounded time, which the honest client measures."""
    async with scene() as here, here.attacker() as raw:
        await raw.greet()
        await raw.send(attack)
        abort = await raw.reply()
        assert abort[0] == Op.ABORT and abort[1].startswith(clause), abort
        await raw.closed()
        assert await here.clause() == abort[1]


async def test_dropping_more_than_was_given() -> None:
    """P-REF-2: what the honest client holds of the same object stays."""
    async with scene() as here, here.attacker() as raw:
        await raw.greet()
        await raw.send([Op.CALL, 1, BOOTSTRAP, "bootstrap", NAMED])
        assert (await raw.reply())[0] == Op.RESULT
        await raw.send([Op.DROP, [[2, 2]]])
        assert (await raw.reply())[0] == Op.ABORT
        await raw.closed()
        assert (await here.clause()).startswith("P-REF")
        assert here.implementation.closed == 0


async def test_a_call_id_that_is_used_twice() -> None:
    """P-CALL-7."""
    async with scene() as here, here.attacker() as raw:
        await raw.greet()
        frame = [Op.CALL, 1, BOOTSTRAP, "bootstrap", {"name": "test.none", "wait_ms": 60_000}]
        await raw.send(frame, frame)
        assert (await raw.reply())[0] == Op.ABORT
        await raw.closed()
        assert (await here.clause()).startswith(("P-CALL", "P-ID"))


# --- what is refused, while the connection stays ---


async def _shop(raw: Raw) -> int:
    await raw.greet()
    await raw.send([Op.CALL, 1, BOOTSTRAP, "bootstrap", NAMED])
    op, id, value = await raw.reply()
    assert (op, id) == (Op.RESULT, 1) and isinstance(value, CapRef)
    return value.id


METHODS = (
    "__class__",
    "__init__",
    "__reduce__",
    "_x",
    "_capnet_hosted",
    "aclose",
    "gate",
    "items",
    "add.__globals__",
    "é",
)


async def test_names_of_methods_that_are_not_declared() -> None:
    """P-CALL-9: the table decides, nothing is looked up by a name from the wire; one error each, and it stays open."""
    async with scene() as here, here.attacker() as raw:
        target = await _shop(raw)
        for id, name in enumerate(METHODS, 2):
            await raw.send([Op.CALL, id, target, name, {}])
            assert (await raw.reply())[:3] == [Op.ERROR, id, "unimplemented"], name
        await raw.send([Op.CALL, 50, target, "add", {"a": 1}])
        assert await raw.reply() == [Op.RESULT, 50, 11]
        assert not here.violations and here.implementation.closed == 0


ARGUMENTS: dict[str, dict[str, Any]] = {
    "missing": {},
    "unknown": {"a": 1, "z": 2},
    "text": {"a": "1"},
    "boolean": {"a": True},
    "null": {"a": None},
    "float": {"a": 1.5},
    "a map": {"a": {"b": 1}},
    "self": {"a": 1, "self": 2},
    "context": {"a": 1, "ctx": {}},
}


@pytest.mark.parametrize("arguments", ARGUMENTS.values(), ids=ARGUMENTS)
async def test_arguments_of_another_shape(arguments: dict[str, Any]) -> None:
    """Checked against the annotations before the handler is reached: `invalid_argument`, kept open."""
    async with scene() as here, here.attacker() as raw:
        target = await _shop(raw)
        await raw.send([Op.CALL, 2, target, "add", arguments])
        assert (await raw.reply())[:3] == [Op.ERROR, 2, "invalid_argument"]
        await raw.send([Op.CALL, 3, target, "add", {"a": 1}])
        assert await raw.reply() == [Op.RESULT, 3, 11]
        assert not here.violations


async def test_a_capability_of_another_kind_or_gone() -> None:
    """The reference that came along is given back; ids that are gone are ordinary errors (P-ID-4)."""
    async with scene() as here, here.attacker() as raw:
        target = await _shop(raw)
        await raw.send([Op.CALL, 2, target, "keep", {"item": CapRef("test.Other", 1, id=2)}])
        assert (await raw.reply())[:3] == [Op.ERROR, 2, "invalid_argument"]
        while (frame := await raw.frame())[0] != Op.DROP:
            continue
        assert frame == [Op.DROP, [[2, 1]]]
        await raw.send([Op.DROP, [[target, 1]]], [Op.CALL, 3, target, "add", {"a": 1}])
        code, details = (await raw.reply())[2::2]
        assert code == "not_found" and details["reason"] == "released"
        assert not here.violations and here.implementation.closed == 0


async def test_nothing_of_an_exception_reaches_the_peer() -> None:
    """P-ERR-2: a canary in the text, in locals and in the path of the failing code never leaves."""

    class Leaky(MemShop):
        async def fail(self, how: str) -> int:
            canary = "canary-in-locals"
            raise RuntimeError(f"canary-in-text {how} {canary} {__file__}")

    async with scene(implementation=Leaky()) as here, here.attacker() as raw:
        target = await _shop(raw)
        await raw.send([Op.CALL, 2, target, "fail", {"how": "x"}])
        assert (await raw.reply())[:3] == [Op.ERROR, 2, "internal"]
        for secret in (b"canary", b"RuntimeError", b"Traceback", os.fsencode(__file__), b".py"):
            assert secret not in raw.bytes
        with pytest.raises(Internal) as caught:
            await here.shop.fail("y")
        assert "canary" not in str(caught.value) + repr(caught.value.details)


async def test_limits_that_are_run_into_again_and_again() -> None:
    """P-LIMIT-1: each is an error of one call; too many in a while are a violation."""
    async with scene(Limits(max_strikes=20)) as here, here.attacker() as raw:
        target = await _shop(raw)
        await raw.send([Op.DROP, [[target, 1]]])
        answers = 0
        for id in range(2, 40):
            await raw.send([Op.CALL, id, target, "add", {"a": 1}])
            if (await raw.reply())[0] == Op.ABORT:
                break
            answers += 1
        assert 15 <= answers <= 21
        await raw.closed()
        assert (await here.clause()).startswith("P-LIMIT")


async def test_a_peer_that_never_reads() -> None:
    """T11, T12: what waits for it is bounded, then reading stops, then it is given up. The others go on."""
    limits = Limits(max_backlog=1024 * 1024, write_timeout=0.1)
    async with scene(limits) as here, here.attacker() as raw:
        target = await _shop(raw)
        (connection,) = [one for one in here.host.connections if one.peer_name == "raw"]
        big = bytes(512 * 1024)
        async with anyio.create_task_group() as tasks:

            async def flood() -> None:
                for id in range(2, 60):
                    await raw.send([Op.CALL, id, target, "echo", {"value": big}])

            tasks.start_soon(flood)
            while not connection.closed:
                assert connection._session.driver.transport.backlog <= 4 * 1024 * 1024
                assert await here.shop.add(1) == 11
            tasks.cancel_scope.cancel()
        cause = connection.close_cause
        assert cause is not None and cause.kind == "lost" and not here.violations


async def test_a_peer_that_hangs_up_in_the_middle_of_its_calls() -> None:
    async with scene() as here, here.attacker() as raw:
        target = await _shop(raw)
        await raw.send(*[[Op.CALL, id, target, "wait", {"key": "gone"}] for id in range(2, 12)])
        await until(lambda: here.implementation.gate.entered.count("gone") == 10)
        raw._sock.close()
        await until(lambda: here.implementation.gate.cancelled.count("gone") == 10)
        await until(lambda: len(here.host.connections) == 1)


# --- hostile servers ---


class Teller(Cap, name="test.Teller"):
    @call
    async def tell(self) -> int: ...


REPLIES: dict[str, tuple[Any, type[Exception]]] = {
    "another type": ("text", InvalidArgument),
    "deep": ([[[[1]]]], InvalidArgument),
    "foreign capability": (CapRef("test.Other", 1, id=3), InvalidArgument),
    "undecodable": (None, Unavailable),
}


@pytest.mark.parametrize(("value", "kind"), REPLIES.values(), ids=REPLIES)
async def test_a_server_whose_results_cannot_be_used(value: Any, kind: type[Exception]) -> None:
    """Fault 2: the call ends, in every case; what cannot be decoded ends the connection as well."""
    with tempfile.TemporaryDirectory(prefix="cap", dir="/tmp") as folder:
        path = os.path.join(folder, "s")
        door = socket.socket(socket.AF_UNIX)
        try:
            door.bind(path)
            door.listen()
            async with connect(f"unix:{path}") as client:
                sock, _ = door.accept()
                with sock:
                    sock.setblocking(False)
                    server = Raw(sock)
                    await server.greet()
                    outcome: list[type[BaseException]] = []

                    async def ask() -> None:
                        teller = await client.bootstrap(Teller)
                        try:
                            await teller.tell()
                        except Exception as error:
                            outcome.append(type(error))

                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(ask)
                        id = (await server.frame())[1]
                        await server.send([Op.RESULT, id, CapRef("test.Teller", 1, id=2)])
                        id = (await server.frame())[1]
                        bad = _raw_frame("8303" + f"{id:02x}" + "c100")
                        await server.send([Op.RESULT, id, value] if kind is InvalidArgument else bad)
                    assert outcome == [kind]
                    if kind is InvalidArgument:
                        await assert_no_leaks(client)
                        assert client.close_cause is None
                    else:
                        assert client.close_cause is not None and client.close_cause.kind == "violation"
        finally:
            door.close()


@pytest.mark.parametrize("value", [None, 5, "x", [], {"cap": 2}], ids=["null", "int", "text", "array", "map"])
async def test_a_server_that_answers_a_bootstrap_with_something_else(value: Any) -> None:
    """That it is no capability is told in words of ours, as of any result of another type."""
    with tempfile.TemporaryDirectory(prefix="cap", dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as door:
        path = os.path.join(folder, "s")
        door.bind(path)
        door.listen()
        async with connect(f"unix:{path}") as client:
            sock, _ = door.accept()
            with sock:
                sock.setblocking(False)
                server = Raw(sock)
                await server.greet()
                failed: list[HandlerFailed] = []
                client.on(HandlerFailed, failed.append)
                asked = client.bootstrap(Teller)
                id = (await server.frame())[1]
                await server.send([Op.RESULT, id, value])
                with pytest.raises(InvalidArgument) as caught:
                    await asked
                assert caught.value.reason == "result_type" and failed == []
