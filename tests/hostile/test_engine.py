"""What a hostile peer does to one engine: what it gets back, and whether the connection is kept (threats T1–T19).

Each case ends in one of two ways: the connection closes with the clause that was broken, or the engine goes on serving.
In both the invariants hold after every step (`RawPeer` checks them), and no exception leaves the engine.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

from capnet.engine.closing import STRANGER_LINE
from capnet.engine.events import (
    AnswerEnded,
    CallArrived,
    CallFailed,
    CallReturned,
    Closed,
    ImportBroken,
    LimitReached,
    PongReceived,
)
from capnet.engine.inspect import stats
from capnet.limits import Limits
from capnet.testing.engines import RawPeer, capability
from capnet.wire.framing import header
from capnet.wire.hello import Hello
from capnet.wire.references import AnswerRef, CapRef, Reference, StreamRef

NARROW = Hello("narrow", Limits(max_calls=16, max_queued_calls=8, max_caps=16, max_strikes=5))


def cap(id: int) -> CapRef:
    """A reference with any id."""
    return CapRef("test.Thing", 1, id=id)


def call(id: int, target: int = 0) -> list[Any]:
    """A call frame."""
    return [2, id, target, "m", {}]


def give(raw: RawPeer, *ids: int, call: int = 1) -> None:
    """The peer hands over capabilities of these ids."""
    raw.say([2, call, 0, "give", {"refs": [cap(id) for id in ids]}])


def serves(raw: RawPeer) -> bool:
    """Whether the engine still answers a call."""
    raw.take(CallArrived)
    raw.say([2, raw.engine.answers.last_id + 1, 0, "probe", {}])
    (arrived,) = raw.take(CallArrived)
    return raw.reply(arrived.answer, "well") == [[3, arrived.answer.id, "well"]]


@contextmanager
def within(seconds: float) -> Generator[None]:
    """A generous bound: what it guards against is work that grows faster than the input."""
    start = time.perf_counter()
    yield
    assert time.perf_counter() - start < seconds


class TestStrangers:
    """Peers that do not speak capnet, or not yet."""

    @pytest.mark.parametrize(
        "first",
        [
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
            b"Traceback (most recent call last):\n",
            b"\xff" * 64,
            header(6) + b"\x85garbage"[:6],
            header(0),
            header(3) + b"\x82\x0e\x01",
            header(9) + b"\x84\x01fcapnet",
            header(4097) + b"\x84\x00fcapnet",
        ],
        ids=["http", "tls", "text", "ones", "garbage", "empty", "ping", "goaway", "oversized"],
    )
    def test_garbage_gets_one_readable_line(self, first: bytes) -> None:
        """P-CONN-3, P-CONN-1, P-FRAME-2: one line for people, then the end; nothing is buffered."""
        raw = RawPeer(greet=False)
        raw.say_bytes(first)
        assert raw.line == STRANGER_LINE and raw.line.endswith(b"\r\n") and raw.line.isascii()
        assert raw.clause in ("P-CONN-1", "P-FRAME-2")
        assert len(raw.take(Closed)) == 1
        raw.say_bytes(first * 100)
        assert raw.events == []

    def test_a_call_before_the_hello(self) -> None:
        """P-CONN-1: another frame first is a violation, and nothing of it is done."""
        raw = RawPeer(greet=False)
        raw.say([2, 1, 0, "m", {}])
        assert raw.clause == "P-CONN-1" and not raw.take(CallArrived)

    def test_no_hello_at_all(self) -> None:
        """P-CONN-3: closed after `handshake_timeout`, with the line for people."""
        raw = RawPeer(greet=False)
        raw.advance(4.99)
        assert not raw.engine.lifecycle.closed
        raw.advance(0.01)
        assert raw.clause == "P-CONN-3" and raw.line == STRANGER_LINE

    def test_a_hello_that_drips(self) -> None:
        """P-CONN-3: bytes do not prolong the handshake (threat T13)."""
        raw = RawPeer(greet=False)
        for byte in header(200) + b"\x84\x00fcapnet":
            raw.say_bytes(bytes([byte]))
            raw.advance(0.4)
        assert raw.clause == "P-CONN-3"

    @pytest.mark.parametrize(
        "hello",
        [
            [0, "capnet", [0, 0], {}],
            [0, "capnet", [99, 99], {}],
            [0, "capnet", [2, 1], {}],
            [0, "capnet", [1, True], {}],
            [0, "capnet", 1, {}],
            [0, "capnet", [1, 1], []],
            [0, "capnet", [1, 1], {"max_frame": -1}],
            [0, "capnet", [1, 1], {"max_calls": "many"}],
            [0, "capnet", [1, 1], {"name": 7}],
            [0, "capnet", [1, 1], {"name": "line\nbreak"}],
            [0, "capnet", [1, 1], {"features": ["a", 1]}],
            [0, "capnet", [1, 1], {"auth": cap(2)}],
        ],
        ids=lambda hello: str(hello[2:]),
    )
    def test_a_bad_hello_is_told_what_it_broke(self, hello: list[object]) -> None:
        """P-CONN-1, P-REF: version 0 or 99, wrong shapes, references: an abort frame names the clause."""
        raw = RawPeer(greet=False)
        said = raw.say(hello)
        assert raw.clause in ("P-CONN-1", "P-REF") and said[-1][:2] == [16, raw.clause]

    @pytest.mark.parametrize("limits", [{"max_frame": 0}, {"max_calls": 1}, {"max_caps": 15}, {"stream_items": 0}])
    def test_limits_below_what_every_peer_takes(self, limits: dict[str, int]) -> None:
        """P-CONN-2: a peer that takes less than the early limits would break its own word; it is refused."""
        raw = RawPeer(greet=False)
        raw.say([0, "capnet", [1, 1], limits])
        assert raw.clause in ("P-CONN-1", "P-CONN-2")

    def test_a_second_hello(self) -> None:
        """P-CONN-1: once, each side."""
        raw = RawPeer()
        assert raw.say(Hello("again").to_frame())[-1][:2] == [16, "P-CONN-1"]


class TestFrames:
    """Frames that are no frames, after a proper hello (threats T1–T4)."""

    @pytest.mark.parametrize("size", [4 * 1024 * 1024 + 1, 2**31, 2**32 - 1])
    def test_a_header_that_announces_too_much(self, size: int) -> None:
        """P-FRAME-2: refused from the header alone, with an abort frame (threat T1)."""
        raw = RawPeer()
        assert raw.say_bytes(header(size))[-1][:2] == [16, "P-FRAME-2"]

    def test_before_the_hello_is_done_the_bound_is_small(self) -> None:
        """P-FRAME-2: 4 KiB, and the announced limit from the very next frame on."""
        raw = RawPeer(greet=False)
        hello = Hello("raw", Limits()).to_frame()
        raw.say(hello, [2, 1, 0, "m", {"blob": bytes(10_000)}])
        assert raw.clause is None and len(raw.take(CallArrived)) == 1

    def test_half_a_frame_then_silence(self) -> None:
        """P-FRAME-2: a started frame must be complete within `partial_frame_timeout` (threat T1)."""
        raw = RawPeer()
        raw.say_bytes(header(100) + b"\x82")
        for _ in range(2):
            raw.advance(14.0)
            raw.say_bytes(b"x")
        assert raw.clause is None
        raw.advance(2.0)
        assert raw.clause == "P-FRAME-2"

    @pytest.mark.parametrize(
        ("payload", "clause"),
        [
            (b"", "P-FRAME-4"),
            (b"\x82\x0e", "P-FRAME-4"),
            (b"\x82\x0e\x01\x00", "P-FRAME-1"),
            (b"\xa0", "P-FRAME-1"),
            (b"\x80", "P-OP"),
            (b"\x81\xf5", "P-OP"),
            (b"\x82\x0e\xc1\x00", "P-FRAME-4"),
            (b"\x82\x0e\xc2\x41\x01", "P-FRAME-4"),
            (b"\x82\x0e\xd8\x1c\x80", "P-FRAME-4"),
            (b"\x9f\x0e\x01\xff", "P-FRAME-4"),
            (b"\x82\x0e\xe0", "P-FRAME-4"),
            (b"\x82\x0e\xf7", "P-FRAME-4"),
            (b"\x81" * 70 + b"\x00", "P-FRAME-4"),
            (b"\x85\x02\x01\x00\x61m\xa2\x61a\x00\x61a\x00", "P-FRAME-4"),
            (b"\x85\x02\x01\x00\x61m\xa1\x00\x00", "P-FRAME-4"),
        ],
        ids=[
            "empty", "short", "trailing", "map", "no op", "true op", "date", "bignum", "shared", "indefinite", "simple",
            "undefined", "deep", "duplicate", "number key",
        ],
    )  # fmt: skip
    def test_bytes_that_are_not_one_plain_array(self, payload: bytes, clause: str) -> None:
        """P-FRAME-1, P-FRAME-4, P-FRAME-5: foreign tags and all else is refused before anything is done with it."""
        raw = RawPeer()
        before = stats(raw.engine)
        said = raw.say_bytes(header(len(payload)) + payload)
        assert raw.clause == clause and said[-1][:2] == [16, clause]
        assert stats(raw.engine) == before

    @pytest.mark.parametrize("op", [7, 8, 9, 10, 17, 20, 24, 63, -1])
    def test_unknown_ops_below_64(self, op: int) -> None:
        """P-OP: a violation, named."""
        raw = RawPeer()
        assert raw.say([op, 1])[-1][:2] == [16, "P-OP"]

    @pytest.mark.parametrize("op", [64, 65, 1000, 2**60])
    def test_unknown_ops_from_64_are_room_to_grow(self, op: int) -> None:
        """P-OP: ignored, whatever they carry; references in them are not counted."""
        raw = RawPeer()
        assert raw.say([op, 1, {"x": cap(5)}]) == []
        assert len(raw.engine.imports) == 0 and serves(raw)

    @pytest.mark.parametrize(
        "frame",
        [
            [2], [2, 1, 0, "m"], [2, 1.0, 0, "m", {}], [2, True, 0, "m", {}], [2, -1, 0, "m", {}], [2, 1, -1, "m", {}],
            [2, 1, 0, "", {}], [2, 1, 0, "m" * 257, {}], [2, 1, 0, "a\nb", {}], [2, 1, 0, "m", []], [2, 1, [], "m", {}],
            [2, 1, 0, "m", {}, 7], [2, 1, 0, "m", {}, {"deadline": -1}], [2, 1, 0, "m", {}, {"context": {"a": 1}}],
            [3, 1], [3, -1, None], [4, 1, 7, "x"], [4, 1, "x", "y", 7], [5], [5, "1"], [11, [[2]]], [11, [[2, 1.5]]],
            [11, 7], [12, [-2], "x"], [12, [2]], [13, [2], -1], [14], [14, "1"], [15, 2**53], [16, 1, 2],
            [1, 1, 2, 3, 4],
        ],
        ids=str,
    )  # fmt: skip
    def test_malformed_frames(self, frame: list[object]) -> None:
        """P-OP: every frame has one shape; anything else is a violation and nothing is done."""
        raw = RawPeer()
        before = stats(raw.engine)
        assert raw.say(frame)[-1][:2] == [16, "P-OP"]
        assert stats(raw.engine) == before and not raw.take(CallArrived)

    def test_after_the_end_bytes_are_ignored(self) -> None:
        """P-ERR-3: one abort, one `Closed`, and the rest of the chunk does nothing."""
        raw = RawPeer()
        raw.say([63], [2, 1, 0, "m", {}])
        assert len(raw.take(Closed)) == 1 and not raw.take(CallArrived)
        assert raw.say([2, 2, 0, "m", {}]) == [] and raw.events == []


class TestForgedIds:
    """Ids that were never issued, or belong to somebody else (threats T5, T6, T14)."""

    @pytest.mark.parametrize("target", [2, 3, 10**6, 2**53 - 1])
    def test_calls_on_capabilities_that_were_never_issued(self, target: int) -> None:
        """P-ID-4: a violation."""
        raw = RawPeer()
        raw.say([2, 1, target, "m", {}])
        assert raw.clause == "P-ID-4" and not raw.take(CallArrived)

    def test_a_call_on_what_was_given_back(self) -> None:
        """P-ID-4, P-LIMIT-1: an ordinary error for that call and a strike; too many strikes are a violation."""
        raw = RawPeer(NARROW)
        thing = capability("thing")
        raw.engine.call(raw.engine.imports.bootstrap, "give", {"cap": thing}, [thing], "t")
        raw.collect()
        raw.say([11, [[2, 1]]], [3, 1, None])
        for number in range(1, 6):
            ((op, id, code, _, details),) = raw.say([2, number, 2, "m", {}])
            assert (op, id, code, details) == (4, number, "not_found", {"reason": "released"})
        assert [event.reason for event in raw.take(LimitReached)] == ["released"] * 5
        raw.say([2, 6, 2, "m", {}])
        assert raw.clause == "P-LIMIT-1"

    @pytest.mark.parametrize("id", [-2, -(2**53) + 1])
    def test_home_coming_references_to_what_was_never_issued(self, id: int) -> None:
        """P-ID-4, P-ID-2: the receiver knows its own ids."""
        raw = RawPeer()
        give(raw, id)
        assert raw.clause == "P-ID-4" and not raw.take(CallArrived)

    def test_the_built_in_ids_do_not_travel(self) -> None:
        """P-ID-3: 1 of the peer's is the runtime capability that is here already; 0 cannot even be written."""
        raw = RawPeer()
        give(raw, 1)
        assert raw.clause == "P-ID-3"
        raw = RawPeer()
        give(raw, 0)
        assert raw.clause == "P-REF"

    @pytest.mark.parametrize(("op", "rest"), [(3, [None]), (4, ["internal", "x"])], ids=["result", "error"])
    def test_answers_to_calls_that_were_never_made(self, op: int, rest: list[object]) -> None:
        """P-ID-4: an answer needs a call."""
        raw = RawPeer()
        raw.say([op, 1, *rest])
        assert raw.clause == "P-ID-4"

    @pytest.mark.parametrize("second", [[3, 1, None], [4, 1, "internal", "x"]], ids=["result", "error"])
    def test_a_second_answer(self, second: list[object]) -> None:
        """P-CALL-1: exactly one; the caller has heard the first and hears no more."""
        raw = RawPeer()
        raw.engine.call(raw.engine.imports.bootstrap, "m", {}, token="t")
        raw.collect()
        raw.say([3, 1, "first"], second)
        assert raw.clause == "P-CALL-1"
        assert len(raw.take(CallReturned)) == 1 and not raw.take(CallFailed)

    @pytest.mark.parametrize("id", [0, 1, 7])
    def test_cancels_of_calls_that_were_never_made(self, id: int) -> None:
        """P-ID-4: also 0, which no answer has."""
        raw = RawPeer()
        raw.say([5, id])
        assert raw.clause == "P-ID-4"

    def test_cancels_of_what_has_ended_are_harmless(self) -> None:
        """P-ID-4, P-CALL-6: they may cross the answer; repeated ones do nothing."""
        raw = RawPeer()
        raw.say([2, 1, 0, "m", {}])
        assert raw.say(*[[5, 1, "why"]] * 100) == [[4, 1, "cancelled", "why"]]
        assert len(raw.take(AnswerEnded)) == 1
        raw.reply(raw.take(CallArrived)[0].answer)
        assert raw.say([5, 1]) == [] and serves(raw)

    @pytest.mark.parametrize("id", [0, 1, 2, 3, 2**53 - 1])
    @pytest.mark.parametrize("op", [12, 13])
    def test_news_of_capabilities_that_were_never_given(self, op: int, id: int) -> None:
        """P-CAP-6: a claim about 0, 1 or an id that never came is a violation, and nothing is broken by it (T17)."""
        raw = RawPeer()
        raw.say([op, [id], "x" if op == 12 else 1])
        assert raw.clause == "P-CAP-6" and not raw.take(ImportBroken)

    @pytest.mark.parametrize("pairs", [[[0, 1]], [[1, 1]]])
    def test_drops_of_the_built_in(self, pairs: list[list[int]]) -> None:
        """P-ID-3: they cannot be given back."""
        raw = RawPeer()
        raw.say([11, pairs])
        assert raw.clause == "P-ID-3"

    @pytest.mark.parametrize("count", [2, 2**31, 2**53 - 1])
    def test_drops_of_more_than_was_given(self, count: int) -> None:
        """P-REF-2: never below zero (threat T6)."""
        raw = RawPeer()
        thing = capability("thing")
        raw.engine.call(raw.engine.imports.bootstrap, "give", {"cap": thing}, [thing], "t")
        raw.collect()
        raw.say([11, [[2, count]]])
        assert raw.clause == "P-REF-2"

    def test_drops_of_what_was_never_issued(self) -> None:
        """P-ID-4."""
        raw = RawPeer()
        raw.say([11, [[2, 1]]])
        assert raw.clause == "P-ID-4"

    def test_forged_pongs(self) -> None:
        """P-ID-4: only numbers that were sent; a repeated one is heard and means nothing."""
        raw = RawPeer()
        number = raw.engine.ping()
        raw.collect()
        raw.say([15, number], [15, number])
        assert len(raw.take(PongReceived)) == 2 and raw.clause is None
        raw.say([15, number + 1])
        assert raw.clause == "P-ID-4"

    def test_call_ids_that_are_used_again(self) -> None:
        """P-CALL-7 while the call is active, running or waiting; P-ID-1 afterwards, and for any lower id."""
        raw = RawPeer(NARROW)
        raw.say(*[call(number) for number in range(1, 18)])
        raw.say([2, 17, 0, "m", {}])
        assert raw.clause == "P-CALL-7"
        raw = RawPeer()
        raw.say([2, 5, 0, "m", {}])
        raw.say([2, 5, 0, "m", {}])
        assert raw.clause == "P-CALL-7"
        for reused in (5, 4):
            raw = RawPeer()
            raw.say([2, 5, 0, "m", {}])
            raw.reply(raw.take(CallArrived)[0].answer)
            raw.say([2, reused, 0, "m", {}])
            assert raw.clause == "P-ID-1"


class TestReferences:
    """References where none belong, or of kinds that are not spoken."""

    @pytest.mark.parametrize("reference", [AnswerRef(1), StreamRef(1, "out")], ids=["answer", "stream"])
    def test_kinds_that_are_not_spoken(self, reference: Reference) -> None:
        """P-ERR-3: an honest newer peer may try; that call fails, and what else came along goes back."""
        raw = RawPeer()
        said = raw.say([2, 1, 0, "m", {"refs": [cap(7), reference]}])
        assert [frame[:3] for frame in said] == [[4, 1, "unimplemented"], [11, [[7, 1]]]]
        assert not raw.take(CallArrived) and serves(raw)

    def test_pipelined_calls(self) -> None:
        """P-ERR-3: refused as unimplemented, one by one."""
        raw = RawPeer()
        ((op, id, code, _),) = raw.say([2, 1, [0, "x", 1], "m", {}])
        assert (op, id, code) == (4, 1, "unimplemented") and serves(raw)

    def test_references_in_an_error(self) -> None:
        """P-REF: nobody could give them back; the caller is told all the same."""
        raw = RawPeer()
        raw.engine.call(raw.engine.imports.bootstrap, "m", {}, token="t")
        raw.collect()
        raw.say([4, 1, "internal", "x", {"cap": cap(2)}])
        assert raw.clause == "P-REF"
        assert raw.take(CallFailed)[0].error.code == "unavailable"

    def test_more_capabilities_than_we_said_we_take(self) -> None:
        """P-LIMIT-2: an honest peer knows our limit; re-mentioned ones count once (threat T7)."""
        raw = RawPeer(NARROW)
        give(raw, *range(2, 18), *range(2, 18))
        assert not raw.engine.lifecycle.closed and len(raw.engine.imports) == 16
        raw.engine.call(raw.engine.imports.bootstrap, "m", {}, token="t")
        raw.collect()
        raw.say([3, 1, cap(18)])
        assert raw.clause == "P-LIMIT-2" and raw.take(CallFailed)[0].error.code == "unavailable"
        assert stats(raw.engine)["imports"] == 0

    def test_more_references_to_one_capability_than_can_be_counted(self) -> None:
        """P-LIMIT-2: counts do not overflow; reached here by setting the count, by force it would take days."""
        raw = RawPeer()
        give(raw, 2)
        raw.imported(2).references = 2**31 - 1
        give(raw, 2, call=2)
        assert raw.clause == "P-LIMIT-2"

    def test_two_names_for_one_id(self) -> None:
        """P-REF-1: the first interface stays; a peer cannot turn what is held into something else."""
        raw = RawPeer()
        raw.say([2, 1, 0, "give", {"refs": [cap(2), CapRef("test.Other", 9, id=2)]}])
        assert (raw.imported(2).interface, raw.imported(2).version) == ("test.Thing", 1)


class TestFloods:
    """Much of what is allowed (threats T8, T9, T11)."""

    def test_a_hundred_thousand_calls(self) -> None:
        """P-CALL-7, P-LIMIT-1: slots, then a bounded queue, then refusals with a code, then the end."""
        raw = RawPeer(Hello("engine", Limits(max_calls=16, max_queued_calls=8, max_strikes=100)))
        with within(10.0):
            for start in range(1, 100_001, 1000):
                raw.say(*[call(number) for number in range(start, start + 1000)])
                counts = stats(raw.engine)
                assert counts["answers"] <= 16 and counts["answers_queued"] <= 8
        assert len(raw.take(CallArrived)) == 16
        refusals = [frame for frame in raw.heard if frame[0] == 4]
        assert len(refusals) == 100
        assert {frame[2] for frame in refusals} == {"resource_exhausted"}
        assert {frame[4]["reason"] for frame in refusals} == {"max_concurrent_calls"}
        assert raw.heard[-1][:2] == [16, "P-LIMIT-1"] and raw.clause == "P-LIMIT-1"

    def test_rapid_reset(self) -> None:
        """P-CALL-6: call and cancel in pairs never run more handlers than there are slots (threat T9)."""
        raw = RawPeer(NARROW)
        with within(10.0):
            for number in range(1, 20_001):
                raw.say([2, number, 0, "m", {}], [5, number])
                assert len(raw.engine.answers) <= 16 and len(raw.engine.answers.queue) <= 8
        assert len(raw.take(CallArrived)) == len(raw.take(AnswerEnded)) == 16

    def test_one_way_calls_take_slots_too(self) -> None:
        """P-CALL-7: id 0 is no way around the limit, and refusals of it say nothing."""
        raw = RawPeer(NARROW)
        assert raw.say(*[call(0)] * 28) == []
        assert len(raw.take(CallArrived)) == 16 and len(raw.engine.answers.queue) == 8
        assert len(raw.take(LimitReached)) == 4
        raw.say(*[call(0)] * 10)
        assert raw.clause == "P-LIMIT-1"

    def test_deadlines_without_number(self) -> None:
        """P-CALL-5: what answered calls leave in the clockwork is bounded by the calls that are owed."""
        raw = RawPeer()
        with within(10.0):
            for number in range(1, 10_001):
                raw.say([2, number, 0, "m", {}, {"deadline": 10**9}])
                raw.reply(raw.take(CallArrived)[0].answer)
        assert len(raw.engine.timers._deadlines) <= 200

    def test_pings(self) -> None:
        """P-OP: each has its pong, nothing else is kept; reading less is the driver's to decide (threat T11)."""
        raw = RawPeer()
        with within(5.0):
            assert len(raw.say(*[[14, number] for number in range(10_000)])) == 10_000
        assert stats(raw.engine)["answers"] == 0

    def test_calls_on_a_revoked_capability(self) -> None:
        """P-CAP-6: they are refused one by one and never reach the object; an honest peer may have been late (T16)."""
        raw = RawPeer(NARROW)
        thing = capability("thing")
        raw.engine.call(raw.engine.imports.bootstrap, "give", {"cap": thing}, [thing], "t")
        raw.collect()
        raw.engine.revoke(list(raw.engine.exports), "gone")
        raw.collect()
        said = raw.say(*[call(number, 2) for number in range(1, 1001)])
        assert {(frame[0], frame[2], frame[4]["reason"]) for frame in said} == {(4, "failed_precondition", "revoked")}
        assert not raw.take(CallArrived) and serves_after(raw, 1001)


def serves_after(raw: RawPeer, id: int) -> bool:
    """Whether a call with that id is still answered."""
    raw.say([2, id, 0, "probe", {}])
    (arrived,) = raw.take(CallArrived)
    return raw.reply(arrived.answer) == [[3, id, None]]


class TestEnds:
    """Peers that close in odd ways, or not at all."""

    def test_silence_after_a_ping(self) -> None:
        """P-CONN-5: counts as dead; waiting callers are told (threat T13)."""
        raw = RawPeer()
        raw.engine.call(raw.engine.imports.bootstrap, "m", {}, token="t")
        raw.collect()
        raw.advance(40.0)
        assert raw.take(Closed)[0].cause.kind == "idle"
        assert raw.take(CallFailed)[0].error.code == "unavailable"

    def test_an_abort_is_believed_and_cut(self) -> None:
        """P-ERR-3: the cause says that it is the peer who accuses; what it says is bounded."""
        raw = RawPeer()
        raw.say([16, "P-" + "X" * 10_000, "y" * 100_000])
        (closed,) = raw.take(Closed)
        assert closed.cause.kind == "violation" and not closed.cause.by_peer
        assert closed.cause.clause is not None and len(closed.cause.clause) == 64
        assert len(closed.cause.message) == 4096

    def test_long_texts_are_cut_wherever_they_come_in(self) -> None:
        """P-ERR-1: error text, reasons of cancels and revocations, goaway messages (threat T20)."""
        raw = RawPeer()
        long = "é" * 100_000
        raw.engine.call(raw.engine.imports.bootstrap, "m", {}, token="t")
        raw.collect()
        give(raw, 2)
        raw.say([4, 1, long, long, {"reason": long}], [5, 1, long], [12, [2], long], [1, 1, "x", long, 0])
        assert len(raw.take(CallFailed)[0].error.message.encode()) == 4096
        assert len(raw.take(AnswerEnded)[0].error.message.encode()) == 4096
        assert len(raw.take(ImportBroken)[0].error.message.encode()) == 4096
        cause = raw.engine.lifecycle.cause
        assert cause is not None and len(cause.message.encode()) == 4096

    def test_calls_after_a_goaway(self) -> None:
        """P-CONN-4: a peer that goes away and calls on is refused and cannot keep us open."""
        raw = RawPeer()
        raw.engine.call(raw.engine.imports.bootstrap, "m", {}, token="t")
        raw.collect()
        raw.say([1, 1, "unavailable", "bye", 1000])
        ((op, id, code, _, details),) = raw.say([2, 1, 0, "m", {}])
        assert (op, id, code, details["reason"]) == (4, 1, "unavailable", "peer_closing")
        raw.say([3, 1, None])
        assert raw.engine.lifecycle.closed
