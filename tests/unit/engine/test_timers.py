"""`Timers`: when the engine wants to be told the time."""

from __future__ import annotations

from capnet.engine.answers import Answer, AnswerState
from capnet.engine.exports import Export
from capnet.engine.timers import Timer, Timers

EXPORT = Export(2, None, "test.Thing", 1)


def watched(timers: Timers, id: int, deadline: float) -> Answer:
    """A running answer with a deadline."""
    answer = Answer(id, EXPORT, "m", {}, ())
    answer.state = AnswerState.RUNNING
    answer.deadline = deadline
    timers.watch(answer)
    return answer


def test_the_earliest_comes_first() -> None:
    """Timers and deadlines together; setting a timer again moves it."""
    timers = Timers(0.0)
    assert timers.next() is None
    timers.set(Timer.KEEPALIVE, 20.0)
    timers.set(Timer.GRACE, 5.0)
    assert timers.next() == 5.0
    timers.set(Timer.GRACE, 30.0)
    watched(timers, 1, 25.0)
    assert timers.next() == 20.0
    watched(timers, 2, 10.0)
    assert timers.next() == 10.0


def test_due_timers_are_cleared() -> None:
    """Each rings once."""
    timers = Timers(0.0)
    timers.set(Timer.HANDSHAKE, 5.0)
    timers.set(Timer.KEEPALIVE, 20.0)
    assert timers.due(5.0) == [Timer.HANDSHAKE] and not timers.is_set(Timer.HANDSHAKE)
    assert timers.due(5.0) == []
    timers.clear(Timer.KEEPALIVE)
    timers.clear(Timer.KEEPALIVE)
    assert timers.next() is None


def test_overdue_answers_come_earliest_first_without_those_that_have_ended() -> None:
    """P-CALL-5: equal deadlines come in the order of the calls."""
    timers = Timers(0.0)
    answers = [watched(timers, id, deadline) for id, deadline in [(1, 3.0), (2, 1.0), (3, 1.0), (4, 2.0), (5, 9.0)]]
    answers[3].state = AnswerState.ENDED
    timers.unwatch(answers[3])
    assert [answer.id for answer in timers.overdue(3.0)] == [2, 3, 1]
    assert timers.next() == 9.0


def test_ended_answers_do_not_ring() -> None:
    """P-CALL-5: what has ended is passed over."""
    timers = Timers(0.0)
    answer = watched(timers, 1, 1.0)
    answer.state = AnswerState.GONE
    timers.unwatch(answer)
    assert timers.next() is None


def test_an_answer_without_a_deadline_is_nothing_to_the_clock() -> None:
    """P-CALL-5: most calls have none."""
    timers = Timers(0.0)
    timers.unwatch(Answer(1, EXPORT, "m", {}, ()))
    assert timers.next() is None


def test_leavings_are_swept() -> None:
    """Memory follows the answers that are owed, not those that were."""
    timers = Timers(0.0)
    kept = watched(timers, 1, 100.0)
    for id in range(2, 1000):
        answer = watched(timers, id, 50.0 + id)
        answer.state = AnswerState.GONE
        timers.unwatch(answer)
    assert len(timers._deadlines) <= 130 and kept in [entry[2] for entry in timers._deadlines]


def test_clear_all_stops_the_clock() -> None:
    """P-CONN-6: nothing rings after the end."""
    timers = Timers(0.0)
    timers.set(Timer.GRACE, 1.0)
    watched(timers, 1, 1.0)
    timers.clear_all()
    assert timers.next() is None and timers.due(10.0) == [] and timers.overdue(10.0) == []


def test_the_driver_learns_that_the_next_time_may_have_changed() -> None:
    """`changed` is set by whatever can move `next`, so a driver need not ask after each input."""
    timers = Timers(0.0)
    for change in (
        lambda: timers.set(Timer.GRACE, 1.0),
        lambda: timers.clear(Timer.GRACE),
        lambda: watched(timers, 1, 1.0),
        timers.clear_all,
    ):
        timers.changed = False
        change()
        assert timers.changed
    timers.changed = False
    timers.clear(Timer.GRACE)
    assert not timers.changed


def test_how_long_until_a_timer_rings() -> None:
    """Nothing when it does not, or should have."""
    timers = Timers(2.0)
    assert timers.left(Timer.GRACE) == 0.0
    timers.set(Timer.GRACE, 5.0)
    assert timers.left(Timer.GRACE) == 3.0
    timers.now = 7.0
    assert timers.left(Timer.GRACE) == 0.0
