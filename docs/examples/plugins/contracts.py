"""What the host and its two plugins agree on."""

from __future__ import annotations

from dataclasses import dataclass

from capnet import Cap, Stream, call, options, stream


@dataclass(frozen=True)
class Source:
    """A file: where it is in the folder, and what is in it."""

    path: str
    text: str


@dataclass(frozen=True)
class Remark:
    """Something about a line of a file that should be looked at."""

    path: str
    line: int
    text: str


@dataclass(frozen=True)
class Hit:
    """A file in which a word stands, and how often."""

    path: str
    count: int


class Folder(Cap, name="example.Folder"):
    """The host's: files that a plugin may read, and nothing around them."""

    @stream
    def sources(self, ending: str) -> Stream[Source]:
        """All files whose names end so, in order."""
        ...


class Linter(Cap, name="example.Linter"):
    """A plugin that reads programs."""

    @options(idempotent=True)
    @stream
    def lint(self) -> Stream[Remark]:
        """What it has to say about the folder, as it finds it."""
        ...


class Index(Cap, name="example.Index"):
    """A plugin that remembers where words stand."""

    @call
    async def add(self, source: Source) -> int:
        """Read a file; how many words are known now."""
        ...

    @options(idempotent=True)
    @call
    async def find(self, word: str) -> list[Hit]: ...
