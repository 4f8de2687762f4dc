"""One who speaks Cap'n Web, message by message, in front of a host."""

from __future__ import annotations

import gc
import json
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import anyio

from capnet import Cap, Connection, Host, Limits, connect
from capnet.gateways.capnweb import Bounds
from capnet.gateways.capnweb.bridge import Bridge
from capnet.gateways.capnweb.lending import lent_kinds
from capnet.gateways.capnweb.session import Session
from tests.gateways.lounge import Listener, MemLounge, Room

_numbers = count(1)


class Client:
    """What it has said and was told.

    Attributes:
        told: messages that came and were not read.
        closed: the reason for which the session has ended.
    """

    def __init__(self, connection: Connection, session: Session, lounge: MemLounge) -> None:
        self.connection = connection
        self.session = session
        self.lounge = lounge
        self.bridge: Bridge
        self.told: list[list[Any]] = []
        self.closed: str | None = None
        self.pushed = 0
        self._news = anyio.Event()

    def take(self, text: str) -> None:
        self.told.append(json.loads(text))
        self._news.set()

    def close(self, reason: str) -> None:
        assert self.closed is None, (self.closed, reason)
        self.closed = reason
        self._news.set()

    def says(self, *messages: Any) -> None:
        for message in messages:
            self.bridge.feed(message if isinstance(message, str) else json.dumps(message))

    async def hears(self, *messages: Any) -> None:
        """The next messages that come are these."""
        for message in messages:
            assert await self.next() == (json.loads(message) if isinstance(message, str) else message)

    async def next(self) -> Any:
        with anyio.fail_after(60):
            while not self.told:
                assert self.closed is None, self.closed
                self._news = anyio.Event()
                await self._news.wait()
        return self.told.pop(0)

    async def is_asked(self) -> None:
        """Hear that something of its own is called, and whatever it is given back before."""
        while (await self.next())[0] != "pull":
            pass

    def push(self, expression: Any) -> int:
        """Have something worked out; returns its number."""
        self.pushed += 1
        self.says(["push", expression])
        return self.pushed

    async def pull(self, number: int) -> tuple[str, Any]:
        """What becomes of a push, and its expression; what comes meanwhile stays to be read."""
        self.says(["pull", number])
        kept: list[Any] = []
        while (message := await self.next())[0] not in ("resolve", "reject") or message[1] != number:
            kept.append(message)
        self.told[:0] = kept
        self.says(["release", number, 1])
        return message[0], message[2]

    async def ask(self, expression: Any) -> Any:
        """The value of an expression, which is no error."""
        word, value = await self.pull(self.push(expression))
        assert word == "resolve", value
        return value

    async def error(self, expression: Any) -> dict[str, Any]:
        """The properties of the error that an expression gives."""
        word, value = await self.pull(self.push(expression))
        assert word == "reject", value
        assert value[0] == "error" and value[3] is None
        properties: dict[str, Any] = value[4]
        return properties

    async def over(self) -> dict[str, int]:
        """What is left at the connection when nothing is under way."""
        left: dict[str, int] = {}
        for _ in range(1000):
            gc.collect(0)
            await anyio.lowlevel.checkpoint()
            stats = self.connection.stats()
            left = {key: stats[key] for key in ("imports", "exports", "calls", "streams", "answers") if stats[key]}
            if left == {"imports": 1}:  # what is served stays
                break
        return left

    async def until_closed(self) -> str:
        with anyio.fail_after(60):
            while self.closed is None:
                self._news = anyio.Event()
                await self._news.wait()
        return self.closed

    async def quiet(self) -> None:
        """Nothing more comes: what was begun is over."""
        for _ in range(100):
            await anyio.lowlevel.checkpoint()
        assert self.told == []


@asynccontextmanager
async def client(
    *served: Cap,
    main: str | None = "web.Lounge",
    bounds: Bounds | None = None,
    reachable: bool = True,
    contracts: Collection[type[Cap]] = (Listener, Room),
    host: Host | None = None,
    limits: Limits | None = None,
) -> AsyncGenerator[Client]:
    """A client in front of a host that serves a lounge, and what else is given."""
    lounge = MemLounge()
    async with host or Host(name="lounge") as serving:
        serving.serve(lounge)
        for one in served:
            serving.serve(one)
        url = f"memory:webclient-{next(_numbers)}"
        await serving.listen(url)
        async with connect(url, limits=limits) as connection:
            speaker = Client(connection, Session(bounds, reachable=reachable), lounge)
            kinds = lent_kinds(contracts)
            bridge = Bridge(connection, speaker.session, speaker.take, speaker.close, main=main, kinds=kinds)
            async with bridge as speaker.bridge:
                yield speaker
