"""Rules: what drivers do with calls and capabilities."""

from __future__ import annotations

from capnet.engine.answers import AnswerState
from capnet.engine.calls import Pipelined
from capnet.engine.inspect import stats
from capnet.errors import InvalidArgument, NotFound, ResourceExhausted, Unavailable

from .asking import Asking, Caps
from .shadow import is_over

__all__ = ["CallRules"]


class CallRules(Asking):
    """Calls, promises and capabilities."""

    # The caller's side

    def call(self, name: str, on: int, caps: Caps, timeout: float | None, one_way: bool, arrives: bool) -> None:
        """Call something that is held or promised, or the bootstrap capability, with references of every kind."""
        shadow = self.shadows[name]
        self.call_on(shadow, self.target(shadow, on), caps, timeout=timeout, one_way=one_way and on % 4 == 0)
        self.catch_up(arrives)

    def burst(self, name: str, count: int, on: int, caps: Caps, one_way: bool, arrives: bool) -> None:
        """Many calls at once."""
        shadow = self.shadows[name]
        for number in range(count):
            target = self.target(shadow, on if one_way else on + number)
            self.call_on(shadow, target, caps if number % 3 == 0 else (), one_way=one_way and number % 4 != 3)
        self.catch_up(arrives)

    def pipeline(
        self, name: str, on: int, caps: Caps, between: int, timeout: float | None, chain: int, arrives: bool
    ) -> None:
        """A call whose result is to be kept, said some calls later, and calls on what is to come of it."""
        shadow = self.shadows[name]
        asked = self.call_on(shadow, self.target(shadow, on), caps, timeout=timeout, may_keep=True)
        for number in range(between):
            self.call_on(shadow, self.target(shadow, on + number))
        if asked is None:
            return
        calls = shadow.side.engine.calls
        kept = calls.kept
        if not self.keep(shadow, asked):
            assert kept >= calls.limit, "it had not left and there was room"
            return
        for number in range(chain):
            self.call_on(shadow, self.promise(asked, on + number), caps if number == 1 else ())
        self.catch_up(arrives)

    def call_in_line(self, name: str, on: int, index: int, count: int, arrives: bool) -> None:
        """A call that may have to wait for an argument, and others on the same reference behind it."""
        shadow = self.shadows[name]
        target = self.target(shadow, on)
        if not shadow.usable_promises():
            source = self.call_on(shadow, self.target(shadow, index), may_keep=True)
            if source is None or not self.keep(shadow, source):
                return
        self.call_on(shadow, target, [("answer", index)])
        for _ in range(count):
            self.call_on(shadow, target)
        self.catch_up(arrives)

    def keep_late(self, name: str, index: int) -> None:
        """A promise is asked of a call that was made before: one owner more, or too late."""
        shadow = self.shadows[name]
        if shadow.pending:
            asked = shadow.asked[list(shadow.pending)[index % len(shadow.pending)]]
            held, was_kept = asked.call.frame is not None, asked.call.kept
            kept = self.keep(shadow, asked)
            assert not kept or was_kept or held, "it had left and nobody told the peer to keep it"

    def call_in_vain(self, name: str, caps: Caps, size: int) -> None:
        """A call that cannot be sent changes nothing (P-REF-1)."""
        shadow = self.shadows[name]
        engine = shadow.side.engine
        if engine.peer is None:
            return
        references, _ = self.references(shadow, caps)
        arguments = {"refs": references, "bad": b"x" * size if size else "\ud800"}
        before = stats(engine)
        try:
            engine.call(engine.imports.bootstrap, "vain", arguments, references, "vain")
        except (InvalidArgument, ResourceExhausted, Unavailable):
            assert stats(engine) == before
        else:
            raise AssertionError("that cannot be sent")

    def cancel(self, name: str, index: int, arrives: bool) -> None:
        """A caller gives up; no event of that call follows."""
        shadow = self.shadows[name]
        if shadow.pending:
            token = list(shadow.pending)[index % len(shadow.pending)]
            shadow.side.engine.cancel(shadow.pending.pop(token))
            self.steps += 1
            self.settle()
            self.catch_up(arrives)

    # The callee's side

    def reply(self, name: str, index: int, caps: Caps, arrives: bool) -> None:
        """A handler ends with a result; one that was stopped ends as well and says nothing."""
        shadow = self.shadows[name]
        if not shadow.running:
            return
        answer = shadow.running[index % len(shadow.running)]
        before = stats(shadow.side.engine)
        try:
            self.respond(shadow, answer, caps)
        except ResourceExhausted:
            assert answer.state is AnswerState.RUNNING, "the peer holds too much; the answer is still owed"
            assert stats(shadow.side.engine) == before
        self.catch_up(arrives)

    def fail(self, name: str, index: int) -> None:
        """A handler ends with an error."""
        shadow = self.shadows[name]
        if shadow.running:
            answer = shadow.running[index % len(shadow.running)]
            self.steps += 1
            serial = answer.arguments["serial"]
            shadow.side.engine.fail(answer, NotFound("as it happens", reason=f"call {serial}"))
            self.ended(shadow, answer)

    def forward(self, name: str, index: int) -> None:
        """A handler passes its call on: calls on what will come of it can go the same way."""
        shadow = self.shadows[name]
        if shadow.running:
            answer = shadow.running[index % len(shadow.running)]
            self.steps += 1
            shadow.forwarded.add(answer.arguments["serial"])
            shadow.side.engine.answering.forward(answer, shadow)
            self.settle()

    # Capabilities

    def release(self, name: str, index: int, count: int) -> None:
        """Owners let go of capabilities."""
        shadow = self.shadows[name]
        for _ in range(min(count, len(shadow.handles))):
            self.let_go(shadow, shadow.handles.pop(index % len(shadow.handles)))

    def release_promise(self, name: str, index: int, count: int) -> None:
        """Owners let go of what was to come of a call."""
        shadow = self.shadows[name]
        for _ in range(min(count, len(shadow.promises))):
            asked = shadow.promises.pop(index % len(shadow.promises))
            self.let_go(shadow, Pipelined(asked.call, (), "test.Thing", 1))

    def last_words(self, name: str, index: int, count: int, promised: bool) -> None:
        """Calls on something whose owners all let go right afterwards: they reach it all the same."""
        shadow = self.shadows[name]
        if promised and shadow.promises:
            asked = shadow.promises[index % len(shadow.promises)]
            promise = self.promise(asked, index)
            for _ in range(count):
                self.call_on(shadow, promise)
            while asked in shadow.promises:
                shadow.promises.remove(asked)
                self.let_go(shadow, promise)
        elif shadow.handles:
            imported = shadow.handles[index % len(shadow.handles)]
            for _ in range(count):
                self.call_on(shadow, imported)
            while imported in shadow.handles:
                shadow.handles.remove(imported)
                self.let_go(shadow, imported)

    def hold(self, name: str, index: int) -> None:
        """A second owner of what is held or promised."""
        shadow = self.shadows[name]
        if shadow.side.closed:
            return
        self.steps += 1
        if index % 2 and shadow.promises:
            asked = shadow.promises[index % len(shadow.promises)]
            shadow.side.engine.hold(Pipelined(asked.call, (), "test.Thing", 1))
            shadow.promises.append(asked)
        elif shadow.handles:
            imported = shadow.handles[index % len(shadow.handles)]
            shadow.side.engine.hold(imported)
            shadow.handles.append(imported)

    def revoke(self, name: str, index: int, count: int) -> None:
        """A host takes capabilities back: from now on no call on them starts or runs (I4), no stream of them flows."""
        shadow = self.shadows[name]
        slots = [slot for slot in shadow.slots.values() if slot.ended is None]
        parents = [flow.parents.get(name) for flow in [*shadow.producing, *shadow.consuming]]
        if index % 2:
            slots = [slot for slot in slots if slot.export in parents] or slots
        if slots:
            chosen = {(index + number) % len(slots) for number in range(count)}
            exports = [export for number in chosen if (export := slots[number].export) is not None]
            self.steps += 1
            shadow.side.engine.exporting.revoke(exports, "on purpose")
            self.settle()
            assert all(shadow.slots[export.id].ended for export in exports)
            assert not any(a.state is AnswerState.RUNNING and a.export in exports for a in shadow.running)
            for flow in [*shadow.producing, *shadow.consuming]:
                stream = flow.out if flow in shadow.producing else flow.inn
                if flow.parents.get(name) in exports and stream is not None:
                    assert is_over(stream) or flow.stopped, "P-CAP-6: a stream of what is revoked goes on"

    def replace(self, name: str, index: int, known: bool) -> None:
        """Another subject answers behind an id, a fresh one or one that is exported already."""
        shadow = self.shadows[name]
        slots = [slot for slot in shadow.slots.values() if slot.ended is None]
        if slots and not shadow.side.closed:
            slot = slots[index % len(slots)]
            assert slot.export is not None
            if not shadow.side.engine.exports.live(slot.export):
                return  # given back, and open only for what waits here
            slot.subject = slots[index // 7 % len(slots)].subject if known else self.fresh(shadow)
            slot.history.add(slot.subject)
            self.steps += 1
            shadow.side.engine.exporting.replace([slot.export], slot.subject, index)
