"""Mistakes of the first hour whose message is not on the page "Find what a message means"."""

from __future__ import annotations

from typing import Any, cast

import pytest

from capnet import Cap, CapnetError, Host, Internal, InvalidArgument, call, connect
from capnet.testing import connected


class Numbers(Cap, name="first.Numbers"):
    @call
    async def add(self, numbers: list[int]) -> int: ...


class Adder(Numbers):
    async def add(self, numbers: list[int]) -> int:
        return sum(numbers) if numbers else cast("Any", "nothing")


async def test_too_many_values_are_told_with_the_limit_and_what_to_do() -> None:
    async with connected(Adder()) as (_, client):
        numbers = await client.bootstrap(Numbers)
        with pytest.raises(CapnetError, match=r"Limits\.max_items .* is \d+: raise it there, or send them as a stream"):
            await numbers.add([0] * 70_000)


async def test_a_result_of_another_type_is_the_fault_of_the_handler() -> None:
    async with connected(Adder()) as (_, client):
        with pytest.raises(Internal, match=r"[0-9a-f]{32} finds it in the callee's log"):
            await (await client.bootstrap(Numbers)).add([])


async def test_a_class_that_is_no_event_is_told_where_events_are() -> None:
    async with Host() as host:
        with pytest.raises(TypeError, match=r"capnet\.observe\.CallFinished"):
            host.on(cast("Any", str), print)


async def test_a_misspelt_option_is_named_with_those_that_exist() -> None:
    with pytest.raises(InvalidArgument, match="there is no option arg") as refused:
        await cast("Any", connect)("exec:", arg=["x"])
    assert "argv" in refused.value.__notes__[0]
