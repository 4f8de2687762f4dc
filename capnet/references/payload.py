"""Payloads: user values to engine values and back, with capabilities at any depth.

On the way out an implementation becomes a reference to its export, under the contract that is declared for its place
(`capnet/contract/position.py`) or, where that is `Any`, under its own; a proxy goes home as the number that the peer
knows it by, or onward under what it is held under. On the way in a reference becomes a proxy, or a facet of what came
home (`capnet/registry/facet.py`), which becomes the object where its own contract is declared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from types import BuiltinMethodType, FunctionType, MethodType
from typing import Any, Final, get_origin
from weakref import ref

from capnet.calls.call import Call, Caller, Late
from capnet.contract import (
    CallableCap,
    Cap,
    ContractSpec,
    MethodSpec,
    Sink,
    contract_spec,
    edition_of,
    implemented_spec,
)
from capnet.contract.implementation import FUNCTIONS
from capnet.contract.leaving import leaving_item
from capnet.contract.plain import form_of, plain
from capnet.contract.position import ANYTHING, Position
from capnet.engine.calls import Pipelined, Target
from capnet.engine.exports import FIRST_USER_ID, Export
from capnet.engine.imports import Import
from capnet.engine.stream import InStream, OutStream
from capnet.errors import FailedPrecondition, Revoked
from capnet.registry import Facet, Hosted, facet_of
from capnet.revocation.lineage import Granted, Lineage
from capnet.session.session import Session
from capnet.streams.flow import Streams
from capnet.streams.pump import Consumer, Producer, Pumps
from capnet.streams.reader import StreamReader
from capnet.streams.sink import RemoteSink
from capnet.streams.windows import window_of
from capnet.wire.references import AnswerRef, CapRef, StreamRef, kind_of
from capnet.wire.references import Reference as WireReference
from capnet.wire.values import OfAnotherType, Unencodable, lower

from .promise import Promise
from .proxy import Proxy, held_under, make_proxy, reference_of
from .reference import Elsewhere, Reference

__all__ = ["Payloads", "lent_under"]

References = Sequence[WireReference]


class Payloads:
    """Lowers and lifts the values of one connection."""

    __slots__ = ("_caller", "_functions", "_lineage", "_pumps", "_session", "_streams")

    def __init__(self, session: Session, caller: Caller, streams: Streams, pumps: Pumps, lineage: Lineage) -> None:
        self._session = session
        self._caller = caller
        self._streams = streams
        self._pumps = pumps
        self._lineage = lineage
        # Functions that are exported now; the export keeps the value alive, so a failed send leaves nothing behind.
        # They are told apart by what they are, never by what their class says is equal.
        self._functions: dict[tuple[Any, ContractSpec], ref[Hosted]] | None = None

    def value(self, value: Any, position: Position, /) -> Any:
        """Plain data or a reference for a value, at its position."""
        return self._enrich(False, value, position)

    def lower_arguments(self, arguments: dict[str, Any], method: MethodSpec) -> tuple[dict[str, Any], References]:
        """Arguments by name as plain data, and the references in them."""
        # What is not there yet may travel in arguments as such.
        enrich, bounds = partial(self._enrich, True), self._session.engine.outbox.bounds
        lowered = lower(arguments, enrich, bounds, place=method.arguments_position)
        return lowered if len(lowered[1]) < 2 else _apart(lowered)

    def lower_result(self, value: Any, method: MethodSpec) -> tuple[Any, References]:
        """A result as plain data, and the references in it."""
        return _apart(lower(value, self.value, self._session.engine.outbox.bounds, place=method.result_position))

    def dispose(self, result: Any) -> None:
        """Nobody gets a result: what was made for it and is used nowhere else is closed, as if it was given back."""
        for implementation in _implementations_in(result, self._session.limits.max_items):
            hosted = Hosted.of(implementation)
            hosted.hold()
            hosted.release(self._session.close_hosted)

    def lift(self, value: Any, references: References) -> Any:
        """A value that came, its references turned into objects. Each takes over the holder its reference brought.

        Raises:
            Revoked: one of them stood for an object of ours that was revoked since it came; all are released.
        """
        for reference in references:
            home = reference.subject if type(reference) is CapRef else None
            if type(home) is Export and home.revoked is not None:
                self._session.engine.release_all(references)
                raise Revoked(home.revoked)
        return _replace(value, self._object)

    def target_of(self, late: Late) -> Target:
        """What a promise has become, once its call is answered.

        Raises:
            NotYet: it is not. CapnetError: the call's own error. FailedPrecondition: it is no capability of the peer's.
        """
        value = late.value()
        if isinstance(value, Proxy) and reference_of(value).caller is self._caller:
            target = reference_of(value).usable()
            return self.target_of(target) if isinstance(target, Late) else target
        raise FailedPrecondition(
            "the path leads to no capability of the peer's",
            reason="no_capability",
            hint="await the call to see what it has brought",
        )

    def reader(self, call: Call[Any]) -> StreamReader:
        """The stream that a call will bring."""
        return StreamReader(self._streams, call)

    def queued(self, references: References, parent: Granted | None, hosted: Hosted | None = None) -> None:
        """A frame with these references is on its way.

        Args:
            parent: what it all came of.
            hosted: the implementation that hands out the streams in it; it stays open for them.
        """
        new = self._lineage.queued(references, parent)
        if self._session.bus.observed:
            self._session.publisher.exported(new)
        if StreamRef in map(kind_of, references):
            self._pumps.begin(references, hosted, parent)
        if parent is not None and parent.fallen is not None:
            self._lineage.fall_at_birth(references, parent.fallen)

    def _object(self, reference: WireReference) -> Any:
        subject = reference.subject
        if type(reference) is CapRef:
            if type(subject) is Import:
                return make_proxy(Reference(self._caller, subject))
            hosted: Hosted = subject.subject
            if isinstance(hosted, Elsewhere):
                return hosted.proxy(subject.contract)
            return facet_of(hosted, subject.contract)
        if type(subject) is InStream:
            return StreamReader(self._streams, subject)
        if type(subject) is OutStream:
            return RemoteSink(self._streams, subject, ANYTHING)
        return _replace(subject, self._object)  # an unanswered result that has come meanwhile

    def _enrich(self, promises: bool, value: Any, position: Position) -> Any:
        """See `value`.

        Args:
            promises: what is not there yet may travel as such.
        """
        kind = kind_of(value)
        if position.takes_functions and kind in FUNCTIONS:
            return self._function(value, position.contract)
        if isinstance(value, Cap):
            return self._capability(value, position.contract, promises)
        if hasattr(kind, "__aiter__"):
            items = _items_of(position, "stream")
            leaving = None if position.end is None else leaving_item(position.end)
            return StreamRef("out", Producer(self._streams, value, items, leaving), window=window_of(value))
        if issubclass(kind, Sink):
            _items_of(position, "sink")
            return StreamRef("in", Consumer(self._streams, value), window=window_of(value))
        if isinstance(value, Promise):
            return self._promise(value, promises)
        if position.takes_functions and callable(value):
            return self._function(value, position.contract)
        if issubclass(kind, Call):
            raise TypeError("this is a call that nobody has awaited: await it, or pass what it will bring by pipe()")
        form = form_of(kind)
        if form is not None and form not in position.forms and not position.takes(form):
            raise (TypeError if position is ANYTHING else OfAnotherType)(position.refusal(kind, form))
        return plain(value, position.text_keys)

    def _capability(self, value: Cap, contract: Any, promises: bool) -> CapRef | AnswerRef:
        """The reference of a capability where `contract` is declared."""
        if contract is None:
            raise OfAnotherType(f"`{type(value).__qualname__}` is a capability, and none is declared here")
        if isinstance(value, Proxy):
            return self._onward(value, contract, promises)
        # What outlives its connection goes home as what it stands for there; nothing here knows it (`capnet/links`).
        stands_for = getattr(type(value), "__capnet_home__", None)
        if stands_for is not None:
            there = stands_for(value)
            if isinstance(there, Proxy) and reference_of(there).caller is self._caller:
                return self._onward(there, contract, promises)
        spec = lent_under(value, contract)
        hosted = Hosted.of(value)
        hosted.expose(spec)
        return CapRef(spec.name, spec.version, hosted, contract=spec)

    def _onward(self, proxy: Proxy, contract: Any, promises: bool) -> CapRef | AnswerRef:
        """Home, where it is known by a number; to the call it will come of; or to another peer, by way of us."""
        reference = reference_of(proxy)
        target = reference.usable()
        if target.broken is not None:
            raise target.broken.again()
        spec = held_under(proxy, contract)
        if reference.caller is self._caller and not reference.narrowed:
            if isinstance(target, Late) and (promises or target.call.done):
                return self._capability(target.capability(), contract, promises)
            if isinstance(target, Import):
                if target.id < FIRST_USER_ID:
                    raise TypeError("the runtime of a peer does not travel")
                return CapRef(target.interface, target.version, target, -target.id)
            if isinstance(target, Pipelined) and promises:
                return AnswerRef(target.call.id, target.path, target)
        if not target.interface:
            raise TypeError("a promise of something unknown travels to the peer that it will come from; await its call")
        forwarder = reference.caller.held.passing.of(target)
        if spec is None or (
            isinstance(target, Import) and spec.name == target.interface and spec.version >= target.version
        ):
            return CapRef(target.interface, target.version, forwarder)  # all that it is; of a promise that is not known
        return CapRef(spec.name, spec.version, forwarder, contract=spec)

    def _promise(self, promise: Promise, promises: bool) -> Any:
        """What is no capability: it can only go to where it will be, or has to be waited for."""
        reference = promise.__capnet_reference__
        target = reference.usable()
        if target.broken is not None:
            raise target.broken.again()
        if isinstance(target, Late):
            return target.value()
        if isinstance(target, Pipelined) and reference.caller is self._caller and promises:
            return AnswerRef(target.call.id, target.path, target)
        raise TypeError("a promise of data travels in arguments to the peer that it will come from; await its call")

    def _function(self, function: Callable[..., Any], contract: type[CallableCap]) -> CapRef:
        spec = contract_spec(contract)
        key = (id(function) if type(function) is FunctionType else identity_of(function), spec)
        functions = self._functions
        if functions is None:
            functions = self._functions = {}
        known = functions.get(key)
        hosted = None if known is None else known()
        if hosted is None:
            hosted = Hosted(function)
            hosted.expose(spec)
            functions[key] = ref(hosted, partial(functions.pop, key))  # forgotten with it, without a step
        return CapRef(spec.name, spec.version, hosted, contract=spec)


def lent_under(value: Cap, contract: Any) -> ContractSpec:
    """What an object of ours, or a facet of one, is handed out as where `contract` is declared.

    Raises:
        TypeError: it has, or is held under, another contract.
    """
    if isinstance(value, Facet):
        return value._capnet_facet.under(contract)  # noqa: SLF001 - contracts may use every public name
    return _exported_spec(type(value), contract)


@lru_cache(maxsize=4096)
def _exported_spec(kind: type[Cap], contract: Any) -> ContractSpec:
    """What to export an object of `kind` as where `contract` is declared; under `Cap` as what it is.

    Raises:
        TypeError: it has another contract.
    """
    if contract is Cap:
        return contract_spec(kind)
    spec = contract_spec(contract)
    if issubclass(kind, spec.cls):
        return implemented_spec(kind, spec.cls)
    if issubclass(kind, edition_of(spec, kind)):
        return spec
    raise TypeError(f"Expected `{spec.name}`, got `{contract_spec(kind).name}`")


def identity_of(function: Callable[..., Any]) -> Any:
    """What tells functions apart: a method is another object each time it is looked up, on the same object."""
    if isinstance(function, MethodType):
        return id(function.__self__), id(function.__func__)
    if isinstance(function, BuiltinMethodType):
        return id(function.__self__), function.__name__
    return id(function)


def _items_of(position: Position, end: str) -> Position:
    """What the items of a stream or sink may be that stands at a position."""
    declared = get_origin(position.end) or position.end
    if position.items is None or (declared is not None and (declared is Sink) is not (end == "sink")):
        raise TypeError(f"this is a {end}, and none is declared here")
    return position.items


def _apart(lowered: tuple[Any, References]) -> tuple[Any, References]:
    """What was lowered, in which no iterator stands twice: each of its items goes to one reader only."""
    _, references = lowered
    if len(references) > 1:
        producers = [one.subject for one in references if type(one) is StreamRef and type(one.subject) is Producer]
        iterators = [id(producer.iterator) for producer in producers if producer.iterator is not None]
        if len(set(iterators)) < len(iterators):
            raise Unencodable("one stream stands in two places: each of its items goes to one reader only")
    return lowered


def _implementations_in(value: Any, most: int) -> Iterator[Cap]:
    """The objects of ours in a value that cannot travel, which may be anything: `most` values of it are looked at."""
    left = [value]
    for _ in range(most):
        if not left:
            return
        one = left.pop()
        if isinstance(one, Cap):
            if not isinstance(one, Proxy):
                yield one
        elif isinstance(one, dict):
            left += one.values()
        elif isinstance(one, (list, tuple, set, frozenset)):
            left += one


def _replace(value: Any, make: Callable[[WireReference], Any]) -> Any:
    """`value` with what `make` gives in place of each reference; containers are ours and changed in place."""
    kind = kind_of(value)
    if kind in _REFERENCES:
        return make(value)
    if kind is dict:
        for key, item in value.items():
            if type(item) in _CONTAINERS:
                value[key] = _replace(item, make)
    elif kind is list:
        for index, item in enumerate(value):
            if type(item) in _CONTAINERS:
                value[index] = _replace(item, make)
    return value


_REFERENCES: Final = frozenset((CapRef, AnswerRef, StreamRef))
_CONTAINERS: Final = _REFERENCES | {dict, list}
