"""One connection, from the engine's hello to its end: an engine, its owner and the referee, step by step."""

from __future__ import annotations

import time
from typing import Any, Final

from capnet.engine.closing import STRANGER_LINE
from capnet.engine.inspect import check_invariants, stats
from capnet.limits import Limits
from capnet.wire.frames import Op
from capnet.wire.framing import FrameReader, header

from .honest import Honest
from .referee import FINE, Referee, Verdict

__all__ = ["ANY_LENGTH", "LIMITS", "MOST_PER_TURN", "Encounter", "Step"]

Step = tuple[Any, ...]
"""`("hear", bytes)`, `("act", name, which, shape, choice)`, `("pass", seconds)` or `("part",)`."""

LIMITS: Final = {
    "narrow": Limits(
        max_frame=64 * 1024,
        max_calls=16,
        max_queued_calls=8,
        max_caps=16,
        max_streams=16,
        stream_items=4,
        stream_bytes=300,
        max_kept_bytes=2000,
        max_outgoing_calls=8,
        max_strikes=5,
        frames_per_turn=2,
    ),
    "middle": Limits(
        max_frame=64 * 1024,
        max_calls=24,
        max_caps=40,
        max_streams=20,
        stream_items=9,
        max_strikes=20,
        max_call_charge=1024 * 1024,
        max_held_charge=400_000,
        stream_bytes=100_000,
    ),
    "early": Limits(max_calls=16, max_caps=16, max_streams=16, stream_items=1, stream_bytes=1, max_queued_calls=0),
    "default": Limits(),
}
MOST_PER_TURN: Final = 0.05
"""Seconds of the reference machine's processor that an engine may take for what has come."""
_MOST_ROUNDS: Final = 200
"""In each, everything that is left is given back; what that sets free goes with the next."""
ANY_LENGTH: Final = 2**32


class Encounter:
    """One connection, from the engine's hello to its end.

    Args:
        limits: the engine's, a key of `LIMITS`.
        every: the tables are looked through after so many steps; what is broken in them stays so.

    Attributes:
        over: whether the engine has closed.
        steps: what has happened.
    """

    def __init__(self, limits: str, every: int = 1) -> None:
        self.limits = limits
        self._every = every
        self.steps: list[Step] = []
        self.honest = Honest(LIMITS[limits])
        self.referee = Referee(self.honest.engine)
        self.over = False
        self.slowest = 0.0
        self.heard_at = 0.0
        self._reader = FrameReader(ANY_LENGTH)
        self._settle(FINE)

    def step(self, step: Step) -> None:
        """Do one step, and look at all that came of it.

        Raises:
            AssertionError: the engine did what it may not, or did not what it must.
        """
        self.steps.append(step)
        if self.over:
            return
        match step:
            case "hear", data:
                self._hear(data)
            case "act", "close", which, shape, choice:
                self.referee.ends.add("local")
                self.referee.close_by = self.honest.now + choice / 100
                self._act("close", which, shape, choice)
            case "act", name, which, shape, choice:
                self._act(name, which, shape, choice)
            case "pass", seconds:
                self._pass(seconds)
            case _:
                self._part()

    def _hear(self, data: bytes) -> None:
        verdict = self.referee.chunk_of(data, self.honest.now)
        self.heard_at = self.honest.now
        self.honest.aimed = self.referee.owed_on
        engine, more = self.honest.engine, True
        while more:
            began = time.thread_time()
            engine.receive_data(data, self.honest.now)
            took = time.thread_time() - began
            if took > self.slowest:
                self.slowest = took
            data, more = b"", engine.turn.unread
        self._settle(verdict)

    def _act(self, name: str, which: int, shape: int, choice: int) -> None:
        self.honest.act(name, which, shape, choice)
        self._settle(FINE)

    def _pass(self, seconds: float) -> None:
        honest, engine, referee = self.honest, self.honest.engine, self.referee
        end = honest.now + seconds
        while not self.over and (due := engine.next_deadline()) is not None and due <= end:
            honest.now = max(honest.now, due)
            engine.handle_timeout(honest.now)
            self._settle(None)
        honest.now = end
        if self.over:
            cause = engine.lifecycle.cause
            assert cause is not None
            quiet, limits = end - self.heard_at, honest.limits
            match cause.kind, cause.clause:
                case "idle", None:
                    assert quiet >= limits.keepalive + limits.keepalive_timeout
                case "violation", "P-CONN-3":
                    assert not referee.introduced and end >= limits.handshake_timeout
                case "violation", "P-FRAME-2":
                    assert referee.buffer and end - referee.partial_since >= limits.partial_frame_timeout
                case kind, None:
                    assert kind in referee.ends, cause
                case _:
                    raise AssertionError(cause)
            return
        assert end < referee.close_by, "the grace is over"
        assert referee.introduced or end < honest.limits.handshake_timeout, "P-CONN-3"
        late = end - referee.partial_since >= honest.limits.partial_frame_timeout
        assert not (referee.buffer and late), "P-FRAME-2: a frame that never ends"
        honest.late()

    def _settle(self, verdict: Verdict) -> None:
        """Look at what the engine says and what it has become."""
        honest, engine, referee = self.honest, self.honest.engine, self.referee
        honest.follow()
        data = b"".join(engine.data_to_send())
        self.over = engine.lifecycle.closed
        stranger = data.endswith(STRANGER_LINE)
        if stranger:
            data = data.removesuffix(STRANGER_LINE)
        for payload in self._reader.frames(data):
            referee.heard(payload, refusing=bool(verdict))
        assert not self._reader.held
        look = self.over or not len(self.steps) % self._every
        if look:
            check_invariants(engine)
        if self.over:
            self._look_at_the_end(verdict, stranger=stranger)
        else:
            assert not verdict, f"P-ERR-3: what breaks {' or '.join(sorted(verdict or ()))} was let pass"
            assert not stranger and not referee.aborts
            if look:
                referee.agree()
                self._bounds()

    def _look_at_the_end(self, verdict: Verdict, *, stranger: bool) -> None:
        engine, honest = self.honest.engine, self.honest
        cause = engine.lifecycle.cause
        assert cause is not None and honest.closed is not None and honest.closed.cause == cause
        by_peer = cause.kind == "violation" and cause.by_peer
        said = ["stranger"] if stranger else self.referee.aborts
        assert said == ([] if not by_peer else ["stranger"] if stranger else [cause.clause]), (said, cause)
        if by_peer:
            assert stranger is (not self.referee.introduced and not engine.lifecycle.greeted)
        if verdict:
            right = by_peer and (cause.clause in verdict or self._too_much(cause.clause))
            assert right, f"{cause} for what breaks {verdict}"
        elif by_peer and verdict is not None:
            assert self._too_much(cause.clause), f"{cause}, but the peer broke nothing"
        elif not by_peer and verdict is not None:
            kind = "accused" if cause.kind == "violation" else cause.kind
            assert kind in self.referee.ends, cause
        # Nothing that comes later has any effect.
        engine.receive_data(b"\x00\x00\x00\x02\x81\x0e", honest.now)
        engine.receive_eof(honest.now)
        honest.let_go()
        assert not honest.busy and not engine.events() and not engine.data_to_send()
        assert engine.next_deadline() is None

    def _too_much(self, clause: str | None) -> bool:
        """Whether the peer has run into limits so often that this may be held against it."""
        honest = self.honest
        if clause == "P-LIMIT-1":
            recent = sum(honest.now - at < honest.limits.strike_window for at in honest.strikes)
            return recent > honest.limits.max_strikes
        controls = self.referee.most_controls
        return clause == "P-LIMIT-4" and controls.level > controls.burst - 1

    def _bounds(self) -> None:
        """What a peer can make grow stays within its bound, and what it gets wrong is counted."""
        honest, limits = self.honest, self.honest.limits
        engine = honest.engine
        assert len(engine.exports) <= limits.max_caps and len(engine.imports) <= limits.max_caps
        assert engine.calls.waiting <= limits.max_outgoing_calls
        assert len(engine.answers.queue) + len(engine.answers.waiting) <= 2 * limits.max_calls + limits.max_queued_calls
        assert len(engine.streams) <= 2 * limits.max_streams + engine.calls.waiting * 4
        assert len(honest.strikes) >= self.referee.strikes, "P-ERR-3: a strike that was not counted"
        if len(honest.strikes) > limits.max_strikes:
            window = honest.now - honest.strikes[-1 - limits.max_strikes]
            assert window >= limits.strike_window, "P-LIMIT-1: more strikes than are allowed"

    def _part(self) -> None:
        """Both sides give back what they have; then nothing is left (I12), and the connection closes at once."""
        honest, engine, referee = self.honest, self.honest.engine, self.referee
        if not referee.introduced or referee.buffer:
            engine.receive_eof(honest.now)
            referee.ends |= {"lost", "remote", "local"}
            self._settle(FINE)
            return
        self._every = 1
        rounds = 0
        while not self.over and (honest.busy or referee.asked or referee.flows or referee.kept or referee.held):
            rounds += 1
            assert rounds < _MOST_ROUNDS, "I12: what was given back is there still"
            self._give_back()
        if not self.over:
            left = {key: count for key, count in stats(engine).items() if count and key != "strikes"}
            assert not left and not engine.exports.lingering and not engine.calls.kept, (
                f"I12: {left} {engine.exports.lingering}"
            )
            referee.ends.add("local")
            self._act("close", 0, 0, 100)
            if referee.one_way_asked:
                self._say([Op.CREDIT, 0, referee.one_way_asked, 0])
            assert engine.lifecycle.closed, "P-CONN-4: drained, and still open"

    def _give_back(self) -> None:
        referee = self.referee
        self.honest.let_go()
        self._settle(FINE)
        self._say(*([Op.RESULT, id, None] for id in list(referee.asked)))
        self._say(*([Op.END, id] for id, flow in list(referee.flows.items()) if flow.ours))
        self._say(*([Op.FINISH, id] for id in list(referee.kept)))
        self._say(*([Op.DROP, [[id, count]]] for id, count in list(referee.held.items())))
        waiting = referee.owed and not self.over and not self.honest.busy
        assert not waiting, f"I5: {referee.owed} were never answered"

    def _say(self, *frames: list[Any]) -> None:
        for frame in frames:
            if not self.over:
                payload = self.referee.codec.encode(frame)
                self._hear(header(len(payload)) + payload)
