"""`Answers`: what the peer asked and is owed."""

from __future__ import annotations

import pytest

from capnet.engine.answers import Answer, Answers, AnswerState
from capnet.engine.exports import Export
from capnet.errors import ProtocolViolation
from capnet.limits import LARGEST_ONE_WAY

EXPORT = Export(2, "subject", "test.Thing", 1)


def answer(id: int) -> Answer:
    """A call of the peer's."""
    return Answer(id, EXPORT, "m", {}, ())


def started(answers: Answers, id: int) -> Answer:
    """One that has a slot."""
    new = answer(id)
    answers.last_id = max(answers.last_id, id)
    if id:
        answers.owed += 1
    else:
        answers.take_one_way(LARGEST_ONE_WAY)
    answers.start(new)
    answers.check_invariants()
    return new


def test_a_slot_is_held_from_start_to_finish() -> None:
    """P-CALL-6: ending the answer early does not free the slot, only `finish` does."""
    answers = Answers(1, 4)
    first = started(answers, 1)
    taken = [answers.full]
    first.state = AnswerState.ENDED
    taken.append(answers.full)
    answers.finish(first)
    assert [*taken, answers.full] == [True, True, False]
    assert len(answers) == 0 and first.state.value == "gone"


def test_one_way_answers_take_slots_without_an_id() -> None:
    """P-CALL-7: any number of calls with id 0 are told apart and counted."""
    answers = Answers(3, 4)
    one_way = [started(answers, 0), started(answers, 0)]
    assert len(answers) == 2
    for each in one_way:
        answers.finish(each)
    assert len(answers) == 0


def test_the_one_that_waits_longest_is_next() -> None:
    """P-CALL-2: the queue is first in, first out, and empties only as far as there are slots."""
    answers = Answers(1, 4)
    running = started(answers, 1)
    answers.last_id = 3
    answers.queue.extend([answer(2), answer(3)])
    answers.owed += 2
    answers.check_invariants()
    assert answers.next_queued() is None
    answers.finish(running)
    assert answers.full, "somebody waits already, so a newcomer may not overtake"
    second = answers.next_queued()
    assert second is not None and second.id == 2 and second.state is AnswerState.RUNNING
    assert [each.id for each in answers] == [2, 3]


def test_find_tells_what_was_never_made_from_what_has_ended() -> None:
    """P-ID-4: below the last id and absent is ended; anything else was never made."""
    answers = Answers(1, 4)
    running = started(answers, 2)
    answers.last_id = 3
    answers.queue.append(answer(3))
    assert answers.find(2) is running and answers.find(3) is answers.queue[0] and answers.find(1) is None
    for never in (0, -1, 4):
        with pytest.raises(ProtocolViolation) as raised:
            answers.find(never)
        assert raised.value.clause == "P-ID-4"


def test_a_used_id_is_refused_with_its_clause() -> None:
    """P-CALL-7, P-ID-1: active (running or waiting) and merely used are different clauses."""
    answers = Answers(1, 4)
    started(answers, 2)
    answers.last_id = 3
    answers.queue.append(answer(3))
    for id, clause in [(2, "P-CALL-7"), (3, "P-CALL-7"), (1, "P-ID-1")]:
        with pytest.raises(ProtocolViolation) as raised:
            answers.refuse(id)
        assert raised.value.clause == clause


def test_clear_returns_those_whose_handlers_do_not_know_yet() -> None:
    """P-CONN-6: running ones are to be told; ended ones have been, and waiting ones never started."""
    answers = Answers(2, 4)
    running, ended = started(answers, 1), started(answers, 2)
    ended.state = AnswerState.ENDED
    answers.last_id = 3
    answers.queue.append(waiting := answer(3))
    assert answers.clear() == [running]
    assert {each.state for each in (running, ended, waiting)} == {AnswerState.GONE}
    assert len(answers) == 0 and not list(answers)


def test_one_way_calls_are_counted_down_and_up() -> None:
    """P-CALL-7: what has ended is told at half the limit, or when asked for; beyond the credit is a violation."""
    answers = Answers(5, 4)
    for _ in range(5):
        started(answers, 0)
    with pytest.raises(ProtocolViolation) as raised:
        answers.take_one_way(LARGEST_ONE_WAY)
    assert raised.value.clause == "P-CALL-7"
    with pytest.raises(ProtocolViolation):
        answers.take_one_way(LARGEST_ONE_WAY + 1)
    credit: list[int] = []
    for each in list(answers):
        answers.finish(each)
        answers.one_way_ended += 1
        credit.append(answers.one_way_credit(now=False))
        answers.check_invariants()
    assert credit == [0, 0, 3, 0, 0] and (answers.one_way_left, answers.one_way_ended) == (3, 2)
    assert [answers.one_way_credit(now=True) for _ in range(2)] == [2, 0]
    answers.check_invariants()


def test_those_that_wait_are_owed_like_all_others() -> None:
    """P-CALL-7, P-CALL-8: found and cleared with the rest; `overfull` counts them, one-way calls do not."""
    answers = Answers(1, 1)
    source = started(answers, 2)
    answers.last_id = 3
    waiting = answers.waiting[3] = answer(3)
    waiting.state, waiting.sources, source.dependents = AnswerState.WAITING, [source], [waiting]
    full = [answers.overfull]
    answers.owed += 1
    answers.check_invariants()
    assert [*full, answers.overfull] == [False, True]
    assert answers.find(3) is waiting and list(answers) == [source, waiting]
    with pytest.raises(ProtocolViolation) as raised:
        answers.refuse(3)
    assert raised.value.clause == "P-CALL-7"
    assert answers.clear() == [source] and waiting.state is AnswerState.GONE and not answers.waiting
    answers.check_invariants()


def test_the_repr_says_what_matters() -> None:
    """An answer in a log can be recognised."""
    assert repr(answer(7)) == "<Answer 7 test.Thing.m queued>"
