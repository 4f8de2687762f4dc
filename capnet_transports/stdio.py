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
from typing import IO, Any, Final

import anyio

from capnet.errors import InvalidArgument, Unavailable
from capnet.transport import Attestation, Listener, Transport, TransportScheme
from capnet_transports import exec as programs
from capnet_transports.failures import failure
from capnet_transports.sockets import Pipes, attach

__all__ = ["MARK", "MOST_NOISE", "adopt", "connect", "scheme"]

MARK: Final = b"\0capnet-stdio/1\0"
"""Written by the program before anything else; no text has it by chance."""
MOST_NOISE: Final = 1024 * 1024
"""Bytes that may come before the mark."""
_MOMENT: Final = 0.5
"""Seconds for the exit of a program that has closed its output."""
_SHOWN: Final = 300
"""Bytes of them that an error shows."""
_log = logging.getLogger("capnet.transports")


async def connect(
    line: str = "",
    *,
    argv: Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    stderr: int | IO[Any] | None = None,
    on_exit: Callable[[int], object] | None = None,
    start_time: float = 30.0,
) -> Transport:
    """A transport to a program that is started for it; it goes when the transport ends.

    Args:
        line: the program and its arguments, as a shell would be given them; no shell is involved.
        argv: the same, in place of a line.
        env: variables added to those on the list, see `exec:`.
        cwd: where it runs; where we run when None.
        stderr: where what it prints goes; where ours goes when None.
        on_exit: called in the loop, once, with the `returncode` when it has exited; must not raise.
        start_time: seconds until it must have connected with `stdio:`.

    Raises:
        InvalidArgument: no program. Unavailable: it cannot be started, or has not connected (`not_a_plugin`); the text
        has what it printed.
    """
    if line and argv is not None:
        raise InvalidArgument("stdio: takes a command line or argv, not both")
    words = programs.split_line(line) if argv is None else list(argv)
    child = programs.spawn(words, env=env, cwd=cwd, stderr=stderr, on_exit=on_exit, name="stdio")
    search = _Search(child.end)
    try:
        with anyio.move_on_after(start_time):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_until_exit, child, tasks.cancel_scope)
                await search.run()
                tasks.cancel_scope.cancel()
        if not search.step():
            with anyio.move_on_after(_MOMENT):
                await child.wait()  # it has closed its output: most often because it ends
            how = "has not connected" if child.returncode is None else f"has exited with {child.returncode}"
            raise Unavailable(
                f"{words!r} {how}; it has printed {search.noise[:_SHOWN]!r}",
                reason="not_a_plugin",
                hint="it connects with connect('stdio:')",
            )
    except BaseException:
        child.transport.abort()
        raise
    if search.noise:
        _log.info("%s has printed before it connected: %r", words, search.noise[:_SHOWN])
    return child.transport


async def _until_exit(child: programs.Child, search: anyio.CancelScope) -> None:
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
        if rest or options:
            return await connect(rest, **options)
        return await adopt()

    async def listen(self, rest: str, accept: Callable[[Transport], object], /, **options: Any) -> Listener:
        raise InvalidArgument(f"stdio:{rest}: a program can be started but not listened at")


scheme: TransportScheme = _StdioScheme()
"""Entry point `stdio` of the group `capnet.transports`."""
