"""Ping: a sign of life that any side may ask for, at any time."""

from __future__ import annotations

import pytest

from capnet.engine.events import PongReceived
from capnet.errors import Unavailable
from capnet.testing.engines import EnginePair, RawPeer


def test_each_ping_has_its_pong(pair: EnginePair) -> None:
    """P-OP, P-ID-1: numbers go upwards and come back."""
    numbers = [pair.left.engine.keepalive.ping() for _ in range(3)]
    pair.flush()
    assert numbers == [1, 2, 3] == [event.number for event in pair.left.take(PongReceived)]


def test_a_ping_is_answered_while_draining(pair: EnginePair) -> None:
    """P-CONN-4: a goaway ends calls, not signs of life; after the end a ping raises."""
    pair.left.call("run")
    pair.flush()
    pair.right.engine.close("bye", 10.0, pair.now)
    pair.left.engine.keepalive.ping()
    pair.right.engine.keepalive.ping()
    pair.flush()
    assert all(side.take(PongReceived) for side in pair.sides)
    pair.right.reply(pair.right.arrived())
    pair.flush()
    with pytest.raises(Unavailable):
        pair.left.engine.keepalive.ping()


def test_a_pong_that_nobody_asked_for_is_a_violation() -> None:
    """P-ID-4: a number that was never sent cannot be answered."""
    for number in (1, 0, -1, 2**53 - 1):
        raw = RawPeer()
        raw.say([15, number])
        assert raw.clause == "P-ID-4", number


def test_a_negative_ping_is_answered_as_it_is() -> None:
    """P-OP: the number is the sender's business."""
    assert RawPeer().say([14, -5]) == [[15, -5]]
