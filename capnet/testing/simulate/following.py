"""How the shadow follows what both engines say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from capnet.engine import events as event
from capnet.engine.answers import Answer
from capnet.engine.imports import Import
from capnet.engine.stream import InStream, OutStream
from capnet.errors import CapnetError, Unavailable
from capnet.testing.engines import EnginePair, EngineSide
from capnet.wire.references import AnswerRef, CapRef, Reference, StreamRef

from .shadow import Asked, Flow, Path, Result, Shadow

__all__ = ["Following", "brought", "expects", "key"]


class Following:
    """Two engines, and beside them what must be true of them.

    Attributes:
        steps: how often something was given to an engine: an intent, bytes, or the time.
        watched: the flows that are not over.
        stalled: the sides at which nothing arrives.
    """

    pair: EnginePair
    shadows: dict[str, Shadow]

    def __init__(self) -> None:
        super().__init__()
        self.flows: dict[int, Flow] = {}
        self.watched: list[Flow] = []
        self.serial = 0
        self.stalled: set[str] = set()
        self.steps: int = 0

    def other(self, shadow: Shadow) -> Shadow:
        """What the far end should know."""
        return self.shadows[self.pair.other(shadow.side).name]

    def number(self) -> int:
        """A number that nothing else has."""
        self.serial += 1
        return self.serial

    # What the engines say

    def ended(self, shadow: Shadow, answer: Answer) -> None:
        """The driver is done with a call."""
        shadow.running.remove(answer)
        shadow.stopped.discard(answer)
        self.settle()

    def catch_up(self, arrives: bool) -> None:
        """Let everything arrive, or nothing."""
        self.settle()
        open_to = [side for side in self.pair.sides if side.name not in self.stalled]
        while arrives and any(map(expects, open_to)):
            for side in open_to:
                self.steps += expects(side)
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
        assert not shadow.over, "I13: something happens after the end"
        match happened:
            case event.CallArrived():
                self._arrived(shadow, happened.answer)
            case event.CallFollows():
                if happened.source.arguments["serial"] % 2:  # else it waits, as where somebody must know what it is on
                    shadow.side.engine.answering.forward(happened.source, shadow)
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
                shadow.over = True
                assert happened.cause.kind != "violation", happened.cause
            case _:
                pass

    def _arrived(self, shadow: Shadow, answer: Answer) -> None:
        """A handler starts: what it was called on and what it was given are what the caller meant (I9), in order."""
        name: int | list[Any] = answer.arguments["target"]
        nth: int = answer.arguments["nth"]
        assert shadow.started.get(key(name), 0) < nth, "I8: a call has overtaken another on the same reference"
        shadow.started[key(name)] = nth
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
        # One that was answered, and whose result could not be taken here, fails nothing that needs it.
        replied = self.other(shadow).replied
        passed_on = [source for source in sources if shadow.ends.get(source) == end and source not in replied]
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
            for batch in reference.subject.batches:
                yield from brought(batch[1])


def expects(side: EngineSide) -> bool:
    """Whether anything is on its way there: bytes, or the end."""
    return bool(side.incoming.waiting) or (side.incoming.ended and not side.closed)


def key(name: int | list[Any]) -> Any:
    """A name of a target, to look things up by."""
    return tuple(name) if isinstance(name, list) else name
