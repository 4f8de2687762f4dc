"""From the method of a request to a call that is under way."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol, TypeAlias

from anyio import CancelScope

from capnet import (
    Connection,
    ContractDescription,
    InvalidArgument,
    NotFound,
    Unimplemented,
    Untyped,
    describe,
    generation,
    on_broken,
)
from capnet.gateways.collecting import collected
from capnet.gateways.values import Handles, arguments_of

from .session import Request

__all__ = ["Begins", "Begun", "Calling", "Method"]

MAX_NAMES: Final = 256
"""Served names that are kept after they were used; the one that was not used for longest goes first."""
NEXT, RELEASE, DESCRIBE = "capnet.next", "capnet.release", "capnet.describe"

Method: TypeAlias = "tuple[str, str]"
"""A served name, and a method of what is served there."""
Begun: TypeAlias = "Callable[[], Awaitable[Any]]"
"""Waits for the result of a call that was made; gives it as JSON."""


class Begins(Protocol):
    """Decides what is called for a client."""

    async def begin(self, request: Request) -> Begun:
        """Make the call; gives what waits for its end. Later requests are looked at when it has returned.

        Raises:
            CapnetError: what the client is answered.
        """
        ...


class Calling:
    """Makes the calls that one client asks for.

    Args:
        connection: of the client.
        handles: what it has been given.
        most: capabilities of which it is kept what can be called on them.
        methods: what the client may call, by the names it uses; None for `NAME.method` of whatever is served.
    """

    def __init__(
        self, connection: Connection, handles: Handles, most: int, methods: Mapping[str, Method] | None
    ) -> None:
        self._connection = connection
        self._handles = handles
        self._most = most
        self._methods = methods
        self._names: OrderedDict[str, tuple[Untyped, ContractDescription, int]] = OrderedDict()
        self._of_handles: dict[str, ContractDescription] = {}

    async def begin(self, request: Request) -> Callable[[], Awaitable[Any]]:
        """See `Begins`."""
        if self._methods is None and request.method in (NEXT, RELEASE, DESCRIBE):
            return await self._own(request)
        name, method = self._found(request.method)
        if name.startswith("cap_") and self._methods is None:
            held = self._handles.get(name)
            if not isinstance(held, Untyped):
                raise NotFound("this is a stream", reason="handle")
            target, contract = held, await self._described(name, held)
        else:
            target, contract = await self._target(name)
        known = contract.methods.get(method)
        if known is None:
            raise Unimplemented(f"{name[:200]} has no method {method[:200]!r}")
        given = request.params
        if isinstance(given, list):
            try:
                given = known.bind(given, {})
            except TypeError as error:
                raise InvalidArgument(str(error)) from error
        arguments = arguments_of(known, given, self._handles)
        if known.kind == "stream":
            reader = target.stream(method, **arguments)
            return lambda: self._collected(reader)
        made = target.call(method, **arguments)

        async def answer() -> Any:
            result = await made
            return await self._collected(result) if hasattr(result, "__anext__") else self._handles.json(result)

        return answer

    def _found(self, method: str) -> Method:
        if self._methods is not None:
            found = self._methods.get(method)
            if found is None:
                raise Unimplemented(f"there is no method {method[:200]!r}")
            return found
        at = max(method.rfind("."), method.rfind("/"))
        if at < 1:
            raise Unimplemented(f"there is no method {method[:200]!r}: methods are NAME.method")
        return method[:at], method[at + 1 :]

    async def _target(self, name: str) -> tuple[Untyped, ContractDescription]:
        """What is served under a name, and what can be called on it. It is asked for once, until it breaks."""
        known = self._names.get(name)
        if known is not None and generation(known[0]) == known[2]:
            self._names.move_to_end(name)
            return known[:2]
        try:
            target = known[0] if known else await self._connection.bootstrap_untyped(name)
        except NotFound as error:
            # For a client there are methods, and none of this name.
            raise Unimplemented(f"nothing is served as {name[:200]!r}", reason="name") from error
        number = generation(target)
        contract = await describe(target)
        if known is None:
            on_broken(target, lambda _: self._names.pop(name, None))
        self._names[name] = target, contract, number
        if len(self._names) > MAX_NAMES:
            _, (surplus, *_) = self._names.popitem(last=False)
            await surplus.aclose()
        return target, contract

    async def _described(self, handle: str, held: Untyped) -> ContractDescription:
        known = self._of_handles.get(handle)
        if known is None:
            if len(self._of_handles) >= self._most:
                self._of_handles.clear()
            known = self._of_handles[handle] = await describe(held)
        return known

    async def _own(self, request: Request) -> Callable[[], Awaitable[Any]]:
        """What a client can do with handles, and with names."""
        given = request.params
        (key,) = ("name",) if request.method == DESCRIBE else ("cap",)
        value: object = given[0] if isinstance(given, list) and given else None
        if isinstance(given, dict):
            value = given.get(key)
        if len(given) != 1 or not isinstance(value, str):
            raise InvalidArgument(f"{request.method} takes a text, {key}")
        if request.method == DESCRIBE:
            _, contract = await self._target(value)
            return _given(contract.data())
        thing = self._handles.get(value)
        if request.method == RELEASE:
            self._handles.take(value)
            await thing.aclose()
            return _given(None)
        if not hasattr(thing, "__anext__"):
            raise NotFound("this handle is of no stream", reason="handle")
        self._handles.take(value)
        return lambda: self._collected(thing)

    async def _collected(self, reader: Any) -> Any:
        async def taken(item: Any) -> Any:
            return self._handles.json(item)

        try:
            items, ended = await collected(reader, taken)
        except BaseException:
            with CancelScope(shield=True):
                await reader.aclose()
            raise
        return {"items": items} if ended else {"items": items, "next": self._handles.add(reader)}


def _given(value: Any) -> Callable[[], Awaitable[Any]]:
    async def given() -> Any:
        return value

    return given
