"""Values of all types that the reference lists, at every place: they arrive as they left, or their sender is told.

One example is a type and a value, which may be of another one. It is sent as an argument, on a promise that is late, as
a result, as an item of each kind of stream, to and from a function, and after each of these it is spoiled. What arrives
is the value as it was, of the type that the reference says; or it was refused, with the path. The connection lives on.
`test_planted_faults_are_noticed` plants what was wrong once: objects of subclasses that lose fields, sets and other
types that become plain data under `Any`, keys that are lost, arguments and items that change after they were sent,
moments that move, and enums that arrive as what they travel as.
"""

from __future__ import annotations

import collections
import copy
import dataclasses
import datetime as dt
import decimal
import enum
import uuid
from array import array
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing, suppress
from functools import partial
from types import NoneType, UnionType
from typing import Any, Final, Generic, Literal, NamedTuple, TypedDict, TypeVar, Union, get_args, get_origin

import anyio
import attrs
import msgspec
import pytest
from hypothesis import Phase, given, reject, settings
from hypothesis import strategies as st

from capnet import (
    Broadcast,
    CallCancelled,
    Cap,
    CapnetError,
    ContractError,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    Sink,
    Stream,
    call,
    channel,
    pipe,
)
from capnet import stream as streaming
from capnet.contract import contract_spec
from capnet.contract.plain import form_of
from capnet.observe import HandlerFailed
from capnet.testing import connected
from tests.connection.shop import until

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mode(enum.Flag):
    A = 1
    B = 2


class Rights(enum.IntFlag):
    R = 4
    W = 2


class Word(str):
    __slots__ = ()


class Number(int):
    pass


@dataclasses.dataclass
class Shape:
    name: str


@dataclasses.dataclass
class Circle(Shape):
    radius: float = 0.0


class Square(Shape):
    """It says nothing of the field that it has."""

    def __init__(self, side: int) -> None:
        super().__init__("square")
        self.side = side


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    tags: tuple[str, ...]
    lines: list[int]


@dataclasses.dataclass
class Holder(Generic[T]):
    held: T


class Struct(msgspec.Struct, rename="camel"):
    some_name: list[int]


class FurtherStruct(Struct):
    more: int = 0


class Cat(msgspec.Struct, tag=True):
    lives: int


class Dog(msgspec.Struct, tag=True):
    name: str


class Bird(msgspec.Struct, tag=True):
    wings: dict[str, int]


@attrs.define
class Attrs:
    lines: list[int]
    _private: int = 0


@attrs.define
class FurtherAttrs(Attrs):
    more: int = 0


class Row(NamedTuple):
    a: int
    b: list[str]


class Words(TypedDict):
    a: int


class FurtherWords(Words):
    b: int


class Moving(dt.tzinfo):
    """A zone whose offset depends on the day, and once had seconds."""

    def utcoffset(self, when: dt.datetime | None) -> dt.timedelta | None:
        if when is None:
            return None
        return dt.timedelta(seconds=1172) if when.year < 1937 else dt.timedelta(hours=1 + (4 <= when.month < 10))

    def dst(self, when: dt.datetime | None) -> None:
        return None

    def tzname(self, when: dt.datetime | None) -> str:
        return "moving"


# What is sent: strategies by the type that is declared

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
WHOLE = st.integers(-(2**64), 2**64 - 1)
LINES = st.lists(WHOLE, max_size=2)
OFFSETS = st.timedeltas(-dt.timedelta(hours=23), dt.timedelta(hours=23)).map(
    lambda offset: dt.timezone(dt.timedelta(seconds=int(offset.total_seconds())))
)
ZONES: st.SearchStrategy[dt.tzinfo] = OFFSETS | st.builds(Moving)
NO_ZONE: st.SearchStrategy[Any] = st.none()
MOMENTS = st.datetimes(dt.datetime(1, 1, 3), dt.datetime(9999, 12, 29), timezones=NO_ZONE | ZONES)  # noqa: DTZ001
SHAPES = st.builds(Shape, TEXTS)
PLAIN: Final = st.none() | st.booleans() | WHOLE | st.floats(allow_nan=False) | TEXTS | st.binary(max_size=4)

LEAVES: Final[list[tuple[Any, st.SearchStrategy[Any]]]] = [
    (None, st.none()),
    (bool, st.booleans()),
    (int, WHOLE | WHOLE.map(Number) | st.sampled_from(Level)),
    (float, st.floats(allow_nan=False)),
    (str, TEXTS | TEXTS.map(Word)),
    (bytes, st.binary(max_size=4) | st.binary(max_size=4).map(bytearray)),
    (bytearray, st.binary(max_size=4).map(bytearray)),
    (dt.datetime, MOMENTS),
    (dt.date, st.dates()),
    (dt.time, st.times(timezones=NO_ZONE | ZONES)),
    (dt.timedelta, st.timedeltas()),
    (uuid.UUID, st.uuids()),
    (decimal.Decimal, st.decimals(allow_nan=False)),
    (Colour, st.sampled_from(Colour)),
    (Level, st.sampled_from(Level)),
    (Mode, st.sampled_from([Mode(0), Mode.A, Mode.A | Mode.B])),
    (Rights, st.sampled_from([Rights(0), Rights.R, Rights.R | Rights.W])),
    (Literal["a", 1], st.sampled_from(["a", 1])),
    (Shape, SHAPES | st.builds(Circle, TEXTS, st.floats(0, 1)) | st.builds(Square, WHOLE)),
    (Frozen, st.builds(Frozen, st.lists(TEXTS, max_size=2).map(tuple), LINES)),
    (Struct, st.builds(Struct, LINES) | st.builds(FurtherStruct, LINES)),
    (Attrs, st.builds(Attrs, LINES, WHOLE) | st.builds(FurtherAttrs, LINES)),
    (Row, st.builds(Row, WHOLE, st.lists(TEXTS, max_size=2))),
    (Words, st.fixed_dictionaries({"a": WHOLE}, optional={"b": WHOLE})),
    (Cat | Dog, st.builds(Cat, WHOLE) | st.builds(Dog, TEXTS) | st.builds(Bird, st.just({"a": 1}))),
    (Any, PLAIN | st.lists(PLAIN, max_size=2) | st.dictionaries(TEXTS, PLAIN, max_size=2)),
    (object, PLAIN | st.tuples(PLAIN, PLAIN)),
]
KEYS: Final[list[tuple[Any, st.SearchStrategy[Any]]]] = [
    (str, TEXTS | TEXTS.map(Word)),
    (int, st.integers(-(2**64), 2**64)),
    (uuid.UUID, st.uuids()),
    (dt.date, st.dates()),
    (Colour, st.sampled_from(Colour)),
    (Level, st.sampled_from(Level)),
    (Any, TEXTS | st.integers()),
]
STRANGES: Final[list[Any]] = [
    collections.deque([1]),
    collections.OrderedDict(a=[1]),
    collections.defaultdict(list, a=[1]),
    frozenset({1}),
    array("i", [1, 2]),
    range(3),
    2**64,
    1j,
    object(),
    {1: 2},
]
STRANGE: st.SearchStrategy[Any] = st.sampled_from(STRANGES)


@st.composite
def typed(draw: st.DrawFn, depth: int = 3) -> tuple[Any, st.SearchStrategy[Any]]:
    """A type, and values of it."""
    around = draw(st.integers(0, 9)) if depth else 0
    if around < 4:
        leaf: tuple[Any, st.SearchStrategy[Any]] = draw(st.sampled_from(LEAVES))
        return leaf
    hint, values = draw(typed(depth - 1))
    if around == 4:
        key, keys = draw(st.sampled_from(KEYS))
        return _of(dict, key, hint), st.dictionaries(keys, values, max_size=2)
    if around == 5:
        return _of(tuple, hint, int), st.tuples(values, WHOLE)
    if around == 6:
        return _of(Holder, hint), values.map(Holder)
    if around == 7:
        return Union[hint, None], st.none() | values  # noqa: UP007 - it may be anything
    if around == 8:
        made = draw(st.sampled_from([(Sequence, tuple), (Collection, list), (tuple, tuple)]))
        inside = (hint, ...) if made[0] is tuple else (hint,)
        return _of(made[0], *inside), st.lists(values, max_size=2).map(made[1])
    kind = draw(st.sampled_from([list, set, frozenset])) if hint in (int, str, Colour, uuid.UUID) else list
    return _of(kind, hint), st.lists(values, max_size=2).map(kind)


@st.composite
def examples(draw: st.DrawFn) -> tuple[Any, Any]:
    """A type and a value, most often of it."""
    hint, values = draw(typed())
    if not draw(st.integers(0, 3)):
        _, values = draw(st.sampled_from(LEAVES))
        values = draw(st.sampled_from([values, STRANGE, st.lists(values, max_size=2), values.map(Holder)]))
    return hint, draw(values)


def _of(origin: Any, *arguments: Any) -> Any:
    return origin[arguments]


# What arrives

kind_of: Callable[[Any], Any] = type
"""`type` and `isinstance` by other names: checkers leave what they are asked of alone."""
is_a: Callable[[Any, Any], bool] = isinstance


def arrives(hint: Any, sent: Any, got: Any) -> bool:
    """Whether this is what the reference says of it."""
    origin, arguments = get_origin(hint) or hint, get_args(hint)
    if origin in (Any, object):
        return _plainly(sent, got)
    if origin in (Union, UnionType):
        return any(arrives(member, sent, got) for member in arguments)
    if origin in (None, NoneType):
        return sent is None and got is None
    if origin is Literal:
        return got == sent and any(kind_of(got) is kind_of(one) and got == one for one in arguments)
    if origin in (list, set, frozenset, tuple, Sequence, Collection):
        return _array(origin, arguments, sent, got)
    if origin is dict:
        return _map(arguments[0], arguments[1], sent, got)
    if origin is Words:
        return kind_of(got) is dict and got == sent and list(got) == ["a"]
    if kind_of(got) is not origin:
        return False
    if origin is Holder and kind_of(sent) is Holder:
        return arrives(arguments[0], sent.held, got.held)
    if kind_of(sent) is dt.datetime and got.tzinfo is not None and sent.tzinfo is not None:
        # By Python's rules an hour that a zone has twice equals nothing in another zone.
        return bool(got.astimezone(dt.UTC) == sent.astimezone(dt.UTC))
    if kind_of(sent) is origin:
        return bool(got == sent)
    return _is_taken_for(origin, sent, got)


def _is_taken_for(origin: Any, sent: Any, got: Any) -> bool:
    """Plain data stands for what is declared, and a subclass of a plain type for that."""
    if origin in (int, str, bytes, bytearray):
        return bool(got == sent) and not is_a(sent, (bool, enum.Flag) if origin is not int else bool)
    if origin is float:
        return is_a(sent, (int, float)) and got == float(sent)
    if dataclasses.is_dataclass(origin) or attrs.has(origin) or issubclass(origin, (msgspec.Struct, tuple)):
        return is_a(sent, (Mapping, list, tuple)) and not hasattr(sent, "_fields")
    return is_a(sent, (str, int, float)) and origin is not bool


def _array(origin: Any, arguments: tuple[Any, ...], sent: Any, got: Any) -> bool:
    kind = list if origin in (Sequence, Collection) else origin
    if kind_of(got) is not kind or is_a(sent, (str, bytes, bytearray, Mapping)):
        return False
    sent = list(sent)
    if kind in (set, frozenset):
        return len(got) == len(set(sent)) and all(any(arrives(arguments[0], one, item) for one in sent) for item in got)
    hints = arguments if kind is tuple and arguments[-1] is not ... else arguments[:1] * len(sent)
    return len(got) == len(sent) == len(hints) and all(map(arrives, hints, sent, got))


def _map(key: Any, value: Any, sent: Any, got: Any) -> bool:
    return (
        kind_of(got) is dict
        and is_a(sent, Mapping)
        and len(got) == len(sent)
        and (key is not Any or all(kind_of(place) is str for place in got))
        and all(
            any(arrives(key, one, place) and arrives(value, item, got[place]) for one, item in sent.items())
            for place in got
        )
    )


def _plainly(sent: Any, got: Any) -> bool:
    """Where nothing is declared."""
    kind = kind_of(got)
    if kind is list:
        return kind_of(sent) in (list, tuple) and len(got) == len(sent) and all(map(_plainly, sent, got))
    if kind is dict:
        same = is_a(sent, Mapping) and list(got) == list(sent)
        return same and all(is_a(key, str) and _plainly(sent[key], got[key]) for key in sent)
    if kind is bytes:
        return is_a(sent, (bytes, bytearray)) and bool(got == sent)
    if kind in (int, str):
        return is_a(sent, kind) and not is_a(sent, bool) and bool(got == sent)
    return kind in (bool, float, type(None)) and kind_of(sent) is kind and bool(got == sent)


def has_bounds_of_its_own(value: Any) -> bool:
    """Whether there is a time in it whose zone may have no offset by itself, or a number of more than 64 bits."""
    if is_a(value, (list, tuple, set, frozenset)):
        return any(map(has_bounds_of_its_own, value))
    if is_a(value, dict):
        return any(map(has_bounds_of_its_own, value.values()))
    if is_a(value, Holder):
        return has_bounds_of_its_own(value.held)
    wide = is_a(value, int) and not -(2**64) <= value < 2**64
    return wide or (is_a(value, dt.time) and value.tzinfo is not None)


def spoil(value: Any) -> None:
    """Change all in a value that can be changed."""
    if is_a(value, dict):
        for item in value.values():
            spoil(item)
        value.clear()
    elif is_a(value, (list, tuple, collections.deque)):
        for item in value:
            spoil(item)
        if not is_a(value, tuple):
            value.append("spoiled")
    elif is_a(value, bytearray):
        value += b"spoiled"
    elif is_a(value, set):
        value.add("spoiled")
    elif is_a(value, (Holder, Frozen, Struct, Attrs, Bird)):
        for name in ("held", "lines", "some_name", "wings"):
            spoil(getattr(value, name, None))
    elif is_a(value, Shape):
        value.name = "spoiled"


# Where it is sent


class Desk(Cap, Generic[T], name="values.Desk"):
    @call
    async def echo(self, value: T) -> T: ...

    @call
    async def give(self) -> T: ...

    @call
    async def take(self, items: Stream[T]) -> None: ...

    @call
    async def fill(self, items: Sink[T]) -> None: ...

    @call
    async def tell(self, told: Callable[[T], Awaitable[T]]) -> None: ...

    @call
    async def open(self) -> Desk[T]: ...

    @streaming
    def follow(self) -> Stream[T]: ...

    @streaming
    def news(self) -> Stream[T]: ...

    @call
    async def alive(self) -> bool: ...


def _logged(correlation: object, failed: list[HandlerFailed]) -> str:
    """What the side at fault has in its log under that; empty while it is not there."""
    return next((str(one.error) for one in failed if one.correlation == correlation), "")


class Trial:
    """One value, sent wherever it can be, under a contract of its type."""

    def __init__(self, hint: Any, value: Any) -> None:
        self.hint = hint
        self.was = value
        self.contract: Any = _of(Desk, hint)
        self.gate = anyio.Event()
        self.entered = False
        self.sent = Broadcast[Any]()
        self.got: list[Any] = []

    def fresh(self) -> Any:
        """The value, for one use."""
        return copy.deepcopy(self.was)

    def desk(self) -> Any:
        """The program on the other side."""
        trial = self

        class MemDesk(self.contract):  # type: ignore[misc, name-defined]
            async def echo(self, value: Any) -> Any:
                trial.got.append(value)
                return value

            async def give(self) -> Any:
                return trial.fresh()

            async def take(self, items: Stream[Any]) -> None:
                await trial.gate.wait()
                trial.got += [item async for item in items]

            async def fill(self, items: Sink[Any]) -> None:
                async with items:
                    value = trial.fresh()
                    await items.send(value)
                    spoil(value)

            async def tell(self, told: Callable[[Any], Awaitable[Any]]) -> None:
                trial.got.append(await told(trial.fresh()))

            async def open(self) -> Any:
                trial.entered = True
                await trial.gate.wait()
                return self

            async def follow(self) -> Stream[Any]:
                value = trial.fresh()
                yield value
                spoil(value)

            def news(self) -> Stream[Any]:
                return trial.sent.subscribe()

            async def alive(self) -> bool:
                return True

        return MemDesk()

    async def run(self) -> None:
        """Send it everywhere."""
        failed: list[HandlerFailed] = []
        async with connected(self.desk()) as (server, client):
            server.on(HandlerFailed, failed.append)
            client.on(HandlerFailed, failed.append)
            desk = await client.bootstrap(self.contract)
            ways: list[Callable[[Any], Awaitable[None]]] = [self.argument, self.late, self.result, self.items]
            for way in (*ways, self.news, self.channel, self.sink, self.function):
                self.got.clear()
                self.gate = anyio.Event()
                self.entered = False
                refused: CapnetError | None = None
                try:
                    await way(desk)
                except CapnetError as error:
                    refused = error
                if refused is None:
                    assert self.got
                    assert all(arrives(self.hint, self.was, got) for got in self.got), self._where(way, self.got)
                else:
                    if type(refused) is Internal:  # the path is in the log
                        found = partial(_logged, refused.details["correlation"], failed)
                        await until(found)
                        told = "`$" in str(found())
                    elif type(refused) is FailedPrecondition:
                        told = "`$" in str(refused)
                    else:  # only arguments are refused with that; the handler lets pass what is said of its own
                        told = isinstance(refused, InvalidArgument) and "`$" in str(refused)
                        told = told and way in (self.argument, self.late, self.function)
                    whole = arrives(self.hint, self.was, self.was) and not has_bounds_of_its_own(self.was)
                    assert told and not whole, self._where(way, refused)
                assert await desk.alive() is True

    def _where(self, way: object, what: object) -> str:
        return f"{way.__name__}, {self.hint}: {self.was!r} became {what!r}"  # type: ignore[attr-defined]

    async def argument(self, desk: Any) -> None:
        """And back as a result."""
        value = self.fresh()
        answer = desk.echo(value)
        spoil(value)
        self.got.append(await answer)

    async def late(self, desk: Any) -> None:
        """An argument that waits for its target."""
        opening = desk.open()
        await until(lambda: self.entered)
        value = self.fresh()
        answer = pipe(opening).echo(value)
        spoil(value)
        self.gate.set()
        await answer

    async def result(self, desk: Any) -> None:
        """Of the other side's making."""
        self.got.append(await desk.give())

    async def items(self, desk: Any) -> None:
        """Of a generator."""
        async with aclosing(desk.follow()) as items:
            self.got += [item async for item in items]

    async def news(self, desk: Any) -> None:
        """Items of a broadcast whose reader is slow."""
        async with aclosing(desk.news()) as items:
            await until(lambda: self.sent.subscribers)
            value = self.fresh()
            self.sent.send_nowait(value)
            spoil(value)
            self.got.append(await anext(items))
        await until(lambda: not self.sent.subscribers)

    async def channel(self, desk: Any) -> None:
        """Items that wait for whoever reads them."""
        sink, items = channel(self.hint)
        taking = desk.take(items)
        async with sink:
            value = self.fresh()
            await sink.send(value)
            spoil(value)
        self.gate.set()
        await taking

    async def sink(self, desk: Any) -> None:
        """Items that the other side writes."""
        sink, items = channel(self.hint)
        filling = desk.fill(sink)
        async with aclosing(items):
            with suppress(CallCancelled):  # it is the call that says why
                self.got += [item async for item in items]
        await filling

    async def function(self, desk: Any) -> None:
        """What it is called with, and what it returns."""

        async def told(value: Any) -> Any:
            self.got.append(value)
            return self.fresh()

        await desk.tell(told)


def held(hint: Any, value: Any, backend: str = "asyncio") -> None:
    """Hold one example to the rule."""
    trial = Trial(hint, value)
    try:
        contract_spec(trial.contract)
    except ContractError:  # two things in a union that nothing tells apart
        reject()
    anyio.run(trial.run, backend=backend)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_values_arrive_as_they_left_or_are_refused(backend: str) -> None:
    """Of any type, and of one that is declared nowhere."""

    @given(examples())
    def check(example: tuple[Any, Any]) -> None:
        held(*example, backend)

    check()


def _as_it_is(value: Any) -> Any:
    return value


def _yes(*asked: Any) -> bool:
    return True


def _no_enums(kind: Any) -> Any:
    return None if issubclass(kind, enum.Enum) else form_of(kind)


FAULTS: Final[dict[str, tuple[str, object, tuple[Any, ...]]]] = {
    "objects lose fields": ("capnet.contract.position.Position.takes", _yes, (Shape, Struct, Attrs)),
    "types change under Any": ("capnet.contract.position.Position.takes", _yes, (Any, object)),
    "enums arrive as values": ("capnet.references.payload.form_of", _no_enums, (Any, object)),
    "keys are lost": ("capnet.contract.position.Position.checks_keys", False, (Words,)),
    "moments move": ("capnet.contract.plain._is_whole", _yes, (dt.datetime,)),
    "zones are lost": ("capnet.contract.plain._is_whole", _yes, (dt.time,)),
    "arguments change": ("capnet.calls.dependent.copied", _as_it_is, (Struct, Attrs, bytearray)),
    "items change": ("capnet.fanout.broadcast.copied", _as_it_is, (Struct, Attrs, bytearray)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same rule, with the types that it concerns."""
    place, instead, hints = FAULTS[fault]
    monkeypatch.setattr(place, instead)

    @settings(max_examples=500, derandomize=True, database=None, phases=[Phase.generate])
    @given(st.data())
    def check(data: st.DataObject) -> None:
        hint = data.draw(st.sampled_from(hints))
        declared = next(values for one, values in LEAVES if one is hint)
        values = data.draw(st.sampled_from([declared, *(values for _, values in LEAVES)]))
        held(hint, data.draw(values))

    with pytest.raises(AssertionError, match="became"):
        check()
