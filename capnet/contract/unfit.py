"""Unfit: a value that does not fit, in words that the peer may read.

msgspec repeats what the code of a class says to a value; `judged` tells that from its own words.
"""

from __future__ import annotations

from typing import Final

import msgspec

from capnet.errors import CapnetError

__all__ = ["REFUSED", "Unfit", "judged"]

REFUSED: Final = "Invalid value"
"""All that is said where a class has refused a value."""


class Unfit(TypeError):
    """A value does not fit. The text is ours, and names the place; what the cause says is not for the peer."""

    def __init__(self, text: str, cause: BaseException | None = None) -> None:
        super().__init__(text)
        self.cause = cause
        self.steps: list[str] = []

    def __str__(self) -> str:
        text = str(self.args[0])
        message, found, inner = text.rpartition("`$")
        steps = "".join(reversed(self.steps))
        if not steps:
            return text
        return f"{message}`${steps}{inner}" if found else f"{text} - at `${steps}`"


def judged(error: Exception) -> Exception:
    """What becomes of an error that msgspec has raised; to be asked where msgspec was called.

    An `Unfit` for what it refuses itself, and for what a class refuses with a ValueError or a TypeError, whose text is
    left out: msgspec would repeat it. Errors that are for the caller stay, and so do all that no value is to blame for.
    """
    assert error.__traceback__ is not None
    raised_within = error.__traceback__.tb_next is not None  # by code in Python, which msgspec has called
    cause = None if raised_within else error.__cause__
    if isinstance(cause, Unfit):
        return Unfit(str(error), cause.cause)
    told = error if cause is None else cause
    if isinstance(told, CapnetError):
        return told
    if cause is not None:
        _, found, place = str(error).rpartition(" - at `")
        return Unfit(f"{REFUSED}{found}{place}" if found else REFUSED, cause)
    if raised_within:
        return Unfit(REFUSED, error) if isinstance(error, (ValueError, TypeError, msgspec.ValidationError)) else error
    return Unfit(str(error)) if isinstance(error, (msgspec.ValidationError, TypeError)) else error
