"""The client's objects and functions as capabilities of capnet: a call on one is a call at the client.

A contract is made here for each that a client may fill in, with the methods of the one that the host has, and with
nothing declared of their values: those are checked where the host's own contract is known, at the host.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from functools import lru_cache
from types import new_class
from typing import Any, Final, Protocol, cast

from capnet import (
    Cap,
    ContractDescription,
    FailedPrecondition,
    InvalidArgument,
    MethodDescription,
    ParameterDescription,
    Released,
    Stream,
    Untyped,
    call,
    implementation_of,
    options,
    stream,
)

from .actions import Stub

__all__ = ["FUNCTION", "Ask", "Lent", "lend", "lent_kinds", "stub_of"]

FUNCTION: Final = "capnet.Callable"
"""The contract of functions; its one method is `call`."""


class Ask(Protocol):
    """Makes a call at the client."""

    def __call__(
        self, stub: Stub, path: tuple[str, ...], method: MethodDescription, given: Mapping[str, Any], /
    ) -> Awaitable[Any]:
        """What the client answers.

        Args:
            stub: of the object or function.
            path: the name of the method; empty for a function.
            method: what it takes and gives.
            given: arguments by name.
        """
        ...


class Lent:
    """What stands for an object of the client's; with a contract it is a capability.

    Args:
        stub: of the object.
        methods: what can be called on it; of a function, `call`.
        ask: makes a call at the client.
        act: called when it may have been given back.
    """

    def __init__(self, stub: Stub, methods: Mapping[str, MethodDescription], ask: Ask, act: Callable[[], None]) -> None:
        self.stub: Stub | None = stub
        self._methods = methods
        self._ask = ask
        self._act = act

    async def aclose(self) -> None:
        """Nobody at the host has it any more; the client may still have it from us."""
        self.stub = None
        self._act()

    async def _run(self, name: str, path: tuple[str, ...], given: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        if self.stub is None:
            raise Released("this object of the client's was given back")
        method = self._methods[name]
        return await self._ask(self.stub, path, method, method.bind(given, named))


def lent_kinds(contracts: Iterable[type[Cap]]) -> dict[str, tuple[type[Lent], ContractDescription]]:
    """For each contract that clients may fill in, by name: the class of what stands for their objects.

    Raises:
        ContractError: one is no contract.
    """
    found = [ContractDescription.of(contract) for contract in contracts]
    return {one.name: (_class(one), one) for one in found}


def lend(
    stub: Stub,
    shape: Any,
    kinds: Mapping[str, tuple[type[Lent], ContractDescription]],
    ask: Ask,
    act: Callable[[], None],
) -> Lent:
    """A capability that stands for an object or a function of the client's.

    Args:
        stub: of the object.
        shape: what is declared where it stands.
        kinds: see `lent_kinds`.
        ask: makes a call at the client.
        act: called when it may have been given back.

    Raises:
        InvalidArgument: nothing is declared there that says what can be called. FailedPrecondition: `contract`, it is
            none of `kinds`.
    """
    form, *parts = shape
    if form == "callable":
        method = _described(parts[0], parts[1])
        return _function_class(len(parts[0]))(stub, {"call": method}, ask, act)
    if not parts:
        raise InvalidArgument("an object stands where no contract is declared that says what can be called on it")
    if parts[0] not in kinds:
        raise FailedPrecondition(
            f"nothing here says what a {parts[0]} of the client's can do",
            reason="contract",
            hint="capnweb(host, contracts=[...]) names the contracts that clients may fill in",
        )
    kind, contract = kinds[parts[0]]
    return kind(stub, contract.methods, ask, act)


def stub_of(value: Any) -> Stub | None:
    """The client's own object that has come home, or None."""
    if isinstance(value, Stub):
        return value
    behind = implementation_of(value) if isinstance(value, Cap) and not isinstance(value, Untyped) else None
    return behind.stub if isinstance(behind, Lent) else None


def _described(arguments: list[Any], result: Any) -> MethodDescription:
    parameters = {f"a{index}": ParameterDescription(f"a{index}", one, True) for index, one in enumerate(arguments)}
    return MethodDescription("call", "call", parameters, result)


@lru_cache(maxsize=64)
def _function_class(count: int) -> type[Lent]:
    method = _described(["any"] * count, "any")
    return _class(ContractDescription(FUNCTION, 1, {"call": method}))


def _class(contract: ContractDescription) -> type[Lent]:
    """A class of objects of the client's, with a contract of its own that has the same name and methods."""
    declared = {name: _declared(method) for name, method in contract.methods.items()}
    name, version = contract.name, contract.version
    base = new_class("Foreign", (Cap,), {"name": name, "version": version}, _body(declared))
    handlers = {one.name: _handler(one, name != FUNCTION) for one in contract.methods.values()}
    return cast("type[Lent]", new_class("ForeignObject", (Lent, base), {}, _body(handlers)))


def _body(names: Mapping[str, Any]) -> Callable[[dict[str, Any]], None]:
    return lambda namespace: namespace.update(names, __module__=__name__)


def _declared(method: MethodDescription) -> Any:
    """The same method, of which nothing is declared but names."""

    async def one(*_: Any) -> Any: ...

    def many(*_: Any) -> Any: ...

    declared: Any = one if method.kind == "call" else many
    kinds = {False: inspect.Parameter.POSITIONAL_OR_KEYWORD, True: inspect.Parameter.KEYWORD_ONLY}
    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    for each in sorted(method.parameters.values(), key=lambda one: one.keyword_only):
        default: Any = inspect.Parameter.empty if each.required else None
        parameters.append(inspect.Parameter(each.name, kinds[each.keyword_only], default=default, annotation=Any))
    result: Any = Any if method.kind == "call" else Stream[Any]
    declared.__name__ = method.name
    declared.__signature__ = inspect.Signature(parameters, return_annotation=result)
    declared.__annotations__ = dict.fromkeys(method.parameters, Any) | {"return": result}
    mark: Any = call if method.kind == "call" else stream
    return options(since=method.since)(mark(declared))


def _handler(method: MethodDescription, named: bool) -> Any:
    path = (method.name,) if named else ()

    async def one(self: Lent, *given: Any, **named: Any) -> Any:
        return await self._run(method.name, path, given, named)

    async def many(self: Lent, *given: Any, **named: Any) -> AsyncIterator[Any]:
        items = await self._run(method.name, path, given, named)
        async for item in items:
            yield item

    return one if method.kind == "call" else many
