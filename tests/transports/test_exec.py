"""Programs started for a connection: what they inherit, how they end, and that nothing of them is left."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from contextlib import ExitStack
from pathlib import Path

import anyio
import pytest

from capnet.errors import InvalidArgument, Unavailable
from capnet_transports import process as exec_process
from capnet_transports import sockets
from capnet_transports.exec import adopt, inherited_scheme, scheme, spawn
from capnet_transports.process import Child
from tests.cost import HANGS
from tests.transports.ends import started

ROOT = str(Path(__file__).parents[2])
BARE = "import os, signal, socket, subprocess, sys; s = socket.socket(fileno=int(os.environ['CAPNET_FD'])); "
"""The start of a program that uses the socket without the library, so that it starts fast."""
ECHO = """
import asyncio, json, os, sys
from capnet_transports.exec import adopt

class Echo:
    def __init__(self):
        self.over = asyncio.Event()
    def data_received(self, data):
        self.transport.send([bytes(data)])
    def writable(self):
        pass
    def closed(self, error):
        self.over.set()

async def main():
    fd = int(os.environ["CAPNET_FD"])
    echo = Echo()
    echo.transport = await adopt()
    echo.transport.start(echo)
    seen = echo.transport.attestation
    facts = [os.getpid(), seen.transport, seen.pid, seen.uid]
    facts += [os.get_inheritable(fd), sys.stdin.read(), dict(os.environ)]
    echo.transport.send([json.dumps(facts).encode() + b"\\n"])
    await echo.over.wait()

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def time_to_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that exit by themselves are not hurried, however slow the machine is."""
    monkeypatch.setattr(exec_process, "GRACE", HANGS)


@pytest.fixture
def impatience(time_to_exit: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """For those that do not."""
    monkeypatch.setattr(exec_process, "GRACE", 0.1)
    monkeypatch.setattr(sockets, "LINGER", 0.1)


async def has_exited(child: Child) -> int | None:
    """How it exited; checks that it was reaped."""
    with anyio.fail_after(60):
        code = await child.wait()
    with pytest.raises(ChildProcessError):
        os.waitpid(child.pid, os.WNOHANG)  # noqa: ASYNC222 (it does not block)
    assert child.returncode == code
    return code


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


async def test_program_adopts_its_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "not for plugins")
    monkeypatch.setenv("LC_TIME", "C")
    child = await spawn(python(ECHO), env={"PYTHONPATH": ROOT, "ADDED": "yes"})
    async with started(child.transport) as recorder:
        await recorder.until(lambda: recorder.data.endswith(b"\n"), "the program reports")
        pid, transport, host_pid, host_uid, inheritable, stdin, environment = json.loads(recorder.data)
        assert child.transport.attestation.transport == transport == "exec"
        assert child.transport.attestation.pid == child.pid == pid
        assert child.transport.attestation.uid == host_uid == os.geteuid()
        assert host_pid == os.getpid()
        assert not inheritable and stdin == ""
        assert environment["ADDED"] == "yes" and environment["LC_TIME"] == "C"
        assert not {"SECRET", "CAPNET_FD", "CAPNET_PLUGIN", "CAPNET_SOCKET"} & environment.keys()
        recorder.data.clear()
        child.transport.send([b"there ", b"and back"])
        await recorder.until(lambda: bytes(recorder.data) == b"there and back", "the program echoes")
        assert child.returncode is None
        child.transport.close()
        await recorder.until(lambda: recorder.ends, "close ends it")
        assert recorder.ends == [None]
    assert await has_exited(child) == 0


async def test_command_line_is_split() -> None:
    transport = await scheme.connect(f"{sys.executable} -c 'import sys; sys.exit(0)' 'two words'")
    async with started(transport) as recorder:
        await recorder.until(lambda: recorder.ends, "the program exits")


async def test_program_that_exits_at_once() -> None:
    child = await spawn(python("raise SystemExit(3)"))
    async with started(child.transport) as recorder:
        await recorder.until(lambda: recorder.ends, "the program's exit ends the transport")
        (error,) = recorder.ends
        assert isinstance(error, Unavailable) and error.reason == "not_started"
        assert error.message.endswith("exited with code 3 before it has said anything")
    assert await has_exited(child) == 3
    child.send_signal(signal.SIGTERM)  # nobody is there any more


async def test_last_words_are_delivered() -> None:
    child = await spawn(python(BARE + "s.sendall(bytes(300_000)); os._exit(0)"))
    async with started(child.transport) as recorder:
        await recorder.until(lambda: recorder.ends, "the program exits")
        assert len(recorder.data) == 300_000


@pytest.mark.usefixtures("impatience")
async def test_program_that_ignores_end_of_file_gets_sigterm() -> None:
    child = await spawn(python(BARE + "s.send(b'!'); signal.pause()"))
    async with started(child.transport) as recorder:
        await recorder.until(lambda: recorder.data, "it is ready")
        child.transport.close()
    assert await has_exited(child) == -signal.SIGTERM


@pytest.mark.usefixtures("impatience")
@pytest.mark.parametrize("waitid", [True, False])
async def test_program_that_ignores_sigterm_is_killed(waitid: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not waitid:
        monkeypatch.delattr(os, "waitid")
    program = "signal.signal(signal.SIGTERM, signal.SIG_IGN); s.send(b'!')\nwhile True: signal.pause()"
    child = await spawn(python(BARE + program))
    async with started(child.transport) as recorder:
        await recorder.until(lambda: recorder.data, "it is ready")
        child.transport.close()
    assert await has_exited(child) == -signal.SIGKILL


async def test_grandchild_in_the_group_goes_with_the_program() -> None:
    """It holds the socket and a pipe; both end though it sleeps on."""
    read, write = os.pipe()
    sleeper = "subprocess.Popen(['sleep', '600'], pass_fds=[s.fileno()]); os._exit(0)"
    child = await spawn(python(BARE + sleeper), stdout=write)
    os.close(write)
    async with started(child.transport) as recorder:
        await recorder.until(lambda: recorder.ends, "the program's exit ends the transport")
    await has_exited(child)
    await pipe_ends(read)


async def test_grandchild_that_left_the_group_cannot_hold_the_transport() -> None:
    sleeper = (
        "p = subprocess.Popen(['sleep', '600'], pass_fds=[s.fileno()], start_new_session=True);"
        "s.send(b'%d' % p.pid); os._exit(0)"
    )
    child = await spawn(python(BARE + sleeper))
    async with started(child.transport) as recorder:
        await recorder.until(lambda: recorder.ends, "the program's exit ends the transport")
    await has_exited(child)
    os.kill(int(recorder.data), signal.SIGKILL)


async def pipe_ends(read: int) -> None:
    """Wait until nobody holds the other end of a pipe."""
    try:
        with anyio.fail_after(60):
            await anyio.wait_readable(read)
        assert os.read(read, 1) == b""
    finally:
        os.close(read)


HOST = """
import asyncio, sys
from capnet_transports import process as exec_process
from capnet_transports.exec import spawn

exec_process.GRACE = 0.1

class Quiet:
    def __init__(self):
        self.ready = asyncio.Event()
    def data_received(self, data):
        self.ready.set()
    def writable(self):
        pass
    def closed(self, error):
        pass

async def main():
    child = await spawn([sys.executable, "-c", sys.argv[1]])
    receiver = Quiet()
    child.transport.start(receiver)
    await receiver.ready.wait()
    child.transport.abort()

asyncio.run(main())
"""


async def test_nobody_survives_a_host_that_leaves_at_once() -> None:
    """The ladder outlives the loop, and the interpreter waits for it."""
    program = BARE + "signal.signal(signal.SIGTERM, signal.SIG_IGN); s.send(b'!')\nwhile True: signal.pause()"
    read, write = os.pipe()
    environment = os.environ | {"PYTHONPATH": ROOT}
    done = await anyio.run_process([*python(HOST), program], stdout=write, stderr=None, env=environment)
    os.close(write)
    await pipe_ends(read)
    assert done.returncode == 0


async def test_program_that_cannot_be_started() -> None:
    await missing()
    before = len(os.listdir("/dev/fd"))
    await missing()
    assert len(os.listdir("/dev/fd")) == before


async def missing() -> None:
    with pytest.raises(Unavailable) as caught:
        await scheme.connect("/no/such/program --option")
    assert (caught.value.reason, caught.value.retry) == ("enoent", "never")
    assert caught.value.message == "exec: cannot start /no/such/program --option: No such file or directory"


async def test_no_descriptor_is_left() -> None:
    await one_program()
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        await one_program()
    assert len(os.listdir("/dev/fd")) == before


async def one_program() -> None:
    child = await spawn(["cat"])
    async with started(child.transport):
        child.transport.close()
    await has_exited(child)


@pytest.mark.parametrize("line", ["", "  ", "'open quote", "nul\0"])
async def test_impossible_command_lines(line: str) -> None:
    with pytest.raises(InvalidArgument):
        await scheme.connect(line)


async def test_impossible_environment() -> None:
    with pytest.raises(ValueError, match=r"env\['NUL'\]: there is a null byte"):
        await spawn(["cat"], env={"NUL": "\0"})


async def test_command_line_and_argv_exclude_each_other() -> None:
    with pytest.raises(InvalidArgument):
        await scheme.connect("cat", argv=["cat"])


async def test_nothing_to_listen_at() -> None:
    for each in (scheme, inherited_scheme):
        with pytest.raises(InvalidArgument):
            await each.listen("", lambda transport: None)


@pytest.mark.parametrize(
    ("cookie", "number"),
    [(None, None), ("1", None), (None, "0"), ("1", "-1"), ("1", "x"), ("1", "²"), ("1", "9" * 5), ("1", "9" * 30)],
)
async def test_program_that_no_host_started(
    cookie: str | None, number: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("CAPNET_PLUGIN", cookie), ("CAPNET_FD", number)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    with pytest.raises(Unavailable) as caught:
        await adopt()
    assert caught.value.reason == "not_a_plugin"


@pytest.mark.parametrize("kind", ["pipe", "datagram"])
async def test_inherited_descriptor_of_another_kind(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused, and stays open: it belongs to somebody else."""
    with ExitStack() as stack:
        if kind == "pipe":
            fd, write = os.pipe()
            stack.callback(os.close, write)
            stack.callback(os.close, fd)
        else:
            fd = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).fileno()
        monkeypatch.setenv("CAPNET_PLUGIN", "1")
        monkeypatch.setenv("CAPNET_FD", str(fd))
        with pytest.raises(Unavailable) as caught:
            await inherited_scheme.connect("")
        assert caught.value.reason == "not_a_plugin"
        os.fstat(fd)


async def test_inherited_scheme_takes_nothing() -> None:
    with pytest.raises(InvalidArgument):
        await inherited_scheme.connect("3")
