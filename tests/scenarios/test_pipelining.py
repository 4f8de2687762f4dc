"""Pipelining: calls on results that have not come yet, and unanswered results as arguments (P-CALL-8)."""

from __future__ import annotations

from typing import Any

import pytest

from capnet.engine.answers import Answer
from capnet.engine.calls import Call, Pipelined
from capnet.engine.events import (
    AnswerEnded,
    CallArrived,
    CallFailed,
    CallFollows,
    CallReturned,
    ExportEnded,
    LimitReached,
)
from capnet.engine.exports import Export
from capnet.engine.imports import Import
from capnet.engine.inspect import stats
from capnet.engine.stream import InStream, OutStream
from capnet.errors import (
    CallCancelled,
    CapnetError,
    DeadlineExceeded,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Revoked,
    StreamStopped,
    Unavailable,
)
from capnet.limits import EARLY, Limits
from capnet.testing.engines import (
    EnginePair,
    EngineSide,
    RawPeer,
    capability,
    homeward,
    made_on,
    promised,
    stream_in,
    stream_out,
)
from capnet.wire.codec import LONG
from capnet.wire.frames import Op
from capnet.wire.hello import Hello
from capnet.wire.references import AnswerRef, CapRef, Reference, StreamRef

THING = capability("thing")
"""For values that are written down before there is an engine; each sending fills in its id anew."""


def on(call: Call, *path: str | int) -> Pipelined:
    """What will stand at a path in the result of a call."""
    return Pipelined(call, path, "test.Thing", 1)


def arrived(side: EngineSide) -> list[str]:
    """The methods of the calls that have arrived, in order; each is answered with nothing."""
    answers = [event.answer for event in side.take(CallArrived)]
    for answer in answers:
        side.engine.release_all(answer.references)
        side.reply(answer)
    return [answer.method for answer in answers]


def failures(side: EngineSide) -> list[tuple[object, str]]:
    """Tokens and codes of the calls that have failed, in order."""
    return [(event.token, event.error.code) for event in side.take(CallFailed)]


def give_back(pair: EnginePair, *calls: Call) -> None:
    """Nothing more is asked of these results; what came with them is let go."""
    for call in calls:
        pair.left.engine.importing.release_call(call)
    pair.flush()
    for event in pair.left.take(CallReturned):
        pair.left.engine.release_all(event.references)
    pair.flush()


def asked(pair: EnginePair, method: str = "get", **options: Any) -> tuple[Call, Answer]:
    """A call of the left side's whose answer is kept, and the answer that runs."""
    call = pair.left.call(method, keep=True, **options)
    pair.flush()
    return call, pair.right.arrived()


class TestTargets:
    """Calls on what is to come."""

    def test_it_starts_when_the_result_is_there(self, pair: EnginePair) -> None:
        """P-CALL-8: not before, and on the capability itself; the caller need not have heard of it."""
        get, answer = asked(pair)
        use = pair.left.call("use", target=on(get))
        assert use.id == get.id + 1
        pair.flush()
        assert not pair.right.events and stats(pair.right.engine)["answers_waiting"] == 1
        pair.right.engine.reply(answer, thing := capability("thing"), [thing])
        pair.step()
        used = pair.right.arrived()
        assert (used.method, made_on(used), used.interface) == ("use", "thing", "test.Thing")
        pair.right.reply(used)
        pair.flush()
        assert [event.token for event in pair.left.events if isinstance(event, CallReturned)] == ["get", "use"]
        give_back(pair, get)

    @pytest.mark.parametrize(
        ("value", "path"),
        [
            ({"a": {"b": THING}}, ("a", "b")),
            ([None, [1, THING]], (1, 1)),
            (("x", {"": THING}), (1, "")),
            ({"0": [{"deep": [THING]}]}, ("0", 0, "deep", 0)),
        ],
        ids=["maps", "arrays", "tuple", "mixed"],
    )
    def test_at_a_path(self, pair: EnginePair, value: Any, path: tuple[str | int, ...]) -> None:
        """P-CALL-8: keys of maps and places in arrays, as deep as values go."""
        get, answer = asked(pair)
        pair.left.call("use", target=on(get, *path))
        pair.flush()
        pair.right.engine.reply(answer, value, [THING])
        pair.flush()
        pair.left.call("and later", target=on(get, *path))
        pair.flush()
        first, second = (event.answer for event in pair.right.take(CallArrived))
        assert made_on(first) == made_on(second) == "thing"
        pair.right.reply(first)
        pair.right.reply(second)
        give_back(pair, get)

    def test_a_chain_takes_one_way_there_and_one_back(self, pair: EnginePair) -> None:
        """P-CALL-8: eight dependent calls leave together, run one after the other, and come back together."""
        last = get = pair.left.call("next", token=0, keep=True)
        calls = [get]
        for number in range(1, 8):
            last = pair.left.call("next", target=on(last), token=number, keep=True)
            calls.append(last)
        pair.deliver(pair.right)
        for number in range(8):
            answer = pair.right.arrived()
            assert made_on(answer) == ("right bootstrap" if number == 0 else f"node {number}")
            pair.right.engine.reply(answer, node := capability(f"node {number + 1}"), [node])
            pair.step()
        pair.deliver(pair.left)
        assert [event.token for event in pair.left.events if isinstance(event, CallReturned)] == list(range(8))
        give_back(pair, *calls)

    @pytest.mark.parametrize("early", [False, True], ids=["waits", "has ended"])
    @pytest.mark.parametrize(
        "path",
        [("absent",), (0,), ("list", "0"), ("list", 7), ("list", -1), ("number",), ("number", 0), (), ("cap", "x")],
    )
    def test_a_path_that_leads_to_no_capability(
        self, pair: EnginePair, path: tuple[str | int, ...], early: bool
    ) -> None:
        """P-CALL-8: only that call fails; the result, and the other calls on it, are as good as ever (rule R10)."""
        get, answer = asked(pair)
        thing = capability("thing")

        def make_calls() -> None:
            pair.left.call("lost", target=on(get, *path))
            pair.left.call("found", target=on(get, "cap"))
            pair.flush()

        if not early:
            make_calls()
        pair.right.engine.reply(answer, {"list": [1], "number": 7, "cap": thing}, [thing])
        pair.flush()
        if early:
            make_calls()
        assert arrived(pair.right) == ["found"]
        pair.flush()
        error = pair.left.failed()
        assert isinstance(error, FailedPrecondition) and error.reason == "no_capability"
        give_back(pair, get)

    def test_one_that_leads_back_to_the_caller(self, pair: EnginePair) -> None:
        """P-CALL-8, P-REF-4: the callee relays it like every call on that reference; the path never shortens."""
        imported = pair.give(pair.left, "mine")
        get, answer = asked(pair)
        pair.left.call("use", target=on(get, 0))
        pair.left.call("again", target=on(get, 0))
        pair.flush()
        pair.right.reply(answer, homeward(imported))
        pair.step()
        relayed = [event.answer for event in pair.right.take(CallArrived)]
        assert [(each.method, each.export, each.place) for each in relayed] == [
            ("use", None, imported),
            ("again", None, imported),
        ]
        for each in relayed:
            pair.right.call(each.method, target=imported)
        pair.flush()
        homes = [event.answer for event in pair.left.take(CallArrived)]
        assert [(home.method, made_on(home)) for home in homes] == [("use", "mine"), ("again", "mine")]
        for home, each in zip(homes, relayed, strict=True):
            pair.left.reply(home)
            pair.right.reply(each)
        pair.flush()
        assert imported.holders == 2, "the kept answer holds it as well"
        give_back(pair, get)
        assert imported.holders == 1
        pair.right.engine.release(imported)

    def test_one_way(self, pair: EnginePair) -> None:
        """P-CALL-7, P-CALL-8: without an answer, in line with the others; when the result fails nobody is told."""
        get, answer = asked(pair)
        pair.left.call("before", target=on(get, 0))
        pair.left.call("note", target=on(get, 0), one_way=True)
        pair.left.call("after", target=on(get, 0))
        failing, to_fail = asked(pair, "failing")
        pair.left.call("silent", target=on(failing), one_way=True)
        pair.flush()
        pair.right.reply(answer, capability("thing"))
        pair.right.engine.fail(to_fail, NotFound("no"))
        pair.step()
        assert arrived(pair.right) == ["before", "note", "after"]
        pair.flush()
        assert failures(pair.left) == [("failing", "not_found")]
        assert pair.right.engine.answers.one_way_ended == 2
        give_back(pair, get, failing)


class TestArguments:
    """Unanswered results in the arguments of calls."""

    def test_a_value_takes_its_place(self, pair: EnginePair) -> None:
        """P-CALL-8: a copy of what stands at the path; the call starts when the last one has come."""
        first, answer = asked(pair, "first")
        second, other = asked(pair, "second")
        pair.left.call("sum", promised(first, "n"), promised(second), promised(first))
        pair.flush()
        value: dict[str, list[Any]] = {"n": [1, {"x": 2}]}
        pair.right.engine.reply(other, 7)
        pair.flush()
        assert not pair.right.events
        pair.right.engine.reply(answer, value)
        pair.step()
        value["n"].append("changed by its owner")
        arrived_call = pair.right.arrived()
        assert [reference.subject for reference in arrived_call.references] == [[1, {"x": 2}], 7, {"n": [1, {"x": 2}]}]
        pair.right.reply(arrived_call)
        give_back(pair, first, second)

    def test_capabilities_in_it(self, pair: EnginePair) -> None:
        """P-ID-2, P-REF-2: ours are the originals, the peer's own are held for this call besides."""
        imported = pair.give(pair.left, "mine")
        get, answer = asked(pair)
        pair.right.reply(answer, capability("thing"), homeward(imported))
        pair.flush()
        pair.left.call("use", promised(get), promised(get, 1))
        pair.flush()
        use = pair.right.arrived()
        (both, alone), found = (reference.subject for reference in use.references[:2]), use.references[2:]
        assert [reference.subject for reference in both] == [pair.right.engine.exporting.of("thing")[0], imported]
        assert alone.subject is imported and len(found) == 3 and imported.holders == 4
        pair.right.engine.release_all(use.references)
        pair.right.reply(use)
        give_back(pair, get)
        assert imported.holders == 1
        pair.right.engine.release(imported)

    def test_target_and_arguments_of_one_result(self, pair: EnginePair) -> None:
        """P-CALL-8: it is waited for once."""
        get, answer = asked(pair)
        pair.left.call("use", promised(get, 1), target=on(get, 0))
        pair.flush()
        pair.right.reply(answer, capability("thing"), capability("other"))
        pair.step()
        use = pair.right.arrived()
        (reference,) = (each for each in use.references if type(each) is not CapRef)
        assert made_on(use) == "thing" and reference.subject.subject.subject == "other"
        pair.right.reply(use)
        give_back(pair, get)

    @pytest.mark.parametrize("early", [False, True], ids=["waits", "has ended"])
    def test_what_cannot_be_found_fails_that_call(self, pair: EnginePair, early: bool) -> None:
        """P-CALL-8, P-REF-2: no such place, or a stream: what else it was sent, or took, goes back (rules R9, R10)."""
        imported = pair.give(pair.left, "mine")
        get, answer = asked(pair)
        good, other = asked(pair, "good")
        pair.right.engine.reply(other, home := homeward(imported), [home])

        def make_calls() -> None:
            pair.left.call("lost", capability("fresh"), promised(good), promised(get, "absent"))
            pair.left.call("stream", promised(get, "stream"), stream_out("producer"))
            pair.flush()

        if not early:
            make_calls()
        pair.right.engine.reply(answer, {"stream": (opened := stream_out("flowing"))}, [opened])
        pair.flush()
        if early:
            make_calls()
        errors = [event.error for event in pair.left.take(CallFailed)]
        assert [error.reason for error in errors] == ["no_capability", "no_capability"]
        assert list(pair.right.engine.imports) == [imported] and imported.holders == 2
        (produced,) = (stream for stream in pair.left.engine.streams if isinstance(stream, OutStream))
        assert isinstance(produced.closed, StreamStopped)
        pair.left.engine.streaming.end(produced)
        pair.right.engine.streaming.end(opened.subject)
        give_back(pair, get, good)
        pair.right.engine.release(imported)

    def test_elsewhere_they_are_a_violation(self) -> None:
        """P-REF: an unanswered result can be waited for by a call only: not by a result, an item or an end."""
        frames: list[list[Any]] = [[3, 1, AnswerRef(1)], [7, 1, [AnswerRef(1)]]]
        for frame in frames:
            raw = RawPeer()
            raw.engine.call(raw.engine.imports.bootstrap, "m", {}, token="t")
            raw.collect()
            raw.say([2, 1, 0, "m", {"s": StreamRef("out", id=1)}, {"keep": True}], frame)
            assert raw.clause == "P-REF"


class TestOrder:
    """Calls on one reference start in the order they were made (P-CALL-2)."""

    def test_before_any_later_direct_call(self, pair: EnginePair) -> None:
        """P-CALL-2, P-CALL-8: those on the promise first, then those made on what it became (rule R3)."""
        get, answer = asked(pair)
        for name in ("p1", "p2"):
            pair.left.call(name, target=on(get, 0))
        pair.right.reply(answer, capability("thing"))
        pair.flush()
        reference = pair.left.returned().references[0]
        for name, target in [("d1", reference.subject), ("p3", on(get, 0)), ("d2", reference.subject)]:
            pair.left.call(name, target=target)
        pair.flush()
        assert arrived(pair.right) == ["p1", "p2", "d1", "p3", "d2"]
        pair.left.engine.release(reference.subject)
        give_back(pair, get)

    def test_behind_one_that_waits_for_an_argument(self, pair: EnginePair) -> None:
        """P-CALL-2, P-CALL-8: it delays those behind it on the same capability and no others (rule R3)."""
        thing, other = pair.give(pair.right, "thing"), pair.give(pair.right, "other")
        slow, answer = asked(pair, "slow")
        pair.left.call("first", target=thing)
        pair.left.call("waits", promised(slow), target=thing)
        pair.left.call("behind", target=thing)
        pair.left.call("note", target=thing, one_way=True)
        pair.left.call("elsewhere", target=other)
        pair.flush()
        assert arrived(pair.right) == ["first", "elsewhere"]
        assert stats(pair.right.engine)["answers_waiting"] == 3
        pair.right.engine.reply(answer, 1)
        pair.step()
        assert arrived(pair.right) == ["waits", "behind", "note"]
        pair.left.call("last", target=thing)
        pair.flush()
        assert arrived(pair.right) == ["last"]
        give_back(pair, slow)
        for imported in (thing, other):
            pair.left.engine.release(imported)

    def test_two_that_wait_on_one_capability(self, pair: EnginePair) -> None:
        """P-CALL-2: the second's argument comes first; it waits on, and starts right behind the first."""
        thing = pair.give(pair.right, "thing")
        (slow, last), (quick, first) = asked(pair, "slow"), asked(pair, "quick")
        pair.left.call("a", promised(slow), target=thing)
        pair.left.call("b", promised(quick), target=thing)
        pair.left.call("c", target=thing)
        pair.flush()
        pair.right.engine.reply(first, 1)
        pair.flush()
        assert arrived(pair.right) == []
        pair.right.engine.reply(last, 2)
        pair.step()
        assert arrived(pair.right) == ["a", "b", "c"]
        give_back(pair, slow, quick)
        pair.left.engine.release(thing)

    @pytest.mark.parametrize("how", ["cancel", "deadline", "failure"])
    def test_one_that_leaves_the_line_lets_the_others_go(self, pair: EnginePair, how: str) -> None:
        """P-CALL-2, P-CALL-6: cancelled, late or failed for want of its argument."""
        thing = pair.give(pair.right, "thing")
        slow, answer = asked(pair, "slow")
        waits = pair.left.call("waits", promised(slow), target=thing, timeout=1.0)
        pair.left.call("behind", target=thing)
        pair.flush()
        if how == "cancel":
            pair.left.engine.cancel(waits)
        elif how == "deadline":
            pair.advance(1.5)
        else:
            pair.right.engine.fail(answer, NotFound("no"))
        pair.flush()
        assert arrived(pair.right) == ["behind"]
        if how != "failure":
            pair.right.engine.reply(answer, None)
        pair.flush()
        codes = {"cancel": [], "deadline": ["deadline_exceeded"], "failure": ["not_found", "not_found"]}
        assert [code for _, code in failures(pair.left)] == codes[how]
        give_back(pair, slow)
        pair.left.engine.release(thing)

    def test_on_one_promise_behind_an_argument(self, pair: EnginePair) -> None:
        """P-CALL-2: the same for calls on a promise, also where it leads back to the caller."""
        imported = pair.give(pair.left, "mine")
        for reference in (homeward(imported), capability("thing")):
            get, answer = asked(pair)
            slow, later = asked(pair, "slow")
            pair.left.call("waits", promised(slow), target=on(get, 0))
            pair.left.call("behind", target=on(get, 0))
            pair.flush()
            pair.right.reply(answer, reference)
            pair.flush()
            assert arrived(pair.right) == []
            pair.right.engine.reply(later, 1)
            pair.step()
            assert arrived(pair.right) == ["waits", "behind"]
            give_back(pair, get, slow)
            assert not pair.right.engine.answers.lines
        pair.right.engine.release(imported)

    def test_slots_are_waited_for_in_order(self) -> None:
        """P-CALL-2, P-CALL-7: with every slot taken, those that wait no more for a result queue for a slot."""
        pair = EnginePair(right=Hello("right", Limits(max_calls=16))).open()
        get, answer = asked(pair)
        dependents = [pair.left.call(f"p{number}", target=on(get, 0)) for number in range(15)]
        pair.flush()
        assert len(pair.right.engine.answers) == 1
        pair.left.engine.calls.limit = 64
        for number in range(15):
            pair.left.call(f"run {number}")
        pair.flush()
        running = [event.answer for event in pair.right.take(CallArrived)]
        pair.right.reply(answer, capability("thing"))
        pair.flush()
        first = pair.right.arrived()
        assert first.method == "p0" and len(pair.right.engine.answers.queue) == 14
        for each in running:
            pair.right.reply(each)
        pair.right.reply(first)
        pair.step()
        assert arrived(pair.right) == [f"p{number}" for number in range(1, len(dependents))]
        pair.flush()
        pair.left.engine.calls.limit = 16
        give_back(pair, get)
        pair.finish()


class TestBroken:
    """When a result never comes."""

    def test_every_call_that_waits_fails_with_that_error(self, pair: EnginePair) -> None:
        """P-CALL-8: in order, through chains and arguments, and later ones too; code, reason and details (rule R8)."""
        get, answer = asked(pair)
        second = pair.left.call("second", target=on(get, "a"), keep=True)
        pair.left.call("third", target=on(second))
        pair.left.call("fourth", promised(get, "b"))
        pair.left.call("fifth", promised(second), target=on(get))
        pair.flush()
        pair.right.engine.fail(answer, PermissionDenied("no", reason="because", details={"by": "guard"}))
        pair.flush()
        events = pair.left.take(CallFailed)
        assert sorted(event.token for event in events) == ["fifth", "fourth", "get", "second", "third"]
        assert [event.token for event in events if event.token in ("get", "second", "fourth", "fifth")] == [
            "get", "second", "fourth", "fifth",
        ]  # fmt: skip
        assert {(event.error.code, event.error.reason, event.error.details["by"]) for event in events} == {
            ("permission_denied", "because", "guard")
        }
        assert arrived(pair.right) == []
        give_back(pair, get, second)

    def test_later_calls_fail_at_once(self, pair: EnginePair) -> None:
        """P-CALL-8: as soon as the caller knows, without a frame; until then the callee says it (rule R8)."""
        get, answer = asked(pair)
        pair.right.engine.fail(answer, NotFound("no", reason="gone"))
        pair.left.call("crossing", target=on(get))
        pair.step()
        assert arrived(pair.right) == []
        pair.flush()
        assert failures(pair.left) == [("get", "not_found"), ("crossing", "not_found")]
        with pytest.raises(NotFound) as raised:
            pair.left.call("late", target=on(get))
        assert raised.value.reason == "gone"
        pair.step()
        assert not pair.right.incoming.waiting
        give_back(pair, get)

    @pytest.mark.parametrize("ended", [False, True], ids=["handler runs on", "handler has ended"])
    def test_cancelling_it_waits_for_none_of_them(self, pair: EnginePair, ended: bool) -> None:
        """P-CALL-8, P-CALL-6: those that depend on it fail `cancelled` in turn; its handler is told to stop."""
        get, answer = asked(pair)
        second = pair.left.call("second", target=on(get, 0), keep=True)
        pair.left.call("third", target=on(second))
        pair.left.engine.cancel(get, "changed my mind")
        with pytest.raises(CallCancelled):
            pair.left.call("late", target=on(get))
        pair.flush()
        assert failures(pair.left) == [("second", "cancelled"), ("third", "cancelled")]
        assert len(pair.right.take(AnswerEnded)) == 1 and arrived(pair.right) == []
        if ended:
            pair.right.reply(answer, capability("too late"))
        give_back(pair, get, second)
        if not ended:
            pair.right.reply(answer, capability("too late"))
        assert not pair.right.engine.exports

    def test_cancelling_one_that_waits(self, pair: EnginePair) -> None:
        """P-CALL-6: it ends at once and has never started; the result, and the others, are not disturbed."""
        get, answer = asked(pair)
        unwanted = pair.left.call("unwanted", capability("fresh"), target=on(get, 0))
        pair.left.call("wanted", target=on(get, 0))
        pair.flush()
        pair.left.engine.cancel(unwanted)
        pair.flush()
        assert stats(pair.right.engine)["answers_waiting"] == 1 and not pair.right.engine.imports
        pair.right.reply(answer, capability("thing"))
        pair.step()
        assert arrived(pair.right) == ["wanted"]
        give_back(pair, get)

    def test_past_its_deadline(self, pair: EnginePair) -> None:
        """P-CALL-5: the result's own deadline is contagious; one of a call that waits is its own affair."""
        get, answer = asked(pair, timeout=2.0)
        pair.left.call("hasty", target=on(get), timeout=1.0)
        pair.left.call("patient", target=on(get), timeout=60.0)
        pair.flush()
        pair.advance(1.0)
        pair.flush()
        assert failures(pair.left) == [("hasty", "deadline_exceeded")]
        pair.advance(1.0)
        pair.flush()
        assert failures(pair.left) == [("get", "deadline_exceeded"), ("patient", "deadline_exceeded")]
        pair.right.reply(answer)
        assert arrived(pair.right) == [] and pair.right.engine.timers.overdue(pair.now + 1000) == []
        give_back(pair, get)

    def test_one_that_fails_in_both_ways_fails_once(self, pair: EnginePair) -> None:
        """P-CALL-1: a call that needs two results of which one needs the other."""
        get, answer = asked(pair)
        second = pair.left.call("second", target=on(get), keep=True)
        pair.left.call("both", promised(get), promised(second))
        pair.left.call("and", promised(second), target=on(get))
        pair.flush()
        pair.right.engine.fail(answer, NotFound("no"))
        pair.flush()
        assert sorted(str(token) for token, _ in failures(pair.left)) == ["and", "both", "get", "second"]
        give_back(pair, get, second)


class TestKeeping:
    """Which answers are kept, and how long."""

    @pytest.mark.parametrize("timeout", [None, 5.0])
    def test_known_before_the_call_has_left(self, pair: EnginePair, timeout: float | None) -> None:
        """P-CALL-8: in the same turn `keep` goes into the frame itself, beside what is in its meta."""
        engine = pair.left.engine
        pair.left.call("before")
        call = engine.call(
            engine.imports.bootstrap,
            "get",
            {"a": 1},
            (),
            "get",
            timeout=timeout,
            context={"k": "v"} if timeout else None,
            may_keep=True,
        )
        pair.left.call("after")
        assert engine.calling.keep(call) and engine.calling.keep(call)
        pair.step()
        frames = [frame for frame, _ in pair.right.incoming.frames()]
        assert [frame[3] for frame in frames] == ["before", "get", "after"]
        assert frames[1][4:] == [
            {"a": 1},
            {**({"deadline": 5000, "context": {"k": "v"}} if timeout else {}), "keep": True},
        ]
        assert len(frames[0]) == len(frames[2]) == 5
        pair.flush()
        assert arrived(pair.right) == ["before", "get", "after"]
        engine.importing.release_call(call)
        pair.flush()
        assert stats(pair.right.engine)["answers_kept"] == 1, "it has another user"
        give_back(pair, call)

    def test_too_late(self, pair: EnginePair) -> None:
        """P-CALL-8: it has left, is answered, cancelled, or was not said to be one: whoever pipelines must wait."""
        engine = pair.left.engine
        sent = engine.call(engine.imports.bootstrap, "sent", {}, (), "sent", may_keep=True)
        plain = pair.left.call("plain")
        note = pair.left.call("note", one_way=True)
        cancelled = engine.call(engine.imports.bootstrap, "cancelled", {}, (), "cancelled", may_keep=True)
        engine.cancel(cancelled)
        assert [engine.calling.keep(call) for call in (plain, note, cancelled)] == [False, False, False]
        pair.step()
        assert not engine.calling.keep(sent)
        pair.flush()
        arrived(pair.right)
        pair.flush()
        assert not engine.calling.keep(sent) and engine.calls.kept == 0

    def test_one_frame_too_long_for_it(self) -> None:
        """P-FRAME-2: a frame that `keep` would make too long leaves as it is."""
        pair = EnginePair(right=Hello("right", Limits(max_frame=EARLY.max_frame))).open()
        engine = pair.left.engine
        room = EARLY.max_frame - len(engine.codec.encode([Op.CALL, 1, 0, "get", {"a": "x" * 65_000}])) + 65_000
        call = engine.call(engine.imports.bootstrap, "get", {"a": "x" * room}, (), "get", may_keep=True)
        before = list(engine.outbox.chunks)
        assert len(b"".join(before)) == 4 + EARLY.max_frame
        assert not engine.calling.keep(call) and engine.outbox.chunks == before and engine.calls.kept == 0
        pair.flush()
        assert arrived(pair.right) == ["get"]
        pair.finish()

    def test_one_frame_in_pieces(self, pair: EnginePair) -> None:
        """P-CALL-8: a call with long byte strings leaves as it is; whoever pipelines on it must wait."""
        engine = pair.left.engine
        call = engine.call(engine.imports.bootstrap, "get", {"a": bytes(LONG)}, (), "get", may_keep=True)
        assert not engine.calling.keep(call)
        pair.flush()
        assert arrived(pair.right) == ["get"]

    def test_plain_calls_cost_nothing(self, pair: EnginePair) -> None:
        """P-CALL-8: a call that might be pipelined on, and is not, is one frame there and one back."""
        engine = pair.left.engine
        engine.call(engine.imports.bootstrap, "get", {}, (), "get", may_keep=True)
        pair.step()
        ((frame, _),) = pair.right.incoming.frames()
        assert frame == [Op.CALL, 1, 0, "get", {}]
        pair.deliver(pair.right)
        pair.right.reply(pair.right.arrived())
        pair.step()
        assert [frame for frame, _ in pair.left.incoming.frames()] == [[Op.RESULT, 1, None]]
        pair.flush()
        assert not pair.right.incoming.waiting

    def test_what_it_holds_stays_open_until_finish(self, pair: EnginePair) -> None:
        """P-CALL-8, P-REF-3: the caller's proxy may be gone; calls on the promise still find the capability."""
        get, answer = asked(pair)
        pair.right.reply(answer, capability("thing"))
        pair.flush()
        (event,) = pair.left.take(CallReturned)
        pair.left.engine.release_all(event.references)
        pair.flush()
        assert not pair.right.engine.exports and not pair.right.take(ExportEnded)
        assert [export.subject for export in pair.right.engine.exporting.of("thing")] == ["thing"]
        pair.left.call("use", target=on(get, 0))
        pair.flush()
        use = pair.right.arrived()
        assert made_on(use) == "thing"
        pair.left.engine.importing.release_call(get)
        pair.flush()
        assert not pair.right.take(ExportEnded)
        pair.right.reply(use)
        pair.step()
        assert [event.reason for event in pair.right.take(ExportEnded)] == ["dropped"]

    def test_finish_overtakes_no_call(self) -> None:
        """P-CALL-8: with calls held back that need it, the news waits for them."""
        pair = EnginePair(right=Hello("right", Limits(max_calls=16))).open()
        get, answer = asked(pair)
        for _ in range(15):
            pair.left.call("run")
        pair.left.call("use", target=on(get, 0))
        assert pair.left.engine.calls.waiting == 1
        pair.left.engine.importing.release_call(get)
        pair.flush()
        assert answer.keep
        pair.right.reply(answer, capability("thing"))
        pair.flush()
        arrived(pair.right)
        pair.flush()
        assert arrived(pair.right) in (["use"], [])
        assert not failures(pair.left) and stats(pair.right.engine)["answers_kept"] == 0
        for event in pair.left.take(CallReturned):
            pair.left.engine.release_all(event.references)
        pair.finish()

    def test_finish_of_a_held_call_that_is_taken_back(self) -> None:
        """P-CALL-8: it was never kept, so nothing is said of it."""
        pair = EnginePair(right=Hello("right", Limits(max_calls=16))).open()
        for _ in range(16):
            pair.left.call("run")
        held = pair.left.call("get", keep=True)
        pair.left.engine.importing.release_call(held)
        pair.flush()
        assert pair.left.engine.calls.finished == [held]
        pair.left.engine.cancel(held)
        assert not pair.left.engine.calls.finished and not pair.left.engine.calls.kept

    def test_finish_before_the_result(self, pair: EnginePair) -> None:
        """P-CALL-8: nothing is kept then; calls that wait for it still get what they were made for."""
        get, answer = asked(pair)
        pair.left.call("use", target=on(get, 0))
        pair.left.engine.release(on(get))
        with pytest.raises(CallCancelled):
            pair.left.call("late", target=on(get))
        pair.flush()
        assert not answer.keep and stats(pair.right.engine)["answers_waiting"] == 1
        pair.right.reply(answer, capability("thing"))
        pair.step()
        assert arrived(pair.right) == ["use"] and stats(pair.right.engine)["answers_kept"] == 0
        give_back(pair)

    def test_several_users(self, pair: EnginePair) -> None:
        """P-CALL-8: it is finished after the last; a promise is held and released like what it stands for."""
        get, answer = asked(pair)
        promise = on(get, 0)
        pair.left.engine.hold(promise)
        pair.left.engine.release(promise)
        pair.step()
        assert not pair.right.incoming.waiting
        pair.left.engine.release(promise)
        pair.step()
        assert [frame for frame, _ in pair.right.incoming.frames()] == [[Op.FINISH, get.id]]
        with pytest.raises(AssertionError):
            pair.left.engine.hold(promise)
        pair.flush()
        pair.right.reply(answer)

    def test_revoked_while_it_is_kept(self, pair: EnginePair) -> None:
        """P-CAP-6: the promise leads to what was taken back; calls, and arguments, fail so; none starts."""
        get, answer = asked(pair)
        slow, later = asked(pair, "slow")
        pair.right.reply(answer, capability("thing"), capability("other"))
        pair.left.call("in line", promised(slow), target=on(get, 0))
        pair.left.call("behind", target=on(get, 0))
        pair.flush()
        pair.right.engine.exporting.revoke(pair.right.engine.exporting.of("thing"), "rights were taken")
        pair.left.call("late", target=on(get, 0))
        pair.left.call("argument", promised(get))
        pair.left.call("other", promised(get, 1), target=on(get, 1))
        pair.flush()
        errors = {event.token: event.error for event in pair.left.take(CallFailed)}
        assert sorted(errors) == ["argument", "behind", "in line", "late"]
        assert all(isinstance(error, Revoked) and error.message == "rights were taken" for error in errors.values())
        assert arrived(pair.right) == ["other"] and not pair.right.take(AnswerEnded)
        pair.right.engine.reply(later, 1)
        give_back(pair, get, slow)
        assert sorted(event.reason for event in pair.right.take(ExportEnded)) == ["dropped", "revoked"]

    def test_no_more_than_the_peer_keeps(self) -> None:
        """P-LIMIT-2: an honest caller knows how many; one that is finished makes room."""
        pair = EnginePair(right=Hello("right", Limits(max_calls=16))).open()
        calls: list[Call] = []
        for _ in range(16):
            calls.append(pair.left.call("get", keep=True))
            pair.flush()
            arrived(pair.right)
            pair.flush()
        engine = pair.left.engine
        call = engine.call(engine.imports.bootstrap, "get", {}, (), "get", may_keep=True)
        assert not engine.calling.keep(call)
        pair.flush()
        arrived(pair.right)
        give_back(pair, *calls)
        call = engine.call(engine.imports.bootstrap, "get", {}, (), "get", may_keep=True)
        assert engine.calling.keep(call)
        pair.flush()
        arrived(pair.right)
        give_back(pair, call)
        pair.finish()

    def test_no_more_bytes_than_are_kept(self) -> None:
        """P-CALL-8: the result itself is sent, and those that wait for it start; later ones hear why not."""
        pair = EnginePair(right=Hello("right", Limits(max_kept_bytes=1000))).open()
        (small, answer), (large, other) = asked(pair, "small"), asked(pair, "large")
        pair.right.engine.reply(answer, [thing := capability("thing"), "x" * 500], [thing])
        pair.left.call("in time", target=on(large, 0))
        pair.flush()
        pair.right.engine.reply(other, [thing := capability("other"), "x" * 500], [thing])
        pair.flush()
        assert len(pair.left.events) == 2
        pair.left.call("late", target=on(large, 0))
        pair.left.call("fine", target=on(small, 0))
        pair.flush()
        assert arrived(pair.right) == ["in time", "fine"]
        pair.flush()
        error = pair.left.failed()
        assert isinstance(error, ResourceExhausted) and error.reason == "max_kept_bytes"
        give_back(pair, small, large)
        pair.finish()

    def test_asking_for_what_is_not_kept(self, pair: EnginePair) -> None:
        """P-ID-4, P-LIMIT-1: an error for that call, and a strike; one that was kept and is finished is no better."""
        plain = pair.left.call("plain")
        pair.flush()
        running = pair.right.arrived()
        get, answer = asked(pair)
        pair.right.reply(answer)
        give_back(pair, get)
        get.failure = None
        for needed in (plain, get):
            pair.left.call("use", target=on(needed))
            pair.left.call("take", promised(needed), capability("fresh"))
        pair.flush()
        errors = [event.error for event in pair.left.take(CallFailed)]
        assert [(error.code, error.reason) for error in errors] == [("not_found", "released")] * 4
        assert [event.reason for event in pair.right.take(LimitReached)] == ["released"] * 4
        assert not pair.right.engine.imports and not pair.right.take(CallArrived)
        pair.right.reply(running)


class TestHeld:
    """Calls that are held back, and what depends on them."""

    def crowded(self) -> EnginePair:
        """No room for another call of the left side's."""
        pair = EnginePair(right=Hello("right", Limits(max_calls=16))).open()
        for _ in range(16):
            pair.left.call("run")
        pair.flush()
        return pair

    def test_they_leave_in_order(self) -> None:
        """P-CALL-2, P-CALL-8: `keep` can be said as long as it is held; those that depend on it follow."""
        pair = self.crowded()
        get = pair.left.call("get", token="get")
        assert pair.left.engine.calling.keep(get)
        pair.left.call("use", promised(get), target=on(get, 0))
        pair.left.call("take", promised(get))
        assert pair.left.engine.calls.waiting == 3
        assert len(arrived(pair.right)) == 16
        pair.flush()
        answer = pair.right.arrived()
        assert answer.method == "get" and answer.keep
        pair.right.reply(answer, capability("thing"))
        pair.flush()
        assert arrived(pair.right) == ["use", "take"]
        give_back(pair, get)
        pair.finish()

    @pytest.mark.parametrize("finished", [False, True])
    def test_one_that_is_taken_back_takes_its_dependents_along(self, finished: bool) -> None:
        """P-CALL-8: they would need what was never asked for; each fails once, and what they named is uncounted."""
        pair = self.crowded()
        get = pair.left.call("get", keep=True)
        second = pair.left.call("second", capability("thing"), target=on(get), keep=True)
        pair.left.call("third", promised(second), promised(get))
        pair.left.call("unrelated")
        if finished:
            pair.left.engine.importing.release_call(get)
        pair.left.engine.cancel(get)
        pair.step()
        assert failures(pair.left) == [("second", "cancelled"), ("third", "cancelled")]
        assert [event.reason for event in pair.left.take(ExportEnded)] == ["dropped"]
        assert pair.left.engine.calls.waiting == 1 and pair.left.engine.calls.kept == 0
        with pytest.raises(CallCancelled):
            pair.left.call("late", target=on(second))
        for call in (second,) if finished else (get, second):
            pair.left.engine.importing.release_call(call)
        assert len(arrived(pair.right)) == 16
        pair.flush()
        assert arrived(pair.right) == ["unrelated"]
        pair.finish()

    def test_a_long_chain_is_taken_back(self) -> None:
        """P-CALL-8: however many depend on each other, the stack is not what limits them."""
        pair = EnginePair(Hello("left", Limits.trusted()), Hello("right", Limits.trusted())).open()
        for _ in range(1024):
            pair.left.call("run")
        last = first = pair.left.call("first", keep=True)
        for _ in range(1000):
            last = pair.left.call("next", target=on(last), keep=True)
        pair.left.engine.cancel(first)
        pair.step()
        assert len(pair.left.take(CallFailed)) == 1000 and not pair.left.engine.calls.held
        pair.flush()
        arrived(pair.right)
        pair.finish()

    def test_calls_that_left_need_nothing_more(self) -> None:
        """P-CALL-8: a call is taken back with one that it needs only while both are here."""
        pair = EnginePair(right=Hello("right", Limits(max_calls=16))).open()
        get, answer = asked(pair)
        for _ in range(15):
            pair.left.call("run")
        pair.left.call("use", target=on(get, 0))
        pair.left.engine.cancel(get)
        pair.flush()
        pair.right.reply(answer)
        pair.flush()
        assert failures(pair.left) == [("use", "cancelled")]
        arrived(pair.right)
        give_back(pair, get)
        pair.finish()

    def test_before_the_hello(self) -> None:
        """P-CONN-2: a pipelined call may leave right after the hello, with the one it needs."""
        pair = EnginePair()
        get = pair.left.call("get", keep=True)
        pair.left.call("use", target=on(get, 0))
        pair.deliver(pair.right)
        pair.right.reply(pair.right.arrived(), capability("thing"))
        pair.step()
        assert arrived(pair.right) == ["use"]
        give_back(pair, get)
        pair.finish()


class TestForwarding:
    """A driver that has passed a call on can pass on at once what is made on its result (P-REF-4)."""

    @pytest.mark.parametrize("early", [False, True], ids=["they come first", "it is passed on first"])
    def test_they_go_the_same_way(self, pair: EnginePair, early: bool) -> None:
        """P-CALL-8: they arrive without an export and say which answer they depend on, in order."""
        get, answer = asked(pair)
        if early:
            pair.right.engine.answering.forward(answer, "passed on")
        for name in ("a", "b"):
            pair.left.call(name, target=on(get, 0))
        pair.flush()
        assert [event.source for event in pair.right.take(CallFollows)] == [answer, answer] * early
        assert not pair.right.events
        pair.right.engine.answering.forward(answer, "passed on")
        pair.step()
        passed = [event.answer for event in pair.right.take(CallArrived)]
        assert [(each.method, each.export, each.place) for each in passed] == [("a", None, answer), ("b", None, answer)]
        assert [each.target for each in passed] == [[get.id, 0]] * 2
        for each in passed:
            pair.right.reply(each)
        pair.right.reply(answer)
        give_back(pair, get)

    def test_one_that_waits_for_an_argument_holds_up_those_behind_it(self, pair: EnginePair) -> None:
        """P-CALL-2: they wait for the result then, and start in order."""
        get, answer = asked(pair)
        slow, later = asked(pair, "slow")
        pair.right.engine.answering.forward(answer, "passed on")
        for name, references in [("first", ()), ("waits", (promised(slow),)), ("behind", ())]:
            pair.left.call(name, *references, target=on(get, 0))
        pair.left.call("takes it", promised(get))
        pair.flush()
        pair.right.engine.answering.forward(answer, "passed on")
        pair.step()
        assert arrived(pair.right) == ["first"]
        pair.right.engine.reply(later, 1)
        pair.flush()
        pair.right.reply(answer, capability("thing"))
        pair.step()
        assert arrived(pair.right) == ["waits", "behind", "takes it"] or not pair.right.events
        give_back(pair, get, slow)

    def test_it_may_fail(self, pair: EnginePair) -> None:
        """P-CALL-8: those that have gone on are their driver's to end, those that wait fail with it."""
        get, answer = asked(pair)
        pair.right.engine.answering.forward(answer, "passed on")
        pair.left.call("gone on", target=on(get))
        pair.left.call("waits", promised(get))
        pair.flush()
        pair.right.engine.answering.forward(answer, "passed on")
        pair.step()
        (gone_on,) = (event.answer for event in pair.right.take(CallArrived))
        pair.left.engine.cancel(get)
        pair.flush()
        assert failures(pair.left) == [("waits", "cancelled")]
        pair.right.engine.fail(answer, CallCancelled("stopped"))
        pair.right.engine.fail(gone_on, NotFound("there"))
        pair.flush()
        assert failures(pair.left) == [("gone on", "not_found")]
        give_back(pair, get)


class TestTheConnection:
    """What its end does to results that are kept and calls that wait."""

    def busy(self) -> tuple[EnginePair, Answer]:
        """A kept answer with a capability, and calls that wait in a line, for a result and without an answer."""
        pair = EnginePair().open()
        get, answer = asked(pair)
        pair.right.reply(answer, capability("thing"))
        pair.flush()
        slow, later = asked(pair, "slow")
        pair.left.call("in line", promised(slow), target=on(get, 0))
        pair.left.call("behind", target=on(get, 0))
        pair.left.call("waits", target=on(slow))
        pair.left.call("note", target=on(slow), one_way=True)
        pair.flush()
        assert (stats(pair.right.engine)["answers_kept"], stats(pair.right.engine)["answers_waiting"]) == (1, 4)
        pair.left.take(CallReturned)
        return pair, later

    def test_cut(self) -> None:
        """P-CONN-6: everyone hears of it once; nothing starts, nothing is kept, what was held open ends."""
        pair, answer = self.busy()
        pair.cut()
        assert {code for _, code in failures(pair.left)} == {"unavailable"}
        assert [event.answer for event in pair.right.take(AnswerEnded)] == [answer]
        assert [event.reason for event in pair.right.take(ExportEnded)] == ["closed"] and arrived(pair.right) == []
        pair.right.reply(answer)
        pair.finish()

    def test_goaway_lets_them_end(self) -> None:
        """P-CONN-4: what was made before it runs, also when it has yet to start."""
        pair, answer = self.busy()
        pair.right.engine.close("bye", 5.0, pair.now)
        pair.flush()
        pair.right.engine.reply(answer, thing := capability("other"), [thing])
        pair.step()
        assert arrived(pair.right) == ["in line", "behind", "waits", "note"]
        pair.flush()
        assert [event.token for event in pair.left.take(CallReturned)] == ["slow", "in line", "behind", "waits"]
        pair.finish()

    def test_after_the_grace_none_starts(self) -> None:
        """P-CONN-4: they are answered, each once, without having run."""
        pair, answer = self.busy()
        pair.right.engine.close("bye", 5.0, pair.now)
        pair.flush()
        pair.advance(5.0)
        pair.flush()
        assert sorted(str(token) for token, _ in failures(pair.left)) == ["behind", "in line", "slow", "waits"]
        assert [event.answer for event in pair.right.take(AnswerEnded)] == [answer] and arrived(pair.right) == []
        pair.finish()

    def test_promises_of_a_closed_connection(self) -> None:
        """P-CONN-6: giving them back, late, says nothing and breaks nothing."""
        pair = EnginePair().open()
        get, answer = asked(pair)
        finished, _ = asked(pair, "finished")
        pair.left.engine.importing.release_call(finished)
        pair.cut()
        with pytest.raises(Unavailable):
            pair.left.call("use", target=on(get))
        pair.left.engine.importing.release_call(get)
        assert not pair.left.engine.pending
        pair.right.reply(answer)
        pair.finish()


class TestStreamsAndPromises:
    """Streams in results that are kept."""

    def test_a_stream_is_not_taken_out_of_a_promise(self, pair: EnginePair) -> None:
        """P-STREAM-1, P-CALL-8: it has one consumer, who gets it with the result."""
        get, answer = asked(pair)
        pair.right.reply(answer, opened := stream_out("out"), capability("thing"), asked_for := stream_in("in"))
        pair.flush()
        pair.left.call("call on it", target=on(get, 0))
        pair.left.call("pass it", promised(get, 0))
        pair.left.call("pass the capability", promised(get, 1))
        pair.flush()
        assert failures(pair.left) == [("call on it", "failed_precondition"), ("pass it", "failed_precondition")]
        assert arrived(pair.right) == ["pass the capability"]
        (event,) = (each for each in pair.left.take(CallReturned) if each.token == "get")
        into, said = event.references[0].subject, event.references[2].subject
        assert isinstance(into, InStream) and isinstance(said, OutStream)
        pair.left.engine.release(event.references[1].subject)
        pair.left.engine.streaming.end(said)
        pair.right.engine.streaming.end(opened.subject)
        pair.flush()
        assert into.ended and asked_for.subject.ended
        give_back(pair, get)


def test_a_value_that_needs_itself_cannot_be_asked_for() -> None:
    """P-ID-4: ids go upwards, so that a cycle of promises would need a call of the future (rule R7)."""
    for needed in (1, 2):
        raw = RawPeer()
        raw.say([2, 1, [needed], "m", {}, {"keep": True}])
        assert raw.clause == "P-ID-4" and not raw.take(CallArrived)


def test_errors_that_are_passed_on_are_each_their_own(pair: EnginePair) -> None:
    """P-ERR-1: one error ends many calls; who raises one of them does not change the others."""
    get, answer = asked(pair)
    pair.left.call("use", target=on(get))
    pair.flush()
    pair.right.engine.fail(answer, DeadlineExceeded("late"))
    pair.flush()
    errors: list[CapnetError] = [event.error for event in pair.left.take(CallFailed)]
    assert len({id(error) for error in errors}) == len(errors) == 2
    give_back(pair, get)


def test_what_promises_stand_for(pair: EnginePair) -> None:
    """They can be recognised in a log."""
    get, answer = asked(pair)
    assert repr(on(get, "a", 0)) == "<Pipelined test.Thing at 1/a/0>" and on(get).broken is None
    pair.right.reply(answer)
    give_back(pair, get)
    reference: Reference = promised(get, "a")
    assert not isinstance(reference.subject, Import | Export)
