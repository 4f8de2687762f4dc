"""Recordings, for the commands that show them."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from capnet.cli.exits import Stop
from capnet.recording import Entry, read

__all__ = ["RecordingFile", "recording"]

RecordingFile: TypeAlias = Annotated[
    Path, typer.Argument(metavar="FILE", help="What record= or --record has written; - is standard input.")
]


@contextmanager
def recording(path: Path) -> Generator[Iterator[Entry]]:
    """The entries of a recording, for the length of a block.

    Raises:
        Stop: the file cannot be read, or is empty. InvalidArgument: it is no recording.
    """
    if str(path) == "-":
        yield _checked(read(sys.stdin), path)
        return
    try:
        lines = path.open(encoding="utf-8", errors="replace")
    except OSError as error:
        raise Stop(f"{path} cannot be read: {error.strerror}") from error
    with lines:
        yield _checked(read(lines), path)


def _checked(entries: Iterator[Entry], path: Path) -> Iterator[Entry]:
    first = next(entries, None)
    if first is None:
        raise Stop(f"{path} is no recording: it is empty")
    yield first
    yield from entries
