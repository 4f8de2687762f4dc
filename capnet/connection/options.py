"""What is said of options where a connection is made: development mode, and words that are no option."""

from __future__ import annotations

import os
from typing import Final

from capnet.errors import InvalidArgument
from capnet.nearest import nearest

__all__ = ["DEVELOPMENT", "in_development", "note_own_option"]

DEVELOPMENT: Final = "CAPNET_DEVELOPMENT"
"""What of the environment turns development mode on where the program says nothing."""
_OF_CONNECT: Final = ["wait", "ready", "name", "limits", "policy", "auth", "record", "record_values", "development"]
"""What is no option of a transport."""


def in_development(said: bool | None) -> bool:
    """Whether it is development mode: as the program says, or the environment where that says nothing."""
    return os.environ.get(DEVELOPMENT, "") not in ("", "0") if said is None else said


def note_own_option(error: InvalidArgument) -> None:
    """An option that the transport has not may be a misspelt one of `connect`: then that is the hint."""
    meant = nearest(str(error.details.get("option")), _OF_CONNECT) if error.reason == "no_option" else None
    if meant is not None and meant.startswith("did you mean"):
        error.__notes__ = [f"hint: {meant}"]
