"""How the time of a host is divided among its connections (threat T8)."""

from __future__ import annotations

import pytest

from capnet.session.fair_share import LONG, MOMENT, RECENT, SHORT_TURN, FairShare, FairShares


def turn(share: FairShare, now: float, took: float) -> bool:
    """One turn; whether the next has to wait."""
    share.begin(now, 64)
    return share.end(now + took)


def test_alone_a_turn_is_as_long_as_it_likes() -> None:
    everyone = FairShares()
    one, _idle = FairShare(everyone), FairShare(everyone)
    for number in range(3):
        assert one.begin(number, 64) == 64
        assert not one.end(number + 100 * LONG)


def test_while_others_want_theirs_turns_are_short() -> None:
    everyone = FairShares()
    first, second = FairShare(everyone), FairShare(everyone)
    first.begin(0.0, 64)
    assert second.begin(0.0, 64) == SHORT_TURN
    assert first.begin(0.0, 64) == SHORT_TURN and first.begin(0.0, 64) == 64
    assert second.begin(0.0, 8) == 8


def test_a_long_turn_is_paid_for_with_as_much_for_each_of_the_others() -> None:
    everyone = FairShares()
    greedy, others = FairShare(everyone), [FairShare(everyone) for _ in range(3)]
    now = 1.0
    for other in others:
        assert not turn(other, now, LONG / 2)
    assert turn(greedy, now, 10 * LONG)
    rounds = 0
    while greedy.wait(now) == MOMENT:
        rounds += 1
        for other in others:
            assert not turn(other, now, LONG / 2)
    assert 19 <= rounds <= 21


def test_nobody_waits_for_those_that_want_nothing() -> None:
    """One moment is enough to see that: long enough for a peer to send what it has next."""
    everyone = FairShares()
    greedy, other = FairShare(everyone), FairShare(everyone)
    turn(other, 0.0, LONG)
    assert turn(greedy, 0.0, 100 * LONG)
    assert greedy.wait(0.2 * LONG) == MOMENT
    assert greedy.wait(0.2 * LONG + MOMENT) is None


def test_nobody_waits_longer_than_the_others_could_have_needed() -> None:
    """Also where they go on to want a little, and never come to as much."""
    everyone = FairShares()
    greedy, other = FairShare(everyone), FairShare(everyone)
    turn(other, 0.0, LONG)
    assert turn(greedy, 0.0, 100 * LONG)
    assert not turn(other, 150 * LONG, 0.0)
    assert greedy.wait(199 * LONG) == MOMENT
    assert not turn(other, 199 * LONG, 0.0)
    assert greedy.wait(201 * LONG) is None


def test_what_turns_lead_to_is_paid_for_like_them() -> None:
    """Handlers that go on when the turn is over."""
    everyone = FairShares()
    greedy, other = FairShare(everyone), FairShare(everyone)
    turn(other, 0.0, LONG)
    assert not turn(greedy, 0.0, 0.0)
    assert greedy.worked(100 * LONG, 100 * LONG)
    assert turn(greedy, 100 * LONG, 0.0) and greedy.wait(101 * LONG) == MOMENT


def test_those_that_come_round_as_slowly_as_this_one_count() -> None:
    """Where several take long, each of them has its turn only after all the others."""
    everyone = FairShares()
    greedy, other = FairShare(everyone), FairShare(everyone)
    turn(greedy, 1.0, 0.0)
    turn(other, 1.0 + RECENT, LONG)
    assert turn(greedy, 1.0 + 5 * RECENT, 10 * LONG)


@pytest.mark.parametrize("gone", [True, False])
def test_those_that_had_none_lately_do_not_count(gone: bool) -> None:
    everyone = FairShares()
    greedy, other = FairShare(everyone), FairShare(everyone)
    turn(other, 0.0, 0.0)
    if gone:
        other.leave()
        assert not turn(greedy, 0.0, 10 * LONG)
    else:
        assert not turn(greedy, 2 * RECENT, 10 * LONG)
