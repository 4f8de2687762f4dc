"""Messages of Cap'n Web, without a host: what is taken, what ends the session, what is counted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capnet import Unavailable
from capnet.gateways.capnweb import Bounds
from capnet.gateways.capnweb.actions import Action, Close, Evaluate, Forget, Send, Stub
from capnet.gateways.capnweb.evaluation import Evaluation
from capnet.gateways.capnweb.messages import BadMessage, decode
from capnet.gateways.capnweb.session import Session
from tests.gateways.echo import Echo


def said(actions: list[Action]) -> list[Any]:
    return [json.loads(action.text) for action in actions if isinstance(action, Send)]


def ended(actions: list[Action]) -> str:
    """Why a session has ended; the client is told, and nothing comes after it."""
    word, close, *rest = actions
    assert all(isinstance(one, Forget) for one in rest)
    assert isinstance(word, Send) and isinstance(close, Close)
    abort, (kind, name, reason) = json.loads(word.text)
    assert (abort, kind, name) == ("abort", "error", "Error")
    assert reason.startswith(close.why)
    return str(reason)


# --- messages ---

BAD: dict[str, str | list[str]] = {
    "nothing": "",
    "no JSON": "{",
    "not a number": '["push",NaN]',
    "an object": "{}",
    "an empty array": "[]",
    "no word": "[1]",
    "another word": '["hello"]',
    "a push of nothing": '["push"]',
    "a push of two": '["push",1,2]',
    "no expression": '["push",["what",1]]',
    "an empty expression": '["push",[]]',
    "a call without a number": '["push",["pipeline","0",["a"],[]]]',
    "a call on true": '["push",["pipeline",true,["a"],[]]]',
    "a path that is none": '["push",["pipeline",0,"a",[]]]',
    "a path with a list": '["push",["pipeline",0,[[]],[]]]',
    "arguments that are none": '["push",["pipeline",0,["a"],{}]]',
    "a call of what was not asked for": '["push",["pipeline",1,["a"],[]]]',
    "a call of what was not given": '["push",["pipeline",-1,["a"],[]]]',
    "an export above 0": '["push",["export",1]]',
    "an export of ours": '["push",["export",0]]',
    "a pipe that is none": '["push",["readable",1]]',
    "a capture that is none": '["push",["remap",0,[],[["pipeline",0]],[1]]]',
    "a map without instructions": '["push",["remap",0,[],[]]]',
    "a bigint that is none": '["push",["bigint","1e3"]]',
    "a bigint in other digits": '["push",["bigint","\\u0663"]]',
    "a date that is none": '["push",["date",true]]',
    "bytes that are none": '["push",["bytes","!"]]',
    "bytes of no kind": '["push",["bytes","AA",1]]',
    "an error without a text": '["push",["error","Error"]]',
    "an error with a list": '["push",["error","Error","x",null,[]]]',
    "a pull of nothing": '["pull",1]',
    "a pull of ours": '["pull",0]',
    "a pull of text": '["pull","1"]',
    "a release of nothing": '["release",1,1]',
    "a release of what was not given": '["release",-1,1]',
    "a release of none": ['["push",1]', '["release",1,0]'],
    "a release too often": ['["push",1]', '["release",1,2]'],
    "a promise twice": ['["push",["promise",-1]]', '["push",["promise",-1]]'],
    "a pipe read twice": ['["pipe"]', '["push",["readable",1]]', '["push",["readable",1]]'],
}


def test_what_no_client_says_ends_the_session() -> None:
    for name, said in BAD.items():
        session = Session()
        lines = [said] if isinstance(said, str) else said
        kept = [session.feed(line) for line in lines[:-1]]
        assert [type(one) for actions in kept for one in actions if isinstance(one, Close)] == [], name
        assert ended(session.feed(lines[-1])), name
        assert session.feed('["push",1]') == []


def test_what_is_too_large_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds = Bounds(max_message=10_000, max_values=100, max_depth=10)
    decoded: list[str] = []
    plain = json.loads

    def loads(text: str, **options: Any) -> Any:
        decoded.append(text)
        return plain(text, **options)

    monkeypatch.setattr(json, "loads", loads)
    for text in ("x" * 10_001, "[" * 9000, '["push",[[' + "1," * 200 + "1]]]", "[" + "1," * 200 + '"' + '\\"' * 4000):
        with pytest.raises(BadMessage):
            decode(text, bounds)
    assert decoded == []
    assert decode(json.dumps(["push", "," * 5000]), bounds)[0] == "push"
    assert len(decoded) == 1


def test_an_expression_that_is_too_deep_ends_the_session() -> None:
    deep: Any = 1
    for _ in range(66):
        deep = [[deep]]
    assert "depth" in ended(Session().feed(json.dumps(["push", deep])))
    assert Session().feed(json.dumps(["push", deep[0][0]]))
    assert "JSON" in ended(Session(Bounds(max_values=10**6)).feed("[" * 100_000))


def test_numbers_are_those_of_javascript() -> None:
    big = "9" * 5000
    assert decode(f'["push",{2**60}]', Bounds()) == ["push", 2**60]
    assert decode(f'["push",{big}]', Bounds()) == ["push", float("inf")]
    assert decode('["push","\\ud800x"]', Bounds()) == ["push", "\ufffdx"]
    assert decode('["push","\\ud83d\\ude00"]', Bounds()) == ["push", "\U0001f600"]
    (evaluate,) = Session().feed(f'["push",{2**60}]')
    assert isinstance(evaluate, Evaluate)
    assert (evaluate.tree, type(evaluate.tree)) == (2.0**60, float)


# --- what is counted ---


def test_what_is_given_is_given_back_once_for_each_time() -> None:
    session = Session()
    session.feed('["push",[[["export",-1],["export",-1],["export",-2]]]]')
    back = said(session.take())  # what was read went with the actions
    assert sorted(back) == [["release", -2, 1], ["release", -1, 1], ["release", -1, 1]]


def test_what_nobody_keeps_is_given_back() -> None:
    session = Session()
    (evaluate,) = session.feed('["push",[[["export",-1],["export",-1]]]]')
    assert isinstance(evaluate, Evaluate)
    stubs: list[Stub] = evaluate.tree
    assert [stub.number for stub in stubs] == [-1, -1]
    stubs.pop().release()
    assert said(session.take()) == [["release", -1, 1]]
    stubs.clear()
    assert said(session.take()) == [["release", -1, 1]]


def test_a_client_has_no_more_objects_held_than_it_may() -> None:
    session = Session(Bounds(max_stubs=3))
    kept = [session.feed('["push",["export",-1]]') for _ in range(3)]
    assert "3 objects" in ended(session.feed('["push",["export",-1]]'))
    assert len(kept) == 3


HEAVY: dict[str, tuple[Any, int]] = {
    "calls": ([[["pipeline", 0, ["a"], []]] * 100], 100 * 4096),
    "properties": ([[["import", 0, ["a"]]] * 100], 100 * 4096),
    "maps": ([[["remap", 0, [], [["import", 0]] * 4, []]] * 20], 100 * 4096),
    "references": ([[["export", -1]] * 100], 100 * 4096),
    "letters": ("x" * 100_000, 100_000),
    "wide letters": ("\U0001f600" + "x" * 100_000, 400_000),
    "values": ([[[[]]] * 5000], 15_000 * 64),
}


def test_what_is_worked_on_weighs_what_it_takes_up() -> None:
    """Also where a few letters stand for more than they are, or are wide when they were read."""
    for name, (expression, weight) in HEAVY.items():
        for written in (json.dumps(expression), json.dumps(expression, ensure_ascii=False)):
            session = Session(Bounds(max_pending=10**6))
            kept = session.feed(f'["push",{written}]')
            assert weight <= session._answers.pending < 2 * weight + 50_000, name
            assert len(kept) == 1
            session = Session(Bounds(max_pending=weight - 1))
            session.feed(f'["push",{written}]')
            assert said(session.feed('["pull",1]'))[0][2][4]["reason"] == "max_pending", name


def test_what_is_kept_weighs_what_it_takes_up() -> None:
    session = Session(Bounds(max_kept=100_000))
    for _ in range(2):
        (evaluate,) = session.feed(json.dumps(["push", "\U0001f600" + "x" * 20_000]))
        assert isinstance(evaluate, Evaluate)
        evaluate.cell.settle(evaluate.tree)
    assert len(list(session._answers)) == 1


def test_tables_do_not_grow_with_what_is_never_released() -> None:
    session = Session(Bounds(max_answers=50))
    for _ in range(2000):
        for action in session.feed('["push",1]'):
            assert isinstance(action, Evaluate)
            action.cell.settle(action.tree)
    assert len(list(session._answers)) == 50
    assert len(vars(session)["_questions"]) == 0


def test_a_question_is_pulled_answered_and_released() -> None:
    session = Session()
    question = session.ask(-1, ("heard",), ["a", {"b": [1]}])
    assert said(session.take()) == [["push", ["pipeline", -1, ["heard"], ["a", {"b": [[1]]}]]], ["pull", 1]]
    release, evaluate = session.feed('["resolve",1,[[5]]]')
    assert isinstance(release, Send) and json.loads(release.text) == ["release", 1, 1]
    assert isinstance(evaluate, Evaluate)
    assert (evaluate.cell, evaluate.tree) == (question, [5])
    assert session.feed('["resolve",1,6]') == []


def test_the_end_of_a_session_fails_what_was_asked_and_forgets_what_was_begun() -> None:
    session = Session()
    question = session.ask(-1, (), [])
    session.take()
    session.feed('["push",1]')
    actions = session.feed('["abort",["error","Error","enough"]]')
    assert [type(action) for action in actions] == [Close, Forget]
    assert isinstance(question.error, Unavailable)
    with pytest.raises(Unavailable):
        session.ask(-1, (), [])


# --- anything ---

NUMBERS = st.integers(-4, 6)
STEPS = st.sampled_from(["a", "write", "close", "abort", "constructor", "length", "0", 0, 1, -1, ""]) | st.text(
    max_size=3
)
PATHS = st.lists(STEPS, max_size=3)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
WORDS = st.sampled_from(
    ["undefined", "inf", "nan", "bigint", "date", "bytes", "url", "error", "headers", "request", "response", "blob"]
)


def _deeper(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(inner, max_size=3)
    return st.one_of(
        lists.map(lambda items: [items]),
        st.dictionaries(st.sampled_from(["a", "b", "toJSON", "__proto__"]), inner, max_size=2),
        st.tuples(st.sampled_from(["import", "pipeline"]), NUMBERS, PATHS, lists).map(list),
        st.tuples(st.sampled_from(["import", "pipeline"]), NUMBERS, PATHS).map(list),
        st.tuples(
            st.just("remap"),
            NUMBERS,
            PATHS,
            st.lists(st.tuples(st.sampled_from(["import", "export"]), NUMBERS).map(list), max_size=2),
            lists,
        ).map(list),
        st.tuples(st.sampled_from(["export", "promise", "writable", "readable", "import"]), NUMBERS).map(list),
        st.tuples(WORDS, inner).map(list),
        st.tuples(st.just("error"), st.text(max_size=3), st.text(max_size=3), inner, inner).map(list),
        lists,
    )


EXPRESSIONS = st.recursive(PLAIN, _deeper, max_leaves=8)
MESSAGES = st.one_of(
    st.tuples(st.sampled_from(["push", "stream"]), EXPRESSIONS).map(list),
    st.tuples(st.just("pull"), NUMBERS).map(list),
    st.tuples(st.sampled_from(["resolve", "reject"]), NUMBERS, EXPRESSIONS).map(list),
    st.tuples(st.just("release"), NUMBERS, st.integers(0, 3)).map(list),
    st.just(["pipe"]),
)
LINES = MESSAGES.map(json.dumps) | st.text(max_size=10)


@settings(deadline=None)
@given(st.lists(LINES, max_size=12))
def test_whatever_comes_nothing_is_raised_and_all_that_is_said_is_a_message(lines: list[str]) -> None:
    session = Session(Bounds(max_calls=4, max_answers=6, max_stubs=20, max_streams=3, max_values=500, max_elements=20))
    echo = Echo(session)
    evaluation = Evaluation(session, echo, "main")
    for line in lines:
        pending = session.feed(line)
        while pending:
            for action in pending:
                if isinstance(action, Evaluate):
                    evaluation.begin(action.cell, action.tree)
                elif isinstance(action, Send):
                    assert isinstance(json.loads(action.text)[0], str)
            pending = session.take()
        assert len(list(session._answers)) <= 4 + 6 + 3
        assert 0 <= session.counts.streams <= 3
        assert session.counts.stream_bytes >= 0
