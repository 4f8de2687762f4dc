"""Stand-ins: classes with a contract whose methods lead elsewhere. Proxies, facets and wrappers are made here.

To who uses one it looks like the contract: `isinstance` holds, and its methods have the names, the documentation and
the signatures that the contract declares. What else the contract's class has, such as a default value or a property,
says nothing about the object that it stands for, so that is not to be read, and nothing can be set.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, new_class
from typing import Any, Final, NoReturn, TypeVar, cast

from capnet.contract.capability import Cap
from capnet.contract.spec import ContractSpec, MethodSpec
from capnet.nearest import nearest

__all__ = ["StandIn", "stand_in_class"]

S = TypeVar("S", bound="StandIn")
_PRIVATE: Final = "_capnet_"
_LOCAL: Final = (FunctionType, classmethod, staticmethod, type)
"""What a contract's class may have beside its methods that works on a stand-in as well."""


class StandIn(Cap):
    """What all of them have. A contract may use every public name, so nothing here has one."""

    _capnet_methods: tuple[str, ...] = ("this capability",)
    """What its contract is called, and its methods."""

    def __getattr__(self, name: str) -> NoReturn:
        contract, *methods = self._capnet_methods
        hidden = getattr(type(self), name, None)  # which has refused already, and would not be heard
        said = hidden.text if isinstance(hidden, _Hidden) else f"{contract} has no method {name!r}"
        error = AttributeError(said)
        meant = None if hidden is not None or name.startswith("_") else nearest(name, methods)
        if meant is not None:
            error.add_note(f"hint: {meant}")
        raise error

    def __setattr__(self, name: str, value: object) -> None:
        if not name.startswith(_PRIVATE):
            raise AttributeError(f"{self!r} has no attributes to set, such as {name!r}: only methods can be called")
        object.__setattr__(self, name, value)


def stand_in_class(
    name: str, kind: type[S], spec: ContractSpec, make: Callable[[MethodSpec], Callable[..., Any]]
) -> type[S]:
    """A class of a kind of stand-ins with a contract.

    Args:
        name: of the class.
        make: gives the function that takes the place of a method.
    """
    body: dict[str, Any] = dict(_hidden(spec))
    body |= {method.name: _as_declared(make(method), spec, method) for method in spec.methods.values()}
    body["_capnet_methods"] = (spec.name, *spec.methods)
    body |= {"__module__": spec.cls.__module__, "__doc__": spec.cls.__doc__}
    return cast("type[S]", new_class(name, (kind, spec.hint), {}, lambda namespace: namespace.update(body)))


def _as_declared(function: Any, spec: ContractSpec, method: MethodSpec) -> Any:
    """Not by `functools.wraps`: the marks of the declaration would make it a declaration again."""
    stub = method.stub
    function.__name__, function.__qualname__ = method.name, f"{spec.cls.__name__}.{method.name}"
    function.__doc__, function.__module__, function.__wrapped__ = stub.__doc__, stub.__module__, stub
    _copy_annotations(function, stub)
    if method.kind == "call":
        _mark_coroutine_function(function)
    return function


def _copy_annotations(function: Any, stub: Any) -> None:
    """Since Python 3.14 they are not evaluated before they are asked for."""
    name = "__annotate__" if getattr(stub, "__annotate__", None) else "__annotations__"
    setattr(function, name, getattr(stub, name))


def _flag_code(function: Any) -> None:
    """Python 3.11 looks at a flag of the code, and at nothing else; when the code runs it does not look there."""
    code: CodeType = function.__code__
    function.__code__ = code.replace(co_flags=code.co_flags | inspect.CO_COROUTINE)


_mark_coroutine_function: Callable[[Any], object] = getattr(inspect, "markcoroutinefunction", _flag_code)


def _hidden(spec: ContractSpec) -> Iterator[tuple[str, Any]]:
    for base in spec.cls.__mro__[: spec.cls.__mro__.index(Cap)]:
        for name, value in vars(base).items():
            if not name.startswith("_") and name not in spec.methods and not isinstance(value, _LOCAL):
                yield name, _Hidden(spec.name, name)


class _Hidden(property):
    """An attribute of the contract's class, which the object may have otherwise."""

    def __init__(self, contract: str, name: str) -> None:
        self.text = text = (
            f"{name!r} of {contract} is no method: what the object has there is not known here; declare a @call"
        )

        def refuse(_: object) -> NoReturn:
            raise AttributeError(text)

        super().__init__(refuse)
