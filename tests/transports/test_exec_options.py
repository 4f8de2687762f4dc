"""What a program is given: words, variables, directory, descriptors, signals; and what is said when that cannot be."""

from __future__ import annotations

import asyncio
import fcntl
import io
import json
import logging
import math
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from capnet.errors import CapnetError, InvalidArgument, PermissionDenied, ResourceExhausted, Unavailable
from capnet_transports import inherited, starting
from capnet_transports import process as exec_process
from capnet_transports.exec import scheme, spawn
from capnet_transports.inherited import adopt
from capnet_transports.process import Child
from tests.cost import HANGS
from tests.loops import ONE_LOOP
from tests.loops import on_both_kinds as on_both_kinds
from tests.transports.ends import started
from tests.transports.test_exec import BARE, ROOT, has_exited, missing, python

TELL = BARE + "import json; s.sendall(json.dumps({}).encode())"


@pytest.fixture(params=["posix_spawn", "subprocess"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How programs are started: as here, and as where the C library can do less."""
    if request.param == "subprocess":
        monkeypatch.setattr(starting, "_library", lambda: None)
    elif starting._library() is None:
        pytest.skip("this C library cannot do it")
    return str(request.param)


async def told(child: Child) -> bytes:
    """All that a program has to say."""
    async with started(child.transport) as recorder:
        await recorder.until(lambda: recorder.ends, "the program exits")
    await has_exited(child)
    return bytes(recorder.data)


async def asked(expression: str, **options: Any) -> Any:
    """What a program makes of an expression."""
    return json.loads(await told(await spawn(python(TELL.replace("{}", expression)), **options)))


async def why(argv: list[str], **options: Any) -> str:
    """Why a program that says nothing has gone, as the connection is told."""
    child = await spawn(argv, **options)
    async with started(child.transport) as recorder:
        await recorder.until(lambda: recorder.ends, "it ends")
    (error,) = recorder.ends
    assert isinstance(error, Unavailable) and not recorder.data
    await has_exited(child)
    return str(error)


# --- words ---


async def test_words_of_every_type(way: str, tmp_path: Path) -> None:
    program = tmp_path / "with a blank and ü.py"
    program.write_text(TELL.replace("{}", "[sys.argv[1:], os.environ['A'], os.environ['B'], os.getcwd()]"))
    argv = (sys.executable, program, b"b\xff", "ü", "")
    child = await spawn(argv, env=cast("Mapping[str, Any]", {"A": tmp_path, b"B": b"\xff"}), cwd=tmp_path)
    given = [["b\udcff", "ü", ""], str(tmp_path), "\udcff", str(tmp_path)]
    assert json.loads(await told(child)) == given


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"argv": "python plug.py"}, "argv"),
        ({"argv": b"python"}, "argv"),
        ({"argv": Path("plug")}, "argv"),
        ({"argv": 3}, "argv"),
        ({"argv": []}, "argv"),
        ({"argv": [""]}, "argv"),
        ({"argv": ["cat", 3]}, "argv"),
        ({"argv": ["cat", None]}, "argv"),
        ({"argv": ["cat", "\0"]}, "argv"),
        ({"argv": ["cat", "\ud800"]}, "argv"),
        ({"env": {"PORT": 8080}}, "env['PORT']"),
        ({"env": {"DEBUG": None}}, "env['DEBUG']"),
        ({"env": {"A=B": "x"}}, "env"),
        ({"env": {"": "x"}}, "env"),
        ({"env": {3: "x"}}, "env"),
        ({"env": {"A": "x\0y"}}, "env['A']"),
        ({"env": ["A=B"]}, "env"),
        ({"cwd": 3}, "cwd"),
        ({"cwd": "\0"}, "cwd"),
        ({"stdout": "out.log"}, "stdout"),
        ({"stdout": io.StringIO()}, "stdout"),
        ({"stdout": subprocess.STDOUT}, "stdout"),
        ({"stdout": 10**9}, "stdout"),
        ({"stdout": 10**30}, "stdout"),
        ({"stderr": Path("err.log")}, "stderr"),
        ({"stderr": subprocess.PIPE}, "stderr"),
        ({"stderr": -7}, "stderr"),
        ({"on_exit": 3}, "on_exit"),
        ({"on_exit": asyncio.sleep}, "on_exit"),
        ({"start_timeout": 0}, "start_timeout"),
        ({"start_timeout": math.nan}, "start_timeout"),
        ({"start_timeout": "60"}, "start_timeout"),
        ({"environ": {}}, "environ"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_what_makes_no_sense_is_named(options: dict[str, Any], named: str) -> None:
    before = os.listdir("/dev/fd")
    with pytest.raises(InvalidArgument) as caught:
        await scheme.connect("", **{"argv": ["cat"], **options})
    assert named in caught.value.message
    assert os.listdir("/dev/fd") == before


async def test_a_program_is_looked_for_in_its_own_path(way: str, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "plug-of-this-test"
    program.write_text(f"#!{sys.executable}\n" + TELL.replace("{}", "sys.argv[0]"))
    program.chmod(0o755)
    for path, cwd in ((tmp_path / "bin", None), (Path("bin"), tmp_path)):
        child = await spawn([program.name], env={"PATH": f"/nowhere:{path}"}, cwd=cwd)
        assert json.loads(await told(child)) == str(path / program.name)


async def test_variables_of_the_place_are_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"TZ": "Asia/Tokyo", "XDG_RUNTIME_DIR": "/run/user/0", "SSL_CERT_FILE": "/c.pem", "PYTHONUTF8": "1"}
    for name, value in {**given, "HTTPS_PROXY": "http://user:secret@proxy"}.items():
        monkeypatch.setenv(name, value)
    found = await asked("dict(os.environ)")
    assert {name: found.get(name) for name in given} == given
    assert "HTTPS_PROXY" not in found


# --- places ---


async def test_a_directory_that_is_not_there_is_named(way: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for cwd, kind in ((tmp_path / "none", Unavailable), (file, InvalidArgument), ("~/", Unavailable)):
        with pytest.raises(CapnetError, match="working directory") as caught:
            await spawn(["cat"], cwd=cwd)
        assert isinstance(caught.value, kind) and str(cwd) in caught.value.message


async def test_what_is_wrong_with_a_program_is_told(way: str, tmp_path: Path) -> None:
    program = tmp_path / "plug"
    program.write_text("#!/opt/gone/python\n")
    with pytest.raises(PermissionDenied):
        await spawn([program])
    program.chmod(0o755)
    with pytest.raises(Unavailable, match="its first line names an interpreter that is not, b'/opt/gone/python'"):
        await spawn([program])
    program.write_text("print()\n")
    with pytest.raises(Unavailable, match="plug: Exec format error"):
        await spawn([program])
    with pytest.raises(Unavailable, match="no-such-program-of-this-test: No such file"):
        await spawn(["no-such-program-of-this-test"])


async def test_a_long_command_is_cut() -> None:
    with pytest.raises(Unavailable) as caught:
        await spawn(["/none", "x\n\x1b" * 10_000])
    assert len(caught.value.message) < 300 and caught.value.message.isprintable()


# --- outputs ---


@contextmanager
def standard_error(path: Path) -> Generator[None]:
    """Ours is a file for a while."""
    kept = os.dup(2)
    with path.open("wb") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


async def test_output_goes_to_standard_error(way: str, tmp_path: Path) -> None:
    """Ours may be a protocol on standard output."""
    program = BARE + "print('out', flush=True); print('err', file=sys.stderr); s.send(b'!')"
    with standard_error(tmp_path / "errors"):
        assert await told(await spawn(python(program))) == b"!"
    assert sorted((tmp_path / "errors").read_text().splitlines()) == ["err", "out"]


async def test_outputs_as_they_are_wanted(way: str, tmp_path: Path) -> None:
    program = python(BARE + "print('out', flush=True); print('err', file=sys.stderr, flush=True); s.send(b'!')")
    with (tmp_path / "a").open("w") as first, (tmp_path / "b").open("wb") as second:
        await told(await spawn(program, stdout=first, stderr=second.fileno()))
        await told(await spawn(program, stdout=second, stderr=subprocess.STDOUT))
        await told(await spawn(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    assert ((tmp_path / "a").read_text(), (tmp_path / "b").read_text()) == ("out\n", "err\nout\nerr\n")


# --- descriptors ---

CLOSING = """
import json, os, sys
import anyio
CLOSED, AFTER, SOCKET = json.loads(sys.argv[1])
if not AFTER:
    for fd in CLOSED: os.close(fd)
from capnet_transports.exec import spawn
from tests.transports.ends import started

async def main():
    if AFTER:
        for fd in CLOSED: os.close(fd)
    program = (
        "import os, socket, sys; s = socket.socket(fileno=int(os.environ['CAPNET_FD']));"
        "os.write(1, b'out'); os.write(2, b'err'); s.send(b'fine'); s.recv(1)"
    )
    child = await spawn([sys.executable, "-c", program])
    async with started(child.transport) as recorder:
        await recorder.until(lambda: recorder.data, "it says a word")
        for fd in CLOSED:  # what we mean for our output goes nowhere else
            try: os.write(fd, b"hello")
            except OSError: pass
        assert recorder.data == b"fine", recorder.data
    await child.wait()

anyio.run(main, backend=SOCKET)
"""


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1], [1, 2], [0, 1, 2]], ids=str)
@ONE_LOOP
def test_standard_descriptors_that_are_closed(closed: list[int], after: bool, anyio_backend_name: str) -> None:
    """Neither side mistakes the socket for its output."""
    done = subprocess.run(
        [*python(CLOSING), json.dumps([closed, after, anyio_backend_name])],
        env=os.environ | {"PYTHONPATH": ROOT},
        stderr=subprocess.PIPE,
        timeout=HANGS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"" if 2 in closed else b"outerr")


OPEN = "[int(fd) for fd in os.listdir('/dev/fd') if os.path.exists(f'/dev/fd/{fd}')]"


async def test_nothing_else_is_open_in_the_program(way: str) -> None:
    """Not even what was meant to be inherited, by others."""
    read, write = os.pipe()
    with os.fdopen(read), os.fdopen(write):
        os.set_inheritable(write, True)
        found = await asked(f"[os.environ['CAPNET_FD'], {OPEN}]")
    number, numbers = found
    assert set(numbers) == {0, 1, 2, int(number)}


async def test_numbers_above_1024(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here, where all others are taken; and in a program that takes its socket under one, and watches its host."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 3000:
        pytest.skip("not so many may be open")
    resource.setrlimit(resource.RLIMIT_NOFILE, (3000, hard))
    try:
        with ExitStack() as stack:
            for _ in range(2000):
                stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))
            program = """
import os
fd = int(os.environ['CAPNET_FD'])
others = [os.open(os.devnull, os.O_RDONLY) for _ in range(1500)]
os.environ['CAPNET_FD'] = str(os.dup(fd)); os.close(fd)
import anyio
from capnet_transports.inherited import adopt
from tests.transports.ends import started
async def main():
    async with started(transport := await adopt()) as recorder:
        transport.send([b'!'])
        await recorder.until(lambda: recorder.ends, 'the host closes')
anyio.run(main)
"""
            child = await spawn(python(program), env={"PYTHONPATH": ROOT})
            async with started(child.transport) as recorder:
                await recorder.until(lambda: recorder.data, "it says a word")
            assert await has_exited(child) == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_no_descriptor_is_free() -> None:
    """However many there are: fewer than are needed is an error of ours, and none is lost."""
    await missing()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        last = max(int(fd) for fd in os.listdir("/dev/fd"))
        while (fd := os.open(os.devnull, os.O_RDONLY)) <= last:
            stack.callback(os.close, fd)
        os.close(fd)
        held, failed, more = len(os.listdir("/dev/fd")), 0, 0
        for more in range(40):
            resource.setrlimit(resource.RLIMIT_NOFILE, (fd + more, hard))
            try:
                child = await spawn(["cat"], stdout=subprocess.DEVNULL)
            except ResourceExhausted as error:
                failed += error.reason == "emfile"
            else:
                async with started(child.transport):
                    pass
                await has_exited(child)
                break
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert 3 < failed == more < 39
        assert len(os.listdir("/dev/fd")) == held


# --- signals ---

SIGNALS = """[
    [int(n) for n in signal.pthread_sigmask(0, [])],
    [int(n) for n in signal.valid_signals() if n not in (9, 13, 19, 25) and signal.getsignal(n) == signal.SIG_IGN],
]"""


async def test_no_signal_is_blocked_or_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    if starting._library() is None:
        pytest.skip("they are inherited there")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
    try:
        assert await asked(SIGNALS) == [[], []]
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGHUP, before)


# --- how it ends ---


@pytest.mark.parametrize(
    ("program", "how"),
    [
        ("import no_such_module", "exited with code 1 "),
        ("print('last', file=__import__('sys').stderr); raise SystemExit(70)", "exited with code 70 "),
        ("pass", "exited with code 0 "),
        ("import os; os.abort()", "was ended by SIGABRT "),
    ],
)
async def test_a_program_that_does_not_start_is_told_of(program: str, how: str) -> None:
    said = await why(python(program))
    assert said.startswith("unavailable/not_started: ") and f" {how}" in said and "-c" in said
    if "import no" in program:
        assert "No module named 'no_such_module'" in said and "Traceback" in said
    if "last" in program:
        assert said.endswith("the last it wrote:\n    last")


async def test_a_program_that_takes_too_long_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exec_process, "GRACE", 0.1)
    said = await why(["sh", "-c", "echo one moment >&2; exec sleep 600"], start_timeout=0.5)
    assert said.startswith("unavailable/start_timeout: ") and "did not start in 0.5 s" in said
    assert "one moment" in said and "sleep 600" in said


async def test_a_program_that_has_started_has_all_the_time() -> None:
    program = BARE + "s.send(b'!'); import time; time.sleep(1); s.send(b'?')"
    assert await told(await spawn(python(program), start_timeout=60)) == b"!?"


async def test_only_the_end_of_a_flood_is_told() -> None:
    said = await why(python("import sys; sys.stderr.write('\\x1b[2J' * 300_000 + '\\nend'); sys.exit(1)"), stdout=None)
    assert said.endswith("\n    end") and len(said) < 2000 and "\x1b" not in said


REAPING = """
import os, signal, sys
import anyio
from capnet_transports.exec import spawn
from tests.transports.ends import started

def reap(*_):
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0): pass
    except ChildProcessError: pass

async def main():
    codes = []
    if sys.argv[1] == "ignored": signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    if sys.argv[1] == "reaped": signal.signal(signal.SIGCHLD, reap)
    program = (
        "import os, socket; s = socket.socket(fileno=int(os.environ['CAPNET_FD']));"
        "s.send(b'!'); s.recv(1); os._exit(3)"
    )
    for _ in range(5):
        child = await spawn([sys.executable, "-c", program], on_exit=codes.append)
        async with started(child.transport) as recorder:
            await recorder.until(lambda: recorder.data, "it says a word")
        assert await child.wait() in (3, None)
        child.send_signal(signal.SIGKILL)
        assert not child.running
    print(codes)

anyio.run(main, backend=sys.argv[2])
"""


@pytest.mark.parametrize("how", ["ignored", "reaped"])
def test_an_exit_code_that_somebody_else_has_taken(how: str, anyio_backend_name: str) -> None:
    """It is told, or nobody knows it; never is a failure told as a success."""
    done = subprocess.run(
        [*python(REAPING), how, anyio_backend_name],
        env=os.environ | {"PYTHONPATH": ROOT},
        capture_output=True,
        encoding="utf-8",
        timeout=HANGS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "0" not in done.stdout and done.stdout.count(",") == 4


class Odd:
    """What a user's callback may do."""

    def __init__(self) -> None:
        self.called = anyio.Event()

    async def later(self) -> None:
        """Never awaited."""

    def __call__(self, code: int | None) -> Any:
        self.called.set()
        if code == 3:
            raise RuntimeError("of the user's")
        return self.later()


@pytest.mark.parametrize("code", [3, 4])
async def test_a_callback_that_fails_delays_no_end(code: int, caplog: pytest.LogCaptureFixture) -> None:
    """The transport ends all the same, though something that left the group holds the other end."""
    program = f"""
p = subprocess.Popen(['sleep', '600'], pass_fds=[s.fileno()], start_new_session=True, stderr=-3, stdout=-3)
s.send(b'%d' % p.pid); os._exit({code})
"""
    odd = Odd()
    child = await spawn(python(BARE + program), on_exit=odd)
    with caplog.at_level(logging.ERROR, "capnet.transports"):
        async with started(child.transport) as recorder:
            await recorder.until(lambda: recorder.ends, "its exit is the end")
        await odd.called.wait()
    os.kill(int(recorder.data), signal.SIGKILL)
    assert [record.getMessage() for record in caplog.records] == ["exec: on_exit failed"]


async def test_a_start_that_is_cancelled_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exec_process, "GRACE", 0.1)
    await missing()
    before = len(os.listdir("/dev/fd"))
    for delay in range(8):
        with anyio.move_on_after(delay / 1000):
            child = await spawn(["sleep", "600"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            child.transport.abort()
            child.send_signal(signal.SIGKILL)
    with anyio.fail_after(HANGS):
        while len(os.listdir("/dev/fd")) > before:  # noqa: ASYNC110 (nothing tells)
            await anyio.sleep(0.01)


SLOW = """
import sys
import anyio
from capnet_transports.exec import spawn
from tests.transports.ends import started

async def main():
    turns = 0
    async def count():
        nonlocal turns
        while True:
            await anyio.sleep(0.01)
            turns += 1
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count)
        child = await spawn(["/bin/cat"], stdout=1)
        print(turns)
        async with started(child.transport): pass
        await child.wait()
        tasks.cancel_scope.cancel()

anyio.run(main, backend=sys.argv[1])
"""


@pytest.mark.skipif(shutil.which("strace") is None or starting._library() is None, reason="nothing makes it slow")
def test_a_slow_disk_stops_nobody(anyio_backend_name: str) -> None:
    """A program takes a second to be loaded, and the loop turns all the while."""
    slow = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=execve", "-e", "inject=execve:delay_enter=1000000"]
    done = subprocess.run(
        [*slow, *python(SLOW), anyio_backend_name],
        env=os.environ | {"PYTHONPATH": ROOT},
        stdout=subprocess.PIPE,
        timeout=HANGS,
        check=False,
    )
    assert done.returncode == 0 and int(done.stdout) > 20


# --- in the program ---


@pytest.fixture
def not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection to a host was taken in this process."""
    monkeypatch.setattr(inherited, "_taken", False)


@pytest.mark.usefixtures("not_taken")
async def test_a_socket_that_has_the_number_by_chance_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a helper of the program, which inherits the variables and not the socket."""
    ours, theirs = socket.socketpair()
    mine, others = socket.socketpair()
    with ours, mine, others:
        for name, value in inherited.environment_of(theirs).items():
            monkeypatch.setenv(name.decode(), value.decode())
        monkeypatch.setenv("CAPNET_FD", str(others.fileno()))
        theirs.close()
        with pytest.raises(Unavailable) as caught:
            await adopt()
        assert caught.value.reason == "not_a_plugin"
        assert not fcntl.fcntl(others, fcntl.F_GETFL) & os.O_NONBLOCK
        mine.send(b"!")
        assert others.recv(1) == b"!"


@pytest.mark.usefixtures("not_taken")
async def test_it_can_be_taken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        for name, value in inherited.environment_of(theirs).items():
            monkeypatch.setenv(name.decode(), value.decode())
        monkeypatch.setenv("CAPNET_FD", str(theirs.detach()))
        async with started(await adopt()):
            with pytest.raises(Unavailable) as caught:
                await adopt()
            assert caught.value.reason == "taken"
