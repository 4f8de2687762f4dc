"""Unix sockets: who may connect, what may be replaced, and what is left behind."""

from __future__ import annotations

import fcntl
import logging
import os
import resource
import socket
import stat
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import anyio
import pytest

from capnet.errors import (
    AlreadyExists,
    CapnetError,
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    Unavailable,
)
from capnet.transport import Attestation, Listener, Transport
from capnet_transports import unix
from tests.transports.door import Door
from tests.transports.ends import started


def refuse(transport: Transport) -> None:
    raise AssertionError("nobody should get in")


@contextmanager
def plain_socket(path: Path) -> Generator[socket.socket]:
    """A peer that knows nothing of us."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.settimeout(60)
        yield sock


async def end_of_file(sock: socket.socket) -> bool:
    """Whether the other side closes the connection, without a word."""
    with anyio.fail_after(60):
        await anyio.wait_readable(sock)
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


async def test_attests_user_and_process(tmp_path: Path) -> None:
    door = Door()
    async with door.open(await unix.scheme.listen(str(tmp_path / "s"), door.accept)):
        ours = await unix.scheme.connect(str(tmp_path / "s"))
        theirs = await door.next()
        for transport in (ours, theirs):
            assert transport.attestation.transport == "unix"
            assert transport.attestation.uid == os.geteuid()
            assert transport.attestation.pid == os.getpid()
            assert transport.attestation.level == "untrusted"
            transport.abort()


async def test_socket_and_its_directories_are_private(tmp_path: Path) -> None:
    path = tmp_path / "one" / "two" / "s"
    umask = os.umask(0)
    try:
        listener = await unix.scheme.listen(str(path), refuse)
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o700
    await listener.aclose()


async def test_url_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    listener = await unix.scheme.listen("s", refuse)
    assert listener.url == f"unix:{tmp_path}/s"
    await listener.aclose()


async def test_relative_path_serves_where_the_absolute_one_is_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    monkeypatch.chdir(deep)
    door = Door()
    async with door.open(await unix.scheme.listen("s", door.accept)) as url:
        assert url == "unix:s"
        (await unix.scheme.connect("s")).abort()
        (await door.next()).abort()
    assert not (deep / "s").exists()


async def test_another_user_is_turned_away(tmp_path: Path) -> None:
    path = tmp_path / "s"
    listener = await unix.scheme.listen(str(path), refuse, allow_uids={os.geteuid() + 1})
    async with Door().open(listener):
        with plain_socket(path) as peer:
            assert await end_of_file(peer)


async def test_peer_that_cannot_be_attested_is_turned_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s"

    def gone(sock: socket.socket) -> Attestation:
        raise OSError

    monkeypatch.setattr(unix, "_attestation", gone)
    async with Door().open(await unix.scheme.listen(str(path), refuse)):
        with plain_socket(path) as peer:
            assert await end_of_file(peer)


async def test_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
        stale.listen()
    door = Door()
    async with door.open(await unix.scheme.listen(str(path), door.accept)):
        (await unix.scheme.connect(str(path))).abort()
        (await door.next()).abort()


async def test_live_socket_is_left_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    door = Door()
    async with door.open(await unix.scheme.listen(path, door.accept)):
        with pytest.raises(AlreadyExists) as caught:
            await unix.scheme.listen(path, refuse)
        assert caught.value.reason == "eaddrinuse"
        (await unix.scheme.connect(path)).abort()


async def test_live_socket_with_a_full_queue_is_left_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with ExitStack() as stack:
        fill(path, stack)
        with pytest.raises(AlreadyExists):
            await unix.scheme.listen(path, refuse)


async def test_of_two_that_start_at_once_one_wins(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    listeners = list[Listener]()
    losers = list[AlreadyExists]()

    async def start() -> None:
        try:
            listeners.append(await unix.scheme.listen(path, refuse))
        except AlreadyExists as error:
            losers.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(start)
    assert len(listeners) == 1 and len(losers) == 4
    await listeners[0].aclose()


@pytest.mark.parametrize("kind", ["file", "directory", "symlink"])
async def test_what_is_not_a_socket_is_never_removed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s"
    match kind:
        case "file":
            path.write_text("precious")
        case "directory":
            path.mkdir()
        case _:
            path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(FailedPrecondition) as caught:
        await unix.scheme.listen(str(path), refuse)
    assert caught.value.reason == "not_a_socket"
    assert "s" in os.listdir(tmp_path)


@pytest.mark.parametrize("path", ["", "@name", "nul\0", "x" * 300, "ü" * 60])
async def test_impossible_paths(path: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await unix.scheme.listen(path, refuse)
    assert caught.value.__notes__
    with pytest.raises(InvalidArgument):
        await unix.scheme.connect(path)


async def test_directory_open_to_others_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "open"
    directory.mkdir()
    directory.chmod(0o777)
    with pytest.raises(PermissionDenied) as caught:
        await unix.scheme.listen(str(directory / "s"), refuse)
    assert caught.value.reason == "unsafe_directory"
    assert not list(directory.iterdir())


async def test_sticky_directory_will_do(tmp_path: Path) -> None:
    directory = tmp_path / "sticky"
    directory.mkdir()
    directory.chmod(0o1777)
    await (await unix.scheme.listen(str(directory / "s"), refuse)).aclose()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
async def test_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "theirs"
    directory.mkdir()
    os.chown(directory, 12_345, 12_345)
    with pytest.raises(PermissionDenied):
        await unix.scheme.listen(str(directory / "s"), refuse)


async def test_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CapnetError) as caught:
        await unix.scheme.listen(str(tmp_path / "file" / "s"), refuse)
    assert caught.value.reason == "enotdir"


async def test_path_that_stays_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By another process of ours, or one that has died in the midst and left the file."""
    lock = tmp_path / ".s.capnet-lock"
    with lock.open("x") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with monkeypatch.context() as patch:
            patch.setattr(unix, "_PATIENCE", 0.05)
            with pytest.raises(Unavailable) as caught:
                await unix.scheme.listen(str(tmp_path / "s"), refuse)
        assert caught.value.reason == "locked" and lock.exists()
        other = await unix.scheme.listen(str(tmp_path / "other"), refuse)
    await (await unix.scheme.listen(str(tmp_path / "s"), refuse)).aclose()
    await other.aclose()
    assert os.listdir(tmp_path) == []


async def test_a_directory_that_is_locked_will_do(tmp_path: Path) -> None:
    """Whoever may read it can lock it."""
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        await (await unix.scheme.listen(str(tmp_path / "s"), refuse)).aclose()
    finally:
        os.close(fd)


async def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        await unix.scheme.connect(str(tmp_path / "s"))
    assert caught.value.reason == "enoent"
    assert str(tmp_path) in caught.value.message


async def test_nobody_listens(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "s"))
    with pytest.raises(Unavailable) as caught:
        await unix.scheme.connect(str(tmp_path / "s"))
    assert caught.value.reason == "econnrefused"


def fill(path: str, stack: ExitStack) -> list[socket.socket]:
    """A listener at `path` that accepts nothing, and peers until its queue is full."""
    sockets = [stack.enter_context(socket.socket(socket.AF_UNIX))]
    sockets[0].bind(path)
    sockets[0].listen(0)
    while True:
        sockets.append(stack.enter_context(socket.socket(socket.AF_UNIX)))
        sockets[-1].setblocking(False)
        try:
            sockets[-1].connect(path)
        except BlockingIOError:
            return sockets


async def test_full_queue_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unix, "_PATIENCE", 0.05)
    with ExitStack() as stack:
        fill(str(tmp_path / "s"), stack)
        with pytest.raises(Unavailable) as caught:
            await unix.scheme.connect(str(tmp_path / "s"))
        assert caught.value.reason == "eagain"


async def test_full_queue_is_waited_for(tmp_path: Path) -> None:
    with ExitStack() as stack:
        listener, *_ = fill(str(tmp_path / "s"), stack)
        connected = anyio.Event()

        async def connect() -> None:
            (await unix.scheme.connect(str(tmp_path / "s"))).abort()
            connected.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(connect)
            await anyio.wait_all_tasks_blocked()
            assert not connected.is_set()
            listener.accept()[0].close()
            await connected.wait()


async def test_unknown_option_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="colour"):
        await unix.scheme.connect(str(tmp_path / "s"), colour="red")


async def test_close_removes_the_file_and_keeps_connections(tmp_path: Path) -> None:
    path = tmp_path / "s"
    door = Door()
    listener = await unix.scheme.listen(str(path), door.accept)
    async with door.open(listener):
        ours = await unix.scheme.connect(str(path))
        theirs = await door.next()
    await listener.aclose()
    await listener.serve()  # returns at once
    assert not path.exists()
    async with started(ours) as recorder, started(theirs):
        theirs.send([b"still here"])
        await recorder.until(lambda: bytes(recorder.data) == b"still here", "transports outlive their listener")


async def test_close_leaves_the_file_of_a_successor(tmp_path: Path) -> None:
    path = tmp_path / "s"
    first = await unix.scheme.listen(str(path), refuse)
    path.unlink()
    second = await unix.scheme.listen(str(path), refuse)
    await first.aclose()
    assert path.exists()
    await second.aclose()
    assert not path.exists()


async def test_nothing_is_read_before_start(tmp_path: Path) -> None:
    """A peer that floods before anybody listens to it fills the kernel's buffer and no more."""
    door = Door()
    async with door.open(await unix.scheme.listen(str(tmp_path / "s"), door.accept)):
        with plain_socket(tmp_path / "s") as peer:
            await door.until(1)
            peer.setblocking(False)
            sent = 0
            for _ in range(100):
                try:
                    sent += peer.send(bytes(65_536))
                except BlockingIOError:
                    await anyio.wait_all_tasks_blocked()
            assert 0 < sent < 1024 * 1024


class Alarm(logging.Handler):
    """Tells when something was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.rung = anyio.Event()
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1
        self.rung.set()


async def test_listener_survives_without_descriptors(tmp_path: Path) -> None:
    """It neither dies nor spins, and takes the waiting peers once there is room."""
    door, alarm = Door(), Alarm()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    listener = await unix.scheme.listen(str(tmp_path / "s"), door.accept)
    log = logging.getLogger("capnet.transports")
    log.addHandler(alarm)
    with ExitStack() as stack:
        stack.callback(log.removeHandler, alarm)
        for _ in range(5):
            stack.enter_context(plain_socket(tmp_path / "s"))
        async with door.open(listener):
            lowest_free = os.dup(0)
            os.close(lowest_free)
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
                await alarm.rung.wait()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert not door.arrived
            await door.until(5)
        assert alarm.count == 1


async def test_no_descriptor_is_left(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    door = Door()
    async with door.open(await unix.scheme.listen(path, door.accept)):
        await one_connection(path, door)
        before = len(os.listdir("/dev/fd"))
        for _ in range(20):
            await one_connection(path, door)
        assert len(os.listdir("/dev/fd")) == before


async def one_connection(path: str, door: Door) -> None:
    """Connect, say a word, close; and fail to connect."""
    transport = await unix.scheme.connect(path)
    async with started(transport) as ours, started(await door.next()) as theirs:
        transport.send([b"word"])
        transport.close()
        for recorder in (ours, theirs):
            await recorder.until(partial(bool, recorder.ends), "both ends close")
    with pytest.raises(Unavailable):
        await unix.scheme.connect(path + "-not")
