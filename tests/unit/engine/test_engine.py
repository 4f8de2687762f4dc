"""`Engine`: the contract with its driver. What two engines do together is in tests/scenarios."""

from __future__ import annotations

import doctest

import pytest

from capnet.engine.engine import Engine
from capnet.engine.events import AnswerEnded, CallArrived, Closed, ExportEnded, ImportBroken
from capnet.engine.inspect import stats
from capnet.errors import ProtocolViolation, Revoked
from capnet.limits import Limits
from capnet.testing import engines
from capnet.testing.engines import EnginePair, RawPeer, capability, made_on, stream_out
from capnet.wire.hello import Hello


def test_the_same_inputs_give_the_same_bytes_and_events() -> None:
    """P-FRAME-1: no clock, no chance: two engines that are told the same say the same."""

    def play() -> tuple[list[str], list[list[object]]]:
        raw = RawPeer()
        raw.say([2, 1, 0, "m", {}], [14, 1], [2, 2, 0, "n", {}, {"deadline": 5}])
        raw.advance(60.0)
        return [type(event).__name__ for event in raw.events], raw.heard

    assert play() == play()


def test_drains_give_everything_once() -> None:
    """P-OP: events and bytes are handed over, not shown."""
    engine = Engine(Hello("x"), 0.0)
    before = engine.pending
    assert engine.data_to_send()
    assert (before, engine.pending) == (True, False)
    assert engine.data_to_send() == [] and engine.events() == []
    assert engine.next_deadline() == engine.limits.handshake_timeout


def test_peer_faults_never_raise() -> None:
    """P-ERR-3: they queue an abort and one terminal event, and a second abort says nothing."""
    raw = RawPeer()
    raw.engine.abort(ProtocolViolation("P-OP", "the driver found it"))
    raw.engine.abort(ProtocolViolation("P-REF", "too late"))
    assert raw.collect() == [[16, "P-OP", "the driver found it"]]
    (closed,) = raw.take(Closed)
    assert closed.cause.clause == "P-OP" and closed.cause.by_peer


def test_an_early_close_needs_no_hello() -> None:
    """P-CONN-4: a driver that gives up while opening says goaway after its hello, and is done."""
    raw = RawPeer(greet=False)
    raw.engine.close("changed my mind", 1.0, 0.0)
    assert raw.collect() == [[1, 0, "unavailable", "changed my mind", 1000]]
    assert raw.take(Closed)[0].cause.kind == "local"


def test_only_what_is_held_can_be_held_again() -> None:
    """P-REF-2: local misuse is refused before anything has changed."""
    raw = RawPeer()
    reference = capability(None)
    reference.id = 2
    raw.say([2, 1, 0, "m", {"x": reference}])
    imported = raw.imported(2)
    raw.engine.hold(imported)
    raw.engine.release(imported)
    assert raw.collect() == []
    raw.engine.release(imported)
    assert raw.collect() == [[11, [[2, 1]]]]
    with pytest.raises(AssertionError):
        raw.engine.hold(imported)


def test_two_timers_at_once_end_it_once() -> None:
    """P-CONN-3, P-FRAME-2: a clock that comes late finds the hello missing and a frame unfinished; one is enough."""
    raw = RawPeer(greet=False)
    raw.say_bytes(b"\x00")
    raw.engine.handle_timeout(100.0)
    raw.collect()
    assert len(raw.take(Closed)) == 1


def test_a_subjects_exports_are_found_also_when_they_were_given_back() -> None:
    """P-CAP-5, P-CAP-6: by every id, and as long as a call on it has not ended."""
    pair = EnginePair().open()
    first = pair.give(pair.left, "old")
    second = pair.give(pair.left, "new")
    old, new = pair.left.engine.exports
    pair.left.engine.exporting.replace([old], "new", 1)
    assert pair.left.engine.exporting.of("new") == [old, new]
    pair.right.call("run", target=first)
    pair.right.engine.release(first)
    pair.right.engine.release(second)
    pair.flush()
    assert pair.left.engine.exporting.of("new") == [old] and len(pair.left.engine.exports) == 0
    pair.left.reply(pair.left.arrived())
    assert pair.left.engine.exporting.of("new") == []
    pair.finish()


def test_revoking_what_was_given_back_still_ends_its_calls() -> None:
    """P-CAP-6: the peer let go of it, but its handler runs: it is stopped and answered; the peer is not told of it."""
    pair = EnginePair().open()
    imported = pair.give(pair.left, "thing")
    pair.right.call("run", target=imported)
    pair.right.engine.release(imported)
    pair.flush()
    answer = pair.left.arrived()
    assert not pair.left.take(ExportEnded)
    pair.left.engine.exporting.revoke(pair.left.engine.exporting.of("thing"), "gone")
    pair.flush()
    (ended,) = pair.left.take(AnswerEnded)
    assert ended.answer is answer and isinstance(pair.right.failed(), Revoked)
    assert [event.reason for event in pair.left.take(ExportEnded)] == ["revoked"]
    pair.left.reply(answer)
    assert not pair.left.take(ExportEnded) and not pair.right.take(ImportBroken)
    pair.finish()


def waiting_on(pair: EnginePair) -> None:
    """Fill every slot of the left side and let one more call wait, on a capability that is then given back."""
    imported = pair.give(pair.left, "thing")
    for _ in range(16):
        pair.right.call("run")
    pair.right.engine.calls.limit = 100
    pair.right.call("last", target=imported)
    pair.right.engine.release(imported)
    pair.flush()
    assert len(pair.left.engine.exports) == 0 and not pair.left.take(ExportEnded)


def narrow() -> EnginePair:
    """A pair whose left side has sixteen slots."""
    return EnginePair(Hello(limits=Limits(max_calls=16)), Hello()).open()


def test_an_export_ends_after_the_last_call_on_it() -> None:
    """P-REF-3: given back while a call on it waits for a slot, it stays open until the handler has ended."""
    pair = narrow()
    waiting_on(pair)
    pair.left.reply(pair.left.arrived())
    pair.step()
    *others, last = (event.answer for event in pair.left.take(CallArrived))
    assert last.method == "last" and not pair.left.take(ExportEnded)
    pair.left.reply(last)
    pair.step()
    assert [event.reason for event in pair.left.take(ExportEnded)] == ["dropped"]
    for answer in others:
        pair.left.reply(answer)
    pair.finish()


def test_an_export_ends_after_the_last_stream_of_it() -> None:
    """P-REF-3, P-CAP-6: given back while a stream of it flows, it can be revoked still, and ends with the stream."""
    for end in ("end", "revoke"):
        pair = EnginePair().open()
        imported = pair.give(pair.left, "thing")
        pair.right.call("flow", target=imported)
        pair.flush()
        pair.left.reply(pair.left.arrived(), opened := stream_out("producer"))
        pair.right.engine.release(imported)
        pair.flush()
        (export,) = pair.left.engine.exports.lingering
        assert not pair.left.take(ExportEnded) and export.pins == 1
        if end == "end":
            pair.left.engine.streaming.end(opened.subject)
        else:
            pair.left.engine.exporting.revoke([export, export], "gone")
        pair.flush()
        assert [event.reason for event in pair.left.take(ExportEnded)] == ["dropped" if end == "end" else "revoked"]
        assert not pair.left.engine.exports.lingering and not pair.left.engine.streams
        pair.right.returned()
        pair.finish()


def test_what_lingers_is_replaced_too() -> None:
    """P-CAP-5: a call that waits on what was given back starts on the new one, which is not exported by that."""
    pair = narrow()
    waiting_on(pair)
    pair.left.engine.exporting.replace(pair.left.engine.exporting.of("thing"), "new", 2)
    assert pair.left.engine.exports.of("new", "test.Thing") is None
    for _ in range(17):
        pair.step()
        answer = pair.left.arrived()
        assert (answer.method == "last") == (made_on(answer) == "new")
        pair.left.reply(answer)
    pair.finish()


def test_an_export_that_is_waited_for_ends_with_the_call_or_the_connection() -> None:
    """P-REF-3: exactly once, also when the call never starts."""
    for end in ("revoked", "deadline", "cut"):
        pair = narrow()
        waiting_on(pair)
        if end == "revoked":
            pair.left.engine.exporting.revoke(pair.left.engine.exporting.of("thing"), "gone")
        elif end == "deadline":
            pair.left.engine.answering.end_answer(pair.left.engine.answers.queue[0], Revoked("x"))
        else:
            pair.cut()
        pair.step()
        assert len(pair.left.take(ExportEnded)) == 1
        for event in pair.left.take(CallArrived):
            pair.left.reply(event.answer)
        pair.flush()
        assert not pair.left.take(ExportEnded) and not any(stats(pair.left.engine).values())
        pair.finish()


def test_the_example_in_the_documentation_of_the_pair_works() -> None:
    """What `capnet.testing.engines` shows its reader is what happens; a side in a message shows its tables."""
    assert doctest.testmod(engines).failed == 0
    assert repr(EnginePair().left).startswith("<EngineSide left {'state': 'opening'")
