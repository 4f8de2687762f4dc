"""Values where `Any` is declared, and a call where its result was meant."""

from __future__ import annotations

import collections
import enum
from typing import Any, cast

import pytest

from capnet import Cap, InvalidArgument, call
from capnet.testing import connected


class Number(enum.IntEnum):
    ONE = 1


class Word(str):
    pass


class Store(Cap, name="any.Store"):
    @call
    async def echo(self, value: Any, names: dict[int, str] | None = None) -> Any: ...

    @call
    async def take(self, number: int) -> int: ...


class MemStore(Store):
    async def echo(self, value: Any, names: dict[int, str] | None = None) -> Any:
        return value

    async def take(self, number: int) -> int:
        return number


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
