"""Virtual connections: what two engines make of them (P-VIRT)."""

from __future__ import annotations

from typing import Any

import pytest

from capnet.engine.channels import CHANNEL_WINDOW, Channel
from capnet.engine.events import ChannelChanged, ChannelOpened, Closed
from capnet.engine.inspect import snapshot, stats
from capnet.engine.virtual import LONGEST_DATA
from capnet.errors import FailedPrecondition, InvalidArgument, PermissionDenied, Unavailable
from capnet.limits import Limits
from capnet.testing.engines import EnginePair, EngineSide
from capnet.wire.hello import VIRTUAL, Hello


def agreed(limits: Limits | None = None) -> EnginePair:
    """Two sides that know of virtual connections."""
    hellos = (Hello(name, limits or Limits(), (VIRTUAL,)) for name in ("left", "right"))
    return EnginePair(*hellos).open()


def opened(pair: EnginePair, metadata: dict[str, Any] | None = None) -> tuple[Channel, Channel]:
    """One that the left side has opened, which waits at the right: both ends."""
    ours = pair.left.engine.virtual.open(metadata or {}, "opener")
    pair.flush()
    (event,) = pair.right.take(ChannelOpened)
    event.channel.token = "accepter"
    return ours, event.channel


def accepted(pair: EnginePair) -> tuple[Channel, Channel]:
    """One that both sides may use."""
    ours, theirs = opened(pair)
    accept(pair.right, theirs)
    pair.flush()
    pair.left.take(ChannelChanged)
    return ours, theirs


def accept(side: EngineSide, channel: Channel, metadata: dict[str, Any] | None = None) -> None:
    """Take what the peer has opened."""
    side.engine.virtual.accept(channel, side.engine.virtual.acceptance(channel, metadata or {}))


def test_it_is_opened_and_accepted_with_words_both_ways() -> None:
    """P-VIRT-1, P-VIRT-2, P-ID-2: each side is told what the other says of it; the opener's id is negative there."""
    pair = agreed()
    ours, theirs = opened(pair, {"tenant": "blue"})
    assert (ours.id, theirs.id, theirs.said) == (1, -1, {"tenant": "blue"})
    assert (ours.accepted, ours.room) == (False, 0)
    accept(pair.right, theirs, {"region": "north"})
    pair.flush()
    assert [event.channel for event in pair.left.take(ChannelChanged)] == [ours]
    assert ours.accepted and ours.said == {"region": "north"}
    assert ours.room == theirs.room == CHANNEL_WINDOW
    shown = snapshot(pair.left.engine)["virtual_connections"]
    assert shown == [{"id": 1, "accepted": True, "room": CHANNEL_WINDOW, "waiting": 0, "ending": False}]
    assert stats(pair.right.engine)["virtual_connections"] == 1
    assert opened(pair)[0].said == {}


def test_it_is_refused() -> None:
    """P-VIRT-2: with a reason and what else there is to know, and is gone on both sides."""
    pair = agreed()
    ours, theirs = opened(pair)
    pair.right.engine.virtual.close(theirs, PermissionDenied("no", reason="refused", details={"ask": "me"}))
    pair.flush()
    assert pair.left.take(ChannelChanged)
    assert isinstance(ours.error, PermissionDenied) and ours.error.reason == "refused"
    assert ours.error.details["ask"] == "me"
    ours, theirs = opened(pair)
    pair.right.engine.virtual.close(theirs)
    pair.right.engine.virtual.close(theirs)
    accept(pair.right, theirs)
    pair.flush()
    assert ours.error is not None and ours.error.reason == "refused"
    pair.finish()


def test_the_opener_gives_up_before_it_is_answered() -> None:
    """P-VIRT-2, P-VIRT-4: whatever the answer is that crosses this, it is no violation."""
    for answer in ("accept", "refuse", "neither"):
        pair = agreed()
        ours, theirs = opened(pair)
        pair.left.engine.virtual.close(ours)
        if answer == "accept":
            accept(pair.right, theirs)
        elif answer == "refuse":
            pair.right.engine.virtual.close(theirs, Unavailable("no"))
        pair.flush()
        assert theirs.heard or answer == "refuse"
        if answer == "neither":
            assert pair.right.take(ChannelChanged)
            accept(pair.right, theirs)
        pair.right.engine.virtual.close(theirs)
        pair.finish()


def test_bytes_flow_as_far_as_there_is_room() -> None:
    """P-VIRT-3: room comes back for what was taken, when that is half of what there was at first."""
    pair = agreed()
    ours, theirs = accepted(pair)
    piece = bytes(LONGEST_DATA)
    for _ in range(CHANNEL_WINDOW // LONGEST_DATA):
        pair.left.engine.virtual.send(ours, piece)
    pair.flush()
    assert ours.room == 0 and len(theirs.data) == CHANNEL_WINDOW == pair.right.engine.held_charge.used
    assert pair.right.take(ChannelChanged)
    assert pair.right.engine.virtual.take(theirs) == bytes(CHANNEL_WINDOW)
    assert pair.right.engine.virtual.take(theirs) == b""
    pair.flush()
    assert ours.room == CHANNEL_WINDOW and pair.left.take(ChannelChanged)
    pair.left.engine.virtual.send(ours, b"a")
    pair.flush()
    assert pair.right.engine.virtual.take(theirs) == b"a"
    pair.flush()
    assert ours.room == CHANNEL_WINDOW - 1 and theirs.owed == 1
    pair.right.engine.virtual.send(theirs, b"other way")
    pair.flush()
    assert pair.left.engine.virtual.take(ours) == b"other way"
    pair.left.engine.virtual.close(ours)
    pair.flush()
    pair.right.engine.virtual.close(theirs)
    pair.finish()


def test_what_came_before_the_last_word_is_there() -> None:
    """P-VIRT-4: it is used first; what crosses the close of its receiver is let go of."""
    pair = agreed()
    ours, theirs = accepted(pair)
    pair.left.engine.virtual.send(ours, b"last words")
    pair.left.engine.virtual.close(ours, Unavailable("gone", reason="lost"))
    pair.right.engine.virtual.send(theirs, b"crosses")
    pair.flush()
    assert theirs.heard and theirs.error is not None and theirs.error.reason == "lost"
    assert not ours.data and not ours.heard
    assert pair.right.engine.virtual.take(theirs) == b"last words"
    pair.right.engine.virtual.close(theirs)
    pair.finish()


def test_both_close_at_once() -> None:
    """P-VIRT-4: crossing frames are no violation, room among them."""
    pair = agreed()
    ours, theirs = accepted(pair)
    for _ in range(CHANNEL_WINDOW // LONGEST_DATA // 2):
        pair.left.engine.virtual.send(ours, bytes(LONGEST_DATA))
    pair.flush()
    pair.left.engine.virtual.close(ours)
    pair.right.engine.virtual.take(theirs)
    pair.right.engine.virtual.close(theirs)
    pair.finish()
    assert not (pair.left.take(ChannelChanged) and ours.data)


def test_what_was_not_taken_is_let_go_of() -> None:
    """P-VIRT-4: with the close of its receiver, and it takes up nothing any more."""
    pair = agreed()
    ours, theirs = accepted(pair)
    pair.left.engine.virtual.send(ours, b"unread")
    pair.flush()
    pair.right.engine.virtual.close(theirs)
    assert pair.right.engine.held_charge.used == 0
    pair.flush()
    pair.left.engine.virtual.close(ours)
    pair.finish()


def test_there_are_no_more_than_the_accepter_takes() -> None:
    """P-VIRT-5: the next one is refused, and costs a strike; one that has ended makes room."""
    pair = agreed(Limits(max_virtual_connections=2))
    first, _ = accepted(pair)
    opened(pair)
    third = pair.left.engine.virtual.open({}, "third")
    pair.flush()
    assert third.error is not None and (third.error.code, third.error.reason) == (
        "resource_exhausted",
        "max_virtual_connections",
    )
    assert stats(pair.right.engine)["strikes"] == 1
    theirs = next(iter(pair.right.engine.channels))
    pair.left.engine.virtual.close(first)
    pair.flush()
    pair.right.engine.virtual.close(theirs)
    pair.flush()
    opened(pair)
    pair.right.engine.virtual.open({}, "the other way, they are counted for each side")
    pair.flush()
    assert pair.left.take(ChannelOpened)


def test_what_nobody_has_room_for_ends_the_channel() -> None:
    """P-VIRT-3: not the connection, and nothing else on it."""
    pair = agreed(Limits(max_held_charge=1024, stream_bytes=1024))
    ours, theirs = accepted(pair)
    for _ in range(2):
        pair.left.engine.virtual.send(ours, bytes(1000))
    pair.flush()
    assert theirs.left and theirs.error is not None and theirs.error.reason == "max_held_charge"
    assert ours.error is not None and ours.error.reason == "max_held_charge"
    pair.left.engine.virtual.close(ours)
    assert theirs.error.reason == "max_held_charge"
    pair.finish()


def test_goaway_waits_for_channels_and_takes_no_new_ones() -> None:
    """P-CONN-4, P-VIRT-2: an open that crosses it is refused; when the last has ended, so has all."""
    pair = agreed()
    ours, theirs = accepted(pair)
    crossing = pair.right.engine.virtual.open({}, "crossing")
    pair.left.engine.close("restart", 5.0, pair.now)
    pair.flush()
    assert crossing.error is not None and crossing.error.reason == "peer_closing"
    assert not pair.left.closed and not pair.right.closed
    for side in pair.sides:
        with pytest.raises(Unavailable):
            side.engine.virtual.open({}, None)
    pair.left.engine.virtual.close(ours)
    pair.flush()
    pair.right.engine.virtual.close(theirs)
    pair.flush()
    assert all(side.closed for side in pair.sides)


@pytest.mark.parametrize("how", ["cut", "grace"])
def test_they_end_with_the_connection(how: str) -> None:
    """P-CONN-6, P-VIRT-4: each is told why, and everything said afterwards does nothing."""
    pair = agreed()
    ours, theirs = accepted(pair)
    silent = pair.left.engine.virtual.open({}, None)
    pair.left.engine.virtual.send(ours, b"unread")
    pair.flush()
    pair.right.take(ChannelChanged)
    if how == "cut":
        pair.cut()
    else:
        pair.left.engine.close("restart", 1.0, pair.now)
        pair.flush()
        pair.advance(30)
    for side, channel in ((pair.left, ours), (pair.right, theirs)):
        assert [event.channel for event in side.take(ChannelChanged)] == [channel]
        assert isinstance(channel.error, Unavailable) and isinstance(side.last, Closed)
        side.engine.virtual.close(channel)
        assert stats(side.engine)["virtual_connections"] == 0
    assert silent.error is not None
    pair.right.engine.virtual.take(theirs)
    assert pair.right.engine.held_charge.used == 0
    with pytest.raises(Unavailable):
        pair.left.engine.virtual.open({}, None)


def test_one_that_was_closed_already_is_not_told_of_the_end() -> None:
    """P-VIRT-4: the peer has said its last word before."""
    pair = agreed()
    ours, _ = accepted(pair)
    pair.left.engine.virtual.close(ours)
    pair.flush()
    assert pair.right.take(ChannelChanged)
    pair.cut()
    assert not pair.right.take(ChannelChanged)


def test_a_peer_that_does_not_know_of_them_is_not_asked() -> None:
    """P-VIRT-1: the hellos say so."""
    pair = EnginePair(Hello("left", features=(VIRTUAL,))).open()
    for side in pair.sides:
        with pytest.raises(FailedPrecondition) as caught:
            side.engine.virtual.open({}, None)
        assert caught.value.reason == "no_virtual_connections"


def test_metadata_is_short() -> None:
    """P-VIRT-1, P-VIRT-2: 4096 bytes with the rest of the frame; nothing has changed when it is longer."""
    pair = agreed()
    with pytest.raises(InvalidArgument):
        pair.left.engine.virtual.open({"m": "x" * 4096}, None)
    ours, theirs = opened(pair, {"m": "x" * 4000})
    assert ours.id == 1
    with pytest.raises(InvalidArgument):
        pair.right.engine.virtual.acceptance(theirs, {"m": "x" * 4096})
    accept(pair.right, theirs, {"m": "x" * 4000})
    pair.flush()
    assert ours.accepted
