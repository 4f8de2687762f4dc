"""Untyped references: calls by the name of a method, on what this program has no contract of.

What goes out is plain data, capabilities, streams; what comes back is the same, as it came. The peer checks it all
against its contract, as it does with every call; here nothing is known of it but what `describe` was told.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable
from inspect import Parameter, isroutine, signature
from typing import Any, Final, NamedTuple, Self

from capnet.calls.call import Call
from capnet.contract import Annotation, Cap, MethodDescription, MethodSpec, ParameterDescription, callable_spec
from capnet.contract.declaration import MAX_NAME_BYTES
from capnet.contract.leaving import Leaving
from capnet.contract.position import UNKNOWN
from capnet.errors import InvalidArgument
from capnet.registry import Hosted, facet_of
from capnet.wire.references import is_name

from .reference import Reference

__all__ = ["Untyped", "UntypedMethod"]

_ANYTHING: Final = Annotation(Any, "any")
_LEAVING: Final = Leaving(_ANYTHING, "result")
_CAPABILITIES: Final = (Cap,)


class UntypedMethod(MethodSpec):
    """A method of a contract that this side does not know: what it takes and gives is plain data and references.

    Capabilities leave under what they are held under.

    Args:
        kept: something may be pipelined on it.
        told: what the peer has said of it.
    """

    def __init__(self, contract: str, name: str, kept: bool, told: MethodDescription | None = None) -> None:
        self.contract = contract
        self.name = name
        self.kind = "call"
        self.since = 1
        self.timeout = None if told is None else told.timeout
        self.idempotent = told is not None and told.idempotent
        self.parameters = {}
        self.result = _ANYTHING
        self.leaving = _LEAVING
        self.arguments_position = self.result_position = UNKNOWN
        self.checks_arguments = self.checks_result = False
        self.result_contracts = _CAPABILITIES if kept else ()
        self.may_pipe = kept

    def receive_result(self, value: Any) -> Any:
        """As it came."""
        return value


class Untyped:
    """A capability of which this program has no contract: its methods are called by name, with plain data.

        lobby = await connection.bootstrap_untyped("chat.Lobby")
        room = await lobby.call("open", topic="tea")
        await room.call("post", text="hello")
        async for message in room.stream("history"):
            ...

    Every capability that comes where `Any` or `Cap` is declared is one, too. `cast_cap` makes a proxy with a contract
    of it. What `pipe` gives of an untyped call has the same methods, and steps into what the call will bring.
    """

    __slots__ = ()

    def call(self, method: str, /, *arguments: Any, **named: Any) -> Call[Any]:
        """Call a method: await what this gives, or `pipe` it.

        The result is None, bool, int, float, str, bytes, list or dict; capabilities in it are untyped, and a stream is
        an async iterator. Of a method that gives a stream it is that stream: `stream` saves the round trip.

        Args:
            method: its name.
            arguments: without names, in the order of the contract, which must be known: `await capnet.describe(…)`
                first.
            named: by name. An async iterator is a stream that the peer reads, a `Sink` one that it writes. An async
                function is one that the peer can call; how many arguments it takes is what the contract says, if that
                is known, and otherwise what the function itself says.

        Raises:
            CapnetError: it cannot leave; when it is awaited, what the peer answers, as of any call. TypeError:
            `arguments` do not fit, or the contract is not known.
        """
        return _start(self._capnet_method(method, arguments, named))

    def stream(self, method: str, /, *arguments: Any, **named: Any) -> Any:
        """Call a method that gives a stream: an async iterator of plain data, which `aclose` ends early.

        Args and errors are those of `call`; what the peer answers is raised by the iterator.
        """
        bound = self._capnet_method(method, arguments, named)
        return bound.reference.caller.payloads.reader(_start(bound))

    def notify(self, method: str, /, *arguments: Any, **named: Any) -> None:
        """Call a method one way: nothing comes back, no result and no error.

        Args and errors are those of `call`.
        """
        bound = self._capnet_method(method, arguments, named)
        bound.reference.caller.notify(bound.reference.usable(), bound.method, bound.arguments)

    @property
    def contract_name(self) -> str:
        """The name of its contract, as the peer says; empty while it is only promised."""
        return self._capnet_held().imported.interface

    async def aclose(self) -> None:
        """Give the reference back. Idempotent."""
        self._capnet_held().release()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    @abstractmethod
    def _capnet_held(self) -> Reference:
        """The reference behind it."""

    @abstractmethod
    def _capnet_known(self, method: str) -> MethodDescription | None:
        """What is known of a method.

        Raises:
            Unimplemented: it may not be called on this.
        """

    def _capnet_method(self, method: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> _Bound:
        # Names of typed calls are those of a program. These come from anywhere, and a bad one would end the connection.
        if not is_name(method, MAX_NAME_BYTES):
            raise InvalidArgument(f"the name of a method is printable text of at most {MAX_NAME_BYTES} bytes")
        known, reference = self._capnet_known(method), self._capnet_held()
        if arguments:
            if known is None:
                raise TypeError(
                    f"the parameters of {method!r} are not known here: pass them by name, "
                    f"or await capnet.describe(…) of this first"
                )
            named = known.bind(arguments, named)
        for name, value in named.items():
            if isroutine(value):
                named = {**named, name: _lent(value, None if known is None else known.parameters.get(name))}
        return _Bound(reference, UntypedMethod(reference.imported.interface, method, True, known), named)


class _Bound(NamedTuple):
    """A call that is to be made."""

    reference: Reference
    method: UntypedMethod
    arguments: dict[str, Any]


def _lent(function: Callable[..., Any], taken: ParameterDescription | None) -> Any:
    """A function as a capability, with the parameters that the peer takes it to have."""
    if taken is not None and taken.type[0] == "callable":
        count = len(taken.type[1])
    else:
        kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
        count = sum(one.kind in kinds for one in signature(function).parameters.values())
    kind: Any = Callable
    return facet_of(Hosted(function), callable_spec(kind[[Any] * count, Awaitable[Any]]))


def _start(bound: _Bound) -> Call[Any]:
    return bound.reference.caller.start(bound.reference.usable(), bound.method, bound.arguments)
