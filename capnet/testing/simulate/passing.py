"""How three peers follow what their engines say, and pass on what is not for themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from capnet.engine import events as event
from capnet.engine.answers import Answer, AnswerState
from capnet.engine.exports import Export
from capnet.engine.imports import Import
from capnet.engine.stream import InStream, OutStream
from capnet.errors import CapnetError, ResourceExhausted, Revoked
from capnet.testing.engines import EngineSide, capability, homeward
from capnet.wire.references import CapRef, Reference, StreamRef

from .following import expects
from .model import UncheckedPair
from .peers import Course, Handle, Made, Passed, Peer, Pump, Relay
from .shadow import Subject

__all__ = ["Passing"]


class Passing:
    """Peers, their lines, and what is under way between them."""

    def __init__(self) -> None:
        self.steps: int = 0
        self.peers: list[Peer] = []
        self.pairs: list[UncheckedPair] = []
        self.peer_of: dict[EngineSide, Peer] = {}
        self.pair_of: dict[EngineSide, UncheckedPair] = {}
        self.subjects: dict[int, Subject] = {}
        self.revoked: set[int] = set()
        self.courses: dict[int, Course] = {}
        self.pending: dict[int, Made] = {}
        self.made: dict[int, Made] = {}
        self.passed: dict[Answer, Passed] = {}
        self._nth: dict[Any, int] = {}
        self._started: dict[Any, int] = {}
        self._numbers = 0

    def number(self) -> int:
        """A number that nothing else has."""
        self._numbers += 1
        return self._numbers

    def number_call(self, side: EngineSide, target: Import, truth: int) -> Made:
        """Take down a call that is going to be made; 0 is what the neighbour hosts from the beginning."""
        nth = self._nth[target] = self._nth.get(target, 0) + 1
        made = Made(self.number(), self.subjects.get(truth), target, nth, side)
        self.made[made.serial] = made
        return made

    def gone_out(self, peer: Peer, side: EngineSide, references: Sequence[Reference]) -> None:
        """These references have left, or wait to: relays have another export, streams have begun."""
        for reference in references:
            if isinstance(reference, StreamRef):
                stream = reference.subject
                if isinstance(stream, InStream | OutStream) and isinstance(stream.token, Course):
                    self._begin(peer, side, stream.token, stream)
            elif isinstance(reference, CapRef) and isinstance(reference.subject, Relay) and reference.id > 0:
                export = side.engine.exports.find(reference.id)
                if export is not None:
                    reference.subject.exports[export] = side

    def read(self, peer: Peer, course: Course) -> None:
        """Take and use all that has come: the items that were sent, in order."""
        assert course.consumer is not None
        side, stream = course.consumer
        self.steps += 1
        for value in side.read(stream):
            assert value == course.received, "I8: an item is missing, or out of order"
            assert not course.stopped, "I6: delivered to a reader who wants no more"
            course.received += 1
        if stream.ended:
            peer.consuming.remove(course)

    def catch_up(self, arrives: bool) -> None:
        """Let everything arrive on all lines, or nothing."""
        self.settle()
        while arrives and any(expects(side) for side in self.peer_of):
            for side in self.peer_of:
                if expects(side):
                    self.steps += 1
                    self.pair_of[side].deliver(side)
                    self.settle()

    def settle(self) -> None:
        """Follow what all engines say until they say nothing more."""
        moved = True
        while moved:
            moved = False
            for pair in self.pairs:
                pair.step()
            for side, peer in self.peer_of.items():
                said, side.events = side.events, []
                for happened in said:
                    moved = True
                    self._follow(peer, side, happened)

    def _follow(self, peer: Peer, side: EngineSide, happened: event.Event) -> None:
        match happened:
            case event.CallArrived():
                self._arrived(peer, side, happened.answer)
            case event.AnswerEnded():
                self._stopped(peer, side, happened)
            case event.CallReturned(token=Made() as made):
                assert self.pending.pop(made.serial, None) is made, "I5: a call ended twice"
                self._take(peer, side, happened.references, happened.value["names"])
            case event.CallReturned(token=Passed() as passed):
                self._pass_back(peer, passed, happened)
            case event.CallFailed(token=Made() as made):
                assert self.pending.pop(made.serial, None) is made, "I5: a call ended twice"
                self._check_failure(made, happened.error)
            case event.CallFailed(token=Passed() as passed):
                self._end_passed(passed, happened.error)
            case event.ExportEnded():
                relay = next((relay for relay in peer.relays.values() if happened.export in relay.exports), None)
                if relay is not None:
                    del relay.exports[happened.export]
                    peer.tidy(relay)
            case event.ImportBroken():
                relay = peer.relays.get(happened.imported)
                if relay is not None:
                    for export, there in list(relay.exports.items()):
                        there.engine.exporting.revoke([export], happened.error.message)
            case event.StreamChanged():
                token = happened.stream.token
                if isinstance(token, Pump):
                    self._pump(peer, token)
            case event.Closed():
                assert happened.cause.kind != "violation", happened.cause
            case _:
                pass

    # Calls

    def _arrived(self, peer: Peer, side: EngineSide, answer: Answer) -> None:
        assert answer.export is not None
        subject = answer.export.subject
        if isinstance(subject, Relay):
            self._pass_on(peer, side, answer, subject)
            return
        if answer.state is not AnswerState.RUNNING:
            # What happened on another line has ended it since the engine said so; there is no handler to start.
            side.engine.release_all(answer.references)
            side.engine.reply(answer, None)
            return
        made = self.made[answer.arguments["serial"]]
        assert not made.started, "I5: a call has started twice"
        made.started = True
        assert made.truth is None or subject is made.truth, "I9: a call has reached something else"
        assert made.truth is None or made.truth.number not in self.revoked, "I4: what was revoked is called"
        assert self._started.get(made.reference, 0) < made.nth, "I8: a call has overtaken another"
        self._started[made.reference] = made.nth
        peer.running.append((side, answer))
        self._take(peer, side, answer.references, answer.arguments["names"])

    def _stopped(self, peer: Peer, side: EngineSide, happened: event.AnswerEnded) -> None:
        passed = self.passed.get(happened.answer)
        if passed is None:
            if (side, happened.answer) in peer.running:  # else it was passed on, and what it became has ended it
                peer.stopped.add(happened.answer)
            return
        if passed.call is not None:
            passed.onward.engine.cancel(passed.call)
        self._end_passed(passed, happened.error)

    def _check_failure(self, made: Made, error: CapnetError) -> None:
        own = error.reason == f"call {made.serial}" or error.code in ("unavailable", "cancelled")
        # What led over a line that broke is revoked by the peer that passed it on.
        revoked = error.reason == "revoked" and (self.revoked or any(side.closed for side in self.peer_of))
        assert own or revoked or isinstance(error, ResourceExhausted), f"whose error is this? {error!r}"

    def taken_back(self, made: Made) -> None:
        """It could not be made."""
        del self.made[made.serial]
        self._nth[made.reference] -= 1

    # Passing on

    def _pass_on(self, peer: Peer, side: EngineSide, answer: Answer, relay: Relay) -> None:
        passed = self.passed[answer] = Passed(side, answer, relay.side)
        engine = relay.side.engine
        made: list[Relay] = []
        try:
            if relay.imported.broken is not None:
                raise relay.imported.broken.again()
            onward = self._turned(peer, side, relay.side, answer.references, answer.arguments["names"], made)
            arguments = {**answer.arguments, "refs": onward}
            passed.call = engine.call(relay.imported, answer.method, arguments, onward, passed)
        except CapnetError as error:
            side.engine.release_all(answer.references)
            self._end_passed(passed, error)
        else:
            self._gone_on(peer, side, relay.side, answer.references, onward)
        for one in made:
            peer.tidy(one)

    def _pass_back(self, peer: Peer, passed: Passed, happened: event.CallReturned) -> None:
        answer, side, onward = passed.answer, passed.side, passed.onward
        made: list[Relay] = []
        if answer.state is not AnswerState.RUNNING:
            onward.engine.release_all(happened.references)
            self._end_passed(passed, None)
            return
        try:
            back = self._turned(peer, onward, side, happened.references, happened.value["names"], made)
            side.engine.reply(answer, {"refs": back, "names": happened.value["names"]}, back)
        except CapnetError as error:
            onward.engine.release_all(happened.references)
            self._end_passed(passed, error)
        else:
            del self.passed[answer]
            self._gone_on(peer, onward, side, happened.references, back)
        for one in made:
            peer.tidy(one)

    def _end_passed(self, passed: Passed, error: CapnetError | None) -> None:
        if self.passed.pop(passed.answer, None) is not None:
            if error is None:
                passed.side.engine.reply(passed.answer, None)
            else:
                passed.side.engine.fail(passed.answer, error)

    def _turned(
        self,
        peer: Peer,
        came: EngineSide,
        goes: EngineSide,
        references: Sequence[Reference],
        names: Sequence[int],
        made: list[Relay],
    ) -> list[Reference]:
        """The same references on another line; relays that were needed are added to `made`."""
        turned: list[Reference] = []
        for reference, name in zip(references, names, strict=True):
            if isinstance(reference, StreamRef):
                turned.append(StreamRef(reference.direction, None))
                continue
            subject = reference.subject
            if isinstance(subject, Import):
                if subject.broken is not None:
                    raise subject.broken.again()
                relay = peer.relay(came, subject, name)
                made.append(relay)
                turned.append(capability(relay))
                continue
            assert isinstance(subject, Export)
            if subject.revoked is not None:
                raise Revoked(subject.revoked)
            behind: Any = subject.subject
            if isinstance(behind, Relay) and behind.side is goes:
                if behind.imported.broken is not None:
                    raise behind.imported.broken.again()
                turned.append(homeward(behind.imported))
            else:
                turned.append(capability(behind))
        return turned

    def _gone_on(
        self,
        peer: Peer,
        came: EngineSide,
        goes: EngineSide,
        references: Sequence[Reference],
        turned: Sequence[Reference],
    ) -> None:
        """What came has gone on: streams are pumped, and what was held for the way is let go."""
        self.gone_out(peer, goes, turned)
        for reference, other in zip(references, turned, strict=True):
            if isinstance(reference, CapRef):
                came.engine.release_all([reference])
            elif isinstance(reference, StreamRef) and isinstance(other, StreamRef):
                there, here = reference.subject, other.subject
                pump = Pump(came, there, goes, here) if isinstance(there, InStream) else Pump(goes, here, came, there)
                there.token = here.token = pump
                peer.pumps.append(pump)
                self._pump(peer, pump)

    def _pump(self, peer: Peer, pump: Pump) -> None:
        if pump in peer.pumps and not pump.run():
            peer.pumps.remove(pump)

    # What has come

    def _take(self, peer: Peer, side: EngineSide, references: Sequence[Reference], names: Sequence[int]) -> None:
        """References have reached the peer they were for; each is what its name says."""
        for reference, name in zip(references, names, strict=True):
            if isinstance(reference, StreamRef):
                course = self.courses.setdefault(name, Course(name))
                reference.subject.token = course
                self._begin(peer, side, course, reference.subject)
                continue
            subject = reference.subject
            if isinstance(subject, Import):
                peer.handles.append(Handle(side, subject, name))
                continue
            assert isinstance(subject, Export)
            behind: Any = subject.subject
            if isinstance(behind, Relay):
                assert behind.truth == name, "I9: another capability has come home"
                if behind.imported.broken is None:
                    behind.side.engine.hold(behind.imported)
                    peer.handles.append(Handle(behind.side, behind.imported, name))
            else:
                assert subject.revoked is not None or behind is self.subjects[name], "I9: another has come home"

    def _begin(self, peer: Peer, side: EngineSide, course: Course, stream: InStream | OutStream) -> None:
        self.courses[course.number] = course
        if isinstance(stream, OutStream):
            assert course.producer is None, "I9: a stream with two producers"
            course.producer = (side, stream)
            peer.producing.append(course)
        else:
            assert course.consumer is None, "I9: a stream with two consumers"
            course.consumer = (side, stream)
            peer.consuming.append(course)
