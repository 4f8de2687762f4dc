"""What is said at a limit: its value, its field, and whose it is; and what is raised on one side harms nobody."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from capnet import (
    Cap,
    FailedPrecondition,
    Host,
    InvalidArgument,
    Limits,
    ResourceExhausted,
    Stream,
    Unavailable,
    call,
    connect,
    notify,
    stream,
)
from capnet.testing import connected
from tests.connection.shop import until


class Vault(Cap, name="limits.Vault"):
    @call
    async def put(self, value: Any) -> int: ...

    @call
    async def get(self, what: str, size: int) -> Any: ...

    @call
    async def stuck(self) -> None: ...

    @stream
    def items(self, what: str, size: int) -> Stream[Any]: ...


def made(what: str, size: int) -> Any:
    """A value of a size."""
    match what:
        case "items":
            return [0] * size
        case "depth":
            value: Any = 0
            for _ in range(size):
                value = [value]
            return value
        case "caps":
            return [MemVault() for _ in range(size)]
        case _:
            return b"x" * size


class MemVault(Vault):
    def __init__(self) -> None:
        self.begun = 0

    async def put(self, value: Any) -> int:
        return 1

    async def get(self, what: str, size: int) -> Any:
        return made(what, size)

    async def stuck(self) -> None:
        self.begun += 1
        await anyio.sleep_forever()

    async def items(self, what: str, size: int) -> Stream[Any]:
        yield 1
        yield made(what, size)


LARGER = Limits(
    max_items=200_000, max_depth=200, max_references=3000, max_frame=16 * 1024 * 1024, max_backlog=32 * 1024 * 1024
)
CASES = [
    ("items", 70_000, "max_items", 65_536),
    ("depth", 100, "max_depth", 64),
    ("caps", 1100, "max_references", 1024),
    ("bytes", 5_000_000, "max_frame", 4 * 1024 * 1024),
]


@pytest.mark.parametrize(("what", "size", "field", "value"), CASES, ids=[case[0] for case in CASES])
@pytest.mark.parametrize("raised", ["nobody", "sender", "receiver"])
async def test_an_argument_that_is_too_much_is_an_error_here(
    what: str, size: int, field: str, value: int, raised: str
) -> None:
    """Whoever has raised the limit alone; a call in flight and those behind it do not notice."""
    sender, receiver = (LARGER if raised == side else Limits() for side in ("sender", "receiver"))
    async with connected(implementation := MemVault(), limits=receiver, client_limits=sender) as (server, client):
        vault = await client.bootstrap(Vault)
        pending = vault.stuck()
        await until(lambda: implementation.begun == 1)
        with pytest.raises((InvalidArgument, ResourceExhausted)) as caught:
            await vault.put(made(what, size))
        owners = {"nobody": "the sender and the receiver", "sender": "the receiver", "receiver": "the sender"}[raised]
        assert f"Limits.{field} of {owners} is {value}: raise it there" in str(caught.value)
        assert await vault.put(1) == 1 and not server.closed
        pending.cancel()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("what", "size", "field", "value"), CASES, ids=[case[0] for case in CASES])
@pytest.mark.parametrize("raised", ["nobody", "sender", "receiver"])
async def test_a_result_or_item_that_is_too_much_fails_its_call(
    what: str, size: int, field: str, value: int, raised: str
) -> None:
    """The caller reads the same words: they say whose the limit is without saying 'here'."""
    sender, receiver = (LARGER if raised == side else Limits() for side in ("sender", "receiver"))
    async with connected(MemVault(), limits=sender, client_limits=receiver) as (server, client):
        vault = await client.bootstrap(Vault)
        with pytest.raises((FailedPrecondition, ResourceExhausted)) as caught:
            await vault.get(what, size)
        owners = {"nobody": "the sender and the receiver", "sender": "the receiver", "receiver": "the sender"}[raised]
        assert f"Limits.{field} of {owners} is {value}: raise it there" in str(caught.value)
        items = vault.items(what, size)
        assert await anext(items) == 1
        with pytest.raises((FailedPrecondition, ResourceExhausted)) as caught:
            await anext(items)
        assert f"Limits.{field} of {owners} is {value}: raise it there" in str(caught.value)
        assert await vault.put(1) == 1 and not server.closed


@pytest.mark.parametrize(("what", "size", "field", "value"), CASES, ids=[case[0] for case in CASES])
async def test_raised_on_both_sides_it_travels(what: str, size: int, field: str, value: int) -> None:
    async with connected(MemVault(), limits=LARGER, client_limits=LARGER) as (_, client):
        vault = await client.bootstrap(Vault)
        assert await vault.put(made(what, size)) == 1
        assert await vault.get(what, size) is not None
        assert len([item async for item in vault.items(what, size)]) == 2


async def test_calls_that_wait_too_many_name_both_limits() -> None:
    """Those of the caller, which are met first by an honest one."""
    limits = Limits(max_outgoing_calls=3)
    async with connected(MemVault(), limits=Limits(max_calls=16), client_limits=limits) as (_, client):
        vault = await client.bootstrap(Vault)
        stuck = notify(vault.stuck)
        for _ in range(16 + 3):
            stuck()
        with pytest.raises(ResourceExhausted, match=r"Limits\.max_outgoing_calls of the caller is 3") as caught:
            stuck()
        assert caught.value.retry == "after-cooldown"
        await client.aclose(grace=0)


async def test_what_every_peer_may_send_cannot_be_forbidden() -> None:
    """Where the limits are put to use, before anything is opened."""
    for limits in (Limits(max_items=1000), Limits(max_depth=8), Limits(max_references=10)):
        with pytest.raises(InvalidArgument, match="must be at least"):
            Host(limits=limits)


# --- somebody else speaks ---

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
TLS = bytes.fromhex("16030100c0010000bc0303") + bytes(180)
ANSWER = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"


@asynccontextmanager
async def stranger_at(path: Path, says: bytes) -> AsyncGenerator[None]:
    """A server that is no capnet."""

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            if says:
                await stream.send(says)

    listener = await anyio.create_unix_listener(path)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("says", "words"),
    [
        (ANSWER, "HTTP"),
        (bytes.fromhex("15030100020246"), "TLS"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH"),
        (b"220 mail.example ESMTP\r\n", "text, '220 mail"),
        (b"\xff\xfe\xfd\xfc\xfb\xfa", "may be no capnet"),
        (b"\x00\x00\x00\x03abc", "may be no capnet"),
        (b"", "may be no capnet"),
    ],
    ids=["http", "tls", "ssh", "text", "bytes", "short", "nothing"],
)
async def test_who_connects_to_something_else_is_told_so(says: bytes, words: str, tmp_path: Path) -> None:
    async with stranger_at(tmp_path / "s", says), connect(f"unix:{tmp_path}/s") as client:
        with pytest.raises(Unavailable) as caught:
            await client.bootstrap(Vault)
        assert words in str(caught.value) and "1213486160" not in str(caught.value)
        cause = await client.wait_closed()
        assert "capnet" in cause.message


@pytest.mark.parametrize(
    ("says", "words"),
    [(REQUEST, "HTTP"), (TLS, "TLS"), (b"SSH-2.0-x\r\n", "SSH"), (b"hello there\n", "text")],
    ids=["http", "tls", "ssh", "text"],
)
async def test_a_host_knows_who_speaks_something_else(says: bytes, words: str, tmp_path: Path) -> None:
    """And tells it in a line that people can read."""
    async with Host() as host:
        await host.listen(f"unix:{tmp_path}/s")
        async with await anyio.connect_unix(tmp_path / "s") as line:
            await until(lambda: len(host.connections) == 1)
            causes: list[Any] = []
            host.connections[0].on_close(causes.append)
            await line.send(says)
            heard = b""
            with anyio.fail_after(60):
                while b"\r\n" not in heard[-2:]:
                    heard += await line.receive()
        await until(lambda: bool(causes))
        assert b"capnet/1" in heard
        assert causes[0].clause == "P-FRAME-2"
        assert words in causes[0].message and "this is not capnet" in causes[0].message


async def test_what_is_printed_between_frames_is_told_as_text() -> None:
    """A program that prints where it should speak."""
    async with connected(MemVault()) as (server, client):
        client._session.driver.transport.send([b"Hello, world!\n"])
        cause = await server.wait_closed()
        assert "text, 'Hello" in cause.message and cause.clause == "P-FRAME-2"
