"""The plugin: a program of its own that the host starts. It reaches what the host lends it, and serves a search.

Everything it does to the host's folder goes through one proxy; it is given no path and no file descriptor.
"""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import suppress
from typing import Final

from anyio import Event as Signal
from anyio import create_task_group, move_on_after, run

from capnet import CapnetError, Connection, Unavailable, connect, on_broken
from capnet.cli.demo.contract import (
    Aftermath,
    Attempt,
    Console,
    Folder,
    Indexed,
    Plugin,
    Report,
    Swapped,
)
from capnet.cli.demo.report import concerns_console, report
from capnet.cli.demo.search import PlainSearch, RankedSearch
from capnet.observe import Event

__all__ = ["main"]

WAYS_OUT: Final = ("link.txt", "door/secret.txt", "../secret.txt", "/etc/passwd", "inside.txt/../../secret.txt", "a\0b")
"""Tried on a folder in which `link.txt` and `door` are symbolic links to what is outside."""
MAX_INDEX_BYTES: Final = 16 * 1024 * 1024
"""What the plugin is ready to hold in memory."""


class SearchPlugin(Plugin):
    """Does what the host asks for, with the capabilities the host gave.

    Args:
        host: the connection to it.
        folder: what to search.
        console: where to tell how far it is.
        reporter: tells the host the events of this process.
    """

    def __init__(self, host: Connection, folder: Folder, console: Console, reporter: Reporter) -> None:
        self._host = host
        self._folder = folder
        self._console = console
        self._reporter = reporter
        self._index: dict[str, list[str]] = {}
        self._broken: CapnetError | None = None
        self._told = Signal()
        on_broken(folder, self._note_broken)

    async def index(self) -> Indexed:
        """See `Plugin`."""
        listing = await self._folder.files()
        skipped = Counter(not_offered=listing.skipped, beyond_the_limit=not listing.complete)
        count = size = 0
        for done, file in enumerate(listing.files, 1):
            if size + file.size > MAX_INDEX_BYTES:
                skipped["too_much"] += 1
                continue
            try:
                content = await self._folder.read(file.path)
            except Unavailable:
                raise
            except CapnetError as refused:
                skipped[_words(refused)] += 1
            else:
                count, size = count + 1, size + len(content)
                skipped["binary"] += not self._take(file.path, content)
            await self._console.progress(done, len(listing.files))
        self._host.serve(PlainSearch(self._index))
        return Indexed(count, size, +skipped)

    async def trespass(self, folder: Folder) -> list[Attempt]:
        """See `Plugin`."""
        return [Attempt(path, await _try(folder, path)) for path in ("inside.txt", *WAYS_OUT)]

    async def upgrade(self) -> Swapped:
        """See `Plugin`."""
        done = await self._host.replace(RankedSearch(self._index))
        return Swapped(done.generation, done.drained, done.cut)

    async def aftermath(self) -> Aftermath:
        """See `Plugin`."""
        read = await _try(self._folder, "index.md")
        with move_on_after(5):
            await self._told.wait()
        await self._reporter.flush(self._console)
        return Aftermath(read, _words(self._broken))

    def _take(self, path: str, content: bytes) -> bool:
        """Put a file into the index, if it is text."""
        if b"\0" in content:
            return False
        self._index[path] = content.decode(errors="replace").splitlines()
        return True

    def _note_broken(self, error: CapnetError) -> None:
        self._broken = error
        self._told.set()


class Reporter:
    """Collects the events of this process for the host, and tells several at a time.

    Args:
        host: the connection whose events they are.
    """

    def __init__(self, host: Connection) -> None:
        self._reports: list[Report] = []
        self._news = Signal()
        host.on(Event, self._note)

    async def flush(self, console: Console) -> None:
        """Tell what has not been told."""
        reports, self._reports = self._reports, []
        self._news = Signal()
        if reports:
            await console.saw(reports)

    async def run(self, console: Console) -> None:
        """Tell everything, until the connection closes or nobody listens."""
        with suppress(CapnetError):
            while True:
                await self._news.wait()
                await self.flush(console)

    def _note(self, event: Event) -> None:
        if not concerns_console(event):
            self._reports.append(report(event))
            self._news.set()


async def main() -> None:
    """Connect to the host that started this process, and serve until it closes the connection.

    Raises:
        Unavailable: no host started it, or the host went before it lent anything.
    """
    async with connect("fd:", name="plugin") as host:
        reporter = Reporter(host)
        folder = await host.bootstrap(Folder)
        console = await host.bootstrap(Console)
        host.serve(SearchPlugin(host, folder, console, reporter))
        async with create_task_group() as tasks:
            tasks.start_soon(reporter.run, console)
            await host.wait_closed()
            tasks.cancel_scope.cancel()


async def _try(folder: Folder, path: str) -> str:
    try:
        await folder.read(path)
    except CapnetError as refused:
        return _words(refused)
    return "read"


def _words(error: CapnetError | None) -> str:
    if error is None:
        return "nothing"
    return f"{error.code}/{error.reason}" if error.reason else error.code


if __name__ == "__main__":
    try:
        run(main)
    except Unavailable as error:
        started_by_hand = error.reason == "not_a_plugin"
        sys.exit(f"{error}: capnet demo" if started_by_hand else 1)
