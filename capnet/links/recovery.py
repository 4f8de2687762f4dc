"""Recovery: what is done on a connection that has followed another: names are asked for, and then hooks are called."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from anyio import CapacityLimiter, create_task_group

from capnet.connection.connection import Connection
from capnet.session.faults import Faults

from .healing import Root

__all__ = ["Hook", "hooked", "recover"]

Hook = Callable[[Connection], Awaitable[object]]
NAMES_AT_ONCE: Final = 8
"""Names that are asked for at a time: a peer takes no more than 16 such questions."""


@dataclass
class Names:
    """What has become of them."""

    healed: list[str] = field(default_factory=list[str])
    broken: list[str] = field(default_factory=list[str])


async def recover(
    connection: Connection, roots: Iterable[Root[Any]], hooks: Iterable[Hook], wait: float, faults: Faults
) -> Names | None:
    """Have names heal, and call hooks. None when the connection did not last so long.

    Args:
        wait: seconds for the peer to serve a name again.
        faults: is told what a hook raises.
    """
    names, limiter = Names(), CapacityLimiter(NAMES_AT_ONCE)

    async def heal(root: Root[Any]) -> None:
        async with limiter:
            (names.healed if await root.heal(connection, wait) else names.broken).append(root.name)

    async def heal_all() -> None:
        async with create_task_group() as tasks:
            for root in [root for root in roots if not root.closed]:
                tasks.start_soon(heal, root)
        for hook in hooks:
            try:
                await hook(connection)
            except Exception as error:
                if connection.close_cause is None:
                    faults.unexpected("on_connected", error)

    return names if await lasts(connection, heal_all) else None


async def hooked(hook: Hook, connection: Connection) -> bool:
    """Await a hook for the first time; whether its connection has lasted.

    Raises:
        Whatever it raises, when it has.
    """
    failure: Exception | None = None

    async def call() -> None:
        nonlocal failure
        try:
            await hook(connection)
        except Exception as error:
            failure = error

    lasted = await lasts(connection, call)
    try:
        if failure is not None and lasted:
            raise failure
        return lasted
    finally:
        failure = None  # it would keep itself, by the frames it went through


async def lasts(connection: Connection, do: Callable[[], Awaitable[object]]) -> bool:
    """Do something on a connection, until that takes no more calls; whether it has lasted.

    Without this what waits for a connection, inside of what is done, would wait for its own end.
    """

    async def watch() -> None:
        await connection.wait_going()
        tasks.cancel_scope.cancel()

    async with create_task_group() as tasks:
        tasks.start_soon(watch)
        await do()
        tasks.cancel_scope.cancel()
    return connection.close_cause is None
