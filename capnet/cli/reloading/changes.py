"""Which files of a program have been saved."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from pathlib import Path

from capnet.cli.exits import Exit, Stop
from capnet.errors import MissingExtra

__all__ = ["Changes"]


class Changes:
    """The Python files below some folders; what tools keep there (`.git`, `.venv`, `__pycache__`, …) does not count.

    Raises:
        MissingExtra: nothing is installed that watches files.
    """

    def __init__(self) -> None:
        try:
            import watchfiles
        except ImportError as error:
            text = '--watch needs watchfiles, which is not installed; pip install "capnet[watch]"'
            raise MissingExtra(text) from error
        self._watch, self._filter = watchfiles.awatch, watchfiles.PythonFilter()
        self._watched: set[Path] = set()

    def others(self, files: Iterable[str]) -> list[Path]:
        """The folders of files that are below no folder that is watched."""
        folders = {Path(file).parent for file in files}
        return sorted(folder for folder in folders if not any(map(folder.is_relative_to, self._watched)))

    async def saved(self, folder: Path) -> AsyncGenerator[list[str]]:
        """The names of files that are saved below a folder, those of a moment together.

        Raises:
            Stop: the system does not let us watch it.
        """
        if any(map(folder.is_relative_to, self._watched)):
            return
        self._watched.add(folder)
        async with aclosing(self._watch(folder, watch_filter=self._filter)) as changes:
            try:
                async for change in changes:
                    yield sorted({Path(path).name for _, path in change})
            except OSError as error:
                raise Stop(f"{folder} cannot be watched: {error}", exit_code=Exit.FAILED) from error
