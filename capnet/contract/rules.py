"""The rules that a contract keeps when its class is created."""

from __future__ import annotations

import inspect
import math
import unicodedata
from collections.abc import Mapping
from types import FunctionType
from typing import Any, Final, cast

from capnet.contract.context import INJECT
from capnet.contract.declaration import (
    MAX_NAME_BYTES,
    MAX_VERSION,
    Declaration,
    Kind,
    MethodOptions,
    declaration_of,
    options_of,
    signature_of,
)
from capnet.errors import ContractError

__all__ = ["DATA", "POSITIONAL", "check_count", "declare", "holds_data", "is_bool", "is_duration"]

DATA: Final = ("is a class of data", "put the decorator on the implementation; a contract has methods and nothing else")
RESERVED: Final = "capnet."
POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NOTHING: Final = (inspect.Signature.empty, None, "None")


def declare(
    cls: type, root: type, name: str | None, version: int | None, methods: Mapping[str, Any], ordered: bool | None
) -> Declaration:
    """What a class declares, checked.

    Args:
        cls: the class.
        root: what all contracts are subclasses of.
        methods: of its body, that are marked.

    Raises:
        ContractError: it breaks a rule; the note says what to write instead.
    """
    name = _checked_name(cls, f"{cls.__module__}:{cls.__qualname__}" if name is None else name)
    version = 1 if version is None else version
    check_count("version", version)
    for method, function in methods.items():
        _check_method(f"contract {name}: method '{method}'", method, function, version)
    contracts = [declared for base in cls.__mro__ if (declared := declaration_of(base)) is not None]
    known = {"aclose", *methods, *(method for declared in contracts for method in declared.methods)}
    for base in cls.__mro__:
        if base not in root.__mro__ and declaration_of(base) is None:
            for method, function in vars(base).items():
                where = f"contract {name}: '{method}'"
                if method not in known and not method.startswith("_"):
                    _check_undeclared(where, function)
                elif method not in methods and getattr(cls, method, None) is function:
                    _check_local(where, method, function, inherited=method in known)
    return Declaration(name, version, dict(methods), _checked_ordered(cls, name, ordered))


def holds_data(contract: type) -> bool:
    """Whether a contract is also a class of data, of the standard library or of attrs.

    Values are taken for data first, so its capabilities would be; and what is decorated last may be another class.
    """
    return hasattr(contract, "__dataclass_fields__") or hasattr(contract, "__attrs_attrs__")


def _checked_ordered(cls: type, name: str, ordered: object) -> bool:
    inherited = any(declared.ordered for base in cls.__mro__[1:] if (declared := declaration_of(base)))
    if ordered is None:
        return inherited
    if not is_bool(ordered):
        raise ContractError(f"contract {name}: ordered= takes a bool, got {ordered!r}", hint="write ordered=True")
    if inherited and not ordered:
        raise ContractError(
            f"contract {name} extends an ordered contract, so it is ordered", hint="leave `ordered=False` out"
        )
    return bool(ordered)


def _checked_name(cls: type, name: object) -> str:
    """`name` when it may be a contract's name.

    What is not printable would forge log lines and is no name on the wire, and two spellings of one text would be two
    names (P-CAP-4).
    """
    if not isinstance(name, str) or not name:
        raise ContractError(f"{cls.__qualname__}: name= takes a text, got {name!r}")
    if not name.isprintable():
        raise ContractError(f"contract name {name!r} has characters that cannot be shown")
    if not unicodedata.is_normalized("NFC", name):
        raise ContractError(
            f"contract name {name!r} is not in normal form", hint="pass unicodedata.normalize('NFC', name)"
        )
    if len(name.encode()) > MAX_NAME_BYTES:
        raise ContractError(f"contract name {name[:40]!r}… is longer than {MAX_NAME_BYTES} bytes", hint="pass name=")
    if name.startswith(RESERVED) and not f"{cls.__module__}.".startswith(RESERVED):
        raise ContractError(f"contract name {name!r} begins with the reserved `{RESERVED}`", hint="use your own prefix")
    return name


def _check_method(where: str, name: str, function: object, version: int) -> None:
    if name.startswith("_") or name == "aclose":
        raise ContractError(f"{where}: the name is reserved", hint="`aclose` and names that begin with `_` stay local")
    if not isinstance(function, FunctionType):
        raise ContractError(f"{where} is not a plain method", hint="no staticmethod, classmethod or property")
    declared = cast("MethodOptions", options_of(function))
    if declared.since > version:
        raise ContractError(
            f"{where} exists since {declared.since}, but the version is {version}",
            hint=f"declare the class with version={declared.since}",
        )
    _check_kind(where, declared.kind, function)
    signature = signature_of(function)
    _check_signature(where, signature)
    if declared.resume is not None and (declared.kind != "stream" or declared.resume not in signature.parameters):
        raise ContractError(f"{where}: resume={declared.resume!r} is no parameter of a stream")


def _check_undeclared(where: str, function: object) -> None:
    """What looks like a method of the contract and is none would run here, on a proxy, and never reach the object."""
    while not isinstance(function, FunctionType):  # a classmethod, a partial method, a bound one
        function = getattr(function, "__func__", None) or getattr(function, "func", None)
        if function is None:
            return
    unwrapped = inspect.unwrap(function)
    if inspect.iscoroutinefunction(unwrapped) or inspect.isasyncgenfunction(unwrapped) or _is_empty(unwrapped):
        raise ContractError(
            f"{where} is not declared",
            hint="put @call or @stream above it, or begin its name with `_` to keep it local",
        )


def _check_local(where: str, method: str, function: object, inherited: bool) -> None:
    """What stays here may well do something; where it is only declared, it was meant to be a method of the contract."""
    if inherited and _is_empty(function):
        hint = "put @call or @stream above it, or leave it out"
        raise ContractError(f"{where} is declared by a base, and not here", hint=hint)
    if method.startswith("__") and _is_empty(function):
        hint = "name it without underscores, and put @call above it"
        raise ContractError(f"{where} cannot be declared", hint=hint)


def _check_kind(where: str, kind: Kind, function: FunctionType) -> None:
    unwrapped = inspect.unwrap(function)
    if kind == "call" and not inspect.iscoroutinefunction(unwrapped):
        raise ContractError(f"{where} must be `async def`", hint="a method that yields items is declared with @stream")
    if kind == "stream" and (inspect.iscoroutinefunction(unwrapped) or inspect.isasyncgenfunction(unwrapped)):
        raise ContractError(
            f"{where} must be plain `def`", hint="write `def … -> Stream[T]: ...`; the implementation is `async def`"
        )


def _check_signature(where: str, signature: inspect.Signature) -> None:
    parameters = list(signature.parameters.values())
    if not parameters or parameters[0].kind not in POSITIONAL:
        raise ContractError(f"{where} has no `self`")
    for parameter in parameters[1:]:
        _check_parameter(f"{where}, parameter '{parameter.name}'", parameter)
    if signature.return_annotation is inspect.Signature.empty:
        raise ContractError(f"{where} has no return annotation", hint="write `-> None` when there is no result")


def _check_parameter(where: str, parameter: inspect.Parameter) -> None:
    if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
        raise ContractError(f"{where}: a contract has no *args or **kwargs", hint="take a list or a dict")
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        raise ContractError(f"{where} is positional-only, but arguments travel by name", hint="leave the `/` out")
    if parameter.annotation is inspect.Parameter.empty:
        raise ContractError(f"{where} has no annotation", hint="write `Any` to take whatever comes")
    if parameter.default is INJECT:
        raise ContractError(f"{where}: the call's context is not an argument", hint="take it in the implementation")


def check_count(label: str, value: object) -> None:
    if type(value) is not int or not 1 <= value <= MAX_VERSION:
        raise ContractError(f"{label} is a whole number from 1, got {value!r}")


def is_bool(value: object) -> bool:
    return isinstance(value, bool)


def is_duration(value: object) -> bool:
    return isinstance(value, int | float) and not is_bool(value) and value > 0 and math.isfinite(value)


def _is_empty(function: object) -> bool:
    """Whether it declares that it gives something, and has no body that could."""
    if not isinstance(function, FunctionType) or signature_of(function).return_annotation in _NOTHING:
        return False
    code = function.__code__
    return code.co_code in _EMPTY and all(const in (None, function.__doc__) for const in code.co_consts)


def _bare() -> Any: ...


def _documented() -> Any:
    """Nothing but these words."""


async def _bare_coroutine() -> Any: ...


async def _documented_coroutine() -> Any:
    """Nothing but these words."""


_EMPTY: Final = tuple(one.__code__.co_code for one in (_bare, _documented, _bare_coroutine, _documented_coroutine))
"""What functions without a body are compiled to."""
