"""`Host`: one registry, many connections, their listeners."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Self

from anyio import CancelScope, create_task_group, move_on_after

from capnet.connection.capacity import Capacity
from capnet.connection.connect import GRACE, begin, find_scheme
from capnet.connection.connection import STOP_TIMEOUT, Connection
from capnet.connection.loop import Loop, open_loop
from capnet.connection.policy import Admission, Explanation, Policy, explain
from capnet.connection.serving import Serving
from capnet.errors import CapnetError, Unavailable
from capnet.limits import HostLimits, Limits
from capnet.observe import Bus
from capnet.observe.log import prepare
from capnet.registry import Hosted
from capnet.transport import Attestation, Listener, Process, Transport
from capnet.wire.hello import Hello

__all__ = ["Host"]


class Host(Serving):
    """Serves names to every peer that connects, now and later.

        async with Host() as host:
            host.serve(MemLobby())
            await host.listen("unix:chat.sock")
            await sleep_forever()

    Args:
        name: what it calls itself to peers.
        policy: decides which peer may have which name; without one every peer may have all that is served.
        limits: bounds that hold for each peer; the untrusted profile by default.
        host_limits: bounds for all of them together.

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
    ) -> None:
        super().__init__(Bus())
        Hello(name, limits or Limits()).check()
        self._name = name
        self._policy = policy
        self._limits = limits or Limits()
        self._scope: AbstractAsyncContextManager[Loop] | None = None
        self._connections: dict[int, Connection] = {}
        self._capacity = Capacity(host_limits or HostLimits(), self._connections, self.bus)
        self.bus.counter = self._capacity.ledger
        self._listeners: list[Listener] = []
        self._processes: list[Process] = []
        """Programs that were started for connections, some of which have gone."""
        self._closing = False

    async def __aenter__(self) -> Self:
        prepare()
        self._scope = open_loop()
        self.loop = await self._scope.__aenter__()
        self.bus.attach(self.loop)
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
            self.bus.attach(None)
            await self._scope.__aexit__(None, None, None)

    @property
    def connections(self) -> tuple[Connection, ...]:
        """The connections that are not closed, oldest first."""
        return tuple(self._connections.values())

    def stats(self) -> dict[str, int]:
        """How much of each bounded thing there is now, over all connections."""
        return {
            "connections": len(self._connections),
            "charge": self._capacity.ledger.used,
            "listeners": len(self._listeners),
            "names": len(self.registry),
            **self.bus.stats(),
        }

    async def listen(self, url: str, **options: Any) -> Listener:
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

    async def connect(self, url: str, **options: Any) -> Connection:
        """Connect to a peer that then sees what this host serves, for instance a program started with `exec:`.

        The connection ends with the host; close it earlier with its `aclose`.

        Raises:
            Unavailable: nobody answers there, or the host is not open. InvalidArgument: the URL makes no sense.
        """
        self._running()
        scheme, rest = find_scheme(url)
        return self.accept(await scheme.connect(rest, **options))

    def accept(self, transport: Transport) -> Connection:
        """Begin a connection on a transport that is connected and not started."""
        connection = begin(
            self._running(),
            transport,
            name=self._name,
            limits=self._limits,
            policy=self._policy,
            names=self.registry,
            bus=self.bus,
            hooks=self.hooks,
            capacity=self._capacity,
        )
        self._connections[connection.number] = connection
        if connection.process is not None:
            self._processes = [*filter(_runs, self._processes), connection.process]
        connection.on_close(lambda _: self._connections.pop(connection.number, None))
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
        self.check_loop()
        return await explain(
            self,
            self._policy,
            Admission(name, None, attestation, auth, "", True),
            self.registry.find(name),
            method,
            arguments or {},
            self._limits.policy_timeout,
        )

    async def reconsider(self) -> dict[int, list[str]]:
        """Ask the policy again about each peer and the names it was given; what is denied now is revoked.

        Returns the names that were taken back, by the number of the connection.
        """
        self.check_loop()
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
        self.check_loop()
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
        that were started for connections. A handler cannot wait for its own end: there the close only begins, and goes
        on when it has returned.
        """
        await self._shut(grace)
        if not self._connections:
            with move_on_after(STOP_TIMEOUT):
                for process in self._processes:
                    await process.wait()

    async def _shut(self, grace: float) -> None:
        self.check_loop()
        self._closing = True
        try:
            await self.scopes.aclose()
            for listener in self._listeners:
                await listener.aclose()
            self._listeners.clear()
            async with create_task_group() as tasks:
                for connection in self.connections:
                    tasks.start_soon(connection.end, "the host is closing", grace)
        finally:
            for connection in self.connections:  # a handler of which has asked for this; its answer is still to leave
                connection.on_close(lambda _: self._end_if_over())
            self._end_if_over()
            await self.hooks.ended()

    def _end_if_over(self) -> None:
        if not self._connections:
            self._end_all(self.registry, "the host is closing")

    def end_calls_on(self, hosted: Hosted, error: CapnetError) -> tuple[int, int]:
        """See `Serving`."""
        ended = [connection.end_calls_on(hosted, error) for connection in self.connections]
        return sum(calls for calls, _ in ended), sum(streams for _, streams in ended)

    def is_handling(self, hosted: Hosted) -> bool:
        """See `Serving`."""
        return any(connection.is_handling(hosted) for connection in self.connections)

    def _accept(self, transport: Transport) -> None:
        """One that a listener brings; it may still come while the host closes."""
        if self._closing or self._capacity.turns_away():
            transport.abort()
            return
        try:
            self._capacity.arrived(self.accept(transport))
        except Exception as error:  # no memory for one more; the listener goes on
            self.unexpected("accept", error)

    def _running(self) -> Loop:
        if self._scope is None or self._closing:
            raise Unavailable("the host is not open", hint="use it inside `async with Host() as host:`")
        self.loop.check()
        return self.loop

    async def _serve_listener(self, listener: Listener) -> None:
        try:
            await listener.serve()
        except Exception as error:
            self.unexpected(f"listener {listener.url}", error)


def _runs(process: Process) -> bool:
    return process.running


async def _close(connection: Connection, reason: str, grace: float) -> None:
    await connection.aclose(reason, grace=grace)
