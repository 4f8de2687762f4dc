"""The plugin: a program of its own that the host starts. It reaches what the host lends it, and serves a search.

It says who it is by a token that the host put into its environment. Everything it does to the host's folder goes
through proxies; it is given no path and no file descriptor.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, ParamSpec

from anyio import Event as Signal
from anyio import create_task_group, move_on_after, run

from capnet import CapnetError, Connection, InvalidArgument, Unavailable, connect, on_broken, restrictions
from capnet.cli.demo.contract import (
    NOBODY,
    TOKEN,
    Attempt,
    Console,
    Folder,
    Indexed,
    Kind,
    Loss,
    Opened,
    Overstep,
    Plugin,
    Report,
    Search,
    Swapped,
    Vault,
)
from capnet.cli.demo.report import concerns_console, report
from capnet.cli.demo.search import HastySearch, PlainSearch, RankedSearch
from capnet.contract import contract_spec
from capnet.observe import Event

__all__ = ["main"]

P = ParamSpec("P")

WAYS_OUT: Final = ("link.txt", "door/secret.txt", "../secret.txt", "/etc/passwd", "inside.txt/../../secret.txt", "a\0b")
"""Tried on a folder in which `link.txt` and `door` are symbolic links to what is outside."""
MAX_INDEX_BYTES: Final = 16 * 1024 * 1024
"""What the plugin is ready to hold in memory."""
MAX_OPENED: Final = 4
"""Folders in the folder that it opens."""
ASKED: Final = tuple(contract_spec(contract).name for contract in (Console, Folder, Vault))
"""Grants that it asks for; the last it does not get."""
KINDS: Final = {"hasty": HastySearch, "ranked": RankedSearch}


class Unfit(Exception):
    """A search is not fit to be served."""


class Held:
    """A folder of the host's, until it is lost.

    Args:
        folder: the proxy.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self._broken: CapnetError | None = None
        self._told = Signal()
        on_broken(folder, self._note_broken)

    async def loss(self, path: str) -> Loss:
        """Use it once more, and say what came of it."""
        call = await _outcome(self.folder.files)
        with move_on_after(5):
            await self._told.wait()
        return Loss(path, call, "nothing" if self._broken is None else _words(self._broken))

    def _note_broken(self, error: CapnetError) -> None:
        self._broken = error
        self._told.set()


class SearchPlugin(Plugin):
    """Does what the host asks for, with the capabilities the host gave.

    Args:
        host: the connection to it.
        folder: what to search.
        console: where to tell how far it is.
    """

    def __init__(self, host: Connection, folder: Folder, console: Console) -> None:
        self._host = host
        self._folder = folder
        self._console = console
        self._index: dict[str, list[str]] = {}
        self._search: PlainSearch = PlainSearch(self._index)
        self._held: dict[str, Held] = {"": Held(folder)}

    async def overreach(self) -> list[Attempt]:
        """See `Plugin`."""
        host, vault = self._host, contract_spec(Vault).name
        return [
            Attempt(f"bootstrap {vault}", await _outcome(host.bootstrap, Vault)),
            Attempt(f"bootstrap {NOBODY}", await _outcome(host.bootstrap, Vault, name=NOBODY)),
            Attempt("runtime().describe", await _outcome(host.runtime().describe)),
        ]

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
        self._host.serve(self._search)
        return Indexed(count, size, +skipped)

    async def trespass(self, folder: Folder) -> list[Attempt]:
        """See `Plugin`."""
        return [Attempt(path, await _outcome(folder.read, path)) for path in ("inside.txt", *WAYS_OUT)]

    async def overstep(self, folder: Folder) -> Overstep:
        """See `Plugin`."""
        (known,) = await restrictions(folder)
        attempts = [
            Attempt("read 'inside.txt'", await _outcome(folder.read, "inside.txt")),
            Attempt("open 'private'", await _outcome(folder.open, "private")),
            Attempt("read 'private/diary.txt'", await _outcome(folder.read, "private/diary.txt")),
            Attempt("files", await _outcome(folder.files)),
            Attempt("read 'inside.txt' again", await _outcome(folder.read, "inside.txt")),
        ]
        return Overstep(sorted(known.methods or ()), known.where, known.uses_left or 0, attempts)

    async def swap(self, kind: Kind, query: str) -> Swapped:
        """See `Plugin`."""
        candidate = KINDS[kind]()  # it adopts the index
        try:
            async with self._host.swap(candidate) as swap:
                await self._check(candidate, query)
        except Unfit as unfit:
            return Swapped(refused=str(unfit))
        assert swap.report is not None
        self._search = candidate
        return Swapped("", swap.report.generation, swap.report.drained, swap.report.cut)

    async def explore(self) -> list[Opened]:
        """See `Plugin`."""
        opened: list[Opened] = []
        await self._open_in("", opened)
        return opened

    async def aftermath(self) -> list[Loss]:
        """See `Plugin`."""
        return [await held.loss(path) for path, held in self._held.items()]

    async def _check(self, candidate: Search, query: str) -> None:
        """Whether a search is fit to be served.

        Raises:
            Unfit: with what is wrong.
        """
        expected, found = await self._search.find(query), await candidate.find(query)
        if found.total != expected.total:
            raise Unfit(f"it finds {found.total} lines, not {expected.total}")
        try:
            await candidate.find(" ")
        except InvalidArgument:
            return
        raise Unfit("it answers a blank query")

    async def _open_in(self, path: str, opened: list[Opened]) -> None:
        """Open the folders in a folder that is open, and those in them."""
        folder = self._held[path].folder
        listing = await folder.files()
        for name in sorted({file.path.partition("/")[0] for file in listing.files if "/" in file.path}):
            if len(opened) == MAX_OPENED:
                return
            inner = f"{path}{name}/"
            self._held[inner] = Held(await folder.open(name))
            opened.append(Opened(inner, sum(file.path.startswith(f"{name}/") for file in listing.files)))
            await self._open_in(inner, opened)

    def _take(self, path: str, content: bytes) -> bool:
        """Put a file into the index, if it is text."""
        if b"\0" in content:
            return False
        self._index[path] = content.decode(errors="replace").splitlines()
        return True


class Reporter:
    """Collects the events of this process for the host, and tells several at a time.

    Args:
        host: the connection whose events they are.
    """

    def __init__(self, host: Connection) -> None:
        self._reports: list[Report] = []
        self._news = Signal()
        host.on(Event, self._note)

    async def run(self, console: Console) -> None:
        """Tell everything, until the connection closes or nobody listens."""
        with suppress(CapnetError):
            while True:
                await self._news.wait()
                reports, self._reports = self._reports, []
                self._news = Signal()
                await console.saw(reports)

    def _note(self, event: Event) -> None:
        if not concerns_console(event):
            self._reports.append(report(event))
            self._news.set()


async def main() -> None:
    """Connect to the host that started this process, and serve until it closes the connection.

    Raises:
        Unavailable: no host started it, or the host went before it lent anything. Unauthenticated: the host does not
        know it. PermissionDenied: it was not granted what it needs.
    """
    auth = {"token": os.environ.pop(TOKEN, ""), "grants": list(ASKED)}
    async with connect("fd:", name="plugin", auth=auth) as host:
        reporter = Reporter(host)
        folder = await host.bootstrap(Folder)
        console = await host.bootstrap(Console)
        host.serve(SearchPlugin(host, folder, console))
        async with create_task_group() as tasks:
            tasks.start_soon(reporter.run, console)
            await host.wait_closed()
            tasks.cancel_scope.cancel()


async def _outcome(method: Callable[P, Awaitable[object]], *args: P.args, **kwargs: P.kwargs) -> str:
    """What came of a call, in a word."""
    try:
        await method(*args, **kwargs)
    except CapnetError as refused:
        return _words(refused)
    return "ok"


def _words(error: CapnetError) -> str:
    return f"{error.code}/{error.reason}" if error.reason else error.code


if __name__ == "__main__":
    try:
        run(main)
    except CapnetError as error:
        started_by_hand = error.reason == "not_a_plugin"
        sys.exit(f"{error}: capnet demo" if started_by_hand else 1)
