"""What a client serves, as capabilities: methods of any name, or those of a contract.

What is served under a contract's name here takes and gives anything: a client declares nothing. Who has the contract
makes a proxy of it, and that checks what comes (`foreign`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from inspect import Parameter, Signature
from types import new_class
from typing import Any, TypeAlias, TypeVar

from typing_extensions import TypeForm

from capnet import Cap, Connection, ContractDescription, InvalidArgument, MethodDescription, Stream, call, cast_cap
from capnet import stream as stream_method
from capnet.gateways.values import result_of

__all__ = ["Foreign", "Remote", "foreign", "remote"]

C = TypeVar("C")
Ask: TypeAlias = Callable[[str, "dict[str, Any] | list[Any] | None"], Awaitable[Any]]
"""Calls a method of the client's."""
_Call: TypeAlias = Callable[[MethodDescription, "dict[str, Any]"], Awaitable[Any]]


class Foreign(Cap, name="jsonrpc.Foreign"):
    """The other side of a session, by the names of its methods."""

    @call
    async def request(self, method: str, params: dict[str, Any] | list[Any] | None = None) -> Any:
        """Call a method, and give what it answers.

        Args:
            method: as the other side has it.
            params: by name, by place, or none.
        """
        ...

    @call
    async def notify(self, method: str, params: dict[str, Any] | list[Any] | None = None) -> None:
        """Send a notification, which is never answered.

        Args:
            method, params: as of `request`.
        """
        ...


async def foreign(connection: Connection, contract: TypeForm[C], /, *, name: str | None = None) -> C:
    """What the other side of a session serves, as a proxy of a contract.

    Args:
        connection: of the session.
        contract: what it is taken for; what it answers is checked against that.
        name: under which it is served there, when that is not the contract's.

    Raises:
        NotFound: the session was not told that there is such a thing.
    """
    told = ContractDescription.of(contract)
    return cast_cap(await connection.bootstrap_untyped(name or told.name), contract)


@dataclass(frozen=True, slots=True)
class Remote:
    """A contract that the other side of a session implements.

    Args:
        contract: its methods are called there, with arguments by name.
        prefix: before the name of each method, as the other side has it; the contract's name and a point when None.
        methods: those that have other names there, by their names here.
        by_place: arguments go without their names, in the order of the contract.
    """

    contract: type[Cap]
    prefix: str | None = None
    methods: Mapping[str, str] = field(default_factory=dict[str, str])
    by_place: bool = False


def remote(wanted: Remote, ask: Ask) -> Cap:
    """What is served for a contract that the other side implements.

    Args:
        ask: calls a method there.
    """
    told = ContractDescription.of(wanted.contract)
    prefix = f"{told.name}." if wanted.prefix is None else wanted.prefix

    async def send(method: MethodDescription, given: dict[str, Any]) -> Any:
        name = wanted.methods.get(method.name, prefix + method.name)
        params = _by_place(method, given) if wanted.by_place else given
        return result_of(method, await ask(name, params))

    made: Cap = _class_of(wanted.contract)(send)
    return made


def _by_place(method: MethodDescription, given: dict[str, Any]) -> list[Any]:
    places: list[Any] = []
    for one in method.parameters.values():
        if one.name not in given:
            break
        places.append(given[one.name])
    if len(places) < len(given):
        raise InvalidArgument("arguments go by place here, so none before the last may be left out")
    return places


class _Remote:
    """What the classes below have: how a method is called."""

    def __init__(self, send: _Call) -> None:
        self._send = send


@lru_cache(maxsize=256)
def _class_of(contract: type[Cap]) -> Any:
    """A class whose objects have the methods of a contract, and take and give anything."""
    told = ContractDescription.of(contract)
    declared = {one.name: _stub(one) for one in told.methods.values()}
    keywords = {"name": told.name, "version": told.version}
    loose = new_class(f"Loose{contract.__name__}", (Cap,), keywords, lambda names: names.update(declared))
    return type(
        f"Remote{contract.__name__}", (_Remote, loose), {one.name: _method(one) for one in told.methods.values()}
    )


def _stub(method: MethodDescription) -> Any:
    function: Any
    result: Any
    if method.kind == "stream":
        function, result = _stream_stub(), Stream[Any]
    else:
        function, result = _call_stub(), Any
    parameters = [Parameter("self", Parameter.POSITIONAL_OR_KEYWORD)]
    for one in method.parameters.values():
        default = Parameter.empty if one.required else None
        parameters.append(Parameter(one.name, Parameter.KEYWORD_ONLY, default=default, annotation=Any))
    function.__name__ = method.name
    function.__signature__ = Signature(parameters, return_annotation=result)
    function.__annotations__ = {**dict.fromkeys(method.parameters, Any), "return": result}
    return (stream_method if method.kind == "stream" else call)(function)


def _stream_stub() -> Any:
    def declared(self: Any, **_: Any) -> Any: ...

    return declared


def _call_stub() -> Any:
    async def declared(self: Any, **_: Any) -> Any: ...

    return declared


def _method(method: MethodDescription) -> Any:
    if method.kind == "call":

        async def send(self: Any, *_: Any, **given: Any) -> Any:
            return await self._send(method, given)

        return send

    async def items(self: Any, *_: Any, **given: Any) -> AsyncIterator[Any]:
        answered: AsyncIterator[Any] | None = await self._send(method, given)
        if not isinstance(answered, AsyncIterator):
            raise InvalidArgument("an array was to be answered, for it is a stream here")
        async for item in answered:
            yield item

    return items
