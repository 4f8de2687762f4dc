"""`Broadcast`: every item to every subscriber, each at its own pace."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

from anyio.lowlevel import checkpoint

from capnet.contract.copied import copied
from capnet.errors import ResourceExhausted

from .inbox import BufferPolicy, Delivery, check_buffer
from .subscription import Audience, Subscription

__all__ = ["Broadcast"]

T = TypeVar("T")


class Broadcast(Generic[T]):
    """Sends items to many subscribers. Use it from the loop's thread only.

        class FeedService(Feed):
            def __init__(self) -> None:
                self.posts = Broadcast[Post](buffer=100, policy="drop-oldest")

            def follow(self) -> Stream[Post]:
                return self.posts.subscribe()

    Every subscriber has a buffer of its own. When an item comes and the buffer is full, the policy decides:

    - `wait`: `send` waits until there is room;
    - `drop-oldest`: the oldest item in the buffer is dropped;
    - `drop-newest`: the item that comes is dropped;
    - `fail`: this subscriber's stream ends, after what is in its buffer, with `ResourceExhausted` of reason `lagged`.

    As a context manager it closes at the end of the block, also by cancellation, and fails with the error that leaves
    it. When it is collected, the streams end as if it had been closed; subscriptions do not keep it.

    Args:
        buffer: items kept for each subscriber that asks for nothing else, from 1.
        policy: for each subscriber that asks for nothing else.
        window: items that may be under way to a subscriber in another program, beside those in its buffer, from 1; as
            many as its `buffer` when None. Small ones take a message back for each few items, large ones more time
            until the policy takes effect.

    Raises:
        InvalidArgument: `buffer` or `window` is less than 1, or there is no such policy.
    """

    def __init__(self, *, buffer: int = 64, policy: BufferPolicy = "wait", window: int | None = None) -> None:
        check_buffer(buffer, policy, window)
        self._window = window
        self._buffer = buffer
        self._policy: BufferPolicy = policy
        self._audience = Audience[T]()

    @property
    def subscribers(self) -> int:
        """Subscriptions that are open; those that were closed or collected are not."""
        return len(self._audience)

    def subscribe(
        self,
        *,
        buffer: int | None = None,
        policy: BufferPolicy | None = None,
        on_lag: Callable[[int], T] | None = None,
        window: int | None = None,
    ) -> Subscription[T]:
        """A stream of all items from now on, until this broadcast ends. Once it has ended, the stream has too.

        Args:
            buffer: items kept for this subscriber; the broadcast's when None.
            policy: for this subscriber; the broadcast's when None.
            on_lag: makes, from the number of items dropped, an item that stands in the stream in their place. It is
                called when that is read, and takes no room in the buffer. Without it only `lagged` tells.
            window: items under way to this subscriber at most; the broadcast's when None.

        Raises:
            InvalidArgument: `buffer` or `window` is less than 1, or there is no such policy.
        """
        return self._audience.subscribe(
            self._buffer if buffer is None else buffer,
            self._policy if policy is None else policy,
            on_lag,
            window=self._window if window is None else window,
        )

    async def send(self, item: T) -> None:
        """Give an item to everybody who is subscribed, and wait for those of policy `wait` that have no room for it.

        Readers get it as it is now: of what may change, such as a list or a buffer, they get one copy, which is theirs.

        After one turn of the loop all subscribers with room get it, in one step. Each of the others gets it as soon as
        its reader makes room, and nobody else waits for that. It returns when all have it or have left. Several sends
        may wait at once, first come first served: everybody gets the items in the same order, and no item twice.

        Cancelled in its first turn, nobody gets the item. Cancelled later, those that have it keep it and those that
        still lack it never get it: at most once each. An end that comes while it waits comes after the item.

        Raises:
            FailedPrecondition: with reason `closed`, after the end.
        """
        self._audience.check()
        item = copied(item)
        await checkpoint()
        stalled = self._audience.put(item)
        if stalled:
            await Delivery(item, stalled).finish()

    def send_nowait(self, item: T) -> None:
        """Give an item to everybody who is subscribed, now, and as it is now.

        Raises:
            ResourceExhausted: with reason `buffer_full`, a subscriber of policy `wait` has no room; nobody got it.
                FailedPrecondition: with reason `closed`, after the end.
        """
        if self._audience.has_stalled():
            raise ResourceExhausted("a subscriber has no room", reason="buffer_full", hint="await send()")
        self._audience.put(copied(item) if len(self._audience) else item)

    def __capnet_let_in__(self) -> None:
        """From now on there is room for whatever is sent: its source has gone, and what comes still is bounded."""
        self._audience.let_in()

    def close(self) -> None:
        """End all streams, each after the items it has still to read. Idempotent; does not wait for the readers."""
        self._audience.end(None)

    async def aclose(self) -> None:
        """The same as `close`."""
        self.close()

    def fail(self, error: Exception) -> None:
        """Like `close`, with an error; one that is no `CapnetError` tells nothing to a peer but a correlation id."""
        self._audience.end(error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._audience.end(error if isinstance(error, Exception) else None)
