"""The host's side: starts the process with the modules, again when a file is saved, and puts it in the old one's place.

Names and clients are the host's, and calls go on to the process. All that can go wrong is over when a new one says that
it is ready: then it answers, in one step, and the old one has some seconds for what runs there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from anyio import CancelScope, Lock, create_task_group, current_time, move_on_after, sleep
from anyio.abc import TaskGroup

from capnet import CapnetError, Connection, Host, Limits
from capnet.cli.exits import Exit, Stop, failure_of, report
from capnet.cli.output import Output
from capnet.cli.reloading.arrival import Arrival
from capnet.cli.reloading.changes import Changes
from capnet.cli.reloading.passed_on import PassedOn
from capnet.cli.text import clean
from capnet.contract import contract_spec
from capnet.plugins.instance import how

__all__ = ["Reloader"]

START_TIMEOUT: Final = 600.0
"""Seconds that modules may take to load; who does not want to wait saves a file once more."""
GRACE: Final = 5.0
"""Seconds that calls and streams have on a process that another one has taken the place of."""
POLL: Final = 0.02
"""Seconds between two looks at what still runs there."""


class Reloader:
    """One `capnet run --watch`.

    Args:
        targets: what to serve.
        loop: what the process runs on.
        out: where to say what happens, in JSON; for people it goes to standard error.

    Raises:
        MissingExtra: nothing is installed that watches files.
    """

    _host: Host
    _programs: Host
    _tasks: TaskGroup

    def __init__(self, targets: Sequence[str], loop: str, out: Output) -> None:
        self._argv = [sys.executable, "-m", "capnet.cli.reloading.program", loop, *targets]
        self._out = out
        self._folder = Path.cwd().resolve()
        self._changes = Changes()
        self._current: Connection | None = None
        """The process that answers now, if one does."""
        self._served: dict[str, PassedOn] = {}
        self._saved: set[str] = set()
        """Files that no process has been started for since they were saved."""
        self._lock = Lock()
        self._trying: CancelScope | None = None
        """Around the start of a process that is not ready."""

    @asynccontextmanager
    async def served(self, host: Host) -> AsyncGenerator[None]:
        """Have a host serve what the process has, for the length of a block, which begins when that was tried.

        Raises:
            Stop: what is to be served is not there.
        """
        self._host = host
        # A host of its own: the policy of the other one is for clients.
        async with Host(name="capnet run", limits=Limits.trusted()) as self._programs, create_task_group() as tasks:
            self._tasks = tasks
            tasks.start_soon(self._watch, self._folder)
            async with self._lock:
                wrong = await self._start()
            if wrong is not None:
                tasks.cancel_scope.cancel()
                raise wrong
            self._say(f"watching {self._folder}", watching=str(self._folder))
            yield
            tasks.cancel_scope.cancel()

    async def _watch(self, folder: Path) -> None:
        async for names in self._changes.saved(folder):
            self._saved.update(names)
            if self._trying is not None:
                self._trying.cancel()
            self._tasks.start_soon(self._start_again)

    async def _start_again(self) -> None:
        async with self._lock:
            if self._saved:  # else one before us has started what was saved
                wrong = await self._start()
                failure = None if wrong is None else failure_of(wrong)
                if failure is not None:
                    report("capnet run", failure, as_json=self._out.json)

    async def _start(self) -> Stop | None:
        """Start a process, and have it answer when it is ready; returns what was named wrongly, or could not be had."""
        since, names, self._saved = current_time(), sorted(self._saved), set[str]()
        arrival: Arrival | None = None
        with CancelScope() as self._trying:
            try:
                arrival = await self._arrived()
            except CapnetError as error:
                return Stop(exit_code=Exit.FAILED, cause=error)
            finally:
                self._trying = None
        if arrival is None:  # a file was saved meanwhile
            self._saved.update(names)
            return None
        for folder in self._changes.others(arrival.files):
            self._tasks.start_soon(self._watch, folder)
        if arrival.offered is None:
            self._not_ready(arrival, names)
            return arrival.wrong
        try:
            self._flip(arrival.offered)
        except CapnetError as error:
            with CancelScope(shield=True):
                await arrival.connection.aclose("it cannot be served", grace=0)
            return Stop(exit_code=Exit.FAILED, cause=error)
        before, self._current = self._current, arrival.connection
        self._tasks.start_soon(self._attend, arrival.connection)
        if before is not None:
            self._tasks.start_soon(_retire, before)
        seconds = round(current_time() - since, 3)
        text = f"{', '.join(names) or 'the program'} was saved: what it says now answers, after {seconds:.2f} s"
        if names:
            self._say(text, swapped=sorted(arrival.offered), files=names, seconds=seconds)
        return None

    async def _arrived(self) -> Arrival:
        """A process that is ready, or has failed to be."""
        output = None if self._out.json else sys.stdout
        connection = await self._programs.connect(
            "exec:",
            argv=self._argv,
            env=dict(os.environ),
            stdout=output,
            stderr=sys.stderr,
            start_timeout=START_TIMEOUT,
        )
        arrival = Arrival(connection, self._served)
        await arrival.settled()
        return arrival

    def _flip(self, offered: dict[str, PassedOn]) -> None:
        """Have the names lead to what is offered, in one step."""
        for name in self._served.keys() - offered.keys():
            self._host.unserve(name)
            self._served.pop(name).close()
        for name, new in offered.items():
            old = self._served.get(name)
            if old is not None and (lacking := new.lacks(old)):
                self._host.unserve(name)
                self._say(
                    f"{name} is another contract now, and was taken back from all: {'; '.join(lacking)}",
                    taken_back=name,
                )
            self._host.serve(new.proxy, name=name, if_exists="replace")
            # What it was replaced with may have more methods, and who asks for it from now on is to have them.
            registration = self._host._services.registry.find(name)  # noqa: SLF001 - no word for it elsewhere
            if registration is not None:
                registration.spec = contract_spec(type(new.proxy))
            if old is not None:
                old.close()
            self._served[name] = new

    async def _attend(self, connection: Connection) -> None:
        """Say when a process has ended that answers."""
        await connection.wait_closed()
        if self._current is connection:
            self._current = None
            if connection.process is not None:
                await connection.process.wait()
            said = _how(connection)
            self._say(f"the program {said}; it starts again when a file is saved", ended=said)

    def _not_ready(self, arrival: Arrival, names: list[str]) -> None:
        what = f"{', '.join(names) or 'the program'} could not be loaded"
        if arrival.wrong is None and not arrival.told:
            what = f"{what}: its process {_how(arrival.connection)}"
        then = "what ran before answers on" if self._current is not None else "it is tried again when a file is saved"
        self._say(f"{what}; {then}", failed=names, answers=self._current is not None)

    def _say(self, text: str, **fields: Any) -> None:
        if self._out.json:
            self._out.value(fields)
        else:
            with suppress(OSError):  # whoever read that has gone; clients have not
                print(clean(text), file=sys.stderr, flush=True)


async def _retire(old: Connection) -> None:
    """End a process that nothing new goes to."""
    with move_on_after(GRACE):
        while not old.closed and any(old.stats()[one] for one in ("calls", "calls_held", "streams")):  # noqa: ASYNC110
            await sleep(POLL)  # nothing tells
    await old.aclose("another process has taken its place", grace=0)


def _how(connection: Connection) -> str:
    """What became of its process."""
    code = None if connection.process is None else connection.process.returncode
    return "has ended" if code is None else how(code)
