"""A session: two streams of bytes in messages of a broker, which may lose some, and bounds nothing for a slow receiver.

Knows no broker and no loop. A message is a letter, a number of four bytes, and what belongs to the letter:

    d   bytes of the stream
    c   eight bytes: how much of the stream has been taken since the beginning, so that more may be sent
    e   the end, once all is sent that was queued
    a   the end at once

Numbers count the messages of one side from 0. One that is not the next says that the broker has lost some: that ends
the session, for what was in them is not sent again. How much one side may send ahead is its *window*, which the other
has announced; a message takes its length and `HEAVY` of it, so that a flood of short ones is bounded as well.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from capnet.errors import Unavailable

__all__ = ["HEAD", "HEAVY", "Session"]

HEAD: Final = 5
"""Bytes of a message before what it carries."""
HEAVY: Final = 256
"""Bytes that a message takes of the window beside those that it carries."""
_PIECE: Final = 64 * 1024
"""Bytes of the stream in one message, where the broker takes as many."""
_TURN: Final = 1 << 32
_DATA, _CREDIT, _END, _ABORT = b"d", b"c", b"e", b"a"


class Session:
    """One side of it.

    Args:
        window: bytes that the other side may send ahead.
        largest: bytes that a message of ours may have.
    """

    def __init__(self, window: int, largest: int) -> None:
        self._window = window
        self._piece = min(_PIECE, largest - HEAD)
        self._queue: deque[bytes | memoryview] = deque()
        self.backlog = 0
        """Bytes that are queued."""
        self._room = 0
        """Of the other side's window, from the beginning."""
        self._theirs = 0
        """The other side's window."""
        self._spent = 0
        self._sent = 0
        """Messages."""
        self._came: deque[bytes] = deque()
        self._received = 0
        """Messages."""
        self._arrived = 0
        """Of our window, from the beginning, as are the next two."""
        self._taken = 0
        self._told = 0
        self.ended = False
        """Whether the other side has said its last; what is to be taken then may be less than it had queued."""

    # --- to the other side ---

    def open(self, window: int) -> None:
        """The other side has announced its window: the stream may begin to leave."""
        self._theirs = self._room = window

    def queue(self, chunks: Sequence[bytes]) -> None:
        """Have these leave as soon as they may."""
        self._queue.extend(filter(None, chunks))
        self.backlog += sum(map(len, chunks))

    def messages(self) -> Iterator[bytes]:
        """Those that are to be sent now, each made when it is asked for."""
        if self.owes:
            yield self.credit()
        while self._queue and self._may_send():
            yield self._message(_DATA, *self._pieces())

    def credit(self) -> bytes:
        """What has been taken. To say it once more changes nothing."""
        self._told = self._taken
        return self._message(_CREDIT, self._taken.to_bytes(8, "big"))

    def last(self) -> bytes:
        """The end, when nothing is queued any more."""
        return self._message(_END)

    def abort(self) -> bytes:
        """The end at once."""
        self.drop()
        return self._message(_ABORT)

    def drop(self) -> None:
        """Forget what is queued."""
        self._queue.clear()
        self.backlog = 0

    def _may_send(self) -> bool:
        """A little room is left alone: many short messages cost more than one."""
        room = self._room - self._spent - HEAVY
        return room >= min(self.backlog, self._theirs // 4, self._piece)

    def _pieces(self) -> list[bytes | memoryview]:
        """What the next message carries: whole chunks, unless the first is too long."""
        most = min(self._piece, self._room - self._spent - HEAVY)
        queue = self._queue
        if len(queue[0]) > most:
            view = memoryview(queue[0])
            queue[0] = view[most:]
            pieces: list[bytes | memoryview] = [view[:most]]
            size = most
        else:
            pieces, size = [], 0
            while queue and size + len(queue[0]) <= most:
                size += len(queue[0])
                pieces.append(queue.popleft())
        self.backlog -= size
        self._spent += size + HEAVY
        return pieces

    def _message(self, letter: bytes, *carried: bytes | memoryview) -> bytes:
        head = letter + (self._sent % _TURN).to_bytes(4, "big")
        self._sent += 1
        return b"".join((head, *carried))

    # --- from the other side ---

    def receive(self, message: bytes) -> None:
        """One that has come.

        Raises:
            Unavailable: it is not the next (`lost_message`), breaks the rules (`session`), or ends the session
                (`truncated`).
        """
        letter, number = message[:1], message[1:HEAD]
        if len(message) < HEAD or int.from_bytes(number, "big") != self._received % _TURN:
            raise Unavailable("the broker has lost a message of the peer's", reason="lost_message")
        self._received += 1
        if self.ended:
            raise Unavailable("the peer goes on after its last message", reason="session")
        if letter == _DATA:
            self._arrived += len(message) - HEAD + HEAVY
            if self._arrived - self._taken > self._window:
                raise Unavailable("the peer sends more than its window", reason="session")
            self._came.append(message[HEAD:])
        elif letter == _CREDIT and len(message) == HEAD + 8:
            taken = int.from_bytes(message[HEAD:], "big")
            if not self._room - self._theirs <= taken <= self._spent:
                raise Unavailable("the peer has taken what it was never sent", reason="session")
            self._room = self._theirs + taken
        elif letter == _END:
            self.ended = True
        elif letter == _ABORT:
            raise Unavailable("the peer has cut the connection", reason="truncated")
        else:
            raise Unavailable("the peer speaks another protocol", reason="session")

    def take(self) -> bytes | None:
        """The next bytes of the stream; None when there are none now."""
        if not self._came:
            return None
        data = self._came.popleft()
        self._taken += len(data) + HEAVY
        return data

    @property
    def owes(self) -> bool:
        """Whether the other side is to be told that it may send more."""
        return self._taken - self._told >= self._window // 4
