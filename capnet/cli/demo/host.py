"""The host: lends a folder to a plugin, uses what the plugin serves, replaces it, and takes the folder back.

Each step says what it is about to do and checks what came of it; the first thing that is not as it should be ends the
demo.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, cast

from anyio import Event as Signal
from anyio import create_task_group, fail_after
from anyio.lowlevel import checkpoint

from capnet import CapnetError, Connection, Host, Limits, ServeHandle, generation
from capnet.cli.demo.contract import Answer, Console, Plugin, Report, Search, Swapped
from capnet.cli.demo.folder import DirectoryFolder
from capnet.cli.demo.report import concerns_console, report
from capnet.cli.demo.show import Show
from capnet.observe import Event

__all__ = ["Demo", "Summary"]

COMMAND: Final = (sys.executable, "-m", "capnet.cli.demo.plugin")
"""The plugin."""
PATIENCE: Final = 60.0
"""Seconds for all of it; a machine that is busy may take several times the second or two of an idle one."""
CALLERS: Final = 4
"""Tasks that search all the time while the search is replaced."""
ROUNDS: Final = 3
"""Answers of the new search that each of them waits for."""


class Unexpected(Exception):
    """Something did not go as it should."""


@dataclass(slots=True)
class Summary:
    """What the demo did; the last line of `--json`."""

    ok: bool = False
    folder: str = ""
    query: str = ""
    files: int = 0
    bytes: int = 0
    skipped: int = 0
    refused: int = 0
    matches: int = 0
    calls: int = 0
    failed: int = 0
    in_flight: int = 0
    generation: int = 0
    revoked: bool = False
    plugin_exit: int | None = None
    events: int = 0
    seconds: float = 0.0

    def lines(self) -> dict[str, str]:
        """The same in words."""
        return {
            "read": f"{self.files} files, {self.bytes} bytes of {self.folder}; {self.skipped} skipped",
            "refused": f"{self.refused} attempts to get out of a folder",
            "answered": f"{self.query!r}: {self.matches} lines",
            "replaced": f"the search, now of generation {self.generation}; {self.in_flight} calls were in flight, "
            f"{self.calls} made, {self.failed} failed",
            "revoked": "the folder, and the plugin was told" if self.revoked else "nothing",
            "ended": f"the plugin, with exit code {self.plugin_exit}; {self.seconds:.1f} s, {self.events} events",
        }


class HostConsole(Console):
    """Shows what the plugin tells."""

    def __init__(self, demo: Demo) -> None:
        self._demo = demo

    async def progress(self, done: int, total: int) -> None:
        """See `Console`."""
        self._demo.show.progress(done, total)

    async def saw(self, reports: list[Report]) -> None:
        """See `Console`."""
        for told in reports:
            self._demo.note("plugin", told)


class Demo:
    """One run.

    Args:
        path: the folder's name, to be shown.
        folder: what to lend; closed at the end.
        query: what to search for.
        show: where to tell it.
    """

    def __init__(self, path: str, folder: DirectoryFolder, query: str, show: Show) -> None:
        self.show = show
        self.summary = Summary(folder=path, query=query)
        self._folder = folder
        self._exited = Signal()
        # Set by the steps, in their order:
        self._lent: ServeHandle
        self._connection: Connection
        self._plugin: Plugin
        self._search: Search

    async def run(self) -> bool:
        """Go through the steps; whether all went as it should. Nothing of it is left afterwards, whatever happens."""
        started = time.monotonic()
        try:
            with fail_after(PATIENCE):
                await self._steps()
            self.summary.ok = True
        except (Unexpected, CapnetError, TimeoutError, ExceptionGroup) as error:
            self._show_problems(error)
        self.summary.seconds = round(time.monotonic() - started, 3)
        self.show.summary(asdict(self.summary), self.summary.lines())
        return self.summary.ok

    def note(self, source: str, told: Report) -> None:
        """An event happened, here or in the plugin."""
        self.summary.events += 1
        self.show.event(source, told)

    async def _steps(self) -> None:
        # A plugin that is slow to start is no attack: this host started it itself.
        async with Host(name="host", limits=Limits(handshake_timeout=PATIENCE)) as host:
            host.on(Event, self._observe)
            await self._start(host)
            await self._index()
            await self._trespass()
            await self._ask()
            await self._replace()
            await self._revoke(host)
            await self._end()

    def _observe(self, event: Event) -> None:
        if not concerns_console(event):
            self.note("host", report(event))

    async def _step(self, text: str) -> None:
        await checkpoint()  # the events of the step before are on their way
        self.show.step(text)

    async def _start(self, host: Host) -> None:
        await self._step(f"serve the folder {self.summary.folder} and start a plugin")
        self._lent = host.serve(self._folder)
        host.serve(HostConsole(self))
        # Standard output is ours: what the plugin prints goes where errors go.
        self._connection = await host.connect("exec:", argv=COMMAND, stdout=2, on_exit=self._plugin_exited)
        self._plugin = await self._connection.bootstrap(Plugin, wait=PATIENCE)
        self.show.result(f"process {self._connection.attestation.pid} holds a typed proxy of the folder")

    async def _index(self) -> None:
        await self._step("the plugin reads the files through its proxy")
        with self.show.indexing():
            indexed = await self._plugin.index()
        summary, folder = self.summary, self._folder
        summary.files, summary.bytes, summary.skipped = (
            folder.files_read,
            folder.bytes_read,
            sum(indexed.skipped.values()),
        )
        expect((indexed.files, indexed.size) == (summary.files, summary.bytes), "the plugin did not get what was read")
        why = ", ".join(f"{count} {reason}" for reason, count in sorted(indexed.skipped.items()))
        self.show.result(f"{summary.files} files, {summary.bytes} bytes" + (f"; skipped: {why}" if why else ""))

    async def _trespass(self) -> None:
        await self._step("the plugin tries to get out of another folder, which has links to a secret beside it")
        with baited_folder() as folder:
            allowed, *attempts = await self._plugin.trespass(folder)
        expect(allowed.outcome == "read", f"{allowed.path} is there to be read: {allowed.outcome}")
        for attempt in attempts:
            expect(attempt.outcome.startswith(("permission_denied", "invalid_argument")), f"{attempt.path!r} got out")
            self.show.detail(f"{attempt.path!r}: {attempt.outcome}")
        self.summary.refused = len(attempts)
        self.show.result(f"all {len(attempts)} attempts were refused")

    async def _ask(self) -> None:
        await self._step(f"search for {self.summary.query!r}")
        self._search = await self._connection.bootstrap(Search)
        answer = await self._search.find(self.summary.query)
        expect(answer.by == "plain", f"answered by {answer.by}")
        self.summary.matches = answer.total
        self._show_answer(answer)

    async def _replace(self) -> None:
        await self._step(f"replace the search by a better one while {CALLERS} callers use it")
        load = Load(self._search, self.summary.query)
        async with create_task_group() as tasks:
            for _ in range(CALLERS):
                tasks.start_soon(load.search)
            tasks.start_soon(load.upgrade, self._plugin)
        summary, swapped = self.summary, load.swapped
        summary.calls, summary.failed, summary.in_flight = load.calls, load.failed, load.caught
        summary.generation = generation(self._search)
        expect(load.failed == 0, f"{load.failed} calls failed")
        expect(load.caught == CALLERS, f"{load.caught} calls were in flight")
        expect(summary.generation == swapped.generation == 2, f"generation {summary.generation}")
        self.show.result(
            f"{load.calls} calls, none failed; {swapped.drained} ended on the old search, {swapped.cut} were cut"
        )
        answer = await self._search.find(summary.query)
        expect(answer.by == "ranked", f"answered by {answer.by}")
        expect(answer.total == summary.matches, f"{answer.total} lines, not {summary.matches}")
        self._show_answer(answer)

    async def _revoke(self, host: Host) -> None:
        await self._step("take the folder back")
        host.unserve(self._lent)
        seen = await self._plugin.aftermath()
        expect(seen.read == "failed_precondition/revoked", f"the plugin's next read ended with {seen.read}")
        expect(seen.broken == "failed_precondition/revoked", f"the plugin was told {seen.broken}")
        self.summary.revoked = True
        self.show.result(f"the plugin was told, and its next read failed: {seen.read}")

    async def _end(self) -> None:
        await self._step("end the plugin")
        await self._connection.aclose("the demo is over")
        await self._exited.wait()
        expect(self.summary.plugin_exit == 0, f"the plugin ended with exit code {self.summary.plugin_exit}")
        self.show.result("it has exited, with code 0")

    def _plugin_exited(self, code: int) -> None:
        self.summary.plugin_exit = code
        self._exited.set()

    def _show_problems(self, error: Exception) -> None:
        """Say what went wrong; what this program did not foresee is raised again."""
        problems = list(_leaves(error))
        if not all(isinstance(problem, Unexpected | CapnetError | TimeoutError) for problem in problems):
            raise error
        for problem in problems:
            self.show.problem(str(problem) or f"not done within {PATIENCE:.0f} seconds")

    def _show_answer(self, answer: Answer) -> None:
        self.show.result(f"{answer.total} lines match, says the {answer.by} search")
        for match in answer.matches[:3]:
            self.show.detail(f"{match.path}:{match.line}: {match.text[:90]}")


class Load:
    """Several callers of one search, before, while and after it is replaced.

    Attributes:
        calls, failed, in_flight: how many there were, how many of them failed, and how many run now.
        caught: how many ran when the search was to be replaced.
        swapped: what the plugin says of it.
    """

    swapped: Swapped

    def __init__(self, search: Search, query: str) -> None:
        self.calls = self.failed = self.in_flight = self.caught = 0
        self._search = search
        self._query = query
        self._warm = 0
        self._all_warm = Signal()

    async def search(self) -> None:
        """One caller: search until the new implementation has answered some times, or a call has failed."""
        await self._find()
        self._warm += 1
        if self._warm == CALLERS:
            self._all_warm.set()
        ranked = 0
        while ranked < ROUNDS and not self.failed:
            ranked += await self._find() == "ranked"

    async def upgrade(self, plugin: Plugin) -> None:
        """Have the search replaced, once every caller has had an answer of the old one."""
        await self._all_warm.wait()
        self.caught = self.in_flight
        self.swapped = await plugin.upgrade()

    async def _find(self) -> str:
        self.calls += 1
        self.in_flight += 1
        try:
            return (await self._search.find(self._query)).by
        except CapnetError:
            self.failed += 1
            return "nobody"
        finally:
            self.in_flight -= 1


def expect(condition: bool, otherwise: str) -> None:
    """Go on if all is as it should be.

    Raises:
        Unexpected: it is not; with the text.
    """
    if not condition:
        raise Unexpected(otherwise)


@contextmanager
def baited_folder() -> Generator[DirectoryFolder]:
    """A folder with a file to read, a link to a file outside of it, and a link to the directory around it."""
    with TemporaryDirectory(prefix="capnet-demo-") as name:
        outside = Path(name)
        inside = outside / "inside"
        inside.mkdir()
        (inside / "inside.txt").write_text("for the plugin\n", "utf-8")
        (outside / "secret.txt").write_text("not for the plugin\n", "utf-8")
        (inside / "link.txt").symlink_to("../secret.txt")
        (inside / "door").symlink_to("..")
        yield DirectoryFolder(inside)


def _leaves(error: Exception) -> Iterator[Exception]:
    """The errors in a group, however deep."""
    if isinstance(error, ExceptionGroup):
        group = cast("ExceptionGroup[Exception]", error)
        for inner in group.exceptions:
            yield from _leaves(inner)
    else:
        yield error
