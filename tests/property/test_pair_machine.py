"""The pair machine: two honest engines over a line that delays, splits, stalls and breaks, against a shadow in Python.

The shadow knows what each side hosts, who holds what, which calls wait for an answer and which handlers run. After
every rule the engines must agree with it, and no reference may be lost between them. A second part plants faults into
the engine, one at a time, and expects the machine to notice each.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,  # pyright: ignore[reportUnknownVariableType]
)

from capnet.engine import events as event
from capnet.engine.answers import Answer, Answers, AnswerState
from capnet.engine.calls import Call, Calls
from capnet.engine.engine import Engine
from capnet.engine.exports import CapTable, Export
from capnet.engine.imports import Import, ImportTable
from capnet.engine.inspect import stats
from capnet.errors import CapnetError, InvalidArgument, NotFound, ResourceExhausted, Revoked, Unavailable
from capnet.limits import Limits
from capnet.testing.engines import EnginePair, EngineSide, capability, homeward
from capnet.wire.hello import Hello
from capnet.wire.references import CapRef

LIMITS = Limits(
    max_calls=16, max_caps=16, max_queued_calls=4, max_outgoing_calls=12, max_strikes=10**6,
    handshake_timeout=1e6, partial_frame_timeout=1e6,
)  # fmt: skip
SIDES = st.sampled_from(["left", "right"])
INDEX = st.integers(0, 1000)
CAPS = st.lists(st.tuples(st.sampled_from(["fresh", "known", "home"]), INDEX), max_size=4)


class Subject:
    """What a side hosts."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __repr__(self) -> str:
        return f"<Subject {self.number}>"


class Slot:
    """The shadow of one export: what answers behind its id now and before, and whether it has ended."""

    def __init__(self, export: Export | None, subject: Subject) -> None:
        self.export = export
        self.subject = subject
        self.history = {subject}
        self.ended: str | None = None


class Shadow:
    """What one side should know."""

    def __init__(self, side: EngineSide) -> None:
        self.side = side
        self.subjects: dict[int, Subject] = {}
        self.slots: dict[int, Slot] = {}
        self.handles: list[Import] = []
        self.broken: set[Import] = set()
        self.pending: dict[int, Call] = {}
        self.running: list[Answer] = []
        self.stopped: set[Answer] = set()
        self.pings: set[int] = set()


class PairMachine(RuleBasedStateMachine):
    """Rules are what drivers and the line can do."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = EnginePair(Hello("left", LIMITS), Hello("right", LIMITS))
        self.shadows = {side.name: Shadow(side) for side in self.pair.sides}
        self.serial = 0

    @initialize(greeted=st.booleans())
    def begin(self, greeted: bool) -> None:
        """Begin early, or after the handshake and with little room, so that calls wait on either side."""
        if greeted:
            self.pair.open()
            for side in self.pair.sides:
                side.engine.calls.limit = 4
                side.engine.answers = Answers(3)

    # What drivers do

    @rule(name=SIDES, on=INDEX, caps=CAPS, timeout=st.none() | st.floats(0.1, 5.0), one_way=st.booleans())
    def call(self, name: str, on: int, caps: list[tuple[str, int]], timeout: float | None, one_way: bool) -> None:
        """Call something that is held, or the bootstrap capability, with references of every kind."""
        self._call(self.shadows[name], on, caps, timeout, one_way and on % 4 == 0)

    @rule(name=SIDES, count=st.integers(2, 9), on=INDEX, caps=CAPS)
    def burst(self, name: str, count: int, on: int, caps: list[tuple[str, int]]) -> None:
        """Many calls at once."""
        for number in range(count):
            self._call(self.shadows[name], on + number, caps if number % 3 == 0 else [], None, False)

    @rule(name=SIDES, caps=CAPS, size=st.sampled_from([0, 5_000_000]))
    def call_in_vain(self, name: str, caps: list[tuple[str, int]], size: int) -> None:
        """A call that cannot be sent changes nothing (P-REF-1)."""
        shadow = self.shadows[name]
        if shadow.side.engine.peer is None:
            return
        references, _ = self._references(shadow, caps)
        before = stats(shadow.side.engine)
        text = b"x" * size if size else "\ud800"
        engine, arguments = shadow.side.engine, {"refs": references, "bad": text}
        with pytest.raises((InvalidArgument, ResourceExhausted, Unavailable)):
            engine.call(engine.imports.bootstrap, "vain", arguments, references, "vain")
        assert stats(engine) == before

    @rule(name=SIDES, index=INDEX, caps=CAPS)
    def reply(self, name: str, index: int, caps: list[tuple[str, int]]) -> None:
        """A handler ends with a result; one that was stopped ends as well and says nothing."""
        shadow = self.shadows[name]
        if not shadow.running:
            return
        answer = shadow.running[index % len(shadow.running)]
        references, names = self._references(shadow, caps)
        sent = answer.state is AnswerState.RUNNING and answer.id != 0
        try:
            shadow.side.engine.reply(answer, {"refs": references, "names": names}, references)
        except ResourceExhausted:
            assert answer.state is AnswerState.RUNNING, "the peer holds too much; the answer is still owed"
            return
        if sent:
            self._register(shadow, references)
        self._ended(shadow, answer)

    @rule(name=SIDES, index=INDEX)
    def fail(self, name: str, index: int) -> None:
        """A handler ends with an error."""
        shadow = self.shadows[name]
        if shadow.running:
            answer = shadow.running[index % len(shadow.running)]
            shadow.side.engine.fail(answer, NotFound("as it happens", reason="on purpose"))
            self._ended(shadow, answer)

    @rule(name=SIDES, index=INDEX)
    def cancel(self, name: str, index: int) -> None:
        """A caller gives up; no event of that call follows."""
        shadow = self.shadows[name]
        if shadow.pending:
            token = list(shadow.pending)[index % len(shadow.pending)]
            shadow.side.engine.cancel(shadow.pending.pop(token))
            self._settle()

    @rule(name=SIDES, index=INDEX, count=st.integers(1, 3))
    def release(self, name: str, index: int, count: int) -> None:
        """Owners let go."""
        shadow = self.shadows[name]
        for _ in range(min(count, len(shadow.handles))):
            shadow.side.engine.release(shadow.handles.pop(index % len(shadow.handles)))

    @rule(name=SIDES, index=INDEX, count=st.integers(1, 6))
    def last_words(self, name: str, index: int, count: int) -> None:
        """Calls on a capability whose owners all let go right afterwards: they reach it all the same."""
        shadow = self.shadows[name]
        if shadow.handles:
            imported = shadow.handles[index % len(shadow.handles)]
            for _ in range(count):
                self._call_on(shadow, imported, [], None, False)
            while imported in shadow.handles:
                shadow.handles.remove(imported)
                shadow.side.engine.release(imported)

    @rule(name=SIDES, index=INDEX)
    def hold(self, name: str, index: int) -> None:
        """A second owner of what is held."""
        shadow = self.shadows[name]
        if shadow.handles and not shadow.side.closed:
            imported = shadow.handles[index % len(shadow.handles)]
            shadow.side.engine.hold(imported)
            shadow.handles.append(imported)

    @rule(name=SIDES, index=INDEX, count=st.integers(1, 3))
    def revoke(self, name: str, index: int, count: int) -> None:
        """A host takes capabilities back: from now on no call on them starts or runs (I4)."""
        shadow = self.shadows[name]
        slots = [slot for slot in shadow.slots.values() if slot.ended is None]
        if slots:
            chosen = {(index + number) % len(slots) for number in range(count)}
            exports = [export for number in chosen if (export := slots[number].export) is not None]
            shadow.side.engine.revoke(exports, "on purpose")
            self._settle()
            assert all(shadow.slots[export.id].ended for export in exports)
            assert not any(a.state is AnswerState.RUNNING and a.export in exports for a in shadow.running)

    @rule(name=SIDES, index=INDEX, known=st.booleans())
    def replace(self, name: str, index: int, known: bool) -> None:
        """Another subject answers behind an id, a fresh one or one that is exported already."""
        shadow = self.shadows[name]
        slots = [slot for slot in shadow.slots.values() if slot.ended is None]
        if slots and not shadow.side.closed:
            slot = slots[index % len(slots)]
            assert slot.export is not None
            slot.subject = slots[index // 7 % len(slots)].subject if known else self._fresh(shadow)
            slot.history.add(slot.subject)
            shadow.side.engine.replace([slot.export], slot.subject, index)

    @rule(name=SIDES)
    def ping(self, name: str) -> None:
        """A sign of life is asked for."""
        shadow = self.shadows[name]
        if not shadow.side.closed:
            shadow.pings.add(shadow.side.engine.ping())

    @rule(name=SIDES, grace=st.sampled_from([0.0, 3.0, 60.0]), luck=st.integers(0, 5))
    def goaway(self, name: str, grace: float, luck: int) -> None:
        """One side closes; not too often, or there would be nothing else."""
        if luck == 0:
            self.shadows[name].side.engine.close("on purpose", grace, self.pair.now)
            self._settle()

    # What the line and the clock do

    @rule(name=SIDES, count=st.integers(1, 200))
    def deliver(self, name: str, count: int) -> None:
        """Some bytes arrive, cut anywhere."""
        self.pair.deliver(self.shadows[name].side, count)
        self._settle()

    @rule()
    def flush(self) -> None:
        """The line catches up."""
        self._settle()
        while any(side.incoming.waiting for side in self.pair.sides):
            for side in self.pair.sides:
                self.pair.deliver(side)
                self._settle()

    @rule(seconds=st.floats(0.01, 8.0))
    def advance(self, seconds: float) -> None:
        """Time passes and nothing arrives."""
        self.pair.advance(seconds)
        self._settle()

    @rule(luck=st.integers(0, 19))
    def cut(self, luck: int) -> None:
        """The line breaks."""
        if luck == 0:
            self.pair.cut()
            self._settle()

    # What must hold

    @invariant()
    def agree(self) -> None:
        """The engines' tables are what the shadow says; conservation of references is checked by the pair itself."""
        self.pair.step()
        self._settle()
        for shadow in self.shadows.values():
            engine = shadow.side.engine
            limit = 3 if engine.answers._limit == 3 else LIMITS.max_calls
            assert len(shadow.running) <= limit, "I10: more handlers run than there are slots"
            if shadow.side.closed:
                assert not shadow.pending, "I5: somebody waits for a connection that is over"
                continue
            waiting = [reference for answer in engine.answers.queue for reference in answer.references]
            holders = Counter([*shadow.handles, *(r.subject for r in waiting if isinstance(r, CapRef) and r.id > 0)])
            assert {imported: imported.holders for imported in engine.imports} == dict(holders)
            live = {export.id for export in [*engine.exports, *engine.lingering] if export.revoked is None}
            assert live == {id for id, slot in shadow.slots.items() if slot.ended is None}

    def teardown(self) -> None:
        """Let everything end: handlers, owners, calls; then every table is empty and everything has ended once."""
        if sys.exc_info()[0] is not None:
            return  # a rule has failed: what follows from that must not hide it
        for _ in range(100):
            self.flush()
            for shadow in self.shadows.values():
                for answer in list(shadow.running):
                    shadow.side.engine.reply(answer, None)
                    self._ended(shadow, answer)
                while shadow.handles:
                    shadow.side.engine.release(shadow.handles.pop())
            self._settle()
            self.pair.step()
            if not any(s.running or s.handles or s.side.incoming.waiting for s in self.shadows.values()):
                break
        self.agree()
        for shadow in self.shadows.values():
            assert not shadow.pending, "I5: a call has no end"
            assert not shadow.pings or any(side.closed for side in self.pair.sides)
        self.pair.finish()
        self._settle()
        for shadow in self.shadows.values():
            assert all(slot.ended for slot in shadow.slots.values()), "P-REF-3: an export has no end"

    # How the shadow follows

    def _fresh(self, shadow: Shadow) -> Subject:
        self.serial += 1
        shadow.subjects[self.serial] = subject = Subject(self.serial)
        return subject

    def _references(self, shadow: Shadow, caps: Sequence[tuple[str, int]]) -> tuple[list[CapRef], list[int]]:
        """References as asked for, and beside them the truth: the subject's number, or the id that comes home."""
        references: list[CapRef] = []
        truth: list[int] = []
        known = list(shadow.subjects.values())
        held = [imported for imported in shadow.handles if imported.broken is None]
        for kind, index in caps:
            if kind == "home" and held:
                imported = held[index % len(held)]
                references.append(homeward(imported))
                truth.append(imported.id)
            else:
                subject = known[index % len(known)] if kind == "known" and known else self._fresh(shadow)
                references.append(capability(subject))
                truth.append(subject.number)
        return references, truth

    def _register(self, shadow: Shadow, references: Sequence[CapRef]) -> None:
        """References have left: each stands for a live slot of its subject, an old one if there is one (P-REF-1)."""
        for reference in references:
            if reference.id < 0:
                continue
            subject: Subject = reference.subject
            gone = shadow.side.engine.lingering  # given back already, and only not ended for the calls that wait
            slots = [slot for slot in shadow.slots.items() if slot[1].export not in gone and slot[1].ended is None]
            live = {id for id, slot in slots if slot.subject is subject}
            if reference.id not in shadow.slots:
                assert not live or any(len(shadow.slots[id].history) > 1 for id in live), "exported twice"
                export = shadow.side.engine.exports.find(reference.id)
                assert (export is None) == shadow.side.closed, "only the last reply before the end has gone already"
                shadow.slots[reference.id] = Slot(export, subject)
            else:
                assert reference.id in live, "P-ID-1: an id was used again"

    def _call(
        self, shadow: Shadow, target: int, caps: list[tuple[str, int]], timeout: float | None, one_way: bool
    ) -> None:
        held = shadow.handles
        imported = held[target % len(held)] if held and target % 5 else shadow.side.engine.imports.bootstrap
        self._call_on(shadow, imported, caps, timeout, one_way)

    def _call_on(
        self, shadow: Shadow, imported: Import, caps: list[tuple[str, int]], timeout: float | None, one_way: bool
    ) -> None:
        engine = shadow.side.engine
        references, truth = self._references(shadow, caps)
        self.serial += 1
        arguments = {"refs": references, "names": truth, "target": imported.id}
        refused = not engine.lifecycle.accepts_calls or imported.broken is not None
        before = stats(engine)
        try:
            call = engine.call(
                imported, "m", arguments, references, self.serial, timeout=timeout, one_way=one_way
            )  # fmt: skip
        except (Unavailable, Revoked):
            assert refused and stats(engine) == before
        except ResourceExhausted:
            assert stats(engine) == before
        else:
            assert not refused
            self._register(shadow, references)
            if not one_way:
                shadow.pending[self.serial] = call

    def _ended(self, shadow: Shadow, answer: Answer) -> None:
        shadow.running.remove(answer)
        shadow.stopped.discard(answer)
        self._settle()

    def _settle(self) -> None:
        """Follow what both engines say until they say nothing more."""
        self.pair.step()
        while any(side.events for side in self.pair.sides):
            for shadow in self.shadows.values():
                said, shadow.side.events = shadow.side.events, []
                for happened in said:
                    self._follow(shadow, happened)
            self.pair.step()

    def _follow(self, shadow: Shadow, happened: event.Event) -> None:
        match happened:
            case event.CallArrived():
                self._arrived(shadow, happened.answer)
            case event.AnswerEnded():
                assert happened.answer in shadow.running and happened.answer not in shadow.stopped
                shadow.stopped.add(happened.answer)
            case event.CallReturned():
                assert shadow.pending.pop(happened.token, None) is not None, "I5: a call ended twice"
                if happened.value is not None:
                    self._take(shadow, happened.references, happened.value["names"])
            case event.CallFailed():
                assert shadow.pending.pop(happened.token, None) is not None, "I5: a call ended twice"
                assert happened.error.reason != "released", "an honest peer named what it had given back"
            case event.ExportEnded():
                slot = shadow.slots[happened.export.id]
                assert slot.ended is None, "P-REF-3: an export ended twice"
                slot.ended = happened.reason
            case event.ImportBroken():
                assert happened.imported not in shadow.broken, "broken twice"
                shadow.broken.add(happened.imported)
            case event.PongReceived():
                shadow.pings.discard(happened.number)
            case event.Closed():
                assert happened.cause.kind != "violation", happened.cause
            case _:
                pass

    def _arrived(self, shadow: Shadow, answer: Answer) -> None:
        """A handler starts: what it was called on and what it was given are what the caller meant (I9)."""
        target: int = answer.arguments["target"]
        assert answer.export.id == target
        if target:
            slot = shadow.slots[target]
            assert slot.ended is None, "I4: a call on a revoked capability has started"
            assert answer.export.subject is slot.subject
        self._take(shadow, answer.references, answer.arguments["names"])
        shadow.running.append(answer)

    def _take(self, shadow: Shadow, references: Sequence[Any], truth: list[int]) -> None:
        """References have arrived; each is what the truth beside it says."""
        sender = self.shadows[self.pair.other(shadow.side).name]
        for reference, number in zip(references, truth, strict=True):
            assert isinstance(reference, CapRef)
            if reference.id > 0:
                assert number in {subject.number for subject in sender.slots[reference.id].history}
                assert reference.subject.id == reference.id
                shadow.handles.append(reference.subject)
            else:
                assert reference.subject is shadow.slots[number].export and -reference.id == number


class PairMachineWithNews(PairMachine):
    """The machine, which also looks at what importers know once everything has arrived."""

    def teardown(self) -> None:
        """An importer knows of every revocation that has reached it (P-CAP-6)."""
        if sys.exc_info()[0] is None:
            self.flush()
            self._news_have_arrived()
        super().teardown()

    def _news_have_arrived(self) -> None:
        if not any(side.closed for side in self.pair.sides):
            for shadow in self.shadows.values():
                exporter = self.shadows[self.pair.other(shadow.side).name]
                for imported in shadow.side.engine.imports:
                    assert (exporter.slots[imported.id].ended == "revoked") == (imported.broken is not None)


TestPairMachine = PairMachineWithNews.TestCase  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


# Planted faults

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

    def reply(self: Engine, answer: Answer, value: Any, references: Any = ()) -> None:
        if answer.id and answer.state is AnswerState.ENDED:
            self.outbox.send([3, answer.id, None])
        original(self, answer, value, references)

    original = Engine.reply
    patch.setattr(Engine, "reply", reply)


def slot_freed_on_cancel(patch: pytest.MonkeyPatch) -> None:
    """The slot is given to the next call while the handler still runs."""

    def end_answer(self: Engine, answer: Answer, error: CapnetError) -> None:
        running = answer.state is AnswerState.RUNNING
        original(self, answer, error)
        if running:
            self._finish_answer(answer)

    original = Engine.end_answer
    patch.setattr(Engine, "end_answer", end_answer)


def rollback_lost(patch: pytest.MonkeyPatch) -> None:
    """What a frame that cannot be sent counted stays counted."""

    def uncount(self: CapTable, references: object) -> list[Export]:
        return []

    patch.setattr(CapTable, "uncount", uncount)


def revocation_not_told(patch: pytest.MonkeyPatch) -> None:
    """The importer hears nothing of a revocation."""

    def revoke(self: Engine, exports: Any, reason: str) -> None:
        chunks, self.outbox.chunks = self.outbox.chunks, []
        live = list(self.answers)
        original(self, exports, reason)
        self.outbox.chunks = chunks + (self.outbox.chunks[2:] if live else [])

    original = Engine.revoke
    patch.setattr(Engine, "revoke", revoke)


def ids_used_again(patch: pytest.MonkeyPatch) -> None:
    """A new export gets the lowest id that is free."""

    def add(self: CapTable, reference: CapRef) -> Export:
        after, self._next = self._next, next(id for id in range(2, 10**6) if id not in self._by_id)
        export = original(self, reference)
        self._next = max(after, self._next)
        return export

    original = CapTable._add
    patch.setattr(CapTable, "_add", add)


def late_results_keep_their_references(patch: pytest.MonkeyPatch) -> None:
    """References in results that nobody waits for, and in calls that are refused, are not given back."""

    def release_all(self: Engine, references: object) -> None:
        """Nothing."""

    patch.setattr(Engine, "release_all", release_all)


def replacement_does_nothing(patch: pytest.MonkeyPatch) -> None:
    """Calls go on to the old implementation."""

    def replace(self: CapTable, export: Export, subject: object) -> None:
        """Nothing."""

    patch.setattr(CapTable, "replace", replace)


def drops_overtake_held_calls(patch: pytest.MonkeyPatch) -> None:
    """A capability is given back before a call on it that waits for room has left."""

    def data_to_send(self: Engine) -> list[bytes]:
        self.outbox.take_drops()
        return self.outbox.take()

    patch.setattr(Engine, "data_to_send", data_to_send)


def the_end_forgets_waiters(patch: pytest.MonkeyPatch) -> None:
    """Calls that wait when the connection ends are never told."""

    def clear(self: Calls) -> list[Call]:
        original(self)
        return []

    original = Calls.clear
    patch.setattr(Calls, "clear", clear)


def taken_back_exports_end_silently(patch: pytest.MonkeyPatch) -> None:
    """An export whose only mention was never sent goes without a word, so its close hook never runs."""

    def take_back(self: Engine, call: Call, error: CapnetError | None) -> None:
        said, self.happened = self.happened, []
        original(self, call, error)
        self.happened = said + [new for new in self.happened if not isinstance(new, event.ExportEnded)]

    original = Engine.take_back
    patch.setattr(Engine, "take_back", take_back)


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
]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_the_machine_notices(mutant: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that lets a planted fault pass would prove nothing."""
    mutant(monkeypatch)
    hunt = settings(
        max_examples=400,
        stateful_step_count=40,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    with pytest.raises((AssertionError, KeyError, ValueError, CapnetError)):
        run_state_machine_as_test(PairMachineWithNews, settings=hunt)
