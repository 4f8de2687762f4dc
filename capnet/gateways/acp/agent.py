"""An agent at the other end: a program that is started, as a capability.

what is asked of the agent and its sessions   the program, with the id of the session
session/update, session/request_permission, …   the client that the session was opened with
terminal/output, …                              the terminal that was made under that id
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Mapping
from typing import Any, Final

from anyio import Event

from capnet import Connection, Internal, InvalidArgument, NotFound, ResourceExhausted, Unimplemented, Untyped, untyped
from capnet.gateways.jsonrpc.bridge import Bridge
from capnet.gateways.jsonrpc.calling import Begun
from capnet.gateways.jsonrpc.session import Request

from .contracts import Agent, Client, Opened, Session
from .members import object_of, without

__all__ = ["Program"]

MAX_TERMINALS: Final = 256
"""Terminals that one program has."""
_OF_CLIENT: Final[Mapping[str, str]] = {
    "session/update": "update",
    "session/request_permission": "request_permission",
    "fs/read_text_file": "read_text_file",
    "fs/write_text_file": "write_text_file",
    "elicitation/create": "create_elicitation",
    "elicitation/complete": "complete_elicitation",
    "terminal/create": "create_terminal",
}
_OF_TERMINAL: Final[Mapping[str, str]] = {
    "terminal/output": "output",
    "terminal/wait_for_exit": "wait_for_exit",
    "terminal/kill": "kill",
    "terminal/release": "release",
}


class Program:
    """Begins what a program asks for that is an agent, and serves the agent; see `capnet.gateways.jsonrpc`.

    Args:
        connection: of this program alone. What is asked of no session goes to the `Client` that is served there.
        bridge: by which it is asked.
    """

    def __init__(self, connection: Connection, bridge: Bridge) -> None:
        self._connection = connection
        self.ask = bridge.ask
        self.tell = bridge.tell
        self._json = bridge.json
        self._clients: dict[str, Untyped] = {}
        self._terminals: dict[tuple[str, str], Untyped] = {}
        self._opening = 0
        """Sessions whose ids are not known yet."""
        self._opened = Event()
        connection.serve(_Agent(self))

    async def begin(self, request: Request) -> Begun:
        """See `Begins`."""
        method, params = request.method, object_of(request.params, "params")
        if method in _OF_TERMINAL:
            return self._of_terminal(method, params)
        client = await self._client(params.get("sessionId"))
        if method == "terminal/create":
            return self._create(client, params)
        if method in _OF_CLIENT:
            return self._answered(client.call(_OF_CLIENT[method], params=without(params, "sessionId")))
        kind = "notify" if request.id is None else "request"
        return self._answered(client.call(kind, method=method, params=params))

    async def open(self, method: str, params: dict[str, Any], client: Client) -> Opened:
        """Open a session, of which the client is told everything."""
        known = params.get("sessionId") if method != "session/new" else None
        if isinstance(known, str):  # while it is opened its past is told
            self._clients[known] = untyped(client)
        self._opening += known is None
        try:
            answer = object_of(await self.ask(method, params, behind_news=known is not None), "answer")
            number = answer.get("sessionId") if known is None else known
            if not isinstance(number, str):
                raise Internal("the agent has opened no session")
            self._clients[number] = untyped(client)
        except BaseException:
            if isinstance(known, str):
                self._clients.pop(known, None)
            raise
        finally:
            self._opening -= known is None
            self._opened.set()
            self._opened = Event()
        return Opened(_Session(self, number), number, without(answer, "sessionId"))

    def forget(self, number: str) -> None:
        """A session is over."""
        self._clients.pop(number, None)
        for key in [key for key in self._terminals if key[0] == number]:
            del self._terminals[key]

    async def _client(self, number: object) -> Untyped:
        if number is None:  # it is of no session
            try:
                return await self._connection.bootstrap_untyped("acp.Client")
            except NotFound as error:
                raise Unimplemented("nothing that is of no session is answered here") from error
        while isinstance(number, str) and number not in self._clients and self._opening:
            await self._opened.wait()  # the answer that has its id has come, but was not looked at yet
        client = self._clients.get(number) if isinstance(number, str) else None
        if client is None:
            raise NotFound("there is no such session", reason="session", details={"sessionId": number})
        return client

    def _create(self, client: Untyped, params: dict[str, Any]) -> Begun:
        session = params.get("sessionId")
        if not isinstance(session, str):
            raise InvalidArgument("sessionId is missing")
        if len(self._terminals) >= MAX_TERMINALS:
            raise ResourceExhausted(f"there are {MAX_TERMINALS} terminals already", reason="max_terminals")
        made = client.call("create_terminal", params=without(params, "sessionId"))

        async def created() -> Any:
            told = object_of(await made, "what was made")
            terminal, answer = told.get("terminal"), object_of(told.get("answer"), "answer")
            if not isinstance(terminal, Untyped):
                raise Internal("there is no terminal")
            number = f"term_{secrets.token_hex(16)}"
            self._terminals[session, number] = terminal
            return self._json({**answer, "terminalId": number})

        return created

    def _of_terminal(self, method: str, params: dict[str, Any]) -> Begun:
        key = params.get("sessionId"), params.get("terminalId")
        terminal = self._terminals.get(key) if all(isinstance(part, str) for part in key) else None  # type: ignore[arg-type]
        if terminal is None:
            raise NotFound("there is no such terminal", reason="terminal", details={"terminalId": key[1]})
        made = terminal.call(_OF_TERMINAL[method], params=without(params, "sessionId", "terminalId"))
        if method == "terminal/release":
            del self._terminals[key]  # type: ignore[arg-type]
        return self._answered(made)

    def _answered(self, made: Awaitable[Any]) -> Begun:
        async def answered() -> Any:
            return self._json(await made)

        return answered


class _Agent(Agent):
    """The program."""

    def __init__(self, program: Program) -> None:
        self._program = program

    async def initialize(self, params: dict[str, Any]) -> dict[str, Any]:
        """`initialize`."""
        return await self._ask("initialize", params)

    async def authenticate(self, params: dict[str, Any]) -> dict[str, Any]:
        """`authenticate`."""
        return await self._ask("authenticate", params)

    async def logout(self, params: dict[str, Any]) -> dict[str, Any]:
        """`logout`."""
        return await self._ask("logout", params)

    async def new_session(self, params: dict[str, Any], client: Client) -> Opened:
        """`session/new`."""
        return await self._program.open("session/new", params, client)

    async def load_session(self, params: dict[str, Any], client: Client) -> Opened:
        """`session/load`."""
        return await self._program.open("session/load", params, client)

    async def resume_session(self, params: dict[str, Any], client: Client) -> Opened:
        """`session/resume`."""
        return await self._program.open("session/resume", params, client)

    async def list_sessions(self, params: dict[str, Any]) -> dict[str, Any]:
        """`session/list`."""
        return await self._ask("session/list", params)

    async def delete_session(self, params: dict[str, Any]) -> dict[str, Any]:
        """`session/delete`."""
        return await self._ask("session/delete", params)

    async def request(self, method: str, params: dict[str, Any]) -> Any:
        """As it is."""
        return await self._program.ask(method, params)

    async def notify(self, method: str, params: dict[str, Any]) -> None:
        """As it is."""
        await self._program.tell(method, params)

    async def _ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        return object_of(await self._program.ask(method, params), f"the answer to {method}")


class _Session(Session):
    """A session of the program's."""

    def __init__(self, program: Program, number: str) -> None:
        self._program = program
        self._number = number

    async def prompt(self, params: dict[str, Any]) -> dict[str, Any]:
        """`session/prompt`. When it is over the client has been told everything."""
        return await self._ask("session/prompt", params, behind_news=True)

    async def cancel(self, params: dict[str, Any]) -> None:
        """`session/cancel`."""
        await self._program.tell("session/cancel", {**params, "sessionId": self._number})

    async def set_mode(self, params: dict[str, Any]) -> dict[str, Any]:
        """`session/set_mode`."""
        return await self._ask("session/set_mode", params)

    async def set_config_option(self, params: dict[str, Any]) -> dict[str, Any]:
        """`session/set_config_option`."""
        return await self._ask("session/set_config_option", params)

    async def close(self, params: dict[str, Any]) -> dict[str, Any]:
        """`session/close`."""
        answer = await self._ask("session/close", params)
        self._program.forget(self._number)
        return answer

    async def aclose(self) -> None:
        """Nobody has it any more."""
        self._program.forget(self._number)

    async def _ask(self, method: str, params: dict[str, Any], *, behind_news: bool = False) -> dict[str, Any]:
        members = {**params, "sessionId": self._number}
        answer = await self._program.ask(method, members, behind_news=behind_news)
        return object_of(answer, f"the answer to {method}")
