"""Files that commands make: all of them, or none, and never in the place of others."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from capnet.cli.exits import Stop

__all__ = ["write_new"]


def write_new(directory: Path, files: Mapping[str, str], *, private: Collection[str]) -> None:
    """Write files into a directory, which is made with mode 0700 if it is missing.

    Args:
        directory: where they go.
        files: the text of each, in ASCII, by its name.
        private: names of those that are for us only.

    Raises:
        Stop: one of them is there already, or the system does not let us.
    """
    written: list[Path] = []
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, text in files.items():
            path = directory / name
            mode = 0o600 if name in private else 0o644
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
            written.append(path)
            with os.fdopen(file, "w", encoding="ascii") as opened:
                opened.write(text)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        hint = "they are left alone: name another directory, or remove them" if error.errno == 17 else None
        raise Stop(f"{error.filename or directory}: {error.strerror}", hint=hint) from error
