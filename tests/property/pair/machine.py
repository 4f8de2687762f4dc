"""The pair machine: all rules together, what must hold after each, and how every run ends."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant

from capnet.engine.answers import Answers
from capnet.engine.calls import Pipelined
from capnet.engine.imports import Import
from capnet.engine.pipelines import Pipelines
from capnet.errors import ResourceExhausted
from capnet.limits import Limits
from capnet.testing.engines import EnginePair
from capnet.wire.hello import Hello

from .calls import CallRules
from .following import brought
from .line import LineRules
from .shadow import Shadow
from .streams import StreamRules

__all__ = ["PairMachine"]

LIMITS = Limits(
    max_calls=16, max_caps=16, max_streams=16, max_queued_calls=4, max_outgoing_calls=12, max_strikes=10**6,
    handshake_timeout=1e6, partial_frame_timeout=1e6,
)  # fmt: skip
SLOTS = 3
"""How many calls a side with little room takes at once: the cancelled ones that still run fill it up."""
WINDOWS = st.tuples(st.sampled_from([1, 2, 3, 7]), st.sampled_from([1, 60, 10_000]))


class PairMachine(CallRules, StreamRules, LineRules):
    """Rules are what drivers and the line can do."""

    @initialize(greeted=st.booleans(), left=WINDOWS, right=WINDOWS, kept=st.sampled_from([150, 10_000]))
    def begin(self, greeted: bool, left: tuple[int, int], right: tuple[int, int], kept: int) -> None:
        """Begin early, or after the handshake and with little room, so that calls wait on either side."""
        ours, theirs = (
            replace(LIMITS, stream_items=items, stream_bytes=size, max_kept_bytes=kept) for items, size in (left, right)
        )
        self.pair = EnginePair(Hello("left", ours), Hello("right", theirs))
        self.shadows = {side.name: Shadow(side) for side in self.pair.sides}
        if greeted:
            self.pair.open()
            for side in self.pair.sides:
                engine = side.engine
                engine.calls.limit = engine.calls.one_way_room = SLOTS
                engine.answers = Answers(SLOTS, 1)
                engine.pipelines = Pipelines(engine.answers, engine.exports, kept, SLOTS)
                engine.streams.limit = 6

    @invariant()
    def agree(self) -> None:
        """The engines' tables are what the shadow says; conservation of references is checked by the pair itself."""
        self.settle()
        for flow in self.flows.values():
            producer = next((shadow for shadow in self.shadows.values() if flow in shadow.producing), None)
            flow.check(None if producer is None else producer.side)
        for shadow in self.shadows.values():
            limit = SLOTS if shadow.side.engine.answers._limit == SLOTS else LIMITS.max_calls
            assert len(shadow.running) <= limit, "I10: more handlers run than there are slots"
            if shadow.side.closed:
                assert not shadow.pending, "I5: somebody waits for a connection that is over"
            else:
                self._agree_on_tables(shadow)

    def _agree_on_tables(self, shadow: Shadow) -> None:
        engine = shadow.side.engine
        waiting = [*engine.answers.queue, *engine.answers.waiting.values()]
        holders = Counter(shadow.handles)
        for answer in waiting:
            holders.update(brought(answer.references))
        holders.update(answer.place for answer in engine.answers if isinstance(answer.place, Import))
        for flow in shadow.consuming:
            assert flow.inn is not None
            for _, references, _ in flow.inn.batches:
                holders.update(brought(references))
        for kept in engine.pipelines._kept.values():
            holders.update(place for place in kept.places() if isinstance(place, Import))
        assert {imported: imported.holders for imported in engine.imports} == dict(holders)
        live = {export.id for export in [*engine.exports, *engine.lingering] if export.revoked is None}
        assert live == {id for id, slot in shadow.slots.items() if slot.ended is None}
        users = Counter(asked.call for asked in shadow.promises)
        assert {call: call.users for call in users} == dict(users)

    def teardown(self) -> None:
        """Let everything end: handlers, owners, streams, calls; then every table is empty, and all has ended once."""
        if sys.exc_info()[0] is not None:
            return  # a rule has failed: what follows from that must not hide it
        self.catch_up(True)
        self._news_have_arrived()
        for _ in range(100):
            self.catch_up(True)
            self._let_streams_end()
            for shadow in self.shadows.values():
                for answer in list(shadow.running):
                    try:
                        self.respond(shadow, answer, [("fresh", 0)] if answer.keep else ())
                    except ResourceExhausted:  # those whom it keeps waiting may hold all the rest
                        self.respond(shadow, answer)
                while shadow.handles:
                    shadow.side.engine.release(shadow.handles.pop())
                while shadow.promises:
                    shadow.side.engine.release(Pipelined(shadow.promises.pop().call, (), "test.Thing", 1))
            self.settle()
            if not any(map(self._is_busy, self.shadows.values())):
                break
        self.agree()
        for shadow in self.shadows.values():
            self._nothing_is_left(shadow)
        self.pair.finish()
        self.settle()
        for shadow in self.shadows.values():
            assert all(slot.ended for slot in shadow.slots.values()), "P-REF-3: an export has no end"

    def _let_streams_end(self) -> None:
        """Read all there is; then whoever produces has room, whatever the window (P-STREAM-2), and ends."""
        for shadow in self.shadows.values():
            for flow in shadow.consuming:  # it grows by streams in items
                while self.take_batch(shadow, flow):
                    self.use(shadow, flow, flow.received)
                self.use(shadow, flow, flow.received)
            shadow.consuming = [flow for flow in shadow.consuming if flow.inn is not None and not flow.inn.ended]
        self.catch_up(True)
        for shadow in self.shadows.values():
            for flow in list(shadow.producing):
                assert flow.out is not None
                read = any(flow in other.consuming for other in self.shadows.values()) and not flow.stopped
                if read and flow.out.closed is None and not any(side.closed for side in self.pair.sides):
                    assert flow.out.room, "I7: all was read and there is no room"
                for _ in range(3):
                    self.produce_one(shadow, flow)
                self.end(shadow, flow, None)

    def _is_busy(self, shadow: Shadow) -> bool:
        owned = shadow.running or shadow.handles or shadow.promises or shadow.producing or shadow.consuming
        return bool(owned or shadow.side.incoming.waiting)

    def _nothing_is_left(self, shadow: Shadow) -> None:
        closed = any(side.closed for side in self.pair.sides)
        assert not self._is_busy(shadow), shadow.side
        assert not shadow.pending, "I5: a call has no end"
        assert closed or not shadow.pings
        assert closed or not shadow.one_way, "a one-way call was lost"
        assert closed or all(slot.ended for slot in shadow.slots.values()), "P-REF-3: nobody leads to it any more"
        for flow in self.flows.values():
            flow.check_end()

    def _news_have_arrived(self) -> None:
        """An importer knows of every revocation that has reached it (P-CAP-6)."""
        if not any(side.closed for side in self.pair.sides):
            for shadow in self.shadows.values():
                exporter = self.other(shadow)
                for imported in shadow.side.engine.imports:
                    assert (exporter.slots[imported.id].ended == "revoked") == (imported.broken is not None)
