"""Wrappers: an object with the contract of another one, that has its own say in every call and then hands it on.

A wrapper class is made once per contract, like the classes of proxies. What is behind a wrapper stays open as long as
somebody holds the wrapper: the implementation, by a hold on its `Hosted`; a proxy, by a reference of the wrapper's own,
which goes back when the wrapper is collected. The reference that the program has stays the program's.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NoReturn, TypeVar, cast

from capnet.contract import (
    INJECT,
    CallContext,
    Cap,
    ContractSpec,
    Handler,
    MethodSpec,
    contract_spec,
    implementation_table,
)
from capnet.contract.copied import copied
from capnet.contract.generics import bindings_of
from capnet.contract.stand_in import StandIn, stand_in_class
from capnet.errors import CapnetError, ContractError, InvalidArgument
from capnet.references.proxy import Proxy, UntypedProxy, dup_under, reference_of, release
from capnet.references.reference import Elsewhere
from capnet.registry import Hosted
from capnet.serving.runtime import restrictions_of

__all__ = ["HostedWrapper", "Inner", "Wrapper", "contract_of", "make_wrapper"]

W = TypeVar("W", bound="Wrapper")


class Inner:
    """What is behind a wrapper, ready to be called.

    Args:
        subject: an implementation, a facet, or a proxy, of which it has one of its own.
        spec: the contract under which it is called.

    Raises:
        ContractError: it lacks methods of the contract. Released: the proxy was given back.
    """

    __slots__ = ("_table", "spec", "subject")

    def __init__(self, subject: Any, spec: ContractSpec) -> None:
        self._table: Mapping[str, Handler] = {}
        self.spec = spec
        if isinstance(subject, Proxy):
            subject = dup_under(subject, spec)
        else:
            self._table = implementation_table(cast("Any", type(subject)), spec)
        self.subject = subject

    def start(
        self, name: str, arguments: tuple[Any, ...], keywords: Mapping[str, Any], context: CallContext | None
    ) -> Any:
        """Call a method: an awaitable, or a stream."""
        handler = self._table.get(name)
        if handler is None:
            return getattr(self.subject, name)(*arguments, **keywords)
        function, context_parameter = handler.on(self.subject)
        if context is not None and context_parameter is not None:
            keywords = {**keywords, context_parameter: context}
        return function(*arguments, **keywords)

    def check_loop(self) -> None:
        """Nothing, where what is behind it may be given back: in the loop of its connection.

        Raises:
            FailedPrecondition: `another_loop`.
        """
        if isinstance(self.subject, Proxy):
            reference_of(self.subject).caller.session.loop.check()

    def let_go(self) -> None:
        """Give the wrapper's own reference back now."""
        if isinstance(self.subject, Proxy):
            release(self.subject)

    def hosted(self) -> Hosted | None:
        """What is to stay open as long as the wrapper does."""
        if isinstance(self.subject, Proxy):
            reference = reference_of(self.subject)
            return None if reference.released else reference.caller.held.passing.of(reference.imported)
        return Hosted.of(self.subject)


class HostedWrapper(Hosted):
    """What keeps a wrapper open keeps open what is behind it. A wrapper has no close hook of its own."""

    __slots__ = ("_behind",)

    def __init__(self, implementation: Wrapper) -> None:
        super().__init__(implementation)
        self._behind: Hosted | None = None

    @property
    def gone(self) -> CapnetError | None:
        """See `Hosted`."""
        return None if self._behind is None else self._behind.gone

    @property
    def origin(self) -> int:
        """See `Hosted`."""
        behind = self._behind
        while isinstance(behind, HostedWrapper):
            behind = behind._behind  # noqa: SLF001 - another of the same
        return self.generation if isinstance(behind, Elsewhere) else 0

    def handler(self, interface: str, contract: ContractSpec | None, method: str) -> Handler | None:
        """See `Hosted`."""
        if self.names:
            self.check_there()
        return super().handler(interface, contract, method)

    def hold(self) -> None:
        """See `Hosted`."""
        if not self.holders:
            behind = self._behind = self.implementation.__capnet_behind__()
            if behind is not None:
                behind.hold()
                self.granted.behind = behind.granted
                if behind.turns is not None:
                    self.turns = behind.turns  # of one object there is one call at a time, whichever way it came
        super().hold()

    def release(self, close: Callable[[Hosted], None]) -> None:
        """See `Hosted`."""
        self.holders -= 1
        if not self.holders and self._behind is not None:
            behind, self._behind = self._behind, None
            behind.release(close)


class Wrapper(StandIn):
    """What all wrappers have. A contract may use every public name, so nothing here has one."""

    __capnet_hosted__ = HostedWrapper

    _capnet_inner: Inner

    def __capnet_behind__(self) -> Hosted | None:
        """What is to stay open as long as this does."""
        return self._capnet_inner.hosted()

    async def __capnet_restrictions__(self) -> list[dict[str, Any]]:
        """What is held against calls from here on, the outermost first."""
        return await restrictions_of(self._capnet_inner.subject)

    @abstractmethod
    async def _capnet_call(
        self, method: MethodSpec, arguments: tuple[Any, ...], keywords: dict[str, Any], context: CallContext | None
    ) -> Any:
        """A call of a method that answers once."""

    @abstractmethod
    def _capnet_stream(
        self, method: MethodSpec, arguments: tuple[Any, ...], keywords: dict[str, Any], context: CallContext | None
    ) -> Any:
        """A call of a method that gives a stream."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"  # whoever was given this was not given what is behind it

    def __reduce__(self) -> NoReturn:
        raise TypeError("what stands for a capability cannot be pickled or copied")


def contract_of(capability: object) -> Any:
    """The contract of a capability, with its type arguments.

    Raises:
        InvalidArgument: it is none. ContractError: it has no contract.
    """
    if not isinstance(capability, Cap):
        raise InvalidArgument(f"{type(capability).__name__} is no capability", hint="a function: declare a contract")
    if isinstance(capability, UntypedProxy):
        raise ContractError("this proxy has no contract", hint="say what it is with cast_cap()")
    kind: Any = type(capability)
    contract: Any = contract_spec(kind).cls
    arguments = tuple(bindings_of(kind)[contract].values())
    return contract[arguments] if arguments else contract


def make_wrapper(kind: type[W], contract: Any, inner: Inner | None) -> W:
    """A wrapper of a kind, with a contract; without what is behind it, where its kind knows that otherwise."""
    wrapper: W = object.__new__(_wrapper_class(kind, contract))
    if inner is not None:
        wrapper._capnet_inner = inner  # noqa: SLF001 - contracts may use every public name, so this one is not
    return wrapper


@lru_cache(maxsize=1024)
def _wrapper_class(kind: type[W], contract: Any) -> type[W]:
    spec = contract_spec(contract)
    return stand_in_class(f"{kind.__name__}{spec.cls.__name__}", kind, spec, _method)


def _method(method: MethodSpec) -> Callable[..., Any]:
    def run(self: Wrapper, *arguments: Any, _capnet_context: CallContext = INJECT, **keywords: Any) -> Any:
        return self._capnet_call(method, *_given(arguments, keywords, _capnet_context))

    def open_stream(self: Wrapper, *arguments: Any, _capnet_context: CallContext = INJECT, **keywords: Any) -> Any:
        return self._capnet_stream(method, *_given(arguments, keywords, _capnet_context))

    return open_stream if method.kind == "stream" else run


def _given(
    arguments: tuple[Any, ...], keywords: dict[str, Any], context: CallContext
) -> tuple[tuple[Any, ...], dict[str, Any], CallContext | None]:
    """What a call takes: it begins when it is awaited, or later, and what is sent is what its caller had at first.

    What comes from a peer, which is when there is a context, is nobody else's.
    """
    if context is not INJECT:
        return arguments, keywords, context
    return copied(arguments), copied(keywords), None
