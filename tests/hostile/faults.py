"""Planted faults that a peer could use: each has the engine let something pass, and the malicious peer must notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from capnet.engine.answering import Answering
from capnet.engine.answers import Answer, Answers
from capnet.engine.calling import Calling
from capnet.engine.calls import Call, Calls
from capnet.engine.closing import Closing
from capnet.engine.conduct import Conduct
from capnet.engine.engine import Engine
from capnet.engine.exports import CapTable, Export
from capnet.engine.imports import Import, ImportTable
from capnet.engine.inbound import HANDLERS, Inbound
from capnet.engine.lifecycle import CloseCause
from capnet.engine.pipelines import Pipelines, Place
from capnet.engine.resolving import _home, resolve
from capnet.engine.stream import InStream, OutStream
from capnet.engine.streams import Streams
from capnet.engine.tables import Tables
from capnet.engine.timers import Timer, Timers
from capnet.errors import CallCancelled, CapnetError, ProtocolViolation
from capnet.wire.frames import Op
from capnet.wire.references import AnswerRef, CapRef, Reference

__all__ = ["FAULTS", "Patch"]

Patch = Callable[[pytest.MonkeyPatch], None]


def strikes_never_counted(patch: pytest.MonkeyPatch) -> None:
    """Limit errors are free."""
    patch.setattr(Conduct, "count_strike", _does_nothing)


def strikes_never_too_many(patch: pytest.MonkeyPatch) -> None:
    """Limit errors are told of, and that is all."""
    patch.setattr("capnet.engine.strikes.Strikes.add", _does_nothing)


def drop_of_too_many_accepted(patch: pytest.MonkeyPatch) -> None:
    """A peer gives back more references than it was given."""

    def drop(self: CapTable, id: int, count: int) -> Export | None:
        export = self.find(id)
        return original(self, id, min(count, export.given)) if export is not None and export.given else None

    original = CapTable.drop
    patch.setattr(CapTable, "drop", drop)


def order_of_call_ids_not_checked(patch: pytest.MonkeyPatch) -> None:
    """A call id may come again."""
    patch.setattr(Answers, "refuse", _does_nothing)


def credit_overrun_accepted(patch: pytest.MonkeyPatch) -> None:
    """Items come without credit."""

    def charge(self: InStream, items: int, size: int) -> None:
        self.items -= items
        self.bytes -= size
        self.came += items

    patch.setattr(InStream, "charge", charge)


def credit_without_bound_accepted(patch: pytest.MonkeyPatch) -> None:
    """A consumer grants more than anything can hold."""

    def grant(self: OutStream, items: int, size: int) -> None:
        self.items += items
        self.bytes += size
        self.granted += items

    patch.setattr(OutStream, "grant", grant)


def second_answer_accepted(patch: pytest.MonkeyPatch) -> None:
    """A call is answered twice, or one that was never made."""

    def answered(self: Calls, id: int) -> Call:
        call = self.by_id.get(id)
        return original(self, id) if call is not None else Call(id, Import(0, "capnet.Bootstrap", 1), None)

    original = Calls.answered
    patch.setattr(Calls, "answered", answered)


def what_was_never_issued_is_only_gone(patch: pytest.MonkeyPatch) -> None:
    """Capabilities can be guessed at."""

    def find(self: CapTable, id: int) -> Export | None:
        return self.by_id.get(id)

    patch.setattr(CapTable, "find", find)


def revocations_believed(patch: pytest.MonkeyPatch) -> None:
    """A peer takes back what it never gave."""

    def told(self: ImportTable, id: int) -> Import | None:
        return self._by_id.get(id)

    patch.setattr(ImportTable, "told", told)


def imports_without_bound(patch: pytest.MonkeyPatch) -> None:
    """A peer hands over as many capabilities as it likes."""

    def arrive(self: ImportTable, id: int, interface: str, version: int) -> Import:
        self._limit += 1
        return original(self, id, interface, version)

    original = ImportTable.arrive
    patch.setattr(ImportTable, "arrive", arrive)


def kept_answers_without_bound(patch: pytest.MonkeyPatch) -> None:
    """A peer has as many results kept as it likes."""

    def promise(self: Pipelines) -> None:
        self.promised += 1

    patch.setattr(Pipelines, "promise", promise)


def finish_of_anything_accepted(patch: pytest.MonkeyPatch) -> None:
    """What is not kept is finished all the same."""

    def finish(self: Pipelines, id: int) -> list[Place]:
        try:
            return original(self, id)
        except ProtocolViolation:
            return []

    original = Pipelines.finish
    patch.setattr(Pipelines, "finish", finish)


def one_way_calls_without_bound(patch: pytest.MonkeyPatch) -> None:
    """A peer makes as many one-way calls at once as it likes."""

    def take_one_way(self: Answers, size: int) -> None:
        self.one_way_left = max(self.one_way_left - 1, 0)

    patch.setattr(Answers, "take_one_way", take_one_way)


def handlers_without_bound(patch: pytest.MonkeyPatch) -> None:
    """Every call starts at once."""

    def call(self: Inbound, frame: list[Any], references: Any) -> None:
        answers = self._answers
        limit, answers.limit = answers.limit, answers.limit * 1000
        try:
            Inbound.call(self, frame, references)
        finally:
            answers.limit = limit

    patch.setattr("capnet.engine.engine.HANDLERS", {**HANDLERS, Op.CALL: call})


def streams_in_the_wrong_direction(patch: pytest.MonkeyPatch) -> None:
    """The consumer of a stream may end it."""

    def consumed(self: Streams, id: int) -> Any:
        stream = self._by_id.get(id)
        return stream if type(stream) is OutStream else original(self, id)

    original = Streams.consumed
    patch.setattr(Streams, "consumed", consumed)


def controls_without_bound(patch: pytest.MonkeyPatch) -> None:
    """Cancels and pings cost nothing, however many come."""
    patch.setattr(Conduct, "count_control", _does_nothing)


def goes_on_after_a_violation(patch: pytest.MonkeyPatch) -> None:
    """A frame that breaks a clause is left out, and that is all."""
    patch.setattr(Engine, "abort", _does_nothing)


def closes_without_a_word(patch: pytest.MonkeyPatch) -> None:
    """No abort is sent."""

    def by_violation(self: Closing, violation: ProtocolViolation) -> None:
        self._ending.finish(CloseCause("violation", violation.message, violation.clause))

    patch.setattr(Closing, "by_violation", by_violation)


def an_error_that_is_not_declared(patch: pytest.MonkeyPatch) -> None:
    """A frame of the peer's raises in the driver."""

    def error(self: Inbound, frame: list[Any], references: Any) -> None:
        if len(frame) > 4:
            raise ValueError(frame[4]["reason"])
        original(self, frame, references)

    original = Inbound.error
    patch.setattr(Inbound, "error", error)
    patch.setattr("capnet.engine.engine.HANDLERS", {**HANDLERS, Op.ERROR: error})


def deadlines_not_kept(patch: pytest.MonkeyPatch) -> None:
    """A handler may take as long as it likes."""

    def overdue(self: Timers, now: float) -> list[Answer]:
        original(self, now)
        return []

    original = Timers.overdue
    patch.setattr(Timers, "overdue", overdue)


def frames_that_never_end(patch: pytest.MonkeyPatch) -> None:
    """A frame that was begun may stay so."""

    def set_(self: Timers, timer: Timer, when: float) -> None:
        if timer is not Timer.PARTIAL_FRAME:
            original(self, timer, when)

    original = Timers.set
    patch.setattr(Timers, "set", set_)


def cancelled_calls_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A cancel ends a call without an answer."""

    def end_answer(self: Answering, answer: Answer, error: CapnetError) -> None:
        id, answer.id = answer.id, 0 if isinstance(error, CallCancelled) else answer.id
        del id
        original(self, answer, error)

    original = Answering.end_answer
    patch.setattr(Answering, "end_answer", end_answer)


def promises_in_results_accepted(patch: pytest.MonkeyPatch) -> None:
    """An unanswered result travels where it cannot be followed."""

    def resolving(tables: Tables, references: Any, *, promises: bool = False) -> CapnetError | None:
        known = [ref for ref in references if promises or type(ref) is not AnswerRef]
        return resolve(tables, known, promises=promises)

    patch.setattr("capnet.engine.inbound.resolve", resolving)


def what_comes_home_may_say_it_is_more(patch: pytest.MonkeyPatch) -> None:
    """A peer sends home what it was given, as something else."""

    def home(tables: Tables, reference: CapRef) -> Export | None:
        export = tables.exports.named(-reference.id)
        if export is not None and export.id > 1:
            reference.interface, reference.version = export.interface, export.version
        return _home(tables, reference)

    patch.setattr("capnet.engine.resolving._home", home)


def built_in_capabilities_come_home(patch: pytest.MonkeyPatch) -> None:
    """A peer gets hold of what answers for the connection itself."""

    def home(tables: Tables, reference: CapRef) -> Export | None:
        return tables.exports.named(-reference.id)

    patch.setattr("capnet.engine.resolving._home", home)


def what_comes_home_is_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    """A peer brings home what was never given to it."""

    def resolving(tables: Tables, references: list[Reference], *, promises: bool = False) -> CapnetError | None:
        exports = tables.exports.by_id
        known = [ref for ref in references if type(ref) is not CapRef or ref.id > 0 or -ref.id in exports]
        return resolve(tables, known, promises=promises)

    patch.setattr("capnet.engine.inbound.resolve", resolving)


def one_way_credit_from_nothing(patch: pytest.MonkeyPatch) -> None:
    """A peer says that calls have ended which were never made."""

    def one_way_credit(self: Calling, calls: int) -> None:
        table = self._tables.calls
        table.one_way_room = min(table.one_way_room + calls, table.limit)
        self._held.answered()

    patch.setattr(Calling, "one_way_credit", one_way_credit)


def _does_nothing(*_: object) -> None:
    """In the place of what should be done."""


FAULTS: list[Patch] = [
    strikes_never_counted,
    strikes_never_too_many,
    drop_of_too_many_accepted,
    order_of_call_ids_not_checked,
    credit_overrun_accepted,
    credit_without_bound_accepted,
    second_answer_accepted,
    what_was_never_issued_is_only_gone,
    revocations_believed,
    imports_without_bound,
    kept_answers_without_bound,
    finish_of_anything_accepted,
    one_way_calls_without_bound,
    handlers_without_bound,
    streams_in_the_wrong_direction,
    controls_without_bound,
    goes_on_after_a_violation,
    closes_without_a_word,
    an_error_that_is_not_declared,
    deadlines_not_kept,
    frames_that_never_end,
    cancelled_calls_are_forgotten,
    promises_in_results_accepted,
    what_comes_home_may_say_it_is_more,
    built_in_capabilities_come_home,
    what_comes_home_is_not_looked_at,
    one_way_credit_from_nothing,
]
