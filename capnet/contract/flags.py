"""Flags: combinations of bits. Python keeps each that it was asked for, and msgspec does not learn of later ones."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from capnet.contract.unfit import Unfit

__all__ = [
    "MAX_FLAGS",
    "MAX_KEY_CHARS",
    "Prepare",
    "bits_of",
    "check_flag",
    "check_flag_keys",
    "make_combinations",
]

MAX_FLAGS: Final = 12
"""Flags in one class, of which all combinations are made at once and stay."""
MAX_KEY_CHARS: Final = 40
"""Characters of a key that is a number: those of an integer of 128 bits. To read a long one takes long."""

Prepare: TypeAlias = Callable[[Any], Any]
"""Gives a value back with parts of it built or in another order; what has another form than declared stays as it is,
for msgspec to refuse."""
_kind: Callable[[Any], Any] = type
"""`type`, by another name: checkers leave the class alone."""


def bits_of(flag: type[enum.Flag]) -> int:
    """All that a class of flags declares."""
    bits = 0
    for member in flag.__members__.values():
        bits |= member.value
    return bits


def make_combinations(flag: type[enum.Flag]) -> None:
    """Have all combinations of flags there before msgspec looks at their class.

    Of those that it does not find then it asks Python each time, which takes a hundred times as long. The class may
    have a `_missing_` of its own; then it is asked.
    """
    by_itself: Any = enum.Flag._missing_
    missing: Any = flag._missing_
    if missing.__func__ is not by_itself.__func__:
        return
    bits = combination = bits_of(flag)
    while combination:
        flag(combination)
        combination = (combination - 1) & bits
    flag(0)


def check_flag_keys(bits: int, values: Prepare, value: Any) -> Any:
    """A map with flags for keys."""
    value = values(value)
    if _kind(value) is dict:
        for key in value:
            if key.isascii() and key.removeprefix("-").isdecimal():
                if len(key) > MAX_KEY_CHARS:
                    raise Unfit("Integer out of range - at `key` in `$`")
                check_flag(bits, int(key))
    return value


def check_flag(bits: int, value: Any) -> Any:
    """A flag has no bits but those that its class declares: Python keeps every combination that it is asked for."""
    if _kind(value) is int and value & ~bits:
        raise Unfit(f"Invalid enum value {value}")
    return value
