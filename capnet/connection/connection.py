"""`Connection`: one live link to a peer, symmetric. Both ends serve, bootstrap and call.

It wires the parts together and holds no protocol rules: the engine has those. Events of the engine come in through a table
(`_handlers`), what users ask goes out as intents.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from threading import get_ident
from typing import Any, Final, TypeVar, cast

from anyio import CancelScope, move_on_after
from anyio import Event as Signal
from typing_extensions import TypeForm

from capnet.contract import Cap, MethodSpec, contract_spec
from capnet.engine import events as engine_events
from capnet.engine.answers import Answer, AnswerState
from capnet.engine.engine import Engine
from capnet.engine.exports import Export
from capnet.engine.imports import Import
from capnet.engine.inspect import snapshot, stats
from capnet.engine.lifecycle import CloseCause
from capnet.errors import CallCancelled, CapnetError, InvalidArgument
from capnet.limits import Limits
from capnet.observe import (
    Bootstrapped,
    Bus,
    CallFinished,
    CallStarted,
    CapBroken,
    CapDropped,
    CapExported,
    CapReplaced,
    CapRevoked,
    ConnectionClosed,
    ConnectionOpened,
    Event,
    LimitHit,
    ViolationSeen,
)
from capnet.registry import Hosted, Registration, Registry
from capnet.transport import Attestation, Transport
from capnet.wire.hello import Hello
from capnet.wire.references import Reference as WireReference
from capnet.wire.values import is_plain

from .bootstrap import Bootstrap, BootstrapDispatcher, Policy
from .call import Call
from .dispatch import Dispatcher
from .driver import Driver
from .loop import Loop
from .payload import Payloads
from .proxy import Reference, make_proxy, release
from .runtime import Runtime, RuntimeService
from .serving import CloseHooks, Serving

__all__ = ["Connection"]

C = TypeVar("C")
_numbers: Final = count(1)
_bootstrap_method: Final[MethodSpec] = contract_spec(Bootstrap).methods["bootstrap"]


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
    ) -> None:
        self.loop = loop
        self.limits = limits or Limits()
        self.policy = policy
        self.attestation: Attestation = transport.attestation
        self.number = next(_numbers)
        self.pending_bootstraps = 0
        """Bootstraps of the peer that wait for the policy or for a name."""
        super().__init__(Bus(bus, loop.call_soon), hooks)
        self._registries = (self.registry,) if names is None else (self.registry, names)
        self._collected: deque[Import] = deque()
        self._collecting = False
        self._thread = get_ident()
        self._watchers: dict[Import, list[Callable[[CapnetError], object]]] = {}
        self._pings: dict[int, Any] = {}
        self._on_close: list[Callable[[CloseCause], object]] = []
        self._closed: Signal | None = None
        self._over = False
        self.engine = Engine(
            Hello(name, self.limits, auth=auth),
            loop.now(),
            bootstrap=_BOOTSTRAP,
            runtime=_RUNTIME,
        )
        self.payloads = Payloads(self)
        self.dispatcher = Dispatcher(self)
        self.driver = Driver(loop, transport, self.engine, self._handle, self._collected, self._give_back, self._ended)
        for registry in self._registries:
            registry.subscribe(self)
        self._opened = False
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

    async def bootstrap(self, contract: TypeForm[C], /, *, wait: float | None = None, name: str | None = None) -> C:
        """A proxy of what the peer serves under a contract's name.

        Args:
            wait: seconds to wait for the name to be served; None fails at once when it is not.
            name: the name it is served under, when that is not the contract's.

        Raises:
            NotFound, PermissionDenied, VersionMismatch, ResourceExhausted: the peer says no. Unavailable: the
            connection is closing.
        """
        spec = contract_spec(contract)
        arguments: dict[str, Any] = {"name": name or spec.name, "version": spec.version, "needs": spec.shape}
        if wait is not None:
            arguments["wait_ms"] = int(wait * 1000)
        generic = await self.start_call(self.engine.imports.bootstrap, _bootstrap_method, arguments)
        reference: Reference = generic._capnet_reference
        return cast("C", make_proxy(reference, contract))

    async def bootstrap_all(self, *contracts: type[Cap], wait: float | None = None) -> tuple[Any, ...]:
        """Proxies for several contracts, in their order, asked for at once: all of them, or none.

        When one fails, the first failure in the order of the arguments is raised and what the others got is given back.
        """
        specs = [contract_spec(contract) for contract in contracts]
        extra = {} if wait is None else {"wait_ms": int(wait * 1000)}
        calls = [
            self.start_call(
                self.engine.imports.bootstrap,
                _bootstrap_method,
                {"name": spec.name, "version": spec.version, "needs": spec.shape, **extra},
            )
            for spec in specs
        ]
        proxies: list[Any] = []
        failure: CapnetError | None = None
        try:
            for call, contract in zip(calls, contracts, strict=True):
                try:
                    proxies.append(make_proxy((await call)._capnet_reference, contract))
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
            Unavailable: the connection closed.
        """
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
    def closed(self) -> bool:
        """Whether everything of the connection has ended."""
        return self._over

    @property
    def close_cause(self) -> CloseCause | None:
        """Why it closed or is closing, None while it is open."""
        return self.engine.lifecycle.cause

    def on_close(self, callback: Callable[[CloseCause], object]) -> None:
        """Call `callback` once with the cause when everything has ended; soon, when that is so already."""
        if self._over:
            self.loop.call_soon(lambda: self._call_back(callback))
        else:
            self._on_close.append(callback)

    async def wait_closed(self) -> CloseCause:
        """Wait until everything has ended; returns the cause."""
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

        Returns when everything has ended. Cancelling the wait ends the grace.
        """
        try:
            self.engine.close(reason, grace, self.loop.now())
            self.driver.drain()
            await self.wait_closed()
        except self.loop.cancelled:
            self.engine.close(reason, 0, self.loop.now())
            self.driver.drain()
            with CancelScope(shield=True), move_on_after(2):
                await self.wait_closed()
            raise

    def stats(self) -> dict[str, int]:
        """How much of each bounded thing there is now."""
        return {**stats(self.engine), "backlog": self.driver.transport.backlog, "names": len(self.registry)}

    def snapshot(self) -> dict[str, Any]:
        """Every table, as plain data."""
        return snapshot(self.engine)

    def __repr__(self) -> str:
        return f"<Connection {self.number} to {self.peer_name or 'peer'} {self.engine.lifecycle.state.value}>"

    # For calls and proxies

    def start_call(self, target: Import, method: MethodSpec, arguments: dict[str, Any]) -> Call[Any]:
        """Make a call; it leaves with whatever else becomes ready in this turn of the loop."""
        engine = self.engine
        references: Sequence[WireReference] = ()
        if not is_plain(arguments, self.limits):
            arguments, references = self.payloads.lower_arguments(arguments, method)
        timeout = self.loop.time_left()
        observed = self.bus.observed
        call: Call[Any] = Call(self, method, self.loop.now() if observed else 0.0)
        if method.timeout is not None and (timeout is None or method.timeout < timeout):
            timeout = method.timeout
            call.expire_at(self.loop.now() + timeout)
        try:
            call.entry = engine.call(target, method.name, arguments, references, call, timeout=timeout)
        except BaseException:
            call.settle(None, None)
            raise
        if references:
            self.announce_exports(references)
        if len(engine.calls.by_id) == 1 and not self.driver.receiving:
            self.driver.flush()  # no company to wait for
        else:
            self.driver.flush_soon()
        if observed:
            self._publish(
                CallStarted, direction="out", call=call.entry.id, contract=target.interface, method=method.name
            )
        return call

    def cancel_call(self, call: Call[Any], reason: str, error: CapnetError | None = None) -> None:
        """Give up on a call: the peer is told, the call ends with `error`."""
        entry = call.entry
        if entry is not None:
            self.engine.cancel(entry, reason)
            self._settle(call, None, error or CallCancelled(reason or "cancelled here"))
            self.driver.handle_events()
            self.driver.flush_soon()

    def hold_import(self, imported: Import) -> None:
        """One more local owner."""
        if imported.id > 1 and imported.holders:
            self.engine.hold(imported)

    def release_import(self, imported: Import) -> None:
        """One local owner less; with the last, nobody here watches it any more."""
        self.engine.release(imported)
        if not imported.holders:
            self._watchers.pop(imported, None)
        self.driver.flush_soon()

    def note_collected(self, imported: Import) -> None:
        """A finaliser's note: release this soon. May come from any thread and at any moment."""
        self._collected.append(imported)
        if not self._collecting and not (self.driver.receiving and get_ident() == self._thread):
            self._collecting = True
            self.loop.call_soon_threadsafe(self._release_collected)

    def watch_import(self, imported: Import, callback: Callable[[CapnetError], object]) -> Callable[[], None]:
        """See `proxy.on_broken`."""
        broken = imported.broken
        if broken is not None:
            self.loop.call_soon(lambda: self._tell_broken(callback, broken))
            return lambda: None
        watchers = self._watchers.setdefault(imported, [])
        # One that is registered twice is told twice; each `forget` ends its own.
        watcher = partial(self._tell_broken, callback)
        watchers.append(watcher)

        def forget() -> None:
            if watcher in watchers:
                watchers.remove(watcher)

        return forget

    # For dispatch and the built-in capabilities

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

    async def wait_served(self, name: str, seconds: float) -> None:
        """Until the name is served, or the time is over."""
        served = Signal()
        forget = [registry.when_served(name, served.set) for registry in self._registries]
        try:
            with move_on_after(seconds):
                await served.wait()
        finally:
            for end in forget:
                end()

    def strike(self, reason: str) -> None:
        """The peer ran into a limit that is kept here."""
        self.engine.strike(reason)
        self.driver.handle_events()

    def announce_bootstrap(self, name: str, error: CapnetError | None) -> None:
        """Tell observers how a bootstrap ended."""
        if self.bus.observed:
            result, reason = ("ok", None) if error is None else (error.code, error.reason)
            self._publish(Bootstrapped, name=name, result=result, reason=reason)

    def announce_exports(self, references: Sequence[WireReference]) -> None:
        """A frame with references is on its way."""
        for export in self.payloads.queued(references):
            if self.bus.observed:
                self._publish(CapExported, cap=export.id, contract=export.interface)

    def call_started(self, answer: Answer) -> float:
        """Tell observers that a handler starts; returns the time."""
        self._publish(
            CallStarted,
            direction="in",
            call=answer.id,
            contract=answer.export.interface,
            method=answer.method,
            generation=self._generation(answer.export),
        )
        return self.loop.now()

    def call_finished(self, answer: Answer, error: CapnetError | None, started: float) -> None:
        """Tell observers how it ended."""
        self._publish(
            CallFinished,
            direction="in",
            call=answer.id,
            contract=answer.export.interface,
            method=answer.method,
            generation=self._generation(answer.export),
            result="ok" if error is None else error.code,
            reason=None if error is None else error.reason,
            seconds=self.loop.now() - started,
        )

    def runner_ended(self) -> None:
        """A runner of the dispatcher is gone."""
        self._finish_if_over()

    def crash(self, error: Exception) -> None:
        """A fault of capnet itself: end this connection, and no other."""
        internal = self.unexpected("dispatch", error)
        self.engine.finish(CloseCause("lost", f"internal error {internal.details['correlation']}"))
        self.driver.drain()

    def end_calls_on(self, hosted: Hosted, error: CapnetError) -> int:
        """See `Serving`."""
        ended = 0
        for answer in list(self.engine.answers):
            handled: Hosted | None = self.dispatcher.hosted_of(answer)
            if handled is hosted and answer.state is AnswerState.RUNNING:
                self.engine.end_answer(answer, error.again())
                ended += 1
        self.driver.drain()
        return ended

    # Subscriber of the registries

    def registration_replaced(self, registration: Registration, old: Hosted) -> None:
        """What was bootstrapped from it answers with the new implementation."""
        exports = self._exports_of(registration, old)
        self.engine.replace(exports, registration.hosted, registration.generation)
        self.payloads.replaced(exports, registration.hosted)
        self.driver.drain()

    def registration_ended(self, registration: Registration, reason: str) -> None:
        """What was bootstrapped from it is revoked."""
        self.engine.revoke(self._exports_of(registration, registration.hosted), reason)
        self.driver.drain()

    def _exports_of(self, registration: Registration, hosted: Hosted) -> list[Export]:
        export = self.engine.exports.of(hosted, registration.spec.name)
        return [] if export is None else [export]

    # Events of the engine

    def _handle(self, event: engine_events.Event) -> None:
        _HANDLERS[type(event)](self, event)

    def _call_arrived(self, event: engine_events.CallArrived) -> None:
        self.dispatcher.put(event.answer)

    def _call_returned(self, event: engine_events.CallReturned) -> None:
        call: Call[Any] = event.token
        value = self.payloads.lift(event.value) if event.references else event.value
        error: CapnetError | None = None
        try:
            value = call.method.receive_result(value)
        except Exception as unfit:  # also what the __post_init__ of the user's own class raises
            text = unfit.message if isinstance(unfit, CapnetError) else str(unfit)
            error = InvalidArgument(
                f"result of {call.method.contract}.{call.method.name}: {text}", reason="result_type"
            )
            value = None
        self._settle(call, value, error)

    def _call_failed(self, event: engine_events.CallFailed) -> None:
        self._settle(event.token, None, event.error)

    def _settle(self, call: Call[Any], value: Any, error: CapnetError | None) -> None:
        entry = call.entry
        call.settle(value, error)
        if call.started and entry is not None:
            self._publish(
                CallFinished,
                direction="out",
                call=entry.id,
                contract=entry.target.interface,
                method=call.method.name,
                result="ok" if error is None else error.code,
                reason=None if error is None else error.reason,
                seconds=self.loop.now() - call.started,
            )

    def _answer_ended(self, event: engine_events.AnswerEnded) -> None:
        self.dispatcher.end(event.answer)

    def _export_ended(self, event: engine_events.ExportEnded) -> None:
        export = event.export
        if self.bus.observed:
            kind = CapRevoked if event.reason == "revoked" else CapDropped
            reason = export.revoked or event.reason
            self._publish(kind, cap=export.id, contract=export.interface, reason=reason)
        self.payloads.ended(export)

    def _import_broken(self, event: engine_events.ImportBroken) -> None:
        imported, error = event.imported, event.error
        if self.bus.observed:
            self._publish(CapBroken, cap=imported.id, contract=imported.interface, code=error.code, reason=error.reason)
        for callback in self._watchers.pop(imported, ()):
            self.loop.call_soon(partial(callback, error))

    def _import_replaced(self, event: engine_events.ImportReplaced) -> None:
        imported = event.imported
        if self.bus.observed:
            self._publish(CapReplaced, cap=imported.id, contract=imported.interface, generation=imported.generation)

    def _peer_introduced(self, event: engine_events.PeerIntroduced) -> None:
        self._opened = True
        if self.bus.observed:
            self._publish(ConnectionOpened, transport=self.attestation.transport, version=event.version)

    def _pong_received(self, event: engine_events.PongReceived) -> None:
        waiter = self._pings.get(event.number)
        if waiter is not None:
            self.loop.wake(waiter)

    def _limit_reached(self, event: engine_events.LimitReached) -> None:
        if self.bus.observed:
            self._publish(LimitHit, limit=event.reason)

    def _draining(self, event: engine_events.Draining) -> None:
        """Nothing new starts; the engine refuses it."""

    def _engine_closed(self, event: engine_events.Closed) -> None:
        cause = event.cause
        if cause.kind == "violation" and self.bus.observed:
            self._publish(ViolationSeen, clause=cause.clause or "", message=cause.message)
        for registry in self._registries:
            registry.unsubscribe(self)
        self._end_all(self.registry, "the connection closed")
        self.dispatcher.stop()

    # The end

    def _ended(self) -> None:
        """The transport has closed."""
        self._finish_if_over()

    def _finish_if_over(self) -> None:
        """When the transport has closed and no handler is left, everything has ended: say so, once."""
        if self._over or not self.driver.transport_closed or not self.dispatcher.stopped:
            return
        self._over = True
        cause = self.engine.lifecycle.cause
        assert cause is not None
        for waiter in tuple(self._pings.values()):
            self.loop.wake(waiter)
        if self._opened and self.bus.observed:
            self._publish(ConnectionClosed, cause=cause.kind, message=cause.message, clause=cause.clause)
        for callback in self._on_close:
            self._call_back(callback)
        self._on_close.clear()
        if self._closed is not None:
            self._closed.set()

    def _call_back(self, callback: Callable[[CloseCause], object]) -> None:
        try:
            callback(cast("CloseCause", self.engine.lifecycle.cause))
        except Exception as error:
            self.unexpected("on_close callback", error)

    def _tell_broken(self, callback: Callable[[CapnetError], object], error: CapnetError) -> None:
        try:
            callback(error)
        except Exception as raised:
            self.unexpected("on_broken callback", raised)

    # References that were collected

    def _give_back(self) -> None:
        collected = self._collected
        while collected:
            imported = collected.popleft()
            self.engine.release(imported)
            if not imported.holders:
                self._watchers.pop(imported, None)

    def _release_collected(self) -> None:
        self._collecting = False
        if self._collected:
            self.driver.flush()

    def _generation(self, export: Export) -> int:
        hosted: Hosted | None = export.subject
        return 0 if hosted is None else hosted.generation

    def _publish(self, kind: type[Event], **fields: object) -> None:
        self.bus.publish(kind, connection=self.number, peer=self.peer_name, **fields)


def _builtin(implementation: Cap, contract: type[Cap]) -> Hosted:
    hosted = Hosted.of(implementation)
    hosted.expose(contract_spec(contract))
    hosted.hold()
    return hosted


_BOOTSTRAP: Final = _builtin(BootstrapDispatcher(), Bootstrap)
_RUNTIME: Final = _builtin(RuntimeService(), Runtime)
_HANDLERS: Final[dict[type, Callable[[Connection, Any], None]]] = {
    engine_events.CallArrived: Connection._call_arrived,
    engine_events.CallReturned: Connection._call_returned,
    engine_events.CallFailed: Connection._call_failed,
    engine_events.AnswerEnded: Connection._answer_ended,
    engine_events.ExportEnded: Connection._export_ended,
    engine_events.ImportBroken: Connection._import_broken,
    engine_events.ImportReplaced: Connection._import_replaced,
    engine_events.PeerIntroduced: Connection._peer_introduced,
    engine_events.PongReceived: Connection._pong_received,
    engine_events.LimitReached: Connection._limit_reached,
    engine_events.Draining: Connection._draining,
    engine_events.Closed: Connection._engine_closed,
}
