"""Answering calls: start them in order, reply or fail exactly once, and let those go on that wait for it (P-CALL).

A call starts when what it is made on is known, what it takes from other answers has come, no call on the same
capability waits before it, and a slot is free. Then it enters; everything before that is `WAITING`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from capnet.errors import MAX_REASON, CapnetError, InvalidArgument, ResourceExhausted, Revoked, cut_text, from_wire
from capnet.limits import bound
from capnet.wire.frames import Op
from capnet.wire.references import AnswerRef, CapRef, Reference
from capnet.wire.values import lower, only_data

from . import events as event
from .answers import Answer, AnswerState
from .exports import Export
from .imports import Import
from .ledger import call_charge
from .lifecycle import State
from .pipelines import MOST_TAKEN, Found, Kept, Place

if TYPE_CHECKING:
    from .engine import Engine

__all__ = ["Answering", "homes_in"]

MAX_ERROR_DETAILS: Final = 16 * 1024
"""Longest encoded details of an error; longer ones are left out, whether they come or go."""


class Answering:
    """The calls that one side answers."""

    __slots__ = ("_engine", "_settling")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._settling: deque[tuple[Answer, Kept]] | None = None

    # Intents

    def reply(self, answer: Answer, value: Any, references: Sequence[Reference] = ()) -> None:
        """The handler of `answer` is done and this is its result.

        Raises:
            InvalidArgument, ResourceExhausted: the result cannot be sent; the answer is still owed.
        """
        if answer.id and answer.state is AnswerState.RUNNING:
            engine = self._engine
            size = engine.outbox.send([Op.RESULT, answer.id, value], references)
            if references:
                engine.streaming.left(references)
                if answer.export is not None:
                    engine.streaming.belong_to(answer.export, references)
            if answer.keep or answer.dependents:
                self._settle(answer, engine.pipelines.ended(value, references, size))
        self._finish(answer)

    def fail(self, answer: Answer, error: CapnetError) -> None:
        """The handler of `answer` is done and this is its error."""
        if answer.state is AnswerState.RUNNING:
            self.send_error(answer.id, error)
            self._settle(answer, Kept(None, error))
        self._finish(answer)

    def end_answer(self, answer: Answer, error: CapnetError) -> None:
        """Answer with `error` now, whatever the handler does, and have the handler stopped. Once answered: no-op."""
        engine = self._engine
        if answer.state is AnswerState.RUNNING:
            answer.state = AnswerState.ENDED
            self.send_error(answer.id, error)
            engine.timers.unwatch(answer)
            self._settle(answer, Kept(None, error))
            engine.emit(event.AnswerEnded(answer, error))
        elif answer.state is AnswerState.QUEUED or answer.state is AnswerState.WAITING:
            self._leave(answer)
            answer.state = AnswerState.GONE
            self._no_longer_owed(answer)
            engine.timers.unwatch(answer)
            self.send_error(answer.id, error)
            engine.release_all(answer.references)
            self._settle(answer, Kept(None, error))
            self._unpin(answer.export)
            if isinstance(answer.place, Place):
                self._advance(answer.place)
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
            if _is_on(dependent, answer):
                if dependent.promises:
                    return
                _wait_no_more(dependent, answer)
                dependent.place = answer
                self._enter(dependent)

    def rebuilt(self, answer: Answer, growth: int) -> None:
        """The arguments of a call are about to become what its handler declares.

        Args:
            growth: bytes that each value in them takes up more then.

        Raises:
            ResourceExhausted: there is no room for that. It is no strike: the peer does not know what they become here.
        """
        charge = growth * (answer.values + answer.taken)
        if not self._engine.call_charge.take(charge):
            raise ResourceExhausted(call_charge(self._engine.call_charge), reason="max_call_charge")
        answer.charge += charge
        answer.growth += charge

    # What the peer says

    def accept(self, answer: Answer, sources: Mapping[int, Answer | Kept | None]) -> None:
        """Take a call that is in order but may have to wait, for these answers or behind another call.

        Raises:
            ProtocolViolation: P-LIMIT-4, it is one of too many that want more of other answers than there is room for.
        """
        engine = self._engine
        answer.state = AnswerState.WAITING
        answer.place = answer.export
        engine.answers.waiting[answer.id or answer] = answer
        self._pin(answer.export)
        kept = {id: source for id, source in sources.items() if isinstance(source, Kept)}
        for result in kept.values():
            result.budget = MOST_TAKEN
        if kept and not self._take(answer, kept):
            engine.check_pace()
            return
        for id, source in sources.items():
            if id not in kept:
                assert isinstance(source, Answer), "a call that needs what is not kept is refused"
                _wait_for(answer, source)
                if source.forwarded is not None and _is_on(answer, source):
                    engine.emit(event.CallFollows(source))
        if isinstance(answer.place, Place):
            self._route(answer, answer.place)

    def refuse(self, id: int, error: CapnetError, references: Sequence[Reference], keep: bool) -> None:
        """Answer a call that does not start."""
        engine = self._engine
        engine.release_all(references)
        if id:
            self.send_error(id, error)
            if keep:
                engine.pipelines.keep(id, Kept(None, error))
        else:
            self._one_way_ended()

    def finished(self, id: int) -> None:
        """The peer will not ask for anything in that result any more."""
        for place in self._engine.pipelines.finish(id):
            self._let_go(place)

    # For the parts of the engine

    def hold_homes(self, answer: Answer, references: Iterable[Reference]) -> None:
        """Exports of ours that come with a call stay open until it is done, whatever the peer drops meanwhile."""
        homes = homes_in(references)
        if homes:
            answer.homes = (answer.homes or []) + homes
            self.pin(homes)

    def pin(self, exports: Iterable[Export]) -> None:
        """Keep these exports open."""
        for export in exports:
            export.pins += 1

    def unpin(self, exports: Iterable[Export]) -> None:
        """Undo one `pin` of each: those that the peer has dropped meanwhile end with their last."""
        for export in exports:
            self._unpin(export)

    def send_error(self, id: int, error: CapnetError) -> None:
        """Send the error terminal of a call; nothing for a one-way call."""
        if id:
            self._engine.outbox.send([Op.ERROR, id, *self.error_fields(error)])

    def error_fields(self, error: CapnetError) -> list[Any]:
        """Code, message and details as they stand in frames."""
        code, message, details = error.to_wire()
        return [code, message] if details is None else [code, message, self.bounded(details)]

    def as_sent(self, error: CapnetError) -> CapnetError:
        """A new error that says what the peer is told, and leads to nothing of the call that has raised it."""
        code, message, *details = self.error_fields(error)
        return from_wire(code, message, details[0] if details else None)

    def bounded(self, details: Mapping[str, Any]) -> dict[str, Any]:
        """The details of an error as they may travel: whole, or only what a caller must know to react (P-ERR-1)."""
        engine = self._engine
        try:
            plain: dict[str, Any]
            plain, references = lower(details, only_data, engine.bounds)
            if not references and len(engine.codec.encode([plain])) <= MAX_ERROR_DETAILS:
                return plain
        except InvalidArgument:
            pass
        return {key: cut_text(str(details[key]), MAX_REASON) for key in ("reason", "retry") if key in details}

    def revoke(self) -> None:
        """Answer the calls on capabilities that are revoked now."""
        # From the end of each line, so that none moves up and starts.
        for answer in reversed(list(self._engine.answers)):
            if answer.export is not None and answer.export.revoked is not None:
                self.end_answer(answer, Revoked(answer.export.revoked))

    def give_one_way_credit(self) -> None:
        """Tell the peer of one-way calls that have ended, when it is time; at once when it may be waiting to close."""
        engine = self._engine
        credit = engine.answers.one_way_credit(now=not engine.lifecycle.accepts_calls)
        if credit:
            engine.outbox.send([Op.CREDIT, 0, credit, 0])

    def export_dropped(self, export: Export) -> None:
        """Say that the peer has given an export back; not while something here still leads to it."""
        if export.pins:
            self._engine.lingering[export] = None
        else:
            self._engine.emit(event.ExportEnded(export, "dropped"))

    # The way of a call

    def _take(self, answer: Answer, kept: Mapping[int, Kept]) -> bool:
        """Take what the answer needs of others that have ended. Whether it can go on."""
        try:
            if answer.target is not None and answer.target[0] in kept:
                self._aim(answer, kept[answer.target[0]].place_at(answer.target[1:]))
            if answer.promises:
                self._fill(answer, kept)
        except CapnetError as error:
            self.end_answer(answer, error)
            return False
        return True

    def _aim(self, answer: Answer, place: Place) -> None:
        """What the call is made on is known."""
        answer.target = None
        answer.place = place
        if isinstance(place, Export):
            answer.export = place
            self._pin(place)
        else:
            self._engine.hold(place)  # until the call has ended: its driver makes it again there

    def _fill(self, answer: Answer, kept: Mapping[int, Kept]) -> None:
        """Put results in the place of the arguments that ask for them: all that do, or none is copied."""
        engine = self._engine
        found = self._look(answer, kept)
        references: list[CapRef] = []
        count = charge = 0
        for promise, one in found:
            promise.subject, taken = one.taken()
            references += taken
            count += one.count
            charge += one.charge
        answer.taken += count
        answer.charge += charge
        engine.call_charge.add(charge)
        engine.spend(count)
        for reference in references:
            if type(reference.subject) is Import:
                engine.hold(reference.subject)
        if references:
            answer.references = [*answer.references, *references]
            self.hold_homes(answer, references)

    def _look(self, answer: Answer, kept: Mapping[int, Kept]) -> list[tuple[AnswerRef, Found]]:
        """What the arguments ask for that come of these results, when there is room for it.

        Raises:
            CapnetError: a result's own error. FailedPrecondition, Revoked: it is not there. ResourceExhausted: it is
            too much.
        """
        engine = self._engine
        limits, wanted = engine.limits, answer.promises or {}
        room = limits.max_items - answer.taken
        references = len(answer.references)
        found: list[tuple[AnswerRef, Found]] = []
        walked = 0
        try:
            for id, source in kept.items():
                for promise in wanted.get(id, ()):
                    one = source.look(promise.path, room)
                    count = room if one is None else one.count
                    if promise.path:
                        walked += count
                    if one is None:
                        most = bound("max_items", limits.max_items, "callee")
                        raise self._refused(f"a call takes too many values out of other results: {most}", "max_items")
                    if source.budget <= 0:
                        text = f"calls take more than {MOST_TAKEN} values out of one result at once"
                        raise self._refused(text, "max_items")
                    source.budget -= count
                    room -= count
                    references += len(one.references)
                    if references > limits.max_references:
                        most = bound("max_references", limits.max_references, "callee")
                        raise self._refused(f"a call takes too many references: {most}", "max_references")
                    found.append((promise, one))
        finally:
            engine.spend(walked)
        if found and not engine.call_charge.has_room(sum(one.charge for _, one in found)):
            raise self._refused(call_charge(engine.call_charge), "max_call_charge")
        return found

    def _refused(self, message: str, reason: str) -> ResourceExhausted:
        """The error for a call that asks for too much; it counts like others that are refused."""
        self._engine.control_pace.spend(self._engine.now)
        return ResourceExhausted(message, reason=reason)

    def _route(self, answer: Answer, place: Place) -> None:
        """Start the call, or put it in line behind those that wait on the same capability."""
        lines = self._engine.answers.lines
        if answer.sources or place in lines:
            line = lines.setdefault(place, deque())
            if answer not in line:
                line.append(answer)
            self._advance(place)
        else:
            self._enter(answer)

    def _advance(self, place: Place) -> None:
        """Start the calls at the head of the line that wait for nothing else."""
        lines = self._engine.answers.lines
        line = lines.get(place)
        while line and not line[0].sources:
            self._enter(line.popleft())
        if line is not None and not line:
            del lines[place]

    def _enter(self, answer: Answer) -> None:
        """Nothing but a slot is missing."""
        engine = self._engine
        del engine.answers.waiting[answer.id or answer]
        if answer.references and answer.export is not None:
            engine.streaming.belong_to(answer.export, answer.references)
        if engine.answers.full:
            answer.state = AnswerState.QUEUED
            engine.answers.queue.append(answer)
        else:
            engine.answers.start(answer)
            engine.happened.append(event.CallArrived(answer))

    def _leave(self, answer: Answer) -> None:
        """Wait for nothing any more."""
        answers = self._engine.answers
        if answer.state is AnswerState.QUEUED:
            answers.queue.remove(answer)
            return
        del answers.waiting[answer.id or answer]
        for source in list(answer.sources or ()):
            _wait_no_more(answer, source)
        line = answers.lines.get(answer.place) if isinstance(answer.place, Place) else None
        if line and answer in line:
            line.remove(answer)

    def _settle(self, answer: Answer, kept: Kept) -> None:
        """The answer has ended like this: those that wait for it go on, and it is kept if that was asked for.

        Those that fail with it are settled after it and not within: a chain may be longer than the stack is deep.
        """
        if kept.error is not None and (answer.dependents or answer.keep):
            kept.error = self.as_sent(kept.error)  # what was raised would keep its traceback, and so the arguments
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
            _wait_no_more(dependent, answer)
            if self._take(dependent, {answer.id: kept}) and isinstance(dependent.place, Place):
                self._route(dependent, dependent.place)
        if answer.keep:
            answer.keep = False  # from here on the table of what is kept knows, also while its handler still stops
            self._engine.spend(kept.whole.count)  # a copy of it was made
            for place in self._engine.pipelines.keep(answer.id, kept):
                if isinstance(place, Export):
                    self._pin(place)
                else:
                    self._engine.hold(place)

    def _finish(self, answer: Answer) -> None:
        engine = self._engine
        if answer.state is AnswerState.RUNNING:
            engine.timers.unwatch(answer)
        elif answer.state is not AnswerState.ENDED:
            return  # the connection closed meanwhile
        answers = engine.answers
        answers.finish(answer)
        self._no_longer_owed(answer)
        self._unpin(answer.export)
        self._let_go_of_what_it_held(answer)
        waiting = answers.next_queued() if answers.queue else None
        if waiting is not None:
            engine.emit(event.CallArrived(waiting))
        elif engine.lifecycle.state is State.DRAINING:
            engine.closing.check_drained()

    def _no_longer_owed(self, answer: Answer) -> None:
        self._engine.call_charge.give(answer.charge)
        if answer.id:
            self._engine.answers.owed -= 1
        else:
            self._one_way_ended()

    def _one_way_ended(self) -> None:
        self._engine.answers.one_way_ended += 1
        self.give_one_way_credit()

    # What is held open

    def _let_go_of_what_it_held(self, answer: Answer) -> None:
        if type(answer.place) is Import:
            self._engine.release(answer.place)
        if answer.homes is not None:
            homes, answer.homes = answer.homes, None
            self.unpin(homes)

    def _pin(self, export: Export | None) -> None:
        if export is not None:
            export.pins += 1

    def _unpin(self, export: Export | None) -> None:
        if export is not None:
            export.pins -= 1
            if not export.pins and export in self._engine.lingering:
                del self._engine.lingering[export]
                self._engine.emit(event.ExportEnded(export, "dropped"))

    def _let_go(self, place: Place) -> None:
        if isinstance(place, Export):
            self._unpin(place)
        else:
            self._engine.release(place)


def homes_in(references: Iterable[Reference]) -> list[Export]:
    """The exports that have come home among what has arrived."""
    return [
        reference.subject for reference in references if type(reference) is CapRef and type(reference.subject) is Export
    ]


def _is_on(answer: Answer, source: Answer) -> bool:
    """Whether the call is made on what will come of `source`."""
    return answer.target is not None and answer.target[0] == source.id


def _wait_for(answer: Answer, source: Answer) -> None:
    answer.sources = answer.sources or []
    answer.sources.append(source)
    source.dependents = source.dependents or []
    source.dependents.append(answer)


def _wait_no_more(answer: Answer, source: Answer) -> None:
    assert answer.sources is not None and source.dependents is not None
    answer.sources.remove(source)
    source.dependents.remove(answer)
