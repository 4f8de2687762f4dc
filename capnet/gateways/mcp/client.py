"""The tools of an MCP server, for a toolbox: `toolbox(mcp_tools(["uvx", "some-server"]))`."""

from __future__ import annotations

import base64
import logging
import ssl
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext, suppress
from typing import Any, Final, cast

from anyio import (
    Event,
    Lock,
    WouldBlock,
    create_memory_object_stream,
    fail_after,
    get_cancelled_exc_class,
    move_on_after,
)
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

import capnet
from capnet import (
    CapnetError,
    Internal,
    InvalidArgument,
    Sink,
    Unavailable,
    Unimplemented,
)
from capnet.gateways.bounds import Bounds
from capnet.gateways.tasks import tasks_of_block
from capnet.toolbox import Extras, Offered, Progress, Rule, ToolDescription

from .asking import Answered, Asking, Changed, Progressed, Reply, Request
from .headers import within
from .posting import Endpoint
from .ways import Http, Program, Way

__all__ = ["McpTools", "mcp_tools"]

START: Final = 30.0
"""Seconds that a server has to answer to what it is asked first."""
PROBE: Final = 5.0
"""Seconds after which a server that says nothing is taken for one of the older protocol."""
REPORTS: Final = 16
"""Reports of progress that wait; more are not told."""
MAX_TOOLS, MAX_PAGES, MAX_TEXT = 2048, 100, 16_384
"""Tools of one server, and lists in which it tells of them; letters about one of them."""
_log: Final = logging.getLogger("capnet.gateways.mcp")


def mcp_tools(
    server: str | Sequence[str],
    *,
    token: str | None = None,
    headers: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    prefix: str = "",
    ssl_context: ssl.SSLContext | None = None,
    bounds: Bounds | None = None,
) -> McpTools:
    """The tools of a server of the Model Context Protocol, to be put into a toolbox.

        box = toolbox(mcp_tools(["uvx", "mcp-server-git"], prefix="git."), mcp_tools("https://example.org/mcp"))

    All who use the toolbox do so in our name: the server knows nobody else. A program is started with the first use of
    the toolbox and ends with it; what it writes to standard error is ours.

    Args:
        server: a URL, or the words of a command.
        token: shown as `Authorization: Bearer …`.
        headers: more of them.
        env: environment of the program; ours when None.
        prefix: goes before the names of the tools.
        ssl_context: how the certificate of the server is looked at; as the system does it when None.
        bounds: of what the server sends.

    Raises:
        InvalidArgument: the URL, a header or the command makes no sense.
    """
    bounds = bounds or Bounds()
    if not isinstance(server, str):
        if not server or token is not None or headers or ssl_context is not None:
            raise InvalidArgument("a command is a list of words, and takes no token and no headers")
        return McpTools(Program(server, env, bounds), prefix, bounds)
    if env is not None:
        raise InvalidArgument("env is for a command", hint="mcp_tools([COMMAND, ...], env=...)")
    shown = {} if token is None else {"authorization": f"Bearer {token}"}
    return McpTools(Http(Endpoint(server, {**(headers or {}), **shown}, ssl_context), bounds), prefix, bounds)


class McpTools:
    """What `mcp_tools` makes: a `Source`."""

    def __init__(self, way: Way, prefix: str, bounds: Bounds) -> None:
        self._way = way
        self._prefix = prefix
        self._bounds = bounds
        self._asking = Asking("capnet", capnet.__version__, bounds)
        self._waiting: dict[int, _Waiting] = {}
        self._tools: dict[str, Offered] | None = None
        self._generation = 0
        self._listing = Lock()
        self._ended = False
        self._changed: Callable[[], None] = _nothing

    async def open(self, tasks: TaskGroup, changed: Callable[[], None]) -> None:
        """See `Source`."""
        self._asking = Asking("capnet", capnet.__version__, self._bounds)
        self._tools, self._ended, self._changed = None, False, changed
        await self._way.open(tasks, self._take, self._end)
        try:
            with fail_after(START):
                await self._begin()
        except TimeoutError as error:
            raise Unavailable("the server has not answered", reason="timeout") from error
        tasks.start_soon(self._follow)

    async def close(self) -> None:
        """See `Source`."""
        self._end()
        await self._way.close()

    async def all(self, asked: object) -> Collection[Offered]:
        """See `Source`. Of a server that has gone there are none, and those of others are still there."""
        try:
            return (await self._known()).values()
        except CapnetError as error:
            _log.info("a server tells of no tools: %s", error)
            return ()

    async def one(self, asked: object, name: str) -> Offered | None:
        """See `Source`."""
        return (await self._known()).get(name) if name.startswith(self._prefix) else None

    # --- what the server is asked ---

    async def _begin(self) -> None:
        if await self._is_newer(PROBE):
            return
        try:
            answer = await self._asked(self._asking.initialize(), None)
        except (Internal, InvalidArgument, Unimplemented):
            if await self._is_newer(START):  # it took longer to start than it was given
                return
            raise
        follows = self._asking.initialized(answer)
        if follows is None:
            raise Unavailable("the server speaks no protocol that is known here", reason="version", retry="never")
        await self._way.send(follows)

    async def _is_newer(self, seconds: float) -> bool:
        """Whether it answers to what only servers of the newer protocol know."""
        found: Mapping[str, Any] = {}
        with move_on_after(seconds), suppress(Internal, InvalidArgument, Unimplemented):
            found = await self._asked(self._asking.request("server/discover"), None)
        return self._asking.speaks(found.get("supportedVersions"))

    async def _known(self) -> dict[str, Offered]:
        async with self._listing:
            while self._tools is None:
                generation = self._generation
                tools = await self._listed()
                if generation == self._generation:
                    self._tools = tools
            return self._tools

    async def _listed(self) -> dict[str, Offered]:
        tools: dict[str, Offered] = {}
        cursor: Any = None
        for _ in range(MAX_PAGES):
            page = await self._ask("tools/list", {} if cursor is None else {"cursor": cursor})
            found: Any = page.get("tools")
            for told in cast("list[object]", found) if isinstance(found, list) else []:
                offered = self._offered(told)
                if offered is not None and len(tools) < MAX_TOOLS:
                    tools.setdefault(offered.description.name, offered)
            cursor = page.get("nextCursor")
            if not isinstance(cursor, str) or len(tools) >= MAX_TOOLS:
                break
        return tools

    def _offered(self, told: object) -> Offered | None:
        """A tool, as the server tells of it; None when that is none."""
        if not isinstance(told, dict):
            return None
        tool = cast("dict[str, Any]", told)
        name, schema, result = tool.get("name"), tool.get("inputSchema"), tool.get("outputSchema")
        hints: Any = tool.get("annotations")
        said = cast("dict[str, Any]", hints) if isinstance(hints, dict) else {}
        if not isinstance(name, str) or not 0 < len(name) <= 256 or not isinstance(schema, dict):
            return None
        description = ToolDescription(
            name=self._prefix + name,
            doc=_words(tool.get("description")) or _words(tool.get("title")),
            parameters=cast("dict[str, Any]", schema),
            result=cast("dict[str, Any]", result) if isinstance(result, dict) else None,
            generation=self._generation + 1,
            progress=True,
            read_only=_flag(said.get("readOnlyHint")),
            destructive=_flag(said.get("destructiveHint")),
            idempotent=said.get("idempotentHint") is True,
        )

        async def start(arguments: Mapping[str, Any], extras: Extras) -> Any:
            try:
                params = {"name": name, "arguments": _json(dict(arguments))}
                return _value(await self._ask("tools/call", params, extras.progress))
            finally:
                if extras.progress is not None:
                    await extras.progress.aclose()

        return Offered(description, start, Rule())

    async def _ask(
        self, method: str, params: Mapping[str, Any] | None = None, progress: Sink[Progress] | None = None
    ) -> Mapping[str, Any]:
        try:
            return await self._asked(self._asking.request(method, params, progress=progress is not None), progress)
        except Unavailable as error:
            if error.reason != "session":
                raise
        async with self._listing if method != "tools/list" else nullcontext():
            await self._begin()
        return await self._asked(self._asking.request(method, params, progress=progress is not None), progress)

    async def _asked(self, request: Request, progress: Sink[Progress] | None) -> Mapping[str, Any]:
        """Send a request, and tell how far it is; its result."""
        if progress is None:
            return await self._answered(request, None)
        send, reports = create_memory_object_stream[Progress](REPORTS)
        async with tasks_of_block() as tasks:
            passed = Event()
            tasks.start_soon(_pass_on, reports, progress, passed)
            with send:
                result = await self._answered(request, send)
            await passed.wait()
            return result

    async def _answered(self, request: Request, reports: MemoryObjectSendStream[Progress] | None) -> Mapping[str, Any]:
        if self._ended:
            raise Unavailable("the server has ended")
        assert request.id is not None
        waiting = self._waiting[request.id] = _Waiting(reports)
        try:
            await self._way.send(request)
            await waiting.done.wait()
        except get_cancelled_exc_class():
            if not (self._asking.stateless and self._way.by_request):
                with move_on_after(1, shield=True), suppress(CapnetError):
                    await self._way.send(self._asking.cancel(request.id))
            raise
        finally:
            del self._waiting[request.id]
        answer = waiting.answer
        if answer is None:
            raise Unavailable("the server has ended")
        if answer.result is None:
            raise _failure(answer.error or {})
        if answer.result.get("resultType", "complete") != "complete":
            raise Unimplemented("the server asks for something that this client has not", reason="input_required")
        return answer.result

    # --- what the server says ---

    async def _take(self, text: bytes | str) -> None:
        for event in self._asking.feed(text):
            match event:
                case Answered(number):
                    if (waiting := self._waiting.get(number)) is not None:
                        waiting.answer = event
                        waiting.done.set()
                case Progressed(number, done, total, words):
                    waiting = self._waiting.get(number)
                    if waiting is not None and waiting.reports is not None:
                        with suppress(WouldBlock):  # who is slow does not hear of all
                            waiting.reports.send_nowait(Progress(done, total, words[:MAX_TEXT]))
                case Changed():
                    self._generation += 1
                    self._tools = None
                    self._changed()
                case Reply(request):
                    with suppress(CapnetError):
                        await self._way.send(request)

    async def _follow(self) -> None:
        with suppress(CapnetError):
            if self._asking.stateless:
                await self._ask("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
            else:
                await self._way.follow()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._tools = None
            for waiting in self._waiting.values():
                waiting.done.set()
            self._changed()


class _Waiting:
    """A request that is not answered yet."""

    __slots__ = ("answer", "done", "reports")

    def __init__(self, reports: MemoryObjectSendStream[Progress] | None) -> None:
        self.done = Event()
        self.answer: Answered | None = None
        self.reports = reports


async def _pass_on(reports: MemoryObjectReceiveStream[Progress], progress: Sink[Progress], passed: Event) -> None:
    with reports, suppress(CapnetError):  # nobody wants to know any more
        async for report in reports:
            await progress.send(report)
    passed.set()


def _value(result: Mapping[str, Any]) -> Any:
    """What a tool has given: its structured result, the text when that is all there is, or all parts of it.

    Raises:
        Internal: `tool`, it says that it has failed, with its own words.
    """
    content: Any = result.get("content")
    parts: list[Any] = [*cast("Any", content)] if isinstance(content, list) else []
    texts = [str(within(one, "text")) for one in parts if within(one, "type") == "text"]
    if result.get("isError") is True:
        raise Internal("\n".join(texts) or "the tool has failed", reason="tool", retry="never")
    if result.get("structuredContent") is not None:
        return result["structuredContent"]
    return "\n".join(texts) if len(texts) == len(parts) else parts


def _failure(error: Mapping[str, Any]) -> CapnetError:
    words = _words(error.get("message")) or "the server has failed"
    kind = {-32601: Unimplemented, -32602: InvalidArgument}.get(cast("Any", error.get("code")), Internal)
    return kind(words, reason="mcp", retry="never")


def _json(value: Any) -> Any:
    """An argument as JSON has it.

    Raises:
        InvalidArgument: there is a capability or a stream in it, which servers cannot be given.
    """
    if isinstance(value, dict):
        return {key: _json(item) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_json(item) for item in cast("list[Any]", value)]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and value - value == 0):
        return value
    raise InvalidArgument(f"a server takes plain data, and no {type(value).__name__}")


def _words(value: object) -> str:
    return value[:MAX_TEXT] if isinstance(value, str) else ""


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _nothing() -> None:
    """Before it is opened."""
