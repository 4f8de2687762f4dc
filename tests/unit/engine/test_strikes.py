"""`Strikes`: limit errors of the peer."""

from __future__ import annotations

import pytest

from capnet.engine.strikes import Strikes
from capnet.errors import ProtocolViolation
from capnet.limits import Limits


def test_one_more_than_allowed_within_the_window_is_a_violation() -> None:
    """P-LIMIT-1, P-ERR-3: the allowed number is free, the next one ends it."""
    strikes = Strikes(Limits(max_strikes=3, strike_window=10.0))
    for now in (0.0, 5.0, 9.9):
        strikes.add(now)
    with pytest.raises(ProtocolViolation) as raised:
        strikes.add(9.99)
    assert raised.value.clause == "P-LIMIT-1" and strikes.count == 4


def test_old_strikes_are_forgotten() -> None:
    """P-LIMIT-1: a slow trickle never adds up, and memory is bounded by the allowed number."""
    strikes = Strikes(Limits(max_strikes=3, strike_window=10.0))
    for number in range(1000):
        strikes.add(number * 4.0)
    assert strikes.count == 1000 and len(strikes._times) == 3


def test_none_may_be_allowed() -> None:
    """P-LIMIT-1: with `max_strikes=0` the first is too many."""
    with pytest.raises(ProtocolViolation):
        Strikes(Limits(max_strikes=0)).add(0.0)
