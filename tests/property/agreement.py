"""Two judges of a frame that share no code: the pre-scan, and the decoder with a walk over what it has built.

`judge` says what they disagree on, which must be nothing (P-FRAME-4, R18). The scan leaves three things to the decoder,
and only those: whether text is UTF-8, whether a key stands twice, and what stands under a reference's tag.
"""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from typing import Any, Final, NoReturn, cast

import cbor2

from capnet.errors import ProtocolViolation
from capnet.limits import Limits
from capnet.native import PURE
from capnet.wire.codec import Codec
from capnet.wire.references import TAG_ANSWER, TAG_CAP, TAG_STREAM, AnswerRef, CapRef, StreamRef, kind_of
from capnet.wire.scan import scan

__all__ = ["bare", "codecs_agree", "judge", "scanned"]

TAGS: Final = frozenset((TAG_CAP, TAG_ANSWER, TAG_STREAM))
_PLAIN: Final = frozenset((str, bytes, int, float, bool, type(None)))


class _Tagged:
    """What stands under a tag that is allowed, unchecked."""

    def __init__(self, content: object, _immutable: bool) -> None:
        self.content = content


class _Tags(dict[int, Any]):
    def __missing__(self, tag: int) -> NoReturn:
        raise cbor2.CBORDecodeError(f"tag {tag}")


_TAGS: Final = _Tags(dict.fromkeys(TAGS, _Tagged))


def scanned(frame: bytes, limits: Limits) -> ProtocolViolation | None:
    """What the scan says of a frame; None when it lets it pass."""
    try:
        scan(
            frame,
            max_depth=limits.max_depth,
            max_items=limits.max_items,
            tags=TAGS,
            max_tags=limits.max_references,
        )
    except ProtocolViolation as violation:
        return violation
    return None


def judge(frame: bytes, limits: Limits) -> bool:
    """Whether the scan lets a frame pass.

    Raises:
        AssertionError: the decoder and a walk over its values see it otherwise.
    """
    verdict = scanned(frame, limits)
    strict = _decodes(frame, limits, lenient=False)
    if verdict is None:
        if not strict:
            assert _decodes(frame, limits, lenient=True), f"the scan passes what the decoder refuses: {frame.hex()}"
        return True
    assert not strict, f"the scan refuses what the decoder passes ({verdict}): {frame.hex()}"
    return False


def _decodes(frame: bytes, limits: Limits, *, lenient: bool) -> bool:
    """Whether the safe decoder takes the frame and what it makes of it is within the bounds.

    Args:
        lenient: text that is not UTF-8 and keys that stand twice pass.
    """
    stream = BytesIO(frame)
    decoder = cbor2.CBORDecoder(
        stream,
        max_depth=limits.max_depth,
        allow_indefinite=False,
        allow_duplicate_keys=lenient,
        strict_hashable_types=True,
        semantic_decoders=_TAGS,
        str_errors="replace" if lenient else "strict",
    )
    try:
        value = decoder.decode()
    except cbor2.CBORError:
        return False
    if stream.tell() != len(frame):
        return False  # something stands behind its item
    return _within(value, limits)


def _within(value: Any, limits: Limits) -> bool:
    items = tags = 0
    left = [value]
    while left:
        value = left.pop()
        items += 1
        kind = kind_of(value)
        if kind is dict:
            if any(type(key) is not str for key in value):
                return False
            items += len(value)
            left += value.values()
        elif kind is list or kind is tuple:
            left += value
        elif kind is _Tagged:
            tags += 1
            left.append(value.content)
        elif kind not in _PLAIN:
            return False
    return items <= limits.max_items and tags <= limits.max_references


def codecs_agree(frame: bytes, limits: Limits) -> list[Any] | None:
    """What `Codec.decode` makes of a frame, with a scan before it and without; None when it is refused.

    A frame that is no longer than `max_items` is not scanned: so that bound alone chooses, and the one frame on which
    the two may differ is the one whose every byte is a value.

    Raises:
        AssertionError: the verdicts differ.
    """
    without = _decoded(frame, replace(limits, max_items=len(frame)))
    before = _decoded(frame, replace(limits, max_items=len(frame) - 1))
    if isinstance(before, ProtocolViolation) and before.message.startswith(f"more than {len(frame) - 1} values"):
        return None if isinstance(without, ProtocolViolation) else without
    if isinstance(before, ProtocolViolation):
        assert isinstance(without, ProtocolViolation), f"refused only when scanned ({before}): {frame.hex()}"
        # An item that is no frame at all may break two clauses; which one is named is a matter of order.
        assert without.clause in (before.clause, "P-FRAME-1"), (before, without, frame.hex())
        return None
    assert not isinstance(without, ProtocolViolation), f"refused only when not scanned ({without}): {frame.hex()}"
    assert bare(before) == bare(without)
    return before


def _decoded(frame: bytes, limits: Limits) -> list[Any] | ProtocolViolation:
    codec: Codec = PURE["Codec"](limits)
    try:
        return codec.decode(frame)[0]
    except ProtocolViolation as violation:
        return violation


def bare(value: Any) -> Any:
    """`value` in a form that can be compared: references by what is written of them, numbers with their type."""
    match value:
        case CapRef() | AnswerRef() | StreamRef():
            return value.tag, bare(value.content())
        case dict():
            return {key: bare(item) for key, item in cast("dict[str, Any]", value).items()}
        case [*items]:
            return [bare(item) for item in items]
        case float():
            return "float", value.hex()  # tells -0.0 from 0.0, and nan is itself
        case _:
            return type(value).__name__, value
