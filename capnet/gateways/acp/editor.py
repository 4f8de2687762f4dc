"""An editor at the other end: what it asks for is asked of an agent that is served here.

initialize, session/new, …        the agent
session/prompt, session/cancel, …  the session that was opened under that id
what an agent asks of its client   the editor, with the id of the session
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from anyio import Event, Lock, move_on_after

from capnet import (
    CapnetError,
    Connection,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unimplemented,
    Untyped,
    on_broken,
)
from capnet.gateways.jsonrpc.bridge import Bridge
from capnet.gateways.jsonrpc.calling import Begun
from capnet.gateways.jsonrpc.session import Request

from .contracts import Client, NewTerminal, Terminal
from .members import object_of, without

__all__ = ["Editor"]

MAX_SESSIONS: Final = 256
"""Sessions that one editor has open."""
MAX_ID: Final = 256
EARLY: Final = 0.5
"""Seconds in which the answer that opens a session may come behind the first news of it."""
_OF_AGENT: Final[Mapping[str, str]] = {
    "initialize": "initialize",
    "authenticate": "authenticate",
    "logout": "logout",
    "session/list": "list_sessions",
    "session/delete": "delete_session",
}
_OPENING: Final[Mapping[str, str]] = {
    "session/new": "new_session",
    "session/load": "load_session",
    "session/resume": "resume_session",
}
_OF_SESSION: Final[Mapping[str, str]] = {
    "session/prompt": "prompt",
    "session/cancel": "cancel",
    "session/set_mode": "set_mode",
    "session/set_config_option": "set_config_option",
    "session/close": "close",
}


class Editor:
    """Begins what an editor asks for; see `capnet.gateways.jsonrpc`.

    Args:
        connection: of this editor alone.
        bridge: by which it is asked.
        name: under which the agent is served.
    """

    def __init__(self, connection: Connection, bridge: Bridge, name: str) -> None:
        self._connection = connection
        self._bridge = bridge
        self._name = name
        self._agent: Untyped | None = None
        self._sessions: dict[str, Untyped] = {}

    async def begin(self, request: Request) -> Begun:
        """See `Begins`."""
        method, params = request.method, object_of(request.params, "params")
        if method in _OF_SESSION:
            return self._of_session(method, params)
        agent = await self._served()
        if method in _OPENING:
            return self._open(agent, method, params)
        if method in _OF_AGENT:
            return self._answered(agent.call(_OF_AGENT[method], params=params))
        kind = "notify" if request.id is None else "request"
        return self._answered(agent.call(kind, method=method, params=params))

    async def _served(self) -> Untyped:
        if self._agent is None:
            try:
                self._agent = await self._connection.bootstrap_untyped(self._name)
            except NotFound as error:
                raise Unimplemented(f"no agent is served as {self._name!r}", reason="name") from error
            on_broken(self._agent, self._lost)
        return self._agent

    def _lost(self, _: CapnetError) -> None:
        """It is asked for again: another one may be served."""
        self._agent = None

    def _open(self, agent: Untyped, method: str, params: dict[str, Any]) -> Begun:
        if len(self._sessions) >= MAX_SESSIONS:
            raise ResourceExhausted(f"{MAX_SESSIONS} sessions are open already", reason="max_sessions")
        wanted = None if method == "session/new" else _id(params)
        client = _Client(self._bridge, wanted)
        made = agent.call(_OPENING[method], params=params, client=client)

        async def opened() -> Any:
            try:
                return await told_of()
            finally:
                client.known.set()

        async def told_of() -> Any:
            told = object_of(await made, "what the agent has opened")
            session, answer = told.get("session"), object_of(told.get("answer"), "answer")
            if not isinstance(session, Untyped):
                raise Internal("the agent has opened no session")
            number = wanted or _own_id(told.get("id"))
            former = self._sessions.pop(number, None)
            self._sessions[number] = session
            on_broken(session, lambda _: self._forget(number, session))
            if former is not None:
                await former.aclose()
            client.session = number
            return self._bridge.json(answer | ({"sessionId": number} if wanted is None else {}))

        return opened

    def _of_session(self, method: str, params: dict[str, Any]) -> Begun:
        number = _id(params)
        session = self._sessions.get(number)
        if session is None:
            raise NotFound("there is no such session", reason="session", details={"sessionId": number})
        made = session.call(_OF_SESSION[method], params=without(params, "sessionId"))
        if method != "session/close":
            return self._answered(made)

        async def closed() -> Any:
            answer = await made
            self._forget(number, session)
            await session.aclose()
            return self._bridge.json(answer)

        return closed

    def _forget(self, number: str, session: Untyped) -> None:
        """It is over, or was taken back."""
        if self._sessions.get(number) is session:
            del self._sessions[number]

    def _answered(self, made: Awaitable[Any]) -> Begun:
        async def answered() -> Any:
            return self._bridge.json(await made)

        return answered


class _Client(Client):
    """The editor, for one session.

    Attributes:
        session: its id; None as long as the editor does not know it.
        known: the editor is told of it, in the same turn, or never will be.
    """

    def __init__(self, bridge: Bridge, session: str | None) -> None:
        self._bridge = bridge
        self.session = session
        self.known = Event()
        self._order = Lock()

    async def update(self, params: dict[str, Any]) -> None:
        """`session/update`."""
        await self._bridge.tell("session/update", await self._of_session(params))

    async def request_permission(self, params: dict[str, Any]) -> dict[str, Any]:
        """`session/request_permission`."""
        return await self._ask("session/request_permission", params)

    async def read_text_file(self, params: dict[str, Any]) -> dict[str, Any]:
        """`fs/read_text_file`."""
        return await self._ask("fs/read_text_file", params)

    async def write_text_file(self, params: dict[str, Any]) -> dict[str, Any]:
        """`fs/write_text_file`."""
        return await self._ask("fs/write_text_file", params)

    async def create_terminal(self, params: dict[str, Any]) -> NewTerminal:
        """`terminal/create`."""
        answer = await self._ask("terminal/create", params)
        number = answer.get("terminalId")
        if not isinstance(number, str):
            raise Internal("the editor has made no terminal")
        return NewTerminal(_Terminal(self._ask, number), without(answer, "terminalId"))

    async def create_elicitation(self, params: dict[str, Any]) -> dict[str, Any]:
        """`elicitation/create`."""
        return await self._ask("elicitation/create", params)

    async def complete_elicitation(self, params: dict[str, Any]) -> None:
        """`elicitation/complete`, which is of no session."""
        await self._bridge.tell("elicitation/complete", params)

    async def request(self, method: str, params: dict[str, Any]) -> Any:
        """As it is: whether it is of a session is for the method to say."""
        return await self._bridge.ask(method, params)

    async def notify(self, method: str, params: dict[str, Any]) -> None:
        """As it is."""
        await self._bridge.tell(method, params)

    async def _ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        return object_of(await self._bridge.ask(method, await self._of_session(params)), f"the answer to {method}")

    async def _of_session(self, params: dict[str, Any]) -> dict[str, Any]:
        async with self._order:
            if self.session is None:
                with move_on_after(EARLY):  # what opens it may be on another way
                    await self.known.wait()
        if self.session is None:
            raise FailedPrecondition("the editor does not know of this session yet: answer first", reason="early")
        return {**params, "sessionId": self.session}


class _Terminal(Terminal):
    """A terminal of the editor's."""

    def __init__(self, ask: Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]], number: str) -> None:
        self._ask = ask
        self._number = number

    async def output(self, params: dict[str, Any]) -> dict[str, Any]:
        """`terminal/output`."""
        return await self._ask("terminal/output", {**params, "terminalId": self._number})

    async def wait_for_exit(self, params: dict[str, Any]) -> dict[str, Any]:
        """`terminal/wait_for_exit`."""
        return await self._ask("terminal/wait_for_exit", {**params, "terminalId": self._number})

    async def kill(self, params: dict[str, Any]) -> dict[str, Any]:
        """`terminal/kill`."""
        return await self._ask("terminal/kill", {**params, "terminalId": self._number})

    async def release(self, params: dict[str, Any]) -> dict[str, Any]:
        """`terminal/release`."""
        return await self._ask("terminal/release", {**params, "terminalId": self._number})


def _id(params: Mapping[str, Any]) -> str:
    number = params.get("sessionId")
    if not isinstance(number, str) or not 0 < len(number) <= MAX_ID:
        raise InvalidArgument("sessionId is missing")
    return number


def _own_id(number: object) -> str:
    if not number:
        return f"sess_{secrets.token_hex(16)}"
    if not isinstance(number, str) or len(number) > MAX_ID:
        raise Internal("the agent has given a session a wrong id")
    return number
