"""The pre-scan: walks the heads of a large frame and builds nothing (P-FRAME-4, reliability §5.3).

cbor2 has no budget for items, so a frame of a megabyte can become a hundred; this walk refuses such a frame before a
single value of it exists. It also sees everything else that P-FRAME-4 forbids.
"""

from __future__ import annotations

from collections.abc import Container

from capnet.errors import ProtocolViolation

__all__ = ["scan", "too_many_references"]

_BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = 2, 3, 4, 5, 6, 7
_SIMPLE_VALUES = frozenset((0xF4, 0xF5, 0xF6))
_FLOAT_BYTES = {0xF9: 2, 0xFA: 4, 0xFB: 8}
_ARGUMENT_BYTES = {24: 1, 25: 2, 26: 4, 27: 8}


def _whole(initial: int) -> int:
    major, info = initial >> 5, initial & 31
    if major == _SIMPLE:
        return 1 + _FLOAT_BYTES.get(initial, 0) if initial in _SIMPLE_VALUES or initial in _FLOAT_BYTES else 0
    if major < _BYTES:
        return 1 + _ARGUMENT_BYTES.get(info, 0) if info < 28 else 0
    return 1 + info if major < _ARRAY and info < 24 else 0


_WHOLE = bytes(map(_whole, range(256)))
"""How long an item is, where its first byte alone says so; else 0, as for what is refused."""
_SHORT_TEXT = range(0x60, 0x78)
_ONE, _KEY = 2, 3


def scan(frame: bytes, *, max_depth: int, max_items: int, tags: Container[int], max_tags: int) -> None:
    """Check the whole of `frame` without decoding it.

    Args:
        max_depth: containers and tags that may be open at once; empty containers open nothing.
        max_items: values in the frame, keys included.
        tags: tag numbers that are allowed; any other is refused at its head.
        max_tags: how many tags there may be.

    Raises:
        ProtocolViolation: P-FRAME-4, or P-FRAME-1 for bytes after the item; nothing else, whatever the bytes.
    """
    position, size = 0, len(frame)
    # How many values of the innermost open container are still to come, doubled, and one more if it is a map. So what
    # comes next is a key when the last two bits are set.
    state = _ONE
    around: list[int] = []
    items = tags_seen = 0
    while True:
        while state < _ONE:
            if not around:
                if position < size:
                    raise ProtocolViolation("P-FRAME-1", f"{size - position} bytes after the frame's item")
                return
            state = around.pop()
        state -= _ONE
        items += 1
        if items > max_items:
            raise _too_many(max_items)
        if position >= size:
            raise _cut_short()
        initial = frame[position]
        is_key = state & _KEY == _KEY
        if (whole := _WHOLE[initial]) and (not is_key or initial in _SHORT_TEXT):
            position += whole  # as most are; what follows says the same of them, and takes twice as long
            if position > size:
                raise _cut_short()
            continue
        position += 1
        major, info = initial >> 5, initial & 31
        if major == _SIMPLE:
            if not whole:
                raise _refused(f"simple value or break 0x{initial:02x}")
            raise _refused("a map key that is not text")
        if info < 24:
            argument = info
        else:
            width = _ARGUMENT_BYTES.get(info)
            if width is None:
                raise _refused("indefinite length or reserved head")
            argument = int.from_bytes(frame[position : position + width])
            position += width
            if position > size:
                raise _cut_short()
        if is_key and major != _TEXT:
            raise _refused("a map key that is not text")
        if major in (_BYTES, _TEXT):
            position += argument
        else:
            if major == _TAG:
                tags_seen += 1
                if argument not in tags or tags_seen > max_tags:
                    raise _refused(f"tag {argument}" if argument not in tags else too_many_references(max_tags))
                count = 1
            else:
                count = argument * 2 if major == _MAP else argument
                if count > max_items - items:
                    raise _too_many(max_items)
            if count:
                if len(around) >= max_depth:
                    raise _refused(f"deeper than {max_depth} (Limits.max_depth of the receiver)")
                around.append(state)
                state = count * _ONE + (major == _MAP)
        if position > size:
            raise _cut_short()


def too_many_references(most: int) -> str:
    """What is said of a frame with more references than are taken."""
    return f"more than {most} references (Limits.max_references of the receiver)"


def _too_many(most: int) -> ProtocolViolation:
    return _refused(f"more than {most} values (Limits.max_items of the receiver)")


def _refused(message: str) -> ProtocolViolation:
    return ProtocolViolation("P-FRAME-4", message)


def _cut_short() -> ProtocolViolation:
    return _refused("the frame ends inside an item")
