"""The frames: op codes, and the shape that each frame must have (P-OP).

A frame is a list whose first item is its op. `check` lets through exactly the shapes of the table in the wire
reference; what the numbers in it refer to is the engine's to judge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from capnet.errors import ProtocolViolation
from capnet.native import compiled

from .references import MAX_CREDIT, MAX_ID, is_id, is_name, kind_of

__all__ = [
    "CHAIN",
    "HOPS",
    "LONGEST_OPEN",
    "MAX_CONTEXT_KEYS",
    "OPERATION",
    "WINDOW",
    "Op",
    "check",
    "data_head",
    "is_context",
    "items_frame",
]


class Op:
    """Op codes of version 1; those from 64 on are room to grow and are ignored when unknown."""

    HELLO: Final = 0
    GOAWAY: Final = 1
    CALL: Final = 2
    RESULT: Final = 3
    ERROR: Final = 4
    CANCEL: Final = 5
    FINISH: Final = 6
    ITEMS: Final = 7
    CREDIT: Final = 8
    END: Final = 9
    STOP: Final = 10
    DROP: Final = 11
    CAP_REVOKED: Final = 12
    CAP_REPLACED: Final = 13
    PING: Final = 14
    PONG: Final = 15
    ABORT: Final = 16
    OPEN: Final = 20
    ACCEPT: Final = 21
    REJECT: Final = 22
    DATA: Final = 23
    CLOSE: Final = 24
    ROOM: Final = 25


FIRST_IGNORED: Final = 64
MAX_NAME_BYTES: Final = 256
MAX_CONTEXT_KEYS: Final = 16
"""Keys in a call's context beside those of capnet's own, which every program on the way may add (P-CALL-4)."""
MAX_CONTEXT_BYTES: Final = 8192
"""UTF-8 bytes of one value in it: as many as the W3C lets a `baggage` have."""
CHAIN: Final = "capnet.chain"
"""Key in a call's context: the calls on ordered objects that are running and lead to this one, so that one of them that
waits for itself is told so."""
HOPS: Final = "capnet.hops"
"""Key in a call's context: how many programs have passed it on."""
WINDOW: Final = "capnet.window"
"""Key in a call's context: items and bytes that the first credit of the streams in its result is to be at most."""
OPERATION: Final = "capnet.operation"
"""Key in a call's context: its id, by which its answer is kept for a caller that has lost the line."""
_OURS: Final = (CHAIN, HOPS, WINDOW, OPERATION)
LONGEST_OPEN: Final = 4096
"""Longest frame in bytes that opens or accepts a virtual connection (P-VIRT-1)."""
_Frame = list[Any]


@compiled
def check(frame: _Frame) -> bool:
    """Whether the frame is one to act on; False for an unknown op that may be ignored.

    Raises:
        ProtocolViolation: P-OP, an unknown op below 64 or a known one with another shape.
    """
    op = frame[0] if frame else None
    if type(op) is not int:
        raise ProtocolViolation("P-OP", "the op is not an integer")
    shape = _SHAPES.get(op)
    if shape is not None and shape(frame):
        return True
    if shape is None and op >= FIRST_IGNORED:
        return False
    raise ProtocolViolation("P-OP", f"unknown op {op}" if shape is None else f"malformed frame with op {op}")


def items_frame(stream: int, items: Sequence[bytes]) -> bytes:
    """The frame that carries items of a stream, each encoded already."""
    return b"".join((b"\x83", _ITEMS_OP, _integer(stream), _head(_ARRAY, len(items)), *items))


def data_head(channel: int, size: int) -> bytes:
    """The frame that carries `size` bytes of a virtual connection, but for these."""
    return b"".join((b"\x83", _DATA_OP, _integer(channel), _head(_BYTES, size)))


def _integer(value: int) -> bytes:
    return _head(0, value) if value >= 0 else _head(_NEGATIVE, -1 - value)


def _head(major: int, value: int) -> bytes:
    """The head of a CBOR item: major type and argument, in the shortest form."""
    if value < 24:
        return bytes((major | value,))
    info, width = next((info, width) for info, width in _WIDTHS if value < 1 << 8 * width)
    return bytes((major | info,)) + value.to_bytes(width)


_ITEMS_OP: Final = bytes((Op.ITEMS,))
_DATA_OP: Final = bytes((Op.DATA,))
_NEGATIVE: Final = 1 << 5
_BYTES: Final = 2 << 5
_ARRAY: Final = 4 << 5
_WIDTHS: Final = ((24, 1), (25, 2), (26, 4), (27, 8))


def is_context(context: dict[str, Any]) -> bool:
    """Whether `context` may go along with a call: text by text, and no more of it than P-CALL-4 allows."""
    return len(context) <= MAX_CONTEXT_KEYS + sum(key in context for key in _OURS) and all(
        _is_text(key, MAX_NAME_BYTES) and _is_text(value, MAX_CONTEXT_BYTES) for key, value in context.items()
    )


def _is_text(value: object, most: int) -> bool:
    return (
        type(value) is str
        and len(value) <= most
        and (value.isascii() or len(value.encode(errors="surrogatepass")) <= most)
    )


def _number(value: object) -> bool:
    return type(value) is int and 0 <= value < MAX_ID


def _hello(frame: _Frame) -> bool:
    return len(frame) == 4  # the rest is `Hello.from_frame`'s


def _goaway(frame: _Frame) -> bool:
    return (
        len(frame) == 5 and _number(frame[1]) and type(frame[2]) is str and type(frame[3]) is str and _number(frame[4])
    )


def _call(frame: _Frame) -> bool:
    # One expression without calls for the frame that comes most.
    size = len(frame)
    return (
        (size == 5 or (size == 6 and _meta(frame[5])))
        and type(id := frame[1]) is int
        and 0 <= id < MAX_ID
        and (type(target := frame[2]) is int or _path(target))
        and (type(target) is list or 0 <= target < MAX_ID)
        and type(method := frame[3]) is str
        and 0 < len(method) <= MAX_NAME_BYTES
        and method.isprintable()
        and (method.isascii() or is_name(method, MAX_NAME_BYTES))
        and type(frame[4]) is dict
    )


def _path(target: Any) -> bool:
    return (
        _is_list(target)
        and len(target) > 0
        and _number(target[0])
        and all(type(step) in (str, int) for step in target[1:])
    )


def _meta(meta: Any) -> bool:
    if not _is_map(meta):
        return False
    context = meta.get("context", {})
    return (
        _number(meta.get("deadline", 0))
        and type(meta.get("keep", False)) is bool
        and type(meta.get("idempotent", False)) is bool
        and _is_map(context)
        and is_context(context)
    )


def _result(frame: _Frame) -> bool:
    return len(frame) == 3 and type(id := frame[1]) is int and 0 <= id < MAX_ID


def _error(frame: _Frame) -> bool:
    size = len(frame)
    return (
        (size == 4 or (size == 5 and type(frame[4]) is dict))
        and _number(frame[1])
        and type(frame[2]) is str
        and type(frame[3]) is str
    )


def _cancel(frame: _Frame) -> bool:
    return (len(frame) == 2 or (len(frame) == 3 and type(frame[2]) is str)) and _number(frame[1])


def _finish(frame: _Frame) -> bool:
    return len(frame) == 2 and _number(frame[1])


def _items(frame: _Frame) -> bool:
    return len(frame) == 3 and is_id(frame[1]) and frame[1] != 0 and _is_list(frame[2]) and len(frame[2]) > 0


def _credit(frame: _Frame) -> bool:
    return (
        len(frame) == 4
        and is_id(frame[1])
        and _number(frame[2])
        and _number(frame[3])
        and (frame[2] > 0 or frame[3] > 0)
    )


def _end(frame: _Frame) -> bool:
    size = len(frame)
    return (
        (size == 2 or ((size == 4 or (size == 5 and type(frame[4]) is dict)) and _texts(frame[2], frame[3])))
        and is_id(frame[1])
        and frame[1] != 0
    )


def _texts(*values: object) -> bool:
    return all(type(value) is str for value in values)


def _stop(frame: _Frame) -> bool:
    return (len(frame) == 2 or (len(frame) == 3 and type(frame[2]) is str)) and is_id(frame[1]) and frame[1] != 0


def _drop(frame: _Frame) -> bool:
    return (
        len(frame) == 2
        and _is_list(frame[1])
        and all(
            _is_list(pair) and len(pair) == 2 and _number(pair[0]) and _number(pair[1]) and pair[1] > 0
            for pair in frame[1]
        )
    )


def _cap_revoked(frame: _Frame) -> bool:
    return len(frame) == 3 and _ids(frame[1]) and type(frame[2]) is str


def _cap_replaced(frame: _Frame) -> bool:
    return len(frame) == 3 and _ids(frame[1]) and _number(frame[2])


def _ids(value: Any) -> bool:
    # There may be thousands, so they are looked at all at once.
    return _is_list(value) and (not value or ({*map(type, value)} == {int} and min(value) >= 0 and max(value) < MAX_ID))


def _is_list(value: Any) -> bool:
    kind = kind_of(value)
    return kind is list


def _is_map(value: Any) -> bool:
    kind = kind_of(value)
    return kind is dict


def _ping(frame: _Frame) -> bool:
    return len(frame) == 2 and is_id(frame[1])


def _abort(frame: _Frame) -> bool:
    return len(frame) == 3 and type(frame[1]) is str and type(frame[2]) is str


def _open(frame: _Frame) -> bool:
    return _opening(frame) and frame[1] > 0


def _accept(frame: _Frame) -> bool:
    return _opening(frame) and frame[1] < 0


def _opening(frame: _Frame) -> bool:
    size = len(frame)
    return (size == 3 or (size == 4 and _is_map(frame[3]))) and is_id(frame[1]) and _is_window(frame[2])


def _reject(frame: _Frame) -> bool:
    size = len(frame)
    return (
        (size == 4 or (size == 5 and type(frame[4]) is dict))
        and is_id(frame[1])
        and frame[1] < 0
        and _texts(frame[2], frame[3])
    )


def _data(frame: _Frame) -> bool:
    return len(frame) == 3 and is_id(frame[1]) and frame[1] != 0 and type(frame[2]) is bytes and len(frame[2]) > 0


def _room(frame: _Frame) -> bool:
    return len(frame) == 3 and is_id(frame[1]) and frame[1] != 0 and _is_window(frame[2])


def _is_window(value: object) -> bool:
    return type(value) is int and 0 < value <= MAX_CREDIT


_SHAPES: Final[dict[int, Callable[[_Frame], bool]]] = {
    Op.HELLO: _hello,
    Op.GOAWAY: _goaway,
    Op.CALL: _call,
    Op.RESULT: _result,
    Op.ERROR: _error,
    Op.CANCEL: _cancel,
    Op.FINISH: _finish,
    Op.ITEMS: _items,
    Op.CREDIT: _credit,
    Op.END: _end,
    Op.STOP: _stop,
    Op.DROP: _drop,
    Op.CAP_REVOKED: _cap_revoked,
    Op.CAP_REPLACED: _cap_replaced,
    Op.PING: _ping,
    Op.PONG: _ping,
    Op.ABORT: _abort,
    Op.OPEN: _open,
    Op.ACCEPT: _accept,
    Op.REJECT: _reject,
    Op.DATA: _data,
    Op.CLOSE: _end,
    Op.ROOM: _room,
}
