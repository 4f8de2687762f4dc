"""`Staying`: a block that is entered and left in a task of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Generic, TypeVar

from anyio import CancelScope, Event

from .running import spawn_detached

__all__ = ["Staying"]

T = TypeVar("T")


class Staying(Generic[T]):
    """`async with block`, where no block fits: it stays until something has ended.

    Args:
        block: to be entered.
        until: is awaited in it, with what it gives.

    Attributes:
        left: set when the block was left.
    """

    def __init__(self, block: AbstractAsyncContextManager[T], until: Callable[[T], Awaitable[object]]) -> None:
        self._block = block
        self._until = until
        self._opened: list[T] = []
        self._failure: BaseException | None = None
        self._news = Event()
        self._scope = CancelScope()
        self.left = Event()

    async def enter(self) -> T:
        """What the block gives.

        Raises:
            What entering it raises.
        """
        spawn_detached(self._stay)
        try:
            await self._news.wait()
        except BaseException:
            self._scope.cancel()
            with CancelScope(shield=True):
                await self.left.wait()
            raise
        failure, self._failure = self._failure, None
        try:
            if failure is not None:
                raise failure
            return self._opened[0]
        finally:
            failure = None  # it would keep itself, by the frames it went through

    async def _stay(self) -> None:
        try:
            with self._scope:
                async with self._block as opened:
                    self._opened.append(opened)
                    self._news.set()
                    await self._until(opened)
        except Exception as error:
            if self._opened:
                raise
            self._failure = error
        finally:
            self._news.set()
            self.left.set()
