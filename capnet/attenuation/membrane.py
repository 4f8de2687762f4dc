"""`Membrane`: a boundary between two sides. What crosses it is wrapped, and what that leads to, until it is cut.

        inside                      │                     outside
    the object  ◀── wrapper ────────┼──────── given out by `wrap`, in results and items
                ────────────────────┼─── wrapper ──▶  capabilities in arguments

What crosses has the contract that is declared where it stands, or under `Any` and `Cap` the one that it is held under.
An object has one wrapper for each contract, so both sides can compare. A wrapper that crosses back is the original, as
whoever holds the wrapper has it: the object itself or, under a narrower contract, a facet; of a proxy another one.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias, TypeVar, cast
from weakref import WeakValueDictionary

from capnet.contract import CallContext, Cap, ContractSpec, MethodSpec, Sink, contract_spec
from capnet.contract.position import ANYTHING, Position
from capnet.errors import PermissionDenied
from capnet.references.payload import lent_under
from capnet.references.proxy import Proxy, UntypedProxy, dup_under, held_under, is_less, reference_of
from capnet.registry import Facet, Hosted, facet_of, implementation_of

from .crossing import cannot_cross, rebuilt
from .gate import Gate, GuardedSink, GuardedStream
from .wrapper import Inner, Wrapper, contract_of, make_wrapper

__all__ = ["Crossing", "Membrane"]

C = TypeVar("C")
Direction: TypeAlias = Literal["in", "out"]
_BACK: dict[Direction, Direction] = {"in": "out", "out": "in"}


@dataclass(frozen=True, slots=True)
class Crossing:
    """A call that is about to cross a membrane.

    Attributes:
        direction: `in` to an object inside, `out` to one outside.
        contract: of that object.
        method: what is called.
        arguments: by name, as the caller has given them; those left to their defaults are absent.
    """

    direction: Direction
    contract: str
    method: str
    arguments: Mapping[str, Any]


class Membrane:
    """A boundary around objects: everything that crosses it is wrapped, and can be ended with one call.

        membrane = Membrane()
        outside = membrane.wrap(workspace)      # give this away, and keep the workspace
        ...
        membrane.cut("the session is over")

    Capabilities and functions are wrapped wherever they stand: in arguments, results, items of streams, in containers
    and dataclasses. Streams and sinks are followed. Data is copied. Use it from the loop's thread only.

    Args:
        policy: asked about each call that crosses; only a real True admits. A call that it does not admit, or about
            which it raises, fails with `PermissionDenied`, reason `membrane`.
    """

    __slots__ = ("__weakref__", "_gate", "_policy", "_wrappers")

    def __init__(self, policy: Callable[[Crossing], bool] | None = None) -> None:
        self._gate = Gate()
        self._policy = policy
        self._wrappers: WeakValueDictionary[tuple[Any, ...], MembraneWrapper] = WeakValueDictionary()

    def wrap(self, capability: C) -> C:
        """What stands outside for something inside. While that lives, it is always the same.

        Args:
            capability: an object of ours, or a proxy, which stays the caller's: the result has a reference of its own.

        Raises:
            Revoked: the membrane was cut. InvalidArgument: it is no capability. ContractError: it has no contract.
        """
        self._gate.check()
        contract_of(capability)
        return cast("C", Side(self, "out").capability(cast("Cap", capability), ANYTHING))

    def cut(self, reason: str = "revoked") -> None:
        """End it: what runs through it is cancelled and fails with `Revoked`, streams end, peers are told, and nothing
        crosses any more, in neither direction. Idempotent.

        Args:
            reason: told to those who have something of the other side.
        """
        self._gate.cut(reason, self._wrappers.values())

    @property
    def is_cut(self) -> bool:
        """Whether it was cut."""
        return self._gate.error is not None

    def __repr__(self) -> str:
        return f"<Membrane {'cut' if self.is_cut else 'open'}, {len(self._wrappers)} across>"

    # For its wrappers

    @property
    def gate(self) -> Gate:
        """What everything that crosses goes through."""
        return self._gate

    def admit(self, direction: Direction, contract: str, method: MethodSpec, arguments: Mapping[str, Any]) -> None:
        """Nothing, when a call may cross.

        Raises:
            Revoked: the membrane was cut. PermissionDenied: the policy does not admit it.
        """
        self._gate.check()
        if self._policy is None:
            return
        try:
            admitted = self._policy(Crossing(direction, contract, method.name, arguments)) is True
        except Exception:
            admitted = False
        if not admitted:
            raise PermissionDenied(f"{contract}.{method.name} may not cross", reason="membrane", retry="never")

    def wrapper(self, direction: Direction, spec: ContractSpec, identity: object, subject: Any) -> MembraneWrapper:
        """The wrapper of something that crosses under a contract; one while it lives.

        Args:
            direction: in which it crosses.
            spec: the contract.
            identity: the same for all that is the same capability.
            subject: what the wrapper calls.
        """
        key = direction, spec, identity
        known = self._wrappers.get(key)
        if known is None:
            known = make_wrapper(MembraneWrapper, spec.hint, Inner(subject, spec))
            known._capnet_across = self, direction  # noqa: SLF001 - contracts may use every public name
            self._wrappers[key] = known
        return known


class Side:
    """What becomes of values that cross in a direction; a `Replacing`."""

    __slots__ = ("_direction", "_membrane")

    def __init__(self, membrane: Membrane, direction: Direction) -> None:
        self._membrane = membrane
        self._direction: Direction = direction

    def cross(self, value: Any, place: Position) -> Any:
        """A value on the other side, where something is declared for it.

        Raises:
            InvalidArgument: `cannot_cross`.
        """
        return rebuilt(value, place, self)

    def capability(self, value: Cap, place: Position) -> Any:
        """See `Replacing`."""
        if place.contract is None:
            raise cannot_cross("a capability where none is declared")
        if isinstance(value, UntypedProxy) and place.contract is Cap:
            raise cannot_cross(
                "a capability of unknown contract",
                "declare its contract where it is passed, or say what it is with cast_cap()",
            )
        try:
            return self._replaced(value, place.contract)
        except TypeError as error:
            raise cannot_cross(f"{error}: it") from None

    def function(self, value: Any, place: Position) -> Any:
        """See `Replacing`."""
        if not place.takes_functions:
            raise cannot_cross("a function where no Callable is declared")
        spec = contract_spec(place.contract)
        return self._membrane.wrapper(self._direction, spec, _same(value), facet_of(Hosted(value), spec))

    def stream(self, value: AsyncIterable[Any], place: Position) -> Any:
        """See `Replacing`."""
        return GuardedStream(value, self._membrane.gate, partial(self.cross, place=_items_of(place, "stream")))

    def sink(self, value: Sink[Any], place: Position) -> Any:
        """See `Replacing`: its items come the other way."""
        back = Side(self._membrane, _BACK[self._direction])
        return GuardedSink(value, self._membrane.gate, partial(back.cross, place=_items_of(place, "sink")))

    def _replaced(self, value: Cap, contract: Any) -> Any:
        """What stands on the other side for a capability where a contract is declared.

        Raises:
            TypeError: it is held under another one.
        """
        behind = implementation_of(value) if isinstance(value, Facet) else value
        across = None
        if isinstance(behind, MembraneWrapper):
            across = behind._capnet_across  # noqa: SLF001 - ours
            if across == (self._membrane, _BACK[self._direction]):
                return _original(value, behind, contract)
        subject, spec = _under(value, contract)
        if across == (self._membrane, self._direction):
            return subject
        return self._membrane.wrapper(self._direction, spec, _identity(subject, spec), subject)


class MembraneWrapper(Wrapper):
    """What stands on one side for something on the other."""

    _capnet_across: tuple[Membrane, Direction]
    """The membrane, and the way in which this has crossed it; calls go the other way."""

    def _capnet_crossed(
        self, method: MethodSpec, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        membrane, direction = self._capnet_across
        inwards = _BACK[direction]
        membrane.admit(inwards, self._capnet_inner.spec.name, method, method.bind(arguments, keywords))

        side, place = Side(membrane, inwards), method.arguments_position

        def cross(name: str, value: Any) -> Any:
            return side.cross(value, place.inside(name))

        names = tuple(method.parameters)[: len(arguments)]
        return tuple(map(cross, names, arguments)), {name: cross(name, value) for name, value in keywords.items()}

    async def _capnet_call(
        self, method: MethodSpec, arguments: tuple[Any, ...], keywords: dict[str, Any], context: CallContext | None
    ) -> Any:
        membrane, direction = self._capnet_across
        crossed, named = self._capnet_crossed(method, arguments, keywords)
        start = partial(self._capnet_inner.start, method.name, crossed, named, context)
        return Side(membrane, direction).cross(await membrane.gate(start), method.result_position)

    def _capnet_stream(
        self, method: MethodSpec, arguments: tuple[Any, ...], keywords: dict[str, Any], context: CallContext | None
    ) -> Any:
        membrane, direction = self._capnet_across
        crossed, named = self._capnet_crossed(method, arguments, keywords)
        opened = self._capnet_inner.start(method.name, crossed, named, context)
        return Side(membrane, direction).stream(opened, method.result_position)


def _under(value: Cap, contract: Any) -> tuple[Any, ContractSpec]:
    """What is handed out of a capability where a contract is declared, and under which: an object of ours as itself or,
    when that is less than it is, as a facet.

    Raises:
        TypeError: it has or is held under another one.
    """
    if isinstance(value, Proxy):
        spec = held_under(value, contract)
        assert spec is not None, "one of unknown contract is refused before"
        return value, spec
    hosted, spec = Hosted.of(value), lent_under(value, contract)
    own: object = hosted.implementation
    return own if isinstance(own, Cap) and contract_spec(type(own)).cls is spec.cls else facet_of(hosted, spec), spec


def _original(value: Cap, wrapper: MembraneWrapper, contract: Any) -> Any:
    """What is behind a wrapper, where a contract is declared: as it is held by whoever has given `value`, which is the
    wrapper or a facet of it.

    Raises:
        TypeError: more is declared than it is held under.
    """
    inner = wrapper._capnet_inner  # noqa: SLF001 - ours
    spec = inner.spec if value is wrapper else cast("Facet", value)._capnet_facet.spec  # noqa: SLF001
    original, spec = _under(inner.subject, spec.hint)
    if isinstance(original, Proxy):
        original = dup_under(original, spec)  # for whoever gets it to give back
    if isinstance(original, Proxy | Facet):
        return original.__capnet_narrow__(contract)
    lent_under(original, contract)  # it has that
    return original


def _identity(subject: Any, spec: ContractSpec) -> object:
    """The same for all that stands for one capability under one contract."""
    if isinstance(subject, Proxy):
        return reference_of(subject).imported, is_less(subject, spec)
    behind = implementation_of(subject)
    return id(behind) if isinstance(behind, Cap) else _same(behind)


def _same(function: Any) -> object:
    """A method is another object each time that it is looked up, but an equal one."""
    return function if isinstance(function, Hashable) else id(function)


def _items_of(place: Position, end: str) -> Position:
    """What the items of a stream or a sink may be.

    Raises:
        InvalidArgument: `cannot_cross`, none may stand there.
    """
    if place.items is None:
        raise cannot_cross(f"a {end} where none is declared")
    return place.items
