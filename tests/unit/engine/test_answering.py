"""`Answering`: the way of a call from its arrival to its one terminal. Both sides together: tests/scenarios."""

from __future__ import annotations

from typing import Any

import pytest

from capnet.engine.answers import Answer, AnswerState
from capnet.engine.error_fields import MAX_ERROR_DETAILS
from capnet.engine.events import AnswerEnded, CallArrived, CallFollows, ExportEnded
from capnet.engine.imports import Import
from capnet.engine.inspect import stats
from capnet.errors import MAX_REASON, CallCancelled, Internal, InvalidArgument, NotFound, ResourceExhausted
from capnet.limits import Limits
from capnet.testing.engines import RawPeer, capability, homeward, stream_out
from capnet.wire.hello import Hello
from capnet.wire.references import AnswerRef, CapRef, StreamRef


def arrived(raw: RawPeer) -> list[Answer]:
    """What has started since the last time."""
    return [event.answer for event in raw.take(CallArrived)]


def kept(raw: RawPeer, id: int) -> Answer:
    """A call whose answer is to be kept; it runs."""
    raw.say([2, id, 0, "m", {}, {"keep": True}])
    (answer,) = arrived(raw)
    return answer


class TestTerminals:
    """Exactly one for each call with an id (P-CALL-1)."""

    @pytest.mark.parametrize("first", ["reply", "fail", "end"])
    @pytest.mark.parametrize("second", ["reply", "fail", "end"])
    def test_the_first_is_sent(self, first: str, second: str) -> None:
        """P-CALL-1, P-CALL-6: whatever comes after it says nothing; the slot is free when the handler is done."""
        raw = RawPeer()
        raw.say([2, 1, 0, "m", {}])
        (answer,) = arrived(raw)
        intents: dict[str, Any] = {
            "reply": lambda: raw.engine.reply(answer, "value"),
            "fail": lambda: raw.engine.fail(answer, NotFound("no")),
            "end": lambda: raw.engine.answering.end_answer(answer, CallCancelled("stop")),
        }
        intents[first]()
        said = raw.collect()
        assert [frame[:3] for frame in said] == [
            {"reply": [3, 1, "value"], "fail": [4, 1, "not_found"], "end": [4, 1, "cancelled"]}[first]
        ]
        assert answer.state is (AnswerState.ENDED if first == "end" else AnswerState.GONE)
        intents[second]()
        assert raw.collect() == [] and len(raw.take(AnswerEnded)) == (first == "end")
        assert len(raw.engine.answers) == (first == second == "end")

    def test_a_result_that_cannot_be_sent_is_still_owed(self) -> None:
        """P-CALL-1: encoded before anything is given up; then an error may follow (fault 1)."""
        raw = RawPeer()
        answer = kept(raw, 1)
        raw.say([2, 2, [1, 0], "m", {}])
        for value, error in [(["\ud800"], InvalidArgument), (["x" * 5_000_000], ResourceExhausted)]:
            with pytest.raises(error):
                raw.engine.reply(answer, [*value, thing := capability("thing"), out := stream_out()], [thing, out])
        assert answer.state is AnswerState.RUNNING and not raw.engine.exports and not raw.engine.streams
        raw.engine.fail(answer, Internal("unsendable"))
        assert [frame[:3] for frame in raw.collect()] == [[4, 1, "internal"], [4, 2, "internal"]]

    def test_details_of_errors_are_bounded(self) -> None:
        """P-ERR-1: left out when they are too long or cannot travel; what a caller must know to react stays."""
        raw = RawPeer()
        long: list[dict[str, Any]] = [{"x": "y" * MAX_ERROR_DETAILS}, {"cap": capability("thing")}, {"odd": object()}]
        for id, details in enumerate(long, 1):
            raw.say([2, id, 0, "m", {}])
            (answer,) = arrived(raw)
            raw.engine.fail(answer, NotFound("no", reason="r" * 1000, details=details))
            ((_, _, _, _, sent),) = raw.collect()
            assert sent == {"reason": "r" * MAX_REASON}

    def test_a_call_that_was_never_made_has_no_error(self) -> None:
        """P-OP: nothing is sent for id 0."""
        raw = RawPeer()
        raw.engine.answering.send_error(0, NotFound("no"))
        assert raw.collect() == []


class TestTheWay:
    """Waiting, queued, running."""

    def test_the_states_of_a_call_that_waits_for_all(self) -> None:
        """P-CALL-2, P-CALL-7, P-CALL-8: first for what it needs, then for a slot."""
        raw = RawPeer(Hello("engine", Limits(max_calls=16, max_queued_calls=8)))
        source = kept(raw, 1)
        beside: list[list[Any]] = [[2, id, 0, "m", {}] for id in range(2, 17)]
        raw.say(*beside, [2, 17, [1, 0], "m", {"x": AnswerRef(1, (1,))}])
        others = arrived(raw)
        (answer,) = raw.engine.answers.waiting.values()
        assert (answer.state, answer.interface, answer.export) == (AnswerState.WAITING, "", None)
        assert repr(answer) == "<Answer 17 .m waiting>" and answer.target == [1, 0]
        raw.engine.reply(source, [thing := capability("thing"), 7], [thing])
        raw.collect()
        assert arrived(raw) == [answer] and answer.state is AnswerState.RUNNING, "the slot of what it waited for"
        assert answer.interface == "test.Thing" and not answer.target and not answer.sources
        raw.say([2, 18, 0, "m", {}])
        assert stats(raw.engine)["answers_queued"] == 1
        raw.reply(others[0])
        assert [each.id for each in arrived(raw)] == [18]

    def test_a_reference_in_what_it_took_is_its_own(self) -> None:
        """P-REF-2: held with the call, given back by its driver, while the kept answer holds another."""
        raw = RawPeer()
        source = kept(raw, 1)
        raw.say([2, 2, 0, "give", {"cap": CapRef("test.Thing", 1, id=5)}])
        (give,) = arrived(raw)
        imported = raw.imported(5)
        raw.reply(give)
        raw.reply(source, [back := homeward(imported)], [back])
        raw.say([2, 3, 0, "m", {"x": AnswerRef(1)}])
        (answer,) = arrived(raw)
        assert [type(reference) for reference in answer.references] == [AnswerRef, CapRef] and imported.holders == 3
        raw.engine.release_all(answer.references)
        raw.engine.release_all(give.references)
        raw.reply(answer)
        assert imported.holders == 1 and raw.say([6, 1]) == [[11, [[5, 1]]]]

    def test_what_a_call_waits_on_stays_open(self) -> None:
        """P-REF-3: given back meanwhile, it ends when the last call on it has ended, or will not start."""
        for last in ("start", "cancel"):
            raw = RawPeer()
            raw.engine.call(raw.engine.imports.bootstrap, "give", {"cap": (thing := capability("thing"))}, [thing], "t")
            source = kept(raw, 1)
            raw.say([2, 2, 2, "first", {"x": AnswerRef(1)}], [2, 3, 2, "second", {}], [11, [[2, 1]]])
            (export,) = raw.engine.exports.lingering
            assert export.pins == 2 and not raw.take(ExportEnded)
            if last == "start":
                raw.reply(source, 7)
                first, second = arrived(raw)
                assert first.export is second.export is export
                raw.reply(first)
                assert not raw.take(ExportEnded)
                raw.reply(second)
            else:
                raw.say([5, 3], [5, 2])
            assert [event.reason for event in raw.take(ExportEnded)] == ["dropped"] and not raw.engine.exports.lingering

    def test_a_cancelled_wait_gives_all_back(self) -> None:
        """P-CALL-6: what it was sent and what it took; the answers it waited for forget it."""
        raw = RawPeer()
        first, second = kept(raw, 1), kept(raw, 2)
        raw.say(
            [2, 3, [1, 0], "m", {"a": AnswerRef(2), "c": CapRef("test.Thing", 1, id=9), "s": StreamRef("in", id=1)}]
        )
        said = raw.say([5, 3])
        assert sorted(frame[0] for frame in said) == [4, 9, 11]
        assert first.dependents == second.dependents == [] and not raw.engine.answers.waiting

    def test_a_result_of_a_call_without_an_export(self) -> None:
        """P-CALL-8, P-STREAM-5: one that was relayed may hand out streams: they belong to no capability here."""
        raw = RawPeer()
        source = kept(raw, 1)
        raw.say([2, 2, 0, "give", {"cap": CapRef("test.Thing", 1, id=5)}], [2, 3, [1], "open", {}])
        raw.reply(source, back := homeward(raw.imported(5)), [back])
        (_, relayed) = arrived(raw)
        assert relayed.export is None and isinstance(relayed.place, Import)
        raw.reply(relayed, out := stream_out(), [out])
        assert out.subject.export is None and raw.engine.streams.has(out.subject)


class TestForwarding:
    """`forward` lets those that depend on a call go the way it went."""

    def test_only_those_made_on_its_result(self) -> None:
        """P-CALL-8: one that takes it as an argument waits for the value itself."""
        raw = RawPeer()
        source = kept(raw, 1)
        raw.say([2, 2, 0, "takes", {"x": AnswerRef(1)}], [2, 3, [1, "a"], "goes", {}])
        raw.engine.answering.forward(source, "token")
        raw.collect()
        (answer,) = arrived(raw)
        assert (answer.method, answer.place, answer.target) == ("goes", source, [1, "a"])
        assert source.forwarded == "token" and [each.method for each in source.dependents or ()] == ["takes"]

    def test_without_dependents(self) -> None:
        """P-CALL-8: of those that come later the driver is told, and may let them go."""
        raw = RawPeer()
        source = kept(raw, 1)
        raw.engine.answering.forward(source, "token")
        assert raw.collect() == []
        raw.say([2, 2, [1], "goes", {}], [2, 3, 0, "takes", {"x": AnswerRef(1)}])
        assert [event.source for event in raw.take(CallFollows)] == [source] and not arrived(raw)
        raw.engine.answering.forward(source, "token")
        raw.collect()
        assert [(answer.method, answer.place) for answer in arrived(raw)] == [("goes", source)]

    def test_one_that_is_not_let_go(self) -> None:
        """P-CALL-8: it waits for the result, and starts on what stands there."""
        raw = RawPeer()
        source = kept(raw, 1)
        raw.engine.answering.forward(source, "token")
        raw.say([2, 2, [1], "waits", {}])
        raw.reply(source, thing := capability("thing"), [thing])
        (answer,) = arrived(raw)
        assert answer.export is not None and answer.export.subject == "thing"

    def test_one_that_was_told_of_and_ended_meanwhile(self) -> None:
        """P-CALL-6: it goes nowhere, nor does one whose source has ended."""
        raw = RawPeer()
        source = kept(raw, 1)
        raw.engine.answering.forward(source, "token")
        raw.say([2, 2, [1], "cancelled", {}], [5, 2], [2, 3, [1], "fails", {}], [5, 1])
        assert len(raw.take(CallFollows)) == 2
        raw.engine.answering.forward(source, "token")
        assert not arrived(raw) and not raw.engine.answers.waiting


def test_a_call_that_was_answered_is_not_passed_on() -> None:
    """P-CALL-8: those that waited for it have been told what became of it."""
    raw = RawPeer()
    answer = kept(raw, 1)
    raw.say([5, 1])
    raw.engine.answering.forward(answer, "elsewhere")
    assert answer.forwarded is None
    assert [frame[:3] for frame in raw.say([2, 2, [1], "n", {}])] == [[4, 2, "cancelled"]]
