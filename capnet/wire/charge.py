"""What a frame takes up in memory: its charge (P-LIMIT-3).

Caller and callee count it for themselves and must come to the same, so it can be told from what travels alone: the
length of the frame, a share for every value, another for every reference, and what text takes beyond its bytes. That
last part is large where a peer likes: every character of a text takes as much as its widest, so one emoji makes four
bytes of each letter.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from capnet.limits import BYTES_PER_VALUE
from capnet.native import compiled

from .references import CapRef, Reference, StreamRef, kind_of

__all__ = ["BYTES_PER_CAP", "BYTES_PER_STREAM", "HEAD", "charge_of_references", "measured", "width"]

BYTES_PER_CAP: Final = 500
"""What is kept for a reference beside its bytes and its share as a value: an entry in a table, and what it becomes."""
BYTES_PER_STREAM: Final = 4000
"""The same for a stream, which has queues, and may end with a short error."""

HEAD: Final = "éé".__sizeof__() - 3 - 16
"""Bytes of a text that is not ASCII before its first character, but for 16: it may be two pieces, each rounded up."""
_NUMBERS: Final = frozenset((int, float, bool, type(None)))


def width(text: str) -> int:
    """What a text that is not ASCII takes beyond its bytes: 16, and its characters and one more, as wide as the widest.

    Those are one, two or four bytes. A text that was encoded keeps its bytes as well, which are counted here once more,
    so who has sent it counts a little more than who receives it. Those of a text that has come are in the length of its
    frame, and Python has not made them yet.
    """
    return text.__sizeof__() - HEAD  # as `sys.getsizeof`, in half of the time


def charge_of_references(references: Iterable[Reference]) -> int:
    """What references take up beside their bytes and their share as values."""
    charge = 0
    for reference in references:
        if isinstance(reference, StreamRef):
            charge += BYTES_PER_STREAM
            continue
        charge += BYTES_PER_CAP
        if isinstance(reference, CapRef):
            if not reference.interface.isascii():
                charge += width(reference.interface)
        else:
            for step in reference.path:
                charge += BYTES_PER_VALUE
                if type(step) is str and not step.isascii():
                    charge += width(step)
    return charge


@compiled
def measured(value: Any) -> tuple[int, int, int]:
    """How many values stand in plain data, keys and itself included; the length of its text and byte strings; and what
    it takes up beside the bytes it has on the wire. References are left out of that: see `charge_of_references`.
    """
    count = length = wide = 0
    containers: list[Iterable[Any]] = [(value,)]
    while containers:
        for item in containers.pop():
            count += 1
            kind = kind_of(item)
            if kind is str:
                length += len(item)
                if not item.isascii():
                    wide += width(item)
            elif kind in _NUMBERS:
                pass
            elif kind is bytes:
                length += len(item)
            elif kind is dict:
                if item:
                    count += len(item)
                    for key in item:
                        length += len(key)
                        if not key.isascii():
                            wide += width(key)
                    containers.append(item.values())
            elif (kind is list or kind is tuple) and item:
                containers.append(item)
    return count, length, BYTES_PER_VALUE * count + wide
