"""Held calls: before the peer's hello, and while it has no room, calls wait here in order (P-CONN-2, P-CALL-7)."""

from __future__ import annotations

import pytest

from capnet.engine.events import (
    CallArrived,
    CallFailed,
    CallReturned,
    ExportEnded,
    ImportBroken,
    ImportReplaced,
)
from capnet.errors import ResourceExhausted
from capnet.limits import EARLY, Limits
from capnet.testing.engines import EnginePair, RawPeer, capability
from capnet.wire.hello import Hello
from capnet.wire.references import CapRef


def answer_all(pair: EnginePair) -> list[str]:
    """Answer whatever reaches the right side until nothing comes any more; returns the methods in order."""
    methods: list[str] = []
    pair.flush()
    while events := pair.right.take(CallArrived):
        for event in events:
            methods.append(event.answer.method)
            pair.right.engine.release_all(event.answer.references)
            pair.right.reply(event.answer)
        pair.flush()
    return methods


def test_calls_leave_with_the_hello() -> None:
    """P-CONN-2: both sides may call right after their hello, without waiting for the peer's."""
    pair = EnginePair()
    pair.left.call("early", capability("thing"))
    pair.deliver(pair.right)
    answer = pair.right.arrived()
    assert answer.method == "early"
    pair.right.engine.release_all(answer.references)
    pair.right.reply(answer)
    pair.flush()
    assert pair.left.returned().token == "early"
    pair.finish()


def test_until_the_hello_a_sender_keeps_to_what_every_peer_takes() -> None:
    """P-CONN-2: 16 calls leave, later ones wait for the hello; then all go, in order."""
    pair = EnginePair()
    names = [f"m{number}" for number in range(40)]
    for name in names:
        pair.left.call(name)
    assert (len(pair.left.engine.calls), pair.left.engine.calls.waiting) == (EARLY.max_calls, 40 - EARLY.max_calls)
    assert answer_all(pair) == names
    assert [event.token for event in pair.left.take(CallReturned)] == names
    pair.finish()


def test_a_frame_over_the_early_limit_waits_and_so_does_what_follows() -> None:
    """P-CONN-2, P-CALL-2: a large first call is held for the hello; later ones do not overtake it."""
    pair = EnginePair()
    engine = pair.left.engine
    engine.call(engine.imports.bootstrap, "large", {"blob": bytes(EARLY.max_frame)}, token="large")
    pair.left.call("small")
    assert len(engine.calls) == 0
    assert answer_all(pair) == ["large", "small"]
    pair.finish()


def test_a_held_frame_that_turns_out_too_long_fails_its_call() -> None:
    """P-FRAME-2: when the hello announces less, the call fails locally, and what it carried is uncounted."""
    pair = EnginePair(Hello(), Hello(limits=Limits(max_frame=EARLY.max_frame)))
    engine, reference = pair.left.engine, capability("thing")
    arguments = {"blob": bytes(EARLY.max_frame), "cap": reference}
    engine.call(engine.imports.bootstrap, "large", arguments, [reference], "large")
    pair.left.call("small")
    engine.call(engine.imports.bootstrap, "silent", {"blob": bytes(EARLY.max_frame)}, one_way=True)
    assert answer_all(pair) == ["small"]
    (failed,) = pair.left.take(CallFailed)
    assert failed.token == "large" and failed.error.reason == "max_frame_bytes"
    assert [event.reason for event in pair.left.take(ExportEnded)] == ["dropped"], "its close hook is due (P-REF-3)"
    pair.finish()


def test_early_capabilities_are_bounded() -> None:
    """P-CONN-2: no more than 16 capabilities before the peer has said how many it takes."""
    pair = EnginePair()
    references = [capability(f"thing {number}") for number in range(EARLY.max_caps + 1)]
    with pytest.raises(ResourceExhausted) as raised:
        pair.left.call("give", *references)
    assert raised.value.reason == "max_caps_per_connection" and len(pair.left.engine.exports) == 0
    pair.left.call("give", *references[:-1])
    answer_all(pair)
    pair.finish()


def test_one_way_calls_wait_in_the_same_line() -> None:
    """P-CALL-2: order holds between calls with and without an answer."""
    pair = EnginePair(Hello(), Hello(limits=Limits(max_calls=16))).open()
    for number in range(17):
        pair.left.call(f"m{number}")
    pair.left.call("note", one_way=True)
    pair.left.call("last")
    assert answer_all(pair) == [*(f"m{number}" for number in range(17)), "note", "last"]
    pair.finish()


def test_cancelling_a_held_call_takes_it_back() -> None:
    """P-CALL-6, P-REF-3: nothing was sent, so nothing is; an export that only it mentioned ends."""
    pair = EnginePair()
    engine = pair.left.engine
    blob = {"blob": bytes(EARLY.max_frame)}
    engine.call(engine.imports.bootstrap, "large", blob, token="large")
    held = pair.left.call("give", capability("thing"), capability("thing"))
    (export,) = engine.exports
    assert (export.references, export.unsent) == (2, 2)
    engine.cancel(held)
    engine.cancel(held)
    assert answer_all(pair) == ["large"]
    assert [event.export for event in pair.left.take(ExportEnded)] == [export]
    assert not pair.left.take(CallFailed)
    pair.finish()


def test_a_revoked_export_in_a_held_call_ends_once() -> None:
    """P-CAP-6: revoked while its only mention waits, taken back afterwards: one `ExportEnded`."""
    pair = EnginePair()
    engine = pair.left.engine
    engine.call(engine.imports.bootstrap, "large", {"blob": bytes(EARLY.max_frame)}, token="large")
    held = pair.left.call("give", capability("thing"))
    engine.exporting.revoke(list(engine.exports), "gone")
    engine.cancel(held)
    pair.step()
    assert [event.reason for event in pair.left.take(ExportEnded)] == ["revoked"]
    engine.close("enough", 1.0, pair.now)
    pair.flush()
    pair.finish()


def test_news_of_an_export_do_not_overtake_its_first_mention() -> None:
    """P-CAP-6: revoked or replaced while the only frame that mentions it waits: the peer hears it after that frame."""
    pair = EnginePair(Hello(), Hello(limits=Limits(max_calls=16))).open()
    for _ in range(16):
        pair.left.call("run")
    pair.left.call("give", capability("revoked"), capability("replaced"))
    first, second = pair.left.engine.exports
    pair.left.engine.exporting.revoke([first], "changed my mind")
    pair.left.engine.exporting.replace([second], "better", 1)
    pair.flush()
    pair.right.reply(pair.right.arrived())
    pair.flush()
    (broken,) = pair.right.take(ImportBroken)
    assert broken.imported.id == first.id and broken.error.message == "changed my mind"
    assert not pair.right.take(ImportReplaced), "it has known no other"
    assert answer_all(pair)[-1] == "give"
    pair.finish()


def test_who_has_let_go_meanwhile_is_told_again() -> None:
    """P-CAP-6: an importer that dropped it and gets it again from a held frame learns that it is revoked."""
    pair = EnginePair(Hello(), Hello(limits=Limits(max_calls=16))).open()
    imported = pair.give(pair.left, "thing")
    for _ in range(16):
        pair.left.call("run")
    pair.left.call("give", capability("thing"))
    pair.flush()
    pair.left.engine.exporting.revoke(list(pair.left.engine.exports), "gone")
    pair.right.engine.release(imported)
    pair.flush()
    pair.right.reply(pair.right.arrived())
    pair.flush()
    assert [event.imported is imported for event in pair.right.take(ImportBroken)] == [False]
    assert answer_all(pair)[-1] == "give"
    pair.finish()


def test_what_a_held_frame_mentions_is_not_the_peers_to_drop() -> None:
    """P-REF-1, P-REF-2: references are given when their frame leaves, and a peer cannot give back what it lacks."""
    for dropped, clause in [(1, None), (2, "P-REF-2")]:
        raw = RawPeer(Hello(limits=Limits(max_outgoing_calls=4)))
        raw.engine.calls.limit = 1
        references = [capability("thing"), capability("thing")]
        _, held = [
            raw.engine.call(raw.engine.imports.bootstrap, "give", {"cap": reference}, [reference], "token")
            for reference in references
        ]
        raw.collect()
        raw.say([11, [[2, dropped]]])
        assert raw.clause == clause
        raw.engine.cancel(held)
        raw.collect()
        assert len(raw.take(ExportEnded)) == 1 and len(raw.engine.exports) == 0


def test_what_a_held_frame_mentions_cannot_be_called() -> None:
    """P-REF-1, T5: its id can be guessed, and the peer can have the frame held back by answering nothing."""
    raw = RawPeer()
    raw.engine.calls.limit = 1
    for name in ("first", "guessed"):
        reference = capability(name)
        raw.engine.call(raw.engine.imports.bootstrap, "give", {"cap": reference}, [reference], "token")
    raw.collect()
    said = raw.say([2, 1, 2, "m", {}], [2, 2, 3, "m", {}], [2, 3, 0, "m", {"cap": CapRef("test.Thing", 1, id=-3)}])
    assert [(frame[1], frame[2], frame[4]["reason"]) for frame in said] == [
        (2, "not_found", "released"),
        (3, "not_found", "released"),
    ]
    assert [event.answer.id for event in raw.take(CallArrived)] == [1]


def test_goaway_fails_held_calls_and_uncounts_what_they_carried() -> None:
    """P-CONN-4: the peer has never seen them: they fail `unavailable`, and cancelling them afterwards is harmless."""
    for closer in ("left", "right"):
        pair = EnginePair(Hello(), Hello(limits=Limits(max_calls=16))).open()
        for _ in range(16):
            pair.left.call("run")
        held = pair.left.call("held", capability("thing"))
        pair.flush()
        (pair.left if closer == "left" else pair.right).engine.close("bye", 5.0, pair.now)
        pair.flush()
        (failed,) = pair.left.take(CallFailed)
        assert (failed.token, failed.error.code) == ("held", "unavailable")
        assert [event.reason for event in pair.left.take(ExportEnded)] == ["dropped"]
        pair.left.engine.cancel(held)
        for event in pair.right.take(CallArrived):
            pair.right.reply(event.answer)
        pair.flush()
        assert len(pair.left.take(CallReturned)) == 16
        pair.finish()


def test_the_end_of_the_line_fails_held_calls() -> None:
    """P-CONN-6: each waiting caller is told once; cancelling afterwards does nothing."""
    pair = EnginePair()
    engine = pair.left.engine
    held = engine.call(engine.imports.bootstrap, "large", {"blob": bytes(EARLY.max_frame)}, token="large")
    pair.cut()
    assert pair.left.failed().code == "unavailable"
    engine.cancel(held)
    pair.finish()


def test_a_close_before_the_hello_drains_when_the_early_calls_have_ended() -> None:
    """P-CONN-4: a goaway may follow the hello at once; what left before it is still answered."""
    pair = EnginePair()
    pair.left.call("early")
    pair.left.engine.close("bye", 5.0, pair.now)
    assert answer_all(pair) == ["early"]
    assert pair.left.returned().token == "early"
    pair.finish()
