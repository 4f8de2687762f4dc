"""Clients that send anything: hosts, agents and programs behind a gateway, with a seed for what is said."""

from __future__ import annotations

import json
import logging
from collections import Counter
from contextlib import suppress
from random import Random
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from capnet import Attestation, CapnetError, Host, Limits
from capnet.gateways.acp import connected, for_editors
from capnet.gateways.bounds import Bounds
from capnet.gateways.jsonrpc import LSP, Gateway, Session, Settings
from tests.cost import BARS
from tests.gateways.agents import MemAgent, MemClient
from tests.gateways.pipes import Speaker, pipe
from tests.gateways.test_jsonrpc_bridge import GUEST, MemOdd, office
from tests.loops import ONE_LOOP

ROUNDS = 6000 if BARS else 400
SCALARS: list[Any] = [
    None, True, False, 0, 1, -1, 2**31, 2**53, 2**64, -(2**64) - 1, 10**40, 0.5, 1e308, "", "a", "tea", "AQI=",
    "\ud800", "\x00", "x" * 300, "ä" * 200, "capnet-1", "capnet-2", "acp.Client", "2026-01-01",
    "cap_" + "a" * 26, "s", "old",
]  # fmt: skip
KEYS = [
    "id", "requestId", "sessionId", "terminalId", "number", "data", "when", "to", "kind", "texts", "do", "text", "name",
    "reader", "lines", "cap", "method", "params", "prompt", "update", "code", "message", "", "\ud800", "_meta", "what",
    "reason", "retry", "details",
]  # fmt: skip
METHODS = [
    *(f"odd.Odd.{name}" for name in ("double", "fail", "count", "each", "note", "noted", "ask", "aclose", "__init__")),
    *(f"office.Clerk.{name}" for name in ("open", "show", "all", "count", "keep", "each", "nothing")),
    "capnet.next", "capnet.release", "capnet.describe", "$/cancelRequest", "$/cancel_request", "capnet.Runtime.ping",
    "initialize", "authenticate", "session/new", "session/load", "session/prompt", "session/cancel", "session/close",
    "session/list", "session/update", "session/request_permission", "fs/read_text_file", "terminal/create",
    "terminal/output", "terminal/release", "elicitation/create", "_more/ask", "", ".", "/", "a", "\ud800.x", "\x00.x",
]  # fmt: skip


FITTING: dict[str, list[Any]] = {
    "odd.Odd.double": [[1], {"number": 2, "data": "AQI="}],
    "odd.Odd.count": [[3], [200]],
    "odd.Odd.each": [[["a"], "client/x"]],
    "odd.Odd.ask": [["client/x", 1]],
    "odd.Odd.noted": [[], {}],
    "office.Clerk.open": [["tea"]],
    "office.Clerk.show": [["tea"]],
    "office.Clerk.all": [[]],
    "office.Clerk.keep": [[{"a": [1, None]}]],
    "session/new": [{"cwd": "/"}],
    "session/load": [{"sessionId": "old"}],
}
"""Params that make sense."""
PROMPT = {"prompt": [{"type": "text", "text": "terminal"}]}


class Hostile:
    """Says anything, with what it has been given mixed in."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.given: list[str] = []
        self.results = 0

    def value(self, depth: int = 3) -> Any:
        kind = self.random.randrange(8 if depth else 5)
        if kind < 4:
            return self.random.choice(SCALARS)
        if kind == 4:
            return self.random.choice(self.given or ["s"])
        if kind == 5:
            return [self.value(depth - 1) for _ in range(self.random.randrange(4))]
        if kind == 6:
            return [{"type": "text", "text": self.random.choice(["a", "hang", "read", "permission", "terminal"])}]
        return {self.random.choice(KEYS): self.value(depth - 1) for _ in range(self.random.randrange(5))}

    def method(self) -> str:
        if self.given and not self.random.randrange(6):
            return f"{self.random.choice(self.given)}.{self.random.choice(['read', 'follow', 'write', 'x'])}"
        return self.random.choice(METHODS)

    def message(self) -> Any:
        told: dict[str, Any] = {"jsonrpc": "2.0"}
        match self.random.randrange(8):
            case 0:
                told |= {"id": f"capnet-{self.random.randrange(20)}", "result": self.value()}
            case 1:
                details = {"code": "not_found", "details": self.value()}
                error = self.random.choice([self.value(), {"code": 1, "data": details}])
                told |= {"id": f"capnet-{self.random.randrange(20)}", "error": error}
            case 2:
                told |= {"method": self.method(), "params": self.value()}
            case 3:
                return self.value()
            case _:
                method = self.method()
                fitting = FITTING.get(method, [{"sessionId": self.random.choice(self.given or ["s"]), **PROMPT}])
                params = self.random.choice(fitting) if self.random.randrange(3) else self.value()
                told |= {"id": self.random.randrange(1000), "method": method, "params": params}
        return told

    def line(self) -> bytes:
        match self.random.randrange(20):
            case 0:
                return self.random.randbytes(self.random.randrange(50)).replace(b"\n", b"")
            case 1:
                return json.dumps([self.message() for _ in range(self.random.randrange(5))]).encode()
            case 2:
                return json.dumps(self.message()).encode()[: self.random.randrange(80)]
            case _:
                return json.dumps(self.message()).encode()

    async def talk(self, stream: Any, rounds: int) -> None:
        """Say so much; what is asked meanwhile is answered, or not."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.listen, stream)
            for _ in range(rounds):
                await stream.send(self.line() + b"\n")
                for _ in range(self.random.randrange(20)):
                    await anyio.lowlevel.checkpoint()  # the other side comes to work on some of it
            tasks.cancel_scope.cancel()

    async def listen(self, stream: Any) -> None:
        speaker = Speaker(stream)
        while True:
            message = await speaker.read()
            self.learn(message)
            if not isinstance(message, list):
                self.results += "result" in message
                if "method" in message and "id" in message:
                    await speaker.write({"jsonrpc": "2.0", "id": message["id"], "result": self.value()})

    def learn(self, value: Any) -> None:
        """Keep handles and ids."""
        if isinstance(value, dict):
            for item in value.values():  # pyright: ignore[reportUnknownVariableType]
                self.learn(item)
        elif isinstance(value, list):
            for item in value:  # pyright: ignore[reportUnknownVariableType]
                self.learn(item)
        elif isinstance(value, str) and value.startswith(("cap_", "sess_", "term_")) and len(self.given) < 50:
            self.given.append(value)


def nothing_unexpected(records: list[logging.LogRecord]) -> None:
    """What a gateway could not work on would be a fault of ours."""
    wrong = [record for record in records if record.levelno >= logging.ERROR and "gateways" in record.name]
    assert not wrong, wrong[0].getMessage() + str(wrong[0].exc_info)


@pytest.mark.parametrize("seed", range(3))
async def test_a_host_behind_a_gateway(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing undeclared is raised, the others go on, and nothing of the client's is left."""
    settings = Settings(dialect=LSP, bounds=Bounds(max_calls=16, max_handles=20))
    async with office() as (host, _), Gateway(host, settings) as gateway, anyio.create_task_group() as tasks:
        honest, theirs = pipe()
        tasks.start_soon(gateway.serve, theirs, Attestation(principal="honest"))
        hostile, other = pipe()
        tasks.start_soon(gateway.serve, other, GUEST)
        one = Hostile(seed)
        await one.talk(hostile, ROUNDS)
        assert one.results > ROUNDS / 50
        assert await Speaker(honest).ask("odd.Odd.double", [1]) == [2, "", None]
        await hostile.aclose()
        for connection in host.connections:
            if connection.attestation is GUEST:
                with anyio.fail_after(60):
                    await connection.wait_closed()
        await honest.aclose()
    nothing_unexpected(caplog.records)


@pytest.mark.parametrize("seed", range(2))
async def test_an_agent_behind_a_gateway(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    async with Host() as host, Gateway(host, for_editors()) as gateway, anyio.create_task_group() as tasks:
        host.serve(MemAgent())
        honest, theirs = pipe()
        tasks.start_soon(gateway.serve, theirs, Attestation(principal="honest"))
        hostile, other = pipe()
        tasks.start_soon(gateway.serve, other, GUEST)
        one = Hostile(seed)
        await one.talk(hostile, ROUNDS)
        assert one.results > ROUNDS / 50
        assert (await Speaker(honest).ask("session/new", {}))["sessionId"]
        await hostile.aclose()
        await honest.aclose()
    nothing_unexpected(caplog.records)


@pytest.mark.parametrize("seed", range(2))
async def test_a_program_that_says_it_is_an_agent(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    ours, theirs = pipe()
    async with connected(ours, client=MemClient()) as agent, anyio.create_task_group() as tasks:

        async def use() -> None:
            while True:
                with anyio.move_on_after(0.05), suppress(CapnetError):
                    opened = await agent.new_session({"cwd": "/"}, MemClient())
                    await opened.session.prompt({"prompt": []})

        tasks.start_soon(use)
        await Hostile(seed).talk(theirs, ROUNDS)
        tasks.cancel_scope.cancel()
    await theirs.aclose()
    nothing_unexpected(caplog.records)


CLIENTS, TOOLS = 50, 20


@ONE_LOOP
@pytest.mark.parametrize("protocol", ["jsonrpc", "acp"])
async def test_fifty_clients_and_a_hostile_one(protocol: str) -> None:
    """All are answered by twenty capabilities, whatever one of them does; the host counts them as it does any peer."""
    settings = for_editors() if protocol == "acp" else Settings()
    limits = Limits(max_calls=16)
    async with office(limits=limits) as (host, _), Gateway(host, settings) as gateway:
        host.serve(MemAgent())
        for number in range(TOOLS):
            host.serve(MemOdd(), name=f"tool-{number}")
        done = Counter[int]()

        async def honest(number: int) -> None:
            ours, theirs = pipe()
            tasks.start_soon(gateway.serve, theirs, Attestation(principal=f"client-{number}"))
            speaker = Speaker(ours)
            for turn in range(4):
                if protocol == "acp":
                    opened = await speaker.ask("session/new", {"cwd": "/"})
                    prompt = [{"type": "text", "text": str(turn)}]
                    assert (await speaker.ask("session/prompt", {**opened, "prompt": prompt}))[
                        "stopReason"
                    ] == "end_turn"
                else:
                    tool = f"tool-{(number + turn) % TOOLS}"
                    assert await speaker.ask(f"{tool}.double", [turn]) == [2 * turn, "", None]
                done[number] += 1
            await ours.aclose()

        async with anyio.create_task_group() as tasks:
            hostile, other = pipe()
            tasks.start_soon(gateway.serve, other, GUEST)
            async with anyio.create_task_group() as clients:
                for number in range(CLIENTS):
                    clients.start_soon(honest, number)
                await Hostile(7).talk(hostile, ROUNDS)
            await hostile.aclose()
        assert done == dict.fromkeys(range(CLIENTS), 4)


async def test_a_fault_in_one_session_ends_that_one_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What nobody has thought of does not reach the listener, which has the others."""
    fed = Session.feed

    def feed(self: Session, text: str | bytes) -> Any:
        if b"fault" in (text if isinstance(text, bytes) else text.encode()):
            raise LookupError("of a test")
        return fed(self, text)

    monkeypatch.setattr(Session, "feed", feed)
    async with office() as (host, _), Gateway(host) as gateway, anyio.create_task_group() as tasks:
        (good, one), (bad, other) = pipe(), pipe()
        tasks.start_soon(gateway.serve, one, Attestation(principal="honest"))
        tasks.start_soon(gateway.serve, other, GUEST)
        await bad.send(b"fault\n")
        with pytest.raises(anyio.EndOfStream):
            await bad.receive()
        assert await Speaker(good).ask("odd.Odd.double", [1]) == [2, "", None]
        await good.aclose()
    assert [record.exc_info is not None for record in caplog.records if record.levelno == logging.ERROR] == [True]
