"""Limits and queueing: an honest peer gets a local error, a pushing one is refused and struck (P-CALL-7, P-ERR-3)."""

from __future__ import annotations

import pytest

from capnet.engine.events import CallArrived, CallFailed, CallReturned, LimitReached
from capnet.errors import ResourceExhausted
from capnet.limits import Limits
from capnet.testing.engines import EnginePair, capability
from capnet.wire.hello import Hello

NARROW = Limits(max_calls=16, max_queued_calls=4, max_caps=16, max_outgoing_calls=8, max_strikes=3, strike_window=10.0)


@pytest.fixture
def narrow() -> EnginePair:
    """A pair whose right side has little room."""
    return EnginePair(Hello(), Hello(limits=NARROW)).open()


def test_an_honest_caller_waits_until_there_is_room(narrow: EnginePair) -> None:
    """P-CONN-2, P-CALL-7: calls beyond the peer's announced limit are held here and leave in order."""
    for number in range(20):
        narrow.left.call(f"m{number}")
    narrow.flush()
    running = [event.answer for event in narrow.right.take(CallArrived)]
    assert len(running) == 16 and narrow.left.engine.calls.waiting == 4
    assert not narrow.right.take(LimitReached)
    narrow.right.reply(running.pop())
    narrow.flush()
    (next_one,) = narrow.right.take(CallArrived)
    assert next_one.answer.method == "m16"
    for answer in [*running, next_one.answer]:
        narrow.right.reply(answer)
    narrow.flush()
    for event in narrow.right.take(CallArrived):
        narrow.right.reply(event.answer)
    narrow.flush()
    assert len(narrow.left.take(CallReturned)) == 20
    narrow.finish()


def test_too_many_waiting_calls_fail_here() -> None:
    """P-CALL-7: over its own bound the caller's side refuses, and nothing of the refused call stays."""
    pair = EnginePair(Hello(limits=NARROW), Hello(limits=NARROW)).open()
    for _ in range(24):
        pair.left.call("m")
    with pytest.raises(ResourceExhausted) as raised:
        pair.left.call("m", capability("thing"))
    assert raised.value.reason == "max_concurrent_calls"
    assert len(pair.left.engine.exports) == 0
    while not all(len(side.engine.calls) == len(side.engine.answers) == 0 for side in pair.sides):
        pair.flush()
        for event in pair.right.take(CallArrived):
            pair.right.reply(event.answer)
    pair.finish()


def test_calls_over_the_limit_wait_over_there_then_fail(narrow: EnginePair) -> None:
    """P-CALL-7, P-LIMIT-1: slots, then the queue, then `resource_exhausted/max_concurrent_calls` and a strike each."""
    narrow.left.engine.calls.limit = 1000  # a sender that does not count
    for _ in range(23):
        narrow.left.call("m", capability("thing"))
    narrow.flush()
    errors = [event.error for event in narrow.left.take(CallFailed)]
    assert [error.reason for error in errors] == ["max_concurrent_calls"] * 3
    assert [event.reason for event in narrow.right.take(LimitReached)] == ["max_concurrent_calls"] * 3
    for _ in range(20):
        answer = narrow.right.arrived()
        narrow.right.engine.release_all(answer.references)
        narrow.right.reply(answer)
        narrow.step()
    narrow.flush()
    assert len(narrow.left.take(CallReturned)) == 20 and len(narrow.left.engine.exports) == 0
    narrow.finish()


def test_strikes_outside_the_window_are_forgiven(narrow: EnginePair) -> None:
    """P-LIMIT-1: only strikes within `strike_window` add up."""
    for _ in range(4):
        narrow.right.engine.strike("rate_limited")
        narrow.advance(5.0)
    assert not narrow.right.closed
    for _ in range(3):
        narrow.right.engine.strike("rate_limited")
    narrow.flush()
    assert narrow.right.engine.lifecycle.cause is not None
    assert narrow.right.engine.lifecycle.cause.clause == "P-LIMIT-1"
    assert narrow.left.closed
    said = len(narrow.right.events)
    narrow.right.engine.strike("after the end")
    narrow.step()
    assert len(narrow.right.events) == said, "nothing follows `Closed`"


def test_capabilities_over_the_peers_limit_fail_here(narrow: EnginePair) -> None:
    """P-CAP-2, P-ERR-3: `max_caps_per_connection` for that call only, all or nothing; the connection stays."""
    for number in range(15):
        narrow.give(narrow.left, f"thing {number}")
    with pytest.raises(ResourceExhausted) as raised:
        narrow.left.call("give", capability("a"), capability("b"))
    assert raised.value.reason == "max_caps_per_connection"
    assert len(narrow.left.engine.exports) == 15
    narrow.give(narrow.left, "thing 15")
    narrow.give(narrow.left, "thing 15")  # known already: one more reference is no further capability
    for imported in list(narrow.right.engine.imports):
        while imported.holders:
            narrow.right.engine.release(imported)
    narrow.finish()


def test_revoked_capabilities_count_until_they_are_dropped(narrow: EnginePair) -> None:
    """P-CAP-1: a peer that drops nothing cannot make the table grow through revocation (threat T16)."""
    for number in range(16):
        narrow.give(narrow.left, f"thing {number}")
    narrow.left.engine.exporting.revoke(list(narrow.left.engine.exports), "gone")
    with pytest.raises(ResourceExhausted):
        narrow.left.call("give", capability("another"))
    for imported in list(narrow.right.engine.imports):
        narrow.right.engine.release(imported)
    narrow.finish()


def test_frames_over_the_peers_limit_fail_here() -> None:
    """P-FRAME-2: an honest sender knows the receiver's limit and gets a local error, never a violation."""
    pair = EnginePair(Hello(), Hello(limits=Limits(max_frame=64 * 1024))).open()
    engine = pair.left.engine
    with pytest.raises(ResourceExhausted) as raised:
        engine.call(engine.imports.bootstrap, "m", {"blob": bytes(64 * 1024)})
    assert raised.value.reason == "max_frame_bytes"
    engine.call(engine.imports.bootstrap, "m", {"blob": bytes(64 * 1024 - 100)}, token="fits")
    pair.flush()
    pair.right.reply(pair.right.arrived())
    pair.finish()


def test_a_large_frame_is_refused_while_others_wait(narrow: EnginePair) -> None:
    """P-FRAME-2, P-REF-1: also on the careful path, with its references uncounted."""
    engine = narrow.left.engine
    for _ in range(17):
        narrow.left.call("m")
    reference = capability("thing")
    with pytest.raises(ResourceExhausted):
        engine.call(engine.imports.bootstrap, "m", {"blob": bytes(engine.outbox.limit), "cap": reference}, [reference])
    assert len(engine.exports) == 0
    narrow.flush()
    for event in narrow.right.take(CallArrived):
        narrow.right.reply(event.answer)
    narrow.flush()
    narrow.right.reply(narrow.right.arrived())
    narrow.finish()


def test_fault_15_the_built_in_capabilities_take_no_room(narrow: EnginePair) -> None:
    """Fault 15: the ancestor's limit counted the two built-in entries, so two fewer objects went out than it said.

    Here limits count user exports only (P-ID-3).
    """
    for number in range(16):
        narrow.give(narrow.left, f"thing {number}")
    assert len(narrow.left.engine.exports) == narrow.left.engine.exports.limit == 16
    for imported in list(narrow.right.engine.imports):
        narrow.right.engine.release(imported)
    narrow.finish()
