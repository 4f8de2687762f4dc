"""`Virtual` and `Channels`: a peer that says of virtual connections what it may not."""

from __future__ import annotations

from typing import Any

import pytest

from capnet.engine.channels import CHANNEL_WINDOW, Channel
from capnet.engine.events import ChannelChanged, ChannelOpened, LimitReached
from capnet.engine.ledger import Ledger
from capnet.limits import Limits
from capnet.testing.engines import RawPeer
from capnet.wire.frames import Op
from capnet.wire.hello import VIRTUAL, Hello
from capnet.wire.references import MAX_CREDIT, CapRef


def knowing(limits: Limits | None = None, whole: Ledger | None = None) -> RawPeer:
    """An engine, and a peer that knows of virtual connections as it does."""
    peer = RawPeer(Hello("engine", limits or Limits(), (VIRTUAL,)), greet=False, whole=whole)
    peer.say(Hello("raw", features=(VIRTUAL,)).to_frame())
    return peer


def opened(peer: RawPeer, id: int = 1, *, accept: bool = True) -> Channel:
    """The peer opens one."""
    peer.say([Op.OPEN, id, 1000])
    channel = peer.take(ChannelOpened)[-1].channel
    if accept:
        peer.engine.virtual.accept(channel, peer.engine.virtual.acceptance(channel, {}))
        assert peer.collect() == [[Op.ACCEPT, -id, CHANNEL_WINDOW]]
    return channel


@pytest.mark.parametrize("op", [Op.OPEN, Op.ACCEPT, Op.REJECT, Op.DATA, Op.CLOSE, Op.ROOM])
def test_nothing_of_it_is_taken_that_was_not_agreed(op: int) -> None:
    """P-VIRT-1: whichever of the two hellos does not name the feature."""
    rest: dict[int, list[Any]] = {
        Op.OPEN: [1, 1],
        Op.ACCEPT: [-1, 1],
        Op.REJECT: [-1, "internal", ""],
        Op.DATA: [1, b"x"],
        Op.CLOSE: [1],
        Op.ROOM: [1, 1],
    }
    peer = RawPeer()
    peer.say([op, *rest[op]])
    assert peer.clause == "P-VIRT-1"
    peer = RawPeer(Hello("engine", features=(VIRTUAL,)))
    peer.say([op, *rest[op]])
    assert peer.clause == "P-VIRT-1"


VIOLATIONS: dict[str, tuple[list[list[Any]], str]] = {
    "an id again": ([[Op.OPEN, 5, 1]], "P-ID-1"),
    "a lower id": ([[Op.OPEN, 4, 1]], "P-ID-1"),
    "long metadata": ([[Op.OPEN, 6, 1, {"m": "x" * 4096}]], "P-VIRT-1"),
    "a reference": ([[Op.OPEN, 6, 1, {"m": CapRef("a", 1, None, 2)}]], "P-REF"),
    "data, never opened": ([[Op.DATA, 6, b"x"]], "P-ID-4"),
    "close, never opened": ([[Op.CLOSE, 6]], "P-ID-4"),
    "room, never opened": ([[Op.ROOM, -2, 1]], "P-ID-4"),
    "accept, never opened": ([[Op.ACCEPT, -2, 1]], "P-ID-4"),
    "reject, never opened": ([[Op.REJECT, -2, "internal", ""]], "P-ID-4"),
    "more than there is room for": ([[Op.DATA, 5, bytes(CHANNEL_WINDOW + 1)]], "P-VIRT-3"),
    "more, bit by bit": ([[Op.DATA, 5, bytes(CHANNEL_WINDOW)], [Op.DATA, 5, b"x"]], "P-VIRT-3"),
    "too much room": ([[Op.ROOM, 5, MAX_CREDIT]], "P-VIRT-3"),
    "data behind the last word": ([[Op.CLOSE, 5], [Op.DATA, 5, b"x"]], "P-VIRT-4"),
    "room behind the last word": ([[Op.CLOSE, 5], [Op.ROOM, 5, 1]], "P-VIRT-4"),
    "data of one left out": ([[Op.DATA, 3, b"x"]], "P-VIRT-4"),
    "data before it is accepted": ([[Op.OPEN, 6, 1], [Op.DATA, 6, b"x"]], "P-VIRT-2"),
    "room before it is accepted": ([[Op.OPEN, 6, 1], [Op.ROOM, 6, 1]], "P-VIRT-2"),
    "data where it has accepted nothing": ([[Op.DATA, -1, b"x"]], "P-VIRT-2"),
    "close where it has accepted nothing": ([[Op.CLOSE, -1]], "P-VIRT-2"),
    "accepted twice": ([[Op.ACCEPT, -1, 1], [Op.ACCEPT, -1, 1]], "P-VIRT-2"),
    "accepted at length": ([[Op.ACCEPT, -1, 1, {"m": "x" * 4096}]], "P-VIRT-1"),
    "refused after it was accepted": ([[Op.ACCEPT, -1, 1], [Op.REJECT, -1, "internal", ""]], "P-VIRT-2"),
    "accepted after it was refused": ([[Op.REJECT, -1, "internal", ""], [Op.ACCEPT, -1, 1]], "P-VIRT-4"),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_what_no_honest_peer_says(name: str) -> None:
    """P-VIRT-1, P-VIRT-2, P-VIRT-3, P-VIRT-4: it has opened 5, and the engine 1, which it has not answered."""
    frames, clause = VIOLATIONS[name]
    peer = knowing()
    opened(peer, 5)
    peer.engine.virtual.open({}, "ours")
    peer.collect()
    peer.say(*frames)
    assert peer.clause == clause


def test_a_flood_of_opens() -> None:
    """P-VIRT-5, P-LIMIT-1: those above the bound cost a strike each, and too many of these the connection."""
    peer = knowing(Limits(max_virtual_connections=4, max_strikes=10))
    replies = peer.say(*([Op.OPEN, id, 1] for id in range(1, 15)))
    assert [(reply[0], reply[2], reply[4]["reason"]) for reply in replies] == [
        (Op.REJECT, "resource_exhausted", "max_virtual_connections")
    ] * 10
    assert len(peer.engine.channels) == 4 and len(peer.take(ChannelOpened)) == 4
    assert [event.reason for event in peer.take(LimitReached)] == ["max_virtual_connections"] * 10
    peer.say([Op.OPEN, 15, 1])
    assert peer.clause == "P-LIMIT-1"


def test_a_flood_of_opens_that_are_refused() -> None:
    """P-VIRT-2, P-LIMIT-4: they cost the peer nothing, so there is a bound in time."""
    peer = knowing()
    id = 0
    while peer.clause is None and id < 1100:
        id += 1
        peer.say([Op.OPEN, id, 1])
        for event in peer.take(ChannelOpened):
            peer.engine.virtual.close(event.channel)
        peer.collect()
    assert peer.clause == "P-LIMIT-4" and id == 1002, "the last is counted with the next"


def test_connections_that_come_and_go() -> None:
    """P-LIMIT-5: each takes its time, so that nothing is read for a while from who opens very many; it is no breach."""
    peer = knowing()
    for id in range(1, 500):
        channel = opened(peer, id)
        peer.engine.virtual.close(channel)
        peer.say([Op.CLOSE, id])
    assert peer.engine.rest(peer.now) > 0.5 and peer.clause is None and not peer.engine.channels


def test_a_flood_of_closes() -> None:
    """P-VIRT-4, P-LIMIT-4: a second close says nothing; a thousand do."""
    peer = knowing()
    opened(peer)
    assert peer.say(*[[Op.CLOSE, 1]] * 1001) == [] and peer.clause is None
    channel = next(iter(peer.engine.channels))
    peer.engine.virtual.close(channel)
    assert peer.collect() == [[Op.CLOSE, -1]]
    peer.say([Op.CLOSE, 1])
    assert peer.clause == "P-LIMIT-4"


def test_data_for_what_we_have_closed_is_let_go_of() -> None:
    """P-VIRT-4: as far as there was room for it, and nothing is held."""
    peer = knowing()
    channel = opened(peer)
    peer.engine.virtual.close(channel)
    peer.collect()
    assert peer.say([Op.DATA, 1, bytes(CHANNEL_WINDOW)]) == [] and peer.engine.held_charge.used == 0
    assert peer.say([Op.ROOM, 1, 1]) == [] and peer.clause is None
    assert len(peer.engine.channels) == 1, "its last word is to come"
    peer.say([Op.DATA, 1, b"x"])
    assert peer.clause == "P-VIRT-3"


def test_small_pieces_take_up_no_more_than_their_bytes() -> None:
    """P-VIRT-3: a frame for each byte is no way to have more kept."""
    peer = knowing()
    channel = opened(peer)
    channel.token = "token"
    for _ in range(100):
        peer.say(*[[Op.DATA, 1, b"x"]] * 100)
    assert peer.engine.held_charge.used == len(channel.data) == 10_000
    assert channel.data.__sizeof__() < 20_000
    assert len(peer.take(ChannelChanged)) == 10_000


def test_a_crowded_host() -> None:
    """P-VIRT-3: what it has no room for ends the channel, and for another reason than a bound of the connection's."""
    whole = Ledger(100)
    peer = knowing(whole=whole)
    channel = opened(peer)
    whole.add(90)
    (reply,) = peer.say([Op.DATA, 1, bytes(50)])
    assert reply[:3] == [Op.CLOSE, -1, "resource_exhausted"] and reply[4]["reason"] == "max_host_charge"
    assert channel.error is not None and [event.reason for event in peer.take(LimitReached)] == ["max_host_charge"]


def test_what_they_hold_is_counted_once() -> None:
    """P-VIRT-5: there is one sum for all inside of a connection, made when it is first needed."""
    channels = knowing().engine.channels
    assert channels.charge(10, None) is channels.charge(10, None)
    assert channels.charge(10, None).limit == 10
