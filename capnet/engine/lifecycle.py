"""The states of a connection and the only moves between them (P-CONN).

    opening ──peer's hello──▶ open ──goaway, either way──▶ draining ──drained, grace over──▶ closed
       └───────────────────────┴──── violation, loss, silence ────────┴───────────────────────▶ closed

Both sides may call in `opening` (within the early limits) and `open`. In `draining` nothing new starts; in `closed`
nothing happens at all. `Lifecycle.move` is the only place that sets the state.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

from capnet.errors import CapnetError, NotRun, Unauthenticated, Unavailable
from capnet.wire.hello import Hello

__all__ = ["CloseCause", "Lifecycle", "State"]


class State(Enum):
    """Where a connection stands."""

    OPENING = "opening"
    OPEN = "open"
    DRAINING = "draining"
    CLOSED = "closed"

    __hash__ = object.__hash__  # Enum hashes its name in Python


_MOVES: Final = {
    State.OPENING: frozenset((State.OPEN, State.DRAINING, State.CLOSED)),
    State.OPEN: frozenset((State.DRAINING, State.CLOSED)),
    State.DRAINING: frozenset((State.CLOSED,)),
    State.CLOSED: frozenset[State](),
}


@dataclass(frozen=True, slots=True)
class CloseCause:
    """Why a connection ended.

    Args:
        kind: `local` (we closed it), `remote` (the peer said goaway), `lost` (the transport ended without one),
            `violation` (a clause was broken, see `clause`), `idle` (the peer fell silent).
        message: for people.
        clause: the clause broken, for a violation.
        by_peer: for a violation, whether it was the peer's; if not, the peer accuses us.
        code: of the goaway, or of the transport's error: `unauthenticated` when one side may not be where it is.
    """

    kind: Literal["local", "remote", "lost", "violation", "idle"]
    message: str = ""
    clause: str | None = None
    by_peer: bool = True
    code: str = Unavailable.code

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.kind, self.clause, self.message)))

    def error(self, *, seen: bool = True) -> CapnetError:
        """What calls that this ended, or that come after, raise.

        Args:
            seen: the peer may have seen the call; if not, it has not run.
        """
        if self.code == Unauthenticated.code:
            return Unauthenticated(f"not admitted ({self})", reason="not_admitted")
        reason = {"local": "peer_closing", "remote": "goaway"}.get(self.kind, "connection_lost")
        text = f"connection closed ({self})"
        if not seen:
            return NotRun(text, reason=reason, retry="transparent")
        return Unavailable(text, reason=reason, retry="transparent" if self.kind == "remote" else None)


class Lifecycle:
    """The state, why it is what it is, and what the peer has said to get there."""

    __slots__ = ("accepts_calls", "cause", "greeted", "peer", "state")

    def __init__(self) -> None:
        self.state: State = State.OPENING
        self.accepts_calls = True
        """Whether new calls may start, in either direction."""
        self.cause: CloseCause | None = None
        self.greeted = False
        """Whether the peer has begun with something that looks like capnet."""
        self.peer: Hello | None = None
        """What the peer said of itself, once the handshake is done."""

    def move(self, state: State, cause: CloseCause | None = None) -> None:
        """Go to `state`. The first cause given stays: it is why the connection ends."""
        assert state in _MOVES[self.state], (self.state, state)
        self.state = state
        self.accepts_calls = state is State.OPEN
        if self.cause is None or (state is State.CLOSED and cause is not None and cause.kind == "violation"):
            self.cause = cause

    @property
    def closed(self) -> bool:
        """Whether it is over."""
        return self.state is State.CLOSED

    def error(self) -> CapnetError:
        """What an intent raises that comes too late, and whatever was in flight at the end fails with."""
        return (self.cause or CloseCause("local")).error()
