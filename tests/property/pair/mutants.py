"""Planted faults: each breaks one rule of the engine, and the pair machine must notice it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

from capnet.engine.answering import Answering
from capnet.engine.answers import Answer, AnswerState
from capnet.engine.calls import Call, Calls, Pipelined, Target
from capnet.engine.exporting import Exporting
from capnet.engine.exports import CapTable, Export
from capnet.engine.importing import Importing
from capnet.engine.imports import Import, ImportTable
from capnet.engine.lines import Lines
from capnet.engine.outbox import Outbox
from capnet.engine.pipelines import Kept, Pipelines, Place
from capnet.engine.stream import InStream, OutStream
from capnet.engine.streaming import Streaming
from capnet.errors import CallCancelled, CapnetError
from capnet.wire.references import CapRef, Reference

__all__ = ["MUTANTS", "Patch"]

Patch = Callable[[pytest.MonkeyPatch], None]


def release_drops_all_but_one(patch: pytest.MonkeyPatch) -> None:
    """The last owner gives back one reference only, whatever is owed."""

    def release(self: ImportTable, imported: Import) -> int:
        return min(original(self, imported), 1)

    original = ImportTable.release
    patch.setattr(ImportTable, "release", release)


def release_at_the_first_owner(patch: pytest.MonkeyPatch) -> None:
    """Any owner's release gives everything back."""

    def release(self: ImportTable, imported: Import) -> int:
        imported.holders = 1
        return original(self, imported)

    original = ImportTable.release
    patch.setattr(ImportTable, "release", release)


def two_terminals(patch: pytest.MonkeyPatch) -> None:
    """A handler's result is sent although its call was answered by a cancel or deadline."""

    def reply(self: Answering, answer: Answer, value: Any, references: Any = ()) -> None:
        if answer.id and answer.state is AnswerState.ENDED:
            self._tables.outbox.send([3, answer.id, None])
        original(self, answer, value, references)

    original = Answering.reply
    patch.setattr(Answering, "reply", reply)


def slot_freed_on_cancel(patch: pytest.MonkeyPatch) -> None:
    """The slot is given to the next call while the handler still runs."""

    def end_answer(self: Answering, answer: Answer, error: CapnetError) -> None:
        running = answer.state is AnswerState.RUNNING
        original(self, answer, error)
        if running:
            self._finish(answer)

    original = Answering.end_answer
    patch.setattr(Answering, "end_answer", end_answer)


def rollback_lost(patch: pytest.MonkeyPatch) -> None:
    """What a frame that cannot be sent counted stays counted."""

    def uncount(self: CapTable, references: object) -> list[Export]:
        return []

    patch.setattr(CapTable, "uncount", uncount)


def revocation_not_told(patch: pytest.MonkeyPatch) -> None:
    """The importer hears nothing of a revocation."""

    def revoke(self: Exporting, exports: Any, reason: str) -> None:
        outbox = self._tables.outbox
        chunks, outbox.chunks = outbox.chunks, []
        live = list(self._tables.answers)
        original(self, exports, reason)
        outbox.chunks = chunks + (outbox.chunks[2:] if live else [])

    original = Exporting.revoke
    patch.setattr(Exporting, "revoke", revoke)


def ids_used_again(patch: pytest.MonkeyPatch) -> None:
    """A new export gets the lowest id that is free."""

    def add(self: CapTable, reference: CapRef) -> Export:
        after, self._next = self._next, next(id for id in range(2, 10**6) if id not in self.by_id)
        export = original(self, reference)
        self._next = max(after, self._next)
        return export

    original = CapTable._add
    patch.setattr(CapTable, "_add", add)


def late_results_keep_their_references(patch: pytest.MonkeyPatch) -> None:
    """References in results that nobody waits for, and in calls that are refused, are not given back."""

    def release_all(self: Streaming, references: object) -> None:
        """Nothing."""

    patch.setattr(Streaming, "release_all", release_all)


def replacement_does_nothing(patch: pytest.MonkeyPatch) -> None:
    """Calls go on to the old implementation."""

    def replace(self: CapTable, export: Export, subject: object) -> None:
        """Nothing."""

    patch.setattr(CapTable, "replace", replace)


def drops_overtake_held_calls(patch: pytest.MonkeyPatch) -> None:
    """A capability is given back before a call on it that waits for room has left."""

    _name_only(patch, Pipelined)


def the_end_forgets_waiters(patch: pytest.MonkeyPatch) -> None:
    """Calls that wait when the connection ends are never told."""

    def clear(self: Calls) -> list[Call]:
        original(self)
        return []

    original = Calls.clear
    patch.setattr(Calls, "clear", clear)


def taken_back_exports_end_silently(patch: pytest.MonkeyPatch) -> None:
    """An export whose only mention was never sent goes without a word, so its close hook never runs."""

    def uncount(self: CapTable, references: Iterable[Reference]) -> list[Export]:
        original(self, references)
        return []

    original = CapTable.uncount
    patch.setattr(CapTable, "uncount", uncount)


def credit_not_enforced(patch: pytest.MonkeyPatch) -> None:
    """A producer goes on without credit."""
    patch.setattr(OutStream, "room", property(lambda self: self.closed is None and not self.unsent))
    patch.setattr(Streaming, "send", _send_on_credit(Streaming.send))


def _send_on_credit(original: Callable[..., None]) -> Callable[..., None]:
    def send(self: Streaming, stream: OutStream, value: Any, references: Sequence[Reference] = ()) -> None:
        items, size = stream.items, stream.bytes
        stream.items, stream.bytes = max(items, 1), max(size, 1)
        original(self, stream, value, references)

    return send


def credit_returned_twice(patch: pytest.MonkeyPatch) -> None:
    """What was consumed is granted again with the next credit."""

    def consumed(self: Streaming, stream: InStream, items: int, size: int) -> None:
        owed = stream.owed_items + items
        original(self, stream, items, size)
        if owed and not stream.owed_items:
            self._tables.outbox.send([8, stream.id, owed, 0])

    original = Streaming.consumed
    patch.setattr(Streaming, "consumed", consumed)


def credit_never_returned(patch: pytest.MonkeyPatch) -> None:
    """A stream flows for one window and no more."""

    def consumed(self: Streaming, stream: InStream, items: int, size: int) -> None:
        """Nothing."""

    patch.setattr(Streaming, "consumed", consumed)


def terminal_lost(patch: pytest.MonkeyPatch) -> None:
    """A reader whose stream has ended is not told."""

    def end(self: Streaming, stream: InStream, error: CapnetError | None) -> None:
        stream.ended = True
        stream.error = error

    patch.setattr(Streaming, "_end", end)


def items_after_stop(patch: pytest.MonkeyPatch) -> None:
    """Items that come after a stop are delivered all the same."""

    def items(self: Streaming, stream: InStream, *about: Any) -> None:
        stopped, stream.stopped = stream.stopped, False
        original(self, stream, *about)
        stream.stopped = stopped

    original = Streaming.items
    patch.setattr(Streaming, "items", items)


def stopped_items_keep_their_references(patch: pytest.MonkeyPatch) -> None:
    """What came on a stream that is stopped is forgotten, and the references in it with it."""

    def let_go(self: Streaming, stream: InStream) -> None:
        stream.batches.clear()

    patch.setattr(Streaming, "_let_go", let_go)


def end_overtakes_items(patch: pytest.MonkeyPatch) -> None:
    """An end leaves at once, although items wait for company."""

    def end(self: Streaming, stream: OutStream, error: CapnetError | None = None) -> None:
        stream.batch, stream.batch_bytes = [], 0
        original(self, stream, error)

    original = Streaming.end
    patch.setattr(Streaming, "end", end)


def streams_outlive_revocation(patch: pytest.MonkeyPatch) -> None:
    """Streams that a revoked capability handed out flow on."""

    def revoke(self: Streaming) -> None:
        """Nothing."""

    patch.setattr(Streaming, "revoke", revoke)


def unread_streams_stay_open(patch: pytest.MonkeyPatch) -> None:
    """Streams in a value that nobody will see are not given up."""

    def release(self: Streaming, stream: object) -> None:
        """Nothing."""

    patch.setattr(Streaming, "release", release)


def line_not_kept(patch: pytest.MonkeyPatch) -> None:
    """A call overtakes one on the same capability that waits for an argument."""

    def route(self: Lines, answer: Answer, place: Place) -> None:
        if answer.sources:
            original(self, answer, place)
        else:
            line = self._tables.answers.lines.get(place)
            if line and answer in line:
                line.remove(answer)
            self.enter(answer)

    original = Lines.route
    patch.setattr(Lines, "route", route)


def kept_is_not_released(patch: pytest.MonkeyPatch) -> None:
    """What a kept result held open stays open when it is finished."""

    def finish(self: Pipelines, id: int) -> list[Place]:
        original(self, id)
        return []

    original = Pipelines.finish
    patch.setattr(Pipelines, "finish", finish)


def contagion_lost(patch: pytest.MonkeyPatch) -> None:
    """Calls that need a call which fails wait for ever."""

    def settle(self: Answering, answer: Answer, kept: Kept) -> None:
        if kept.error is None:
            original(self, answer, kept)

    original = Answering._settle
    patch.setattr(Answering, "_settle", settle)


def contagion_with_another_error(patch: pytest.MonkeyPatch) -> None:
    """Calls that need a call which fails are cancelled, whatever it failed with."""

    def settle(self: Answering, answer: Answer, kept: Kept) -> None:
        original(self, answer, kept if kept.error is None else Kept(None, CallCancelled("its source failed")))

    original = Answering._settle
    patch.setattr(Answering, "_settle", settle)


def finish_overtakes_held_calls(patch: pytest.MonkeyPatch) -> None:
    """A result is given back before a call on it that waits for room has left."""

    _name_only(patch, Import)


def _name_only(patch: pytest.MonkeyPatch, kind: type[Target]) -> None:
    """A call that waits holds open only what is of one kind."""

    def name(self: Importing, named: Iterable[Target]) -> None:
        begin(self, [one for one in named if isinstance(one, kind)])

    def name_no_more(self: Importing, named: Iterable[Target]) -> None:
        end(self, [one for one in named if isinstance(one, kind)])

    begin, end = Importing.name, Importing.name_no_more
    patch.setattr(Importing, "name", name)
    patch.setattr(Importing, "name_no_more", name_no_more)


def one_way_credit_lost(patch: pytest.MonkeyPatch) -> None:
    """The caller is not told that one-way calls have ended."""

    def give_one_way_credit(self: Answering) -> None:
        self._tables.answers.one_way_credit(now=not self._tables.lifecycle.accepts_calls)

    patch.setattr(Answering, "give_one_way_credit", give_one_way_credit)


def keep_in_the_wrong_frame(patch: pytest.MonkeyPatch) -> None:
    """`keep` is written into whatever frame is queued last."""

    def put_instead(self: Outbox, position: int, payload: bytes) -> bool:
        return original(self, len(self.chunks) - 2, payload)

    original = Outbox.put_instead
    patch.setattr(Outbox, "put_instead", put_instead)


MUTANTS: list[Patch] = [
    release_drops_all_but_one,
    release_at_the_first_owner,
    two_terminals,
    slot_freed_on_cancel,
    rollback_lost,
    revocation_not_told,
    ids_used_again,
    late_results_keep_their_references,
    replacement_does_nothing,
    drops_overtake_held_calls,
    the_end_forgets_waiters,
    taken_back_exports_end_silently,
    credit_not_enforced,
    credit_returned_twice,
    credit_never_returned,
    terminal_lost,
    items_after_stop,
    stopped_items_keep_their_references,
    end_overtakes_items,
    streams_outlive_revocation,
    unread_streams_stay_open,
    line_not_kept,
    kept_is_not_released,
    contagion_lost,
    contagion_with_another_error,
    finish_overtakes_held_calls,
    one_way_credit_lost,
    keep_in_the_wrong_frame,
]
