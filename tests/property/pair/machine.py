"""The pair machine: the rules of `capnet.testing.simulate`, chosen and shrunk by Hypothesis."""

from __future__ import annotations

import sys
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from capnet.testing.simulate.model import PairModel

__all__ = ["PairMachine"]

SIDES = st.sampled_from(["left", "right"])
INDEX = st.integers(0, 1000)
WINDOWS = st.tuples(st.sampled_from([1, 2, 3, 7]), st.sampled_from([1, 60, 10_000]))
TIMEOUTS = st.none() | st.floats(0.1, 5.0)
SOME = st.integers(1, 3)
SIZES = st.sampled_from([0, 5_000_000])
KINDS = ["fresh", "known", "home", "out", "in"]
CAPS = st.lists(st.tuples(st.sampled_from(KINDS), INDEX), max_size=4)
ARGUMENTS = st.lists(st.tuples(st.sampled_from([*KINDS, "answer", "answer"]), INDEX), max_size=4)


class PairMachine(PairModel, RuleBasedStateMachine):
    """Rules are what drivers and the line can do."""

    begin: Any = initialize(greeted=st.booleans(), left=WINDOWS, right=WINDOWS, kept=st.sampled_from([150, 10_000]))(
        PairModel.begin
    )
    agree: Any = invariant()(PairModel.agree)

    # Calls, promises and capabilities

    call: Any = rule(
        name=SIDES, on=INDEX, caps=ARGUMENTS, timeout=TIMEOUTS, one_way=st.booleans(), arrives=st.booleans()
    )(PairModel.call)
    burst: Any = rule(
        name=SIDES, count=st.integers(2, 9), on=INDEX, caps=ARGUMENTS, one_way=st.booleans(), arrives=st.booleans()
    )(PairModel.burst)
    pipeline: Any = rule(
        name=SIDES,
        on=INDEX,
        caps=ARGUMENTS,
        between=st.integers(0, 2),
        timeout=TIMEOUTS,
        chain=st.integers(0, 4),
        arrives=st.booleans(),
    )(PairModel.pipeline)
    call_in_line: Any = rule(name=SIDES, on=INDEX, index=INDEX, count=SOME, arrives=st.booleans())(
        PairModel.call_in_line
    )
    keep_late: Any = rule(name=SIDES, index=INDEX)(PairModel.keep_late)
    call_in_vain: Any = rule(name=SIDES, caps=ARGUMENTS, size=SIZES)(PairModel.call_in_vain)
    cancel: Any = rule(name=SIDES, index=INDEX, arrives=st.booleans())(PairModel.cancel)
    reply: Any = rule(name=SIDES, index=INDEX, caps=CAPS, arrives=st.booleans())(PairModel.reply)
    fail: Any = rule(name=SIDES, index=INDEX)(PairModel.fail)
    forward: Any = rule(name=SIDES, index=INDEX)(PairModel.forward)
    release: Any = rule(name=SIDES, index=INDEX, count=SOME)(PairModel.release)
    release_promise: Any = rule(name=SIDES, index=INDEX, count=SOME)(PairModel.release_promise)
    last_words: Any = rule(name=SIDES, index=INDEX, count=st.integers(1, 6), promised=st.booleans())(
        PairModel.last_words
    )
    hold: Any = rule(name=SIDES, index=INDEX)(PairModel.hold)
    revoke: Any = rule(name=SIDES, index=INDEX, count=SOME)(PairModel.revoke)
    replace: Any = rule(name=SIDES, index=INDEX, known=st.booleans())(PairModel.replace)

    # Streams

    produce: Any = rule(index=INDEX, count=st.integers(1, 9), caps=CAPS, last=st.booleans(), arrives=st.booleans())(
        PairModel.produce
    )
    produce_in_vain: Any = rule(name=SIDES, index=INDEX, caps=CAPS, size=SIZES)(PairModel.produce_in_vain)
    end_stream: Any = rule(name=SIDES, index=INDEX, failed=st.booleans(), again=st.booleans())(PairModel.end_stream)
    consume: Any = rule(index=INDEX, batches=st.integers(1, 4), used=st.integers(0, 8), arrives=st.booleans())(
        PairModel.consume
    )
    stop_stream: Any = rule(
        name=SIDES, index=INDEX, caps=CAPS, again=st.booleans(), item=st.sampled_from(["", "travels", "waits"])
    )(PairModel.stop_stream)

    # The line and the clock

    ping: Any = rule(name=SIDES)(PairModel.ping)
    deliver: Any = rule(name=SIDES, count=st.integers(1, 200))(PairModel.deliver)
    flush: Any = rule()(PairModel.flush)
    advance: Any = rule(seconds=st.floats(0.01, 8.0))(PairModel.advance)

    @rule(name=SIDES, grace=st.sampled_from([0.0, 3.0, 60.0]), luck=st.integers(0, 5))
    def goaway(self, name: str, grace: float, luck: int) -> None:
        """Not too often, or there would be nothing else."""
        if luck == 0:
            super().goaway(name, grace)

    @rule(luck=st.integers(0, 19))
    def cut(self, luck: int) -> None:
        """Not too often either."""
        if luck == 0:
            super().cut()

    def teardown(self) -> None:
        """How every run ends; when a rule has failed, what follows from that must not hide it."""
        if sys.exc_info()[0] is None:
            self.quiesce()
