"""`Calls`: what we asked and are not answered yet."""

from __future__ import annotations

import pytest

from capnet.engine.calls import Call, Calls
from capnet.engine.imports import Import
from capnet.errors import ProtocolViolation

TARGET = Import(0, "capnet.Bootstrap", 1)


def sent(calls: Calls) -> Call:
    """A call whose frame is on its way."""
    call = Call(calls.next_id(), TARGET, "token")
    calls.sent(call)
    calls.check_invariants()
    return call


def test_ids_go_upwards() -> None:
    """P-ID-1: each id is used once."""
    calls = Calls()
    assert [calls.next_id() for _ in range(3)] == [1, 2, 3]


def test_an_answered_call_is_out() -> None:
    """P-CALL-1, P-ID-4: once; a second answer and one without a call have clauses of their own."""
    calls = Calls()
    call = sent(calls)
    assert calls.find(1) is call and list(calls) == [call]
    assert calls.answered(1) is call and len(calls) == 0 and calls.find(1) is None
    for id, clause in [(1, "P-CALL-1"), (2, "P-ID-4")]:
        with pytest.raises(ProtocolViolation) as raised:
            calls.answered(id)
        assert raised.value.clause == clause


def test_one_way_calls_are_not_kept() -> None:
    """P-OP, P-CALL-7: nothing will answer id 0; each takes of what the peer has room for."""
    calls = Calls()
    calls.limit = calls.one_way_room = calls.max_charge = 1
    note = Call(0, TARGET, None)
    assert calls.has_room_for(note)
    calls.sent(note)
    assert len(calls) == 0 and not calls.has_room_for(note)
    asks = Call(calls.next_id(), TARGET, "token")
    assert calls.has_room_for(asks)
    calls.sent(asks)
    assert not calls.has_room_for(asks)


def test_unseen_calls_stay() -> None:
    """P-CONN-4: a peer that goes away may still refuse what it has not seen."""
    calls = Calls()
    first, second = sent(calls), sent(calls)
    assert calls.unseen(1) == [second] and list(calls) == [first, second]


def test_clear_takes_sent_and_held_ones() -> None:
    """P-CONN-6: oldest first; a held one has no frame any more, so cancelling it later does nothing."""
    calls = Calls()
    first = sent(calls)
    held = Call(calls.next_id(), TARGET, "held")
    held.frame = frame = b"frame"
    calls.hold(held, 0.0)
    calls.check_invariants()
    assert calls.clear() == [(first, True), (held, False)]
    assert held.frame is not frame and (len(calls), calls.waiting) == (0, 0)
