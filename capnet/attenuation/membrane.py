"""`Membrane`: a boundary between two sides. What crosses it is wrapped, and what that leads to, until it is cut.

        inside                      │                     outside
    the object  ◀── wrapper ────────┼──────── given out by `wrap`, in results and items
                ────────────────────┼─── wrapper ──▶  capabilities in arguments

A wrapper that crosses back is the original again, and one object has one wrapper, so both sides can compare.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias, TypeVar, cast
from weakref import WeakValueDictionary

from capnet.connection.proxy import Proxy, dup, reference_of
from capnet.contract import Annotation, CallableCap, CallContext, Cap, MethodSpec, Sink, contract_spec
from capnet.errors import InvalidArgument, PermissionDenied

from .crossing import rebuilt
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
        return cast("C", Side(self, "out", None).capability(cast("Cap", capability)))

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

    def wrapper(self, key: tuple[Any, ...], direction: Direction, contract: Any, subject: Any) -> MembraneWrapper:
        """The wrapper of something that crosses; one while it lives."""
        known = self._wrappers.get(key)
        if known is None:
            known = make_wrapper(MembraneWrapper, contract, Inner(subject, contract_spec(contract)))
            known._capnet_across = self, direction  # noqa: SLF001 - contracts may use every public name
            self._wrappers[key] = known
        return known


class Side:
    """What becomes of a value that crosses in a direction; a `Replacing`.

    Args:
        annotation: what is declared of the value, which says what a function in it is.
    """

    __slots__ = ("_annotation", "_direction", "_membrane")

    def __init__(self, membrane: Membrane, direction: Direction, annotation: Annotation | None) -> None:
        self._membrane = membrane
        self._direction: Direction = direction
        self._annotation = annotation

    def cross(self, value: Any) -> Any:
        """The value on the other side.

        Raises:
            InvalidArgument: `cannot_cross`.
        """
        return rebuilt(value, self)

    def capability(self, value: Cap) -> Any:
        """See `Replacing`."""
        if isinstance(value, MembraneWrapper):
            membrane, direction = value._capnet_across  # noqa: SLF001 - ours
            if membrane is self._membrane:
                return value if direction == self._direction else _original(value._capnet_inner.subject)  # noqa: SLF001
        if type(value) is Proxy:
            raise InvalidArgument(
                "a capability of unknown contract does not cross a membrane",
                reason="cannot_cross",
                hint="declare its contract where it is passed, or say what it is with cast_cap()",
            )
        subject = reference_of(value).imported if isinstance(value, Proxy) else value
        key = (self._direction, type(value), id(subject))
        return self._membrane.wrapper(key, self._direction, contract_of(value), value)

    def function(self, value: Any) -> Any:
        """See `Replacing`."""
        contract: type[CallableCap] | None = None if self._annotation is None else self._annotation.callable_contract
        if contract is None:
            raise InvalidArgument(
                "a function crosses a membrane only where a Callable is declared", reason="cannot_cross"
            )
        # A method is another object each time it is looked up, but an equal one.
        key = (self._direction, contract, value if isinstance(value, Hashable) else id(value))
        return self._membrane.wrapper(key, self._direction, contract, value)

    def stream(self, value: AsyncIterable[Any]) -> Any:
        """See `Replacing`."""
        return GuardedStream(value, self._membrane.gate, self.cross)

    def sink(self, value: Sink[Any]) -> Any:
        """See `Replacing`: its items come the other way."""
        back = Side(self._membrane, _BACK[self._direction], self._annotation)
        return GuardedSink(value, self._membrane.gate, back.cross)


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

        def cross(name: str, value: Any) -> Any:
            return Side(membrane, inwards, method.parameters[name].annotation).cross(value)

        names = tuple(method.parameters)[: len(arguments)]
        return tuple(map(cross, names, arguments)), {name: cross(name, value) for name, value in keywords.items()}

    async def _capnet_call(
        self, method: MethodSpec, arguments: tuple[Any, ...], keywords: dict[str, Any], context: CallContext | None
    ) -> Any:
        membrane, direction = self._capnet_across
        crossed, named = self._capnet_crossed(method, arguments, keywords)
        start = partial(self._capnet_inner.start, method.name, crossed, named, context)
        return Side(membrane, direction, method.result).cross(await membrane.gate(start))

    def _capnet_stream(
        self, method: MethodSpec, arguments: tuple[Any, ...], keywords: dict[str, Any], context: CallContext | None
    ) -> Any:
        membrane, direction = self._capnet_across
        crossed, named = self._capnet_crossed(method, arguments, keywords)
        opened = self._capnet_inner.start(method.name, crossed, named, context)
        return Side(membrane, direction, method.result).stream(opened)


def _original(subject: Any) -> Any:
    """What is behind a wrapper; a proxy as another one of the same capability, for whoever gets it to give back."""
    return dup(subject) if isinstance(subject, Proxy) else subject
