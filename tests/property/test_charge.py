"""The charge of every kind of value, held against what Python takes for it (P-LIMIT-3).

What is decoded is weighed object by object, with `sys.getsizeof` and the rounding of the allocator; so is what
conversion makes of it. Frames are filled with many values of one kind, so that nothing else in them hides a kind that
is charged too little.
"""

from __future__ import annotations

import datetime as dt
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass
from decimal import Decimal
from typing import Any, NamedTuple, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capnet.contract.annotation import read_annotation
from capnet.contract.conversion import ItemConversion
from capnet.limits import BYTES_PER_VALUE, Limits
from capnet.wire.charge import BYTES_PER_CAP, BYTES_PER_STREAM, charge_of_references, measured
from capnet.wire.codec import Codec
from capnet.wire.references import AnswerRef, CapRef, StreamRef

MANY = 600


def size_of(value: Any) -> int:
    """Bytes that a value and all that it leads to take, shared parts once."""
    seen: set[int] = set()
    keep: list[Any] = []  # so that no id is used twice
    total = 0
    rest: list[Any] = [value]
    while rest:
        one = rest.pop()
        if id(one) in seen or _is_shared(one):
            continue
        seen.add(id(one))
        keep.append(one)
        total += (sys.getsizeof(one) + 15) // 16 * 16
        rest.extend(_parts_of(one))
    return total


def _is_shared(value: Any) -> bool:
    """Python has one of these for all."""
    return (
        value is None
        or isinstance(value, bool | type)
        or (type(value) is int and -5 <= value <= 256)
        or (type(value) is str and len(value) <= 1 and value.isascii())
        or value == b""
    )


def _parts_of(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value
        yield from value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        yield from value
    elif isinstance(value, CapRef | AnswerRef | StreamRef | uuid.UUID):
        yield from (getattr(value, name) for name in type(value).__slots__ if name != "__weakref__")
    elif isinstance(value, dt.datetime | dt.time):
        if value.tzinfo is not None and value.tzinfo is not dt.UTC:
            yield value.tzinfo
            yield value.tzinfo.utcoffset(None)
    elif isinstance(value, msgspec.Struct):
        yield from (getattr(value, name) for name in value.__struct_fields__)
    elif is_dataclass(value):
        if hasattr(value, "__dict__"):
            yield vars(value)
        yield from (getattr(value, one.name) for one in fields(value))


CODEC = Codec(Limits())

TEXTS: dict[str, Callable[[int, int], str]] = {
    "ascii": lambda n, i: f"{i:04}" + "a" * n,
    "latin": lambda n, i: f"{i:04}" + "é" * n,
    "one latin": lambda n, i: f"{i:04}" + "a" * n + "é",
    "chinese": lambda n, i: f"{i:04}" + "中" * n,
    "one chinese": lambda n, i: f"{i:04}" + "a" * n + "中",
    "emoji": lambda n, i: f"{i:04}" + "\U0001f600" * n,
    "one emoji": lambda n, i: f"{i:04}" + "a" * n + "\U0001f600",
    "only one emoji": lambda n, i: chr(0x1F600 + i),
    "only one chinese": lambda n, i: chr(0x4E2D + i),
    "two latin": lambda n, i: chr(0xC0 + i % 60) + chr(0xC0 + i // 60),
}
PLAIN: dict[str, Callable[[int], Any]] = {
    "none": lambda i: None,
    "bool": lambda i: True,
    "small int": lambda i: i % 250,
    "int of two bytes": lambda i: 300 + i,
    "int of eight bytes": lambda i: 2**63 + i,
    "half float": lambda i: float(i),
    "float": lambda i: i + 0.1,
    "bytes": lambda i: b"%02d" % i,
    "byte": lambda i: bytes([i % 256]),
    "long bytes": lambda i: bytes(1000 + i),
    "empty list": lambda i: [],
    "list in list": lambda i: [[]],
    "lists of one": lambda i: [[[[[i + 300]]]]],
    "empty map": lambda i: {},
    "maps of one": lambda i: {"k": {"k": {}}},
    **{f"list of {n}": lambda i, n=n: [i] * n for n in (1, 2, 3, 4, 5, 9, 17, 33)},  # type: ignore[misc]
    **{
        f"map of {n}": lambda i, n=n: {f"{key:02}": 300 + key for key in range(n)}  # type: ignore[misc]
        for n in (1, 2, 5, 6, 10, 11, 21, 22, 43)
    },
    **{f"{name} of {n}": lambda i, make=make, n=n: make(n, i) for name, make in TEXTS.items() for n in (1, 30, 1000)},  # type: ignore[misc]
    **{
        f"map with keys: {name}": lambda i, make=make: {make(3, i): make(3, i + 1000)}  # type: ignore[misc]
        for name, make in TEXTS.items()
    },
    "capability": lambda i: CapRef("demo.Thing", 1, None, i + 2),
    "capability with a wide name": lambda i: CapRef("x" * 240 + "\U0001f600", 1, None, i + 2),
    "stream": lambda i: StreamRef("out", None, i + 2),
    "answer": lambda i: AnswerRef(i + 2, ("a", 0, 300)),
    "answer at wide steps": lambda i: AnswerRef(i + 2, ("x" * 100 + "\U0001f600", "ab") * 5),
    "answer at many steps": lambda i: AnswerRef(i + 2, tuple(f"{step:02}" for step in range(60))),
}


def decoded(values: list[Any]) -> tuple[list[Any], int]:
    """A frame of items as it arrives, and its charge."""
    frame, _ = CODEC.decode(CODEC.encode([7, 1, values]))
    return frame, CODEC.charge


@pytest.mark.parametrize("kind", PLAIN)
def test_the_charge_covers_what_is_decoded(kind: str) -> None:
    """P-LIMIT-3: also when the text was encoded again, for which Python keeps the bytes as well."""
    frame, charge = decoded([PLAIN[kind](i) for i in range(MANY)])
    assert size_of(frame) <= charge, (size_of(frame), charge)
    CODEC.encode(frame)
    assert size_of(frame) <= charge, (size_of(frame), charge)


@pytest.mark.parametrize("kind", PLAIN)
def test_a_caller_never_counts_less_than_the_callee(kind: str) -> None:
    """P-LIMIT-3: one has the values, the other the frame. More is counted only for text that Python keeps encoded."""
    values = [PLAIN[kind](i) for i in range(MANY)]
    payload = CODEC.encode([7, 1, values])
    CODEC.decode(payload)
    count, _, charge = measured([7, 1, values])
    assert count == CODEC.values + 1, "the frame itself is counted too"
    references = [value for value in values if isinstance(value, CapRef | AnswerRef | StreamRef)]
    ours = len(payload) + charge - BYTES_PER_VALUE + charge_of_references(references)
    assert CODEC.charge <= ours <= CODEC.charge + len(payload)


@pytest.mark.parametrize("text", [TEXTS["ascii"], TEXTS["one latin"], TEXTS["one chinese"], TEXTS["one emoji"]])
def test_long_text_is_charged_little_more_than_it_takes(text: Callable[[int, int], str]) -> None:
    """P-LIMIT-3: an honest peer is not charged for the worst that there could be."""
    frame, charge = decoded([text(100_000, 0)])
    CODEC.encode(frame)
    assert charge <= size_of(frame) + 1000


LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-(2**64), 2**64 - 1), st.floats(), st.binary(), st.text())
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(), inner, max_size=8), max_leaves=60
)


@given(VALUES)
def test_the_charge_covers_whatever_comes(value: Any) -> None:
    """P-LIMIT-3: any mixture of them; a frame of its own has its share of what Python takes for one."""
    frame, charge = decoded([value])
    assert size_of(frame) <= charge + 100
    count, _, beside = measured(frame)
    assert count == CODEC.values + 1 and len(CODEC.encode(frame)) + beside - BYTES_PER_VALUE >= charge


def test_references_are_charged_for_what_they_become() -> None:
    """P-LIMIT-3: each by its kind, wherever it stands."""
    _, plain = decoded([1, 1, 1])
    for value, more in [
        (CapRef("a", 1, None, 2), BYTES_PER_CAP),
        (StreamRef("in", None, 2), BYTES_PER_STREAM),
        (AnswerRef(2, ("a", 7)), BYTES_PER_CAP + 2 * BYTES_PER_VALUE),
    ]:
        length = len(CODEC.encode([1, 1, value])) - len(CODEC.encode([1, 1, 1]))
        assert decoded([1, 1, value])[1] == plain + length + more


@dataclass
class Options:
    """Almost nothing has to come for one of these."""

    a: int = 0
    b: str = "b"
    c: list[int] = field(default_factory=list[int])
    d: dict[str, int] = field(default_factory=dict[str, int])
    e: set[int] = field(default_factory=set[int])
    f: float | None = None
    g: int = 0
    h: int = 0


@dataclass(slots=True)
class Slotted:
    """The same without a dict."""

    a: int = 0
    b: list[int] = field(default_factory=list[int])
    c: int = 0
    d: int = 0
    e: int = 0
    f: int = 0


@dataclass(frozen=True)
class Point:
    """An item of sets."""

    x: int = 0
    y: int = 0
    z: int = 0


@dataclass
class Required:
    """All of it must come."""

    x: int
    y: str
    z: float


class Record(msgspec.Struct):
    """msgspec's own."""

    a: int = 0
    b: list[int] = msgspec.field(default_factory=list[int])
    c: dict[str, int] = msgspec.field(default_factory=dict[str, int])


class Row(msgspec.Struct, array_like=True):
    """The same as an array."""

    a: int = 0
    b: list[int] = msgspec.field(default_factory=list[int])
    c: int = 0


class Wide(NamedTuple):
    """An array of at most twelve."""

    a: int = 0
    b: int = 0
    c: int = 0
    d: int = 0
    e: int = 0
    f: int = 0
    g: int = 0
    h: int = 0
    i: int = 0
    j: int = 0
    k: int = 0
    l: int = 0  # noqa: E741


class Entry(TypedDict, total=False):
    """A map."""

    a: int
    b: str


def _uuid(i: int) -> str:
    return str(uuid.UUID(int=2**100 + i))


def _stamp(i: int) -> str:
    return f"2020-01-01T00:00:{i % 60:02}+{i // 60 % 24:02}:01"


TYPES: dict[str, tuple[Any, Callable[[int], Any]]] = {
    "any": (Any, lambda i: [i, {}, "a"]),
    "list": (list[list[int]], lambda i: [[]]),
    "tuple": (tuple[int, int], lambda i: [300 + i, 600 + i]),
    "decimal": (Decimal, lambda i: str(i)),
    "decimal of int": (Decimal, lambda i: i % 200),
    "uuid": (uuid.UUID, _uuid),
    "uuid of bytes": (uuid.UUID, lambda i: i.to_bytes(16)),
    "datetime": (dt.datetime, _stamp),
    "time": (dt.time, lambda i: _stamp(i)[11:]),
    "date": (dt.date, lambda i: f"20{i % 90 + 10}-01-{i % 28 + 1:02}"),
    "timedelta": (dt.timedelta, lambda i: f"P{i}D"),
    "bytearray": (bytearray, lambda i: b"a"),
    "memoryview": (memoryview, lambda i: b"a"),
    "map of int": (dict[int, int], lambda i: {"300": 1}),
    "map of uuid": (dict[uuid.UUID, None], lambda i: {_uuid(i): None}),
    "map of date": (dict[dt.date, int], lambda i: {"2020-01-01": 1}),
    **{f"set of {n}": (set[int], lambda i, n=n: [300 + k for k in range(n)]) for n in (0, 1, 4, 5, 6, 19, 77)},  # type: ignore[misc]
    **{f"frozenset of {n}": (frozenset[int], lambda i, n=n: list(range(n))) for n in (0, 5, 19)},  # type: ignore[misc]
    **{f"set of {n} decimals": (set[Decimal], lambda i, n=n: [str(k) for k in range(n)]) for n in (1, 5, 19)},  # type: ignore[misc]
    **{f"set of {n} uuids": (set[uuid.UUID], lambda i, n=n: [_uuid(k) for k in range(n)]) for n in (1, 5, 19)},  # type: ignore[misc]
    **{f"set of {n} times": (set[dt.datetime], lambda i, n=n: [_stamp(k) for k in range(n)]) for n in (1, 5, 19)},  # type: ignore[misc]
    "set of pairs": (set[tuple[int, int]], lambda i: [[k, 300 + k] for k in range(5)]),
    "set of sets": (set[frozenset[int]], lambda i: [[k] for k in range(5)]),
    "set of points": (set[Point], lambda i: [{"x": 300 + k} for k in range(5)]),
    "sets in maps": (dict[str, set[float]], lambda i: {"k": [k + 0.5 for k in range(5)]}),
    "options": (Options, lambda i: {}),
    "options of a map": (dict[str, Options], lambda i: {"k": {}}),
    "slotted": (Slotted, lambda i: {}),
    "required": (Required, lambda i: {"x": 300, "y": "ab", "z": 0.5}),
    "record": (Record, lambda i: {}),
    "row": (Row, lambda i: []),
    "wide": (Wide, lambda i: []),
    **{
        f"{n} fields": (make_dataclass(f"Fields{n}", [(f"f{k}", int, 0) for k in range(n)]), lambda i: {})
        for n in (1, 3, 9, 20, 31, 60)
    },
    **{
        f"{n} slots": (make_dataclass(f"Slots{n}", [(f"f{k}", int, 0) for k in range(n)], slots=True), lambda i: {})
        for n in (1, 3, 9, 20, 31, 60)
    },
    "entry": (Entry, lambda i: {}),
    "optional options": (list[Options | None], lambda i: [{}, None]),
}


@pytest.mark.parametrize("kind", TYPES)
def test_the_charge_and_the_growth_cover_what_is_converted(kind: str) -> None:
    """P-LIMIT-3: what a handler is given, whatever its annotations make of what came."""
    hint, make = TYPES[kind]
    annotation = read_annotation(hint, "here")
    frame, charge = decoded([make(i) for i in range(MANY)])
    items = ItemConversion(annotation).many(frame[2])
    for item in items:
        if hasattr(item, "__dict__"):
            vars(item)
    covered = charge + annotation.growth * CODEC.values
    assert size_of(items) <= covered, (size_of(items) / CODEC.values, charge / CODEC.values, annotation.growth)


@pytest.mark.parametrize("kind", ["any", "list", "tuple", "date", "timedelta", "required", "entry"])
def test_most_types_do_not_grow(kind: str) -> None:
    """P-LIMIT-3: for these nothing is done."""
    assert read_annotation(TYPES[kind][0], "here").growth == 0


def test_what_a_stream_carries_grows_by_itself() -> None:
    """P-STREAM: when it is read, not when the stream is opened."""
    from collections.abc import AsyncIterable

    annotation = read_annotation(AsyncIterable[set[int]], "here")
    assert annotation.growth == 0 and annotation.item is not None and annotation.item.growth > 0
