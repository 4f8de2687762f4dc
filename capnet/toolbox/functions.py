"""Functions as tools: each becomes a capability with one method, whose contract is what its annotations say."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from types import new_class
from typing import Any, Final, TypeVar, cast, get_origin, overload

from anyio.to_thread import run_sync

from capnet.contract import INJECT, Cap, call, options, stream
from capnet.contract.annotation import STREAMS
from capnet.contract.declaration import signature_of
from capnet.contract.hints import resolved_hints
from capnet.errors import ContractError

from .rules import PLAIN, Rule

__all__ = ["METHOD", "Function", "function_of", "tool"]

F = TypeVar("F", bound=Callable[..., Any])
METHOD: Final = "call"
"""What the one method of such a capability is called."""
_MARK: Final = "_capnet_tool"
_SELF: Final = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Function:
    """A function as a tool.

    Attributes:
        name: of the tool.
        implementation: the capability that calls it.
        rule: what its author says of it.
    """

    name: str
    implementation: Cap
    rule: Rule


@dataclass(frozen=True, slots=True)
class _Marks:
    """What `tool` has said of a function."""

    name: str | None = None
    version: int = 1
    idempotent: bool = False
    rule: Rule = PLAIN


@overload
def tool(function: F, /) -> F: ...
@overload
def tool(
    *,
    name: str | None = None,
    version: int = 1,
    idempotent: bool = False,
    grants: Collection[str] = (),
    rate: str | None = None,
    timeout: float | None = None,
    approval: bool = False,
    secret: Collection[str] = (),
    tags: Collection[str] = (),
    read_only: bool | None = None,
    destructive: bool | None = None,
) -> Callable[[F], F]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    version: int = 1,
    idempotent: bool = False,
    **rule: Any,
) -> Any:
    """Say more of a function that is to be a tool. It stays the function that it is.

        @tool(tags=["mail"], approval=True)
        async def send(to: str, text: str) -> int:
            \"\"\"Send a letter.

            Args:
                to: the address
            \"\"\"

    Its annotations are the schema, its docstring is the description. An async function runs in the loop, a plain one in
    a worker thread, and an async generator is a tool that gives items. These parameters are the toolbox's own, and are
    no arguments of the tool:

    - `dry_run: bool = False`: the function can say what it would do, and is told to;
    - `cursor: str | None = None`: it gives a `Page`, and goes on at this cursor;
    - `progress: Sink[Progress] | None = None`: it says how far it is;
    - `ctx: CallContext = INJECT`: who calls.

    Args:
        name: of the tool; that of the function when None.
        version: counts additions to what it takes and gives, from 1.
        idempotent: a second call with the same arguments changes nothing more.
        grants, rate, timeout, approval, secret, tags, read_only, destructive: see `Rule`.
    """
    marks = _Marks(name, version, idempotent, Rule(**rule))

    def mark(function: F) -> F:
        function.__dict__[_MARK] = marks
        return function

    return mark if function is None else mark(function)


def function_of(function: Callable[..., Any]) -> Function:
    """A function as a tool.

    Raises:
        ContractError: it has parameters that cannot be tools', or an annotation is missing or cannot travel.
    """
    marks: _Marks = getattr(function, _MARK, None) or _Marks()
    name = marks.name or cast("str", getattr(function, "__name__", "<lambda>"))
    if name == "<lambda>":
        raise ContractError(f"{function!r} has no name that a tool could have", hint="@tool(name=…)")
    declared = _declared(function, name)
    declare = stream if _streams(function, declared) else call
    stub = declare(cast("Any", _stub(function, declared)))
    stub = options(since=1, idempotent=marks.idempotent)(stub)
    body = {METHOD: stub, "__module__": __name__}
    contract = new_class("Tool", (Cap,), {"name": name, "version": marks.version}, lambda space: space.update(body))
    kind = new_class("FunctionTool", (contract,), {}, lambda space: space.update({METHOD: _method(function, declared)}))
    return Function(name, kind(), marks.rule)


def _declared(function: Callable[..., Any], name: str) -> inspect.Signature:
    """The signature, with annotations that are types."""
    signature = signature_of(function)
    hints = resolved_hints(inspect.unwrap(_plain(function)), f"tool {name}")
    parameters = [
        one.replace(annotation=hints.get(one.name, inspect.Parameter.empty)) for one in signature.parameters.values()
    ]
    return signature.replace(parameters=parameters, return_annotation=hints.get("return", inspect.Signature.empty))


def _plain(function: Any) -> Any:
    """The function itself: annotations are its."""
    while isinstance(function, partial):
        function = cast("Any", function).func
    if inspect.isroutine(function) or inspect.isclass(function):
        return getattr(function, "__func__", function)
    return type(function).__call__


def _streams(function: Callable[..., Any], declared: inspect.Signature) -> bool:
    return inspect.isasyncgenfunction(inspect.unwrap(function)) or get_origin(declared.return_annotation) in STREAMS


def _stub(function: Callable[..., Any], declared: inspect.Signature) -> Callable[..., Any]:
    """What declares the method: the context is no part of it."""
    parameters = [one for one in declared.parameters.values() if one.default is not INJECT]
    returned: Any = declared.return_annotation

    async def gives(*_: Any) -> Any: ...

    def yields(*_: Any) -> Any: ...

    stub: Any = yields if _streams(function, declared) else gives
    stub.__name__ = METHOD
    stub.__doc__ = inspect.getdoc(function)
    stub.__signature__ = declared.replace(parameters=[_SELF, *parameters])
    stub.__annotations__ = {one.name: one.annotation for one in parameters}
    if returned is not inspect.Signature.empty:
        stub.__annotations__["return"] = returned
    return cast("Callable[..., Any]", stub)


def _method(function: Callable[..., Any], declared: inspect.Signature) -> Callable[..., Any]:
    """What runs when the method is called."""

    def yields(_: Any, *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    async def gives(_: Any, *args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    async def gives_in_thread(_: Any, *args: Any, **kwargs: Any) -> Any:
        return await run_sync(partial(function, *args, **kwargs))

    is_async = inspect.iscoroutinefunction(inspect.unwrap(_plain(function)))
    made: Any = yields if _streams(function, declared) else gives if is_async else gives_in_thread
    made.__signature__ = declared.replace(parameters=[_SELF, *declared.parameters.values()])
    return cast("Callable[..., Any]", made)
