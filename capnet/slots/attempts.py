"""`Attempts`: one call by way of a slot, made once, or again when what was behind the slot has ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, cast

from anyio import current_time

from capnet.contract import CallContext, MethodSpec
from capnet.errors import CapnetError, Indeterminate, Unavailable

from .occupant import Broken, Occupant

__all__ = ["Attempts", "Waiting", "repeatable", "sendable_again"]

MOST: Final = 3
"""How often one call may begin to run: one that ends whatever it is made on must not end all that comes after."""

Waiting = Callable[[float], Awaitable[Occupant[Any]]]
Lost = Callable[[Occupant[Any], CapnetError], object]
Counted = Callable[[bool], object]


class Attempts:
    """A call of a method with its arguments.

    Args:
        wait: seconds to wait for something to be behind the slot, anew when what was there has ended.
        occupied: waits until something is there, or the time has come.
        lost: is told of what has ended.
        counted: is told of a call that broke, and whether it is made again; otherwise it may have run.
    """

    __slots__ = ("_counted", "_left", "_lost", "_method", "_occupied", "_until", "_wait", "may_have_run", "what")

    def __init__(
        self,
        method: MethodSpec,
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        context: CallContext | None,
        wait: float,
        occupied: Waiting,
        lost: Lost,
        counted: Counted,
    ) -> None:
        method.bind(arguments, keywords)  # what does not fit the signature says so at once
        self._method = method
        self._wait = wait
        self._until = current_time() + wait
        self._left = MOST
        self._occupied = occupied
        self._lost = lost
        self._counted = counted
        self.may_have_run = False
        self.what = method, arguments, keywords, context

    async def occupant(self) -> Occupant[Any]:
        """What to make it on.

        Raises:
            Unavailable: nothing has come in time. Indeterminate: so it is, and the call had been made before.
        """
        try:
            return await self._occupied(self._until)
        except CapnetError as error:
            if not self.may_have_run:
                raise
            name = f"{self._method.contract}.{self._method.name}"
            raise Indeterminate(
                f"{name} may have run or not, and cannot be made again: {error.message}", retry=error.retry
            ) from error

    @property
    def repeatable(self) -> bool:
        """Whether it can be made again when it may have run."""
        return repeatable(self._method)

    async def made_on(self, occupant: Occupant[Any]) -> Any:
        """Make it. See `Occupant.call`."""
        return await occupant.call(*self.what)

    def broken(self, broken: Broken, occupant: Occupant[Any]) -> None:
        """What it was made on has ended. Nothing, when it is to be made again.

        Raises:
            Indeterminate: it is not, and may have run. Unavailable: it is not, and has not run.
        """
        self._lost(occupant, broken.cause)
        self._left -= broken.left
        self.may_have_run = self.may_have_run or broken.left
        if not self._left or (broken.left and not self.repeatable):
            if self.may_have_run:
                self._counted(False)
            raise self.told(broken, occupant) from broken.cause
        self._counted(True)
        self._until = current_time() + self._wait

    def taken(self, item: Any) -> None:
        """An item of the stream has been read: should it end midway, it goes on behind that, if it can."""
        method, arguments, keywords, context = self.what
        self._left = MOST
        if method.resume is not None:
            position, index = _position(item, method.position), [*method.parameters].index(method.resume)
            if index < len(arguments):
                arguments = (*arguments[:index], position, *arguments[index + 1 :])
            else:
                keywords = {**keywords, method.resume: position}
            self.what = method, arguments, keywords, context

    def told(self, broken: Broken, occupant: Occupant[Any]) -> Unavailable:
        """What the caller is told of the end of what it was made on."""
        name = f"{self._method.contract}.{self._method.name}"
        if not self.may_have_run and not broken.left:
            return Unavailable(
                f"{name}: what was to answer has ended: {broken.cause.message}",
                reason="vacant",
                retry="after-cooldown",
                details={"generation": occupant.generation},
            )
        return Indeterminate(
            f"{name} may have run or not: generation {occupant.generation} of what answers it has ended before it did: "
            f"{broken.cause.message}",
            retry="never",
            details={"generation": occupant.generation},
        )


def repeatable(method: MethodSpec) -> bool:
    """Whether a call that may have run can be made again."""
    return method.idempotent and sendable_again(method)


def sendable_again(method: MethodSpec) -> bool:
    """Whether its arguments can: not with a stream, of which a part may have been taken."""
    shapes = [parameter.annotation.shape for parameter in method.parameters.values()]
    return not any(map(_has_stream, shapes))


def _has_stream(shape: object) -> bool:
    if isinstance(shape, dict):
        return any(map(_has_stream, cast("dict[str, object]", shape).values()))
    if not isinstance(shape, list):
        return False
    parts = cast("list[object]", shape)
    return parts[:1] in (["stream"], ["sink"]) or any(map(_has_stream, parts))


def _position(item: Any, field: str | None) -> Any:
    if field is None:
        return item
    return cast("Any", item)[field] if isinstance(item, Mapping) else getattr(item, field)
