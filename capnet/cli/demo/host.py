"""The host: lends a folder to a plugin, uses what the plugin serves, sees it swapped, and takes the folder back.

Each step says what it is about to do and checks what came of it; the first thing that is not as it should be ends the
demo.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from secrets import token_urlsafe
from tempfile import TemporaryDirectory
from typing import Any, Final, cast

from anyio import Event as Signal
from anyio import create_task_group, fail_after, move_on_after
from anyio.lowlevel import checkpoint

from capnet import CapnetError, Connection, Host, ServeHandle, generation, restrict, revoke
from capnet.cli.demo.contract import (
    NOBODY,
    TOKEN,
    Answer,
    Attempt,
    Console,
    Plugin,
    Report,
    Search,
    Swapped,
    Vault,
)
from capnet.cli.demo.folder import DirectoryFolder
from capnet.cli.demo.policy import DERIVED, GRANTED, PRINCIPAL, TokenPolicy
from capnet.cli.demo.report import concerns_console, report
from capnet.cli.demo.show import Show
from capnet.contract import contract_spec
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
USES: Final = 2
"""Calls that the plugin has on a restricted folder."""
REVOKED: Final = "failed_precondition/revoked"
ENDS: Final = {
    "ConnectionOpened": ("ConnectionClosed",),
    "NameServed": ("NameUnserved",),
    "CallStarted": ("CallFinished",),
    "CapExported": ("CapDropped", "CapRevoked"),
    "StreamOpened": ("StreamClosed",),
}
"""Events that begin something, and those that end it."""


class Unexpected(Exception):
    """Something did not go as it should."""


@dataclass(slots=True)
class Summary:
    """What the demo did; the last line of `--json`."""

    ok: bool = False
    folder: str = ""
    query: str = ""
    principal: str | None = None
    grants: list[str] = field(default_factory=list[str])
    denied: int = 0
    files: int = 0
    bytes: int = 0
    skipped: int = 0
    refused: int = 0
    restricted: int = 0
    matches: int = 0
    rolled_back: int = 0
    calls: int = 0
    failed: int = 0
    in_flight: int = 0
    generation: int = 0
    revoked: int = 0
    plugin_exit: int | None = None
    events: int = 0
    seconds: float = 0.0

    def lines(self) -> dict[str, str]:
        """The same in words."""
        return {
            "granted": f"to {self.principal or 'nobody'}: {', '.join(self.grants) or 'nothing'}",
            "read": f"{self.files} files, {self.bytes} bytes of {self.folder}; {self.skipped} skipped",
            "refused": f"{self.denied} requests for what was not granted, {self.refused} attempts to get out of a "
            f"folder, {self.restricted} to do more with one than a restriction allows",
            "answered": f"{self.query!r}: {self.matches} lines",
            "swapped": f"the search, now of generation {self.generation}, after {self.rolled_back} swap that "
            f"was rolled back; {self.in_flight} calls were in flight, {self.calls} made, {self.failed} failed",
            "revoked": f"{self.revoked} folders, and the plugin was told of each",
            "ended": f"the plugin, with exit code {self.plugin_exit}; {self.seconds:.1f} s, {self.events} events",
        }


class HostConsole(Console):
    """Shows what the plugin tells."""

    def __init__(self, demo: Demo) -> None:
        self._demo = demo

    async def progress(self, done: int, total: int) -> None:
        """See `Console`."""
        with suppress(BrokenPipeError):  # as in `Demo.note`
            self._demo.show.progress(done, total)

    async def saw(self, reports: list[Report]) -> None:
        """See `Console`."""
        for told in reports:
            self._demo.note("plugin", told)


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


class Tally:
    """How many events of each kind there were, in the host and in the plugin."""

    def __init__(self) -> None:
        self._counts = Counter[tuple[str, str]]()
        self._news = Signal()

    def note(self, source: str, kind: str) -> None:
        """There was one more, in the `host` or the `plugin`."""
        self._counts[source, kind] += 1
        self._news.set()

    async def expect(self, source: str, kind: str, count: int) -> None:
        """Go on when there were so many; they may come a little after what they tell of.

        Raises:
            Unexpected: there were fewer for 5 seconds, or there were more.
        """
        with move_on_after(5):
            while self._counts[source, kind] < count:
                self._news = Signal()
                await self._news.wait()
        told = self._counts[source, kind]
        expect(told == count, f"the {source} told of {told} {kind}, not of {count}")

    def expect_ends(self) -> None:
        """Go on if all that has begun in the host has ended.

        Raises:
            Unexpected: something has not, or has ended twice.
        """
        for start, ends in ENDS.items():
            begun, ended = self._counts["host", start], sum(self._counts["host", end] for end in ends)
            expect(begun == ended, f"{begun} {start}, and {ended} ends")


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
        self._vault = HostVault()
        self._tally = Tally()
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
        # Who reads our lines may go; the next step finds that out, and ends the demo.
        with suppress(BrokenPipeError):
            self.show.event(source, told)
        if source == "plugin":
            self._tally.note(source, told.kind)

    async def _steps(self) -> None:
        token = token_urlsafe()
        async with Host(name="host", policy=TokenPolicy(token)) as host:
            host.on(Event, self._count)
            host.on(Event, self._observe)
            await self._start(host, token)
            await self._overreach()
            await self._index()
            await self._trespass()
            await self._restrict()
            await self._ask()
            await self._swap()
            await self._revoke(host)
            await self._end()
        self._tally.expect_ends()
        self.show.result("each call, capability and connection has ended once, say the events of the host")

    def _count(self, event: Event) -> None:
        """Counting takes no time, so none is missed, however slow the terminal is."""
        self._tally.note("host", type(event).__name__)

    def _observe(self, event: Event) -> None:
        if not concerns_console(event):
            self.note("host", report(event))

    async def _step(self, text: str, code: str) -> None:
        await checkpoint()  # the events of the step before are on their way
        self.show.step(text, code)

    async def _start(self, host: Host, token: str) -> None:
        await self._step(
            f"lend the folder {self.summary.folder} to a plugin, a process that gets this folder and nothing else",
            'host.serve(folder)\nplugin = await host.connect("exec:", argv=COMMAND)',
        )
        self._lent = host.serve(self._folder)
        host.serve_all(HostConsole(self), self._vault)
        # Standard output is ours: what the plugin prints goes where errors go.
        self._connection = await host.connect("exec:", argv=COMMAND, env={TOKEN: token}, on_exit=self._plugin_exited)
        self._plugin = await self._connection.bootstrap(Plugin, wait=PATIENCE)
        known = self._connection.attestation
        self.summary.principal, self.summary.grants = known.principal, sorted(known.grants)
        expect(known.principal == PRINCIPAL, f"the plugin is {known.principal}")
        expect(known.grants == GRANTED | DERIVED, f"it was granted {self.summary.grants}")
        self.show.result(f"process {known.pid} is known by its token as {known.principal!r}, and holds the folder")
        self.show.detail(f"granted: {', '.join(self.summary.grants)}")

    async def _overreach(self) -> None:
        await self._step(
            "the plugin asks for what it was not granted: the answer does not tell whether it exists",
            "await host.bootstrap(Vault)  # in the plugin",
        )
        attempts = await self._plugin.overreach()
        self._show_attempts(attempts)
        denied = [attempt for attempt in attempts if attempt.outcome == "permission_denied/not_granted"]
        expect(denied != [] and denied == attempts and not self._vault.opened, "it was not denied")
        vault = contract_spec(Vault).name
        told = [await self._connection.explain(name) for name in (vault, NOBODY)]
        expect(not any(name.allowed for name in told), "the policy would allow it")
        expect([name.served for name in told] == [True, False], "what is served is not what should be")
        await self._tally.expect("host", "PolicyDenied", len(denied))
        self.summary.denied = len(denied)
        self.show.result(f"denied {len(denied)} times: {vault}, which is served, looks like {NOBODY}, which is not")

    async def _index(self) -> None:
        await self._step(
            "the plugin reads the files: each is a call on the folder that it holds",
            "content = await folder.read(path)  # in the plugin",
        )
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
        await self._step(
            "the plugin tries to get out of another folder, which has links to a secret beside it",
            'await folder.read("../secret.txt")  # in the plugin',
        )
        with baited_folder() as folder:
            allowed, *attempts = await self._plugin.trespass(folder)
        expect(allowed.outcome == "ok", f"{allowed.what} is there to be read: {allowed.outcome}")
        self._show_attempts(attempts)
        for attempt in attempts:
            expect(attempt.outcome.startswith(("permission_denied", "invalid_argument")), f"{attempt.what!r} got out")
        self.summary.refused = len(attempts)
        self.show.result(f"all {len(attempts)} attempts were refused")

    async def _restrict(self) -> None:
        await self._step(
            f"lend less of a folder: {USES} calls, none of them open, nothing that is private",
            f'restrict(folder, methods={{"files", "read"}}, where=not_private, uses={USES})',
        )
        with baited_folder() as folder:
            seen = await self._plugin.overstep(
                restrict(folder, methods={"files", "read"}, where=not_private, uses=USES)
            )
        expect(
            (seen.methods, seen.condition, seen.uses) == (["files", "read"], True, USES),
            f"the plugin knows of {seen.methods}, {seen.uses} uses",
        )
        self.show.detail(f"the plugin knows: {', '.join(seen.methods)}; a condition; {seen.uses} uses")
        self._show_attempts(seen.attempts)
        restricted, used_up = "permission_denied/restricted", "resource_exhausted/used_up"
        outcomes = [attempt.outcome for attempt in seen.attempts]
        expect(outcomes == ["ok", restricted, restricted, "ok", used_up], "the restriction does not hold")
        self.summary.restricted = len(outcomes) - outcomes.count("ok")
        self.show.result(f"{self.summary.restricted} calls were refused before they reached the folder")

    async def _ask(self) -> None:
        await self._step(
            "now the other way round: the host calls what the plugin serves",
            "search = await plugin.bootstrap(Search)\nanswer = await search.find(query)",
        )
        self._search = await self._connection.bootstrap(Search)
        answer = await self._search.find(self.summary.query)
        expect(answer.by == "plain", f"answered by {answer.by}")
        self.summary.matches = answer.total
        self._show_answer(answer)

    async def _swap(self) -> None:
        await self._step(
            f"swap the search while {CALLERS} callers use it, for a bad one and then for a better one",
            "async with host.swap(RankedSearch()) as swap:  # in the plugin\n    await check(swap.candidate)",
        )
        load = Load(self._search, self.summary.query)
        async with create_task_group() as tasks:
            for _ in range(CALLERS):
                tasks.start_soon(load.search)
            tasks.start_soon(load.swap, self._plugin)
        summary, swapped = self.summary, load.swapped
        summary.calls, summary.failed, summary.in_flight = load.calls, load.failed, load.caught
        summary.generation = generation(self._search)
        expect(load.failed == 0, f"{load.failed} calls failed")
        expect(load.rolled_back.refused != "", "the hasty search passed its check")
        expect(not load.noticed, "a swap was rolled back, and the host noticed")
        summary.rolled_back = 1
        self.show.result(f"the hasty search was rolled back: {load.rolled_back.refused}")
        expect(swapped.refused == "", f"the ranked search was rolled back: {swapped.refused}")
        expect(load.caught == CALLERS, f"{load.caught} calls were in flight")
        expect(summary.generation == swapped.generation == 2, f"generation {summary.generation}")
        expect(load.by.keys() == {"plain", "ranked"}, f"answers by {', '.join(load.by)}")
        for kind in ("SwapBegan", "SwapEnded"):
            await self._tally.expect("plugin", kind, 2)
        self.show.result(
            f"{load.calls} calls, none failed, none reached the hasty search; {swapped.drained} ended on the old "
            f"search, {swapped.cut} were cut"
        )
        answer = await self._search.find(summary.query)
        expect(answer.by == "ranked", f"answered by {answer.by}")
        expect(answer.total == summary.matches, f"{answer.total} lines, not {summary.matches}")
        self._show_answer(answer)

    async def _revoke(self, host: Host) -> None:
        await self._step(
            "take the folder back, and with it the folders that the plugin has opened in it", "host.unserve(folder)"
        )
        opened = await self._plugin.explore()
        if opened:
            self.show.detail(f"the plugin opened {', '.join(folder.path for folder in opened)}")
        listed = sorted(revoke(self._folder, dry_run=True), key=lambda one: one.cap)
        for one in listed:
            self.show.detail(f"this takes capability {one.cap} from {one.peer}: {one.contract}")
        expect(len(listed) == 1 + len(opened), f"{len(listed)} capabilities would be taken, not {1 + len(opened)}")
        host.unserve(self._lent)
        losses = await self._plugin.aftermath()
        expect(len(losses) == len(listed), f"{len(losses)} folders were lost, not {len(listed)}")
        for loss in losses:
            expect(loss.call == REVOKED, f"the plugin's next call on folder {loss.path!r} ended with {loss.call}")
            expect(loss.told == REVOKED, f"the plugin was told of folder {loss.path!r}: {loss.told}")
        await self._tally.expect("host", "CapRevoked", len(listed))
        await self._tally.expect("plugin", "CapBroken", len(listed))
        self.summary.revoked = len(losses)
        self.show.result(f"the plugin was told of each, and its next calls failed: {REVOKED}")

    async def _end(self) -> None:
        await self._step("end the plugin: nothing of it is left", "await plugin.aclose()")
        await self._connection.aclose("the demo is over")
        await self._exited.wait()
        expect(self.summary.plugin_exit == 0, f"the plugin ended with exit code {self.summary.plugin_exit}")
        self.show.result("it has exited, with code 0")

    def _plugin_exited(self, code: int | None) -> None:
        self.summary.plugin_exit = code
        self._exited.set()

    def _show_problems(self, error: Exception) -> None:
        """Say what went wrong; what this program did not foresee is raised again."""
        problems = list(_leaves(error))
        if not all(isinstance(problem, Unexpected | CapnetError | TimeoutError) for problem in problems):
            raise error
        for problem in problems:
            self.show.problem(str(problem) or f"not done within {PATIENCE:.0f} seconds")

    def _show_attempts(self, attempts: list[Attempt]) -> None:
        for attempt in attempts:
            self.show.detail(f"{attempt.what!r}: {attempt.outcome}")

    def _show_answer(self, answer: Answer) -> None:
        self.show.result(f"{answer.total} lines match, says the {answer.by} search")
        for match in answer.matches[:3]:
            self.show.detail(f"{match.path}:{match.line}: {match.text[:90]}")


class Load:
    """Several callers of one search, before, while and after it is swapped.

    Attributes:
        calls, failed, in_flight: how many there were, how many of them failed, and how many run now.
        by: how many were answered by which search.
        rolled_back: what the plugin says of the swap that fails.
        noticed: whether the generation of the search was another one after that.
        caught: how many ran when the search was to be swapped for good.
        swapped: what the plugin says of that.
    """

    rolled_back: Swapped
    noticed: bool
    swapped: Swapped

    def __init__(self, search: Search, query: str) -> None:
        self.calls = self.failed = self.in_flight = self.caught = 0
        self.by = Counter[str]()
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

    async def swap(self, plugin: Plugin) -> None:
        """Have the search swapped, badly and well, once every caller has had an answer of the old one."""
        await self._all_warm.wait()
        before = generation(self._search)
        self.rolled_back = await plugin.swap("hasty", self._query)
        self.noticed = generation(self._search) != before
        self.caught = self.in_flight
        self.swapped = await plugin.swap("ranked", self._query)

    async def _find(self) -> str:
        self.calls += 1
        self.in_flight += 1
        try:
            answer = await self._search.find(self._query)
            self.by[answer.by] += 1
        except CapnetError:
            self.failed += 1
            return "nobody"
        else:
            return answer.by
        finally:
            self.in_flight -= 1


def expect(condition: bool, otherwise: str) -> None:
    """Go on if all is as it should be.

    Raises:
        Unexpected: it is not; with the text.
    """
    if not condition:
        raise Unexpected(otherwise)


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


def _leaves(error: Exception) -> Iterator[Exception]:
    """The errors in a group, however deep."""
    if isinstance(error, ExceptionGroup):
        group = cast("ExceptionGroup[Exception]", error)
        for inner in group.exceptions:
            yield from _leaves(inner)
    else:
        yield error
