"""The host: starts three plugins, uses them, loses one, swaps one, and takes back what it has lent to one.

Each step says what it is about to do and checks what came of it; the first thing that is not as it should be ends the
demo.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final, cast

from anyio import fail_after
from anyio.lowlevel import checkpoint

from capnet import CapnetError, Plugin, PluginHost, PluginSpec, restrict, revoke
from capnet.cli.demo.checks import Tally, Unexpected, expect
from capnet.cli.demo.contract import NOBODY, Attempt, Guest
from capnet.cli.demo.examples import FOLDER, Index, Linter
from capnet.cli.demo.folder import DirectoryFolder
from capnet.cli.demo.lending import FolderSources, HostVault, baited_folder, not_private
from capnet.cli.demo.policy import ByName
from capnet.cli.demo.report import report
from capnet.cli.demo.show import Show
from capnet.cli.demo.summary import Summary
from capnet.cli.demo.under_load import CALLERS, Load
from capnet.contract import contract_spec
from capnet.observe import Event
from capnet.plugins import PluginEnded

__all__ = ["Demo"]

GUEST: Final[dict[str, Any]] = {"run": "capnet.cli.demo.guest:main"}
"""How the third plugin is started."""
PATIENCE: Final = 120.0
"""Seconds for all of it; a machine that is busy may take many times the seconds of an idle one."""
USES: Final = 2
"""Calls that the guest has on a restricted folder."""
REVOKED: Final = "failed_precondition/revoked"


class Demo:
    """One run.

    Args:
        path: the folder's name, to be shown.
        folder: what to lend; closed at the end.
        query: what to look for.
        show: where to tell it.
    """

    _plugins: PluginHost
    _linter: Plugin[Linter]
    _index: Plugin[Index]
    _guest: Plugin[Guest]

    def __init__(self, path: str, folder: DirectoryFolder, query: str, show: Show) -> None:
        self.show = show
        self.summary = Summary(folder=path, query=query)
        self._folder = folder
        self._sources = FolderSources(folder)
        self._vault = HostVault()
        self._tally = Tally()
        self._ended: list[PluginEnded] = []

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

    async def _steps(self) -> None:
        exposed = (self._sources, self._folder, self._vault)
        async with PluginHost(expose=exposed, name="host", policy=ByName()) as self._plugins:
            self._plugins.on(Event, self._count)
            self._plugins.on(Event, self._observe)
            await self._start()
            await self._lint()
            await self._fill()
            await self._kill()
            await self._swap()
            await self._overreach()
            await self._trespass()
            await self._restrict()
            await self._revoke()
            await self._step(
                "end the plugins: nothing of them is left",
                "async with PluginHost(expose=folder) as plugins: ...  # its end",
            )
        await checkpoint()  # the last events are on their way
        self._check_ends()

    def _count(self, event: Event) -> None:
        """Counting takes no time, so none is missed, however slow the terminal is."""
        self._tally.note(type(event).__name__)
        if isinstance(event, PluginEnded):
            self._ended.append(event)

    def _observe(self, event: Event) -> None:
        self.summary.events += 1
        with suppress(BrokenPipeError):  # who reads our lines may go; the next step finds that out
            self.show.event(report(event))

    async def _step(self, text: str, code: str) -> None:
        await checkpoint()  # the events of the step before are on their way
        self.show.step(text, code)

    async def _start(self) -> None:
        await self._step(
            f"start plugins, each in a process of its own: they get the folder {self.summary.folder} and nothing else",
            'found = {plugin.name: plugin for plugin in PluginHost.discover("plugins")}\n'
            'await plugins.load_all(found["linter"].spec(Linter), found["index"].spec(Index))',
        )
        found = {plugin.name: plugin for plugin in PluginHost.discover(FOLDER)}
        specs = (found["linter"].spec(Linter), found["index"].spec(Index))
        guest = PluginSpec("guest", contract=Guest, **GUEST)
        loaded = await self._plugins.load_all(*specs, guest)
        self._linter, self._index, self._guest = cast("Any", loaded)
        pids = {plugin.pid for plugin in loaded}
        expect(len(pids) == 3 and os.getpid() not in pids, "they are not processes of their own")
        for plugin in loaded:
            self.summary.plugins.append(plugin.name)
            needs = ", ".join(need.name for need in plugin.manifest.needs) or "nothing"
            gives = plugin.manifest.provides.name
            self.show.result(f"{plugin.name}, process {plugin.pid}, is ready and well: gives {gives}, needs {needs}")

    async def _lint(self) -> None:
        await self._step(
            "the linter reads the programs as a stream, and answers with a stream",
            "async for remark in linter.slot.lint():\n    print(remark.text)",
        )
        self.summary.remarks = await self._remarks()
        self.show.result(f"{self.summary.remarks} remarks, each there as soon as it was found")

    async def _remarks(self) -> int:
        count = 0
        async for remark in self._linter.slot.lint():
            count += 1
            self.show.detail(f"{remark.path}:{remark.line}: {remark.text}")
        return count

    async def _fill(self) -> None:
        await self._step(
            "the index reads all texts, and remembers where words stand",
            "await index.slot.add(source)\nhits = await index.slot.find(word)",
        )
        summary = self.summary
        async for source in self._sources.sources(""):
            summary.words = await self._index.slot.add(source)
            summary.files += 1
        summary.skipped = self._sources.skipped
        hits = await self._index.slot.find(summary.query)
        summary.hits = len(hits)
        expect([hit.path for hit in hits] == sorted(hit.path for hit in hits), "they are not in order")
        skipped = f"; {summary.skipped} skipped" if summary.skipped else ""
        self.show.result(f"{summary.files} files, {summary.words} words{skipped}")
        self.show.result(f"{summary.query!r} stands in {len(hits)} of them, by path")
        for hit in hits:
            self.show.detail(f"{hit.path}: {hit.count} times")

    async def _kill(self) -> None:
        await self._step(
            "kill the linter, and use it at once: it is started again, and what we hold of it stays",
            "os.kill(linter.pid, signal.SIGKILL)",
        )
        before = self._linter.pid
        assert before is not None
        os.kill(before, signal.SIGKILL)
        again = await self._remarks_quietly()
        expect(again == self.summary.remarks, f"{again} remarks, not {self.summary.remarks}")
        expect(self._linter.restarts == 1 and self._linter.pid != before, "it was not started again")
        self.summary.restarts = self._linter.restarts
        said = self._linter.failure.message.partition(";")[0] if self._linter.failure is not None else ""
        self.show.detail(f"{said}; now it is process {self._linter.pid}")
        self.show.result(f"the same {again} remarks, by the same proxy")

    async def _remarks_quietly(self) -> int:
        return len([remark async for remark in self._linter.slot.lint()])

    async def _swap(self) -> None:
        await self._step(
            f"swap the index while {CALLERS} callers use it, for a bad process and then for a better one",
            'await plugins.swap("index", run="linter.py")\nawait plugins.swap("index", settings={"order": "count"})',
        )
        summary, query = self.summary, self.summary.query
        before = await self._index.slot.find(query)
        load = Load(self._plugins, self._index.slot, query)
        await load.run()
        summary.calls, summary.failed, summary.generation = load.calls, load.failed, self._index.generation
        expect(load.refused != "", "what is no index has taken its place")
        summary.rolled_back = 1
        self.show.result(f"rolled back, and nobody has noticed: {load.refused}")
        expect(load.failed == 0 and load.report is not None, f"{load.failed} calls failed")
        assert load.report is not None
        summary.state = load.report.state
        after = await self._index.slot.find(query)
        expect(
            after == sorted(before, key=lambda hit: (-hit.count, hit.path)),
            "the new process has lost something, or does not sort by count",
        )
        self.show.result(
            f"{load.calls} calls, none failed; the new process has the memory of the old one, {summary.state} bytes, "
            f"and sorts by count"
        )

    async def _overreach(self) -> None:
        await self._step(
            "the guest asks for what it was not granted: the answer does not tell whether it exists",
            "await host.bootstrap(Vault)  # in the guest",
        )
        attempts = await self._guest.slot.overreach()
        self._show_attempts(attempts)
        denied = [attempt for attempt in attempts if attempt.outcome == "permission_denied/not_granted"]
        expect(denied != [] and denied == attempts and not self._vault.opened, "it was not denied")
        await self._tally.expect("PolicyDenied", len(denied))
        self.summary.denied = len(denied)
        vault = contract_spec(type(self._vault)).name
        self.show.result(f"denied {len(denied)} times: {vault}, which is served, looks like {NOBODY}, which is not")

    async def _trespass(self) -> None:
        await self._step(
            "it tries to get out of another folder, which has links to a secret beside it",
            'await folder.read("../secret.txt")  # in the guest',
        )
        with baited_folder() as folder:
            allowed, *attempts = await self._guest.slot.trespass(folder)
        expect(allowed.outcome == "ok", f"{allowed.what} is there to be read: {allowed.outcome}")
        self._show_attempts(attempts)
        for attempt in attempts:
            expect(attempt.outcome.startswith(("permission_denied", "invalid_argument")), f"{attempt.what!r} got out")
        self.summary.refused = len(attempts)
        self.show.result(f"all {len(attempts)} attempts were refused")

    async def _restrict(self) -> None:
        await self._step(
            f"lend it less of a folder: {USES} calls, none of them open, nothing that is private",
            f'restrict(folder, methods={{"files", "read"}}, where=not_private, uses={USES})',
        )
        with baited_folder() as folder:
            less = restrict(folder, methods={"files", "read"}, where=not_private, uses=USES)
            seen = await self._guest.slot.overstep(less)
        expect(
            (seen.methods, seen.condition, seen.uses) == (["files", "read"], True, USES),
            f"the guest knows of {seen.methods}, {seen.uses} uses",
        )
        self._show_attempts(seen.attempts)
        restricted, used_up = "permission_denied/restricted", "resource_exhausted/used_up"
        outcomes = [attempt.outcome for attempt in seen.attempts]
        expect(outcomes == ["ok", restricted, restricted, "ok", used_up], "the restriction does not hold")
        self.summary.restricted = len(outcomes) - outcomes.count("ok")
        self.show.result(f"{self.summary.restricted} calls were refused before they reached the folder")

    async def _revoke(self) -> None:
        await self._step(
            "take the folder back, and with it the folders that the guest has opened in it", "revoke(folder)"
        )
        opened = await self._guest.slot.explore()
        if opened:
            self.show.detail(f"the guest has opened {', '.join(folder.path for folder in opened)}")
        listed = sorted(revoke(self._folder, dry_run=True), key=lambda one: one.cap)
        for one in listed:
            self.show.detail(f"this takes capability {one.cap} from the guest: {one.contract}")
        expect(len(listed) == 1 + len(opened), f"{len(listed)} capabilities would be taken, not {1 + len(opened)}")
        revoke(self._folder)
        losses = await self._guest.slot.aftermath()
        expect(len(losses) == len(listed), f"{len(losses)} folders were lost, not {len(listed)}")
        for loss in losses:
            expect(loss.call == REVOKED, f"the guest's next call on folder {loss.path!r} ended with {loss.call}")
            expect(loss.told == REVOKED, f"the guest was told of folder {loss.path!r}: {loss.told}")
        await self._tally.expect("CapRevoked", len(listed))
        self.summary.revoked = len(losses)
        self.show.result(f"it was told of each, and its next calls failed: {REVOKED}")

    def _check_ends(self) -> None:
        """Everything has ended, as far as the events tell."""
        last = {event.plugin: event.returncode for event in self._ended}
        self.summary.exits = last
        expect(set(last) == set(self.summary.plugins), f"ended: {', '.join(last)}")
        for plugin, code in last.items():
            expect(code == 0, f"{plugin} ended with exit code {code}")
        killed = sum(event.returncode == -signal.SIGKILL for event in self._ended)
        self.show.result(f"{len(self._ended)} processes have exited, {killed} of them because it was killed")
        self._tally.expect_ends()
        self.show.result("each call, stream, capability and connection has ended once, say the events of the host")

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


def _leaves(error: Exception) -> Iterator[Exception]:
    """The errors in a group, however deep."""
    if isinstance(error, ExceptionGroup):
        group = cast("ExceptionGroup[Exception]", error)
        for inner in group.exceptions:
            yield from _leaves(inner)
    else:
        yield error
