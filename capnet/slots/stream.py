"""`SlotStream`: a stream that was opened by way of a slot."""

from __future__ import annotations

from typing import Any

from capnet.contract import Reader
from capnet.errors import CapnetError

from .attempts import Attempts
from .occupant import Broken, Occupant

__all__ = ["SlotStream"]


class SlotStream(Reader[Any]):
    """The reading end. What ends before the first item is opened again like a call; later that is its end, unless the
    contract has a position behind which to go on.

    Args:
        attempts: the call that opens it.
        occupant: what to open it at now; None where it is opened when it is first read.
    """

    __slots__ = ("__weakref__", "_attempts", "_begun", "_occupant", "_source")

    def __init__(self, attempts: Attempts, occupant: Occupant[Any] | None) -> None:
        self._attempts: Attempts | None = attempts
        self._begun = False
        self._occupant: Occupant[Any] | None = None
        self._source: Any = None
        if occupant is not None:
            self._open(attempts, occupant)

    async def __anext__(self) -> Any:
        while (attempts := self._attempts) is not None:
            try:
                if self._source is None:
                    self._open(attempts, await attempts.occupant())
                    continue
                item = await anext(self._source)
            except StopAsyncIteration:
                self._end()
                raise
            except CapnetError as error:
                self._failed(attempts, error)
            else:
                self._begun = True
                attempts.taken(item)
                return item
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Want no more. Idempotent."""
        close = getattr(self._source, "aclose", None)
        self._end()
        if close is not None:
            await close()

    def _open(self, attempts: Attempts, occupant: Occupant[Any]) -> None:
        """Leaves it as it is when it is to be opened again."""
        try:
            self._source = occupant.open(self, *attempts.what)
        except Broken as broken:
            attempts.broken(broken, occupant)
        else:
            self._occupant = occupant

    def _failed(self, attempts: Attempts, error: CapnetError) -> None:
        """Raises what the reader is told, unless it is to be opened again."""
        occupant = self._occupant
        self._end()
        if occupant is None:
            raise error
        try:
            occupant.check(error, left=True)
        except Broken as broken:
            if self._begun and attempts.what[0].resume is None:
                raise attempts.told(broken, occupant) from error
            attempts.broken(broken, occupant)
            self._attempts = attempts
        else:
            raise error

    def _end(self) -> None:
        self._attempts = None
        occupant, self._occupant, self._source = self._occupant, None, None
        if occupant is not None:
            occupant.closed(self)
