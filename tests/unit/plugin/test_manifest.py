"""What the annotations of a main function say, and what is wrong with others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import pytest

from capnet import Cap, ContractError, call
from capnet.plugin import Context
from capnet.plugin.manifest import declared


class Host(Cap, name="manifest.Host"):
    @call
    async def now(self) -> float: ...


class Speller(Cap, name="manifest.Speller"):
    @call
    async def check(self, word: str) -> bool: ...


async def everything(host: Host, me: Context, more: Host | None = None, *, last: Annotated[Host, "x"]) -> Speller:
    raise NotImplementedError


def test_parameters_are_needs_and_the_result_is_what_it_gives() -> None:
    said = declared(everything)
    assert [(need.parameter, need.spec.name, need.optional) for need in said.needs] == [
        ("host", "manifest.Host", False),
        ("more", "manifest.Host", True),
        ("last", "manifest.Host", False),
    ]
    assert (said.context, said.provides.name) == ("me", "manifest.Speller")


async def no_result(host: Host): ...  # type: ignore[no-untyped-def]
async def none() -> None: ...
async def a_number() -> int:
    return 1


async def plain_data(word: str) -> Speller:
    raise NotImplementedError


async def unannotated(host) -> Speller:  # type: ignore[no-untyped-def]
    raise NotImplementedError


async def variadic(*hosts: Host) -> Speller:
    raise NotImplementedError


async def union(host: Host | Speller) -> Speller:
    raise NotImplementedError


async def unknown(host: Nowhere) -> Speller:  # type: ignore[name-defined]  # noqa: F821
    raise NotImplementedError


def synchronous(host: Host) -> Speller:
    raise NotImplementedError


WRONG: dict[str, Any] = {
    "no result": no_result,
    "none": none,
    "a number": a_number,
    "plain data": plain_data,
    "unannotated": unannotated,
    "variadic": variadic,
    "union": union,
    "unknown": unknown,
    "synchronous": synchronous,
    "class": Speller,
    "3": 3,
}


@pytest.mark.parametrize("main", WRONG.values(), ids=WRONG)
def test_others_are_told_what_to_write(main: Callable[..., Any]) -> None:
    with pytest.raises(ContractError):
        declared(main)
