"""`capnet.blocking`: links, and virtual connections of links and of connections; the server is in another thread."""

from __future__ import annotations

import gc
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from capnet import Cap, Host, Opening, PermissionDenied, Retry, Stream, Unavailable, blocking, call, options, stream
from capnet.observe import Reconnected
from tests.cost import HANGS
from tests.integration.test_blocking import no_thread_left as no_thread_left  # a fixture

Backend = Literal["asyncio", "trio"]
FAST = Retry(base=0.001, cap=0.01, budget=HANGS)


class Pad(Cap, name="blocking.Pad"):
    @call
    async def write(self, text: str) -> int: ...
    @options(idempotent=True)
    @call
    async def owner(self) -> str: ...
    @options(idempotent=True, resume="after")
    @stream
    def numbers(self, after: int = 0) -> Stream[int]: ...


class MemPad(Pad):
    """Cuts the line of its host, once, in the midst of a call or a stream."""

    def __init__(self, owner: str, host: Host | None = None) -> None:
        self._owner = owner
        self._host = host
        self.texts: list[str] = []

    async def _cut(self) -> None:
        host, self._host = self._host, None
        if host is not None:
            for connection in host.connections:
                connection._session.driver.transport.abort()

    async def write(self, text: str) -> int:
        self.texts.append(text)
        await self._cut()
        return len(self.texts)

    async def owner(self) -> str:
        return self._owner

    async def numbers(self, after: int = 0) -> Stream[int]:
        for number in range(after + 1, 6):
            if number == 3:
                await self._cut()
            yield number


@contextmanager
def served(url: str, pads: list[MemPad]) -> Generator[BlockingPortal]:
    """A host in a thread of its own; `pads` gets what it serves, which cuts the line once."""

    async def decide(opening: Opening) -> None:
        if "who" not in opening.metadata:
            raise PermissionDenied("who?", reason="who")
        opening.accept().serve(MemPad(str(opening.metadata["who"])))

    async def begin() -> None:
        pads.append(MemPad("around", host))
        host.serve(pads[-1])
        host.on_open(decide)
        await host.listen(url)

    host = Host(operations=True)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(host):
        portal.call(begin)
        yield portal


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> Backend:
    """The loop in the background."""
    backend: Backend = request.param
    return backend


def test_a_link_comes_back(backend: Backend, tmp_path: Path) -> None:
    """Names heal, calls with an id run once, and a stream goes on; also when the server is another."""
    url, pads = f"unix:{tmp_path}/s", list[MemPad]()
    with served(url, pads):
        desk = blocking.link(url, wait=FAST, operations=True, backend=backend)
        events: list[Reconnected] = []
        desk.call(desk.link.on, Reconnected, events.append)
        pad = desk.bootstrap(Pad)
        assert desk.call(pad.write, "once") == 1 and pads[0].texts == ["once"]
        assert repr(desk).startswith("<BlockingLink to unix:")
    with served(url, pads), desk:
        assert list(desk.iterate(pad.numbers)) == [1, 2, 3, 4, 5]
        assert desk.call(pad.owner) == "around" and desk.generation == 1 and events
    desk.close()
    assert desk.closed
    with pytest.raises(Unavailable):
        desk.call(pad.owner)


def test_what_is_inside(backend: Backend, tmp_path: Path) -> None:
    """Of a connection, and of a link, where it comes back; and inside of what is inside nobody takes anything."""
    url = f"unix:{tmp_path}/s"
    with (
        served(url, []),
        blocking.connect(url, ready=True, backend=backend) as conn,
        conn.open({"who": "ann"}) as inner,
        blocking.link(url, wait=FAST, backend=backend) as desk,
    ):
        assert inner.call(inner.bootstrap(Pad).owner) == "ann"
        bob = desk.open({"who": "bob"})
        pad = bob.bootstrap(Pad)
        assert desk.call(pad.owner) == "bob", "a thread runs them all"
        with pytest.raises(Unavailable):
            conn.call(conn.bootstrap(Pad).write, "cuts the line of all")
        assert bob.call(pad.owner) == "bob" and bob.generation == 1
        assert inner.closed and conn.closed
        with pytest.raises(PermissionDenied):
            desk.open()
        desk.close()
        assert bob.closed
        bob.close()
        with pytest.raises(Unavailable):
            desk.open({"who": "late"})


def test_nobody_is_there(backend: Backend, tmp_path: Path) -> None:
    """Then there is no thread either."""
    with pytest.raises(Unavailable):
        blocking.link(f"unix:{tmp_path}/none", wait=Retry(attempts=2, base=0.001), backend=backend)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("capnet on ")]


def test_a_link_that_nobody_holds_is_closed(backend: Backend, tmp_path: Path) -> None:
    url = f"unix:{tmp_path}/s"
    with served(url, []):
        desk = blocking.link(url, backend=backend)
        desk.call(desk.bootstrap(Pad).owner)
        del desk
        gc.collect()
