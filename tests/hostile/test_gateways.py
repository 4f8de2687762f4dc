"""Clients of gateways that leave lying what they can: a host with one keeps within the bounds that hold for its peers.

In `make test` each gateway has one of these; where the bars are held all of them are, to the page and the millisecond.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, Final

import anyio
import pytest

from tests.cost import BARS
from tests.hostile.foreign import LONGEST
from tests.hostile.jail import MIB, jailed, measured, watching
from tests.hostile.jail import anyio_backend as anyio_backend  # a fixture

WIDE: Final = "\U0001f600" + "x" * (LONGEST - 1000)
"""Letters of a message that take four times as much."""
LONG: Final = "x" * (MIB - 1000)
NUMBERS: Final = [number + 0.5 for number in range(39_000)]

MESSAGES: Final = 8
"""How many of each are said in `make test`."""

_Lines = Callable[[], Iterator[Any]]


def ask(number: int, method: str, params: Any) -> Any:
    """A request of JSON-RPC."""
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def rpc_calls_that_hang() -> Iterator[Any]:
    """With all that a message can hold."""
    for number in range(80):
        yield ask(number, "test.Bait.hold", [(WIDE, NUMBERS, LONG, [{"a": {}}] * 13_000)[number % 4]])


def rpc_answers_that_nobody_reads() -> Iterator[Any]:
    for number in range(60):
        yield ask(number, "test.Bait.echo", [LONG])


def rpc_all_at_once() -> Iterator[Any]:
    """What hangs, what is not read, what is refused, and most of a line."""
    for number in range(4):
        yield ask(number, "test.Bait.hold", [WIDE[: LONGEST // 2] if number % 2 else LONG])
        yield ask(100 + number, "test.Bait.echo", [LONG])
        yield "[" * 1000 if number % 2 else {"jsonrpc": "2.0", "id": [], "method": "x" * 2000}
    yield b'{"params":["' + b"x" * (LONGEST - 100)


def acp_turns_that_hang() -> Iterator[Any]:
    yield ask(0, "session/new", {"id": "s", "cwd": "/"})
    for number in range(1, 80):
        prompt = [{"type": "text", "text": "hang"}, {"type": "text", "text": (WIDE[:-200], LONG)[number % 2]}]
        yield ask(number, "session/prompt", {"sessionId": "s", "prompt": prompt, "_meta": NUMBERS[: number * 10]})


def acp_sessions_without_end() -> Iterator[Any]:
    for number in range(400):
        yield ask(number, "session/new", {"cwd": LONG[:4000], "_meta": {"a": [1] * 100}})
        yield ask(1000 + number, "session/load", {"sessionId": "old", "cwd": "/"})


def web_calls_that_hang() -> Iterator[Any]:
    yield ["push", ["pipeline", 0, ["hold"], []]]
    for number in range(60):
        references = [["pipeline", 1]] * (3000 if number % 2 else 15_000)
        yield ["push", ["pipeline", 0, ["hold"], [(WIDE, NUMBERS[:30_000], [references], LONG)[number % 4]]]]


def web_results_that_are_kept() -> Iterator[Any]:
    for number in range(40):
        yield ["push", (WIDE, [NUMBERS[:20_000]], {str(key): {} for key in range(9000)})[number % 3]]


def web_streams_that_nobody_reads() -> Iterator[Any]:
    for pipe in range(1, 100):
        yield ["pipe"]
        yield ["push", ["pipeline", 0, ["hold"], [["readable", 2 * pipe - 1]]]] if pipe % 2 else ["push", 1]
    for _ in range(3):
        for pipe in range(1, 100):
            yield ["stream", ["pipeline", 2 * pipe - 1, ["write"], [WIDE[: 200_000 + pipe]]]]


def web_maps() -> Iterator[Any]:
    """Over each other, as large as they may be."""
    yield ["push", [[0] * 1000]]
    inner = ["remap", 0, [], [["import", -1]], [["remap", -1, [], [], [["pipeline", 0]] * 8]]]
    for _ in range(60):
        yield ["push", ["remap", 1, [], [["import", 1]], [inner] * 16]]
        yield ["push", ["remap", 1, [], [], [[[["pipeline", 0]] * 15]] * 16]]


def web_all_at_once() -> Iterator[Any]:
    yield ["push", WIDE[: LONGEST // 3]]
    for number in range(2, 6):
        yield ["push", ["pipeline", 0, ["hold"], [WIDE if number == 3 else LONG]]]
    for number in range(6, 10):
        yield ["push", ["pipeline", 0, ["echo"], [["pipeline", 1]]]]
        yield ["pull", number]
    yield b'["push","' + b"x" * (LONGEST - 100)


WAYS: Final[list[tuple[str, _Lines]]] = [
    ("jsonrpc", rpc_all_at_once),
    ("acp", acp_turns_that_hang),
    ("capnweb", web_all_at_once),
    ("jsonrpc", rpc_calls_that_hang),
    ("jsonrpc", rpc_answers_that_nobody_reads),
    ("acp", acp_sessions_without_end),
    ("capnweb", web_calls_that_hang),
    ("capnweb", web_results_that_are_kept),
    ("capnweb", web_streams_that_nobody_reads),
    ("capnweb", web_maps),
]


@pytest.mark.parametrize(
    ("gateway", "way"), WAYS if BARS else WAYS[:3], ids=lambda what: getattr(what, "__name__", what)
)
async def test_one_client(gateway: str, way: _Lines) -> None:
    """It says all of it and reads nothing; the honest peer is served, and the host stays within its bounds."""
    if BARS:
        await measured(_one_client)(gateway, way)
    else:
        with watching("memory"):
            await _one_client(gateway, way)


async def _one_client(gateway: str, way: _Lines) -> None:
    async with jailed(gateway=gateway) as jail:
        sock = jail.foreigner()
        said = 0
        for message in islice(way(), None if BARS else MESSAGES):
            if not await _sent(sock, message):
                break  # it is not read any more, or is gone
            said += 1
            await jail.served()
        assert said > 1
        await anyio.sleep(0.5 if BARS else 0)
        await jail.served()


async def _sent(sock: socket.socket, message: Any) -> bool:
    """Whether it was taken; where nothing is taken for a while, nothing more will be."""
    data = message if isinstance(message, bytes) else json.dumps(message, ensure_ascii=False).encode() + b"\n"
    view = memoryview(data)
    while view:
        with suppress(BlockingIOError):
            try:
                view = view[sock.send(view) :]
            except OSError as error:
                if isinstance(error, BlockingIOError):
                    raise
                return False
            continue
        with anyio.move_on_after(0.5) as waiting:
            await anyio.wait_writable(sock)
        if waiting.cancelled_caught:
            return False
    return True
