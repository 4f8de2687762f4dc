"""`pipe`: use what a call will bring before it is there (P-CALL-8).

A promise of a capability is a proxy like any other, whose calls go to where the result will be; one of other data can
be stepped into and passed as an argument; one of which nothing is known is both. While the call has not left, its
answer can be kept at the callee, and then nothing waits for a round trip. When it has left, what is made on the promise
waits here, in order (`dependent.py`).
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar, cast

from capnet.calls.call import Call, Late
from capnet.contract import Annotation, Cap, MethodDescription, contract_at, contract_spec, step_into
from capnet.engine.calls import Pipelined
from capnet.errors import InvalidArgument

from .proxy import make_proxy
from .reference import Reference
from .untyped import Untyped

__all__ = ["Promise", "UntypedPromise", "pipe", "promised"]

T = TypeVar("T")
Steps = tuple[str | int, ...]


def pipe(call: Coroutine[Any, Any, T]) -> T:
    """What a call will bring, to be used now.

        room = pipe(lobby.open("tea"))          # a Room, before there is one
        n = await room.post("one round trip")
        await lobby.close(pipe(lobby.rooms())["tea"])

    Calls on it reach the capability in the order they are made, and fail with the call's own error when it fails. A
    path leads into a result that is a container or has fields. Give the promise back like a proxy, or let it go.

    Args:
        call: made on a proxy, or a `bootstrap`. Piped in the turn in which it was made, it costs no round trip; later,
            what is made on the promise waits for the answer.

    Raises:
        TypeError: it is no such call.
    """
    if not isinstance(call, Call):
        raise TypeError(f"pipe() takes a call on a proxy that is not awaited, not a {type(call).__name__}")
    call.piped()
    return cast("T", _promise(call, promised(call), call.method.result))


def promised(call: Call[Any], steps: Steps = (), wire: Steps = ()) -> Pipelined | Late:
    """The target that stands at a path in what a call will bring; it has one user, its `Reference`."""
    entry = call.entry
    if entry is not None and call.caller.session.engine.calling.keep(entry):
        return Pipelined(entry, wire, "", 0)
    return Late(call, steps)


def _promise(call: Call[Any], target: Pipelined | Late, annotation: Annotation) -> Any:
    reference = Reference(call.caller, target)
    contract = contract_at(annotation)
    if contract is None:
        return _of_data(call, reference, annotation, ())
    if contract is Cap:
        return make_proxy(reference)
    spec = contract_spec(contract)
    target.interface, target.version = spec.name, spec.version
    return make_proxy(reference, contract)


class Promise:
    """What a call will bring when that is no capability: step into it, or pass it as an argument."""

    __slots__ = ("_annotation", "_call", "_reference", "_steps")
    __iter__ = None  # how many items there will be is not known, and Python would ask for positions without end
    __contains__ = None

    def __init__(self, call: Call[Any], reference: Reference, annotation: Annotation, steps: Steps) -> None:
        self._call = call
        self._reference = reference
        self._annotation = annotation
        self._steps = steps

    @property
    def __capnet_reference__(self) -> Reference:
        return self._reference

    def __getitem__(self, step: str | int) -> Any:
        """What will stand there.

        Raises:
            InvalidArgument: results of the declared type have no such step.
        """
        wire, annotation = step_into(self._annotation, step)
        steps = (*self._steps, step)
        target = self._reference.usable()
        if isinstance(target, Pipelined):
            target.call.users += 1
            return self._inside(Pipelined(target.call, (*target.path, wire), "", 0), annotation, steps)
        return self._inside(Late(self._call, steps), annotation, steps)

    def __getattr__(self, name: str) -> Any:
        """The field of that name of what will be there."""
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self[name]
        except InvalidArgument as error:
            raise AttributeError(str(error)) from None

    def _inside(self, target: Pipelined | Late, annotation: Annotation, steps: Steps) -> Any:
        if contract_at(annotation) is not None:
            return _promise(self._call, target, annotation)
        return _of_data(self._call, Reference(self._call.caller, target), annotation, steps)

    def __repr__(self) -> str:
        return f"<promise of {self._call!r} at {list(self._steps)}>"


class UntypedPromise(Untyped, Promise):
    """What a call will bring of which nothing is declared: it may be a capability, or have one in it."""

    __slots__ = ()

    def _capnet_held(self) -> Reference:
        return self.__capnet_reference__

    def _capnet_known(self, method: str) -> MethodDescription | None:
        return None


def _of_data(call: Call[Any], reference: Reference, annotation: Annotation, steps: Steps) -> Promise:
    kind = UntypedPromise if annotation.shape == "any" else Promise
    return kind(call, reference, annotation, steps)
