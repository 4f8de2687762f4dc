"""An office that keeps answers: what tests of calls with an id have in common."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from capnet import Cap, CapnetError, Connection, Host, Link, NotFound, Stream, call, connect, link, stream
from capnet.calls.metadata import going_along
from capnet.wire.frames import OPERATION
from tests.connection.shop import Gate
from tests.links.desk import FAST

EXPIRED = "operation_expired"


class Ticket(Cap, name="test.Ticket"):
    @call
    async def number(self) -> int: ...


class Office(Cap, name="test.Office"):
    @call
    async def buy(self, title: str) -> Ticket: ...
    @call
    async def add(self, text: str) -> int: ...
    @call
    async def fail(self) -> None: ...
    @call
    async def both(self) -> dict[str, list[Ticket]]: ...
    @call
    async def much(self, size: int) -> str: ...
    @call
    async def large(self) -> str: ...
    @call
    async def same(self, ticket: Ticket) -> Ticket: ...
    @stream
    def lines(self) -> Stream[str]: ...


class MemTicket(Ticket):
    def __init__(self, number: int) -> None:
        self._number = number
        self.closed = 0

    async def number(self) -> int:
        return self._number

    async def aclose(self) -> None:
        self.closed += 1


class MemOffice(Office):
    """Every call waits at the gate once it has begun."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.sold: list[MemTicket] = []
        self.ran: list[str] = []
        self.size = 0

    async def buy(self, title: str) -> Ticket:
        self.ran.append(title)
        self.sold.append(MemTicket(len(self.sold) + 1))
        await self.gate.pass_through(title)
        return self.sold[-1]

    async def add(self, text: str) -> int:
        self.ran.append(text)
        await self.gate.pass_through(text)
        return len(self.ran)

    async def fail(self) -> None:
        self.ran.append("fail")
        await self.gate.pass_through("fail")
        raise NotFound("no such thing", reason="mine", details={"n": len(self.ran)})

    async def both(self) -> dict[str, list[Ticket]]:
        self.sold.append(MemTicket(7))
        await self.gate.pass_through("both")
        return {"tickets": [self.sold[-1], self.sold[-1]]}

    async def much(self, size: int) -> str:
        self.ran.append("much")
        return "x" * size

    async def large(self) -> str:
        await self.gate.pass_through("large")
        return "x" * self.size

    async def same(self, ticket: Ticket) -> Ticket:
        self.ran.append("same")
        return ticket

    async def lines(self) -> Stream[str]:
        self.ran.append("lines")
        yield "one"


@asynccontextmanager
async def office(
    *, keeps: bool = True, asks: bool = True, name: str = "office"
) -> AsyncGenerator[tuple[Host, MemOffice, Link, Office]]:
    """A host that keeps answers, what it serves, and a link that asks for that."""
    served = MemOffice()
    async with Host(operations=keeps) as host:
        host.serve(served)
        await host.listen(f"memory:operations-{name}")
        async with link(f"memory:operations-{name}", wait=FAST, operations=asks) as one:
            yield host, served, one, await one.bootstrap(Office)


async def cut(host: Host) -> None:
    """The line is cut; the host lives on."""
    for connection in host.connections:
        connection._session.driver.transport.abort()
        await connection.wait_closed()


@asynccontextmanager
async def by_hand() -> AsyncGenerator[tuple[Host, MemOffice, Callable[[], Awaitable[Connection]]]]:
    """A host that keeps answers, what it serves, and how to connect to it."""
    served = MemOffice()
    served.gate.open()
    opened: list[Connection] = []
    async with Host(operations=True) as host:
        host.serve(served)
        await host.listen("memory:operations-hand")

        async def another() -> Connection:
            opened.append(await connect("memory:operations-hand"))
            return opened[-1]

        yield host, served, another
        for connection in opened:
            await connection.aclose(grace=0)


async def said(id: str, start: Callable[[], Awaitable[Any]]) -> Any:
    """What a call with that id brings."""
    before = going_along.set({OPERATION: id})
    try:
        return await start()
    except CapnetError as error:
        return error
    finally:
        going_along.reset(before)
