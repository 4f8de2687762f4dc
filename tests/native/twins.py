"""What exists twice, side by side: the code in C and the pure code must make the same of everything (`capnet.native`).

Each function here puts one question to both and says how they answer when they agree.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any, Final

from capnet.errors import CapnetError, ProtocolViolation
from capnet.limits import Limits
from capnet.native import PURE, RUNS
from capnet.wire import framing
from capnet.wire.charge import measured
from capnet.wire.codec import Codec, holds_long
from capnet.wire.frames import Op, check
from capnet.wire.framing import FrameReader, header
from capnet.wire.references import AnswerRef, CapRef, Reference, StreamRef, kind_of
from capnet.wire.values import is_plain

__all__ = ["PROFILES", "RUNS", "Twins", "cut_alike", "exact", "same_check", "same_walks", "shaped"]

PROFILES: Final = (
    Limits(max_depth=8, max_items=256, max_references=8),
    Limits(max_depth=4, max_items=24, max_references=2, max_name_bytes=6),
    Limits(),
    Limits(max_depth=2000),
)
_REFERENCES: Final = (CapRef, AnswerRef, StreamRef)
Said = tuple[str, Any]
"""How it ended, and with what."""


def exact(value: Any) -> Any:
    """A value such that two are equal only if nothing tells them apart: classes, the order of keys, bits of floats."""
    kind = kind_of(value)
    if kind is dict:
        return "dict", [(exact(key), exact(item)) for key, item in value.items()]
    if kind in (list, tuple):
        return kind.__name__, list(map(exact, value))
    if kind is float:
        return "float", struct.pack(">d", value)
    if kind in _REFERENCES:
        return kind.__name__, [(name, exact(getattr(value, name))) for name in kind.__slots__]
    return kind.__name__, value


def _said(ask: Callable[..., Any], *about: Any) -> Said:
    try:
        return "returned", exact(ask(*about))
    except ProtocolViolation as violation:
        return violation.clause, (violation.message, violation.__suppress_context__)
    except CapnetError as error:
        return type(error).__name__, (error.code, error.message, error.__suppress_context__)
    except (UnicodeError, ValueError, TypeError, IndexError, AttributeError, OverflowError) as error:
        return type(error).__name__, str(error)


class Twins:
    """Two codecs with the same bounds."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.native = Codec(limits)
        self.pure: Codec = PURE["Codec"](limits)
        assert type(self.native) is not type(self.pure), "nothing is compared"

    def decode(self, frame: bytes) -> list[Any] | None:
        """What both make of a frame: its value, or None when both refuse it, in the same words."""
        found = [self._decoded(codec, frame) for codec in (self.native, self.pure)]
        assert found[0][0] == found[1][0], (frame.hex(), found)
        return found[0][1]

    def _decoded(self, codec: Codec, frame: bytes) -> tuple[Said, list[Any] | None]:
        kept: list[Any] = []

        def ask() -> Any:
            kept.extend(codec.decode(frame))
            return *kept, codec.values, codec.charge

        said = _said(ask)
        if not kept:
            return said, None
        value: list[Any] = kept[0]
        references: Sequence[Reference] = kept[1]
        assert kind_of(references) is (list if references else tuple)
        assert [id(found) for found in references] == [id(found) for found in _references_in(value)]
        return said, value

    def encode(self, value: Any) -> Said:
        """The bytes that both make of a value, or how both refuse it."""
        found = [_said(codec.encode, value) for codec in (self.native, self.pure)]
        assert found[0] == found[1], (value, found)
        return found[0]

    def round_trip(self, frame: bytes) -> bool:
        """Decode, encode, and walk over what came out. Whether it was a frame."""
        value = self.decode(frame)
        if value is None:
            return False
        self.encode(value)
        same_check(value)
        same_walks(value, self.limits)
        return True


def _references_in(value: Any) -> list[Reference]:
    kind = kind_of(value)
    if kind in _REFERENCES:
        return [value]
    inner: Iterable[Any] = value.values() if kind is dict else value if kind is list else ()
    return [found for item in inner for found in _references_in(item)]


def same_check(frame: Any) -> Said:
    """What both say of the shape of a frame."""
    found = [_said(ask, frame) for ask in (check, PURE["check"])]
    assert found[0] == found[1], (frame, found)
    return found[0]


def same_walks(value: Any, limits: Limits) -> None:
    """All that walks over a value and builds nothing."""
    for around in (1, 2, 3):
        found = [_said(ask, value, limits, around) for ask in (is_plain, PURE["is_plain"])]
        assert found[0] == found[1], (value, around, found)
    found = [_said(ask, value, limits) for ask in (is_plain, PURE["is_plain"])]
    assert found[0] == found[1], (value, found)
    for name, ask in (("measured", measured), ("holds_long", holds_long)):
        if name == "holds_long" and kind_of(value) is not list:
            continue
        found = [_said(one, value) for one in (ask, PURE[name])]
        assert found[0] == found[1], (name, value, found)


_FIELDS: Final[tuple[Any, ...]] = (
    0, 1, 2, 7, -1, -7, True, False, 2**53 - 1, 2**53, -(2**53) + 1, -(2**53), 2**63, 2**64 - 1, -(2**64), 0.0, 1.5,
    None, "", "m", "echo", "x" * 256, "x" * 257, "é", "é" * 128, "é" * 129, "a\nb", "a\x7f", "\ud800", b"", b"m",
    [], [1], [0, "a", 2], [0, True], [-1], [2**53], [[2, 1]], [[2, 1], [3, 0]], [[2, 1], [True, 1]], [[2, 1, 1]],
    [None], {}, {"a": 1}, {"deadline": 5}, {"deadline": -1}, {"deadline": True}, {"keep": True}, {"keep": 1},
    {"idempotent": False}, {"context": {}}, {"context": {"a": "b"}}, {"context": {"é": "ü" * 5000}},
    {"context": {"a": "x" * 8193}}, {"context": {"a" * 257: ""}}, {"context": {f"k{n}": "" for n in range(16)}},
    {"context": {f"k{n}": "" for n in range(17)}},
    {"context": {"capnet.chain": "", "capnet.hops": "", **{f"k{n}": "" for n in range(16)}}}, {"context": []},
    {"context": {"a": 1}}, {"other": object}, {"deadline": 1, "keep": True, "context": {"a": "b"}, "é": 1},
)  # fmt: skip
_LIKELY: Final[dict[int, tuple[Any, ...]]] = {
    Op.GOAWAY: (0, "code", "text", 5),
    Op.CALL: (1, 2, "echo", {}, {"deadline": 5}),
    Op.RESULT: (1, None),
    Op.ERROR: (1, "internal", "text", {}),
    Op.CANCEL: (1, "reason"),
    Op.FINISH: (1,),
    Op.ITEMS: (-3, [1]),
    Op.CREDIT: (3, 1, 0),
    Op.END: (3, "internal", "text", {}),
    Op.STOP: (3, "reason"),
    Op.DROP: ([[2, 1]],),
    Op.CAP_REVOKED: ([2], "reason"),
    Op.CAP_REPLACED: ([2], 1),
    Op.PING: (1,),
    Op.PONG: (1,),
    Op.ABORT: ("P-OP", "text"),
}


def shaped(random: Random) -> list[Any]:
    """Something like a frame: mostly right, often with another field or length."""
    op: Any = random.choice(list(_LIKELY)) if random.random() < 0.95 else random.choice((*_FIELDS, 17, 63, 64, 99))
    fields: list[Any] = list(_LIKELY.get(op, ()) if kind_of(op) is int else ())
    if fields and random.random() < 0.4:
        del fields[random.randrange(len(fields)) :]
    if random.random() < 0.2:
        fields.append(random.choice(_FIELDS))
    if fields and random.random() < 0.6:
        fields[random.randrange(len(fields))] = random.choice(_FIELDS)
    return [op, *fields]


def cut_alike(random: Random) -> None:
    """Both cut one stream, in the same chunks, with a limit that changes and frames that are left for later."""
    seed = random.random()
    found = [_cut(Random(seed), ask) for ask in (None, (PURE["sole"], PURE["cut"]))]
    assert found[0] == found[1], found


def _cut(random: Random, pure: Sequence[Any] | None) -> list[object]:
    sole, cut = framing.sole, framing.cut
    if pure is not None:
        framing.sole, framing.cut = pure
    try:
        return _told(random)
    finally:
        framing.sole, framing.cut = sole, cut


def _told(random: Random) -> list[object]:
    sizes = [random.choice((0, 1, 3, 4, 5, 30, 70_000)) for _ in range(random.randrange(1, 9))]
    stream = b"".join(header(size) + bytes([number]) * size for number, size in enumerate(sizes))
    if random.random() < 0.3:
        stream += random.randbytes(random.randrange(9))
    reader = FrameReader(random.choice((4, 30, 100_000)))
    told: list[object] = []
    while stream:
        size = random.choice((1, 3, 4, 5, 34, 66_000, len(stream)))
        chunk = random.choice((bytes, bytearray, memoryview))(stream[:size])
        stream = stream[size:]
        frames = reader.frames(chunk)
        try:
            for frame in frames:
                told.append((type(frame), len(frame), frame[:1]))
                if random.random() < 0.1:
                    reader.limit = random.choice((4, 30, 100_000))
                if random.random() < 0.1:
                    reader.leave(frames)
                    told.append("left")
                    break
        except ProtocolViolation as violation:
            return [*told, str(violation)]
        told.append((bytes(reader.held), reader.partial))
        if isinstance(chunk, bytearray):
            chunk.clear()  # nobody holds on to it
    return told
