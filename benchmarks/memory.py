"""What a process takes of the machine's memory, and how many files it may have open."""

from __future__ import annotations

import os
import resource
import subprocess

__all__ = ["open_many_files", "resident"]

_FILES = 8192


def resident(process: int) -> int:
    """Bytes of its memory that are in use and not swapped out. Raises `OSError` when there is no such process."""
    try:
        with open(f"/proc/{process}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:  # not Linux, or it has gone, as `ps` will say
        said = subprocess.run(["ps", "-o", "rss=", "-p", str(process)], capture_output=True, text=True).stdout
        if not said.strip():
            raise ProcessLookupError(f"no process {process}") from None
        return int(said) * 1024


def open_many_files() -> None:
    """Let this process have some thousand files open, if the system allows it: often a thousand is the limit."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if most == resource.RLIM_INFINITY else min(_FILES, most)
    if now != resource.RLIM_INFINITY and now < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
