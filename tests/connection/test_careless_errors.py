"""Errors of the user's own classes: what can go wrong with one fails one call, and what is sent is a legal frame."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import io
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from capnet import (
    Broadcast,
    Cap,
    CapnetError,
    Internal,
    NotFound,
    ResourceExhausted,
    Sink,
    Stream,
    call,
    stream,
)
from capnet.observe import HandlerFailed
from capnet.testing import connected
from tests.connection.shop import until

Text = Callable[[str], Awaitable[int]]


class Desk(Cap, name="errors.Desk"):
    @call
    async def get(self) -> int: ...

    @stream
    def follow(self) -> Stream[int]: ...

    @call
    async def upload(self, lines: Stream[int]) -> int: ...

    @stream
    def heard(self) -> Stream[int]: ...

    @call
    async def write(self, into: Sink[int]) -> None: ...

    @call
    async def wait(self) -> str: ...

    @call
    async def ask(self, on: Text) -> int: ...


class MemDesk(Desk):
    def __init__(self, raised: Callable[[], BaseException]) -> None:
        self.raised = raised
        self.gate = anyio.Event()
        self.said: Broadcast[int] = Broadcast()

    async def get(self) -> int:
        raise self.raised()

    async def follow(self) -> Stream[int]:
        yield 1
        raise self.raised()

    async def upload(self, lines: Stream[int]) -> int:
        return sum([line async for line in lines])

    def heard(self) -> Stream[int]:
        return self.said.subscribe()

    async def write(self, into: Sink[int]) -> None:
        into.fail(cast("CapnetError", self.raised()))

    async def wait(self) -> str:
        await self.gate.wait()
        return "innocent"

    async def ask(self, on: Text) -> int:
        return await on("x")


class Forgetful(NotFound):
    def __init__(self, key: str) -> None:
        self.key = key


class OverQuota(NotFound):
    def __init__(self, used: int, limit: int) -> None:
        super().__init__(f"{used} of {limit}", reason="quota")


class HttpLike(NotFound):
    code = cast("str", 404)


class OwnCode(NotFound):
    code = "my.code"


class Full(enum.Enum):
    FULL = "full"


class Unshowable:
    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


def secret(_: object) -> Any:
    raise RuntimeError("secret")


class Raising(NotFound):
    details = message = reason = cast("Any", property(secret))

    def __str__(self) -> str:
        raise RuntimeError("secret")


class Word(str):
    """A text whose own methods raise."""

    __slots__ = ()
    __str__ = __len__ = encode = secret  # type: ignore[assignment]


def hiding(kind: type[BaseException], *names: str) -> Any:
    """A class that has properties which raise."""
    return type(f"Hiding{kind.__name__}", (kind,), dict.fromkeys(names, property(secret)))


Masked = hiding(NotFound, "__class__", "again", "to_wire", "with_traceback")


class Uneven(NotFound):
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("secret")

    __hash__ = __bool__ = cast("Any", secret)


def with_field(**fields: Any) -> Callable[[], NotFound]:
    """An error whose fields were set to anything."""

    def make() -> NotFound:
        error = NotFound("nothing there", details={"a": 1})
        for name, value in fields.items():
            setattr(error, name, value)
        return error

    return make


CARELESS: list[Callable[[], BaseException]] = [
    lambda: Forgetful("k"),
    lambda: OverQuota(5, 4),
    lambda: HttpLike("nothing there"),
    lambda: OwnCode("nothing there"),
    lambda: Raising("nothing there"),
    lambda: NotFound(cast("str", 404)),
    lambda: Forgetful(cast("str", Unshowable())),
    with_field(code=404),
    with_field(code=None),
    with_field(message={"a": 1}),
    with_field(message=None),
    with_field(details=None),
    with_field(details="text"),
    with_field(details=[1, 2]),
    with_field(details={1: 2}),
    with_field(details={"reason": "shadow", "retry": 3, "a": 1}),
    with_field(reason=Full.FULL),
    with_field(reason=7),
    with_field(retry=5),
    with_field(args=()),
    with_field(message="\ud800"),
    with_field(reason="\ud800"),
    with_field(reason="x" * 100_000),
    with_field(details={"\ud800": "\ud800"}),
    with_field(message=Word("text")),
    with_field(reason=Word("text")),
    with_field(details={Word("name"): Word("text")}),
    lambda: Masked("nothing there"),
    lambda: Uneven("nothing there"),
]


class Veiled(type):
    """A metaclass that tells nothing of its classes."""

    def __getattribute__(cls, name: str) -> Any:
        raise RuntimeError("secret")


class Unreadable(NotFound, metaclass=Veiled):
    pass


class Mute(ValueError):
    """Nothing of it can be read; it is to be logged all the same."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("secret")


Group = hiding(ExceptionGroup, "exceptions", "subgroup", "split", "derive")


def deep() -> BaseException:
    """A group in a group, and so on, with two in the innermost."""
    error: Any = ExceptionGroup("", [ValueError("x"), ValueError("y")])
    for _ in range(2_000):
        error = ExceptionGroup("", [error])
    return cast("BaseException", error)


def endless() -> BaseException:
    """A function that has no end."""
    return endless()


UNTOLD: list[Callable[[], BaseException]] = [
    lambda: Unreadable("x"),
    lambda: Group("", [ValueError("x"), ValueError("y")]),
    lambda: Mute("x"),
    hiding(ValueError, "__notes__", "__cause__", "__traceback__"),
    hiding(BaseException, "__class__"),
    deep,
    endless,
]


@pytest.mark.parametrize("raised", CARELESS, ids=[str(number) for number in range(len(CARELESS))])
async def test_one_call_fails_and_nobody_else_notices(raised: Callable[[], BaseException]) -> None:
    """From a handler, a generator, an argument's generator, a function, a broadcast and a sink, of either side."""
    desk = MemDesk(raised)
    async with connected(desk) as (server, client):
        proxy = await client.bootstrap(Desk)
        innocent = cast("Any", proxy.wait())

        async def lines() -> Stream[int]:
            yield 1
            raise raised()

        async def fails(_: str) -> int:
            raise raised()

        with pytest.raises(NotFound):
            await proxy.get()
        with pytest.raises(NotFound):
            async for _ in proxy.follow():
                pass
        with pytest.raises(NotFound):
            await proxy.upload(lines())
        with pytest.raises(NotFound):
            await proxy.ask(fails)
        sink = _Kept()
        await proxy.write(sink)
        await until(lambda: type(sink.error) is NotFound)
        async with anyio.create_task_group() as tasks:

            async def listen() -> None:
                with pytest.raises(NotFound):
                    async for _ in proxy.heard():
                        pass

            tasks.start_soon(listen)
            await until(lambda: desk.said.subscribers == 1)
            desk.said.fail(cast("CapnetError", raised()))
        desk.gate.set()
        assert await innocent == "innocent"
        assert server.stats()["answers"] == client.stats()["answers"] == 0
        assert not server.closed and not client.closed


@pytest.mark.parametrize("raised", UNTOLD, ids=[str(number) for number in range(len(UNTOLD))])
async def test_what_cannot_be_told_is_a_failed_handler(raised: Callable[[], BaseException]) -> None:
    """Whatever becomes of the log: the caller has the word for it, and nobody else notices."""
    async with connected(MemDesk(raised)) as (server, client):
        failed: list[HandlerFailed] = []
        server.on(HandlerFailed, failed.append)
        desk = await client.bootstrap(Desk)
        for _ in range(2):
            with pytest.raises(Internal) as caught:
                await desk.get()
            assert caught.value.details["correlation"]
            with pytest.raises(Internal):
                async for _ in desk.follow():
                    pass
        await until(lambda: len(failed) == 4)
        assert server.stats()["answers"] == 0 and not server.closed


async def test_one_error_in_groups_of_a_class_of_their_own_is_that_error() -> None:
    """However deep."""
    for depth in (1, 2_000):
        error: Exception = NotFound("x", reason="empty")
        for _ in range(depth):
            error = Group("", [error])
        async with connected(MemDesk(partial(_same, error))) as (_, client):
            with pytest.raises(NotFound) as caught:
                await (await client.bootstrap(Desk)).get()
            assert caught.value.reason == "empty"


async def test_a_log_that_cannot_be_written_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard error may be closed by who reads it."""
    monkeypatch.setattr("sys.stderr", _Closed())
    async with connected(MemDesk(lambda: KeyError("secret"))) as (server, client):
        with pytest.raises(Internal):
            await (await client.bootstrap(Desk)).get()
        assert not server.closed and server.stats()["answers"] == 0


class _Closed(io.StringIO):
    def write(self, s: str, /) -> int:
        raise BrokenPipeError


async def test_a_producer_that_fails_as_it_is_closed() -> None:
    """With an error that says something else when it is said again."""

    class Ending:
        def __aiter__(self) -> Ending:
            return self

        async def __anext__(self) -> int:
            raise StopAsyncIteration

        async def aclose(self) -> None:
            raise Masked("nothing there", reason="late")

    async with connected(MemDesk(NotFound)) as (server, client):
        desk = await client.bootstrap(Desk)
        with pytest.raises(NotFound) as caught:
            await desk.upload(cast("Any", Ending()))
        assert caught.value.reason == "late" and not server.closed and not client.closed


class _Kept(Sink[int]):
    def __init__(self) -> None:
        self.error: CapnetError | None = None

    async def send(self, item: int) -> None: ...

    async def aclose(self) -> None: ...

    def fail(self, error: CapnetError) -> None:
        self.error = error


async def test_what_can_be_read_is_told() -> None:
    """Code and class come from the tree, the rest from fields of the right type."""
    cases: list[tuple[BaseException, str, str | None, dict[str, Any]]] = [
        (Forgetful("k"), "k", None, {}),
        (OverQuota(5, 4), "5 of 4", "quota", {}),
        (HttpLike("gone", details={"a": 1}), "gone", None, {"a": 1}),
        (with_field(reason=Full.FULL)(), "nothing there", "full", {"a": 1}),
        (with_field(details="text")(), "nothing there", None, {}),
    ]
    for error, message, reason, details in cases:
        async with connected(MemDesk(partial(_same, error))) as (_, client):
            with pytest.raises(NotFound) as caught:
                await (await client.bootstrap(Desk)).get()
            assert (type(caught.value), caught.value.code) == (NotFound, "not_found")
            assert (caught.value.message, caught.value.reason, caught.value.details) == (message, reason, details)


def _same(error: BaseException) -> BaseException:
    return error


async def test_details_take_what_results_take() -> None:
    """What cannot travel is left out alone, and the side that raised is told of it."""
    details = {
        "limit": 10,
        "until": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        "price": decimal.Decimal("1.10"),
        "path": Path("/x"),
        "long": "x" * 20_000,
        "desk": MemDesk(NotFound),
        "last": [1, {"a": None}],
    }
    failed: list[HandlerFailed] = []
    async with connected(MemDesk(lambda: ResourceExhausted("full", reason="quota", details=details))) as (host, client):
        host.on(HandlerFailed, failed.append)
        with pytest.raises(ResourceExhausted) as caught:
            await (await client.bootstrap(Desk)).get()
        assert caught.value.reason == "quota"
        assert caught.value.details == {
            "limit": 10,
            "until": "2026-01-01T00:00:00Z",
            "price": "1.10",
            "last": [1, {"a": None}],
        }
        await until(lambda: len(failed) == 3)
        assert {name for name in ("path", "long", "desk") if any(repr(name) in event.where for event in failed)} == {
            "path",
            "long",
            "desk",
        }


async def test_a_group_with_one_error_in_it_is_that_error() -> None:
    """A handler that fans out in a task group means what its child has raised."""

    def one() -> BaseException:
        return ExceptionGroup("", [ExceptionGroup("", [NotFound("x", reason="empty")])])

    def two() -> BaseException:
        return ExceptionGroup("", [NotFound("x"), ValueError("y")])

    async with connected(MemDesk(one)) as (_, client):
        desk = await client.bootstrap(Desk)
        with pytest.raises(NotFound) as caught:
            await desk.get()
        assert caught.value.reason == "empty"
        with pytest.raises(NotFound):
            async for _ in desk.follow():
                pass
    async with connected(MemDesk(two)) as (_, client):
        with pytest.raises(Internal):
            await (await client.bootstrap(Desk)).get()


async def test_an_error_says_what_it_is() -> None:
    """Code and reason in its text and its representation; the word that finds an unexpected one in the log, too."""
    assert repr(NotFound("no tea", reason="empty")) == "<NotFound not_found/empty: no tea>"
    async with connected(MemDesk(lambda: KeyError("secret"))) as (_, client):
        with pytest.raises(Internal) as caught:
            await (await client.bootstrap(Desk)).get()
        assert caught.value.details["correlation"] in caught.value.message
