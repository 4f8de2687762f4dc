"""Serving: what a `Connection` and a `Host` have in common, a registry and the words for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final, Literal, TypeVar
from uuid import uuid4

from anyio import CancelScope, move_on_after
from anyio import Event as Signal

from capnet.contract import INVALID_VALUE, Cap
from capnet.errors import CapnetError, ContractError, Internal, InvalidArgument, Replaced, told
from capnet.loop import Loop
from capnet.observe import Bus, Event, Feed, HandlerFailed, NameReplaced, NameServed, NameUnserved, SwapEnded
from capnet.observe.failure import failure_of
from capnet.observe.log import Log
from capnet.registry import Hosted, Registration, Registry, ServeHandle
from capnet.registry.registry import IfExists
from capnet.serving.fallback import FallbackHandler
from capnet.serving.scope import Scope, Scopes
from capnet.serving.swap import Mode, ReplaceReport, Swap, replacing, swapping
from capnet.session.disclosure import goes_on

__all__ = ["CloseHooks", "Serving"]

I = TypeVar("I", bound=Cap)  # noqa: E741 - an implementation
E = TypeVar("E", bound=Event)
HOOKS_PER_TURN: Final = 2000
"""Close hooks that are started until others have their turn; of very many that are due a part, so that none pile up."""
HOOKS_TIMEOUT = 5.0
"""Seconds that close hooks have to end when their owner closes; then they are cancelled."""


class CloseHooks:
    """The close hooks that run now, of one owner and of the connections it has."""

    __slots__ = ("_due", "_idle", "_left", "_running")

    def __init__(self) -> None:
        self._running = 0
        self._idle: Signal | None = None
        self._left = HOOKS_PER_TURN
        self._due: deque[Callable[[], None]] | None = None

    def start(self, loop: Loop, start: Callable[[], None]) -> None:
        """Start one now; of very many that are due at once the rest when others have had their turn."""
        self.begin()
        if self._left == HOOKS_PER_TURN:
            loop.call_soon(partial(self._next_turn, loop))
        if self._left:
            self._left -= 1
            start()
        else:
            self._due = deque() if self._due is None else self._due
            self._due.append(start)

    def _next_turn(self, loop: Loop) -> None:
        self._left = HOOKS_PER_TURN
        if self._due is not None:
            for _ in range(max(len(self._due) // 4, min(len(self._due), HOOKS_PER_TURN))):
                self._due.popleft()()
            self._left = 0
            loop.call_soon(partial(self._next_turn, loop))
            if not self._due:
                self._due = None

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
        self.scopes = Scopes(self)
        self._log = Log()

    def serve(self, implementation: Cap, *, name: str | None = None, if_exists: IfExists = "raise") -> ServeHandle:
        """Let peers bootstrap an implementation, under its contract's name unless another is given.

        Args:
            name: what peers ask for. It changes nothing else: whatever the name, they get all that the contract of the
                implementation has.
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
        self.check_loop()
        owned = self.registry.owned_by(served) if isinstance(served, ServeHandle) else self.registry.served_as(served)
        for registration in owned:
            self._end(registration, "unserved")

    async def replace(
        self,
        implementation: Cap,
        *,
        name: str | None = None,
        owner: ServeHandle | None = None,
        mode: Mode = "drain",
        grace: float = 5.0,
    ) -> ReplaceReport:
        """Put another implementation behind a served name; ids and proxies stay, new calls go to it at once (P-CAP-5).

        Before that, if the new implementation has a method `adopt` that is not of its contract, it is called with the
        old implementation, which still answers all calls, and awaited if that can be awaited.

        Args:
            name: under which it is served, when that is not the contract's.
            owner: replace only what is still this handle's. The name stays its, whoever replaces.
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
            Whatever `adopt` raises. Nothing has changed then; when `adopt` was called, the new implementation is
            closed.
        """
        self.check_loop()
        if mode not in ("drain", "cut"):
            raise ContractError(f"mode is 'drain' or 'cut', not {mode!r}")
        return await replacing(self, implementation, name, owner, mode, grace)

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
        self.check_loop()
        return swapping(self, implementation, name, owner, grace)

    def on(self, kind: type[E], observe: Callable[[E], object]) -> Callable[[], None]:
        """Call a plain function with every event of a kind, soon after it happened. Returns what ends it."""
        self.check_loop()
        return self.bus.on(kind, observe)

    def events(self, *kinds: type[E]) -> Feed[E]:
        """`async with x.events(CallFinished) as feed: async for event in feed: ...`; all kinds when none is given."""
        self.check_loop()
        return self.bus.feed(kinds)

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
        self.check_loop()
        return self.registry.fallbacks.add(handler)

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
        self.check_loop()
        return self.scopes.open(prefix, grace)

    # For the rooms around

    def check_loop(self) -> None:
        """Nothing, in its own loop; what is not open yet belongs to none.

        Raises:
            FailedPrecondition: `another_loop`.
        """
        loop: Loop | None = getattr(self, "loop", None)
        if loop is not None:
            loop.check()

    @abstractmethod
    def end_calls_on(self, hosted: Hosted, error: Replaced) -> tuple[int, int]:
        """End the calls and streams of an implementation with an error; returns how many calls and streams.

        Those that came by a capability that still leads to it go on, and so does the call whose handler asks for this.
        """

    @abstractmethod
    def is_handling(self, hosted: Hosted) -> bool:
        """Whether the running task is a handler of this implementation."""

    def announce(self, kind: type[Event], registration: Registration, **fields: object) -> None:
        """Tell observers of a name."""
        if self.bus.observed:
            self._publish(
                kind,
                name=registration.name,
                contract=registration.spec.name,
                generation=registration.generation,
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

    def unexpected(self, where: str, error: BaseException) -> Internal:
        """Our own code failed: log and tell observers everything, and give what the peer may know (P-ERR-2)."""
        correlation = uuid4().hex
        self._log.unexpected(where, correlation, error)
        if self.bus.wants(HandlerFailed):
            self._publish(HandlerFailed, where=where, correlation=correlation, error=failure_of(error))
        return Internal(
            f"the handler failed; {correlation} finds it in the callee's log", details={"correlation": correlation}
        )

    def refused(self, where: str, error: CapnetError) -> None:
        """What came was refused. If a class of ours did, its words are for the log and for observers, not for the peer.

        Args:
            where: what came, such as `arguments of chat.Room.post`.
            error: what is said instead; it gets the correlation id.
        """
        cause = error.__cause__
        if type(error) is InvalidArgument and error.reason == INVALID_VALUE and cause is not None:
            error.details |= self.unexpected(where, cause).details
            error.message += f"; {error.details['correlation']} finds why in the log"

    def unfit(self, what: str, error: BaseException, reason: str) -> InvalidArgument:
        """What came for us is of another type. The words of our own classes are the cause, for whoever is told.

        Args:
            what: such as `item of a stream`.
            error: what the conversion has raised.
            reason: of the error that is made of it.
        """
        if isinstance(error, CapnetError):
            self.refused(what, error)
            meant = told(error) or self.unexpected(what, error)
            unfit = InvalidArgument(f"{what}: {meant.message}", reason=reason, details=meant.details)
            unfit.__cause__ = error.__cause__
        else:
            if error.__traceback__ is not None:
                error.__traceback__ = error.__traceback__.tb_next  # the caller's frame will refer to what is returned
            details = self.unexpected(what, error).details
            text = f"{what}: its class has failed; {details['correlation']} finds why in the log"
            unfit = InvalidArgument(text, reason=reason, details=details)
            unfit.__cause__ = error
        return unfit

    def _publish(self, kind: type[Event], **fields: object) -> None:
        self.bus.publish(kind, **fields)

    async def _close_hosted(self, hosted: Hosted) -> None:
        try:
            await hosted.aclose()
        except BaseException as error:
            if goes_on(self.loop, error):
                raise
            self.unexpected(f"close hook of {type(hosted.implementation).__name__}", error)
        finally:
            self.hooks.end()

    def _serve(
        self, implementations: list[Cap], name: str | None, if_exists: IfExists, prefix: str = ""
    ) -> ServeHandle:
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

    def _end(self, registration: Registration, reason: str) -> None:
        self.end_swap(registration, "rolled_back")
        self.registry.end(registration, reason)
        self.announce(NameUnserved, registration)

    def _end_all(self, registrations: Iterable[Registration], reason: str) -> None:
        for registration in tuple(registrations):
            self._end(registration, reason)
