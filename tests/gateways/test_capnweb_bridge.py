"""What a host serves, as a client of Cap'n Web sees it."""

from __future__ import annotations

import json
import logging
from typing import Any, cast

import pytest

from capnet import Admission, Cap, Denied, FailedPrecondition, Host, NotFound, Policy, call, restrict, revoke
from capnet.gateways.capnweb import Bounds
from capnet.gateways.capnweb.actions import Evaluate, Send
from capnet.gateways.capnweb.session import Session
from tests.gateways.client_errors import DETAILS
from tests.gateways.lounge import MemLounge, Room
from tests.gateways.webclient import Client, client

SAID: dict[str, str] = {
    "call": """
        C ["push",["pipeline",0,["hello"],["ann"]]]
        C ["pull",1]
        S ["resolve",1,"hello ann"]
        C ["release",1,1]
    """,
    "pipelined": """
        C ["push",["pipeline",0,["open"],["tea"]]]
        C ["push",["pipeline",1,["post"],["hi"]]]
        C ["push",["pipeline",1,["info"],[]]]
        C ["pull",2]
        C ["push",["pipeline",3,["tags","1"]]]
        C ["pull",4]
        S ["resolve",2,1]
        S ["resolve",4,"b"]
        C ["release",2,1]
        C ["release",4,1]
    """,
    "result as argument": """
        C ["push",["pipeline",0,["numbers"],[]]]
        C ["push",["pipeline",0,["square"],[["pipeline",1,["1"]]]]]
        C ["pull",2]
        S ["resolve",2,4]
        C ["push",["pipeline",0,["square"],[["import",1,[2]]]]]
        C ["pull",3]
        S ["resolve",3,9]
    """,
    "two stubs": """
        C ["push",["pipeline",0,["open"],["a"]]]
        C ["pull",1]
        S ["resolve",1,["export",-1]]
        C ["release",1,1]
        C ["push",["pipeline",-1,["post"],["one"]]]
        C ["push",["pipeline",0,["open"],["b"]]]
        C ["push",["pipeline",0,["merge"],[["pipeline",3],["import",-1]]]]
        C ["pull",4]
        S ["resolve",4,[["me: one"]]]
        C ["release",4,1]
        C ["release",-1,1]
    """,
    "callback": """
        C ["push",["pipeline",0,["each"],[["export",-1]]]]
        C ["pull",1]
        S ["push",["pipeline",-1,[],[0]]]
        S ["pull",1]
        C ["resolve",1,0]
        S ["release",1,1]
        S ["push",["pipeline",-1,[],[1]]]
        S ["pull",2]
        C ["resolve",2,10]
        S ["release",2,1]
        S ["push",["pipeline",-1,[],[2]]]
        S ["pull",3]
        C ["resolve",3,20]
        S ["release",3,1]
        S ["release",-1,1]
        S ["resolve",1,[[[[0,0]],[[1,10]],[[2,20]]]]]
    """,
    "local promise": """
        C ["push",["pipeline",0,["square"],[["promise",-1]]]]
        C ["pull",1]
        C ["resolve",-1,7]
        S ["release",-1,1]
        S ["resolve",1,49]
        C ["push",["pipeline",0,["square"],[["promise",-2]]]]
        C ["pull",2]
        C ["reject",-2,["error","RangeError","no"]]
        S ["release",-2,1]
        S ["reject",2,["error","Error","RangeError: no",null,{"code":"internal"}]]
    """,
    "error": """
        C ["push",["pipeline",0,["fail"],["not_found"]]]
        C ["pull",1]
        S ["reject",1,["error","Error","no such room",null,{"code":"not_found","reason":"room","details":{"which":7}}]]
        C ["release",1,1]
    """,
    "broken chain": """
        C ["push",["pipeline",0,["fail"],["not_found"]]]
        C ["push",["pipeline",1,["post"],["x"]]]
        C ["push",["pipeline",0,["square"],[["pipeline",2]]]]
        C ["pull",3]
        S ["reject",3,["error","Error","no such room",null,{"code":"not_found","reason":"room","details":{"which":7}}]]
    """,
    "map": """
        C ["push",["pipeline",0,["numbers"],[]]]
        C ["push",["remap",1,[],[["import",0]],[["pipeline",-1,["square"],[["pipeline",0]]],[[["pipeline",1]]]]]]
        C ["pull",2]
        S ["resolve",2,[[[[1]],[[4]],[[9]]]]]
    """,
    "upload": """
        C ["pipe"]
        C ["push",["pipeline",0,["upload"],[["readable",1]]]]
        C ["stream",["pipeline",1,["write"],["abc"]]]
        C ["stream",["pipeline",1,["write"],["de"]]]
        C ["pull",2]
        C ["stream",["pipeline",1,["close"],[]]]
        S ["resolve",3,null]
        S ["resolve",4,null]
        S ["resolve",5,null]
        S ["resolve",2,5]
        C ["release",2,1]
        C ["release",1,1]
    """,
    "download": """
        C ["push",["pipeline",0,["download"],[2]]]
        C ["pull",1]
        S ["pipe"]
        S ["resolve",1,["readable",1]]
        S ["stream",["pipeline",1,["write"],["line 0"]]]
        S ["stream",["pipeline",1,["write"],["line 1"]]]
        S ["stream",["pipeline",1,["close"],[]]]
        C ["release",1,1]
        C ["resolve",2,["undefined"]]
        C ["resolve",3,["undefined"]]
        C ["resolve",4,["undefined"]]
        S ["release",1,1]
    """,
    "a stream that breaks off": """
        C ["push",["pipeline",0,["broken"],[]]]
        C ["pull",1]
        S ["pipe"]
        S ["resolve",1,["readable",1]]
        S ["stream",["pipeline",1,["write"],[1]]]
        S ["stream",["pipeline",1,["abort"],[["error","Error","no more",null,{"code":"not_found","reason":"end"}]]]]
        S ["release",1,1]
    """,
    "something to write into": """
        C ["push",["pipeline",0,["fill"],[["writable",-1],2]]]
        C ["pull",1]
        S ["stream",["pipeline",-1,["write"],[0]]]
        S ["stream",["pipeline",-1,["write"],[1]]]
        S ["stream",["pipeline",-1,["close"],[]]]
        S ["resolve",1,2]
        C ["resolve",1,["undefined"]]
        C ["resolve",2,["undefined"]]
        C ["resolve",3,["undefined"]]
        S ["release",-1,1]
    """,
    "something of the host's to write into": """
        C ["push",["pipeline",0,["box"],[]]]
        C ["pull",1]
        S ["resolve",1,["writable",-1]]
        C ["release",1,1]
        C ["stream",["pipeline",-1,["write"],["one"]]]
        C ["stream",["pipeline",-1,["write"],["two"]]]
        C ["stream",["pipeline",-1,["close"],[]]]
        S ["resolve",2,null]
        S ["resolve",3,null]
        S ["resolve",4,null]
        C ["release",-1,1]
        C ["push",["pipeline",0,["boxed"],[]]]
        C ["pull",5]
        S ["resolve",5,[["one","two"]]]
    """,
    "an object comes home": """
        C ["push",["pipeline",0,["keep"],[["export",-1]]]]
        C ["pull",1]
        S ["resolve",1,null]
        C ["push",["pipeline",0,["kept"],[]]]
        C ["pull",2]
        S ["resolve",2,["export",-1]]
        C ["push",["pipeline",-1,["heard"],["a"]]]
        C ["pull",3]
        S ["push",["pipeline",-1,["heard"],["a"]]]
        S ["pull",1]
        C ["resolve",1,5]
        S ["release",1,1]
        S ["resolve",3,5]
        C ["release",-1,1]
        C ["release",2,1]
        C ["push",["pipeline",0,["drop"],[]]]
        S ["release",-1,1]
    """,
    "not awaited": """
        C ["push",["pipeline",0,["open"],["tea"]]]
    """,
    "the same capability has one number": """
        C ["push",["pipeline",0,["open"],["tea"]]]
        C ["pull",1]
        S ["resolve",1,["export",-1]]
        C ["push",["pipeline",0,["open"],["tea"]]]
        C ["pull",2]
        S ["resolve",2,["export",-1]]
        C ["release",1,1]
        C ["release",2,1]
        C ["release",-1,2]
        C ["push",["pipeline",0,["open"],["tea"]]]
        C ["pull",3]
        S ["resolve",3,["export",-2]]
        C ["release",-2,1]
    """,
    "the client ends": """
        C ["abort",["error","Error","enough"]]
    """,
}
"""Sessions: what the client says, and what it is told; what is not in order comes from different tasks."""


@pytest.mark.parametrize("name", [*SAID])
async def test_a_session_as_it_is_said(name: str) -> None:
    async with client() as one:
        awaited: list[str] = []
        for line in SAID[name].split("\n"):
            speaker, _, message = line.strip().partition(" ")
            if speaker == "S":
                awaited.append(message)
            elif speaker == "C":
                await heard(one, awaited)
                one.says(message)
        await heard(one, awaited)
        await one.quiet()
        assert (one.closed is not None) is (name == "the client ends")


async def heard(one: Client, messages: list[str]) -> None:
    """These messages come, in whatever order the tasks of the gateway run."""
    wanted = [json.loads(message) for message in messages]
    messages.clear()
    while wanted:
        message = await one.next()
        assert message in wanted
        wanted.remove(message)


def lounge(method: str, *arguments: Any) -> list[Any]:
    """The expression of a call on the lounge."""
    return ["pipeline", 0, [method], list(arguments)]


# --- values, by the contract ---


THERE_AND_BACK: list[tuple[Any, Any]] = [
    (lounge("hello", "ann", "good day"), "good day ann"),
    (lounge("hello", "ann", ["undefined"]), "hello ann"),
    (lounge("hello", "ann", ["undefined"], ["undefined"]), "hello ann"),
    (lounge("same", ["undefined"]), None),
    (lounge("same", [[1, [["a"]], [[]]]]), [[1, [["a"]], [[]]]]),
    (lounge("same", {"a": ["undefined"], "b": {"c": None}}), {"b": {"c": None}}),
    (lounge("same", {"constructor": 1, "toJSON": [[2]], "__proto__": {"a": 1}, "d": 4}), {"d": 4}),
    (lounge("same", ["bigint", "18446744073709551615"]), ["bigint", "18446744073709551615"]),
    (lounge("same", ["bigint", "-5"]), -5),
    (lounge("same", ["inf"]), ["inf"]),
    (lounge("same", ["-inf"]), ["-inf"]),
    (lounge("same", ["nan"]), ["nan"]),
    (lounge("same", ["url", "http://a/b"]), "http://a/b"),
    (lounge("same", 1e300), 1e300),
    (lounge("data", ["bytes", "AQL/"]), ["bytes", "/wIB"]),
    (lounge("data", ["bytes", "AQ=="]), ["bytes", "AQ"]),
    (lounge("data", ["bytes", "AQ", "Uint8Array"]), ["bytes", "AQ"]),
    (lounge("data", ["bytes", "AQ", "ArrayBuffer"]), ["bytes", "AQ"]),
    (lounge("after", ["date", 0]), ["date", 86400000]),
    (lounge("after", ["date", -1.5], 0), ["date", -2]),
    (lounge("after", "2026-01-01T00:00:00"), "2026-01-02T00:00:00"),
    (lounge("square", 3.0), 9),
    (lounge("half", 5), 2.5),
]


async def test_values_go_there_and_back() -> None:
    async with client() as one:
        for given, found in THERE_AND_BACK:
            assert (given, await one.ask(given)) == (given, found)


async def test_results_have_dates_where_moments_are_declared() -> None:
    async with client() as one:
        room = one.push(lounge("open", "tea"))
        info = await one.ask(["pipeline", room, ["info"], []])
        assert info == {"topic": "tea", "tags": [["a", "b"]], "opened": ["date", 1767323045000], "last": None}
        moment = ["pipeline", one.push(["pipeline", room, ["info"], []]), ["opened"]]
        assert await one.ask(lounge("after", moment, 0)) == ["date", 1767323045000]


CANNOT_PASS: list[Any] = [
    lounge("same", ["date", 0]),
    lounge("after", ["date", None]),
    lounge("after", ["date", 1e18]),
    lounge("same", ["bigint", "9" * 21]),
    lounge("same", ["bigint", "9" * 5000]),
    lounge("same", ["bytes", "AAAAAA", "Float32Array"]),
    lounge("same", ["error", "Error", "x"]),
    lounge("same", ["headers", [[["a", "b"]]]]),
    lounge("same", ["request", "http://a/", {}]),
    lounge("same", ["response", None, {}]),
    lounge("same", ["blob", "text/plain", ["readable", 9]]),
    lounge("same", ["writable", -1]),
    lounge("same", ["export", -1]),
    lounge("anything", ["export", -1]),
    lounge("square", ["export", -1]),
    lounge("square", "x"),
    lounge("square"),
    lounge("square", 1, 2),
    lounge("hello", "a", "b", {"greeting": "c"}),
    lounge("upload", [["a"]]),
    lounge("fill", ["export", -1], 1),
]


async def test_what_cannot_be_passed_on_fails_its_call_and_nothing_else() -> None:
    async with client() as one:
        for given in CANNOT_PASS:
            assert (given, (await one.error(given))["code"]) == (given, "invalid_argument")
        assert await one.ask(lounge("hello", "ann")) == "hello ann"
        assert [message for message in one.told if message[0] != "release"] == []


LOST = [
    "__proto__", "constructor", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable", "toLocaleString", "toString",
    "valueOf", "__defineGetter__", "__defineSetter__", "__lookupGetter__", "__lookupSetter__", "toJSON",
]  # fmt: skip


def test_keys_that_a_client_loses_never_travel() -> None:
    """In a result they fail it, in an argument they are dropped as clients do, and in an error they are left out."""
    session = Session()
    for key in LOST:
        with pytest.raises(FailedPrecondition):
            session.ask(-1, (), [[{"a": {key: 1}}]])
        (evaluate,) = session.feed(json.dumps(["push", {key: 1, "kept": 2}]))
        assert isinstance(evaluate, Evaluate)
        assert evaluate.tree == {"kept": 2}
        assert evaluate.cell.done is False
        evaluate.cell.fail(NotFound("no", details={key: 1, "kept": {key: 2}}))
    session.feed(f'["pull",{len(LOST)}]')
    assert not any(key in one.text for key in LOST for one in session.take() if isinstance(one, Send))


async def test_a_key_that_a_client_would_lose_fails_the_call() -> None:
    async with client() as one:
        found = await one.error(lounge("odd"))
        assert (found["code"], found["reason"]) == ("failed_precondition", "unencodable_result")


async def test_arguments_that_are_named_come_in_an_object_at_the_end() -> None:
    async with client() as one:
        room = one.push(lounge("open", "tea"))
        assert await one.ask(["pipeline", room, ["post"], ["hi", {"author": "ann"}]]) == 1
        assert (await one.error(["pipeline", room, ["post"], ["hi", {"other": 1}]]))["code"] == "invalid_argument"
        assert await one.ask(["pipeline", room, ["texts"], []]) == [["ann: hi"]]


async def test_errors_tell_no_secrets_and_come_back_as_they_were() -> None:
    async with client() as one:
        word, error = await one.pull(one.push(lounge("fail", "other")))
        assert word == "reject"
        assert error[4]["code"] == "internal"
        assert "secret" not in json.dumps(error)
        number = one.push(lounge("each", ["export", -1]))
        assert (await one.next())[0] == "push"
        assert (await one.next())[0] == "pull"
        one.says(["reject", 1, ["error", "TypeError", "of mine", "a stack", {"code": "not_found", "reason": "x"}]])
        word, error = await one.pull(number)
        assert error == ["error", "Error", "of mine", None, {"code": "not_found", "reason": "x"}]


async def test_errors_of_a_client_may_hold_anything(caplog: pytest.LogCaptureFixture) -> None:
    """What can be passed on of their details is, and nobody is told of a fault at the host."""
    more: list[tuple[Any, dict[str, Any]]] = [
        ({"a": ["bigint", "9" * 20], "b": ["export", -9], "c": ["pipeline", 0], "d": ["date", 0]}, {}),
        ({"a": ["bytes", "AQ"], "b": ["writable", -8], "c": ["error", "E", "m"]}, {"a": ["bytes", "AQ"]}),
        ({"a": [["remap", 0, [], [], [1]]], "b": ["bigint", "9" * 30], "c": 1}, {"c": 1}),
    ]
    plain = [row for name, row in DETAILS.items() if "large" not in name and "surrogate" not in name]
    async with client() as one:
        for asked, (details, kept) in enumerate([*plain, *more], 1):
            number = one.push(lounge("each", ["export", -1]))
            await one.is_asked()
            properties = {"code": "not_found", "details": written(details)}
            one.says(["reject", asked, ["error", "Error", "no", None, properties]])
            _, error = await one.pull(number)
            assert error[4] == {"code": "not_found"} | ({"details": written(kept)} if kept else {})
        assert one.closed is None
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


def written(value: Any) -> Any:
    """Plain data as an expression; what is one already stays."""
    if isinstance(value, dict):
        return {key: written(item) for key, item in cast("dict[str, Any]", value).items()}
    items: list[Any] = cast("Any", value) if isinstance(value, list) else [""]
    return cast("Any", value) if items and isinstance(items[0], str) else [[written(item) for item in items]]


CODES = [
    "cancelled", "invalid_argument", "deadline_exceeded", "not_found", "already_exists", "permission_denied",
    "unauthenticated", "resource_exhausted", "failed_precondition", "unimplemented", "unavailable", "internal",
]  # fmt: skip


async def test_each_code_goes_there_and_back() -> None:
    """What a client throws with one of the twelve comes as that, and leaves as that; others are internal."""
    async with client() as one:
        for asked, code in enumerate([*CODES, "other", 5], 1):
            number = one.push(lounge("each", ["export", -1]))
            await one.is_asked()
            one.says(["reject", asked, ["error", "RangeError", "no", "a stack", {"code": code, "reason": "x"}]])
            _, (_, name, message, stack, properties) = await one.pull(number)
            known = code in CODES
            assert name == ("TypeError" if code in ("invalid_argument", "unimplemented") else "Error")
            assert (message, stack) == ("no" if known else "RangeError: no", None)
            assert properties == {"code": code if known else "internal", "reason": "x"}


NOT_THERE: list[tuple[Any, str]] = [
    (["pipeline", 0, ["missing"], []], "unimplemented"),
    (["pipeline", 0, ["_private"], []], "unimplemented"),
    (["pipeline", 0, ["aclose"], []], "unimplemented"),
    (["pipeline", 0, ["title"]], "unimplemented"),
    (["pipeline", 0, [], []], "unimplemented"),
    (["pipeline", 0, ["rooms", "x"], []], "unimplemented"),
    (["remap", 0, [], [], []], "invalid_argument"),
]


async def test_what_is_not_there_is_told() -> None:
    async with client() as one:
        for given, code in NOT_THERE:
            assert (given, (await one.error(given))["code"]) == (given, code)


# --- the client's objects ---


async def test_the_clients_objects_are_called_and_given_back() -> None:
    async with client() as one:
        number = one.push(lounge("listen", ["export", -1]))
        one.says(["pull", number])
        asked: list[Any] = []
        given_back: list[Any] = []
        answers: dict[str, Any] = {
            "heard": 7,
            "friend": ["export", -2],
            "when": ["date", 1767225600000 + 3 * 86400000],
            "numbers": ["readable", number + 1],
        }
        listen = number
        while (message := await one.next())[:2] != ["resolve", listen]:
            if message[0] == "release" and message[1] < 0:
                given_back.append(message)
            if message[0] != "push":
                continue
            method = message[1][2][0]
            asked.append(message[1][1:])
            if method == "numbers":
                one.says(["pipe"])
            one.says(["resolve", len(asked), answers[method]])
            if method == "numbers":
                for item in (4, 5):
                    one.says(["stream", ["pipeline", number + 1, ["write"], [item]]])
                one.says(["stream", ["pipeline", number + 1, ["close"], []]], ["release", number + 1, 1])
                number += 4
            answers["heard"] = 8
        assert message[2] == [[7, 8, 4, 5, 3, 8]]
        assert asked == [
            [-1, ["heard"], ["a"]],
            [-1, ["heard"], ["b", 2, {"loud": True}]],
            [-1, ["numbers"], [3]],
            [-1, ["when"], [["date", 1767225600000]]],
            [-1, ["friend"], []],
            [-2, ["heard"], ["c"]],
        ]
        assert await one.over() == {"imports": 1}
        assert sorted(given_back + one.told) == [["release", -2, 1], ["release", -1, 1]]


async def test_a_contract_that_nobody_has_named_is_told() -> None:
    async with client(contracts=()) as one:
        found = await one.error(lounge("keep", ["export", -1]))
        assert (found["code"], found["reason"]) == ("failed_precondition", "contract")


async def test_a_call_on_the_client_that_nobody_waits_for_is_released() -> None:
    async with client() as one:
        number = one.push(lounge("each", ["export", -1]))
        one.says(["pull", number])
        await one.hears('["push",["pipeline",-1,[],[0]]]', '["pull",1]')
        one.says(["release", number, 1])
        assert sorted([await one.next(), await one.next()]) == [["release", -1, 1], ["release", 1, 1]]
        one.says(["resolve", 1, ["export", -5]])
        assert await one.next() == ["release", -5, 1]
        assert await one.over() == {"imports": 1}


# --- what is kept, and given up ---


async def test_what_is_only_pipelined_on_is_not_kept_at_the_host() -> None:
    async with client() as one:
        for _ in range(600):  # more than twice `Limits.max_calls`, above which a connection would end
            room = one.push(lounge("open", "tea"))
            await one.ask(["pipeline", room, ["texts"], []])
        assert one.connection.closed is False
        assert one.connection.stats()["answers_kept"] == 0
        assert one.connection.stats()["imports"] == 2


async def test_a_release_of_what_was_pulled_cancels_it() -> None:
    async with client() as one:
        slow = one.push(lounge("slow"))
        one.says(["pull", slow])
        await one.ask(lounge("hello", "ann"))
        assert (one.lounge.begun, one.lounge.cancelled) == (1, 0)
        one.says(["release", slow, 1])
        await one.quiet()
        assert one.lounge.cancelled == 1


async def test_a_release_of_what_nobody_waited_for_lets_it_run() -> None:
    async with client() as one:
        slow = one.push(lounge("slow"))
        await one.ask(lounge("hello", "ann"))
        one.says(["release", slow, 1])
        await one.quiet()
        assert (one.lounge.begun, one.lounge.cancelled) == (1, 0)


async def test_a_release_of_what_others_need_lets_it_run() -> None:
    async with client() as one:
        room = one.push(lounge("later", "tea"))
        posted = one.push(["pipeline", room, ["post"], ["hi"]])
        one.says(["pull", room], ["release", room, 1])
        one.lounge.go.set()
        assert await one.pull(posted) == ("resolve", 1)


async def test_what_was_given_up_before_it_could_begin_does_not() -> None:
    async with client() as one:
        posted = one.push(["pipeline", one.push(lounge("later", "tea")), ["post"], ["hi"]])
        one.says(["pull", posted], ["release", posted, 1])
        one.lounge.go.set()
        assert await one.ask(["pipeline", one.push(lounge("open", "tea")), ["texts"], []]) == [[]]


async def test_calls_begin_in_the_order_in_which_they_come() -> None:
    async with client() as one:
        room = one.push(lounge("later", "tea"))
        for number in range(5):
            one.push(["pipeline", room, ["post"], [str(number)]])
        texts = one.push(["pipeline", room, ["texts"], []])
        one.lounge.go.set()
        assert await one.pull(texts) == ("resolve", [[f"me: {number}" for number in range(5)]])


async def test_a_long_chain_of_steps_is_no_deep_one() -> None:
    async with client(bounds=Bounds(max_calls=10_000, max_pending=10**8)) as one:
        number = one.push(lounge("later", "tea"))
        for _ in range(5000):
            number = one.push(["pipeline", number])
        one.lounge.go.set()
        assert await one.pull(number) == ("resolve", ["export", -1])


# --- maps ---


async def test_a_map_over_capabilities_in_maps() -> None:
    async with client() as one:
        for topic in ("a", "b"):
            await one.ask(lounge("open", topic))
        rooms = one.push(lounge("rooms"))
        tags = ["remap", 1, ["tags"], [["import", 0]], [[[["pipeline", 0], ["pipeline", -1]]]]]
        instructions = [["pipeline", 0, ["info"], []], tags, [[["pipeline", 1, ["topic"]], ["pipeline", 2]]]]
        found = await one.ask(["remap", rooms, [], [], instructions])

        def expected(topic: str, room: int) -> Any:
            return [[topic, [[[["a", ["export", room]]], [["b", ["export", room]]]]]]]

        assert found == [[expected("a", -1), expected("b", -2)]]


async def test_a_map_over_nothing_and_over_one() -> None:
    async with client() as one:
        for given, found in ((None, None), (3, 9)):
            value = one.push(lounge("same", given))
            square = ["remap", value, [], [["import", 0]], [["pipeline", -1, ["square"], [["pipeline", 0]]]]]
            assert await one.ask(square) == found


_THREE = ["remap", 0, [], [], [["remap", 0, [], [], [["pipeline", 0]]]]]
NO_MAPS: list[Any] = [
    [[[_THREE]]],
    [{"a": _THREE}],
    [["pipeline", -1, ["square"], [_THREE]]],
    [["pipeline", 0]] * 33,
    [["remap", 0, [], [], [["remap", 0, [], [], [["pipeline", 0]]]]]],
    [["pipeline", 5]],
    [["pipeline", -2]],
    [["export", -1]],
    [["readable", 1]],
    [["promise", -1]],
    [[1, 2]],
    [[[[1] * 1100]], ["pipeline", 0]],
]


async def test_maps_that_are_too_much_or_nothing() -> None:
    async with client() as one:
        numbers = one.push(lounge("numbers"))
        for instructions in NO_MAPS:
            found = await one.error(["remap", numbers, [], [["import", 0]], instructions])
            assert found["code"] in ("resource_exhausted", "invalid_argument")
        assert await one.ask(lounge("hello", "ann")) == "hello ann"


async def test_a_map_leads_to_no_more_values_than_it_may() -> None:
    async with client(bounds=Bounds(max_values=2000, max_elements=100)) as one:
        numbers = one.push(lounge("same", [list(range(100))]))
        found = await one.error(["remap", numbers, [], [], [[[0] * 200]]])
        assert one.session.counts.work < 20_000
        assert (found["code"], found["reason"]) == ("resource_exhausted", "max_values")
        maps = [["remap", numbers, [], [], [[[0] * 10]]] for _ in range(20)]
        assert (await one.error([maps]))["reason"] == "max_values"
        too_many = one.push(lounge("same", [list(range(101))]))
        assert (await one.error(["remap", too_many, [], [], [["pipeline", 0]]]))["reason"] == "max_map"


# --- streams ---


async def test_a_write_is_answered_when_it_was_read() -> None:
    """The host reads no further than its stream's window, and so the client is held."""
    async with client(limits=None) as one:
        one.says(["pipe"])
        one.pushed += 1
        first = one.push(lounge("first", ["readable", 1]))
        await one.ask(lounge("hello", "ann"))
        for number in range(3):
            one.says(["stream", ["pipeline", 1, ["write"], [str(number)]]])
            one.pushed += 1
        word, value = await one.pull(first)
        assert (word, value) == ("resolve", "0")
        told = {message[1]: message for message in one.told if message[0] in ("resolve", "reject")}
        assert told[4] == ["resolve", 4, None]
        for _ in range(3):  # until the host has told that it wants no more
            await one.ask(lounge("hello", "ann"))
        one.says(["stream", ["pipeline", 1, ["write"], ["late"]]])
        one.pushed += 1
        await one.ask(lounge("hello", "ann"))
        late = next(message for message in one.told if message[1] == one.pushed - 1)
        assert late[0] == "reject" and late[2][4]["reason"] == "stopped"
        one.says(["release", 1, 1])
        assert await one.over() == {"imports": 1}


async def test_no_more_is_under_way_to_a_client_than_it_has_room_for() -> None:
    async with client() as one:
        number = one.push(lounge("download", 1000))
        one.says(["pull", number])
        await one.hears('["pipe"]', ["resolve", number, ["readable", 1]])
        for _ in range(64):
            assert (await one.next())[0] == "stream"
        await one.quiet()
        one.says(*(["resolve", question, None] for question in range(2, 12)))
        for _ in range(10):
            assert (await one.next())[0] == "stream"
        await one.quiet()
        one.says(["reject", 12, ["error", "Error", "cancelled by the reader"]])
        await one.hears('["release",1,1]')
        assert await one.over() == {"imports": 1}
        assert one.lounge.downloaded < 1000


async def test_a_pipe_that_is_given_back_before_its_end_is_broken_off() -> None:
    async with client() as one:
        one.says(["pipe"])
        one.pushed += 1
        upload = one.push(lounge("upload", ["readable", 1]))
        one.says(["stream", ["pipeline", 1, ["write"], ["abc"]]], ["release", 1, 1])
        one.pushed += 1
        word, error = await one.pull(upload)
        assert (word, error[4]["code"]) == ("reject", "cancelled")
        assert await one.over() == {"imports": 1}


async def test_a_sink_that_is_given_back_before_its_end_is_broken_off() -> None:
    async with client() as one:
        assert await one.ask(lounge("box")) == ["writable", -1]
        one.says(["release", -1, 1])
        assert (await one.error(lounge("boxed")))["code"] == "cancelled"
        assert await one.over() == {"imports": 1}


async def test_what_is_written_is_by_the_contract() -> None:
    """Moments are, where they are declared; what is no data is refused, and the stream goes on."""
    async with client() as one:
        bad: dict[str, list[Any]] = {"box": [["date", 0], ["export", -1]], "moment_box": [["export", -1]]}
        for method, items in bad.items():
            (_, number) = await one.ask(lounge(method))
            for item in items:
                error = await one.error(["pipeline", number, ["write"], [item]])
                assert error["code"] == "invalid_argument"
            good: Any = "x" if method == "box" else ["date", 0]
            assert await one.ask(["pipeline", number, ["write"], [good]]) is None
            assert (await one.error(["pipeline", number, ["flush"], []]))["code"] == "unimplemented"
            assert await one.ask(["pipeline", number, ["close"], []]) is None
            assert (await one.error(["pipeline", number, ["write"], [good]]))["reason"] == "closed"
            one.says(["release", number, 1])
        assert await one.ask(lounge("boxed")) == [["x"]]
        assert [moment.timestamp() async for moment in one.lounge.moments_in] == [0]


async def test_moments_in_a_stream() -> None:
    async with client() as one:
        one.says(["pipe"], ["stream", ["pipeline", 1, ["write"], [["date", 0]]]])
        one.says(["stream", ["pipeline", 1, ["close"], []]])
        one.pushed += 3
        assert await one.ask(lounge("moments", ["readable", 1])) == [["1970-01-01T00:00:00+00:00"]]


# --- what the host decides ---


class Names(Policy):
    """Admits to one name."""

    def admit(self, request: Admission, /) -> bool | Denied:
        return request.name == "web.Lounge" or Denied("not_yours")


class Other(Cap, name="web.Other"):
    @call
    async def name(self) -> str: ...


class MemOther(Other):
    async def name(self) -> str:
        return "other"


async def test_without_a_main_object_all_names_are_there_that_the_policy_gives() -> None:
    async with client(MemOther(), main=None) as one:
        assert await one.ask(["pipeline", 0, ["web.Other", "name"], []]) == "other"
        assert await one.ask(["pipeline", 0, ["web.Other"]]) == ["export", -1]
        assert await one.ask(["pipeline", -1, ["name"], []]) == "other"
        assert (await one.error(["pipeline", 0, ["web.Missing", "name"], []]))["code"] == "not_found"
        assert (await one.error(["pipeline", 0]))["reason"] == "main"
        assert (await one.error(["pipeline", 0, ["x" * 1000, "name"], []]))["code"] == "invalid_argument"
        assert (await one.error(["pipeline", 0, ["\u0000\n", "name"], []]))["code"] in ("not_found", "invalid_argument")
    async with client(MemOther(), main=None, host=Host(policy=Names())) as one:
        assert await one.ask(["pipeline", 0, ["web.Lounge", "square"], [2]]) == 4
        found = await one.error(["pipeline", 0, ["web.Other", "name"], []])
        assert (found["code"], found["reason"]) == ("permission_denied", "not_yours")


async def test_a_name_that_is_served_again_is_there_again() -> None:
    host = Host()
    async with client(host=host) as one:
        assert await one.ask(lounge("square", 2)) == 4
        host.unserve("web.Lounge")
        await one.quiet()
        assert (await one.error(lounge("square", 2)))["code"] == "not_found"
        host.serve(MemLounge())
        assert await one.ask(lounge("square", 2)) == 4


async def test_a_revoked_capability_answers_no_more() -> None:
    async with client() as one:
        room = await one.ask(lounge("open", "tea"))
        assert await one.ask(["pipeline", room[1], ["post"], ["hi"]]) == 1
        revoke(one.lounge.open_rooms["tea"])
        found = await one.error(["pipeline", room[1], ["post"], ["hi"]])
        assert (found["code"], found["reason"]) == ("failed_precondition", "revoked")


async def test_a_restriction_holds() -> None:
    class Narrow(MemLounge):
        async def open(self, topic: str) -> Room:
            return restrict(await super().open(topic), methods={"texts"}, uses=1)

    host = Host()
    async with client(host=host) as one:
        await host.replace(Narrow())
        room = await one.ask(lounge("open", "tea"))
        assert await one.ask(["pipeline", room[1], ["texts"], []]) == [[]]
        assert (await one.error(["pipeline", room[1], ["texts"], []]))["reason"] == "used_up"
        assert (await one.error(["pipeline", room[1], ["post"], ["hi"]]))["code"] == "unimplemented"


class Wider(Cap, name="web.Other", version=2):
    @call
    async def name(self, suffix: str = "") -> str: ...


class MemWider(Wider):
    async def name(self, suffix: str = "") -> str:
        return f"wider{suffix}"


async def test_what_takes_the_place_of_another_is_called_as_that_was() -> None:
    host = Host()
    async with client(MemOther(), main="web.Other", host=host) as one:
        assert await one.ask(lounge("name")) == "other"
        await host.replace(MemWider())
        assert await one.ask(lounge("name")) == "wider"
        assert (await one.error(lounge("name", "!")))["code"] == "invalid_argument"


# --- bounds ---


async def test_more_calls_than_may_be_worked_on_fail() -> None:
    async with client(bounds=Bounds(max_calls=3)) as one:
        for _ in range(3):
            one.push(lounge("slow"))
        assert (await one.error(lounge("hello", "ann")))["reason"] == "max_calls"
        assert one.session.closed is False


async def test_more_than_may_be_worked_on_fails() -> None:
    async with client(bounds=Bounds(max_pending=25_000)) as one:
        later = one.push(lounge("later", "tea"))
        one.push(["pipeline", later, ["post"], ["x" * 9000]])
        assert (await one.error(["pipeline", later, ["post"], ["x" * 9000]]))["reason"] == "max_pending"
        one.lounge.go.set()
        assert await one.ask(["pipeline", later, ["texts"], []]) == [["me: " + "x" * 9000]]


@pytest.mark.parametrize("bounds", [Bounds(max_answers=10), Bounds(max_kept=2000)], ids=["count", "size"])
async def test_what_is_not_released_goes_when_there_is_too_much(bounds: Bounds) -> None:
    async with client(bounds=bounds) as one:
        first = one.push(lounge("open", "tea"))
        assert await one.ask(["pipeline", first, ["texts"], []]) == [[]]
        last = [one.push(lounge("same", "y" * 20)) for _ in range(30)][-1]
        assert await one.pull(last) == ("resolve", "y" * 20)
        assert (await one.error(["pipeline", first, ["post"], ["hi"]]))["reason"] == "released"
        assert (await one.error(["pipeline", first]))["reason"] == "released"
        one.says(["pull", first])
        assert (await one.next())[:2] == ["reject", first]
        one.says(["release", first, 1])
        assert one.session.closed is False


async def test_a_client_holds_no_more_than_it_may() -> None:
    async with client(bounds=Bounds(max_exports=3)) as one:
        for topic in ("a", "b", "c"):
            await one.ask(lounge("open", topic))
        assert (await one.error(lounge("open", "d")))["reason"] == "max_exports"
        assert (await one.error(lounge("rooms")))["reason"] == "max_exports"
        assert await one.ask(lounge("open", "a")) == ["export", -1]
        one.says(["release", -1, 2], ["release", -2, 1])
        assert await one.ask(lounge("open", "d")) == ["export", -4]


async def test_streams_have_a_bound_both_ways() -> None:
    async with client(bounds=Bounds(max_streams=2, max_stream_bytes=1000)) as one:
        one.says(["pipe"])
        one.pushed += 1
        assert (await one.ask(lounge("download", 1)))[0] == "readable"
        assert (await one.error(lounge("download", 1)))["reason"] == "max_streams"
        one.told.clear()
        one.says(["stream", ["pipeline", 1, ["write"], ["x" * 2000]]])
        one.pushed += 1
        word, _, error = await one.next()
        assert (word, error[4]["reason"]) == ("reject", "max_stream_bytes")
        one.says(["pipe"], ["pipe"])
        assert "2 streams" in await one.until_closed()


async def test_values_put_together_of_others_are_no_larger_than_those_that_come() -> None:
    """Each push has what the one before has twice, or deeper."""
    async with client() as one:
        wide = deep = one.push([["x"]])
        for _ in range(40):
            wide = one.push([[["pipeline", wide], ["pipeline", wide]]])
            deep = one.push([[[[["pipeline", deep]]]]])
        assert (await one.error(["pipeline", wide]))["reason"] == "max_values"
        assert (await one.error(["pipeline", deep]))["reason"] == "max_depth"
        assert one.session.counts.work < 10 * one.session.bounds.max_values


async def test_in_a_batch_the_client_is_not_called() -> None:
    async with client(reachable=False) as one:
        assert (await one.error(lounge("each", ["export", -1])))["reason"] == "batch"
        assert (await one.error(lounge("download", 3)))["reason"] == "batch"
        assert await one.ask(lounge("square", 3)) == 9
