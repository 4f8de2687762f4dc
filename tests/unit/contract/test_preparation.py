"""What is done to plain data before msgspec converts it: constructors that are called, keys that are looked at."""

from __future__ import annotations

import datetime as dt
import enum
import json
import sys
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, MutableSet, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count, islice
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, Self, TypedDict, TypeVar

import msgspec
import pytest

from capnet.contract import Cap, call
from capnet.contract.annotation import read_annotation
from capnet.contract.conversion import Conversion, narrow
from capnet.contract.preparation import MAX_ALIKE, MAX_KEY_CHARS, MAX_ORDERED, preparation
from capnet.errors import InvalidArgument, NotFound

T = TypeVar("T")
PRIME = 2**61 - 1
"""Numbers that differ by it have the same hash."""


def converted(hint: Any, value: Any) -> Any:
    conversion = Conversion("test", [("value", read_annotation(hint, "here"), True)])
    return conversion.convert({"value": value}).value


def refusal(hint: Any, value: Any) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as caught:
        converted(hint, value)
    return caught.value


class Member(Cap, name="test.PreparedMember"):
    @call
    async def notify(self) -> None: ...


class Me(Member):
    async def notify(self) -> None: ...


# Classes


@dataclass
class Kept:
    name: str
    admin: bool = field(init=False, default=False)
    size: int = field(init=False)
    tags: list[str] = field(init=False, default_factory=list[str])

    def __post_init__(self) -> None:
        self.size = len(self.name)


@dataclass(init=False)
class Path:
    parts: list[str]

    def __init__(self, parts: list[str]) -> None:
        if ".." in parts:
            raise ValueError("secret")
        self.parts = parts


class Even(NamedTuple):
    half: int
    name: str = "even"


class CarefulEven(Even):
    def __new__(cls, half: int, name: str = "even") -> Self:
        if half % 2:
            raise TypeError("secret")
        return super().__new__(cls, half, name)


@dataclass
class Tree:
    kept: Kept
    below: list[Tree] = field(default_factory=list["Tree"])
    more: Mapping[str, Kept] = field(default_factory=dict[str, Kept])


@dataclass
class Box(Generic[T]):
    inside: T
    count: int = field(init=False, default=1)


class Cat(msgspec.Struct, tag="cat"):
    kept: Kept


class Dog(msgspec.Struct, tag="dog"):
    kept: int


class Left(msgspec.Struct, tag="left", array_like=True):
    kept: Kept


class Right(msgspec.Struct, tag="right", array_like=True):
    kept: int


class Words(TypedDict, total=False):
    kept: Kept


@dataclass
class Holder:
    member: Member
    data: bytes
    number: int = field(init=False, default=7)


Renamed = NewType("Renamed", Kept)

BUILT: list[Any] = [
    (Kept, {"name": "x", "admin": True, "size": 9, "tags": ["y"]}, Kept("x")),
    (Kept | None, {"name": "x"}, Kept("x")),
    (Kept | int | list[Kept], [{"name": "x"}], [Kept("x")]),
    (Renamed, {"name": "x"}, Kept("x")),
    (list[Kept], [{"name": "x"}], [Kept("x")]),
    (tuple[Kept, ...], [{"name": "x"}], (Kept("x"),)),
    (tuple[int, Kept], [1, {"name": "x"}], (1, Kept("x"))),
    (dict[str, Kept], {"a": {"name": "x"}}, {"a": Kept("x")}),
    (dict[int, Kept], {"1": {"name": "x"}}, {1: Kept("x")}),
    (Words, {"kept": {"name": "x"}}, {"kept": Kept("x")}),
    (Words, {}, {}),
    (Path, {"parts": ["a"]}, Path(["a"])),
    (CarefulEven, [2], CarefulEven(2)),
    (CarefulEven, [2, "two"], CarefulEven(2, "two")),
    (Tree, {"kept": {"name": "x"}, "below": [{"kept": {"name": "y"}}]}, Tree(Kept("x"), [Tree(Kept("y"))])),
    (Tree, {"kept": {"name": "x"}, "more": {"a": {"name": "y"}}}, Tree(Kept("x"), [], {"a": Kept("y")})),
    (Box[int], {"inside": 1, "count": 5}, Box(1)),
    (Box[Kept], {"inside": {"name": "x"}}, Box(Kept("x"))),
    (Cat | Dog, {"type": "cat", "kept": {"name": "x"}}, Cat(Kept("x"))),
    (Cat | Dog, {"type": "dog", "kept": 1}, Dog(1)),
    (Left | Right, ["left", {"name": "x"}], Left(Kept("x"))),
    (Left | Right, ["right", 1], Right(1)),
    (Iterable[Kept], [{"name": "x"}], [Kept("x")]),
]


@pytest.mark.parametrize(("hint", "value", "expected"), BUILT, ids=str)
def test_objects_are_built_by_their_class(hint: Any, value: Any, expected: Any) -> None:
    """What it keeps to itself is not taken, and what came is not changed."""
    before = repr(value)
    found = converted(hint, value)
    assert found == expected and type(found) is type(expected)
    assert repr(value) == before


def test_what_msgspec_does_not_know_stands_in_them_too() -> None:
    me = Me()
    assert converted(Holder, {"member": me, "data": b"x", "number": 1}) == Holder(me, b"x")


UNFIT: list[Any] = [
    (Kept, 5, "Expected `object`, got `int` - at `$.value`"),
    (Kept, [], "Expected `object`, got `array` - at `$.value`"),
    (Kept, {}, "Object missing required field `name` - at `$.value`"),
    (Kept, {"name": 1}, "Expected `str`, got `int` - at `$.value.name`"),
    (CarefulEven, {"half": 1}, "Expected `array`, got `object` - at `$.value`"),
    (CarefulEven, [2, "a", 3], "Expected `array` of at most length 2, got 3 - at `$.value`"),
    (list[Kept], [{"name": "x"}, {"name": 1}], "Expected `str`, got `int` - at `$.value[1].name`"),
    (list[Kept], {"name": "x"}, "Expected `array`, got `object` - at `$.value`"),
    (dict[str, Kept], {"a": {"name": 1}}, "Expected `str`, got `int` - at `$.value[...].name`"),
    (dict[str, Kept], [], "Expected `object`, got `array` - at `$.value`"),
    (tuple[int, Kept], [1, {"name": 1}], "Expected `str`, got `int` - at `$.value[1].name`"),
    (tuple[int, Kept], [1], "Expected `array` of length 2, got 1 - at `$.value`"),
    (tuple[int, Kept], 1, "Expected `array`, got `int` - at `$.value`"),
    (Tree, {"kept": {"name": "x"}, "below": [{"kept": {}}]}, "at `$.value.below[0].kept`"),
    (Cat | Dog, {"kept": {"name": "x"}}, "Object missing required field `type` - at `$.value`"),
    (Left | Right, [], "Expected `array` of at least length 1, got 0 - at `$.value`"),
    (Cat | Dog, 1, "Expected `object`, got `int` - at `$.value`"),
    (Holder, {"member": 1, "data": b""}, "Expected `test.PreparedMember`, got `int` - at `$.value.member`"),
]


@pytest.mark.parametrize(("hint", "value", "text"), UNFIT, ids=str)
def test_what_does_not_fit_them_is_refused_with_its_path(hint: Any, value: Any, text: str) -> None:
    assert text in refusal(hint, value).message


# Words of others


class Refusing(ValueError):
    pass


class Mute(ValueError):
    def __str__(self) -> str:
        raise RuntimeError("secret")


def act(how: str) -> None:
    """What code of a class may do with a value."""
    match how:
        case "value":
            int("secret")
        case "type":
            raise TypeError("secret")
        case "subclass":
            raise Refusing("secret - at `$.secret`")
        case "empty":
            raise ValueError
        case "validation":
            raise msgspec.ValidationError("secret - at `$.secret`")
        case "chained":
            raise msgspec.ValidationError("secret - at `$.secret`") from ValueError("secret")
        case "conversion":
            msgspec.convert({"secret": 1}, dict[str, str])
        case "ours":
            raise NotFound("no such thing", reason="mine")
        case "ours too":
            raise InvalidArgument("not that one") from ValueError("secret")
        case "key":
            raise KeyError("secret")
        case "system":
            raise OSError("secret")
        case "mute":
            raise Mute("secret")
        case _:
            pass


@dataclass
class Checked:
    how: str

    def __post_init__(self) -> None:
        act(self.how)


class CheckedStruct(msgspec.Struct):
    how: str

    def __post_init__(self) -> None:
        act(self.how)


@dataclass
class Called:
    how: str
    other: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        act(self.how)


class CheckedRow(NamedTuple("CheckedRow", [("how", str)])):
    def __new__(cls, how: str) -> Self:
        act(how)
        return super().__new__(cls, how)


@dataclass
class Names:
    some: Iterable[Checked] = ()


def filled(value: Any, how: str) -> Any:
    """The value, with what is to be done in place of the question mark."""
    return json.loads(json.dumps(value).replace("?", how))


PLACES: list[Any] = [
    (Checked, {"how": "?"}, "`$.value`"),
    (CheckedStruct, {"how": "?"}, "`$.value`"),
    (list[Checked], [{"how": "x"}, {"how": "?"}], "`$.value[1]`"),
    (dict[str, Checked | None], {"secret": {"how": "?"}}, "`$.value[...]`"),
    (tuple[int, CheckedStruct], [1, {"how": "?"}], "`$.value[1]`"),
    (Box[Checked], {"inside": {"how": "?"}}, "`$.value.inside`"),
    (Names, {"some": [{"how": "?"}]}, "`$.value.some`"),
    (Iterable[Checked], [{"how": "?"}], "`$.value[0]`"),
    (Called, {"how": "?"}, "`$.value`"),
    (list[Called], [{"how": "x"}, {"how": "?"}], "`$.value[1]`"),
    (CheckedRow, ["?"], "`$.value`"),
]


@pytest.mark.parametrize("how", ["value", "type", "subclass", "empty"])
@pytest.mark.parametrize(("hint", "value", "place"), PLACES, ids=str)
def test_what_a_class_says_to_a_value_is_only_the_cause(hint: Any, value: Any, place: str, how: str) -> None:
    """The text names the place, and quotes nothing."""
    error = refusal(hint, filled(value, how))
    assert error.message == f"Invalid value - at {place}"
    assert error.reason == "invalid_value"
    assert isinstance(error.__cause__, ValueError if how != "type" else TypeError)
    assert "secret" not in repr(error.details)


@pytest.mark.parametrize("how", ["validation", "chained", "conversion"])
@pytest.mark.parametrize(("hint", "value", "place"), PLACES, ids=str)
def test_what_msgspec_says_elsewhere_is_not_taken_for_its_own(hint: Any, value: Any, place: str, how: str) -> None:
    """Where it stood is not known then."""
    error = refusal(hint, filled(value, how))
    assert error.message.startswith("Invalid value") and "secret" not in error.message
    assert error.reason == "invalid_value"
    assert isinstance(error.__cause__, msgspec.ValidationError)


@pytest.mark.parametrize(("hint", "value", "place"), PLACES, ids=str)
def test_errors_that_are_for_the_caller_reach_it(hint: Any, value: Any, place: str) -> None:
    with pytest.raises(NotFound) as caught:
        converted(hint, filled(value, "ours"))
    assert (caught.value.message, caught.value.reason) == ("no such thing", "mine")
    error = refusal(hint, filled(value, "ours too"))
    assert (error.message, error.reason) == ("not that one", None)


@pytest.mark.parametrize(("how", "kind"), [("key", KeyError), ("system", OSError), ("mute", RuntimeError)])
@pytest.mark.parametrize(("hint", "value", "place"), PLACES[:8], ids=str)
def test_a_class_that_fails_fails(hint: Any, value: Any, place: str, how: str, kind: type[Exception]) -> None:
    """No value is to blame; what becomes of it is for whoever calls."""
    with pytest.raises(kind):
        converted(hint, filled(value, how))


@dataclass(frozen=True)
class Unlucky:
    how: str

    def __hash__(self) -> int:
        act(self.how)
        return 1

    def __eq__(self, other: object) -> bool:
        act("value")
        return True


@dataclass
class Dated:
    when: int = field(default_factory=lambda: int("secret"))


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (set[Unlucky], [{"how": "value"}]),
        (set[Unlucky], [{"how": "type"}]),
        (set[Unlucky], [{"how": "value"}] * (MAX_ALIKE + 1)),
        (set[Unlucky], [{"how": "a"}, {"how": "b"}]),
        (set[Unlucky], [{"how": str(number)} for number in range(MAX_ALIKE + 1)]),
        (Dated, {}),
    ],
    ids=str,
)
def test_words_of_hashes_and_defaults_are_left_out_too(hint: Any, value: Any) -> None:
    error = refusal(hint, value)
    assert error.message.startswith("Invalid value") and error.reason == "invalid_value"


# Keys


class Point(NamedTuple):
    x: int
    y: int


@dataclass(frozen=True)
class Spot:
    x: int
    y: int


class Colour(enum.Enum):
    RED = "red"


def same_tuples(count: int) -> list[list[int]]:
    """Pairs of numbers whose tuples have one hash: it is not keyed, and can be turned round."""
    mask, one, two, five = 2**64 - 1, 11400714785074694791, 14029467366897019727, 2870177450012600261
    inverse_one, inverse_two = pow(one, -1, 2**64), pow(two, -1, 2**64)

    def left(value: int, by: int) -> int:
        return (value << by | value >> 64 - by) & mask

    aim = left(12345678901234567 * inverse_one & mask, 33)
    found: list[list[int]] = []
    first = 0
    while len(found) < count:
        first += 1
        lane = (aim - left(five + first * two & mask, 31) * one) * inverse_two & mask
        second = lane - 2**64 if lane >= 2**63 else lane
        if -PRIME < second < PRIME and second not in (-1, -2):
            found.append([first, second])
    return found


MANY = MAX_ALIKE + 1
Id = NewType("Id", uuid.UUID)
PAIRS = same_tuples(MANY)
SAME_UUIDS = [str(uuid.UUID(int=5 + number * PRIME)) for number in range(MANY)]
SAME_NUMBERS = [str(5 + number * PRIME) for number in range(MANY)]

CROWDED: list[Any] = [
    (set[uuid.UUID], SAME_UUIDS),
    (frozenset[uuid.UUID], SAME_UUIDS),
    (AbstractSet[uuid.UUID], SAME_UUIDS),
    (MutableSet[uuid.UUID], SAME_UUIDS),
    (set[uuid.UUID | None], SAME_UUIDS),
    (set[Annotated[uuid.UUID, "id"]], SAME_UUIDS),
    (set[Id], SAME_UUIDS),
    (set[Decimal], SAME_NUMBERS),
    (set[tuple[int, int]], PAIRS),
    (set[tuple[int, ...]], PAIRS),
    (set[Point], PAIRS),
    (set[tuple[Decimal, int]], [[number, 1] for number in SAME_NUMBERS]),
    (set[Spot], [{"x": x, "y": y} for x, y in PAIRS]),
    (set[frozenset[uuid.UUID]], [[one] for one in SAME_UUIDS]),
    (dict[uuid.UUID, int], dict.fromkeys(SAME_UUIDS, 1)),
    (Mapping[uuid.UUID, int], dict.fromkeys(SAME_UUIDS, 1)),
    (dict[int, int], dict.fromkeys(SAME_NUMBERS, 1)),
    (dict[Annotated[int, msgspec.Meta(ge=0)], int], dict.fromkeys(SAME_NUMBERS, 1)),
]


MAPS: list[Any] = [hint for hint, value in CROWDED if isinstance(value, dict)]


@pytest.mark.parametrize(("hint", "value"), CROWDED, ids=str)
@pytest.mark.parametrize("wrapped", [False, True])
def test_keys_that_stand_in_each_others_way_are_refused(hint: Any, value: Any, wrapped: bool) -> None:
    """More than so many with one hash: each would be compared with all the others. One less is well."""
    left = list(value)[1:]
    fewer: Any = dict.fromkeys(left, 1) if hint in MAPS else left
    if wrapped:
        sequence: Any = list
        hint, value, fewer = dict[str, sequence[hint]], {"a": [value]}, {"a": [fewer]}
    error = refusal(hint, value)
    assert "with one hash - at `$.value" in error.message and error.reason is None
    assert "[...][0]`" in error.message or not wrapped
    converted(hint, fewer)


class Counted:
    """Compared how often?"""

    compared = 0

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return self is other

    def __hash__(self) -> int:
        return 1


@pytest.mark.parametrize("size", [1000, 4000])
def test_the_work_for_keys_grows_with_their_number(size: int) -> None:
    """A class that counts how often its objects are compared: never once for each two of them."""

    @dataclass(frozen=True)
    class Key(Counted):
        number: int
        __eq__ = Counted.__eq__
        __hash__ = Counted.__hash__

    Counted.compared = 0
    refusal(set[Key], [{"number": number} for number in range(size)])
    assert Counted.compared <= MAX_ALIKE * (MAX_ALIKE + 1)


def test_the_same_again_is_no_collision() -> None:
    """Of a set that came from a program which knows none."""
    one = str(uuid.UUID(int=5))
    assert converted(set[uuid.UUID], [one] * 100) == {uuid.UUID(one)}
    assert one == SAME_UUIDS[0]
    spelled = [one, one.upper(), one.replace("-", "")] * 40 + SAME_UUIDS[2:]
    assert len(converted(set[uuid.UUID], spelled)) == MAX_ALIKE
    assert converted(set[Decimal], ["1." + "0" * number for number in range(1, 50)]) == {Decimal(1)}


def test_groups_of_few_alike_are_well() -> None:
    """As numbers make them that have a sign: -1 and -2 have the same hash."""
    near = [[x, y, z] for x in (-1, -2, 0) for y in (-1, -2, 0) for z in (-1, -2, 0)]
    assert converted(set[tuple[int, int, int]], near) == {(x, y, z) for x, y, z in near}


HONEST: list[Any] = [
    (set[uuid.UUID], [str(uuid.UUID(int=number * 7919)) for number in range(MAX_ORDERED + 5)]),
    (set[int], list(range(MAX_ORDERED + 5))),
    (set[float], [number / 4 for number in range(MAX_ORDERED + 5)]),
    (set[Any], [*range(MAX_ORDERED), "a", None]),
    (set[str], [str(number) for number in range(MAX_ORDERED + 5)]),
    (set[tuple[int, str]], [[number, "a"] for number in range(MAX_ORDERED + 5)]),
]


@pytest.mark.parametrize(("hint", "value"), HONEST, ids=lambda value: str(value)[:20])
def test_large_sets_are_whole(hint: Any, value: Any) -> None:
    found = converted(hint, value)
    assert len(found) == len(value) and type(found) is set


@pytest.mark.parametrize("count", [MAX_ALIKE, MAX_ORDERED, MAX_ORDERED + 5])
def test_maps_are_whole_and_up_to_a_bound_in_order(count: int) -> None:
    """P-FRAME-4: the order of keys says nothing; it is kept where that is safe."""
    numbers = [7919 * number % 100_003 for number in range(count)]
    ids = [uuid.UUID(int=number) for number in numbers]
    by_number = converted(dict[int, int], {str(number): number for number in numbers})
    by_id = converted(dict[uuid.UUID, int], {str(one): number for one, number in zip(ids, numbers, strict=True)})
    by_text = converted(dict[str, int], {str(number): number for number in numbers})
    assert by_number == {number: number for number in numbers}
    assert by_id == dict(zip(ids, numbers, strict=True))
    assert list(by_text.values()) == numbers
    kept = count <= MAX_ORDERED
    assert (list(by_number) == numbers) is kept and (list(by_id) == ids) is kept


def test_numbers_of_any_length_are_no_keys() -> None:
    """To read one takes the square of its length."""
    widest = 2**128
    assert converted(dict[int, int], {str(1 - widest): 1}) == {1 - widest: 1}
    for length in (MAX_KEY_CHARS + 1, 4000, 5000, 1_000_000):
        assert "at `key` in `$.value`" in refusal(dict[int, int], {"9" * length: 1}).message
    assert "at `key` in `$.value[0]`" in refusal(list[dict[int, int]], [{"9" * 50: 1}]).message


@pytest.mark.parametrize("bad", ["x", "", "1.5", "1e5", "0x1"])
def test_a_key_that_is_no_number_among_many(bad: str) -> None:
    """Before others that would take long have been put into a map."""
    keys = {str(10**20 + number): 1 for number in range(MANY)}
    text = "Expected `int`, got `str` - at `key` in `$.value`"
    assert refusal(dict[int, int], {**keys, bad: 1}).message == text
    assert refusal(dict[int, int], {bad: 1}).message == text


@pytest.mark.parametrize("value", [5, None, "x", [1]])
def test_another_form_than_declared_is_left_for_msgspec(value: Any) -> None:
    maps: list[Any] = [dict[int, int], dict[uuid.UUID, int], dict[Marks, int], dict[str, Kept], Tree, Cat | Dog]
    for hint in maps:
        assert "Expected `object`" in refusal(hint, value).message
    arrays: list[Any] = [set[uuid.UUID], set[tuple[int, int]], list[Kept]]
    for hint in arrays:
        assert "Expected `" in refusal(hint, value).message


def test_items_of_a_set_that_do_not_fit() -> None:
    ids = [str(uuid.UUID(int=number)) for number in range(MANY)]
    assert refusal(list[set[uuid.UUID]], [[*ids, 5]]).message == "Expected `uuid`, got `int` - at `$.value[0][17]`"
    assert "unhashable type" in refusal(set[tuple[Any, int]], [[[], number] for number in range(MANY)]).message


BITS = 14
SIZE = 2**BITS


def places(number: int) -> Iterator[int]:
    """Where Python looks for a place for a number, one after the other, in a table of `SIZE`."""
    place, rest = number % SIZE, number
    while True:
        yield place
        rest >>= 5
        place = (place * 5 + rest + 1) % SIZE


def steps(numbers: Iterable[int], enough: int) -> int:
    """How often a place is taken already when these numbers are put into a table in this order."""
    taken = bytearray(SIZE)
    steps = 0
    for number in numbers:
        for place in places(number):
            if not taken[place]:
                taken[place] = 1
                break
            steps += 1
        if steps > enough:
            break
    return steps


def well_chosen(runners: int, walkers: int) -> list[int]:
    """Different numbers, all with hashes of their own. The first fill places that lead from one to the next; the others
    come upon these at once, and have to go all the way."""
    run = list(islice(places(1), runners))
    taken = bytearray(SIZE)
    for place in run:
        taken[place] = 1
    first = bytearray(SIZE)
    for place in run[: runners // 4]:
        first[place] = 1
    chosen: list[int] = []
    for number in count(SIZE):
        *early, last = islice(places(number), 6)
        if first[last] and all(taken[place] for place in early):
            chosen.append(number)
            if len(chosen) == walkers:
                return run + chosen
    raise AssertionError


def test_where_a_key_will_stand_cannot_be_reckoned_out() -> None:
    """Keys with different hashes can be chosen so that each has to pass by thousands of others: in the order in which
    they came, and in no other."""
    numbers = well_chosen(6000, 500)
    enough = 200 * len(numbers)
    assert steps(numbers, enough) > enough
    by_number = converted(dict[int, int], {str(number): 1 for number in numbers})
    assert steps(by_number, enough) < enough / 4
    listed = preparation(set[int], narrow)
    assert listed is not None
    assert steps(listed(numbers), enough) < enough / 4
    assert set(listed(numbers)) == by_number.keys() == set(numbers)


# Flags


class Marks(enum.IntFlag):
    A = 1
    B = 2
    D = 8


class Strict(enum.Flag):
    A = 1
    B = 2


def test_flags_are_what_their_class_declares() -> None:
    """Python remembers each combination that it is asked for, so there are no more than of what is declared."""
    assert converted(Marks, 11) == Marks.A | Marks.B | Marks.D
    assert converted(list[Strict], [3]) == [Strict.A | Strict.B]
    assert converted(dict[Marks, int], {"3": 1}) == {Marks.A | Marks.B: 1}
    before = len(Marks._value2member_map_)
    for number in (4, -1, 12, 2**40, 2**64 - 1):
        assert f"Invalid enum value {number}" in refusal(Marks, number).message
        assert "Invalid enum value" in refusal(dict[Marks, int], {str(number): 1}).message
        assert "Invalid enum value" in refusal(set[Marks] | None, [number]).message
    assert "at `key` in `$.value`" in refusal(dict[Marks, int], {"9" * 5000: 1}).message
    assert "at `key` in `$.value`" in refusal(dict[Marks, int], {"x": 1}).message
    assert len(Marks._value2member_map_) == before
    assert refusal(Marks, "x").message


# Nothing to do

NOTHING: list[Any] = [
    None, int, str, bytes, Any, object, dt.datetime, uuid.UUID, Decimal, Colour, Literal["a", 1], Member, Cap,
    list[int], list[uuid.UUID], tuple[int, ...], tuple[()], Sequence[Decimal], Collection[str], dict[str, int],
    dict[dt.date, int], dict[Colour, int], dict[Any, Any], Mapping[str, list[uuid.UUID]], set[str], set[dt.date],
    set[Colour], set[Member], set[bytes], set[bool], Checked, list[CheckedStruct], Names, Even,
]  # fmt: skip


@pytest.mark.parametrize("hint", NOTHING, ids=str)
def test_most_types_take_no_preparation(hint: Any) -> None:
    assert preparation(hint, narrow) is None


def test_small_sets_take_one_call_each() -> None:
    """65 000 of them fit a frame."""
    calls = 0

    def count(frame: object, event: str, arg: object) -> None:
        nonlocal calls
        calls += event == "call"

    conversion = Conversion("test", [("value", read_annotation(list[set[uuid.UUID]], "here"), True)])
    fields = Conversion("test", [("value", read_annotation(list[Iterable[int]], "here"), True)])
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        conversion.convert({"value": [[]] * 1000})
        of_sets, calls = calls, 0
        fields.convert({"value": [[]] * 1000})
    finally:
        sys.setprofile(before)
    assert of_sets <= 1050
    assert calls <= 50
