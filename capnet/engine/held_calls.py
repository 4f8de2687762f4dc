"""Calls that are held back until the peer has room: they leave, are taken back, or fail for each other (P-LIMIT-2).

Which of them may leave next is in the table, `calls.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from capnet.errors import CapnetError, ResourceExhausted, cut_text
from capnet.limits import Limits, bound
from capnet.wire.frames import Op
from capnet.wire.references import Reference

from .call_frame import LONGEST_ID, with_id
from .calls import Call, Pipelined
from .ending import Ending
from .events import CallFailed
from .importing import Importing
from .lifecycle import CloseCause
from .pins import dropped
from .streaming import Streaming
from .tables import Tables
from .timers import Timer

__all__ = ["HeldCalls"]


class HeldCalls:
    """The calls of one side that have not left."""

    __slots__ = ("_ending", "_importing", "_streaming", "_tables")

    def __init__(self, tables: Tables, importing: Importing, streaming: Streaming, ending: Ending) -> None:
        self._tables = tables
        self._importing = importing
        self._streaming = streaming
        self._ending = ending

    def hold(self, call: Call, payload: bytes, references: Sequence[Reference]) -> None:
        """Hold a call back whose frame has been encoded and counted.

        Raises:
            ResourceExhausted: `max_concurrent_calls`, too many are held for its party; nothing is counted any more.
        """
        calls, timers = self._tables.calls, self._tables.timers
        if len(calls.held.get(call.party, ())) >= self._tables.limits.max_outgoing_calls:
            self._tables.outbox.uncount(references)
            raise _too_many(self._tables.limits)
        call.frame = payload
        if call.party is not None:
            call.charge += LONGEST_ID
        self._tables.exports.hold_back(references)
        self._importing.name(call.named)
        calls.hold(call, timers.now)
        self._tables.streams.expect(call)
        _note_dependence(call)
        if call.nested and not timers.is_set(Timer.HELD):
            timers.set(Timer.HELD, timers.now + self._tables.limits.nested_timeout)

    def let_go(self, call: Call, error: CapnetError) -> None:
        """Nobody waits for it any more: it will not be made."""
        self._tables.calls.let_go(call)
        self.take_back(call, error, silently=True)
        if self._tables.lifecycle.peer is not None:
            self.send_held()  # one behind it may be of the other kind, for which there is room

    def take_back(self, call: Call, error: CapnetError, *, silently: bool = False) -> None:
        """A call that was held back will not be made, nor will those that need its answer.

        What they named is uncounted, and their tokens hear why; that of `call` itself not if `silently`.
        """
        if silently:
            call.token = None
        calls = self._tables.calls
        lost = deque((call,))
        while lost:
            call = lost.popleft()
            self._take_back_one(call, error)
            for dependent in call.dependents or ():
                if dependent.frame is not None:
                    dependent.frame = None
                    calls.let_go(dependent)
                    lost.append(dependent)

    def take_all_back(self, cause: CloseCause) -> None:
        """None of the calls that are held will be made."""
        calls = self._tables.calls
        while calls.held:
            call = next(iter(calls.held.values()))[0]
            calls.let_go(call)
            self.take_back(call, cause.error(seen=False))

    def send_held(self) -> None:
        """Send the calls that were held back, as far as the peer has room."""
        calls, outbox = self._tables.calls, self._tables.outbox
        while calls.held and (call := calls.next_held(self._tables.timers.now)) is not None:
            payload = call.frame
            assert payload is not None
            if call.party is not None:
                before, call.id = call.id, calls.next_id()
                payload = with_id(payload, before, call.id, self._tables.codec.encode)
            if len(payload) > outbox.limit:
                self.take_back(call, outbox.too_long(payload))
                continue
            call.frame = None
            revoked = self._tables.exports.let_go(call.references)
            outbox.put(payload)
            calls.sent(call)
            self._importing.name_no_more(call.named)
            self._streaming.left(call.references)
            for export in revoked:
                outbox.send([Op.CAP_REVOKED, [export.id], cut_text(export.revoked or "")])

    def answered(self) -> None:
        """The peer has answered calls: there may be room for one that was held, or nothing left to wait for."""
        if self._tables.calls.held:
            self.send_held()
        if not self._tables.lifecycle.accepts_calls:
            self._ending.check_drained()

    def look_at_held(self) -> None:
        """Calls that are held may wait for ever, for those that wait for them: these fail (P-LIMIT-2).

        All places at the peer are taken then by calls that wait for something from here, each by one of the peer's
        calls that runs here, or by a stream of ours that waits itself. So nothing is amiss while there are fewer of
        those than there are places, or while something moves.
        """
        calls = self._tables.calls
        again: list[float] = []
        for party, line in list(calls.held.items()):
            nested = [call for call in line if call.nested and call.token is not None]
            due = line.moved + self._tables.limits.nested_timeout
            if nested and due <= self._tables.timers.now:
                waiting = len(self._tables.answers) + calls.streams_that_wait
                if 0 < calls.blocking(party) <= waiting and self._tables.lifecycle.peer is not None:
                    for call in nested:
                        if call.frame is not None:
                            calls.let_go(call)
                            self.take_back(call, _waits_for_itself(calls.limit, self._tables.limits.nested_timeout))
                    continue
                due = self._tables.timers.now + self._tables.limits.nested_timeout
            if nested:
                again.append(due)
        if again:
            self._tables.timers.set(Timer.HELD, min(again))
        self.send_held()

    def _take_back_one(self, call: Call, error: CapnetError) -> None:
        call.frame = None
        call.failure = error
        if call.party is not None:
            self._tables.streams.brought(call, ())
        self._importing.name_no_more(call.named)
        self._tables.exports.let_go(call.references)
        for export in self._tables.exports.uncount(call.references):
            if export.revoked is None:
                dropped(self._tables, export)
        self._streaming.undone(self._tables.streams.undo(call.references), error)
        if call.kept or call in self._tables.calls.finished:
            self._never_kept(call)
        if call.token is not None:
            self._tables.emit(CallFailed(call.token, error))
        call.token = None

    def _never_kept(self, call: Call) -> None:
        calls = self._tables.calls
        calls.kept -= 1
        if call.kept:
            call.kept = False
        else:
            calls.finished.remove(call)


def _note_dependence(call: Call) -> None:
    """A held call goes with those it needs the answers of, should they be taken back."""
    for needed in call.named:
        if type(needed) is Pipelined and needed.call.frame is not None:
            needed.call.dependents = needed.call.dependents or []
            needed.call.dependents.append(call)


def _waits_for_itself(limit: int, seconds: float) -> ResourceExhausted:
    return ResourceExhausted(
        f"max_calls: the peer takes {limit} calls of ours at once, and for {seconds:g} s none has ended that this one, "
        f"made while another is handled or for an item, waits for: they may all wait for calls like this one",
        reason="max_calls",
        hint="calls back are nested too deeply: raise Limits.max_calls, or return before you call back",
    )


def _too_many(limits: Limits) -> ResourceExhausted:
    otherwise = "await some of them before you make others"
    most = bound("max_outgoing_calls", limits.max_outgoing_calls, "caller", otherwise=otherwise)
    return ResourceExhausted(
        f"too many calls wait until the peer has room: {most}", reason="max_concurrent_calls", retry="after-cooldown"
    )
