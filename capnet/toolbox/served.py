"""What is served somewhere, as tools: the methods of each name, called by way of a connection."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import aclosing, suppress
from functools import partial
from itertools import count
from typing import Any, Final, cast

from anyio import Event, Lock, sleep_forever
from anyio.abc import TaskGroup, TaskStatus

from capnet.connection.connect import connect
from capnet.connection.connection import Connection
from capnet.contract import ContractDescription, MethodDescription, contract_spec
from capnet.errors import CapnetError, InvalidArgument, NotFound, PermissionDenied, Unimplemented
from capnet.host import Host
from capnet.observe import NameReplaced, NameServed, NameUnserved
from capnet.references.proxy import generation, on_broken
from capnet.references.untyped import Untyped
from capnet.serving.runtime import describe
from capnet.transport import Attestation, Listener

from .contract import Toolbox
from .functions import METHOD, Function, function_of
from .rules import PLAIN, Asked, Rule
from .source import Extras, Offered, Source, tool_of

__all__ = ["sources_of"]

_ITSELF: Final = contract_spec(Toolbox).name
_numbers: Final = count(1)
_generations: Final = count(1)


class _Known:
    """A name that was bootstrapped, and what is known of it."""

    __slots__ = ("_offered", "_replaced", "capability", "contract", "generation")

    def __init__(self, capability: Untyped, contract: ContractDescription) -> None:
        self.capability = capability
        self.contract = contract
        self.generation = next(_generations)
        self._replaced = generation(capability)
        self._offered: dict[str, Offered | None] = {}

    @property
    def is_current(self) -> bool:
        """Whether nothing else is behind it by now."""
        return self._replaced == generation(self.capability)

    def tool(self, name: str, method: str, rule: Rule | None = None) -> Offered | None:
        """A method of it as a tool; None when it is none."""
        if method not in self.contract.methods:
            return None
        if method not in self._offered:
            self._offered[method] = _offered(name, self, self.contract.methods[method], rule or PLAIN)
        return self._offered[method]


class _Reached:
    """What can be called by way of one connection."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._known: dict[str, _Known] = {}

    async def names(self) -> Collection[str]:
        """Those that the connection may have."""
        served = await self.connection.runtime().describe()
        for name in self._known.keys() - served.keys():
            del self._known[name]
        return sorted(name for name, told in served.items() if told.get("contract") != _ITSELF)

    async def find(self, name: str) -> _Known | None:
        """What is served under a name, as far as the connection may have it."""
        known = self._known.get(name)
        if known is not None and known.is_current:
            return known
        try:
            capability = await self.connection.bootstrap_untyped(name)
            if capability.contract_name == _ITSELF:  # tools of tools: there would be no end
                return None
            known = self._known[name] = _Known(capability, await describe(capability))
        except (NotFound, PermissionDenied, Unimplemented):
            return None
        on_broken(capability, lambda _: self._known.pop(name, None) if self._known.get(name) is known else None)
        return known


def _offered(name: str, known: _Known, method: MethodDescription, rule: Rule) -> Offered | None:
    told = tool_of(name, method, known.contract.version, known.generation)
    if told is None:
        return None
    shown = frozenset(told.parameters["properties"])
    capability, is_stream = known.capability, method.kind == "stream"

    async def start(arguments: Mapping[str, Any], extras: Extras) -> Any:
        _check_names(arguments, shown)
        call = capability.stream if is_stream else capability.call
        started = call(method.name, **arguments, **extras.given())
        return started if is_stream else await started

    return Offered(told, start, rule)


def _check_names(arguments: Mapping[str, Any], shown: Collection[str]) -> None:
    for name in arguments:
        if name not in shown:
            raise InvalidArgument(f"there is no parameter {name!r}"[:300])


def _call(changed: Callable[[], None], _: object) -> None:
    changed()


class PeerSource:
    """What the peer of a connection serves. All who call do so in our name.

    Args:
        connection: stays the caller's.
    """

    def __init__(self, connection: Connection) -> None:
        self._reached = _Reached(connection)

    async def open(self, tasks: TaskGroup, changed: Callable[[], None]) -> None:
        """See `Source`."""
        tasks.start_soon(self._follow, changed)

    async def close(self) -> None:
        """See `Source`."""

    async def all(self, asked: Asked) -> Collection[Offered]:
        """See `Source`."""
        return await _all(self._reached)

    async def one(self, asked: Asked, name: str) -> Offered | str | None:
        """See `Source`."""
        return await _one(self._reached, name)

    async def _follow(self, changed: Callable[[], None]) -> None:
        with suppress(CapnetError):  # an older peer does not tell, or it has gone
            async with aclosing(self._reached.connection.runtime().changes()) as changes:
                async for _ in changes:
                    changed()


class HostSource:
    """What a host serves. Each caller is a peer of the host by a connection of its own, for the policy to judge.

    Args:
        host: is open when the first tool is looked for.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._lock = Lock()
        self._listener: Listener | None = None
        self._tasks: TaskGroup | None = None
        self._ends: list[Callable[[], None]] = []
        self._callers: dict[int, tuple[Attestation | None, _Reached]] = {}

    async def open(self, tasks: TaskGroup, changed: Callable[[], None]) -> None:
        """See `Source`."""
        self._tasks = tasks
        self._listener = await self._host.listen(f"memory:capnet.toolbox-{next(_numbers)}")
        for kind in (NameServed, NameReplaced, NameUnserved):
            self._ends.append(self._host.on(kind, partial(_call, changed)))

    async def close(self) -> None:
        """See `Source`."""
        while self._ends:
            self._ends.pop()()
        while self._callers:
            await self._callers.popitem()[1][1].connection.aclose(grace=0)
        if self._listener is not None:
            await self._listener.aclose()

    async def all(self, asked: Asked) -> Collection[Offered]:
        """See `Source`."""
        return await _all(await self._reached(asked))

    async def one(self, asked: Asked, name: str) -> Offered | str | None:
        """See `Source`."""
        return await _one(await self._reached(asked), name)

    async def _reached(self, asked: Asked) -> _Reached:
        """The connection of a caller: another one when something else is proven about it now."""
        number, attestation = (0, None) if asked is None else (asked.connection.number, asked.attestation)
        async with self._lock:
            known = self._callers.get(number)
            if known is not None:
                if known[0] == attestation and not known[1].connection.closed:
                    return known[1]
                self._end(number)
            assert self._listener is not None
            options: dict[str, Any] = {} if attestation is None else {"attestation": attestation}
            if asked is not None:
                options |= {"name": asked.peer, "auth": asked.connection.peer_auth}
            reached = _Reached(await connect(self._listener.url, **options))
            self._callers[number] = attestation, reached
            if asked is not None and known is None:
                asked.connection.on_close(partial(self._gone, number))
            return reached

    def _gone(self, number: int, _: object) -> None:
        self._end(number)

    def _end(self, number: int) -> None:
        """A caller has gone, or is somebody else now."""
        known = self._callers.pop(number, None)
        if known is not None and self._tasks is not None:
            self._tasks.start_soon(known[1].connection.aclose)


class FunctionSource(HostSource):
    """Functions, served by a host that nobody else reaches.

    Args:
        functions: those that are there from the beginning.
    """

    def __init__(self, functions: Collection[Function]) -> None:
        self._functions = {function.name: function for function in functions}
        super().__init__(Host())
        self._ended = Event()

    async def open(self, tasks: TaskGroup, changed: Callable[[], None]) -> None:
        """See `Source`."""
        self._host = Host()
        self._ended = Event()
        await tasks.start(self._serve)
        await super().open(tasks, changed)

    async def close(self) -> None:
        """See `Source`. With the tasks the host has ended."""
        await super().close()
        await self._ended.wait()

    async def _serve(self, *, task_status: TaskStatus[None]) -> None:
        try:
            async with self._host as host:
                for function in self._functions.values():
                    host.serve(function.implementation, name=function.name)
                task_status.started()
                await sleep_forever()
        finally:
            self._ended.set()

    async def all(self, asked: Asked) -> Collection[Offered]:
        """See `Source`."""
        offered = [await self.one(asked, name) for name in self._functions]
        return [one for one in offered if isinstance(one, Offered)]

    async def one(self, asked: Asked, name: str) -> Offered | str | None:
        """See `Source`."""
        function = self._functions.get(name)
        known = None if function is None else await (await self._reached(asked)).find(name)
        return None if function is None or known is None else known.tool(name, METHOD, function.rule)


async def _all(reached: _Reached) -> Collection[Offered]:
    offered: list[Offered] = []
    for served in await reached.names():
        known = await reached.find(served)
        if known is not None:
            found = (known.tool(f"{served}.{method}", method) for method in known.contract.methods)
            offered += [one for one in found if one is not None]
    return offered


async def _one(reached: _Reached, name: str) -> Offered | str | None:
    served, _, method = name.rpartition(".")
    known = await reached.find(served) if served else None
    if known is None or method not in known.contract.methods:
        return None
    return known.tool(name, method) or "it needs a function or a sink, which no tool can be given"


def sources_of(parts: Collection[object]) -> list[Source]:
    """Where the tools of these come from; all functions together are one source.

    Raises:
        ContractError: a function cannot be a tool. InvalidArgument: a part is none.
    """
    sources: list[Source] = []
    functions: list[Callable[..., Any]] = []
    for part in parts:
        if isinstance(part, Host):
            sources.append(HostSource(part))
        elif isinstance(part, Connection):
            sources.append(PeerSource(part))
        elif hasattr(part, "one") and hasattr(part, "all"):
            sources.append(cast("Source", part))
        elif callable(part):
            functions.append(part)
        else:
            raise InvalidArgument(f"a toolbox is made of hosts, connections and functions, not of {part!r}"[:300])
    if functions:
        sources.append(FunctionSource([function_of(function) for function in functions]))
    return sources
