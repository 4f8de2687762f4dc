"""One scenario, once, with at most one fault in it; and what must hold afterwards.

A scenario opens its hosts and connections through the `Ground` that it is given and does what it is about in `body`.
After the body, what is open must work, and hold nothing; after everything, nothing at all may be left.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import sys
import tempfile
import traceback
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVarTuple, cast
from unittest.mock import patch
from weakref import WeakKeyDictionary, WeakSet

import anyio
import trio
from anyio.lowlevel import checkpoint
from sniffio import current_async_library
from trio.testing import MockClock

from capnet import Cap, CapnetError, Connection, Host, connect
from capnet.calls.call import Call
from capnet.engine.inspect import check_invariants, stats
from capnet.observe import Bus
from capnet.observe.log import Log
from capnet.testing import assert_no_leaks
from tests.balance import Books
from tests.connection.leaks import open_descriptors, running_tasks
from tests.faults.injection import SLOWLY, Chances, Injected, Kind, Tasks, Virtual, steps, watched
from tests.transports.carriers import Listening

__all__ = ["BACKENDS", "Ground", "Outcome", "Scenario", "try_once"]

Args = TypeVarTuple("Args")
PATIENCE: Final = 5.0
"""Seconds of a virtual clock that a trial may take; then it hangs."""
REAL_PATIENCE: Final = 60.0
"""The same where the clock is real."""
BACKENDS: Final = ("asyncio", "asyncio+uvloop", "trio")
UNIX: Final = Listening("unix:{folder}.sock")


class Ground:
    """What a scenario stands on.

    Attributes:
        chances: what may go wrong in it.
        carrier: the transport by which hosts are reached.
        hosts: those that are open.
        clients: connections made by `client` that are open.
    """

    def __init__(self, chances: Chances, folder: str, carrier: Listening) -> None:
        self.chances = chances
        self.carrier = carrier
        self.hosts: list[Host] = []
        self.clients: list[tuple[Connection, str]] = []
        self._folder = folder

    def host(self, *implementations: Cap) -> Hosting:
        """`async with ground.host(MemShop()) as (host, url):` a host that serves them, and its address."""
        return Hosting(self, implementations)

    def client(self, url: str) -> Connecting:
        """`async with ground.client(url) as connection:` a connection to a host."""
        return Connecting(self, url)

    def next_url(self) -> str:
        """An address that no host has."""
        return self.carrier.url.format(folder=os.path.join(self._folder, str(len(self.hosts))))

    async def body(self, function: Callable[[*Args], Awaitable[object]], *args: *Args) -> None:
        """What the scenario is about, in a function of its own whose locals are gone afterwards."""
        chances = self.chances
        chances.in_body = True
        with anyio.CancelScope() as chances.body:
            try:
                await function(*args)
            except BaseException as error:
                if not declared(error):
                    raise
        chances.in_body = chances.active = False
        try:
            await self._check()
        finally:
            chances.active = True

    async def _check(self) -> None:
        """Each connection works, and holds nothing; or it is closed and says why, and whoever comes next is served."""
        for client, url in self.clients:
            if client.close_cause is None:
                await self._work(client)
            host = next((host for host in self.hosts if any(url == one.url for one in host._listeners)), None)
            if client.close_cause is not None and host is not None:
                assert self.chances.kind is not Kind.CANCEL_BODY, client.close_cause
                async with connect(url, name="another", **self.carrier.options) as another:
                    await another.runtime().ping()
        ends = [client for client, _ in self.clients]
        ends += [connection for host in self.hosts for connection in host.connections]
        open_ends = [end for end in ends if end.close_cause is None]
        await assert_no_leaks(*open_ends)
        for end in ends:
            check_invariants(end._session.engine)

    async def _work(self, client: Connection) -> None:
        try:
            await client.runtime().ping()
        except CapnetError:
            # It was about to close: so it has closed, and says why, on both sides.
            assert client.close_cause is not None


class Hosting:
    """A host for the length of a block; no async generator, because those cannot be looked into."""

    def __init__(self, ground: Ground, implementations: Sequence[Cap]) -> None:
        self._ground = ground
        self._implementations = implementations
        self._host = Host(name="host")

    async def __aenter__(self) -> tuple[Host, str]:
        ground, host = self._ground, await self._host.__aenter__()
        try:
            host.serve_all(*self._implementations)
            listener = await host.listen(ground.next_url(), **ground.carrier.told)
        except BaseException as error:
            await host.__aexit__(type(error), error, None)
            raise
        ground.hosts.append(host)
        return host, listener.url

    async def __aexit__(self, *error: object) -> None:
        self._ground.hosts.remove(self._host)
        await self._host.__aexit__(*error)


class Connecting:
    """A connection for the length of a block."""

    def __init__(self, ground: Ground, url: str) -> None:
        self._ground = ground
        self._url = url
        self._connect = connect(url, name="client", **ground.carrier.options)

    async def __aenter__(self) -> Connection:
        connection = await self._connect.__aenter__()
        self._ground.clients.append((connection, self._url))
        return connection

    async def __aexit__(self, *error: object) -> None:
        self._ground.clients = [(one, url) for one, url in self._ground.clients if one is not self._connect._connection]
        await self._connect.__aexit__(*error)


Scenario: TypeAlias = Callable[[Ground], Awaitable[None]]


@dataclass
class Outcome:
    """What came of a trial.

    Attributes:
        places: where the chances of each kind were, when the trial only counts.
        taken: where the fault was injected; empty when its chance did not come.
        wrong: what must not be, empty when all is well.
        error: what came out of the scenario, if anything.
    """

    places: Mapping[Kind, list[str]] = field(default_factory=dict[Kind, list[str]])
    taken: str = ""
    wrong: list[str] = field(default_factory=list[str])
    error: str = ""


def declared(error: BaseException) -> bool:
    """Whether this may come out of capnet: an error of its own, or the injected one of memory; or a group of such."""
    if isinstance(error, BaseExceptionGroup):
        return all(declared(one) for one in cast("BaseExceptionGroup[BaseException]", error).exceptions)
    return isinstance(error, (CapnetError, Injected))


def try_once(
    scenario: Scenario, backend: str, kind: Kind | None = None, number: int = 0, carrier: Listening = UNIX
) -> Outcome:
    """Run a scenario in a loop of its own, with one fault or none."""
    chances, found = Chances(kind, number), Outcome()
    tasks = Tasks(chances)
    with tempfile.TemporaryDirectory(prefix="cap", dir="/tmp") as folder, _observed(chances, found) as records:
        descriptors = open_descriptors()
        options: dict[str, Any]
        patience = PATIENCE
        if backend == "trio":
            options = {"clock": MockClock(SLOWLY, autojump_threshold=0), "instruments": [tasks]}
        elif backend == "asyncio":
            options = {"loop_factory": Virtual.loop}
        else:
            options, patience = {"use_uvloop": True}, REAL_PATIENCE
        try:
            anyio.run(
                _run, scenario, Ground(chances, folder, carrier), tasks, found, patience,
                backend=backend[:7].rstrip("+"), backend_options=options,
            )  # fmt: skip
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            found.wrong.append(f"the loop has failed: {''.join(traceback.format_exception(error))}")
            del error
        gc.collect()
        if open_descriptors() > descriptors:
            found.wrong.append("descriptors are left open")
    records.judge(found)
    found.places, found.taken = chances.places, chances.taken
    return found


async def _run(scenario: Scenario, ground: Ground, tasks: Tasks, found: Outcome, patience: float) -> None:
    chances = ground.chances
    if current_async_library() == "asyncio":
        asyncio.get_running_loop().set_exception_handler(lambda _, context: _failed_in_loop(context, found))
        tasks.watch()
    before = running_tasks()
    try:
        with anyio.fail_after(patience):
            with anyio.CancelScope() as chances.whole:
                chances.active = True
                await steps(_start(scenario, ground), chances)
    except BaseException as error:
        if not declared(error):
            found.wrong.append("".join(traceback.format_exception(error)))
        found.error = repr(error)
    finally:
        chances.active = False
    with anyio.move_on_after(patience):
        while running_tasks() > before:
            await checkpoint()
    if running_tasks() > before:
        found.wrong.append(f"tasks are left running: {_tasks()}")


async def _start(scenario: Scenario, ground: Ground) -> None:
    await scenario(ground)


def _failed_in_loop(context: dict[str, Any], found: Outcome) -> None:
    """A callback of the loop has raised, or a task that nobody awaits."""
    error = context.get("exception")
    if error is None or not declared(error):
        trace = "" if error is None else "".join(traceback.format_exception(error))
        found.wrong.append(f"{context['message']} {trace}")


def _tasks() -> list[str]:
    if current_async_library() == "trio":
        root = trio.lowlevel.current_root_task()
        return [repr(root)]
    return [repr(task) for task in asyncio.all_tasks()]


class Records:
    """What capnet made during a trial, and what it has to say of it."""

    def __init__(self) -> None:
        self.books = Books()
        self.connections: WeakSet[Connection] = WeakSet()
        self.calls: WeakKeyDictionary[Call[Any], int] = WeakKeyDictionary()
        self.made = self.settled = 0
        self.wrong: list[str] = []

    def judge(self, found: Outcome) -> None:
        """Everything has ended once, and nothing is left."""
        found.wrong += self.wrong
        if self.made != self.settled:
            found.wrong.append(f"{self.made} calls were made, {self.settled} have ended")
        try:
            self.books.check()
        except AssertionError as error:
            found.wrong.append(f"not in balance: {error}")
        for connection in self.connections:
            left = {
                key: value for key, value in stats(connection._session.engine).items() if value and key != "strikes"
            }
            if not connection.closed or connection.close_cause is None:
                found.wrong.append(f"{connection!r} is not closed: {left}")
            elif left:
                found.wrong.append(f"left in {connection!r}: {left}")
        self.books.buses.clear()
        alive = [f"{type(one).__name__}" for one in (*self.connections, *self.calls)]
        if alive and not found.wrong:
            found.wrong.append(f"not collected: {alive}")

    def made_call(self, call: Call[Any]) -> None:
        """One more that has to end."""
        self.made += 1
        self.calls[call] = 0

    def settled_call(self, call: Call[Any]) -> None:
        """It has ended."""
        self.settled += 1
        self.calls[call] += 1
        if self.calls[call] > 1:
            self.wrong.append(f"ended more than once: {call!r}")

    def unexpected(self, where: str, error: BaseException) -> None:
        """Capnet has logged a fault: only the injected one may be."""
        if not declared(error):
            self.wrong.append(f"unexpected in {where}: {''.join(traceback.format_exception(error))}")


@contextmanager
def _observed(chances: Chances, found: Outcome) -> Generator[Records]:
    """Take down what happens in the block."""
    records = Records()
    make_connection, calls = Connection.__init__, cast("Any", Call)
    make_call, settle = calls.__init__, calls.settle

    def connection(self: Connection, *args: Any, **kwargs: Any) -> None:
        make_connection(self, *args, **kwargs)
        records.connections.add(self)

    def call(self: Call[Any], *args: Any) -> None:
        make_call(self, *args)
        records.made_call(self)

    def end(self: Call[Any], *args: Any) -> None:
        records.settled_call(self)
        settle(self, *args)

    def logged(_: Log, where: str, __: str, error: BaseException) -> None:
        records.unexpected(where, error)

    def unraisable(told: Any) -> None:
        found.wrong.append(f"{told.err_msg} {''.join(traceback.format_exception(told.exc_value))}")

    with ExitStack() as stack:
        stack.enter_context(watched(chances))
        stack.enter_context(patch.object(Connection, "__init__", connection))
        stack.enter_context(patch.object(Call, "__init__", call))
        stack.enter_context(patch.object(Call, "settle", end))
        stack.enter_context(patch.object(Log, "unexpected", logged))
        stack.enter_context(patch.object(Bus, "created", records.books.keep))
        stack.enter_context(patch.object(sys, "unraisablehook", unraisable))
        # So that trio, too, does the same each time.
        stack.enter_context(patch.object(trio._core._run, "_ALLOW_DETERMINISTIC_SCHEDULING", True))
        stack.enter_context(patch.object(trio._core._run, "_r", random.Random(0)))
        yield records
