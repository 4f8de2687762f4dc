"""The guard: a process of ours that ends the programs we have started when we are gone, whatever ended us.

Nothing in a program that hangs can be relied on, and nothing of ours is left after SIGKILL. So as long as there are
programs a shell waits beside us, in a session of its own, at a pipe that only we can write to. Over it the shell learns
which programs there are. At its end it gives them a second to exit by themselves, sends SIGTERM to each one's process
group, and SIGKILL a second later.

A number may belong to somebody else by then. On Linux the shell compares when the process was born; and a group whose
leader is gone keeps its number for as long as anybody is in it. Elsewhere a number that was given away again within
these two seconds would be mistaken.

Why a shell: there is one on every system where sockets are handed on, also beside a frozen program; it is there in
1.6 ms and takes 1.7 MB, where an interpreter takes 9 ms and 8 MB. Why not PR_SET_PDEATHSIG: it is for Linux only, is
told when the thread that has started the program ends, and reaches no helper of the program.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from capnet_transports.starting import high, start

__all__ = ["forget", "watch"]

_SCRIPT: Final = r"""
trap '' HUP INT QUIT TERM PIPE
all=
while read -r what pid born; do
    case $what in
    +) all="$all $pid:$born" ;;
    -)
        kept=
        for one in $all; do
            [ "${one%%:*}" = "$pid" ] || kept="$kept $one"
        done
        all=$kept
        ;;
    esac
done

is_the_same () { # process, when it was born: whether the number is free, or still that of the program
    [ "$2" ] || return 0
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
    set -- "$2" ${stat##*) }
    [ "$1" = "${21}" ]
}

send () { # signal: whether anybody was there to get it
    nobody=1
    for one in $all; do
        is_the_same "${one%%:*}" "${one#*:}" && kill "-$1" "-${one%%:*}" 2>/dev/null && nobody=0
    done
    return $nobody
}

if [ "$all" ]; then
    sleep 1
    send TERM && { sleep 1; send KILL; }
fi
"""
_log = logging.getLogger("capnet.transports")
_lock = threading.Lock()
_programs: dict[int, bytes] = {}
"""What the guard was told of each program that runs."""
_guard: tuple[int, int] | None = None
"""Its process, and our end of the pipe; there as long as there are programs."""


def watch(pid: int) -> None:
    """From now on that program, which leads its process group and is not reaped yet, does not outlive us."""
    global _guard
    with _lock:
        _programs[pid] = line = b"+ %d %s\n" % (pid, _born(pid))
        try:
            if _guard is not None:
                try:
                    os.write(_guard[1], line)
                except BrokenPipeError:  # somebody has killed it
                    _end()
            if _guard is None:
                _guard = _start()
                os.write(_guard[1], b"".join(_programs.values()))
        except OSError as error:
            _log.warning("a program that hangs will outlive this one if it is killed: no sh: %s", error.strerror)


def forget(pid: int) -> None:
    """It has ended, and is about to be reaped."""
    with _lock:
        del _programs[pid]
        if _guard is not None:
            with suppress(BrokenPipeError):  # somebody has killed it
                os.write(_guard[1], b"- %d\n" % pid)
        if not _programs:
            _end()


def _start() -> tuple[int, int]:
    read, write = map(high, os.pipe())
    nothing = -1
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        path = b":".join((os.fsencode(os.defpath), os.environb.get(b"PATH", b"")))
        argv = [b"sh", b"-c", _SCRIPT.encode(), b"capnet-guard"]
        return start(argv, {b"PATH": path}, b"/", (read, nothing, nothing)), write
    except BaseException:
        os.close(write)
        raise
    finally:
        os.close(read)
        if nothing >= 0:
            os.close(nothing)


def _end() -> None:
    global _guard
    if _guard is not None:
        pid, write = _guard
        _guard = None
        os.close(write)
        with suppress(ChildProcessError):  # somebody else has reaped it
            os.waitpid(pid, 0)


def _born(pid: int) -> bytes:
    """When a process was born, in words of this system's; nothing where it does not tell."""
    if sys.platform != "linux":
        return b""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19]
    except (OSError, IndexError):
        return b""


def _in_a_forked_child() -> None:
    """The programs are not its own, and it must not keep the guard from noticing our end."""
    global _guard, _lock
    _lock = threading.Lock()
    _programs.clear()
    if _guard is not None:
        os.close(_guard[1])
        _guard = None


os.register_at_fork(after_in_child=_in_a_forked_child)
