"""`Inner`: what `Connection.open` returns, to be entered or awaited."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, Final, Generic, Protocol, TypeVar

from anyio import CancelScope

from .parts import Parts

__all__ = ["Inner"]

GRACE: Final = 1.0
"""Seconds that calls in flight have when a block ends without an error."""


class _Closable(Protocol):
    """What a connection is here."""

    _parts: Parts

    async def aclose(self, reason: str = "closed", *, grace: float = 1.0) -> None: ...

    async def _end(self, reason: str, grace: float) -> None: ...


C = TypeVar("C", bound=_Closable)


class Inner(Generic[C]):
    """A virtual connection that is to be opened: `async with conn.open() as inner: …`, or `inner = await conn.open()`.

    At the end of the block calls in flight have a second to end; an error that leaves it ends them at once.
    """

    def __init__(self, opened: Callable[[], Awaitable[C]]) -> None:
        self._opened = opened
        self._connection: C | None = None

    def __await__(self) -> Generator[Any, Any, C]:
        return self._opened().__await__()

    async def __aenter__(self) -> C:
        self._connection = await self._opened()
        return self._connection

    async def __aexit__(self, *exc_info: object) -> None:
        connection = self._connection
        assert connection is not None
        try:
            if exc_info[0] is None:
                await connection.aclose(grace=GRACE)
            else:
                with CancelScope(shield=True):
                    await connection._end("closed", 0.0)  # noqa: SLF001 - not for users
        finally:
            await connection._parts.hooks.ended()  # noqa: SLF001 - which are over with it
