"""News: there may be other tools. The host tells of what it serves, and each toolbox of what is in it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Final, TypeAlias

from anyio import CancelScope, Event, Lock, sleep
from anyio.abc import TaskGroup

from capnet import CapnetError, Connection, PermissionDenied, ResourceExhausted, Unavailable, Unimplemented
from capnet.gateways.tasks import tasks_of_block

__all__ = ["Box", "News"]

SETTLES: Final = 0.05
"""Seconds in which changes that follow each other are one."""

Box: TypeAlias = tuple[str, int]
"""A toolbox that is served: its name, and the generation of what is there."""


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
        self._tasks: TaskGroup | None = None
        """Of whoever asks; None while nobody does."""
        self._boxes: dict[Box, Callable[[], AsyncGenerator[int]]] = {}
        self._scopes: dict[Box, CancelScope] = {}

    def tell(self) -> None:
        """There are other tools now."""
        self._number += 1
        self._changed.set()
        self._changed = Event()

    def add(self, box: Box, changes: Callable[[], AsyncGenerator[int]]) -> None:
        """A toolbox tells of changes, too."""
        self._boxes[box] = changes
        self._begin(box)

    def discard(self, box: Box) -> None:
        """It is there no more."""
        self._boxes.pop(box, None)
        if box in self._scopes:
            self._scopes[box].cancel()

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
                await sleep(SETTLES)
                seen = self._number
                await told()

    async def _lead(self) -> None:
        """One of all who follow asks, and when that one goes another does."""
        async with self._leading, tasks_of_block() as tasks:
            self._tasks = tasks
            try:
                for box in self._boxes:
                    self._begin(box)
                await self._ask()
            finally:
                self._tasks = None

    async def _ask(self) -> None:
        with suppress(PermissionDenied, ResourceExhausted, Unimplemented):  # then the host does not tell us
            runtime = self._connection.runtime()
            async with aclosing(runtime.changes()) as changes:
                if self._led:  # something may have changed since the last one went
                    await runtime.ping()
                    self.tell()
                self._led = True
                async for _ in changes:
                    self.tell()
        raise Unavailable(f"the connection has ended: {await self._connection.wait_closed()}")

    def _begin(self, box: Box) -> None:
        if self._tasks is not None and box not in self._scopes:
            self._scopes[box] = CancelScope()
            self._tasks.start_soon(self._ask_box, box, self._scopes[box])

    async def _ask_box(self, box: Box, scope: CancelScope) -> None:
        try:
            with scope, suppress(CapnetError):  # it has gone, or does not tell us
                async with aclosing(self._boxes[box]()) as changes:
                    await anext(changes, None)  # this is where it begins
                    async for _ in changes:
                        self.tell()
        finally:
            del self._scopes[box]
