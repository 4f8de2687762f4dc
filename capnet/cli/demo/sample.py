"""A small folder of notes and programs, for who names no folder."""

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
    "Who holds a capability can pass it on, and cannot make more of it.\n",
    "ideas/later/brew.py": "import os\nimport sys\n\n\ndef brew(kind):\n    try:\n        return int(kind)\n"
    "    except:\n        sys.exit('no tea')\n",
    "tea.py": "import json\n\n\ndef order(kinds):\n    # each is a capability to drink\n    return sorted(kinds)\n",
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
