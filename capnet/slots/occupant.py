"""`Occupant`: what is, or was, behind a slot, and what its break means for the calls on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast
from weakref import WeakSet

from anyio import Event as Signal
from anyio import move_on_after

from capnet.attenuation.wrapper import Inner, Wrapper
from capnet.contract import CallContext, MethodSpec, Reader
from capnet.errors import CapnetError, NotRun, Revoked, Unavailable
from capnet.references.proxy import Proxy, reference_of
from capnet.references.reference import Reference

__all__ = ["Broken", "Occupant"]

C = TypeVar("C")
LOOK: float = 0.1
"""Seconds after which streams are counted again: one that is collected tells nobody."""


class Broken(Exception):
    """What is behind the slot has ended, and the call with it.

    Args:
        cause: what the call has failed with.
        left: whether it had left, so that it may have run.
    """

    def __init__(self, cause: CapnetError, left: bool) -> None:
        super().__init__(cause)
        self.cause = cause
        self.left = left


class Occupant(Generic[C]):
    """What is behind a slot, or was; given by `Slot.set` and `Slot.clear` for what has left.

    Attributes:
        generation: of the slot when this came.
        running: calls that run on it and have come by the slot.
    """

    __slots__ = (
        "__weakref__",
        "_forget",
        "_here",
        "_idle",
        "_inner",
        "_reference",
        "_streams",
        "generation",
        "running",
    )

    def __init__(self, inner: Inner, generation: int) -> None:
        self.generation = generation
        self.running = 0
        self._inner = inner
        self._reference = _reference_behind(inner)
        self._streams: WeakSet[Reader[Any]] = WeakSet()
        self._here = True
        self._idle: Signal | None = None
        self._forget: Callable[[], None] | None = None

    @property
    def capability(self) -> C:
        """What it is. It has a reference of its own, which goes back when it has left the slot and is idle."""
        return cast("C", self._inner.subject)

    @property
    def streams(self) -> int:
        """Streams of it that are open and have come by the slot."""
        return len(self._streams)

    @property
    def broken(self) -> CapnetError | None:
        """Why it takes no calls any more, or None; an object of this program takes them always."""
        if self._reference is None:
            return None
        lifecycle = self._reference.caller.session.engine.lifecycle
        return self._reference.imported.broken or (None if lifecycle.accepts_calls else lifecycle.error())

    async def drained(self, grace: float) -> bool:
        """Wait until no call runs on it and no stream of it is open; False when that is not so after `grace` seconds.

        Later calls may come as long as it is behind the slot.
        """
        with move_on_after(grace):
            while self.running or self._streams:
                self._idle = Signal()
                with move_on_after(LOOK):
                    await self._idle.wait()
        return not (self.running or self._streams)

    # For the slot

    def watch(self, lost: Callable[[CapnetError], object]) -> None:
        """Call `lost` when it breaks while it is behind the slot."""
        if self._reference is not None:
            self._forget = self._reference.caller.held.watch(self._reference.usable(), lost)

    def leave(self) -> None:
        """It is behind the slot no longer; what runs on it goes on."""
        self._here = False
        if self._forget is not None:
            self._forget()
        self._ended()

    async def call(
        self, method: MethodSpec, arguments: tuple[Any, ...], keywords: dict[str, Any], context: CallContext | None
    ) -> Any:
        """Make a call.

        Raises:
            Broken: it could not leave, or what is behind has ended before it was answered. CapnetError: its own error.
        """
        left = False
        self.running += 1
        try:
            pending = self._inner.start(method.name, arguments, keywords, context)
            left = True
            return await pending
        except CapnetError as error:
            self.check(error, left)
            raise
        finally:
            self.running -= 1
            self._ended()

    def open(
        self,
        reader: Reader[Any],
        method: MethodSpec,
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        context: CallContext | None,
    ) -> Any:
        """Open a stream for a reader.

        Raises:
            Broken: the call could not leave. CapnetError: its own error.
        """
        try:
            opened = self._inner.start(method.name, arguments, keywords, context)
        except CapnetError as error:
            self.check(error, left=False)
            raise
        self._streams.add(reader)
        return opened

    def closed(self, reader: Reader[Any]) -> None:
        """The stream of that reader is not read any more."""
        self._streams.discard(reader)
        self._ended()

    def check(self, error: CapnetError, left: bool) -> None:
        """Nothing, when an error is the callee's own.

        Args:
            left: whether the call had left, or may have.

        Raises:
            Broken: it comes of the end of what is behind the slot.
        """
        # An error that says that nothing has run may be that of a call which the callee itself has made.
        if isinstance(error, Unavailable | Revoked) and self.broken is not None:
            raise Broken(error, left and not isinstance(error, NotRun)) from error

    def _ended(self) -> None:
        if self.running or self._streams:
            return
        if self._idle is not None:
            self._idle.set()
        if not self._here:
            self._inner.let_go()


def _reference_behind(inner: Inner) -> Reference | None:
    """The reference of the proxy that all of it leads to, or None where that is an object of this program."""
    subject = inner.subject
    while isinstance(subject, Wrapper) and (behind := vars(subject).get("_capnet_inner")) is not None:
        subject = behind.subject
    return reference_of(subject) if isinstance(subject, Proxy) else None
