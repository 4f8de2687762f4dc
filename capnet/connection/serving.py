"""Serving: what a `Connection` and a `Host` have in common, a registry and the words for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeVar
from uuid import uuid4

from anyio import CancelScope, move_on_after
from anyio import Event as Signal

from capnet.contract import Cap
from capnet.errors import ContractError, Internal, Replaced
from capnet.observe import Bus, Event, Feed, HandlerFailed, NameReplaced, NameServed, NameUnserved
from capnet.observe.log import Log
from capnet.registry import Hosted, Registration, Registry, ServeHandle
from capnet.registry.registry import IfExists

from .loop import Loop

__all__ = ["CloseHooks", "ReplaceReport", "Serving"]

E = TypeVar("E", bound=Event)
_log: Final = Log()
"""One for the process, so that its bound is one too."""
HOOKS_TIMEOUT = 5.0
"""Seconds that close hooks have to end when their owner closes; then they are cancelled."""


@dataclass(frozen=True, slots=True)
class ReplaceReport:
    """How a replace went.

    Attributes:
        generation: of the name from now on.
        drained: calls that ran on the old implementation and ended by themselves.
        cut: calls that were ended with `unavailable/replaced`.
        seconds: from the swap until nothing ran on the old implementation.
    """

    generation: int
    drained: int
    cut: int
    seconds: float


class CloseHooks:
    """The close hooks that run now, of one owner and of the connections it has."""

    __slots__ = ("_idle", "_running")

    def __init__(self) -> None:
        self._running = 0
        self._idle: Signal | None = None

    def begin(self) -> None:
        """One more is due."""
        self._running += 1

    def end(self) -> None:
        """One has ended."""
        self._running -= 1
        if not self._running and self._idle is not None:
            self._idle.set()

    async def ended(self) -> None:
        """Wait until none is left, within `HOOKS_TIMEOUT` and also when we are cancelled: a hook frees what is dear."""
        with CancelScope(shield=True), move_on_after(HOOKS_TIMEOUT):
            while self._running:
                self._idle = Signal()
                await self._idle.wait()


class Serving(ABC):
    """Names, events and close hooks of one owner.

    Args:
        bus: where its events go.
        hooks: where its close hooks are counted.
    """

    loop: Loop

    def __init__(self, bus: Bus, hooks: CloseHooks | None = None) -> None:
        self.bus = bus
        self.hooks = hooks or CloseHooks()
        self.registry = Registry(self.close_hosted)

    def serve(self, implementation: Cap, *, name: str | None = None, if_exists: IfExists = "raise") -> ServeHandle:
        """Let peers bootstrap an implementation, under its contract's name unless another is given.

        Args:
            if_exists: `raise` refuses a name that is taken; `replace` puts the implementation behind it, like
                `replace` without waiting; `skip` leaves what is there alone.

        Returns a handle that ends what this call registered, and nothing that others took over since.

        Raises:
            AlreadyExists: `name_collision` or `reserved_namespace`. ContractError: methods are missing.
        """
        return self._serve([implementation], name, if_exists)

    def serve_all(self, *implementations: Cap, if_exists: IfExists = "raise") -> ServeHandle:
        """Serve several, all or none: everything is checked before anything is registered (P-CAP-4)."""
        return self._serve(list(implementations), None, if_exists)

    def unserve(self, served: ServeHandle | type[Cap] | str) -> None:
        """Stop serving; whoever bootstrapped it is told that it is revoked, and its running calls are answered.

        With a handle only what is still the handle's own ends; a handle that was closed before is a no-op.

        Raises:
            NotFound: a contract or name that is not served.
        """
        owned = self.registry.owned_by(served) if isinstance(served, ServeHandle) else self.registry.served_as(served)
        for registration in owned:
            self._end(registration, "unserved")

    async def replace(
        self,
        implementation: Cap,
        *,
        name: str | None = None,
        mode: Literal["drain", "cut"] = "drain",
        grace: float = 5.0,
    ) -> ReplaceReport:
        """Put another implementation behind a served name; ids and proxies stay, new calls go to it at once (P-CAP-5).

        Args:
            mode: `drain` lets running calls finish on the old implementation, `cut` ends them now.
            grace: seconds they may take; after it they are cut.

        Returns when nothing runs on the old implementation; its close hook has been started then.

        Raises:
            NotFound: the name is not served. ContractError, VersionMismatch: the implementation lacks something;
            nothing has changed then.
        """
        if mode not in ("drain", "cut"):
            raise ContractError(f"mode is 'drain' or 'cut', not {mode!r}")
        started = self.loop.now()
        registration, old = self.registry.replace(implementation, name)
        generation, running, cut = registration.generation, old.running, 0
        self._announce_replaced(registration, mode)
        try:
            if running and mode == "drain":
                idle = Signal()
                old.when_idle(idle.set)
                with move_on_after(grace):
                    await idle.wait()
            if old.running:
                cut = self.end_calls_on(old, Replaced("the implementation was replaced", retry="transparent"))
        finally:
            old.release(self.close_hosted)
        return ReplaceReport(generation, running - cut, cut, self.loop.now() - started)

    def on(self, kind: type[E], observe: Callable[[E], object]) -> Callable[[], None]:
        """Call a plain function with every event of a kind, soon after it happened. Returns what ends it."""
        return self.bus.on(kind, observe)

    def events(self, *kinds: type[E]) -> Feed[E]:
        """`async with x.events(CallFinished) as feed: async for event in feed: ...`; all kinds when none is given."""
        return self.bus.feed(kinds)

    # For the rooms around

    @abstractmethod
    def end_calls_on(self, hosted: Hosted, error: Replaced) -> int:
        """Answer the calls that run on an implementation with an error and stop them; returns how many."""

    def close_hosted(self, hosted: Hosted) -> None:
        """Run the close hook of an implementation in a task of its own."""
        self.hooks.begin()
        self.loop.spawn(self._close_hosted, hosted)

    def unexpected(self, where: str, error: BaseException) -> Internal:
        """Our own code failed: log and tell observers everything, and give what the peer may know (P-ERR-2)."""
        correlation = uuid4().hex
        _log.unexpected(where, correlation, error)
        if self.bus.observed:
            self._publish(HandlerFailed, where=where, correlation=correlation, error=error)
        return Internal(
            "the handler failed; the correlation id finds it in the callee's log", details={"correlation": correlation}
        )

    def _publish(self, kind: type[Event], **fields: object) -> None:
        self.bus.publish(kind, **fields)

    async def _close_hosted(self, hosted: Hosted) -> None:
        try:
            await hosted.aclose()
        except Exception as error:
            self.unexpected(f"close hook of {type(hosted.implementation).__name__}", error)
        finally:
            self.hooks.end()

    def _serve(self, implementations: list[Cap], name: str | None, if_exists: IfExists) -> ServeHandle:
        if if_exists not in ("raise", "replace", "skip"):
            raise ContractError(f"if_exists is 'raise', 'replace' or 'skip', not {if_exists!r}")
        handle, served, replaced = self.registry.serve(implementations, name, if_exists, self.unserve)
        for registration in served:
            if self.bus.observed:
                self._publish(
                    NameServed,
                    name=registration.name,
                    contract=registration.spec.name,
                    generation=registration.generation,
                )
        for registration, old in replaced:
            self._announce_replaced(registration, "drain")
            old.release(self.close_hosted)
        return handle

    def _end(self, registration: Registration, reason: str) -> None:
        self.registry.end(registration, reason)
        if self.bus.observed:
            self._publish(
                NameUnserved,
                name=registration.name,
                contract=registration.spec.name,
                generation=registration.generation,
            )

    def _end_all(self, registrations: Iterable[Registration], reason: str) -> None:
        for registration in tuple(registrations):
            self._end(registration, reason)

    def _announce_replaced(self, registration: Registration, mode: str) -> None:
        if self.bus.observed:
            self._publish(
                NameReplaced,
                name=registration.name,
                contract=registration.spec.name,
                generation=registration.generation,
                mode=mode,
            )
