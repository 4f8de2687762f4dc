"""`Pipelines`: results that are kept, and what can be taken out of them."""

from __future__ import annotations

from typing import Any

import pytest

from capnet.engine.answers import Answer, Answers
from capnet.engine.exports import CapTable, Export
from capnet.engine.imports import Import
from capnet.engine.ledger import BYTES_PER_VALUE, Ledger
from capnet.engine.pipelines import Kept, Pipelines, answer_refs
from capnet.errors import CapnetError, FailedPrecondition, NotFound, ProtocolViolation, ResourceExhausted, Revoked
from capnet.testing.engines import capability, homeward, stream_out
from capnet.wire.references import AnswerRef, CapRef

ROOM = 1000


def tables(max_bytes: int = 1000, max_kept: int = 4) -> tuple[Pipelines, Answers, CapTable]:
    """Nothing kept, four calls made."""
    exports = CapTable(None, None)
    exports.limit = 100
    answers = Answers(16, 16)
    answers.last_id = 4
    return Pipelines(answers, exports, Ledger(10_000), max_bytes, max_kept), answers, exports


def running(answers: Answers, id: int, *, keep: bool = True) -> Answer:
    """A call that has not ended."""
    answer = Answer(id, None, "m", {}, ())
    answer.keep = keep
    answers.owed += 1
    answers.start(answer)
    return answer


def ended(exports: CapTable, value: Any, *references: Any) -> Kept:
    """A result that was sent."""
    pipelines = Pipelines(Answers(16, 16), exports, Ledger(10_000), 1000, 4)
    exports.count(references)
    return pipelines.ended(value, references, 10)


class TestPlaces:
    """What stands at a path."""

    def test_a_capability_of_ours_is_its_export(self) -> None:
        """P-CALL-8, P-ID-2: as if the reference had come home; no matter how it is nested."""
        _, _, exports = tables()
        first, second = capability("a"), capability("b")
        kept = ended(exports, {"x": [1, first], "y": (second,)}, first, second)
        places = [kept.place_at(["x", 1]), kept.place_at(["y", 0])]
        assert places == list(exports) == list(kept.places())

    def test_one_of_the_peers_is_its_import(self) -> None:
        """P-REF-4: calls on it go back the way they came."""
        imported = Import(7, "test.Thing", 1)
        reference = homeward(imported)
        kept = ended(tables()[2], [reference], reference)
        assert kept.place_at([0]) is imported and list(kept.places()) == [imported]
        assert (kept.value[0].id, reference.id) == (7, -7)

    @pytest.mark.parametrize(
        "path", [[], ["x"], ["x", 0], ["x", 2], ["x", -1], ["z"], [0], ["x", "0"], ["s"], ["x", 0, 0]]
    )
    def test_anything_else_is_no_place(self, path: list[Any]) -> None:
        """P-CALL-8: an error of that call's own (rule R10)."""
        _, _, exports = tables()
        cap, stream = capability("a"), stream_out()
        kept = ended(exports, {"x": [1, [cap]], "s": stream}, cap, stream)
        with pytest.raises(FailedPrecondition) as raised:
            kept.place_at(path)
        assert raised.value.reason == "no_capability"

    def test_one_that_was_revoked(self) -> None:
        """P-CAP-6: the promise leads to what was taken back."""
        _, _, exports = tables()
        cap = capability("a")
        kept = ended(exports, [cap], cap)
        exports.revoke(next(iter(exports)), "gone")
        for take in (lambda: kept.place_at([0]), lambda: kept.value_at([], ROOM, Ledger(1))):
            with pytest.raises(Revoked) as raised:
                take()
            assert raised.value.message == "gone"

    def test_the_error_of_a_call_is_that_of_all(self) -> None:
        """P-CALL-8: each gets one of its own (rule R8)."""
        error: CapnetError = NotFound("no", reason="r")
        kept = Kept(None, error)
        for take in (lambda: kept.place_at([]), lambda: kept.value_at(["a"], ROOM, Ledger(1))):
            with pytest.raises(NotFound) as raised:
                take()
            assert raised.value.reason == "r" and raised.value is not error
        assert list(kept.places()) == []


class TestValues:
    """Copies of what stands at a path."""

    def test_nobody_shares_them(self) -> None:
        """P-CALL-8: neither with the handler that returned it nor with another call."""
        original: dict[str, list[Any]] = {"a": [1, {"b": 2}]}
        kept = ended(tables()[2], original)
        original["a"].append("late")
        first, _, count = kept.value_at(["a"], ROOM, Ledger(1))
        first[1]["b"] = "changed"
        assert kept.value_at([], ROOM, Ledger(1))[0] == {"a": [1, {"b": 2}]} and count == 5

    def test_references_are_another_each_time(self) -> None:
        """P-REF-2: each appearance is held and released for itself."""
        _, _, exports = tables()
        cap = capability("a", "test.Other", 3)
        kept = ended(exports, {"c": [cap]}, cap)
        (first, references, _), (second, _, _) = (
            kept.value_at(["c"], ROOM, Ledger(1)),
            kept.value_at(["c"], ROOM, Ledger(1)),
        )
        assert first == references and first[0] is not second[0]
        (copy,) = references
        assert (copy.interface, copy.version, copy.id) == ("test.Other", 3, -2)
        assert isinstance(copy.subject, Export) and copy.subject.subject == "a"

    def test_a_stream_has_one_consumer(self) -> None:
        """P-STREAM-1: it cannot be taken, nor anything around it; beside it one can."""
        stream = stream_out()
        kept = ended(tables()[2], {"s": [stream], "x": 1}, stream)
        paths: list[list[str | int]] = [["s", 0], ["s"], []]
        for path in paths:
            with pytest.raises(FailedPrecondition):
                kept.value_at(path, ROOM, Ledger(1))
        assert kept.value_at(["x"], ROOM, Ledger(1)) == (1, [], 1)

    @pytest.mark.parametrize(("value", "count"), [(7, 1), ([], 1), ([1, 2], 3), ({"a": [0] * 3, "b": {}}, 8)])
    def test_they_are_counted(self, value: Any, count: int) -> None:
        """P-FRAME-4: what there is no room for is not copied, nor counted to its end."""
        kept = ended(tables()[2], value)
        assert kept.value_at([], count, Ledger(1))[2] == count
        with pytest.raises(ResourceExhausted) as raised:
            kept.value_at([], count - 1, Ledger(1))
        assert raised.value.reason == "max_items"


class TestKeeping:
    """From the end of a call to its finish."""

    def test_the_peer_may_ask_for_so_many(self) -> None:
        """P-LIMIT-2: of those that will be kept as well as of those that are."""
        pipelines, answers, _ = tables(max_kept=2)
        for id in (1, 2):
            pipelines.promise()
            running(answers, id)
        pipelines.check_invariants()
        with pytest.raises(ProtocolViolation) as raised:
            pipelines.promise()
        assert raised.value.clause == "P-LIMIT-2" and pipelines.promised == 2

    def test_found_while_it_runs_and_afterwards(self) -> None:
        """P-CALL-8, P-ID-4: what is not kept is None; what was not asked before is a violation (rule R7)."""
        pipelines, answers, _ = tables()
        answer = running(answers, 1)
        running(answers, 2, keep=False)
        pipelines.promise()
        assert pipelines.find(1, 4) is answer and pipelines.find(2, 4) is None and pipelines.find(3, 4) is None
        answers.finish(answer)
        answer.keep = False
        pipelines.keep(1, kept := Kept("value", None, 5))
        assert pipelines.find(1, 4) is kept and len(pipelines) == 1
        pipelines.check_invariants()
        for id in (0, -1, 4, 5):
            with pytest.raises(ProtocolViolation) as raised:
                pipelines.find(id, 4)
            assert raised.value.clause == "P-ID-4"

    def test_finished_it_gives_back_what_it_held(self) -> None:
        """P-CALL-8: once; before its end as well as after it."""
        pipelines, answers, exports = tables()
        answer = running(answers, 1)
        for _ in range(2):
            pipelines.promise()
        cap = capability("a")
        exports.count([cap])
        kept = pipelines.ended(cap, [cap], 10)
        assert pipelines.keep(2, kept) == list(exports) == pipelines.finish(2)
        assert pipelines.finish(1) == [] and not answer.keep and pipelines.promised == 0
        for id, clause in [(1, "P-CALL-8"), (2, "P-CALL-8"), (3, "P-CALL-8"), (5, "P-ID-4")]:
            with pytest.raises(ProtocolViolation) as raised:
                pipelines.finish(id)
            assert raised.value.clause == clause
        pipelines.check_invariants()

    def test_bytes_are_bounded(self) -> None:
        """P-CALL-8: one above the bound is an error from now on, and holds nothing; finishing makes room."""
        pipelines, _, exports = tables(max_bytes=25)
        cap = capability("a")
        exports.count([cap])
        for id, size, places in [(1, 10, 1), (2, 15, 1), (3, 1, 0)]:
            pipelines.promise()
            assert len(pipelines.keep(id, pipelines.ended(cap, [cap], size))) == places
        full = pipelines.find(3, 4)
        assert isinstance(full, Kept) and isinstance(full.error, ResourceExhausted)
        assert full.error.reason == "max_kept_bytes" and pipelines.finish(3) == []
        pipelines.check_invariants()
        pipelines.finish(1)
        pipelines.promise()
        assert len(pipelines.keep(4, pipelines.ended(cap, [cap], 10))) == 1
        pipelines.clear()
        assert (len(pipelines), pipelines.promised, pipelines._bytes) == (0, 0, 0)

    def test_what_they_take_up_is_bounded(self) -> None:
        """P-LIMIT-3: a result of many small values is charged for them, until it is finished."""
        pipelines, _, _ = tables()
        for id in (1, 2, 3):
            pipelines.promise()
            pipelines.keep(id, pipelines.ended([[]] * 100, (), 100))
        kept = [pipelines.find(id, 4) for id in (1, 2, 3)]
        assert [one.charge for one in kept if isinstance(one, Kept)] == [100 + 101 * BYTES_PER_VALUE] * 2 + [0]
        full = kept[2]
        assert isinstance(full, Kept) and full.error is not None and full.error.reason == "max_held_charge"
        pipelines.check_invariants()
        for id in (1, 2, 3):
            pipelines.finish(id)
        assert not pipelines._ledger.used

    def test_what_calls_take_is_bounded(self) -> None:
        """P-LIMIT-3, T2: in memory by a ledger, in time by what they take of one result before others have a turn."""
        kept = ended(tables()[2], [[]] * 1000)
        full, empty = Ledger(0), Ledger(1)
        with pytest.raises(ResourceExhausted) as raised:
            kept.value_at([], 2000, full)
        assert raised.value.reason == "max_call_charge"
        assert kept.value_at([], 2000, empty)[2] == 1001 and empty.used == 1001 * BYTES_PER_VALUE
        kept.budget = 1001
        kept.value_at([], 2000, Ledger(1))
        with pytest.raises(ResourceExhausted) as raised:
            kept.value_at([], 2000, Ledger(1))
        assert raised.value.reason == "max_items"


def test_unanswered_results_among_references() -> None:
    """P-REF: the other kinds are not waited for."""
    wanted = AnswerRef(1, ("a",))
    assert answer_refs([capability("a"), wanted, stream_out()]) == [wanted]
    assert isinstance(capability("a"), CapRef)
