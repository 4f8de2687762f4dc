"""How the shadow follows what both engines say and what is asked of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine

from capnet.engine import events as event
from capnet.engine.answers import Answer, AnswerState
from capnet.engine.calls import Pipelined, Target
from capnet.engine.imports import Import
from capnet.engine.inspect import stats
from capnet.engine.streams import InStream, OutStream
from capnet.errors import CapnetError, ResourceExhausted, Unavailable
from capnet.testing.engines import EnginePair, capability, homeward
from capnet.wire.references import AnswerRef, CapRef, Reference, StreamRef

from .shadow import Asked, Flow, Path, Result, Shadow, Slot, Subject

__all__ = ["ARGUMENTS", "CAPS", "INDEX", "SIDES", "Caps", "Following", "brought"]

Caps = Sequence[tuple[str, int]]
"""References to be made: a kind, and an index that chooses among what there is of it."""

SIDES = st.sampled_from(["left", "right"])
INDEX = st.integers(0, 1000)
_KINDS = ["fresh", "known", "home", "out", "in"]
CAPS = st.lists(st.tuples(st.sampled_from(_KINDS), INDEX), max_size=4)
ARGUMENTS = st.lists(st.tuples(st.sampled_from([*_KINDS, "answer", "answer"]), INDEX), max_size=4)
_VALUES: list[Path] = [(), ("refs", 0), ("names",), ("refs", 1), (), ("names", 0), ("nowhere",)]
"""Where an argument may be asked from."""
_PLACES: list[Path] = [("refs", 0), ("refs", 1), ("names", 0), (), ("refs", 9)]
"""Where a call may be made, beside the first capability."""


class Following(RuleBasedStateMachine):
    """Two engines, and beside them what must be true of them."""

    pair: EnginePair
    shadows: dict[str, Shadow]

    def __init__(self) -> None:
        super().__init__()
        self.flows: dict[int, Flow] = {}
        self.serial = 0

    def other(self, shadow: Shadow) -> Shadow:
        """What the far end should know."""
        return self.shadows[self.pair.other(shadow.side).name]

    def number(self) -> int:
        """A number that nothing else has."""
        self.serial += 1
        return self.serial

    # What is given away

    def fresh(self, shadow: Shadow) -> Subject:
        """Something that was never exported."""
        number = self.number()
        shadow.subjects[number] = subject = Subject(number)
        return subject

    def references(self, shadow: Shadow, caps: Caps) -> tuple[list[Reference], list[Any]]:
        """References as asked for, and beside them the truth.

        That is the subject's number, the id that comes home, the number of the stream, or call and path.
        """
        made: list[Reference] = []
        truth: list[Any] = []
        known = list(shadow.subjects.values())
        held = [imported for imported in shadow.handles if imported.broken is None]
        promises = shadow.usable_promises()
        for kind, index in caps:
            if kind == "home" and held:
                imported = held[index % len(held)]
                made.append(homeward(imported))
                truth.append(imported.id)
            elif kind == "answer" and promises:
                asked, path = promises[index % len(promises)], _VALUES[index // 7 % len(_VALUES)]
                made.append(AnswerRef(asked.call.id, path, Pipelined(asked.call, path, "test.Thing", 1)))
                truth.append([asked.serial, *path])
            elif kind in ("out", "in"):
                consumer = self.other(shadow) if kind == "out" else shadow
                limits = consumer.side.engine.limits
                flow = Flow(self.number(), limits.stream_items, limits.stream_bytes)
                made.append(StreamRef(kind, flow))
                truth.append(flow.number)
            else:
                subject = known[index % len(known)] if kind == "known" and known else self.fresh(shadow)
                made.append(capability(subject))
                truth.append(subject.number)
        return made, truth

    def register(self, shadow: Shadow, references: Iterable[Reference]) -> None:
        """References have left, or wait to."""
        for reference in references:
            if isinstance(reference, StreamRef):
                flow: Flow = reference.subject.token
                self.flows[flow.number] = flow
                flow.attach(reference.subject)
                (shadow.producing if reference.direction == "out" else shadow.consuming).append(flow)
            elif isinstance(reference, CapRef) and reference.id > 0:
                self._register_export(shadow, reference)

    def _register_export(self, shadow: Shadow, reference: CapRef) -> None:
        """It stands for a live slot of its subject, an old one if there is one (P-REF-1)."""
        subject: Subject = reference.subject
        gone = shadow.side.engine.lingering  # given back already, and only not ended for its calls and streams
        slots = [slot for slot in shadow.slots.items() if slot[1].export not in gone and slot[1].ended is None]
        live = {id for id, slot in slots if slot.subject is subject}
        if reference.id not in shadow.slots:
            assert not live or any(len(shadow.slots[id].history) > 1 for id in live), "exported twice"
            export = shadow.side.engine.exports.find(reference.id)
            assert (export is None) == shadow.side.closed, "only the last reply before the end has gone already"
            shadow.slots[reference.id] = Slot(export, subject)
        else:
            assert reference.id in live, "P-ID-1: an id was used again"

    # Calls

    def target(self, shadow: Shadow, index: int) -> Target:
        """Something to call: a promise, a capability of the peer's, or its bootstrap capability."""
        promises, held = shadow.promises, shadow.handles
        if promises and index % 5 in (1, 2):
            return self.promise(promises[index % len(promises)], index // 5)
        return held[index % len(held)] if held and index % 5 else shadow.side.engine.imports.bootstrap

    def promise(self, asked: Asked, index: int) -> Pipelined:
        """What will come at some path; mostly where a capability may stand."""
        path = ("refs", 0) if index % 3 else _PLACES[index // 3 % len(_PLACES)]
        return Pipelined(asked.call, path, "test.Thing", 1)

    def call_on(
        self,
        shadow: Shadow,
        target: Target,
        caps: Caps = (),
        *,
        timeout: float | None = None,
        one_way: bool = False,
        may_keep: bool = False,
    ) -> Asked | None:
        """Make a call; None when it could not be made, and then nothing has changed."""
        engine = shadow.side.engine
        references, truth = self.references(shadow, caps)
        serial = self.number()
        name = self._name(shadow, target)
        made = shadow.made.get(_key(name), 0) + 1
        arguments = {"refs": references, "names": truth, "target": name, "nth": made, "serial": serial}
        refused = not engine.lifecycle.accepts_calls or target.broken is not None
        before = stats(engine)
        try:
            call = engine.call(
                target, "m", arguments, references, serial, timeout=timeout, one_way=one_way, may_keep=may_keep
            )
        except ResourceExhausted:
            assert stats(engine) == before
            return None
        except CapnetError:
            assert refused and stats(engine) == before
            return None
        assert not refused
        self.register(shadow, references)
        shadow.made[_key(name)] = made
        promised: list[list[Any]] = [part for part in truth if isinstance(part, list)]
        needs = [(part[0], tuple(part[1:]), False) for part in promised]
        if isinstance(name, list):
            needs.insert(0, (name[0], tuple(name[1:]), True))
        shadow.asked[serial] = asked = Asked(serial, call, needs, timeout is not None)
        if not one_way:
            shadow.pending[serial] = call
        elif name == 0 and not references:
            shadow.one_way.add(serial)
        return asked

    def keep(self, shadow: Shadow, asked: Asked) -> bool:
        """Have the result kept, if that can still be done; its first owner is new."""
        kept = shadow.side.engine.calling.keep(asked.call)
        if kept:
            shadow.promises.append(asked)
        return kept

    def respond(self, shadow: Shadow, answer: Answer, caps: Caps = ()) -> None:
        """The handler of a call ends with a result."""
        references, names = self.references(shadow, caps)
        sent = answer.state is AnswerState.RUNNING and answer.id != 0
        shadow.side.engine.reply(answer, {"refs": references, "names": names}, references)
        if sent:
            shadow.replied[answer.arguments["serial"]] = Result(references, names)
            self.register(shadow, references)
            self.belong(shadow, answer, references)
        self.ended(shadow, answer)

    def _name(self, shadow: Shadow, target: Target) -> int | list[Any]:
        if isinstance(target, Import):
            return target.id
        asked = next(asked for asked in shadow.promises if asked.call is target.call)
        return [asked.serial, *target.path]

    # Streams

    def produce_one(self, shadow: Shadow, flow: Flow, caps: Caps = ()) -> None:
        """The next item, when there is room for it."""
        assert flow.out is not None
        if not flow.out.room:
            return
        references, truth = self.references(shadow, caps)
        item: Any = {"n": flow.sent, "refs": references, "names": truth} if caps else flow.sent
        before = stats(shadow.side.engine)
        try:
            shadow.side.engine.streaming.send(flow.out, item, references)
        except ResourceExhausted:
            assert stats(shadow.side.engine) == before
        else:
            flow.sent += 1
            self.register(shadow, references)

    def take_batch(self, shadow: Shadow, flow: Flow) -> bool:
        """Take items out of a stream: they are those that were sent, in order (I8). Whether there were any."""
        assert flow.inn is not None
        batch = shadow.side.engine.streaming.take(flow.inn)
        if batch is None:
            return False
        assert not flow.stopped, "I6: delivered to a reader who wants no more"
        values, references, size = batch
        for value in values:
            item: dict[str, Any] = {"n": value, "names": []} if isinstance(value, int) else value
            number = item["n"]
            assert number == flow.received, "I8: an item is missing, or out of order"
            flow.received += 1
            self._take(shadow, references, item["names"])
        flow.hand.append((len(values), size))
        return True

    def use(self, shadow: Shadow, flow: Flow, count: int) -> None:
        """Be done with so many of the items that were taken."""
        assert flow.inn is not None
        while count and flow.hand:
            items, size = flow.hand.popleft()
            used = min(items, count)
            if used < items:
                flow.hand.appendleft((items - used, size))
            shadow.side.engine.streaming.consumed(flow.inn, used, size if used == items else 0)
            flow.used += used
            count -= used

    def end(self, shadow: Shadow, flow: Flow, error: CapnetError | None) -> None:
        """The producer says its last word."""
        assert flow.out is not None and flow.last_word is None
        too_late = flow.out.closed is not None
        shadow.producing.remove(flow)
        shadow.side.engine.streaming.end(flow.out, error)
        flow.last_word = error.reason if error is not None else "closed" if too_late else "clean"

    # What the engines say

    def ended(self, shadow: Shadow, answer: Answer) -> None:
        """The driver is done with a call."""
        shadow.running.remove(answer)
        shadow.stopped.discard(answer)
        self.settle()

    def catch_up(self, arrives: bool) -> None:
        """Let everything arrive, or nothing."""
        self.settle()
        while arrives and any(side.incoming.waiting for side in self.pair.sides):
            for side in self.pair.sides:
                self.pair.deliver(side)
                self.settle()

    def settle(self) -> None:
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
                self._returned(shadow, happened)
            case event.CallFailed():
                self._failed(shadow, happened.token, happened.error)
            case event.StreamChanged():
                happened.stream.token.changed(happened.stream)
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
        """A handler starts: what it was called on and what it was given are what the caller meant (I9), in order."""
        name: int | list[Any] = answer.arguments["target"]
        nth: int = answer.arguments["nth"]
        assert shadow.started.get(_key(name), 0) < nth, "I8: a call has overtaken another on the same reference"
        shadow.started[_key(name)] = nth
        if isinstance(name, list):
            self._arrived_by_promise(shadow, answer, name[0], tuple(name[1:]))
        else:
            assert answer.export is not None and answer.export.id == name
        if answer.export is not None and answer.export.id:
            slot = shadow.slots[answer.export.id]
            assert slot.ended is None, "I4: a call on a revoked capability has started"
            assert answer.export.subject is slot.subject
        self._take(shadow, answer.references, answer.arguments["names"])
        self.belong(shadow, answer, answer.references)
        self.other(shadow).one_way.discard(answer.arguments["serial"])
        shadow.running.append(answer)

    def _arrived_by_promise(self, shadow: Shadow, answer: Answer, source: int, path: Path) -> None:
        """It was made on what would stand at a path of a result: that has come, or has been passed on."""
        place = answer.place
        if isinstance(place, Answer):
            assert answer.export is None
            assert place.arguments["serial"] == source and place.forwarded is shadow
            return
        assert source in shadow.replied, "a call has started on a result that never was"
        reference = shadow.replied[source].at(path)
        assert isinstance(reference, CapRef), "a call has started on what is no capability"
        if reference.id > 0:
            assert answer.export is not None and answer.export.id == reference.id
        else:
            assert answer.export is None and place is reference.subject, "it comes home"
            assert shadow.side.closed or place in list(shadow.side.engine.imports), (
                "where it goes was given back meanwhile"
            )

    def belong(self, shadow: Shadow, answer: Answer, references: Iterable[Reference]) -> None:
        """Streams that a call brought or handed out end with the capability that it was made on (P-CAP-6)."""
        for reference in references:
            if isinstance(reference, StreamRef) and answer.export is not None:
                flow: Flow = reference.subject.token
                flow.parents[shadow.side.name] = answer.export

    def _returned(self, shadow: Shadow, happened: event.CallReturned) -> None:
        serial: int = happened.token
        assert shadow.pending.pop(serial, None) is not None, "I5: a call ended twice"
        shadow.ends[serial] = None
        callee = self.other(shadow)
        for source, _, _ in shadow.asked[serial].needs:
            there = source in callee.replied or source in callee.forwarded
            assert there, "P-CALL-8: what it needs has failed, or is not there yet"
        self._take(shadow, happened.references, happened.value["names"])

    def _failed(self, shadow: Shadow, serial: int, error: CapnetError) -> None:
        """A call of ours has failed, for a reason of its own or with the error of a call that it needs (P-CALL-8)."""
        assert shadow.pending.pop(serial, None) is not None, "I5: a call ended twice"
        assert error.reason != "released", "an honest peer named what it had given back"
        end = shadow.ends[serial] = error.code, error.reason
        asked = shadow.asked[serial]
        sources = [source for source, _, _ in asked.needs]
        passed_on = [source for source in sources if shadow.ends.get(source) == end]
        given_up = any(source not in shadow.ends and source not in shadow.pending for source in sources)
        if passed_on and len(set(sources)) == 1:
            before = shadow.contagion.get(sources[0], 0)
            shadow.contagion[sources[0]] = serial
            assert before < serial, "P-CALL-8: errors of dependents out of order"
        assert passed_on or given_up or self._own_failure(shadow, asked, error), f"whose error is this? {error!r}"

    def _own_failure(self, shadow: Shadow, asked: Asked, error: CapnetError) -> bool:
        """Whether a call may have failed like this by itself."""
        callee = self.other(shadow)
        match error.code, error.reason:
            case "deadline_exceeded", _:
                return asked.timed
            case "failed_precondition", "revoked":
                # Its target, an argument, or something of the caller's that its result names.
                return any(slot.ended == "revoked" for slot in [*callee.slots.values(), *shadow.slots.values()])
            case "failed_precondition", "no_capability":
                return any(self._leads_nowhere(callee, *need) for need in asked.needs)
            case "resource_exhausted", "max_concurrent_calls":
                return True
            case "resource_exhausted", "max_kept_bytes":
                return any(source in callee.replied for source, _, _ in asked.needs)
            case _:
                return isinstance(error, Unavailable) or error.reason == f"call {asked.serial}"

    def _leads_nowhere(self, callee: Shadow, source: int, path: Path, is_target: bool) -> bool:
        result = callee.replied.get(source)
        if result is None:
            return False
        return not (result.can_be_called(path) if is_target else result.can_be_argument(path))

    # What has come

    def _take(self, shadow: Shadow, references: Sequence[Reference], truth: list[Any]) -> None:
        """References have arrived; each is what the truth beside it says. Those after them came out of promises."""
        for reference, name in zip(references[: len(truth)], truth, strict=True):
            if isinstance(reference, AnswerRef):
                assert name == [name[0], *reference.path]
                self._check_value(shadow, reference.subject, shadow.replied[name[0]], reference.path)
            elif isinstance(reference, StreamRef):
                self._take_stream(shadow, reference, name)
            else:
                self._take_capability(shadow, reference, name)
        for reference in references[len(truth) :]:
            assert isinstance(reference, CapRef)
            if isinstance(reference.subject, Import):
                shadow.handles.append(reference.subject)

    def _take_capability(self, shadow: Shadow, reference: CapRef, number: int) -> None:
        if reference.id > 0:
            sender = self.other(shadow)
            assert number in {subject.number for subject in sender.slots[reference.id].history}
            assert reference.subject.id == reference.id
            shadow.handles.append(reference.subject)
        else:
            assert reference.subject is shadow.slots[number].export and -reference.id == number

    def _take_stream(self, shadow: Shadow, reference: StreamRef, number: int) -> None:
        flow = self.flows[number]
        assert isinstance(reference.subject, InStream if reference.direction == "out" else OutStream)
        assert reference.subject.id == -reference.id
        flow.attach(reference.subject)
        (shadow.consuming if reference.direction == "out" else shadow.producing).append(flow)

    def _check_value(self, shadow: Shadow, value: Any, result: Result, path: Path) -> None:
        """What came out of a promise is what was put in."""
        expected = result.at(path)
        if expected is result:
            assert value["names"] == result.truth
            value, expected = value["refs"], result.references
        several = path in ((), ("refs",), ("names",))
        value, meanings = (value, list[Any](expected)) if several else ([value], [expected])
        for found, meant in zip(value, meanings, strict=True):
            if not isinstance(meant, CapRef):
                assert found == meant
            elif meant.id < 0:
                assert found.subject is meant.subject, "I9: another capability of the caller's"
            else:
                assert found.subject is shadow.slots[meant.id].export, "I9: another capability"


def brought(references: Iterable[Reference]) -> Iterator[Import]:
    """What references that have arrived hold, directly or in streams that nobody has taken up."""
    for reference in references:
        if isinstance(reference, CapRef) and isinstance(reference.subject, Import) and reference.id > 0:
            yield reference.subject
        elif isinstance(reference, StreamRef) and isinstance(reference.subject, InStream):
            for _, within, _ in reference.subject.batches:
                yield from brought(within)


def _key(name: int | list[Any]) -> Any:
    return tuple(name) if isinstance(name, list) else name
