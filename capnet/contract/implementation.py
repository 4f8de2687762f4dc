"""Implementations: the table from method name to handler, made once per class; nothing else is reached (P-CALL-9)."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import FunctionType, MappingProxyType, MethodType
from typing import Any, Final, cast, get_args

from capnet.contract.annotation import Annotation, Shape, read_annotation
from capnet.contract.capability import Cap
from capnet.contract.context import INJECT
from capnet.contract.declaration import options_of, signature_of
from capnet.contract.hints import resolved_hints
from capnet.contract.rules import POSITIONAL
from capnet.contract.shape import differences
from capnet.contract.spec import ContractSpec, MethodSpec
from capnet.errors import ContractError, InvalidArgument

__all__ = ["FUNCTIONS", "Handler", "function_table", "implementation_table"]

FUNCTIONS: Final = frozenset((FunctionType, MethodType))
"""The kinds of most functions; no class can be derived from them, so nothing else is known by one of these."""

BY_NAME: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True, slots=True)
class Handler:
    """What runs when a method is called.

    Args:
        spec: the method as the contract declares it.
        attribute: the implementation's method, by the contract's name of it; None where the implementation is the
            function itself. It is looked up at each call, so a method that was replaced on an object or a class runs.
        function: what its class has there, or None.
        context_parameter: the keyword with which that takes the `CallContext`, or None.
    """

    spec: MethodSpec
    attribute: str | None
    function: object = None
    context_parameter: str | None = None

    def on(self, implementation: Any) -> tuple[Callable[..., Any], str | None]:
        """What takes the arguments, and the keyword with which it takes the `CallContext`, or None.

        It is a coroutine function, or for a stream one that returns the async generator.
        """
        if self.attribute is None:
            return implementation, None
        method = getattr(implementation, self.attribute)
        if getattr(method, "__func__", None) is self.function:
            return method, self.context_parameter
        try:
            return method, _context_parameter(method)
        except (TypeError, ValueError):  # it has no signature, or cannot be called at all
            return method, None


def implementation_table(impl_cls: type, spec: ContractSpec) -> Mapping[str, Handler]:
    """The handlers of `impl_cls` for every method of `spec`; cached per class and contract.

    Any type of function is an implementation of a callable's contract.

    Raises:
        ContractError: methods are missing or do not fit what the contract declares; the text lists all of them.
    """
    if spec.is_callable and not issubclass(impl_cls, Cap):
        return function_table(spec)
    if not issubclass(impl_cls, spec.cls):
        raise ContractError(
            f"{impl_cls.__qualname__} does not implement {spec.name}", hint=f"subclass {spec.cls.__qualname__}"
        )
    tables = cast("dict[object, Mapping[str, Handler]]", vars(impl_cls)["_capnet_tables"])
    table = tables.get(spec)
    if table is None:
        table = tables[spec] = _made_table(impl_cls, spec)
    return table


@lru_cache(maxsize=256)
def function_table(spec: ContractSpec) -> Mapping[str, Handler]:
    """The same for any function, by the contract of a callable."""
    (method,) = spec.methods.values()
    return {method.name: Handler(method, None)}


def _made_table(impl_cls: type, spec: ContractSpec) -> Mapping[str, Handler]:
    table: dict[str, Handler] = {}
    faults: list[str] = []
    for name, method in spec.methods.items():
        function = inspect.getattr_static(impl_cls, name)
        found = list(_faults(method, function))
        faults += [f"method '{name}' {fault}" for fault in found]
        if not found:
            table[name] = Handler(method, name, function, _context_parameter(function))
    if faults:
        raise ContractError(
            f"{impl_cls.__qualname__} does not implement {spec.name}: {'; '.join(faults)}",
            hint="give the methods the signatures the contract declares",
        )
    return MappingProxyType(table)


def _faults(method: MethodSpec, function: Any) -> Iterator[str]:
    if options_of(function) is not None:
        yield "is missing"
    elif not inspect.isfunction(function):
        yield "is not a plain method"
    else:
        yield from _kind_faults(method, function)
        _, *parameters = signature_of(function).parameters.values() or [None]
        yield from _signature_faults(method, [parameter for parameter in parameters if parameter])
        yield from _result_faults(method, function)


def _kind_faults(method: MethodSpec, function: Callable[..., Any]) -> Iterator[str]:
    functions = (function, inspect.unwrap(function))
    is_async = any(map(inspect.iscoroutinefunction, functions))
    if method.kind == "call" and not is_async:
        yield "must be `async def`"
    if method.kind == "stream" and is_async:
        yield "must yield its items"


def _signature_faults(method: MethodSpec, parameters: list[inspect.Parameter]) -> Iterator[str]:
    named = {parameter.name: parameter for parameter in parameters if parameter.kind in BY_NAME}
    kinds = {parameter.kind for parameter in parameters}
    takes_any = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD} <= kinds
    for name, declared in method.parameters.items():
        own = named.get(name)
        if own is None and not takes_any:
            yield f"lacks parameter '{name}'"
        elif own is not None and own.default is inspect.Parameter.empty and not declared.required:
            yield f"requires parameter '{name}', which the contract lets the caller leave out"
    yield from _order_faults(method, parameters, takes_any)
    yield from itertools.chain.from_iterable(_extra_faults(method, parameter) for parameter in parameters)


def _result_faults(method: MethodSpec, function: Callable[..., Any]) -> Iterator[str]:
    """What it says that it returns is compared, as far as it says something; what it does return is checked anyway."""
    try:
        own = read_annotation(resolved_hints(function, method.name).get("return", Any), method.name)
        fits = _says_any(own.shape) or not differences(_returning(method, method.result), _returning(method, own))
    except (ContractError, InvalidArgument):  # a type variable, an implementation, a name that only checkers know
        return
    if not fits:
        yield f"returns `{_said(own.hint)}`, and the contract says `{_said(method.result.hint)}`"


def _returning(method: MethodSpec, result: Annotation) -> dict[str, Any]:
    """The shape of a contract that has nothing but this result."""
    return {method.name: [method.kind, {}, result.shape, 1]}


def _says_any(shape: Shape) -> bool:
    """Whether it leaves something open, anywhere in it."""
    if isinstance(shape, dict):
        return any(map(_says_any, cast("dict[str, Any]", shape).values()))
    return shape == "any" or (isinstance(shape, list) and any(map(_says_any, cast("list[Any]", shape))))  # type: ignore[redundant-cast]


def _said(hint: Any) -> str:
    return hint.__qualname__ if isinstance(hint, type) and not get_args(hint) else str(hint)


def _extra_faults(method: MethodSpec, parameter: inspect.Parameter) -> Iterator[str]:
    declared = parameter.name in method.parameters
    if parameter.default is INJECT and (declared or parameter.kind not in BY_NAME):
        yield f"cannot take the context as parameter '{parameter.name}'"
    if parameter.default is inspect.Parameter.empty and not declared and parameter.kind in (*POSITIONAL, *BY_NAME):
        yield f"requires parameter '{parameter.name}', which the contract does not have"


def _order_faults(method: MethodSpec, parameters: list[inspect.Parameter], takes_any: bool) -> Iterator[str]:
    """Arguments are passed by position where the contract has positions, so both must count alike."""
    declared = [name for name, parameter in method.parameters.items() if not parameter.keyword_only]
    own = [parameter.name for parameter in parameters if parameter.kind in POSITIONAL][: len(declared)]
    if own != (declared[: len(own)] if takes_any else declared):
        yield f"does not take ({', '.join(declared)}) by position, in this order"


def _context_parameter(function: Callable[..., Any]) -> str | None:
    # A decorated method shows the signature of what it wraps; a stand-in that takes the context that of its contract.
    for signature in (signature_of(function), signature_of(function, follow_wrapped=False)):
        for parameter in signature.parameters.values():
            if parameter.default is INJECT:
                return parameter.name
    return None
