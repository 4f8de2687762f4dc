"""The table of handlers, and which implementations are refused."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest

from capnet.contract import (
    INJECT,
    CallContext,
    Cap,
    Stream,
    call,
    callable_contract,
    callable_spec,
    contract_spec,
    implementation_table,
    stream,
)
from capnet.errors import ContractError, NotFound


class Room(Cap, name="test.Room"):
    @call
    async def post(self, text: str, urgent: bool = False, *, to: str = "all") -> int: ...

    @stream
    def history(self, limit: int = 100) -> Stream[str]: ...


class MemRoom(Room):
    async def post(self, text: str, urgent: bool = False, *, to: str = "all", ctx: CallContext = INJECT) -> int:
        return len(text)

    async def history(self, limit: int = 100) -> Stream[str]:
        yield "hi"


class OneCall(Cap, name="test.OneCall"):
    @call
    async def f(self, a: int, b: int = 0, *, c: int = 0) -> None: ...


def table_of(function: Any) -> Any:
    """The table of an implementation of OneCall whose `f` is this function."""
    return implementation_table(type("Made", (OneCall,), {"f": function}), contract_spec(OneCall))


def test_every_declared_method_has_a_handler() -> None:
    """With the function, the spec and where the context goes."""
    spec = contract_spec(Room)
    table = implementation_table(MemRoom, spec)
    assert list(table) == ["post", "history"]
    assert table["post"].on(room := MemRoom()) == (room.post, "ctx")
    assert table["post"].spec is spec.methods["post"]
    assert table["post"].context_parameter == "ctx"
    assert table["history"].context_parameter is None


def test_what_was_replaced_on_an_object_takes_the_context_by_its_own_word() -> None:
    """Or not at all."""
    handler = implementation_table(MemRoom, contract_spec(Room))["post"]
    room: Any = MemRoom()

    async def other(text: str, *, what: CallContext = INJECT) -> int:
        return 1

    for replacement, word in ((other, "what"), (doubled, None), (len, None), (vars, None), (5, None)):
        room.post = replacement
        assert handler.on(room) == (replacement, word)


def test_tables_are_made_once() -> None:
    """Per class and contract."""
    table = implementation_table(MemRoom, contract_spec(Room))
    assert implementation_table(MemRoom, contract_spec(Room)) is table

    class Other(MemRoom): ...

    assert implementation_table(Other, contract_spec(Room)) is not table


def test_a_table_cannot_be_changed() -> None:
    """Nobody adds a method later."""
    table: Any = implementation_table(MemRoom, contract_spec(Room))
    with pytest.raises(TypeError):
        table["other"] = table["post"]


def test_undeclared_methods_are_not_in_the_table() -> None:
    """Public or not (P-CALL-9)."""

    class Wide(MemRoom):
        async def secret(self) -> None: ...

    assert set(implementation_table(Wide, contract_spec(Room))) == {"post", "history"}


def test_all_faults_are_listed() -> None:
    """Missing and wrong methods in one error."""

    class Half(Room):
        def post(self, text: str) -> int:  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride]
            return 0

    with pytest.raises(ContractError) as caught:
        implementation_table(Half, contract_spec(Room))
    text = str(caught.value)
    assert "Half does not implement test.Room" in text
    assert "method 'post' must be `async def`" in text
    assert "method 'post' lacks parameter 'urgent'" in text
    assert "method 'post' lacks parameter 'to'" in text
    assert "method 'history' is missing" in text


@pytest.mark.parametrize("cls", [int, Cap, OneCall])
def test_a_class_of_another_contract_is_refused(cls: type) -> None:
    """An implementation subclasses its contract."""
    with pytest.raises(ContractError, match=r"does not implement test\.Room"):
        implementation_table(cls, contract_spec(Room))


def test_streams_yield() -> None:
    """A coroutine function is no stream; a plain function that returns one is."""

    class Wrong(MemRoom):
        async def history(self, limit: int = 100) -> Stream[str]:  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride]
            raise NotImplementedError

    class Delegating(MemRoom):
        def history(self, limit: int = 100) -> Stream[str]:
            return super().history(limit)

    with pytest.raises(ContractError, match="'history' must yield"):
        implementation_table(Wrong, contract_spec(Room))
    assert implementation_table(Delegating, contract_spec(Room))["history"].attribute == "history"


class Lines:
    """Yields without being a generator."""

    def __init__(self, limit: int) -> None:
        self.left = limit

    def __aiter__(self) -> Lines:
        return self

    async def __anext__(self) -> str:
        if not self.left:
            raise StopAsyncIteration
        self.left -= 1
        return "line"


class Reader(Cap, name="test.Reader"):
    @stream
    def lines(self, limit: int) -> AsyncIterator[str]: ...


class Generating(Reader):
    async def lines(self, limit: int) -> AsyncIterator[str]:
        for _ in range(limit):
            yield "line"


class Returning(Reader):
    def lines(self, limit: int) -> Lines:
        return Lines(limit)


class Passing(Reader):
    def lines(self, limit: int) -> AsyncIterator[str]:
        return Generating().lines(limit)


class Deciding(Reader):
    def lines(self, limit: int, ctx: CallContext = INJECT) -> AsyncIterator[str]:
        if not limit:
            raise NotFound("no lines")
        return Lines(limit)


@pytest.mark.parametrize("cls", [Generating, Returning, Passing, Deciding])
async def test_a_stream_is_generated_or_returned(cls: type[Reader]) -> None:
    """What the handler's function gives is iterated, not awaited."""
    handler = implementation_table(cls, contract_spec(Reader))["lines"]
    assert [line async for line in handler.on(cls())[0](2)] == ["line", "line"]


def test_a_plain_handler_of_a_stream_may_refuse_at_once() -> None:
    """A generator function would refuse only when its first item is asked for."""
    handler = implementation_table(Deciding, contract_spec(Reader))["lines"]
    assert handler.context_parameter == "ctx"
    with pytest.raises(NotFound):
        handler.on(Deciding())[0](0)


async def exact(self: Any, a: int, b: int = 0, *, c: int = 0) -> None: ...


async def more_optional(self: Any, a: int, b: int = 0, d: int = 0, *, c: int = 0, e: int = 0) -> None: ...


async def keyword_by_position(self: Any, a: int, b: int = 0, c: int = 0) -> None: ...


async def takes_anything(self: Any, *args: Any, **kwargs: Any) -> None: ...


async def takes_the_rest(self: Any, a: int, *args: Any, **kwargs: Any) -> None: ...


@functools.wraps(exact)
async def wrapped(*args: Any, **kwargs: Any) -> None: ...


@functools.wraps(exact)
def wrapped_plainly(*args: Any, **kwargs: Any) -> Any: ...


@pytest.mark.parametrize(
    "function",
    [exact, more_optional, keyword_by_position, takes_anything, takes_the_rest, wrapped, wrapped_plainly],
)
def test_signatures_that_fit(function: Any) -> None:
    """More optional parameters, keyword parameters by position, and wrappers are fine."""
    assert table_of(function)["f"].attribute == "f"


async def positional_only(self: Any, a: int, b: int = 0, /, *, c: int = 0) -> None: ...


async def extra(self: Any, a: int, b: int = 0, *, c: int = 0, d: int) -> None: ...


async def not_optional(self: Any, a: int, b: int, *, c: int = 0) -> None: ...


async def swapped(self: Any, b: int = 0, a: int = 0, *, c: int = 0) -> None: ...


async def keyword_only(self: Any, *, a: int, b: int = 0, c: int = 0) -> None: ...


async def between(self: Any, a: int, d: int = 0, b: int = 0, *, c: int = 0) -> None: ...


async def other_first(self: Any, d: int = 0, *args: Any, **kwargs: Any) -> None: ...


async def context_declared(self: Any, a: int, b: int = INJECT, *, c: int = 0) -> None: ...


async def context_positional(self: Any, ctx: CallContext = INJECT, /, *args: Any, **kwargs: Any) -> None: ...


async def nothing() -> None: ...


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (positional_only, "lacks parameter 'a'"),
        (extra, "requires parameter 'd', which the contract does not have"),
        (not_optional, "requires parameter 'b', which the contract lets the caller leave out"),
        (swapped, r"does not take \(a, b\) by position"),
        (keyword_only, r"does not take \(a, b\) by position"),
        (between, r"does not take \(a, b\) by position"),
        (other_first, r"does not take \(a, b\) by position"),
        (context_declared, "cannot take the context as parameter 'b'"),
        (context_positional, "cannot take the context as parameter 'ctx'"),
        (nothing, "lacks parameter 'a'"),
        (staticmethod(exact), "not a plain method"),
        (classmethod(exact), "not a plain method"),
        (property(cast("Any", exact)), "not a plain method"),
        (5, "not a plain method"),
    ],
)
def test_signatures_that_do_not_fit(function: Any, words: str) -> None:
    """Each kind of misfit has its words."""
    with pytest.raises(ContractError, match=words):
        table_of(function)


async def doubled(value: int) -> int:
    return 2 * value


async def test_a_function_implements_a_callable() -> None:
    """The handler is called with the function itself, which is what is exported."""
    spec = callable_spec(Callable[[int], Awaitable[int]])
    handler = implementation_table(type(doubled), spec)["call"]
    function, context_parameter = handler.on(doubled)
    assert await function(21) == 42 and context_parameter is None


async def test_a_class_may_implement_a_callable() -> None:
    """Like any contract."""
    hint = Callable[[int], Awaitable[int]]

    class Double(callable_contract(hint)):  # type: ignore[misc]
        async def call(self, a0: int) -> int:
            return await doubled(a0)

    handler = implementation_table(Double, callable_spec(hint))["call"]
    function, _ = handler.on(Double())
    assert await function(21) == 42


def test_a_capability_is_not_a_function() -> None:
    """An object with `__call__` does not become a callable by it: its contract does not declare that."""

    class Sneaky(MemRoom):
        def __call__(self, value: int) -> AsyncIterator[int]:
            raise NotImplementedError

    with pytest.raises(ContractError):
        implementation_table(Sneaky, callable_spec(Callable[[int], Awaitable[int]]))
