"""Values where `Any` is declared: they arrive as they left, or do not leave, with the path and what to do."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import enum
import uuid
from dataclasses import dataclass
from typing import Any, cast

import pytest

from capnet import Cap, FailedPrecondition, InvalidArgument, call
from capnet.testing import connected


class Number(enum.IntEnum):
    ONE = 1


class Colour(enum.Enum):
    RED = "red"


class Word(str):
    pass


@dataclass
class Point:
    x: int = 1


class Store(Cap, name="any.Store"):
    @call
    async def echo(self, value: Any, names: dict[int, str] | None = None) -> Any: ...

    @call
    async def take(self, number: int) -> int: ...

    @call
    async def give(self, what: str) -> dict[str, Any]: ...


ODD: dict[str, Any] = {
    "set": {3},
    "frozenset": frozenset({3}),
    "deque": collections.deque([1]),
    "moment": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    "day": dt.date(2026, 1, 1),
    "price": decimal.Decimal("1.10"),
    "id": uuid.UUID(int=1),
    "point": Point(),
    "colour": Colour.RED,
}


class MemStore(Store):
    async def echo(self, value: Any, names: dict[int, str] | None = None) -> Any:
        return value

    async def take(self, number: int) -> int:
        return number

    async def give(self, what: str) -> dict[str, Any]:
        return {"a": [ODD[what]]}


@pytest.mark.parametrize("name", ODD)
async def test_what_would_arrive_as_something_else_does_not_leave(name: str) -> None:
    """In arguments it is the caller's mistake, in results the callee's; a declared type beside it changes nothing."""
    async with connected(MemStore()) as (_, client):
        store = await client.bootstrap(Store)
        for names in (None, {1: "a"}):
            with pytest.raises(InvalidArgument) as caught:
                await store.echo([ODD[name]], names)
            assert "$.value[0]" in str(caught.value) and "Any" in caught.value.message
        with pytest.raises(FailedPrecondition) as failed:
            await store.give(name)
        assert failed.value.reason == "unencodable_result" and "$.a[0]" in failed.value.message


async def test_what_is_equal_travels() -> None:
    """Subclasses of plain types, and what compares like them."""
    async with connected(MemStore()) as (_, client):
        store = await client.bootstrap(Store)
        same: list[Any] = [Number.ONE, Word("a"), bytearray(b"x"), memoryview(b"x"), collections.OrderedDict(a=1)]
        for value in same:
            assert await store.echo([value]) == [value]


async def test_keys_that_are_not_text_are_refused_whatever_stands_beside() -> None:
    """They would become text, and nobody would be told."""
    async with connected(MemStore()) as (_, client):
        store = await client.bootstrap(Store)
        with pytest.raises(InvalidArgument):
            await store.echo({1: 2}, {1: "a"})
        assert await store.echo({"1": 2}, {1: "a"}) == {"1": 2}


async def test_a_call_that_was_not_awaited_says_so() -> None:
    """Where its result was meant."""
    async with connected(MemStore()) as (_, client):
        store = await client.bootstrap(Store)
        forgotten = cast("Any", store.take(1))
        with pytest.raises(InvalidArgument) as caught:
            await store.take(forgotten)
        assert "await it" in caught.value.message
        assert await forgotten == 1
