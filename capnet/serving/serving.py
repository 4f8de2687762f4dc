"""`Serving`: the words that a `Connection` and a `Host` have in common for what they serve."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import cached_property
from typing import TypeVar

from capnet.contract import Cap
from capnet.errors import ContractError
from capnet.observe import Event, Feed
from capnet.registry import ServeHandle
from capnet.registry.registry import IfExists
from capnet.virtual.opening import OpenHandler

from .fallback import FallbackHandler
from .scope import Scope, Scopes
from .services import Services
from .swap import Mode, ReplaceReport, Swap, replacing, swapping

__all__ = ["Serving"]

I = TypeVar("I", bound=Cap)  # noqa: E741 - an implementation
E = TypeVar("E", bound=Event)


class Serving:
    """Names, events and scopes of one owner."""

    @cached_property
    def _services(self) -> Services:
        """What it serves."""
        raise NotImplementedError

    @cached_property
    def _scopes(self) -> Scopes:
        """Those that are open."""
        return Scopes(self._services)

    def serve(self, implementation: Cap, *, name: str | None = None, if_exists: IfExists = "raise") -> ServeHandle:
        """Let peers bootstrap an implementation, under its contract's name unless another is given.

        A name stays, whatever becomes of what is behind it: when that is a proxy whose peer is lost, calls are
        `Unavailable`, reason `vacant`, until `replace` puts something else there.

        Args:
            implementation: an object of ours, or a proxy, which stays the caller's, for the name has a reference of its
                own: then calls pass through, under the contract of the proxy.
            name: what peers ask for. It changes nothing else: whatever the name, they get all that the contract of the
                implementation has.
            if_exists: `raise` refuses a name that is taken; `replace` puts the implementation behind it, like
                `replace` without waiting; `skip` leaves what is there alone.

        Returns a handle that ends what this call registered, and nothing that others took over since.

        Raises:
            AlreadyExists: `name_collision` or `reserved_namespace`. ContractError: methods are missing.
            VersionMismatch: the peer of a proxy serves an older version. FailedPrecondition: `promise`. Released, or
            what else a proxy is broken with.
        """
        return self._services.serve([implementation], name, if_exists)

    def serve_all(self, *implementations: Cap, if_exists: IfExists = "raise") -> ServeHandle:
        """Serve several, all or none: everything is checked before anything is registered."""
        return self._services.serve(list(implementations), None, if_exists)

    def unserve(self, served: ServeHandle | type[Cap] | str) -> None:
        """Stop serving; whoever bootstrapped it is told that it is revoked, and its running calls are answered.

        With a handle only what is still the handle's own ends; a handle that was closed before is a no-op.

        Raises:
            NotFound: a contract or name that is not served.
        """
        self._services.unserve(served)

    async def replace(
        self,
        implementation: Cap,
        *,
        name: str | None = None,
        owner: ServeHandle | None = None,
        mode: Mode = "drain",
        grace: float = 5.0,
    ) -> ReplaceReport:
        """Put another implementation behind a served name; ids and proxies stay, new calls go to it at once.

        Before that, if the new implementation has a method `adopt` that is not of its contract, it is called with the
        old implementation, which still answers all calls, and awaited if that can be awaited.

        Args:
            name: under which it is served, when that is not the contract's.
            owner: replace only what is still this handle's. It keeps the name after that.
            mode: `drain` lets running calls and open streams finish on the old implementation, `cut` ends them now.
            grace: seconds they may take; after it they are cut.

        An object is one capability under one contract: who holds it by another name it is served under, or was handed
        it, has the new one as well.

        Returns when they have ended or were cut. The old implementation is closed once, when the last handler of it has
        ended and no peer holds it. A handler that replaces what it runs on itself is neither waited for nor cut; calls
        that come to the old implementation by another name or capability are not cut.

        Raises:
            NotFound: the name is not served. ContractError, VersionMismatch: the implementation lacks something.
            FailedPrecondition: `superseded`, the name was ended or replaced during `adopt`, or is not the owner's.
            Whatever `adopt` raises, and what a proxy is broken with. Nothing has changed then; when `adopt` was called,
            the new implementation is closed.
        """
        self._services.check_loop()
        if mode not in ("drain", "cut"):
            raise ContractError(f"mode is 'drain' or 'cut', not {mode!r}")
        return await replacing(self._services, implementation, name, owner, mode, grace)

    def swap(
        self, implementation: I, *, name: str | None = None, owner: ServeHandle | None = None, grace: float = 5.0
    ) -> AbstractAsyncContextManager[Swap[I]]:
        """Replace, if the block says so: `async with host.swap(new) as swap: await check(swap.candidate)`.

        What can be checked is checked first, and the new implementation adopts as with `replace`. In the block it is
        `candidate`, which no peer can reach, and the old one answers all calls. At the end of the block it is put
        behind the name, and running calls and streams have `grace` seconds as with `replace`; then `report` is there.
        When the block raises, or is cancelled, nothing has changed for anybody: the candidate is closed, unless
        something else holds it, and then the exception goes on.

        Args:
            name: under which it is served, when that is not the contract's.
            owner: swap only what is still this handle's.
            grace: seconds that running calls and open streams have on the old implementation.

        Raises:
            NotFound: the name is not served. ContractError, VersionMismatch: the implementation lacks something.
            FailedPrecondition: `swap_running`, one swap at a time; `superseded`, the name is not the owner's. In these
            cases the block does not run and the implementation is left alone. Later `superseded`: the name was ended or
            replaced by somebody else meanwhile; this is rolled back. Whatever `adopt` and the block raise.
        """
        self._services.check_loop()
        return swapping(self._services, implementation, name, owner, grace)

    def on(self, kind: type[E], observe: Callable[[E], object]) -> Callable[[], None]:
        """Call a plain function with every event of a kind, soon after it happened. Returns what ends it."""
        self._services.check_loop()
        return self._services.bus.on(kind, observe)

    def events(self, *kinds: type[E]) -> Feed[E]:
        """`async with x.events(CallFinished) as feed: async for event in feed: ...`; all kinds when none is given."""
        self._services.check_loop()
        return self._services.bus.feed(kinds)

    def fallback(self, handler: FallbackHandler) -> Callable[[], None]:
        """Ask a handler, plain or async, what a peer gets for a name that it may have and nobody serves.

        The handlers are asked newest first, a connection's own before its host's, each for `Limits.policy_timeout` at
        most. One may return:

        - an implementation, or a proxy to pass on: this peer gets it for this bootstrap. It is not registered; it falls
          when it is revoked, as what a call has handed out;
        - None: it declines, and the next one is asked;
        - `HOLD`: the peer waits for somebody to serve the name, as long as it wants to (`wait`), or `policy_timeout`.

        One that raises, or says nothing in time, is logged and declines. When somebody serves the name meanwhile, that
        is what the peer gets.

        Returns what removes the handler. It is cancelled if it is being asked, and what it says then does not count.
        What it has handed out before stays.
        """
        self._services.check_loop()
        return self._services.registry.fallbacks.add(handler)

    def on_open(self, handler: OpenHandler | None) -> None:
        """Have a handler, plain or async, decide about the virtual connections that peers open; `None` refuses all.

        It is given an `Opening`, which it takes or not within `Limits.policy_timeout`. A connection's own handler is
        asked before its host's, and a later one takes the place of the one before. Without any, all are refused.
        """
        self._services.check_loop()
        self._services.registry.opener = handler

    def scope(self, prefix: str, *, grace: float = 5.0) -> Scope:
        """What is served, lent, observed and started in a scope ends with it: `async with host.scope("plug.foo")`.

        Args:
            prefix: what the names served in it begin with, before a dot. No other scope that is open may have it, or
                one that is inside of it or around it.
            grace: seconds that each task and each callback has to end when the scope does.

        Raises:
            AlreadyExists: `scope_taken`, `reserved_namespace`. InvalidArgument: the prefix cannot begin a name.
            Unavailable: the host or connection is not open.
        """
        self._services.check_loop()
        return self._scopes.open(prefix, grace)
