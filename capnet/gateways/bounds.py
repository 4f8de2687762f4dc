"""What one client may have, and all clients of one principal together: foreign protocols bound nothing themselves."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Bounds", "Share"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Bounds of one session, and of all sessions that one principal has at a gateway.

    What is called is bounded by `capnet.Limits` besides, as for every peer.

    Attributes:
        max_message: bytes of a message that is taken; a longer one is passed over, and refused.
        max_depth: nesting of a message that is taken.
        max_values: values in a message that is taken, keys not counted.
        max_batch: requests, notifications and answers in a batch that is taken.
        max_calls: requests and notifications of the client that are worked on at a time; more are refused.
        max_pending: bytes that all of these take up, nearly; a message that is one too many is refused.
        max_asked: requests of ours that the client has not answered; more fail here.
        max_output: bytes that are to be sent and that the client has not taken; nothing is read from it above a
            sixteenth of that, and above all of it the session ends.
        write_timeout: seconds in which the client takes a message that it is sent; then the session ends.
        max_handles: capabilities and streams that the client has handles of; the one that was not used for longest goes
            first.
        max_sessions: sessions of one principal at a gateway; more are turned away.
        max_shared_calls: requests and notifications that are worked on at a time in all sessions of one principal.
        max_shared_pending: bytes that they take up, nearly; the same as `max_pending` for all of them.
        max_shared_output: bytes that all sessions of one principal have not taken; the one to be sent more ends.
    """

    max_message: int = 4 * 1024 * 1024
    max_depth: int = 64
    max_values: int = 40_000
    max_batch: int = 100
    max_calls: int = 64
    max_pending: int = 12 * 1024 * 1024
    max_asked: int = 256
    max_output: int = 16 * 1024 * 1024
    write_timeout: float = 60.0
    max_handles: int = 1000
    max_sessions: int = 64
    max_shared_calls: int = 256
    max_shared_pending: int = 64 * 1024 * 1024
    max_shared_output: int = 64 * 1024 * 1024


class Share:
    """What all sessions of one principal have at the moment.

    Attributes:
        sessions: how many there are.
        calls: requests and notifications that are worked on.
        pending: bytes that these take up.
        output: bytes that were not taken.
    """

    __slots__ = ("calls", "output", "pending", "sessions")

    def __init__(self) -> None:
        self.sessions = 0
        self.calls = 0
        self.pending = 0
        self.output = 0
