"""One session in front of one connection: what the client asks for is called, and what comes is told.

The connection is the session's own. What its peer allows it is what the client may do, and nothing is decided here.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from anyio import CancelScope, move_on_after
from anyio.abc import TaskGroup

from capnet import (
    CapnetError,
    Connection,
    ContractDescription,
    DeadlineExceeded,
    NotFound,
    PermissionDenied,
    Unavailable,
    Unimplemented,
    Untyped,
    describe,
)
from capnet.gateways.collecting import collected, text_of
from capnet.gateways.values import arguments_of

from .held import Held, Served
from .session import Action, Call, Cancel, List, Request, Send, Session
from .tools import NEXT, Tool, hidden, spelled, tools_of

if TYPE_CHECKING:
    from capnet.toolbox import Outcome, Toolbox, ToolDescription

__all__ = ["Bridge"]

BOX: Final = "tools.Toolbox"
"""The contract of toolboxes, whose tools are tools here; their methods are none."""
MAX_CONTRACTS: Final = 256
"""Contracts of handles whose methods are tools."""
_log: Final = logging.getLogger("capnet.gateways.mcp")

_Write: TypeAlias = "Callable[[str], Awaitable[None]]"


class Bridge:
    """Works for a session.

        async with create_task_group() as tasks:
            bridge = Bridge(connection, session, write, tasks)
            await bridge.feed(line)

    Args:
        connection: of this session alone.
        session: what the client says goes through it.
        write: sends a message to the client; it may wait until there is room.
        tasks: in which calls run; the owner cancels them at the end.
        held: what the client has beside this session, where it has several.
    """

    def __init__(
        self, connection: Connection, session: Session, write: _Write, tasks: TaskGroup, held: Held | None = None
    ) -> None:
        self._connection = connection
        self._session = session
        self._write = write
        self._tasks = tasks
        self._held = held or Held(connection)
        self._handles = self._held.handles
        self._running: dict[tuple[type, str | int], CancelScope] = {}

    async def feed(self, text: str | bytes) -> None:
        """Do what a message of the client's asks for; calls go on after this."""
        await self.act(self._session.feed(text))

    async def act(self, actions: Sequence[Action]) -> None:
        """Do what the session says."""
        for action in actions:
            match action:
                case Send(text):
                    await self._write(text)
                case Cancel(request):
                    scope = self._running.pop(request.key, None)
                    if scope is not None:
                        scope.cancel()
                case List() | Call():
                    scope = self._running[action.request.key] = CancelScope()
                    self._tasks.start_soon(self._run, action, scope)

    async def follow(self) -> None:
        """Tell the client when there are other tools, until this is cancelled.

        Raises:
            Unavailable: the connection has ended.
        """
        await self._held.news.follow(self._changed)

    async def _changed(self) -> None:
        await self.act(self._session.changed())

    async def _run(self, action: List | Call, scope: CancelScope) -> None:
        request = action.request
        with scope:
            try:
                answer = await (self._list(request) if isinstance(action, List) else self._call(action))
            except CapnetError as error:
                answer = self._failed(action, error)
            except Exception:
                _log.exception("a request of a client could not be worked on")
                answer = self._session.broken(request, "this could not be worked on")
            if self._running.get(request.key) is scope:
                del self._running[request.key]
            await self.act(answer)
        for thing in self._handles.surplus():
            await thing.aclose()

    async def _list(self, request: Request) -> Sequence[Send]:
        tools = await self._tools()
        told = [tool.data() for tool in tools.values()]
        if self._held.boxes is not None:
            told += [one for one in await self._held.boxes.data() if one["name"] not in tools]
        told.append(_NEXT)
        if self._session.names == "underscore":
            names = {meant: name for name, meant in spelled([one["name"] for one in told]).items()}
            told = [{**one, "name": names[one["name"]]} for one in told]
        return self._session.listed(request, told)

    async def _call(self, action: Call) -> Sequence[Send]:
        if self._session.names == "underscore":
            action = replace(action, tool=await self._meant(action.tool))
        if action.tool == NEXT:
            if set(action.arguments) != {"cap"}:
                return self._session.unknown(action.request, f"{NEXT} takes a handle, cap")
            reader = self._handles.get(action.arguments["cap"])
            if not hasattr(reader, "__anext__"):
                raise NotFound("this handle is of no stream", reason="handle")
            self._handles.take(action.arguments["cap"])
            return await self._collected(action.request, reader)
        tool = (await self._tools()).get(action.tool)
        if tool is None:
            found = None if self._held.boxes is None else await self._held.boxes.find(action.tool)
            if found is None:
                return self._session.unknown(action.request, self._why(action.tool))
            return await self._use(action, *found)
        given = dict(action.arguments)
        target = await self._target(tool, given)
        arguments = arguments_of(tool.method, given, self._handles)
        if tool.method.kind == "stream":
            return await self._collected(action.request, target.stream(tool.method.name, **arguments))
        result: Any = None
        with move_on_after(tool.method.timeout) as scope:
            result = await target.call(tool.method.name, **arguments)
        if scope.cancelled_caught:
            raise DeadlineExceeded(f"{tool.name} has taken longer than {tool.method.timeout:g} s")
        if tool.streams:
            return await self._collected(action.request, result)
        return self._session.called(action.request, *_told({"result": await self._json(result)}))

    async def _meant(self, name: str) -> str:
        """The name of a tool that was written without dots; nothing has the empty one."""
        known = {*await self._tools(), NEXT}
        if self._held.boxes is not None:
            known |= (await self._held.boxes.names()).keys()
        return spelled(known).get(name, "")

    def _why(self, name: str) -> str:
        """Why there is no such tool."""
        served, _, method = name.rpartition(".")
        known = self._held.served.get(served)
        why = None if known is None else hidden(known.contract, method)
        return f"there is no tool {name[:100]!r}" + (f": {why}" if why else "")

    async def _use(self, action: Call, box: Toolbox, tool: ToolDescription) -> Sequence[Send]:
        """Call a tool of a toolbox."""
        from .boxes import taken

        arguments, beside = taken(tool, action.arguments, self._handles)
        outcome: Outcome | None = None
        if tool.streams or "cursor" in beside:
            outcome = await box.call(tool.name, arguments, **beside)
        else:
            async with aclosing(box.run(tool.name, arguments, **beside)) as steps:
                async for step in steps:
                    if step.progress is not None:
                        done, total = step.progress.done, step.progress.total
                        await self.act(self._session.progress(action.request, done, step.progress.message, total))
                    outcome = step.outcome
        assert outcome is not None  # the last step has it
        if tool.streams:
            return await self._collected(action.request, outcome.value)
        more = {} if outcome.next is None else {"next": outcome.next}
        return self._session.called(action.request, *_told({"result": await self._json(outcome.value), **more}))

    async def _target(self, tool: Tool, given: dict[str, Any]) -> Untyped:
        if tool.target is not None and tool.handle not in given:
            return await self._connection.bootstrap_untyped(tool.target)
        held = self._handles.get(given.pop(tool.handle, None))
        if not isinstance(held, Untyped) or f"{held.contract_name}.{tool.method.name}" != tool.name:
            raise NotFound(f"this handle has no {tool.name}", reason="handle")
        return held

    async def _tools(self) -> Mapping[str, Tool]:
        """All that can be called now, by name."""
        there = cast("dict[str, dict[str, Any]]", await self._connection.runtime().describe())
        known: dict[str, Served] = {}
        boxes = ((name, told.get("generation", 0)) for name, told in there.items() if told.get("contract") == BOX)
        await self._held.toolboxes(frozenset(boxes))
        for name, told in sorted(there.items()):
            if told.get("contract") == BOX:
                continue
            served = self._held.served.get(name)
            if served is None or served.told != told:  # there is something else
                with suppress(NotFound, PermissionDenied):  # it went meanwhile
                    known[name] = Served(told, await self._describe(name, told))
            else:
                known[name] = served
        self._held.served = known
        tools = {tool.name: tool for each in self._held.contracts.values() for tool in tools_of(each, None)}
        for name, one in known.items():
            for tool in tools_of(one.contract, name):
                same = tools.get(tool.name)  # of handles with a contract of that name
                if same is not None and same.handle not in tool.method.parameters:
                    tool = replace(tool, handle=same.handle)
                tools[tool.name] = tool
        return tools

    async def _describe(self, name: str, told: Mapping[str, Any]) -> ContractDescription:
        async with await self._connection.bootstrap_untyped(name) as capability:
            try:
                return await describe(capability)
            except Unimplemented:
                return ContractDescription.from_data(told)  # an older peer tells of names only

    async def _json(self, value: Any) -> Any:
        """A value as JSON has it. The methods of capabilities in it are tools from now on."""
        found: list[Untyped] = []
        _find(value, found)
        for capability in found:
            name = capability.contract_name
            if name not in self._held.contracts and len(self._held.contracts) < MAX_CONTRACTS:
                with suppress(Unimplemented, NotFound, PermissionDenied):
                    self._held.contracts[name] = await describe(capability)
                    self._held.news.tell()
        return self._handles.json(value)

    async def _collected(self, request: Request, reader: AsyncIterator[Any]) -> Sequence[Send]:
        numbers = count(1)

        async def taken(item: Any) -> Any:
            told = await self._json(item)
            await self.act(self._session.progress(request, next(numbers), text_of(told)))
            return told

        items, ended = await collected(reader, taken)
        rest = {} if ended else {"next": self._handles.add(reader)}
        return self._session.called(request, *_told({"result": items, **rest}))

    def _failed(self, action: List | Call, error: CapnetError) -> Sequence[Send]:
        if isinstance(action, List) or (isinstance(error, Unavailable) and self._connection.closed):
            return self._session.broken(action.request, str(error))
        details = self._handles.json(error.details)
        told = {"code": error.code, "reason": error.reason, "details": details}
        text = f"{error.code}: {error.message}" if error.message else error.code
        return self._session.called(action.request, text, told, failed=True)


_NEXT: Final[dict[str, Any]] = {
    "name": NEXT,
    "description": "Read on in a stream: the next items, and another handle when there are still more.",
    "inputSchema": {
        "type": "object",
        "properties": {"cap": {"type": "string", "format": "capnet-handle"}},
        "required": ["cap"],
        "additionalProperties": False,
    },
}


def _find(value: Any, found: list[Untyped]) -> None:
    if isinstance(value, Untyped):
        found.append(value)
    elif isinstance(value, dict):
        for item in cast("dict[str, Any]", value).values():
            _find(item, found)
    elif isinstance(value, list):
        for item in cast("Any", value):
            _find(item, found)


def _told(structured: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    shown = structured["result"] if len(structured) == 1 else structured
    return text_of(shown), structured
