"""What one client may have, and all clients of one principal together: foreign protocols bound nothing themselves."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Bounds", "Share"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Bounds of one session, and of all sessions that one principal has at a gateway.

    What is called is bounded by `capnet.Limits` besides, as for every peer.
    """

    max_message: int = 4 * 1024 * 1024
    """Bytes of a message that is taken; a longer one is passed over, and refused."""
    max_depth: int = 64
    """Nesting of a message that is taken."""
    max_values: int = 65_536
    """Values in a message that is taken, keys not counted."""
    max_batch: int = 100
    """Requests, notifications and answers in a batch that is taken."""
    max_calls: int = 64
    """Requests and notifications of the client that are worked on at a time; more are refused."""
    max_asked: int = 256
    """Requests of ours that the client has not answered; more fail here."""
    max_output: int = 16 * 1024 * 1024
    """Bytes that are to be sent and that the client has not taken; nothing is read from it above a sixteenth of that,
    and above all of it the session ends."""
    write_timeout: float = 60.0
    """Seconds in which the client takes a message that it is sent; then the session ends."""
    max_handles: int = 1000
    """Capabilities and streams that the client has handles of; the one that was not used for longest goes first."""
    max_sessions: int = 64
    """Sessions of one principal at a gateway; more are turned away."""
    max_shared_calls: int = 256
    """Requests and notifications that are worked on at a time in all sessions of one principal."""
    max_shared_output: int = 64 * 1024 * 1024
    """Bytes that all sessions of one principal have not taken."""


class Share:
    """What all sessions of one principal have at the moment.

    Attributes:
        sessions: how many there are.
        calls: requests and notifications that are worked on.
        output: bytes that were not taken.
    """

    __slots__ = ("calls", "output", "sessions")

    def __init__(self) -> None:
        self.sessions = 0
        self.calls = 0
        self.output = 0
