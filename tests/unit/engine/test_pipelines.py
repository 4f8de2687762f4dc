"""`Pipelines`: results that are kept, and what can be taken out of them."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from capnet.engine.answers import Answer, Answers
from capnet.engine.exports import CapTable, Export
from capnet.engine.imports import Import
from capnet.engine.ledger import Ledger
from capnet.engine.pipelines import Kept, Pipelines, promises_in
from capnet.errors import CapnetError, FailedPrecondition, NotFound, ProtocolViolation, ResourceExhausted, Revoked
from capnet.limits import BYTES_PER_VALUE
from capnet.testing.engines import capability, homeward, stream_out
from capnet.wire.references import AnswerRef, CapRef
from tests.counting import calls_of

ROOM = 1000


def tables(max_bytes: int = 1000, max_kept: int = 4) -> tuple[Pipelines, Answers, CapTable]:
    """Nothing kept, four calls made."""
    exports = CapTable(None, None)
    exports.limit = 100
    answers = Answers(16, 16)
    answers.last_id = 4
    return Pipelines(answers, exports, Ledger(10_000), max_bytes, max_kept), answers, exports


def taken(kept: Kept, *path: str | int) -> tuple[Any, list[CapRef]]:
    """A copy of what stands at a path."""
    found = kept.look(path, ROOM)
    assert found is not None
    return found.taken()


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
        assert places == list(exports) == kept.places()

    def test_one_of_the_peers_is_its_import(self) -> None:
        """P-REF-4: calls on it go back the way they came."""
        imported = Import(7, "test.Thing", 1)
        reference = homeward(imported)
        kept = ended(tables()[2], [reference], reference)
        assert kept.place_at([0]) is imported and kept.places() == [imported]
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
        for take in (lambda: kept.place_at([0]), lambda: kept.look([], ROOM)):
            with pytest.raises(Revoked) as raised:
                take()
            assert raised.value.message == "gone"

    def test_the_error_of_a_call_is_that_of_all(self) -> None:
        """P-CALL-8: each gets one of its own (rule R8)."""
        error: CapnetError = NotFound("no", reason="r")
        kept = Kept(None, error)
        for take in (lambda: kept.place_at([]), lambda: kept.look(["a"], ROOM)):
            with pytest.raises(NotFound) as raised:
                take()
            assert raised.value.reason == "r" and raised.value is not error
        assert kept.places() == []


class TestValues:
    """Copies of what stands at a path."""

    def test_nobody_shares_them(self) -> None:
        """P-CALL-8: neither with the handler that returned it nor with another call."""
        original: dict[str, list[Any]] = {"a": [1, {"b": 2}]}
        kept = ended(tables()[2], original)
        original["a"].append("late")
        taken(kept, "a")[0][1]["b"] = "changed"
        assert taken(kept) == ({"a": [1, {"b": 2}]}, [])

    def test_references_are_another_each_time(self) -> None:
        """P-REF-2: each appearance is held and released for itself."""
        _, _, exports = tables()
        cap = capability("a", "test.Other", 3)
        kept = ended(exports, {"c": [cap]}, cap)
        (first, references), (second, _) = taken(kept, "c"), taken(kept, "c")
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
                kept.look(path, ROOM)
        assert taken(kept, "x") == (1, [])

    @pytest.mark.parametrize(
        ("value", "count"), [(7, 1), ([], 1), ([1, 2], 3), ({"a": [0] * 3, "b": {}}, 8), ([[0], [[0]] * 2], 8)]
    )
    def test_they_are_counted(self, value: Any, count: int) -> None:
        """P-FRAME-4: what there is no room for is not found; at any path, and whole."""
        kept = ended(tables()[2], {"x": value})
        for path, values in ((["x"], count), ([], count + 2)):
            found = kept.look(path, values)
            assert found is not None and found.count == values
            assert kept.look(path, values - 1) is None

    def test_a_whole_result_is_counted_once(self) -> None:
        """P-LIMIT-5: however often calls ask for it."""
        kept = ended(tables()[2], [[0]] * 100)
        assert kept.look([], ROOM) is kept.look([], ROOM) is kept.whole

    def test_no_more_is_looked_at_than_there_is_room_for(self) -> None:
        """P-LIMIT-5: to refuse what is too much costs no more than to take as much as there is room for."""
        kept = ended(tables()[2], {"x": [[]] * 2000, "y": [[[]] * 20] * 100})
        for path, most in (("x", 1), ("y", 110)):
            assert calls_of(partial(kept.look, [path], 100), "_room_beside") <= most, path
            assert kept.look([path], 100) is None


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
            pipelines.keep(id, pipelines.ended([[]] * 30, (), 100))
        kept = [pipelines.find(id, 4) for id in (1, 2, 3)]
        assert [one.charge for one in kept if isinstance(one, Kept)] == [100 + 31 * BYTES_PER_VALUE] * 2 + [0]
        full = kept[2]
        assert isinstance(full, Kept) and full.error is not None and full.error.reason == "max_held_charge"
        pipelines.check_invariants()
        for id in (1, 2, 3):
            pipelines.finish(id)
        assert not pipelines._ledger.used


def test_unanswered_results_among_references() -> None:
    """P-REF: the other kinds are not waited for."""
    wanted = AnswerRef(1, ("a",))
    other, same = AnswerRef(2), AnswerRef(1)
    found = promises_in([capability("a"), wanted, other, stream_out(), same])
    assert found == {1: [wanted, same], 2: [other]}
    assert isinstance(capability("a"), CapRef)
