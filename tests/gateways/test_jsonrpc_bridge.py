"""What a host serves as a client of JSON-RPC sees it, and what a client serves as a host sees it."""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import socket
import struct
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from capnet import (
    INJECT,
    Admission,
    Attestation,
    CallContext,
    Cap,
    CapnetError,
    Denied,
    Host,
    HostLimits,
    Identity,
    Introduction,
    NotFound,
    Stream,
    call,
    revoke,
    stream,
)
from capnet.gateways.bounds import Bounds
from capnet.gateways.framing import Headers
from capnet.gateways.jsonrpc import LSP, MCP, Foreign, Gateway, Remote, Session, Settings, connected, foreign
from capnet.gateways.jsonrpc.bridge import Bridge
from capnet.gateways.sessions import Sessions
from tests.connection.office import MemClerk, MemFile, Note
from tests.gateways.client_errors import DETAILS
from tests.gateways.pipes import Speaker, pipe

GUEST = Attestation(transport="jsonrpc", principal="guest")


class Odd(Cap, name="odd.Odd"):
    @call
    async def double(self, number: int, data: bytes = b"", *, when: dt.date | None = None) -> Any: ...

    @call
    async def fail(self, kind: str) -> None: ...

    @stream
    def count(self, to: int) -> Stream[int]: ...

    @call
    async def each(self, texts: list[str], do: Callable[[str], Awaitable[int]]) -> int: ...

    @call
    async def note(self, text: str) -> None: ...

    @call
    async def noted(self) -> list[str]: ...

    @call
    async def hang(self) -> None: ...

    @call
    async def ask(self, method: str, params: Any = None) -> Any:
        """Have the client asked."""
        ...


class MemOdd(Odd):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.begun, self.ended = anyio.Event(), anyio.Event()

    async def double(self, number: int, data: bytes = b"", *, when: dt.date | None = None) -> Any:
        return [2 * number, 2 * data, when and when.isoformat()]

    async def fail(self, kind: str) -> None:
        if kind == "not_found":
            raise NotFound("no such thing", reason="thing", details={"which": 7, "data": b"\x01"})
        raise RuntimeError("a secret")

    async def count(self, to: int) -> Stream[int]:
        for number in range(to):
            yield number

    async def each(self, texts: list[str], do: Callable[[str], Awaitable[int]]) -> int:
        return sum([await do(text) for text in texts])

    async def note(self, text: str) -> None:
        self.notes.append(text)

    async def noted(self) -> list[str]:
        return self.notes

    async def hang(self) -> None:
        self.begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            self.ended.set()

    async def ask(self, method: str, params: Any = None, *, ctx: CallContext = INJECT) -> Any:
        async with await ctx.connection.bootstrap(Foreign) as client:
            return await client.request(method, params)


@asynccontextmanager
async def office(**options: Any) -> AsyncGenerator[tuple[Host, MemOdd]]:
    async with Host(name="office", **options) as host:
        odd = MemOdd()
        host.serve(MemClerk({"tea": MemFile([Note("a")])}))
        host.serve(odd)
        host.serve(odd, name="with/slash")
        yield host, odd


@asynccontextmanager
async def client(gateway: Gateway, attestation: Attestation = GUEST, framing: Any = None) -> AsyncGenerator[Speaker]:
    ours, theirs = pipe()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(gateway.serve, theirs, attestation)
        yield Speaker(ours, framing)
        await ours.aclose()


@asynccontextmanager
async def one(settings: Settings | None = None, **options: Any) -> AsyncGenerator[tuple[Speaker, Host, MemOdd]]:
    """A client in front of the office."""
    async with office(**options) as (host, odd), Gateway(host, settings) as gateway, client(gateway) as speaker:
        yield speaker, host, odd


async def test_params_by_name_and_by_place() -> None:
    async with one() as (speaker, _, _):
        assert await speaker.ask("odd.Odd.double", {"number": 3.0, "data": "AQI="}) == [6, "AQIBAg==", None]
        assert await speaker.ask("odd.Odd.double", [3, "AQI="]) == [6, "AQIBAg==", None]
        assert await speaker.ask("odd.Odd/double", {"number": 1, "when": "2026-01-02"}) == [2, "", "2026-01-02"]
        assert await speaker.ask("with/slash/double", [1]) == [2, "", None]


async def test_the_table_of_errors() -> None:
    async with one() as (speaker, _, _):
        error = await speaker.fail("odd.Odd.fail", ["not_found"])
        details = {"which": 7, "data": "AQ=="}
        assert error == {
            "code": -32001,
            "message": "no such thing",
            "data": {"code": "not_found", "reason": "thing", "details": details},
        }
        error = await speaker.fail("odd.Odd.fail", ["other"])
        assert (error["code"], error["data"]["code"]) == (-32603, "internal")
        assert "secret" not in json.dumps(error)
        wrongs: list[Any] = [{}, {"number": "x"}, {"number": 1, "more": 1}, {"number": 1, "data": "!"}, [1, "", 3, 4]]
        for wrong in [*wrongs, {"number": 10**30}, {"number": "\ud800"}]:
            assert (await speaker.fail("odd.Odd.double", wrong))["code"] == -32602, wrong
        for method in ("nothing", "odd.Odd.missing", "odd.Odd._send", "x.y", ".x", "odd.Odd.", "\ud800.x", "\x00.x"):
            assert (await speaker.fail(method))["code"] in (-32601, -32602), method
        assert (await speaker.fail("odd.Odd.aclose"))["code"] == -32601


async def test_notifications_run_in_order_and_are_never_answered() -> None:
    async with one() as (speaker, _, odd):
        for number in range(20):
            await speaker.tell("odd.Odd.note", [str(number)])
        for wrong in ("odd.Odd.missing", "nothing", "odd.Odd.fail"):
            await speaker.tell(wrong, ["x"])
        assert await speaker.ask("odd.Odd.noted") == [str(number) for number in range(20)]
        assert speaker.others == [] and len(odd.notes) == 20


async def test_a_table_of_methods_has_no_others() -> None:
    settings = Settings(methods={"x/double": ("odd.Odd", "double")})
    async with one(settings) as (speaker, _, _):
        assert await speaker.ask("x/double", [4]) == [8, "", None]
        for method in ("odd.Odd.double", "capnet.describe", "cap_x.y"):
            assert (await speaker.fail(method, ["odd.Odd"]))["code"] == -32601


async def test_references_are_handles() -> None:
    async with one() as (speaker, host, _):
        handle = await speaker.ask("office.Clerk.open", ["tea"])
        assert handle.startswith("cap_")
        assert [note["text"] for note in await speaker.ask(f"{handle}.read")] == ["a"]
        assert await speaker.ask("office.Clerk.count", {"reader": handle}) == 1
        assert await speaker.ask(f"{handle}.append", {"lines": [{"text": "b"}, {"text": "c"}]})
        assert await speaker.ask("office.Clerk.count", [handle]) == 3
        assert await speaker.ask("capnet.release", {"cap": handle}) is None
        for method in (f"{handle}.read", "capnet.release", "capnet.next", f"cap_{'a' * 26}.read"):
            params = [] if method.startswith("cap_") else [handle]
            assert (await speaker.fail(method, params))["data"]["code"] == "not_found"
        assert (await speaker.fail("capnet.release", {}))["code"] == -32602
        told = await speaker.ask("capnet.describe", ["odd.Odd"])
        assert told["contract"] == "odd.Odd" and "double" in told["methods"]
        async with Gateway(host) as other, client(other) as stranger:
            handle = await speaker.ask("office.Clerk.open", ["tea"])
            assert (await stranger.fail(f"{handle}.read"))["data"]["reason"] == "handle"


async def test_streams_come_in_parts() -> None:
    async with one() as (speaker, _, _):
        first = await speaker.ask("odd.Odd.count", [150])
        assert first["items"] == list(range(100))
        assert (await speaker.fail(f"{first['next']}.read"))["data"]["reason"] == "handle"
        rest = await speaker.ask("capnet.next", [first["next"]])
        assert rest == {"items": list(range(100, 150))}
        assert (await speaker.fail("capnet.next", [first["next"]]))["data"]["reason"] == "handle"
        handle = await speaker.ask("office.Clerk.open", ["tea"])
        assert (await speaker.fail("capnet.next", [handle]))["data"]["reason"] == "handle"


@pytest.mark.parametrize("dialect", [LSP, MCP], ids=["answered", "not answered"])
async def test_a_request_that_is_given_up_is_cancelled_at_the_host(dialect: Any) -> None:
    async with one(Settings(dialect=dialect)) as (speaker, _, odd):
        number = await speaker.begin("odd.Odd.hang")
        with anyio.fail_after(60):
            await odd.begun.wait()
            await speaker.tell(dialect.cancelling.method, {dialect.cancelling.parameter: number})
            await odd.ended.wait()
        assert await speaker.ask("odd.Odd.noted") == []
        answers = [(other["id"], other["error"]["code"]) for other in speaker.others]
        assert answers == ([(number, -32800)] if dialect is LSP else [])


async def test_a_handler_asks_the_client_while_it_is_asked() -> None:
    async with one(Settings(dialect=LSP)) as (speaker, _, _):
        number = await speaker.begin("odd.Odd.ask", ["window/show", {"x": [1]}])
        asked = await speaker.read()
        assert (asked["method"], asked["params"]) == ("window/show", {"x": [1]})
        assert await speaker.ask("odd.Odd.noted") == []
        await speaker.write({"jsonrpc": "2.0", "id": asked["id"], "result": {"yes": True, "more": None}})
        assert (await speaker.answer(number))["result"] == {"yes": True, "more": None}
        number = await speaker.begin("odd.Odd.ask", ["window/show"])
        asked = await speaker.read()
        await speaker.write({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32602, "message": "no"}})
        assert (await speaker.answer(number))["error"]["data"]["code"] == "invalid_argument"
        for hostile in ({"a": 10**40}, ["\ud800"], {"\ud800": 1}):
            number = await speaker.begin("odd.Odd.ask", ["window/show"])
            asked = await speaker.read()
            await speaker.write({"jsonrpc": "2.0", "id": asked["id"], "result": hostile})
            assert (await speaker.answer(number))["error"]["data"]["reason"] == "unencodable_result"
        # What was asked for the client's own request is given up with it.
        number = await speaker.begin("odd.Odd.ask", ["window/show"])
        asked = await speaker.read()
        await speaker.tell("$/cancelRequest", {"id": number})
        assert (await speaker.answer(number))["error"]["code"] == -32800
        given_up = speaker.others.pop() if speaker.others else await speaker.read()
        assert given_up == {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": asked["id"]}}


async def test_errors_of_a_client_may_hold_anything(caplog: pytest.LogCaptureFixture) -> None:
    """What can be passed on of their details is, and nobody is told of a fault at the host."""
    async with one() as (speaker, _, _):
        for name, (details, kept) in DETAILS.items():
            for data in ({"code": "not_found", "reason": "\ud800", "details": details}, details):
                number = await speaker.begin("odd.Odd.ask", ["window/show"])
                asked = await speaker.read()
                failure = {"code": -32001, "message": "\ud800 no", "data": data}
                await speaker.write({"jsonrpc": "2.0", "id": asked["id"], "error": failure})
                told = (await speaker.answer(number))["error"]
                assert (told["message"], told["data"]["code"]) == ("? no", "not_found"), name
                if data is not details:
                    assert told["data"]["details"] == kept, name
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


async def test_a_function_is_the_name_of_a_method_of_the_clients() -> None:
    async with one() as (speaker, _, _):
        number = await speaker.begin("odd.Odd.each", {"texts": ["a", "bb"], "do": "client/length"})
        for text in ("a", "bb"):
            asked = await speaker.read()
            assert (asked["method"], asked["params"]) == ("client/length", [text])
            await speaker.write({"jsonrpc": "2.0", "id": asked["id"], "result": len(text)})
        assert (await speaker.answer(number))["result"] == 3


@dataclass
class Position:
    line: int
    data: bytes = b""


class Editor(Cap, name="test.Editor", version=2):
    @call
    async def show(self, at: Position, *, loud: bool = False) -> Position: ...

    @call
    async def ok(self, text: str = "", number: int = 0) -> bool: ...

    @stream
    def lines(self, most: int) -> Stream[Position]: ...


async def answers(speaker: Speaker, results: dict[str, Any], seen: list[Any]) -> None:
    """Answer what is asked until the end."""
    while True:
        try:
            asked = await speaker.read()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            return
        seen.append((asked["method"], asked.get("params")))
        if "id" in asked:
            await speaker.write({"jsonrpc": "2.0", "id": asked["id"], "result": results[asked["method"]]})


async def test_the_other_side_through_a_contract() -> None:
    remotes = [Remote(Editor, prefix="editor/", methods={"ok": "yes"})]
    ours, theirs = pipe()
    speaker, seen = Speaker(theirs), list[Any]()
    results: dict[str, Any] = {
        "editor/show": {"line": 2, "data": "AQI=", "unknown": 1},
        "yes": "no",
        "editor/lines": [{"line": 1}, {"line": 2, "data": "AQ=="}],
    }
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answers, speaker, results, seen)
        async with connected(ours, Settings(remotes=remotes)) as connection:
            editor = await foreign(connection, Editor)
            assert await editor.show(Position(1, b"\x01"), loud=True) == Position(2, b"\x01\x02")
            assert [position async for position in editor.lines(2)] == [Position(1), Position(2, b"\x01")]
            with pytest.raises(CapnetError) as caught:
                await editor.ok("x")
            assert caught.value.reason == "result_type"
            results |= {"editor/lines": 7, "editor/show": {"line": 1, "data": "!"}}
            with pytest.raises(CapnetError, match="array"):
                await anext(editor.lines(1))
            with pytest.raises(CapnetError, match="base64"):
                await editor.show(Position(1))
            client = await connection.bootstrap(Foreign)
            await client.notify("log", {"data": b"\x01"})
            assert await client.request("yes", [1]) == "no"
        await ours.aclose()
    assert seen[0] == ("editor/show", {"at": {"line": 1, "data": "AQ=="}, "loud": True})
    assert ("log", {"data": "AQ=="}) in seen


async def test_arguments_by_place() -> None:
    ours, theirs = pipe()
    speaker, seen = Speaker(theirs), list[Any]()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answers, speaker, {"test.Editor.ok": True}, seen)
        async with connected(ours, Settings(remotes=[Remote(Editor, by_place=True)])) as connection:
            editor = await foreign(connection, Editor)
            assert await editor.ok("x", 7)
            assert await editor.ok()
            with pytest.raises(CapnetError, match="by place"):
                await editor.ok(number=7)
        await ours.aclose()
    assert [params for _, params in seen] == [["x", 7], []]


async def test_two_gateways_back_to_back() -> None:
    """Errors, values and references come through both."""
    async with office() as (host, _), Gateway(host) as gateway, anyio.create_task_group() as tasks:
        ours, theirs = pipe()
        tasks.start_soon(gateway.serve, theirs, GUEST)
        async with connected(ours, Settings(remotes=[Remote(Odd)])) as connection:
            odd = await foreign(connection, Odd)
            assert await odd.double(2, b"\x01") == [4, "AQE=", None]
            with pytest.raises(NotFound) as caught:
                await odd.fail("not_found")
            assert (caught.value.reason, caught.value.details["which"]) == ("thing", 7)
        await ours.aclose()


async def test_what_the_program_serves_are_methods_for_the_other_side() -> None:
    ours, theirs = pipe()
    speaker = Speaker(theirs)
    async with connected(ours) as connection:
        connection.serve(MemOdd())
        assert await speaker.ask("odd.Odd.double", [3]) == [6, "", None]
    await ours.aclose()


async def test_a_program_that_goes_ends_the_connection() -> None:
    ours, theirs = pipe()
    async with connected(ours) as connection:
        client = await connection.bootstrap(Foreign)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(theirs.aclose)
            with anyio.fail_after(60), pytest.raises(CapnetError):
                await client.request("x")
            await connection.wait_closed()
    await ours.aclose()


async def test_an_error_of_the_block_is_raised_as_it_is() -> None:
    ours, _ = pipe()
    with pytest.raises(ZeroDivisionError):
        async with connected(ours):
            raise ZeroDivisionError


# A client is a peer


class Policy:
    async def identify(self, introduction: Introduction) -> Identity | Denied:
        principal = introduction.attestation.principal
        return Denied("nobody knows you") if principal is None else Identity(principal=f"{principal}!")

    async def admit(self, request: Admission) -> bool | Denied:
        return request.name != "with/slash" or Denied("it is not for you")


async def test_who_a_client_is_comes_from_its_socket(tmp_path: Path) -> None:
    (tcp,) = (await anyio.create_tcp_listener(local_host="127.0.0.1")).listeners
    port = tcp.extra(anyio.abc.SocketAttribute.local_port)
    unix = await anyio.create_unix_listener(f"{tmp_path}/socket")
    async with tcp, unix, office() as (host, _), Gateway(host) as gateway, anyio.create_task_group() as tasks:
        tasks.start_soon(tcp.serve, gateway.serve)
        tasks.start_soon(unix.serve, gateway.serve)
        async with await anyio.connect_unix(f"{tmp_path}/socket") as stream:
            assert await Speaker(stream).ask("odd.Odd.noted") == []
            (connection,) = host.connections
            proven = connection.attestation
            assert (proven.transport, proven.uid, proven.pid) == ("jsonrpc", os.getuid(), os.getpid())
        await connection.wait_closed()
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            assert await Speaker(stream).ask("odd.Odd.noted") == []
            (connection,) = host.connections
            assert connection.attestation.uid is None
            assert (connection.attestation.address or "").startswith("127.0.0.1:")
        await connection.wait_closed()
        tasks.cancel_scope.cancel()


async def test_clients_that_go_at_once_end_no_listener() -> None:
    (listener,) = (await anyio.create_tcp_listener(local_host="127.0.0.1")).listeners
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, office() as (host, _), Gateway(host) as gateway, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, gateway.serve)
        for turn in range(30):
            with socket.create_connection(("127.0.0.1", port)) as rude:
                rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                rude.sendall(b"{" * turn)
            for _ in range(turn):
                await anyio.lowlevel.checkpoint()
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            assert await Speaker(stream).ask("odd.Odd.noted") == []
        tasks.cancel_scope.cancel()


async def test_whole_messages() -> None:
    """As those of a WebSocket are, in both directions."""
    asked: deque[str | bytes] = deque([b'{"jsonrpc": "2.0", "id": 1, "method": "odd.Odd.noted"}', "{", ""])
    answers: list[str] = []

    async def receive() -> str | bytes:
        await anyio.lowlevel.checkpoint()
        if not asked:
            raise anyio.EndOfStream
        return asked.popleft()

    async def send(text: str) -> None:
        answers.append(text)

    async with office() as (host, _), Gateway(host) as gateway:
        await gateway.serve_messages(receive, send, GUEST)
    answers.sort()
    assert json.loads(answers[0])["result"] == [] and json.loads(answers[1])["error"]["code"] == -32700


async def test_policy_holds_for_clients() -> None:
    async with one(policy=Policy()) as (speaker, host, _):
        assert await speaker.ask("odd.Odd.double", [1]) == [2, "", None]
        assert [connection.attestation.principal for connection in host.connections] == ["guest!"]
        error = await speaker.fail("with/slash.double", [1])
        assert (error["code"], error["data"]["code"]) == (-32603, "permission_denied")
    nobody = Attestation(transport="jsonrpc")
    async with office(policy=Policy()) as (host, _), Gateway(host) as gateway, client(gateway, nobody) as stranger:
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await stranger.ask("odd.Odd.double", [1])


async def test_closing_a_principal_and_what_is_served_ends_for_clients() -> None:
    async with one() as (speaker, host, odd):
        number = await speaker.begin("odd.Odd.hang")
        await odd.begun.wait()
        host.unserve("odd.Odd")
        assert (await speaker.answer(number))["error"]["data"]["code"] in ("failed_precondition", "unavailable")
        assert (await speaker.fail("odd.Odd.double", [1]))["code"] == -32601
        host.serve(MemOdd())
        assert await speaker.ask("odd.Odd.double", [1]) == [2, "", None]
        assert await host.close_all(principal="guest") == 1
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await speaker.read()


async def test_a_revoked_capability_is_revoked_for_clients() -> None:
    async with one() as (speaker, host, _):
        clerk = MemClerk({"tea": (file := MemFile([Note("a")]))})
        host.serve(clerk, name="clerk")
        handle = await speaker.ask("clerk.open", ["tea"])
        revoke(file)
        assert (await speaker.fail(f"{handle}.read"))["data"]["reason"] == "revoked"


async def test_another_implementation_is_described_anew() -> None:
    class More(Odd, name="odd.Odd", version=2):
        @call
        async def more(self) -> str: ...

    class MemMore(MemOdd, More):
        async def more(self) -> str:
            return "more"

    async with one() as (speaker, host, _):
        assert await speaker.ask("odd.Odd.noted") == []
        host.unserve("odd.Odd")
        host.serve(MemMore(), name="odd.Odd")
        assert await speaker.ask("odd.Odd.more") == "more"


async def test_a_principal_has_so_many_sessions() -> None:
    settings = Settings(bounds=Bounds(max_sessions=2))
    async with office() as (host, _), Gateway(host, settings) as gateway:
        async with client(gateway) as first, client(gateway) as second:
            for speaker in (first, second):
                assert await speaker.ask("odd.Odd.noted") == []
            async with client(gateway) as third:
                with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                    await third.ask("odd.Odd.noted")
            async with client(gateway, Attestation(principal="other")) as fourth:
                assert await fourth.ask("odd.Odd.noted") == []
        async with client(gateway) as fifth:
            assert await fifth.ask("odd.Odd.noted") == []


async def test_a_host_without_room_turns_clients_away() -> None:
    limits = HostLimits(max_connections=1)
    async with office(host_limits=limits) as (host, _), Gateway(host) as gateway, client(gateway) as first:
        assert await first.ask("odd.Odd.noted") == []
        async with client(gateway) as second:
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await second.ask("odd.Odd.noted")


@pytest.mark.parametrize(("size", "gone"), [(400, False), (40_000, True)], ids=["small answers", "large answers"])
async def test_a_client_that_reads_nothing_holds_up_nobody_else(size: int, gone: bool) -> None:
    """Nothing is read from it any more, or it is sent away."""
    settings = Settings(bounds=Bounds(max_output=64 * 1024))
    sent = 0

    async def flood(hostile: Speaker) -> None:
        nonlocal sent
        with suppress(anyio.BrokenResourceError):
            while True:
                await hostile.begin("odd.Odd.double", [1, "A" * size])
                sent += 1

    async with office() as (host, _), Gateway(host, settings) as gateway:
        ours, theirs = pipe(most=4)
        async with anyio.create_task_group() as tasks, client(gateway, Attestation(principal="other")) as honest:
            tasks.start_soon(gateway.serve, theirs, GUEST)
            tasks.start_soon(flood, Speaker(ours))
            before = -1
            while before < sent:
                before = sent
                for _ in range(20):
                    assert await honest.ask("odd.Odd.double", [1]) == [2, "", None]
            assert 4 < sent < 100
            assert len(host.connections) == (1 if gone else 2)
            await ours.aclose()


@pytest.mark.parametrize(
    "bounds", [Bounds(max_output=500), Bounds(write_timeout=0.05)], ids=["too much waits", "too long"]
)
async def test_a_session_ends_whatever_its_client_holds_up(bounds: Bounds) -> None:
    """Also while a message is being written."""
    async with office() as (host, _), Sessions(host, 64) as sessions, sessions.open(GUEST) as (connection, share):
        session = Session(LSP, bounds=bounds, share=share)

        async def write(text: str) -> None:
            await anyio.sleep_forever()

        with anyio.fail_after(60):
            async with Bridge(connection, session, write).running() as bridge:
                for number in range(20):
                    bridge.feed(json.dumps({"jsonrpc": "2.0", "id": number, "method": "odd.Odd.noted"}))
                await anyio.sleep_forever()
        assert (share.calls, share.output) == (0, 0)


async def test_nothing_is_kept_of_what_was_given_up_before_it_began() -> None:
    asked = anyio.Event()

    class Slow:
        async def admit(self, request: Admission) -> bool:
            asked.set()
            await anyio.sleep_forever()
            return True

    async def write(text: str) -> None:
        pass

    async with (
        office(policy=Slow()) as (host, _),
        Sessions(host, 64) as sessions,
        sessions.open(GUEST) as (connection, share),
        Bridge(connection, Session(LSP, share=share), write).running() as bridge,
    ):
        bridge.feed(json.dumps({"jsonrpc": "2.0", "id": 0, "method": "odd.Odd.noted"}))
        await asked.wait()
        for number in range(1, 200):
            bridge.feed(json.dumps({"jsonrpc": "2.0", "id": number, "method": "odd.Odd.noted"}))
            bridge.feed(json.dumps({"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": number}}))
        assert len(bridge._waiting) == 0 and share.calls == 1


async def test_headers_and_batches() -> None:
    settings = Settings(framing="headers")
    async with (
        office() as (host, _),
        Gateway(host, settings) as gateway,
        client(gateway, framing=Headers(1 << 20)) as speaker,
    ):
        number = {"jsonrpc": "2.0", "id": 1.5, "method": "odd.Odd.noted"}
        await speaker.write([number, {**number, "id": "x", "method": "nothing"}, {**number, "id": None}])
        answers = await speaker.read()
        assert {json.dumps(one["id"]): "result" in one for one in answers} == {
            "1.5": True,
            '"x"': False,
            "null": True,
        }
        await speaker.stream.send(b"Content-Length: x\r\n\r\n")
        assert (await speaker.read())["error"]["code"] == -32700
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await speaker.read()


async def test_what_was_asked_for_before_the_end_of_input_is_answered() -> None:
    async with office() as (host, odd), Gateway(host) as gateway:
        ours, theirs = pipe()
        speaker = Speaker(ours)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gateway.serve, theirs, GUEST)
            number = await speaker.begin("odd.Odd.double", [1])
            hanging = await speaker.begin("odd.Odd.hang")
            await ours.end()
            assert (await speaker.answer(number))["result"] == [2, "", None]
            with pytest.raises(anyio.EndOfStream):
                await speaker.answer(hanging)
        assert odd.ended.is_set()
        await ours.aclose()
