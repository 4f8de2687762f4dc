"""`exec:COMMAND LINE`: a program started for the connection, over a socket pair it inherits; `fd:` in that program.

The program finds the number of its socket in `CAPNET_FD` and takes it with `adopt`. Its standard input is empty, its
output stays its own, its environment is an allow-list, and it leads a session of its own so that it can be ended with
all it started.

Two threads look after each program, whatever becomes of the loop: one waits for its end and reaps it; the other is
there only while a program whose transport has ended is asked to go, with SIGTERM and then SIGKILL, `GRACE` seconds
apart. In the program a third one waits for the end of the host.
"""

from __future__ import annotations

import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO, Any, Final, Literal, TypeAlias

import anyio

from capnet.errors import InvalidArgument, Unavailable
from capnet.transport import Attestation, Listener, Transport, TransportScheme
from capnet_transports.credentials import credentials
from capnet_transports.failures import failure
from capnet_transports.loops import Schedule, soon_from_thread
from capnet_transports.sockets import SocketTransport, attach

__all__ = ["GRACE", "Child", "adopt", "inherited_scheme", "scheme", "spawn", "split_line"]

GRACE = 2.0
"""Seconds a program has to exit after its transport has ended, and again after SIGTERM."""
_POLL = 0.05
"""Seconds between two looks at a program on systems without `waitid` (macOS before Python 3.13)."""
_PASSED: Final = frozenset(
    {"HOME", "LANG", "LOGNAME", "PATH", "PYTHONPATH", "SHELL", "TERM", "TMPDIR", "USER", "VIRTUAL_ENV"}
)
"""Variables that reach the program, beside all that begin with `LC_`."""
_Output: TypeAlias = "int | IO[Any] | None"


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    stdout: _Output = None,
    stderr: _Output = None,
    on_exit: Callable[[int], object] | None = None,
    name: Literal["exec", "stdio"] = "exec",
) -> Child:
    """Start a program at the other end of a new transport. Must be called in the loop that will use the transport.

    Args:
        argv: the program and its arguments; no shell is involved.
        env: variables added to the allow-list, or replacing some of it.
        cwd: where it runs; where we run when None.
        stdout: what `subprocess.Popen` takes, but no pipe; ours when None.
        stderr: the same.
        on_exit: called in the loop, once, with the `returncode` when it has exited; must not raise.
        name: the transport's. With `stdio` the socket is its standard input and output, and it is not told of one.

    Raises:
        InvalidArgument: `argv` is empty or has a NUL in it; an output is a pipe, which nobody would read.
        Unavailable: the program cannot be started; the text has `argv` and the system's words.
    """
    if not argv or any("\0" in word for word in argv):
        raise InvalidArgument(f"exec: needs a program to start, not {list(argv)!r}", hint="such as exec:python plug.py")
    if subprocess.PIPE in (stdout, stderr):
        raise InvalidArgument("exec: nobody reads a pipe, and a program that fills it stands still; give it a file")
    in_loop = soon_from_thread()  # fails outside a loop, before there is a process
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            process = _start(argv, theirs.fileno(), _environment(env), cwd, stdout, stderr, name)
            return Child(process, ours, in_loop, on_exit, name)
    except OSError as error:
        ours.close()
        cause = failure(error, "")
        raise Unavailable(f"cannot start {list(argv)!r}{cause.message}", reason=cause.reason, retry="never") from error
    except BaseException:
        ours.close()
        raise


class Child:
    """A program started by `spawn`; it goes when its transport ends, and the transport ends when it goes."""

    transport: Transport
    """Our end, not yet started; attests the program's process and our own user."""
    pid: int
    """Its process, which leads its own session and process group."""
    end: socket.socket
    """Our end; belongs to the transport."""

    def __init__(
        self,
        process: subprocess.Popen[Any],
        ours: socket.socket,
        in_loop: Schedule,
        on_exit: Callable[[int], object] | None = None,
        name: str = "exec",
    ) -> None:
        self.pid = process.pid
        self.end = ours
        self._process = process
        self._on_exit = on_exit
        self._lock = threading.Lock()
        """Held to send a signal and to reap: so no signal can reach a stranger that got the number afterwards."""
        self._exited = threading.Event()
        self._news = anyio.Event()
        attestation = Attestation(transport=name, pid=process.pid, uid=os.geteuid())
        self._transport = attach(ours, attestation, self._dismiss)
        self.transport = self._transport
        _thread(self._reap, in_loop, name=f"capnet-exec-{self.pid}", daemon=True)

    @property
    def returncode(self) -> int | None:
        """How it exited, as `subprocess.Popen.returncode`; None while it runs."""
        return self._process.returncode if self._exited.is_set() else None

    async def wait(self) -> int:
        """Its `returncode`, once it has exited."""
        await self._news.wait()
        return self._process.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the program and all that it started in its group; nothing happens when it has exited."""
        with self._lock:
            if self._process.returncode is None:
                self._signal_group(number)

    def _signal_group(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _reap(self, in_loop: Schedule) -> None:
        self._await_exit()
        with self._lock:
            # As long as it is not reaped its number names this group and no other: what is left of it goes with it.
            if self._process.returncode is None:
                self._signal_group(signal.SIGKILL)
            self._process.wait()
        self._exited.set()
        in_loop(self._has_exited)

    def _await_exit(self) -> None:
        """Block until it has exited; it is not reaped yet, except where the system cannot tell without."""
        if hasattr(os, "waitid"):
            with suppress(ChildProcessError):  # reaped by somebody else, such as SIGCHLD set to be ignored
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            return
        while True:
            with self._lock:
                if self._process.poll() is not None:
                    return
            self._exited.wait(_POLL)

    def _has_exited(self) -> None:
        self._news.set()
        if self._on_exit is not None:
            self._on_exit(self._process.returncode)
        self._transport.expect_end()  # a grandchild may hold the other end, then no end of file comes

    def _dismiss(self) -> None:
        """The transport has ended."""
        if not self._exited.is_set():
            _thread(self._end, name=f"capnet-exec-{self.pid}-end", daemon=False)

    def _end(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._exited.wait(GRACE):
                return
            self.send_signal(number)
        self._exited.wait(GRACE)  # so that it is reaped even if the interpreter is about to exit


async def adopt() -> Transport:
    """The transport to the host that started this program. Can be taken once: the variables are removed.

    Raises:
        Unavailable: `not_a_plugin`, this program was not started by a capnet host.
    """
    sock = _inherited(os.environ.get("CAPNET_FD", "")) if os.environ.get("CAPNET_PLUGIN") == "1" else None
    if sock is None:
        raise Unavailable(
            "this program is a capnet plugin; start it from its host", reason="not_a_plugin", retry="never"
        )
    del os.environ["CAPNET_PLUGIN"], os.environ["CAPNET_FD"]
    sock.set_inheritable(False)
    host = credentials(sock)
    transport = attach(sock, Attestation(transport="exec", uid=host.uid, pid=host.pid))
    if host.pid is not None and host.pid == os.getppid():
        _watch_parent(host.pid, transport)
    return transport


def _watch_parent(pid: int, transport: SocketTransport) -> None:
    """End with the host, also when a child that it has forked holds its end of the socket; where one can be told."""
    if sys.platform != "linux":
        return
    try:
        host = os.pidfd_open(pid)
    except OSError:
        return  # it is gone, and then so is its end, or the system does not know how
    in_loop = soon_from_thread()

    def wait() -> None:
        select.select([host], [], [])
        os.close(host)
        in_loop(transport.expect_end)

    _thread(wait, name="capnet-host", daemon=True)


class _ExecScheme:
    async def connect(self, rest: str, /, *, argv: Sequence[str] | None = None, **options: Any) -> Transport:
        if rest and argv is not None:
            raise InvalidArgument("exec: takes a command line or argv, not both")
        return spawn(split_line(rest) if argv is None else argv, **options).transport

    async def listen(self, rest: str, accept: Callable[[Transport], object], /, **options: Any) -> Listener:
        raise InvalidArgument(f"exec:{rest}: a program can be started but not listened at")


class _InheritedScheme:
    async def connect(self, rest: str, /, **options: Any) -> Transport:
        if rest or options:
            raise InvalidArgument("fd: takes neither a number nor options: CAPNET_FD says which descriptor it is")
        return await adopt()

    async def listen(self, rest: str, accept: Callable[[Transport], object], /, **options: Any) -> Listener:
        raise InvalidArgument("fd: is one connection and cannot be listened at")


scheme: TransportScheme = _ExecScheme()
"""Entry point `exec` of the group `capnet.transports`; options are those of `spawn`, and `argv` in place of a line."""
inherited_scheme: TransportScheme = _InheritedScheme()
"""Entry point `fd`: the other end of `exec`."""


def split_line(line: str) -> list[str]:
    """The words of a command line, as a shell would have them.

    Raises:
        InvalidArgument: a quotation without end.
    """
    try:
        return shlex.split(line)
    except ValueError as error:
        raise InvalidArgument(f"exec:{line}: {error}") from error


def _environment(env: Mapping[str, str] | None) -> dict[str, str]:
    passed = {name: value for name, value in os.environ.items() if name in _PASSED or name.startswith("LC_")}
    return passed | dict(env or {})


def _start(
    argv: Sequence[str],
    fd: int,
    env: dict[str, str],
    cwd: str | os.PathLike[str] | None,
    stdout: _Output,
    stderr: _Output,
    name: str,
) -> subprocess.Popen[Any]:
    plain = name == "stdio"
    return subprocess.Popen(  # noqa: S603 (starting the program it is told is what this transport is for)
        list(argv),
        env=env if plain else env | {"CAPNET_FD": str(fd), "CAPNET_PLUGIN": "1"},
        cwd=cwd,
        stdin=fd if plain else subprocess.DEVNULL,
        stdout=fd if plain else stdout,
        stderr=stderr,
        pass_fds=() if plain else (fd,),
        start_new_session=True,
    )


def _inherited(number: str) -> socket.socket | None:
    """The socket with that descriptor; None, and the descriptor untouched, when it is not one that `spawn` makes."""
    if not (number.isascii() and number.isdecimal()):
        return None
    try:
        sock = socket.socket(fileno=int(number))
    except (OSError, ValueError, OverflowError):
        return None
    if (sock.family, sock.type) != (socket.AF_UNIX, socket.SOCK_STREAM):
        sock.detach()
        return None
    return sock


def _thread(target: Callable[..., None], *args: object, name: str, daemon: bool) -> None:
    threading.Thread(target=target, args=args, name=name, daemon=daemon).start()
