"""`Connection`: one live link to a peer, symmetric. Both ends serve, bootstrap and call.

It wires the parts together and holds no protocol rules: the engine has those. What users ask goes to the part that does
it; what the engine tells comes in through one table at the end of this file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, Final, TypeVar, cast

from anyio import CancelScope, move_on_after
from anyio import Event as Signal
from typing_extensions import TypeForm

from capnet.contract import Cap, contract_spec
from capnet.engine import events as engine_events
from capnet.engine.answers import AnswerState
from capnet.engine.engine import Engine
from capnet.engine.exports import Export
from capnet.engine.inspect import snapshot, stats
from capnet.engine.ledger import Ledger
from capnet.engine.lifecycle import CloseCause
from capnet.errors import EXITS, CapnetError
from capnet.limits import Limits
from capnet.observe import Bus, Event
from capnet.registry import Fallback, Hosted, Registration, Registry
from capnet.transport import Attestation, Process, Transport
from capnet.wire.hello import Hello
from capnet.wire.references import Reference as WireReference

from .aftermath import Aftermath
from .bootstrap import Bootstrap, BootstrapDispatcher, ask_policy, granting
from .call import Call
from .caller import call_failed, call_returned, cancel_call, send_deferred, start_call
from .capacity import Capacity
from .contained import Contained
from .deferring import Deferring
from .dispatch import Dispatcher
from .driver import Driver
from .forward import Forwarders, goes_straight_on
from .guarding import Guarding
from .holdings import Holdings
from .identifying import Identifying
from .lineage import Granted, fall_at_birth, handling, take_back, with_descendants
from .loop import Loop, TimerHandle
from .moving import Streams
from .payload import Payloads
from .policy import Admission, Explanation, Policy, explain, hook_of
from .proxy import Reference, make_proxy, release
from .reports import Reports
from .runtime import Runtime, RuntimeService
from .serving import CloseHooks, Serving

__all__ = ["Connection"]

STOP_TIMEOUT: Final = 5.0
"""Seconds that handlers and producers have to end once they are cancelled; who closes waits for them no longer."""

C = TypeVar("C")
_numbers: Final = count(1)


class Connection(Serving):
    """One connection, made by `connect` or by a `Host`.

    Attributes:
        attestation: what is proven about the peer.
        limits: the bounds that hold for it.
    """

    def __init__(
        self,
        loop: Loop,
        transport: Transport,
        *,
        name: str = "",
        limits: Limits | None = None,
        policy: Policy | None = None,
        auth: Any = None,
        names: Registry | None = None,
        bus: Bus | None = None,
        hooks: CloseHooks | None = None,
        capacity: Capacity | None = None,
    ) -> None:
        self.loop = loop
        self.limits = limits or Limits()
        self.policy = policy
        self.attestation: Attestation = transport.attestation
        self.number = next(_numbers)
        self.pending_bootstraps = 0
        """Bootstraps of the peer that wait for the policy or for a name."""
        whole = None if capacity is None else capacity.ledger
        self.unheard = Ledger(0, whole)
        """What its events take up that wait for those who observe it."""
        super().__init__(Bus(bus, loop, self.unheard), hooks)
        self._registries = (self.registry,) if names is None else (self.registry, names)
        self._pings: dict[int, Any] = {}
        self._on_close: list[Callable[[CloseCause], object]] = []
        self._closed: Signal | None = None
        self._patience: TimerHandle | None = None
        """Until handlers that do not end are waited for no longer."""
        self._over = False
        self.engine = Engine(
            Hello(name, self.limits, auth=auth),
            loop.now(),
            bootstrap=_BOOTSTRAP,
            runtime=_RUNTIME,
            whole=whole,
        )
        self.capacity = capacity
        self.reports: Reports = Reports(self.bus, self.number, lambda: self.attestation.principal, loop)
        self.payloads: Payloads = Payloads(self)
        self.aftermath: Aftermath = Aftermath(self, _ACTS)
        self.contained = Contained(self)
        self.holdings: Holdings = Holdings(self)
        self.forwarders: Forwarders = Forwarders(self)
        self.deferring: Deferring = Deferring(send_deferred)
        self.streams: Streams = Streams(self)
        guard = hook_of(policy, "guard")
        self.dispatcher: Dispatcher = Dispatcher(self, None if guard is None else Guarding(self, guard))
        self.identifying = Identifying(self)
        self.driver = Driver(self, transport, _HANDLERS)
        for registry in self._registries:
            registry.subscribe(self)
        self.driver.start()

    # What users call

    @property
    def peer_name(self) -> str:
        """What the peer calls itself; proves nothing. Empty until the handshake is done."""
        return self.engine.peer.name if self.engine.peer is not None else ""

    @property
    def peer_auth(self) -> Any:
        """What the peer's hello carried for the policy, unverified."""
        return self.engine.peer.auth if self.engine.peer is not None else None

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
        arguments: dict[str, Any] = {"name": name or spec.name, "version": spec.version, "needs": spec.shape}
        if wait is not None:
            arguments["wait_ms"] = int(wait * 1000)
        call = start_call(self, self.engine.imports.bootstrap, granting(cast("Any", contract)), arguments)
        if wait is not None and not call.done:
            longest = wait + 2 * self.limits.policy_timeout
            call.expire_at(self.loop.now() + longest, f"no answer to a bootstrap in {longest:g} s")
        if self.bus.observed:
            self.reports.bootstrap_left(call, arguments["name"])
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

    def runtime(self) -> Runtime:
        """The peer's runtime capability: ping, describe, stats. Needs no traffic; never has to be given back."""
        return cast("Runtime", make_proxy(Reference(self, self.engine.imports.runtime), Runtime))

    async def ping(self) -> float:
        """Seconds that one ping and its pong took; answered by the peer's connection itself, before any handler.

        Raises:
            Unavailable: the connection closed. ResourceExhausted: `rate_limited`, pings followed each other too fast.
        """
        self.loop.check()
        started = self.loop.now()
        number = self.engine.ping()
        waiter = self._pings[number] = self.loop.waiter()
        self.driver.flush_soon()
        try:
            await waiter
        finally:
            self._pings.pop(number, None)
        cause = self.engine.lifecycle.cause
        if self._over and cause is not None:
            raise cause.error()
        return self.loop.now() - started

    @property
    def process(self) -> Process | None:
        """The program at the other end, when it was started for this connection (`exec:`); there also after its end."""
        return self.driver.transport.process

    @property
    def closed(self) -> bool:
        """Whether everything of the connection has ended."""
        return self._over

    @property
    def charge(self) -> int:
        """What its peer takes up here."""
        return self.engine.charge + self.unheard.used

    @property
    def close_cause(self) -> CloseCause | None:
        """Why it closed or is closing, None while it is open."""
        return self.engine.lifecycle.cause

    def on_close(self, callback: Callable[[CloseCause], object]) -> None:
        """Call `callback` once with the cause when everything has ended; soon, when that is so already."""
        self.loop.check()
        if self._over:
            self.loop.call_soon(lambda: self._call_back(callback))
        else:
            self._on_close.append(callback)

    async def wait_closed(self) -> CloseCause:
        """Wait until everything has ended; returns the cause."""
        self.loop.check()
        if not self._over:
            self._closed = self._closed or Signal()
            await self._closed.wait()
        cause = self.engine.lifecycle.cause
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
        handler of this connection cannot wait for its own end: there the close only begins, and goes on when the
        handler has returned or the grace is over.
        """
        await self.end(reason, grace)
        if self.process is not None and self.dispatcher.running_here is None:
            with move_on_after(STOP_TIMEOUT):  # it may be stuck in the system
                await self.process.wait()

    async def end(self, reason: str, grace: float) -> None:
        """What `aclose` does, without the wait for a program: that goes by itself, also when nobody has time for it."""
        self.loop.check()
        try:
            await self.scopes.aclose()
            with self.contained:
                self.engine.close(reason, grace, self.loop.now())
            self.driver.drain()
            if self.dispatcher.running_here is None:
                await self.wait_closed()
        except self.loop.cancelled:
            with self.contained:
                self.engine.close(reason, 0, self.loop.now())
            self.driver.drain()
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
        self.loop.check()
        return await explain(
            self,
            self.policy,
            Admission(name, None, self.attestation, self.peer_auth, self.peer_name, True),
            self.find_served(name),
            method,
            arguments or {},
            self.limits.policy_timeout,
        )

    async def reconsider(self) -> list[str]:
        """Ask the policy again who the peer is, and about each name it was given: what is denied now is revoked.

        For when a policy has changed, or what it knows of the peer. A peer that is not admitted any more is sent away.

        Returns the names that were taken back.
        """
        self.loop.check()
        if not await self.identifying.ask():
            return []
        taken: list[str] = []
        for registration in tuple(self.all_served()):
            if self._exports_of(registration, registration.hosted):
                denied = await ask_policy(self, registration.name, registration.spec.version)
                if denied is not None and self.find_served(registration.name) is registration:
                    self.registration_ended(registration, f"denied: {denied.reason}")
                    taken.append(registration.name)
        return taken

    def stats(self) -> dict[str, int]:
        """How much of each bounded thing there is now."""
        return {
            **stats(self.engine),
            "backlog": self.driver.transport.backlog,
            "names": len(self.registry),
            **self.bus.stats(),
        }

    def snapshot(self) -> dict[str, Any]:
        """Every table, as plain data."""
        return snapshot(self.engine)

    def __repr__(self) -> str:
        return f"<Connection {self.number} to {self.peer_name or 'peer'} {self.engine.lifecycle.state.value}>"

    # For the parts of the connection

    def find_served(self, name: str) -> Registration | None:
        """What a peer gets for a name: the connection's own registration first, then the host's."""
        for registry in self._registries:
            registration = registry.find(name)
            if registration is not None:
                return registration
        return None

    def all_served(self) -> Iterator[Registration]:
        """Every registration the peer could ask for, each name once."""
        names: set[str] = set()
        for registry in self._registries:
            for registration in tuple(registry):
                if registration.name not in names:
                    names.add(registration.name)
                    yield registration

    def all_fallbacks(self) -> list[Fallback]:
        """Who is asked for a name that is not served: the connection's own handlers first, then the host's."""
        return [fallback for registry in self._registries for fallback in registry.fallbacks]

    def when_served(self, name: str, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake` when the name begins to be served. Returns a function that ends it."""
        waiting = [registry.when_served(name, wake) for registry in self._registries]

        def forget() -> None:
            for end in waiting:
                end()

        return forget

    async def wait_served(self, name: str, seconds: float) -> None:
        """Until the name is served, or the time is over."""
        served = Signal()
        forget = self.when_served(name, served.set)
        try:
            with move_on_after(seconds):
                await served.wait()
        finally:
            forget()

    def strike(self, reason: str) -> None:
        """The peer ran into a limit that is kept here."""
        self.engine.strike(reason)
        self.driver.handle_events()

    def cancel_call(self, call: Call[Any], reason: str, error: CapnetError | None = None) -> None:
        """Give up on a call of ours; it ends with `error`, or as cancelled."""
        cancel_call(self, call, reason, error)

    def exports_queued(self, references: Sequence[WireReference]) -> None:
        """A call or an item with references is on its way."""
        self.results_queued(references, None, handling.get())

    def results_queued(
        self, references: Sequence[WireReference], hosted: Hosted | None, parent: Granted | None
    ) -> None:
        """A frame with references is on its way.

        Args:
            hosted: the implementation that hands out the streams in it; it stays open for them.
            parent: what it all came of.
        """
        self.reports.exported(self.payloads.queued(references, parent))
        self.streams.begin(references, hosted, parent)
        if parent is not None and parent.fallen is not None:
            fall_at_birth(self.payloads.granted_in(references), parent.fallen)

    def crash(self, error: Exception) -> None:
        """A fault of capnet itself: end this connection, and no other."""
        internal = self.unexpected("dispatch", error)
        self.engine.finish(CloseCause("lost", f"internal error {internal.details['correlation']}"))
        self.driver.drain()

    def end_calls_on(self, hosted: Hosted, error: CapnetError) -> tuple[int, int]:
        """See `Serving`."""
        calls = 0
        own = self.dispatcher.running_here
        for answer in list(self.engine.answers):
            handled: Hosted | None = self.dispatcher.hosted_of(answer)
            stays = (own is not None and answer.handler is own) or self._leads_to(answer.export, hosted)
            if handled is hosted and answer.state is AnswerState.RUNNING and not stays:
                with self.contained:
                    self.engine.answering.end_answer(answer, error.again())
                calls += 1
        streams = self.streams.cut(hosted, error, lambda export: self._leads_to(export, hosted))
        self.driver.drain()
        return calls, streams

    def is_handling(self, hosted: Hosted) -> bool:
        """See `Serving`."""
        own = self.dispatcher.running_here
        return own is not None and own.hosted is hosted

    def _leads_to(self, export: Export | None, hosted: Hosted) -> bool:
        """Whether new calls on an export go to this implementation."""
        return export is not None and export.subject is hosted and self.engine.exports.live(export)

    # Subscriber of the registries

    def registration_replaced(self, registration: Registration, old: Hosted) -> None:
        """What was bootstrapped from it answers with the new implementation."""
        exports = self._exports_of(registration, old)
        granted = self._granted_from(old, registration.spec.name)
        self.engine.replace(exports, registration.hosted, registration.generation)
        self.payloads.replaced(exports, registration.hosted)
        for one in granted:
            if not one.live:
                one.move(registration.hosted)
        if old.turns is not None:
            old.turns.dissolve()  # calls that wait for their turn go to the new one
        self.driver.drain()

    def registration_ended(self, registration: Registration, reason: str) -> None:
        """What was bootstrapped from it is revoked, and what came of that, here and elsewhere."""
        hosted, name = registration.hosted, registration.spec.name
        take_back(with_descendants(self._granted_from(hosted, name)), reason)

    def _granted_from(self, hosted: Hosted, name: str) -> list[Granted]:
        """What this connection's peer, or one that is gone, was given of an implementation under a contract."""
        granted: list[Granted] = []
        for one in hosted.granted:
            connection = one.connection_ref()
            if one.interface == name and (connection is None or connection is self or connection.closed):
                granted.append(one)
        return granted

    def _exports_of(self, registration: Registration, hosted: Hosted) -> list[Export]:
        name = registration.spec.name
        return [export for export in self.engine.exports_of(hosted) if export.interface == name]

    # Events of the engine

    def call_follows(self, event: engine_events.CallFollows) -> None:
        """A call is made on what will come of one that was passed on."""
        passed: Call[Any] = event.source.forwarded
        if goes_straight_on(self, passed.connection):
            self.engine.answering.forward(event.source, passed)

    def exports_ended(self, events: Iterable[engine_events.ExportEnded]) -> None:
        """The peer holds capabilities of ours no longer."""
        for event in events:
            self.reports.export_ended(event.export, event.reason)
            self.payloads.ended(event.export)

    def imports_broken(self, events: Iterable[engine_events.ImportBroken]) -> None:
        """Capabilities of the peer's answer nothing any more."""
        for event in events:
            self.reports.import_broken(event.imported, event.error)
            self.holdings.broken(event.imported, event.error)

    def imports_replaced(self, events: Iterable[engine_events.ImportReplaced]) -> None:
        """The peer put new implementations behind capabilities that we hold, and may have passed on."""
        imports = [event.imported for event in events]
        for imported in imports:
            self.reports.import_replaced(imported)
        self.forwarders.replaced(imports)

    def stream_changed(self, event: engine_events.StreamChanged) -> None:
        """There are items, there is room for some, or it has ended."""
        if self.reports.streams:
            self.reports.stream_changed(event.stream)
        event.stream.token.changed(event.stream)

    def peer_introduced(self, event: engine_events.PeerIntroduced) -> None:
        """The handshake is done."""
        self.reports.peer_name = event.hello.name
        self.reports.opened(self.attestation.transport, event.version)
        self.identifying.begin()

    def pong_received(self, event: engine_events.PongReceived) -> None:
        """A ping of ours came back."""
        waiter = self._pings.get(event.number)
        if waiter is not None:
            self.loop.wake(waiter)

    def limit_reached(self, event: engine_events.LimitReached) -> None:
        """The peer ran into a limit, or found no room because of others."""
        self.reports.limit_hit(event.reason)
        if event.reason == "max_host_charge" and self.capacity is not None:
            self.capacity.relieve(self)

    def engine_closed(self, event: engine_events.Closed) -> None:
        """Nothing more will happen: end what is ours."""
        self.reports.closing(event.cause)
        for registry in self._registries:
            registry.unsubscribe(self)
        self.scopes.end()
        self._end_all(self.registry, "the connection closed")
        self.identifying.stop()
        self.dispatcher.stop()
        if not (self.dispatcher.stopped and self.streams.stopped):
            self._patience = self.loop.call_at(self.loop.now() + STOP_TIMEOUT, self._leave_behind)

    # The end

    def _leave_behind(self) -> None:
        """Handlers and producers that do not end, whatever they wait for, hold nobody up."""
        for left in (*self.dispatcher.leave_behind(), *self.streams.leave_behind()):
            error = TimeoutError(f"it was cancelled, and has not ended within {STOP_TIMEOUT:g} s: it is left behind")
            self.unexpected(left, error)
        self.finish_if_over()

    def finish_if_over(self) -> None:
        """When the transport has closed and no handler is left, everything has ended: say so, once."""
        if self._over or not (self.driver.transport_closed and self.dispatcher.stopped and self.streams.stopped):
            return
        if self.aftermath.due:
            return
        self._over = True
        if self._patience is not None:
            self._patience.cancel()
        cause = self.engine.lifecycle.cause
        assert cause is not None
        for waiter in tuple(self._pings.values()):
            self.loop.wake(waiter)
        self.reports.closed(cause)
        self.unheard.clear()
        for callback in self._on_close:
            self._call_back(callback)
        self._on_close.clear()
        if self._closed is not None:
            self._closed.set()

    def _call_back(self, callback: Callable[[CloseCause], object]) -> None:
        try:
            callback(cast("CloseCause", self.engine.lifecycle.cause))
        except EXITS:
            raise
        except BaseException as error:
            self.unexpected("on_close callback", error)

    def _publish(self, kind: type[Event], **fields: object) -> None:
        self.reports.publish(kind, **fields)


def _see_to(connection: Connection, event: Any) -> None:
    connection.aftermath.see_to(event)


def _builtin(implementation: Cap, contract: type[Cap]) -> Hosted:
    hosted = Hosted.of(implementation)
    hosted.expose(contract_spec(contract))
    hosted.hold()
    return hosted


_BOOTSTRAP: Final = _builtin(BootstrapDispatcher(), Bootstrap)
_RUNTIME: Final = _builtin(RuntimeService(), Runtime)
_ACTS: Final[dict[type, Callable[[Connection, Sequence[Any]], None]]] = {
    engine_events.ExportEnded: Connection.exports_ended,
    engine_events.ImportBroken: Connection.imports_broken,
    engine_events.ImportReplaced: Connection.imports_replaced,
}
_HANDLERS: Final[dict[type, Callable[[Connection, Any], None]]] = {
    engine_events.CallArrived: lambda self, event: self.dispatcher.put(event.answer),
    engine_events.CallReturned: call_returned,
    engine_events.CallFailed: call_failed,
    engine_events.CallFollows: Connection.call_follows,
    engine_events.AnswerEnded: lambda self, event: self.dispatcher.end(event.answer),
    engine_events.ExportEnded: _see_to,
    engine_events.ImportBroken: _see_to,
    engine_events.ImportReplaced: _see_to,
    engine_events.StreamChanged: Connection.stream_changed,
    engine_events.PeerIntroduced: Connection.peer_introduced,
    engine_events.PongReceived: Connection.pong_received,
    engine_events.LimitReached: Connection.limit_reached,
    engine_events.Draining: lambda self, event: None,  # nothing new starts: the engine refuses it
    engine_events.Closed: Connection.engine_closed,
}
