"""How a program is started: by the C library's `posix_spawn`, in the thread that calls `start` and no other.

Why not `subprocess`: it keeps the interpreter's lock until the program has been loaded, which takes seconds from a slow
disk, and nobody is served meanwhile; and the program inherits which signals are blocked and ignored here. Called
through `ctypes` it needs no lock, and gives the program a clean state of signals in the same step. Where the C library
cannot close what is open or change the directory in it (other than glibc 2.34 or newer), `subprocess` it is.
"""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import ctypes

__all__ = ["NUMBER", "STDERR", "high", "has_stderr", "start"]

NUMBER: Final = b"CAPNET_FD"
"""Variable in which a program finds the number of the descriptor that it got beside the first three."""
STDERR: Final = 2
_STANDARD: Final = 3
"""Descriptors below this have a meaning of their own."""
_ATTRIBUTES: Final = 0x04 | 0x08 | 0x80  # POSIX_SPAWN_SETSIGDEF, SETSIGMASK, SETSID of <spawn.h>
_ROOM: Final = 1024
"""Bytes for each opaque structure of <spawn.h> and <signal.h>; the largest has 336."""
_HOPELESS: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES})
"""Error numbers with which the next directory of a PATH is looked at."""


def start(
    argv: Sequence[bytes],
    env: Mapping[bytes, bytes],
    cwd: bytes | None,
    standard: Sequence[int],
    extra: int | None = None,
) -> int:
    """Start a program in a session of its own; returns its process when it has been loaded. Blocks until then.

    Args:
        argv: the program, looked for in the PATH of `env` when there is no slash in it, and its arguments.
        env: its whole environment.
        cwd: where it runs; here when None.
        standard: what it has as standard input, output and error.
        extra: one more descriptor for it; it finds the number in `CAPNET_FD`. Nothing else of ours is open there.

    Raises:
        OSError: what the system said, also of `cwd`.
    """
    with ExitStack() as stack:
        copies = [_copy(fd, stack) for fd in (*standard, *(() if extra is None else (extra,)))]
        libc = _library()
        if libc is None:
            return _start_slowly(argv, env, cwd, copies)
        if extra is not None:
            env = {**env, NUMBER: b"%d" % _STANDARD}
        failure = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        for path in _candidates(argv[0], env, cwd):
            pid, number = _spawn(libc, path, argv, env, cwd, copies)
            if number == 0:
                return pid
            failure = OSError(number, os.strerror(number))
            if number not in _HOPELESS:
                break
        raise failure


def high(fd: int) -> int:
    """The same under a number that is not one of the first three, which somebody may write to who means his output.

    `fd` is closed, if it is another.
    """
    if fd >= _STANDARD:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _STANDARD)
    finally:
        os.close(fd)


def has_stderr() -> bool:
    """Whether we have a standard error, and not something of ours that got its number after it was closed: whatever was
    inherited can be inherited further, and what Python opens cannot."""
    try:
        return os.get_inheritable(STDERR)
    except OSError:
        return False


def _copy(fd: int, stack: ExitStack) -> int:
    """Another number for `fd`, above all that it could get in the program: so that none is overwritten before it is
    taken, however few are open here."""
    copy = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _STANDARD + 1)
    stack.callback(os.close, copy)
    return copy


def _candidates(program: bytes, env: Mapping[bytes, bytes], cwd: bytes | None) -> list[bytes]:
    if b"/" in program:
        return [program]
    folders = env.get(b"PATH", os.fsencode(os.defpath)).split(b":")
    paths = [os.path.join(folder or b".", program) for folder in folders]
    return [path for path in paths if os.path.lexists(os.path.join(cwd or b"", path))]


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | None:
    """The C library, when it has all that is needed."""
    try:
        import ctypes

        libc = ctypes.CDLL(None)
        _ = libc.posix_spawn_file_actions_addclosefrom_np, libc.posix_spawn_file_actions_addchdir_np
        os.confstr("CS_GNU_LIBC_VERSION")  # the numbers above are those of glibc
    except (ImportError, OSError, AttributeError, ValueError):
        return None
    return libc


def _spawn(
    libc: ctypes.CDLL,
    path: bytes,
    argv: Sequence[bytes],
    env: Mapping[bytes, bytes],
    cwd: bytes | None,
    descriptors: Sequence[int],
) -> tuple[int, int]:
    """The process, and 0; or anything, and an error number."""
    import ctypes

    def strings(words: Sequence[bytes]) -> ctypes.Array[Any]:
        return (ctypes.c_char_p * (len(words) + 1))(*words, None)

    actions, attributes, signals = (ctypes.create_string_buffer(_ROOM) for _ in range(3))
    pid = ctypes.c_int()
    _check(libc.posix_spawn_file_actions_init(actions))
    try:
        for place, fd in enumerate(descriptors):
            _check(libc.posix_spawn_file_actions_adddup2(actions, fd, place))
        _check(libc.posix_spawn_file_actions_addclosefrom_np(actions, len(descriptors)))
        if cwd is not None:
            _check(libc.posix_spawn_file_actions_addchdir_np(actions, cwd))
        _check(libc.posix_spawnattr_init(attributes))
        _check(libc.posix_spawnattr_setflags(attributes, ctypes.c_short(_ATTRIBUTES)))
        libc.sigemptyset(signals)
        _check(libc.posix_spawnattr_setsigmask(attributes, signals))
        libc.sigfillset(signals)
        _check(libc.posix_spawnattr_setsigdefault(attributes, signals))
        environment = strings([name + b"=" + value for name, value in env.items()])
        number = libc.posix_spawn(ctypes.byref(pid), path, actions, attributes, strings(argv), environment)
        return pid.value, number
    finally:
        libc.posix_spawn_file_actions_destroy(actions)


def _check(number: int) -> None:
    if number:
        raise OSError(number, os.strerror(number))


def _start_slowly(
    argv: Sequence[bytes], env: Mapping[bytes, bytes], cwd: bytes | None, descriptors: Sequence[int]
) -> int:
    stdin, stdout, stderr, *extra = descriptors
    if extra:
        env = {**env, NUMBER: b"%d" % extra[0]}
    process = subprocess.Popen(  # noqa: S603 (starting the program it is told is what this transport is for)
        list(argv),
        env=env,
        cwd=cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=extra,
        start_new_session=True,
    )
    process.returncode = 0  # who called waits for it, so it need not be looked after
    return process.pid
