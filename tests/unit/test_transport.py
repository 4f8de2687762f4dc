"""What a transport is, and what is known of a peer by default."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from capnet.transport import HIGH_WATER, LOW_WATER, Attestation, Listener, Transport


def test_a_peer_is_a_stranger_until_something_is_proven() -> None:
    """No field says more than nothing by default."""
    stranger = Attestation()
    assert stranger.level == "untrusted"
    assert (stranger.transport, stranger.principal, stranger.origin, stranger.tls_subject) == ("", None, None, None)
    assert (stranger.uid, stranger.pid, stranger.grants) == (None, None, frozenset())
    assert (stranger.address, stranger.tls_key) == (None, None)


def test_what_was_proven_does_not_change() -> None:
    """Nobody raises a peer's level after the fact."""
    with pytest.raises(FrozenInstanceError):
        Attestation().level = "internal"  # type: ignore[misc]


def test_the_backlog_has_two_marks() -> None:
    """The lower one is far enough below that a sender is not woken for every chunk."""
    assert 0 < LOW_WATER <= HIGH_WATER // 2


@pytest.mark.parametrize("kind", [Transport, Listener])
def test_an_incomplete_transport_cannot_be_made(kind: type[object]) -> None:
    """Third parties learn of a missing method when they make one, not when it is first needed."""
    with pytest.raises(TypeError):
        type("Incomplete", (kind,), {})()


def test_a_transport_has_no_pump_by_default() -> None:
    """Only backends without callbacks need one."""
    assert vars(Transport)["pump"] is None
