"""What JavaScript has in another form becomes what the contract declares, and back, wherever it stands."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from capnet import Cap, ContractDescription, InvalidArgument, Sink, call
from capnet.gateways.capnweb.actions import Stub, Writable
from capnet.gateways.capnweb.bounds import Bounds
from capnet.gateways.capnweb.exports import Counts
from capnet.gateways.capnweb.session import Session
from capnet.gateways.capnweb.shapes import incoming, mentions, outgoing
from capnet.gateways.capnweb.streams import Pipe, Readable
from capnet.gateways.capnweb.values import UNDEFINED, Moment


class Room(Cap, name="shapes.Room"):
    @call
    async def name(self) -> str: ...


@dataclass
class Node:
    at: dt.datetime
    next: Node | None = None
    others: list[Node] | None = None


Use = Callable[[int], Awaitable[int]]


class Shapes(Cap, name="shapes.Shapes"):
    @call
    async def map(self, value: dict[str, dt.datetime]) -> dict[str, dt.datetime]: ...

    @call
    async def many(self, value: list[dt.datetime | None]) -> list[dt.datetime | None]: ...

    @call
    async def pair(self, value: tuple[int, dt.datetime]) -> tuple[int, dt.datetime]: ...

    @call
    async def node(self, value: Node) -> Node: ...

    @call
    async def either(self, value: int | list[int] | None) -> int | list[int] | None: ...

    @call
    async def maybe(self, value: int | dt.datetime) -> int | dt.datetime: ...

    @call
    async def word(self, value: Literal["a", "b"]) -> Literal["a", "b"]: ...

    @call
    async def room(self, value: Room | None) -> Room | None: ...

    @call
    async def uses(self, value: dict[str, Use | None]) -> None: ...

    @call
    async def lines(self, value: AsyncIterable[dt.datetime] | None) -> AsyncIterable[dt.datetime]: ...

    @call
    async def sink(self, value: Sink[dt.datetime] | None) -> None: ...

    @call
    async def day(self, value: dt.date) -> dt.date: ...

    @call
    async def any(self, value: Any) -> Any: ...


METHODS = ContractDescription.of(Shapes).methods


class Lender:
    """Says what it was asked for."""

    def lend(self, stub: Any, shape: Any) -> Any:
        return ("lent", shape[0])

    def reader(self, end: Any, item: Any, scope: Any) -> Any:
        return ("reader", item)

    def sink(self, stub: Any, item: Any, scope: Any) -> Any:
        return ("sink", item)


def taken(method: str, value: Any) -> Any:
    return incoming(value, METHODS[method].parameters["value"].type, {}, Lender())


def given(method: str, value: Any) -> Any:
    return outgoing(value, METHODS[method].result, {})


ZERO, TEXT = Moment(0), "1970-01-01T00:00:00+00:00"
STUB = Stub(Session(), -1)

BOTH_WAYS: list[tuple[str, Any, Any]] = [
    ("map", {"a": ZERO}, {"a": TEXT}),
    ("many", [ZERO, None], [TEXT, None]),
    ("pair", [1, ZERO], [1, TEXT]),
    ("node", {"at": ZERO, "next": {"at": ZERO, "next": None}}, {"at": TEXT, "next": {"at": TEXT, "next": None}}),
    ("node", {"at": ZERO, "others": [{"at": ZERO}]}, {"at": TEXT, "others": [{"at": TEXT}]}),
    ("either", [1, 2], [1, 2]),
    ("either", None, None),
    ("maybe", ZERO, TEXT),
    ("maybe", 5, 5),
    ("word", "a", "a"),
    ("any", {"a": [1, "x", None]}, {"a": [1, "x", None]}),
    ("day", "2026-01-01", "2026-01-01"),
]


def test_both_ways() -> None:
    for method, foreign, own in BOTH_WAYS:
        assert (method, taken(method, foreign)) == (method, own)
        assert (method, given(method, own)) == (method, foreign)


def test_what_comes() -> None:
    """What is of another type than declared goes on as it is: the host refuses it."""
    pipe = Pipe(Counts(Bounds()))
    for method, foreign, own in [
        ("either", 3.0, 3),
        ("either", [3.0], [3]),
        ("either", "x", "x"),
        ("room", STUB, ("lent", "cap")),
        ("room", None, None),
        ("uses", {"a": STUB, "b": None}, {"a": ("lent", "callable"), "b": None}),
        ("lines", Readable(pipe), ("reader", "datetime")),
        ("sink", Writable(STUB), ("sink", "datetime")),
        ("any", [Readable(pipe)], [("reader", "any")]),
        ("any", {"a": [UNDEFINED]}, {"a": [None]}),
        ("pair", [1, ZERO, 5], [1, TEXT, 5]),
        ("pair", [1], [1]),
        ("node", {"at": ZERO, "more": [1]}, {"at": TEXT, "more": [1]}),
        ("map", 5, 5),
    ]:
        assert (method, taken(method, foreign)) == (method, own)


@pytest.mark.parametrize(
    ("method", "foreign"),
    [
        ("day", ZERO),
        ("either", ZERO),
        ("any", [ZERO]),
        ("any", {"a": STUB}),
        ("any", Writable(STUB)),
        ("map", {"a": STUB}),
        ("node", {"at": ZERO, "more": ZERO}),
        ("lines", STUB),
        ("many", [Moment(None)]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_nowhere_declared(method: str, foreign: Any) -> None:
    with pytest.raises(InvalidArgument):
        taken(method, foreign)


def test_what_goes() -> None:
    for method, own, foreign in [
        ("map", {"a": "2026-01-01T00:00:00"}, {"a": "2026-01-01T00:00:00"}),
        ("map", {"a": "no moment"}, {"a": "no moment"}),
        ("map", {"a": "1969-12-31T23:59:59.999500+00:00"}, {"a": Moment(-1)}),
        ("many", None, None),
    ]:
        assert (method, given(method, own)) == (method, foreign)
    assert [name for name in METHODS if mentions(METHODS[name].result)] == [
        "map", "many", "pair", "node", "maybe", "lines",
    ]  # fmt: skip


async def test_moments_in_a_stream_that_goes() -> None:
    async def moments() -> Any:
        yield TEXT
        yield TEXT

    assert [item async for item in given("lines", moments())] == [ZERO, ZERO]
