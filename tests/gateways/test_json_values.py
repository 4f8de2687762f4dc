"""What becomes of each kind of value on the way through JSON, both ways."""

from __future__ import annotations

import datetime as dt
import enum
import math
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, NamedTuple, cast
from uuid import UUID

import anyio
import pytest

from capnet import Attestation, Cap, Host, Sink, Stream, call
from capnet.gateways.jsonrpc import Gateway
from tests.gateways.pipes import Speaker, pipe


class Colour(enum.Enum):
    RED = "red"


class Row(NamedTuple):
    number: int
    data: bytes


@dataclass
class Leaf:
    data: bytes
    next: Leaf | None = None


class Values(Cap, name="test.Values"):
    @call
    async def none(self, value: None) -> None: ...

    @call
    async def bool_(self, value: bool) -> bool: ...

    @call
    async def int_(self, value: int) -> int: ...

    @call
    async def float_(self, value: float) -> float: ...

    @call
    async def str_(self, value: str) -> str: ...

    @call
    async def bytes_(self, value: bytes) -> bytes: ...

    @call
    async def datetime(self, value: dt.datetime) -> dt.datetime: ...

    @call
    async def date(self, value: dt.date) -> dt.date: ...

    @call
    async def timedelta(self, value: dt.timedelta) -> dt.timedelta: ...

    @call
    async def uuid(self, value: UUID) -> UUID: ...

    @call
    async def decimal(self, value: Decimal) -> Decimal: ...

    @call
    async def enum_(self, value: Colour) -> Colour: ...

    @call
    async def literal(self, value: Literal["a", 1]) -> Literal["a", 1]: ...

    @call
    async def list_(self, value: list[bytes]) -> list[bytes]: ...

    @call
    async def set_(self, value: set[int]) -> set[int]: ...

    @call
    async def tuple_(self, value: Row) -> Row: ...

    @call
    async def map_(self, value: dict[str, bytes]) -> dict[str, bytes]: ...

    @call
    async def keys(self, value: dict[int, str]) -> dict[int, str]: ...

    @call
    async def union(self, value: bytes | list[bytes] | Leaf | None) -> bytes | list[bytes] | Leaf | None: ...

    @call
    async def struct(self, value: Leaf) -> Leaf: ...

    @call
    async def any_(self, value: Any) -> Any: ...

    @call
    async def stream_(self, value: AsyncIterable[bytes]) -> Stream[bytes]: ...

    @call
    async def function(self, value: Callable[[bytes], Awaitable[bytes]]) -> bytes: ...

    @call
    async def sink(self, value: Sink[bytes]) -> None: ...

    @call
    async def cap(self, value: Values) -> Values: ...

    @call
    async def itself(self) -> Values: ...

    @call
    async def odd(self, kind: str) -> Any: ...


class MemValues(Values):
    async def function(self, value: Callable[[bytes], Awaitable[bytes]]) -> bytes:
        return await value(b"\x01")

    async def itself(self) -> Values:
        return self

    async def odd(self, kind: str) -> Any:
        return {"nan": math.nan, "inf": [-math.inf], "big": 2**64 - 1, "bytes": {"a": b"\x01"}}[kind]


async def _same(self: Any, value: Any) -> Any:
    return value


for _name in set(vars(Values)) & {
    *("none", "bool_", "int_", "float_", "str_", "bytes_", "datetime", "date", "timedelta", "uuid", "decimal"),
    *("enum_", "literal", "list_", "set_", "tuple_", "map_", "keys", "union", "struct", "any_", "stream_", "cap"),
    "sink",
}:
    setattr(MemValues, _name, _same)
MemValues.__abstractmethods__ = frozenset()

LEAF = {"data": "AQ==", "next": {"data": "Ag==", "next": None}}
ROWS: list[tuple[str, Any, Any]] = [
    ("none", None, None),
    ("bool_", True, True),
    ("int_", 5, 5),
    ("int_", 5.0, 5),
    ("int_", 2**64 - 1, 2**64 - 1),
    ("float_", 0.5, 0.5),
    ("float_", 5, 5.0),
    ("str_", "\u00c4\u0000", "\u00c4\u0000"),
    ("bytes_", "AQI=", "AQI="),
    ("datetime", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
    ("date", "2026-01-01", "2026-01-01"),
    ("timedelta", "PT1S", "PT1S"),
    ("uuid", str(UUID(int=1)), str(UUID(int=1))),
    ("decimal", "1.10", "1.10"),
    ("enum_", "red", "red"),
    ("literal", 1, 1),
    ("list_", ["AQ==", ""], ["AQ==", ""]),
    ("set_", [1], [1]),
    ("tuple_", [1, "AQ=="], [1, "AQ=="]),
    ("map_", {"a": "AQ=="}, {"a": "AQ=="}),
    ("keys", {"1": "a"}, {"1": "a"}),
    ("union", "AQ==", "AQ=="),
    ("union", ["AQ=="], ["AQ=="]),
    ("union", LEAF, LEAF),
    ("union", None, None),
    ("struct", LEAF, LEAF),
    ("any_", {"a": [1, 0.5, None, "x"]}, {"a": [1, 0.5, None, "x"]}),
    ("stream_", ["AQ==", "Ag=="], {"items": ["AQ==", "Ag=="]}),
    ("odd", "nan", "nan"),
    ("odd", "inf", ["-inf"]),
    ("odd", "big", 2**64 - 1),
    ("odd", "bytes", {"a": "AQ=="}),
]
REFUSED: list[tuple[str, Any]] = [
    ("none", 1),
    ("bool_", 1),
    ("int_", 0.5),
    ("int_", True),
    ("int_", 2**64),
    ("float_", "x"),
    ("str_", "\ud800"),
    ("bytes_", "!"),
    ("bytes_", "\u00c4"),
    ("datetime", "x"),
    ("enum_", "blue"),
    ("list_", "AQ=="),
    ("tuple_", [1]),
    ("tuple_", [1, "AQ==", 3]),
    ("map_", []),
    ("keys", {"x": "a"}),
    ("struct", {"next": None}),
    ("struct", {"data": 1}),
    ("any_", 10**30),
    ("any_", {"\ud800": 1}),
    ("stream_", "AQ=="),
    ("function", 1),
    ("sink", "x"),
    ("cap", 1),
]


@pytest.fixture(scope="module")
async def client() -> AsyncGenerator[Speaker]:
    async with Host() as host, Gateway(host) as gateway, anyio.create_task_group() as tasks:
        host.serve(cast("Any", MemValues)())
        ours, theirs = pipe()
        tasks.start_soon(gateway.serve, theirs, Attestation(principal="client"))
        yield Speaker(ours)
        await ours.aclose()


@pytest.mark.parametrize(("method", "value", "back"), ROWS, ids=lambda value: str(value)[:20].encode("unicode_escape"))
async def test_there_and_back(client: Speaker, method: str, value: Any, back: Any) -> None:
    answered = await client.ask(f"test.Values.{method}", [value])
    assert answered == back and type(answered) is type(back)


@pytest.mark.parametrize(("method", "value"), REFUSED, ids=lambda value: str(value)[:20].encode("unicode_escape"))
async def test_refused(client: Speaker, method: str, value: Any) -> None:
    assert (await client.fail(f"test.Values.{method}", [value]))["code"] == -32602


async def test_a_function_takes_and_gives_values_as_well(client: Speaker) -> None:
    number = await client.begin("test.Values.function", ["client/function"])
    asked = await client.read()
    assert (asked["method"], asked["params"]) == ("client/function", ["AQ=="])
    await client.write({"jsonrpc": "2.0", "id": asked["id"], "result": "Ag=="})
    assert (await client.answer(number))["result"] == "Ag=="


async def test_a_capability_comes_home(client: Speaker) -> None:
    handle = await client.ask("test.Values.itself")
    again = await client.ask("test.Values.cap", [handle])
    assert await client.ask(f"{again}.int_", [3]) == 3
