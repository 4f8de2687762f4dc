"""Plugins in this process: the same protocol and the same life, without a process. What needs none is tried here."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from capnet import (
    Cap,
    CapnetError,
    ContractError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Plugin,
    PluginHost,
    PluginSpec,
    Revoked,
    Unavailable,
    VersionMismatch,
    call,
)
from capnet.plugin import Context
from capnet.plugins import PluginChanged, PluginControl, PluginEnded, PluginSwapped
from capnet.testing import connected
from tests.cost import HANGS


class Shelf(Cap, name="inprocess.Shelf"):
    @call
    async def take(self) -> int: ...


class Reader(Cap, name="inprocess.Reader"):
    @call
    async def read(self, word: str) -> str: ...
    @call
    async def took(self) -> int: ...


class Oak(Shelf):
    def __init__(self) -> None:
        self.taken = 0

    async def take(self) -> int:
        self.taken += 1
        return self.taken


closed: list[str] = []


class MemReader(Reader):
    def __init__(self, name: str, shelf: Shelf | None = None, below: Reader | None = None) -> None:
        self.name = name
        self.shelf = shelf
        self.below = below

    async def read(self, word: str) -> str:
        below = "" if self.below is None else await self.below.read(word)
        return f"{self.name}:{word}{below and '/' + below}"

    async def took(self) -> int:
        return 0 if self.shelf is None else await self.shelf.take()

    async def aclose(self) -> None:
        closed.append(self.name)


async def reader(shelf: Shelf, context: Context) -> Reader:
    return MemReader(context.plugin, shelf)


async def alone(context: Context) -> Reader:
    if context.settings.get("fails", 0) >= context.generation:
        raise LookupError("not yet")
    return MemReader(f"{context.plugin}{context.generation}")


class Upper(Reader, name="inprocess.Upper"):
    """What stands on another plugin."""


class MemUpper(Upper, MemReader):
    pass


async def upper(below: Reader, context: Context) -> Upper:
    return MemUpper(context.plugin, None, below)


def spec(name: str = "a", run: Callable[..., Any] = alone, **options: Any) -> PluginSpec[Reader]:
    return PluginSpec(name, contract=Reader, run=run, isolation="inprocess", backoff=0.001, **options)


@asynccontextmanager
async def plugins(**options: Any) -> AsyncGenerator[tuple[PluginHost, list[str]]]:
    """A host, and what became of its plugins, `name:state`."""
    states: list[str] = []
    with capture_logs(), anyio.fail_after(HANGS):
        async with PluginHost(**options) as host:
            host.on(PluginChanged, lambda event: states.append(f"{event.plugin}:{event.state}"))
            yield host, states


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - nothing tells
        await anyio.sleep(0.001)


async def break_down(plugin: Plugin[Any]) -> None:
    """Its connection ends, and it is not asked to."""
    instance = plugin._life.instance
    assert instance is not None
    await instance.connection.aclose(grace=0)


async def test_a_plugin_is_loaded_called_and_unloaded() -> None:
    closed.clear()
    ends: list[int] = []
    async with plugins(expose=Oak()) as (host, states):
        host.on(PluginEnded, lambda event: ends.append(event.taken_back))
        plugin = await host.load(spec("a", reader))
        assert await plugin.slot.read("x") == "a:x" and await plugin.slot.took() == 1
        assert plugin.pid is None and plugin.manifest.provides.name == "inprocess.Reader"
        with pytest.raises(InvalidArgument):
            await plugin.slot.read(3)  # type: ignore[arg-type]
        await host.unload("a")
        assert closed == ["a"]
        with pytest.raises(Unavailable):
            await plugin.slot.read("x")
    assert states == ["a:starting", "a:ready", "a:draining", "a:stopped"]
    assert ends == [1]


async def test_it_may_be_named() -> None:
    async with plugins(expose=Oak()) as (host, _):
        await host.load(spec("a", f"{__name__}:reader"))  # type: ignore[arg-type]
        with pytest.raises(Unavailable):
            await host.load(spec("b", "no.such.module:main"))  # type: ignore[arg-type]
        assert list(host.plugins) == ["a"]


@pytest.mark.parametrize(
    ("run", "contract", "kind"),
    [(alone, Shelf, VersionMismatch), (reader, Reader, VersionMismatch), (alone, Reader, FailedPrecondition)],
    ids=["another contract", "no shelf", "raises"],
)
async def test_one_that_does_not_start_leaves_nothing(run: Any, contract: Any, kind: type[Exception]) -> None:
    async with plugins() as (host, _):
        with pytest.raises(kind):
            await host.load(PluginSpec("a", contract=contract, run=run, isolation="inprocess", settings={"fails": 100}))
        assert not host.plugins and host._host.connections == ()


async def test_each_gets_what_is_its_own() -> None:
    """By a function of its spec; what that makes ends with the plugin's connection."""

    def give(spec: PluginSpec[Any]) -> list[Cap]:
        return [Oak()] if spec.name == "a" else []

    async with plugins(expose=give) as (host, _):
        await host.load(spec("a", reader))
        with pytest.raises(VersionMismatch):
            await host.load(spec("b", reader))


async def test_one_that_fails_is_started_again_and_calls_wait() -> None:
    async with plugins() as (host, states):
        plugin = await host.load(spec())
        await break_down(plugin)
        assert await plugin.slot.read("x") == "a2:x"
        await until(lambda: plugin.state == "ready")
    assert states[:5] == ["a:starting", "a:ready", "a:backoff", "a:starting", "a:ready"]


async def test_others_keep_what_they_hold_of_it() -> None:
    """By a name of another host, over restarts and swaps."""
    async with plugins() as (host, _), connected() as (server, client):
        plugin = await host.load(spec())
        server.serve(plugin.slot)
        theirs = await client.bootstrap(Reader)
        assert await theirs.read("x") == "a1:x"
        await break_down(plugin)
        assert await theirs.read("x") == "a2:x"
        await host.swap("a", probation=0)
        assert await theirs.read("x") == "a3:x"
        await host.unload("a")
        with pytest.raises((Unavailable, Revoked)):
            await theirs.read("x")


async def test_a_plugin_without_what_it_can_do_without() -> None:
    async def either(shelf: Shelf | None = None) -> Reader:
        return MemReader("with" if shelf else "without", shelf)

    async with plugins() as (host, _):
        assert await (await host.load(spec("a", either))).slot.read("x") == "without:x"
    async with plugins(expose=[Oak()]) as (host, _):
        assert await (await host.load(spec("a", either))).slot.read("x") == "with:x"


async def test_a_start_that_fails_again_is_tried_again() -> None:
    async with plugins() as (host, _):
        plugin = await host.load(spec())
        instance = plugin._life.instance
        assert instance is not None
        object.__setattr__(plugin._life.spec, "settings", {"fails": 3})
        await break_down(plugin)
        assert await plugin.slot.read("x") == "a4:x"
        assert plugin.restarts == 3
        assert plugin.failure is not None and plugin.failure.reason == "main_failed"


async def test_a_start_that_fails_by_a_fault_of_ours_is_tried_again() -> None:
    """It is a failure like any other: nothing stands still for it."""
    failures = 2

    def give(spec: PluginSpec[Any]) -> list[Cap]:
        nonlocal failures
        if failures and spec.settings:
            failures -= 1
            raise OSError(24, "Too many open files")
        return []

    async with plugins(expose=give) as (host, _):
        plugin = await host.load(spec())
        object.__setattr__(plugin.spec, "settings", {"fails": 0})
        await break_down(plugin)
        assert await plugin.slot.read("x") == "a4:x"
        assert plugin.failure is not None and "Too many open files" in str(plugin.failure)


async def test_calls_fail_at_once_when_they_would_wait_in_vain() -> None:
    async with plugins() as (host, _):
        plugin = await host.load(spec(restart="never", wait=HANGS))
        await break_down(plugin)
        with pytest.raises(Unavailable) as caught:
            await plugin.slot.read("x")
        assert caught.value.reason == "vacant" and plugin.state == "stopped"
        await host.start("a")
        assert await plugin.slot.read("x") == "a2:x"
        await host.stop("a")
        with pytest.raises(Unavailable):
            await plugin.waiting(HANGS).read("x")


async def test_some_require_others() -> None:
    """They start after these, use what these give, and stop before them."""
    top = PluginSpec("top", contract=Upper, run=upper, isolation="inprocess", requires=("a",))
    async with plugins() as (host, states):
        with pytest.raises(FailedPrecondition):
            await host.load(top)
        above, below = await host.load_all(top, spec("a"))
        assert await above.slot.read("x") == "top:x/a1:x"
        with pytest.raises(FailedPrecondition) as caught:
            await host.unload("a")
        assert caught.value.reason == "required"
        await break_down(below)
        assert await above.slot.read("x") == "top:x/a2:x"  # what it holds outlives what is behind it
        with pytest.raises(InvalidArgument):
            await host.swap("a", requires=("top",))
    order = [state for state in states if state.endswith((":ready", ":stopped"))]
    assert order == ["a:ready", "top:ready", "a:ready", "top:stopped", "a:stopped"]


async def test_all_are_loaded_or_none() -> None:
    async with plugins() as (host, _):
        with pytest.raises(VersionMismatch):
            await host.load_all(spec("a"), spec("b", requires=("a",)), spec("c", reader, requires=("b",)))
        assert not host.plugins
        with pytest.raises(InvalidArgument):
            await host.load_all(spec("a", requires=("b",)), spec("b", requires=("a",)))
        with pytest.raises(InvalidArgument):
            await host.load_all(spec("a"), spec("a"))
        with pytest.raises(FailedPrecondition):
            await host.load_all(spec("a", requires=("z",)))
        assert not host.plugins
        await host.load_all(*(spec(f"p{number}") for number in range(5)))
        assert len(host.plugins) == 5


async def test_a_group_is_started_again_together() -> None:
    async with plugins() as (host, _):
        a, b, c = await host.load_all(spec("a", group="g"), spec("b", group="g"), spec("c"))
        await break_down(a)
        assert await a.slot.read("x") == "a2:x" and await b.slot.read("x") == "b2:x"
        assert await c.slot.read("x") == "c1:x"
        assert b.failure is None


async def test_a_swap_in_this_process() -> None:
    closed.clear()
    async with plugins(expose=Oak()) as (host, _):
        plugin = await host.load(spec())
        report = await host.swap("a", run=reader, probation=0)
        assert await plugin.slot.read("x") == "a:x" and report.generation == 2
        await until(lambda: closed)
        assert closed == ["a1"]
        with pytest.raises(NotFound):
            await host.swap("b")


class Remembering(MemReader):
    """Its state can be handed over."""

    async def export_state(self) -> AsyncGenerator[bytes]:
        for letter in self.name:
            yield letter.encode()

    async def import_state(self, state: AsyncIterator[bytes]) -> None:
        self.name = "".join([chunk.decode() async for chunk in state])


class Refusing(Remembering):
    async def import_state(self, state: AsyncIterator[bytes]) -> None:
        raise ValueError("not that")


class Leaving(Remembering):
    async def import_state(self, state: AsyncIterator[bytes]) -> None:
        async for _ in state:
            raise PermissionDenied("no more of that", reason="enough")


class Broken(Remembering):
    async def export_state(self) -> AsyncGenerator[bytes]:
        yield b"a"
        raise ValueError("no more")


class Sick(Remembering):
    async def check(self) -> str:
        return "a cold"


class Failing(Remembering):
    async def check(self) -> str:
        raise ValueError("a cold")


def of(kind: type[MemReader]) -> Callable[[Context], Awaitable[Reader]]:
    """A main function that gives one of these."""

    async def main(context: Context) -> Reader:
        return kind(f"{context.plugin}{context.generation}")

    return main


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (Remembering, Refusing, "import_state_failed"),
        (Remembering, Leaving, "enough"),
        (Broken, Remembering, "export_state_failed"),
        (Remembering, MemReader, "no_import_state"),
        (Remembering, Sick, "unhealthy"),
        (Remembering, Failing, "unhealthy"),
        (MemReader, reader, "version_mismatch"),
        (MemReader, 3, "main_wrong"),
    ],
    ids=["refuses", "leaves", "breaks", "forgets", "sick", "failing", "needs more", "no function"],
)
async def test_whatever_goes_wrong_in_a_swap_the_old_one_answers(before: Any, after: Any, reason: str) -> None:
    results: list[str] = []
    async with plugins() as (host, _):
        host.on(PluginSwapped, lambda event: results.append(event.result))
        plugin = await host.load(spec("a", of(before)))
        with pytest.raises((CapnetError, ContractError)) as caught:
            await host.swap("a", run=of(after) if isinstance(after, type) else after)
        assert getattr(caught.value, "reason", "main_wrong") == reason
        assert (plugin.state, plugin.generation) == ("ready", 1)
        assert await plugin.slot.read("x") == "a1:x"
        assert len(host._host.connections) == 1
    assert results == ["rolled_back"]


async def test_state_goes_from_one_to_the_next() -> None:
    async with plugins() as (host, _):
        plugin = await host.load(spec("a", of(Remembering)))
        for generation in (2, 3):
            report = await host.swap("a", probation=0)
            assert (report.generation, report.state) == (generation, 2)
            assert await plugin.slot.read("x") == "a1:x"
        await host.restart("a")
        assert await plugin.slot.read("x") == "a4:x"


async def test_state_is_handed_over_when_no_call_changes_it() -> None:
    """Calls that run may end first, those that come wait; one that does not end has the old one go on."""
    gate = anyio.Event()

    class Slow(Remembering):
        async def read(self, word: str) -> str:
            if word == "wait":
                await gate.wait()
                self.name = "changed"
            return await super().read(word)

    async with plugins() as (host, _):
        plugin = await host.load(spec("a", of(Slow), grace=0.05))
        read: list[str] = []

        async def ask(word: str) -> None:
            read.append(await plugin.slot.read(word))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, "wait")
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(FailedPrecondition) as caught:
                await host.swap("a")
            assert caught.value.reason == "busy" and await plugin.slot.read("x") == "a1:x"
            object.__setattr__(plugin.spec, "grace", HANGS)
            tasks.start_soon(partial(host.swap, "a", probation=0))
            await until(lambda: plugin._life.slot.current is None)
            tasks.start_soon(ask, "late")
            await anyio.wait_all_tasks_blocked()
            assert read == []
            gate.set()
        assert read == ["changed:wait", "changed:late"] and plugin.generation == 3


class Slow(MemReader):
    """Its calls do not end."""

    async def read(self, word: str) -> str:
        begun.set()
        await anyio.sleep_forever()
        raise AssertionError


begun = anyio.Event()


async def slow(context: Context) -> Reader:
    return Slow(context.plugin)


async def test_a_swap_waits_for_what_runs_as_long_as_it_was_told_to() -> None:
    """Not as long as its spec said before, and not once for calls and once more for the rest."""
    global begun
    begun = anyio.Event()
    async with plugins() as (host, _), anyio.create_task_group() as tasks:
        plugin = await host.load(spec(run=slow, grace=10 * HANGS))

        async def read() -> None:
            with pytest.raises(Unavailable):
                await plugin.slot.read("word")

        tasks.start_soon(read)
        await begun.wait()
        with anyio.fail_after(HANGS):
            report = await host.swap("a", run=alone, grace=0.01, probation=0)
        assert not report.drained


async def test_it_is_looked_after_from_elsewhere() -> None:
    """By a capability, over a connection of its own."""
    async with plugins() as (host, _), connected() as (server, client):
        server.serve(host.control(), name="plugins")
        control = await client.bootstrap(PluginControl, name="plugins")
        assert await control.plugins() == []
        plugin = await host.load(spec())
        (info,) = await control.plugins()
        assert (info.name, info.state, info.contract, info.generation) == ("a", "ready", "inprocess.Reader", 1)
        assert await control.check("a") is None
        plugin._life.output.take(1, "stdout", b"one")
        plugin._life.output.take(1, "stdout", b'{"event": "two", "n": 1}')
        assert [line.text async for line in control.output("a", last=1)] == ["two"]
        assert [line.text async for line in control.output("a", last=0)] == []
        async with aclosing(control.output("a", follow=True)) as lines:
            assert [(await anext(lines)).text for _ in range(2)] == ["one", "two"]
            plugin._life.output.take(1, "stdout", b"three")
            assert (await anext(lines)).text == "three"
        object.__setattr__(plugin.spec, "probation", 0.0)
        assert (await control.swap("a")).generation == 2
        await control.restart("a")
        await control.stop("a")
        (info,) = await control.plugins()
        assert (info.state, info.generation) == ("stopped", 3)
        assert await control.check("a") is not None
        await control.start("a")
        for act in (control.start, control.stop, control.restart, control.swap, control.check):
            with pytest.raises(NotFound):
                await act("b")
        with pytest.raises(NotFound):
            await anext(control.output("b"))


async def test_one_may_be_unloaded_while_it_starts() -> None:
    """Its name is free at once, and whoever has loaded it is told."""

    async def never(context: Context) -> Reader:
        await anyio.sleep_forever()
        raise AssertionError

    async with plugins() as (host, _):

        async def load() -> None:
            with pytest.raises(Unavailable) as caught:
                await host.load(spec("a", never))
            assert caught.value.reason == "stopped"

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(load)
            await until(lambda: host._host.connections)
            await host.unload("a")
            plugin = await host.load(spec())
            assert host.plugins == {"a": plugin} and await plugin.slot.read("x") == "a1:x"


async def test_leaving_by_an_error_ends_all() -> None:
    async def leave() -> None:
        async with PluginHost() as host:
            await host.load_all(spec("a"), spec("b"))
            raise RuntimeError

    with capture_logs(), pytest.raises(RuntimeError):
        await leave()


async def test_a_host_that_is_not_open() -> None:
    with pytest.raises(FailedPrecondition):
        await PluginHost().load(spec())
