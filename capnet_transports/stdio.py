"""`stdio:COMMAND LINE`: a program reached by its standard input and output, as through ssh; `stdio:` in the program.

It is for programs that can be handed nothing else: behind `ssh`, `sudo`, `docker exec` or a shell. In the program
`stdio:` takes both descriptors for itself and puts others in their place: standard output goes where errors go, and
standard input is empty. So whatever it prints, or a library or a child of its prints, does no harm.

What was printed before, by the program or a shell on the way, ends with a mark that the program writes when it is
ready. The host skips all up to that; then the bytes of the connection follow.
"""

from __future__ import annotations

import logging
import os
import socket
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import anyio

from capnet.errors import InvalidArgument, Unavailable
from capnet.transport import Attestation, Listener, Transport, TransportScheme
from capnet_transports.attach import attach
from capnet_transports.exec import START_TIMEOUT, spawn, split_line
from capnet_transports.failures import failure
from capnet_transports.options import Output, StdioOptions, Word, refuse_others
from capnet_transports.pipes import Pipes
from capnet_transports.process import LAST_WORDS, Child

__all__ = ["MARK", "MOST_NOISE", "adopt", "connect", "scheme"]

MARK: Final = b"\0capnet-stdio/1\0"
"""Written by the program before anything else; no text has it by chance."""
MOST_NOISE: Final = 1024 * 1024
"""Bytes that may come before the mark."""
_SHOWN: Final = 300
"""Bytes of them that an error shows."""
_log = logging.getLogger("capnet.transports")


async def connect(
    line: str = "",
    *,
    argv: Sequence[Word] | None = None,
    env: Mapping[str, Word] | Mapping[bytes, Word] | None = None,
    cwd: Word | None = None,
    stderr: Output = None,
    on_exit: Callable[[int | None], object] | None = None,
    start_timeout: float = START_TIMEOUT,
) -> Transport:
    """A transport to a program that is started for it; it goes when the transport ends.

    Args:
        line: the program and its arguments, as a shell would be given them; no shell is involved.
        argv: the same, in place of a line.
        env: as for `exec.spawn`, like the two that follow.
        cwd: where it runs.
        stderr: where what it prints goes; it cannot be standard output.
        on_exit: called in the loop when it has exited.
        start_timeout: seconds until it must have connected with `stdio:`.

    Raises:
        InvalidArgument: an option makes no sense. Unavailable: it cannot be started, or has not connected
        (`not_a_plugin`); the text has what it printed. PermissionDenied, ResourceExhausted: it cannot be started.
    """
    if line and argv is not None:
        raise InvalidArgument("stdio: takes a command line or argv, not both")
    child = await spawn(
        split_line("stdio", line) if argv is None else argv,
        env=env,
        cwd=cwd,
        stderr=stderr,
        on_exit=on_exit,
        start_timeout=start_timeout,
        name="stdio",
    )
    search = _Search(child.ours)
    try:
        with anyio.move_on_after(start_timeout) as time:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_until_exit, child, tasks.cancel_scope)
                await search.run()
                tasks.cancel_scope.cancel()
        if not search.step():
            raise await _missing(child, search, f"in {start_timeout:g} s" if time.cancelled_caught else "")
    except BaseException:
        child.transport.abort()
        raise
    if search.noise:
        _log.info("%s has printed before it connected: %r", child.command, search.noise[:_SHOWN])
    return child.transport


async def _missing(child: Child, search: _Search, in_time: str) -> Unavailable:
    """Why there is no connection."""
    if in_time or len(search.noise) > MOST_NOISE:
        what = f"has not connected {in_time}".rstrip()
    else:
        with anyio.move_on_after(LAST_WORDS):
            await child.wait()  # it has closed its output: most often because it ends
        what = f"{child.outcome()} before it has connected"
    what = f"{what}; it has printed {search.noise[:_SHOWN]!r}"
    return child.missing(what, "not_a_plugin", "it connects with connect('stdio:')")


async def _until_exit(child: Child, search: anyio.CancelScope) -> None:
    """A program that is gone will not connect, even if one that it has started holds the other end."""
    await child.wait()
    search.cancel()


class _Search:
    """Looks for the mark in what comes, and takes nothing of what follows."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._found = False
        self.noise = b""
        """What came before; of more than `MOST_NOISE` bytes only the beginning."""
        self._tail = b""

    async def run(self) -> None:
        """Return when the mark was found, or will not come."""
        while not self.step():
            await anyio.wait_readable(self._socket)
            if not self._peek() or len(self.noise) > MOST_NOISE:
                return

    def step(self) -> bool:
        """Take what is there, up to the mark; whether that was found."""
        while not self._found and (data := self._peek()):
            seen = self._tail + data
            at = seen.find(MARK)
            self._found = at >= 0
            take = at + len(MARK) - len(self._tail) if self._found else len(data)
            while take:
                take -= len(self._socket.recv(take))
            self.noise = (self.noise + data)[: MOST_NOISE + 1]
            if self._found:
                self.noise = self.noise.partition(MARK)[0]
            if len(self.noise) > MOST_NOISE:
                return False
            self._tail = seen[1 - len(MARK) :]
        return self._found

    def _peek(self) -> bytes:
        try:
            return self._socket.recv(65536, socket.MSG_PEEK)
        except OSError:  # nothing there, or nobody
            return b""


async def adopt() -> Transport:
    """The transport to whoever has started this program, over its standard input and output. Can be taken once.

    Raises:
        Unavailable: they are no pipes or sockets, such as those of a terminal, or taken already (`not_a_plugin`).
    """
    try:
        coming, going = os.fstat(0), os.fstat(1)
    except OSError as error:
        raise failure(error, "stdio:") from error
    if not all(stat.S_ISFIFO(end.st_mode) or stat.S_ISSOCK(end.st_mode) for end in (coming, going)):
        raise Unavailable(
            "stdio: standard input and output are no pipes: this program is started by its host",
            reason="not_a_plugin",
            hint="there: connect('stdio:COMMAND LINE')",
        )
    if sys.stdout is not None:
        sys.stdout.flush()
    ends = os.dup(0), os.dup(1)
    _put_in_place()
    transport = attach(Pipes(*ends), Attestation(transport="stdio"))
    transport.send([MARK])
    return transport


def _put_in_place() -> None:
    """Give the program an empty standard input, and an output that goes where errors go."""
    nothing = os.open(os.devnull, os.O_RDWR)
    try:
        os.dup2(nothing, 0)
        try:
            os.dup2(2, 1)
        except OSError:  # it has no standard error
            os.dup2(nothing, 1)
    finally:
        os.close(nothing)


class _StdioScheme:
    async def connect(self, rest: str, /, **options: Any) -> Transport:
        if not rest and not options:
            return await adopt()
        refuse_others("stdio", options, StdioOptions)
        return await connect(rest, **options)

    async def listen(self, rest: str, accept: Callable[[Transport], object], /, **options: Any) -> Listener:
        raise InvalidArgument(f"stdio:{rest}: a program can be started but not listened at")


scheme: TransportScheme = _StdioScheme()
"""The scheme `stdio`; options are those of `connect`."""
