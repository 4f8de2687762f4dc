"""Random CBOR that knows the structure: mostly well-formed, often with one thing wrong, sometimes changed at random.

Byte for byte random input is refused at its second head; this reaches the rules behind.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from capnet.wire.references import TAG_ANSWER, TAG_CAP, TAG_STREAM

__all__ = ["Generator", "head"]

_UINT, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG = range(7)
_WIDTHS: Final = ((24, 1), (25, 2), (26, 4), (27, 8))
_NUMBERS: Final = (0, 1, 2, 23, 24, 255, 256, 65535, 65536, 2**31, 2**32 - 1, 2**32, 2**53 - 1, 2**53, 2**63, 2**64 - 1)
_TEXTS: Final = (b"", b"a", b"in", b"out", b"b", b"test.Thing", "é€🦊".encode(), b"keep")
_NO_UTF8: Final = (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"a\x80")
_TAGS: Final = (0, 1, 2, 3, 4, 5, 24, 25, 28, 29, 30, 35, 36, 37, 256, 258, 52410, 52414, 55799, 2**32, 2**64 - 1)
_LEAVES: Final = (
    b"\xf4", b"\xf5", b"\xf6", b"\xf9\x3c\x00", b"\xf9\x7e\x00", b"\xfa\x7f\x80\x00\x00", b"\xfb\xff\xf0" + bytes(6),
)  # fmt: skip
_SIMPLE: Final = (b"\xf7", b"\xe0", b"\xf3", b"\xf8\x20", b"\xf8\xff", b"\xf8\x14", b"\xff", b"\xfc", b"\xfd", b"\xfe")


def head(major: int, value: int, width: int = 0) -> bytes:
    """The head of an item; `width` is the number of bytes its argument takes if that is more than needed."""
    if value < 24 and not width:
        return bytes((major << 5 | value,))
    info, width = next((info, size) for info, size in _WIDTHS if size >= width and value < 1 << 8 * size)
    return bytes((major << 5 | info,)) + value.to_bytes(width)


class Generator:
    """Makes inputs, the same for the same source of chance.

    Args:
        random: where chance comes from.
        faults: how often one thing is wrong, per value.
    """

    def __init__(self, random: Random, faults: float = 0.02) -> None:
        self._random = random
        self._faults = faults
        self._kinds: tuple[Callable[[int], bytes], ...] = (
            self._number, self._text, self._leaf, self._array, self._map, self._array, self._map, self._reference,
            self._bytes, self._number, self._text, self._leaf,
        )  # fmt: skip

    def frame(self) -> bytes:
        """One input."""
        random = self._random
        depth = random.choice((2, 3, 5, 9, 12))
        if random.random() < 0.95:
            count = random.randrange(1, 9)
            data = self._head(_ARRAY, count) + b"".join([self.value(depth - 1) for _ in range(count)])
        else:
            data = self.value(depth)
        return self._changed(data) if random.random() < 0.4 else data

    def value(self, depth: int) -> bytes:
        """One value, with at most so many containers in each other."""
        random = self._random
        if random.random() < self._faults:
            return self._wrong(depth)
        kinds = self._kinds
        return kinds[int(random.random() * len(kinds))](depth)

    def _head(self, major: int, value: int) -> bytes:
        return head(major, value, 0 if self._random.random() < 0.95 else self._random.choice((1, 2, 4, 8)))

    def _number(self, depth: int) -> bytes:
        value = self._random.choice(_NUMBERS) if self._random.random() < 0.3 else int(self._random.random() * 24)
        return self._head(int(self._random.random() * 2), value)

    def _text(self, depth: int) -> bytes:
        text = self._random.choice(_TEXTS)
        return self._head(_TEXT, len(text)) + text

    def _bytes(self, depth: int) -> bytes:
        value = self._random.randbytes(int(self._random.random() * 6))
        return self._head(_BYTES, len(value)) + value

    def _leaf(self, depth: int) -> bytes:
        return self._random.choice(_LEAVES)

    def _count(self) -> int:
        return int(self._random.random() * 5) if self._random.random() < 0.98 else self._random.randint(20, 40)

    def _array(self, depth: int) -> bytes:
        count = self._count() if depth > 0 else 0
        return self._head(_ARRAY, count) + b"".join([self.value(depth - 1) for _ in range(count)])

    def _map(self, depth: int) -> bytes:
        count = self._count() if depth > 0 else 0
        pairs: list[bytes] = []
        for number in range(count):
            if self._random.random() < 0.97:
                key = b"k%d" % number
                pairs.append(head(_TEXT, len(key)) + key)
            else:
                pairs.append(self.value(1))
            pairs.append(self.value(depth - 1))
        return self._head(_MAP, count) + b"".join(pairs)

    def _reference(self, depth: int) -> bytes:
        match self._random.randrange(3):
            case 0:
                content = head(_ARRAY, 3) + self._number(0) + self._text(0) + self._number(0)
                tag = TAG_CAP
            case 1:
                content, tag = head(_ARRAY, 2) + self._number(0) + self._text(0), TAG_ANSWER
            case _:
                content, tag = (
                    head(_ARRAY, 2) + self._number(0) + self._random.choice((b"\x62in", b"\x63out")),
                    TAG_STREAM,
                )
        return self._head(_TAG, tag) + content

    def _wrong(self, depth: int) -> bytes:
        random = self._random
        match random.randrange(9):
            case 0:
                return random.choice(_SIMPLE)
            case 1:
                return head(_TAG, random.choice(_TAGS)) + self.value(depth - 1)
            case 2:  # a reference with something else under it
                return head(_TAG, random.choice((TAG_CAP, TAG_ANSWER, TAG_STREAM))) + self.value(depth - 1)
            case 3:
                text = random.choice(_NO_UTF8)
                return head(_TEXT, len(text)) + text
            case 4:  # a length with nothing like it behind
                return head(random.randrange(2, 6), random.choice(_NUMBERS))
            case 5:  # indefinite
                return bytes((random.randrange(2, 6) << 5 | 31,)) + self.value(depth - 1) + b"\xff"
            case 6:
                return bytes((random.randrange(8) << 5 | random.randrange(28, 32),))
            case 7:  # a key that stands twice
                return b"\xa2\x61a" + self.value(depth - 1) + b"\x61a" + self.value(depth - 1)
            case _:
                return bytes((0x81,)) * random.randrange(2, 14) + self.value(0)

    def _changed(self, data: bytes) -> bytes:
        random = self._random
        changed = bytearray(data)
        for _ in range(random.randrange(1, 4)):
            at = random.randrange(len(changed) + 1)
            match random.randrange(6):
                case 0:
                    del changed[at:]
                case 1:
                    changed[at:at] = random.randbytes(1)
                case 2:
                    del changed[at : at + random.randrange(1, 4)]
                case 3:
                    changed[at : at + 1] = random.randbytes(1)
                case 4:
                    start = random.randrange(len(changed) + 1)
                    changed[at:at] = changed[start : start + random.randrange(12)]
                case _:
                    changed += self.value(1)
        return bytes(changed)
