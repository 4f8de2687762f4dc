"""What may travel, and what msgspec is told about it."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import enum
import uuid
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import InitVar, dataclass, field
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    Self,
    TypedDict,
    TypeVar,
    cast,
    get_origin,
)

import msgspec
import pytest
from typing_extensions import ReadOnly, TypeAliasType

from capnet.contract import Cap, Sink, Stream, call, callable_contract
from capnet.contract.annotation import read_annotation
from capnet.errors import ContractError

T = TypeVar("T")


class Member(Cap, name="test.Member"):
    @call
    async def notify(self) -> None: ...


class Admin(Member, name="test.Admin"): ...


class Topic(Cap, Generic[T], name="test.Topic"):
    @call
    async def get(self) -> T: ...


class Me(Member):
    async def notify(self) -> None: ...


class ListSink(Sink[int]): ...


class Color(enum.Enum):
    RED = "r"
    BLUE = "b"


class Mixed(enum.Enum):
    A = 1
    B = "b"


@dataclass
class Item:
    sku: str
    qty: int = 1
    tags: list[str] = field(default_factory=list[str])


@dataclass
class Tree:
    value: int
    children: list[Tree]


class Point(NamedTuple):
    x: int
    y: int = 0


class Options(TypedDict, total=False):
    a: int
    b: NotRequired[str]


class Tagged(msgspec.Struct, tag="t", rename="camel"):
    some_name: int
    maybe: int | msgspec.UnsetType = msgspec.UNSET


class Row(msgspec.Struct, array_like=True, tag=True):
    a: int


@dataclass
class Box(Generic[T]):
    value: T


@dataclass
class IntBox(Box[int]):
    more: str


@dataclass
class Endless(Generic[T]):
    deeper: Endless[list[T]] | None


@dataclass
class Missing:
    x: Nowhere  # type: ignore[name-defined] # pyright: ignore[reportUndefinedVariable] # noqa: F821


@dataclass
class Hooks:
    on: Callable[[int], Awaitable[None]]
    off: Callable[[str], Awaitable[None]]


@dataclass
class Listener:
    on: Callable[[Tree], Awaitable[Tree]]


def make_twin() -> Any:
    @dataclass
    class Tree:
        inner: list[Item]

    return Tree


Numbers = TypeAliasType("Numbers", list[int])
Listed = TypeAliasType("Listed", list[T], type_params=(T,))
Id = NewType("Id", int)


def shape_of(hint: Any) -> Any:
    return read_annotation(hint, "here").shape


ITEM = ["struct", "Item", {"sku": ["str", True], "qty": ["int", False], "tags": [["list", "str"], False]}]

SHAPES: list[tuple[Any, Any]] = [
    (Any, "any"),
    (object, "any"),
    (None, "none"),
    (bool, "bool"),
    (int, "int"),
    (float, "float"),
    (str, "str"),
    (bytes, "bytes"),
    (bytearray, "bytes"),
    (memoryview, "bytes"),
    (dt.datetime, "datetime"),
    (dt.date, "date"),
    (dt.time, "time"),
    (dt.timedelta, "timedelta"),
    (uuid.UUID, "uuid"),
    (decimal.Decimal, "decimal"),
    (list, ["list", "any"]),
    (list[int], ["list", "int"]),
    (set[int], ["list", "int"]),
    (frozenset[int], ["list", "int"]),
    (Sequence[int], ["list", "int"]),
    (Collection[int], ["list", "int"]),
    (Iterable[int], ["list", "int"]),
    (Iterable, ["list", "any"]),
    (tuple, ["list", "any"]),
    (tuple[int, ...], ["list", "int"]),
    (tuple[int, str], ["tuple", "int", "str"]),
    (dict, ["map", "any", "any"]),
    (Mapping[str, int], ["map", "str", "int"]),
    (dict[int, str], ["map", "int", "str"]),
    (dict[uuid.UUID, str], ["map", "uuid", "str"]),
    (dict[Color, str], ["map", ["literal", "r", "b"], "str"]),
    (Optional[int], ["union", "int", "none"]),  # noqa: UP045
    (int | str, ["union", "int", "str"]),
    (Literal["a", 1], ["literal", "a", 1]),
    (Color, ["literal", "r", "b"]),
    (Annotated[int, msgspec.Meta(ge=1)], "int"),
    (Id, "int"),
    (Item, ITEM),
    (Point, ["tuple", "int", "int"]),
    (Options, ["struct", "Options", {"a": ["int", False], "b": ["str", False]}]),
    (
        Tagged,
        ["struct", "Tagged", {"type": [["literal", "t"], True], "someName": ["int", True], "maybe": ["int", False]}],
    ),
    (Row, ["tuple", ["literal", "Row"], "int"]),
    (Tree, ["struct", "Tree", {"value": ["int", True], "children": [["list", ["ref", "Tree"]], True]}]),
    (Box[int], ["struct", "Box", {"value": ["int", True]}]),
    (Box, ["struct", "Box", {"value": ["any", True]}]),
    (IntBox, ["struct", "IntBox", {"value": ["int", True], "more": ["str", True]}]),
    (Cap, ["cap"]),
    (Member, ["cap", "test.Member"]),
    (Admin, ["cap", "test.Admin", "test.Member"]),
    (Member | None, ["union", ["cap", "test.Member"], "none"]),
    (Topic[int], ["cap", "test.Topic"]),
    (Callable[[int], Awaitable[None]], ["callable", ["int"], "none"]),
    (AsyncIterable[bytes], ["stream", "bytes"]),
    (AsyncIterator[int], ["stream", "int"]),
    (Stream[Item], ["stream", ITEM]),
    (Sink[Item], ["sink", ITEM]),
    (Sink, ["sink", "any"]),
    (Sink[int] | None, ["union", ["sink", "int"], "none"]),
    (list[Sink[AsyncIterable[int]]], ["list", ["sink", ["stream", "int"]]]),
    (
        Listener,
        [
            "struct",
            "Listener",
            {
                "on": [
                    [
                        "callable",
                        [["struct", "Tree", {"value": ["int", True], "children": [["list", ["ref", "Tree"]], True]}]],
                        ["struct", "Tree", {"value": ["int", True], "children": [["list", ["ref", "Tree"]], True]}],
                    ],
                    True,
                ]
            },
        ],
    ),
]


@pytest.mark.parametrize(("hint", "expected"), SHAPES, ids=str)
def test_shapes(hint: Any, expected: Any) -> None:
    """Each type that travels has one plain description."""
    assert shape_of(hint) == expected


@pytest.mark.parametrize(("alias", "expected"), [(Numbers, ["list", "int"]), (Listed[str], ["list", "str"])])
def test_type_aliases_stand_for_their_value(alias: Any, expected: Any) -> None:
    """`type X = …` is looked through, though msgspec knows only the form that Python 3.12 brought."""
    assert shape_of(alias) == expected
    assert shape_of(dict[str, alias | None]) == ["map", "str", ["union", expected, "none"]]


def test_two_structs_of_one_name_are_told_apart() -> None:
    """A `ref` must lead to one struct."""

    @dataclass
    class Outer:
        tree: Any

    twin = make_twin()
    twin.__annotations__["inner"] = list[Tree]
    outer = shape_of(twin)
    assert outer[1] == "Tree"
    assert outer[2]["inner"][0][1][1] == "Tree'"
    assert outer[2]["inner"][0][1][2]["children"] == [["list", ["ref", "Tree'"]], True]


@pytest.mark.parametrize(
    "hint",
    [
        complex,
        Exception,
        type,
        type[int],
        Iterator[int],
        Mixed,
        Me,
        Member | int,
        Member | Topic[int],
        Callable[[int], Awaitable[None]] | str,
        Callable[..., Awaitable[int]],
        Callable[[int], int],
        Callable[[complex], Awaitable[int]],
        AsyncGenerator[int, int],
        AsyncIterable[complex],
        Sink[complex],
        Sink[int] | int,
        Sink[int] | AsyncIterable[int],
        ListSink,
        list[complex],
        Box[complex],
        dict[float, int],
        dict[int | str, int],
        dict[Member, int],
        Item | Options,
        Endless[int],
        msgspec.Raw,
        "Unknown",
        T,
        [int],
        cast("Any", Literal)[1.5],
    ],
    ids=str,
)
def test_what_cannot_travel_is_refused(hint: Any) -> None:
    """The error names the place."""
    with pytest.raises(ContractError, match=r"^here: "):
        read_annotation(hint, "here")


class Folder:
    def __fspath__(self) -> str:
        return "/"


class Model:
    model_fields: ClassVar[dict[str, Any]] = {}


class UserId(int): ...


@dataclass
class Seeded:
    seed: InitVar[int]


class Frozen(TypedDict):
    a: ReadOnly[int]


Json = TypeAliasType("Json", "dict[str, Json] | None")


@pytest.mark.parametrize(
    ("hint", "way_out"),
    [
        (Folder, "str"),
        (Model, "dataclass"),
        (UserId, "int"),
        (collections.OrderedDict[str, int], "dict"),
        (collections.deque[int], "list"),
        (complex, "dataclass"),
        (Self, "class"),
        (Json, "Any"),
        (Endless[int], "Any"),
        (str | bytes, "tagged"),
        (int | enum.Enum("Number", {"ONE": 1}), "tagged"),
        (enum.Enum("Pair", {"ONE": (1, 2)}), "members"),
        (int | enum.Enum("Mixed", {"ONE": 1, "TWO": "2"}), "members"),
        (Seeded, "field"),
        (Frozen, "ReadOnly"),
        (Literal[b"x"], "texts"),
    ],
    ids=str,
)
def test_the_way_out_is_told(hint: Any, way_out: str) -> None:
    """What to declare instead."""
    with pytest.raises(ContractError) as caught:
        read_annotation(hint, "here")
    assert way_out in "".join(caught.value.__notes__)


@dataclass(init=False)
class Unbuilt:
    x: int


@dataclass
class Hiding:
    x: int
    y: int

    def __init__(self, x: int) -> None:
        self.x, self.y = x, 0


@dataclass
class Asking:
    x: int

    def __init__(self, x: int, secret: str) -> None:
        self.x = x


class AskingRow(NamedTuple("AskingRow", [("x", int)])):
    def __new__(cls, x: int, secret: str) -> Self:
        return super().__new__(cls, x)


ManyFlags = enum.IntFlag("ManyFlags", [f"F{number}" for number in range(13)])  # type: ignore[misc]
SomeFlags = enum.IntFlag("SomeFlags", [f"F{number}" for number in range(12)])  # type: ignore[misc]


@pytest.mark.parametrize("hint", [Unbuilt, Hiding, Asking, AskingRow, ManyFlags], ids=lambda hint: hint.__name__)
def test_a_class_that_cannot_be_built_safely_is_refused(hint: Any) -> None:
    """Also deep inside; the hint says what to do."""
    for declared in (hint, list[hint], dict[str, tuple[int, hint | None]]):
        with pytest.raises(ContractError, match=rf"^here: `{hint.__qualname__}` ") as caught:
            read_annotation(declared, "here")
        assert caught.value.__notes__


@dataclass
class Keeping:
    x: int
    y: int = field(init=False)
    z: list[complex] = field(init=False, default_factory=list[complex])

    def __init__(self, x: int) -> None:
        self.x, self.y, self.z = x, 0, []


def test_what_a_class_keeps_to_itself_is_no_part_of_the_contract() -> None:
    """It may have any type."""
    assert shape_of(Keeping) == ["struct", "Keeping", {"x": ["int", True]}]
    assert shape_of(SomeFlags) == ["literal", *(2**number for number in range(12))]


def test_names_that_exist_for_the_type_checker_only_are_explained() -> None:
    """A NameError becomes a ContractError with a hint."""
    with pytest.raises(ContractError, match="cannot resolve 'Nowhere'") as caught:
        read_annotation(Missing, "here")
    assert "TYPE_CHECKING" in caught.value.__notes__[0]


@pytest.mark.parametrize("text", ["(int, str)", "dt.nowhere", "int |"])
def test_fields_that_are_no_types_are_refused(text: str) -> None:
    """Strings in a dataclass are resolved as late as those of methods."""

    @dataclass
    class Wrong:
        x: int

    Wrong.__annotations__["x"] = text
    with pytest.raises(ContractError, match=r"^here: cannot resolve an annotation"):
        read_annotation(Wrong, "here")


def test_contracts_are_collected_once_each() -> None:
    """Also inside of containers and stream items; a parametrised one is its class."""
    on = Callable[[Admin], Awaitable[None]]
    found = read_annotation(dict[str, tuple[Member, Member, Topic[int], on]], "here")
    assert found.contracts == (Member, Topic, callable_contract(on))
    assert read_annotation(AsyncIterable[Member], "here").contracts == (Member,)
    assert read_annotation(Sink[Member], "here").contracts == (Member,)


@pytest.mark.parametrize("end", [AsyncIterable[dict[int, bytes]], Sink[dict[int, bytes]]])
def test_the_item_of_a_stream_is_read_by_itself(end: Any) -> None:
    """What items need is not what the stream needs."""
    found = read_annotation(end, "here")
    assert found.item is not None
    assert (found.text_keys, found.has_bytes, found.has_custom) == (False, False, True)
    assert (found.item.text_keys, found.item.has_bytes, found.item.has_custom) == (True, True, False)
    bare: Any = get_origin(end)
    for hint in (AsyncIterable[Any], bare):
        item = read_annotation(hint, "here").item
        assert item is not None and item.shape == "any"


FLAG_NAMES = ("text_keys", "has_bytes", "has_custom", "may_lead")
FLAGS: list[Any] = [
    (int, set()),
    (list[bytes], {"has_bytes"}),
    (object, {"has_custom", "may_lead"}),
    (Any, {"may_lead"}),
    (Member, {"has_custom", "may_lead"}),
    (Callable[[int], Awaitable[None]], {"has_custom", "may_lead"}),
    (Callable[[Member], Awaitable[Any]] | None, {"has_custom", "may_lead"}),
    (list[Any], {"may_lead"}),
    (Box[Member], {"has_custom", "may_lead"}),
    (Sink[int], {"has_custom"}),
    (AsyncIterable[Member], {"has_custom"}),
    (Sink[Any], {"has_custom"}),
    (Iterable[int], {"has_custom"}),
    (dict[str, int], set()),
    (dict[Any, int], {"may_lead"}),
    (dict[int, int], {"text_keys"}),
    (dict[Color, int], {"text_keys"}),
    (Box[dict[dt.date, int]], {"text_keys"}),
]


@pytest.mark.parametrize(("hint", "expected"), FLAGS, ids=[str(hint) for hint, _ in FLAGS])
def test_flags_say_what_the_wire_needs(hint: Any, expected: set[str]) -> None:
    """Each flag costs time on every call, so it is set only where it is needed."""
    found = read_annotation(hint, "here")
    assert {flag for flag in FLAG_NAMES if getattr(found, flag)} == expected


def test_iterables_are_sequences_to_msgspec() -> None:
    """msgspec does not know Iterable."""
    assert read_annotation(Iterable[int], "here").hint == Sequence[int]
    assert read_annotation(Iterable, "here").hint == Sequence[Any]
    assert read_annotation(list[Iterable[int]], "here").hint == list[Sequence[int]]
    deep, bare = dict[str, Iterable[tuple[Iterable[Any], ...]]], cast("Any", list)[Iterable]
    assert read_annotation(deep, "here").hint == dict[str, Sequence[tuple[Sequence[Any], ...]]]
    assert read_annotation(bare, "here").hint == list[Sequence[Any]]
    assert read_annotation(Iterable[int] | None, "here").hint == Sequence[int] | None
    annotated = list[Annotated[Iterable[int], "some"]]
    assert read_annotation(annotated, "here").hint == annotated
    assert read_annotation(dict[str, int], "here").hint == dict[str, int]
