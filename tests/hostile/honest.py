"""The honest side: an engine and an owner for it, who does anything that an owner may do, in any order.

It answers calls at once, late or not at all before they end, hands out capabilities and takes them back, opens streams,
reads, sends and leaves them, makes calls and cancels them. Every act is chosen by a name and three small numbers, so
that a list of them is a script. Beside that it keeps count of what the engine tells it: everything that starts must end
exactly once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

from capnet.engine import events as event
from capnet.engine.answers import Answer, AnswerState
from capnet.engine.calls import Call, Pipelined, Target
from capnet.engine.engine import Engine
from capnet.engine.exports import Export
from capnet.engine.imports import Import
from capnet.engine.inspect import stats
from capnet.engine.stream import InStream, OutStream, Stream
from capnet.errors import CapnetError, Internal, InvalidArgument, ResourceExhausted
from capnet.limits import Limits
from capnet.testing.engines import capability, homeward, promised, stream_in, stream_out
from capnet.wire.hello import Hello
from capnet.wire.references import CapRef, Reference, StreamRef

__all__ = ["ACTS", "Honest"]

_MOST_KEPT: Final = 24
"""Of what has come, so many things are kept at most; what comes beyond is given back at once."""
_Made = tuple[Any, list[Reference]]


class Subject:
    """Something that is exported."""


class Honest:
    """An engine and what its owner knows.

    Attributes:
        running: answers whose handlers run, in the order they started.
        pending: calls by token, until they end.
        promises: calls whose answers are kept, one entry for each owner of the promise.
        imports: capabilities of the peer's, one entry for each holder.
        reading, producing: streams.
        subjects: what was ever exported, the newest.
        strikes: when the peer ran into a limit.
        closed: how it ended, once it has.
    """

    def __init__(self, limits: Limits) -> None:
        self.engine = Engine(Hello("honest", limits), 0.0, bootstrap=Subject(), runtime=Subject())
        self.limits = limits
        self.now = 0.0
        self.running: list[Answer] = []
        self.pending: dict[int, Call] = {}
        self.promises: list[Call] = []
        self.imports: list[Import] = []
        self.reading: list[InStream] = []
        self.producing: list[OutStream] = []
        self.subjects: deque[Subject] = deque(maxlen=12)
        self.strikes: list[float] = []
        self.closed: event.Closed | None = None
        self.counts = {"calls": 0, "answers": 0, "exports": 0, "streams": 0}
        self._serial = 0
        self._next_export = 2
        self._live: dict[Export, None] = {}
        self._told: dict[Stream, Any] = {}
        self._broken: set[Import] = set()
        self._draining = False
        self._started: dict[Any, int] = {}
        self.aimed: dict[int, Any] = {}
        """What each call of the peer's was made on, as the referee has it."""

    # What the engine says

    def follow(self) -> None:
        """Take what the engine has said since the last time.

        Raises:
            AssertionError: something ended that had not started, or twice, or anything came after the end.
        """
        exports = self.engine.exports
        for id in range(self._next_export, exports._next):
            export = exports.by_id.get(id)
            if export is not None and export.revoked is None:
                self._live[export] = None
                self.counts["exports"] += 1
        happened = self.engine.events()
        for one in happened:
            assert self.closed is None, f"{one} after the end"
            _FOLLOW[type(one)](self, one)
        self._next_export = exports._next
        if self.closed is not None and happened:
            self._all_has_ended()

    def _introduced(self, said: event.PeerIntroduced) -> None:
        assert self.engine.peer is said.hello

    def _arrived(self, said: event.CallArrived) -> None:
        answer = said.answer
        assert answer.handler is None, "P-CALL-1: it started twice"
        assert answer.export is None or answer.export.revoked is None, "I4: a call on what was revoked"
        answer.handler = "runs"
        self.running.append(answer)
        self.counts["answers"] += 1
        assert len(self.running) <= self.limits.max_calls, "I10: more handlers than the limit"
        if answer.id:
            on = self.aimed[answer.id]
            assert self._started.get(on, 0) < answer.id, f"I8: call {answer.id} on {on} was overtaken"
            self._started[on] = answer.id

    def _follows(self, said: event.CallFollows) -> None:
        if said.source.id % 2:
            self.engine.answering.forward(said.source, self)

    def _stopped(self, said: event.AnswerEnded) -> None:
        assert said.answer.handler == "runs", "a handler is stopped once, while it runs"
        said.answer.handler = "stopped"

    def _returned(self, said: event.CallReturned) -> None:
        assert self.pending.pop(said.token, None) is not None, "I5: a call ended twice"
        self._adopt(said.references)

    def _failed(self, said: event.CallFailed) -> None:
        assert self.pending.pop(said.token, None) is not None, "I5: a call ended twice"

    def _export_ended(self, said: event.ExportEnded) -> None:
        if said.export.id < self._next_export:
            assert said.export in self._live, "P-REF-3: an export ended twice"
        self._live.pop(said.export, None)

    def _import_broken(self, said: event.ImportBroken) -> None:
        assert said.imported not in self._broken and said.imported.broken is not None
        self._broken.add(said.imported)

    def _stream_changed(self, said: event.StreamChanged) -> None:
        stream = said.stream
        assert stream.token is not None
        self._look_at(stream)

    def _look_at(self, stream: Stream) -> None:
        """The end of a stream, once it has one, stays what it is (I6)."""
        over = stream.ended if isinstance(stream, InStream) else stream.closed is not None
        if over:
            end = stream.error if isinstance(stream, InStream) else stream.closed
            assert self._told.setdefault(stream, end) is end, "I6: another end of a stream"
        else:
            assert stream not in self._told, "I6: a stream goes on after its end"

    def _limit_reached(self, said: event.LimitReached) -> None:
        self.strikes.append(self.now)

    def _drains(self, said: event.Draining) -> None:
        assert not self._draining
        self._draining = True

    def _has_closed(self, said: event.Closed) -> None:
        self.closed = said

    def _nothing(self, said: event.Event) -> None:
        """Nothing follows."""

    def _all_has_ended(self) -> None:
        """What had started has ended, everything (I5, I6, I12)."""
        assert not self.pending, f"I5: {self.pending} never ended"
        assert not self._live, f"P-REF-3: {self._live} never ended"
        assert all(answer.handler == "stopped" for answer in self.running), "a handler was not stopped"
        for stream in (*self.reading, *self.producing):
            assert stream in self._told, f"I6: {stream} never ended"
        assert all(imported.broken is not None for imported in self.imports)

    def late(self) -> None:
        """Those past their deadline have been stopped (P-CALL-5)."""
        for answer in self.running:
            assert answer.handler == "stopped" or answer.deadline is None or answer.deadline > self.now, answer

    # What comes and what is given

    def _adopt(self, references: Iterable[Reference]) -> None:
        """What has come is the owner's: it keeps some and gives the rest back."""
        for reference in references:
            subject = reference.subject
            if isinstance(reference, StreamRef):
                self._adopt_stream(subject)
            elif isinstance(subject, Import) and isinstance(reference, CapRef):
                if len(self.imports) < _MOST_KEPT:
                    self.imports.append(subject)
                else:
                    self.engine.release(subject)

    def _adopt_stream(self, stream: Any) -> None:
        if not isinstance(stream, InStream | OutStream):
            return  # its frame never left
        stream.token = self
        self.counts["streams"] += 1
        self._look_at(stream)
        if isinstance(stream, InStream):
            self.reading.append(stream)
        else:
            self.producing.append(stream)

    def _sent(self, references: Iterable[Reference]) -> None:
        """Streams of ours have been opened."""
        for reference in references:
            if isinstance(reference, StreamRef):
                self._adopt_stream(reference.subject)

    def _make(self, shape: int, choice: int) -> _Made:
        """A value and the references in it."""
        match shape % 12:
            case 0 | 1:
                return None, []
            case 2:
                return {"n": choice, "text": "é" * choice}, []
            case 3:
                return b"x" * (choice * 60), []
            case 4:
                refs: list[Reference] = [self._fresh()]
            case 5:
                refs = [self._known(choice)]
            case 6:
                refs = self._homeward(choice)
            case 7:
                refs = [stream_out(self)]
            case 8:
                refs = [stream_in(self)]
            case 9:
                refs = [self._fresh(), self._known(choice), *self._homeward(choice), stream_out(self)]
            case 10:
                refs = [self._known(choice), stream_in(self), self._fresh()]
                return {"refs": refs, "text": "\ud800"}, refs  # cannot be encoded: nothing may stay counted
            case _:
                refs = [self._known(choice)]
                return {"refs": refs, "more": list(range(choice * 8))}, refs
        return {"refs": refs}, refs

    def _fresh(self) -> CapRef:
        subject = Subject()
        self.subjects.append(subject)
        return capability(subject)

    def _known(self, choice: int) -> CapRef:
        return capability(self.subjects[choice % len(self.subjects)]) if self.subjects else self._fresh()

    def _homeward(self, choice: int) -> list[Reference]:
        return [homeward(self.imports[choice % len(self.imports)])] if self.imports else []

    # What the owner does

    def act(self, name: str, which: int, shape: int, choice: int) -> None:
        """Do one thing, if there is anything to do it to.

        Raises:
            AssertionError: what the engine did is not what it says.
        """
        ACTS[name](self, which, shape, choice)

    def _reply(self, which: int, shape: int, choice: int) -> None:
        if not self.running:
            return
        answer = self.running[which % len(self.running)]
        value, references = self._make(shape, choice)
        sent = answer.handler == "runs" and answer.id
        before = stats(self.engine)
        try:
            self.engine.reply(answer, value, references)
        except CapnetError as error:
            assert answer.state is AnswerState.RUNNING and stats(self.engine) == before, "it changed something"
            self.engine.fail(answer, error)
        else:
            if sent:
                self._sent(references)
        self._done(answer)

    def _fail(self, which: int, shape: int, choice: int) -> None:
        if self.running:
            answer = self.running[which % len(self.running)]
            details = [None, {"n": choice}, {"odd": self}, {"long": "x" * 20_000}][shape % 4]
            self.engine.fail(answer, Internal("broken", details=details))
            self._done(answer)

    def _done(self, answer: Answer) -> None:
        assert answer.state is AnswerState.GONE
        answer.handler = "done"
        self.running.remove(answer)
        self._adopt(answer.references)

    def _forward(self, which: int, shape: int, choice: int) -> None:
        if self.running:
            self.engine.answering.forward(self.running[which % len(self.running)], self)

    def _call(self, which: int, shape: int, choice: int) -> None:
        engine = self.engine
        target = self._target(which)
        value, references = self._make(shape, choice)
        arguments: dict[str, Any] = {"value": value}
        usable = [call for call in self.promises if call.failure is None]
        if usable and choice % 4 == 1:
            asked: Reference = promised(usable[choice % len(usable)], "refs", choice % 2)
            references.append(asked)
            arguments["promised"] = asked
        self._serial += 1
        one_way = choice % 5 == 0
        refused = not engine.lifecycle.accepts_calls or target.broken is not None
        before = stats(engine)
        try:
            call = engine.call(
                target,
                "m",
                arguments,
                references,
                self._serial,
                timeout=choice / 10 if choice % 3 == 0 else None,
                context={"k": "v"} if choice % 7 == 0 else None,
                one_way=one_way,
                may_keep=True,
            )
        except (InvalidArgument, ResourceExhausted):
            assert stats(engine) == before, "it changed something"
            return
        except CapnetError:
            assert refused and stats(engine) == before, "it changed something"
            return
        assert not refused
        self._sent(references)
        if not one_way:
            self.counts["calls"] += 1
            self.pending[self._serial] = call
            if choice % 3 and engine.calling.keep(call):
                self.promises.append(call)

    def _target(self, which: int) -> Target:
        imports = self.engine.imports
        if self.promises and which % 3 == 0:
            call = self.promises[which % len(self.promises)]
            return Pipelined(call, ("refs", which % 2), "test.Thing", 1)
        if self.imports and which % 3:
            return self.imports[which % len(self.imports)]
        return imports.bootstrap if which % 2 else imports.runtime

    def _cancel(self, which: int, shape: int, choice: int) -> None:
        if self.pending:
            token = list(self.pending)[which % len(self.pending)]
            self.engine.cancel(self.pending.pop(token), "enough" * (choice % 2))

    def _keep(self, which: int, shape: int, choice: int) -> None:
        calls = [*self.promises, *self.pending.values()]
        if calls:
            call = calls[which % len(calls)]
            if self.engine.calling.keep(call):
                self.promises.append(call)

    def _unkeep(self, which: int, shape: int, choice: int) -> None:
        if self.promises:
            call = self.promises.pop(which % len(self.promises))
            self.engine.release(Pipelined(call, (), "test.Thing", 1))

    def _hold(self, which: int, shape: int, choice: int) -> None:
        if self.imports:
            imported = self.imports[which % len(self.imports)]
            self.engine.hold(imported)
            self.imports.append(imported)

    def _release(self, which: int, shape: int, choice: int) -> None:
        if self.imports:
            self.engine.release(self.imports.pop(which % len(self.imports)))

    def _revoke(self, which: int, shape: int, choice: int) -> None:
        exports = list(self._live)
        if exports:
            some = exports[which % len(exports) :][: 1 + choice % 4]
            self.engine.exporting.revoke(some, "taken back")

    def _replace(self, which: int, shape: int, choice: int) -> None:
        exports = list(self._live)
        if exports:
            subject = Subject()
            self.subjects.append(subject)
            self.engine.exporting.replace(
                self.engine.exporting.of(exports[which % len(exports)].subject), subject, choice
            )

    def _send(self, which: int, shape: int, choice: int) -> None:
        with_room = [stream for stream in self.producing if stream.room and not stream.unsent]
        if not with_room:
            return
        stream = with_room[which % len(with_room)]
        for _ in range(1 + choice % 3):
            if stream.room:
                value, references = self._make(shape, choice)
                before = stats(self.engine)
                try:
                    self.engine.streaming.send(stream, value, references)
                except CapnetError:
                    assert stats(self.engine) == before, "it changed something"
                else:
                    self._sent(references)

    def _end(self, which: int, shape: int, choice: int) -> None:
        if self.producing:
            stream = self.producing.pop(which % len(self.producing))
            self.engine.streaming.end(stream, Internal("broken") if shape % 3 == 0 else None)

    def _read(self, which: int, shape: int, choice: int) -> None:
        if not self.reading:
            return
        index = which % len(self.reading)
        stream = self.reading[index]
        batch = self.engine.streaming.take(stream)
        if batch is not None:
            assert not stream.stopped, "I6: delivered to who wants no more"
            self._adopt(batch[1])
            for number in range(len(batch[0])):
                self.engine.streaming.consumed(stream, 1, 0 if number else batch[2])
        elif stream.ended:
            del self.reading[index]

    def _stop(self, which: int, shape: int, choice: int) -> None:
        if self.reading:
            stream = self.reading.pop(which % len(self.reading))
            if shape % 2 and (batch := self.engine.streaming.take(stream)) is not None:
                self._adopt(batch[1])
            self.engine.streaming.stop(stream, "enough" * (choice % 2))

    def _ping(self, which: int, shape: int, choice: int) -> None:
        if not self.engine.lifecycle.closed:
            with suppress(ResourceExhausted):  # there have been many
                self.engine.keepalive.ping()

    def _close(self, which: int, shape: int, choice: int) -> None:
        self.engine.close("bye", choice / 100, self.now)

    # The end

    def let_go(self) -> None:
        """End everything that is the owner's to end; handlers that start by that are ended as well."""
        while self.running:
            self._reply(0, 0, 0)
        for call in self.pending.values():
            self.engine.cancel(call)
        self.pending.clear()
        while self.promises:
            self._unkeep(0, 0, 0)
        while self.reading:
            self._stop(0, 0, 0)
        while self.producing:
            self._end(0, 1, 0)
        while self.imports:
            self._release(0, 0, 0)

    @property
    def busy(self) -> Sequence[Any]:
        """What is left to let go of."""
        return [*self.running, *self.pending, *self.promises, *self.imports, *self.reading, *self.producing]


_FOLLOW: Final[dict[type, Callable[[Honest, Any], None]]] = {
    event.PeerIntroduced: Honest._introduced,
    event.CallArrived: Honest._arrived,
    event.CallFollows: Honest._follows,
    event.AnswerEnded: Honest._stopped,
    event.CallReturned: Honest._returned,
    event.CallFailed: Honest._failed,
    event.ExportEnded: Honest._export_ended,
    event.ImportBroken: Honest._import_broken,
    event.ImportReplaced: Honest._nothing,
    event.StreamChanged: Honest._stream_changed,
    event.PongReceived: Honest._nothing,
    event.LimitReached: Honest._limit_reached,
    event.Draining: Honest._drains,
    event.Closed: Honest._has_closed,
}

ACTS: Final[dict[str, Callable[[Honest, int, int, int], None]]] = {
    "reply": Honest._reply,
    "fail": Honest._fail,
    "forward": Honest._forward,
    "call": Honest._call,
    "cancel": Honest._cancel,
    "keep": Honest._keep,
    "unkeep": Honest._unkeep,
    "hold": Honest._hold,
    "release": Honest._release,
    "revoke": Honest._revoke,
    "replace": Honest._replace,
    "send": Honest._send,
    "end": Honest._end,
    "read": Honest._read,
    "stop": Honest._stop,
    "ping": Honest._ping,
    "close": Honest._close,
}
