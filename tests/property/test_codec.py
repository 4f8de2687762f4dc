"""Framing, scan, codec and lowering against any bytes and any value (P-FRAME-1, P-FRAME-2, P-FRAME-4, P-REF)."""

from __future__ import annotations

import math
from typing import Any, cast

from hypothesis import example, given
from hypothesis import strategies as st

from capnet.errors import InvalidArgument, ProtocolViolation
from capnet.limits import Limits
from capnet.native import PURE
from capnet.wire.codec import Codec
from capnet.wire.framing import FrameReader, header
from capnet.wire.references import AnswerRef, CapRef, Reference, StreamRef, is_name
from capnet.wire.scan import scan
from capnet.wire.values import Unencodable, lower

LIMITS = Limits(max_depth=8, max_items=256, max_references=8)
"""Small enough that random values run into each of them."""


def cap(id: int, interface: str, version: int) -> Reference:
    """A capability, hosted by either side."""
    return CapRef(interface, version, None, id)


def answer(id: int, path: list[str | int]) -> Reference:
    """A value in the result of a call."""
    return AnswerRef(id, tuple(path))


def stream(id: int, direction: str) -> Reference:
    """A stream that the sender opens."""
    return StreamRef(direction, None, id)


def head(major: int, info: int, argument: bytes) -> bytes:
    """The head of an item, perhaps with more behind it, or less, than `info` says."""
    return bytes([major << 5 | info]) + argument


def named(text: str) -> bool:
    """Whether `text` may name an interface."""
    return is_name(text, 256)


ids = st.integers(1, 2**53 - 1)
steps: st.SearchStrategy[str | int] = st.text(max_size=3) | st.integers(0, 9)
references: st.SearchStrategy[Reference] = st.one_of(
    st.builds(cap, ids | ids.map(int.__neg__), st.text(max_size=20).filter(named), st.integers(0, 2**53 - 1)),
    st.builds(answer, ids, st.lists(steps)),
    st.builds(stream, ids, st.sampled_from(("in", "out"))),
)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**64), 2**64 - 1), st.floats(), st.text(max_size=8), st.binary(max_size=8)
)
plain: st.SearchStrategy[Any] = st.recursive(
    scalars | references,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=5),
    max_leaves=30,
)
anything: st.SearchStrategy[Any] = st.recursive(
    scalars | references | st.integers() | st.text(st.characters(), max_size=3) | st.just(object()),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=2) | st.integers(0, 5) | st.booleans(), inner, max_size=4)
        | st.lists(st.lists(st.lists(inner, max_size=1), max_size=1), max_size=1)
    ),
    max_leaves=60,
)

# Heads of every major type with each length form, cut short or not: far more often well-formed than random bytes are.
heads = st.builds(head, st.integers(0, 7), st.integers(0, 31), st.binary(max_size=8))
tagged = st.sampled_from([b"\xd9\xcc\xbb\x83\x02\x61\x61\x01", b"\xd9\xcc\xbc\x81\x07", b"\xd9\xcc\xbd\x82\x03\x62in"])
random_cbor = st.lists(
    heads | tagged | st.sampled_from([b"\x81", b"\xa1\x61\x61", b"\xf6", b"\x00", b"\x80"]), max_size=20
)


def bare(value: Any) -> Any:
    """`value` in a form that can be compared: references by what is written of them, floats by their bits."""
    match value:
        case CapRef() | AnswerRef() | StreamRef():
            return (value.tag, bare(value.content()))
        case dict():
            return {key: bare(item) for key, item in cast("dict[str, Any]", value).items()}
        case [*items]:
            return [bare(item) for item in items]
        case float():
            return "nan" if math.isnan(value) else (value, math.copysign(1, value))
        case _:
            return (type(value).__name__, value)


def refuse(value: Any, place: object) -> Any:
    """Nothing is rich."""
    raise TypeError(f"{type(value).__name__} does not travel")


def scanned(frame: bytes) -> ProtocolViolation | None:
    """What the scan says of a frame."""
    try:
        scan(
            frame,
            max_depth=LIMITS.max_depth,
            max_items=LIMITS.max_items,
            tags={52411, 52412, 52413},
            max_tags=LIMITS.max_references,
        )
    except ProtocolViolation as violation:
        return violation
    return None


def decoded(codec: Codec, frame: bytes) -> tuple[list[Any], Any] | ProtocolViolation:
    """What decoding makes of a frame."""
    try:
        return codec.decode(frame)
    except ProtocolViolation as violation:
        return violation


def check_agreement(frame: bytes) -> None:
    """The decoder for short frames, which looks itself, and the scan before it for long ones, let the same through."""
    short = PURE["Codec"](LIMITS)
    short._scan_above = len(frame)
    long = PURE["Codec"](LIMITS)
    long._scan_above = -1
    verdict, alone, together = scanned(frame), decoded(short, frame), decoded(long, frame)
    if isinstance(together, ProtocolViolation):
        # Only an item that is no frame at all may break another clause when it is not scanned.
        assert isinstance(alone, ProtocolViolation)
        assert alone.clause == together.clause or alone.clause == "P-FRAME-1"
    else:
        assert not isinstance(alone, ProtocolViolation)
        assert bare(alone[0]) == bare(together[0])
        assert len(alone[1]) == len(together[1])
    if verdict is None and isinstance(together, ProtocolViolation):
        # What the scan leaves to the decoder: text, keys that stand twice, references, and the array around all.
        assert together.clause in {"P-REF", "P-FRAME-1"} or together.message.startswith("text that is not UTF-8")
    if verdict is not None:
        assert isinstance(together, ProtocolViolation)
        assert (together.clause, together.message) == (verdict.clause, verdict.message)


@given(st.lists(st.binary(max_size=40), max_size=8), st.data())
def test_any_chunking_gives_the_same_frames(payloads: list[bytes], data: st.DataObject) -> None:
    """P-FRAME-1: where a transport cuts the stream does not matter."""
    stream = b"".join(header(len(payload)) + payload for payload in payloads)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    reader = FrameReader(64)
    frames = [
        frame
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for frame in reader.frames(stream[start:end])
    ]
    assert frames == payloads
    assert not reader.partial


@given(st.lists(st.binary(max_size=12), max_size=4), st.integers(9, 2**32 - 1), st.data())
def test_any_chunking_finds_the_same_violation(payloads: list[bytes], size: int, data: st.DataObject) -> None:
    """P-FRAME-2: a header over the limit ends the stream, after the same frames, wherever it is cut."""
    good = [payload for payload in payloads if len(payload) <= 8]
    stream = b"".join(header(len(payload)) + payload for payload in good) + header(size)
    cut = data.draw(st.integers(0, len(stream)))
    reader, frames, clause = FrameReader(8), list[bytes](), ""
    try:
        for chunk in (stream[:cut], stream[cut:]):
            frames.extend(reader.frames(chunk))
    except ProtocolViolation as violation:
        clause = violation.clause
    assert clause == "P-FRAME-2"


@given(plain)
def test_values_come_back_the_same(value: Any) -> None:
    """P-FRAME-4, P-REF: every plain value, with its references in order, for values within the bounds."""
    codec = Codec(Limits())
    lowered, sent = lower(value, refuse, Limits())
    frame, arrived = codec.decode(codec.encode([3, 1, lowered]))
    assert bare(frame) == bare([3, 1, value])
    assert [bare(reference) for reference in arrived] == [bare(reference) for reference in sent]


@given(anything)
def test_what_is_lowered_is_never_refused(value: Any) -> None:
    """P-FRAME-4: an honest sender gets a local error where the receiver would see a violation."""
    codec = Codec(LIMITS)
    found: list[Reference] | tuple[Reference, ...]
    try:
        lowered, found = lower(value, refuse, LIMITS)
    except Unencodable:
        return
    try:
        payload = codec.encode([2, 1, 2, "method", lowered, {"deadline": 1}])
    except InvalidArgument:
        assert "\\ud" in ascii(lowered)  # a lone surrogate, all that lowering leaves to the encoder
        return
    frame, arrived = codec.decode(payload)
    assert len(arrived) == len(found)
    assert scanned(payload) is None
    assert frame[0] == 2


@given(st.binary(max_size=64))
@example(b"")
def test_random_bytes_are_refused_by_clause(frame: bytes) -> None:
    """P-FRAME-4: nothing but a violation ever comes out, and both ways of decoding agree."""
    check_agreement(frame)


@given(random_cbor, st.integers(0, 23))
def test_random_cbor_is_judged_alike(items: list[bytes], count: int) -> None:
    """P-FRAME-4: depth, items, tags, keys, heads, ends: the scan and the decoder see the same."""
    check_agreement(bytes([0x80 | min(len(items), count)]) + b"".join(items))


@given(
    plain, st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=3), st.integers(0, 3)
)
def test_mutated_frames_are_judged_alike(value: Any, mutations: list[tuple[int, int]], kind: int) -> None:
    """P-FRAME-4: bytes changed, cut off, put in or taken out of a valid frame."""
    frame = bytearray(Codec(Limits()).encode([3, 1, value]))
    for position, byte in mutations:
        at = position % (len(frame) or 1)
        if kind == 0:
            frame[at : at + 1] = bytes([byte])
        elif kind == 1:
            del frame[at:]
        elif kind == 2:
            frame[at:at] = bytes([byte])
        else:
            del frame[at : at + 1]
    check_agreement(bytes(frame))
