"""`Arrival`: one process that was started, until it says that it is ready, or why it is not."""

from __future__ import annotations

from collections.abc import Mapping

from anyio import CancelScope
from anyio import Event as Signal

from capnet import Cap, CapnetError, Connection
from capnet.cli.exits import Stop
from capnet.cli.reloading.agreed import FRONT, Front
from capnet.cli.reloading.passed_on import PassedOn

__all__ = ["Arrival"]


class Arrival(Front):
    """What the host has for one process.

    Args:
        connection: to it.
        before: what is served now, by name.

    Attributes:
        connection: the same.
        offered: what it has, by name; None unless it is ready.
        wrong: what the user has named wrongly, or what cannot be served.
        told: whether whoever looks at the terminal knows why it is not ready.
        files: of its modules.
    """

    def __init__(self, connection: Connection, before: Mapping[str, PassedOn]) -> None:
        self.connection = connection
        self.offered: dict[str, PassedOn] | None = None
        self.wrong: Stop | None = None
        self.told = False
        self.files: list[str] = []
        self._before = before
        self._settled = Signal()
        connection.serve(self, name=FRONT)
        connection.on_close(lambda _: self._settled.set())

    async def ready(self, served: dict[str, Cap], files: list[str]) -> None:
        """See `Front`."""
        self.files = files
        offered: dict[str, PassedOn] = {}
        try:
            for name, capability in served.items():
                offered[name] = await PassedOn.of(capability, self._before.get(name))
            self.offered = offered
        except Stop as wrong:
            self.wrong = wrong
        except CapnetError as error:
            self.wrong = Stop(cause=error)
        self._settled.set()

    async def failed(self, files: list[str], message: str = "", hint: str | None = None) -> None:
        """See `Front`."""
        self.files = files
        if message:
            self.wrong = Stop(message, hint=hint)
        self.told = not message
        self._settled.set()

    async def settled(self) -> None:
        """Wait until one of it has come, or the process has ended. Who is cancelled meanwhile leaves nothing behind."""
        try:
            await self._settled.wait()
        finally:
            if self.offered is None:
                with CancelScope(shield=True):
                    await self.connection.aclose("it is not wanted", grace=0)
        if self.offered is not None and self.connection.closed:
            self.offered = None
