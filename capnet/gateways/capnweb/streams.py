"""Pipes: what the client writes and the host reads. A write is answered when it was taken, which is all the client goes
by when it decides how much it sends."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from capnet import CallCancelled, CapnetError, FailedPrecondition, ResourceExhausted, StreamStopped

from .values import size_of

if TYPE_CHECKING:
    from .bounds import Bounds
    from .cells import Cell

__all__ = ["Pipe", "Readable"]


class Pipe:
    """What was written and is not read yet.

    Args:
        counts: what is in all pipes of the session.

    Attributes:
        taken: somebody has the readable end.
        on_news: called when there is something to read, or the end.
    """

    def __init__(self, counts: _Counts) -> None:
        counts.streams += 1
        self.taken = False
        self.on_news: Callable[[], None] = _nothing
        self._counts = counts
        self._items: deque[tuple[Any, int, Cell]] = deque()
        self._end: Cell | None = None
        self._error: CapnetError | None = None
        self._over = False
        """No more is written."""
        self._stopped = False
        """No more is read."""

    def write(self, item: Any, answer: Cell) -> None:
        """Take an item; `answer` is settled when it was read."""
        if self._refuses(answer):
            return
        size = size_of(item)
        self._counts.stream_bytes += size
        self._items.append((item, size, answer))
        if self._counts.stream_bytes > self._counts.bounds.max_stream_bytes:
            self.abort(ResourceExhausted("too much was written that nobody has read", reason="max_stream_bytes"))
            return
        self.on_news()

    def close(self, answer: Cell) -> None:
        """It is the end; `answer` is settled when that was read."""
        if not self._refuses(answer):
            self._end = answer
            self._finish()

    def abort(self, error: CapnetError) -> None:
        """It is broken off; what was not read is lost."""
        if not self._over:
            self._error = error
            self._drop(error)
            self._finish()

    def break_off(self) -> None:
        """The client has given it back; unless it was closed, that breaks it off."""
        self.abort(CallCancelled("the client has broken off the stream", reason="abandoned"))
        if not self.taken:
            self.stop()

    def read(self) -> tuple[Any] | None:
        """The next item, in a tuple; None where there is none yet.

        Raises:
            StopAsyncIteration: it was the last. CapnetError: it was broken off.
        """
        if self._items:
            item, size, answer = self._items.popleft()
            self._counts.stream_bytes -= size
            answer.settle(None)
            return (item,)
        if self._error is not None:
            raise self._error.again()
        if not (self._over or self._stopped):
            return None
        if self._end is not None:
            self._end.settle(None)
        raise StopAsyncIteration

    def stop(self) -> None:
        """No more is read: what is written from now on fails. Idempotent."""
        if not self._stopped:
            self._stopped = True
            self._drop(_STOPPED)
            if not self._over:
                self._counts.streams -= 1
            self.on_news()

    def _refuses(self, answer: Cell) -> bool:
        if not (self._over or self._stopped):
            return False
        closed = FailedPrecondition("this stream was closed", reason="closed")
        answer.fail(self._error or (_STOPPED if self._stopped else closed))
        return True

    def _finish(self) -> None:
        self._over = True
        if not self._stopped:
            self._counts.streams -= 1
        self.on_news()

    def _drop(self, error: CapnetError) -> None:
        while self._items:
            _, size, answer = self._items.popleft()
            self._counts.stream_bytes -= size
            answer.fail(error)
        if self._end is not None:
            self._end.settle(None)


_STOPPED = StreamStopped("the reader wants no more")


class _Counts(Protocol):
    bounds: Bounds
    streams: int
    stream_bytes: int


class Readable:
    """The readable end of a pipe; when nobody has it any more, nothing more is read.

    Attributes:
        pipe: of which it is the end.
    """

    __slots__ = ("pipe",)

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        pipe.taken = True

    def __del__(self) -> None:
        self.pipe.stop()


def _nothing() -> None:
    """For a pipe that nobody reads."""
