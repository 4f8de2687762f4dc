"""`Parts`: makes the parts of one connection, gives each what it uses, takes events to them, and ends them.

The only place that knows them all. An event of the engine goes to the part whose matter it is, through one table at the
end of this file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, cast

from capnet.calls.call import Call
from capnet.calls.outgoing import Calls, call_failed
from capnet.dispatch.dispatcher import Dispatcher
from capnet.dispatch.handlers import Handlers
from capnet.dispatch.operations import Operations
from capnet.dispatch.watched import WatchedHandlers
from capnet.engine import events as engine_events
from capnet.engine.inspect import stats
from capnet.engine.lifecycle import CloseCause
from capnet.errors import EXITS
from capnet.forwarding.forwarder import Forwarders, goes_straight_on
from capnet.loop import Loop, TimerHandle, Waiter
from capnet.observe import Bus
from capnet.policy.guard import Guard
from capnet.policy.identification import Identification
from capnet.policy.policy import Policy, hook_of
from capnet.references.payload import Payloads
from capnet.registry import Hosted, Registry
from capnet.revocation.lineage import Lineage
from capnet.serving.close_hooks import CloseHooks
from capnet.serving.names import Names
from capnet.serving.scope import Scopes
from capnet.serving.services import Services
from capnet.session.capacity import Capacity
from capnet.session.cleanup import Cleanup
from capnet.session.driver import Driver
from capnet.session.held import Held
from capnet.session.watchdog import Watchdog
from capnet.streams.flow import Streams
from capnet.streams.pump import Pumps
from capnet.transport import Transport
from capnet.virtual.inside import Inside
from capnet.virtual.opening import decide
from capnet.wire.hello import OPERATIONS, Hello

from .follower import Follower
from .standing import new_session, share_of, whole_of

__all__ = ["STOP_TIMEOUT", "Parts"]

STOP_TIMEOUT: Final = 5.0
"""Seconds that handlers and producers have to end once they are cancelled, and a program that was started for the
connection after that; who closes waits for them no longer."""


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
        "_scopes",
        "_services",
        "_waiting",
        "calls",
        "capacity",
        "cleanup",
        "dispatcher",
        "follower",
        "forwarders",
        "held",
        "hooks",
        "identification",
        "lineage",
        "names",
        "on_close",
        "pings",
        "pumps",
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
        hello: Hello,
        policy: Policy | None,
        names: Registry | None,
        bus: Bus | None,
        hooks: CloseHooks | None,
        capacity: Capacity | None,
        development: bool,
        operations: Operations | None,
    ) -> None:
        self.within = transport.within if isinstance(transport.within, Inside) else None
        """Of the connection that carries this one, if that is a virtual one."""
        self._connect = connect
        self.capacity = capacity
        self.hooks = hooks or CloseHooks()
        """Those that run now; of a host for all that it has."""
        self.pings: dict[int, Waiter] = {}
        """Of ours that have not come back."""
        self.on_close: list[Callable[[CloseCause], object]] = []
        """Told of the end."""
        self.taken_back = 0
        """Capabilities of ours that the peer held until it was over, or until we wanted them back."""
        self._waiting: list[Waiter] = []
        """Of those who wait `until` something."""
        self._patience: TimerHandle | None = None
        """Until handlers that do not end are waited for no longer."""
        # Made when first asked for
        self._inside: Inside | None = None
        self._services: Services | None = None
        self._scopes: Scopes | None = None

        self.session = session = new_session(
            loop, transport, hello, bus=bus, within=self.within, capacity=capacity, development=development
        )
        session.owner, session.close_hosted, session.part_ended = owner, self._close_hosted, self.finish_if_over
        self.watchdog = Watchdog.begin(self, loop) if development else None
        # What makes calls, and what turns values into references and back
        self.held = held = Held(session)
        self.calls = calls = Calls(session, held)
        self.lineage = lineage = Lineage(session)
        self.pumps = pumps = Pumps(session)
        streams = Streams(session, held)
        calls.payloads = streams.payloads = payloads = Payloads(session, calls, streams, pumps, lineage)
        held.passing = self.forwarders = Forwarders(calls, lineage)
        # What answers calls
        hook = None if policy is None else hook_of(policy, "guard")
        guard = None if hook is None else Guard(session, hook)
        session.guarded = guard is not None
        if self.watchdog is None:
            handlers = Handlers(session, payloads, lineage, guard, operations)
        else:
            handlers = WatchedHandlers(session, payloads, lineage, guard, operations, self.watchdog)
        self.dispatcher: Dispatcher = Dispatcher(session, handlers, self.forwarders, guard)
        # Who the peer is, and what it may ask for
        self.identification = Identification(session, policy, self.dispatcher)
        self.names = Names(session, self, names, policy)
        self.follower = Follower(session, lineage, self.dispatcher, pumps)
        self.cleanup: Cleanup = Cleanup(session, self, _CLEANED_UP)
        session.driver = self._begin_driver(transport)

    def _begin_driver(self, transport: Transport) -> Driver:
        session = self.session
        return Driver(
            session.loop,
            session.engine,
            transport,
            held=self.held,
            cleanup=self.cleanup,
            share=share_of(self.within, self.capacity),
            owner=session,
            target=self,
            handlers=_HANDLERS,
        )

    def start(self) -> None:
        """Begin to speak; those around it know of it until `finish_if_over`."""
        session = self.session
        if self.within is not None:
            self.within.begun(session)
        if self.capacity is not None:
            self.capacity.begun(session)
        for registry in self.names.registries:
            registry.subscribe(self.follower)
        session.driver.start()

    @property
    def services(self) -> Services:
        """What is served on this connection alone, and the close hooks of what is used on it."""
        services = self._services
        if services is None:
            session, follower = self.session, self.follower
            publisher = session.publisher
            services = self._services = Services(
                session.bus, publisher.publish, session.faults, self.hooks, follower.end_calls_on, follower.is_handling
            )
            services.loop = session.loop
            self.names.registries = (services.registry, *self.names.registries)
            if not session.engine.lifecycle.closed:
                services.registry.subscribe(follower)
        return services

    @property
    def scopes(self) -> Scopes:
        """Those that are open."""
        if self._scopes is None:
            self._scopes = Scopes(self.services)
            if self.session.engine.lifecycle.closed:
                self._scopes.end()
        return self._scopes

    async def end_scopes(self) -> None:
        """End those that are open, and wait for that."""
        if self._scopes is not None:
            await self._scopes.aclose()

    def _close_hosted(self, hosted: Hosted) -> None:
        self.services.close_hosted(hosted)

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
            "names": 0 if self._services is None else len(self._services.registry),
            "taken_back": self.taken_back,
            **self.session.bus.stats(),
        }

    @property
    def inside(self) -> Inside:
        """What this connection knows of those inside of it."""
        if self._inside is None:
            self._inside = Inside(self.session, whole_of(self.within, self.capacity), self.within)
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
        if self._waiting:
            self._tell_waiting()

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
        if session.bus.observed:
            session.publisher.closing(event.cause)
        if self._waiting:
            self._tell_waiting()
        for registry in self.names.registries:
            registry.unsubscribe(self.follower)
        if self._scopes is not None:
            self._scopes.end()
        if self._services is not None:
            self._services.end_all("the connection closed")
        self.identification.stop()
        self.dispatcher.stop()
        self.pumps.let_in()
        if not (self.dispatcher.stopped and self.pumps.stopped):
            self._patience = session.loop.call_at(session.loop.now() + STOP_TIMEOUT, self._leave_behind)

    def draining(self, _: object) -> None:
        """Nothing new starts: the engine refuses it."""
        if self._inside is not None:
            self._inside.draining()
        if self._waiting:
            self._tell_waiting()

    async def until(self, happened: Callable[[], bool]) -> None:
        """Wait until something holds that the handshake brings, the begin of the end, or the end."""
        loop = self.session.loop
        while not happened():
            waiter = loop.waiter()
            self._waiting.append(waiter)
            try:
                await waiter
            finally:
                self._waiting.remove(waiter)

    def _tell_waiting(self) -> None:
        for waiter in self._waiting:
            self.session.loop.wake(waiter)

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
        if session.unheard.used:
            session.unheard.clear()
        if self.capacity is not None:
            self.capacity.ended(session)
        if self.within is not None:
            self.within.ended(session)
        self.calls.dependent.end(cause)
        for callback in self.on_close:
            self.call_back(callback)
        self.on_close.clear()
        if self._waiting:
            self._tell_waiting()

    def call_back(self, callback: Callable[[CloseCause], object]) -> None:
        """Tell somebody of the end."""
        try:
            callback(cast("CloseCause", self.session.engine.lifecycle.cause))
        except EXITS:
            raise
        except BaseException as error:
            self.session.faults.unexpected("on_close callback", error)


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
