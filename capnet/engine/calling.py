"""Making calls: send them or have them held back, give up on them, have their answers kept (P-CALL)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

from capnet.errors import CallCancelled, ProtocolViolation, cut_text
from capnet.limits import BYTES_PER_VALUE, LARGEST_ONE_WAY
from capnet.wire.charge import BYTES_PER_STREAM
from capnet.wire.frames import Op
from capnet.wire.references import Reference

from .call_frame import charge_of, meta_of, with_id, with_keep
from .calls import PEER, Call, Target
from .held_calls import HeldCalls
from .ledger import ROOMY
from .streaming import Streaming
from .tables import Tables
from .timers import Timer

__all__ = ["Calling"]

_SMALL: Final = 4096
"""Bytes of a frame up to which its values are not counted: there are no more of them than bytes."""
_MOST_PER_BYTE: Final = 1 + BYTES_PER_VALUE
"""What one of these bytes takes up at most: a value of one byte. Wide text takes less."""


class Calling:
    """The calls that one side makes."""

    __slots__ = ("_held", "_streaming", "_tables")

    def __init__(self, tables: Tables, held: HeldCalls, streaming: Streaming) -> None:
        self._tables = tables
        self._held = held
        self._streaming = streaming

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
        within: Hashable = None,
    ) -> Call:
        """Make a call; a `CallReturned` or `CallFailed` with `token` follows, unless it is cancelled or one-way.

        Args:
            timeout: seconds until the callee gives up.
            context: text that goes along, within the bounds of P-CALL-4.
            may_keep: `keep` may follow before the frame leaves.
            party: whose call is being handled while this one is made, None when nobody's is. What it takes up at the
                peer counts as that party's; `PEER` is the peer itself.
            within: the stream of ours whose items are being made while this one is, None when none is.

        Raises:
            Unavailable: the connection is closing. The target's own error: it is broken. InvalidArgument,
            ResourceExhausted: the frame cannot be sent.
        """
        tables = self._tables
        if not tables.lifecycle.accepts_calls:
            raise tables.lifecycle.error()
        if target.broken is not None:
            raise target.broken.again()
        calls = tables.calls
        id = 0
        if not one_way:  # `next_id`, without another step
            id = calls.next
            calls.next = id + 1
        frame: list[Any] = [Op.CALL, id, target.id, method, arguments]
        call = Call(id, target, None if one_way else token)
        if timeout is not None or context:
            call.meta = meta_of(timeout, context)
            frame.append(call.meta)
        if within is not None:
            call.within, call.nested = within, True
        outbox = tables.outbox
        # There is room whatever it takes up, so it need not be known before it is sent.
        room = len(calls.by_id) < calls.limit and calls.charge * ROOMY <= calls.max_charge
        if party is PEER:
            call.nested = True
        elif party is not None:
            room = self._made_for(call, party, method, references) and room
        if room and id and not calls.held and tables.lifecycle.peer is not None:
            if may_keep:
                call.position = (outbox.turn, len(outbox.chunks))
            size = outbox.send(frame, references)
            if size > _SMALL:
                call.charge = charge_of(size, arguments, references)
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
                self._streaming.left(references)
        else:
            self._hold_or_send(call, frame, references)
        return call

    def cancel(self, call: Call, reason: str = "") -> None:
        """Give up on a call of ours: its token hears no more of it. Once is enough; later ones do nothing."""
        if call.frame is not None:
            self._held.let_go(call, CallCancelled(reason or "cancelled here"))
        elif call.token is not None and self._tables.calls.find(call.id) is call:
            if self._tables.own_pace.take(self._tables.timers.now):
                self._say_cancelled(call, reason)
            else:
                self._tables.calls.cancelled.append((call, reason))
                self._cancel_later()
            call.failure = CallCancelled(reason or "cancelled here")
        call.token = None

    def keep(self, call: Call) -> bool:
        """Have the callee keep the answer, so that it can be pipelined on; with one user, who releases it in the end.

        False when it cannot be: the call has left without, has been answered, was given back by its last user, or too
        many are kept already.
        """
        calls = self._tables.calls
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

    # For the parts of the engine

    def one_way_credit(self, calls: int) -> None:
        """So many one-way calls have ended at the peer.

        Raises:
            ProtocolViolation: P-CALL-7, more than were made.
        """
        table = self._tables.calls
        if table.one_way_room + calls > table.limit:
            raise ProtocolViolation("P-CALL-7", f"{calls} one-way calls have ended that were not made")
        table.one_way_room += calls
        self._held.answered()

    def say_finished(self) -> None:
        """Tell the peer which answers it need not keep any more."""
        calls = self._tables.calls
        finished = [call for call in calls.finished if call.frame is None]  # of others it must not overtake the call
        calls.finished = [call for call in calls.finished if call.frame is not None]
        calls.kept -= len(finished)
        for call in finished:
            self._tables.outbox.send([Op.FINISH, call.id])

    def say_cancelled(self) -> None:
        """Tell the peer of cancels that had to wait, as many as it takes now; calls that were answered need none."""
        calls, pace, now = self._tables.calls, self._tables.own_pace, self._tables.timers.now
        cancelled, calls.cancelled = calls.cancelled, []
        for index, (call, reason) in enumerate(cancelled):
            if calls.find(call.id) is call:
                if not pace.take(now):
                    calls.cancelled = cancelled[index:]
                    self._cancel_later()
                    return
                self._say_cancelled(call, reason)

    def _say_cancelled(self, call: Call, reason: str) -> None:
        self._tables.outbox.send([Op.CANCEL, call.id, cut_text(reason)] if reason else [Op.CANCEL, call.id])

    def _cancel_later(self) -> None:
        now = self._tables.timers.now
        self._tables.timers.set(Timer.CANCELS, now + self._tables.own_pace.wait(now))

    def _made_for(self, call: Call, party: Hashable, method: str, references: Sequence[Reference]) -> bool:
        """Note for whom a call is made; whether there is room for it whatever it takes up and brings.

        Raises:
            ResourceExhausted: `max_streams`, the party has its portion of them.
        """
        call.nested = True
        call.party = party
        call.method = call.target.interface, method
        streams = self._tables.streams
        if references:
            streams.admit(references, party)
        return not streams.may_bring(call) and not references and self._tables.calls.plenty

    def _hold_or_send(self, call: Call, frame: list[Any], references: Sequence[Reference]) -> None:
        """The careful way: the peer may have no room, or may not have said yet how much it takes."""
        calls, outbox = self._tables.calls, self._tables.outbox
        payload = outbox.encode(frame, references)
        # One-way calls of a party are made as ordinary ones as well: of those it is known when they end.
        if not call.id and (len(payload) > LARGEST_ONE_WAY or call.party is not None):
            call.id = calls.next_id()
            payload = with_id(payload, 0, call.id, self._tables.codec.encode)
        call.charge = charge_of(len(payload), frame[4], references) if call.id else 0
        call.references = references
        fits = len(payload) <= outbox.limit
        if fits and calls.may_leave(call):
            call.references = ()
            call.position = (outbox.turn, len(outbox.chunks))
            outbox.put(payload)
            calls.sent(call)
            self._tables.streams.expect(call)
            self._streaming.left(references)
        elif not fits and self._tables.lifecycle.peer is not None:
            outbox.uncount(references)
            raise outbox.too_long(payload)
        else:
            self._held.hold(call, payload, references)

    def _ask_to_keep(self, call: Call) -> bool:
        """Put `keep` into the frame of a call that has not left."""
        outbox = self._tables.outbox
        if call.frame is not None:
            call.frame = with_keep(call.frame, call.meta, self._tables.codec.encode)
            return True
        payload = None if call.position is None else outbox.waiting(*call.position)
        if payload is None or call.position is None:
            return False
        return outbox.put_instead(call.position[1], with_keep(payload, call.meta, self._tables.codec.encode))
