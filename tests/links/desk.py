"""A desk behind a link: what it does in the ways that matter when a connection ends, and hosts that come and go."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count

import anyio

from capnet import Cap, Connection, Host, Link, NotFound, Policy, Retry, Stream, call, link, options, stream
from capnet.links.link import Link as TheLink
from capnet.virtual.opening import OpenHandler
from tests.connection.shop import Gate, until

FAST = Retry(base=0.001, cap=0.01, budget=60.0)
_numbers = count(1)


@dataclass
class Line:
    """A line of the news."""

    number: int
    text: str


class Bell(Cap, name="test.LinkBell"):
    """A callback."""

    @call
    async def ring(self, times: int) -> None: ...


class Page(Cap, name="test.LinkPage"):
    @options(idempotent=True)
    @call
    async def text(self) -> str: ...
    @call
    async def write(self, text: str) -> None: ...


class Book(Cap, name="test.LinkBook"):
    @options(idempotent=True)
    @call
    async def page(self, number: int) -> Page: ...
    @call
    async def torn(self, number: int) -> Page:
        """The same, of which nobody says that it may be called again."""
        ...

    @call
    async def same(self, page: Page) -> bool:
        """Whether that is a page of this book."""
        ...


class Desk(Cap, name="test.LinkDesk"):
    @call
    async def who(self) -> str: ...
    @call
    async def work(self, key: str) -> str:
        """Waits at the gate; must not run twice."""
        ...

    @options(idempotent=True)
    @call
    async def look(self, keys: list[str]) -> str:
        """Waits at the gate; may run again."""
        ...

    @options(idempotent=True)
    @call
    async def book(self, title: str) -> Book: ...
    @options(idempotent=True)
    @call
    async def maybe(self, title: str) -> Book | None: ...
    @options(idempotent=True)
    @call
    async def read(self, lines: Stream[str]) -> int:
        """How many lines came; waits at the gate."""
        ...

    @call
    async def listen(self, bell: Bell) -> None: ...
    @options(idempotent=True, resume="after", position="number")
    @stream
    def news(self, after: int = 0) -> Stream[Line]:
        """All there is behind a number; waits at the gate after the third of each connection."""
        ...

    @stream
    def rumours(self) -> Stream[str]:
        """One, then waits at the gate."""
        ...


class MemPage(Page):
    def __init__(self, book: MemBook, number: int) -> None:
        self.book = book
        self.number = number

    async def text(self) -> str:
        return f"{self.book.title} {self.number} of {self.book.desk.name}"

    async def write(self, text: str) -> None:
        self.book.desk.ran.append(text)


class MemBook(Book):
    def __init__(self, desk: MemDesk, title: str) -> None:
        self.desk = desk
        self.title = title
        self.pages: dict[int, MemPage] = {}

    async def page(self, number: int) -> Page:
        self.desk.ran.append(f"page {number}")
        return self.pages.setdefault(number, MemPage(self, number))

    async def torn(self, number: int) -> Page:
        return await self.page(number)

    async def same(self, page: Page) -> bool:
        return page in self.pages.values()


class MemDesk(Desk):
    def __init__(self, name: str, *, books: bool = True) -> None:
        self.name = name
        self.gate = Gate()
        self.ran: list[str] = []
        self.books = books
        self.bells: list[Bell] = []

    async def who(self) -> str:
        return self.name

    async def work(self, key: str) -> str:
        self.ran.append(key)
        await self.gate.pass_through(key)
        return f"{key} by {self.name}"

    async def look(self, keys: list[str]) -> str:
        self.ran.append(",".join(keys))
        await self.gate.pass_through("look")
        return f"{','.join(keys)} by {self.name}"

    async def book(self, title: str) -> Book:
        self.ran.append(f"book {title}")
        if not self.books:
            raise NotFound(f"no {title}")
        return MemBook(self, title)

    async def maybe(self, title: str) -> Book | None:
        return await self.book(title) if title else None

    async def read(self, lines: Stream[str]) -> int:
        number = 0
        async for _ in lines:
            number += 1
        self.ran.append(f"read {number}")
        await self.gate.pass_through("read")
        return number

    async def listen(self, bell: Bell) -> None:
        self.bells.append(bell)

    async def news(self, after: int = 0) -> Stream[Line]:
        for number in range(after + 1, 10):
            if number == after + 4:
                await self.gate.pass_through("news")
            yield Line(number, f"{number} of {self.name}")

    async def rumours(self) -> Stream[str]:
        yield self.name
        await self.gate.pass_through("rumours")


class Server:
    """One address, where hosts come and go."""

    def __init__(self) -> None:
        self.url = f"memory:links-{next(_numbers)}"
        self.host: Host | None = None
        self.opener: OpenHandler | None = None
        """Decides about virtual connections, of each host from its start."""
        self._ends: anyio.Event | None = None
        self._gone: anyio.Event | None = None

    @property
    def connections(self) -> tuple[Connection, ...]:
        return () if self.host is None else self.host.connections

    async def start(self, tasks: anyio.abc.TaskGroup, *served: Cap, policy: Policy | None = None) -> None:
        """A host serves there, until `stop` or the end of the test."""
        ready = anyio.Event()
        ends, gone = self._ends, self._gone = anyio.Event(), anyio.Event()

        async def serve() -> None:
            try:
                async with Host(policy=policy) as host:
                    host.serve_all(*served)
                    host.on_open(self.opener)
                    await host.listen(self.url)
                    self.host = host
                    ready.set()
                    await ends.wait()
                    for connection in host.connections:
                        connection._session.driver.transport.abort()
            finally:
                self.host = None
                gone.set()

        tasks.start_soon(serve)
        await ready.wait()

    async def stop(self) -> None:
        """It is gone without a word, as after kill -9."""
        assert self._ends is not None and self._gone is not None
        self._ends.set()
        await self._gone.wait()

    async def cut(self, one: Link) -> None:
        """The line is cut, and both ends know; the host lives on."""
        theirs = one.connection
        for connection in self.connections:
            connection._session.driver.transport.abort()
            await connection.wait_closed()
        if theirs is not None:
            await theirs.wait_closed()


@asynccontextmanager
async def linked(
    *served: Cap, wait: Retry = FAST, setup: Callable[[Link], object] | None = None
) -> AsyncGenerator[tuple[Server, anyio.abc.TaskGroup, TheLink]]:
    """A server, a group for what runs beside the test, and a link to the server."""
    server = Server()
    async with anyio.create_task_group() as tasks:
        await server.start(tasks, *served)
        async with link(server.url, wait=wait) as one:
            if setup is not None:
                setup(one)
            yield server, tasks, one
        tasks.cancel_scope.cancel()


async def down(one: Link) -> None:
    """Wait until the link knows that its connection is gone."""
    await until(lambda: one.connection is None)
