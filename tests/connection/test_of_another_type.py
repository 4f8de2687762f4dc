"""Results and items of another type than declared: the fault of who gives them, who is told what; the peer is not."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

import pytest

from capnet import Cap, CapnetError, FailedPrecondition, Internal, Sink, Stream, call, channel, notify, pipe, stream
from capnet.observe import HandlerFailed
from capnet.observe.log import Account
from capnet.testing import connected
from tests.connection.shop import until

Ask = Callable[[int], Awaitable[int]]


@dataclass
class Point:
    x: int


@dataclass
class Further(Point):
    y: int = 0


class Room(Cap, name="types.Room"):
    @call
    async def title(self) -> str: ...


class MemRoom(Room):
    async def title(self) -> str:
        return "tea"


class Desk(Cap, name="types.Desk"):
    @call
    async def number(self) -> int: ...

    @call
    async def nothing(self) -> None: ...

    @call
    async def map(self) -> dict[str, Any]: ...

    @call
    async def numbers(self) -> list[int]: ...

    @call
    async def point(self) -> Point: ...

    @call
    async def room(self) -> Room: ...

    @call
    async def both(self) -> tuple[int, Room]: ...

    @call
    async def flow(self) -> AsyncIterable[int]: ...

    @call
    async def ask(self, on: Ask) -> int: ...

    @call
    async def write(self, to: Sink[int]) -> None: ...

    @call
    async def write_all(self, to: Sink[int]) -> None: ...

    @call
    async def read(self, numbers: AsyncIterable[int]) -> list[int]: ...

    @stream
    def items(self) -> Stream[int]: ...

    @stream
    def pairs(self) -> Stream[tuple[int, str]]: ...


class MemDesk(Desk):
    """Gives what it was made with, whatever is declared."""

    def __init__(self, given: Any = None) -> None:
        self.given = given

    async def number(self) -> int:
        return cast("int", self.given)

    async def nothing(self) -> None:
        return cast("None", self.given)

    async def map(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self.given)

    async def numbers(self) -> list[int]:
        return cast("list[int]", self.given)

    async def point(self) -> Point:
        return cast("Point", self.given)

    async def room(self) -> Room:
        return cast("Room", self.given)

    async def both(self) -> tuple[int, Room]:
        return cast("tuple[int, Room]", self.given)

    async def flow(self) -> AsyncIterable[int]:
        return cast("AsyncIterable[int]", self.given)

    async def ask(self, on: Ask) -> int:
        return await on(1)

    async def write(self, to: Sink[int]) -> None:
        await to.send(self.given)

    async def write_all(self, to: Sink[int]) -> None:
        async with to:
            await to.send(self.given)

    async def read(self, numbers: AsyncIterable[int]) -> list[int]:
        return [number async for number in numbers]

    async def items(self) -> Stream[int]:
        yield 1
        yield cast("int", self.given)

    async def pairs(self) -> Stream[tuple[int, str]]:
        yield 1, "one"
        yield cast("tuple[int, str]", self.given)


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("number", "1"),
        ("number", None),
        ("nothing", 1),
        ("map", [1]),
        ("numbers", [1, "2"]),
        ("numbers", {"a": 1}),
        ("point", {}),
        ("point", Point(cast("int", "x"))),
        ("room", "tea"),
        ("flow", [1, 2]),
    ],
    ids=str,
)
async def test_a_result_of_another_type_is_the_callees_fault(
    method: str, given: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("capnet.observe.log._common", Account(1))  # the tests before may have written all there is
    async with connected(MemDesk(given)) as (server, client):
        failed: list[HandlerFailed] = []
        server.on(HandlerFailed, failed.append)
        desk = await client.bootstrap(Desk)
        with pytest.raises(Internal) as caught:
            await getattr(desk, method)()
        correlation = caught.value.details["correlation"]
        assert correlation in caught.value.message and correlation in capsys.readouterr().err
        await until(lambda: len(failed) == 1)
        assert failed[0].correlation == correlation and failed[0].error.kind == "TypeError"
        assert "internal" in repr(caught.value)
        assert server.stats()["answers"] == 0 and server.stats()["exports"] == 1


@pytest.mark.parametrize(
    ("method", "given"),
    [("number", {1}), ("number", MemRoom()), ("point", {"x": 1, "y": 1}), ("point", Further(1)), ("items", {1})],
    ids=["a set", "a capability", "a key too many", "a subclass", "an item"],
)
async def test_what_would_arrive_as_something_else_is_no_less_so(method: str, given: object) -> None:
    """It could travel where its own type is declared, and does not leave where another is."""
    async with connected(MemDesk(given)) as (server, client):
        failed: list[HandlerFailed] = []
        server.on(HandlerFailed, failed.append)
        desk = await client.bootstrap(Desk)
        with pytest.raises(Internal) as caught:
            _ = [item async for item in desk.items()] if method == "items" else await getattr(desk, method)()
        await until(lambda: len(failed) == 1)
        assert failed[0].correlation == caught.value.details["correlation"] in caught.value.message
        assert "declared" not in caught.value.message


class Unnamed:
    """Nothing that travels."""


@pytest.mark.parametrize(
    ("method", "given", "reason"),
    [
        ("number", Unnamed(), "unencodable_result"),
        ("room", MemDesk(), "unregistered_cap_return"),
        ("map", {1: 2}, "unencodable_result"),
        ("both", (2**64, MemRoom()), "unencodable_result"),
    ],
    ids=["object", "another contract", "keys", "too wide beside a capability"],
)
async def test_what_cannot_travel_at_all_is_told_and_logged(method: str, given: object, reason: str) -> None:
    async with connected(MemDesk(given)) as (server, client):
        failed: list[HandlerFailed] = []
        server.on(HandlerFailed, failed.append)
        desk = await client.bootstrap(Desk)
        with pytest.raises(FailedPrecondition) as caught:
            await getattr(desk, method)()
        assert caught.value.reason == reason and f"failed_precondition/{reason}" in repr(caught.value)
        await until(lambda: len(failed) == 1)
        assert caught.value.details == {"correlation": failed[0].correlation}
        assert "invalid_argument" not in str(caught.value)


@pytest.mark.parametrize("given", [Unnamed(), 2**64], ids=["object", "too wide"])
async def test_so_it_is_with_an_item(given: object) -> None:
    """Those before it arrive; who lets such an error of a sink pass has not meant it for anybody."""
    async with connected(MemDesk(given)) as (server, client):
        failed: list[HandlerFailed] = []
        server.on(HandlerFailed, failed.append)
        desk = await client.bootstrap(Desk)
        items: Any = desk.items()
        assert await anext(items) == 1
        with pytest.raises(FailedPrecondition) as caught:
            await anext(items)
        assert caught.value.reason == "unencodable_item" and "at `$`" in caught.value.message
        await until(lambda: len(failed) == 1)
        assert caught.value.details == {"correlation": failed[0].correlation}
        with pytest.raises(Internal):
            await desk.write(Quiet())
        sink, written = channel(int)
        with pytest.raises(Internal):
            await desk.write_all(sink)
        with pytest.raises(Internal):
            await anext(written)


@pytest.mark.parametrize(
    ("method", "given"), [("map", {"a": {1: "s3cret"}}), ("map", ["s3cret"] * 70_000), ("numbers", ["s3cret"])]
)
async def test_the_log_says_what_is_wrong_and_not_all_that_was_given(
    method: str, given: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may be large, and nobody's business."""
    async with connected(MemDesk(given)) as (server, client):
        failed: list[HandlerFailed] = []
        server.on(HandlerFailed, failed.append)
        desk = await client.bootstrap(Desk)
        with pytest.raises(CapnetError):
            await getattr(desk, method)()
        await until(lambda: len(failed) == 1)
        told = f"{failed[0].error.traceback}{capsys.readouterr().err}"
        assert "dispatch" in told and "StopIteration" not in told
        assert "s3cret" not in told


async def test_a_sink_is_no_stream_and_a_stream_no_sink() -> None:
    async def numbers() -> AsyncGenerator[int]:
        yield 1

    async with connected(MemDesk(Quiet())) as (_, client):
        desk = await client.bootstrap(Desk)
        with pytest.raises(FailedPrecondition):
            await desk.flow()
        with pytest.raises(CapnetError):
            await desk.write(cast("Sink[int]", numbers()))


class Quiet(Sink[int]):
    """Takes everything."""

    async def send(self, item: int) -> None: ...

    async def aclose(self) -> None: ...

    def fail(self, error: CapnetError) -> None: ...


async def test_a_callbacks_result_is_the_fault_of_who_has_the_function() -> None:
    async def odd(number: int) -> int:
        return cast("int", "one")

    async with connected(MemDesk()) as (server, client):
        here: list[HandlerFailed] = []
        there: list[HandlerFailed] = []
        client.on(HandlerFailed, here.append)
        server.on(HandlerFailed, there.append)
        desk = await client.bootstrap(Desk)
        with pytest.raises(Internal):
            await desk.ask(odd)
        await until(lambda: len(here) == 1)
        assert not there


@pytest.mark.parametrize(("method", "given"), [("items", "2"), ("items", None), ("pairs", (2, 2)), ("pairs", [2])])
async def test_an_item_of_another_type_is_the_producers_fault(method: str, given: object) -> None:
    """Those before it arrive."""
    async with connected(MemDesk(given)) as (server, client):
        failed: list[HandlerFailed] = []
        server.on(HandlerFailed, failed.append)
        desk = await client.bootstrap(Desk)
        items = getattr(desk, method)()
        assert await anext(items) in (1, (1, "one"))
        with pytest.raises(Internal):
            await anext(items)
        await until(lambda: len(failed) == 1)
        assert failed[0].error.kind == "TypeError"


async def test_an_item_of_another_type_in_an_argument_is_the_callers_fault() -> None:
    async def odd() -> AsyncGenerator[int]:
        yield 1
        yield cast("int", "two")

    async with connected(MemDesk()) as (server, client):
        here: list[HandlerFailed] = []
        there: list[HandlerFailed] = []
        client.on(HandlerFailed, here.append)
        server.on(HandlerFailed, there.append)
        desk = await client.bootstrap(Desk)
        with pytest.raises(Internal):
            await desk.read(odd())
        await until(lambda: len(here) == 1)
        assert not there


async def test_what_is_sent_into_a_sink_is_the_senders_fault() -> None:
    async with connected(MemDesk("two")) as (server, client):
        failed: list[HandlerFailed] = []
        server.on(HandlerFailed, failed.append)
        desk = await client.bootstrap(Desk)
        with pytest.raises(Internal):
            await desk.write(Quiet())
        await until(lambda: len(failed) == 1)


async def test_what_a_handler_passes_on_and_cannot_is_no_fault_of_its_caller() -> None:
    """The error of a call that could not leave says that an argument is invalid; it was not the caller's."""

    class Careless(MemDesk):
        async def ask(self, on: Ask) -> int:
            return await on(cast("int", Unnamed()))

    async def one(number: int) -> int:
        return number

    async with connected(Careless()) as (_, client):
        desk = await client.bootstrap(Desk)
        with pytest.raises(Internal):
            await desk.ask(one)


async def test_what_nobody_waits_for_is_told_as_well() -> None:
    """One-way calls, and results that others are called on."""
    async with connected(MemDesk("tea")) as (server, client):
        failed: list[HandlerFailed] = []
        server.on(HandlerFailed, failed.append)
        desk = await client.bootstrap(Desk)
        notify(desk.number)()
        with pytest.raises(Internal):
            await pipe(desk.room()).title()
        await until(lambda: len(failed) == 2)
