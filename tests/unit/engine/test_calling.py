"""`Calling`: calls of ours until they are answered, and answers that are kept for us. Held ones: tests/scenarios."""

from __future__ import annotations

from typing import Any

import pytest

from capnet.engine.calls import Call, Pipelined, Target
from capnet.engine.events import CallFailed, CallReturned
from capnet.errors import (
    CallCancelled,
    CapnetError,
    InvalidArgument,
    NotFound,
    ProtocolViolation,
    ResourceExhausted,
    Revoked,
    Unavailable,
)
from capnet.limits import Limits
from capnet.testing.engines import RawPeer, capability, promised, stream_out
from capnet.wire.hello import Hello


def made(raw: RawPeer, method: str = "m", **options: Any) -> Call:
    """A call on the bootstrap capability."""
    return raw.engine.call(raw.engine.imports.bootstrap, method, {}, (), method, may_keep=True, **options)


class TestFrames:
    """What a call looks like on the wire (P-OP)."""

    @pytest.mark.parametrize(
        ("options", "meta"),
        [
            ({}, []),
            ({"timeout": 1.5}, [{"deadline": 1500}]),
            ({"timeout": -3.0}, [{"deadline": 0}]),
            ({"timeout": 0.0001}, [{"deadline": 1}]),
            ({"timeout": float("inf")}, [{"deadline": 10**12}]),
            ({"context": {"k": "v"}}, [{"context": {"k": "v"}}]),
            ({"context": {}}, []),
        ],
        ids=str,
    )
    def test_meta_is_there_when_there_is_any(self, options: dict[str, Any], meta: list[Any]) -> None:
        """P-CALL-4, P-CALL-5: milliseconds that are left, rounded up; `keep` joins what is there."""
        for keep in (False, True):
            raw = RawPeer()
            call = made(raw, **options)
            if keep:
                assert raw.engine.calling.keep(call)
                meta = [{**(meta[0] if meta else {}), "keep": True}]
            assert raw.collect() == [[2, 1, 0, "m", {}, *meta]]

    @pytest.mark.parametrize("context", [{str(key): "" for key in range(17)}, {"k": "v" * 8193}, {"k": 1}], ids=len)
    def test_a_context_that_no_peer_takes_is_refused_here(self, context: Any) -> None:
        """P-CALL-4: the call fails, and nothing is sent."""
        raw = RawPeer()
        with pytest.raises(InvalidArgument) as caught:
            made(raw, context=context)
        assert caught.value.reason == "max_context"
        assert raw.collect() == [] and not raw.engine.calls.by_id

    def test_a_promise_as_a_target(self) -> None:
        """P-CALL-8: call id and path."""
        raw = RawPeer()
        call = made(raw)
        raw.engine.calling.keep(call)
        raw.engine.call(Pipelined(call, ("a", 0), "test.Thing", 1), "use", {"x": (x := promised(call, 1))}, [x], "use")
        frames = raw.collect()
        assert frames[1][:4] == [2, 2, [1, "a", 0], "use"] and frames[1][4]["x"].content() == [1, 1]

    def test_cancel_says_why_once(self) -> None:
        """P-CALL-6: and nothing for one that was answered, or has no answer."""
        raw = RawPeer()
        first, second, answered, note = made(raw), made(raw), made(raw), made(raw, one_way=True)
        raw.say([3, 3, None])
        for call in (first, first, second, answered, note):
            raw.engine.cancel(call, "enough" if call is first else "")
        assert raw.collect() == [[5, 1, "enough"], [5, 2]]
        raw.say([3, 1, None], [4, 2, "internal", "x"])
        assert len(raw.take(CallReturned)) == 1 and not raw.take(CallFailed)


class TestRefusals:
    """A call that cannot be made changes nothing."""

    def test_a_target_that_is_broken(self) -> None:
        """P-CAP-6, P-CALL-8: raised before an id is used; each caller gets an error of its own."""
        raw = RawPeer()
        reference = capability(None)
        reference.id = 2
        raw.say([2, 1, 0, "m", {"x": reference}], [12, [2], "gone"])
        failed = made(raw)
        assert raw.engine.calling.keep(failed)
        raw.say([4, 1, "not_found", "no", {"reason": "r"}])
        broken: list[tuple[Target, type[CapnetError]]] = [
            (raw.imported(2), Revoked),
            (Pipelined(failed, (), "test.Thing", 1), NotFound),
        ]
        for target, error in broken:
            raised: list[CapnetError] = []
            for _ in range(2):
                with pytest.raises(error) as caught:
                    raw.engine.call(target, "m", {"x": (x := capability("thing"))}, [x], "t")
                raised.append(caught.value)
            assert raised[0] is not raised[1] and not raw.engine.exports
        assert made(raw).id == 2

    def test_on_a_connection_that_closes(self) -> None:
        """P-CONN-4: a goaway of either side."""
        raw = RawPeer()
        call = made(raw)
        raw.say([1, 1, "unavailable", "bye", 1000])
        with pytest.raises(Unavailable):
            made(raw)
        raw.engine.cancel(call)
        assert raw.collect() == [[5, 1]]


class TestKeeping:
    """`keep` and `release` are counted; the peer hears of the last one."""

    def test_one_frame_for_several_users(self) -> None:
        """P-CALL-8: `keep` once in the call, `finish` once after it, with the next frames."""
        raw = RawPeer()
        call = made(raw)
        assert raw.engine.calling.keep(call)
        ((_, _, _, _, _, meta),) = raw.collect()
        assert meta == {"keep": True} and raw.engine.calling.keep(call), "late, but it is kept already"
        raw.engine.importing.release_call(call)
        assert raw.collect() == [] and call.users == 1
        raw.engine.importing.release_call(call)
        assert raw.engine.pending and raw.collect() == [[6, 1]] and not call.kept
        assert raw.engine.calls.kept == 0 and isinstance(call.failure, CallCancelled)

    def test_an_error_is_remembered(self) -> None:
        """P-CALL-8: the first one; giving it back does not change it."""
        raw = RawPeer()
        call = made(raw)
        raw.engine.calling.keep(call)
        raw.collect()
        raw.say([4, 1, "not_found", "no"])
        promise = Pipelined(call, (), "test.Thing", 1)
        assert isinstance(promise.broken, NotFound)
        raw.engine.importing.release_call(call)
        assert isinstance(promise.broken, NotFound)

    def test_after_the_result(self) -> None:
        """P-CALL-8: what is kept can be had again after its result has come."""
        raw = RawPeer()
        call = made(raw)
        raw.engine.calling.keep(call)
        raw.collect()
        raw.say([3, 1, None])
        assert raw.engine.calling.keep(call) and call.users == 2

    def test_its_own_error_after_a_cancel_counts_no_more(self) -> None:
        """P-CALL-6, P-CALL-8: who pipelines on what was cancelled here learns that, and not what came later."""
        raw = RawPeer()
        call = made(raw)
        raw.engine.calling.keep(call)
        raw.engine.cancel(call)
        raw.collect()
        raw.say([4, 1, "internal", "late"])
        assert isinstance(call.failure, CallCancelled) and not raw.take(CallFailed)

    def test_the_others_in_the_outbox_are_untouched(self) -> None:
        """P-CALL-8: the frame of that call and no other, also between larger and smaller ones."""
        raw = RawPeer()
        calls = [made(raw, "m" * (number + 1), timeout=number or None) for number in range(5)]
        raw.engine.keepalive.ping()
        for number in (3, 0):
            assert raw.engine.calling.keep(calls[number])
        frames = raw.collect()
        assert [frame[3] for frame in frames[:5]] == ["m" * (number + 1) for number in range(5)]
        assert [len(frame) == 6 and frame[5].get("keep", False) for frame in frames[:5]] == [
            True,
            False,
            False,
            True,
            False,
        ]


class TestOneWay:
    """Credit for calls without an answer."""

    def test_no_more_than_were_made(self) -> None:
        """P-CALL-7: the peer cannot raise its own limit that way."""
        raw = RawPeer()
        made(raw, one_way=True)
        assert raw.engine.calls.one_way_room == raw.engine.calls.limit - 1
        raw.engine.calling.one_way_credit(1)
        with pytest.raises(ProtocolViolation) as raised:
            raw.engine.calling.one_way_credit(1)
        assert raised.value.clause == "P-CALL-7"

    def test_it_opens_streams_like_any_call(self) -> None:
        """P-STREAM-4: nobody answers it, and what it brought flows."""
        raw = RawPeer()
        out = stream_out("token")
        raw.engine.call(raw.engine.imports.bootstrap, "m", {"s": out}, [out], one_way=True)
        assert out.subject.room and raw.collect()[0][:4] == [2, 0, 0, "m"]


def test_held_calls_are_bounded() -> None:
    """P-CALL-7: none may wait here when the limit says so, and what one named is uncounted."""
    raw = RawPeer(Hello("engine", Limits(max_outgoing_calls=0)))
    raw.engine.calls.limit = 0
    thing, out = capability("thing"), stream_out()
    with pytest.raises(ResourceExhausted) as raised:
        raw.engine.call(raw.engine.imports.bootstrap, "m", {"x": [thing, out]}, [thing, out], "t")
    assert raised.value.reason == "max_concurrent_calls"
    assert not raw.engine.exports and not raw.engine.streams
    raw.engine.calls.limit = 256
