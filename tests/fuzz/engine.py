"""Fuzz target: a whole engine, between a peer that says anything and a driver that does anything it may.

An input is a script: frames of the peer's, mostly with ids that mean something, cut anywhere; intents of the driver's;
time. After each step the engine's invariants hold (`RawPeer` checks them), what it said is well-formed, and every event
fits what was before: a call starts, is answered and ends at most once, and so do exports, imports and streams. In the
end the line is cut, if it has not ended before, and everything that has begun has ended.

`peer.py` makes the frames, `driver.py` follows the events and makes the intents.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from capnet.engine.engine import Engine
from capnet.limits import FrameBounds, Limits
from capnet.testing.engines import RawPeer
from capnet.wire.codec import Codec
from capnet.wire.hello import Hello
from tests.fuzz.choices import Choices
from tests.fuzz.driver import Driver
from tests.fuzz.peer import Peer

__all__ = ["one_input"]

LIMITS: Final = Limits(
    max_calls=16,
    max_queued_calls=4,
    max_caps=16,
    max_streams=16,
    stream_items=6,
    stream_bytes=400,
    max_outgoing_calls=6,
    max_kept_bytes=400,
    max_held_charge=8_000,
    max_references=24,
    max_items=400,
    max_strikes=20,
    max_depth=12,
)
"""Small, so that a short script gets to each of them."""
ANNOUNCED: Final = replace(LIMITS, max_depth=64, max_items=65_536, max_references=1024)
"""The same, as far as a side may announce it."""
_STEPS: Final = 150
_SLOTS: Final = 3


def one_input(data: bytes) -> None:
    """Play one input."""
    choices = Choices(data)
    raw = RawPeer(Hello("engine", ANNOUNCED), greet=choices.below(8) != 0)
    _bound_frames(raw.engine)
    if raw.engine.peer is not None and choices.flag():
        _narrow(raw.engine)
    driver = Driver(raw, choices)
    peer = Peer(raw, choices)
    for _ in range(_STEPS):
        if not choices or raw.engine.lifecycle.closed:
            break
        match choices.below(16):
            case 0 | 1 | 2 | 3 | 4 | 5 | 6:
                peer.say()
            case 15:
                raw.advance(choices.one_of((0.01, 0.5, 3.0, 6.0, 25.0, 100.0)))
            case _:
                driver.act()
        driver.follow()
    driver.end()


def _bound_frames(engine: Engine) -> None:
    """As if a frame could hold less than any side may announce."""
    engine.limits = LIMITS
    Codec.__init__(engine.codec, LIMITS)
    engine.outbox.bounds = FrameBounds(LIMITS, LIMITS)


def _narrow(engine: Engine) -> None:
    """As if both sides had announced less than any side may: what is cancelled and still runs soon fills it up."""
    engine.calls.limit = engine.calls.one_way_room = _SLOTS
    engine.answers.limit = engine.answers.one_way_left = _SLOTS
    engine.answers._owed_limit = _SLOTS + 1
    engine.pipelines._max_kept = _SLOTS
