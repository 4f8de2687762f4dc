"""What the editor and its plugins agree on."""

from __future__ import annotations

from dataclasses import dataclass

from capnet import Cap, Stream, call, options, stream


@dataclass(frozen=True)
class Version:
    """A text, and how often it was changed before."""

    number: int
    text: str


class Buffer(Cap, name="editor.Buffer"):
    """The editor's: a text that is being written."""

    @call
    async def write(self, text: str) -> None: ...
    @stream
    def versions(self) -> Stream[Version]:
        """The newest one, and then each that comes; who is slow skips some."""
        ...


class Problems(Cap, name="editor.Problems"):
    """The editor's: where a linter shows what it has found."""

    @call
    async def show(self, number: int, problems: list[str]) -> None: ...


class Linter(Cap, name="editor.Linter"):
    @options(idempotent=True)
    @call
    async def watch(self, problems: Problems) -> None:
        """Look at each version, until the editor has enough of it."""
        ...


class Formatter(Cap, name="editor.Formatter"):
    @options(idempotent=True)
    @call
    async def format(self, text: str) -> str: ...
