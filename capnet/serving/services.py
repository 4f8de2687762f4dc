"""`Services`: what one host or connection serves, as scopes, swaps and connections see it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from anyio import CancelScope, move_on_after

from capnet.contract import Cap
from capnet.errors import ContractError, Replaced
from capnet.loop import Loop
from capnet.observe import Bus, Event, NameReplaced, NameServed, NameUnserved, SwapEnded
from capnet.registry import Hosted, Registration, Registry, ServeHandle
from capnet.registry.registry import IfExists
from capnet.session.disclosure import goes_on
from capnet.session.faults import Faults

from .close_hooks import HOOKS_TIMEOUT, CloseHooks

__all__ = ["Services"]


class Services:
    """Names, their events, and close hooks, of one owner.

    Args:
        bus: where its events go.
        publish: publishes there.
        faults: is told of what goes wrong in code of this program.
        hooks: where its close hooks are counted.
        end_calls_on: ends the calls and streams of an implementation with an error; returns how many calls and streams.
            Those that came by a capability that still leads to it go on, and so does the call whose handler asks.
        is_handling: whether the running task is a handler of an implementation.

    Attributes:
        loop: of the owner, once it is open.
    """

    loop: Loop

    def __init__(
        self,
        bus: Bus,
        publish: Callable[..., None],
        faults: Faults,
        hooks: CloseHooks,
        end_calls_on: Callable[[Hosted, Replaced], tuple[int, int]],
        is_handling: Callable[[Hosted], bool],
    ) -> None:
        self.bus = bus
        self.faults = faults
        self.hooks = hooks
        self.end_calls_on = end_calls_on
        self.is_handling = is_handling
        self.registry = Registry(self.close_hosted)
        self._publish = publish

    def check_loop(self) -> None:
        """Nothing, in its own loop; what is not open yet belongs to none.

        Raises:
            FailedPrecondition: `another_loop`.
        """
        loop: Loop | None = getattr(self, "loop", None)
        if loop is not None:
            loop.check()

    def serve(self, implementations: list[Cap], name: str | None, if_exists: IfExists, prefix: str = "") -> ServeHandle:
        """See `Serving.serve_all`.

        Args:
            prefix: goes before each name.
        """
        self.check_loop()
        if if_exists not in ("raise", "replace", "skip"):
            raise ContractError(f"if_exists is 'raise', 'replace' or 'skip', not {if_exists!r}")
        handle, served, replaced = self.registry.serve(implementations, name, if_exists, self.unserve, prefix)
        for registration in served:
            self.announce(NameServed, registration)
        for registration, old in replaced:
            self.announce(NameReplaced, registration, mode="drain")
            old.release(self.close_hosted)
        return handle

    def unserve(self, served: ServeHandle | type[Cap] | str) -> None:
        """See `Serving.unserve`."""
        self.check_loop()
        owned = self.registry.owned_by(served) if isinstance(served, ServeHandle) else self.registry.served_as(served)
        for registration in owned:
            self.end(registration, "unserved")

    def end(self, registration: Registration, reason: str) -> None:
        """Serve it no longer."""
        self.end_swap(registration, "rolled_back")
        self.registry.end(registration, reason)
        self.announce(NameUnserved, registration)

    def end_all(self, reason: str) -> None:
        """Serve nothing any more."""
        for registration in tuple(self.registry):
            self.end(registration, reason)

    def announce(self, kind: type[Event], registration: Registration, **fields: object) -> None:
        """Tell observers of a name."""
        if self.bus.observed:
            self._publish(
                kind,
                name=registration.name,
                contract=registration.spec.name,
                generation=registration.generation,
                served=registration.name,
                **fields,
            )

    def close_hosted(self, hosted: Hosted) -> None:
        """Run the close hook of an implementation in a task of its own."""
        self.hooks.start(self.loop, partial(self.loop.spawn, self._close_hosted, hosted))

    async def close_now(self, hosted: Hosted) -> None:
        """Run it in this task, within `HOOKS_TIMEOUT` and also when we are cancelled."""
        self.hooks.begin()
        with CancelScope(shield=True), move_on_after(HOOKS_TIMEOUT):
            await self._close_hosted(hosted)

    def end_swap(self, registration: Registration, result: Literal["committed", "rolled_back"]) -> None:
        """If a swap of the name is under way, it is decided now."""
        if registration.swapping:
            registration.swapping = False
            self.announce(SwapEnded, registration, result=result)

    async def _close_hosted(self, hosted: Hosted) -> None:
        try:
            await hosted.aclose()
        except BaseException as error:
            if goes_on(self.loop, error):
                raise
            self.faults.unexpected(f"close hook of {type(hosted.implementation).__name__}", error)
        finally:
            self.hooks.end()
