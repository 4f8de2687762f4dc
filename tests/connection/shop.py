"""The contracts and implementations that tests of connections share, and how a test waits for a state."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import anyio
from anyio.lowlevel import checkpoint

from capnet import INJECT, CallContext, Cap, Connection, Host, Limits, Policy, call, connect
from capnet.contract import contract_spec
from capnet.references.proxy import reference_of
from tests.cost import HANGS

TURNS = 1000
"""Of the loop, after which it is given the time to wait for a socket, a timer or another process."""


class Item(Cap, name="test.Item"):
    """Something to hand around."""

    @call
    async def label(self) -> str: ...


class Jewel(Item, name="test.Jewel"):
    """An item that can do more."""

    @call
    async def polish(self) -> int: ...


@dataclass
class Parcel:
    """A capability inside data."""

    weight: int
    item: Item
    spare: Item | None = None


class Shop(Cap, name="test.Shop"):
    """One method for each way in which values, capabilities and time meet."""

    @call
    async def echo(self, value: Any) -> Any: ...
    @call
    async def add(self, a: int, b: int = 10, *, scale: int = 1) -> int: ...
    @call
    async def wait(self, key: str = "") -> str: ...
    @call
    async def make(self, label: str) -> Item: ...
    @call
    async def make_many(self, labels: list[str]) -> dict[str, Item]: ...
    @call
    async def pack(self, item: Item, spare: Item | None = None) -> Parcel: ...
    @call
    async def unpack(self, parcels: list[Parcel]) -> list[str]: ...
    @call
    async def keep(self, item: Item) -> None: ...
    @call
    async def give_back(self) -> Item: ...
    @call
    async def ask(self, question: Callable[[str], Awaitable[str]], about: str) -> str: ...
    @call
    async def who(self) -> dict[str, Any]: ...
    @call
    async def fail(self, how: str) -> int: ...


class MemItem(Item):
    """An item; knows how often its close hook ran."""

    def __init__(self, label: str) -> None:
        self._label = label
        self.closed = 0

    async def label(self) -> str:
        return self._label

    async def aclose(self) -> None:
        self.closed += 1


class MemJewel(Jewel):
    """A jewel; `polish` counts."""

    def __init__(self) -> None:
        self.polished = 0
        self.closed = 0

    async def label(self) -> str:
        return "jewel"

    async def polish(self) -> int:
        self.polished += 1
        return self.polished

    async def aclose(self) -> None:
        self.closed += 1


class Gate:
    """Calls that wait in a handler until the test lets them go."""

    def __init__(self) -> None:
        self.entered: list[str] = []
        self.left: list[str] = []
        self.cancelled: list[str] = []
        self._open = anyio.Event()

    async def pass_through(self, key: str) -> None:
        """Wait here; records the start, and how the wait ended."""
        self.entered.append(key)
        try:
            await self._open.wait()
        except BaseException:
            self.cancelled.append(key)
            raise
        self.left.append(key)

    def open(self) -> None:
        """Let all go, now and later."""
        self._open.set()


class MemShop(Shop):
    """The implementation; `gate` is where `wait` waits."""

    def __init__(self, name: str = "shop") -> None:
        self.name = name
        self.gate = Gate()
        self.items: list[MemItem] = []
        self.kept: Item | None = None
        self.closed = 0
        self.started: list[Any] = []

    async def echo(self, value: Any) -> Any:
        self.started.append(value)
        return value

    async def add(self, a: int, b: int = 10, *, scale: int = 1) -> int:
        return (a + b) * scale

    async def wait(self, key: str = "") -> str:
        await self.gate.pass_through(key)
        return f"{self.name}:{key}"

    async def make(self, label: str) -> Item:
        self.items.append(MemItem(label))
        return self.items[-1]

    async def make_many(self, labels: list[str]) -> dict[str, Item]:
        return {label: await self.make(label) for label in labels}

    async def pack(self, item: Item, spare: Item | None = None) -> Parcel:
        return Parcel(len(await item.label()), item, spare)

    async def unpack(self, parcels: list[Parcel]) -> list[str]:
        return [await parcel.item.label() for parcel in parcels]

    async def keep(self, item: Item) -> None:
        self.kept = item

    async def give_back(self) -> Item:
        assert self.kept is not None
        return self.kept

    async def ask(self, question: Callable[[str], Awaitable[str]], about: str) -> str:
        return f"they said {await question(about)}"

    async def who(self, ctx: CallContext = INJECT) -> dict[str, Any]:
        return {"peer": ctx.peer, "method": ctx.method, "transport": ctx.attestation.transport, "left": ctx.deadline}

    async def fail(self, how: str) -> int:
        raise RuntimeError(how)

    async def aclose(self) -> None:
        self.closed += 1


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until a condition holds; fails when it never does."""
    with anyio.fail_after(HANGS):
        for _ in range(TURNS):
            if condition():
                return
            await checkpoint()
        while not condition():  # noqa: ASYNC110 (it is not for us to know what changes it)
            await anyio.sleep(0.001)


@asynccontextmanager
async def left_when(condition: Callable[[], object]) -> AsyncGenerator[anyio.CancelScope]:
    """A block that is cancelled once a condition holds; gives its scope."""

    async def watch(scope: anyio.CancelScope) -> None:
        await until(condition)
        scope.cancel()

    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            tasks.start_soon(watch, scope)
            yield scope
        tasks.cancel_scope.cancel()


def ever_later() -> Iterator[float]:
    """Seconds for a deadline that is to pass when something has begun, until it has: in the first that is late enough.

    How long it takes to begin is for the machine to say.
    """
    yield from (0.02, 0.1, 0.5, 2.0, 10.0, 50.0)
    raise AssertionError("it never begins")


@asynccontextmanager
async def socket_pair(
    *implementations: Cap, policy: Policy | None = None, limits: Limits | None = None
) -> AsyncGenerator[tuple[Connection, Connection]]:
    """Like `capnet.testing.connected`, over a real unix socket."""
    with tempfile.TemporaryDirectory(prefix="cap", dir="/tmp") as folder:
        url = f"unix:{os.path.join(folder, 's')}"
        async with Host(name="server", policy=policy, limits=limits) as host:
            host.serve_all(*implementations)
            await host.listen(url)
            async with connect(url, name="client") as client:
                await client.ping()
                (server,) = host.connections
                yield server, client


def raw_call(
    connection: Connection, target: object, contract: type[Cap], method: str, arguments: dict[str, Any]
) -> Any:
    """A call that no proxy would make: a method that its target does not declare, arguments that do not bind."""
    imported = reference_of(target).imported if isinstance(target, Cap) else target
    return connection._parts.calls.start(cast("Any", imported), contract_spec(contract).methods[method], arguments)
