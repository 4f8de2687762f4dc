"""What drivers ask of the engines, and how the shadow takes it down."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from capnet.engine import events as event
from capnet.engine.answers import Answer, AnswerState
from capnet.engine.calls import Pipelined, Target
from capnet.engine.exports import Export
from capnet.engine.imports import Import
from capnet.engine.inspect import stats
from capnet.errors import CapnetError, ResourceExhausted
from capnet.testing.engines import capability, homeward
from capnet.wire.references import AnswerRef, CapRef, Reference, StreamRef

from .following import Following, key
from .shadow import Asked, Flow, Path, Result, Shadow, Slot, Subject

__all__ = ["Asking", "Caps"]

Caps = Sequence[tuple[str, int]]
"""References to be made: a kind, and an index that chooses among what there is of it."""

_VALUES: list[Path] = [(), ("refs", 0), ("names",), ("refs", 1), (), ("names", 0), ("nowhere",)]
"""Where an argument may be asked from."""
_PLACES: list[Path] = [("refs", 0), ("refs", 1), ("names", 0), (), ("refs", 9)]
"""Where a call may be made, beside the first capability."""


class Asking(Following):
    """Intents, each with what it must change."""

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
                self.watched.append(flow)
                flow.attach(reference.subject)
                (shadow.producing if reference.direction == "out" else shadow.consuming).append(flow)
            elif isinstance(reference, CapRef) and reference.id > 0:
                self._register_export(shadow, reference)

    def _register_export(self, shadow: Shadow, reference: CapRef) -> None:
        """It stands for a live slot of its subject, an old one if there is one (P-REF-1)."""
        subject: Subject = reference.subject
        engine = shadow.side.engine
        # Given back already, and not ended only for its calls and streams; or the last of these has ended just now.
        gone = {*engine.exports.lingering, *_dropped(engine.tables.happened)}
        slots = [slot for slot in shadow.slots.items() if slot[1].export not in gone and slot[1].ended is None]
        live = {id for id, slot in slots if slot.subject is subject}
        if reference.id not in shadow.slots:
            assert not live or any(len(shadow.slots[id].history) > 1 for id in live), "exported twice"
            export = engine.exports.find(reference.id)
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
        self.steps += 1
        engine = shadow.side.engine
        references, truth = self.references(shadow, caps)
        serial = self.number()
        name = self._name(shadow, target)
        made = shadow.made.get(key(name), 0) + 1
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
        shadow.made[key(name)] = made
        promised: list[list[Any]] = [part for part in truth if isinstance(part, list)]
        needs = [(part[0], tuple(part[1:]), False) for part in promised]
        if isinstance(name, list):
            needs.insert(0, (name[0], tuple(name[1:]), True))
        shadow.asked[serial] = asked = Asked(serial, call, needs, timeout is not None)
        if not one_way:
            shadow.pending[serial] = call
        elif name == 0 and not references and timeout is None:
            shadow.one_way.add(serial)
        return asked

    def keep(self, shadow: Shadow, asked: Asked) -> bool:
        """Have the result kept, if that can still be done; its first owner is new."""
        self.steps += 1
        kept = shadow.side.engine.calling.keep(asked.call)
        if kept:
            shadow.promises.append(asked)
        return kept

    def let_go(self, shadow: Shadow, held: Target) -> None:
        """One owner less."""
        self.steps += 1
        shadow.side.engine.release(held)

    def respond(self, shadow: Shadow, answer: Answer, caps: Caps = ()) -> None:
        """The handler of a call ends with a result."""
        self.steps += 1
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
        self.steps += 1
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
        self.steps += 1
        batch = shadow.side.engine.streaming.take(flow.inn)
        if batch is None:
            return False
        assert not flow.stopped, "I6: delivered to a reader who wants no more"
        values, references, size = batch[:3]
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
            self.steps += 1
            used = min(items, count)
            if used < items:
                flow.hand.appendleft((items - used, size))
            shadow.side.engine.streaming.consumed(flow.inn, used, size if used == items else 0)
            flow.used += used
            count -= used

    def end(self, shadow: Shadow, flow: Flow, error: CapnetError | None) -> None:
        """The producer says its last word."""
        assert flow.out is not None and flow.last_word is None
        self.steps += 1
        too_late = flow.out.closed is not None
        shadow.producing.remove(flow)
        shadow.side.engine.streaming.end(flow.out, error)
        flow.last_word = error.reason if error is not None else "closed" if too_late else "clean"


def _dropped(happened: Iterable[event.Event]) -> list[Export]:
    return [said.export for said in happened if isinstance(said, event.ExportEnded) and said.reason == "dropped"]
