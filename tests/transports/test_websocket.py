"""WebSocket: which pages and programs are let in, and what comes of peers that break the protocol."""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from capnet import Host, connect
from capnet.errors import (
    CapnetError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from capnet.testing.transports import Recorder
from capnet.transport import HIGH_WATER, Transport
from capnet_transports import layers, listeners, sockets, web, websocket_codec
from capnet_transports.certificates import make
from capnet_transports.websocket import scheme, secure_scheme
from tests.connection.leaks import nothing_left as nothing_left  # a fixture
from tests.transports.carriers import PAGE, PagesOfOurs
from tests.transports.door import Door
from tests.transports.ends import started
from tests.transports.strangers import accepted, heard, impostor, said, stranger
from tests.transports.test_tcp import Adder, PlainAdder, refuse, rest

TOKEN = "correct-horse-battery-staple"
HOST, PEER = make("host"), make("anna")
MASK = bytes(4)
NODE = pytest.mark.skipif(shutil.which("node") is None, reason="needs the program node")


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strangers keep their end of a connection open, and nothing is tested by waiting for them."""
    monkeypatch.setattr(sockets, "LINGER", 0.1)


def request(changes: dict[str, str | None] | None = None, line: str = "GET /capnet HTTP/1.1", more: str = "") -> bytes:
    """What a client asks, with some headers changed, or left out for None."""
    headers: dict[str, str | None] = {
        "Host": "localhost:9000",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": f"capnet.1, capnet.token.{TOKEN}",
    }
    headers |= changes or {}
    lines = [line, *(f"{name}: {value}" for name, value in headers.items() if value is not None)]
    return ("\r\n".join(lines) + f"\r\n{more}\r\n").encode()


def frame(head: int, data: bytes = b"", *, masked: bool = True) -> bytes:
    """One frame of WebSocket; the mask is of zeros."""
    size = len(data)
    bit = 0x80 if masked else 0
    length = bytes([bit | size]) if size < 126 else bytes([bit | 126]) + size.to_bytes(2, "big")
    return bytes([head]) + length + (MASK if masked else b"") + data


@asynccontextmanager
async def met(**options: Any) -> AsyncGenerator[tuple[Any, Recorder, Transport]]:
    """A stranger's socket after its handshake, and the transport at the listener's end of it."""
    door = Door()
    listener = await scheme.listen("//127.0.0.1:0/capnet", door.accept, **({"token": TOKEN} | options))
    async with door.open(listener) as url:
        with stranger(url) as sock:
            sock.send(request())
            answer = b""
            while not answer.endswith(b"\r\n\r\n"):
                answer += await heard(sock, 1)
            assert answer.startswith(b"HTTP/1.1 101 ")
            transport = await door.next()
            async with started(transport) as recorder:
                yield sock, recorder, transport


# --- who is let in ---


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
async def test_call(host: str) -> None:
    async with Host() as server:
        server.serve(PlainAdder())
        listener = await server.listen(f"ws://{host}:0/adder?v=1", token=TOKEN)
        async with connect(listener.url, token=TOKEN) as conn:
            assert await (await conn.bootstrap(Adder)).add(2, 3) == 5
            (theirs,) = server.connections
            assert (theirs.attestation.transport, theirs.attestation.origin) == ("ws", None)
            assert theirs.attestation.address is not None and theirs.attestation.level == "untrusted"


async def test_call_over_tls() -> None:
    async with Host() as server:
        server.serve(PlainAdder())
        listener = await server.listen("wss://localhost:0", certificate=HOST, ca=PEER)
        async with connect(listener.url, certificate=PEER, ca=HOST) as conn:
            assert await (await conn.bootstrap(Adder)).add(2, 3) == 5
            assert (conn.attestation.transport, conn.attestation.tls_key) == ("wss", HOST.pin)
            (theirs,) = server.connections
            assert (theirs.attestation.tls_subject, theirs.attestation.tls_key) == ("CN=anna", PEER.pin)


async def test_page() -> None:
    """The attestation says which one it is."""
    door = Door()
    listener = await scheme.listen(
        "//127.0.0.1:0/capnet", door.accept, token=TOKEN, origins=["https://example.org", "http://localhost:8000"]
    )
    async with door.open(listener) as url:
        with stranger(url) as sock:
            sock.send(request({"Origin": "https://example.org"}))
            theirs = await door.next()
            assert theirs.attestation.origin == "https://example.org"
            theirs.abort()
        (await scheme.connect(rest(url), token=TOKEN, origin="http://localhost:8000")).abort()
        for origin in (None, "https://example.org.evil.example", "https://example.org:443", "null"):
            with pytest.raises(PermissionDenied) as caught:
                await scheme.connect(rest(url), token=TOKEN, origin=origin)
            assert (caught.value.reason, caught.value.retry) == ("origin", "never")


async def test_a_policy_decides_by_the_page() -> None:
    """Let in is not admitted."""
    other = "https://other.example"
    async with Host(policy=PagesOfOurs()) as host:
        host.serve(PlainAdder())
        listener = await host.listen("ws://127.0.0.1:0", token=TOKEN, origins=[PAGE, other])
        async with connect(listener.url, token=TOKEN, origin=PAGE) as conn:
            assert await (await conn.bootstrap(Adder)).add(2, 3) == 5
        async with connect(listener.url, token=TOKEN, origin=other) as conn:
            with pytest.raises(PermissionDenied):
                await conn.bootstrap(Adder)


REFUSED = {
    "a page": (request({"Origin": "https://evil.example"}), 403),
    "a page without a name": (request({"Origin": "null"}), 403),
    "two pages": (request(more="Origin: a\r\nOrigin: b\r\n"), 400),
    "a name of the page's own that leads here": (request({"Host": "evil.example:9000"}), 421),
    "a name that begins like ours": (request({"Host": "localhost.evil.example"}), 421),
    "an address like ours": (request({"Host": "127.0.0.1.evil.example:9000"}), 421),
    "no name": (request({"Host": None}), 421),
    "two names": (request(more="Host: localhost\r\n"), 400),
    "another path": (request(line="GET / HTTP/1.1"), 404),
    "a path that begins like ours": (request(line="GET /capnet/ HTTP/1.1"), 404),
    "a path with a question": (request(line="GET /capnet?x HTTP/1.1"), 404),
    "no token": (request({"Sec-WebSocket-Protocol": "capnet.1"}), 401),
    "no subprotocol": (request({"Sec-WebSocket-Protocol": None}), 401),
    "another token": (request({"Sec-WebSocket-Protocol": f"capnet.token.{TOKEN}x"}), 401),
    "a part of the token": (request({"Sec-WebSocket-Protocol": f"capnet.token.{TOKEN[:-1]}"}), 401),
    "no upgrade": (request({"Upgrade": None}), 426),
    "another method": (request(line="POST /capnet HTTP/1.1"), 405),
    "older HTTP": (request(line="GET /capnet HTTP/1.0"), 505),
    "no key": (request({"Sec-WebSocket-Key": None}), 400),
    "another version": (request({"Sec-WebSocket-Version": "8"}), 400),
    "frames before it is let in": (request() + frame(0x82, b"early"), 400),
    "a line without end": (b"GET /" + b"a" * 10_000, 414),
    "a header without end": (request(more="X: " + "a" * 10_000 + "\r\n"), 431),
    "too many headers": (request(more="X: a\r\n" * 300), 431),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_who_is_not_let_in(case: str) -> None:
    words, status = REFUSED[case]
    listener = await scheme.listen("//127.0.0.1:0/capnet", refuse, token=TOKEN)
    async with Door().open(listener) as url:
        with stranger(url) as sock:
            sock.send(words)
            answer = await said(sock)
            assert answer.startswith(f"HTTP/1.1 {status} ".encode())
            assert TOKEN.encode() not in answer


@pytest.mark.parametrize("words", [request() + frame(0x88), request() + frame(0x89), request() + b"\xff" * 20])
async def test_control_frames_before_it_is_let_in(words: bytes) -> None:
    listener = await scheme.listen("//127.0.0.1:0/capnet", refuse, token=TOKEN)
    async with Door().open(listener) as url:
        with stranger(url) as sock:
            sock.send(words)
            assert not (await said(sock)).startswith(b"HTTP/1.1 101")


@pytest.mark.parametrize("words", [b"\x00\x00\x00\x1c\x84\x00fcapnet", b"\x16\x03\x01\x00\xc8" + bytes(200), b"\n"])
async def test_who_does_not_speak_http_is_told(words: bytes) -> None:
    async with Door().open(await scheme.listen("//127.0.0.1:0", refuse, token=TOKEN)) as url:
        with stranger(url) as sock:
            sock.send(words)
            assert (await said(sock)).startswith(b"capnet: this port speaks WebSocket")


@pytest.mark.parametrize(
    ("changes", "kind", "reason"),
    [
        ({"token": TOKEN[::-1]}, Unauthenticated, "token"),
        ({"token": None}, Unauthenticated, "token"),
        ({"origin": "https://evil.example"}, PermissionDenied, "origin"),
        ({"path": "/other"}, NotFound, "path"),
    ],
)
async def test_refusals_are_told(changes: dict[str, Any], kind: type[CapnetError], reason: str) -> None:
    async with Door().open(await scheme.listen("//127.0.0.1:0/capnet", refuse, token=TOKEN)) as url:
        options = {"token": TOKEN} | changes
        where = rest(url).removesuffix("/capnet") + options.pop("path", "/capnet")
        with pytest.raises(kind) as caught:
            await scheme.connect(where, **options)
        assert (caught.value.reason, caught.value.retry) == (reason, "never")


async def test_refused_for_its_name() -> None:
    listener = await scheme.listen("//127.0.0.1:0", refuse, token=TOKEN, hosts=["Example.org", "[::1]:80", "::2"])
    async with Door().open(listener) as url:
        with pytest.raises(PermissionDenied) as caught:
            await scheme.connect(rest(url), token=TOKEN)
        assert caught.value.reason == "host"


async def test_names_of_a_host() -> None:
    door = Door()
    listener = await scheme.listen(
        "//0.0.0.0:0/capnet", door.accept, token=TOKEN, hosts=["Example.org", "[::1]:80", "::2", "b.example:1"]
    )
    async with door.open(listener) as url:
        for name in ("example.org", "EXAMPLE.ORG:80", "[::1]", "[::2]:9", "b.example"):
            with stranger(url) as sock:
                sock.send(request({"Host": name}))
                (await door.next()).abort()


@pytest.mark.parametrize(
    ("where", "options"),
    [
        ("//127.0.0.1:0", {}),
        ("//0.0.0.0:0", {"token": TOKEN}),
        ("//[::]:0", {"token": TOKEN}),
        ("//127.0.0.1:0", {"token": TOKEN, "origins": "https://example.org"}),
        ("//127.0.0.1:0", {"token": TOKEN, "origins": []}),
        ("//127.0.0.1:0", {"token": TOKEN, "hosts": "localhost"}),
        ("//127.0.0.1:0/a b", {"token": TOKEN}),
        ("//127.0.0.1:0/#a", {"token": TOKEN}),
        ("//127.0.0.1:0/ü", {"token": TOKEN}),
        ("//127.0.0.1:0/a\r\nb", {"token": TOKEN}),
        ("//127.0.0.1", {"token": TOKEN}),
        ("", {"token": TOKEN}),
        ("//127.0.0.1:0", {"token": TOKEN, "certificate": HOST}),
    ],
)
async def test_options_that_make_no_sense(where: str, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        await scheme.listen(where, refuse, **options)


async def test_over_tls_a_certificate_is_needed() -> None:
    with pytest.raises(InvalidArgument):
        await secure_scheme.listen("//127.0.0.1:0", refuse, token=TOKEN)


async def test_tokens_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    door = Door()
    async with door.open(await scheme.listen("//127.0.0.1:0", door.accept, token=TOKEN)) as url:
        (await scheme.connect(rest(url), token=TOKEN)).abort()
        (await door.next()).abort()
        with pytest.raises(Unauthenticated):
            await scheme.connect(rest(url), token=TOKEN + "y")
    assert TOKEN not in caplog.text


# --- where we connect ---


@pytest.mark.parametrize(
    ("words", "again"),
    [
        (b"", True),
        (b"capnet-token/1 " + b"0" * 32 + b"\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", False),
        (b"HTTP/1.1 301 Moved\r\nLocation: ws://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", False),
        (
            b"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n",
            False,
        ),
        (b"HTTP/1.1 429 Slowly\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 500 \xff\x1b[31m\r\nContent-Length: 3\r\n\r\n\x1b[3", True),
        (b"HTTP/1.0 502 Bad Gateway\r\n\r\n", True),
        (b"HTTP/1.1 200 " + b"a" * 10_000, False),
    ],
)
async def test_a_listener_that_does_not_speak_websocket(words: bytes, again: bool) -> None:
    """Another attempt may help where a proxy speaks for a server that is not there now."""
    errors = list[CapnetError]()
    with impostor() as (sock, port):

        async def deceived() -> None:
            with pytest.raises(Unavailable) as caught:
                await scheme.connect(f"//127.0.0.1:{port}", token=None)
            errors.append(caught.value)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(deceived)
            with await accepted(sock) as peer:
                await heard(peer, 100)
                peer.send(words)
    assert len(errors[0].message) <= 320 and "\x1b" not in errors[0].message
    assert (errors[0].retry != "never") is again


# --- afterwards ---


async def test_messages_are_a_stream() -> None:
    """How it is cut into messages and fragments says nothing; pings may come in between."""
    async with met() as (sock, recorder, transport):
        sock.send(
            frame(0x82, b"one")
            + frame(0x02, b"t")
            + frame(0x89, b"are you there")
            + frame(0x00, b"w")
            + frame(0x80, b"o")
            + frame(0x82)
            + frame(0x8A)
        )
        await recorder.until(lambda: bytes(recorder.data) == b"onetwo", "all of it arrives")
        assert await heard(sock, 15) == b"\x8a\x0dare you there"
        transport.send([b"three"])
        assert await heard(sock, 7) == b"\x82\x05three"


async def test_messages_have_a_bound_and_end_where_chunks_end() -> None:
    big = bytes(web.MESSAGE)
    assert [len(message) for message in web.messages([b"a", b"bc", big, b"", b"d", big + b"ef"])] == [
        3, len(big), 1, len(big), 2,
    ]  # fmt: skip
    assert web.messages([]) == web.messages([b""]) == []


BROKEN = {
    "text": (frame(0x81, b"text"), 1003),
    "compressed": (frame(0xC2, b"\x4a\x04\x00"), 1002),
    "not masked": (frame(0x82, b"plain", masked=False), 1002),
    "too large": (b"\x82\xff" + (2 * 1024 * 1024).to_bytes(8, "big") + MASK, 1009),
    "an opcode that nobody has": (frame(0x83), 1002),
    "a part of no message": (frame(0x80, b"part"), 1002),
    "a message in a message": (frame(0x02, b"a") + frame(0x82, b"b"), 1002),
    "a ping in parts": (frame(0x09, b"a"), 1002),
    "a close with half a code": (frame(0x88, b"\x03"), 1002),
}


@pytest.mark.parametrize("case", BROKEN)
async def test_what_breaks_it(case: str) -> None:
    """What came before is delivered, nothing after; the peer is told."""
    words, code = BROKEN[case]
    async with met() as (sock, recorder, _):
        sock.send(frame(0x82, b"before") + words + frame(0x82, b"after"))
        answer = await said(sock)
        assert answer[0] == 0x88 and int.from_bytes(answer[2:4], "big") == code
        await recorder.until(lambda: recorder.ends, "it ends")
        error = recorder.ends[0]
        assert isinstance(error, Unavailable) and error.reason == "websocket"
        assert not bytes(recorder.data).removeprefix(b"before").removeprefix(b"a")


async def test_no_compression_is_agreed_on() -> None:
    """Offered or not."""
    door = Door()
    async with door.open(await scheme.listen("//127.0.0.1:0/capnet", door.accept, token=TOKEN)) as url:
        with stranger(url) as sock:
            sock.send(request({"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}))
            (await door.next()).abort()
            answer = await said(sock)
            assert answer.startswith(b"HTTP/1.1 101") and b"extensions" not in answer.lower()


@pytest.mark.parametrize(
    ("close", "clean"),
    [(b"\x03\xe8", True), (b"", True), (b"\x03\xe9", False), (b"\x03\xf4restart", False), (b"\x0f\xa0", False)],
)
async def test_closed_by_the_peer(close: bytes, clean: bool) -> None:
    async with met() as (sock, recorder, _):
        sock.send(frame(0x82, b"last words") + frame(0x88, close))
        await recorder.until(lambda: recorder.ends, "it ends")
        assert bytes(recorder.data) == b"last words"
        error = recorder.ends[0]
        assert error is None if clean else isinstance(error, Unavailable) and error.reason == "websocket_close"
        assert (await said(sock))[:1] == b"\x88"


async def test_cut_is_no_end() -> None:
    async with met() as (sock, recorder, _):
        sock.send(frame(0x82, b"half"))
        sock.close()
        await recorder.until(lambda: recorder.ends, "it ends")
        error = recorder.ends[0]
        assert isinstance(error, Unavailable) and error.reason == "truncated"


async def test_closing_waits_for_the_peer_to_say_so_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 6455, 7.1.1; what it sends until then is dropped."""
    monkeypatch.setattr(layers, "LINGER", 3600.0)
    async with met() as (sock, recorder, transport):
        transport.close()
        assert await heard(sock, 4) == b"\x88\x02\x03\xe8"
        sock.send(frame(0x82, b"too late"))
        await anyio.wait_all_tasks_blocked()
        assert not recorder.ends
        sock.send(frame(0x88, b"\x03\xe8"))
        assert await said(sock) == b""
        await recorder.until(lambda: recorder.ends, "it ends")
        assert recorder.ends == [None] and not recorder.data


async def test_closing_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "LINGER", 0.1)
    async with met() as (sock, recorder, transport):
        transport.pause()
        transport.close()
        assert await said(sock) == b"\x88\x02\x03\xe8"
        sock.close()
        await recorder.until(lambda: recorder.ends, "it ends")
        assert recorder.ends == [None]


async def test_pings_of_a_peer_that_reads_nothing() -> None:
    """Answers to them do not pile up: once the peer is behind, they are left out."""
    async with met() as (sock, recorder, transport):
        transport.send([bytes(8 * HIGH_WATER)])
        waiting = transport.backlog
        assert waiting > HIGH_WATER
        pings = frame(0x89, bytes(125)) * 1000
        with anyio.fail_after(60):
            for _ in range(20):
                rest_ = memoryview(pings)
                while rest_:
                    await anyio.wait_writable(sock)
                    rest_ = rest_[sock.send(rest_) :]
            sock.send(frame(0x82, b"."))
        await recorder.until(lambda: bytes(recorder.data) == b".", "what is behind them arrives")
        assert transport.backlog <= waiting


async def test_thousands_of_empty_frames_let_others_have_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """They cost the peer little: so many are taken in one turn, and the rest in the next ones."""
    taken = list[int]()
    real = websocket_codec.WebSocketCodec.take

    def counted(self: Any, most: int = 0) -> Any:
        taken[-1] += 1
        return real(self)

    deliver = layers.Layer._take

    def turn(self: layers.Layer) -> None:
        taken.append(0)
        deliver(self)

    monkeypatch.setattr(websocket_codec.WebSocketCodec, "take", counted)
    monkeypatch.setattr(layers.Layer, "_take", turn)
    async with met() as (sock, recorder, _):
        with anyio.fail_after(60):
            rest_ = memoryview(frame(0x82) * 20_000 + frame(0x82, b"."))
            while rest_:
                await anyio.wait_writable(sock)
                rest_ = rest_[sock.send(rest_) :]
        await recorder.until(lambda: bytes(recorder.data) == b".", "what is behind them arrives")
    assert max(taken) <= layers.TURN and sum(taken) >= 20_000


@pytest.mark.parametrize("words", [b"", b"GET /capnet HTTP/1.1\r\nHost: loc"], ids=["silent", "slow"])
async def test_time_for_a_handshake_is_bounded(words: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "HANDSHAKE_TIME", 0.2)
    async with Door().open(await scheme.listen("//127.0.0.1:0/capnet", refuse, token=TOKEN)) as url:
        with stranger(url) as sock:
            sock.send(words)
            assert await said(sock) == b""


PROGRAM = """
const [url, token] = process.argv.slice(-2);
const socket = new WebSocket(url, ["capnet.1", "capnet.token." + token]);
socket.binaryType = "arraybuffer";
socket.onopen = () => socket.send(new Uint8Array([1, 2, 3]));
socket.onerror = () => console.log("error");
socket.onmessage = (event) => { console.log(socket.protocol, new Uint8Array(event.data).join()); };
socket.onclose = (event) => console.log("closed", event.code, event.wasClean);
"""


@NODE
async def test_node_connects() -> None:
    """A counterpart that we have not written, with the interface that pages have."""
    door = Door()
    async with door.open(await scheme.listen("//127.0.0.1:0/capnet", door.accept, token=TOKEN, origins=[None])) as url:
        command = ["node", "--experimental-websocket", "-e", PROGRAM, "--", url, TOKEN]
        with run(command) as process:
            assert process.stdout is not None
            transport = await door.next()
            async with started(transport) as recorder:
                await recorder.until(lambda: bytes(recorder.data) == b"\1\2\3", "what it says arrives")
                transport.send([b"\4\5", b"\6"])
                assert await anyio.to_thread.run_sync(process.stdout.readline) == b"capnet.1 4,5,6\n"
                transport.close()
                assert await anyio.to_thread.run_sync(process.stdout.readline) == b"closed 1000 true\n"
                await recorder.until(lambda: recorder.ends, "it ends")
                assert recorder.ends == [None]
            process.kill()


def run(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.PIPE)
