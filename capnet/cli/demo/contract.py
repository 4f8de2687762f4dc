"""What the host and the plugin agree on: four contracts and the plain data in them, imported by both."""

from __future__ import annotations

from dataclasses import dataclass

from capnet import Cap, call

__all__ = [
    "Aftermath",
    "Answer",
    "Attempt",
    "Console",
    "File",
    "Folder",
    "Indexed",
    "Listing",
    "Match",
    "Plugin",
    "Report",
    "Search",
    "Swapped",
]


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
    """Finds lines; the plugin implements it, twice."""

    @call
    async def find(self, query: str) -> Answer:
        """The lines that have `query` in them, whatever its case."""
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
    """The plugin tried to read `path`; `outcome` is `read`, or the code and reason of the refusal."""

    path: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Swapped:
    """The search was replaced: its generation now, the calls that ended by themselves, and those that were cut."""

    generation: int
    drained: int
    cut: int


@dataclass(frozen=True, slots=True)
class Aftermath:
    """How the plugin finds its folder revoked: what a read ended with, and what it was told without asking."""

    read: str
    broken: str


class Plugin(Cap, name="demo.Plugin"):
    """The plugin's control: the host tells it what to do next."""

    @call
    async def index(self) -> Indexed:
        """Read the folder, and serve a `Search` of it."""
        ...

    @call
    async def trespass(self, folder: Folder) -> list[Attempt]:
        """Try to get out of a folder."""
        ...

    @call
    async def upgrade(self) -> Swapped:
        """Replace the search that is served by a better one."""
        ...

    @call
    async def aftermath(self) -> Aftermath:
        """Use the folder once more, after it was taken back."""
        ...
