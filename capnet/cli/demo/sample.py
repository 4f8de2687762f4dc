"""A small folder of notes, for who names no folder."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

__all__ = ["SAMPLE", "sample_folder"]

SAMPLE: Final = {
    "readme.md": "# Notes on capabilities\n\nA capability is an object that you may use because you hold it.\n"
    "Nobody can guess one, and nobody can use one that was not handed over.\n",
    "shopping.txt": "tea\nhoney\na lemon\n",
    "ideas/restrict.md": "# Give less\n\nA restricted capability allows some methods, some arguments, some uses.\n"
    "Who holds it can pass it on, and cannot make more of it.\n",
    "ideas/revoke.md": "# Take back\n\nWhat was given can be taken back, with all that came of it.\n"
    "The next call on such a capability fails, and its holder is told before.\n",
    "ideas/later/swap.md": "# Swap\n\nA better object comes behind the same capability, while calls run.\n",
}
"""Paths to contents."""


@contextmanager
def sample_folder() -> Generator[Path]:
    """The folder, for the length of a block."""
    with TemporaryDirectory(prefix="capnet-notes-") as name:
        for path, text in SAMPLE.items():
            file = Path(name, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
        yield Path(name)
