"""What the host and the plugin agree on: the contracts and the plain data in them, imported by both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from capnet import Cap, call

__all__ = [
    "NOBODY",
    "TOKEN",
    "Answer",
    "Attempt",
    "Console",
    "File",
    "Folder",
    "Indexed",
    "Kind",
    "Listing",
    "Loss",
    "Match",
    "Opened",
    "Overstep",
    "Plugin",
    "Report",
    "Search",
    "Swapped",
    "Vault",
]

TOKEN = "DEMO_TOKEN"  # noqa: S105 - the name of the variable, not what is in it
"""The environment variable in which the host gives the plugin the token that says who it is."""
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
class Match:
    """A line that matches; `line` counts from 1."""

    path: str
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a search found.

    Attributes:
        by: the kind of search that answered.
        total: how many lines match.
        matches: the first of them.
    """

    by: str
    total: int
    matches: list[Match]


class Search(Cap, name="demo.Search"):
    """Finds lines; the plugin implements it, more than once."""

    @call
    async def find(self, query: str) -> Answer:
        """The lines that have `query` in them, whatever its case.

        Raises:
            InvalidArgument: the query is blank or too long.
        """
        ...


@dataclass(frozen=True, slots=True)
class Report:
    """An event, told across processes: when (seconds since 1970), on which connection, what kind, and in words."""

    time: float
    connection: int
    kind: str
    text: str


class Console(Cap, name="demo.Console"):
    """Where the plugin tells what it does; the host implements it."""

    @call
    async def progress(self, done: int, total: int) -> None:
        """So many files are done."""
        ...

    @call
    async def saw(self, reports: list[Report]) -> None:
        """These events happened in the plugin."""
        ...


@dataclass(frozen=True, slots=True)
class Indexed:
    """What the plugin read: files and their bytes; and why it left others out, with how many."""

    files: int
    size: int
    skipped: dict[str, int]


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


Kind = Literal["hasty", "ranked"]
"""Of a search that is to replace the one that is served."""


@dataclass(frozen=True, slots=True)
class Swapped:
    """How a swap of the search ended.

    Attributes:
        refused: what was wrong with the candidate, so that everything is as before; empty when it is served now.
        generation: of the search from now on.
        drained: calls that ended on the search before by themselves.
        cut: calls that were ended.
    """

    refused: str = ""
    generation: int = 0
    drained: int = 0
    cut: int = 0


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


class Plugin(Cap, name="demo.Plugin"):
    """The plugin's control: the host tells it what to do next."""

    @call
    async def overreach(self) -> list[Attempt]:
        """Ask the host for what was not granted."""
        ...

    @call
    async def index(self) -> Indexed:
        """Read the folder, and serve a `Search` of it."""
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
    async def swap(self, kind: Kind, query: str) -> Swapped:
        """Swap the search that is served for another, if that passes a check, in which `query` is searched for."""
        ...

    @call
    async def explore(self) -> list[Opened]:
        """Open folders in the folder, and folders in those."""
        ...

    @call
    async def aftermath(self) -> list[Loss]:
        """Use the folder and those that were opened in it once more, after it was taken back."""
        ...
