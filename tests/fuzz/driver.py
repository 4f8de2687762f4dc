"""The driver's part in the engine target: it follows what the engine says and does whatever a driver may do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

from capnet.engine import events as event
from capnet.engine.answers import Answer
from capnet.engine.calls import Call, Pipelined, Target
from capnet.engine.exports import Export
from capnet.engine.imports import Import
from capnet.engine.stream import InStream, OutStream, Stream
from capnet.errors import CapnetError, NotFound
from capnet.testing.engines import RawPeer, capability, homeward, promised, stream_in, stream_out
from capnet.wire.frames import Op, check
from capnet.wire.references import AnswerRef, CapRef, Reference, StreamRef
from tests.fuzz.choices import Choices

__all__ = ["Driver"]

_PATHS: Final[tuple[tuple[str | int, ...], ...]] = (("refs", 0), (), ("refs", 1), ("nowhere",))


class Driver:
    """Owns what a driver owns, and no more than that.

    Attributes are what it has: handlers that run, calls that wait, promises, handles on imports, streams.
    """

    def __init__(self, raw: RawPeer, choices: Choices) -> None:
        self._raw = raw
        self._engine = raw.engine
        self._choices = choices
        self._heard = 0
        self._serial = 0
        self.running: list[Answer] = []
        self.stopped: set[Answer] = set()
        self.started: set[Answer] = set()
        self.pending: dict[int, Call] = {}
        self.promises: list[Call] = []
        self.handles: list[Import] = []
        self.producing: list[OutStream] = []
        self.consuming: list[InStream] = []
        self.subjects: list[str] = []
        self.exports: set[Export] = set()
        self.ended: set[Export] = set()
        self.broken: set[Import] = set()
        self.told: set[Stream] = set()
        self.terminals: set[int] = set()
        self.closed = False
        self._intents: tuple[Callable[[], None], ...] = (
            self._reply, self._reply, self._reply, self._call, self._call, self._call, self._fail, self._cancel,
            self._release, self._hold, self._revoke, self._replace, self._produce, self._produce, self._consume,
            self._end_stream, self._stop_stream, self._forward, self._ping, self._close,
        )  # fmt: skip

    def act(self) -> None:
        """One intent. What may not be done now is refused with an error that is declared."""
        with suppress(CapnetError):
            self._choices.one_of(self._intents)()
        self._raw.collect()

    # What the engine says

    def follow(self) -> None:
        """Take up all that has happened and been said."""
        said, self._raw.events = self._raw.events, []
        for happened in said:
            assert not self.closed, f"{type(happened).__name__} after the end"
            self._follow(happened)
        for frame in self._raw.heard[self._heard :]:
            self._check_frame(frame)
        self._heard = len(self._raw.heard)
        self.exports.update(self._engine.exports)
        assert len(self.running) <= self._engine.answers.limit, "I10: more handlers run than there are slots"
        for stream in self.consuming:
            unread = sum(len(batch[0]) for batch in stream.batches)
            assert unread <= self._engine.limits.stream_items, "I7: more items than the window has room for"
        owned: list[Stream] = [*self.producing, *self.consuming]
        over = {stream for stream in owned if _is_over(stream)}
        assert over <= self.told, "I6: a stream has ended and nobody was told"

    def _follow(self, happened: event.Event) -> None:
        match happened:
            case event.CallArrived(answer=answer):
                assert answer not in self.started, "a call started twice"
                assert answer.export is None or answer.export.revoked is None, "I4: a revoked capability is called"
                self.started.add(answer)
                self.running.append(answer)
                self._take(answer.references)
            case event.CallFollows(source=source):
                if source.id % 2:
                    self._engine.answering.forward(source, "elsewhere")
            case event.AnswerEnded(answer=answer):
                assert answer in self.running and answer not in self.stopped, "what does not run is stopped"
                self.stopped.add(answer)
            case event.CallReturned(token=token, references=references):
                assert self.pending.pop(token, None) is not None, "I5: a call ended twice"
                self._take(references)
            case event.CallFailed(token=token):
                assert self.pending.pop(token, None) is not None, "I5: a call ended twice"
            case event.ExportEnded(export=export):
                assert export not in self.ended, "P-REF-3: an export ended twice"
                self.ended.add(export)
            case event.ImportBroken(imported=imported):
                assert imported not in self.broken, "broken twice"
                self.broken.add(imported)
            case event.StreamChanged(stream=stream):
                if _is_over(stream):
                    self.told.add(stream)
            case event.Closed():
                self.closed = True
            case _:
                pass

    def _check_frame(self, frame: list[Any]) -> None:
        assert check(frame), f"it said {frame}"
        match frame:
            case [Op.RESULT | Op.ERROR, id, *_]:
                assert id not in self.terminals, f"P-CALL-1: call {id} was answered twice"
                assert 0 < id <= self._engine.answers.last_id
                self.terminals.add(id)
            case [Op.ABORT, *_]:
                assert self.closed and frame is self._raw.heard[-1], "something follows an abort"
            case _:
                pass

    def _take(self, references: Iterable[Reference]) -> None:
        for reference in references:
            if isinstance(reference, CapRef) and isinstance(reference.subject, Import):
                self.handles.append(reference.subject)
            elif isinstance(reference, StreamRef):
                self._own(reference.subject)

    def _own(self, stream: Stream) -> None:
        stream.token = stream.token or "mine"
        if _is_over(stream):
            self.told.add(stream)  # it was when it came
        if isinstance(stream, OutStream):
            self.producing.append(stream)
        else:
            self.consuming.append(stream)

    # References to be given away

    def _references(self) -> list[Reference]:
        choices, made = self._choices, list[Reference]()
        for _ in range(choices.below(4)):
            match choices.below(6):
                case 0:
                    self.subjects.append(f"subject {len(self.subjects)}")
                    made.append(capability(self.subjects[-1]))
                case 1 if self.subjects:
                    made.append(capability(choices.one_of(self.subjects)))
                case 2 if self.handles:
                    imported = choices.one_of(self.handles)
                    if imported.broken is None and imported.id > 1:
                        made.append(homeward(imported))
                case 3:
                    made.append(stream_out("mine"))
                case 4:
                    made.append(stream_in("mine"))
                case 5 if self.promises:
                    made.append(promised(choices.one_of(self.promises), *choices.one_of(_PATHS)))
                case _:
                    pass
        return made

    def _opened(self, references: Iterable[Reference]) -> None:
        """These have left, or wait to."""
        for reference in references:
            if isinstance(reference, StreamRef):
                self._own(reference.subject)

    def _result(self) -> tuple[Any, list[Reference]]:
        references: list[Reference] = [found for found in self._references() if not isinstance(found, AnswerRef)]
        filling = b"x" * (self._choices.below(256) * 4) if self._choices.below(4) == 0 else b""
        return {"refs": references, "filling": filling}, references

    # Intents

    def _reply(self) -> None:
        if self.running:
            answer = self._choices.one_of(self.running)
            value, references = self._result()
            sent = bool(answer.id) and answer not in self.stopped and not self.closed
            self._engine.reply(answer, value, references)
            self.running.remove(answer)
            self.stopped.discard(answer)
            if sent:
                self._opened(references)

    def _fail(self) -> None:
        if self.running:
            answer = self._choices.one_of(self.running)
            self._engine.fail(answer, NotFound("as it happens", details={"filling": "x" * self._choices.below(64)}))
            self.running.remove(answer)
            self.stopped.discard(answer)

    def _forward(self) -> None:
        if self.running:
            self._engine.answering.forward(self._choices.one_of(self.running), "elsewhere")

    def _target(self) -> Target:
        choices = self._choices
        match choices.below(4):
            case 0 if self.promises:
                return Pipelined(choices.one_of(self.promises), choices.one_of(_PATHS), "test.Thing", 1)
            case 1 | 2 if self.handles:
                return choices.one_of(self.handles)
            case _:
                return self._engine.imports.bootstrap

    def _call(self) -> None:
        choices = self._choices
        target, references = self._target(), self._references()
        one_way, keep = choices.below(8) == 0, choices.below(4) == 0
        timeout = choices.one_of((None, None, None, 0.5))
        self._serial += 1
        call = self._engine.call(
            target, "m", {"refs": references}, references, self._serial, timeout=timeout, one_way=one_way, may_keep=keep
        )
        if not one_way:
            self.pending[self._serial] = call
        self._opened(references)
        if keep and self._engine.calling.keep(call):
            self.promises.append(call)

    def _cancel(self) -> None:
        if self.pending:
            self._engine.cancel(self.pending.pop(self._choices.one_of(list(self.pending))), "on purpose")

    def _release(self) -> None:
        if self.promises and self._choices.flag():
            call = self.promises.pop(self._choices.below(len(self.promises)))
            self._engine.release(Pipelined(call, (), "test.Thing", 1))
        elif self.handles:
            self._engine.release(self.handles.pop(self._choices.below(len(self.handles))))

    def _hold(self) -> None:
        if self.handles and not self.closed:
            imported = self._choices.one_of(self.handles)
            self._engine.hold(imported)
            self.handles.append(imported)

    def _revoke(self) -> None:
        exports = [export for export in self.exports if export not in self.ended]
        if exports:
            self._engine.exporting.revoke([self._one_export(exports)], "on purpose")

    def _replace(self) -> None:
        exports = list(self._engine.exports)
        if exports:
            self.subjects.append(f"subject {len(self.subjects)}")
            self._engine.exporting.replace([self._one_export(exports)], self.subjects[-1], self._choices.below(4))

    def _one_export(self, exports: list[Export]) -> Export:
        return self._choices.one_of(sorted(exports, key=lambda export: export.id))

    def _produce(self) -> None:
        if self.producing:
            stream = self._choices.one_of(self.producing)
            if stream.room:
                value, references = self._result()
                self._engine.streaming.send(stream, value, references)
                self._opened(references)

    def _end_stream(self) -> None:
        if self.producing:
            stream = self.producing.pop(self._choices.below(len(self.producing)))
            self._engine.streaming.end(stream, self._choices.one_of((None, NotFound("as it happens"))))

    def _consume(self) -> None:
        if self.consuming:
            stream = self._choices.one_of(self.consuming)
            batch = self._engine.streaming.take(stream)
            if batch is not None:
                values, references, size, *_ = batch
                self._take(references)
                self._engine.streaming.consumed(stream, len(values), size)

    def _stop_stream(self) -> None:
        if self.consuming:
            self._engine.streaming.stop(self._choices.one_of(self.consuming), "enough")

    def _ping(self) -> None:
        self._engine.keepalive.ping()

    def _close(self) -> None:
        match self._choices.below(4):
            case 0:
                self._engine.close("on purpose", self._choices.one_of((0.0, 1.0, 100.0)), self._raw.now)
            case 1:
                self._engine.strike("a limit of the driver's")
            case _:
                self._reply()

    # The end

    def end(self) -> None:
        """The line is cut: all that has begun has ended, and what a driver still does is refused or does nothing."""
        self.follow()
        self._engine.receive_eof(self._raw.now)
        self._raw.collect()
        self.follow()
        cause = self._engine.lifecycle.cause
        assert self.closed and cause is not None and isinstance(self._raw.events, list)
        aborts = sum(frame[0] == Op.ABORT for frame in self._raw.heard)
        if cause.kind == "violation" and cause.by_peer:
            assert cause.clause is not None and cause.clause.startswith("P-")
            assert aborts == (not self._raw.line), "a violation is named once"
        else:
            assert not aborts
        assert not self.pending, "I5: a call has no end"
        assert set(self.running) == self.stopped, "a handler was not told of the end"
        assert self.exports <= self.ended, "P-REF-3: an export has no end"
        assert all(stream.closed is not None for stream in self.producing), "I6: a producer was not told of the end"
        assert all(stream.ended or stream.stopped for stream in self.consuming), "I6: a reader was not told of the end"
        heard = len(self._raw.heard)
        for intent in self._intents:
            with suppress(CapnetError):
                intent()
        while self.running:
            self._fail()
        assert not self._raw.collect() and len(self._raw.heard) == heard, "something is said after the end"
        assert not self._raw.events, "something happens after the end"


def _is_over(stream: Stream) -> bool:
    return stream.ended if isinstance(stream, InStream) else stream.closed is not None
