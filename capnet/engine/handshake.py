"""The handshake: what we say first, and what changes once the peer has introduced itself (P-CONN-1, P-CONN-3)."""

from __future__ import annotations

from capnet.errors import InvalidArgument
from capnet.limits import EARLY, HANDSHAKE_FRAME, FrameBounds, Limits
from capnet.wire.framing import FrameReader
from capnet.wire.hello import VIRTUAL, Hello

from .events import PeerIntroduced
from .held_calls import HeldCalls
from .keepalive import Keepalive
from .lifecycle import State
from .streaming import Streaming
from .tables import Tables
from .timers import Timer

__all__ = ["Handshake"]


class Handshake:
    """Both introductions.

    Args:
        ours: what we say first.
        reader: takes longer frames once the peer has said who it is.
        held: calls that wait for that.
    """

    __slots__ = ("_held", "_keepalive", "_reader", "_streaming", "_tables", "ours")

    def __init__(
        self,
        ours: Hello,
        tables: Tables,
        reader: FrameReader,
        held: HeldCalls,
        streaming: Streaming,
        keepalive: Keepalive,
    ) -> None:
        self.ours = ours
        self._tables = tables
        self._reader = reader
        self._held = held
        self._streaming = streaming
        self._keepalive = keepalive

    def begin(self) -> None:
        """Say who we are, and wait for the peer to do the same.

        Raises:
            InvalidArgument: our hello does not fit into the frame that every peer takes.
        """
        tables = self._tables
        self._keep_to(EARLY)
        payload = tables.codec.encode(self.ours.to_frame())
        if len(payload) > HANDSHAKE_FRAME:
            raise InvalidArgument(f"hello of {len(payload)} bytes, every peer takes {HANDSHAKE_FRAME}")
        tables.outbox.put(payload)
        tables.timers.set(Timer.HANDSHAKE, tables.timers.now + self.ours.limits.handshake_timeout)

    def introduce(self, hello: Hello) -> None:
        """The peer's hello is in: the handshake is done, and what was held for it goes out."""
        version = self.ours.version_with(hello)
        tables = self._tables
        lifecycle = tables.lifecycle
        lifecycle.peer = hello
        tables.channels.agreed = VIRTUAL in self.ours.features and VIRTUAL in hello.features
        self._streaming.widen(hello.limits)
        self._reader.limit = self.ours.limits.max_frame
        self._keep_to(hello.limits)
        tables.timers.clear(Timer.HANDSHAKE)
        self._keepalive.begin()
        if lifecycle.state is State.OPENING:
            lifecycle.move(State.OPEN)
        tables.emit(PeerIntroduced(hello, version))
        self._held.send_held()

    def _keep_to(self, announced: Limits) -> None:
        tables = self._tables
        tables.outbox.bounds = tables.exports.bounds = bounds = FrameBounds(self.ours.limits, announced)
        tables.outbox.limit = bounds.max_frame
        tables.exports.limit = bounds.max_caps
        calls = tables.calls
        calls.one_way_room += announced.max_calls - calls.limit
        calls.limit = announced.max_calls
        calls.max_charge = announced.max_call_charge
