"""What a session of any protocol says is to be done; each has some of its own beside."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Close", "Send"]


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message: one JSON text."""

    text: str


@dataclass(frozen=True, slots=True)
class Close:
    """End the session, after what was to be sent before.

    Attributes:
        why: for the client, as far as its protocol can say that.
    """

    why: str
