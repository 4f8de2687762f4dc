"""`Calls`: from bound arguments to a frame, and from the answer back to whoever waits (P-CALL-1, P-CALL-5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from capnet.contract import MethodSpec
from capnet.contract.copied import copied
from capnet.engine.calls import PEER
from capnet.engine.calls import Call as EngineCall
from capnet.engine.events import CallFailed, CallReturned
from capnet.errors import EXITS, CapnetError, InvalidArgument, Replaced, Revoked
from capnet.revocation.lineage import handling
from capnet.session.driver import FLUSH_CHUNKS
from capnet.session.held import Held
from capnet.session.session import Session
from capnet.wire.references import Reference as WireReference
from capnet.wire.values import is_plain, unencodable_text

from .call import Call, Late, NotYet, Payloads, Target
from .dependent import DependentCalls
from .metadata import going_along, moving, with_one_way
from .watched import WatchedCall

__all__ = ["Calls", "call_failed"]


class Calls:
    """Makes the calls of one connection.

    Attributes:
        session: the connection.
        held: the capabilities that calls are made on.
        payloads: turns arguments into plain data and references, and results back; set by whoever has made that.
        dependent: calls that wait for the results of others.
    """

    __slots__ = ("_kind", "dependent", "held", "payloads", "session")

    payloads: Payloads

    def __init__(self, session: Session, held: Held) -> None:
        self.session = session
        self._kind: type[Call[Any]] = WatchedCall if session.development else Call
        self.held = held
        self.dependent = DependentCalls(session, held, self._send_dependent)

    def start(
        self,
        target: Target,
        method: MethodSpec,
        arguments: dict[str, Any],
        context: Mapping[str, str] | None = None,
    ) -> Call[Any]:
        """Make a call; it leaves with whatever else becomes ready in this turn of the loop.

        Args:
            context: text that goes along with it.

        Raises:
            CapnetError: it cannot leave (the connection closes, the capability is broken, the arguments cannot travel,
            a limit of the peer's); nothing has changed then.
        """
        loop = self.session.loop
        timeout = loop.time_left()
        call: Call[Any] = self._kind(self, method)
        if method.timeout is not None and (timeout is None or method.timeout < timeout):
            timeout = method.timeout
            call.expire_at(loop.now() + timeout)
        along = going_along.get()
        if along is not None:
            context = along if context is None else {**context, **along}
        call.context = context
        try:
            if self.dependent.lines and target in self.dependent.lines:
                self._defer(call, target, arguments, timeout, None)
            else:
                try:
                    self._send(call, target, arguments, timeout)
                except NotYet as needs:
                    self._defer(call, target, arguments, timeout, needs.call)
        except BaseException:
            call.settle(None, None)
            raise
        if method.idempotent and call.again is None:
            until = None if timeout is None else loop.now() + timeout
            call.again = (target, copied(arguments), until, handling.get())
        return call

    def notify(self, target: Target, method: MethodSpec, arguments: dict[str, Any]) -> None:
        """Make a one-way call: nothing ever comes back (P-OP). Behind calls that wait for others it waits, too.

        Raises:
            CapnetError: it cannot leave; nothing has changed then.
        """
        self.session.loop.check()
        call: Call[Any] = Call(self, method)
        call.one_way = True
        call.context = with_one_way()
        try:
            if self.dependent.lines and target in self.dependent.lines:
                self.dependent.put(call, target, arguments, None)
            else:
                self._send(call, target, arguments, None)
        except NotYet as needs:
            self.dependent.put(call, target, arguments, needs.call)

    @staticmethod
    def returned(_: object, event: CallReturned) -> None:
        """The peer has answered with a result."""
        call: Call[Any] = event.token
        self, value, references = call.caller, event.value, event.references
        error: CapnetError | None = None
        try:
            if references:
                value = self.payloads.lift(value, references)
            value = call.method.receive_result(value)
        except Revoked as revoked:
            value, error = None, revoked
        except EXITS:
            raise
        except BaseException as unfit:  # also what a class of the user's own raises
            what = f"result of {call.method.contract}.{call.method.name}"
            value, error = None, self.session.faults.unfit(what, unfit, "result_type")
        if call.started is not None:
            call.report(error)
        call.settle(value, error)

    def failed(self, call: Call[Any], error: CapnetError) -> None:
        """The peer has answered with an error, or never will."""
        if call.again is None or type(error) is not Replaced or not self._made_again(call, error):
            call.end(None, error)

    def _send_dependent(self, call: Call[Any], target: Target, arguments: dict[str, Any]) -> None:
        """One that has waited may leave.

        Raises:
            NotYet: not before another is answered. CapnetError: it cannot.
        """
        until = call.until
        self._send(call, target, arguments, None if until is None else until - self.session.loop.now())

    def _defer(
        self,
        call: Call[Any],
        target: Target,
        arguments: dict[str, Any],
        timeout: float | None,
        needs: Call[Any] | None,
    ) -> None:
        session = self.session
        call.entry = EngineCall(0, session.engine.imports.bootstrap, None)  # it has not ended; the engine knows nothing
        call.until = None if timeout is None else session.loop.now() + timeout
        self.dependent.put(call, target, arguments, needs)

    def _send(self, call: Call[Any], target: Target, arguments: dict[str, Any], timeout: float | None) -> None:
        session, method = self.session, call.method
        engine, driver = session.engine, session.driver
        references: Sequence[WireReference] = ()
        if isinstance(target, Late):
            target = self.payloads.target_of(target)
        if method.checks_arguments or not is_plain(arguments, engine.outbox.bounds):
            arguments, references = self.payloads.lower_arguments(arguments, method)
        may_keep = bool(method.result_contracts)
        granted = handling.get()
        party: Any = None
        if granted is not None:
            party = PEER if granted.number == session.number else granted.number
        moved = moving.get()
        try:
            entry = engine.call(
                target,
                method.name,
                arguments,
                references,
                call,
                timeout=timeout,
                context=call.context,
                one_way=call.one_way,
                may_keep=may_keep,
                party=party,
                within=None if moved is None or moved[0] != session.number else moved[1],
            )
        except InvalidArgument as error:
            raise unencodable_text(arguments) or error from None
        if references:
            self.payloads.queued(references, granted)
        if call.one_way:
            driver.flush_soon()
            return
        call.entry = entry
        if len(engine.calls.by_id) == 1 and not driver.receiving and not may_keep:
            driver.flush()  # no company to wait for
        elif not driver.receiving or len(engine.outbox.chunks) >= FLUSH_CHUNKS:
            driver.flush_soon()
        if session.bus.observed:
            call.started = session.loop.now(), entry.id
            session.publisher.call_left(entry, method.name)

    def _made_again(self, call: Call[Any], error: Replaced) -> bool:
        """Make an idempotent call once more, for the implementation that has replaced the one it was cut from."""
        if call.again is None or error.retry != "transparent":
            return False
        (target, arguments, until, lineage), call.again = call.again, None
        call.report(error)
        ours = handling.set(lineage)
        try:
            self._send(call, target, arguments, None if until is None else until - self.session.loop.now())
        except Exception:  # what it needs is gone meanwhile: then the first error stands
            call.started = None
            return False
        finally:
            handling.reset(ours)
        return True


def call_failed(_: object, event: CallFailed) -> None:
    """The engine's word for it, taken by the one who has made the call."""
    call: Call[Any] = event.token
    call.caller.failed(call, event.error)
