"""One immutable `Limits`: every bound that a peer could push against, with its unit and its default.

What a breach does is fixed by the kind of bound (P-ERR-3): a *violation* closes the connection with the clause, a
*limit* fails the one call and counts a strike.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EARLY", "Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one connection. `Limits()` is the untrusted profile, the default everywhere.

    Sizes are bytes, times are seconds. The fields in the first block are announced to the peer in the hello, so that an
    honest one keeps to them and gets a local error where it would break them.
    """

    max_frame: int = 4 * 1024 * 1024
    """Longest frame taken from the peer; a longer one is a violation of P-FRAME-2."""
    max_calls: int = 256
    """Calls of the peer that run at once; more wait (`max_queued_calls`)."""
    max_caps: int = 10_000
    """Capabilities of the peer that we hold at once, and of ours that the peer may hold."""
    max_streams: int = 128
    """Streams that the peer has opened, either way, at once, and that we have opened at the peer."""
    stream_items: int = 512
    """Items the peer may send on a stream ahead of its consumer."""
    stream_bytes: int = 1024 * 1024
    """Bytes the peer may send on a stream ahead of its consumer."""

    max_queued_calls: int = 64
    """Calls of the peer that wait for a slot; more fail `resource_exhausted/max_concurrent_calls`."""
    max_kept_bytes: int = 8 * 1024 * 1024
    """Length of all results that are kept for pipelining (P-CALL-8); one above it is sent and not kept."""
    max_outgoing_calls: int = 1024
    """Calls of ours that wait until the peer has room for them; more fail locally with the same reason."""
    max_depth: int = 64
    """Nesting of one frame, in and out (P-FRAME-4)."""
    max_items: int = 65_536
    """Values in one frame, in and out (P-FRAME-4)."""
    max_references: int = 1024
    """References in one frame, in and out (P-FRAME-4)."""
    max_pending_bootstraps: int = 16
    """Bootstraps of the peer that wait for a policy or a name; more fail `resource_exhausted`."""
    max_name_bytes: int = 256
    """Length of a served name, method name or interface name."""
    max_strikes: int = 100
    """Limit errors within `strike_window` after which the peer has broken P-LIMIT-1."""
    strike_window: float = 10.0
    """Seconds in which strikes are counted."""

    handshake_timeout: float = 5.0
    """Seconds until the peer's hello must be in (P-CONN-3)."""
    partial_frame_timeout: float = 30.0
    """Seconds in which a started frame must be complete (P-FRAME-2)."""
    keepalive: float = 20.0
    """Seconds of silence after which a ping is sent (P-CONN-5); 0 sends none."""
    keepalive_timeout: float = 20.0
    """Seconds without a byte after that ping until the peer counts as dead."""
    policy_timeout: float = 5.0
    """Seconds an admission policy, a guard or a fallback handler may take; past it the answer is no."""
    max_backlog: int = 8 * 1024 * 1024
    """Bytes written but not yet taken by the transport, above which we stop reading from the peer."""
    write_timeout: float = 10.0
    """Seconds the backlog may stay above `max_backlog` until the connection is given up."""

    def __post_init__(self) -> None:
        for name, floor in _FLOORS.items():
            if getattr(self, name) < floor:
                raise ValueError(
                    f"{name} must be at least {floor}: a peer may send that much before it knows our limits"
                )

    @classmethod
    def untrusted(cls) -> Limits:
        """For peers that you did not write: the defaults."""
        return cls()

    @classmethod
    def trusted(cls) -> Limits:
        """For peers that are part of your own program: frames of 64 MiB, 1024 calls."""
        return cls(max_frame=64 * 1024 * 1024, max_calls=1024, max_queued_calls=1024, max_backlog=128 * 1024 * 1024)


_FLOORS = {
    "max_frame": 64 * 1024,
    "max_calls": 16,
    "max_caps": 16,
    "max_streams": 16,
    "stream_items": 1,
    "stream_bytes": 1,
}

EARLY = Limits(max_frame=64 * 1024, max_calls=16, max_caps=16, max_streams=16, stream_items=1, stream_bytes=1)
"""What every peer must accept before its hello is in (P-CONN-2)."""

HANDSHAKE_FRAME = 4096
"""Longest frame taken before the handshake is done, in bytes (P-FRAME-2)."""
