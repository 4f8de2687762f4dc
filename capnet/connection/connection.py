"""`Connection`: one live link to a peer, symmetric. Both ends serve, bootstrap and call.

The words that users have for it, and nothing else: what they ask goes to the part that does it (`parts.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final, TypeVar, cast

from anyio import CancelScope, move_on_after
from typing_extensions import TypeForm

from capnet.calls.call import Call
from capnet.contract import Cap, MethodSpec, contract_spec
from capnet.dispatch.operations import Operations
from capnet.engine.inspect import snapshot
from capnet.engine.lifecycle import CloseCause
from capnet.errors import CapnetError, Unavailable
from capnet.limits import Limits
from capnet.loop import Loop
from capnet.observe import Bus
from capnet.policy.policy import Explanation, Policy, explain
from capnet.recording.tap import Tap
from capnet.references.proxy import release
from capnet.references.untyped import Untyped
from capnet.registry import Registry
from capnet.serving.bootstrap import Bootstrap, granting
from capnet.serving.close_hooks import CloseHooks
from capnet.serving.runtime import Runtime, runtime_of
from capnet.serving.scope import Scopes
from capnet.serving.services import Services
from capnet.serving.serving import Serving
from capnet.session.capacity import Capacity
from capnet.transport import Attestation, Process, Transport
from capnet.virtual.opening import open_in
from capnet.virtual.transport import VirtualTransport
from capnet.wire.hello import OPERATIONS, VIRTUAL, Hello

from .inner import Inner
from .parts import STOP_TIMEOUT, Parts

__all__ = ["Connection"]

C = TypeVar("C")
_LIMITS: Final = Limits()
_FEATURES: Final = (VIRTUAL,)
NO_HELLO: Final = "P-CONN-3"
"""The clause that a peer breaks who is silent; another attempt may find one who is not."""


class Connection(Serving):
    """One connection, made by `connect` or by a `Host`."""

    def __init__(
        self,
        loop: Loop,
        transport: Transport,
        *,
        name: str = "",
        limits: Limits | None = None,
        policy: Policy | None = None,
        auth: Any = None,
        instance: str = "",
        names: Registry | None = None,
        bus: Bus | None = None,
        hooks: CloseHooks | None = None,
        capacity: Capacity | None = None,
        development: bool = False,
        operations: Operations | None = None,
    ) -> None:
        features = _FEATURES if operations is None else (*_FEATURES, OPERATIONS)
        hello = Hello(name, limits or _LIMITS, features, auth, instance=instance)
        self._parts = parts = Parts(
            self, _begun, loop, transport, hello, policy, names, bus, hooks, capacity, development, operations
        )
        self._session = parts.session
        self._names = parts.names
        self._policy = policy
        parts.start()

    @cached_property
    def _services(self) -> Services:
        return self._parts.services

    @cached_property
    def _scopes(self) -> Scopes:
        return self._parts.scopes

    # What users call

    @property
    def number(self) -> int:
        """What events call it; no other connection of this process has the same."""
        return self._session.number

    @property
    def attestation(self) -> Attestation:
        """What is proven about the peer, and who it is as far as the policy knows."""
        return self._session.attestation

    @property
    def limits(self) -> Limits:
        """The bounds that hold for the peer."""
        return self._session.limits

    @property
    def peer_name(self) -> str:
        """What the peer calls itself; proves nothing. Empty until the handshake is done."""
        return self._session.peer_name

    @property
    def peer_auth(self) -> Any:
        """What the peer's hello carried for the policy, unverified."""
        return self._session.peer_auth

    @property
    def peer_instance(self) -> str:
        """Tells one life of the peer from the next: when it is another than before, what the peer knew is gone.

        Empty until the handshake is done, and when the peer does not say.
        """
        peer = self._session.engine.peer
        return "" if peer is None else peer.instance

    async def wait_ready(self) -> None:
        """Wait until the peer has said hello, and has admitted us as far as it asks who we are.

        Raises:
            Unavailable: the connection ended before; `handshake` and `retry="never"` when it is no peer to speak with.
            Unauthenticated: the peer does not admit us.
        """
        self._session.loop.check()
        await self._introduced()
        engine = self._session.engine
        cause = engine.lifecycle.cause
        if engine.peer is None and cause is not None and cause.kind == "violation" and cause.clause != NO_HELLO:
            raise Unavailable(f"no handshake ({cause})", reason="handshake", retry="never")
        await self.runtime().ping()  # which waits, as all calls do, until the peer knows whom it has to do with

    async def _introduced(self) -> None:
        """Wait until the peer has said hello, or never will."""
        engine = self._session.engine
        await self._parts.until(lambda: engine.peer is not None or engine.lifecycle.closed)

    async def wait_going(self) -> CloseCause:
        """Wait until it takes no new calls, because one side closes it or it is lost; returns the cause.

        Calls that have left may still be answered.
        """
        self._session.loop.check()
        lifecycle = self._session.engine.lifecycle
        await self._parts.until(lambda: lifecycle.cause is not None)
        assert lifecycle.cause is not None
        return lifecycle.cause

    def bootstrap(self, contract: TypeForm[C], /, *, wait: float | None = None, name: str | None = None) -> Call[C]:
        """A proxy of what the peer serves under a contract's name: await it, or `pipe` it to go on at once.

        Args:
            wait: seconds to wait for the name to be served; None fails at once when it is not. A peer that says
                nothing for so long, and twice `limits.policy_timeout` more, in which it may ask its policy, is not
                waited for any longer. Without `wait` it is, as for any call.
            name: the name it is served under, when that is not the contract's.

        Raises:
            NotFound, PermissionDenied, VersionMismatch, ResourceExhausted: the peer says no. DeadlineExceeded: it says
            nothing. Unavailable: the connection is closing.
        """
        spec = contract_spec(contract)
        name = name or spec.name
        arguments: dict[str, Any] = {"name": name, "version": spec.version, "needs": spec.shape}
        return self._ask(name, granting(cast("Any", contract)), arguments, wait)

    def bootstrap_untyped(self, name: str, /, *, wait: float | None = None) -> Call[Untyped]:
        """What the peer serves as `name`, without a contract here: its methods are called by name, with plain data.

            room = await connection.bootstrap_untyped("chat.Room")
            await room.call("post", text="hello")

        Args and errors are those of `bootstrap`; `describe` tells what can be called.
        """
        return self._ask(name, contract_spec(Bootstrap).methods["bootstrap"], {"name": name}, wait)

    def _ask(self, name: str, method: MethodSpec, arguments: dict[str, Any], wait: float | None) -> Call[Any]:
        if wait is not None:
            arguments["wait_ms"] = int(wait * 1000)
        session = self._session
        call = self._parts.calls.start(session.engine.imports.bootstrap, method, arguments)
        if wait is not None and not call.done:
            longest = wait + 2 * self.limits.policy_timeout
            call.expire_at(session.loop.now() + longest, f"no answer to a bootstrap in {longest:g} s")
        if session.bus.observed:
            call.when_done(lambda: session.publisher.bootstrap_answered(name, call.error))
        return call

    async def bootstrap_all(self, *contracts: type[Cap], wait: float | None = None) -> tuple[Any, ...]:
        """Proxies for several contracts, in their order, asked for at once: all of them, or none.

        When one fails, the first failure in the order of the arguments is raised and what the others got is given back.
        """
        calls = [self.bootstrap(contract, wait=wait) for contract in contracts]
        proxies: list[Any] = []
        failure: CapnetError | None = None
        try:
            for call in calls:
                try:
                    proxies.append(await call)
                except CapnetError as error:
                    failure = failure or error
            if failure is not None:
                raise failure
        except BaseException:
            for call in calls:
                call.cancel()
            for proxy in proxies:
                release(proxy)
            raise
        finally:
            failure = None
        return tuple(proxies)

    def open(
        self,
        metadata: Mapping[str, Any] | None = None,
        *,
        name: str = "",
        limits: Limits | None = None,
        policy: Policy | None = None,
        auth: Any = None,
    ) -> Inner[Connection]:
        """Open a virtual connection inside of this one: a connection like any other, to the same program or another.

            async with conn.open({"tenant": "blue"}) as blue:
                lobby = await blue.bootstrap(Lobby)

        `blue = await conn.open(...)` opens one that stays until it is closed, or this one is. It has names, a policy,
        limits and a hello of its own; what is proven about its peer is what is proven here, and `attestation.metadata`
        is what the peer has said when it accepted it.

        Args:
            metadata: plain data that the peer is told before it accepts, up to 4 KiB.
            name, limits, policy, auth: as for `connect`.

        Raises:
            Unimplemented: nobody there takes any. ResourceExhausted: `max_virtual_connections`, there are too many.
            FailedPrecondition: the peer knows of none. InvalidArgument: the metadata is no plain data, or too long.
            Unavailable: this connection is closing. Whatever else the peer refuses it with.
        """
        settings: dict[str, Any] = {"name": name, "limits": limits, "policy": policy, "auth": auth}

        async def opened() -> Connection:
            return _begun(self._session.loop, await self.open_transport(metadata), **settings)

        return Inner(opened)

    async def open_transport(self, metadata: Mapping[str, Any] | None = None) -> VirtualTransport:
        """The same for `Host.accept`: what a host serves is then served to the peer on it.

        Args and errors are those of `open`.
        """
        self._session.loop.check()
        await self._introduced()
        return await open_in(self._parts.inside, metadata)

    def runtime(self) -> Runtime:
        """The peer's runtime capability: ping, describe, stats. Needs no traffic; never has to be given back."""
        return runtime_of(self._parts.calls)

    async def ping(self) -> float:
        """Seconds that one ping and its pong took; answered by the peer's connection itself, before any handler.

        Raises:
            Unavailable: the connection closed. ResourceExhausted: `rate_limited`, pings followed each other too fast.
        """
        self._session.loop.check()
        started = self._session.loop.now()
        number = self._session.engine.keepalive.ping()
        waiter = self._parts.pings[number] = self._session.loop.waiter()
        self._session.driver.flush_soon()
        try:
            await waiter
        finally:
            self._parts.pings.pop(number, None)
        cause = self._session.engine.lifecycle.cause
        if self._session.over and cause is not None:
            raise cause.error()
        return self._session.loop.now() - started

    @property
    def process(self) -> Process | None:
        """The program at the other end, when it was started for this connection (`exec:`); there also after its end."""
        return self._session.driver.transport.process

    @property
    def closed(self) -> bool:
        """Whether everything of the connection has ended."""
        return self._session.over

    @property
    def close_cause(self) -> CloseCause | None:
        """Why it closed or is closing, None while it is open."""
        return self._session.engine.lifecycle.cause

    def on_close(self, callback: Callable[[CloseCause], object]) -> None:
        """Call `callback` once with the cause when everything has ended; soon, when that is so already."""
        self._session.loop.check()
        if self._session.over:
            self._session.loop.call_soon(lambda: self._parts.call_back(callback))
        else:
            self._parts.on_close.append(callback)

    async def wait_closed(self) -> CloseCause:
        """Wait until everything has ended; returns the cause."""
        self._session.loop.check()
        await self._parts.until(lambda: self._session.over)
        cause = self._session.engine.lifecycle.cause
        assert cause is not None
        return cause

    async def aclose(self, reason: str = "closed", *, grace: float = 1.0) -> None:
        """Close: say goaway, let what is in flight end, then end the rest. Any task may call it, also twice.

        Args:
            reason: told to the peer.
            grace: seconds that calls in flight have, both ways; 0 ends them at once.

        Returns when everything has ended; handlers and producers that do not end when they are cancelled are waited for
        no longer than 5 seconds, and told of as `HandlerFailed`. So is a program started for this connection:
        it has two seconds to exit, gets SIGTERM, and two seconds later SIGKILL. Cancelling the wait ends the grace. A
        handler of this connection, or a generator whose items it sends, cannot wait for its own end: there the close
        only begins, and goes on when that has returned or the grace is over.
        """
        await self._end(reason, grace)
        if self.process is not None and not self._parts.running_here:
            with move_on_after(STOP_TIMEOUT):  # it may be stuck in the system
                await self.process.wait()

    async def _end(self, reason: str, grace: float) -> None:
        """What `aclose` does, without the wait for a program: that goes by itself, also when nobody has time for it."""
        self._session.loop.check()
        try:
            await self._parts.end_scopes()
            with self._session.must_succeed:
                self._session.engine.close(reason, grace, self._session.loop.now())
            self._session.driver.drain()
            if not self._parts.running_here:
                await self.wait_closed()
        except self._session.loop.cancelled:
            with self._session.must_succeed:
                self._session.engine.close(reason, 0, self._session.loop.now())
            self._session.driver.drain()
            with CancelScope(shield=True), move_on_after(2):
                await self.wait_closed()
            raise

    async def explain(
        self, name: str, method: str | None = None, arguments: Mapping[str, Any] | None = None
    ) -> Explanation:
        """What the policy would say if the peer asked for a name now, and made a call on what it gets; nothing is done.

        Args:
            name: what it would ask for.
            method: what it would call, so that the policy's guard is asked too.
            arguments: of that call, by name.
        """
        self._session.loop.check()
        session = self._session
        return await explain(
            session.loop,
            session.faults,
            self._policy,
            self._names.admission(name, None, dry_run=True),
            self._names.find(name),
            method,
            arguments or {},
            session.limits.policy_timeout,
        )

    async def reconsider(self) -> list[str]:
        """Ask the policy again who the peer is, and about each name it was given: what is denied now is revoked.

        For when a policy has changed, or what it knows of the peer. A peer that is not admitted any more is sent away.

        Returns the names that were taken back.
        """
        self._session.loop.check()
        if not await self._parts.identification.ask():
            return []
        taken: list[str] = []
        for registration in tuple(self._names):
            if self._parts.follower.exports_of(registration, registration.hosted):
                denied = await self._names.ask_policy(registration.name, registration.spec.version)
                if denied is not None and self._names.find(registration.name) is registration:
                    self._parts.follower.registration_ended(registration, f"denied: {denied.reason}")
                    taken.append(registration.name)
        return taken

    def stats(self) -> dict[str, int]:
        """How much of each bounded thing there is now."""
        return self._parts.stats()

    def snapshot(self) -> dict[str, Any]:
        """Every table, as plain data."""
        return snapshot(self._session.engine)

    def __repr__(self) -> str:
        return f"<Connection {self.number} to {self.peer_name or 'peer'} {self._session.engine.lifecycle.state.value}>"


def _begun(loop: Loop, transport: VirtualTransport, **settings: Any) -> Connection:
    """One inside of another, recorded if that is; its transport is closed when that fails."""
    around = transport.around
    try:
        return Connection(loop, around.inside(transport) if isinstance(around, Tap) else transport, **settings)
    except BaseException:
        transport.abort()
        raise
