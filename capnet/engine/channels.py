"""Channels: the virtual connections inside of this one, and what may be sent on each (P-VIRT)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from capnet.errors import CapnetError, ProtocolViolation
from capnet.wire.references import MAX_CREDIT

from .ledger import Budget, Ledger

__all__ = ["CHANNEL_WINDOW", "Channel", "Channels"]

CHANNEL_WINDOW: Final = 256 * 1024
"""Bytes that may come on a channel and wait here: as many channels as a peer may open take a part of what may be held
for it, so that none of them stops what it does beside."""


class Channel:
    """One virtual connection, as its parent sees it: bytes, and nothing of what they say.

    Attributes:
        id: positive when it was opened here, negative when the peer has opened it.
        token: the driver's.
        said: what the peer has said of it when it opened or accepted it.
        accepted: both sides may send.
        room: bytes that may be sent now.
        data: what has come and was not taken.
        left: we have said our last word.
        heard: the peer has.
        error: why it ended, if not in order.
    """

    __slots__ = ("accepted", "credit", "data", "error", "heard", "id", "left", "owed", "room", "said", "token")

    def __init__(self, id: int, room: int, token: Any = None) -> None:
        self.id = id
        self.token = token
        self.said: dict[str, Any] = {}
        self.accepted = False
        self.room = room
        self.credit = CHANNEL_WINDOW
        """Bytes that the peer may send yet."""
        self.owed = 0
        """Bytes that were taken, and that it has not been told of."""
        self.data = bytearray()
        self.left = False
        self.heard = False
        self.error: CapnetError | None = None

    @property
    def open(self) -> bool:
        """Whether both sides may go on."""
        return not (self.left or self.heard)

    def end(self, error: CapnetError | None) -> bool:
        """The peer says nothing more; whether that is news."""
        news = not self.heard
        if news:
            self.heard = True
            self.error = self.error or error
        return news

    def arrived(self, size: int) -> None:
        """So many bytes have come.

        Raises:
            ProtocolViolation: P-VIRT-3, more than there was credit for.
        """
        if size > self.credit:
            raise ProtocolViolation(
                "P-VIRT-3", f"{size} bytes on virtual connection {-self.id}, {self.credit} may come"
            )
        self.credit -= size

    def grant(self, size: int) -> None:
        """There is room for more at the peer.

        Raises:
            ProtocolViolation: P-VIRT-3, that is more than there can be.
        """
        if self.room + size > MAX_CREDIT:
            raise ProtocolViolation("P-VIRT-3", f"more than {MAX_CREDIT} of room on a virtual connection")
        self.room += size


class Channels:
    """All of one connection.

    Args:
        limit: how many the peer may have opened at once.
    """

    __slots__ = ("_charge", "_last_ours", "_open", "agreed", "last_theirs", "limit", "theirs")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.agreed = False
        """Whether both sides know of virtual connections."""
        self._open: dict[int, Channel] = {}
        self._last_ours = 0
        self.last_theirs = 0
        """The highest id that the peer has used."""
        self.theirs = 0
        """How many it has opened that have not ended."""
        self._charge: Budget | None = None

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Channel]:
        return iter(self._open.values())

    def charge(self, limit: int, whole: Ledger | None) -> Budget:
        """What the connections inside of this one hold together, counted in the whole as well."""
        if self._charge is None:
            self._charge = Budget(limit, whole)
        return self._charge

    @property
    def next_id(self) -> int:
        """The id of our next one."""
        return self._last_ours + 1

    def has(self, channel: Channel) -> bool:
        """Whether it has not ended."""
        return self._open.get(channel.id) is channel

    def open(self, token: Any) -> Channel:
        """One of ours; the peer has not given any room yet."""
        self._last_ours = id = self.next_id
        channel = self._open[id] = Channel(id, 0, token)
        return channel

    def opened(self, id: int, room: int) -> Channel:
        """One of the peer's."""
        self.theirs += 1
        channel = self._open[-id] = Channel(-id, room)
        return channel

    def named(self, id: int) -> Channel | None:
        """The one that is `id` here; None when it has ended.

        Raises:
            ProtocolViolation: P-ID-4, there never was one.
        """
        if id > self._last_ours or -id > self.last_theirs:
            raise ProtocolViolation("P-ID-4", f"virtual connection {-id}, which was never opened")
        return self._open.get(id)

    def remove(self, channel: Channel) -> None:
        """It has ended."""
        if self._open.pop(channel.id, None) is not None and channel.id < 0:
            self.theirs -= 1

    def clear(self) -> list[Channel]:
        """The connection is over; gives those that were there."""
        channels = list(self._open.values())
        self._open.clear()
        self.theirs = 0
        return channels

    def check_invariants(self) -> None:
        """What holds after every step."""
        assert self.theirs == sum(channel.id < 0 for channel in self) <= self.limit
        for id, channel in self._open.items():
            assert id == channel.id and not (channel.left and channel.heard)
            assert 0 <= channel.room <= MAX_CREDIT
            assert channel.owed >= 0 and channel.credit >= 0
            assert channel.credit + channel.owed + len(channel.data) <= CHANNEL_WINDOW
            assert not (channel.left and channel.data)
