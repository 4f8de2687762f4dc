"""The command as a process of its own."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "capnet"]


def environment(scratch: Path, **more: str) -> dict[str, str]:
    """Ours, with a place of its own for temporary files, and nothing that changes how things look."""
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    return kept | {"TMPDIR": str(scratch), "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"} | more


def run(scratch: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end, and to the end of whatever could still write to its error output, the plugin included."""
    return subprocess.run(
        [*COMMAND, *words],
        cwd=ROOT,
        env=environment(scratch, **more),
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def run_on_terminal(scratch: Path, *words: str, **more: str) -> tuple[int, str]:
    """The same on a terminal; its exit code and all that the terminal was sent."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, *words], cwd=ROOT, env=environment(scratch, **more), stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        seen = b""
        while chunk := _read(ours):
            seen += chunk
        os.close(ours)
        return process.wait(timeout=120), seen.decode("utf-8")


@contextmanager
def started(scratch: Path, *words: str, stdout: int = subprocess.PIPE) -> Generator[subprocess.Popen[str]]:
    """It runs for the length of a block, and is killed when it still does at the end."""
    with subprocess.Popen(
        [*COMMAND, *words],
        cwd=ROOT,
        env=environment(scratch),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE if stdout == subprocess.PIPE else stdout,
        encoding="utf-8",
    ) as process:
        try:
            yield process
        finally:
            process.kill()


class Terminal:
    """A terminal, and what it was sent."""

    def __init__(self) -> None:
        self.ours, self.theirs = pty.openpty()
        self.seen = ""

    def until(self, words: str) -> str:
        """Read until something was said; all that was so far."""
        while words not in self.seen:
            chunk = _read(self.ours)
            assert chunk, f"{words!r} was never said: {self.seen}"
            self.seen += chunk.decode("utf-8")
        return self.seen

    def close(self) -> None:
        """Hang up."""
        os.close(self.ours)
        os.close(self.theirs)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux says that nobody holds the other end any more
        return b""
