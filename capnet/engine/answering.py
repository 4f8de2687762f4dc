"""Answering calls: take them, reply or fail exactly once, and let those go on that wait for it (P-CALL).

When a call that waits may start is in `lines.py`, what it takes from others in `pipelining.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from capnet.errors import CapnetError, ResourceExhausted, Revoked
from capnet.wire.frames import Op
from capnet.wire.references import Reference

from .answers import Answer, AnswerState
from .conduct import Conduct
from .ending import Ending
from .error_fields import as_sent, error_fields
from .events import AnswerEnded, CallArrived, CallFollows
from .exports import Export
from .importing import Importing
from .imports import Import
from .ledger import call_charge
from .lifecycle import State
from .lines import Lines, is_on, wait_for, wait_no_more
from .pins import pin, unpin, unpin_all
from .pipelines import MOST_TAKEN, Kept, Place
from .pipelining import Pipelining
from .streaming import Streaming
from .tables import Tables

__all__ = ["Answering"]


class Answering:
    """The calls that one side answers."""

    __slots__ = ("_conduct", "_ending", "_importing", "_lines", "_pipelining", "_settling", "_streaming", "_tables")

    def __init__(
        self, tables: Tables, importing: Importing, streaming: Streaming, conduct: Conduct, ending: Ending
    ) -> None:
        self._tables = tables
        self._importing = importing
        self._streaming = streaming
        self._conduct = conduct
        self._ending = ending
        self._lines = Lines(tables, streaming)
        self._pipelining = Pipelining(tables, importing, conduct)
        self._settling: deque[tuple[Answer, Kept]] | None = None

    # Intents

    def reply(self, answer: Answer, value: Any, references: Sequence[Reference] = ()) -> None:
        """The handler of `answer` is done and this is its result.

        Raises:
            InvalidArgument, ResourceExhausted: the result cannot be sent; the answer is still owed.
        """
        if answer.id and answer.state is AnswerState.RUNNING:
            size = self._tables.outbox.send([Op.RESULT, answer.id, value], references)
            if references:
                self._streaming.left(references)
                if answer.export is not None:
                    self._streaming.belong_to(answer.export, references)
            if answer.keep or answer.dependents:
                self._settle(answer, self._tables.pipelines.ended(value, references, size))
        self._finish(answer)

    def fail(self, answer: Answer, error: CapnetError) -> None:
        """The handler of `answer` is done and this is its error."""
        if answer.state is AnswerState.RUNNING:
            self.send_error(answer.id, error)
            self._settle(answer, Kept(None, error))
        self._finish(answer)

    def end_answer(self, answer: Answer, error: CapnetError) -> None:
        """Answer with `error` now, whatever the handler does, and have the handler stopped. Once answered: no-op."""
        if answer.state is AnswerState.RUNNING:
            answer.state = AnswerState.ENDED
            self.send_error(answer.id, error)
            self._tables.timers.unwatch(answer)
            self._settle(answer, Kept(None, error))
            self._tables.emit(AnswerEnded(answer, error))
        elif answer.state is AnswerState.QUEUED or answer.state is AnswerState.WAITING:
            self._lines.leave(answer)
            answer.state = AnswerState.GONE
            self._tables.call_charge.give(answer.charge)
            if answer.id:
                self._tables.answers.owed -= 1
            else:
                self._one_way_ended()
            self._tables.timers.unwatch(answer)
            self.send_error(answer.id, error)
            self._streaming.release_all(answer.references)
            self._settle(answer, Kept(None, error))
            unpin(self._tables, answer.export)
            if isinstance(answer.place, Place):
                self._lines.advance(answer.place)
            self._let_go_of_what_it_held(answer)

    def forward(self, answer: Answer, token: Any) -> None:
        """The handler of `answer` has passed it on: the calls that wait for what will come of it go the same way.

        They arrive with no `export` and with `answer` as their `place`, which has the token as `forwarded`. One that
        waits for an argument stays, with those behind it. Of each that comes later a `CallFollows` tells: call this
        again to let it go, too.
        """
        if answer.state is not AnswerState.RUNNING:
            return  # those that waited for it have been told
        answer.forwarded = token
        for dependent in list(answer.dependents or ()):
            if is_on(dependent, answer):
                if dependent.promises:
                    return
                wait_no_more(dependent, answer)
                dependent.place = answer
                self._lines.enter(dependent)

    def rebuilt(self, answer: Answer, growth: int) -> None:
        """The arguments of a call are about to become what its handler declares.

        Args:
            growth: bytes that each value in them takes up more then.

        Raises:
            ResourceExhausted: there is no room for that. It is no strike: the peer does not know what they become here.
        """
        charge = growth * (answer.values + answer.taken)
        if not self._tables.call_charge.take(charge):
            raise ResourceExhausted(call_charge(self._tables.call_charge), reason="max_call_charge")
        answer.charge += charge
        answer.growth += charge

    # What the peer says

    def accept(self, answer: Answer, sources: Mapping[int, Answer | Kept | None]) -> None:
        """Take a call that is in order but may have to wait, for these answers or behind another call.

        Raises:
            ProtocolViolation: P-LIMIT-4, it is one of too many that want more of other answers than there is room for.
        """
        answer.state = AnswerState.WAITING
        answer.place = answer.export
        self._tables.answers.waiting[answer.id or answer] = answer
        pin(answer.export)
        kept = {id: source for id, source in sources.items() if isinstance(source, Kept)}
        for result in kept.values():
            result.budget = MOST_TAKEN
        if kept and not self._take(answer, kept):
            self._conduct.check_pace()
            return
        for id, source in sources.items():
            if id not in kept:
                assert isinstance(source, Answer), "a call that needs what is not kept is refused"
                wait_for(answer, source)
                if source.forwarded is not None and is_on(answer, source):
                    self._tables.emit(CallFollows(source))
        if isinstance(answer.place, Place):
            self._lines.route(answer, answer.place)

    def refuse(self, id: int, error: CapnetError, references: Sequence[Reference], keep: bool) -> None:
        """Answer a call that does not start."""
        self._streaming.release_all(references)
        if id:
            self.send_error(id, error)
            if keep:
                self._tables.pipelines.keep(id, Kept(None, error))
        else:
            self._one_way_ended()

    def finished(self, id: int) -> None:
        """The peer will not ask for anything in that result any more."""
        for place in self._tables.pipelines.finish(id):
            self._let_go(place)

    # For the parts of the engine

    def send_error(self, id: int, error: CapnetError) -> None:
        """Send the error terminal of a call; nothing for a one-way call."""
        if id:
            self._tables.outbox.send([Op.ERROR, id, *error_fields(self._tables.outbox, error)])

    def revoke(self) -> None:
        """Answer the calls on capabilities that are revoked now."""
        # From the end of each line, so that none moves up and starts.
        for answer in reversed(list(self._tables.answers)):
            if answer.export is not None and answer.export.revoked is not None:
                self.end_answer(answer, Revoked(answer.export.revoked))

    def give_one_way_credit(self) -> None:
        """Tell the peer of one-way calls that have ended, when it is time; at once when it may be waiting to close."""
        credit = self._tables.answers.one_way_credit(now=not self._tables.lifecycle.accepts_calls)
        if credit:
            self._tables.outbox.send([Op.CREDIT, 0, credit, 0])

    # The way of a call

    def _take(self, answer: Answer, kept: Mapping[int, Kept]) -> bool:
        """Take what the answer needs of others that have ended. Whether it can go on."""
        try:
            self._pipelining.take(answer, kept)
        except CapnetError as error:
            self.end_answer(answer, error)
            return False
        return True

    def _settle(self, answer: Answer, kept: Kept) -> None:
        """The answer has ended like this: those that wait for it go on, and it is kept if that was asked for.

        Those that fail with it are settled after it and not within: a chain may be longer than the stack is deep.
        """
        if kept.error is not None and (answer.dependents or answer.keep):
            # What was raised would keep its traceback, and so the arguments.
            kept.error = as_sent(self._tables.outbox, kept.error)
        if self._settling is not None:
            self._settling.append((answer, kept))
            return
        self._settling = settling = deque(((answer, kept),))
        try:
            while settling:
                self._settle_one(*settling.popleft())
        finally:
            self._settling = None

    def _settle_one(self, answer: Answer, kept: Kept) -> None:
        while answer.dependents:
            # One by one: those behind it wait until they have taken what they need themselves.
            dependent = answer.dependents[0]
            wait_no_more(dependent, answer)
            if self._take(dependent, {answer.id: kept}) and isinstance(dependent.place, Place):
                self._lines.route(dependent, dependent.place)
        if answer.keep:
            answer.keep = False  # from here on the table of what is kept knows, also while its handler still stops
            self._tables.turn.spend(kept.whole.count)  # a copy of it was made
            for place in self._tables.pipelines.keep(answer.id, kept):
                if isinstance(place, Export):
                    pin(place)
                else:
                    self._importing.hold(place)

    def _finish(self, answer: Answer) -> None:
        tables = self._tables
        if answer.state is AnswerState.RUNNING:
            if answer.deadline is not None:
                tables.timers.unwatch(answer)
        elif answer.state is not AnswerState.ENDED:
            return  # the connection closed meanwhile
        answers = tables.answers
        answers.finish(answer)
        tables.call_charge.give(answer.charge)
        if not answer.id:
            self._one_way_ended()
        export = answer.export
        if tables.exports.lingering:
            unpin(tables, export)
        elif export is not None:
            export.pins -= 1
        if answer.place is not None or answer.homes is not None:
            self._let_go_of_what_it_held(answer)
        waiting = answers.next_queued() if answers.queue else None
        if waiting is not None:
            tables.emit(CallArrived(waiting))
        elif tables.lifecycle.state is State.DRAINING:
            self._ending.check_drained()

    def _one_way_ended(self) -> None:
        self._tables.answers.one_way_ended += 1
        self.give_one_way_credit()

    # What is held open

    def _let_go_of_what_it_held(self, answer: Answer) -> None:
        if type(answer.place) is Import:
            self._importing.release(answer.place)
        if answer.homes is not None:
            homes, answer.homes = answer.homes, None
            unpin_all(self._tables, homes)

    def _let_go(self, place: Place) -> None:
        if isinstance(place, Export):
            unpin(self._tables, place)
        else:
            self._importing.release(place)
