"""Parties: those for whom one side makes calls each have their portion of what the peer has room for (P-CALL-7).

The left side is a program in the middle, the right one the owner; "a" and "b" are guests of the middle.
"""

from __future__ import annotations

from contextlib import suppress

import pytest

from capnet.engine.answers import Answer
from capnet.engine.calls import PEER, Pipelined
from capnet.engine.events import CallArrived, CallFailed, CallReturned
from capnet.engine.inspect import stats
from capnet.engine.pace import Pace
from capnet.errors import InvalidArgument, ResourceExhausted
from capnet.limits import LARGEST_ONE_WAY, Limits
from capnet.testing.engines import EnginePair, capability, homeward, stream_in, stream_out
from capnet.wire.hello import Hello

ALONE = 12
"""Of sixteen, what one that is alone may have."""
MIB = 1024 * 1024


def middle(**limits: int) -> EnginePair:
    """The owner takes little."""
    taken = Limits(**{"max_calls": 16, "max_streams": 16, **limits})
    return EnginePair(Hello("left", taken), Hello("right", taken)).open()


def reached(pair: EnginePair) -> list[Answer]:
    """What has come to the owner."""
    pair.flush()
    return [event.answer for event in pair.right.take(CallArrived)]


def answer_all(pair: EnginePair) -> list[str]:
    """Answer whatever reaches the owner until nothing comes any more; returns the methods in order."""
    methods: list[str] = []
    while answers := reached(pair):
        for answer in answers:
            methods.append(answer.method)
            pair.right.engine.release_all(answer.references)
            pair.right.reply(answer)
    return methods


class TestCalls:
    """Each party has a line of its own."""

    def test_one_leaves_room_for_the_next_and_for_this_side(self) -> None:
        """P-CALL-2: in the order that each has made them."""
        pair = middle()
        for number in range(20):
            pair.left.call(f"a{number}", party="a")
        pair.left.call("b0", party="b")
        pair.left.call("b1", party="b")
        pair.left.call("ours")
        pair.left.call("back", party=PEER)
        first = reached(pair)
        came = [answer.method for answer in first]
        assert came == [*(f"a{number}" for number in range(ALONE)), "b0", "ours", "back"]
        assert stats(pair.left.engine)["calls_held"] == 9
        for answer in first:
            pair.right.reply(answer)
        came += answer_all(pair)
        for party in "ab":
            theirs = [method for method in came if method.startswith(party) and method != "back"]
            assert theirs == [f"{party}{number}" for number in range(len(theirs))]
        assert len(pair.left.take(CallReturned)) == len(came) == 24
        pair.finish()

    def test_lines_take_turns(self) -> None:
        pair = middle()
        for party in "abc":
            for number in range(20):
                pair.left.call(f"{party}{number}", party=party)
        running = reached(pair)
        order: list[str] = []
        while running:
            pair.right.reply(running.pop(0))
            new = reached(pair)
            order += [answer.method[0] for answer in new]
            running += new
        latest = order[-15:]
        assert all(latest.count(party) >= 4 for party in "bc"), "none of them is served last"
        pair.finish()

    def test_own_calls_go_first(self) -> None:
        """P-ID-1: ids ascend, so those of the others are given when they leave."""
        pair = middle()
        for number in range(16):
            pair.left.call(f"run{number}")
        pair.left.call("theirs", party="a")
        pair.left.call("ours")
        pair.left.call("ours too", one_way=True)
        assert [answer.method for answer in reached(pair)] == [f"run{number}" for number in range(16)]
        for answer in list(pair.right.engine.answers)[:3]:
            pair.right.reply(answer)
        assert [answer.method for answer in reached(pair)] == ["ours", "ours too", "theirs"]

    def test_many_wait_and_each_party_may_have_as_many(self) -> None:
        pair = middle(max_outgoing_calls=4)
        for party in "ab":
            for number in range(40):
                with suppress(ResourceExhausted):
                    pair.left.call(f"{party}{number}", party=party)
        assert {party: len(line) for party, line in pair.left.engine.calls.held.items()} == {"a": 4, "b": 4}
        with pytest.raises(ResourceExhausted) as caught:
            pair.left.call("a", party="a")
        assert caught.value.reason == "max_concurrent_calls"
        assert len(answer_all(pair)) == ALONE + 1 + 8
        pair.finish()

    def test_memory_is_divided_as_well(self) -> None:
        """P-LIMIT-3: with room for sixteen calls."""
        pair = middle(max_call_charge=MIB)
        engine = pair.left.engine
        for number in range(16):
            engine.call(engine.imports.bootstrap, f"a{number}", {"blob": bytes(80_000)}, party="a")
        pair.left.call("b", party="b")
        pair.left.call("ours")
        came = [answer.method for answer in reached(pair)]
        assert came[-2:] == ["b", "ours"] and len(came) < 14
        assert engine.calls.charge <= 3 * MIB // 4 + 1000
        for answer in list(pair.right.engine.answers):
            pair.right.reply(answer)
        answer_all(pair)
        pair.finish()

    def test_cancelled_ones_count_until_they_are_answered(self) -> None:
        """P-CALL-6."""
        pair = middle()
        engine = pair.left.engine
        engine.tables.own_pace = Pace(1, 1e-6, pair.now)
        engine.tables.own_pace.spend(pair.now)  # the news of cancels has to wait
        calls = [pair.left.call("m", party="a") for _ in range(20)]
        answers = reached(pair)
        for call in calls[:ALONE]:
            pair.left.engine.cancel(call)
        assert not reached(pair)
        pair.left.engine.cancel(calls[ALONE])
        assert stats(pair.left.engine)["calls_held"] == 7
        for answer in answers:
            pair.right.engine.fail(answer, ResourceExhausted("stopped"))
        assert len(answer_all(pair)) == 7
        pair.finish()

    def test_one_way_calls_are_made_as_ordinary_ones(self) -> None:
        """P-REF-4: so it is known when they end; long ones were already."""
        pair = middle()
        for _ in range(20):
            pair.left.call("note", one_way=True, party="a")
        answers = reached(pair)
        assert len(answers) == ALONE and all(answer.id > 0 for answer in answers)
        for answer in answers:
            pair.right.reply(answer)
        assert len(answer_all(pair)) == 8 and not pair.left.take(CallReturned)
        engine = pair.left.engine
        engine.call(engine.imports.bootstrap, "long", {"blob": bytes(LARGEST_ONE_WAY)}, one_way=True, party="a")
        assert answer_all(pair) == ["long"]
        pair.finish()

    def test_one_that_waits_is_not_kept(self) -> None:
        """P-CALL-8: it has no id yet that others could name."""
        pair = middle()
        for _ in range(ALONE):
            pair.left.call("m", party="a", keep=True)
        waits = pair.left.call("waits", party="a")
        assert not pair.left.engine.calling.keep(waits)
        for answer in reached(pair):
            pair.right.reply(answer)
        assert answer_all(pair) == ["waits"]
        for event in pair.left.take(CallReturned):
            assert event.token in ("m", "waits")

    def test_a_frame_that_turns_out_too_long_fails_its_call(self) -> None:
        """P-FRAME-2: only its own, and what is behind it leaves."""
        pair = EnginePair(Hello("left"), Hello("right", Limits(max_frame=64 * 1024)))
        engine = pair.left.engine
        engine.call(engine.imports.bootstrap, "large", {"blob": bytes(64 * 1024)}, token="large", party="a")
        pair.left.call("small", party="a")
        assert answer_all(pair) == ["small"]
        (failed,) = pair.left.take(CallFailed)
        assert failed.token == "large" and failed.error.reason == "max_frame_bytes"
        pair.finish()

    def test_what_waits_holds_up_no_news(self) -> None:
        """P-REF-2, P-CALL-8: others are given back meanwhile; what it names itself goes back after it."""
        pair = middle()
        named, other = pair.give(pair.right, "named"), pair.give(pair.right, "other")
        kept = pair.left.call("kept", keep=True)
        pair.right.reply(reached(pair)[0])
        pair.flush()
        for _ in range(ALONE):
            pair.left.call("m", party="a")
        pair.left.call("waits", homeward(named), target=named, party="a")
        running = reached(pair)
        pair.left.engine.release(named)
        pair.left.engine.release(other)
        pair.left.engine.importing.release_call(kept)
        pair.flush()
        assert [export.subject for export in pair.right.engine.exports] == ["named"]
        assert not stats(pair.right.engine)["answers_kept"]
        pair.right.reply(running[0])
        (last,) = reached(pair)
        assert last.method == "waits" and last.export is not None and last.export.subject == "named"
        for answer in (*running[1:], last):
            pair.right.reply(answer)
        pair.flush()
        assert not pair.right.engine.exports and not pair.left.engine.imports
        pair.finish()

    @pytest.mark.parametrize("grace", [0.0, 5.0])
    def test_what_waits_ends_with_the_connection(self, grace: float) -> None:
        pair = middle()
        for party in "ab":
            for number in range(20):
                pair.left.call(f"{party}{number}", party=party)
        answers = reached(pair)
        pair.left.engine.close("", grace, pair.now)
        pair.step()
        assert len(pair.left.take(CallFailed)) == 40 - (len(answers) if grace else 0)
        if grace:
            for answer in answers:
                pair.right.reply(answer)
            pair.flush()
        assert not pair.left.engine.calls.held and pair.left.closed


class TestStreams:
    """Of ours, those in arguments and items; of the peer's, those that results and items bring."""

    def test_in_arguments(self) -> None:
        """P-LIMIT-2."""
        pair = middle(max_calls=64)
        for number in range(ALONE):
            pair.left.call("m", stream_out() if number % 2 else stream_in(), party="a")
        with pytest.raises(ResourceExhausted) as caught:
            pair.left.call("m", stream_out(), party="a")
        assert caught.value.reason == "max_streams"
        with pytest.raises(ResourceExhausted):
            pair.left.call("many", *(stream_out() for _ in range(3)), party="b")
        pair.left.call("one", stream_out(), party="b")
        pair.left.call("ours", stream_out(), stream_in())
        pair.left.call("none", party="a")
        assert len(reached(pair)) == ALONE + 3

    def test_of_a_call_that_is_not_made(self) -> None:
        pair = middle(max_calls=64)
        for _ in range(3):
            with pytest.raises(InvalidArgument):
                pair.left.call("\ud800", *(stream_out() for _ in range(ALONE)), party="a")
        held = [pair.left.call("m", party="a") for _ in range(64)]
        waits = pair.left.call("waits", *(stream_out() for _ in range(ALONE)), party="a")
        assert waits.frame is not None and stats(pair.left.engine)["streams"] == ALONE
        pair.left.engine.cancel(waits)
        assert not stats(pair.left.engine)["streams"]
        for call in held:
            pair.left.engine.cancel(call)

    def test_in_results(self) -> None:
        """Those above the portion are stopped, and their call fails; known methods are asked no more then."""
        pair = middle(max_calls=64)
        engine = pair.left.engine
        for _ in range(ALONE):
            pair.left.call("open", party="a")
            (answer,) = reached(pair)
            pair.right.reply(answer, stream_out())
        pair.flush()
        assert len(pair.left.take(CallReturned)) == ALONE
        with pytest.raises(ResourceExhausted) as caught:
            pair.left.call("open", party="a")
        assert caught.value.reason == "max_streams"
        pair.left.call("another", party="a")
        pair.left.call("open", party="b")
        another, opens = reached(pair)
        pair.right.reply(another, stream_out())
        pair.right.reply(opens, stream_in())
        pair.flush()
        assert pair.left.failed().reason == "max_streams" and pair.left.returned().token == "open"
        assert [stream.party for stream in engine.streams] == ["a"] * (ALONE + 1) + ["b"]

    def test_a_method_that_brings_none_is_not_remembered(self) -> None:
        """It may be called whatever streams its party has."""
        pair = middle(max_calls=64)
        pair.left.call("open", party="a")
        pair.right.reply(reached(pair)[0], *(stream_out() for _ in range(ALONE)))
        for _ in range(2):
            pair.left.call("find", party="a")
            pair.right.reply(reached(pair)[0], capability("found"))
            pair.flush()
        assert [event.token for event in pair.left.take(CallReturned)] == ["open", "find", "find"]

    def test_those_that_are_expected_count(self) -> None:
        """Also while their call waits, and until it is answered, fails or is taken back."""
        pair = middle(max_calls=64)
        pair.left.call("open", party="a")
        pair.right.reply(reached(pair)[0], stream_out())
        pair.flush()
        calls = [pair.left.call("open", party="a") for _ in range(ALONE - 1)]
        for _ in range(2):
            with pytest.raises(ResourceExhausted):
                pair.left.call("open", party="a")
            pair.right.engine.fail(reached(pair)[0], ResourceExhausted("no"))
            pair.flush()
            calls.append(pair.left.call("open", party="a"))
        for _ in range(100):
            pair.left.call("m", party="a")
            pair.left.call("m")
        held = pair.left.call("open", party="b")
        assert held.frame is not None and pair.left.engine.streams._lent.of("b") == 1
        with pytest.raises(ResourceExhausted):
            pair.left.call("open", party="b")
        pair.left.engine.cancel(held)
        assert pair.left.engine.streams._lent.of("b") == 0

    def test_a_method_is_remembered_among_the_latest(self) -> None:
        pair = middle(max_streams=16)
        for number in range(300):
            pair.left.call(f"open{number}", party="a")
            (answer,) = reached(pair)
            reference = stream_out("theirs")
            pair.right.reply(answer, reference)
            pair.flush()
            pair.right.engine.streaming.end(reference.subject)
            pair.flush()
        streams = pair.left.engine.streams
        assert len(streams._bring) == 256 and not streams._lent.total

    def test_in_items(self) -> None:
        """P-STREAM: what flows through a party's stream is that party's."""
        pair = middle(max_calls=64)
        pair.left.call("m", ours := stream_out("ours"), party="a")
        pair.left.call("open", party="a")
        answers = reached(pair)
        theirs = stream_out("theirs")
        pair.right.reply(answers[1], theirs)
        pair.flush()
        (event,) = pair.left.take(CallReturned)
        event.references[0].subject.token = "reader"
        for _ in range(ALONE - 1):
            pair.left.engine.streaming.send(ours.subject, [one := stream_in()], [one])
            pair.right.engine.streaming.send(theirs.subject, [one := stream_in()], [one])
            pair.flush()
        with pytest.raises(ResourceExhausted):
            pair.left.engine.streaming.send(ours.subject, [one := stream_in()], [one])
        assert not event.references[0].subject.ended
        pair.right.engine.streaming.send(theirs.subject, [one := stream_in()], [one])
        pair.flush()
        assert event.references[0].subject.error.reason == "max_streams"


class TestCircles:
    """Calls that wait for each other end, with the name of the limit (P-LIMIT-2)."""

    def nest(self, pair: EnginePair, depth: int) -> None:
        """Each call is made while the other side's before it is handled."""
        sides = [pair.left, pair.right]
        sides[0].call("nest")
        for level in range(1, depth):
            pair.flush()
            sides[level % 2].take(CallArrived)
            sides[level % 2].call("nest", token=level, party=PEER)
        pair.flush()

    def test_the_innermost_fails(self) -> None:
        pair = middle()
        self.nest(pair, 32)
        assert not stats(pair.left.engine)["calls_held"]
        pair.left.call("nest", token="deepest", party=PEER)
        assert stats(pair.left.engine)["calls_held"] == 1
        pair.advance(4.9)
        assert not pair.left.take(CallFailed)
        pair.advance(0.2)
        error = pair.left.failed()
        assert type(error) is ResourceExhausted and error.reason == "max_calls" and "max_calls" in error.message
        assert pair.left.engine.calls.waiting == 0

    def test_streams_whose_items_wait_for_calls_fail(self) -> None:
        """Each call is made for the next item of a stream that the call before it reads, and none is handled here."""
        pair = middle()
        pair.left.call("pull")
        for level in range(1, 17):
            pair.left.call("pull", token=level, within=f"stream {level}")
        assert stats(pair.left.engine)["calls_held"] == 1
        pair.advance(4.9)
        assert not pair.left.take(CallFailed)
        pair.advance(0.2)
        assert pair.left.failed().reason == "max_calls" and pair.left.engine.calls.waiting == 0

    def test_streams_that_are_not_enough_to_fill_the_peer_wait(self) -> None:
        """One of its calls waits for none of them, and may end."""
        pair = middle()
        for _ in range(2):
            pair.left.call("pull")
        for level in range(15):
            pair.left.call("pull", token=level, within=f"stream {level}")
        for _ in range(4):
            pair.advance(6)
            pair.flush()
        assert stats(pair.left.engine)["calls_held"] == 1 and not pair.left.take(CallFailed)

    def test_nothing_is_amiss_while_something_ends(self) -> None:
        pair = middle()
        self.nest(pair, 32)
        for number in range(4):
            pair.left.call("more", token=number, party=PEER)
        for _ in range(3):
            pair.advance(4)
            pair.right.reply(list(pair.right.engine.answers)[-1])
            pair.flush()
            assert not pair.left.take(CallFailed)
        pair.advance(6)
        assert len(pair.left.take(CallFailed)) == 1

    def test_nothing_is_amiss_while_the_peer_runs_calls_that_wait_for_nothing(self) -> None:
        """However long they take."""
        pair = middle()
        pair.right.call("all of them")
        for number in range(40):
            pair.left.call("one", token=number, party=PEER)
        pair.flush()
        for _ in range(4):
            pair.advance(6)
            pair.flush()
        assert stats(pair.left.engine)["calls_held"] == 24 and not pair.left.take(CallFailed)

    def test_calls_of_nobody_wait(self) -> None:
        """They hold up nobody; neither do one-way calls, which nobody waits for."""
        pair = middle()
        self.nest(pair, 32)
        pair.left.call("ours")
        pair.left.call("note", one_way=True, party=PEER)
        pair.left.call("nested", party=PEER)
        pair.advance(6)
        assert pair.left.failed().reason == "max_calls" and not pair.left.take(CallFailed)
        assert stats(pair.left.engine)["calls_held"] == 2

    def test_those_that_were_given_up_are_not_looked_at(self) -> None:
        pair = middle()
        self.nest(pair, 32)
        pair.left.call("ours")
        pair.left.engine.cancel(pair.left.call("nested", party=PEER))
        pair.advance(6)
        assert not pair.left.take(CallFailed) and pair.left.engine.next_deadline() == 20, "the keepalive"

    def test_those_of_a_party_that_has_its_portion(self) -> None:
        """By way of this side, the peer calls back the one for whom it is called."""
        pair = middle()
        for number in range(ALONE + 1):
            pair.left.call("on", token=number, party="a")
            pair.right.call("back", token=number)
        pair.left.call("other", party="b")
        pair.flush()
        assert stats(pair.left.engine)["calls_held"] == 1
        pair.advance(6)
        assert pair.left.failed().reason == "max_calls" and not pair.left.take(CallFailed)

    def test_what_needs_it_fails_with_it(self) -> None:
        """P-CALL-8: a call on what one that fails would bring."""
        pair = middle()
        self.nest(pair, 32)
        source = pair.left.call("source", keep=True, party=PEER)
        pair.left.call("behind", target=Pipelined(source, (), "x", 1), party=PEER)
        pair.advance(6)
        assert len(pair.left.take(CallFailed)) == 2 and not stats(pair.left.engine)["calls_held"]
