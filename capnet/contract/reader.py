"""`Reader[T]`: what all reading ends of streams have in common, wherever their items come from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import TypeVar, cast

__all__ = ["Reader", "taken_from"]

T_co = TypeVar("T_co", covariant=True)


class Reader(AsyncGenerator[T_co, None]):
    """An async generator as contracts declare it, which is read and closed and takes nothing back."""

    __slots__ = ()

    @property
    def __capnet_window__(self) -> tuple[int, int] | None:
        """Items and bytes that may be under way to a peer that reads it, at most; None for what the peer says."""
        return None

    @property
    def __capnet_source__(self) -> object | None:
        """What it takes its items from, if that is another stream of which nobody else may read meanwhile."""
        return None

    @abstractmethod
    async def __anext__(self) -> T_co:
        """The next item."""

    @abstractmethod
    async def aclose(self) -> None:
        """Want no more. Idempotent."""

    async def asend(self, value: None) -> T_co:
        """The next item; a stream takes nothing back."""
        return await self.__anext__()

    async def athrow(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
        /,
    ) -> T_co:
        """Close it and raise."""
        await self.aclose()
        error = typ if isinstance(typ, BaseException) else val if isinstance(val, BaseException) else typ()
        raise error.with_traceback(tb)


def taken_from(stream: object) -> object:
    """The stream that the items of one come from in the end, behind all that was put in front of it."""
    source: object | None = stream
    while isinstance(source, Reader):
        stream, source = cast("object", source), source.__capnet_source__
    return stream if source is None else source
