"""TCP: how addresses are written and reached, and that a token is what lets in."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from capnet import Cap, Host, call, connect
from capnet.errors import AlreadyExists, CapnetError, InvalidArgument, Unauthenticated, Unavailable
from capnet.transport import Transport
from capnet_transports import handshakes, inet, listeners, tcp
from capnet_transports.sockets import SocketTransport
from tests.connection.leaks import nothing_left as nothing_left  # a fixture
from tests.transports.door import Door
from tests.transports.strangers import accepted, heard, impostor, said, stranger

TOKEN = "correct-horse-battery-staple"


class Adder(Cap, name="test.Adder"):
    @call
    async def add(self, a: int, b: int) -> int: ...


class PlainAdder(Adder):
    async def add(self, a: int, b: int) -> int:
        return a + b


def refuse(transport: Transport) -> None:
    raise AssertionError("nobody should get in")


def rest(url: str) -> str:
    return url.partition(":")[2]


# --- a call ---


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
async def test_call(host: str) -> None:
    async with Host() as server:
        server.serve(PlainAdder())
        listener = await server.listen(f"tcp:{host}:0", token=TOKEN)
        async with connect(listener.url, token=TOKEN) as conn:
            adder = await conn.bootstrap(Adder)
            assert await adder.add(2, 3) == 5
            assert conn.attestation.transport == "tcp"
            assert conn.attestation.level == "untrusted"
            assert conn.attestation.address == str(inet.Address(*remote(listener.url, conn.attestation.address)))
            (theirs,) = server.connections
            assert theirs.attestation.address is not None
            assert theirs.attestation.address.rpartition(":")[0] in ("127.0.0.1", "[::1]")


def remote(url: str, address: str | None) -> tuple[str, int]:
    """What the client's attestation must say: a number in place of a name, and the listener's port."""
    assert address is not None
    where = inet.parse("tcp", rest(url))
    return where.host if where.host != "localhost" else address.rpartition(":")[0].strip("[]"), where.port


async def test_messages_leave_at_once_and_the_system_looks_after_the_peer() -> None:
    door = Door()
    async with door.open(await tcp.listen("127.0.0.1:0", door.accept, token=TOKEN)) as url:
        for transport in (await tcp.connect(rest(url), token=TOKEN), await door.next()):
            assert isinstance(transport, SocketTransport)
            sock = transport._socket
            assert isinstance(sock, socket.socket)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert not sock.get_inheritable()
            transport.abort()


# --- addresses ---


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:80", "127.0.0.1", 80),
        ("//example.org:443", "example.org", 443),
        ("[::1]:9000", "::1", 9000),
        ("[fe80::1%eth0]:1", "fe80::1%eth0", 1),
        ("xn--bcher-kva.example:65535", "xn--bcher-kva.example", 65535),
    ],
)
async def test_addresses(text: str, host: str, port: int) -> None:
    address = inet.parse("tcp", text)
    assert (address.host, address.port) == (host, port)
    assert str(address) == text.removeprefix("//")


@pytest.mark.parametrize(
    "text",
    [
        "", "//", ":80", "host", "host:", "host:http", "host:-1", "host:0", "host:65536", "host:999999", "host:٣",
        "::1:80", "[::1]", "[::1]80", "[]:80", "[host]:80", "ho st:80", "host:80/path", "user@host:80", "host\n:80",
        "[::1:80", "::1]:80", "host:80:90", "host#:80", "host?:80", "host: 80",
    ],
)  # fmt: skip
async def test_what_is_no_address(text: str) -> None:
    with pytest.raises(InvalidArgument):
        await tcp.scheme.connect(text, token=TOKEN)
    if text != "host:0":
        with pytest.raises(InvalidArgument):
            await tcp.scheme.listen(text, refuse, token=TOKEN)


async def test_nobody_listens() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(Unavailable) as caught:
            await tcp.connect(f"127.0.0.1:{bound.getsockname()[1]}", token=TOKEN)
    assert caught.value.reason == "econnrefused"


@pytest.mark.parametrize("name", ["no-such-host.invalid", "x" * 64 + ".example", "a..b"])
async def test_unknown_name(name: str) -> None:
    for attempt in (tcp.connect(f"{name}:80", token=TOKEN), tcp.listen(f"{name}:0", refuse, token=TOKEN)):
        with pytest.raises(Unavailable) as caught:
            await attempt
        assert caught.value.reason == "unknown_host"


async def test_address_of_another_machine() -> None:
    with pytest.raises(Unavailable) as caught:
        await tcp.listen("192.0.2.1:0", refuse, token=TOKEN)
    assert caught.value.reason == "eaddrnotavail"


async def test_port_in_use() -> None:
    listener = await tcp.listen("127.0.0.1:0", refuse, token=TOKEN)
    with pytest.raises(AlreadyExists) as caught:
        await tcp.listen(rest(listener.url), refuse, token=TOKEN)
    assert caught.value.reason == "eaddrinuse"
    await listener.aclose()
    await (await tcp.listen(rest(listener.url), refuse, token=TOKEN)).aclose()


async def test_options_that_make_no_sense() -> None:
    with pytest.raises(InvalidArgument):
        await tcp.listen("127.0.0.1:0", refuse, token=TOKEN, backlog=0)
    with pytest.raises(InvalidArgument, match="colour"):
        await tcp.scheme.connect("127.0.0.1:1", token=TOKEN, colour="red")


def answers(*places: tuple[socket.AddressFamily, str]) -> Any:
    """A resolver that knows one name."""

    async def getaddrinfo(host: str, port: int, **options: Any) -> list[Any]:
        return [(family, socket.SOCK_STREAM, 6, "", (number, port)) for family, number in places]

    return getaddrinfo


async def test_first_address_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address where nobody listens costs nothing; the next one is tried at once."""
    door = Door()
    async with door.open(await tcp.listen("127.0.0.1:0", door.accept, token=TOKEN)) as url:
        port = inet.parse("tcp", rest(url)).port
        monkeypatch.setattr(inet, "HEAD_START", 60.0)
        monkeypatch.setattr(anyio, "getaddrinfo", answers((socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1")))
        (await tcp.connect(f"two-families.example:{port}", token=TOKEN)).abort()
        (await door.next()).abort()


async def test_an_address_that_is_silent_does_not_hold_up_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 8305: the other family is tried beside it, after a head start."""
    door = Door()
    tried = list[str]()
    real = inet._connect

    async def connect_or_hang(sock: socket.socket, place: tuple[str | int, ...]) -> None:
        tried.append(str(place[0]))
        if place[0] != "127.0.0.1":
            await anyio.sleep_forever()  # an address whose packets are dropped on the way
        await real(sock, place)

    async with door.open(await tcp.listen("127.0.0.1:0", door.accept, token=TOKEN)) as url:
        port = inet.parse("tcp", rest(url)).port
        monkeypatch.setattr(inet, "HEAD_START", 0.01)
        monkeypatch.setattr(inet, "_connect", connect_or_hang)
        monkeypatch.setattr(
            anyio,
            "getaddrinfo",
            answers((socket.AF_INET6, "::1"), (socket.AF_INET6, "::2"), (socket.AF_INET, "127.0.0.1")),
        )
        (await tcp.connect(f"silent.example:{port}", token=TOKEN)).abort()
        (await door.next()).abort()
    assert tried == ["::1", "127.0.0.1"], "the families take turns"


async def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(sock: socket.socket, place: tuple[str | int, ...]) -> None:
        await anyio.sleep_forever()

    monkeypatch.setattr(inet, "_connect", hang)
    monkeypatch.setattr(inet, "PATIENCE", 0.1)
    with pytest.raises(Unavailable) as caught:
        await tcp.connect("127.0.0.1:9", token=TOKEN)
    assert caught.value.reason == "connect_timeout"


async def test_a_name_with_an_address_that_this_machine_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are listened at."""
    monkeypatch.setattr(anyio, "getaddrinfo", answers((socket.AF_INET, "192.0.2.1"), (socket.AF_INET, "127.0.0.1")))
    door = Door()
    async with door.open(await tcp.listen("half.example:0", door.accept, token=TOKEN)) as url:
        monkeypatch.undo()
        (await tcp.connect(f"127.0.0.1:{inet.parse('tcp', rest(url)).port}", token=TOKEN)).abort()
        (await door.next()).abort()


# --- tokens ---


async def test_a_token_is_needed() -> None:
    """Also on this machine: any program of any user reaches a port."""
    for attempt in (tcp.scheme.connect("127.0.0.1:1"), tcp.scheme.listen("127.0.0.1:0", refuse)):
        with pytest.raises(InvalidArgument) as caught:
            await attempt
        assert caught.value.reason == "token_needed"


@pytest.mark.parametrize(
    "token", ["", "short", "x" * 15, "x" * 257, "with space in the middle", "ünïcödé-ünïcödé-ü", "x" * 16 + "\n"]
)
async def test_a_token_that_is_none(token: str) -> None:
    for attempt in (tcp.connect("127.0.0.1:1", token=token), tcp.listen("127.0.0.1:0", refuse, token=token)):
        with pytest.raises(InvalidArgument) as caught:
            await attempt
        assert caught.value.reason == "weak_token"
        assert not token or token not in str(caught.value), "secrets are not told"


async def test_another_token() -> None:
    async with Door().open(await tcp.listen("127.0.0.1:0", refuse, token=TOKEN)) as url:
        with pytest.raises(Unauthenticated) as caught:
            await tcp.connect(rest(url), token=TOKEN[::-1])
        assert (caught.value.reason, caught.value.retry) == ("token", "never")


async def test_no_token_for_a_listener_that_wants_one(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "capnet.transports")
    async with Host() as host:
        host.serve(PlainAdder())
        listener = await host.listen("tcp:127.0.0.1:0", token=TOKEN)
        async with connect(listener.url, token=None) as conn:
            with pytest.raises(CapnetError):
                await conn.bootstrap(Adder)
        assert not host.connections
    assert "does not have the token" in caplog.text and TOKEN not in caplog.text


async def test_a_token_for_a_listener_that_wants_none() -> None:
    """It might be anybody."""
    async with Host() as host:
        listener = await host.listen("tcp:127.0.0.1:0", token=None)
        with pytest.raises(Unauthenticated) as caught:
            await tcp.connect(rest(listener.url), token=TOKEN)
        assert caught.value.reason == "token"


@asynccontextmanager
async def deceived_client() -> AsyncGenerator[tuple[socket.socket, bytes]]:
    """Somebody else has the port, and a client shows what it knows: that one's end, and what it was shown."""

    async def deceived(port: int) -> None:
        with pytest.raises(Unauthenticated):
            await tcp.connect(f"127.0.0.1:{port}", token=TOKEN)

    with impostor() as (sock, port):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(deceived, port)
            with await accepted(sock) as peer:
                peer.send(b"capnet-token/1 " + b"0" * 32 + b"\n")
                yield peer, await heard(peer, 98)


async def test_whoever_has_taken_the_port_learns_nothing() -> None:
    """Neither the token, nor anything with which to come in at the real listener."""
    door = Door()
    async with door.open(await tcp.listen("127.0.0.1:0", door.accept, token=TOKEN)) as url:
        async with deceived_client() as (peer, proof):
            assert TOKEN.encode() not in proof
            peer.send(b"f" * 64 + b"\n")
        with stranger(url) as again:
            await heard(again, 48)
            again.send(proof)  # for a challenge that was another
            assert b"wants a token" in await said(again)
        assert not door.arrived


async def test_what_the_client_has_shown_is_no_proof_of_a_listener() -> None:
    async with deceived_client() as (peer, proof):
        peer.send(proof[33:])


@pytest.mark.parametrize(
    "words",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03" + bytes(200),
        b"\x00\x00\x00\x1c\x84\x00fcapnet",
        b"\n",
        b"\xff",
        b"0" * 32 + b" " + b"0" * 64 + b"\n",
        b"0" * 200,
    ],
)
async def test_strangers_are_told_what_is_spoken_here(words: bytes) -> None:
    async with Door().open(await tcp.listen("127.0.0.1:0", refuse, token=TOKEN)) as url:
        with stranger(url) as sock:
            sock.send(words)
            assert (await said(sock))[48:] == b"capnet: this port wants a token: connect(url, token=...)\n"


# --- handshakes of those that mean no good ---


@pytest.mark.parametrize("words", [b"", b"0" * 31], ids=["silent", "slow"])
async def test_time_for_a_handshake_is_bounded(words: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "HANDSHAKE_TIME", 0.1)
    async with Door().open(await tcp.listen("127.0.0.1:0", refuse, token=TOKEN)) as url:
        with stranger(url) as sock:
            sock.send(words)
            assert (await said(sock)).startswith(b"capnet-token/1 ")


async def test_a_listener_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "PATIENCE", 0.1)
    with impostor() as (_, port):
        with pytest.raises(Unavailable) as caught:
            await tcp.connect(f"127.0.0.1:{port}", token=TOKEN)
        assert caught.value.reason == "handshake_timeout"


async def test_a_listener_that_leaves_in_the_handshake() -> None:
    with impostor() as (sock, port):
        async with anyio.create_task_group() as tasks:

            async def left() -> None:
                with pytest.raises(Unavailable):
                    await tcp.connect(f"127.0.0.1:{port}", token=TOKEN)

            tasks.start_soon(left)
            with await accepted(sock) as peer:
                peer.send(b"capnet-token/1 ")


async def test_flood_at_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strangers that say nothing take all places, again and again: whoever means well gets in all the same."""
    monkeypatch.setattr(listeners, "HANDSHAKES", 4)
    monkeypatch.setattr(listeners, "HANDSHAKE_TIME", 3600.0)
    monkeypatch.setattr(listeners, "HURRY", 0.05)
    door = Door()
    listener = await tcp.listen("127.0.0.1:0", door.accept, token=TOKEN)
    assert isinstance(listener, listeners.HandshakeListener)
    most = 0
    async with door.open(listener) as url:
        strangers = [socket.create_connection(("127.0.0.1", inet.parse("tcp", rest(url)).port)) for _ in range(30)]
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                nonlocal most
                while True:
                    most = max(most, len(listener._handshakes))
                    await checkpoint()

            tasks.start_soon(watch)
            for _ in range(3):
                (await tcp.connect(rest(url), token=TOKEN)).abort()
                (await door.next()).abort()
            tasks.cancel_scope.cancel()
        for sock in strangers:
            sock.close()
    assert most == 4


async def test_closing_ends_handshakes_and_keeps_connections() -> None:
    door = Door()
    listener = await tcp.listen("127.0.0.1:0", door.accept, token=TOKEN)
    async with door.open(listener) as url:
        ours = await tcp.connect(rest(url), token=TOKEN)
        theirs = await door.next()
        with stranger(url) as sock:
            await heard(sock, 48)
            await listener.aclose()
            assert await said(sock) == b""
        assert (ours.backlog, theirs.backlog) == (0, 0)
    await listener.serve()  # returns at once
    for transport in (ours, theirs):
        transport.abort()


async def test_closing_while_all_places_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "HANDSHAKES", 1)
    monkeypatch.setattr(listeners, "HURRY", 3600.0)
    listener = await tcp.listen("127.0.0.1:0", refuse, token=TOKEN)
    async with Door().open(listener) as url:
        with stranger(url) as one, stranger(url) as other:
            await heard(one, 48)
            await listener.aclose()
            assert await said(one) == await said(other) == b""


async def test_cancelled_while_connecting() -> None:
    """Whatever it waits for, nothing is left open."""
    with impostor() as (sock, port):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tcp_connect, port)
            with await accepted(sock) as peer:
                tasks.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    assert await said(peer) == b""


async def tcp_connect(port: int) -> None:
    await tcp.connect(f"127.0.0.1:{port}", token=TOKEN)


async def test_patience_is_more_than_a_listener_gives() -> None:
    """So that it is the listener that says what was wrong."""
    assert handshakes.PATIENCE > listeners.HANDSHAKE_TIME > listeners.HURRY
