"""Contained: a fault of our own, such as no memory, ends the one connection that it happened in, and nothing else."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from capnet.connection.connection import Connection

__all__ = ["Contained"]


class Contained:
    """A block in which the peer must be told something: it is, or the connection ends, which tells it as well.

    with connection.contained:
        engine.fail(answer, error)

    Half of it must not have happened: a call would never be answered, a stream would never end.
    """

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self._connection.crash(error)
        return True
