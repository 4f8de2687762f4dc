"""`Scope`: what a plugin was given and has begun, so that all of it ends together.

What is served, lent, observed, started or pushed through a scope ends with it: the latest first, each once, also when
one of the others raises, hangs, or when whoever waits for the end is cancelled. For this the end runs in a task of its
own, and each part of it has a bounded time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from contextvars import ContextVar
from functools import partial
from inspect import isawaitable
from typing import Any, Final, Self, TypeVar, TypeVarTuple
from weakref import ref

from anyio import CancelScope, move_on_after
from anyio import Event as Signal

from capnet.calls.metadata import going_along
from capnet.contract import Cap
from capnet.errors import AlreadyExists, FailedPrecondition, InvalidArgument, Unavailable
from capnet.observe import Event
from capnet.policy.policy import Admission
from capnet.references.proxy import Proxy
from capnet.references.revoke import revoke
from capnet.registry import ServeHandle
from capnet.registry.registry import IfExists, checked_name
from capnet.revocation.lineage import handling
from capnet.session.disclosure import goes_on

from .fallback import FallbackHandler
from .services import Services
from .task import Task

__all__ = ["Scope", "Scopes"]

C = TypeVar("C")
E = TypeVar("E", bound=Event)
Args = TypeVarTuple("Args")
Ending = Callable[[], Awaitable[None]]

_ending: Final[ContextVar[tuple[Scope, ...]]] = ContextVar("capnet.scopes", default=())
"""The scopes whose end waits for the running task."""


class Scope:
    """What belongs together and ends together, under names that begin with one prefix.

        async with host.scope("plug.foo") as scope:
            scope.serve(MemRoom())                      # as plug.foo.chat.Room
            scope.start(follow, "rooms")
            ...

    Made by `scope()` of a host or connection, also for use without `async with`: then `aclose` ends it. One that is
    still open when its host or connection closes is ended first.

    Attributes:
        prefix: what its names begin with.

    Raises:
        FailedPrecondition: `closed`, by every method but `aclose` once the end has begun.
    """

    __slots__ = ("_closing", "_ended", "_ends", "_errors", "_grace", "_heard", "_owner", "_parent", "_scopes", "prefix")

    def __init__(self, scopes: Scopes, owner: Services, prefix: str, grace: float, parent: Scope | None) -> None:
        self.prefix = prefix
        self._scopes = scopes
        self._owner = owner
        self._grace = grace
        self._parent = parent
        self._ends: dict[Hashable, Ending] = {}
        """How each thing in it ends, the latest last."""
        self._errors: list[Exception] = []
        self._closing = False
        self._heard = False
        """Whether somebody waits who is told what the end raises."""
        self._ended = Signal()

    async def __aenter__(self) -> Self:
        self._check_open()
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        failed = await self._end()
        if failed is not None:
            if error is None:
                raise failed
            self._report(failed)  # what the block raised is what its caller must see

    def serve(self, implementation: Cap, *, name: str | None = None, if_exists: IfExists = "raise") -> ServeHandle:
        """Serve an implementation as `PREFIX.NAME`; see `Host.serve`.

        Args:
            name: what follows the prefix and a dot; the contract's name unless another is given.

        Raises:
            AlreadyExists: `name_collision`. ContractError: methods are missing.
        """
        self._check_open()
        return self._serve([implementation], name, if_exists)

    def serve_all(self, *implementations: Cap, if_exists: IfExists = "raise") -> ServeHandle:
        """Serve several as `PREFIX.` and the names of their contracts, all or none."""
        self._check_open()
        return self._serve(list(implementations), None, if_exists)

    def fallback(self, handler: FallbackHandler) -> Callable[[], None]:
        """Ask a handler about names that begin with `PREFIX.` and are not served; see `Host.fallback`.

        What it hands out is lent: it is taken back when the scope ends. Returns what removes the handler earlier.
        """
        self._check_open()

        async def ask(request: Admission) -> Any:
            if not request.name.startswith(f"{self.prefix}."):
                return None
            given = handler(request)
            if isawaitable(given):
                given = await given
            return given if self._closing or not isinstance(given, Cap) else self.lend(given)

        return self._keep_undo(self._owner.registry.fallbacks.add(ask))

    def on(self, kind: type[E], observe: Callable[[E], object]) -> Callable[[], None]:
        """Observe until the scope ends, or the function that is returned is called; see `Host.on`."""
        self._check_open()
        return self._keep_undo(self._owner.bus.on(kind, observe))

    def lend(self, capability: C) -> C:
        """Have a capability revoked from all peers that hold it when the scope ends; returns it.

        Lend what you hand out that is not served in the scope: an argument, an object made early. What calls on the
        scope's own implementations hand out falls with these. A proxy that is lent is kept until then.

        Raises:
            InvalidArgument: it is nothing that a peer can hold.
        """
        self._check_open()
        if isinstance(capability, Proxy):
            self._ends[capability] = partial(self._take_back, lambda: capability)
        elif isinstance(capability, Cap):
            # An object that is gone is with no peer: it must not be kept for its end here.
            key = id(capability)
            lent = ref(capability, lambda _: self._forget(key))
            self._ends[key] = partial(self._take_back, lent)
        else:
            raise InvalidArgument(f"{type(capability).__name__} cannot be lent", hint="lend an object of a contract")
        return capability

    def start(self, function: Callable[[*Args], Awaitable[object]], *args: *Args) -> Callable[[], None]:
        """Run an async function in a task that is cancelled and awaited when the scope ends.

        An exception that leaves it is logged and told to observers as `HandlerFailed`; nothing else ends for it.
        Returns what cancels the task earlier.
        """
        self._check_open()
        task = Task(function, args)
        self._ends[task] = partial(task.end, self.prefix, self._grace)
        self._owner.loop.spawn(self._run, task)
        return task.cancel

    def push(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call a function, plain or async, when the scope ends. Returns what takes it out again."""
        self._check_open()
        key = object()
        self._ends[key] = partial(self._call_back, callback)
        return partial(self._forget, key)

    def scope(self, name: str, *, grace: float | None = None) -> Scope:
        """A scope inside, with the prefix `PREFIX.NAME`; it ends with this one at the latest.

        Raises:
            AlreadyExists: `scope_taken`. InvalidArgument: the name cannot stand in a name that is served.
        """
        self._check_open()
        inner = self._scopes.open(f"{self.prefix}.{name}", self._grace if grace is None else grace, self)
        self._ends[inner] = inner.aclose
        return inner

    @property
    def closed(self) -> bool:
        """Whether everything in it has ended."""
        return self._ended.is_set()

    async def aclose(self) -> None:
        """End everything in it, the latest first, and wait until that is done; also when we are cancelled meanwhile.

        Each callback and each task has `grace` seconds to end. Called again, or by a task of the scope, which is itself
        ended by it, it raises nothing; from there it does not wait.

        Raises what has been raised in ending: the one exception, or a group of several.
        """
        failed = await self._end()
        if failed is not None:
            raise failed

    def __repr__(self) -> str:
        return f"<Scope {self.prefix} {'closed' if self.closed else 'closing' if self._closing else 'open'}>"

    # For the scopes of the owner

    async def aclose_quietly(self) -> None:
        """End everything; what is raised is logged."""
        failed = await self._end()
        if failed is not None:
            self._report(failed)

    def within(self, other: Scope) -> bool:
        """Whether it is inside another, or that one itself."""
        return self is other or (self._parent is not None and self._parent.within(other))

    @property
    def outermost(self) -> bool:
        """Whether it is inside no other."""
        return self._parent is None

    # How things end

    def _check_open(self) -> None:
        self._owner.check_loop()
        if self._closing:
            raise FailedPrecondition(f"the scope {self.prefix!r} has ended", reason="closed")

    def _serve(self, implementations: list[Cap], name: str | None, if_exists: IfExists) -> ServeHandle:
        handle = self._owner.serve(implementations, name, if_exists, f"{self.prefix}.")
        for key in list(self._ends):
            if self._is_stale(key):
                self._forget(key)
        self._ends[handle] = partial(_call, handle.close)
        return handle

    def _is_stale(self, key: Hashable) -> bool:
        """Whether it is a handle that nothing is served by any more."""
        return isinstance(key, ServeHandle) and not self._owner.registry.owned_by(key)

    def _keep_undo(self, undo: Callable[[], None]) -> Callable[[], None]:
        """Have something undone at the end, unless it is undone earlier by what is returned."""
        key = object()

        def early() -> None:
            self._forget(key)
            undo()

        self._ends[key] = partial(_call, undo)
        return early

    def _forget(self, key: Hashable) -> None:
        """Something has ended by itself, or is not to be ended here."""
        self._ends.pop(key, None)

    async def _take_back(self, lent: Callable[[], object]) -> None:
        capability = lent()
        if capability is not None:
            revoke(capability, reason=f"{self.prefix} has ended")

    async def _call_back(self, callback: Callable[[], object]) -> None:
        called = callback()
        if isawaitable(called):
            with move_on_after(self._grace) as bound:
                await called
            if bound.cancelled_caught:
                raise TimeoutError(f"a callback of the scope {self.prefix!r} took more than {self._grace:g} seconds")

    async def _run(self, task: Task) -> None:
        _apart(*_ending.get(), self)
        try:
            await task.run()
        except BaseException as error:
            if goes_on(self._owner.loop, error):
                raise
            self._owner.faults.unexpected(f"task {task.name} of the scope {self.prefix}", error)
        finally:
            self._forget(task)
            task.ended.set()

    async def _end(self) -> Exception | None:
        """Have the end begin, and wait for it. What it has raised, for the first who asks."""
        self._owner.check_loop()
        first, inside = not self._closing, any(scope.within(self) for scope in _ending.get())
        if first:
            self._closing = True
            self._owner.hooks.begin()
            self._owner.loop.spawn(self._run_end, () if inside else _ending.get())
        if inside:
            return None
        self._heard = first or self._heard
        try:
            with CancelScope(shield=True):
                await self._ended.wait()
        except BaseException:  # a task of asyncio can be cancelled in spite of the shield
            self._heard = self._heard and not first
            raise
        return self._failure() if first else None

    async def _run_end(self, waiting: tuple[Scope, ...]) -> None:
        _apart(*waiting, self)
        broken_off: BaseException | None = None
        while self._ends:
            _, end = self._ends.popitem()
            try:
                await end()
            except Exception as error:
                self._errors.append(error)
            except BaseException as error:  # the loop ends, or this one has awaited what was cancelled: go on
                broken_off = error
        self._scopes.forget(self)
        if self._parent is not None:
            self._parent._forget(self)  # noqa: SLF001 - its own
        failed = None if self._heard else self._failure()
        if failed is not None:
            self._report(failed)
        self._ended.set()
        self._owner.hooks.end()
        if broken_off is not None:
            raise broken_off

    def _failure(self) -> Exception | None:
        errors, self._errors = self._errors, []
        if len(errors) > 1:
            return ExceptionGroup(f"the scope {self.prefix!r} did not end cleanly", errors)
        return errors[0] if errors else None

    def _report(self, error: Exception) -> None:
        self._owner.faults.unexpected(f"end of the scope {self.prefix}", error)


class Scopes:
    """The open scopes of one host or connection.

    Args:
        owner: whose they are.
    """

    __slots__ = ("_by_prefix", "_closed", "_owner")

    def __init__(self, owner: Services) -> None:
        self._owner = owner
        self._by_prefix: dict[str, Scope] = {}
        self._closed = False

    def open(self, prefix: str, grace: float, parent: Scope | None = None) -> Scope:
        """A new scope.

        Raises:
            AlreadyExists: `scope_taken`, `reserved_namespace`. InvalidArgument: the prefix cannot begin a name.
            Unavailable: the owner is not open.
        """
        if not all(prefix.split(".")):
            raise InvalidArgument(f"a prefix is words with dots between them, not {prefix[:50]!r}")
        checked_name(f"{prefix}.")
        if self._closed or not hasattr(self._owner, "loop"):
            raise Unavailable("the owner of the scope is not open")
        for taken, scope in self._by_prefix.items():
            around = parent is not None and parent.within(scope)
            if not around and (f"{prefix}.".startswith(f"{taken}.") or taken.startswith(f"{prefix}.")):
                raise AlreadyExists(
                    f"the names of {prefix!r} belong to the scope {taken!r}",
                    reason="scope_taken",
                    hint="wait until it has ended, or open one inside with its method scope()",
                )
        scope = self._by_prefix[prefix] = Scope(self, self._owner, prefix, grace, parent)
        return scope

    def forget(self, scope: Scope) -> None:
        """One has ended; its prefix may be taken again."""
        del self._by_prefix[scope.prefix]

    def end(self) -> None:
        """The owner ends: nothing opens any more, and what is open ends soon."""
        self._closed = True
        for scope in self._outermost():
            self._owner.loop.spawn(scope.aclose_quietly)

    async def aclose(self) -> None:
        """The owner ends: end what is open, and wait for that."""
        self.end()
        for scope in self._outermost():
            await scope.aclose_quietly()

    def _outermost(self) -> list[Scope]:
        """Those that are in no other, the latest first."""
        return [scope for scope in reversed(self._by_prefix.values()) if scope.outermost]


def _apart(*scopes: Scope) -> None:
    """The running task belongs to scopes, not to the call on which it was started."""
    _ending.set(scopes)
    handling.set(None)
    going_along.set(None)


async def _call(function: Callable[[], object]) -> None:
    function()
