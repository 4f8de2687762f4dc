"""Stand-ins: classes with a contract whose methods lead elsewhere."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

import pytest

from capnet.contract import Cap, ContractSpec, MethodSpec, Stream, call, contract_spec, stream
from capnet.contract.stand_in import StandIn, stand_in_class
from capnet.errors import ContractError

T = TypeVar("T")


class Room(Cap, Generic[T], name="stand.Room"):
    """A room."""

    title: str = "untitled"
    LIMIT: ClassVar[int] = 3

    @call
    async def post(self, text: T, *, urgent: bool = False) -> int:
        """Say something."""
        ...

    @stream
    def lines(self) -> Stream[str]: ...

    @property
    def size(self) -> int:
        return 0

    def shout(self, text: str) -> str:
        return text.upper()

    @staticmethod
    def plain() -> int:
        return 1


class Other(StandIn):
    _capnet_what: int


def made(contract: Any) -> Any:
    """A stand-in whose methods give their own name."""
    spec: ContractSpec = contract_spec(contract)

    def make(method: MethodSpec) -> Callable[..., Any]:
        def start(self: object, *_: Any, **__: Any) -> str:
            return method.name

        async def run(self: object) -> str:
            return method.name

        return run if method.name == "post" and contract is Room else start

    return object.__new__(stand_in_class("RoomOther", Other, spec, make))


def test_it_has_the_contract_and_its_words() -> None:
    """Names, documentation, signatures and type arguments."""
    room = made(Room[int])
    assert issubclass(type(room), Room) and contract_spec(type(room)) is contract_spec(Room[int])
    assert (type(room).__name__, type(room).__doc__, type(room).__module__) == ("RoomOther", "A room.", __name__)
    assert room.post(1) == "post" and room.lines() == "lines"
    assert room.post.__doc__ == "Say something." and room.post.__qualname__ == "Room.post"
    assert list(inspect.signature(room.post).parameters) == ["text", "urgent"]
    asks: Any = inspect if sys.version_info >= (3, 12) else asyncio
    assert asks.iscoroutinefunction(room.post) and not asks.iscoroutinefunction(room.lines)
    assert inspect.iscoroutinefunction(made(Room).post)


def test_what_else_the_contract_has_says_nothing_of_the_object() -> None:
    """Data and properties are not read; functions, which are the contract's own, run here."""
    room = made(Room)
    for name in ("title", "LIMIT", "size"):
        with pytest.raises(AttributeError, match="no method"):
            getattr(room, name)
    assert room.shout("a") == "A" and room.plain() == 1


def test_nothing_can_be_set() -> None:
    """But what capnet keeps with it."""
    room = made(Room)
    for name in ("title", "tilte", "post", "_own"):
        with pytest.raises(AttributeError, match="no attributes to set"):
            setattr(room, name, 1)
    room._capnet_what = 1
    assert room._capnet_what == 1


async def _items() -> Stream[int]:
    yield 1


async def _close(self: object) -> None: ...


def test_a_coroutine_that_is_not_declared_is_refused() -> None:
    """On a proxy it would run here, and never reach the object."""
    with pytest.raises(ContractError, match="'close' is not declared") as caught:
        type("Forgetful", (Cap,), {"post": vars(Room)["post"], "close": _close})

    assert "@call" in caught.value.__notes__[0]
    with pytest.raises(ContractError, match="'items' is not declared"):
        type("Generating", (Cap,), {"post": vars(Room)["post"], "items": staticmethod(_items)})

    class Fine(Cap, name="stand.Fine"):
        @call
        async def post(self) -> None: ...

        async def _own(self) -> None: ...

        async def aclose(self) -> None: ...

        def plain(self) -> None: ...

    assert list(contract_spec(Fine).methods) == ["post"]
