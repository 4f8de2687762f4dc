"""Whatever class of exception user code raises, and wherever: that is the matter of one call, and not of the host."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest

from capnet import (
    Cap,
    CapnetError,
    Connection,
    NotFound,
    PermissionDenied,
    Sink,
    Stream,
    call,
    release,
    stream,
)
from capnet.observe import CallFinished, HandlerFailed
from capnet.testing import connected
from tests.connection.shop import until


class Odd(BaseException):
    """Of the user's, and no Exception."""


ODD = [GeneratorExit, Odd, lambda: BaseExceptionGroup("", [Odd()])]
IDS = ["GeneratorExit", "Odd", "group"]
Make = Callable[[], BaseException]
make: Make = Odd
"""What is raised; each test sets it."""


@dataclass
class Fussy:
    """Its own check raises for 2, the next time but so many."""

    number: int

    def __post_init__(self) -> None:
        if self.number == 2:
            if not passes:
                raise make()
            passes.pop()


passes: list[None] = []


def fussy(times: int) -> Fussy:
    """One that is made all right, and so many times more."""
    passes[:] = [None] * (times + 1)
    return Fussy(2)


class Careless(NotFound):
    """An error whose fields raise when they are read."""

    @property
    def details(self) -> dict[str, Any]:  # type: ignore[override]
        raise make()

    def __str__(self) -> str:
        raise make()


class Desk(Cap, name="odd.Desk"):
    @call
    async def fine(self) -> int: ...

    @call
    async def take(self, fussy: Fussy) -> int: ...

    @call
    async def give(self, how: str) -> Fussy: ...

    @call
    async def fail(self) -> int: ...

    @call
    async def ask(self, on: Callable[[], Awaitable[int]]) -> int: ...

    @call
    async def write(self, to: Sink[int]) -> None: ...

    @call
    async def read(self, items: AsyncIterable[int]) -> int: ...

    @call
    async def closing(self) -> Closing: ...

    @stream
    def items(self, how: str) -> Stream[Fussy]: ...


class Closing(Cap, name="odd.Closing"):
    @call
    async def fine(self) -> int: ...


class MemClosing(Closing):
    def __init__(self) -> None:
        self.closed = 0

    async def fine(self) -> int:
        return 1

    async def aclose(self) -> None:
        self.closed += 1
        raise make()


class MemDesk(Desk):
    def __init__(self) -> None:
        self.made: list[MemClosing] = []

    async def fine(self) -> int:
        return 1

    async def take(self, fussy: Fussy) -> int:
        return fussy.number

    async def give(self, how: str) -> Fussy:
        match how:
            case "check":
                return fussy(0)
            case "arrival":
                return fussy(1)
            case _:
                return Broken(1)

    async def fail(self) -> int:
        raise Careless("no")

    async def ask(self, on: Callable[[], Awaitable[int]]) -> int:
        return await on()

    async def write(self, to: Sink[int]) -> None:
        await to.send(1)
        await to.aclose()

    async def read(self, items: AsyncIterable[int]) -> int:
        return sum([item async for item in items])

    async def closing(self) -> Closing:
        self.made.append(MemClosing())
        return self.made[-1]

    async def items(self, how: str) -> Stream[Fussy]:
        try:
            yield Fussy(1)
            match how:
                case "check":
                    yield fussy(0)
                case "arrival":
                    yield fussy(1)
                case "taken apart":
                    yield Broken(1)
                case "end":
                    raise make()
                case _:
                    yield Fussy(3)
        finally:
            if how == "close":
                raise make()


class Broken(Fussy):
    """Raises when its fields are read to be sent."""

    def __getattribute__(self, name: str) -> Any:
        if name == "number":
            raise make()
        return super().__getattribute__(name)

    def __init__(self, number: int) -> None:
        pass


class BadSink(Sink[int]):
    """A sink that raises, wherever it is told to."""

    def __init__(self, where: str) -> None:
        self.where = where

    async def send(self, item: int) -> None:
        if self.where == "send":
            raise make()

    async def aclose(self) -> None:
        raise make()

    def fail(self, error: CapnetError) -> None:
        raise make()


@pytest.fixture(params=ODD, ids=IDS, autouse=True)
def raised(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "make", request.param)
    passes.clear()


@asynccontextmanager
async def desks(implementation: MemDesk) -> AsyncGenerator[tuple[Connection, Connection, Desk]]:
    """Both ends and the desk; at the end all goes on, and nothing is left."""
    async with connected(implementation) as (server, client):
        desk = await client.bootstrap(Desk)
        yield server, client, desk
        assert await desk.fine() == 1
        stats = server.stats(), client.stats()
        assert not any(one[table] for one in stats for table in ("answers", "calls", "streams"))


async def test_when_an_argument_is_built() -> None:
    async with desks(MemDesk()) as (_, _, desk):
        for _ in range(2):
            with pytest.raises(CapnetError):
                await desk.take(fussy(0))


@pytest.mark.parametrize("how", ["check", "arrival", "taken apart"])
async def test_when_a_result_is_taken_apart_or_built(how: str) -> None:
    async with desks(MemDesk()) as (_, _, desk):
        for _ in range(2):
            with pytest.raises(CapnetError):
                await desk.give(how)


async def test_when_an_error_is_told() -> None:
    async with desks(MemDesk()) as (_, _, desk):
        for _ in range(2):
            with pytest.raises(NotFound):
                await desk.fail()


@pytest.mark.parametrize("how", ["plainly", "awaited"])
async def test_when_a_callback_is_called(how: str) -> None:
    def plainly() -> Awaitable[int]:
        raise make()

    async def awaited() -> int:
        raise make()

    async with desks(MemDesk()) as (_, _, desk):
        for _ in range(2):
            with pytest.raises(CapnetError):
                await desk.ask(plainly if how == "plainly" else awaited)


@pytest.mark.parametrize("how", ["check", "arrival", "taken apart", "end", "close"])
async def test_when_a_stream_is_moved(how: str) -> None:
    async with desks(MemDesk()) as (server, client, desk):
        items = desk.items(how)
        assert (await anext(items)).number == 1
        if how == "close":
            await items.aclose()
        else:
            with pytest.raises(CapnetError):
                await anext(items)
        await until(lambda: not server.stats()["streams"] and not client.stats()["streams"])


@pytest.mark.parametrize("where", ["send", "close"])
async def test_when_a_sink_takes_items(where: str) -> None:
    async with desks(MemDesk()) as (server, client, desk):
        with suppress(CapnetError):
            await desk.write(BadSink(where))
        await until(lambda: not server.stats()["streams"] and not client.stats()["streams"])


async def test_when_an_argument_is_produced() -> None:
    async def items() -> AsyncGenerator[int]:
        yield 1
        raise make()

    async with desks(MemDesk()) as (_, _, desk):
        with pytest.raises(CapnetError):
            await desk.read(items())


async def test_when_an_implementation_is_closed() -> None:
    implementation = MemDesk()
    async with desks(implementation) as (server, _, desk):
        failed: list[HandlerFailed] = []
        server.on(HandlerFailed, failed.append)
        for times in (1, 2):
            release(await desk.closing())
            await until(lambda: len(failed) == times)  # noqa: B023 - waited for at once
        assert [made.closed for made in implementation.made] == [1, 1]


async def test_when_a_connection_calls_back() -> None:
    called: list[object] = []

    def back(cause: object) -> None:
        called.append(cause)
        raise make()

    async with connected(MemDesk()) as (server, client):
        server.on_close(back)
        server.on_close(called.append)
        await client.aclose()
        await server.wait_closed()
    assert len(called) == 2


class Wild:
    """A policy whose hooks raise."""

    def __init__(self, where: str) -> None:
        self.where = where

    async def admit(self, request: object) -> bool:
        if self.where == "admit":
            raise make()
        return True

    def guard(self, info: object) -> bool | Awaitable[bool]:
        if self.where == "guard":
            raise make()
        return self._later() if self.where == "guard, later" else True

    async def _later(self) -> bool:
        raise make()


@pytest.mark.parametrize("where", ["admit", "guard", "guard, later"])
async def test_when_a_policy_is_asked(where: str) -> None:
    """It fails, which is a no."""
    async with connected(MemDesk(), policy=Wild(where)) as (_, client):
        for _ in range(2):
            with pytest.raises(PermissionDenied):
                await (await client.bootstrap(Desk)).fine()
        await client.ping()


async def test_when_a_name_is_claimed() -> None:
    def claim(request: object) -> None:
        raise make()

    async with connected() as (server, client):
        server.fallback(claim)
        for _ in range(2):
            with pytest.raises(NotFound):
                await client.bootstrap(Desk)
        await client.ping()


async def test_when_a_scope_runs_a_task() -> None:
    async def task() -> None:
        raise make()

    async with desks(MemDesk()) as (server, _, _):
        failed: list[HandlerFailed] = []
        server.on(HandlerFailed, failed.append)
        async with server.scope("odd") as scope:
            scope.start(task)
            await until(lambda: len(failed) == 1)


async def test_when_an_observer_is_told() -> None:
    seen: list[object] = []

    def observe(event: object) -> None:
        seen.append(event)
        raise make()

    async with desks(MemDesk()) as (server, _, desk):
        server.on(CallFinished, observe)
        for times in (1, 2):
            await desk.fine()
            await until(lambda: len(seen) == times)  # noqa: B023 - waited for at once
