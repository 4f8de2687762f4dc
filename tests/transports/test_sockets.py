"""Sockets as transports: the ends that a conforming peer never makes."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from capnet.errors import InvalidArgument, Unavailable
from capnet.testing.transports import Recorder
from capnet.transport import HIGH_WATER, Attestation, Transport
from capnet_transports import sockets
from capnet_transports.attach import attach
from capnet_transports.listeners import SocketListener
from capnet_transports.sockets import SocketTransport
from tests.cost import HANGS
from tests.transports.ends import pump, started


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "LINGER", 0.05)


@asynccontextmanager
async def half_attached() -> AsyncGenerator[tuple[SocketTransport, Recorder, socket.socket]]:
    """A started transport and the plain socket at its other end."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    transport = attach(ours, Attestation(transport="test"))
    with theirs:
        async with started(transport) as recorder:
            yield transport, recorder, theirs


async def test_failed_write_does_not_lose_what_the_peer_sent() -> None:
    async with half_attached() as (transport, recorder, peer):
        peer.send(b"goodbye")
        peer.close()
        transport.send([b"lost"])
        transport.send([b"lost", b"too"])
        assert transport.backlog == 0
        await recorder.until(lambda: recorder.ends, "the peer's end is seen")
        assert recorder.data == b"goodbye"
        assert recorder.ends == [None]


async def test_failed_write_ends_a_paused_transport() -> None:
    """Its error is the only thing known then."""
    async with half_attached() as (transport, recorder, peer):
        transport.pause()
        peer.close()
        transport.send([b"lost"])
        await recorder.until(lambda: recorder.ends, "it does not wait for ever")
        error = recorder.ends[0]
        assert isinstance(error, Unavailable) and error.reason == "epipe"


async def test_queued_write_that_fails() -> None:
    async with half_attached() as (transport, recorder, peer):
        transport.pause()
        transport.send([bytes(4 * HIGH_WATER)])
        assert transport.backlog > HIGH_WATER
        peer.close()
        await recorder.until(lambda: recorder.ends, "it ends")
        assert isinstance(recorder.ends[0], Unavailable)
        assert transport.backlog == 0


async def test_reset_is_an_error() -> None:
    async with half_attached() as (transport, recorder, peer):
        transport.send([b"never read"])
        peer.close()
        await recorder.until(lambda: recorder.ends, "the reset is seen")
        error = recorder.ends[0]
        assert isinstance(error, Unavailable) and error.reason == "econnreset"


async def test_half_closed_peer_has_ended() -> None:
    async with half_attached() as (transport, recorder, peer):
        transport.send([bytes(4 * HIGH_WATER)])
        peer.send(b"last")
        peer.shutdown(socket.SHUT_WR)
        await recorder.until(lambda: recorder.ends, "there is no half-open state")
        assert recorder.data == b"last" and recorder.ends == [None]
        assert transport.backlog == 0


@pytest.mark.parametrize("size", [0, 4 * HIGH_WATER])
async def test_close_does_not_wait_for_a_peer_that_does_nothing(size: int) -> None:
    async with half_attached() as (transport, recorder, peer):
        transport.send([bytes(size)])
        transport.close()
        await recorder.until(lambda: recorder.ends, "closing has an end")
        assert recorder.ends == [None]
        assert peer.fileno() != -1


async def test_one_that_was_aborted_while_it_closed_does_not_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where its pump has not begun to run."""
    monkeypatch.setattr(sockets, "LINGER", 3600)
    ours, peer = socket.socketpair()
    transport, recorder = attach(ours, Attestation(transport="test")), Recorder()
    with peer, anyio.fail_after(HANGS):
        transport.start(recorder)
        transport.close()
        transport.abort()
        await pump(transport)
        await recorder.until(lambda: recorder.ends, "it ends")


async def test_close_goes_on_while_the_peer_takes_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may take many times `LINGER`, each of which is over when the test says so."""
    monkeypatch.setattr(sockets, "LINGER", 3600)
    size, received = 4 * HIGH_WATER, 0
    async with half_attached() as (transport, recorder, peer):
        transport.send([bytes(size)])
        transport.close()
        while before := transport.backlog:
            while transport.backlog == before:
                received += await read_some(peer)
            transport._lingered_enough()
            assert not recorder.ends
        transport._lingered_enough()  # nothing has moved since
        while data := await read_some(peer):
            received += data
        await recorder.until(lambda: recorder.ends, "it ends")
    assert received == size
    assert recorder.ends == [None]


async def read_some(peer: socket.socket) -> int:
    """How many bytes there were, and the transport has had the time to write more."""
    await anyio.wait_readable(peer)
    data = peer.recv(200_000)
    await anyio.wait_all_tasks_blocked()
    return len(data)


async def test_peer_that_goes_while_we_close() -> None:
    async with half_attached() as (transport, recorder, peer):
        transport.send([bytes(4 * HIGH_WATER)])
        transport.close()
        peer.close()
        await recorder.until(lambda: recorder.ends, "it ends")


async def test_expected_end_does_not_wait_for_a_stranger_that_holds_the_socket() -> None:
    async with half_attached() as (transport, recorder, peer):
        peer.send(b"before")
        transport.expect_end()
        transport.expect_end()
        await recorder.until(lambda: recorder.ends, "it ends")
        assert recorder.data == b"before" and recorder.ends == [None]


async def test_abort_while_a_forked_process_holds_the_socket() -> None:
    """The peer sees the end all the same."""
    ours, theirs = socket.socketpair()
    with theirs, ours.dup():
        attach(ours, Attestation()).abort()
        assert theirs.recv(1) == b""


async def test_cancelled_pump_tells_the_end() -> None:
    ours, theirs = socket.socketpair()
    recorder = Recorder()
    with theirs:
        transport = attach(ours, Attestation())
        transport.start(recorder)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pump, transport)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        assert recorder.ends == ([] if transport.pump is None else [None])
        transport.abort()


async def test_on_end_comes_before_closed() -> None:
    ours, theirs = socket.socketpair()
    ends = list[int]()
    with theirs:
        async with started(attach(ours, Attestation(), lambda: ends.append(len(recorder.ends)))) as recorder:
            pass
    assert ends == [0]


async def test_idle_transports_share_one_buffer() -> None:
    async with half_attached() as (one, _, _), half_attached() as (other, _, _):
        assert one._buffer is other._buffer


async def test_unix_sockets_get_room_to_send() -> None:
    """A socket of another family keeps what the system gave it."""
    ours, theirs = socket.socketpair()
    with theirs, socket.socket(socket.AF_INET) as inet:
        given = [room_to_send(sock) for sock in (ours, inet)]
        one, other = attach(ours, Attestation()), attach(inet.dup(), Attestation())
        assert room_to_send(ours) >= min(2 * given[0], sockets._SEND_BUFFER)
        assert room_to_send(inet) == given[1]
        one.abort()
        other.abort()


def room_to_send(sock: socket.socket) -> int:
    """Bytes that may be on their way, as the system says."""
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)


async def test_listener_on_a_socket_that_cannot_accept() -> None:
    def refuse(transport: Transport) -> None:
        raise AssertionError

    listener = SocketListener(socket.socket(socket.AF_UNIX), "unix:broken", refuse, lambda sock: None)
    with pytest.raises(InvalidArgument):
        await listener.serve()
    await listener.aclose()
    await listener.aclose()


def test_import_leaves_trio_alone() -> None:
    program = (
        "import sys; from capnet_transports import exec, memory, unix;"
        "assert 'trio' not in sys.modules and 'cbor2' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])
