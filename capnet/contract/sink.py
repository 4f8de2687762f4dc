"""`Sink[T]`: the writing end of a stream as a value, so that a contract may say "write to this"."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Generic, Self, TypeVar

from capnet.errors import CallCancelled, CapnetError, Internal

__all__ = ["Sink"]

T_contra = TypeVar("T_contra", contravariant=True)


class Sink(ABC, Generic[T_contra]):
    """Takes the items that somebody else reads; where a contract has `AsyncIterable[T]` for reading, this writes.

        async with sink:
            await sink.send(item)

    The block ends the stream: cleanly when it is left at its end, with the error when a `CapnetError` leaves it, as
    `Internal` when another one does, and as cancelled when it is cancelled: so a reader never takes a broken-off stream
    for a whole one.
    """

    __slots__ = ()

    @abstractmethod
    async def send(self, item: T_contra) -> None:
        """Give the reader one item; waits until it has room.

        Raises:
            StreamStopped: the reader wants no more. InvalidArgument: the item cannot travel, or is of another type than
                declared; the stream goes on.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """End the stream; the reader gets what was sent and then its end. Idempotent."""

    @abstractmethod
    def fail(self, error: CapnetError) -> None:
        """End the stream with an error, which the reader gets after what was sent; nothing if it has ended."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            await self.aclose()
        else:
            self.fail(_told(error))


def _told(error: BaseException) -> CapnetError:
    """What the reader is told of what has left the block: what is no error of ours is for this side alone."""
    if isinstance(error, CapnetError):
        return error
    return (
        Internal("the producer has failed")
        if isinstance(error, Exception)
        else CallCancelled("the producer was cancelled")
    )
