"""How the time of a host is divided among its connections (threat T8)."""

from __future__ import annotations

import pytest

from capnet.connection.share import LONG, MOMENT, RECENT, SHORT_TURN, Share, Shares


def turn(share: Share, now: float, took: float) -> bool:
    """One turn; whether the next has to wait."""
    share.begin(now, 64)
    return share.end(now + took)


def test_alone_a_turn_is_as_long_as_it_likes() -> None:
    everyone = Shares()
    one, _idle = Share(everyone), Share(everyone)
    for number in range(3):
        assert one.begin(number, 64) == 64
        assert not one.end(number + 100 * LONG)


def test_while_others_want_theirs_turns_are_short() -> None:
    everyone = Shares()
    first, second = Share(everyone), Share(everyone)
    first.begin(0.0, 64)
    assert second.begin(0.0, 64) == SHORT_TURN
    assert first.begin(0.0, 64) == SHORT_TURN and first.begin(0.0, 64) == 64
    assert second.begin(0.0, 8) == 8


def test_a_long_turn_is_paid_for_with_as_much_for_each_of_the_others() -> None:
    everyone = Shares()
    greedy, others = Share(everyone), [Share(everyone) for _ in range(3)]
    now = 1.0
    for other in others:
        assert not turn(other, now, LONG / 2)
    assert turn(greedy, now, 10 * LONG)
    rounds = 0
    while greedy.wait() == MOMENT:
        rounds += 1
        for other in others:
            assert not turn(other, now, LONG / 2)
    assert 19 <= rounds <= 21


def test_nobody_waits_for_those_that_want_nothing() -> None:
    """One moment is enough to see that: long enough for a peer to send what it has next."""
    everyone = Shares()
    greedy, other = Share(everyone), Share(everyone)
    turn(other, 0.0, LONG)
    assert turn(greedy, 0.0, 100 * LONG)
    assert greedy.wait() == MOMENT
    assert greedy.wait() is None


@pytest.mark.parametrize("gone", [True, False])
def test_those_that_had_none_lately_do_not_count(gone: bool) -> None:
    everyone = Shares()
    greedy, other = Share(everyone), Share(everyone)
    turn(other, 0.0, 0.0)
    if gone:
        other.leave()
        assert not turn(greedy, 0.0, 10 * LONG)
    else:
        assert not turn(greedy, 2 * RECENT, 10 * LONG)
