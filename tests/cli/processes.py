"""The command as a process of its own."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
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


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux says that nobody holds the other end any more
        return b""
