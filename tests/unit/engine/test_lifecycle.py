"""`Lifecycle`: the states and the moves between them."""

from __future__ import annotations

from itertools import product

import pytest

from capnet.engine.lifecycle import CloseCause, Lifecycle, State
from capnet.errors import NotRun, Unauthenticated, Unavailable

ALLOWED = {
    (State.OPENING, State.OPEN), (State.OPENING, State.DRAINING), (State.OPENING, State.CLOSED),
    (State.OPEN, State.DRAINING), (State.OPEN, State.CLOSED), (State.DRAINING, State.CLOSED),
}  # fmt: skip


@pytest.mark.parametrize(("before", "after"), list(product(State, State)))
def test_only_forward_moves_are_possible(before: State, after: State) -> None:
    """P-CONN-4: nothing leads back, and nothing out of `closed`."""
    lifecycle = Lifecycle()
    lifecycle.state = before
    if (before, after) in ALLOWED:
        lifecycle.move(after)
        assert lifecycle.state is after
    else:
        with pytest.raises(AssertionError):
            lifecycle.move(after)
        assert lifecycle.state is before


def test_calls_may_start_until_the_drain() -> None:
    """P-CONN-2, P-CONN-4: while opening and open."""
    lifecycle = Lifecycle()
    accepts = [lifecycle.accepts_calls]
    for state in (State.OPEN, State.DRAINING, State.CLOSED):
        lifecycle.move(state)
        accepts.append(lifecycle.accepts_calls)
    assert accepts == [True, True, False, False] and lifecycle.closed


def test_the_first_cause_stays_unless_a_clause_was_broken() -> None:
    """P-CONN-4, P-ERR-3: why it ends is why it began to end; a violation while draining is worth more."""
    bye, lost, broken = CloseCause("remote", "bye"), CloseCause("lost"), CloseCause("violation", "x", "P-OP")
    for end, expected in [(lost, bye), (broken, broken), (None, bye)]:
        lifecycle = Lifecycle()
        lifecycle.move(State.DRAINING, bye)
        lifecycle.move(State.CLOSED, end)
        assert lifecycle.cause is expected


@pytest.mark.parametrize(
    ("cause", "reason", "retry"),
    [
        (CloseCause("local", "bye"), "peer_closing", None),
        (CloseCause("remote", "bye"), "goaway", "transparent"),
        (CloseCause("lost"), "connection_lost", None),
        (CloseCause("violation", "x", "P-OP"), "connection_lost", None),
        (CloseCause("idle"), "connection_lost", None),
    ],
    ids=lambda value: str(value),
)
def test_what_waiting_calls_raise(cause: CloseCause, reason: str, retry: str | None) -> None:
    """P-CONN-4, P-ERR-1: always `unavailable`; only a goaway is surely safe to try elsewhere."""
    error = cause.error()
    assert isinstance(error, Unavailable)
    assert (error.reason, error.retry) == (reason, retry)


def test_a_cause_in_words() -> None:
    """Kind, clause and message, as far as there are any."""
    assert str(CloseCause("violation", "why", "P-OP")) == "violation: P-OP: why"
    assert str(CloseCause("idle")) == "idle"


@pytest.mark.parametrize("cause", [CloseCause("local"), CloseCause("remote"), CloseCause("lost"), CloseCause("idle")])
def test_a_call_that_was_not_seen_has_not_run(cause: CloseCause) -> None:
    """P-CONN-4: however the connection ended. Who may not be where it is hears that, all the same."""
    error = cause.error(seen=False)
    assert (type(error), error.retry) == (NotRun, "transparent") and error.reason == cause.error().reason
    refused = CloseCause(cause.kind, code="unauthenticated")
    assert type(refused.error(seen=False)) is Unauthenticated
