"""Keepalive: a ping after silence, the end after more of it (P-CONN-5)."""

from __future__ import annotations

import pytest

from capnet.engine.events import Closed, PongReceived
from capnet.limits import Limits
from capnet.testing.engines import EnginePair, RawPeer
from capnet.wire.hello import Hello


def talk(pair: EnginePair, seconds: int) -> None:
    """Let time pass second by second, with everything delivered."""
    for _ in range(seconds):
        pair.advance(1.0)
        pair.flush()


@pytest.mark.parametrize(("keepalive", "timeout"), [(20.0, 20.0), (20.0, 50.0), (50.0, 5.0), (3.0, 0.5)])
def test_an_idle_connection_with_a_live_peer_stays(keepalive: float, timeout: float) -> None:
    """P-CONN-5: pings are answered, so nobody counts as dead, whichever of the two times is longer."""
    limits = Limits(keepalive=keepalive, keepalive_timeout=timeout)
    pair = EnginePair(Hello(limits=limits), Hello(limits=Limits(keepalive=0.0))).open()
    talk(pair, 600)
    assert not pair.left.closed
    assert len(pair.left.take(PongReceived)) >= 600 / (keepalive + timeout) - 1
    pair.finish()


def test_a_clock_that_rings_late_kills_nobody() -> None:
    """P-CONN-5: only silence after the ping counts, however late the driver brings the time."""
    raw = RawPeer()
    for _ in range(50):
        raw.now += 20.5
        raw.engine.handle_timeout(raw.now)
        for frame in raw.collect():
            raw.now += 0.001
            raw.say([15, frame[1]])
    assert not raw.engine.lifecycle.closed


def test_a_dead_peer_is_noticed() -> None:
    """P-CONN-5: ping after `keepalive` of silence, dead `keepalive_timeout` later; pings are not repeated."""
    raw = RawPeer()
    assert raw.advance(19.9) == []
    assert raw.advance(0.1) == [[14, 1]]
    assert raw.advance(19.9) == [] and not raw.engine.lifecycle.closed
    raw.advance(0.1)
    assert raw.take(Closed)[0].cause.kind == "idle"
    assert raw.engine.data_to_send() == [], "there is nobody to say anything to"


def test_any_byte_is_a_sign_of_life() -> None:
    """P-CONN-5: half a frame will do; what the peer says need not be the pong."""
    raw = RawPeer()
    raw.advance(20.0)
    raw.advance(19.0)
    raw.say_bytes(b"\x00")
    raw.advance(15.0)
    assert not raw.engine.lifecycle.closed
    raw.advance(60.0)
    assert raw.engine.lifecycle.closed


def test_traffic_needs_no_pings(pair: EnginePair) -> None:
    """P-CONN-5: while something comes in, nothing is asked."""
    for _ in range(30):
        pair.advance(10.0)
        for side in pair.sides:
            side.call("m")
        pair.flush()
        for side in pair.sides:
            side.reply(side.arrived())
        pair.flush()
    assert pair.left.engine.keepalive.number == pair.right.engine.keepalive.number == 0


def test_it_can_be_turned_off() -> None:
    """P-CONN-5: `keepalive=0` sends none and waits for ever."""
    raw = RawPeer(Hello(limits=Limits(keepalive=0.0)))
    assert raw.engine.next_deadline() is None
    assert raw.advance(1e6) == [] and not raw.engine.lifecycle.closed


def test_a_frame_that_is_begun_must_be_finished() -> None:
    """P-FRAME-2: a slow drip keeps the line alive, and still ends at `partial_frame_timeout`."""
    raw = RawPeer()
    raw.say_bytes(b"\x00\x00\x10\x00")
    for _ in range(29):
        raw.advance(1.0)
        raw.say_bytes(b"x")
    assert not raw.engine.lifecycle.closed
    raw.advance(1.0)
    assert raw.clause == "P-FRAME-2"


def test_the_next_frame_has_its_own_time() -> None:
    """P-FRAME-2: the clock starts with the first byte of a frame, and stops when it is complete."""
    raw = RawPeer()
    ping = b"\x00\x00\x00\x03\x82\x0e\x01"
    stream = ping * 12
    for start in range(0, len(stream), 3):
        raw.say_bytes(stream[start : start + 3])
        raw.advance(9.0)
    assert not raw.engine.lifecycle.closed and len(raw.heard) >= 12
