"""Declaring: `Cap`, `@call`, `@stream`, `@options`.

A class whose body declares methods (or that passes `name=`) is a *contract*; every other subclass of `Cap` is an
*implementation*. Which rules a contract keeps is said in `rules.py`. What a class declared is kept in a `Declaration`;
`spec.py` makes a `ContractSpec` of it at first use, so that annotations may name types that do not exist yet when the
class is created.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import replace
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias, TypeVar, cast

from capnet.contract.declaration import MARK, Declaration, Kind, MethodOptions, options_of
from capnet.contract.rules import check_count, declare, is_bool, is_duration
from capnet.errors import ContractError

__all__ = ["Cap", "Stream", "call", "options", "stream"]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

Stream: TypeAlias = AsyncGenerator[T, None]
"""What a `@stream` method returns: in the contract the promise, in the implementation the generator itself."""


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
            declaration = declare(cls, Cap, name, version, methods, ordered)
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
    check_count("since", since)
    if timeout is not None and not is_duration(timeout):
        raise ContractError(f"@options(timeout=…) takes seconds above 0, got {timeout!r}")
    if not is_bool(idempotent):
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
