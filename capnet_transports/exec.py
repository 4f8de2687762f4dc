"""`exec:COMMAND LINE`: a program started for the connection, over a socket pair it inherits.

The program finds the number of its socket in `CAPNET_FD` and takes it by `fd:` (`inherited.py`). Its standard input is
empty, its output goes to our standard error, its environment is an allow-list, no signal is blocked or ignored in it,
and it leads a session of its own so that it can be ended with all it started. This file makes sense of what is asked
for; how a program is started is in `starting.py`, how it lives and ends in `process.py`.
"""

from __future__ import annotations

import errno
import inspect
import os
import shlex
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import IO, Any, Final, Literal, cast

from capnet.errors import CapnetError, InvalidArgument, ResourceExhausted, Unavailable
from capnet.transport import Listener, Transport, TransportScheme
from capnet_transports.failures import failure
from capnet_transports.inherited import adopt, environment_of, inherited_scheme
from capnet_transports.options import ExecOptions, Output, Word, refuse_others
from capnet_transports.process import Child
from capnet_transports.starting import STDERR, has_stderr, high, start
from capnet_transports.words import Words, printable

__all__ = [
    "START_TIMEOUT",
    "Output",
    "Word",
    "adopt",
    "inherited_scheme",
    "scheme",
    "spawn",
    "split_line",
]

START_TIMEOUT: Final = 60.0
"""Seconds that a program has to start, up to the first byte that it sends."""
_PASSED: Final = frozenset(
    {
        *("HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "PYTHONPATH", "PYTHONUTF8", "SHELL", "SSL_CERT_DIR"),
        *("SSL_CERT_FILE", "TERM", "TMPDIR", "TZ", "TZDIR", "USER", "VIRTUAL_ENV", "XDG_CACHE_HOME"),
        *("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"),
    }
)
"""Variables that reach the program, beside all that begin with `LC_`."""
_SHOWN: Final = 200
"""Characters of a command that stand in texts; it may have a whole program in it."""


async def spawn(
    argv: Sequence[Word],
    *,
    env: Mapping[str, Word] | Mapping[bytes, Word] | None = None,
    cwd: Word | None = None,
    stdout: Output = None,
    stderr: Output = None,
    on_exit: Callable[[int | None], object] | None = None,
    start_timeout: float = START_TIMEOUT,
    name: Literal["exec", "stdio"] = "exec",
) -> Child:
    """Start a program at the other end of a new transport. Must be called in the loop that will use the transport.

    Args:
        argv: the program and its arguments; no shell is involved.
        env: variables added to the allow-list, or replacing some of it.
        cwd: where it runs; where we run when None.
        stdout: a descriptor, an open file that has one, or `subprocess.DEVNULL`; our standard error when None.
        stderr: the same, or `subprocess.STDOUT`. When None it comes to our standard error by way of us, and the last
            lines are in the error if the program does not start.
        on_exit: called in the loop, once, with the exit code when it has exited: the negative number of the signal that
            ended it, or None when nobody knows because somebody else has reaped it.
        start_timeout: seconds that it has to send its first byte; it is ended when it does not.
        name: the transport's. With `stdio` the socket is its standard input and output, it is told of no other, and
            who called has to see that it starts in time.

    Raises:
        InvalidArgument: an option makes no sense; the text names it.
        Unavailable: the program, or its working directory, is not there; the text has the system's words.
        PermissionDenied, ResourceExhausted: the same, for these reasons.
    """
    plain = name == "stdio"
    program = _argv(name, argv)
    variables = _environment(name, env)
    folder = None if cwd is None else _word(f"{name}: cwd", cwd)
    _check(name, on_exit, start_timeout)
    out = _output(f"{name}: stdout", stdout)
    err = _output(f"{name}: stderr", stderr, or_stdout=not plain)  # there it would get into the connection
    shown = _shown(program)
    subject = f"{name}: cannot start {shown}"
    with ExitStack() as prepared:
        try:
            ours, theirs = (prepared.enter_context(_high_socket(sock)) for sock in socket.socketpair())
            nothing = high(os.open(os.devnull, os.O_RDWR))
            prepared.callback(os.close, nothing)
            said = None if err is not None else Words()
            if said is not None:
                prepared.callback(os.close, err := said.theirs)
            elif err == subprocess.STDOUT:
                err = out
            end = theirs.fileno()
            first, second = (end, end) if plain else (subprocess.DEVNULL, out)
            standard = tuple(_copy(fd, nothing, prepared) for fd in (first, second, err))
            if not plain:
                variables |= environment_of(theirs)
        except OSError as error:
            raise failure(error, subject) from error
        except RuntimeError as error:
            raise _no_thread(error, subject) from error
        mine = socket.socket(fileno=ours.detach())
        theirs_only = prepared.pop_all()

    def begin() -> int:
        with theirs_only:
            return start(program, variables, folder, standard, None if plain else end)

    try:
        child = Child(begin, name, shown, mine, None if plain else start_timeout, said, on_exit)
    except RuntimeError as error:
        theirs_only.close()
        mine.close()
        raise _no_thread(error, subject) from error
    try:
        await child.started()
    except OSError as error:
        if isinstance(error, CapnetError):
            raise
        raise _cannot_start(error, name, program, folder) from error
    return child


class _ExecScheme:
    async def connect(self, rest: str, /, *, argv: Sequence[Word] | None = None, **options: Any) -> Transport:
        if rest and argv is not None:
            raise InvalidArgument("exec: takes a command line or argv, not both")
        refuse_others("exec", options, ExecOptions)
        return (await spawn(split_line("exec", rest) if argv is None else argv, **options)).transport

    async def listen(self, rest: str, accept: Callable[[Transport], object], /, **options: Any) -> Listener:
        raise InvalidArgument(f"exec:{rest}: a program can be started but not listened at")


scheme: TransportScheme = _ExecScheme()
"""The scheme `exec`; options are those of `spawn`, and `argv` in place of a line."""


# --- options ---


def split_line(name: str, line: str) -> list[str]:
    """The words of a command line for the transport with that name, as a shell would have them.

    Raises:
        InvalidArgument: a quotation without end.
    """
    try:
        return shlex.split(line)
    except ValueError as error:
        raise InvalidArgument(f"{name}:{line}: {error}") from error


def _argv(name: str, argv: Sequence[Word]) -> list[bytes]:
    if isinstance(cast("object", argv), str | bytes | os.PathLike):
        raise InvalidArgument(
            f"{name}: argv: {argv!r} is one word, not a list of words", hint=f"write {name}:COMMAND LINE, or a list"
        )
    try:
        words = list(argv)
    except TypeError as error:
        raise InvalidArgument(f"{name}: argv: {error}") from error
    program = [_word(f"{name}: argv", word) for word in words]
    if not program or not program[0]:
        raise InvalidArgument(f"{name}: argv: there is no program to start", hint=f"such as {name}:python plug.py")
    return program


def _word(option: str, word: object) -> bytes:
    """A text, path or bytes as the system takes it."""
    if not isinstance(word, str | bytes | os.PathLike):
        raise InvalidArgument(f"{option}: {word!r} is no text, no path and no bytes"[:300])
    try:
        found = os.fsencode(cast("Word", word))
    except (TypeError, ValueError) as error:  # a path whose own method is wrong; characters that no name can have
        raise InvalidArgument(f"{option}: {error}") from error
    if b"\0" in found:
        raise InvalidArgument(f"{option}: there is a null byte in {found[:_SHOWN]!r}")
    return found


def _environment(name: str, env: Mapping[str, Word] | Mapping[bytes, Word] | None) -> dict[bytes, bytes]:
    passed = {
        name: value
        for name, value in os.environb.items()
        if name.decode("ascii", "replace") in _PASSED or name.startswith(b"LC_")
    }
    if env is None:
        return passed
    if not isinstance(cast("object", env), Mapping):
        raise InvalidArgument(f"{name}: env: {env!r} is no mapping of names to values"[:300])
    for variable, value in env.items():
        key = _word(f"{name}: env", variable)
        if not key or b"=" in key:
            raise InvalidArgument(f"{name}: env: {variable!r} cannot be the name of a variable")
        passed[key] = _word(f"{name}: env[{variable!r}]", value)
    return passed


def _output(option: str, output: object, *, or_stdout: bool = False) -> int | None:
    """Its descriptor, or one of subprocess's constants."""
    if output == subprocess.PIPE:
        raise InvalidArgument(
            f"{option}: nobody reads a pipe, and a program that fills it stands still; give it a file"
        )
    if output is None:
        return None
    if isinstance(output, int) and (output == subprocess.DEVNULL or (or_stdout and output == subprocess.STDOUT)):
        return output
    try:
        fd = output if isinstance(output, int) else cast("IO[Any]", output).fileno()
        os.fstat(fd)
    except (AttributeError, TypeError, ValueError, OSError, OverflowError) as error:
        raise InvalidArgument(
            f"{option}: {output!r} has no descriptor that could be handed on ({error})"[:300],
            hint="give it an open file",
        ) from error
    return fd


def _check(name: str, on_exit: object, start_timeout: object) -> None:
    if on_exit is not None and not callable(on_exit):
        raise InvalidArgument(f"{name}: on_exit: {on_exit!r} cannot be called"[:300])
    if inspect.iscoroutinefunction(on_exit):
        raise InvalidArgument(
            f"{name}: on_exit: this is a coroutine function, and nobody would await it",
            hint="wait for Connection.process in a task",
        )
    if not isinstance(start_timeout, int | float) or not start_timeout > 0:
        raise InvalidArgument(f"{name}: start_timeout: {start_timeout!r} is no number of seconds above 0"[:300])


# --- descriptors ---


def _high_socket(sock: socket.socket) -> socket.socket:
    return socket.socket(fileno=high(sock.detach()))


def _copy(fd: int | None, nothing: int, stack: ExitStack) -> int:
    """A descriptor of our own for what the program gets, so that nobody closes it before that."""
    if fd is None:
        fd = STDERR if has_stderr() else nothing
    copy = high(os.dup(nothing if fd == subprocess.DEVNULL else fd))
    stack.callback(os.close, copy)
    return copy


# --- texts ---


def _shown(program: Sequence[bytes]) -> str:
    line = shlex.join(word.decode("utf-8", "replace") for word in program)
    line = printable(line)
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"


def _no_thread(error: RuntimeError, subject: str) -> ResourceExhausted:
    return ResourceExhausted(f"{subject}: {error}", reason=errno.errorcode[errno.EAGAIN].lower())


def _cannot_start(error: OSError, name: str, program: Sequence[bytes], cwd: bytes | None) -> CapnetError:
    """What the system's words are about; it says `No such file` of three different things. None comes by itself."""
    subject = f"{name}: cannot start {_shown(program)}" + ("" if cwd is None else f" in {os.fsdecode(cwd)}")
    path = os.path.join(cwd or b"", program[0])
    if cwd is not None and not (os.path.isdir(cwd) and os.access(cwd, os.X_OK)):
        subject = f"{name}: the working directory {os.fsdecode(cwd)}, for {_shown(program)}"
    elif error.errno == errno.ENOENT and b"/" in program[0] and os.path.exists(path):
        subject += f": {_interpreter(path)}"
    failed = failure(error, subject)
    return Unavailable(failed.message, reason=failed.reason, retry="never") if type(failed) is Unavailable else failed


def _interpreter(path: bytes) -> str:
    """What a program needs that is there itself."""
    try:
        with open(path, "rb") as file:
            first = file.readline(_SHOWN)
    except OSError:
        first = b""
    if first.startswith(b"#!"):
        return f"it is there, but its first line names an interpreter that is not, {first[2:].strip()!r}"
    return "it is there, but the loader that it needs is not"
