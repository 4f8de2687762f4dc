"""Facets: an object of ours as its holders have it, under one contract and no more.

What a peer was lent under a narrower contract than the object's own is a smaller right, and stays that when it comes
home: it arrives as a facet, which has the contract's methods, calls the object without the wire, and is passed on under
that contract at most. One object has one facet for each contract while somebody holds it.

    peer ── cap 4, `Reader` ──▶ Hosted of the File ◀── facet of `Reader` ── whoever it came home to

A facet says nothing of the object behind it, by no attribute, comparison or text. Who needs the object asks for it by
name, with `implementation_of`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NoReturn, cast, get_origin
from weakref import WeakValueDictionary

from capnet.contract import (
    INJECT,
    CallableCap,
    CallContext,
    Cap,
    ContractSpec,
    Handler,
    MethodSpec,
    contract_spec,
    differences,
    implemented_spec,
)
from capnet.contract.stand_in import StandIn, stand_in_class

from .hosted import Hosted

__all__ = ["Facet", "facet_of", "implementation_of"]


class Behind:
    """The object behind a facet, and what it is held under."""

    __slots__ = ("hosted", "spec")

    def __init__(self, hosted: Hosted, spec: ContractSpec) -> None:
        self.hosted = hosted
        self.spec = spec

    @property
    def whole(self) -> bool:
        """Whether it is held under the object's own contract; a function has none, and is what it is held as."""
        implementation: object = self.hosted.implementation
        return not isinstance(implementation, Cap) or contract_spec(type(implementation)).cls is self.spec.cls

    def under(self, contract: Any) -> ContractSpec:
        """What it may be passed on or taken as, where `contract` is declared.

        Raises:
            TypeError: more is declared than it is held under.
        """
        spec = self.spec
        if contract is Cap or contract is spec.hint:
            return spec
        declared: Any = get_origin(contract) or contract
        if issubclass(spec.cls, declared):
            return implemented_spec(spec.hint, declared)
        if spec.is_callable and issubclass(declared, CallableCap):
            wanted = contract_spec(declared)
            if not differences(wanted.shape, spec.shape):
                return wanted
            raise TypeError("Expected a function of another signature than this one was lent under")
        raise TypeError(f"Expected `{contract_spec(contract).name}`, got `{spec.name}`")


class Facet(StandIn):
    """What all facets have. A contract may use every public name, so nothing here has one."""

    _capnet_facet: Behind

    def __capnet_narrow__(self, contract: Any) -> Any:
        """This where `contract` is declared: the object itself when it is held as what it is, else a facet.

        Raises:
            TypeError: more is declared than it is held under.
        """
        behind = self._capnet_facet
        spec = behind.under(contract)
        implementation = behind.hosted.implementation
        # A function by itself would have forgotten its signature where none is declared.
        if behind.whole and (contract is not Cap or isinstance(implementation, Cap)):
            return implementation
        return self if spec is behind.spec else facet_of(behind.hosted, spec)

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"<facet of {self._capnet_facet.spec.name}>"

    def __str__(self) -> str:
        return repr(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a facet cannot be pickled or copied")


def facet_of(hosted: Hosted, spec: ContractSpec) -> Facet:
    """The facet of an object for a contract that it has; always the same while somebody has it."""
    facets = hosted.facets
    if facets is None:
        facets = hosted.facets = WeakValueDictionary()
    facet = cast("Facet | None", facets.get(spec))
    if facet is None:
        hosted.expose(spec)
        facet = facets[spec] = object.__new__(_facet_class(spec))
        facet._capnet_facet = Behind(hosted, spec)
    return facet


def implementation_of(capability: object) -> Any:
    """The object of this program behind a capability that came home.

    This makes more of what its holder gave back: call it where the holder is to be served, and not where the object is
    to be handed on.

    Args:
        capability: what a handler was given; an object of ours that is no facet is returned as it is.

    Raises:
        TypeError: it is not ours, but a proxy of something at a peer, or no capability at all.
    """
    if isinstance(capability, Facet):
        return capability._capnet_facet.hosted.implementation  # noqa: SLF001 - ours
    if isinstance(capability, Cap) and not hasattr(type(capability), "__capnet_narrow__"):  # a proxy is narrowed, too
        return capability
    raise TypeError(f"{type(capability).__name__} is no object of this program")


@lru_cache(maxsize=1024)
def _facet_class(spec: ContractSpec) -> type[Facet]:
    return stand_in_class(f"{spec.cls.__name__}Facet", Facet, spec, partial(_method, spec))


def _method(spec: ContractSpec, method: MethodSpec) -> Callable[..., Any]:
    """A method that calls the same of the object, with what the contract takes and nothing else."""
    bind, name = method.bind, method.name

    def start(self: Facet, context: CallContext, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        bind(arguments, keywords)
        hosted = self._capnet_facet.hosted
        handler: Handler | None = hosted.handler(spec.name, spec, name)
        assert handler is not None, "a facet is made of what was exposed"
        function, context_parameter = handler.on(hosted.implementation)
        if context_parameter is not None and context is not INJECT:
            keywords[context_parameter] = context
        return function(*arguments, **keywords)

    async def run(self: Facet, *arguments: Any, _capnet_context: CallContext = INJECT, **keywords: Any) -> Any:
        return await start(self, _capnet_context, arguments, keywords)

    def open_stream(self: Facet, *arguments: Any, _capnet_context: CallContext = INJECT, **keywords: Any) -> Any:
        return start(self, _capnet_context, arguments, keywords)

    return open_stream if method.kind == "stream" else run
