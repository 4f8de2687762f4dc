"""Making calls: send them, hold them back while the peer has no room, take them back, pipeline on them (P-CALL)."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from capnet.errors import CallCancelled, CapnetError, InvalidArgument, ProtocolViolation, ResourceExhausted, cut_text
from capnet.limits import BYTES_PER_VALUE, LARGEST_ONE_WAY, bound
from capnet.wire.charge import BYTES_PER_STREAM, charge_of_references, measured
from capnet.wire.frames import Op, is_context
from capnet.wire.references import Reference

from . import events as event
from .calls import PEER, Call, Pipelined, Target
from .closing import LONGEST
from .ledger import ROOMY
from .timers import Timer

if TYPE_CHECKING:
    from .engine import Engine

__all__ = ["Calling"]

_SMALL: Final = 4096
"""Bytes of a frame up to which its values are not counted: there are no more of them than bytes."""
_MOST_PER_BYTE: Final = 1 + BYTES_PER_VALUE
"""What one of these bytes takes up at most: a value of one byte. Wide text takes less."""
_ID_AT: Final = 2
"""Where the id of a call stands in its frame; that of a one-way call is one byte long."""
_CALL_WITHOUT_META: Final = 0x85
_CALL_WITH_META: Final = b"\x86"
_LONGEST_ID: Final = 9
_AROUND: Final = 64
"""Values in the frame of a call beside its arguments, at most."""


class Calling:
    """The calls that one side makes."""

    __slots__ = ("_engine",)

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # Intents

    def call(
        self,
        target: Target,
        method: str,
        arguments: dict[str, Any],
        references: Sequence[Reference] = (),
        token: Any = None,
        *,
        timeout: float | None = None,
        context: Mapping[str, str] | None = None,
        one_way: bool = False,
        may_keep: bool = False,
        party: Hashable = None,
    ) -> Call:
        """Make a call; a `CallReturned` or `CallFailed` with `token` follows, unless it is cancelled or one-way.

        Args:
            timeout: seconds until the callee gives up.
            context: text that goes along, within the bounds of P-CALL-4.
            may_keep: `keep` may follow before the frame leaves.
            party: whose call is being handled while this one is made, None when nobody's is. What it takes up at the
                peer counts as that party's; `PEER` is the peer itself.

        Raises:
            Unavailable: the connection is closing. The target's own error: it is broken. InvalidArgument,
            ResourceExhausted: the frame cannot be sent.
        """
        engine = self._engine
        if not engine.lifecycle.accepts_calls:
            raise engine.closing.error()
        if target.broken is not None:
            raise target.broken.again()
        calls = engine.calls
        id = 0 if one_way else calls.next_id()
        frame: list[Any] = [Op.CALL, id, target.id, method, arguments]
        call = Call(id, target, None if one_way else token)
        if timeout is not None or context:
            call.meta = _meta(timeout, context)
            frame.append(call.meta)
        outbox = engine.outbox
        # There is room whatever it takes up, so it need not be known before it is sent.
        room = len(calls.by_id) < calls.limit and calls.charge * ROOMY <= calls.max_charge
        if party is not None:
            room = self._made_for(call, party, method, references) and room
        if room and id and not calls.held and engine.peer is not None:
            if may_keep:
                call.position = (outbox.turn, len(outbox.chunks))
            size = outbox.send(frame, references)
            if size > _SMALL:
                call.charge = _charge(size, arguments, references)
            else:
                call.charge = size * _MOST_PER_BYTE
                if references:
                    call.charge += len(references) * BYTES_PER_STREAM
            if call.party is not None:
                calls.sent(call)
            else:
                calls.by_id[id] = call
                calls.charge += call.charge
            if references:
                engine.streaming.left(references)
        else:
            self._hold_or_send(call, frame, references)
        return call

    def cancel(self, call: Call, reason: str = "") -> None:
        """Give up on a call of ours: its token hears no more of it. Once is enough; later ones do nothing."""
        engine = self._engine
        if call.frame is not None:
            engine.calls.let_go(call)
            self.take_back(call, CallCancelled(reason or "cancelled here"), silently=True)
            if engine.peer is not None:
                self.send_held()  # one behind it may be of the other kind, for which there is room
        elif call.token is not None and engine.calls.find(call.id) is call:
            if engine.own_pace.take(engine.now):
                self._say_cancelled(call, reason)
            else:
                engine.calls.cancelled.append((call, reason))
                engine.timers.set(Timer.CANCELS, engine.now + engine.own_pace.wait(engine.now))
            call.failure = CallCancelled(reason or "cancelled here")
        call.token = None

    def keep(self, call: Call) -> bool:
        """Have the callee keep the answer, so that it can be pipelined on; with one user, who must `release` it.

        False when it cannot be: the call has left without, has been answered, was given back by its last user, or too
        many are kept already.
        """
        engine = self._engine
        calls = engine.calls
        if call.kept:
            call.users += 1
            return True
        if not call.id or call.token is None or call.failure is not None:
            return False
        if call.frame is not None and call.party is not None:
            return False  # it has no id yet that others could name
        if calls.kept >= calls.limit or not self._ask_to_keep(call):
            return False
        call.kept = True
        call.users = 1
        calls.kept += 1
        return True

    def release(self, call: Call) -> None:
        """One user less of a call that is kept; after the last the peer is told that it is finished (P-CALL-8)."""
        call.users -= 1
        if call.users or not call.kept:
            return
        call.kept = False
        if call.frame is None and self._engine.calls.find(call.id) is not call:
            call.token = None  # it was answered; whoever still has the promise holds nothing more of it
        call.failure = call.failure or CallCancelled("what comes of this call was given back")
        if not self._engine.lifecycle.closed:
            self._engine.calls.finished.append(call)

    # For the parts of the engine

    def one_way_credit(self, calls: int) -> None:
        """So many one-way calls have ended at the peer.

        Raises:
            ProtocolViolation: P-CALL-7, more than were made.
        """
        table = self._engine.calls
        if table.one_way_room + calls > table.limit:
            raise ProtocolViolation("P-CALL-7", f"{calls} one-way calls have ended that were not made")
        table.one_way_room += calls
        self.answered()

    def say_finished(self) -> None:
        """Tell the peer which answers it need not keep any more."""
        calls = self._engine.calls
        finished = [call for call in calls.finished if call.frame is None]  # of others it must not overtake the call
        calls.finished = [call for call in calls.finished if call.frame is not None]
        calls.kept -= len(finished)
        for call in finished:
            self._engine.outbox.send([Op.FINISH, call.id])

    def say_cancelled(self) -> None:
        """Tell the peer of cancels that had to wait, as many as it takes now; calls that were answered need none."""
        engine = self._engine
        cancelled = engine.calls.cancelled
        while cancelled:
            call, reason = cancelled[0]
            if engine.calls.find(call.id) is call:
                if not engine.own_pace.take(engine.now):
                    engine.timers.set(Timer.CANCELS, engine.now + engine.own_pace.wait(engine.now))
                    return
                self._say_cancelled(call, reason)
            cancelled.popleft()

    def _say_cancelled(self, call: Call, reason: str) -> None:
        self._engine.outbox.send([Op.CANCEL, call.id, cut_text(reason)] if reason else [Op.CANCEL, call.id])

    def take_back(self, call: Call, error: CapnetError, *, silently: bool = False) -> None:
        """A call that was held back will not be made, nor will those that need its answer.

        What they named is uncounted, and their tokens hear why; that of `call` itself not if `silently`.
        """
        if silently:
            call.token = None
        calls = self._engine.calls
        lost = deque((call,))
        while lost:
            call = lost.popleft()
            self._take_back_one(call, error)
            for dependent in call.dependents or ():
                if dependent.frame is not None:
                    dependent.frame = None
                    calls.let_go(dependent)
                    lost.append(dependent)

    def _take_back_one(self, call: Call, error: CapnetError) -> None:
        engine = self._engine
        call.frame = None
        call.failure = error
        if call.party is not None:
            engine.streams.brought(call, ())
        engine.name_no_more(call.named)
        engine.exports.let_go(call.references)
        for export in engine.exports.uncount(call.references):
            if export.revoked is None:
                engine.answering.export_dropped(export)
        engine.streaming.undone(engine.streams.undo(call.references), error)
        if call.kept or call in engine.calls.finished:
            self._never_kept(call)
        if call.token is not None:
            engine.emit(event.CallFailed(call.token, error))
        call.token = None

    def take_all_back(self, error: CapnetError) -> None:
        """None of the calls that are held will be made."""
        calls = self._engine.calls
        while calls.held:
            call = next(iter(calls.held.values()))[0]
            calls.let_go(call)
            self.take_back(call, error)

    def send_held(self) -> None:
        """Send the calls that were held back, as far as the peer has room."""
        engine = self._engine
        calls, outbox = engine.calls, engine.outbox
        while (call := calls.next_held(engine.now)) is not None:
            payload = call.frame
            assert payload is not None
            if call.party is not None:
                before, call.id = call.id, calls.next_id()
                payload = self._with_id(payload, before, call.id)
            if len(payload) > outbox.limit:
                self.take_back(call, outbox.too_long(payload))
                continue
            call.frame = None
            revoked = engine.exports.let_go(call.references)
            outbox.put(payload)
            calls.sent(call)
            engine.name_no_more(call.named)
            engine.streaming.left(call.references)
            for export in revoked:
                outbox.send([Op.CAP_REVOKED, [export.id], cut_text(export.revoked or "")])

    def answered(self) -> None:
        """The peer has answered calls: there may be room for one that was held, or nothing left to wait for."""
        engine = self._engine
        if engine.calls.held:
            self.send_held()
        if not engine.lifecycle.accepts_calls:
            engine.closing.check_drained()

    def look_at_held(self) -> None:
        """Calls that are held may wait for ever, for those that wait for them: these fail (P-LIMIT-2).

        All places at the peer are taken then by calls that wait for something from here, each by one of the peer's
        calls that runs here. So nothing is amiss while there are fewer of those than there are places, or while
        something moves.
        """
        engine = self._engine
        calls = engine.calls
        again: list[float] = []
        for party, line in list(calls.held.items()):
            nested = [call for call in line if call.nested and call.token is not None]
            due = line.moved + engine.limits.nested_timeout
            if nested and due <= engine.now:
                if 0 < calls.blocking(party) <= len(engine.answers) and engine.peer is not None:
                    for call in nested:
                        if call.frame is not None:
                            calls.let_go(call)
                            self.take_back(call, _waits_for_itself(calls.limit, engine.limits.nested_timeout))
                    continue
                due = engine.now + engine.limits.nested_timeout
            if nested:
                again.append(due)
        if again:
            engine.timers.set(Timer.HELD, min(again))
        self.send_held()

    def _made_for(self, call: Call, party: Hashable, method: str, references: Sequence[Reference]) -> bool:
        """Note for whom a call is made; whether there is room for it whatever it takes up and brings.

        Raises:
            ResourceExhausted: `max_streams`, the party has its portion of them.
        """
        call.nested = True
        if party is PEER:
            return True
        call.party = party
        call.method = call.target.interface, method
        streams = self._engine.streams
        if references:
            streams.admit(references, party)
        return not streams.may_bring(call) and not references and self._engine.calls.plenty

    def _hold_or_send(self, call: Call, frame: list[Any], references: Sequence[Reference]) -> None:
        """The careful way: the peer may have no room, or may not have said yet how much it takes."""
        engine = self._engine
        calls, outbox = engine.calls, engine.outbox
        payload = outbox.encode(frame, references)
        # One-way calls of a party are made as ordinary ones as well: of those it is known when they end.
        if not call.id and (len(payload) > LARGEST_ONE_WAY or call.party is not None):
            call.id = calls.next_id()
            payload = self._with_id(payload, 0, call.id)
        call.charge = _charge(len(payload), frame[4], references) if call.id else 0
        call.references = references
        fits = len(payload) <= outbox.limit
        if fits and calls.may_leave(call):
            call.references = ()
            call.position = (outbox.turn, len(outbox.chunks))
            outbox.put(payload)
            calls.sent(call)
            engine.streams.expect(call)
            engine.streaming.left(references)
        elif not fits and engine.peer is not None:
            outbox.uncount(references)
            raise outbox.too_long(payload)
        elif len(calls.held.get(call.party, ())) < engine.limits.max_outgoing_calls:
            call.frame = payload
            if call.party is not None:
                call.charge += _LONGEST_ID
            engine.exports.hold_back(references)
            engine.name(call.named)
            calls.hold(call, engine.now)
            engine.streams.expect(call)
            _note_dependence(call)
            if call.nested and not engine.timers.is_set(Timer.HELD):
                engine.timers.set(Timer.HELD, engine.now + engine.limits.nested_timeout)
        else:
            outbox.uncount(references)
            otherwise = "await some of them before you make others"
            most = bound("max_outgoing_calls", engine.limits.max_outgoing_calls, "caller", otherwise=otherwise)
            raise ResourceExhausted(
                f"too many calls wait until the peer has room: {most}",
                reason="max_concurrent_calls",
                retry="after-cooldown",
            )

    def _with_id(self, payload: bytes, before: int, id: int) -> bytes:
        """The frame of a call with another id."""
        encode = self._engine.codec.encode
        return payload[:_ID_AT] + encode(id) + payload[_ID_AT + len(encode(before)) :]

    def _ask_to_keep(self, call: Call) -> bool:
        """Put `keep` into the frame of a call that has not left."""
        outbox = self._engine.outbox
        if call.frame is not None:
            call.frame = self._with_keep(call.frame, call.meta)
            return True
        payload = None if call.position is None else outbox.waiting(*call.position)
        if payload is None or call.position is None:
            return False
        return outbox.put_instead(call.position[1], self._with_keep(payload, call.meta))

    def _with_keep(self, payload: bytes, meta: dict[str, Any] | None) -> bytes:
        """The frame of a call with `keep` in its meta, which stands last in it."""
        codec = self._engine.codec
        if meta is None:
            assert payload[0] == _CALL_WITHOUT_META
            return _CALL_WITH_META + payload[1:] + codec.encode({"keep": True})
        return payload[: -len(codec.encode(meta))] + codec.encode({**meta, "keep": True})

    def _never_kept(self, call: Call) -> None:
        calls = self._engine.calls
        calls.kept -= 1
        if call.kept:
            call.kept = False
        else:
            calls.finished.remove(call)


def _charge(size: int, arguments: dict[str, Any], references: Sequence[Reference]) -> int:
    """What a call with these arguments takes up at the peer, at most."""
    return size + BYTES_PER_VALUE * _AROUND + measured(arguments)[2] + charge_of_references(references)


def _note_dependence(call: Call) -> None:
    """A held call goes with those it needs the answers of, should they be taken back."""
    for needed in call.named:
        if type(needed) is Pipelined and needed.call.frame is not None:
            needed.call.dependents = needed.call.dependents or []
            needed.call.dependents.append(call)


def _waits_for_itself(limit: int, seconds: float) -> ResourceExhausted:
    return ResourceExhausted(
        f"max_calls: the peer takes {limit} calls of ours at once, and for {seconds:g} s none has ended that this one, "
        f"made while another is handled, waits for: they may all wait for calls like this one",
        reason="max_calls",
        hint="calls back are nested too deeply: raise Limits.max_calls, or return before you call back",
    )


def _meta(timeout: float | None, context: Mapping[str, str] | None) -> dict[str, Any]:
    meta: dict[str, Any] = {}
    if timeout is not None:
        # Rounded up: where caller and callee both keep the time, the caller's own scope is the first to notice.
        meta["deadline"] = ceil(min(max(timeout, 0.0), LONGEST) * 1000)
    if context:
        meta["context"] = context = dict(context)
        if not is_context(context):
            raise InvalidArgument("the call's context has too many keys, or too long ones", reason="max_context")
    return meta
