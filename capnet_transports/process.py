"""A program that was started for a connection, from its start to its end; it does not outlive its transport, nor us.

Threads look after it, whatever becomes of the loop: one starts it, waits for its end and reaps it; one passes on what
it writes to its standard error; and one is there only while a program whose transport has ended is asked to go, with
SIGTERM and then SIGKILL, `GRACE` seconds apart. When the interpreter exits, or is made to by a second Ctrl-C, whoever
is left gets SIGKILL at once. When all of that is gone too, there is the guard (`guard.py`).

Nobody but us should reap our programs, but somebody may. So how it exited is asked for before it is reaped, and no
signal is sent to a number that may be free.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Final

import anyio

from capnet.errors import Unavailable
from capnet.transport import Attestation, Receiver
from capnet_transports import guard
from capnet_transports.attach import attach
from capnet_transports.loops import Schedule, later, soon_from_thread
from capnet_transports.sockets import SocketTransport
from capnet_transports.starting import high
from capnet_transports.words import Words

__all__ = ["GRACE", "LAST_WORDS", "Child"]

GRACE = 2.0
"""Seconds a program has to exit after its transport has ended, and again after SIGTERM."""
_POLL: Final = 0.05
"""Seconds between two looks at a program on systems without `waitid` (macOS before Python 3.13)."""
LAST_WORDS = 1.0
"""Seconds that the exit of a program, and the end of its standard error, may come after the end of its socket."""
_MOMENT: Final = 0.05
"""The same when nobody wants to know: something that it started may hold its standard error for ever."""
_WHOLE_GROUP: Final = 1 << 2
"""PIDFD_SIGNAL_PROCESS_GROUP: the group that the process has led, also when it is gone. Linux 6.9."""
_log = logging.getLogger("capnet.transports")


class Child:
    """A program, and our end of the socket to it. It goes when its transport ends, and the transport ends when it goes.

    Must be made in the loop that will use the transport; `started` must follow.

    Args:
        start: starts it and returns its process; called in a thread.
        name: the transport's.
        command: what it is called in texts.
        ours: our end of the socket.
        start_timeout: seconds it has to send its first byte; None when somebody else looks to that.
        words: what is kept of its standard error, when it comes to us.
        on_exit: called in the loop when it has exited.
    """

    transport: SocketTransport
    """Our end, not yet started; attests the program's process and our own user. There once it has been started."""

    def __init__(
        self,
        start: Callable[[], int],
        name: str,
        command: str,
        ours: socket.socket,
        start_timeout: float | None,
        words: Words | None = None,
        on_exit: Callable[[int | None], object] | None = None,
    ) -> None:
        self.pid = 0
        """Its process, which leads its own session and process group."""
        self.returncode: int | None = None
        """How it exited: its exit code, or the negative number of a signal. None while it runs, and when nobody knows
        because it was reaped by somebody else."""
        self.command = command
        """What it is called in texts."""
        self.ours = ours
        """Our end of the socket; belongs to the transport."""
        self._start = start
        self._name = name
        self._start_timeout = start_timeout
        self._words = words
        self._on_exit = on_exit
        self._failure: Exception | None = None
        self._lock = threading.Lock()
        """Held to send a signal and to reap: so no signal can reach a stranger that got the number afterwards."""
        self._handle: int | None = None
        """A descriptor that stands for the process, where the system has such."""
        self._reaped = False
        self._settled = threading.Event()
        """It has been started, or could not be."""
        self._exited = threading.Event()
        self._started = anyio.Event()
        self._news = anyio.Event()
        self._unwanted = False
        self._silent = True
        """It has not sent a byte, and somebody may want to know why it does not."""
        self._stop_clock: Callable[[], object] | None = None
        """Ends the time that it has for that."""
        self._late = False
        self._waiting: Receiver | None = None
        """Who is to hear why the program has ended its socket before it has said a word."""
        self._receiver: Receiver | None = None
        in_loop = soon_from_thread()  # fails outside a loop, before there is a process
        _thread(self._run, in_loop, name="capnet-exec", daemon=True)

    # --- for who has started it ---

    async def started(self) -> None:
        """Wait until it runs. Who is cancelled meanwhile leaves nothing behind.

        Raises:
            OSError: it cannot be started.
        """
        try:
            await self._started.wait()
        except BaseException:
            self._unwanted = True
            if self._started.is_set() and self._failure is None:
                self.transport.abort()
            else:
                self.ours.close()
                self._dismiss()
            raise
        if self._failure is not None:
            self.ours.close()
            raise self._failure

    @property
    def running(self) -> bool:
        """Whether it has not exited yet."""
        return not self._exited.is_set()

    async def wait(self) -> int | None:
        """Its `returncode`, once it has exited."""
        await self._news.wait()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to the program and all that it started in its group; nothing happens when it has exited."""
        with self._lock:
            if not self._exited.is_set():
                self._signal_group(number)

    def outcome(self) -> str:
        """What became of it when its socket has ended; follows its name in texts."""
        return "has closed its socket" if self.running else _how(self.returncode)

    def missing(self, what: str, reason: str, hint: str | None = None) -> Unavailable:
        """Says of the program why it is not there, with the last lines that it wrote to its standard error."""
        said = "" if self._words is None else self._words.last()
        return Unavailable(f"{self.command} {what}{said}", reason=reason, hint=hint)

    # --- threads ---

    def _run(self, in_loop: Schedule) -> None:
        try:
            self.pid = self._start()
        except Exception as error:
            self._hear_out(LAST_WORDS)
            self._failure = error
            self._exited.set()
            self._settled.set()
            in_loop(self._has_failed)
            return
        guard.watch(self.pid)
        self._handle = _handle(self.pid)
        _running.add(self)
        self._settled.set()
        in_loop(self._has_started)
        code = self._await_exit()
        with self._lock:
            # As long as it is not reaped its number names this group and no other: what is left of it goes with it.
            self._signal_group(signal.SIGKILL)
            guard.forget(self.pid)
            self.returncode = self._reap(code)
            self._exited.set()
            if self._handle is not None:
                os.close(self._handle)
        _running.discard(self)
        self._hear_out(LAST_WORDS if self._silent else _MOMENT)
        in_loop(self._has_exited)

    def _hear_out(self, seconds: float) -> None:
        if self._words is not None:
            self._words.wait(seconds)

    def _await_exit(self) -> int | None:
        """Block until it has exited; how, if that can be told before it is reaped."""
        if hasattr(os, "waitid"):
            try:
                found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            except ChildProcessError:  # reaped by somebody else, such as SIGCHLD set to be ignored
                self._reaped = True
                return None
            return None if found is None else _code(found)
        while True:
            with self._lock:
                try:
                    pid, status = os.waitpid(self.pid, os.WNOHANG)
                except ChildProcessError:
                    self._reaped = True
                    return None
                if pid:
                    self._reaped = True
                    return os.waitstatus_to_exitcode(status)
            self._exited.wait(_POLL)

    def _reap(self, code: int | None) -> int | None:
        if self._reaped:
            return code
        try:
            return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        except ChildProcessError:
            return code

    def _signal_group(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            if self._handle is not None:
                try:
                    signal.pidfd_send_signal(self._handle, number, None, _WHOLE_GROUP)
                except OSError as error:
                    if isinstance(error, ProcessLookupError | PermissionError):
                        raise
                else:
                    return
            if not self._reaped and not _is_reaped(self.pid):
                os.killpg(self.pid, number)

    def _dismiss(self) -> None:
        """The transport has ended."""
        if not self._exited.is_set():
            _thread(self._end, name="capnet-exec-end", daemon=False)

    def _end(self) -> None:
        self._settled.wait()
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._exited.wait(GRACE):
                return
            self.send_signal(number)
        self._exited.wait(GRACE)  # so that it is reaped even if the interpreter is about to exit

    # --- in the loop ---

    def _has_failed(self) -> None:
        self._started.set()
        self._news.set()

    def _has_started(self) -> None:
        if self._unwanted:
            return
        attestation = Attestation(transport=self._name, pid=self.pid, uid=os.geteuid())
        self.transport = attach(self.ours, attestation, self._dismiss, self._meet)
        self.transport.process = self
        self.transport.start_timeout = self._start_timeout
        if self._start_timeout is not None:
            self._stop_clock = later(self._start_timeout, self._is_late)
        self._started.set()

    def _has_exited(self) -> None:
        self._news.set()
        if not self._unwanted:
            if self._receiver is None:
                self._wait_no_more()
            self.transport.expect_end()  # a grandchild may hold the other end, then no end of file comes
            self._explain()
        if self._on_exit is not None:
            _call(self._on_exit, self.returncode)

    # --- before its first byte ---

    def _meet(self, receiver: Receiver) -> Receiver:
        self._receiver = receiver
        return self

    def data_received(self, data: bytes | bytearray | memoryview) -> None:
        """It has begun to speak; who is there to listen gets it all from here on."""
        assert self._receiver is not None
        self._silent = False
        self._wait_no_more()
        self.transport.hand_over(self._receiver)
        self._receiver.data_received(data)

    def writable(self) -> None:
        """See `Receiver`."""
        assert self._receiver is not None
        self._receiver.writable()

    def closed(self, error: Exception | None) -> None:
        """It has ended its socket, or we have, before it has said a word. Why it did may be known in a moment."""
        self._wait_no_more()
        self._waiting = self._receiver
        if self._late or not self.transport.left or self._news.is_set():
            self._silent = False
            self._explain()
        else:
            later(LAST_WORDS, self._explain)

    def _wait_no_more(self) -> None:
        if self._stop_clock is not None:
            self._stop_clock()
            self._stop_clock = None

    def _is_late(self) -> None:
        self._stop_clock = None
        self._late = True
        self.transport.abort()

    def _explain(self) -> None:
        receiver, self._waiting = self._waiting, None
        if receiver is not None:
            receiver.closed(self._account() if self._late or self.transport.left else None)

    def _account(self) -> Unavailable:
        """Why it is not there."""
        if self._late:
            what = f"did not start in {self._start_timeout:g} s: it runs and has said nothing"
            return self.missing(what, "start_timeout")
        return self.missing(f"{self.outcome()} before it has said anything", "not_started")


_running: Final[set[Child]] = set()


def _kill_all() -> None:
    """Whoever has not gone by now goes: the interpreter exits, and was not to wait until they have been asked."""
    for child in tuple(_running):
        child.send_signal(signal.SIGKILL)


atexit.register(_kill_all)
os.register_at_fork(after_in_child=_running.clear)


def _handle(pid: int) -> int | None:
    if sys.platform == "linux":
        with suppress(OSError):  # an old system, or it has been reaped already
            return high(os.pidfd_open(pid))
    return None


def _is_reaped(pid: int) -> bool:
    """Whether somebody else has reaped it, so that its number may be anybody's."""
    if hasattr(os, "waitid"):
        try:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        except ChildProcessError:
            return True
    return False


def _code(found: os.waitid_result) -> int:
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def _how(code: int | None) -> str:
    if code is None:
        return "has ended, nobody knows how,"
    if code >= 0:
        return f"exited with code {code}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"


def _call(on_exit: Callable[[int | None], object], code: int | None) -> None:
    try:
        result = on_exit(code)
        if isinstance(result, Coroutine):
            result.close()
            raise TypeError("on_exit must not be a coroutine function: nobody awaits it")
    except Exception:
        _log.exception("exec: on_exit failed")


def _thread(target: Callable[..., None], *args: object, name: str, daemon: bool) -> None:
    threading.Thread(target=target, args=args, name=name, daemon=daemon).start()
