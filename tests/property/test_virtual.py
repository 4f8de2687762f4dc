"""Virtual connections by chance: what two honest sides do is no violation, in whatever order it arrives; and of what a
peer says that is not, an engine takes each frame or names the clause."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from capnet.engine.channels import Channel
from capnet.engine.events import ChannelChanged, ChannelOpened
from capnet.engine.virtual import LONGEST_DATA
from capnet.errors import CapnetError, Unavailable
from capnet.limits import Limits
from capnet.testing.engines import EnginePair, EngineSide, RawPeer
from capnet.wire.frames import Op
from capnet.wire.hello import VIRTUAL, Hello

LIMITS = Limits(max_virtual_connections=3, max_strikes=10**6)
STEPS = 150


class Owner:
    """What one side has open, and what has been sent and taken on it, by the id of the opener and its name."""

    def __init__(self, side: EngineSide, chance: Random, books: dict[tuple[str, int], bytes]) -> None:
        self.side = side
        self.channels: list[Channel] = []
        self._chance = chance
        self._books = books
        """What has been sent to this side and was not taken."""
        self.taken = 0

    def notice(self) -> None:
        """What the peer has opened is ours to decide about; what has ended is closed here, when it was read."""
        for event in self.side.take(ChannelOpened):
            event.channel.token = "token"
            self.channels.append(event.channel)
        self.side.take(ChannelChanged)

    def act(self, other: Owner) -> None:
        """Do something that this side may do now."""
        virtual = self.side.engine.virtual
        choice = self._chance.randrange(8)
        if choice == 0 or not self.channels:
            self.channels.append(virtual.open({"n": len(self.channels)}, "token"))
            return
        channel = self._chance.choice(self.channels)
        if channel.id < 0 and not channel.accepted and self.side.engine.channels.has(channel) and choice < 4:
            virtual.accept(channel, virtual.acceptance(channel, {}))
        elif choice == 1:
            virtual.close(channel, Unavailable("enough") if self._chance.random() < 0.5 else None)
            self.channels.remove(channel)
        elif choice < 5 and channel.accepted and channel.open and channel.room:
            data = self._chance.randbytes(self._chance.randint(1, min(channel.room, LONGEST_DATA)))
            virtual.send(channel, data)
            other.expect(self.side.name if channel.id > 0 else other.side.name, abs(channel.id), data)
        elif channel.data:
            self.check(channel, bytes(virtual.take(channel)), other)
        elif channel.heard:
            virtual.close(channel)
            self.channels.remove(channel)

    def expect(self, opener: str, id: int, data: bytes) -> None:
        """So much more is under way to this side."""
        self._books[opener, id] = self._books.get((opener, id), b"") + data

    def check(self, channel: Channel, data: bytes, other: Owner) -> None:
        """What was taken is what was sent, in order."""
        key = (self.side.name if channel.id > 0 else other.side.name, abs(channel.id))
        assert self._books[key].startswith(data)
        self._books[key] = self._books[key][len(data) :]
        self.taken += len(data)


def play(seed: int) -> int:
    """Two honest sides, until both have closed everything; returns how many bytes have come."""
    chance = Random(seed)
    pair = EnginePair(*(Hello(name, LIMITS, (VIRTUAL,)) for name in ("left", "right"))).open()
    owners = [Owner(side, chance, {}) for side in pair.sides]
    for _ in range(STEPS):
        owner, other = owners if chance.random() < 0.5 else owners[::-1]
        owner.act(other)
        pair.step()
        if chance.random() < 0.4:
            side = chance.choice(pair.sides)
            pair.deliver(side, chance.choice((1, 10, 1000, None)))
        pair.now += chance.choice((0.0, 0.1))
        for each in owners:
            each.notice()
            assert not each.side.closed, each.side.engine.lifecycle.cause
    for _ in range(2):
        for owner in owners:
            for channel in owner.side.engine.channels:
                channel.token = "token"
            for channel in list(owner.side.engine.channels):
                owner.side.engine.virtual.close(channel)
        pair.flush()
    pair.finish()
    return sum(owner.taken for owner in owners)


@pytest.mark.parametrize("seeds", range(4))
def test_two_honest_sides(seeds: int) -> None:
    """P-VIRT-2, P-VIRT-3, P-VIRT-4: bytes come whole and in order, and what crosses is no violation."""
    assert sum(play(seed) for seed in range(seeds * 15, seeds * 15 + 15)) > 100_000


def said(chance: Random) -> list[Any]:
    """A frame about virtual connections, with ids that may be something."""
    id = chance.randint(1, 5)
    either = chance.choice((id, -id))
    match chance.randrange(7):
        case 0 | 1:
            return [Op.OPEN, id, chance.choice((1, 1000, 2**31 - 1)), *chance.choice(([], [{"n": 1}]))]
        case 2:
            return [Op.ACCEPT, -id, 1000]
        case 3:
            return [Op.REJECT, -id, "unavailable", "no"]
        case 4:
            return [Op.DATA, either, bytes(chance.choice((1, 100, 300_000)))]
        case 5:
            return [Op.CLOSE, either]
        case _:
            return [Op.ROOM, either, chance.choice((1, 2**31 - 1))]


def test_a_peer_that_says_anything() -> None:
    """P-VIRT-1 to P-VIRT-4, P-ERR-3: an engine is never at a loss, and keeps its invariants with each frame."""
    clauses: set[str | None] = set()
    for seed in range(300):
        chance = Random(seed)
        peer = RawPeer(Hello("engine", LIMITS, (VIRTUAL,)), greet=False)
        peer.say(Hello("raw", features=(VIRTUAL,)).to_frame())
        ours = [peer.engine.virtual.open({}, "token") for _ in range(2)]
        peer.collect()
        while peer.clause is None and len(peer.heard) < 40:
            peer.say(said(chance))
            for event in peer.take(ChannelOpened):
                ours.append(event.channel)
                if chance.random() < 0.7:
                    peer.engine.virtual.accept(event.channel, peer.engine.virtual.acceptance(event.channel, {}))
            if chance.random() < 0.3:
                peer.engine.virtual.close(chance.choice(ours))
            peer.engine.virtual.take(chance.choice(ours))
            peer.collect()
        clauses.add(peer.clause)
        if peer.clause is None:
            peer.engine.close("enough", 0, peer.now)
            with pytest.raises(CapnetError):
                peer.engine.virtual.open({}, None)
    assert clauses >= {"P-ID-1", "P-ID-4", "P-VIRT-2", "P-VIRT-3", "P-VIRT-4"}
