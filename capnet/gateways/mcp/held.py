"""What one client has between its requests: handles, what is known of what it can call, and news of that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Final

from anyio import Event, Lock, sleep

from capnet import Connection, ContractDescription, PermissionDenied, ResourceExhausted, Unimplemented
from capnet.gateways.tasks import tasks_of_block
from capnet.gateways.values import Handles

if TYPE_CHECKING:
    from .boxes import Boxes

__all__ = ["Held", "News"]

SETTLES: Final = 0.05
"""Seconds in which changes that follow each other are one."""


class News:
    """Tells that there may be other tools, to any number of those who want to know.

    Args:
        connection: to the host, which is asked once for all of them.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._leading = Lock()
        self._led = False
        self._number = 0
        self._changed = Event()

    def tell(self) -> None:
        """There are other tools now."""
        self._number += 1
        self._changed.set()
        self._changed = Event()

    async def follow(self, told: Callable[[], Awaitable[None]]) -> None:
        """Call `told` each time, until that is cancelled.

        Raises:
            Unavailable: the connection has ended.
        """
        async with tasks_of_block() as tasks:
            tasks.start_soon(self._lead)
            seen = self._number
            while True:
                if seen == self._number:
                    await self._changed.wait()
                seen = self._number
                await told()

    async def _lead(self) -> None:
        """One of all who follow asks the host, and when that one goes another does."""
        async with self._leading:
            with suppress(PermissionDenied, ResourceExhausted, Unimplemented):  # then nobody tells us
                runtime = self._connection.runtime()
                async with aclosing(runtime.changes()) as changes:
                    if self._led:  # something may have changed since the last one went
                        await runtime.ping()
                        self.tell()
                    self._led = True
                    async for _ in changes:
                        await sleep(SETTLES)
                        self.tell()


class Held:
    """What one client has.

    Args:
        connection: of this client alone.

    Attributes:
        handles: of what it was given.
        served: what is known of what is served, by name and generation.
        contracts: those of handles, by name; their methods are tools.
        boxes: toolboxes that are served; None when there never was one.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.handles = Handles()
        self.served: dict[tuple[str, int], ContractDescription] = {}
        self.contracts: dict[str, ContractDescription] = {}
        self.boxes: Boxes | None = None
        self.news = News(connection)

    async def toolboxes(self, names: Collection[str]) -> None:
        """These names are toolboxes; what there is about them is loaded with the first."""
        if self.boxes is None and names:
            from .boxes import Boxes

            self.boxes = Boxes(self.connection)
        if self.boxes is not None:
            await self.boxes.serve(frozenset(names))
