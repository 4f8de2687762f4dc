"""Handshake: two hellos, sent without waiting, and what follows from them (P-CONN-1, P-CONN-2)."""

from __future__ import annotations

import pytest

from capnet.engine.events import CallArrived, Closed, PeerIntroduced
from capnet.engine.lifecycle import State
from capnet.errors import InvalidArgument
from capnet.limits import Limits
from capnet.testing.engines import EnginePair, RawPeer
from capnet.wire.hello import Hello


def test_each_side_learns_who_the_other_is() -> None:
    """P-CONN-1: name, limits, features and auth of the hello reach the driver, with the version in use."""
    limits = Limits(max_calls=32, max_caps=99, max_frame=70_000)
    pair = EnginePair(Hello("ada", limits, ("streams",), {"token": "t"}), Hello("grace"))
    pair.flush()
    (introduced,) = pair.right.take(PeerIntroduced)
    hello = introduced.hello
    assert (hello.name, hello.features, hello.auth) == ("ada", ("streams",), {"token": "t"})
    assert introduced.version == 1
    engine = pair.right.engine
    assert (engine.outbox.limit, engine.calls.limit, engine.exports.limit) == (70_000, 32, 99)
    assert pair.left.engine.lifecycle.state is engine.lifecycle.state is State.OPEN
    pair.finish()


def test_a_sender_keeps_to_the_smaller_of_both_bounds() -> None:
    """P-CONN-2: what the peer announced is cut to what this side is willing to send and to hold."""
    pair = EnginePair(Hello(limits=Limits(max_frame=80_000, max_caps=20)), Hello()).open()
    assert (pair.left.engine.outbox.limit, pair.left.engine.exports.limit) == (80_000, 20)
    assert pair.right.engine.outbox.limit == 80_000
    pair.finish()


def test_hellos_cross_one_byte_at_a_time() -> None:
    """P-FRAME-1: the handshake does not depend on how the stream is cut."""
    pair = EnginePair()
    pair.step()
    while pair.left.incoming.waiting or pair.right.incoming.waiting:
        pair.deliver(pair.left, 1)
        pair.deliver(pair.right, 1)
    assert pair.left.take(PeerIntroduced) and pair.right.take(PeerIntroduced)
    pair.finish()


def test_no_common_version_ends_both_sides() -> None:
    """P-CONN-1: without a version that both speak, both end with that clause."""
    pair = EnginePair(Hello(), Hello(versions=(2, 3)))
    pair.flush()
    for side in pair.sides:
        (closed,) = side.take(Closed)
        assert (closed.cause.kind, closed.cause.clause) == ("violation", "P-CONN-1")


def test_the_highest_common_version_is_used() -> None:
    """P-CONN-1: of several versions the highest that both speak is in use."""
    pair = EnginePair(Hello(versions=(1, 4)), Hello(versions=(2, 3)))
    pair.flush()
    assert [side.take(PeerIntroduced)[0].version for side in pair.sides] == [3, 3]
    pair.finish()


def test_silence_instead_of_a_hello_closes() -> None:
    """P-CONN-3: a side that has not greeted within `handshake_timeout` is not waited for."""
    pair = EnginePair(Hello(limits=Limits(handshake_timeout=2.0)))
    pair.advance(1.9)
    assert not pair.left.closed
    pair.advance(0.1)
    (closed,) = pair.left.take(Closed)
    assert closed.cause.clause == "P-CONN-3"


def test_a_hello_that_no_peer_could_take_is_refused_here() -> None:
    """P-FRAME-2: a hello over 4 KiB is a local error, not a violation on the wire."""
    with pytest.raises(InvalidArgument):
        EnginePair(Hello(auth="x" * 5000))


def test_fault_55_there_is_one_hello_and_it_comes_first() -> None:
    """Fault 55: the ancestor took calls before the hello and a second hello, and negotiated nothing.

    Here both are violations of P-CONN-1, and versions without overlap as well.
    """
    hello = Hello("raw").to_frame()
    raw = RawPeer()
    assert raw.say(hello)[-1][:2] == [16, "P-CONN-1"] and raw.clause == "P-CONN-1"
    stranger = RawPeer(greet=False)
    stranger.say([2, 1, 0, "m", {}], hello)
    assert stranger.clause == "P-CONN-1" and not stranger.take(CallArrived)
    other = RawPeer(greet=False)
    other.say([0, "capnet", [2, 9], {}])
    assert other.clause == "P-CONN-1"
