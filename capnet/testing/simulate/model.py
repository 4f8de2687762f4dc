"""All rules together, what must hold after each, and how every run ends."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from capnet.engine.calls import Pipelined
from capnet.engine.engine import Engine
from capnet.engine.imports import Import
from capnet.errors import ResourceExhausted
from capnet.limits import Limits
from capnet.testing.engines import EnginePair
from capnet.wire.hello import Hello

from .calls import CallRules
from .following import brought
from .line import LineRules
from .shadow import Shadow
from .streams import StreamRules

__all__ = ["LIMITS", "PairModel", "UncheckedPair"]

LIMITS = Limits(
    max_calls=16, max_caps=16, max_streams=16, max_queued_calls=4, max_outgoing_calls=12, max_strikes=10**6,
    handshake_timeout=1e6, partial_frame_timeout=1e6,
)  # fmt: skip
SLOTS = 3
"""How many calls a side with little room takes at once: the cancelled ones that still run fill it up."""


class UncheckedPair(EnginePair):
    """Checks itself when it is told to, and not with every move."""

    def check(self) -> None:
        """Not now."""

    def check_all(self) -> None:
        """The invariants of both engines, and conservation between them."""
        super().check()


class PairModel(CallRules, StreamRules, LineRules):
    """Rules are what drivers and the line can do. `begin` is first, `agree` holds after each, `quiesce` is last."""

    pair_type: type[EnginePair] = EnginePair

    def begin(self, greeted: bool, left: tuple[int, int], right: tuple[int, int], kept: int) -> None:
        """Begin early, or after the handshake and with little room, so that calls wait on either side.

        Args:
            left, right: the windows of streams that each side consumes, in items and bytes.
            kept: how many bytes of results each side keeps.
        """
        ours, theirs = (
            replace(LIMITS, stream_items=items, stream_bytes=size, max_kept_bytes=kept) for items, size in (left, right)
        )
        self.pair = self.pair_type(Hello("left", ours), Hello("right", theirs))
        self.shadows = {side.name: Shadow(side) for side in self.pair.sides}
        self.most_running = SLOTS if greeted else LIMITS.max_calls
        if greeted:
            self.pair.open()
            for side in self.pair.sides:
                _narrow(side.engine)

    def agree(self) -> None:
        """The engines' tables are what the shadow says; conservation of references is checked by the pair itself."""
        self.agree_on_what_flows()
        for shadow in self.shadows.values():
            if not shadow.side.closed:
                self._agree_on_tables(shadow)

    def agree_on_what_flows(self) -> None:
        """The part of `agree` that costs little: streams, handlers, and those who wait for an end."""
        self.settle()
        early = [shadow for shadow in self.shadows.values() if shadow.side.engine.peer is None]
        for flow in self.watched:
            flow.check(early=any(flow in shadow.producing for shadow in early))
        self.watched = [flow for flow in self.watched if not flow.over]
        for shadow in self.shadows.values():
            assert len(shadow.running) <= self.most_running, "I10: more handlers run than there are slots"
            assert not (shadow.side.closed and shadow.pending), "I5: somebody waits for a connection that is over"

    def _agree_on_tables(self, shadow: Shadow) -> None:
        engine = shadow.side.engine
        waiting = [*engine.answers.queue, *engine.answers.waiting.values()]
        holders = Counter(shadow.handles)
        for answer in waiting:
            holders.update(brought(answer.references))
        holders.update(answer.place for answer in engine.answers if isinstance(answer.place, Import))
        for flow in shadow.consuming:
            assert flow.inn is not None
            for batch in flow.inn.batches:
                holders.update(brought(batch[1]))
        for kept in engine.pipelines._kept.values():  # noqa: SLF001 - what it holds open
            holders.update(place for place in kept.places() if isinstance(place, Import))
        named = [one for line in engine.calls.held.values() for call in line for one in call.named]
        imports = Counter(one for one in named if isinstance(one, Import) and one.id > 1)
        assert {one: one.named for one in engine.imports if one.named} == dict(imports)
        assert {one: one.holders for one in engine.imports if one.holders} == dict(holders)
        live = {export.id for export in [*engine.exports, *engine.exports.lingering] if export.revoked is None}
        assert live == {id for id, slot in shadow.slots.items() if slot.ended is None}
        users = Counter(asked.call for asked in shadow.promises)
        users.update(one.call for one in named if isinstance(one, Pipelined))
        assert {call: call.users for call in users} == dict(users)

    def quiesce(self) -> None:
        """Let everything end: handlers, owners, streams, calls; then every table is empty, and all has ended once."""
        self.stalled.clear()
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
                    self.let_go(shadow, shadow.handles.pop())
                while shadow.promises:
                    self.let_go(shadow, Pipelined(shadow.promises.pop().call, (), "test.Thing", 1))
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


def _narrow(engine: Engine) -> None:
    """As if both sides had announced less than any side may."""
    engine.calls.limit = engine.calls.one_way_room = SLOTS
    engine.answers.limit = engine.answers.one_way_left = SLOTS  # below the floor of `Limits`
    engine.answers._owed_limit = SLOTS + 1  # noqa: SLF001
    engine.pipelines._max_kept = SLOTS  # noqa: SLF001
    engine.streams.limit = 6
