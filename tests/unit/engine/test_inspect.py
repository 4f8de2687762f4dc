"""Looking into an engine: `stats`, `snapshot`, and invariants that notice what is wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from capnet.engine.answers import Answer
from capnet.engine.calls import Pipelined
from capnet.engine.engine import Engine
from capnet.engine.inspect import check_invariants, snapshot, stats
from capnet.engine.stream import InStream, OutStream
from capnet.limits import BYTES_PER_VALUE
from capnet.testing.engines import EnginePair, RawPeer, capability, stream_in, stream_out


def busy() -> EnginePair:
    """A pair with something in every table of the left side."""
    pair = EnginePair().open()
    pair.give(pair.right, "theirs")
    pair.give(pair.left, "ours")
    pair.left.call("out", stream_out(), stream_in())
    pair.right.call("kept", keep=True)
    pair.flush()
    pair.left.reply(pair.left.arrived())
    promise = Pipelined(pair.right.call("in", keep=True), (), "test.Thing", 1)
    pair.right.call("on what will come of it", target=promise)
    pair.flush()
    return pair


def test_stats_count_every_bounded_thing() -> None:
    """Each table has its figure."""
    pair = busy()
    counts = stats(pair.left.engine)
    assert counts == {
        "exports": 1, "export_references": 1, "imports": 1, "import_references": 1, "calls": 1, "calls_held": 0,
        "answers": 1, "answers_queued": 0, "answers_waiting": 1, "answers_kept": 1, "streams": 2,
        "virtual_connections": 0,
        "call_charge": counts["call_charge"], "held_charge": counts["held_charge"], "strikes": 0,
    }  # fmt: skip
    assert counts["call_charge"] > 10 * BYTES_PER_VALUE and counts["held_charge"] > BYTES_PER_VALUE
    pair.left.engine.strike("x")
    assert stats(pair.left.engine)["strikes"] == 1


def test_a_snapshot_is_plain_data() -> None:
    """It can be printed, compared and sent: names, numbers and lists, no subjects."""
    pair = busy()
    left = snapshot(pair.left.engine)
    assert (left["state"], left["cause"], left["peer"]) == ("open", None, "right")
    assert [export["references"] for export in left["exports"]] == [1]
    assert [imported["holders"] for imported in left["imports"]] == [1]
    assert [call["cancelled"] for call in left["calls"]] == [False]
    assert [answer["method"] for answer in left["answers"]] == ["in", "on what will come of it"]
    assert [(stream["direction"], stream["ending"]) for stream in left["streams"]] == [("out", False), ("in", False)]
    pair.left.engine.codec.encode([left])
    right = snapshot(pair.right.engine)
    assert [(call["target"], call["kept"]) for call in right["calls"]] == [(0, True), ([3], False)]
    pair.right.engine.codec.encode([right])
    pair.cut()
    assert snapshot(pair.left.engine)["cause"] is not None
    assert snapshot(Engine(RawPeer().engine.inbound._handshake.ours, 0.0))["peer"] is None


def test_a_broken_import_is_shown() -> None:
    """What it answers is in words."""
    raw = RawPeer()
    reference = capability(None)
    reference.id = 2
    raw.say([2, 1, 0, "m", {"x": reference}], [12, [2], "gone"])
    assert "gone" in snapshot(raw.engine)["imports"][0]["broken"]


def lose_a_reference(engine: Engine) -> None:
    """A count that says nothing is held."""
    next(iter(engine.exports)).references = 0


def lose_a_holder(engine: Engine) -> None:
    """An import that nobody holds."""
    next(iter(engine.imports)).holders = 0


def lose_the_index(engine: Engine) -> None:
    """An index that names what is gone."""
    export = next(iter(engine.exports))
    del engine.exports.by_id[export.id]


def run_too_many(engine: Engine) -> None:
    """More handlers than slots."""
    engine.answers.limit = 0


def queue_what_runs(engine: Engine) -> None:
    """An answer that waits and runs."""
    answer: Answer = next(iter(engine.answers))
    engine.answers.queue.append(answer)


def call_too_much(engine: Engine) -> None:
    """More calls than the peer takes."""
    engine.calls.limit = 0


def owe_too_little(engine: Engine) -> None:
    """A queue that would never be full."""
    engine.answers.owed -= 1


def forget_a_one_way_call(engine: Engine) -> None:
    """Credit that is lost."""
    engine.answers.one_way_left -= 1


def wait_for_what_is_gone(engine: Engine) -> None:
    """A call that nobody will start."""
    next(iter(engine.answers)).dependents = None


def break_a_promise(engine: Engine) -> None:
    """A kept answer that is not counted."""
    engine.pipelines.promised -= 1


def keep_bytes(engine: Engine) -> None:
    """Bytes that no kept answer has."""
    engine.pipelines._bytes += 1


def forget_a_stream(engine: Engine) -> None:
    """Room for a stream that is open."""
    engine.streams.opened -= 1


def give_credit_twice(engine: Engine) -> None:
    """More than the window."""
    next(stream for stream in engine.streams if isinstance(stream, InStream)).items += 1


def send_without_credit(engine: Engine) -> None:
    """Less than none."""
    next(stream for stream in engine.streams if isinstance(stream, OutStream)).items = -1


@pytest.mark.parametrize(
    "fault",
    [
        lose_a_reference, lose_a_holder, lose_the_index, run_too_many, queue_what_runs, call_too_much, owe_too_little,
        forget_a_one_way_call, wait_for_what_is_gone, break_a_promise, keep_bytes, forget_a_stream, give_credit_twice,
        send_without_credit,
    ],
    ids=lambda fault: fault.__name__,
)  # fmt: skip
def test_invariants_notice(fault: Callable[[Engine], None]) -> None:
    """I1, I2, I3, I5, I10: an assert that cannot fail would prove nothing."""
    pair = busy()
    check_invariants(pair.left.engine)
    fault(pair.left.engine)
    with pytest.raises(AssertionError):
        check_invariants(pair.left.engine)
