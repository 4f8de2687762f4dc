"""`Host`: one registry, many connections, their listeners."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any, Self, cast
from uuid import uuid4

from anyio import CancelScope, create_task_group, move_on_after
from anyio import Event as Signal
from typing_extensions import Unpack

from capnet.connection.connect import GRACE, begin, find_scheme, opened
from capnet.connection.connection import Connection
from capnet.connection.options import in_development
from capnet.connection.parts import STOP_TIMEOUT, Parts
from capnet.connection.retry import Retry
from capnet.dispatch.operations import Operations
from capnet.errors import Replaced, ResourceExhausted, Unavailable
from capnet.limits import HostLimits, Limits
from capnet.loop import Loop, open_loop
from capnet.observe import Bus, LimitHit
from capnet.observe.log import prepare
from capnet.policy.policy import Admission, Explanation, Policy, explain
from capnet.registry import Hosted
from capnet.serving.close_hooks import CloseHooks
from capnet.serving.services import Services
from capnet.serving.serving import Serving
from capnet.session.capacity import Capacity
from capnet.session.door import Door
from capnet.session.faults import Faults
from capnet.signals import told_to_stop
from capnet.transport import Attestation, Listener, Process, Transport
from capnet.wire.hello import Hello

if TYPE_CHECKING:
    from capnet.recording import Recorder
    from capnet_transports.options import ConnectOptions, ListenOptions

__all__ = ["Host"]


class Host(Serving):
    """Serves names to every peer that connects, now and later.

        async with Host() as host:
            host.serve(MemLobby())
            await host.listen("unix:chat.sock")
            await host.serve_forever()

    Args:
        name: what it calls itself to peers.
        policy: decides which peer may have which name; without one every peer may have all that is served.
        limits: bounds that hold for each peer; the untrusted profile by default.
        host_limits: bounds for all of them together.
        record: a file to record to what is said on all connections, for `capnet decode` and `capnet trace`.
        record_values: record arguments, results and items as well, and not only how large they are.
        development: help with finding mistakes, as for `capnet.connect`.
        operations: keep the answers of calls that a link makes with `operations=True`, for a minute and 64 for each
            link: so that it may ask again when the line was cut, and no call runs twice.

    Raises:
        InvalidArgument: the name is not printable or longer than 256 bytes.

    `serve`, `unserve` and `replace` work on all connections, present and future. Leaving the block closes the
    listeners, says goaway to every peer, lets calls in flight end for a second (not when it is left by an error), and
    closes what was served.
    """

    def __init__(
        self,
        *,
        name: str = "",
        policy: Policy | None = None,
        limits: Limits | None = None,
        host_limits: HostLimits | None = None,
        record: str | PathLike[str] | None = None,
        record_values: bool = False,
        development: bool | None = None,
        operations: bool = False,
    ) -> None:
        bus = Bus()
        self._services = Services(
            bus, bus.publish, Faults(bus, bus.publish), CloseHooks(), self._end_calls_on, self._is_handling
        )
        Hello(name, limits or Limits()).check()
        self._name = name
        self._instance = uuid4().hex
        self._policy = policy
        self._limits = limits or Limits()
        self._record = record
        self._record_values = record_values
        self._development = in_development(development)
        self._operations = Operations(self._instance) if operations else None
        self._recorder: Recorder | None = None
        self._scope: AbstractAsyncContextManager[Loop] | None = None
        self._capacity = Capacity(host_limits or HostLimits(), bus)
        self._door = Door(self._capacity.shares, self._let_in, self._capacity.limits.max_strangers)
        bus.counter = self._capacity.ledger
        self._listeners: list[Listener] = []
        self._processes: list[Process] = []
        """Programs that were started for connections, some of which have gone."""
        self._closing = False
        self._ending: Signal | None = None
        self._closed: Signal | None = None

    async def __aenter__(self) -> Self:
        prepare()
        if self._record is not None:
            from capnet.recording import Recorder  # few programs record

            self._recorder = Recorder(self._record, values=self._record_values)
            self._recorder.complain = partial(self._services.faults.unexpected, "recording")
        self._scope = open_loop()
        self._services.loop = await self._scope.__aenter__()
        self._services.bus.attach(self._services.loop)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._scope is not None
        try:
            if exc_info[0] is None:
                await self.aclose(grace=GRACE)
            else:
                with CancelScope(shield=True):
                    await self._shut(0.0)
        finally:
            try:
                await self._scope.__aexit__(None, None, None)
            finally:
                self._services.bus.attach(None)  # no sooner: what ends with the scope is told as well
                if self._recorder is not None:
                    self._recorder.close()

    @property
    def connections(self) -> tuple[Connection, ...]:
        """The connections that are not closed, oldest first."""
        return tuple(cast("Connection", session.owner) for session in self._capacity.sessions)

    def connection(self, number: int) -> Connection | None:
        """The connection of that `number`, which is `Event.connection` of its events; None when it is closed."""
        session = self._capacity.session(number)
        return None if session is None else cast("Connection", session.owner)

    def stats(self) -> dict[str, int]:
        """How much of each bounded thing there is now, over all connections."""
        return {
            "connections": len(self._capacity.sessions),
            "charge": self._capacity.charge,
            "listeners": len(self._listeners),
            "names": len(self._services.registry),
            **self._services.bus.stats(),
        }

    async def listen(self, url: str, **options: Unpack[ListenOptions]) -> Listener:
        """Accept peers at an address until the host closes, or the returned listener is closed.

        Args:
            url: `unix:PATH`, `memory:NAME`, or any scheme of an installed transport.
            options: for the transport.

        Raises:
            AlreadyExists: somebody listens there. Unavailable, PermissionDenied, InvalidArgument: the address cannot be
            used. Unavailable: the host is not open.
        """
        loop = self._running()
        scheme, rest = find_scheme(url)
        listener = await scheme.listen(rest, self._accept, **options)
        self._listeners.append(listener)
        loop.spawn(self._serve_listener, listener)
        return listener

    async def serve_forever(self, *, announce: bool = False) -> None:
        """Serve until the program is told to stop, by Ctrl-C (SIGINT) or SIGTERM; then close the host.

        Returns when it is closed, also when it was closed in another way. So a program that has nothing else to do ends
        with exit code 0. A second signal does what it does without this: it ends the program at once.

        Args:
            announce: write to standard error where the host listens.

        Signals reach the main thread only, and all hosts that wait there. In another thread, or in a program that
        handles these signals itself, use `wait_closed`.

        Raises:
            Unavailable: the host is not open.
        """
        loop = self._running()
        ending = self._ending = self._ending or Signal()
        with told_to_stop(partial(loop.call_soon_threadsafe, ending.set)):
            if announce and sys.stderr is not None:
                lines = [f"listening on {listener.url}; Ctrl-C ends it\n" for listener in self._listeners]
                sys.stderr.write("".join(lines) or "listening nowhere; Ctrl-C ends it\n")
                sys.stderr.flush()
            await ending.wait()
        if not self._closing:
            await self.aclose()
        await self.wait_closed()

    async def wait_closed(self) -> None:
        """Wait until the host is closed: its connections have ended, and so have the close hooks of what it served."""
        self._services.check_loop()
        self._closed = self._closed or Signal()
        await self._closed.wait()
        await self._services.hooks.ended()

    async def connect(
        self,
        url: str,
        *,
        wait: float | Retry | None = None,
        ready: bool = False,
        auth: Any = None,
        **options: Unpack[ConnectOptions],
    ) -> Connection:
        """Connect to a peer that then sees what this host serves, for instance a program started with `exec:`.

        The connection ends with the host; close it earlier with its `aclose`.

        Args:
            url, wait, ready, auth: as for `capnet.connect`.
            options: for the transport.

        Raises:
            Unavailable: nobody answers there, or the host is not open. InvalidArgument: the URL makes no sense.
        """
        self._running()
        return await opened(url, wait, ready, options, partial(self.accept, auth=auth))

    def accept(self, transport: Transport, *, auth: Any = None) -> Connection:
        """Begin a connection on a transport that is connected and not started.

        Args:
            auth: plain data for the peer's policy.

        Raises:
            ResourceExhausted: `max_connections`, of a virtual connection for which there is no place.
        """
        if transport.within is not None and self._capacity.turns_away(len(self._door)):
            transport.abort()
            raise ResourceExhausted("this host has no place for a virtual connection", reason="max_connections")
        connection = begin(
            self._running(),
            transport,
            self._recorder,
            name=self._name,
            instance=self._instance,
            auth=auth,
            limits=self._limits,
            policy=self._policy,
            names=self._services.registry,
            bus=self._services.bus,
            hooks=self._services.hooks,
            capacity=self._capacity,
            development=self._development,
            operations=self._operations,
        )
        if connection.process is not None:
            self._processes = [*filter(_runs, self._processes), connection.process]
        return connection

    async def explain(
        self,
        attestation: Attestation,
        name: str,
        method: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        *,
        auth: Any = None,
    ) -> Explanation:
        """What the policy would say to such a peer; nothing is done.

        Args:
            attestation: what would be proven about it, its `principal` and `grants` as after `identify`.
            name: what it would ask for.
            method: what it would call on that, so that the policy's guard is asked too.
            arguments: of that call, by name.
            auth: what its hello would carry.
        """
        self._services.check_loop()
        return await explain(
            self._services.loop,
            self._services.faults,
            self._policy,
            Admission(name, None, attestation, auth, "", True),
            self._services.registry.find(name),
            method,
            arguments or {},
            self._limits.policy_timeout,
        )

    async def reconsider(self) -> dict[int, list[str]]:
        """Ask the policy again about each peer and the names it was given; what is denied now is revoked.

        Returns the names that were taken back, by the number of the connection.
        """
        self._services.check_loop()
        taken: dict[int, list[str]] = {}

        async def one(connection: Connection) -> None:
            names = await connection.reconsider()
            if names:
                taken[connection.number] = names

        async with create_task_group() as tasks:
            for connection in self.connections:
                tasks.start_soon(one, connection)
        return taken

    async def close_all(
        self, *, principal: str | None = None, reason: str = "closed by the host", grace: float = 1.0
    ) -> int:
        """Close every connection, or those whose attestation has `principal`; returns how many there were."""
        self._services.check_loop()
        chosen = [
            connection
            for connection in self.connections
            if principal is None or connection.attestation.principal == principal
        ]
        async with create_task_group() as tasks:
            for connection in chosen:
                tasks.start_soon(_close, connection, reason, grace)
        return len(chosen)

    async def aclose(self, *, grace: float = 1.0) -> None:
        """Close listeners, connections and what is served. Idempotent.

        Handlers that do not end when they are cancelled are waited for no longer than 5 seconds, and so are programs
        that were started for connections. A handler, or a generator whose items are sent, cannot wait for its own end:
        there the close only begins, and goes on when it has returned.
        """
        await self._shut(grace)
        if not self._capacity.sessions:
            with move_on_after(STOP_TIMEOUT):
                for process in self._processes:
                    await process.wait()

    async def _shut(self, grace: float) -> None:
        self._services.check_loop()
        self._closing = True
        self._door.close()
        if self._ending is not None:
            self._ending.set()
        try:
            await self._scopes.aclose()
            for listener in self._listeners:
                await listener.aclose()
            self._listeners.clear()
            async with create_task_group() as tasks:
                for connection in self.connections:
                    tasks.start_soon(connection._end, "the host is closing", grace)  # noqa: SLF001 - as below
        finally:
            for connection in self.connections:  # a handler of which has asked for this; its answer is still to leave
                connection.on_close(lambda _: self._end_if_over())
            self._end_if_over()
            await self._services.hooks.ended()

    def _end_if_over(self) -> None:
        if not self._capacity.sessions:
            self._services.end_all("the host is closing")
            if self._operations is not None:
                self._operations.clear()
            self._closed = self._closed or Signal()
            self._closed.set()

    def _end_calls_on(self, hosted: Hosted, error: Replaced) -> tuple[int, int]:
        """See `Services`."""
        ended = [_parts(connection).follower.end_calls_on(hosted, error) for connection in self.connections]
        return sum(calls for calls, _ in ended), sum(streams for _, streams in ended)

    def _is_handling(self, hosted: Hosted) -> bool:
        """See `Services`."""
        return any(_parts(connection).follower.is_handling(hosted) for connection in self.connections)

    def _accept(self, transport: Transport) -> None:
        """One that a listener brings; it may still come while the host closes."""
        if self._closing or self._capacity.turns_away(len(self._door)):
            transport.abort()
        elif not self._door.come(transport, self._services.loop):
            self._services.bus.publish(LimitHit, limit="max_strangers")
            transport.abort()

    def _let_in(self, transport: Transport) -> None:
        try:
            self._capacity.arrived(self.accept(transport)._session)  # noqa: SLF001 - as below
        except Exception as error:  # no memory for one more; the listener goes on
            self._services.faults.unexpected("accept", error)

    def _running(self) -> Loop:
        if self._scope is None or self._closing:
            raise Unavailable("the host is not open", hint="use it inside `async with Host() as host:`")
        self._services.loop.check()
        return self._services.loop

    async def _serve_listener(self, listener: Listener) -> None:
        try:
            await listener.serve()
        except Exception as error:
            self._services.faults.unexpected(f"listener {listener.url}", error)


def _runs(process: Process) -> bool:
    return process.running


async def _close(connection: Connection, reason: str, grace: float) -> None:
    await connection.aclose(reason, grace=grace)


def _parts(connection: Connection) -> Parts:
    """Those of one of ours: what completes on a connection is for its users."""
    return connection._parts  # noqa: SLF001
