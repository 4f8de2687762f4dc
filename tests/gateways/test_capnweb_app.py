"""The ASGI application for clients of Cap'n Web: who comes in, sessions by WebSocket, batches."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from capnet import Denied, Host, HostLimits, Identity, Introduction, InvalidArgument, Policy
from capnet.gateways.capnweb import Bounds, Capnweb, app, capnweb
from tests.gateways.lounge import Listener, MemLounge
from tests.loops import ONE_LOOP

PAGE = "https://app.example"


class Server:
    """What an ASGI server does with an application, without a socket.

    Attributes:
        read: how often the application has asked for what the client says.
    """

    def __init__(self, application: Capnweb, kind: str, **scope: Any) -> None:
        headers = {"host": "localhost:8000", **scope.pop("headers", {})}
        self.scope: dict[str, Any] = {
            "type": kind,
            "path": "/",
            "method": "POST",
            "client": ("127.0.0.1", 5000),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "extensions": {"websocket.http.response": {}},
            **scope,
        }
        self.application = application
        self.read = 0
        self.sent: list[dict[str, Any]] = []
        self._send, self._receive = anyio.create_memory_object_stream[dict[str, Any]](10_000)
        self._news = anyio.Event()
        self.stuck: anyio.Event | None = None
        """Set by the test when the client takes something again."""

    async def run(self) -> None:
        async def receive() -> dict[str, Any]:
            self.read += 1
            return await self._receive.receive()

        async def send(event: dict[str, Any]) -> None:
            if self.stuck is not None:
                await self.stuck.wait()
            self.sent.append(event)
            self._news.set()

        with self._send, self._receive:
            await self.application(self.scope, receive, send)

    def comes(self, **event: Any) -> None:
        try:
            self._send.send_nowait(event)
        except anyio.ClosedResourceError:
            raise AssertionError(f"the application has ended, and said {self.sent}") from None

    def says(self, *messages: Any) -> None:
        for message in messages:
            self.comes(type="websocket.receive", text=json.dumps(message))

    async def next(self) -> dict[str, Any]:
        with anyio.fail_after(60):
            while not self.sent:
                self._news = anyio.Event()
                await self._news.wait()
        return self.sent.pop(0)

    async def hears(self) -> Any:
        event = await self.next()
        assert event["type"] == "websocket.send", event
        return json.loads(event["text"])


@asynccontextmanager
async def socket(application: Capnweb, **scope: Any) -> AsyncGenerator[Server]:
    """A WebSocket that a client asks for."""
    server = Server(application, "websocket", **scope)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.run)
        server.comes(type="websocket.connect")
        yield server
        tasks.cancel_scope.cancel()


async def batch(application: Capnweb, *messages: Any, body: bytes | None = None, **scope: Any) -> tuple[int, str]:
    """The status and the body that a request gets."""
    server = Server(application, "http", **scope)
    said = "\n".join(map(json.dumps, messages)).encode() if body is None else body
    server.comes(type="http.request", body=said[:10], more_body=True)
    server.comes(type="http.request", body=said[10:])
    with anyio.fail_after(60):
        await server.run()
    start, end = server.sent
    return start["status"], end["body"].decode()


@asynccontextmanager
async def served(
    policy: Policy | None = None, host_limits: HostLimits | None = None, **options: Any
) -> AsyncGenerator[tuple[Host, Capnweb]]:
    async with Host(policy=policy, host_limits=host_limits) as host:
        host.serve(MemLounge())
        yield host, capnweb(host, "web.Lounge", **dict[str, Any]({"token": None, "contracts": [Listener], **options}))


HELLO = [["push", ["pipeline", 0, ["hello"], ["ann"]]], ["pull", 1]]
ANSWER = ["resolve", 1, "hello ann"]


# --- sessions ---


async def test_a_session_by_websocket() -> None:
    async with served() as (host, application), socket(application) as client:
        assert await client.next() == {"type": "websocket.accept", "subprotocol": None}
        client.says(*HELLO)
        assert await client.hears() == ANSWER
        (connection,) = host.connections
        attestation = connection.attestation
        assert (attestation.transport, attestation.address) == ("capnweb", "127.0.0.1:5000")
        client.comes(type="websocket.disconnect", code=3000)
        await until(lambda: not host.connections)


async def test_what_is_no_text_ends_a_session() -> None:
    async with served() as (_, application), socket(application) as client:
        await client.next()
        client.comes(type="websocket.receive", bytes=b"x")
        assert (await client.hears())[0] == "abort"
        assert await client.next() == {"type": "websocket.close", "code": 3000, "reason": "a message is text"}


async def test_the_host_ends_the_sessions_of_a_principal() -> None:
    class Named(Policy):
        def admit(self, request: Any, /) -> bool:
            return True

        def identify(self, introduction: Introduction) -> Any:
            return Identity(principal=introduction.attestation.headers["x-user"])

    async with served(Named(), headers=["X-User"], bounds=Bounds(max_sessions=2)) as (host, application):
        async with (
            socket(application, headers={"x-user": "ann"}) as one,
            socket(application, headers={"x-user": "ann"}) as two,
        ):
            for client in (one, two):
                assert (await client.next())["type"] == "websocket.accept"
            assert (await batch(application, *HELLO, headers={"x-user": "ann"}))[0] == 429
            assert (await batch(application, *HELLO, headers={"x-user": "bob"}))[0] == 200
            assert await host.close_all(principal="ann") == 2
            for client in (one, two):
                word, error = await client.hears()
                assert (word, error[1]) == ("abort", "Error")
                assert (await client.next())["code"] == 3000
        assert (await batch(application, *HELLO, headers={"x-user": "ann"}))[0] == 200


async def test_a_client_that_takes_nothing_is_not_read_and_then_dropped() -> None:
    bounds = Bounds(max_backlog=10_000, write_timeout=60)
    async with served(bounds=bounds) as (host, application), socket(application) as client:
        await client.next()
        client.stuck = anyio.Event()
        for number in range(1, 60):
            client.says(["push", "x" * 1000], ["pull", number])
        await quiet()
        assert client.read < 2 * 30
        client.stuck.set()
        for number in range(1, 60):
            assert (await client.hears())[:2] == ["resolve", number]
        client.stuck = anyio.Event()
        client.says(["push", "x" * 50_000], ["pull", 60])
        await quiet()
        client.stuck.set()
        assert (await client.hears())[0] == "resolve"
        assert (await client.next())["code"] == 3000
        await until(lambda: not host.connections)


async def test_more_work_than_messages_show_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values that are looked at again and again: the client is read no faster than the bound has it."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await anyio.lowlevel.checkpoint()

    monkeypatch.setattr(app, "sleep", sleep)
    monkeypatch.setattr(app, "current_time", lambda: 0.0)
    bounds = Bounds(work_burst=1500, work_rate=1000)
    async with served(bounds=bounds) as (_, application), socket(application) as client:
        await client.next()
        client.says(["push", [list(range(1000))]], ["push", ["pipeline", 1]], ["push", ["pipeline", 1]], ["pull", 3])
        assert (await client.hears())[:2] == ["resolve", 3]
    assert waits[0] == 0
    assert 0.4 < waits[1] < 0.6  # what is looked at more than there is, by the rate
    assert 1.4 < waits[2] < 1.6


# --- batches ---


async def test_a_batch() -> None:
    async with served() as (host, application):
        messages = [
            ["push", ["pipeline", 0, ["open"], ["tea"]]],
            ["push", ["pipeline", 1, ["post"], ["hi"]]],
            ["pull", 2],
            ["push", ["pipeline", 0, ["fail"], ["not_found"]]],
            ["pull", 3],
        ]
        status, body = await batch(application, *messages)
        found = sorted(map(json.loads, body.split("\n")), key=lambda one: one[1])
        assert status == 200
        assert found[0] == ["resolve", 2, 1]
        assert found[1][2][4]["code"] == "not_found"
        await until(lambda: not host.connections)
        assert await batch(application, body=b"") == (200, "")
        assert (await batch(application, body=b"nonsense"))[1].startswith('["abort"')
        assert await batch(application, body=b"\xff\n") != (500, "")


async def test_a_batch_is_not_waited_for_without_end() -> None:
    async with served(bounds=Bounds(batch_timeout=0.05)) as (host, application):
        status, body = await batch(application, *HELLO, ["push", ["pipeline", 0, ["slow"], []]], ["pull", 2])
        lines = [json.loads(line) for line in body.split("\n")]
        assert (status, lines[0], lines[1][0]) == (200, ANSWER, "abort")
        await until(lambda: not host.connections)


async def test_what_a_page_of_another_origin_may_read() -> None:
    async with served(origins=[PAGE, None]) as (_, application):
        server = Server(application, "http", method="OPTIONS", headers={"origin": PAGE})
        await server.run()
        assert (b"access-control-allow-origin", PAGE.encode()) in server.sent[0]["headers"]
        server = Server(application, "http", method="OPTIONS", headers={"origin": "https://evil.example"})
        await server.run()
        assert server.sent[0]["status"] == 403
        assert not [name for name, _ in server.sent[0]["headers"] if name.startswith(b"access-control")]


# --- who comes in ---

AWAY: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "a page": ({}, {"headers": {"origin": PAGE}}, 403),
    "a page without an origin": ({}, {"headers": {"origin": "null"}}, 403),
    "another page": ({"origins": [PAGE]}, {"headers": {"origin": "https://evil.example"}}, 403),
    "a program where only a page may come": ({"origins": [PAGE]}, {}, 403),
    "another name of the host": ({}, {"headers": {"host": "evil.example"}}, 421),
    "no name of the host": ({}, {"headers": {"host": ""}}, 421),
    "no token": ({"token": "secret"}, {}, 401),
    "a long path": ({}, {"path": "/" + "x" * 3000}, 414),
    "large headers": ({"headers": ["cookie"]}, {"headers": {"cookie": "x" * 9000}}, 431),
}


@pytest.mark.parametrize("name", [*AWAY])
async def test_who_is_turned_away_before_anything_is_read(name: str) -> None:
    options, scope, status = AWAY[name]
    async with served(**options) as (host, application):
        server = Server(application, "http", **scope)
        await server.run()
        assert server.sent[0]["status"] == status
        assert server.read == 0
        async with socket(application, **scope) as client:
            assert await client.next() | {"headers": []} == {
                "type": "websocket.http.response.start",
                "status": status,
                "headers": [],
            }
            await until(lambda: client.sent)
            assert client.read == 1
        async with socket(application, **scope, extensions={}) as client:
            assert await client.next() == {"type": "websocket.close"}
        assert not host.connections


async def test_a_token_is_shown_in_a_subprotocol_or_a_header() -> None:
    async with served(token="secret", hosts=["example.org", "::1"], headers=["Cookie"]) as (host, application):
        names = {"host": "Example.org:80", "cookie": "a=b"}
        for token, status in (("secret", 200), ("secre", 401), ("", 401), ("sécret", 401)):
            headers = {**names, "authorization": f"Bearer {token}"}
            assert (await batch(application, *HELLO, headers=headers))[0] == status
        offered = ["capnet.token.secret"]
        async with socket(application, headers=names, subprotocols=offered) as client:
            assert await client.next() == {"type": "websocket.accept", "subprotocol": "capnet.token.secret"}
        await until(lambda: not host.connections)
        async with socket(application, headers=names, subprotocols=[*offered, "capnweb"]) as client:
            assert await client.next() == {"type": "websocket.accept", "subprotocol": "capnweb"}
            (connection,) = host.connections
            assert connection.attestation.headers == {"cookie": "a=b"}
            assert connection.attestation.path == "/"
        async with socket(application, headers={**names, "host": "[::1]:80"}, subprotocols=["capnet.token."]) as client:
            assert (await client.next())["status"] == 401


async def test_who_the_policy_does_not_admit() -> None:
    class Nobody(Policy):
        def admit(self, request: Any, /) -> bool:
            return True

        def identify(self, introduction: Introduction) -> Any:
            return Denied("stranger")

    async with served(Nobody()) as (_, application):
        assert (await batch(application, *HELLO))[0] == 401
        async with socket(application) as client:
            assert (await client.next())["status"] == 401


async def test_a_host_without_room_or_not_open() -> None:
    async with (
        served(host_limits=HostLimits(max_connections=1)) as (host, application),
        socket(application) as client,
    ):
        assert (await client.next())["type"] == "websocket.accept"
        assert len(host.connections) == 1
        assert (await batch(application, *HELLO))[0] == 503
    assert (await batch(capnweb(Host(), token=None), *HELLO))[0] == 503


async def test_requests_that_are_none() -> None:
    async with served(bounds=Bounds(max_message=100)) as (_, application):
        assert (await batch(application, method="GET"))[0] == 405
        assert (await batch(application, body=b"x" * 200))[0] == 413


async def test_the_host_is_opened_with_the_server() -> None:
    host = Host()
    host.serve(MemLounge())
    application = capnweb(host, "web.Lounge", token=None)
    server = Server(application, "lifespan")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.run)
        server.comes(type="lifespan.startup")
        assert await server.next() == {"type": "lifespan.startup.complete"}
        assert await batch(application, *HELLO) == (200, json.dumps(ANSWER, separators=(",", ":")))
        server.comes(type="lifespan.shutdown")
        assert await server.next() == {"type": "lifespan.shutdown.complete"}
    assert (await batch(application, *HELLO))[0] == 503


def test_options_that_make_no_sense() -> None:
    wrong: list[dict[str, Any]] = [
        {"origins": PAGE}, {"origins": []}, {"hosts": "x"}, {"headers": "x"}, {"token": ""}, {"token": "ö"},
    ]  # fmt: skip
    for options in wrong:
        with pytest.raises(InvalidArgument):
            capnweb(Host(), **dict[str, Any]({"token": None, **options}))


async def until(condition: Any) -> None:
    with anyio.fail_after(60):
        while not condition():  # noqa: ASYNC110 (the end comes from elsewhere)
            await anyio.sleep(0.001)


async def quiet() -> None:
    for _ in range(200):
        await anyio.lowlevel.checkpoint()


@ONE_LOOP
async def test_one_client_that_means_harm_does_not_keep_others_from_theirs() -> None:
    """Fifty use twenty capabilities and are all answered, while one asks for all that there is and reads nothing."""
    numbers = ["pipeline", 0, ["same"], [[[0] * 1000]]]
    worst: list[Any] = [
        ["push", numbers],
        ["push", ["remap", 1, [], [["import", 1]], [["remap", -1, [], [], [["pipeline", 0]] * 32]]]],
        *(["push", [[["pipeline", 1], ["pipeline", 1]]]] for _ in range(50)),
        *(["push", ["pipeline", 0, ["slow"], []]] for _ in range(300)),
        *(["push", ["promise", -number]] for number in range(1, 300)),
        *(["push", ["pipeline", 0, ["same"], ["x" * 10_000]]] for _ in range(50)),
        *(["pull", number] for number in range(1, 500)),
    ]
    async with served() as (host, application), socket(application) as harm:
        await harm.next()
        harm.stuck = anyio.Event()
        harm.says(*worst)
        answered = 0

        async def speak(client_number: int) -> None:
            nonlocal answered
            async with socket(application) as client:
                await client.next()
                for number in range(1, 9, 2):
                    topic = f"room {(client_number + number) % 20}"
                    client.says(["push", ["pipeline", 0, ["open"], [topic]]])
                    client.says(["push", ["pipeline", number, ["info"], []]], ["pull", number + 1])
                    word, answer, info = await client.hears()
                    assert (word, answer, info["topic"]) == ("resolve", number + 1, topic)
                    answered += 1

        async with anyio.create_task_group() as tasks:
            for client_number in range(50):
                tasks.start_soon(speak, client_number)
        assert answered == 200
        assert len(host.connections) >= 1
