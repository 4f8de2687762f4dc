"""What waits for each reader of a source, and who waits for room there.

    Broadcast, State ──▶ Audience ──▶ Inbox ◀── Subscription (the user's; nothing else holds it)
                                        ▲
                              Delivery: one `send` that waits for room in some inboxes

An inbox never refers to its subscription, nor to the broadcast: so both can be collected while the other lives.
Finalisers run in any thread and between any two steps. They only take an inbox out of the audience, set `ended` and
wake; who was woken looks for itself what has changed.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from os import getpid
from threading import get_ident
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar, get_args

from anyio import Event
from anyio.lowlevel import current_token

from capnet.errors import InvalidArgument, ResourceExhausted, elsewhere

__all__ = ["BufferPolicy", "Delivery", "Inbox", "MakeError", "Wait", "check_buffer", "here"]

T = TypeVar("T")

BufferPolicy: TypeAlias = Literal["wait", "drop-oldest", "drop-newest", "fail"]
"""What happens when an item comes and the buffer of a reader is full; see `Broadcast`."""

POLICIES: Final = get_args(BufferPolicy)
MakeError: TypeAlias = Callable[[], Exception]


def here() -> tuple[int, int]:
    """The running thread, of the running process: in a forked child the thread seems to be the same."""
    return get_ident(), getpid()


def check_buffer(buffer: int, policy: BufferPolicy, window: int | None = None) -> None:
    """Raise `InvalidArgument` unless this is a buffer that holds something, a policy there is, and a window."""
    if buffer < 1:
        raise InvalidArgument(f"buffer is a number of items from 1, got {buffer!r}")
    if window is not None and window < 1:
        raise InvalidArgument(f"window is a number of items from 1, got {window!r}")
    if policy not in POLICIES:
        raise InvalidArgument(f"there is no policy {policy!r}", hint=f"one of {', '.join(POLICIES)}")


class Wait:
    """One task's wait until something holds, which it looks at again whenever it is woken.

    Attributes:
        changed: wakes the task; None while none waits.
    """

    __slots__ = ("_loop", "changed")

    def __init__(self) -> None:
        self.changed: Event | None = None
        self._loop: Any = None

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait. Being cancelled changes nothing but that."""
        if self._loop is None:
            self._loop = current_token().native_token
        try:
            while not holds():
                self.changed = Event()
                if holds():  # a finaliser in another thread came between
                    return
                await self.changed.wait()
        finally:
            self.changed = None

    def wake(self) -> None:
        """Let the task look again."""
        if self.changed is not None:
            self.changed.set()

    def wake_from_anywhere(self) -> None:
        """The same from a finaliser: in any thread, and in the middle of anything, the loop's own work included."""
        changed, loop = self.changed, self._loop
        if changed is not None:
            # By anyio's definition its native token is trio's token or asyncio's loop.
            soon = getattr(loop, "run_sync_soon", None) or loop.call_soon_threadsafe
            with suppress(RuntimeError):  # the loop has ended, and the task with it
                soon(changed.set)


class Inbox(Generic[T]):
    """What waits for one reader.

    Attributes:
        capacity: items that find room.
        policy: what happens to one that does not.
        ended: nothing more comes; what is in the buffer can still be read.
        lagged: items that were dropped.
        window: items that may be under way to a reader elsewhere.
        owner: where its reader is.
        reader: the wait of the task that reads.
        sends: those who wait for room, first come first. There are none unless the buffer is full.
    """

    __slots__ = (
        "_audience",
        "_buffer",
        "_error",
        "_gaps",
        "_on_lag",
        "_taken",
        "capacity",
        "ended",
        "lagged",
        "owner",
        "policy",
        "reader",
        "sends",
        "window",
    )

    def __init__(
        self,
        audience: dict[Inbox[T], None],
        buffer: int,
        policy: BufferPolicy,
        on_lag: Callable[[int], T] | None,
        window: int,
    ) -> None:
        self.window = window
        self._audience = audience
        self.capacity = buffer
        self.policy = policy
        self._on_lag = on_lag
        self._buffer: deque[T] = deque()
        self._taken = 0
        self._gaps: deque[tuple[int, int]] = deque()
        """Where items were dropped: how many are taken before that, and how many are lost there."""
        self.ended = False
        self._error: MakeError | None = None
        self.lagged = 0
        self.owner = here()
        self.reader = Wait()
        self.sends: deque[Delivery[T]] = deque()

    @property
    def full(self) -> bool:
        """Whether the next item finds no room."""
        return len(self._buffer) >= self.capacity

    def put(self, item: T) -> bool:
        """Take an item in, as the policy says. False: nothing was done, the sender has to wait."""
        if len(self._buffer) < self.capacity:
            self._buffer.append(item)
            # As `wake`, without the call: each item takes this step once a reader.
            if self.reader.changed is not None:
                self.reader.changed.set()
            return True
        if self.policy == "wait":
            return False
        self._overflow(item)
        return True

    def _overflow(self, item: T) -> None:
        self.lagged += 1
        if self.policy == "drop-oldest":
            self._buffer.popleft()
            self._buffer.append(item)
            self._note_gap(self._taken, joined=bool(self._gaps))  # all that is lost is lost at the front, in one gap
        elif self.policy == "drop-newest":
            place = self._taken + len(self._buffer)
            self._note_gap(place, joined=bool(self._gaps) and self._gaps[-1][0] == place)
        else:
            self.end(partial(ResourceExhausted, "the reader has fallen behind", reason="lagged"))

    def _note_gap(self, place: int, joined: bool) -> None:
        if self._on_lag is not None:
            before = self._gaps.pop()[1] if joined else 0
            self._gaps.append((place, before + 1))

    def check(self) -> None:
        """Nothing, where its reader is.

        Raises:
            FailedPrecondition: `another_loop`.
        """
        if self.owner != here():
            raise elsewhere("stream")

    def readable(self) -> bool:
        """Whether `take` has something to say."""
        return bool(self._buffer or self._gaps or self.ended)

    def take(self) -> T:
        """What comes next: an item, what stands for dropped ones, or the end, which is told once with its error."""
        if self._gaps and self._gaps[0][0] == self._taken and self._on_lag is not None:
            return self._on_lag(self._gaps.popleft()[1])
        if self._buffer:
            item = self._buffer.popleft()
            self._taken += 1
            if self.sends:
                self._admit()
            return item
        make, self._error = self._error, None
        raise StopAsyncIteration if make is None else make()

    def _admit(self) -> None:
        delivery = self.sends.popleft()
        self._buffer.append(delivery.item)
        delivery.arrived(self)

    def let_in(self) -> None:
        """Whatever comes finds room, also what has waited for it."""
        self.capacity = sys.maxsize
        while self.sends:
            self._admit()

    def end(self, error: MakeError | None) -> None:
        """Nothing more comes. Items whose sends wait were sent before the end, so they are read before it."""
        self._audience.pop(self, None)
        while self.sends:
            self._admit()
        self._error = error
        self.ended = True
        self.reader.wake()

    def leave(self) -> None:
        """Nobody reads any more; whoever waits for room need not. For finalisers too."""
        self._audience.pop(self, None)
        self.ended = True
        for delivery in tuple(self.sends):
            delivery.wait.wake_from_anywhere()

    def clear(self) -> None:
        """Forget what was not read, and let a task that reads see the end."""
        self._buffer.clear()
        self._gaps.clear()
        self._error = None
        self.reader.wake()


class Delivery(Generic[T]):
    """An item on its way into inboxes that had no room for it.

    Attributes:
        item: what is sent.
        wait: the wait of the sender.
    """

    __slots__ = ("_missing", "item", "wait")

    def __init__(self, item: T, inboxes: Iterable[Inbox[T]]) -> None:
        self.item = item
        self.wait = Wait()
        self._missing = set(inboxes)

    async def finish(self) -> None:
        """Wait until all have it or have left. Cancelled, it is withdrawn from those that still lack it."""
        for inbox in self._missing:
            inbox.sends.append(self)
        try:
            await self.wait.until(self._is_over)
        finally:
            self._withdraw(self._missing)

    def _is_over(self) -> bool:
        left = {inbox for inbox in self._missing if inbox.ended}
        self._withdraw(left)
        self._missing -= left
        return not self._missing

    def _withdraw(self, inboxes: Iterable[Inbox[T]]) -> None:
        for inbox in inboxes:
            inbox.sends.remove(self)

    def arrived(self, inbox: Inbox[T]) -> None:
        """`inbox` has taken the item in."""
        self._missing.discard(inbox)
        if not self._missing:
            self.wait.wake()
