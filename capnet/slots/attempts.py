"""`Attempts`: one call by way of a slot, made once, or again when what was behind the slot has ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from anyio import current_time

from capnet.contract import CallContext, MethodSpec
from capnet.contract.copied import copied
from capnet.errors import CapnetError, Indeterminate, Unavailable

from .occupant import Broken, Occupant

__all__ = ["Attempts", "Waiting"]

MOST: Final = 3
"""How often one call is made: one that ends whatever it is made on must not end all that comes after."""

Waiting = Callable[[float], Awaitable[Occupant[Any]]]
Lost = Callable[[Occupant[Any], CapnetError], object]


class Attempts:
    """A call of a method with its arguments.

    Args:
        wait: seconds to wait for something to be behind the slot, anew when what was there has ended.
        occupied: waits until something is there, or the time has come.
        lost: is told of what has ended.
    """

    __slots__ = ("_left", "_lost", "_method", "_occupied", "_until", "_wait", "what")

    def __init__(
        self,
        method: MethodSpec,
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        context: CallContext | None,
        wait: float,
        occupied: Waiting,
        lost: Lost,
    ) -> None:
        method.bind(arguments, keywords)  # what does not fit the signature says so at once
        self._method = method
        self._wait = wait
        self._until = current_time() + wait
        self._left = MOST
        self._occupied = occupied
        self._lost = lost
        self.what = method, arguments, keywords, context

    def keep(self) -> None:
        """It may leave later: with the arguments as they are now."""
        method, arguments, keywords, context = self.what
        self.what = method, copied(arguments), copied(keywords), context

    async def occupant(self) -> Occupant[Any]:
        """What to make it on.

        Raises:
            Unavailable: nothing has come in time.
        """
        return await self._occupied(self._until)

    def broken(self, broken: Broken, occupant: Occupant[Any]) -> None:
        """What it was made on has ended. Nothing, when it is to be made again.

        Raises:
            Unavailable: it is not; `indeterminate` where it may have run.
        """
        self._lost(occupant, broken.cause)
        self._left -= 1
        if not self._left or (broken.left and not _repeatable(self._method)):
            raise self.told(broken, occupant) from broken.cause
        self._until = current_time() + self._wait

    def told(self, broken: Broken, occupant: Occupant[Any]) -> Unavailable:
        """What the caller is told of the end of what it was made on."""
        name = f"{self._method.contract}.{self._method.name}"
        if not broken.left:
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


def _repeatable(method: MethodSpec) -> bool:
    """Whether a call that may have run can be made again: not with a stream, of which a part may have been taken."""
    shapes = [parameter.annotation.shape for parameter in method.parameters.values()]
    return method.idempotent and not any(map(_has_stream, shapes))


def _has_stream(shape: object) -> bool:
    if isinstance(shape, dict):
        return any(map(_has_stream, cast("dict[str, object]", shape).values()))
    if not isinstance(shape, list):
        return False
    parts = cast("list[object]", shape)
    return parts[:1] in (["stream"], ["sink"]) or any(map(_has_stream, parts))
