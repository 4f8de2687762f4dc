"""What a hostile peer does to one engine: what it gets back, and whether the connection is kept (threats T1–T19).

Each case ends in one of two ways: the connection closes with the clause that was broken, or the engine goes on serving.
In both the invariants hold after every step (`RawPeer` checks them), and no exception leaves the engine.
"""

from __future__ import annotations

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
    StreamChanged,
)
from capnet.engine.inspect import stats
from capnet.limits import Limits
from capnet.testing.engines import RawPeer, capability
from capnet.wire.framing import header
from capnet.wire.hello import Hello
from capnet.wire.references import AnswerRef, CapRef, StreamRef
from tests.counting import assert_steady, calls_of

PATIENT = Hello("patient", Limits(control_burst=100_000))
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

    @pytest.mark.parametrize("op", [17, 19, 26, 63, -1])
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
            [1, 1, 2, 3, 4], [2, 1, [0, None], "m", {}], [2, 1, [-1], "m", {}], [2, 1, 0, "m", {}, {"keep": 1}],
            [6], [6, -1], [6, "1"], [6, 1, 2], [7, 1], [7, 1, []], [7, 1, {}], [7, 0, [1]], [7, 1.0, [1]],
            [7, 1, [1], 2], [9], [9, 0], [9, 1, "x"], [9, 1, "x", "y", 7], [9, 1, 2, "y"], [10],
            [10, 0], [10, 1, 2], [10, True],
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
        number = raw.engine.keepalive.ping()
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
    """References where none belong."""

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


def reach(id: int, direction: str = "out", *, call: int = 1) -> list[Any]:
    """A call that opens a stream."""
    return [2, call, 0, "m", {"stream": StreamRef(direction, id=id)}]


def opened(raw: RawPeer) -> Any:
    """The stream that the last call has opened."""
    answer = raw.take(CallArrived)[-1].answer
    raw.reply(answer)
    return answer.references[0].subject


class TestStreams:
    """Frames of streams that no honest peer sends."""

    FRAMES = ([7, 1, ["x"]], [8, 1, 1, 1], [9, 1], [10, 1])

    @pytest.mark.parametrize("frame", FRAMES, ids=["items", "credit", "end", "stop"])
    @pytest.mark.parametrize("id", [1, -1, 7, -7, 2**53 - 1, -(2**53) + 1])
    def test_streams_that_were_never_opened(self, frame: list[Any], id: int) -> None:
        """P-ID-4: of either side's."""
        raw = RawPeer()
        assert raw.say([frame[0], id, *frame[2:]])[-1][:2] == [16, "P-ID-4"]

    @pytest.mark.parametrize("mine", [True, False], ids=["theirs", "ours"])
    @pytest.mark.parametrize(
        ("direction", "frame"),
        [("out", [8, 1, 1, 1]), ("out", [10, 1]), ("in", [7, 1, ["x"]]), ("in", [9, 1]), ("in", [9, 1, "x", "y"])],
        ids=str,
    )
    def test_the_wrong_direction(self, direction: str, frame: list[Any], mine: bool) -> None:
        """P-STREAM-1: a producer has no credit to give, a consumer nothing to send; whoever opened it."""
        raw = RawPeer()
        id = 1
        if mine:
            raw.say(reach(id, direction))
        else:
            reference, id = StreamRef("in" if direction == "out" else "out", "token"), -1
            raw.engine.call(raw.engine.imports.bootstrap, "m", {"s": reference}, [reference], "t")
            raw.collect()
        assert raw.say([frame[0], id, *frame[2:]])[-1][:2] == [16, "P-STREAM-1"]

    @pytest.mark.parametrize("last", [[9, 1], [7, 1, ["x"]], [9, 1, "internal", "x"]], ids=["end", "items", "error"])
    def test_anything_after_the_end(self, last: list[Any]) -> None:
        """P-STREAM-3: one end, and no item after it; the reader has heard the first and hears no more."""
        raw = RawPeer()
        raw.say(reach(1))
        stream = opened(raw)
        stream.token = "reader"
        raw.say([7, 1, ["item"]], [9, 1], last)
        assert raw.clause == "P-STREAM-3"
        assert len(raw.take(StreamChanged)) == 2 and (stream.ended, stream.error) == (True, None)
        assert len(stream.batches) == 1

    def test_late_credit_and_stops_are_harmless(self) -> None:
        """P-STREAM-3: they may cross the end; repeated ones do nothing, before or after it."""
        raw = RawPeer()
        raw.say(reach(1, "in"))
        stream = opened(raw)
        stream.token = "producer"
        assert raw.say(*[[10, 1, "enough"]] * 1000) == []
        assert len(raw.take(StreamChanged)) == 1
        raw.engine.streaming.end(stream)
        assert raw.collect() == [[9, -1]] and raw.say(*[[10, 1], [8, 1, 2**31 - 1, 0]] * 1000) == []
        assert not raw.take(StreamChanged) and serves(raw)

    @pytest.mark.parametrize("id", [1, 5])
    def test_an_id_that_is_in_use(self, id: int) -> None:
        """P-ID-1: of a stream that is open; also twice in one frame."""
        raw = RawPeer()
        raw.say(reach(id), reach(id, "in", call=2))
        assert raw.clause == "P-ID-1"
        raw = RawPeer()
        raw.say([2, 1, 0, "m", {"a": StreamRef("out", id=id), "b": StreamRef("out", id=id)}])
        assert raw.clause == "P-ID-1" and not raw.take(CallArrived)

    @pytest.mark.parametrize("credit", [(0, 0), (-1, 1), (1, -1), (1.5, 1), (1, True), (2**53, 1), ("1", 1), (None, 1)])
    def test_credit_that_is_no_credit(self, credit: tuple[Any, Any]) -> None:
        """P-OP, P-STREAM-2: integers, not negative, not both zero (fault 30); for one-way calls as well."""
        for id in (1, 0):
            raw = RawPeer()
            raw.say(reach(1, "in"))
            assert raw.say([8, id, *credit])[-1][:2] == [16, "P-OP"]

    @pytest.mark.parametrize("credit", [(2**31 - 1, 0), (0, 2**31 - 1), (2**53 - 1, 1)])
    def test_credit_out_of_all_proportion(self, credit: tuple[int, int]) -> None:
        """P-STREAM-2: its sum is bounded, so it never overflows anybody's integers (fault 30)."""
        raw = RawPeer()
        raw.say(reach(1, "in"))
        assert raw.say([8, 1, *credit])[-1][:2] == [16, "P-STREAM-2"]

    def test_a_flood_of_credit(self) -> None:
        """P-STREAM-2: it is a number, nothing is kept for each; a producer with room is not woken by it."""
        raw = RawPeer()
        raw.say(reach(1, "in"))
        stream = opened(raw)
        stream.token = "producer"
        assert_steady(lambda _: raw.say([8, 1, 1, 0]), range(20_000))
        assert stream.items == Limits().stream_items + 20_000 and not raw.take(StreamChanged) and serves(raw)

    def test_credit_for_one_way_calls_that_were_not_made(self) -> None:
        """P-CALL-7: more would let us send what the peer has no slots for."""
        raw = RawPeer()
        for _ in range(3):
            raw.engine.call(raw.engine.imports.bootstrap, "m", {}, one_way=True)
        raw.collect()
        assert raw.say([8, 0, 2, 0]) == []
        assert raw.say([8, 0, 2, 0])[-1][:2] == [16, "P-CALL-7"]

    def test_one_frame_with_more_than_the_window(self) -> None:
        """P-STREAM-2: judged before any of it is taken (fault 31)."""
        raw = RawPeer(Hello("engine", Limits(stream_items=8)))
        raw.say(reach(1))
        stream = opened(raw)
        raw.say([7, 1, list(range(8))])
        assert not raw.engine.lifecycle.closed and len(stream.batches) == 1
        raw.say([7, 1, [8]])
        assert raw.clause == "P-STREAM-2" and len(stream.batches) == 1

    def test_the_window_holds_after_a_stop(self) -> None:
        """P-STREAM-2: nobody reads what comes, nothing is kept, and it is counted all the same."""
        raw = RawPeer(Hello("engine", Limits(stream_items=8)))
        raw.say(reach(1))
        raw.engine.streaming.stop(opened(raw))
        raw.say(*[[7, 1, [cap(2)]]] * 8)
        assert not raw.engine.lifecycle.closed and not raw.engine.imports
        raw.say([7, 1, [8]])
        assert raw.clause == "P-STREAM-2"

    @pytest.mark.parametrize("where", ["arguments", "result", "items"])
    def test_more_streams_than_we_said_we_take(self, where: str) -> None:
        """P-LIMIT-2: an honest peer knows our limit, wherever it mentions them."""
        raw = RawPeer(Hello("engine", Limits(max_streams=16)))
        raw.say([2, 1, 0, "m", {"streams": [StreamRef("out", id=id) for id in range(1, 17)]}])
        assert not raw.engine.lifecycle.closed and len(raw.engine.streams) == 16
        raw.engine.call(raw.engine.imports.bootstrap, "m", {}, token="t")
        raw.collect()
        one_more = StreamRef("in", id=17)
        frames: dict[str, list[Any]] = {
            "arguments": [2, 2, 0, "m", {"s": one_more}],
            "result": [3, 1, one_more],
            "items": [7, 1, [one_more]],
        }
        raw.say(frames[where])
        assert raw.clause == "P-LIMIT-2" and stats(raw.engine)["streams"] == 0

    def test_streams_without_number(self) -> None:
        """P-STREAM-4: opened and ended, or stopped, 10⁴ times: nothing is left of them."""
        raw = RawPeer()

        def open_and_end_two(number: int) -> None:
            raw.say(reach(number, call=number), reach(number + 1, "in", call=number + 1))
            arrived = raw.take(CallArrived)
            raw.say([7, number, ["x"]], [9, number], [10, number + 1])
            for event in arrived:
                raw.engine.release_all(event.answer.references)
                raw.reply(event.answer)
            assert stats(raw.engine)["streams"] == 0

        assert_steady(open_and_end_two, range(1, 10_001, 2))
        assert not raw.engine.streams.ready and serves(raw)

    def test_references_where_none_belong(self) -> None:
        """P-REF: in the last word of a stream nobody could give them back; the reader is told all the same."""
        raw = RawPeer()
        raw.say(reach(1))
        stream = opened(raw)
        raw.say([9, 1, "internal", "x", {"cap": cap(2)}])
        assert raw.clause == "P-REF" and stream.error.code == "unavailable"

    def test_forged_references_in_items(self) -> None:
        """P-ID-4, P-REF: items are judged like arguments."""
        for reference, clause in [(cap(-2), "P-ID-4"), (cap(1), "P-ID-3"), (AnswerRef(1), "P-REF")]:
            raw = RawPeer()
            raw.say(reach(1))
            stream = opened(raw)
            raw.say([7, 1, ["before"]], [7, 1, [reference]])
            assert raw.clause == clause and len(stream.batches) == 1

    def test_long_texts_are_cut(self) -> None:
        """P-ERR-1: the last word of a producer, the reason of a consumer (threat T20)."""
        raw = RawPeer()
        long = "é" * 100_000
        raw.say(reach(1), reach(2, "in", call=2))
        first, second = (event.answer.references[0].subject for event in raw.take(CallArrived))
        raw.say([9, 1, long, long, {"reason": long}], [10, 2, long])
        assert len(first.error.message.encode()) == len(second.closed.message.encode()) == 4096


def kept(id: int, target: int | list[Any] = 0) -> list[Any]:
    """A call whose answer is to be kept."""
    return [2, id, target, "m", {}, {"keep": True}]


class TestPromises:
    """Pipelining that no honest peer does, or more of it than it may."""

    @pytest.mark.parametrize("needed", [0, 2, 3, 2**53 - 1])
    @pytest.mark.parametrize("one_way", [False, True])
    def test_on_itself_or_on_the_future(self, needed: int, one_way: bool) -> None:
        """P-ID-4: a call needs what was asked before it, as its target or in its arguments; so no cycle can be made."""
        id = 0 if one_way else 2
        frames: list[list[Any]] = [[2, id, [needed], "m", {}]]
        if needed:
            frames.append([2, id, 0, "m", {"x": [1, AnswerRef(needed, ("a",))]}])
        for frame in frames:
            raw = RawPeer()
            raw.say(kept(1), frame)
            assert raw.clause == "P-ID-4" and len(raw.take(CallArrived)) == 1

    def test_more_answers_than_we_keep(self) -> None:
        """P-LIMIT-2: running, ended, failed or refused, all of them are kept until they are finished."""
        raw = RawPeer(NARROW)
        for number in range(1, 17):
            raw.say(kept(number), [5, number])
        raw.say([6, 3])
        assert not raw.engine.lifecycle.closed and stats(raw.engine)["answers_kept"] == 15
        for event in raw.take(CallArrived):
            raw.reply(event.answer)
        raw.say([6, 4], kept(17), kept(18))
        assert not raw.engine.lifecycle.closed
        raw.say(kept(19))
        assert raw.clause == "P-LIMIT-2" and len(raw.take(CallArrived)) == 2

    def test_refused_calls_are_kept_too(self) -> None:
        """P-CALL-8: the refusal is their outcome: one can pipeline on it, and must finish it."""
        raw = RawPeer()
        raw.engine.call(raw.engine.imports.bootstrap, "give", {"cap": (thing := capability("thing"))}, [thing], "t")
        raw.collect()
        raw.say([11, [[2, 1]]])
        said = raw.say(kept(1, 2), [2, 2, [1, "x"], "m", {}])
        assert [(frame[1], frame[2], frame[4]["reason"]) for frame in said] == [
            (1, "not_found", "released"),
            (2, "not_found", "released"),
        ]
        assert len(raw.take(LimitReached)) == 1 and raw.say([6, 1]) == [] and raw.engine.pipelines.promised == 0

    def test_keep_means_nothing_for_one_way_calls(self) -> None:
        """P-CALL-8: nobody could ask for the answer."""
        raw = RawPeer()
        raw.say([2, 0, 0, "m", {}, {"keep": True}])
        raw.reply(raw.take(CallArrived)[0].answer, "x")
        assert raw.engine.pipelines.promised == 0

    @pytest.mark.parametrize("when", ["running", "ended", "cancelled", "never kept", "never kept, ended", "refused"])
    def test_finishing_twice(self, when: str) -> None:
        """P-CALL-8: only what is kept, and once; also while a handler that was cancelled still runs."""
        raw = RawPeer()
        raw.say([2, 1, 0, "m", {}] if "never" in when else kept(1))
        answer = raw.take(CallArrived)[0].answer
        if when == "ended" or when == "never kept, ended":
            raw.reply(answer, "x")
        elif when == "cancelled":
            raw.say([5, 1])
        if "never" not in when:
            assert raw.say([6, 1]) == []
        assert not raw.engine.lifecycle.closed and raw.engine.pipelines.promised == 0
        raw.say([6, 1])
        assert raw.clause == "P-CALL-8"

    @pytest.mark.parametrize("id", [0, 1, 7])
    def test_finishing_what_was_never_asked(self, id: int) -> None:
        """P-ID-4: an answer needs a call."""
        raw = RawPeer()
        assert raw.say([6, id])[-1][:2] == [16, "P-ID-4"]

    def test_what_was_finished_cannot_be_asked_for(self) -> None:
        """P-ID-4, P-LIMIT-1: an error for that call and a strike, also while its cancelled handler runs."""
        raw = RawPeer(NARROW)
        raw.say(kept(1), [5, 1], [6, 1])
        for number in range(2, 7):
            ((op, id, code, _, details),) = raw.say([2, number, [1, "a"], "m", {}])
            assert (op, id, code, details) == (4, number, "not_found", {"reason": "released"})
        raw.say([2, 7, 0, "m", {"x": AnswerRef(1)}])
        assert raw.clause == "P-LIMIT-1"

    def test_waiting_calls_are_bounded(self) -> None:
        """P-CALL-7, P-LIMIT-1: they are owed like all others: slots and a queue, then refusals, then the end."""
        raw = RawPeer(NARROW)
        waiting: list[list[Any]] = [[2, number, [1], "m", {}] for number in range(2, 30)]
        raw.say(kept(1), *waiting[:23])
        assert stats(raw.engine)["answers_waiting"] == 23 and not raw.engine.lifecycle.closed
        said = raw.say(*waiting[23:])
        assert {(frame[2], frame[4]["reason"]) for frame in said} == {("resource_exhausted", "max_concurrent_calls")}
        raw.say([2, 30, [1], "m", {}])
        assert raw.clause == "P-LIMIT-1" and stats(raw.engine)["answers_waiting"] == 0

    def test_ten_thousand_cancelled_dependents(self) -> None:
        """P-CALL-8, P-CALL-6: what waited for a slow result leaves nothing behind, there or in the clockwork (T9)."""
        raw = RawPeer(PATIENT)
        raw.say(kept(1))
        slow = raw.take(CallArrived)[0].answer

        def call_and_cancel(number: int) -> None:
            argument = {"a": AnswerRef(1), "cap": cap(number)}
            raw.say([2, number, [1, "x"], "m", argument, {"deadline": 10**9, "keep": True}], [5, number], [6, number])
            assert stats(raw.engine)["answers_waiting"] == stats(raw.engine)["imports"] == 0

        assert_steady(call_and_cancel, range(2, 10_002))
        assert not slow.dependents and raw.engine.pipelines.promised == 1
        assert len(raw.engine.timers._deadlines) <= 200 and not raw.take(CallArrived)

    def test_ten_thousand_cancelled_in_line(self) -> None:
        """P-CALL-2: the same for calls behind one that waits for an argument."""
        raw = RawPeer(PATIENT)
        raw.say(kept(1), [2, 2, 0, "m", {"a": AnswerRef(1)}])

        def call_and_cancel(number: int) -> None:
            raw.say(call(number), [5, number])
            assert stats(raw.engine)["answers_waiting"] == 1

        assert_steady(call_and_cancel, range(3, 10_003))
        export = raw.engine.exports.find(0)
        assert export is not None and (len(raw.engine.answers.lines[export]), export.pins) == (1, 2)
        assert len(raw.take(CallArrived)) == 1

    def test_the_longest_chain_that_can_be_made(self) -> None:
        """P-CALL-8: each call on the result of the one before; they all fail at once, in order."""

        def failing(length: int) -> int:
            raw = RawPeer(Hello("engine", Limits.trusted()))
            raw.say(kept(1), *[kept(number, [number - 1]) for number in range(2, length + 1)])
            cost = calls_of(lambda: raw.say([5, 1]))
            assert [frame[:3] for frame in raw.heard] == [[4, number, "cancelled"] for number in range(1, length + 1)]
            assert raw.say(*[[6, number] for number in range(1, length + 1)]) == []
            assert raw.engine.pipelines.promised == 0
            return cost

        assert failing(1024) < 2.5 * failing(512)

    def test_results_that_are_kept_are_bounded(self) -> None:
        """P-CALL-8: more bytes are not kept, whatever the peer asks for; the results themselves are sent."""
        raw = RawPeer(Hello("engine", Limits(max_kept_bytes=100_000)))
        for number in range(1, 101):
            raw.say(kept(number))
            raw.reply(raw.take(CallArrived)[0].answer, "x" * 10_000)
        assert sum(len(entry.value or "") for entry in raw.engine.pipelines._kept.values()) == 90_000
        said = raw.say([2, 101, 0, "m", {"x": AnswerRef(9)}], [2, 102, 0, "m", {"x": AnswerRef(10)}])
        assert [(frame[1], frame[2], frame[4]["reason"]) for frame in said] == [
            (102, "resource_exhausted", "max_kept_bytes")
        ]

    def test_one_call_that_takes_a_large_result_a_thousand_times(self) -> None:
        """P-FRAME-4: what promises bring is bounded like what a frame holds; a small frame is no way around it (T2)."""
        raw = RawPeer()
        raw.say(kept(1), kept(2))
        first, second = (event.answer for event in raw.take(CallArrived))
        raw.reply(first, [[0]] * 20_000)
        takes: list[Any] = [AnswerRef(1)]
        raw.say([2, 3, 0, "m", {"x": [AnswerRef(1), AnswerRef(2, ("a",))]}])
        costs = [
            calls_of(lambda number=number, several=several: raw.say([2, number, 0, "m", {"x": several}]))  # type: ignore[misc]
            for number, several in [(4, takes * 1000), (5, takes * 2), (6, takes)]
        ]
        assert max(costs) < 100_000, "as many as values that are refused"
        raw.reply(second, {"a": [0] * 30_000})
        errors = [(frame[1], frame[2], frame[4]["reason"]) for frame in raw.heard if frame[0] == 4]
        assert errors == [
            (4, "resource_exhausted", "max_items"),
            (5, "resource_exhausted", "max_items"),
            (3, "resource_exhausted", "max_items"),
        ]
        (arrived,) = raw.take(CallArrived)
        assert arrived.answer.id == 6 and arrived.answer.taken == 40_001

    def test_paths_that_lead_nowhere(self) -> None:
        """P-CALL-8: an error for that call, no strike: an honest caller may not know what will come."""
        raw = RawPeer(NARROW)
        raw.say(kept(1))
        raw.reply(raw.take(CallArrived)[0].answer, {"list": [1]})
        paths: list[list[Any]] = [
            [],
            ["__class__"],
            ["list", 2**63 - 1],
            ["list", -(2**63)],
            [0],
            ["list", 0, 0],
            ["x"] * 1000,
        ]
        for number, path in enumerate(paths, 2):
            ((op, id, code, _, details),) = raw.say([2, number, [1, *path], "m", {}])
            assert (op, id, code, details) == (4, number, "failed_precondition", {"reason": "no_capability"})
        assert not raw.take(LimitReached) and serves(raw)


class TestFloods:
    """Much of what is allowed (threats T8, T9, T11)."""

    def test_a_hundred_thousand_calls(self) -> None:
        """P-CALL-7, P-LIMIT-1: slots, then a bounded queue, then refusals with a code, then the end."""
        raw = RawPeer(Hello("engine", Limits(max_calls=16, max_queued_calls=8, max_strikes=100)))

        def call_a_thousand_times(start: int) -> None:
            raw.say(*[call(number) for number in range(start, start + 1000)])
            counts = stats(raw.engine)
            assert counts["answers"] <= 16 and counts["answers_queued"] <= 8

        assert_steady(call_a_thousand_times, range(1, 100_001, 1000))
        assert len(raw.take(CallArrived)) == 16
        refusals = [frame for frame in raw.heard if frame[0] == 4]
        assert len(refusals) == 100
        assert {frame[2] for frame in refusals} == {"resource_exhausted"}
        assert {frame[4]["reason"] for frame in refusals} == {"max_concurrent_calls"}
        assert raw.heard[-1][:2] == [16, "P-LIMIT-1"] and raw.clause == "P-LIMIT-1"

    def test_rapid_reset(self) -> None:
        """P-CALL-6: call and cancel in pairs never run more handlers than there are slots (threat T9)."""
        raw = RawPeer(Hello("narrow", Limits(max_calls=16, max_queued_calls=8, control_burst=100_000)))

        def call_and_cancel(number: int) -> None:
            raw.say([2, number, 0, "m", {}], [5, number])
            assert len(raw.engine.answers) <= 16 and len(raw.engine.answers.queue) <= 8

        assert_steady(call_and_cancel, range(1, 20_001))
        assert len(raw.take(CallArrived)) == len(raw.take(AnswerEnded)) == 16

    def test_one_way_calls_without_credit(self) -> None:
        """P-CALL-7: id 0 is no way around the limit: 16 at once, answered by nothing, and one more is a violation."""
        raw = RawPeer(NARROW)
        assert raw.say(*[call(0)] * 16) == []
        answers = [event.answer for event in raw.take(CallArrived)]
        assert len(answers) == 16 and not raw.take(LimitReached)
        for answer in answers[:8]:
            raw.engine.reply(answer, None)
        assert raw.collect() == [[8, 0, 8, 0]]
        assert raw.say(*[call(0)] * 8) == [] and raw.clause is None
        raw.say(call(0))
        assert raw.clause == "P-CALL-7"

    def test_one_way_calls_that_are_refused_have_their_credit_back(self) -> None:
        """P-CALL-7, P-LIMIT-1: they count as ended; on what was given back they are strikes like all others."""
        raw = RawPeer(NARROW)
        raw.engine.call(raw.engine.imports.bootstrap, "give", {"cap": (thing := capability("thing"))}, [thing], "t")
        raw.collect()
        raw.say([11, [[2, 1]]], *[call(0, 2)] * 5)
        assert raw.clause is None and raw.engine.answers.one_way_ended == 5
        raw.say(call(0, 2))
        assert raw.clause == "P-LIMIT-1"

    def test_deadlines_without_number(self) -> None:
        """P-CALL-5: what answered calls leave in the clockwork is bounded by the calls that are owed."""
        raw = RawPeer()

        def call_with_a_deadline(number: int) -> None:
            raw.say([2, number, 0, "m", {}, {"deadline": 10**9}])
            raw.reply(raw.take(CallArrived)[0].answer)

        assert_steady(call_with_a_deadline, range(1, 10_001))
        assert len(raw.engine.timers._deadlines) <= 200

    def test_pings(self) -> None:
        """P-LIMIT-4: each has its pong, up to what an honest peer would ever send (threat T11)."""
        raw = RawPeer()
        assert len(raw.say(*[[14, number] for number in range(1000)])) == 1000
        raw.advance(0.5)
        said = raw.say(*[[14, number] for number in range(101)])
        assert [frame[0] for frame in said] == [15] * 100 + [16] and raw.clause == "P-LIMIT-4"

    def test_calls_on_a_revoked_capability(self) -> None:
        """P-CAP-6: they are refused one by one and never reach the object; an honest peer may have been late (T16)."""
        raw = RawPeer(NARROW)
        thing = capability("thing")
        raw.engine.call(raw.engine.imports.bootstrap, "give", {"cap": thing}, [thing], "t")
        raw.collect()
        raw.engine.exporting.revoke(list(raw.engine.exports), "gone")
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
