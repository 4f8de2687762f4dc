"""The protocol of JSON-RPC, message by message, without input and output."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capnet import CapnetError, InvalidArgument, NotFound, ResourceExhausted, Unavailable
from capnet.gateways.bounds import Bounds, Share
from capnet.gateways.jsonrpc import ACP, LSP, MCP, PLAIN, Dialect, Session
from capnet.gateways.jsonrpc.failures import as_error, as_failure
from capnet.gateways.jsonrpc.session import Action, Answered, Begin, Cancel, Close, Dropped, Request, Send
from capnet.gateways.reading import weight_of
from tests.cost import reference_seconds

REFUSING = Dialect()


def message(method: Any, params: Any = None, **more: Any) -> str:
    told = {"jsonrpc": "2.0", "method": method, **more}
    return json.dumps(told if params is None else told | {"params": params})


def sent(actions: Sequence[Action]) -> Any:
    (action,) = actions
    assert isinstance(action, Send)
    assert action.text.isascii() and "\n" not in action.text
    return json.loads(action.text)


def begun(actions: Sequence[Action]) -> Request:
    (action,) = actions
    assert isinstance(action, Begin)
    return action.request


def code(actions: Sequence[Action]) -> int:
    number: int = sent(actions)["error"]["code"]
    return number


# Ids


@pytest.mark.parametrize(
    "written",
    [
        '"a"', '"1"', "1", "0", "-7", "1.5", "1.50", "1.0", "-0", "1e2", "1E+2", "1e400",
        "123456789012345678901234567890", "0.1000000000000000055511151231257827", "null", '""',
    ],
)  # fmt: skip
@pytest.mark.parametrize("batch", [False, True])
def test_ids_go_back_as_they_came(written: str, batch: bool) -> None:
    ours = Session(PLAIN)
    text = f'{{"jsonrpc": "2.0", "id": {written}, "method": "a.b"}}'
    request = begun(ours.feed(f'[{{"x": 1.25}}, {text}]' if batch else text)[-1:])
    (action,) = ours.answer(request, 1)
    assert isinstance(action, Send)
    assert f'{{"jsonrpc":"2.0","id":{written},"result":1}}' in action.text


@pytest.mark.parametrize("written", ["true", "[]", "{}", '"' + "a" * 257 + '"', "1" * 257, "1." + "1" * 257])
def test_what_is_no_id(written: str) -> None:
    answer = sent(Session().feed(f'{{"jsonrpc": "2.0", "id": {written}, "method": "a.b"}}'))
    assert (answer["id"], answer["error"]["code"]) == (None, -32600)


def test_a_text_and_a_number_are_two_ids_and_two_spellings_of_a_number_are_one() -> None:
    ours = Session(LSP)
    one, other = begun(ours.feed(message("a.b", id=1))), begun(ours.feed(message("a.b", id="1")))
    assert code(ours.feed(message("a.b", id=1.0))) == -32600
    actions = ours.feed(message("$/cancelRequest", {"id": "1"}))
    assert actions[0] == Cancel(other)
    assert sent(ours.answer(one, True)) == {"jsonrpc": "2.0", "id": 1, "result": True}


def test_requests_with_the_id_null_are_answered_each() -> None:
    ours = Session()
    one, other = begun(ours.feed(message("a.b", id=None))), begun(ours.feed(message("a.b", id=None)))
    assert sent(ours.answer(one, 1)) == {"jsonrpc": "2.0", "id": None, "result": 1}
    assert sent(ours.answer(other, 2)) == {"jsonrpc": "2.0", "id": None, "result": 2}


# What is refused


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("{", -32700),
        (b"\xff\xfe{\x00}\x00", -32700),
        (b'{"a": "\xff"}', -32700),
        ('{"jsonrpc":"2.0","id":1,"method":"a.b","params":{"a":NaN}}', -32700),
        ("1" * 5000, -32700),
        ('"' + '\\"' * 100_000, -32700),
        ("[" * 100_000, -32600),
        ('{"a":' * 65 + "1" + "}" * 65, -32600),
        ("[" + "1," * 65_536 + "1]", -32600),
        ("1", -32600),
        ('"a.b"', -32600),
        ("null", -32600),
        ("{}", -32600),
        ('{"id":1,"method":"a.b"}', -32600),
        ('{"jsonrpc":"1.0","id":1,"method":"a.b"}', -32600),
        ('{"jsonrpc":"2.0","id":1}', -32600),
        ('{"jsonrpc":"2.0","method":1,"params":"bar"}', -32600),
        ('{"jsonrpc":"2.0","id":1,"method":"' + "a" * 1025 + '"}', -32600),
        ('{"jsonrpc":"2.0","id":1,"method":"a.b","params":1}', -32602),
    ],
)
def test_what_is_refused(text: str | bytes, number: int) -> None:
    """By the number that the table has, once, and the session goes on."""
    ours = Session(REFUSING)
    assert code(ours.feed(text)) == number
    assert begun(ours.feed(message("a.b", id=1))).method == "a.b"


@pytest.mark.parametrize("text", ["", " \n", '{"jsonrpc":"2.0","id":"x","result":{}}', '{"id":1,"error":{}}'])
def test_what_gets_no_answer(text: str) -> None:
    assert all(isinstance(action, Dropped) for action in Session().feed(text))


def test_commas_and_brackets_in_texts_are_no_values() -> None:
    text = '[{,\\"' * 20_000
    request = begun(Session().feed(f'{{"jsonrpc": "2.0", "method": "a.b", "params": ["{text}"]}}'))
    assert request.params == ['[{,"' * 20_000]


def test_a_message_that_is_too_long_is_passed_over() -> None:
    ours = Session(bounds=Bounds(max_message=64))
    assert code(ours.feed(" " * 65)) == -32600
    assert code(ours.too_long()) == -32600


def test_params_that_are_null_are_none() -> None:
    assert begun(Session().feed('{"jsonrpc":"2.0","method":"a.b","params":null}')).params == {}


# Batches


def test_batches_are_refused_once_or_taken() -> None:
    batch = f"[{message('a.b', id=1)}, {message('a.c', id=2)}]"
    answer = sent(Session(REFUSING).feed(batch))
    assert (answer["id"], answer["error"]["code"]) == (None, -32600)
    ours = Session(PLAIN)
    first, second = [begun([action]) for action in ours.feed(batch)]
    assert not ours.answer(second, "two")
    assert sent(ours.answer(first, "one")) == [
        {"jsonrpc": "2.0", "id": 2, "result": "two"},
        {"jsonrpc": "2.0", "id": 1, "result": "one"},
    ]


def test_a_batch_of_anything() -> None:
    """As the specification has it: an answer for each request and for what is none; none for notifications."""
    ours = Session(PLAIN)
    texts = [message("a.b", id=1), message("a.n"), "1", '{"foo": "boo"}', message("a.b", [1], id="9")]
    actions = ours.feed(f"[{','.join(texts)}]")
    requests = [action.request for action in actions if isinstance(action, Begin)]
    assert [request.id for request in requests] == ["1", None, '"9"']
    ours.done(requests[1])
    assert not ours.answer(requests[0], 1)
    answers = sent(ours.answer(requests[2], 2))
    assert [(one["id"], one.get("error", {}).get("code")) for one in answers] == [
        (None, -32600), (None, -32600), (1, None), ("9", None),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["[]", f"[{','.join([message('a.b', id=1)] * 101)}]"])
def test_a_batch_has_one_to_a_hundred_messages(text: str) -> None:
    assert code(Session(PLAIN).feed(text)) == -32600


def test_a_batch_of_notifications_is_not_answered() -> None:
    ours = Session(PLAIN)
    for action in ours.feed(f"[{message('a.n')}, {message('a.n')}]"):
        assert isinstance(action, Begin)
        ours.done(action.request)
        assert not ours.answer(action.request, None)


def test_a_request_of_a_batch_can_be_given_up() -> None:
    for dialect, answers in ((LSP, 2), (MCP, 1)):
        ours = Session(Dialect(cancelling=dialect.cancelling, batches=True))
        cancelling = dialect.cancelling
        assert cancelling is not None
        first, _ = ours.feed(f"[{message('a.b', id=1)}, {message('a.b', id=2)}]")
        ours.feed(message(cancelling.method, {cancelling.parameter: 2}))
        assert len(sent(ours.answer(begun([first]), 1))) == answers


# Giving up


@pytest.mark.parametrize(
    ("dialect", "method", "parameter", "answered"),
    [
        (LSP, "$/cancelRequest", "id", True),
        (ACP, "$/cancel_request", "requestId", True),
        (MCP, "notifications/cancelled", "requestId", False),
    ],
    ids=["lsp", "acp", "mcp"],
)
def test_the_dialects_of_giving_up(dialect: Dialect, method: str, parameter: str, answered: bool) -> None:
    ours = Session(dialect)
    request = begun(ours.feed(message("a.b", id=7)))
    first, *rest = ours.feed(message(method, {parameter: 7}))
    assert first == Cancel(request)
    assert [sent([one])["error"]["code"] for one in rest] == ([-32800] if answered else [])
    assert not ours.answer(request, "late")
    strays: list[Any] = [{parameter: 7}, {parameter: [7]}, {}, [7], {parameter: 1e400}, {parameter: None}]
    for stray in strays:
        assert isinstance(ours.feed(message(method, stray).replace("Infinity", "1e400"))[0], Dropped)
    # Ours: the other side is told in the same way, and what it answers all the same leads to nothing.
    asked, actions = ours.ask("c.d", None)
    assert sent(actions) == {"jsonrpc": "2.0", "id": asked.id, "method": "c.d"}
    assert sent(ours.withdraw(asked)) == {"jsonrpc": "2.0", "method": method, "params": {parameter: asked.id}}
    assert not ours.withdraw(asked)
    assert isinstance(ours.feed(json.dumps({"jsonrpc": "2.0", "id": asked.id, "result": 1}))[0], Dropped)


def test_where_nothing_can_be_given_up_nothing_is_sent() -> None:
    ours = Session(PLAIN)
    asked, _ = ours.ask("c.d", [1])
    assert not ours.withdraw(asked)
    assert begun(ours.feed(message("$/cancelRequest", {"id": 1}))).method == "$/cancelRequest"


# Asking


def test_what_is_asked_is_answered_once() -> None:
    ours = Session()
    asked, actions = ours.ask("c.d", {"x": 1})
    assert sent(actions) == {"jsonrpc": "2.0", "id": asked.id, "method": "c.d", "params": {"x": 1}}
    answer = json.dumps({"jsonrpc": "2.0", "id": asked.id, "result": {"y": 2}})
    assert ours.feed(answer) == [Answered(asked, {"y": 2})]
    assert isinstance(ours.feed(answer)[0], Dropped)


def test_asking_is_bounded_and_ends_with_the_session() -> None:
    ours = Session(bounds=Bounds(max_asked=2))
    asked = [ours.ask("c.d", None)[0] for _ in range(2)]
    with pytest.raises(ResourceExhausted):
        ours.ask("c.d", None)
    failed = [action for action in ours.end() if isinstance(action, Answered)]
    assert [one.asked for one in failed] == asked
    assert all(isinstance(one.error, Unavailable) for one in failed)
    with pytest.raises(Unavailable):
        ours.ask("c.d", None)
    with pytest.raises(Unavailable):
        ours.tell("c.d", None)
    assert not ours.feed(message("a.b", id=1)) and not ours.feed(" " * 5_000_000)


# Errors


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("invalid_argument", -32602),
        ("unimplemented", -32601),
        ("not_found", -32001),
        ("unauthenticated", -32000),
        ("cancelled", -32800),
        ("already_exists", -32603),
        ("deadline_exceeded", -32603),
        ("failed_precondition", -32603),
        ("internal", -32603),
        ("permission_denied", -32603),
        ("resource_exhausted", -32603),
        ("unavailable", -32603),
    ],
)
def test_errors_there_and_back(kind: str, number: int) -> None:
    """Every code has its number, and comes back as it was: between two gateways nothing is lost."""
    error = as_error({"data": {"code": kind}})
    assert error.code == kind
    told = type(error)("why", reason="because", details={"x": [1]})
    failure = as_failure(told, PLAIN, told.details)
    assert failure == {
        "code": number,
        "message": "why",
        "data": {"code": kind, "reason": "because", "details": {"x": [1]}},
    }
    again = as_error(json.loads(json.dumps(failure)))
    assert (again.code, again.message, again.reason, again.details) == (kind, "why", "because", {"x": [1]})


def test_the_numbers_of_a_dialect() -> None:
    assert as_failure(NotFound("x"), ACP)["code"] == -32002
    dialect = Dialect(numbers={"permission_denied": -32001})
    assert as_failure(as_error({"data": {"code": "permission_denied"}}), dialect)["code"] == -32001


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (-32700, "internal"), (-32600, "invalid_argument"), (-32601, "unimplemented"), (-32602, "invalid_argument"),
        (-32603, "internal"), (-32000, "unauthenticated"), (-32001, "not_found"), (-32002, "not_found"),
        (-32800, "cancelled"), (17, "internal"), ("-32601", "internal"), (True, "internal"), (10**30, "internal"),
    ],
)  # fmt: skip
def test_errors_of_others_by_their_numbers(number: Any, kind: str) -> None:
    error = as_error({"code": number, "message": "why", "data": {"code": "unheard", "more": 1}})
    assert (error.code, error.message, error.reason) == (kind, "why", "jsonrpc")
    assert error.details["data"] == {"code": "unheard", "more": 1}


@pytest.mark.parametrize("failure", [None, 1, [], {}, {"code": 1, "message": [], "data": {"code": []}}])
def test_an_error_that_is_none(failure: Any) -> None:
    assert as_error(failure).code == "internal"


def test_an_answer_with_an_error_raises_it() -> None:
    ours = Session()
    asked, _ = ours.ask("c.d", None)
    told = {"code": -32602, "message": "no"}
    (action,) = ours.feed(json.dumps({"jsonrpc": "2.0", "id": asked.id, "error": told, "result": None}))
    assert isinstance(action, Answered) and isinstance(action.error, InvalidArgument)


# Bounds


def test_what_is_worked_on_at_a_time_is_bounded_for_a_session() -> None:
    ours = Session(bounds=Bounds(max_calls=2))
    first = begun(ours.feed(message("a.b", id=1)))
    begun(ours.feed(message("a.n")))
    answer = sent(ours.feed(message("a.b", id=3)))
    assert (answer["id"], answer["error"]["code"], answer["error"]["data"]["reason"]) == (3, -32603, "max_calls")
    assert isinstance(ours.feed(message("a.n"))[0], Dropped)
    ours.answer(first, None)
    begun(ours.feed(message("a.b", id=3)))


def test_and_for_a_principal() -> None:
    share, bounds = Share(), Bounds(max_shared_calls=2)
    one, other = Session(bounds=bounds, share=share), Session(bounds=bounds, share=share)
    begun(one.feed(message("a.b", id=1)))
    begun(other.feed(message("a.b", id=1)))
    assert code(other.feed(message("a.b", id=2))) == -32603
    one.end()
    begun(other.feed(message("a.b", id=2)))
    other.end()
    assert (share.calls, share.output) == (0, 0)


WEIGHS = {
    "letters": '"' + "x" * 100_000 + '"',
    "wide letters": '"' + "\U0001f600" * 10_000 + '"',
    "one wide letter": '"\U0001f600' + "x" * 100_000 + '"',
    "escaped letters": '"\\ud83d\\ude00' + "x" * 100_000 + '"',
    "numbers": f"[{','.join(map(str, range(10**6, 10**6 + 5000)))}]",
    "fractions": f"[{','.join(f'{number}.5' for number in range(5000))}]",
    "lists": f"[{','.join(['[[]]'] * 5000)}]",
    "objects": f"[{','.join(['{}'] * 5000)}]",
    "small objects": json.dumps([{f"k{number}": number} for number in range(5000)]),
    "keys": "{" + ",".join(f'"{number}":"{number}"' for number in range(5000)) + "}",
}


@pytest.mark.parametrize("what", [*WEIGHS])
def test_a_text_weighs_what_its_value_takes_up(what: str) -> None:
    text = WEIGHS[what]
    assert _size(json.loads(text)) < 1.4 * weight_of(text)


def _size(value: Any) -> int:
    parts: list[Any] = []
    if isinstance(value, dict | list):
        parts += cast("Any", value)
    if isinstance(value, dict):
        parts += cast("dict[str, Any]", value).values()
    return sys.getsizeof(value) + sum(map(_size, parts))  # pyright: ignore[reportUnknownArgumentType]


@pytest.mark.parametrize(
    "bounds", [Bounds(max_pending=8000), Bounds(max_shared_pending=8000)], ids=["session", "principal"]
)
def test_what_is_worked_on_takes_up_so_much(bounds: Bounds) -> None:
    share = Share()
    one, other = (Session(LSP, bounds=bounds, share=share) for _ in range(2))
    first = begun(one.feed(message("a.b", ["x" * 6000], id=1)))
    session = one if bounds.max_pending == 8000 else other
    assert sent(session.feed(message("a.b", ["x" * 3000], id=2)))["error"]["data"]["reason"] == "max_pending"
    assert isinstance(session.feed(message("a.n", ["x" * 3000]))[0], Dropped)
    one.answer(first, None)
    assert share.pending == 0
    begun(session.feed(message("a.b", ["x" * 5000], id=2)))
    begun(session.feed(message("a.n", ["x" * 1000])))
    assert code(session.feed(message("a.b", ["x" * 3000], id=3))) == -32603
    for each in (one, other):
        each.end()
    assert (share.calls, share.pending) == (0, 0)
    assert code(Session(LSP, bounds=bounds).feed(message("a.b", ["x" * 9000], id=1))) == -32603


def test_a_batch_takes_up_what_it_does_until_all_of_it_is_over() -> None:
    share = Share()
    ours = Session(PLAIN, bounds=Bounds(max_pending=6000), share=share)
    large = message("a.b", ["x" * 3000], id=1)
    first, second, third = ours.feed(f"[{large},{message('a.n')},{message('a.b', id=2)}]")
    weight = share.pending
    assert code(ours.feed(message("a.b", ["x" * 3000], id=3))) == -32603
    ours.answer(begun([first]), None)
    ours.done(begun([second]))
    assert share.pending == weight > 3000
    ours.answer(begun([third]), None)
    assert share.pending == 0


@pytest.mark.parametrize(
    "bounds", [Bounds(max_output=10_000), Bounds(max_shared_output=10_000)], ids=["session", "principal"]
)
def test_a_client_that_reads_nothing_is_sent_away(bounds: Bounds) -> None:
    """What waits for it never takes more than the bound and one message."""
    share = Share()
    ours = Session(PLAIN, bounds=bounds, share=share)
    for number in range(1000):
        actions = ours.feed(message("a.b", id=number))
        actions = ours.answer(begun(actions), "x" * 100)
        if isinstance(actions[-1], Close):
            break
    else:
        pytest.fail("it never ends")
    assert 10_000 < share.output < 10_200
    assert not ours.feed(message("a.b", id=1))
    ours.end()
    assert (share.calls, share.output) == (0, 0)


def test_answers_that_a_batch_keeps_count_as_well() -> None:
    share = Share()
    ours = Session(PLAIN, bounds=Bounds(max_output=10_000), share=share)
    first, second, _ = ours.feed(f"[{','.join(message('a.b', id=number) for number in range(3))}]")
    assert not ours.answer(begun([first]), "x" * 1000)
    assert share.output > 1000
    assert ours.answer(begun([second]), "x" * 10_000) == [Close("the client does not take what it is sent")]


def test_while_much_waits_nothing_more_should_be_read() -> None:
    ours = Session(bounds=Bounds(max_output=1600))
    (action,) = ours.tell("n", ["x" * 200])
    assert ours.crowded
    assert isinstance(action, Send)
    ours.taken(action.text)
    assert not ours.crowded


@pytest.mark.parametrize(
    ("begin", "again", "end"),
    [
        ('"', '\\"', ""),
        ("[", '"",', ""),
        ("", '{"a":', ""),
        ('["', "[,{", '"]'),
        ("", '"\\', ""),
        ("[" * 80, '"', ""),
    ],
    ids=["quotes", "texts", "deep", "brackets", "escapes", "pairs"],
)
def test_what_a_message_costs_grows_with_its_length(begin: str, again: str, end: str) -> None:
    """Four times as much takes nowhere near sixteen times as long."""
    ours = Session()

    def seconds(size: int) -> float:
        hostile = begin + again * size + end
        return reference_seconds(lambda: ours.feed(hostile), 1.0, tries=5)

    assert seconds(400_000) < 16 * seconds(100_000)


# Anything

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
MESSAGES = JSON | st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | JSON,
        "method": st.sampled_from(["a.b", "$/cancelRequest"]) | JSON,
        "id": st.integers(0, 3) | st.sampled_from(["capnet-1", "capnet-2"]) | JSON,
        "params": JSON | st.fixed_dictionaries({"id": st.integers(0, 3) | JSON}),
        "result": JSON,
        "error": JSON | st.fixed_dictionaries({}, optional={"code": JSON, "message": JSON, "data": JSON}),
    },
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        MESSAGES.map(json.dumps) | st.lists(MESSAGES, max_size=4).map(json.dumps) | st.text() | st.binary(), max_size=8
    ),
    st.sampled_from([PLAIN, LSP, MCP, Dialect(cancelling=LSP.cancelling, batches=True)]),
)
def test_any_messages_leave_a_session_that_answers(texts: list[str | bytes], dialect: Dialect) -> None:
    """Nothing is raised, what is sent is JSON, each request is answered once, and nothing is left in the end."""
    share = Share()
    ours = Session(dialect, bounds=Bounds(max_calls=4), share=share)
    for _ in range(2):
        ours.ask("c.d", None)
    open_: list[Request] = []
    for text in texts:
        for action in ours.feed(text):
            match action:
                case Send(told):
                    json.loads(told)
                case Begin(request):
                    open_.append(request)
                case Cancel(request):
                    open_.remove(request)
                case Answered(_, _, error):
                    assert error is None or isinstance(error, CapnetError)
                case _:
                    pass
        assert len(open_) <= 4 == ours.bounds.max_calls and share.calls == len(open_)
    for request in open_:
        ours.answer(request, None)
        assert not ours.answer(request, None)
    assert share.calls == 0
    begun(ours.feed(message("a.b", id="the last one")))
    ours.end()
    assert (share.calls, share.output) == (0, 0)
