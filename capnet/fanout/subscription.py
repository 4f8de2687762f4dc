"""Subscriptions: streams of what is sent from now on, and the audience that all readers of a source are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, Generic, TypeVar

from capnet.contract import Reader
from capnet.errors import CapnetError, FailedPrecondition, elsewhere

from .inbox import BufferPolicy, Inbox, MakeError, check_buffer, here

__all__ = ["Audience", "Subscription"]

T = TypeVar("T")

MAX_CREDIT: Final = 2**31 - 1
"""Items and bytes that may be under way at most; as in `capnet/wire/references.py`, which this room does not know."""


class Audience(Generic[T]):
    """All readers of one source; it ends with the source when that is collected."""

    def __init__(self) -> None:
        self._members: dict[Inbox[T], None] = {}
        self._ended = False
        self._error: MakeError | None = None
        self._owner: tuple[int, int] | None = None
        """Where its readers are; while there are none, anybody may use it."""

    def __len__(self) -> int:
        return len(self._members)

    def __del__(self) -> None:
        # Sends hold the source, so none waits here. Nobody can send any more: readers must not wait for ever.
        for inbox in tuple(self._members):
            inbox.ended = True
            inbox.reader.wake_from_anywhere()
        self._members.clear()

    def subscribe(
        self,
        buffer: int,
        policy: BufferPolicy,
        on_lag: Callable[[int], T] | None = None,
        first: Iterable[T] = (),
        window: int | None = None,
    ) -> Subscription[T]:
        """A new reader, who finds the items of `first` and then all that is put from now on."""
        check_buffer(buffer, policy, window)
        self.check()
        self._owner = here()
        inbox = Inbox(self._members, buffer, policy, on_lag, buffer if window is None else window)
        for item in first:
            inbox.put(item)
        if self._ended:
            inbox.end(self._error)
        else:
            self._members[inbox] = None
        return Subscription(inbox)

    def check(self) -> None:
        """Nothing, where its readers are.

        Raises:
            FailedPrecondition: `another_loop`.
        """
        if self._members and self._owner != here():
            raise elsewhere("broadcast")

    def has_stalled(self) -> bool:
        """Whether a sender would have to wait for somebody."""
        return any(inbox.policy == "wait" and inbox.full for inbox in tuple(self._members))

    def put(self, item: T) -> list[Inbox[T]]:
        """Give everybody the item; those who make its sender wait are returned and do not have it yet.

        Raises:
            FailedPrecondition: with reason `closed`, after the end.
        """
        self.check()
        if self._ended:
            raise FailedPrecondition("nothing can be sent after the end", reason="closed")
        # A copy, because readers may be collected, and so leave, at any step.
        return [inbox for inbox in tuple(self._members) if not inbox.put(item)]

    def let_in(self) -> None:
        """Nobody waits for a reader any more."""
        for inbox in tuple(self._members):
            inbox.let_in()

    def end(self, error: Exception | None) -> None:
        """End all streams, also those to come. The first end counts, later ones do nothing."""
        self.check()
        if not self._ended:
            self._error = None if error is None else _maker(error)
            self._ended = True
            for inbox in tuple(self._members):
                inbox.end(self._error)


def _maker(error: Exception) -> MakeError:
    """Each reader raises the error anew: one that is raised again and again would collect tracebacks."""
    if isinstance(error, CapnetError):
        return partial(CapnetError.again, error)  # as we mean it, and not as its class may
    return partial(Exception.with_traceback, error, error.__traceback__)


class Subscription(Reader[T]):
    """A stream of what is sent from now on: return it from a `@stream` method, or read it with `async for`.

    It leaves at once when it is closed or collected, whether it was read or not; then no `send` waits for it.
    Cancelling the task that reads loses no item. A step that finds an item goes on without a turn of the loop.

    Raises:
        RuntimeError: two tasks read it at once. ResourceExhausted: with reason `lagged`, policy `fail` has ended it.
    """

    __slots__ = ("__weakref__", "_inbox")

    def __init__(self, inbox: Inbox[T]) -> None:
        self._inbox = inbox

    @property
    def lagged(self) -> int:
        """Items dropped because this reader was too slow, since it subscribed."""
        return self._inbox.lagged

    @property
    def __capnet_window__(self) -> tuple[int, int] | None:
        """What waits here is in its buffer; of that no more than a window is taken out before it is read."""
        return min(self._inbox.window, MAX_CREDIT), MAX_CREDIT

    async def __anext__(self) -> T:
        inbox = self._inbox
        if inbox.reader.changed is not None:
            raise RuntimeError("another task reads this subscription: subscribe once for each")
        if not inbox.readable():
            inbox.check()
            await inbox.reader.until(inbox.readable)
        return inbox.take()

    async def aclose(self) -> None:
        """Want no more: what was not read is dropped, and a task that waits for an item sees the end. Idempotent."""
        self._inbox.check()
        self._inbox.leave()
        self._inbox.clear()

    def __del__(self) -> None:
        self._inbox.leave()
