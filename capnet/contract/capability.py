"""Declaring: `Cap`, `@call`, `@stream`, `@options`, and the rules a contract must keep when its class is created.

A class whose body declares methods (or that passes `name=`) is a *contract*; every other subclass of `Cap` is an
*implementation*. What a class declared is kept in a `Declaration`; `spec.py` makes a `ContractSpec` of it at first use,
so that annotations may name types that do not exist yet when the class is created.
"""

from __future__ import annotations

import inspect
import math
import sys
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, replace
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, TypeAlias, TypeVar, cast

from typing_extensions import Format

from capnet.contract.context import INJECT
from capnet.errors import ContractError

__all__ = [
    "DATA",
    "MAX_NAME_BYTES",
    "Cap",
    "Declaration",
    "Kind",
    "Stream",
    "call",
    "declaration_of",
    "holds_data",
    "options",
    "options_of",
    "signature_of",
    "stream",
]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

Kind: TypeAlias = Literal["call", "stream"]
Stream: TypeAlias = AsyncGenerator[T, None]
"""What a `@stream` method returns: in the contract the promise, in the implementation the generator itself."""

MAX_NAME_BYTES: Final = 256
"""Longest contract name, in UTF-8 bytes (`Limits.max_name_bytes` holds the same for names that arrive)."""
MAX_VERSION: Final = 2**53 - 1
DATA: Final = ("is a class of data", "put the decorator on the implementation; a contract has methods and nothing else")
MARK: Final = "_capnet_options"
RESERVED: Final = "capnet."
POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NOTHING: Final = (inspect.Signature.empty, None, "None")
_UNEVALUATED: Final[dict[str, Any]] = {}
if sys.version_info >= (3, 14):
    from annotationlib import Format

    # Otherwise annotations would be evaluated here, before the names in them need to exist.
    _UNEVALUATED["annotation_format"] = Format.FORWARDREF


@dataclass(frozen=True, slots=True)
class MethodOptions:
    """What the decorators said of one method."""

    kind: Kind
    since: int = 1
    timeout: float | None = None
    idempotent: bool = False
    resume: str | None = None
    position: str | None = None


@dataclass(frozen=True, slots=True)
class Declaration:
    """What one contract class declares in its own body; inherited methods belong to the base's declaration."""

    name: str
    version: int
    methods: Mapping[str, FunctionType]
    ordered: bool


class Cap(ABC):
    """Base of every contract and implementation; as an annotation it means any capability.

        class Room(Cap, name="chat.Room", version=2):
            @call
            async def post(self, text: str) -> int: ...

    Args:
        name: the contract's name on the wire, at most 256 bytes of UTF-8 in NFC, all of it printable. Without it
            the name is `module:QualName`, which changes when the class moves.
        version: counts additions to the contract, from 1.
        ordered: calls on one object run one at a time, in the order they were made, instead of side by side. It is the
            server's side of the contract, no part of its shape; a contract that extends an ordered one is ordered.

    Raises:
        ContractError: the class breaks a rule; the class is not created and the note says what to write instead.
    """

    _capnet_declaration: ClassVar[Declaration | None] = None
    _capnet_specs: ClassVar[dict[object, object]]
    _capnet_tables: ClassVar[dict[object, object]]

    def __init_subclass__(
        cls, *, name: str | None = None, version: int | None = None, ordered: bool | None = None
    ) -> None:
        super().__init_subclass__()
        methods = _declared_methods(cls)
        declaration: Declaration | None = None
        if methods or name is not None:
            declaration = _declare(cls, name, version, methods, ordered)
        elif version is not None or ordered is not None:
            keyword = "version" if ordered is None else "ordered"
            raise ContractError(
                f"{cls.__qualname__} passes {keyword}= but declares no contract",
                hint="declare methods with @call or @stream, or pass name=",
            )
        cls._capnet_declaration = declaration
        cls._capnet_specs, cls._capnet_tables = {}, {}

    async def aclose(self) -> None:  # noqa: B027 - a hook that most leave out
        """On a proxy: give its references back. On an implementation: its close hook, by default nothing.

        The hook runs once, when the last reference is gone or the registration ends.
        """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def __getstate__(self) -> object:
        """The state of an implementation that is copied or pickled, without what capnet keeps with it."""
        state: Any = super().__getstate__()
        if isinstance(state, tuple):  # of a class with slots
            return tuple(map(_own, cast("tuple[object, ...]", state)))
        return _own(state)


def _own(state: object) -> object:
    """Attributes that are the implementation's."""
    if not isinstance(state, dict):
        return state
    attributes = cast("dict[str, Any]", state)
    return {name: value for name, value in attributes.items() if not name.startswith("_capnet_")}


# For type checkers the two are `abstractmethod`, which they know by its name only: mypy takes it from the import.
# Pyright passes over that, and an editor shows the texts below.
if 0:
    from abc import abstractmethod as call
    from abc import abstractmethod as stream
call = abstractmethod
"""Declare a method of the contract that answers once; it must be `async def`.

    class Room(Cap, name="chat.Room"):
        @call
        async def post(self, text: str) -> int: ...
"""
stream = abstractmethod
"""Declare a method of the contract that yields items; it must be plain `def` and return `Stream[T]`.

    class Room(Cap, name="chat.Room"):
        @stream
        def history(self, last: int = 10) -> Stream[str]: ...
"""
if not TYPE_CHECKING:  # pragma: no branch

    def call(*function: Any, **wrong: Any) -> Any:
        """Declare a method of the contract that answers once; it must be `async def`."""
        return _mark("call", function, wrong)

    def stream(*function: Any, **wrong: Any) -> Any:
        """Declare a method of the contract that yields items; it must be plain `def` and return `Stream[T]`."""
        return _mark("stream", function, wrong)


def options(
    *,
    since: int = 1,
    timeout: float | None = None,
    idempotent: bool = False,
    resume: str | None = None,
    position: str | None = None,
) -> Callable[[F], F]:
    """Say more of a declared method; goes above `@call` or `@stream`.

    Args:
        since: the contract version that brought the method.
        timeout: seconds until the caller gives up when it has no nearer deadline, or None.
        idempotent: the call may be made again when it is not known whether it ran. A call that is cut off because its
            implementation is replaced is then made once more, for the new one.
        resume: of an idempotent stream, the parameter that takes a position: what is read by way of a link or a slot
            and ends midway goes on behind the position of the last item that was read.
        position: the field of an item that is its position; without it, each item is one.

    Raises:
        ContractError: a value makes no sense, or the method below is not declared.
    """
    _check_count("since", since)
    if timeout is not None and not _is_duration(timeout):
        raise ContractError(f"@options(timeout=…) takes seconds above 0, got {timeout!r}")
    if not _is_bool(idempotent):
        raise ContractError(f"@options(idempotent=…) takes a bool, got {idempotent!r}")

    for word, value in (("resume", resume), ("position", position)):
        if value is not None and (type(value) is not str or not value):
            raise ContractError(f"@options({word}=…) takes a name, got {value!r}")
    if (position is not None and resume is None) or (resume is not None and not idempotent):
        raise ContractError("@options(position=…) needs resume=, and resume= needs idempotent=True")

    def apply(function: F) -> F:
        declared = options_of(function)
        if declared is None:
            raise ContractError(
                f"@options on {_label(function)}, which is not declared", hint="put @options above @call or @stream"
            )
        marked = replace(
            declared, since=since, timeout=timeout, idempotent=idempotent, resume=resume, position=position
        )
        function.__dict__[MARK] = marked
        return function

    return apply


def declaration_of(cls: type) -> Declaration | None:
    """What `cls` itself declares, or None when it is not a contract."""
    return cast("Declaration | None", vars(cls).get("_capnet_declaration"))


def holds_data(contract: type) -> bool:
    """Whether a contract is also a class of data, of the standard library or of attrs.

    Values are taken for data first, so its capabilities would be; and what is decorated last may be another class.
    """
    return hasattr(contract, "__dataclass_fields__") or hasattr(contract, "__attrs_attrs__")


def options_of(function: object) -> MethodOptions | None:
    """What the decorators said of `function`, or None when it is not declared."""
    # A property, staticmethod or classmethod has no marks of its own, so what it wraps is asked.
    wrapped = getattr(function, "fget", None) or getattr(function, "__func__", function)
    marks = getattr(wrapped, "__dict__", {})
    return cast("MethodOptions | None", marks.get(MARK))


def signature_of(function: Callable[..., object], *, follow_wrapped: bool = True) -> inspect.Signature:
    """The signature of `function`, its annotations not evaluated.

    Args:
        follow_wrapped: take that of the function which it is wrapped around, if any.
    """
    return inspect.signature(function, follow_wrapped=follow_wrapped, **_UNEVALUATED)


def _mark(kind: Kind, arguments: tuple[Any, ...], wrong: Mapping[str, Any]) -> Any:
    if wrong or len(arguments) != 1:
        raise ContractError(f"@{kind} takes no arguments", hint=f"write @options(…) above @{kind}")
    (function,) = arguments
    if not isinstance(function, FunctionType):
        raise ContractError(
            f"@{kind} on {_label(function)}, which is not a plain method", hint=f"put @{kind} directly above the def"
        )
    if options_of(function) is not None:
        raise ContractError(f"{_label(function)} is declared twice", hint="keep one of @call and @stream")
    function.__dict__[MARK] = MethodOptions(kind)
    return abstractmethod(function)


def _label(function: object) -> str:
    return f"'{getattr(function, '__qualname__', repr(function))}'"


def _declared_methods(cls: type) -> dict[str, Any]:
    return {name: value for name, value in vars(cls).items() if options_of(value) is not None}


def _declare(
    cls: type, name: str | None, version: int | None, methods: Mapping[str, Any], ordered: bool | None
) -> Declaration:
    name = _checked_name(cls, f"{cls.__module__}:{cls.__qualname__}" if name is None else name)
    version = 1 if version is None else version
    _check_count("version", version)
    for method, function in methods.items():
        _check_method(f"contract {name}: method '{method}'", method, function, version)
    contracts = [declared for base in cls.__mro__ if (declared := declaration_of(base)) is not None]
    known = {"aclose", *methods, *(method for declared in contracts for method in declared.methods)}
    for base in cls.__mro__:
        if base not in Cap.__mro__ and declaration_of(base) is None:
            for method, function in vars(base).items():
                if method not in known and not method.startswith("_"):
                    _check_undeclared(f"contract {name}: '{method}'", function)
    return Declaration(name, version, dict(methods), _checked_ordered(cls, name, ordered))


def _checked_ordered(cls: type, name: str, ordered: object) -> bool:
    inherited = any(declared.ordered for base in cls.__mro__[1:] if (declared := declaration_of(base)))
    if ordered is None:
        return inherited
    if not _is_bool(ordered):
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


def _check_count(label: str, value: object) -> None:
    if type(value) is not int or not 1 <= value <= MAX_VERSION:
        raise ContractError(f"{label} is a whole number from 1, got {value!r}")


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


def _is_duration(value: object) -> bool:
    return isinstance(value, int | float) and not _is_bool(value) and value > 0 and math.isfinite(value)


def _is_empty(function: object) -> bool:
    """Whether it declares that it gives something, and has no body that could."""
    if not isinstance(function, FunctionType) or signature_of(function).return_annotation in _NOTHING:
        return False
    code = function.__code__
    return code.co_code in _EMPTY and all(const in (None, function.__doc__) for const in code.co_consts)


def _bare() -> Any: ...


def _documented() -> Any:
    """Nothing but these words."""


_EMPTY: Final = (_bare.__code__.co_code, _documented.__code__.co_code)
"""What functions without a body are compiled to."""
