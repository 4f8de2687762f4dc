"""Planted faults: each makes a reference worth more than it was given as, and the routes must notice it.

The first two together are how capnet was before a reference had the contract of its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from capnet.attenuation import membrane, restriction
from capnet.attenuation.wrapper import Inner, contract_of
from capnet.contract import Cap, ContractSpec, Handler, MethodSpec
from capnet.contract.position import ANYTHING
from capnet.engine.exports import CapTable, Export
from capnet.engine.imports import Import
from capnet.forwarding.forwarder import Forwarder
from capnet.references import payload, proxy
from capnet.references.payload import Payloads
from capnet.references.proxy import Proxy, UntypedProxy, dup, held_under, reference_of
from capnet.references.untyped import UntypedMethod
from capnet.registry import Facet, Hosted, implementation_of
from capnet.serving import bootstrap
from capnet.streams.pump import Producer
from capnet.wire.references import CapRef, Reference, kind_of

from .route import CROSSING

__all__ = ["FAULTS", "Patch"]

Patch = Callable[[pytest.MonkeyPatch], None]


def what_a_method_mentions_counts(patch: pytest.MonkeyPatch) -> None:
    """An object leaves under the most derived of all contracts that the method mentions."""
    mentioned: list[Any] = []

    def lower_arguments(self: Payloads, arguments: Any, method: MethodSpec) -> Any:
        mentioned[:] = [each for parameter in method.parameters.values() for each in parameter.annotation.contracts]
        try:
            return of_arguments(self, arguments, method)
        finally:
            mentioned.clear()

    def lower_result(self: Payloads, value: Any, method: MethodSpec) -> Any:
        mentioned[:] = method.result_contracts
        try:
            return of_result(self, value, method)
        finally:
            mentioned.clear()

    def capability(self: Payloads, value: Cap, contract: Any, promises: bool) -> Any:
        if not isinstance(value, Proxy | Facet):
            fitting = [each for each in mentioned if each is not Cap and isinstance(value, each)]
            contract = max(fitting, key=lambda each: len(each.__mro__), default=contract)
        return of_capability(self, value, contract, promises)

    of_arguments, of_result, of_capability = Payloads.lower_arguments, Payloads.lower_result, Payloads._capability
    patch.setattr(Payloads, "lower_arguments", lower_arguments)
    patch.setattr(Payloads, "lower_result", lower_result)
    patch.setattr(Payloads, "_capability", capability)


def what_comes_home_is_the_object(patch: pytest.MonkeyPatch) -> None:
    """Whatever it was lent under."""
    patch.setattr(payload, "facet_of", _object)


def a_facet_goes_out_as_the_object(patch: pytest.MonkeyPatch) -> None:
    """What came home as less leaves under the object's own contract, where none is declared."""

    def capability(self: Payloads, value: Cap, contract: Any, promises: bool) -> Any:
        if isinstance(value, Facet) and contract is Cap:
            value = implementation_of(value)
        return original(self, value, contract, promises)

    original = Payloads._capability
    patch.setattr(Payloads, "_capability", capability)


def a_facet_can_be_cast_to_the_object(patch: pytest.MonkeyPatch) -> None:
    """Where any contract is asked for that the object has."""

    def narrow(self: Facet, contract: Any) -> Any:
        implementation = implementation_of(self)
        return implementation if isinstance(implementation, contract) else original(self, contract)

    original = Facet.__capnet_narrow__
    patch.setattr(Facet, "__capnet_narrow__", narrow)


def a_forwarder_passes_on_any_method(patch: pytest.MonkeyPatch) -> None:
    """Who lends a proxy as less lends all of it."""

    def handler(self: Forwarder, interface: str, contract: ContractSpec | None, method: str) -> Handler | None:
        return original(self, interface, None, method)

    original = Forwarder.handler
    patch.setattr(Forwarder, "handler", handler)


def what_came_back_as_less_goes_home_as_all(patch: pytest.MonkeyPatch) -> None:
    """A program gives its owner the number under which it holds it itself."""

    def onward(self: Payloads, value: Proxy, contract: Any, promises: bool) -> Any:
        reference = reference_of(value)
        if reference.caller is not self._caller:
            return original(self, value, contract, promises)
        return _not_narrowed(value, lambda: original(self, value, contract, promises))

    original = Payloads._onward
    patch.setattr(Payloads, "_onward", onward)


def what_came_back_as_less_can_be_cast_to_more(patch: pytest.MonkeyPatch) -> None:
    """What its owner says that it is counts more than what it was lent as."""

    def held(value: Proxy, contract: Any) -> Any:
        return _not_narrowed(value, lambda: held_under(value, contract))

    for module in (proxy, payload):
        patch.setattr(module, "held_under", held)


def a_promise_is_passed_on_as_whatever_comes(patch: pytest.MonkeyPatch) -> None:
    """Not as what the call says that it will bring."""

    def onward(self: Payloads, value: Proxy, contract: Any, promises: bool) -> Any:
        made = original(self, value, contract, promises)
        if type(made) is CapRef and not isinstance(reference_of(value).imported, Import):
            made.contract = None
        return made

    original = Payloads._onward
    patch.setattr(Payloads, "_onward", onward)


def restrict_restricts_the_object(patch: pytest.MonkeyPatch) -> None:
    """And not the facet that it is given."""

    def behind(capability: Any) -> Any:
        return implementation_of(capability) if isinstance(capability, Facet) else capability

    def of_object(capability: object) -> Any:
        return contract_of(behind(capability))

    def inner(subject: object, spec: ContractSpec) -> Inner:
        return Inner(behind(subject), spec)

    patch.setattr(restriction, "contract_of", of_object)
    patch.setattr(restriction, "Inner", inner)


def a_name_gives_all_that_is_behind_it(patch: pytest.MonkeyPatch) -> None:
    """Also after it was replaced by something that can do more."""
    patch.setattr(bootstrap, "facet_of", _object)


def an_object_is_exported_once(patch: pytest.MonkeyPatch) -> None:
    """Whoever has it as something has it as that when it is given as less or as more."""

    def count(self: CapTable, references: Iterable[Reference]) -> list[Export]:
        for reference in references:
            if type(reference) is CapRef and reference.id >= 0:
                for export in self:
                    if export.subject is reference.subject:
                        reference.contract, reference.interface = export.contract, export.interface
        return original(self, references)

    original = CapTable.count
    patch.setattr(CapTable, "count", count)


def what_was_exposed_can_be_called_by_all(patch: pytest.MonkeyPatch) -> None:
    """A method of an object runs if anybody was given the object with it."""

    def handler(self: Hosted, interface: str, contract: ContractSpec | None, method: str) -> Handler | None:
        others: Any = self._others
        tables = (self._table, *others.values())
        return next((table[method] for table in tables if method in table), None)

    patch.setattr(Hosted, "handler", handler)


def items_are_anything(patch: pytest.MonkeyPatch) -> None:
    """What is declared of the items of a stream says nothing of what they leave as."""

    def init(self: Producer, connection: Any, source: Any, position: Any, leaving: Any) -> None:
        original(self, connection, source, ANYTHING, None)

    original = Producer.__init__
    patch.setattr(Producer, "__init__", init)


def a_relay_gives_what_it_has(patch: pytest.MonkeyPatch) -> None:
    """In a call that only passes through, what is the relay's own goes on as the object."""

    def lower_arguments(self: Payloads, arguments: Any, method: MethodSpec) -> Any:
        if isinstance(method, UntypedMethod):
            arguments = _whole(arguments)
        return original(self, arguments, method)

    original = Payloads.lower_arguments
    patch.setattr(Payloads, "lower_arguments", lower_arguments)


def what_crosses_a_membrane_is_all_that_it_is(patch: pytest.MonkeyPatch) -> None:
    """Whatever is declared where it crosses."""

    def under(value: Cap, contract: Any) -> Any:
        return original(value, contract if isinstance(value, UntypedProxy) else Cap)

    original: Any = vars(membrane)["_under"]
    patch.setattr(membrane, "_under", under)


def what_crosses_back_is_the_original(patch: pytest.MonkeyPatch) -> None:
    """Whoever has lent what has crossed has it back as all that it was."""

    def behind(value: Cap, wrapper: membrane.MembraneWrapper, contract: Any) -> Any:
        subject = wrapper._capnet_inner.subject
        return dup(subject) if isinstance(subject, Proxy) else subject

    patch.setattr(membrane, "_original", behind)


def _object(hosted: Hosted, spec: ContractSpec) -> Any:
    return hosted.implementation


def _whole(value: Any) -> Any:
    if isinstance(value, Facet):
        return implementation_of(value)
    kind = kind_of(value)
    if kind is dict:
        return {key: _whole(item) for key, item in value.items()}
    return [_whole(item) for item in value] if kind is list else value


def _not_narrowed(value: Proxy, ask: Callable[[], Any]) -> Any:
    reference = reference_of(value)
    was, reference.narrowed = reference.narrowed, False
    try:
        return ask()
    finally:
        reference.narrowed = was


FAULTS: list[Patch] = [
    what_a_method_mentions_counts,
    what_comes_home_is_the_object,
    a_facet_goes_out_as_the_object,
    a_facet_can_be_cast_to_the_object,
    a_forwarder_passes_on_any_method,
    what_came_back_as_less_goes_home_as_all,
    what_came_back_as_less_can_be_cast_to_more,
    a_promise_is_passed_on_as_whatever_comes,
    restrict_restricts_the_object,
    a_name_gives_all_that_is_behind_it,
    an_object_is_exported_once,
    what_was_exposed_can_be_called_by_all,
    items_are_anything,
    a_relay_gives_what_it_has,
    *([what_crosses_a_membrane_is_all_that_it_is, what_crosses_back_is_the_original] if CROSSING else []),
]
