"""What the host lends: a folder as a stream, folders with bait in them, and a vault that nobody gets."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from capnet import CapnetError, Stream
from capnet.cli.demo.contract import Vault
from capnet.cli.demo.examples import Source, Sources
from capnet.cli.demo.folder import DirectoryFolder

__all__ = ["FolderSources", "HostVault", "baited_folder", "not_private"]


class FolderSources(Sources):
    """The texts in a folder.

    Args:
        folder: it; stays the caller's.
    """

    def __init__(self, folder: DirectoryFolder) -> None:
        self._folder = folder
        self.skipped = 0
        """Files that were not given out the last time: too large, not to be read, or no text."""

    async def sources(self, ending: str) -> Stream[Source]:
        """See `contracts.py`."""
        listing = await self._folder.files()
        self.skipped = listing.skipped
        for file in listing.files:
            if not file.path.endswith(ending):
                continue
            try:
                content = await self._folder.read(file.path)
            except CapnetError:
                self.skipped += 1
                continue
            if b"\0" in content:
                self.skipped += 1
                continue
            yield Source(file.path, content.decode(errors="replace"))


class HostVault(Vault):
    """Nobody is granted this.

    Attributes:
        opened: how often somebody got in.
    """

    def __init__(self) -> None:
        self.opened = 0

    async def secret(self) -> str:
        """See `Vault`."""
        self.opened += 1
        return "not for the plugin"


def not_private(method: str, arguments: Mapping[str, Any]) -> bool:
    """The condition of a restricted folder."""
    return method == "files" or not arguments["path"].startswith("private/")


@contextmanager
def baited_folder() -> Generator[DirectoryFolder]:
    """A folder with a file to read, one that is private, and links to a file outside of it and the directory there."""
    with TemporaryDirectory(prefix="capnet-demo-") as name:
        outside = Path(name)
        inside = outside / "inside"
        inside.mkdir()
        (inside / "inside.txt").write_text("for the plugin\n", "utf-8")
        (outside / "secret.txt").write_text("not for the plugin\n", "utf-8")
        (inside / "link.txt").symlink_to("../secret.txt")
        (inside / "door").symlink_to("..")
        (inside / "private").mkdir()
        (inside / "private" / "diary.txt").write_text("not for the plugin\n", "utf-8")
        yield DirectoryFolder(inside)
