"""Checking and rebuilding what came from the wire."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import pytest

from capnet.contract import CallableCap, Cap, Sink, Stream, call, callable_contract, item_conversion
from capnet.contract.annotation import read_annotation
from capnet.contract.conversion import Conversion, conversion_options, narrow
from capnet.errors import CapnetError, InvalidArgument
from tests.unit.contract.converting import converted

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


class Written(Sink[Any]):
    """A sink of ours."""

    async def send(self, item: Any) -> None: ...

    async def aclose(self) -> None: ...

    def fail(self, error: CapnetError) -> None: ...


class ReceivedEnd(Received, Written):
    """What the connection makes of a stream that came: an end that knows what it carries once it is asked."""

    async def __aiter__(self) -> Stream[int]:
        yield 1


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


def refusal(hint: Any, value: Any) -> str:
    with pytest.raises(InvalidArgument) as caught:
        converted(hint, value)
    return caught.value.message


def test_only_needed_options_are_given() -> None:
    """Each option makes every conversion slower."""

    def names(*hints: Any) -> set[str]:
        return set(conversion_options((read_annotation(hint, "here") for hint in hints), narrow))

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
    (Member, "x", "Expected `test.Member`, got `str` - at `$.value`"),
    (Cap, 5, "Expected `capability`, got `int` - at `$.value`"),
    (Member | None, [], "Expected `test.Member`, got `list` - at `$.value`"),
    (Topic[int], "x", "Expected `test.Topic`, got `str` - at `$.value`"),
    (Member, Numbers(), "Expected `test.Member`, got `Numbers` - at `$.value`"),
    (Member, Pretender(), "Expected `test.Member`, got `Pretender` - at `$.value`"),
    (Guests, {"members": [None]}, "Expected `test.Member`, got `NoneType` - at `$.value.members[0]`"),
    (AsyncIterable[int], [1], "Expected `stream`, got `list` - at `$.value`"),
    (AsyncIterable[int], Me(), "Expected `stream`, got `Me` - at `$.value`"),
    (AsyncIterable[int], Written(), "Expected `stream`, got `Written` - at `$.value`"),
    (Sink[int], [1], "Expected `sink`, got `list` - at `$.value`"),
    (Sink[int], Me(), "Expected `sink`, got `Me` - at `$.value`"),
    (Sink[int], Pretender(), "Expected `sink`, got `Pretender` - at `$.value`"),
    (Callable[[int], Awaitable[int]], "x", "Expected `function`, got `str` - at `$.value`"),
    (Callable[[int], Awaitable[int]], Me(), "Expected `function`, got `Me` - at `$.value`"),
]


@pytest.mark.parametrize(("hint", "value", "expected"), MISFITS, ids=[expected for _, _, expected in MISFITS])
def test_what_does_not_fit_is_refused_with_its_path(hint: Any, value: Any, expected: str) -> None:
    """Strictly: no text for bytes, no bool for int, no implementation that merely looks right."""
    assert refusal(hint, value) == expected


def test_what_cannot_be_hashed_is_refused() -> None:
    """Versions of msgspec say it with different words."""
    assert "hashable" in refusal(set[Any], [{}])
    with pytest.raises(InvalidArgument, match="hashable"):
        items_of(Sink[set[Any]]).one([{}])


def test_items_of_an_iterable_are_checked() -> None:
    """Also inside of other types, where msgspec asks the hook."""
    guests = converted(Guests, {"members": [], "names": ["a"]})
    assert guests == Guests([], ["a"])
    assert refusal(Guests, {"members": [], "names": [1]}) == "Expected `str`, got `int` - at `$.value.names`"
    assert converted(dict[str, Iterable[Any]], {"a": [1, "x"]}) == {"a": [1, "x"]}
    bare: Any = Iterable
    assert converted(list[bare], [[1]]) == [[1]]


def test_refusals_are_short() -> None:
    """The text holds the peer's words, so it is cut."""
    with pytest.raises(InvalidArgument) as caught:
        Conversion("test", []).convert({"x" * 100_000: 1})
    assert len(caught.value.message) <= 4096


def test_capabilities_are_asked_what_they_are_held_under() -> None:
    """An implementation as it is has not come from anywhere: what came home is a facet, which is asked."""
    me, numbers = Me(), Numbers()
    assert converted(Member, Received(me)) is me
    assert converted(Cap, Received(me)) is me
    assert converted(list[Member], [Received(me)]) == [me]
    assert converted(Topic[int], Received(numbers)) is numbers
    assert converted(Guests, {"members": [Received(me)]}).members == [me]
    assert converted(Member | None, None) is None
    assert refusal(Member, me)


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


def test_what_a_received_one_says_is_for_the_peer() -> None:
    """It is ours, unlike what a class says to a value."""

    class Other(Received):
        def __capnet_narrow__(self, contract: Any) -> object:
            raise TypeError("Expected `test.Member`, got `test.Other`")

    assert refusal(Member, Other()) == "Expected `test.Member`, got `test.Other` - at `$.value`"
    assert refusal(Guests, {"members": [Other()]}).endswith("got `test.Other` - at `$.value.members[0]`")


def test_functions_are_received() -> None:
    """What came is asked for the callable's contract; a function as it is has not come from anywhere."""
    hint = Callable[[int], Awaitable[int]]
    double = Double()
    received = Received(double)
    assert converted(hint, received) is double
    assert received.asked == [callable_contract(hint)]
    assert issubclass(received.asked[0], CallableCap)
    assert refusal(hint, generated)


async def test_streams_pass() -> None:
    """An asynchronous iterable stays what it is."""
    items = generated()
    assert converted(AsyncIterable[int], items) is items
    await items.aclose()


@pytest.mark.parametrize("hint", [Sink[int], Sink[int] | None, Sink])
def test_sinks_pass(hint: Any) -> None:
    """One of ours stays what it is."""
    sink, sequence = Written(), cast("Any", list)
    assert converted(hint, sink) is sink
    assert converted(sequence[hint], [sink]) == [sink]


async def test_received_streams_are_asked_for_an_end() -> None:
    """`__capnet_narrow__` gets the type as it is declared; until then nothing knows what the stream carries."""
    items, sequence = generated(), cast("Any", list)
    for hint, end in [(AsyncIterable[int], items), (Stream[int], items), (Sink[int], Written())]:
        for received in (Received(end), ReceivedEnd(end)):
            assert converted(hint, received) is end
            assert converted(sequence[hint], [received]) == [end]
            assert received.asked == [hint, hint]
    await items.aclose()


@pytest.mark.parametrize("hint", [AsyncIterable[int], Stream[int], Sink[int]])
def test_an_end_of_another_type_is_refused(hint: Any) -> None:
    """What `__capnet_narrow__` gives is checked as well."""
    with pytest.raises(InvalidArgument):
        converted(hint, Received("no end"))


def test_a_capability_is_not_asked_for_a_stream() -> None:
    """A proxy of one knows contracts only."""

    class Proxy(Me, Received): ...

    proxy = Proxy()
    for hint in (AsyncIterable[int], Sink[int]):
        assert refusal(hint, proxy)
    assert proxy.asked == []


def test_anything_passes_where_anything_is_declared() -> None:
    """`object` and `Any` take what comes."""
    assert converted(object, [1]) == [1]
    me = Me()
    assert converted(dict[str, object], {"a": me}) == {"a": me}


def test_values_are_rebuilt() -> None:
    """Text, numbers and maps become what the annotation says."""
    assert converted(dict[dt.date, float], {"2020-01-02": 1}) == {dt.date(2020, 1, 2): 1.0}


@dataclass
class Qty:
    sku: str
    qty: int


def items_of(end: Any) -> Any:
    found = item_conversion(end)
    assert found is not None
    return found


ITEMS: list[Any] = [
    (int, 5, 5),
    (None, None, None),
    (tuple[int, str], [1, "a"], (1, "a")),
    (Qty, {"sku": "a", "qty": 1}, Qty("a", 1)),
    (dict[int, bytes], {"5": b"x"}, {5: b"x"}),
    (dt.date, "2020-01-02", dt.date(2020, 1, 2)),
    (Iterable[int], [1], [1]),
    (Member | None, None, None),
]


@pytest.mark.parametrize("end", [AsyncIterable, Stream, Sink])
@pytest.mark.parametrize(("kind", "value", "expected"), ITEMS, ids=str)
def test_items_are_rebuilt(end: Any, kind: Any, value: Any, expected: Any) -> None:
    """One by one and together, whichever end declares them."""
    items = items_of(end[kind])
    assert items.one(value) == expected
    assert items.many([value] * 3) == [expected] * 3
    assert items.many([]) == []


BAD_ITEMS: list[Any] = [
    (int, "x", "Expected `int`, got `str` - at `$`"),
    (tuple[int, str], [1, 2], "Expected `str`, got `int` - at `$[1]`"),
    (Qty, {"sku": "a", "qty": "x"}, "Expected `int`, got `str` - at `$.qty`"),
    (dict[int, int], {"x": 1}, "Expected `int`, got `str` - at `key` in `$`"),
    (list[Member], [None], "Expected `test.Member`, got `NoneType` - at `$[0]`"),
    (bytes, "QUJD", "Expected `bytes`, got `str` - at `$`"),
]


@pytest.mark.parametrize(("kind", "value", "expected"), BAD_ITEMS, ids=str)
def test_an_item_that_does_not_fit_is_refused_with_its_path(kind: Any, value: Any, expected: str) -> None:
    """From the item on; those that came with it are refused together, so they can be taken one by one."""
    items = items_of(Sink[kind])
    with pytest.raises(InvalidArgument) as caught:
        items.one(value)
    assert caught.value.message == expected
    with pytest.raises(InvalidArgument):
        items.many([value])


def test_good_items_before_a_bad_one_are_not_lost() -> None:
    """They are converted by themselves when the batch is refused."""
    items = items_of(AsyncIterable[tuple[int, str]])
    batch = [[1, "a"], [2, "b"], [3, 4]]
    with pytest.raises(InvalidArgument):
        items.many(batch)
    assert [items.one(value) for value in batch[:2]] == [(1, "a"), (2, "b")]


def test_items_of_any_type_are_what_came() -> None:
    """Nothing is copied."""
    hints: list[Any] = [AsyncIterable[Any], Sink[object], AsyncIterable, Sink]
    for hint in hints:
        items = items_of(hint)
        values = [{"a": [1]}, Me()]
        assert items.many(values) is values
        assert items.one(values[0]) is values[0]


def test_capabilities_in_items_are_asked_for_proxies() -> None:
    """As in arguments."""
    received = Received(Me())
    assert items_of(Sink[Member]).many([received]) == [received.proxy]
    assert items_of(Sink[list[Member]]).one([received]) == [received.proxy]
    assert received.asked == [Member, Member]


def test_an_items_annotation_says_how_to_lower_it() -> None:
    """Its contracts and whether keys become text."""
    found = items_of(Sink[dict[int, Member]]).annotation
    assert found == read_annotation(dict[int, Member], "here")


def test_the_conversion_of_items_is_made_once() -> None:
    """Per type."""
    assert item_conversion(Sink[int]) is item_conversion(Sink[int])
    assert item_conversion(Sink[int]) is not item_conversion(Sink[str])


@dataclass
class Feed(Generic[T]):
    items: AsyncIterable[T]


def test_items_of_an_open_type_are_what_came() -> None:
    """Of a bare generic class, the hook is given its fields with their type variables."""
    received = ReceivedEnd()
    received.proxy = received
    assert converted(Feed, {"items": received}) == Feed(received)
    (hint,) = received.asked
    assert items_of(hint).one("x") == "x"


@pytest.mark.parametrize("hint", [int, Member, list[int], Iterable[int], Topic[int], Written])
def test_other_types_have_no_items(hint: Any) -> None:
    """So whoever is asked for them can say that it is a stream."""
    assert item_conversion(hint) is None
