"""Virtual connections: what is done with the channels that carry them, by us and by the peer (P-VIRT).

A channel carries the bytes of one more connection, which has all that a connection has; nothing of it is known here. So
what comes is kept until it is taken, bounded by the credit that was given for it, and what leaves is cut so that the
frames of this connection find their place between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from capnet.errors import (
    CapnetError,
    FailedPrecondition,
    InvalidArgument,
    ProtocolViolation,
    ResourceExhausted,
    Unavailable,
)
from capnet.limits import bound
from capnet.wire.frames import LONGEST_OPEN, Op, data_head
from capnet.wire.framing import header

from .channels import CHANNEL_WINDOW, Channel
from .conduct import Conduct
from .ending import Ending
from .error_fields import error_fields, read_error
from .events import ChannelChanged, ChannelOpened, LimitReached
from .tables import Tables

__all__ = ["LONGEST_DATA", "Virtual"]

VALUES_LIKE_AN_OPEN: Final = 4096
"""To begin a connection and to end it takes as long as to handle so many values."""
LONGEST_DATA: Final = 32 * 1024
"""Bytes of a virtual connection that leave in one frame; every peer takes it."""

_Frame = list[Any]


class Virtual:
    """The virtual connections inside of one connection."""

    __slots__ = ("_conduct", "_ending", "_tables")

    def __init__(self, tables: Tables, conduct: Conduct, ending: Ending) -> None:
        self._tables = tables
        self._conduct = conduct
        self._ending = ending

    # Intents

    def open(self, metadata: Mapping[str, Any], token: Any) -> Channel:
        """Open one; `ChannelChanged` follows when the peer has accepted or refused it.

        Args:
            metadata: told to the peer.

        Raises:
            FailedPrecondition: `no_virtual_connections`, the peer does not know of them. InvalidArgument: the metadata
            is too long. Unavailable: the connection is closing.
        """
        tables = self._tables
        if not tables.lifecycle.accepts_calls:
            raise tables.lifecycle.error()
        if not tables.channels.agreed:
            raise FailedPrecondition("the peer knows of no virtual connections", reason="no_virtual_connections")
        tables.outbox.put(self._opening(Op.OPEN, tables.channels.next_id, metadata))
        return tables.channels.open(token)

    def acceptance(self, channel: Channel, metadata: Mapping[str, Any]) -> bytes:
        """The frame that accepts one which the peer has opened.

        Args:
            metadata: told to the peer.

        Raises:
            InvalidArgument: the metadata is too long.
        """
        assert channel.id < 0
        return self._opening(Op.ACCEPT, channel.id, metadata)

    def accept(self, channel: Channel, acceptance: bytes) -> None:
        """Take it; from now on both sides may send. It does nothing when the channel is refused, or all is over."""
        assert not channel.accepted
        if self._tables.channels.has(channel):
            self._tables.outbox.put(acceptance)
            channel.accepted = True

    def send(self, channel: Channel, data: bytes) -> None:
        """Send bytes, no more than there is room for and a frame may have."""
        size = len(data)
        assert channel.accepted and channel.open and 0 < size <= min(channel.room, LONGEST_DATA)
        channel.room -= size
        head = data_head(channel.id, size)
        self._tables.outbox.chunks += (header(len(head) + size), head, data)

    def take(self, channel: Channel) -> bytearray:
        """What has come; the peer may send as much again."""
        data = channel.data
        if data:
            channel.data = bytearray()
            self._tables.held_charge.give(len(data))
            if channel.open:
                self._give_credit(channel, len(data))
        return data

    def close(self, channel: Channel, error: CapnetError | None = None) -> None:
        """Say our last word, with a reason if it ends by an error; what has come and was not taken is let go. Once;
        then, or after the close of all, it does nothing. One that was not accepted is refused by this.
        """
        tables = self._tables
        if channel.left or not tables.channels.has(channel):
            return
        self._let_go(channel)
        if channel.id < 0 and not channel.accepted:
            self._refuse(channel.id, error or Unavailable("it was not accepted", reason="refused"))
            channel.heard = True
        else:
            fields = () if error is None else error_fields(tables.outbox, error)
            tables.outbox.send([Op.CLOSE, channel.id, *fields])
        channel.left = True
        self._remove_if_over(channel)

    # What the peer says

    def receive(self, frame: _Frame, size: int) -> None:
        """Act on a frame of so many bytes.

        Raises:
            ProtocolViolation: P-VIRT, or P-ID of the channel that it names.
        """
        if not self._tables.channels.agreed:
            raise ProtocolViolation("P-VIRT-1", "virtual connections, which the hellos do not both name")
        if frame[0] == Op.OPEN:
            self._opened(frame, size)
            return
        channel = self._tables.channels.named(-frame[1])
        if frame[0] == Op.CLOSE:
            self._closed(channel, frame, size)
            return
        if channel is None or channel.heard:
            raise ProtocolViolation("P-VIRT-4", f"more of virtual connection {frame[1]} behind its last word")
        _HANDLERS[frame[0]](self, channel, frame, size)

    def _opened(self, frame: _Frame, size: int) -> None:
        tables, channels, id = self._tables, self._tables.channels, frame[1]
        if id <= channels.last_theirs:
            raise ProtocolViolation("P-ID-1", f"virtual connection {id} after {channels.last_theirs}")
        _check_length(size)
        channels.last_theirs = id
        if not tables.lifecycle.accepts_calls:
            self._refuse(-id, Unavailable("this side is closing", reason="peer_closing", retry="transparent"))
        elif channels.theirs >= channels.limit:
            self._conduct.count_strike("max_virtual_connections")
            most = bound("max_virtual_connections", channels.limit, "receiver")
            self._refuse(
                -id, ResourceExhausted(f"too many virtual connections: {most}", reason="max_virtual_connections")
            )
        else:
            tables.turn.spend(VALUES_LIKE_AN_OPEN)
            channel = channels.opened(id, frame[2])
            channel.said = frame[3] if len(frame) == 4 else {}
            tables.emit(ChannelOpened(channel))
        self._conduct.check_pace()

    def _accepted(self, channel: Channel, frame: _Frame, size: int) -> None:
        _check_length(size)
        if channel.accepted:
            raise ProtocolViolation("P-VIRT-2", f"virtual connection {channel.id} is accepted twice")
        channel.accepted = True
        channel.room = frame[2]
        channel.said = frame[3] if len(frame) == 4 else {}
        self._changed(channel)

    def _rejected(self, channel: Channel, frame: _Frame, size: int) -> None:
        if channel.accepted:
            raise ProtocolViolation("P-VIRT-2", f"virtual connection {channel.id} is refused after it was accepted")
        channel.end(read_error(self._tables.outbox, frame, size))
        channel.left = True
        self._changed(channel)
        self._remove_if_over(channel)

    def _data(self, channel: Channel, frame: _Frame, size: int) -> None:
        data = frame[2]
        self._check_accepted(channel)
        channel.arrived(len(data))
        if channel.left:
            return
        held = self._tables.held_charge
        if not held.take(len(data)):
            crowded = held.crowded(len(data))
            reason = "max_host_charge" if crowded else "max_held_charge"
            self._tables.emit(LimitReached(reason))
            error = ResourceExhausted("no room for what comes on a virtual connection", reason=reason)
            self.close(channel, error)
            channel.error = error
            self._changed(channel)
            return
        channel.data += data
        self._changed(channel)

    def _closed(self, channel: Channel | None, frame: _Frame, size: int) -> None:
        if channel is None or channel.heard:
            self._conduct.count_control("virtual connections that are closed again")
            return
        if channel.id > 0:
            self._check_accepted(channel)
        channel.end(None if len(frame) == 2 else read_error(self._tables.outbox, frame, size))
        self._changed(channel)
        self._remove_if_over(channel)

    def _granted(self, channel: Channel, frame: _Frame, size: int) -> None:
        self._check_accepted(channel)
        channel.grant(frame[2])
        self._changed(channel)

    def _check_accepted(self, channel: Channel) -> None:
        if not channel.accepted:
            raise ProtocolViolation("P-VIRT-2", f"virtual connection {-channel.id} is used before it is accepted")

    def _refuse(self, id: int, error: CapnetError) -> None:
        self._tables.outbox.send([Op.REJECT, id, *error_fields(self._tables.outbox, error)])
        self._conduct.count_late_refusal()

    def _opening(self, op: int, id: int, metadata: Mapping[str, Any]) -> bytes:
        payload = self._tables.codec.encode([op, id, CHANNEL_WINDOW, *([metadata] if metadata else ())])
        if len(payload) > LONGEST_OPEN:
            raise InvalidArgument(f"metadata of {len(payload)} bytes, a virtual connection has {LONGEST_OPEN} of it")
        return payload

    def _give_credit(self, channel: Channel, size: int) -> None:
        channel.owed += size
        if channel.owed * 2 >= CHANNEL_WINDOW:
            self._tables.outbox.send([Op.ROOM, channel.id, channel.owed])
            channel.credit += channel.owed
            channel.owed = 0

    def _let_go(self, channel: Channel) -> None:
        self._tables.held_charge.give(len(channel.data))
        channel.data = bytearray()

    def _changed(self, channel: Channel) -> None:
        if channel.token is not None:
            self._tables.emit(ChannelChanged(channel))

    def _remove_if_over(self, channel: Channel) -> None:
        if channel.left and channel.heard:
            self._tables.channels.remove(channel)
            self._ending.check_drained()


def _check_length(size: int) -> None:
    if size > LONGEST_OPEN:
        raise ProtocolViolation("P-VIRT-1", f"{size} bytes to open a virtual connection, {LONGEST_OPEN} are allowed")


_HANDLERS: Final[dict[int, Callable[[Virtual, Channel, _Frame, int], None]]] = {
    Op.ACCEPT: Virtual._accepted,  # noqa: SLF001 - its own
    Op.REJECT: Virtual._rejected,  # noqa: SLF001
    Op.DATA: Virtual._data,  # noqa: SLF001
    Op.ROOM: Virtual._granted,  # noqa: SLF001
}
