"""One immutable `Limits`: every bound that a peer could push against, with its unit and its default.

What a breach does is fixed by the kind of bound (P-ERR-3): a *violation* closes the connection with the clause, a
*limit* fails the one call and counts a strike.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EARLY", "FrameBounds", "HostLimits", "Limits", "bound"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one connection. `Limits()` is the untrusted profile, the default everywhere.

    Sizes are bytes, times are seconds. The fields in the first block are announced to the peer in the hello, so that an
    honest one keeps to them and gets a local error where it would break them. A *violation* ends the connection; any
    other breach fails one call or stream, or delays what comes next.
    """

    max_frame: int = 4 * 1024 * 1024
    """Longest frame taken from the peer, a longer one is a violation; and sent to it, with a longer one the call or
    result fails `resource_exhausted/max_frame_bytes`."""
    max_calls: int = 256
    """Calls of the peer that run at once; more wait (`max_queued_calls`). As many may be one-way calls,
    and as many results may be kept; more of either are a violation."""
    max_caps: int = 10_000
    """Capabilities of the peer that we hold at once, more are a violation; and of ours that the peer may hold, with
    more the call or result fails `resource_exhausted/max_caps_per_connection`."""
    max_streams: int = 128
    """Streams that the peer has opened, either way, at once, more are a violation; and that we have opened at the
    peer, with more the call or result fails `resource_exhausted/max_streams`."""
    stream_items: int = 512
    """Items the peer may send on a stream ahead of its consumer; more are a violation."""
    stream_bytes: int = 1024 * 1024
    """Bytes the peer may send on a stream ahead of its consumer, and a frame beyond them; more are a violation."""
    max_call_charge: int = 32 * 1024 * 1024
    """Memory that the peer's calls take which wait or run, by their charge. From there on an honest peer
    holds calls back, and others fail `resource_exhausted/max_call_charge`."""
    max_depth: int = 64
    """Nesting of a frame taken from the peer, deeper ones are a violation; and of one sent to it, with more a call
    fails `invalid_argument/max_depth`, a result `failed_precondition/max_depth`."""
    max_items: int = 65_536
    """Values in a frame taken from the peer, more are a violation; and in one sent to it, with more a call fails
    `invalid_argument/max_items`, a result `failed_precondition/max_items`."""
    max_references: int = 1024
    """References in a frame taken from the peer, more are a violation; and in one sent to it, with more a call fails
    `invalid_argument/max_references`, a result `failed_precondition/max_references`."""

    max_queued_calls: int = 64
    """Calls of the peer that wait for a slot; more fail `resource_exhausted/max_concurrent_calls`."""
    max_kept_bytes: int = 8 * 1024 * 1024
    """Length of all results that are kept for pipelining; one above it is sent and not kept, and calls on
    it fail `resource_exhausted/max_kept_bytes`."""
    max_held_charge: int = 16 * 1024 * 1024
    """Memory that items and ends of streams take which nobody has read, and results that are kept, counted like
    `max_call_charge`. Over it the stream ends, or the result is not kept, with `resource_exhausted/max_held_charge`."""
    max_outgoing_calls: int = 1024
    """Calls of ours that wait until the peer has room for them, and as many for each other peer for which they are
    made; more fail here, also with `resource_exhausted/max_concurrent_calls`."""
    max_pending_bootstraps: int = 16
    """Bootstraps of the peer that wait for a policy or a name, and descriptions of all names that it waits for; more
    fail `resource_exhausted/max_pending_bootstraps`."""
    max_virtual_connections: int = 16
    """Virtual connections that the peer has opened at once, those among them that are not accepted yet; more are
    refused with `resource_exhausted/max_virtual_connections`."""
    max_virtual_charge: int = 16 * 1024 * 1024
    """Memory that what comes on all virtual connections together takes, also those of ours, counted like
    `max_call_charge`: their calls, unread items and kept results. Over it these fail with
    `resource_exhausted/max_host_charge`."""
    max_name_bytes: int = 256
    """Bytes of a name that the peer asks for, a longer one is an `invalid_argument`, and of the name of an interface,
    a longer one is a violation."""
    max_strikes: int = 100
    """Limit errors within `strike_window` after which the next is a violation."""
    strike_window: float = 10.0
    """Seconds in which strikes are counted; more than `max_strikes` in them are a violation."""
    control_burst: int = 1000
    """Cancels, pings, ignored frames and refused calls that the peer may send at once; more are a violation."""
    control_rate: int = 200
    """How many of these it may send in a second after that; more are a violation."""
    call_burst: int = 10_000
    """Calls of the peer that are taken at once, where `call_rate` is set; after these nothing is read for a while."""
    call_rate: int = 0
    """Calls of the peer that are taken in a second after that; for the others nothing is read. 0 is no bound."""
    frames_per_turn: int = 64
    """Frames of one peer that are acted on in a turn of the loop, fewer of those that hold many values or lead to much;
    until its next turn nothing is read from it."""
    work_burst: int = 1_000_000
    """Values that the peer may have handled at once beside those in its frames: copies out of kept results, and what
    else a small frame leads to, in terms of values; after these nothing is read for a while."""
    work_rate: int = 1_000_000
    """How many of these it may have handled in a second after that; for others nothing is read for a while."""

    handshake_timeout: float = 5.0
    """Seconds until the peer's hello must be in; then we close."""
    partial_frame_timeout: float = 30.0
    """Seconds in which a started frame must be complete; if it is not, that is a violation."""
    keepalive: float = 20.0
    """Seconds of silence after which a ping is sent, and without an answer we close; 0 sends none."""
    keepalive_timeout: float = 20.0
    """Seconds without a byte after that ping until the peer counts as dead and we close."""
    policy_timeout: float = 5.0
    """Seconds an admission policy, a guard or a fallback handler may take; past it the answer is no,
    `permission_denied/policy_timeout`, or for a fallback handler that it declines."""
    nested_timeout: float = 5.0
    """Seconds that a call waits for room at the peer which is made while another one is handled, or for the next item
    of a stream, when nothing that it waits for ends and as much of ours waits here; then it fails
    `resource_exhausted/max_calls`."""
    max_backlog: int = 8 * 1024 * 1024
    """Bytes written but not yet taken by the transport; while there are more, nothing is read from the peer."""
    write_timeout: float = 10.0
    """Seconds the backlog may stay above `max_backlog`; then we close."""

    def __post_init__(self) -> None:
        for name, floor in _FLOORS.items():
            if (value := getattr(self, name)) < floor:
                raise ValueError(
                    f"{name} must be at least {floor}, not {value}: "
                    "a peer may send that much before it knows our limits"
                )
        if self.stream_bytes > self.max_held_charge:
            raise ValueError(
                f"max_held_charge must be at least stream_bytes ({self.stream_bytes}), not {self.max_held_charge}: "
                "an honest peer may fill its window"
            )

    @classmethod
    def untrusted(cls) -> Limits:
        """For peers that you did not write: the defaults."""
        return cls()

    @classmethod
    def trusted(cls) -> Limits:
        """For peers that are part of your own program: frames of 64 MiB, 1024 calls."""
        return cls(
            max_frame=64 * 1024 * 1024,
            max_calls=1024,
            max_queued_calls=1024,
            max_call_charge=512 * 1024 * 1024,
            max_held_charge=256 * 1024 * 1024,
            max_virtual_connections=128,
            max_virtual_charge=512 * 1024 * 1024,
            work_burst=64_000_000,
            work_rate=64_000_000,
            max_backlog=128 * 1024 * 1024,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLimits:
    """Bounds of one host, over all its peers together."""

    max_connections: int = 1024
    """Connections at once. A peer that comes to a listener above that is turned away: we close before a byte of it is
    read."""
    max_strangers: int = 256
    """Connections among them whose peer has not sent its hello; for one above that we close the oldest of them.
    So many more may wait to be let in while those who come have had their share of the host's time; one above that is
    turned away."""
    max_charge: int = 224 * 1024 * 1024
    """Memory that calls, unread items, kept results, frames on their way in, answers that have left and are not read,
    and events that wait for observers take for all peers, counted like `Limits.max_call_charge`. Over it calls fail and
    streams end with `resource_exhausted/max_host_charge`, and we close the peer that holds most."""


_FLOORS = {
    "max_frame": 64 * 1024,
    "max_calls": 16,
    "max_caps": 16,
    "max_streams": 16,
    "stream_items": 1,
    "stream_bytes": 1,
    "max_call_charge": 1024 * 1024,
    "control_burst": 1000,
    "control_rate": 200,
    "frames_per_turn": 2,
    "work_burst": 65_536,
    "work_rate": 65_536,
}

EARLY = Limits(
    max_frame=64 * 1024,
    max_calls=16,
    max_caps=16,
    max_streams=16,
    stream_items=1,
    stream_bytes=1,
    max_call_charge=1024 * 1024,
    max_held_charge=2**53,  # nobody's business: only who announces a window must have room for it
)
"""What every peer must accept before its hello is in (P-CONN-2)."""


def bound(field: str, value: object, *sides: str, otherwise: str = "") -> str:
    """What the text of an error says of a limit: its value, and where it is to be changed. Either side may read it.

    Args:
        field: of `Limits`, or one of another class with the name of that before it.
        value: what it is now, with its unit if that is a time.
        sides: whose it is, such as `receiver`; more than one where both would have to be changed.
        otherwise: what can be done instead.
    """
    name = field if "." in field else f"Limits.{field}"
    owners = " and ".join(f"the {side}" for side in sides)
    return f"{name} of {owners} is {value}: raise it there{f', or {otherwise}' if otherwise else ''}"


class FrameBounds:
    """What frames that we send keep to: of each bound the less of what the two sides have.

    Args:
        ours: our limits.
        theirs: what the peer has announced; before its hello is in, what every peer must take.
    """

    __slots__ = ("_ours", "_theirs", "max_caps", "max_depth", "max_frame", "max_items", "max_references")

    def __init__(self, ours: Limits, theirs: Limits) -> None:
        self._ours, self._theirs = ours, theirs
        self.max_frame = min(ours.max_frame, theirs.max_frame)
        self.max_caps = min(ours.max_caps, theirs.max_caps)
        self.max_depth = min(ours.max_depth, theirs.max_depth)
        self.max_items = min(ours.max_items, theirs.max_items)
        self.max_references = min(ours.max_references, theirs.max_references)

    def said(self, field: str, otherwise: str = "") -> str:
        """What is said of a bound that was met; see `bound`."""
        ours, theirs = getattr(self._ours, field), getattr(self._theirs, field)
        if theirs <= ours and self._theirs is EARLY:
            return f"before the receiver has said hello, Limits.{field} counts as {theirs}"
        sides = [side for side, value in (("sender", ours), ("receiver", theirs)) if value == min(ours, theirs)]
        return bound(field, min(ours, theirs), *sides, otherwise=otherwise)


NOT_YET_KNOWN = FrameBounds(EARLY, EARLY)
"""What frames keep to that leave before anything is known."""

HONEST_BURST, HONEST_RATE = 500, 150
"""What a side allows itself of the least `control_burst` and `control_rate` that a peer may have."""

LOWEST_INTEGER, HIGHEST_INTEGER = -(2**64), 2**64
"""Integers from the first, and below the second, travel (P-FRAME-4)."""

BYTES_PER_VALUE = 120
"""What a value takes in memory beside its bytes on the wire, at most, on average over a frame (P-LIMIT-3)."""

LARGEST_ONE_WAY = 512
"""Longest frame in bytes that a one-way call has; a longer one is made as an ordinary call, whose answer is awaited by
nobody: then caller and callee agree on what it takes up (P-CALL-7)."""

HANDSHAKE_FRAME = 4096
"""Longest frame taken before the handshake is done, in bytes (P-FRAME-2)."""
