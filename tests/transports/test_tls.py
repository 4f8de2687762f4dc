"""TLS: who is let in, what the two sides know of each other afterwards, and what comes of handshakes that go wrong."""

from __future__ import annotations

import hashlib
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from capnet import Host, connect
from capnet.errors import CapnetError, InvalidArgument, Unauthenticated, Unavailable
from capnet.transport import Attestation, Transport
from capnet_transports import handshakes, layers, listeners, sockets, tls
from capnet_transports.certificates import Certificate, key_of, make
from capnet_transports.tls_context import _load
from tests.connection.leaks import nothing_left as nothing_left  # a fixture
from tests.transports.door import Door
from tests.transports.ends import started
from tests.transports.strangers import accepted, heard, impostor, said, stranger
from tests.transports.test_tcp import Adder, PlainAdder, refuse, rest

HOST, PEER, OTHER = make("host"), make("anna"), make("otto")
TOKEN = "correct-horse-battery-staple"
OPENSSL = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the program openssl")


async def test_call() -> None:
    async with Host() as host:
        host.serve(PlainAdder())
        listener = await host.listen("tls:localhost:0", certificate=HOST, ca=PEER)
        async with connect(listener.url, certificate=PEER, ca=HOST) as conn:
            assert await (await conn.bootstrap(Adder)).add(2, 3) == 5
            ours = conn.attestation
            (theirs,) = (connection.attestation for connection in host.connections)
    assert (ours.transport, ours.tls_subject, ours.tls_key) == ("tls", "CN=host", HOST.pin)
    assert (theirs.transport, theirs.tls_subject, theirs.tls_key) == ("tls", "CN=anna", PEER.pin)
    assert ours.level == theirs.level == "untrusted"
    assert ours.address is not None and theirs.address is not None


# --- who is let in ---


async def attempt(listen: dict[str, Any], connect_with: dict[str, Any], address: str = "127.0.0.1") -> Attestation:
    """What the listener knows of who has come in; both sides agree that it has."""
    door = Door()
    async with door.open(await tls.listen(f"{address}:0", door.accept, **listen)) as url:
        ours = await tls.connect(rest(url), **connect_with)
        theirs = await door.next()
        assert ours.attestation.tls_key == (listen["certificate"].pin)
        for transport in (ours, theirs):
            transport.abort()
        return theirs.attestation


async def test_several_peers() -> None:
    for peer in (PEER, OTHER):
        known = await attempt({"certificate": HOST, "ca": [PEER, OTHER]}, {"certificate": peer, "ca": HOST})
        assert known.tls_key == peer.pin


async def test_token_in_place_of_a_certificate() -> None:
    known = await attempt({"certificate": HOST, "token": TOKEN}, {"ca": HOST, "token": TOKEN})
    assert (known.transport, known.tls_key, known.tls_subject) == ("tls", None, None)


async def test_token_beside_a_certificate() -> None:
    both = {"certificate": HOST, "ca": PEER, "token": TOKEN}
    await attempt(both, {"certificate": PEER, "ca": HOST, "token": TOKEN})


async def test_anybody() -> None:
    known = await attempt({"certificate": HOST, "token": None}, {"ca": HOST})
    assert known.tls_key is None


async def test_pin_in_place_of_an_authority() -> None:
    """The certificate may be for another host, and signed by nobody."""
    known = await attempt({"certificate": OTHER, "ca": PEER}, {"certificate": PEER, "pins": [HOST.pin, OTHER.pin]})
    assert known.tls_key == PEER.pin


async def test_certificates_in_files(tmp_path: Path) -> None:
    for name, certificate in (("host", HOST), ("peer", PEER)):
        (tmp_path / f"{name}.pem").write_text(certificate.public)
        (tmp_path / f"{name}.key").write_text(certificate.private)
    door = Door()
    listener = await tls.listen(
        "localhost:0",
        door.accept,
        certificate=tmp_path / "host.pem",
        key=tmp_path / "host.key",
        ca=tmp_path / "peer.pem",
    )
    (tmp_path / "both.pem").write_text(PEER.public + PEER.private)
    async with door.open(listener) as url:
        ours = await tls.connect(rest(url), certificate=str(tmp_path / "both.pem"), ca=str(tmp_path / "host.pem"))
        theirs = await door.next()
        assert (theirs.attestation.tls_subject, theirs.attestation.tls_key) == ("CN=anna", PEER.pin)
        for transport in (ours, theirs):
            transport.abort()


STALE = make("stale", lifetime=timedelta(microseconds=1))
ELSEWHERE = make("elsewhere", hosts=("elsewhere.example",))
BAD_PEERS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no certificate": ({"certificate": HOST, "ca": PEER}, {"ca": HOST}, "tls"),
    "a certificate that nobody knows": ({"certificate": HOST, "ca": PEER}, {"certificate": OTHER, "ca": HOST}, "tls"),
    "one that is no longer good": ({"certificate": HOST, "ca": STALE}, {"certificate": STALE, "ca": HOST}, "tls"),
    "the same name, another key": (
        {"certificate": HOST, "ca": PEER}, {"certificate": make("anna"), "ca": HOST}, "tls",
    ),
    "no certificate, and a token": (
        {"certificate": HOST, "ca": PEER, "token": TOKEN}, {"ca": HOST, "token": TOKEN}, "tls",
    ),
    "a certificate, and another token": (
        {"certificate": HOST, "ca": PEER, "token": TOKEN},
        {"certificate": PEER, "ca": HOST, "token": TOKEN[::-1]},
        "token",
    ),
    "a listener that nobody knows": ({"certificate": HOST, "token": None}, {"ca": OTHER}, "tls"),
    "a listener for another host": ({"certificate": ELSEWHERE, "token": None}, {"ca": ELSEWHERE}, "tls"),
    "a listener whose time is over": ({"certificate": STALE, "token": None}, {"ca": STALE}, "tls"),
    "a listener that no authority knows": ({"certificate": HOST, "token": None}, {}, "tls"),
    "a listener with another key": ({"certificate": HOST, "token": None}, {"pins": [OTHER.pin]}, "tls_pin"),
    "another key, though the authority is right": (
        {"certificate": HOST, "token": None}, {"ca": HOST, "pins": [OTHER.pin]}, "tls_pin",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_PEERS)
async def test_refusals_are_told_at_once(case: str) -> None:
    """In TLS 1.3 a client may take itself for connected before the server has looked at its certificate; not ours."""
    listen, connect_with, reason = BAD_PEERS[case]
    arrived = list[Transport]()
    async with Door().open(await tls.listen("127.0.0.1:0", arrived.append, **listen)) as url:
        with pytest.raises(Unauthenticated) as caught:
            await tls.connect(rest(url), **connect_with)
        assert (caught.value.reason, caught.value.retry) == (reason, "never")
        if "ca" in listen:
            assert not arrived
        for transport in arrived:
            transport.abort()


async def test_server_name() -> None:
    """For who reaches a host under a name that is not in its certificate."""
    await attempt({"certificate": ELSEWHERE, "token": None}, {"ca": ELSEWHERE, "server_name": "elsewhere.example"})


# --- options ---


@pytest.mark.parametrize(
    "options",
    [
        {"pins": "spki-sha256:" + "0" * 64},
        {"pins": ["sha256:" + "0" * 64]},
        {"pins": ["spki-sha256:" + "A" * 64]},
        {"ca": []},
        {"ca": "/no/such/file.pem"},
        {"ca": __file__},
        {"certificate": "/no/such/file.pem"},
        {"certificate": __file__},
        {"certificate": Certificate(PEER.public, OTHER.private)},
        {"key": "/no/such/file.key"},
        {"token": "short"},
    ],
    ids=lambda options: ",".join(options),
)
async def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        await tls.scheme.connect("127.0.0.1:1", **options)
    if "pins" not in options:
        with pytest.raises(InvalidArgument):
            await tls.scheme.listen("127.0.0.1:0", refuse, **({"certificate": HOST, "ca": PEER} | options))


async def test_a_key_with_a_password_asks_nobody(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(PEER.private.encode(), None)
    hidden = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    (tmp_path / "peer.pem").write_bytes(PEER.public.encode() + hidden)
    with pytest.raises(InvalidArgument) as caught:
        await tls.connect("127.0.0.1:1", certificate=tmp_path / "peer.pem")
    assert "password" in str(caught.value)


async def test_a_listener_says_whom_it_lets_in() -> None:
    with pytest.raises(InvalidArgument) as caught:
        await tls.listen("127.0.0.1:0", refuse, certificate=HOST)
    assert caught.value.reason == "token_needed"
    with pytest.raises(InvalidArgument):
        await tls.scheme.listen("127.0.0.1:0", refuse, ca=PEER)


async def test_keys_are_not_shown() -> None:
    assert "PRIVATE" not in repr(PEER)


@pytest.mark.parametrize("name", ["", "x" * 65, "line\nbreak"])
async def test_a_certificate_needs_a_name(name: str) -> None:
    with pytest.raises(InvalidArgument):
        make(name)


async def test_subjects_cannot_look_like_others() -> None:
    """RFC 4514: what stands for itself is escaped."""
    sly = make("anna,O=bank")
    known = await attempt({"certificate": HOST, "ca": sly}, {"certificate": sly, "ca": HOST})
    assert known.tls_subject == r"CN=anna\,O\=bank"


async def test_hash_of_a_key() -> None:
    """It is that of what others call the SubjectPublicKeyInfo."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    for certificate in (HOST, PEER):
        key = x509.load_pem_x509_certificate(certificate.public.encode()).public_key()
        spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        assert certificate.pin == "spki-sha256:" + hashlib.sha256(spki).hexdigest()


async def test_a_certificate_that_is_not_in_der_has_no_key() -> None:
    """Else one could be written in which we see another key than the library that has checked the signature."""
    der = ssl.PEM_cert_to_DER_cert(HOST.public)
    assert key_of(der) == HOST.pin
    for changed in (
        b"\x30\x80" + der[4:] + b"\0\0",  # of indefinite length
        b"\x30\x83\x00" + der[2:],  # longer than need be
        b"\x31" + der[1:],
        b"\x3f\x10" + der[1:],
        der[:5],
        der[:1],
        b"",
    ):
        with pytest.raises(ValueError, match="DER"):
            key_of(changed)
    for cut in range(len(der) - 1):
        with pytest.raises(ValueError, match="DER"):
            key_of(der[:cut])


# --- handshakes that go wrong, at a listener (T29) ---


@pytest.mark.parametrize(
    "words", [b"GET / HTTP/1.1\r\n\r\n", b"\x00\x00\x00\x1c\x84\x00fcapnet", b"\n", b"\x17\x03\x03\x00\x01a"]
)
async def test_who_does_not_speak_tls_is_told(words: bytes) -> None:
    async with Door().open(await tls.listen("127.0.0.1:0", refuse, certificate=HOST, ca=PEER)) as url:
        with stranger(url) as sock:
            sock.send(words)
            assert await said(sock) == b"capnet: this port speaks TLS: connect to tls:HOST:PORT\n"


@pytest.mark.parametrize(
    "words",
    [
        b"\x16",
        b"\x16\x03\x01\x40\x01" + bytes(0x4001),
        b"\x16\x03\x01\x00\x04" + bytes(4),
        b"\x16\x03\x01\x00\x05\x01\xff\xff\xff\0",
        b"\x16" * 400,
    ],
    ids=["cut short", "too long", "no hello", "a hello without end", "noise"],
)
async def test_broken_hellos(words: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "HANDSHAKE_TIME", 0.2)
    async with Door().open(await tls.listen("127.0.0.1:0", refuse, certificate=HOST, ca=PEER)) as url:
        with stranger(url) as sock:
            sock.send(words)
            assert len(await said(sock)) <= 7, "an alert, at most"


def talk(url: str, context: ssl.SSLContext) -> None:
    """Speak TLS with a listener, as anybody may."""
    port = int(url.rpartition(":")[2])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=60) as sock,
        context.wrap_socket(sock, server_hostname="localhost") as secure,
    ):
        secure.recv(1)


async def test_older_tls_is_refused() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=HOST.public)
    async with Door().open(await tls.listen("127.0.0.1:0", refuse, certificate=HOST, token=None)) as url:
        with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
            await anyio.to_thread.run_sync(talk, url, context)


async def test_alert_reaches_a_client_that_is_not_ours() -> None:
    """The refusal is said before the connection is closed, and no reset overtakes it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=HOST.public)
    async with Door().open(await tls.listen("127.0.0.1:0", refuse, certificate=HOST, ca=PEER)) as url:
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
            await anyio.to_thread.run_sync(talk, url, context)


async def test_time_for_a_handshake_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever says hello and then nothing holds its place for so long only."""
    monkeypatch.setattr(listeners, "HANDSHAKE_TIME", 0.3)
    hello = client_hello()
    async with Door().open(await tls.listen("127.0.0.1:0", refuse, certificate=HOST, ca=PEER)) as url:
        with stranger(url) as sock:
            sock.send(hello)
            assert (await said(sock)).startswith(b"\x16\x03\x03")


def client_hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


# --- and where we connect ---


async def answered(words: bytes, **options: Any) -> CapnetError:
    """What comes of a listener that answers our hello with `words`, and leaves."""
    errors = list[CapnetError]()
    with impostor() as (sock, port):

        async def deceived() -> None:
            with pytest.raises(CapnetError) as caught:
                await tls.connect(f"127.0.0.1:{port}", **options)
            errors.append(caught.value)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(deceived)
            with await accepted(sock) as peer:
                await heard(peer, 100)
                peer.send(words)
    return errors[0]


@pytest.mark.parametrize(
    "words", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x16\x03\x03\x00\x02\x02\x00", bytes(100)]
)
async def test_a_listener_that_does_not_speak_tls(words: bytes) -> None:
    error = await answered(words, ca=HOST)
    assert isinstance(error, Unavailable)


async def test_a_listener_of_older_tls() -> None:
    """Talked down to an older version, we hang up."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    _load(context, HOST)
    with impostor() as (sock, port):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, old_server, sock.dup(), context)
            with pytest.raises(Unavailable) as caught:
                await tls.connect(f"127.0.0.1:{port}", ca=HOST)
            assert (caught.value.reason, caught.value.retry) == ("tls", "never")


def old_server(sock: socket.socket, context: ssl.SSLContext) -> None:
    with sock:
        sock.settimeout(60)
        peer, _ = sock.accept()
        with peer, pytest.raises(ssl.SSLError):
            context.wrap_socket(peer, server_side=True)


async def test_a_listener_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "PATIENCE", 0.1)
    with impostor() as (_, port):
        with pytest.raises(Unavailable) as caught:
            await tls.connect(f"127.0.0.1:{port}", ca=HOST)
        assert caught.value.reason == "handshake_timeout"


async def test_plain_tcp_and_tls_do_not_meet() -> None:
    async with Host() as host:
        listener = await host.listen("tcp:127.0.0.1:0", token=TOKEN)
        with pytest.raises(Unavailable):
            await tls.connect(rest(listener.url), ca=HOST)


# --- afterwards ---


@dataclass
class Tapped:
    """Both ends of a connection, and somebody on its wire.

    Attributes:
        put: puts bytes on it towards the first end.
        cut: ends it.
        heard: what has passed towards the first end (0), and from it (1).
    """

    ours: Transport
    theirs: Transport
    put: Callable[[bytes], int]
    cut: Callable[[], None]
    heard: tuple[list[bytes], list[bytes]]


@asynccontextmanager
async def tapped() -> AsyncGenerator[Tapped]:
    door = Door()
    async with door.open(await tls.listen("127.0.0.1:0", door.accept, certificate=HOST, ca=PEER)) as url:
        with impostor() as (sock, port):
            async with anyio.create_task_group() as tasks:
                made = list[Transport]()

                async def dial() -> None:
                    made.append(await tls.connect(f"127.0.0.1:{port}", certificate=PEER, ca=HOST))

                tasks.start_soon(dial)
                with await accepted(sock) as near, stranger(url) as far:
                    heard_: tuple[list[bytes], list[bytes]] = ([], [])
                    async with anyio.create_task_group() as relay:
                        relay.start_soon(pass_on, far, near, heard_[0])
                        relay.start_soon(pass_on, near, far, heard_[1])
                        theirs = await door.next()
                        while not made:
                            await checkpoint()

                        def cut() -> None:
                            near.shutdown(socket.SHUT_RDWR)
                            far.shutdown(socket.SHUT_RDWR)

                        yield Tapped(made[0], theirs, near.send, cut, heard_)
                        made[0].abort()
                        theirs.abort()
                        relay.cancel_scope.cancel()


async def pass_on(source: socket.socket, sink: socket.socket, heard_: list[bytes]) -> None:
    while True:
        await anyio.wait_readable(source)
        data = source.recv(65536)
        if not data:
            return
        heard_.append(data)
        try:
            sink.sendall(data)
        except OSError:
            return


async def test_a_cut_is_no_end() -> None:
    """Only the peer can say that nothing follows; who sits on the wire cannot pass a cut off as the end."""
    async with tapped() as tap, started(tap.ours) as one, started(tap.theirs) as other:
        tap.theirs.send([b"half of it"])
        await one.until(lambda: bytes(one.data) == b"half of it", "it arrives")
        tap.cut()
        for end in (one, other):
            await end.until(lambda end=end: end.ends, "it ends")  # type: ignore[misc]
            error = end.ends[0]
            assert isinstance(error, Unavailable) and error.reason == "truncated"


@pytest.mark.parametrize("bytes_", [b"\x17\x03\x03\x00\x20" + bytes(32), b"capnet", b"\x15\x03\x03\x00\x02\x01\x00"])
async def test_what_others_put_on_the_wire_ends_it(bytes_: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is delivered, not even an alert that says that this is the end."""
    await fails_for(lambda tap: bytes_, monkeypatch)


AGAIN: dict[str, Callable[[Tapped], bytes]] = {
    "replayed": lambda tap: tap.heard[0][-1],
    "reflected": lambda tap: tap.heard[1][-1],
    "changed": lambda tap: tap.heard[0][-1][:-1] + bytes([tap.heard[0][-1][-1] ^ 1]),
}


@pytest.mark.parametrize("made", AGAIN.values(), ids=AGAIN)
async def test_what_was_said_before_is_not_taken_again(
    made: Callable[[Tapped], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each record has its place and its direction: a copy of one, that of the other side, one with a bit changed."""
    await fails_for(made, monkeypatch)


async def fails_for(made: Callable[[Tapped], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody puts on the wire after the first word of each side ends the connection."""
    monkeypatch.setattr(sockets, "LINGER", 0.1)
    monkeypatch.setattr(layers, "LINGER", 0.1)
    async with tapped() as tap, started(tap.ours) as one, started(tap.theirs) as other:
        tap.ours.send([b"first"])
        await other.until(lambda: bytes(other.data) == b"first", "it arrives")
        tap.theirs.send([b"first"])
        await one.until(lambda: bytes(one.data) == b"first", "it arrives")
        tap.put(made(tap))
        await one.until(lambda: one.ends, "it ends")
        error = one.ends[0]
        assert isinstance(error, Unavailable) and error.reason == "tls"
        assert bytes(one.data) == b"first"
        await other.until(lambda: other.ends, "the peer hears of it")
        assert other.ends[0] is not None


async def test_many_small_records_let_others_have_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """What came at once is delivered in portions."""
    monkeypatch.setattr(layers, "TURN", 1)
    door = Door()
    async with door.open(await tls.listen("127.0.0.1:0", door.accept, certificate=HOST, ca=PEER)) as url:
        ours = await tls.connect(rest(url), certificate=PEER, ca=HOST)
        theirs = await door.next()
        count = 50 * 64
        for number in range(count):
            ours.send([bytes([number % 251])])
        async with started(theirs) as recorder:
            theirs.send([b"x"])
            await recorder.until(lambda: len(recorder.data) == count, "all of it arrives")
            assert recorder.data == bytes(number % 251 for number in range(count))
            assert recorder.chunks >= 50
        ours.abort()


# --- a counterpart that we have not written ---


def running(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def files(folder: Path) -> None:
    for name, certificate in (("host", HOST), ("peer", PEER), ("other", OTHER)):
        (folder / f"{name}.pem").write_text(certificate.public)
        (folder / f"{name}.key").write_text(certificate.private)


@OPENSSL
@pytest.mark.parametrize(("who", "lets_in"), [("peer", True), ("other", False)])
async def test_openssl_connects(who: str, lets_in: bool, tmp_path: Path) -> None:
    files(tmp_path)
    door = Door()
    async with door.open(await tls.listen("127.0.0.1:0", door.accept, certificate=HOST, ca=PEER)) as url:
        command = [
            "openssl", "s_client", "-quiet", "-verify_return_error", "-CAfile", "host.pem", "-cert", f"{who}.pem",
            "-key", f"{who}.key", "-connect", rest(url),
        ]  # fmt: skip
        with running(command, tmp_path) as process:
            assert process.stdin is not None and process.stdout is not None and process.stderr is not None
            if lets_in:
                transport = await door.next()
                assert transport.attestation.tls_key == PEER.pin
                async with started(transport) as recorder:
                    process.stdin.write(b"from openssl\n")
                    process.stdin.flush()
                    await recorder.until(lambda: bytes(recorder.data) == b"from openssl\n", "what it says arrives")
                    transport.send([b"from capnet\n"])
                    assert await anyio.to_thread.run_sync(process.stdout.readline) == b"from capnet\n"
                    transport.close()
                    await recorder.until(lambda: recorder.ends, "it ends")
                    assert recorder.ends == [None]
            else:
                assert b"unknown ca" in await anyio.to_thread.run_sync(process.stderr.read)
            process.kill()


@OPENSSL
@pytest.mark.parametrize(("who", "lets_in"), [("peer", True), ("other", False)])
async def test_openssl_listens(who: str, lets_in: bool, tmp_path: Path) -> None:
    files(tmp_path)
    command = [
        "openssl", "s_server", "-verify_return_error", "-Verify", "2", "-partial_chain", "-CAfile", "peer.pem",
        "-cert", "host.pem", "-key", "host.key", "-accept", "127.0.0.1:0",
    ]  # fmt: skip
    with running(command, tmp_path) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            line = b""
            while not line.startswith(b"ACCEPT"):
                line = await anyio.to_thread.run_sync(process.stdout.readline)
                assert line, "it has not started"
            port = int(line.rpartition(b":")[2])
            certificate = PEER if who == "peer" else OTHER
            if not lets_in:
                with pytest.raises(Unauthenticated):
                    await tls.connect(f"127.0.0.1:{port}", certificate=certificate, ca=HOST)
                return
            transport = await tls.connect(f"127.0.0.1:{port}", certificate=certificate, ca=HOST)
            assert transport.attestation.tls_key == HOST.pin
            async with started(transport) as recorder:
                process.stdin.write(b"from openssl\n")
                process.stdin.flush()
                await recorder.until(lambda: bytes(recorder.data) == b"from openssl\n", "what it says arrives")
        finally:
            process.kill()


async def test_not_let_in_is_not_a_matter_of_luck() -> None:
    """Many at once, all of whom are refused, all of whom are told why."""
    reasons = list[str | None]()

    async def refused(url: str) -> None:
        with pytest.raises(Unauthenticated) as caught:
            await tls.connect(rest(url), certificate=OTHER, ca=HOST)
        reasons.append(caught.value.reason)

    listener = await tls.listen("127.0.0.1:0", refuse, certificate=HOST, ca=PEER)
    async with Door().open(listener) as url, anyio.create_task_group() as tasks:
        for _ in range(40):
            tasks.start_soon(refused, url)
    assert reasons == ["tls"] * 40
