"""Three peers in a row or in a ring: what one is given it passes on to the next, call by call, as a driver would.

Truth does not depend on the peers between: a call says by number what it must reach in the end, and what each of its
references is. So whatever is lost, swapped or overtaken on the way shows at the end of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from capnet.errors import NotFound, ResourceExhausted
from capnet.testing.engines import EngineSide, capability, homeward
from capnet.wire.hello import Hello
from capnet.wire.references import Reference, StreamRef

from .model import LIMITS, UncheckedPair
from .passing import Passing
from .peers import Course, Peer, Relay
from .shadow import Subject

__all__ = ["CircleModel"]

Caps = Sequence[tuple[str, int]]


class CircleModel(Passing):
    """Rules are what three drivers and their lines can do; `begin_circle` is first and `quiesce` is last."""

    def begin_circle(self, ring: bool, window: int) -> None:
        """A row of three peers, or a ring."""
        names = ["anna", "bert", "carl"]
        self.peers = [Peer(name) for name in names]
        limits = type(LIMITS)(max_calls=16, max_caps=16, max_streams=16, max_strikes=10**6, stream_items=window)
        for first, second in [(0, 1), (1, 2), (2, 0)][: 3 if ring else 2]:
            pair = UncheckedPair(Hello(names[first], limits), Hello(names[second], limits))
            pair.open()
            self.pairs.append(pair)
            for side, number in zip(pair.sides, (first, second), strict=True):
                self.peers[number].sides.append(side)
                self.peer_of[side] = self.peers[number]
                self.pair_of[side] = pair

    # Rules

    def call(self, peer: int, on: int, caps: Caps, arrives: bool) -> None:
        """Call something that is held, or what a neighbour hosts from the beginning."""
        caller = self.peers[peer]
        held = [handle for handle in caller.handles if handle.imported.broken is None and not handle.side.closed]
        open_ = [side for side in caller.sides if side.engine.lifecycle.accepts_calls]
        if held and on % 5:
            handle = held[on % len(held)]
            side, target, truth = handle.side, handle.imported, handle.truth
        elif open_:
            side = open_[on % len(open_)]
            target, truth = side.engine.imports.bootstrap, 0
        else:
            return
        if not side.engine.lifecycle.accepts_calls:
            return
        references, names, relays = self.make(caller, side, caps)
        made = self.number_call(side, target, truth)
        arguments = {"refs": references, "names": names, "serial": made.serial}
        self.steps += 1
        try:
            made.call = side.engine.call(target, "m", arguments, references, made)
        except ResourceExhausted:
            self.taken_back(made)
        else:
            self.gone_out(caller, side, references)
            self.pending[made.serial] = made
        for relay in relays:
            caller.tidy(relay)
        self.catch_up(arrives)

    def reply(self, peer: int, index: int, caps: Caps, arrives: bool) -> None:
        """A handler ends with a result."""
        callee = self.peers[peer]
        if not callee.running:
            return
        side, answer = callee.running[index % len(callee.running)]
        caps = () if answer in callee.stopped or side.closed else caps
        references, names, relays = self.make(callee, side, caps)
        self.steps += 1
        try:
            side.engine.reply(answer, {"refs": references, "names": names}, references)
        except ResourceExhausted:
            pass
        else:
            self.gone_out(callee, side, references)
            callee.running.remove((side, answer))
            callee.stopped.discard(answer)
        for relay in relays:
            callee.tidy(relay)
        self.catch_up(arrives)

    def fail(self, peer: int, index: int) -> None:
        """A handler ends with an error, which arrives as it is."""
        callee = self.peers[peer]
        if callee.running:
            side, answer = callee.running.pop(index % len(callee.running))
            callee.stopped.discard(answer)
            self.steps += 1
            side.engine.fail(answer, NotFound("as it happens", reason=f"call {answer.arguments['serial']}"))
            self.settle()

    def cancel(self, index: int, arrives: bool) -> None:
        """A caller gives up."""
        if self.pending:
            made = self.pending.pop(list(self.pending)[index % len(self.pending)])
            assert made.call is not None
            self.steps += 1
            made.side.engine.cancel(made.call)
            self.catch_up(arrives)

    def release(self, peer: int, index: int) -> None:
        """An owner lets go."""
        owner = self.peers[peer]
        if owner.handles:
            handle = owner.handles.pop(index % len(owner.handles))
            self.steps += 1
            handle.side.engine.release(handle.imported)

    def revoke(self, peer: int, index: int) -> None:
        """A host takes something back on all its lines; nobody reaches it any more, however far away."""
        host = self.peers[peer]
        live = [subject for subject in host.subjects if subject.number not in self.revoked]
        if live:
            subject = live[index % len(live)]
            self.revoked.add(subject.number)
            for side in host.sides:
                self.steps += 1
                side.engine.exporting.revoke(side.engine.exporting.of(subject), "on purpose")
            self.settle()

    def produce(self, index: int, count: int, last: bool, arrives: bool) -> None:
        """Items while there is room, and perhaps the end."""
        flowing = [(peer, course) for peer in self.peers for course in peer.producing]
        if flowing:
            peer, course = flowing[index % len(flowing)]
            self.produce_some(course, count)
            if last:
                self.end(peer, course)
            self.catch_up(arrives)

    def consume(self, index: int, stop: bool, arrives: bool) -> None:
        """A reader uses what has come, or wants no more."""
        flowing = [(peer, course) for peer in self.peers for course in peer.consuming]
        if flowing:
            peer, course = flowing[index % len(flowing)]
            self.read(peer, course)
            if stop and course.consumer is not None:
                course.stopped = True
                course.consumer[0].engine.streaming.stop(course.consumer[1], "on purpose")
            self.catch_up(arrives)

    def deliver(self, line: int, left: bool, count: int) -> None:
        """Some bytes arrive, cut anywhere."""
        pair = self.pairs[line % len(self.pairs)]
        self.steps += 1
        pair.deliver(pair.left if left else pair.right, count)
        self.settle()

    def flush(self) -> None:
        """All lines catch up."""
        self.catch_up(True)

    def cut(self, line: int) -> None:
        """One line breaks; what went over it is over, the others go on."""
        self.steps += 1
        self.pairs[line % len(self.pairs)].cut()
        self.settle()

    # What holds

    def agree(self) -> None:
        """Every engine by itself, both ends of every line, and those who wait."""
        self.agree_on_what_flows()
        for pair in self.pairs:
            pair.check_all()

    def agree_on_what_flows(self) -> None:
        """The part of `agree` that costs little."""
        self.settle()
        for made in self.pending.values():
            assert not made.side.closed, "I5: somebody waits for a connection that is over"
        for course in self.courses.values():
            assert course.received <= course.sent, "I8: something came that was not sent"

    def quiesce(self) -> None:
        """Let everything end; then all tables of all engines are empty, and nothing is held for anybody else."""
        for _ in range(100):
            self.catch_up(True)
            for number, peer in enumerate(self.peers):
                while peer.running:
                    self.reply(number, 0, (), arrives=False)
                while peer.handles:
                    self.release(number, 0)
                for course in list(peer.consuming):
                    self.read(peer, course)
                self.catch_up(True)
                for course in list(peer.producing):
                    self.end(peer, course)
            self.settle()
            if not any(peer.running or peer.handles or peer.consuming for peer in self.peers):
                break
        self.catch_up(True)
        assert not self.pending, f"I5: calls have no end: {list(self.pending)}"
        assert not self.passed, "a call that was passed on has no end"
        for peer in self.peers:
            left = [*peer.relays.values(), *peer.pumps, *peer.stopped]
            assert not left, f"{peer.name} holds what nobody needs: {left}"
        for course in self.courses.values():
            course.check_end()
        for pair in self.pairs:
            pair.finish()

    # Parts of rules

    def make(self, peer: Peer, side: EngineSide, caps: Caps) -> tuple[list[Reference], list[int], list[Relay]]:
        """References to be sent on a side, what each is, and what stands for things that are held."""
        references: list[Reference] = []
        names: list[int] = []
        relays: list[Relay] = []
        held = [handle for handle in peer.handles if handle.imported.broken is None]
        for kind, index in caps:
            if kind == "held" and held:
                handle = held[index % len(held)]
                if handle.side is side:
                    references.append(homeward(handle.imported))
                else:
                    relay = peer.relay(handle.side, handle.imported, handle.truth)
                    relays.append(relay)
                    references.append(capability(relay))
                names.append(handle.truth)
            elif kind in ("out", "in"):
                course = Course(self.number())
                references.append(StreamRef(kind, course))
                names.append(course.number)
            else:
                known = [subject for subject in peer.subjects if subject.number not in self.revoked]
                if kind == "known" and known:
                    subject = known[index % len(known)]
                else:
                    subject = Subject(self.number())
                    self.subjects[subject.number] = subject
                    peer.subjects.append(subject)
                references.append(capability(subject))
                names.append(subject.number)
        return references, names, relays

    def produce_some(self, course: Course, count: int) -> None:
        """The next items, as far as there is room."""
        assert course.producer is not None
        side, stream = course.producer
        while count and stream.room:
            self.steps += 1
            side.engine.streaming.send(stream, course.sent)
            course.sent += 1
            count -= 1

    def end(self, peer: Peer, course: Course) -> None:
        """The producer says its last word."""
        assert course.producer is not None
        self.steps += 1
        peer.producing.remove(course)
        course.ended = True
        course.producer[0].engine.streaming.end(course.producer[1])
