"""Taking values apart for the wire, and that every one comes back."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import types
import uuid
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, Self, TypedDict, TypeVar, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capnet.contract.annotation import read_annotation
from capnet.contract.conversion import Conversion
from capnet.contract.plain import form_of, plain

T = TypeVar("T")


class Color(enum.Enum):
    RED = "r"
    BLUE = "b"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclasses.dataclass(frozen=True)
class Item:
    sku: str
    qty: int = 1
    when: dt.datetime | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Order(Generic[T]):
    items: list[Item]
    extra: T
    by_level: dict[Level, int]


class Point(NamedTuple):
    x: int
    y: float = 0.0


class Options(TypedDict, total=False):
    a: int
    b: str


class Plain(msgspec.Struct, frozen=True, rename="camel"):
    some_name: int
    maybe: int | msgspec.UnsetType = msgspec.UNSET


class Cat(msgspec.Struct, frozen=True, tag="cat"):
    lives: int


class Dog(msgspec.Struct, frozen=True, tag="dog"):
    name: str


class Row(msgspec.Struct, frozen=True, array_like=True, tag=True):
    a: int
    b: str


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "other"


class Count(int):
    def __int__(self) -> int:
        return 99


class Weight(float):
    def __float__(self) -> float:
        return 99.0


class Blob(bytes):
    def __bytes__(self) -> bytes:
        return b"other"


class Stamp(dt.datetime): ...


class Day(dt.date): ...


class Clock(dt.time): ...


class Span(dt.timedelta): ...


def flat(value: Any, text_keys: bool) -> Any:
    """The whole of a value, as the sender walks it."""
    value = plain(value, text_keys)
    match type(value).__name__:
        case "list":
            return [flat(item, text_keys) for item in value]
        case "dict":
            return {key: flat(item, text_keys) for key, item in value.items()}
        case _:
            return value


def round_trip(hint: Any, value: Any) -> Any:
    annotation = read_annotation(hint, "here")
    conversion = Conversion("test", [("value", annotation, True)])
    return conversion.convert({"value": flat(value, annotation.text_keys)}).value


WIRE = (type(None), bool, int, float, str, bytes, list, dict)
UTC = dt.UTC
FIXED = dt.timezone(dt.timedelta(hours=2))


FLAT: list[Any] = [
    (None, None),
    (True, True),
    (5, 5),
    (1.5, 1.5),
    ("x", "x"),
    (b"x", b"x"),
    ([1], [1]),
    ({"a": 1}, {"a": 1}),
    ((1, 2), [1, 2]),
    ({1}, [1]),
    (frozenset({1}), [1]),
    (range(3), [0, 1, 2]),
    (collections.deque([1]), [1]),
    ({"a": 1}.keys(), ["a"]),
    ({"a": 1}.values(), [1]),
    (types.MappingProxyType({"a": 1}), {"a": 1}),
    (collections.OrderedDict(a=1), {"a": 1}),
    (bytearray(b"x"), b"x"),
    (memoryview(b"x"), b"x"),
    (Color.RED, "r"),
    (Level.LOW, 1),
    (Text("x"), "x"),
    (Count(5), 5),
    (Weight(1.5), 1.5),
    (Blob(b"x"), b"x"),
    (Point(1, 2.0), [1, 2.0]),
    (Item("a"), {"sku": "a", "qty": 1, "when": None}),
    (Plain(1), {"someName": 1}),
    (Plain(1, 2), {"someName": 1, "maybe": 2}),
    (Cat(9), {"type": "cat", "lives": 9}),
    (Row(1, "x"), ["Row", 1, "x"]),
    (dt.datetime(2026, 1, 2, 3, 4, 5, 6, UTC), "2026-01-02T03:04:05.000006Z"),
    (dt.datetime(2026, 1, 2, 3, 4, tzinfo=FIXED), "2026-01-02T03:04:00+02:00"),
    (dt.date(2026, 1, 2), "2026-01-02"),
    (dt.time(3, 4), "03:04:00"),
    (dt.timedelta(days=1, seconds=2), "P1DT2S"),
    (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    (decimal.Decimal("1.50"), "1.50"),
    (Stamp(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
    (Day(2026, 1, 2), "2026-01-02"),
    (Clock(3, 4), "03:04:00"),
    (Span(1), "P1D"),
]


@pytest.mark.parametrize(("value", "expected"), FLAT, ids=[f"{type(value)}-{expected}" for value, expected in FLAT])
def test_values_become_plain(value: Any, expected: Any) -> None:
    """Of exactly the types the codec takes, subclasses included."""
    found = plain(value)
    assert found == expected
    assert type(found) in WIRE


class Finer(dt.datetime):
    """Counts nanoseconds, as those of pandas do."""

    def __eq__(self, other: object) -> bool:
        return type(other) is Finer and super().__eq__(other)

    __hash__ = dt.datetime.__hash__


class FinerSpan(dt.timedelta):
    def __eq__(self, other: object) -> bool:
        return type(other) is FinerSpan and super().__eq__(other)

    __hash__ = dt.timedelta.__hash__


@pytest.mark.parametrize("value", [Finer(2026, 1, 2), FinerSpan(1)], ids=lambda value: type(value).__name__)
def test_a_part_that_would_be_lost_does_not_travel(value: object) -> None:
    """What it extends is not equal to it."""
    with pytest.raises(TypeError, match=r"does not travel: send a `(datetime|timedelta)`"):
        plain(value)


def test_containers_inside_are_left_to_the_caller() -> None:
    """One level at a time: a capability may be anywhere."""
    inner = Point(1)
    assert plain([inner])[0] is inner
    assert plain((inner,))[0] is inner
    assert plain(Order([], inner, {}))["extra"] is inner


@pytest.mark.parametrize("value", [object(), 1j, iter([]), len, int, NotImplemented, ..., ValueError()])
def test_other_values_do_not_travel(value: object) -> None:
    """An iterator would be used up by a failed attempt, so it is refused as well."""
    with pytest.raises(TypeError, match="does not travel"):
        plain(value)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["a", Text("b")], ["a", "b"]),
        ([1, Level.HIGH], ["1", "2"]),
        ([Color.RED], ["r"]),
        ([uuid.UUID(int=5)], ["00000000-0000-0000-0000-000000000005"]),
        ([dt.date(2026, 1, 2)], ["2026-01-02"]),
    ],
)
def test_keys_become_text(keys: list[Any], expected: list[str]) -> None:
    """Where the annotation says so."""
    found = plain(dict.fromkeys(keys, 0), text_keys=True)
    assert list(found) == expected
    assert {type(key) for key in found} == {str}


def test_other_values_ignore_text_keys() -> None:
    """The flag is one for all of a method's values."""
    assert plain((1, 2), text_keys=True) == [1, 2]


@dataclasses.dataclass
class Kept:
    name: str
    size: int = dataclasses.field(init=False)


def test_what_a_class_keeps_to_itself_stays_here() -> None:
    """It need not even be there."""
    assert plain(Kept("x")) == {"name": "x"}


class Items(list[int]):
    def __iter__(self) -> Iterator[int]:
        raise TypeError("secret")


class Secretive:
    """A field that cannot be read."""

    def __get__(self, instance: object, owner: type | None = None) -> int:
        if instance is None:
            return 0
        raise TypeError("secret")

    def __set__(self, instance: object, value: int) -> None: ...


@dataclasses.dataclass
class Closed:
    number: int = Secretive()  # type: ignore[assignment]


@pytest.mark.parametrize("value", [Closed(), Items()], ids=lambda value: type(value).__name__)
def test_words_of_a_class_are_not_taken_for_a_reason(value: object) -> None:
    """What does not travel is told to the peer; what code of a class says is not."""
    with pytest.raises(RuntimeError) as caught:
        plain(value)
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value.__cause__, TypeError)


@pytest.mark.parametrize(
    "keys", [[1, "1"], [True], [1.5], [None], [(1, 2)], [2**128], [-(1 << 20_000)]], ids=lambda keys: str(len(keys))
)
def test_keys_that_cannot_be_text_are_refused(keys: list[Any]) -> None:
    """Nor may two keys become one."""
    with pytest.raises(TypeError, match="key"):
        plain(dict.fromkeys(keys, 0), text_keys=True)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
WHOLE = st.integers(-(2**63), 2**63 - 1)
NAIVE = st.datetimes(dt.datetime(1, 1, 3), dt.datetime(9999, 12, 29))  # noqa: DTZ001
MOMENTS = NAIVE | NAIVE.map(lambda moment: moment.replace(tzinfo=UTC)) | NAIVE.map(lambda m: m.replace(tzinfo=FIXED))
SPANS = st.timedeltas(dt.timedelta(-999_999), dt.timedelta(999_999))
ITEMS = st.builds(Item, TEXTS, WHOLE, st.none() | MOMENTS)
ANIMALS = st.builds(Cat, WHOLE) | st.builds(Dog, TEXTS)

ROUND_TRIPS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (None, st.none()),
    (bool, st.booleans()),
    (int, WHOLE),
    (float, st.floats(allow_nan=False)),
    (str, TEXTS),
    (bytes, st.binary(max_size=5)),
    (bytearray, st.binary(max_size=5).map(bytearray)),
    (memoryview, st.binary(max_size=5).map(memoryview)),
    (list[int], st.lists(WHOLE, max_size=3)),
    (Sequence[str], st.lists(TEXTS, max_size=3)),
    (tuple[int, ...], st.lists(WHOLE, max_size=3).map(tuple)),
    (tuple[int, str], st.tuples(WHOLE, TEXTS)),
    (set[int], st.sets(WHOLE, max_size=3)),
    (frozenset[str], st.frozensets(TEXTS, max_size=3)),
    (dict[str, float], st.dictionaries(TEXTS, st.floats(allow_nan=False), max_size=3)),
    (Mapping[int, str], st.dictionaries(WHOLE, TEXTS, max_size=3)),
    (dict[Color, int], st.dictionaries(st.sampled_from(Color), WHOLE, max_size=2)),
    (dict[Level, int], st.dictionaries(st.sampled_from(Level), WHOLE, max_size=2)),
    (dict[uuid.UUID, int], st.dictionaries(st.uuids(), WHOLE, max_size=2)),
    (dict[dt.date, int], st.dictionaries(st.dates(), WHOLE, max_size=2)),
    (int | str | None, st.none() | WHOLE | TEXTS),
    (Color, st.sampled_from(Color)),
    (Level, st.sampled_from(Level)),
    (dt.datetime, MOMENTS),
    (dt.date, st.dates()),
    (dt.time, st.times()),
    (dt.timedelta, SPANS),
    (uuid.UUID, st.uuids()),
    (decimal.Decimal, st.decimals(allow_nan=False, allow_infinity=False, places=3)),
    (Item, ITEMS),
    (Order[Point], st.builds(Order, st.lists(ITEMS, max_size=2), st.builds(Point, WHOLE), st.just({Level.LOW: 1}))),
    (Point, st.builds(Point, WHOLE, st.floats(allow_nan=False))),
    (Options, st.fixed_dictionaries({}, optional={"a": WHOLE, "b": TEXTS})),
    (Plain, st.builds(Plain, WHOLE) | st.builds(Plain, WHOLE, WHOLE)),
    (Cat | Dog, ANIMALS),
    (Row, st.builds(Row, WHOLE, TEXTS)),
    (list[Cat | Dog], st.lists(ANIMALS, max_size=3)),
]


@pytest.mark.parametrize(("hint", "values"), ROUND_TRIPS, ids=lambda value: str(value)[:60])
def test_every_value_comes_back(hint: Any, values: st.SearchStrategy[Any]) -> None:
    """Taken apart, then rebuilt by its annotation, a value equals itself and has its type."""

    @given(values)
    def check(value: Any) -> None:
        found = round_trip(hint, value)
        assert found == value
        assert type(found) is type(value)

    check()


@pytest.mark.parametrize("seconds", [1172, -17762, 30, 86399])
def test_a_moment_of_an_offset_with_seconds_is_the_same_moment(seconds: int) -> None:
    """The text has whole minutes only, so it goes as UTC."""
    moment = dt.datetime(1930, 6, 1, 12, tzinfo=dt.timezone(dt.timedelta(seconds=seconds)))
    assert dt.datetime.fromisoformat(plain(moment)) == moment
    with pytest.raises(TypeError, match="send a datetime"):
        plain(moment.timetz())


@pytest.mark.parametrize(("year", "seconds"), [(1, 30), (9999, -30)])
def test_a_moment_outside_of_all_years_does_not_travel(year: int, seconds: int) -> None:
    """As UTC it cannot be written."""
    first_or_last = dt.datetime.min if year == 1 else dt.datetime.max  # noqa: DTZ901
    with pytest.raises(TypeError, match="UTC"):
        plain(first_or_last.replace(tzinfo=dt.timezone(dt.timedelta(seconds=seconds))))


class Moving(dt.tzinfo):
    """A zone whose offset depends on the day."""

    def utcoffset(self, when: dt.datetime | None) -> dt.timedelta | None:
        return None if when is None else dt.timedelta(hours=1 if when.month < 7 else 2)

    def dst(self, when: dt.datetime | None) -> None:
        return None

    def tzname(self, when: dt.datetime | None) -> None:
        return None


def test_a_time_of_a_zone_that_depends_on_the_day_does_not_travel() -> None:
    """It would lose its zone; a moment has the offset of its day."""
    with pytest.raises(TypeError, match="send a datetime"):
        plain(dt.time(12, tzinfo=Moving()))
    moment = dt.datetime(2026, 7, 1, 12, tzinfo=Moving())
    assert dt.datetime.fromisoformat(plain(moment)).utcoffset() == dt.timedelta(hours=2)


class Arrayish(collections.UserList[Any]):
    """As numpy's arrays look: a collection that knows its type and its plain form."""

    dtype = "float64"

    def tolist(self) -> Any:
        return list(self.data)


class Scalar:
    """As numpy's numbers look."""

    dtype = "int64"

    def tolist(self) -> int:
        return 5


def test_numbers_and_arrays_of_others_are_taken_as_the_plain_ones_they_stand_for() -> None:
    """Also where an element alone could not travel."""
    assert plain(Arrayish([1.5, 2.5])) == [1.5, 2.5]
    assert plain(Scalar()) == 5 and type(plain(Scalar())) is int


class Mixed(str, enum.Enum):  # noqa: UP042 - the other way to write one
    A = "a"


class Coordinate(bytes, enum.Enum):
    """Whose members are not what they travel as."""

    _value_: int

    def __new__(cls, value: int) -> Self:
        member = bytes.__new__(cls, [value])
        member._value_ = value
        return member

    PX = 1


class Odder(int, enum.Enum):
    _value_: str

    def __new__(cls, value: str) -> Self:
        member = int.__new__(cls, 7)
        member._value_ = value
        return member

    A = "a"


class Right(enum.IntFlag):
    R = 4
    W = 2


class Mode(enum.Flag):
    A = 1


@dataclasses.dataclass(frozen=True)
class Further(Item):
    more: int = 0


FORMS: list[Any] = [
    (5, None),
    (True, None),
    ("x", None),
    (Count(5), None),
    (Text("x"), None),
    (bytearray(b"x"), None),
    (memoryview(b"x"), None),
    (collections.OrderedDict(a=1), None),
    (collections.defaultdict(int), None),
    (object(), None),
    (Scalar(), None),
    (Level.LOW, None),
    (Right.R | Right.W, None),
    (Mixed.A, None),
    (Color.RED, Color),
    (Mode.A, Mode),
    (Coordinate.PX, Coordinate),
    (Odder.A, Odder),
    (Item("a"), Item),
    (Further("a"), Further),
    (Cat(9), Cat),
    (Point(1), Point),
    (Stamp(2026, 1, 2), dt.datetime),
    (Day(2026, 1, 2), dt.date),
    (dt.time(3), dt.time),
    (Span(1), dt.timedelta),
    (uuid.UUID(int=5), uuid.UUID),
    (decimal.Decimal(1), decimal.Decimal),
    ({1}, Collection),
    (collections.deque([1]), Collection),
    (Arrayish(), Collection),
]


@pytest.mark.parametrize(
    ("value", "form"),
    FORMS,
    ids=lambda value: value.__name__ if isinstance(value, type) else type(value).__name__,
)
def test_what_has_to_be_declared(value: Any, form: Any) -> None:
    """None is what equals the plain data that is sent, and what does not travel at all."""
    assert form_of(cast("Any", type(value))) is form
    if form is None and type(value) not in (object, Scalar):
        assert plain(value) == value


def test_keys_that_extend_text_are_text() -> None:
    """Wherever text is declared; any other key stays for who knows what is declared."""
    found = plain({Text("a"): 1, Mixed.A.name: 2, "c": 3})
    assert list(found) == ["a", "A", "c"] and {type(key) for key in found} == {str}
    assert [type(key) for key in plain({Mixed.A: 1})] == [str]
    assert list(plain({Text("a"): 1, 5: 2})) == ["a", 5]


class Folder:
    def __fspath__(self) -> str:
        return "/"


class Later:
    def __await__(self) -> Generator[Any, Any, int]:
        yield from ()
        return 1


class Model:
    def model_dump(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize(
    ("value", "way_out"),
    [
        (Folder(), "os.fspath"),
        (Model(), "model_dump"),
        (iter([1]), "list"),
        ((item for item in [1]), "stream"),
        (1j, "text"),
        (Later(), "await it"),
        (Later, "an object of that class"),
        (Model().model_dump, "call it"),
        (len, "call it"),
        (lambda: 1, "Callable"),
        (fractions.Fraction(1, 2), "float"),
        (object(), "dataclass"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_does_not_travel_says_the_way_out(value: object, way_out: str) -> None:
    """And what it is: a name that others have, too, comes with its module."""
    with pytest.raises(TypeError, match=f"{way_out}.*") as caught:
        plain(value)
    assert type(value).__qualname__ in str(caught.value)
    if type(value).__module__ != "builtins":
        assert type(value).__module__ in str(caught.value)
