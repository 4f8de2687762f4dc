"""What the host and the guest agree on: the contracts and the plain data in them, imported by both.

Those of the other two plugins are theirs (`examples.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from capnet import Cap, call

__all__ = ["NOBODY", "Attempt", "File", "Folder", "Guest", "Listing", "Loss", "Opened", "Overstep", "Vault"]

NOBODY = "demo.Nobody"
"""A name that nobody serves; who may not have it cannot tell."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of a folder: where it is below the folder, and how many bytes it has."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a folder.

    Attributes:
        files: by path; at most as many as the folder gives out.
        skipped: entries that are not given out, such as symbolic links.
        complete: False when there are more files than these.
    """

    files: list[File]
    skipped: int
    complete: bool


class Folder(Cap, name="demo.Folder"):
    """Files to read; the host implements it."""

    @call
    async def files(self) -> Listing:
        """What can be read."""
        ...

    @call
    async def read(self, path: str) -> bytes:
        """The content of one file.

        Raises:
            NotFound: it is not there. PermissionDenied: it is not for you. ResourceExhausted: it is too large.
        """
        ...

    @call
    async def open(self, path: str) -> Folder:
        """A folder in this folder.

        Raises:
            NotFound: it is not there. PermissionDenied: it is not for you.
        """
        ...


class Vault(Cap, name="demo.Vault"):
    """What the host serves too, and not to the plugin."""

    @call
    async def secret(self) -> str:
        """What is in it."""
        ...


@dataclass(frozen=True, slots=True)
class Attempt:
    """The plugin tried `what`; `outcome` is `ok`, or the code and reason of the refusal."""

    what: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Overstep:
    """What the plugin knows of a restriction, and what came of trying to do more.

    Attributes:
        methods: those that it may call.
        condition: whether its arguments are looked at.
        uses: how many calls it has.
    """

    methods: list[str]
    condition: bool
    uses: int
    attempts: list[Attempt]


@dataclass(frozen=True, slots=True)
class Opened:
    """The plugin opened the folder `path` in its folder; it sees so many files in it."""

    path: str
    files: int


@dataclass(frozen=True, slots=True)
class Loss:
    """How the plugin finds a folder revoked: what a call on it ended with, and what it was told without asking."""

    path: str
    call: str
    told: str


class Guest(Cap, name="demo.Guest"):
    """The plugin: it does what it is told, and that is more than it may."""

    @call
    async def overreach(self) -> list[Attempt]:
        """Ask the host for what was not granted."""
        ...

    @call
    async def trespass(self, folder: Folder) -> list[Attempt]:
        """Try to get out of a folder."""
        ...

    @call
    async def overstep(self, folder: Folder) -> Overstep:
        """See what is held against calls on a folder, and try to do more."""
        ...

    @call
    async def explore(self) -> list[Opened]:
        """Open folders in the folder, and folders in those."""
        ...

    @call
    async def aftermath(self) -> list[Loss]:
        """Use the folder and those that were opened in it once more, after it was taken back."""
        ...
