"""Checking and rebuilding what came from the wire."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pytest

from capnet.contract import CallableCap, Cap, Stream, call, callable_contract
from capnet.contract.annotation import read_annotation
from capnet.contract.conversion import conversion_options, convert, record_type
from capnet.errors import InvalidArgument

T = TypeVar("T")


class Member(Cap, name="test.Member"):
    @call
    async def notify(self) -> None: ...


class Topic(Cap, Generic[T], name="test.Topic"):
    @call
    async def get(self) -> T: ...


class Me(Member):
    async def notify(self) -> None: ...

    def __call__(self) -> None: ...

    async def __aiter__(self) -> Stream[int]:
        yield 1


class Numbers(Topic[int]):
    async def get(self) -> int:
        return 1


class Double(callable_contract(Callable[[int], Awaitable[int]])):  # type: ignore[misc]
    async def call(self, a0: int) -> int:
        return 2 * a0


class Received:
    """What the codec makes of a reference: it can be asked for a proxy of any contract."""

    def __init__(self, proxy: object = None) -> None:
        self.proxy = proxy
        self.asked: list[Any] = []

    def __capnet_narrow__(self, contract: Any) -> object:
        self.asked.append(contract)
        return self.proxy


class Pretender:
    """Data with an attribute of that name."""

    def __init__(self) -> None:
        self.__capnet_narrow__ = Me


@dataclass
class Guests:
    members: list[Member]
    names: Iterable[str] = ()


async def generated() -> Stream[int]:
    yield 1


def converted(hint: Any, value: Any) -> Any:
    annotation = read_annotation(hint, "here")
    record = record_type("test", [("value", annotation.hint, True)])
    return convert({"value": value}, record, conversion_options([annotation])).value


def refusal(hint: Any, value: Any) -> str:
    with pytest.raises(InvalidArgument) as caught:
        converted(hint, value)
    return caught.value.message


def test_only_needed_options_are_given() -> None:
    """Each option makes every conversion slower."""

    def names(*hints: Any) -> set[str]:
        return set(conversion_options(read_annotation(hint, "here") for hint in hints))

    assert names(int, str) == set()
    assert names(int, bytes) == {"builtin_types"}
    assert names(Member) == {"dec_hook"}
    assert names(dict[int, int]) == {"str_keys"}


MISFITS: list[Any] = [
    (int, True, "Expected `int`, got `bool` - at `$.value`"),
    (int, 1.0, "Expected `int`, got `float` - at `$.value`"),
    (bytes, "QUJD", "Expected `bytes`, got `str` - at `$.value`"),
    (bytearray, "QUJD", "Expected `bytes`, got `str` - at `$.value`"),
    (str, b"x", "Expected `str`, got `bytes` - at `$.value`"),
    (list[int], [1, "x"], "Expected `int`, got `str` - at `$.value[1]`"),
    (dict[int, int], {"x": 1}, "Expected `int`, got `str` - at `key` in `$.value`"),
    (set[Any], [{}], "unhashable type: 'dict'"),
    (Member, "x", "Expected `test.Member`, got `str` - at `$.value`"),
    (Cap, 5, "Expected `capability`, got `int` - at `$.value`"),
    (Member | None, [], "Expected `test.Member`, got `list` - at `$.value`"),
    (Topic[int], "x", "Expected `test.Topic`, got `str` - at `$.value`"),
    (Member, Numbers(), "Expected `test.Member`, got `Numbers` - at `$.value`"),
    (Member, Pretender(), "Expected `test.Member`, got `Pretender` - at `$.value`"),
    (Guests, {"members": [None]}, "Expected `test.Member`, got `NoneType` - at `$.value.members[0]`"),
    (AsyncIterable[int], [1], "Expected `stream`, got `list` - at `$.value`"),
    (AsyncIterable[int], Me(), "Expected `stream`, got `Me` - at `$.value`"),
    (Callable[[int], Awaitable[int]], "x", "Expected `function`, got `str` - at `$.value`"),
    (Callable[[int], Awaitable[int]], Me(), "Expected `function`, got `Me` - at `$.value`"),
]


@pytest.mark.parametrize(("hint", "value", "expected"), MISFITS, ids=str)
def test_what_does_not_fit_is_refused_with_its_path(hint: Any, value: Any, expected: str) -> None:
    """Strictly: no text for bytes, no bool for int, no implementation that merely looks right."""
    assert refusal(hint, value) == expected


def test_items_of_an_iterable_are_checked() -> None:
    """Also inside of other types, where msgspec asks the hook."""
    guests = converted(Guests, {"members": [], "names": ["a"]})
    assert guests == Guests([], ["a"])
    assert "at `$.value.names`" in refusal(Guests, {"members": [], "names": [1]})
    assert converted(dict[str, Iterable[Any]], {"a": [1, "x"]}) == {"a": [1, "x"]}
    bare: Any = Iterable
    assert converted(list[bare], [[1]]) == [[1]]


def test_refusals_are_short() -> None:
    """The text holds the peer's words, so it is cut."""
    record = record_type("test", [])
    with pytest.raises(InvalidArgument) as caught:
        convert({"x" * 100_000: 1}, record, {})
    assert len(caught.value.message) <= 4096


def test_capabilities_that_came_home_are_themselves() -> None:
    """An implementation of ours passes as it is."""
    me, numbers = Me(), Numbers()
    assert converted(Member, me) is me
    assert converted(Cap, me) is me
    assert converted(list[Member], [me]) == [me]
    assert converted(Topic[int], numbers) is numbers
    assert converted(Guests, {"members": [me]}).members == [me]
    assert converted(Member | None, None) is None


def test_received_capabilities_are_asked_for_a_proxy() -> None:
    """`__capnet_narrow__` gets the contract as it is declared."""
    for contract, proxy in [(Member, Me()), (Topic[int], Numbers()), (Cap, Me())]:
        received = Received(proxy)
        assert converted(contract, received) is proxy
        assert received.asked == [contract]


def test_a_proxy_of_another_type_is_refused() -> None:
    """What `__capnet_narrow__` gives is checked as well."""
    with pytest.raises(InvalidArgument):
        converted(Member, Received("no member"))


def test_functions_are_received() -> None:
    """A function of ours comes home; a received one becomes a proxy of the callable's contract."""
    hint = Callable[[int], Awaitable[int]]
    assert converted(hint, generated) is generated
    double = Double()
    assert converted(hint, double) is double
    received = Received(double)
    assert converted(hint, received) is double
    assert received.asked == [callable_contract(hint)]
    assert issubclass(received.asked[0], CallableCap)


async def test_streams_pass() -> None:
    """An asynchronous iterable stays what it is."""
    items = generated()
    assert converted(AsyncIterable[int], items) is items
    await items.aclose()


def test_anything_passes_where_anything_is_declared() -> None:
    """`object` and `Any` take what comes."""
    assert converted(object, [1]) == [1]
    me = Me()
    assert converted(dict[str, object], {"a": me}) == {"a": me}


def test_values_are_rebuilt() -> None:
    """Text, numbers and maps become what the annotation says."""
    assert converted(dict[dt.date, float], {"2020-01-02": 1}) == {dt.date(2020, 1, 2): 1.0}
