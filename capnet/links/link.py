"""`Link`: one object that outlives its connections.

    async with link("unix:desk.sock") as desk:
        notes = await desk.bootstrap(Notes)     # works on, whatever becomes of the connection

A link is a host that nobody connects to: it has names, events and a policy of its own, and one connection at a time.
"""

from __future__ import annotations

import math
import os
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, cast
from uuid import uuid4
from weakref import WeakSet

from anyio import CancelScope, sleep
from anyio import Event as Signal
from typing_extensions import TypeForm, Unpack

from capnet.connection.connect import attempt, find_scheme
from capnet.connection.connection import Connection
from capnet.connection.retry import VARIABLE, Retry, retry_of, trying
from capnet.errors import CapnetError, InvalidArgument, Unavailable
from capnet.host import Host
from capnet.limits import Limits
from capnet.observe import Reconnected, Reconnecting
from capnet.policy.policy import Policy
from capnet.serving.serving import Serving
from capnet.transport import Transport
from capnet.virtual.transport import VirtualTransport

from .course import Course
from .healing import Healing, Root
from .recovery import Hook, hooked, recover

if TYPE_CHECKING:
    from capnet_transports.options import ConnectOptions

__all__ = ["Link", "link"]

C = TypeVar("C")
NAME_WAIT: Final = 10.0
"""Seconds that a peer which is back has to serve a name again, unless the link has less."""


def link(
    url: str,
    *,
    wait: float | Retry | None = None,
    patience: float = math.inf,
    name: str = "",
    limits: Limits | None = None,
    policy: Policy | None = None,
    auth: Any = None,
    operations: bool = False,
    **options: Unpack[ConnectOptions],
) -> Link:
    """`async with link("unix:chat.sock") as chat: …`: a connection that comes back, until the block ends.

    Entering waits until the peer has admitted us, as `connect` does with `ready=True`. Afterwards a connection that was
    lost, or that the peer is closing, is followed by the next one. What `Link.bootstrap` gives works on.

    Args:
        url, name, limits, policy, auth, options: as for `connect`.
        wait: how to try to be connected, at first and each time again; `Retry()`, 30 seconds, unless this or the
            environment (`CAPNET_RETRY`) says otherwise. When that is in vain the link is over.
        patience: seconds that a call waits while there is no connection; 0 has it fail at once. By default it waits as
            long as the link tries: a deadline around the call holds, as always.
        operations: give each call that is not idempotent an id. Where the host keeps answers (`Host(operations=True)`)
            such a call is made again as well when the line was cut, and runs once all the same.

    Raises:
        InvalidArgument: a number, or the URL, makes no sense.
    """
    scheme, rest = find_scheme(url)
    retry = Retry() if wait is None and not os.environ.get(VARIABLE) else retry_of(wait)
    reach = partial(scheme.connect, rest, **options)
    return Link(url, reach, retry, patience, name, limits, policy, auth, operations)


class Link(Serving):
    """Made by `link`. What is served here, and observed, is on each of its connections.

    Attributes:
        generation: how often the peer that was found again had lost its state: it was started anew, or is another.
    """

    def __init__(
        self,
        where: str,
        reach: Callable[[], Awaitable[Transport]],
        retry: Retry,
        patience: float,
        name: str,
        limits: Limits | None,
        policy: Policy | None,
        auth: Any,
        operations: bool,
        around: Link | None = None,
    ) -> None:
        if type(patience) not in (int, float) or not patience >= 0:
            raise InvalidArgument(f"patience is seconds, 0 or more, not {patience!r}")
        self._where, self._reach, self._auth = where, reach, auth
        self._retry = retry
        self._patience = patience
        self._around = around
        self._host = Host(name=name, policy=policy, limits=limits, operations=operations)
        self._services, self._scopes = self._host._services, self._host._scopes  # noqa: SLF001 - of ours
        self._course = Course(self._retry)
        self._connection: Connection | None = None
        self._waiting: Signal | None = None
        """Set when there is another connection, or will be none."""
        self._over: CapnetError | None = None
        self._slots: WeakSet[Healing[Any]] = WeakSet()
        self._roots: WeakSet[Root[Any]] = WeakSet()
        self._hooks: list[Hook] = []
        self._again = self._indeterminate = 0
        self.operations = operations
        self._id = uuid4().hex
        self._made = 0

    async def __aenter__(self) -> Self:
        await self._host.__aenter__()
        try:
            self._reached(await trying(self._retry, self._attempt))
        except BaseException as error:
            await self._host.__aexit__(type(error), error, error.__traceback__)
            raise
        self._run_scope = CancelScope()
        self._services.loop.spawn(self._run)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run_scope.cancel()
        try:
            await self._host.__aexit__(kind, error, trace)
        finally:
            self._end(Unavailable("the link was closed", reason="link_closed", retry="never"))

    @property
    def connection(self) -> Connection | None:
        """The connection that there is now. It goes, and what it gives goes with it."""
        connection = self._connection
        return None if connection is None or connection.close_cause is not None else connection

    @property
    def generation(self) -> int:
        """How often the peer that was found again had lost its state: it was started anew, or is another."""
        return self._course.generation

    async def bootstrap(self, contract: TypeForm[C], /, *, wait: float | None = None, name: str | None = None) -> C:
        """A proxy of what the peer serves under a contract's name, which works on when the connection is another.

        Its calls wait while there is none. One that has not left, or that a peer which is closing had not seen, is made
        when there is one again; so is an idempotent one that was cut off (`@options(idempotent=True)`), up to three
        times in all. Any other that was cut off fails with `Indeterminate`. What an idempotent method has brought heals
        as well, if it is a capability: when it is used, the call that brought it is made again.

        Args:
            wait: seconds to wait for the name to be served.
            name: the name it is served under, when that is not the contract's.

        Give it back by `aclose`, or let it go. On a later connection that does not give the name, calls fail with
        `FailedPrecondition`, reason `connection_replaced`; the one after that is asked anew.

        Raises:
            NotFound, PermissionDenied, VersionMismatch, ResourceExhausted: the peer says no. Unavailable: the link is
            over. TypeError: it is no contract.
        """
        root: Root[C] = Root(self, cast("Any", contract), name, self._patience)
        try:
            while True:
                connection = await self._there()
                try:
                    await root.bootstrap(connection, wait)
                except CapnetError:
                    if connection.close_cause is None:
                        raise
                else:
                    self._roots.add(root)
                    return root.proxy
        except BaseException:
            root.end("it was not there")
            raise

    def open(
        self,
        metadata: Mapping[str, Any] | None = None,
        *,
        wait: float | Retry | None = None,
        patience: float = math.inf,
        name: str = "",
        limits: Limits | None = None,
        policy: Policy | None = None,
        auth: Any = None,
        operations: bool = False,
    ) -> Link:
        """A link inside of this one: `async with hub.open({"tenant": "blue"}) as blue: …`.

        Its connections are virtual ones, opened inside of those of this link. When one ends, or the one around it does,
        the next is opened. While this link has no connection it waits for that, and it is over when this one is.

        Args:
            metadata: told to whoever decides about it, each time; see `Connection.open`.
            wait: how to try again; as this link does, unless it is given.
            patience, name, limits, policy, auth, operations: as for `link`.

        Entering raises what `Connection.open` does. What the peer refuses it with later ends it, and not this link.
        """
        self._services.check_loop()
        retry = self._retry if wait is None else retry_of(wait)
        where, reach = f"inside of {self._where}", partial(self.open_transport, metadata)
        return Link(where, reach, retry, patience, name, limits, policy, auth, operations, self)

    async def open_transport(self, metadata: Mapping[str, Any] | None = None) -> VirtualTransport:
        """A virtual connection inside of the connection that there is now, or will be next, which does not heal.

        For `Opening.lend`. Args and errors are those of `Connection.open`.
        """
        return await (await self._there()).open_transport(metadata)

    async def on_connected(self, hook: Hook) -> None:
        """Await `hook(connection)` now, and again on each later connection: for what the peer must be given anew.

        Such as callbacks: what it held of ours is gone with the connection. Names have healed by then. A hook whose
        connection is lost meanwhile is cancelled, and begins anew on the next one. What it raises later is logged, and
        the link goes on.

        Raises:
            Whatever the hook raises now; it is not called again then. Unavailable: the link is over.
        """
        while not await hooked(hook, await self._there()):
            pass
        self._hooks.append(hook)

    async def wait_closed(self) -> CapnetError:
        """Wait until the link is over, because nobody was found again or its block has ended; returns why."""
        self._services.check_loop()
        while self._over is None:
            await self._news()
        return self._over

    # For its proxies

    def generation_now(self) -> int:
        """See `Keeper`."""
        return self._course.generation

    def counted(self, again: bool) -> None:
        """See `Keeper`."""
        self._again += again
        self._indeterminate += not again

    def keep(self, slot: Healing[Any]) -> None:
        """See `Keeper`."""
        self._slots.add(slot)
        if self._over is not None:
            slot.end(self._over.message)

    def operation(self) -> tuple[str, str]:
        """See `Keeper`."""
        connection = self._connection
        if connection is None or not connection._parts.keeps_answers or not connection.peer_instance:  # noqa: SLF001 - of ours
            return "", ""
        self._made += 1
        return f"{self._id} {self._made}", connection.peer_instance

    # Inside

    async def _attempt(self) -> Connection:
        return await attempt(self._reach, self._retry.attempt_timeout, True, self._begun)

    def _begun(self, transport: Transport) -> Connection:
        return self._host.accept(transport, auth=self._auth)

    def _reached(self, connection: Connection) -> bool:
        """There is a connection. Returns whether the peer has lost its state."""
        self._connection = connection
        lost = self._course.reached(connection.peer_instance, self._services.loop.now())
        self._tell()
        return lost

    async def _run(self) -> None:
        with self._run_scope:
            try:
                while self._over is None:
                    assert self._connection is not None
                    cause = await self._connection.wait_going()
                    await self._reconnect(cause.error())
            except Exception as error:  # a fault of capnet itself
                self._end(self._services.faults.unexpected(f"link to {self._where}", error))

    async def _reconnect(self, cause: CapnetError) -> None:
        if self._around is not None:
            try:
                await self._around._there()  # noqa: SLF001 - of this class
            except CapnetError as over:
                self._end(over)
                return
        delay: float | None = self._course.lost(self._services.loop.now())
        while delay is not None:
            self._services.bus.publish(
                Reconnecting,
                generation=self.generation,
                attempt=self._course.failures,
                delay=delay,
                cause=cause.message,
            )
            await sleep(delay)
            try:
                connection = await self._attempt()
            except CapnetError as error:
                cause = error
                delay = self._course.failed(error, self._services.loop.now())
            else:
                await self._heal(connection, self._reached(connection))
                return
        self._end(cause)

    async def _heal(self, connection: Connection, state_lost: bool) -> None:
        names = await recover(
            connection, self._roots, self._hooks, min(self._retry.budget, NAME_WAIT), self._services.faults
        )
        if names is None:
            return  # the next one is to heal
        again, self._again = self._again, 0
        indeterminate, self._indeterminate = self._indeterminate, 0
        self._services.bus.publish(
            Reconnected,
            connection=connection.number,
            peer=connection.peer_name,
            generation=self.generation,
            state_lost=state_lost,
            healed=tuple(sorted(names.healed)),
            broken=tuple(sorted(names.broken)),
            again=again,
            indeterminate=indeterminate,
        )

    async def _there(self) -> Connection:
        self._services.check_loop()
        while (connection := self.connection) is None:
            if self._over is not None:
                raise self._over.again()
            await self._news()
        return connection

    async def _news(self) -> None:
        self._waiting = self._waiting or Signal()
        await self._waiting.wait()

    def _tell(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.set()

    def _end(self, error: CapnetError) -> None:
        """No more connections."""
        if self._over is None:
            self._over = error
            for slot in tuple(self._slots):
                slot.end(error.message)
            self._tell()

    def __repr__(self) -> str:
        state = "over" if self._over is not None else "down" if self.connection is None else "up"
        return f"<Link to {self._where} {state}, generation {self.generation}>"
