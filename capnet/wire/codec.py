"""The codec: one frame to bytes and back, with cbor2 held to the safe subset of P-FRAME-4.

The decoder's options close every hang and blow-up that is known of cbor2 (reliability §5); what it has no option for is
checked here: the number of items (`scan`, for large frames), bytes after the item, simple values and byte-string keys.
The encoder trusts its input: only values that `values.lower` has let through may be encoded.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from os import urandom
from typing import TYPE_CHECKING, Any, Final, NoReturn

from cbor2 import CBORDecodeError, CBOREncoder, CBORError, loads

from capnet.errors import InvalidArgument, ProtocolViolation
from capnet.limits import BYTES_PER_VALUE, Limits
from capnet.native import compiled

from .charge import HEAD, charge_of_references, width
from .references import (
    TAG_ANSWER,
    TAG_CAP,
    TAG_STREAM,
    AnswerRef,
    CapRef,
    Reference,
    StreamRef,
    check_reference,
    kind_of,
)
from .scan import scan, too_many_references

if TYPE_CHECKING:
    # cbor2 imports these in C, where tools that freeze a program do not see it; here they do.
    import decimal as decimal
    import fractions as fractions
    import ipaddress as ipaddress
    import re as re
    import uuid as uuid
    from email import parser as parser
    from email.mime import text as text

__all__ = ["LONG", "SCAN_ABOVE", "Codec", "holds_long"]

SCAN_ABOVE: Final = 16 * 1024
"""Frames longer than this many bytes are scanned before they are decoded; smaller ones cannot grow beyond 2.4 MB."""

LONG: Final = 64 * 1024
"""Bytes from which a byte string may leave as a chunk of its own."""

_FIRST_ITEMS: Final = 8
"""Items of a list that are looked at: those of a list that holds byte strings are much alike."""
_BYTES: Final = 2
"""CBOR's major type of byte strings."""

_REFERENCE_TAGS: Final = frozenset((TAG_CAP, TAG_ANSWER, TAG_STREAM))
_LEAVES: Final = frozenset((bytes, int, float, bool, type(None), CapRef, AnswerRef, StreamRef))
_NONE: Final[tuple[Reference, ...]] = ()

# A frame that is not scanned is decoded as the first of two items; the second is these secret bytes. So bytes after the
# frame's own item show themselves at the price of one concatenation, where asking a decoder for its position costs as
# much as the decoding. The scan sees them itself.
_SEAL: Final = urandom(8)
_OPEN: Final = b"\x82"
_CLOSE: Final = b"\x48" + _SEAL

# Stands for a long byte string while the rest of its frame is encoded, then the encoding is split there.
_MARK: Final = urandom(16)


class _Tags(dict[int, Any]):
    """The tags a decoder may meet. One that is not in the table is refused at its head, before its content is read."""

    def __missing__(self, tag: int) -> NoReturn:
        raise CBORDecodeError(f"tag {tag}")


@compiled
class Codec:
    """Encodes and decodes the frames of one connection.

    Args:
        limits: bounds on depth, items, references and names, both ways.
    """

    __slots__ = ("_encode", "_found", "_limits", "_max_depth", "_scan_above", "_tags", "_wide", "charge", "values")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._max_depth = limits.max_depth + 1  # the seal's array is one more; a scan has counted already
        self._scan_above = min(SCAN_ABOVE, limits.max_items)  # a frame has no more values than bytes
        self._found: list[Reference] = []
        self.values = 0
        """How many values the last frame held, keys included; a reference is one."""
        self.charge = 0
        """What it takes up in memory (P-LIMIT-3)."""
        self._wide = 0  # of it, what text takes beyond its bytes
        self._tags = _Tags({tag: self._reader(tag) for tag in _REFERENCE_TAGS})
        self._encode = CBOREncoder(BytesIO(), default=_encode_reference).encode_to_bytes

    def encode(self, frame: Any) -> bytes:
        """The bytes of `frame`, or of a value in one, without the length before it.

        Raises:
            InvalidArgument: a text holds a lone surrogate.
        """
        try:
            return self._encode(frame)
        except UnicodeEncodeError as error:
            raise InvalidArgument(f"text cannot travel: {error.reason}") from None

    def encode_pieces(self, frame: list[Any]) -> list[bytes]:
        """What `encode` gives, cut: every byte string of `LONG` bytes or more is a piece, and not a copy.

        Frames without one take almost twice as long this way: ask `holds_long` first.

        Raises:
            InvalidArgument: a text holds a lone surrogate.
        """
        long: list[bytes] = []

        def cut_out(encoder: CBOREncoder, value: bytes) -> None:
            if len(value) < LONG:
                encoder.encode_bytes(value)
            else:
                encoder.encode_length(_BYTES, len(value))
                encoder.write(_MARK)
                long.append(value)

        encoder = CBOREncoder(BytesIO(), default=_encode_reference, encoders={bytes: cut_out})
        try:
            first, *others = encoder.encode_to_bytes(frame).split(_MARK)
        except UnicodeEncodeError as error:
            raise InvalidArgument(f"text cannot travel: {error.reason}") from None
        pieces = [first]
        for value, rest in zip(long, others, strict=True):
            pieces += (value, rest) if rest else (value,)
        return pieces

    def decode(self, frame: bytes) -> tuple[list[Any], tuple[Reference, ...] | list[Reference]]:
        """The frame that `frame` holds, and the references in it in the order they stand.

        Raises:
            ProtocolViolation: P-FRAME-1, P-FRAME-4 or P-REF; nothing else, whatever the bytes.
        """
        if self._found:
            self._found = []  # of a frame that was refused
        long = len(frame) > self._scan_above
        if long:
            self._scan(frame)  # nothing stands behind its item then: it needs no seal and is not copied
        try:
            value = loads(
                frame if long else _OPEN + frame + _CLOSE,
                max_depth=self._max_depth,
                allow_indefinite=False,
                allow_duplicate_keys=False,
                strict_hashable_types=True,
                semantic_decoders=self._tags,
            )
            if not long:
                value, seal = value
                if seal != _SEAL:
                    raise CBORDecodeError("the seal is broken")
        except CBORError as error:
            raise self._verdict(frame, error) from None
        kind = kind_of(value)
        if kind is not list:
            raise ProtocolViolation("P-FRAME-1", "a frame is an array")
        count = len(value)
        self._wide = 0
        for item in value:  # `_count_plain`, without another step
            kind = kind_of(item)
            if kind is int:
                continue
            if kind is str:
                if not item.isascii():
                    self._wide += width(item)
            elif kind is dict or kind is list:
                count += self._count_plain(item)
            elif kind not in _LEAVES:
                raise ProtocolViolation("P-FRAME-4", "simple value or undefined")
        self.values = count
        self.charge = len(frame) + BYTES_PER_VALUE * count + self._wide
        if not self._found:
            return value, _NONE
        references, self._found = self._found, []
        self.charge += charge_of_references(references)
        if len(references) > self._limits.max_references:
            raise ProtocolViolation("P-FRAME-4", too_many_references(self._limits.max_references))
        return value, references

    def _scan(self, frame: bytes) -> None:
        limits = self._limits
        scan(
            frame,
            max_depth=limits.max_depth,
            max_items=limits.max_items,
            tags=_REFERENCE_TAGS,
            max_tags=limits.max_references,
        )

    def _verdict(self, frame: bytes, error: CBORError) -> ProtocolViolation:
        """What is wrong with a frame that the decoder has refused.

        Its own words go nowhere: they may quote the frame, or the seal where the frame ends too early.
        """
        try:
            self._scan(frame)
        except ProtocolViolation as violation:
            return violation
        cause = error.__cause__
        if isinstance(cause, ProtocolViolation):
            return cause
        return ProtocolViolation("P-FRAME-4", "text that is not UTF-8, or a map key that stands twice")

    def _count_plain(self, container: Any) -> int:
        """How many values stand in a container; what text in it takes beyond its bytes is added up as well.

        Raises:
            ProtocolViolation: P-FRAME-4, what the decoder has no option for: simple values, undefined, keys of bytes.
        """
        count = len(container)
        if kind_of(container) is dict:
            count += count
            for key in container:
                if type(key) is not str:
                    raise ProtocolViolation("P-FRAME-4", "a map key that is not text")
                if not key.isascii():
                    self._wide += width(key)
            container = container.values()
        for item in container:
            kind = kind_of(item)
            if kind is str:
                if not item.isascii():
                    self._wide += item.__sizeof__() - HEAD  # `width`, without another step
            elif kind not in _LEAVES:
                if kind is not dict and kind is not list:
                    raise ProtocolViolation("P-FRAME-4", "simple value or undefined")
                count += self._count_plain(item)
        return count

    def _reader(self, tag: int) -> Callable[[object, bool], Reference]:
        def read(content: object, immutable: bool) -> Reference:
            reference = check_reference(tag, content, self._limits.max_name_bytes)
            self._found.append(reference)
            return reference

        return read


@compiled
def holds_long(frame: list[Any]) -> bool:
    """Whether a frame holds a byte string that is worth cutting out.

    It is looked for where most stand: as an argument, a result, an entry of one, or among the first items of a list.
    Others are found if one of these is there; else they are copied, which is right too. To look everywhere would cost
    small calls more than it saves.
    """
    value = frame[4] if len(frame) > 4 else frame[-1]
    kind = kind_of(value)
    if kind is dict:
        value = value.values()
    elif kind is list:
        value = value[:_FIRST_ITEMS]
    else:
        return kind is bytes and len(value) >= LONG
    for item in value:  # noqa: SIM110 (`any` takes twice as long, for every frame)
        if kind_of(item) is bytes and len(item) >= LONG:
            return True
    return False


def _encode_reference(encoder: CBOREncoder, value: Reference) -> None:
    encoder.encode_semantic(value.tag, value.content())
