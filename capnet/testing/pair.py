"""Both ends of a connection in one process: the whole codec and all tables, no socket.

    async with pair(MemLobby()) as lobby:
        room = await lobby.open("tea")

    async with connected(MemLobby()) as (server, client):
        lobby = await client.bootstrap(Lobby)
        ...
        del lobby
        await assert_no_leaks(server, client)

Works on asyncio and on trio.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from typing import Any, Final, TypeVar, overload

from anyio import move_on_after
from anyio.lowlevel import checkpoint
from typing_extensions import TypeForm

from capnet.connection.connect import connect
from capnet.connection.connection import Connection
from capnet.contract import Cap, contract_spec
from capnet.host import Host
from capnet.limits import Limits
from capnet.policy.policy import Policy

__all__ = ["assert_no_leaks", "connected", "entries", "pair"]

C = TypeVar("C")
I = TypeVar("I", bound=Cap)  # noqa: E741 - an implementation
_numbers: Final = count(1)
_COUNTED: Final = (
    "exports",
    "imports",
    "calls",
    "calls_held",
    "answers",
    "answers_queued",
    "answers_waiting",
    "answers_kept",
    "streams",
    "virtual_connections",
    "backlog",
)
"""What of `Connection.stats` is nothing when nobody uses a connection."""


@asynccontextmanager
async def connected(
    *implementations: Cap,
    policy: Policy | None = None,
    limits: Limits | None = None,
    client_limits: Limits | None = None,
    auth: Any = None,
) -> AsyncGenerator[tuple[Connection, Connection]]:
    """A host that serves `implementations`, and a client that has shaken hands with it; gives both ends.

    Args:
        implementations: served under the names of their contracts.
        policy: decides what the client may have.
        limits: bounds that the serving end keeps.
        client_limits: bounds that the client keeps.
        auth: what the client's hello carries for the policy.

    Gives the serving end and the client, in this order; both are closed after the block.
    """
    url = f"memory:capnet.testing-{next(_numbers)}"
    async with Host(name="server", policy=policy, limits=limits) as host:
        host.serve_all(*implementations)
        await host.listen(url)
        async with connect(url, name="client", limits=client_limits, auth=auth) as client:
            await client.ping()  # the host has accepted, both hellos are in
            (server,) = host.connections
            yield server, client


@overload
def pair(implementation: I, /) -> AbstractAsyncContextManager[I]: ...
@overload
def pair(implementation: Cap, contract: TypeForm[C], /) -> AbstractAsyncContextManager[C]: ...
def pair(implementation: Cap, contract: Any = None, /) -> AbstractAsyncContextManager[Any]:
    """`async with pair(MemLobby()) as lobby: …`: a proxy of an implementation, across a whole connection.

    Args:
        implementation: what is behind the proxy.
        contract: what the proxy is, `Lobby` or `Topic[int]`; when it is left out, the contract that the class of the
            implementation fills in, while type checkers see the class itself.

    The proxy is given back and everything is closed after the block.
    """
    return _pair(implementation, contract_spec(type(implementation)).cls if contract is None else contract)


@asynccontextmanager
async def _pair(implementation: Cap, contract: Any) -> AsyncGenerator[Any]:
    async with connected(implementation) as (_, client), await client.bootstrap(contract) as proxy:
        yield proxy


async def assert_no_leaks(*connections: Connection, timeout: float = 2.0) -> None:
    """Check that nothing is left in the tables: every call has ended, every reference was given back.

    Names that are served are no leak. What is on its way when this is called may still arrive.

    Args:
        connections: one end or both.
        timeout: seconds in which that must be so.

    Raises:
        AssertionError: with what is left at which end.
    """
    gc.collect()  # a proxy in a cycle is given back when the cycle is found
    with move_on_after(timeout):
        while entries(connections):
            await checkpoint()
    left = {repr(connection): found for connection in connections if (found := entries((connection,)))}
    assert not left, f"left in the tables: {left}"


def entries(connections: Iterable[Connection]) -> dict[str, int]:
    """What is in the tables of connections together, those that are empty left out."""
    total: Counter[str] = Counter()
    for connection in connections:
        stats = connection.stats()
        total.update({key: stats[key] for key in _COUNTED})
    return dict(+total)
