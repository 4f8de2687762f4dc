"""The ASGI mount, under servers that we have not written: who is let in, what is known of them, and how it ends."""

from __future__ import annotations

import http.client
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Self

import anyio
import pytest

from capnet import Host, connect
from capnet.errors import (
    CapnetError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from capnet.limits import HostLimits
from capnet.testing.transports import check_transport
from capnet.transport import Attestation, Listener, Transport
from capnet_transports import asgi, websocket
from capnet_transports.asgi import mount
from tests.transports.carriers import PAGE, PagesOfOurs
from tests.transports.door import Door
from tests.transports.ends import started
from tests.transports.servers import SERVERS, Serving
from tests.transports.test_tcp import Adder, PlainAdder
from tests.transports.test_websocket import frame

TOKEN = "correct-horse-battery-staple"
OTHER_PAGE = "https://other.example"


@pytest.fixture(scope="module", params=[*SERVERS.values()], ids=[*SERVERS])
def server(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
def anyio_backend(server: Any) -> Any:
    return server[0]


@pytest.fixture
def serving(server: Any) -> Serving:
    return server[1]  # type: ignore[no-any-return]


class DoorHost:
    """Stands for a host: hands what comes to a door."""

    def __init__(self) -> None:
        self.door = Door()

    async def listen(self, url: str, **options: Any) -> Listener:
        return await asgi.scheme.listen(url.partition(":")[2], self.door.accept, **options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for transport in self.door.arrived:
            transport.abort()


# --- the transport ---


@pytest.mark.parametrize("first", ["client", "server"])
async def test_conformance(first: str, serving: Serving) -> None:
    host = DoorHost()
    async with serving(mount(host, token=TOKEN)) as port:

        async def connect_pair() -> tuple[Transport, Transport]:
            theirs = await websocket.scheme.connect(f"//127.0.0.1:{port}", token=TOKEN)
            ours = await host.door.next()
            return (theirs, ours) if first == "client" else (ours, theirs)

        await check_transport(connect_pair)


async def test_text_is_refused(serving: Serving) -> None:
    host = DoorHost()
    async with serving(mount(host, token=TOKEN)) as port:
        theirs: Any = await websocket.scheme.connect(f"//127.0.0.1:{port}", token=TOKEN)
        async with started(await host.door.next()) as recorder, started(theirs) as client:
            theirs._inner.send([frame(0x82, b"before") + frame(0x81, b"text") + frame(0x82, b"after")])
            await recorder.until(lambda: recorder.ends, "it ends")
            assert bytes(recorder.data) == b"before"
            error = recorder.ends[0]
            assert isinstance(error, Unavailable) and error.reason == "websocket"
            await client.until(lambda: client.ends, "the peer is told")
            assert "1003" in str(client.ends[0])


async def test_a_peer_that_is_cut(serving: Serving) -> None:
    host = DoorHost()
    async with serving(mount(host, token=TOKEN)) as port:
        theirs = await websocket.scheme.connect(f"//127.0.0.1:{port}", token=TOKEN)
        async with started(await host.door.next()) as recorder:
            theirs.abort()
            await recorder.until(lambda: recorder.ends, "it ends")


# --- a host ---


@asynccontextmanager
async def served(serving: Serving, host: Host | None = None, **options: Any) -> AsyncGenerator[tuple[Host, str]]:
    """A host that is opened by its server, and the URL of that."""
    host = host or Host()
    host.serve(PlainAdder())
    async with serving(mount(host, **({"token": TOKEN} | options))) as port:
        yield host, f"ws://127.0.0.1:{port}"


async def test_call(serving: Serving) -> None:
    async with (
        served(serving, headers=["Upgrade", "X-Absent"]) as (host, url),
        connect(f"{url}/there/a%20b?x=1", token=TOKEN) as conn,
    ):
        assert await (await conn.bootstrap(Adder)).add(2, 3) == 5
        (theirs,) = host.connections
        known = theirs.attestation
        assert (known.transport, known.origin, known.path, known.level) == ("asgi", None, "/there/a b", "untrusted")
        assert known.address is not None and known.address.startswith("127.0.0.1:")
        assert known.headers == {"upgrade": "websocket"}


async def test_the_host_closes_with_the_server(serving: Serving) -> None:
    lost = list[CapnetError]()
    async with anyio.create_task_group() as tasks:
        called = anyio.Event()

        class Slow(Adder):
            async def add(self, a: int, b: int) -> int:
                called.set()
                await anyio.sleep_forever()
                raise AssertionError

        async def client(url: str) -> None:
            async with connect(url, token=TOKEN) as conn:
                try:
                    await (await conn.bootstrap(Adder, name="slow")).add(1, 2)
                except CapnetError as error:
                    lost.append(error)

        async with served(serving) as (host, url):
            host.serve(Slow(), name="slow")
            tasks.start_soon(client, url)
            with anyio.fail_after(60):
                await called.wait()
        assert not host.connections and host.stats()["listeners"] == 0
        with pytest.raises(Unavailable):
            await host.listen("memory:closed")
    assert len(lost) == 1 and isinstance(lost[0], (Unavailable))


async def test_a_host_that_is_open_already_stays_open(serving: Serving) -> None:
    async with Host() as host:
        async with served(serving, host) as (_, url), connect(url, token=TOKEN) as conn:
            assert await (await conn.bootstrap(Adder)).add(2, 3) == 5
        await (await host.listen("memory:open")).aclose()


@pytest.mark.parametrize(
    ("options", "changes", "kind", "reason"),
    [
        ({}, {"token": TOKEN[::-1]}, Unauthenticated, "token"),
        ({}, {"token": None}, Unauthenticated, "token"),
        ({}, {"origin": "https://evil.example"}, PermissionDenied, "origin"),
        ({"origins": ["https://example.org"]}, {}, PermissionDenied, "origin"),
        ({"hosts": ["example.org"]}, {}, PermissionDenied, "host"),
        ({"path": "/here"}, {"path": "/here/"}, NotFound, "path"),
        ({}, {"path": "/a%0Ab"}, NotFound, "path"),
        ({}, {"path": "/" + "a" * 3000}, Unavailable, "http_414"),
    ],
)
async def test_who_is_turned_away(
    options: dict[str, Any], changes: dict[str, Any], kind: type[CapnetError], reason: str, serving: Serving
) -> None:
    """Before the connection is accepted, so that the host never hears of them."""
    async with served(serving, **options) as (host, url):
        answer: dict[str, Any] = {"token": TOKEN} | changes
        with pytest.raises(kind) as caught:
            await connect(url + answer.pop("path", "/here"), **answer)
        assert caught.value.reason == reason
        assert not host.connections


async def test_pages_that_are_let_in(serving: Serving) -> None:
    async with (
        served(serving, origins=[None, "https://example.org"]) as (host, url),
        connect(url, token=TOKEN, origin="https://example.org") as conn,
    ):
        await conn.bootstrap(Adder)
        assert host.connections[0].attestation.origin == "https://example.org"


async def test_a_policy_decides_by_the_page(serving: Serving) -> None:
    """Let in is not admitted."""
    async with served(serving, Host(policy=PagesOfOurs()), origins=[PAGE, OTHER_PAGE]) as (_, url):
        async with connect(url, token=TOKEN, origin=PAGE) as conn:
            assert await (await conn.bootstrap(Adder)).add(2, 3) == 5
        async with connect(url, token=TOKEN, origin=OTHER_PAGE) as conn:
            with pytest.raises(PermissionDenied):
                await conn.bootstrap(Adder)


async def test_a_host_that_has_no_room(serving: Serving) -> None:
    """The peer is told before it is let in."""
    async with served(serving, Host(host_limits=HostLimits(max_connections=1))) as (host, url):
        async with connect(url, token=TOKEN) as conn:
            await conn.bootstrap(Adder)
            with pytest.raises(Unavailable) as caught:
                await connect(url, token=TOKEN)
            assert caught.value.reason == "http_503"
        del host


async def test_what_is_no_websocket_is_told_what_to_do(serving: Serving) -> None:
    async with served(serving) as (_, url):

        def get() -> tuple[int, bytes]:
            asked = http.client.HTTPConnection(url.removeprefix("ws://"), timeout=60)
            asked.request("GET", "/")
            with asked.getresponse() as response:
                answer = response.status, response.read()
            asked.close()
            return answer

        status, words = await anyio.to_thread.run_sync(get)
        assert status == 426 and b"ws://" in words


async def test_a_server_in_front_of_a_framework(serving: Serving) -> None:
    """Which calls the mount for its path only, and opens the host in its own lifespan."""
    async with Host() as host:
        host.serve(PlainAdder())
        capnet = mount(host, token=TOKEN)

        async def framework(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "lifespan":
                await receive()
                await send({"type": "lifespan.startup.complete"})
                await receive()
                await send({"type": "lifespan.shutdown.complete"})
            else:
                await capnet(scope | {"root_path": "/capnet"}, receive, send)

        async with serving(framework) as port:
            url = f"ws://127.0.0.1:{port}/capnet"
            async with connect(url, token=TOKEN) as one, connect(url, token=TOKEN) as other:
                assert await (await one.bootstrap(Adder)).add(2, 3) == 5
                assert await (await other.bootstrap(Adder)).add(2, 4) == 6
            await host.aclose()
            with pytest.raises(Unavailable) as caught:
                await connect(url, token=TOKEN)
            assert caught.value.reason == "http_503"


# --- what needs no server ---


@pytest.mark.parametrize(
    ("client", "forwarded", "proxies", "address"),
    [
        (("192.0.2.1", 5), ["198.51.100.7"], [], "192.0.2.1:5"),
        (("192.0.2.1", 5), ["198.51.100.7"], ["10.0.0.0/8"], "192.0.2.1:5"),
        (("10.1.2.3", 5), ["198.51.100.7"], ["10.0.0.0/8"], "198.51.100.7"),
        (("10.1.2.3", 5), ["6.6.6.6, 198.51.100.7"], ["10.0.0.0/8"], "198.51.100.7"),
        (("10.1.2.3", 5), ["6.6.6.6", "198.51.100.7:99, 10.9.9.9"], ["10.0.0.0/8"], "198.51.100.7"),
        (("10.1.2.3", 5), ["[2001:db8::1]:99"], ["10.1.2.3"], "2001:db8::1"),
        (("10.1.2.3", 5), ["6.6.6.6, unknown"], ["10.1.2.3"], "10.1.2.3:5"),
        (("10.1.2.3", 5), [], ["10.1.2.3"], "10.1.2.3:5"),
        (("::1", 5), ["", "2001:db8::1"], ["::1"], "2001:db8::1"),
        (("::1", 5), ["198.51.100.7"], ["unix"], "[::1]:5"),
        (None, ["198.51.100.7"], ["unix"], "198.51.100.7"),
        (None, ["198.51.100.7"], [], None),
    ],
)
def test_only_proxies_of_ours_say_where_a_peer_is(
    client: tuple[str, int] | None, forwarded: list[str], proxies: list[str], address: str | None
) -> None:
    assert asgi._address({"client": client}, forwarded, asgi._networks(proxies, "asgi")) == address


@pytest.mark.parametrize(
    "options",
    [
        {"token": ...},
        {"token": "short"},
        {"origins": []},
        {"origins": "https://example.org"},
        {"hosts": "localhost"},
        {"headers": "x-user"},
        {"proxies": "10.0.0.1"},
        {"proxies": ["nobody"]},
        {"path": "here"},
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        mount(DoorHost(), **({"token": TOKEN} | options))


def test_headers_are_not_shown() -> None:
    known = Attestation(transport="asgi", headers={"cookie": "secret"})
    assert "secret" not in repr(known) and known.headers["cookie"] == "secret"
