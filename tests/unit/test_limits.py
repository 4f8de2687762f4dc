"""The limits: defaults, profiles, and what every peer must take (P-CONN-2)."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace

import pytest

from capnet.errors import InvalidArgument, ProtocolViolation
from capnet.limits import EARLY, HANDSHAKE_FRAME, FrameBounds, Limits, bound
from capnet.wire.hello import Hello

FLOORS = {
    "max_frame": 65536,
    "max_calls": 16,
    "max_caps": 16,
    "max_streams": 16,
    "stream_items": 1,
    "stream_bytes": 1,
    "max_call_charge": 1024 * 1024,
}
FRAME_FLOORS = {"max_depth": 64, "max_items": 65_536, "max_references": 1024}


def test_the_default_is_the_untrusted_profile() -> None:
    """Whoever says nothing gets the bounds for strangers."""
    assert Limits() == Limits.untrusted()


def test_the_trusted_profile_is_wider() -> None:
    """In frames and calls; nothing of it is narrower."""
    trusted, untrusted = Limits.trusted(), Limits.untrusted()
    assert (trusted.max_frame, trusted.max_calls) == (64 * 1024 * 1024, 1024)
    assert all(getattr(trusted, field.name) >= getattr(untrusted, field.name) for field in fields(Limits))


def test_a_backlog_holds_more_than_a_frame() -> None:
    """Else one honest answer of full size could stop the reading."""
    for limits in (Limits.untrusted(), Limits.trusted()):
        assert limits.max_backlog > limits.max_frame


def test_limits_do_not_change() -> None:
    """A connection that runs keeps what it announced."""
    with pytest.raises(FrozenInstanceError):
        Limits().max_frame = 1  # type: ignore[misc]


@pytest.mark.parametrize(("name", "floor"), FLOORS.items())
def test_what_every_peer_must_take_is_the_least(name: str, floor: int) -> None:
    """P-CONN-2: a smaller bound could not be kept, since the peer may have used more before it knows."""
    assert getattr(replace(EARLY, **{name: floor}), name) == floor
    with pytest.raises(ValueError, match=name):
        replace(EARLY, **{name: floor - 1})


@pytest.mark.parametrize(("name", "floor"), FRAME_FLOORS.items())
def test_what_a_frame_may_hold_is_announced_and_only_ever_raised(name: str, floor: int) -> None:
    """P-CONN-2: the codec keeps to any bound; a connection cannot have less than what comes before its hello."""
    assert getattr(EARLY, name) == floor
    Hello(limits=Limits(**{name: floor})).check()
    with pytest.raises(InvalidArgument, match=name):
        Hello(limits=Limits(**{name: floor - 1})).check()
    with pytest.raises(ProtocolViolation, match="P-CONN-2"):
        Hello.from_frame([0, "capnet", [1, 1], {name: floor - 1}])
    assert getattr(Hello.from_frame([0, "capnet", [1, 1], {name: floor + 1}]).limits, name) == floor + 1


def test_frames_keep_to_the_less_of_both() -> None:
    """P-CONN-2: and what is said of a bound names its value and those who would have to change it."""
    small, large = Limits(), Limits(max_items=100_000, max_depth=100)
    for ours, theirs, sides in (
        (small, large, "of the sender is 65536: raise it there"),
        (large, small, "of the receiver is 65536: raise it there"),
        (small, Limits(max_frame=70_000), "of the sender and the receiver is 65536: raise it there"),
    ):
        bounds = FrameBounds(ours, theirs)
        assert (bounds.max_items, bounds.max_depth) == (65_536, 64)
        assert bounds.said("max_items") == f"Limits.max_items {sides}"
    assert FrameBounds(large, large).max_items == 100_000
    early = FrameBounds(large, EARLY)
    assert early.max_items == 65_536 and "before the receiver has said hello" in early.said("max_items")


def test_what_is_said_of_a_bound() -> None:
    assert bound("max_calls", 3, "callee") == "Limits.max_calls of the callee is 3: raise it there"
    said = bound("HostLimits.max_charge", 3, "host", otherwise="wait")
    assert said == "HostLimits.max_charge of the host is 3: raise it there, or wait"


FLOORS_OF_PACE = [
    ("control_burst", 1000),
    ("control_rate", 200),
    ("frames_per_turn", 2),
    ("work_burst", 65536),
    ("work_rate", 65536),
]


@pytest.mark.parametrize(("name", "floor"), FLOORS_OF_PACE)
def test_what_an_honest_peer_relies_on(name: str, floor: int) -> None:
    """P-LIMIT-4, P-LIMIT-5: it is not announced, so nobody may have less."""
    assert getattr(Limits(**{name: floor}), name) == floor
    with pytest.raises(ValueError, match=name):
        Limits(**{name: floor - 1})


def test_a_window_has_room() -> None:
    """P-LIMIT-3: what is announced must be held, else an honest peer could fill it and be punished."""
    assert Limits(stream_bytes=2**25, max_held_charge=2**25).stream_bytes == 2**25
    with pytest.raises(ValueError, match="max_held_charge"):
        Limits(stream_bytes=2**25)
    wide = Hello(limits=Limits(stream_bytes=2**40, max_held_charge=2**40))
    assert Hello.from_frame(wide.to_frame()).limits.stream_bytes == 2**40


def test_the_early_profile() -> None:
    """P-CONN-2: frames of 64 KiB, 16 calls, 16 capabilities, 16 streams, a window of 1 item, 1 MiB of calls."""
    assert {name: getattr(EARLY, name) for name in FLOORS} == FLOORS


def test_a_hello_is_bounded() -> None:
    """P-FRAME-2: before the handshake is done a frame has at most 4 KiB."""
    assert HANDSHAKE_FRAME == 4096


def test_the_bounds_of_a_frame() -> None:
    """P-FRAME-4: the figures of the protocol are the defaults."""
    limits = Limits()
    assert (limits.max_depth, limits.max_items, limits.max_references) == (64, 65536, 1024)
