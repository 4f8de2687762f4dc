"""`Parts`: makes the parts of one connection, gives each what it uses, takes events to them, and ends them.

The only place that knows them all. An event of the engine goes to the part whose matter it is, through one table at the
end of this file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Any, Final, cast

from anyio import Event as Signal

from capnet.calls.call import Call
from capnet.calls.outgoing import Calls, call_failed
from capnet.contract import Cap, contract_spec
from capnet.dispatch.dispatcher import Dispatcher
from capnet.dispatch.handlers import Handlers
from capnet.dispatch.operations import Operations
from capnet.dispatch.watched import WatchedHandlers
from capnet.engine import events as engine_events
from capnet.engine.engine import Engine
from capnet.engine.inspect import stats
from capnet.engine.ledger import Ledger, ledger_in
from capnet.engine.lifecycle import CloseCause
from capnet.errors import EXITS
from capnet.forwarding.forwarder import Forwarders, goes_straight_on
from capnet.limits import Limits
from capnet.loop import Loop, TimerHandle, Waiter
from capnet.observe import Bus
from capnet.policy.guard import Guard
from capnet.policy.identification import Identification
from capnet.policy.policy import Policy, hook_of
from capnet.references.payload import Payloads
from capnet.registry import Hosted, Registry
from capnet.revocation.lineage import Lineage
from capnet.serving.bootstrap import Bootstrap, BootstrapDispatcher
from capnet.serving.close_hooks import CloseHooks
from capnet.serving.names import Names
from capnet.serving.runtime import Runtime, RuntimeService
from capnet.serving.scope import Scopes
from capnet.serving.services import Services
from capnet.session.capacity import Capacity
from capnet.session.cleanup import Cleanup
from capnet.session.disclosure import is_ours
from capnet.session.driver import Driver
from capnet.session.fair_share import FIRST_TURNS, FairShare
from capnet.session.faults import Faults
from capnet.session.held import Held
from capnet.session.publisher import Publisher
from capnet.session.session import Session
from capnet.session.watchdog import Watchdog
from capnet.streams.flow import Streams
from capnet.streams.pump import Pumps
from capnet.transport import Transport
from capnet.virtual.inside import Inside
from capnet.virtual.opening import decide
from capnet.wire.hello import OPERATIONS, VIRTUAL, Hello

from .follower import Follower

__all__ = ["STOP_TIMEOUT", "Parts"]

STOP_TIMEOUT: Final = 5.0
"""Seconds that handlers and producers have to end once they are cancelled, and a program that was started for the
connection after that; who closes waits for them no longer."""

_numbers: Final = count(1)


class Parts:
    """Those of one connection. See `Connection` for what it is given.

    Args:
        owner: what users hold.
        connect: makes another on a transport.
    """

    __slots__ = (
        "__weakref__",
        "_connect",
        "_inside",
        "_patience",
        "calls",
        "capacity",
        "cleanup",
        "dispatcher",
        "follower",
        "going",
        "forwarders",
        "held",
        "identification",
        "lineage",
        "names",
        "on_close",
        "over",
        "pings",
        "pumps",
        "ready",
        "scopes",
        "services",
        "session",
        "taken_back",
        "watchdog",
        "within",
    )

    def __init__(
        self,
        owner: object,
        connect: Callable[..., object],
        loop: Loop,
        transport: Transport,
        name: str,
        limits: Limits,
        policy: Policy | None,
        auth: Any,
        instance: str,
        names: Registry | None,
        bus: Bus | None,
        hooks: CloseHooks | None,
        capacity: Capacity | None,
        development: bool,
        operations: Operations | None,
    ) -> None:
        self.within = within = transport.within if isinstance(transport.within, Inside) else None
        """Of the connection that carries this one, if that is a virtual one."""
        self._inside: Inside | None = None
        self._connect = connect
        if within is not None:
            bus = bus or within.session.bus
        whole = _whole(within, capacity)
        unheard = ledger_in(whole, 0)

        publisher = Publisher(Bus(bus, loop, unheard), next(_numbers), loop)
        features = (VIRTUAL,) if operations is None else (VIRTUAL, OPERATIONS)
        hello = Hello(name, limits, features, auth, instance=instance)
        engine = Engine(hello, loop.now(), bootstrap=_BOOTSTRAP, runtime=_RUNTIME, whole=whole)
        faults = Faults(publisher.bus, publisher.publish)
        self.session = session = Session(
            loop, engine, transport.attestation, publisher, faults, unheard, development=development
        )
        session.confides = development and within is None and is_ours(transport.attestation)
        self.watchdog = Watchdog.begin(self, loop) if development else None
        self.capacity = capacity
        self.pings: dict[int, Waiter] = {}
        """Of ours that have not come back."""
        self.on_close: list[Callable[[CloseCause], object]] = []
        """Told of the end."""
        self.taken_back = 0
        """Capabilities of ours that the peer held until it was over, or until we wanted them back."""
        self.over: Signal | None = None
        """Set at the end, if somebody waits for that."""
        self.going: Signal | None = None
        """Set when new calls cannot start any more, if somebody waits for that."""
        self.ready: Signal | None = None
        """Set when the handshake is done or never will be, if somebody waits for that."""
        self._patience: TimerHandle | None = None
        """Until handlers that do not end are waited for no longer."""
        self.held = Held(session)
        self.calls = Calls(session, self.held)
        self.lineage = Lineage(session)
        self.pumps = Pumps(session)
        streams = Streams(session, self.held)
        payloads = Payloads(session, self.calls, streams, self.pumps, self.lineage)
        self.calls.payloads = streams.payloads = payloads
        self.held.passing = self.forwarders = Forwarders(self.calls, self.lineage)
        hook = hook_of(policy, "guard")
        guard = None if hook is None else Guard(session, hook)
        session.guarded = guard is not None
        if self.watchdog is None:
            handlers = Handlers(session, payloads, self.lineage, guard, operations)
        else:
            handlers = WatchedHandlers(session, payloads, self.lineage, guard, operations, self.watchdog)
        self.dispatcher: Dispatcher = Dispatcher(session, handlers, self.forwarders, guard)
        self.follower = Follower(session, self.lineage, self.dispatcher, self.pumps)
        self.services = Services(
            publisher.bus,
            publisher.publish,
            faults,
            hooks or CloseHooks(),
            self.follower.end_calls_on,
            self.follower.is_handling,
        )
        self.services.loop = loop
        self.scopes = Scopes(self.services)
        registries = (self.services.registry,) if names is None else (self.services.registry, names)
        self.names = Names(session, registries, policy, self.pumps.id_of, self.stats, capacity)
        self.identification = Identification(session, policy, self.dispatcher)
        self.cleanup: Cleanup = Cleanup(session, self, _CLEANED_UP)
        session.owner = owner
        session.close_hosted = self.services.close_hosted
        session.part_ended = self.finish_if_over
        session.driver = Driver(
            loop,
            engine,
            transport,
            held=self.held,
            cleanup=self.cleanup,
            share=_share_of(within, capacity),
            owner=session,
            target=self,
            handlers=_HANDLERS,
        )
        if within is not None:
            within.begun(session)
        if capacity is not None:
            capacity.begun(session)
        for registry in registries:
            registry.subscribe(self.follower)

    @property
    def keeps_answers(self) -> bool:
        """Whether the peer keeps the answers of calls with an id."""
        peer = self.session.engine.peer
        return peer is not None and OPERATIONS in peer.features

    def stats(self) -> dict[str, int]:
        """How much of each bounded thing there is now."""
        return {
            **stats(self.session.engine),
            "backlog": self.session.driver.transport.backlog,
            "names": len(self.services.registry),
            "taken_back": self.taken_back,
            **self.session.bus.stats(),
        }

    @property
    def inside(self) -> Inside:
        """What this connection knows of those inside of it."""
        if self._inside is None:
            self._inside = Inside(self.session, _whole(self.within, self.capacity))
        return self._inside

    # Events of the engine

    def channel_opened(self, event: engine_events.ChannelOpened) -> None:
        """The peer opens a connection inside of this one."""
        handlers = [registry.opener for registry in self.names.registries]
        decide(self.inside, event.channel, handlers, self.identification.known, self._connect)

    def call_follows(self, event: engine_events.CallFollows) -> None:
        """A call is made on what will come of one that was passed on."""
        passed: Call[Any] = event.source.forwarded
        if goes_straight_on(self.session, passed.caller.session):
            self.session.engine.answering.forward(event.source, passed)

    def exports_ended(self, events: Iterable[engine_events.ExportEnded]) -> None:
        """The peer holds capabilities of ours no longer."""
        for event in events:
            self.taken_back += event.reason != "dropped"
            if self.session.bus.observed:
                self.session.publisher.export_ended(event.export, event.reason)
            self.lineage.ended(event.export)

    def imports_broken(self, events: Iterable[engine_events.ImportBroken]) -> None:
        """Capabilities of the peer's answer nothing any more."""
        for event in events:
            self.session.publisher.import_broken(event.imported, event.error)
            self.held.broken(event.imported, event.error)

    def imports_replaced(self, events: Iterable[engine_events.ImportReplaced]) -> None:
        """The peer put new implementations behind capabilities that we hold, and may have passed on."""
        imports = [event.imported for event in events]
        for imported in imports:
            self.session.publisher.import_replaced(imported)
        self.forwarders.replaced(imports)

    def stream_changed(self, event: engine_events.StreamChanged) -> None:
        """There are items, there is room for some, or it has ended."""
        publisher = self.session.publisher
        if publisher.streams:
            publisher.stream_changed(event.stream)
        event.stream.token.changed(event.stream)

    def peer_introduced(self, event: engine_events.PeerIntroduced) -> None:
        """The handshake is done."""
        publisher = self.session.publisher
        publisher.opened(self.session.attestation.transport, event.version)
        self.identification.begin()
        self._say_ready()

    def pong_received(self, event: engine_events.PongReceived) -> None:
        """A ping of ours came back."""
        waiter = self.pings.get(event.number)
        if waiter is not None:
            self.session.loop.wake(waiter)

    def limit_reached(self, event: engine_events.LimitReached) -> None:
        """The peer ran into a limit, or found no room because of others."""
        self.session.publisher.limit_hit(event.reason)
        if event.reason == "max_host_charge" and self.capacity is not None:
            self.capacity.relieve(self.session)

    def engine_closed(self, event: engine_events.Closed) -> None:
        """Nothing more will happen: end what is ours."""
        session = self.session
        session.publisher.closing(event.cause)
        self._say_ready()
        self._say_going()
        for registry in self.names.registries:
            registry.unsubscribe(self.follower)
        self.scopes.end()
        self.services.end_all("the connection closed")
        self.identification.stop()
        self.dispatcher.stop()
        self.pumps.let_in()
        if not (self.dispatcher.stopped and self.pumps.stopped):
            self._patience = session.loop.call_at(session.loop.now() + STOP_TIMEOUT, self._leave_behind)

    def draining(self, _: object) -> None:
        """Nothing new starts: the engine refuses it."""
        self.inside.draining()
        self._say_going()

    def _say_ready(self) -> None:
        if self.ready is not None:
            self.ready.set()

    def _say_going(self) -> None:
        if self.going is not None:
            self.going.set()

    # The end

    @property
    def running_here(self) -> bool:
        """Whether a handler asks, or a stream: something that the connection waits for at its end."""
        return self.dispatcher.running_here is not None or self.pumps.running_here

    def _leave_behind(self) -> None:
        """Handlers and producers that do not end, whatever they wait for, hold nobody up."""
        for left in (*self.dispatcher.leave_behind(), *self.pumps.leave_behind()):
            error = TimeoutError(f"it was cancelled, and has not ended within {STOP_TIMEOUT:g} s: it is left behind")
            self.session.faults.unexpected(left, error)
        self.finish_if_over()

    def finish_if_over(self) -> None:
        """When the transport has closed and no handler is left, everything has ended: say so, once."""
        session = self.session
        if session.over or not (session.driver.transport_closed and self.dispatcher.stopped and self.pumps.stopped):
            return
        if self.cleanup.due or self._inside:
            return
        session.over = True
        if self._patience is not None:
            self._patience.cancel()
        cause = session.engine.lifecycle.cause
        assert cause is not None
        for waiter in tuple(self.pings.values()):
            session.loop.wake(waiter)
        session.publisher.closed(cause)
        if self.watchdog is not None:
            self.watchdog.end(self)
        session.unheard.clear()
        if self.capacity is not None:
            self.capacity.ended(session)
        if self.within is not None:
            self.within.ended(session)
        self.calls.dependent.end(cause)
        for callback in self.on_close:
            self.call_back(callback)
        self.on_close.clear()
        if self.over is not None:
            self.over.set()

    def call_back(self, callback: Callable[[CloseCause], object]) -> None:
        """Tell somebody of the end."""
        try:
            callback(cast("CloseCause", self.session.engine.lifecycle.cause))
        except EXITS:
            raise
        except BaseException as error:
            self.session.faults.unexpected("on_close callback", error)


def _whole(within: Inside | None, capacity: Capacity | None) -> Ledger | None:
    """What counts what this connection holds for others as well."""
    if within is not None:
        return within.budget
    return None if capacity is None else capacity.ledger


def _share_of(within: Inside | None, capacity: Capacity | None) -> FairShare | None:
    """A peer has one share, with all that it has inside of its connection."""
    if within is not None and within.session.driver.share is not None:
        return within.session.driver.share
    return None if capacity is None else FairShare(capacity.shares, first=FIRST_TURNS)


def _builtin(implementation: Cap, contract: type[Cap]) -> Hosted:
    hosted = Hosted.of(implementation)
    hosted.expose(contract_spec(contract))
    hosted.hold()
    return hosted


_BOOTSTRAP: Final = _builtin(BootstrapDispatcher(), Bootstrap)
_RUNTIME: Final = _builtin(RuntimeService(), Runtime)
_CLEANED_UP: Final[dict[type, Callable[[Parts, Sequence[Any]], None]]] = {
    engine_events.ExportEnded: Parts.exports_ended,
    engine_events.ImportBroken: Parts.imports_broken,
    engine_events.ImportReplaced: Parts.imports_replaced,
}
_HANDLERS: Final[dict[type, Callable[[Parts, Any], None]]] = {
    engine_events.CallArrived: Dispatcher.arrived,
    engine_events.CallReturned: Calls.returned,
    engine_events.CallFailed: call_failed,
    engine_events.CallFollows: Parts.call_follows,
    engine_events.AnswerEnded: lambda self, event: self.dispatcher.end(event.answer),
    engine_events.ExportEnded: Cleanup.see_to,
    engine_events.ImportBroken: Cleanup.see_to,
    engine_events.ImportReplaced: Cleanup.see_to,
    engine_events.StreamChanged: Parts.stream_changed,
    engine_events.ChannelOpened: Parts.channel_opened,
    engine_events.ChannelChanged: lambda self, event: event.channel.token.changed(),
    engine_events.PeerIntroduced: Parts.peer_introduced,
    engine_events.PongReceived: Parts.pong_received,
    engine_events.LimitReached: Parts.limit_reached,
    engine_events.Draining: Parts.draining,
    engine_events.Closed: Parts.engine_closed,
}
