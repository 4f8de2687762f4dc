"""Goaway: no new calls, what runs may end, then everything does (P-CONN-4)."""

from __future__ import annotations

import math

import pytest

from capnet.engine.events import AnswerEnded, CallArrived, CallFailed, CallReturned, Closed, Draining
from capnet.engine.lifecycle import State
from capnet.errors import NotRun, Unauthenticated, Unavailable
from capnet.testing.engines import EnginePair, RawPeer


def causes(pair: EnginePair) -> list[str]:
    """How each side's connection ended."""
    return [side.take(Closed)[0].cause.kind for side in pair.sides]


def test_an_idle_connection_closes_at_once() -> None:
    """P-CONN-4: with nothing in flight there is nothing to wait for; each side knows who said it."""
    pair = EnginePair().open()
    pair.left.engine.close("done", 10.0, pair.now)
    pair.flush()
    assert causes(pair) == ["local", "remote"]


def test_what_runs_may_end_in_both_directions(pair: EnginePair) -> None:
    """P-CONN-4: calls that were made before are answered, on both sides; new ones are refused where they are made."""
    for side in pair.sides:
        side.call("run", token=side.name)
    pair.flush()
    answers = [side.arrived() for side in pair.sides]
    pair.left.engine.close("maintenance", 10.0, pair.now)
    pair.flush()
    for side in pair.sides:
        assert side.engine.lifecycle.state is State.DRAINING and len(side.take(Draining)) == 1
        with pytest.raises(Unavailable):
            side.call("new")
    for side, answer in zip(pair.sides, answers, strict=True):
        side.reply(answer)
    pair.flush()
    assert [side.returned().token for side in pair.sides] == ["left", "right"]
    assert [side.engine.lifecycle.cause is not None and side.engine.lifecycle.cause.kind for side in pair.sides] == [
        "local",
        "remote",
    ]


def test_calls_that_cross_the_goaway_fail_once_and_may_be_made_elsewhere(pair: EnginePair) -> None:
    """P-CONN-4: above `last_call_id` the sender knows at once; the refusal that still comes is not a second end."""
    pair.left.call("keeps it open")
    pair.flush()
    keeps_open = pair.right.arrived()
    pair.left.engine.close("bye", 10.0, pair.now)
    pair.right.call("crossing")
    pair.flush()
    (failed,) = pair.right.take(CallFailed)
    assert type(failed.error) is NotRun
    assert (failed.error.reason, failed.error.retry) == ("goaway", "transparent")
    assert not pair.left.take(CallArrived)
    pair.right.reply(keeps_open)
    pair.flush()
    assert not pair.right.take(CallFailed)


def test_a_cancelled_call_that_crosses_the_goaway_hears_nothing(pair: EnginePair) -> None:
    """P-CALL-6, P-CONN-4: its token was given up before; neither the goaway nor the end tells it anything."""
    pair.left.call("keeps it open")
    pair.flush()
    keeps_open = pair.right.arrived()
    pair.left.engine.close("bye", 10.0, pair.now)
    pair.right.engine.cancel(pair.right.call("crossing"))
    pair.flush()
    assert not pair.right.take(CallFailed)
    pair.right.reply(keeps_open)


def test_a_cancelled_call_that_is_cut_off_hears_nothing() -> None:
    """P-CALL-6, P-CONN-6: the same when the line breaks before the answer."""
    pair = EnginePair().open()
    pair.left.engine.cancel(pair.left.call("given up"))
    pair.cut()
    assert not pair.left.take(CallFailed)
    pair.finish()


def test_both_sides_say_it_at_the_same_time(pair: EnginePair) -> None:
    """P-CONN-4: crossing goaways: each side keeps its own cause, and what runs ends as usual."""
    for side in pair.sides:
        side.call("run", token=side.name)
    pair.flush()
    for side in pair.sides:
        side.engine.close("bye", 10.0, pair.now)
    pair.flush()
    for side in pair.sides:
        side.reply(side.arrived())
    pair.flush()
    assert [side.returned().token for side in pair.sides] == ["left", "right"]
    for side in pair.sides:
        assert len(side.take(Draining)) == 1
        assert side.engine.lifecycle.cause is not None and side.engine.lifecycle.cause.kind == "local"


def test_past_the_grace_the_rest_ends_unavailable() -> None:
    """P-CONN-4: callers get `unavailable`, handlers are told to stop, and then the connection closes."""
    pair = EnginePair().open()
    for side in pair.sides:
        side.call("run", token=side.name)
    pair.flush()
    pair.left.engine.close("bye", 2.0, pair.now)
    pair.flush()
    pair.advance(1.9)
    assert not pair.left.closed
    pair.advance(0.1)
    pair.flush()
    for side in pair.sides:
        assert [event.error.code for event in side.take(CallFailed)] == ["unavailable"]
        assert [event.error.code for event in side.take(AnswerEnded)] == ["unavailable"]
    assert causes(pair) == ["local", "remote"]
    pair.finish()


@pytest.mark.parametrize("grace", [0.0, -1.0])
def test_without_grace_everything_ends_now(grace: float) -> None:
    """P-CONN-4, P-OP: no time is zero milliseconds on the wire, also when asked for less."""
    pair = EnginePair().open()
    pair.left.call("run")
    pair.right.call("run")
    pair.flush()
    pair.left.engine.close("now", grace, pair.now)
    pair.flush()
    assert causes(pair) == ["local", "remote"]
    assert pair.left.failed().code == pair.right.failed().code == "unavailable"
    pair.finish()


def test_who_is_not_admitted_is_told_so() -> None:
    """P-CONN-4: calls that run, that are on their way, and later ones all end with the code of the goaway."""
    pair = EnginePair().open()
    pair.left.call("run")
    pair.flush()
    pair.right.engine.close("no token", 0, pair.now, "unauthenticated")
    pair.left.call("crossing")
    pair.flush()
    for failed in pair.left.take(CallFailed):
        assert isinstance(failed.error, Unauthenticated) and failed.error.reason == "not_admitted"
    with pytest.raises(Unauthenticated):
        pair.left.call("late")
    assert causes(pair) == ["remote", "local"]
    pair.finish()


def test_an_unknown_code_is_taken_for_unavailable() -> None:
    pair = EnginePair().open()
    pair.left.call("run")
    pair.flush()
    pair.right.engine.close("bye", 0, pair.now, "internal")
    pair.flush()
    assert {failed.error.code for failed in pair.left.take(CallFailed)} == {"unavailable"}


def test_all_the_time_in_the_world_is_a_long_time(pair: EnginePair) -> None:
    """P-CONN-4: an infinite grace is cut to what travels; nothing ends because of it."""
    pair.left.call("run")
    pair.flush()
    pair.left.engine.close("some day", math.inf, pair.now)
    pair.flush()
    pair.right.reply(pair.right.arrived())
    pair.flush()
    assert pair.left.returned().token == "run"


def test_a_peer_that_never_ends_its_calls_is_not_waited_for() -> None:
    """P-CONN-4: the side that was told goaway has a time of its own, in case the other does not keep to it."""
    raw = RawPeer()
    raw.engine.call(raw.engine.imports.bootstrap, "run", {}, token="t")
    raw.say([1, 1, "unavailable", "bye", 1000])
    raw.advance(1.0 + raw.engine.limits.handshake_timeout - 0.1)
    assert not raw.engine.lifecycle.closed
    raw.advance(0.1)
    assert raw.take(Closed)[0].cause.kind == "remote" and raw.take(CallFailed)[0].token == "t"


def test_a_hostile_grace_is_cut(pair: EnginePair) -> None:
    """P-CONN-4: nobody is kept open for longer than an hour by a number on the wire."""
    raw = RawPeer()
    raw.engine.call(raw.engine.imports.bootstrap, "run", {}, token="t")
    raw.say([1, 1, "unavailable", "bye", 2**53 - 1])
    for _ in range(3700):
        raw.now += 1.0
        raw.engine.receive_data(b"", raw.now)  # something is heard, so it is not silence that ends it
        raw.engine.handle_timeout(raw.now)
    raw.collect()
    assert raw.take(Closed)[0].cause.kind == "remote"


def test_a_second_goaway_changes_little(pair: EnginePair) -> None:
    """P-CONN-4: closing again sets a new time; it is said once, and a repeated one from the peer is harmless."""
    pair.left.call("run")
    pair.flush()
    pair.left.engine.close("bye", 10.0, pair.now)
    pair.flush()
    pair.left.engine.close("faster", 1.0, pair.now)
    pair.right.engine.outbox.send([1, 0, "unavailable", "again", 0])
    pair.flush()
    assert pair.left.failed().reason == "goaway", "the peer now says that it has not seen the call"
    pair.right.reply(pair.right.arrived())
    pair.flush()
    assert not pair.left.take(CallReturned)


def test_closing_what_is_closed_does_nothing() -> None:
    """P-CONN-4: idempotent."""
    pair = EnginePair().open()
    pair.left.engine.close("bye", 1.0, pair.now)
    pair.flush()
    said = len(pair.left.events)
    pair.left.engine.close("again", 1.0, pair.now)
    pair.flush()
    assert len(pair.left.events) == said


def test_a_queued_call_is_told_when_the_grace_is_over() -> None:
    """P-CALL-1, P-CONN-4: also a call that never got a slot has one end."""
    pair = EnginePair().open()
    pair.left.engine.calls.limit = 1000
    limit = pair.right.engine.limits.max_calls
    for _ in range(limit + 1):
        pair.left.call("run")
    pair.flush()
    pair.right.engine.close("bye", 1.0, pair.now)
    pair.flush()
    pair.advance(1.0)
    pair.flush()
    assert len(pair.left.take(CallFailed)) == limit + 1
    assert len(pair.right.take(AnswerEnded)) == limit
    pair.finish()


def test_fault_53_every_start_has_one_end() -> None:
    """Fault 53: work that the ancestor's shutdown aborted sent no final events.

    Here each call that started ends with exactly one event, on both sides (P-CONN-4, P-CAP-8).
    """
    pair = EnginePair().open()
    for side in pair.sides:
        for _ in range(10):
            side.call("run")
    pair.flush()
    started = {side.name: {event.answer for event in side.take(CallArrived)} for side in pair.sides}
    pair.right.engine.close("now", 0.0, pair.now)
    pair.flush()
    for side in pair.sides:
        ended = [event.answer for event in side.take(AnswerEnded)]
        assert len(ended) == 10 and set(ended) == started[side.name]
        assert len(side.take(CallFailed)) == 10
        assert isinstance(side.events[-1], Closed)
    pair.finish()


def test_fault_54_closing_is_graceful_and_has_a_cause() -> None:
    """Fault 54: the ancestor just stopped: no goaway, no drain, and no way to tell loss from intention.

    Here work in flight ends, and each of the five kinds of end is told apart (P-CONN-4).
    """

    def kinds(end: str) -> list[str]:
        pair = EnginePair().open()
        pair.left.call("run")
        pair.flush()
        if end == "goaway":
            pair.left.engine.close("bye", 5.0, pair.now)
            pair.flush()
            pair.right.reply(pair.right.arrived())
            pair.flush()
            assert pair.left.returned().token == "run"
        elif end == "cut":
            pair.cut()
        elif end == "violation":
            pair.left.engine.outbox.send([63])
            pair.flush()
        else:
            pair.advance(60.0)
        return causes(pair)

    assert kinds("goaway") == ["local", "remote"]
    assert kinds("cut") == ["lost", "lost"]
    assert kinds("violation") == ["violation", "violation"]
    assert kinds("silence") == ["idle", "idle"]
