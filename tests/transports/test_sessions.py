"""Sessions in messages of a broker, without one: what arrives, how much is under way, and what ends them."""

from __future__ import annotations

from collections import deque
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capnet.errors import Unavailable
from capnet_transports.sessions import HEAD, HEAVY, Session

WINDOW = 16 * 1024


def opened(window: int = WINDOW, largest: int = 1 << 20) -> tuple[Session, Session]:
    """Two sides that have announced the same window."""
    sides = Session(window, largest), Session(window, largest)
    for side in sides:
        side.open(window)
    return sides


class Way:
    """From one side to the other, by way of a broker."""

    def __init__(self, sender: Session, receiver: Session) -> None:
        self.sender = sender
        self.receiver = receiver
        self.under_way: deque[bytes] = deque()
        self.sent = bytearray()
        self.seen = bytearray()

    def queue(self, data: bytes) -> None:
        self.sent += data
        self.sender.queue([data, b""])

    def leave(self) -> bool:
        messages = [*self.sender.messages()]
        self.under_way.extend(messages)
        return bool(messages)

    def arrive(self) -> bool:
        if not self.under_way:
            return False
        self.receiver.receive(self.under_way.popleft())
        return True

    def take(self) -> bool:
        data = self.receiver.take()
        self.seen += data or b""
        return data is not None

    @property
    def charge(self) -> int:
        return sum(len(message) - HEAD + HEAVY for message in self.under_way if message[:1] == b"d")


@given(
    st.integers(1024, 64 * 1024),
    st.integers(64, 100_000),
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 40_000)), max_size=30),
    st.integers(),
)
def test_all_arrives_in_order_within_the_window(
    window: int, largest: int, chunks: list[tuple[int, int]], seed: int
) -> None:
    """Both ways at once, whatever sizes there are, and however slowly it is taken."""
    one, other = opened(window, largest)
    ways = Way(one, other), Way(other, one)
    for at, (way, size) in enumerate(chunks):
        ways[way].queue(bytes([at % 251]) * size)
    chance = Random(seed)
    steps = [step for way in ways for step in (way.leave, way.arrive, way.take)]
    while any(step() for step in chance.sample(steps, len(steps))):
        assert all(way.charge <= window for way in ways)
        assert all(len(message) <= max(largest, HEAD + 8) for way in ways for message in way.under_way)
    assert [way.seen for way in ways] == [way.sent for way in ways]
    assert (one.backlog, other.backlog) == (0, 0)


def test_nothing_leaves_before_the_peer_is_there() -> None:
    session = Session(WINDOW, 1 << 20)
    session.queue([b"early"])
    assert not [*session.messages()] and session.backlog == 5
    session.open(WINDOW)
    assert [*session.messages()] == [b"d\0\0\0\0early"] and session.backlog == 0


def test_a_message_ends_where_chunks_end() -> None:
    """Unless one is larger than a message may be."""
    one, _ = opened(largest=HEAD + 10)
    one.queue([b"aaaa", b"bbbb", b"cccc", b"d" * 25])
    assert [message[HEAD:] for message in one.messages()] == [
        b"aaaabbbb", b"cccc", b"d" * 10, b"d" * 10, b"d" * 5,
    ]  # fmt: skip


def test_a_slow_receiver_holds_the_sender() -> None:
    one, other = opened()
    one.queue([bytes(10 * WINDOW)])
    before = [*one.messages()]
    assert 0 < one.backlog < 10 * WINDOW
    for message in before:
        other.receive(message)
    assert not [*one.messages()] and not [*other.messages()]
    taken = other.take()
    assert taken is not None
    while not other.owes:
        assert other.take() is not None
    for message in other.messages():
        one.receive(message)
    assert [*one.messages()]


def test_the_end() -> None:
    one, other = opened()
    one.queue([b"last words"])
    for message in [*one.messages(), one.last()]:
        other.receive(message)
    assert other.ended and other.take() == b"last words" and other.take() is None
    with pytest.raises(Unavailable) as caught:
        other.receive(one.last())
    assert caught.value.reason == "session"


def test_the_end_at_once() -> None:
    one, other = opened()
    one.queue([bytes(10 * WINDOW)])
    message = one.abort()
    assert one.backlog == 0
    with pytest.raises(Unavailable) as caught:
        other.receive(message)
    assert caught.value.reason == "truncated"


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_lost_message_ends_it(lost: int) -> None:
    one, other = opened(largest=HEAD + 10)
    one.queue([b"a" * 10, b"b" * 10, b"c" * 10, b"d" * 10])
    messages = [*one.messages()]
    del messages[lost]
    for message in messages[:lost]:
        other.receive(message)
    with pytest.raises(Unavailable) as caught:
        other.receive(messages[lost])
    assert caught.value.reason == "lost_message"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"", "lost_message"),
        (b"d\0\0\0", "lost_message"),
        (b"d\0\0\0\1again", "lost_message"),
        (b"x\0\0\0\0", "session"),
        (b"c\0\0\0\0", "session"),
        (b"c\0\0\0\0" + bytes(7), "session"),
        (b"c\0\0\0\0" + b"\xff" * 8, "session"),
        (b"d\0\0\0\0" + bytes(WINDOW), "session"),
    ],
)
def test_what_no_honest_peer_says(message: bytes, reason: str) -> None:
    one, _ = opened()
    with pytest.raises(Unavailable) as caught:
        one.receive(message)
    assert caught.value.reason == reason


def test_credit_is_not_taken_back() -> None:
    one, other = opened()
    one.queue([bytes(WINDOW)])
    for message in one.messages():
        other.receive(message)
    while other.take() is not None:
        pass
    (credit,) = other.messages()
    one.receive(credit)
    with pytest.raises(Unavailable):
        one.receive(b"c" + (1).to_bytes(4, "big") + bytes(8))


def test_a_flood_of_short_messages_is_bounded() -> None:
    """Each takes of the window what it takes here."""
    one, _ = opened()
    most = WINDOW // (HEAVY + 1)
    for number in range(most):
        one.receive(b"d" + number.to_bytes(4, "big") + b"x")
    with pytest.raises(Unavailable) as caught:
        one.receive(b"d" + most.to_bytes(4, "big") + b"x")
    assert caught.value.reason == "session"
