"""Fuzz target: scan and codec, on one frame of any bytes (P-FRAME-1, P-FRAME-4, P-REF, P-OP).

The first byte chooses the bounds, the rest is the frame. Nothing but a violation may come out; the scan, the decoder
with it and the decoder without it agree; what is decoded is encoded and decoded to the same again, with the same
references in the same order, and may be sent on: lowering lets it through as it is.
"""

from __future__ import annotations

from typing import Any, Final, cast

from capnet.errors import ProtocolViolation
from capnet.limits import Limits
from capnet.wire.codec import Codec
from capnet.wire.frames import check
from capnet.wire.references import AnswerRef, CapRef, Reference, StreamRef
from capnet.wire.values import lower
from tests.property.agreement import bare, codecs_agree, judge

__all__ = ["one_input"]

_PROFILES: Final = (
    Limits(),
    Limits(max_depth=8, max_items=256, max_references=8),
    Limits(max_depth=3, max_items=12, max_references=2, max_name_bytes=8),
)
_Decoded = tuple[list[Any], tuple[Reference, ...] | list[Reference]]
_ANOTHER: Final = bytes.fromhex("83 03 01 d9ccbb 83 07 61 61 01")
"""A result with one capability."""


def one_input(data: bytes) -> None:
    """Play one input."""
    number, frame = (data[0] if data else 0) % len(_PROFILES), data[1:]
    limits = _PROFILES[number]
    codec = Codec(limits)
    passed = judge(frame, limits)
    codecs_agree(frame, limits)
    decoded = _decoded(codec, frame)
    assert [found.id for found in codec.decode(_ANOTHER)[1]] == [7], "one frame leaves something to the next"
    if isinstance(decoded, ProtocolViolation):
        assert decoded.clause in ("P-FRAME-1", "P-FRAME-4", "P-REF")
        assert "\n" not in decoded.message and len(decoded.message) < 200
        return
    value, references = decoded
    assert passed or len(frame) <= limits.max_items, "what the scan refuses was decoded"
    assert [id(found) for found in references] == [id(found) for found in _references_in(value)]
    encoded = codec.encode(value)
    again, found = codec.decode(encoded)
    assert bare(again) == bare(value) and list(map(bare, found)) == list(map(bare, references))
    assert codec.encode(again) == encoded
    assert b"".join(codec.encode_pieces(value)) == encoded
    _send_on(value, references)
    assert _clause_of_its_shape(value) in (None, "P-OP")


def _decoded(codec: Codec, frame: bytes) -> _Decoded | ProtocolViolation:
    try:
        return codec.decode(frame)
    except ProtocolViolation as violation:
        return violation


def _clause_of_its_shape(value: list[Any]) -> str | None:
    try:
        check(value)
    except ProtocolViolation as violation:
        return violation.clause
    return None


def _send_on(value: list[Any], references: tuple[Reference, ...] | list[Reference]) -> None:
    """What has come can be sent to somebody who takes a little more: the frame around it counts as well."""
    wide = Limits(max_depth=130, max_items=200_000, max_references=2000)
    lowered, found = lower(value, _nothing_is_rich, wide)
    assert bare(lowered) == bare(value)
    assert [id(reference) for reference in found] == [id(reference) for reference in references]


def _nothing_is_rich(value: object, place: object) -> object:
    raise AssertionError(f"{type(value).__name__} came out of the decoder")


def _references_in(value: Any) -> list[Reference]:
    match value:
        case CapRef() | AnswerRef() | StreamRef():
            return [value]
        case dict():
            return _references_in(list(cast("dict[str, Any]", value).values()))
        case [*items]:
            return [found for item in items for found in _references_in(item)]
        case _:
            return []
