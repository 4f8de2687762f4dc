"""`pipe`: calls on what another call will bring, without a round trip between them (P-CALL-8).

The rules R3 and R7–R10 of pipelining and broken promises each have a test that names them.
"""

# pyright: reportPossiblyUnboundVariable=false
# What is deleted at the end of a test comes of loops that run at least once.
from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, cast

import anyio
import pytest
from anyio.lowlevel import checkpoint

from capnet import (
    CallCancelled,
    CapnetError,
    DeadlineExceeded,
    Host,
    Internal,
    InvalidArgument,
    Limits,
    NotFound,
    Released,
    ResourceExhausted,
    Unavailable,
    cast_cap,
    connect,
    dup,
    pipe,
    release,
)
from capnet.calls.call import Late
from capnet.engine.calls import Pipelined
from capnet.references.proxy import reference_of
from capnet.testing import assert_no_leaks, connected
from tests.connection.shop import ever_later, socket_pair, until
from tests.connection.tree import CALL, DROP, FINISH, RESULT, Branch, MemNode, Node, Tap, Tree, assert_nothing_left

pytestmark = pytest.mark.usefixtures("whole_turns")


async def code_of(call: Any) -> str:
    """How a call ends: what it brings, or code and reason of its error."""
    try:
        return str(await call)
    except CapnetError as error:
        return f"{error.code}/{error.reason}"


def id_in(payload: bytes) -> int:
    """The call id in a frame; one of less than 256."""
    return payload[2] if payload[2] < 24 else payload[3]


# Round trips


async def test_a_chain_of_eight_leaves_in_one_write_and_is_answered_in_one() -> None:
    tree = Tree()
    async with socket_pair(tree.root) as (server, client):
        nodes = [await client.bootstrap(Node)]
        sent, answered = Tap.on(client), Tap.on(server)
        for name in "abcdefg":
            nodes.append(pipe(nodes[-1].child(name)))
        assert await nodes[-1].say("deep") == "/a/b/c/d/e/f/g:deep"
        assert sent.writes == [[CALL] * 8]
        assert answered.writes == [[RESULT] * 8]
        nodes.clear()
        await assert_nothing_left(server, client)


async def test_it_leaves_with_the_bootstrap_in_the_first_write_of_a_connection() -> None:
    """Hello, bootstrap and two calls on what it will bring."""
    tree = Tree()
    async with Host() as host:
        host.serve(tree.root)
        await host.listen("memory:test-pipe")
        async with connect("memory:test-pipe") as client:
            sent = Tap.on(client)
            node = pipe(client.bootstrap(Node))
            below = pipe(node.child("a"))
            assert await below.say("hello") == "/a:hello"
            assert sent.writes == [[0, CALL, CALL, CALL]]


async def test_who_pipes_nothing_pays_nothing() -> None:
    """No extra frame, nothing asked to be kept; a call that might have been piped leaves just as soon."""
    tree = Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        sent = Tap.on(client)
        below = await node.child("a")
        assert await below.say("x") == "/a:x"
        assert await node.say("y") == ":y"
        assert sent.writes == [[CALL]] * 3
        assert not any(b"keep" in payload for payload in sent.payloads)
        assert server.stats()["answers_kept"] == 0
        del below, node
        await assert_nothing_left(server, client)
        assert set(sent.frames[3:]) == {DROP}


async def test_the_same_call_is_awaited_and_piped_twice() -> None:
    tree = Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        sent = Tap.on(client)
        call = node.child("a")
        one, two = pipe(call), pipe(call)
        said = one.say("1"), two.say("2")
        assert [await word for word in said] == ["/a:1", "/a:2"]
        assert await (await call).say("3") == "/a:3"
        assert tree.log == ["1", "2", "3"]
        assert sent.writes == [[CALL] * 3, [CALL]]
        release(one)
        assert await two.say("4") == "/a:4"
        assert sent.frames.count(FINISH) == 0
        del one, two, call, said
        await until(lambda: tree.nodes["/a"].closed)
        assert sent.frames.count(FINISH) == 1 and tree.nodes["/a"].closed == 1
        del node
        await assert_nothing_left(server, client)


async def test_a_promise_serves_on_after_its_call_was_answered() -> None:
    """Nobody collected the result; what the promise stands for lives as long as the promise."""
    tree = Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        below = pipe(node.child("a"))
        for number in range(3):
            assert await below.say(str(number)) == f"/a:{number}"
            gc.collect()
            await client.ping()
        assert not tree.nodes["/a"].closed
        copy = dup(below)
        await below.aclose()
        with pytest.raises(Released):
            _ = below.say("gone")
        assert await copy.say("copy") == "/a:copy" and not tree.nodes["/a"].closed
        await copy.aclose()
        await until(lambda: tree.nodes["/a"].closed == 1)
        del node
        await assert_nothing_left(server, client)


async def test_given_back_before_the_answer() -> None:
    """The call itself goes on, and so do calls that were made on the promise before."""
    tree = Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        call = node.late_child("a")
        below = pipe(call)
        said = below.say("before")
        await below.aclose()
        await until(lambda: tree.gate.entered)
        tree.gate.open()
        assert await said == "/a:before"
        assert await (await call).say("after") == "/a:after"
        del node, call
        await assert_nothing_left(server, client)
        await until(lambda: tree.nodes["/a"].closed == 1)


async def test_finish_is_sent_once_and_everything_is_let_go() -> None:
    tree = Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        sent = Tap.on(client)
        promises = [pipe(node.child(str(number))) for number in range(10)]
        assert [await promise.say("x") for promise in promises] == [f"/{number}:x" for number in range(10)]
        assert server.stats()["answers_kept"] == 10
        promises.clear()
        await until(lambda: server.stats()["answers_kept"] == 0)
        await until(lambda: sum(tree.closed.values()) == 10)
        assert sent.frames.count(FINISH) == 10
        del node
        await assert_nothing_left(server, client)
        assert tree.closed == {"": 0, **{f"/{number}": 1 for number in range(10)}}


async def test_the_loss_of_the_caller_releases_what_was_kept() -> None:
    tree = Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        below = pipe(node.child("a"))
        assert await below.say("x") == "/a:x"
        await client.aclose(grace=0)
        await until(lambda: tree.nodes["/a"].closed == 1)
        assert server.stats()["answers_kept"] == 0
        with pytest.raises(Unavailable):
            await below.say("y")


# Paths


PLACES: dict[str, tuple[Callable[[Branch], Node], str]] = {
    "field": (lambda branch: branch.node, "/field"),
    "key": (lambda branch: branch.by_name["tea"], "/named"),
    "number-key": (lambda branch: branch.by_number[7], "/numbered"),
    "index": (lambda branch: branch.row[1], "/second"),
    "tuple": (lambda branch: branch.both[1], "/tuple"),
    "named-tuple": (lambda branch: branch.pair.node, "/pair"),
    "named-tuple-index": (lambda branch: branch.pair[1], "/pair"),
    "deep": (lambda branch: branch.deeper["x"][1].node, "/deep"),
}


@pytest.mark.parametrize("place", PLACES)
async def test_a_path_leads_to_where_the_result_has_it(place: str) -> None:
    step, path = PLACES[place]
    tree = Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        sent = Tap.on(client)
        promise = pipe(node.branch())
        there = step(promise)
        assert await there.say("x") == f"{path}:x"
        assert sent.writes == [[CALL, CALL]]
        del promise, there, node
        await assert_nothing_left(server, client)


async def test_a_part_outlives_the_promise_it_was_taken_from() -> None:
    tree = Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        branch = pipe(node.branch())
        first, second = branch.row[0], branch.row[1]
        del branch
        assert await first.say("x") == "/first:x"
        del first
        await client.ping()
        assert server.stats()["answers_kept"] == 1
        assert await second.say("y") == "/second:y"
        del second
        await until(lambda: server.stats()["answers_kept"] == 0)
        del node
        await assert_nothing_left(server, client)


async def test_a_step_that_the_type_does_not_have_is_refused_here() -> None:
    async with connected(Tree().root) as (server, client):
        node = await client.bootstrap(Node)
        branch = cast("Any", pipe(node.branch()))
        for step in ("nothing", 3):
            with pytest.raises(InvalidArgument):
                branch[step]
        with pytest.raises(AttributeError):
            _ = branch.nothing
        with pytest.raises(AttributeError):
            _ = branch._private
        with pytest.raises(InvalidArgument):
            branch.row["text"]
        with pytest.raises(TypeError):
            list(branch.row)
        with pytest.raises(TypeError):
            _ = "tea" in branch.by_name
        assert "promise" in repr(branch)
        del branch, node
        await assert_nothing_left(server, client)


async def test_r10_a_wrong_path_fails_only_the_call_that_takes_it() -> None:
    """Nothing stands there, or something that is no capability; all else on the same promise goes on."""
    tree = Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        branch = pipe(node.branch())
        nothing = branch.row[5].say("a"), cast("Any", branch).none.say("b"), branch.by_name["milk"].say("c")
        good = branch.row[0].say("d")
        in_argument = node.anything([branch.row[9]])
        assert [await code_of(call) for call in nothing] == ["failed_precondition/no_capability"] * 3
        assert await good == "/first:d"
        assert await code_of(in_argument) == "failed_precondition/no_capability"
        assert tree.log == ["d"]
        del branch, nothing, good, in_argument
        none = pipe(node.maybe())
        assert none is not None
        assert await code_of(none.say("e")) == "failed_precondition/no_capability"
        del none, node
        await assert_nothing_left(server, client)


# Promises as arguments


async def test_data_that_is_not_there_yet_is_an_argument() -> None:
    """Of a method of the same capability, and of another of the same peer; whole, in parts, and in containers."""
    tree = Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        sent = Tap.on(client)
        other, branch = pipe(node.child("a")), pipe(node.branch())
        calls = [
            node.say(branch.word),
            node.spell([branch.word, branch.both[0], "x"]),
            other.say(branch.word),
            node.spell([branch.word]),
        ]
        assert [await call for call in calls] == [":leaf", "leaf-text-x", "/a:leaf", "leaf"]
        assert sent.writes == [[CALL] * 6]
        del node, other, branch
        await assert_nothing_left(server, client)


async def test_a_capability_that_is_not_there_yet_arrives_as_itself() -> None:
    """Alone, and as a part of data that is a promise as a whole."""
    tree = Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        sent = Tap.on(client)
        below = pipe(node.child("a"))
        assert await node.meet(below) == "/a"
        assert sent.writes == [[CALL, CALL]]
        assert await node.meet(pipe(node.branch()).by_name["tea"]) == "/named"
        returned = await node.anything(pipe(node.branch()))
        assert await node.meet(cast_cap(returned["row"][1], Node)) == "/second"
        del node, returned, below
        await assert_nothing_left(server, client)


async def test_a_promise_of_data_does_not_travel_where_it_cannot_be_followed() -> None:
    """To another peer, while it is not there; the refusal changes nothing."""
    tree, other = Tree(), Tree()
    async with connected(tree.root) as one, connected(other.root) as two:
        here, there = await one[1].bootstrap(Node), await two[1].bootstrap(Node)
        branch = pipe(here.branch())
        with pytest.raises(InvalidArgument):
            await there.say(branch.word)
        assert await here.say(branch.word) == ":leaf"
        assert other.log == []
        del here, there, branch
        await assert_nothing_left(*one, *two)


# Order


async def test_r3_calls_on_a_promise_start_before_later_ones_on_what_it_became() -> None:
    tree = Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        call = node.late_child("a")
        below = pipe(call)
        early = [below.say(str(number)) for number in range(5)]
        await until(lambda: tree.gate.entered)
        tree.gate.open()
        real = await call
        late = [(real if number % 2 else below).say(str(number)) for number in range(5, 10)]
        for said in early + late:
            await said
        assert tree.log == [str(number) for number in range(10)]
        del node, call, below, real
        await assert_nothing_left(server, client)


async def test_r3_an_argument_delays_that_call_and_those_behind_it_on_the_same_reference() -> None:
    tree = Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        one, two = await node.child("one"), await node.child("two")
        word = pipe(node.late_word("1"))
        delayed = [one.say(word), one.say("2"), one.say("3")]
        assert await two.say("free") == "/two:free"
        assert tree.log == ["free"]
        tree.gate.open()
        assert [await call for call in delayed] == ["/one:1", "/one:2", "/one:3"]
        assert tree.log == ["free", "1", "2", "3"]
        del node, one, two, word
        await assert_nothing_left(server, client)


# Broken promises


async def test_r8_all_that_need_a_call_fail_with_its_error_in_order() -> None:
    """Code, reason, details and retry hint; through chains and arguments; and later calls without a round trip."""
    tree = Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        base = node.refuse("sold_out")
        below = pipe(base)
        deeper = pipe(below.child("b"))
        calls = [below.say("1"), deeper.say("2"), below.child("3"), node.anything(deeper), below.say("5")]
        fine = node.say("6")
        ended: list[tuple[int, NotFound]] = []

        async def collect(number: int, call: Any) -> None:
            try:
                await call
            except NotFound as error:
                ended.append((number, error))

        async with anyio.create_task_group() as tasks:
            for number, call in enumerate([base, *calls]):
                tasks.start_soon(collect, number, call)
            await until(lambda: tree.gate.entered)
            await client.ping()
            tree.gate.open()
        assert sorted(number for number, _ in ended) == [0, 1, 2, 3, 4, 5]
        for _, error in ended:
            assert (error.code, error.reason, error.retry) == ("not_found", "sold_out", "never")
            assert error.details == {"path": ""}
        assert len({id(error) for _, error in ended}) == 6, "one instance raised twice would collect frames"
        assert await fine == ":6" and tree.log == ["6"]
        sent = Tap.on(client)
        for promise in (below, deeper):
            with pytest.raises(NotFound, check=lambda error: error.reason == "sold_out"):
                await promise.say("later")
            assert "broken" in repr(promise)
        assert sent.frames == []
        ended.clear()
        del base, below, deeper, calls, call, promise, node, fine, error, _
        await assert_nothing_left(server, client)


async def test_r8_the_error_replies_come_in_the_order_of_the_calls() -> None:
    tree = Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        base = node.refuse("gone")
        below = pipe(base)
        calls = [below.say(str(number)) for number in range(20)]
        ids = [cast("Any", call).entry.id for call in (base, *calls)]
        await until(lambda: tree.gate.entered)
        answered = Tap.on(server)
        tree.gate.open()
        assert {await code_of(call) for call in calls} == {"not_found/gone"}
        assert ids == sorted(ids)
        assert [id_in(payload) for payload in answered.payloads] == ids


async def test_an_unexpected_error_is_as_opaque_to_those_who_need_the_call() -> None:
    tree = Tree()
    async with connected(tree.root) as (_, client):
        node = await client.bootstrap(Node)
        base = node.crash()
        below = pipe(base)
        said = below.say("x")
        correlations: set[str] = set()
        for call in (base, said):
            with pytest.raises(Internal) as caught:
                await call
            correlations.add(caught.value.details["correlation"])
            assert "secret" not in str(caught.value)
        assert len(correlations) == 1


async def test_r9_arguments_of_calls_that_never_start_are_released() -> None:
    """Those of a call whose target fails, and of one that stands behind it and is cancelled."""
    tree, mine = Tree(), Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        below = pipe(node.refuse("gone"))
        lost = below.ask(MemNode(mine, "/lost"), "x"), below.hand(MemNode(mine, "/dropped"))
        cancelled = cast("Any", below.ask(MemNode(mine, "/cancelled"), "x"))
        await until(lambda: tree.gate.entered)
        await until(lambda: server.stats()["imports"] == 3)
        cancelled.cancel()
        await until(lambda: mine.nodes["/cancelled"].closed == 1)
        tree.gate.open()
        for call in lost:
            assert await code_of(call) == "not_found/gone"
        await until(lambda: mine.nodes["/lost"].closed == mine.nodes["/dropped"].closed == 1)
        assert mine.log == []
        del node, below, lost, cancelled, call
        await assert_nothing_left(server, client)
        assert mine.closed == {"": 0, "/lost": 1, "/dropped": 1, "/cancelled": 1}


async def test_a_base_that_is_cancelled_cancels_what_needs_it() -> None:
    tree = Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        base = cast("Any", node.late_child("a"))
        below = pipe(base)
        said, deeper = below.say("x"), pipe(below.child("b")).say("y")
        await until(lambda: tree.gate.entered)
        base.cancel("no need")
        for call in (base, said, deeper):
            with pytest.raises(CallCancelled):
                await call
        await until(lambda: tree.gate.cancelled == ["a"])
        with pytest.raises(CallCancelled):
            await below.say("later")
        assert tree.log == [] and await node.say("fine") == ":fine"
        del node, base, below, said, deeper, call
        await assert_nothing_left(server, client)


async def test_one_that_waits_is_cancelled_alone() -> None:
    tree = Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        below = pipe(node.late_child("a"))
        calls = [cast("Any", below.say(str(number))) for number in range(3)]
        await until(lambda: server.stats()["answers_waiting"] == 3)
        calls[1].cancel()
        await until(lambda: server.stats()["answers_waiting"] == 2)
        tree.gate.open()
        assert [await code_of(call) for call in calls] == ["/a:0", "cancelled/None", "/a:2"]
        assert tree.log == ["0", "2"]
        del node, below, calls
        await assert_nothing_left(server, client)


async def test_a_deadline_ends_those_that_wait_on_both_sides() -> None:
    """It is on the wire: the callee gives them up as well, and the base, which has none, goes on."""
    tree = Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        base = node.late_child("a")
        below = pipe(base)
        await until(lambda: server.stats()["answers"])
        waited = False

        async def look() -> None:
            nonlocal waited
            await until(lambda: server.stats()["answers_waiting"])
            waited = True

        for seconds in ever_later():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(look)
                with pytest.raises(TimeoutError), anyio.fail_after(seconds):
                    await below.say("x")
                tasks.cancel_scope.cancel()
            if waited:
                break
        await until(lambda: server.stats()["answers_waiting"] == 0)
        unread: Any = None
        with anyio.move_on_after(0.02):
            unread = below.say("y")
            await checkpoint()
        with pytest.raises(DeadlineExceeded):
            await unread
        tree.gate.open()
        assert await (await base).say("z") == "/a:z" and tree.log == ["z"]
        del node, base, below, unread
        await assert_nothing_left(server, client)


async def test_a_base_past_its_deadline_takes_those_that_need_it_along() -> None:
    tree = Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        base: Any = None
        below: Any = None
        with anyio.move_on_after(0.02):
            base = node.late_child("a")
            below = pipe(base)
            await checkpoint()
        said = below.say("x")
        for call in (base, said):
            with pytest.raises(DeadlineExceeded):
                await call
        del node, base, below, said, call
        await assert_nothing_left(server, client)


async def test_the_connection_closes_under_a_pipeline() -> None:
    tree = Tree()
    async with connected(tree.root) as (_, client):
        node = await client.bootstrap(Node)
        base = node.late_child("a")
        below = pipe(base)
        said = below.say("x"), pipe(below.child("b")).say("y")
        await until(lambda: tree.gate.entered)
        await client.aclose(grace=0)
        for call in (base, *said):
            with pytest.raises(Unavailable):
                await call
        assert tree.log == []


# Home, limits, misuse


async def test_the_result_is_an_object_of_the_callers_own() -> None:
    """The calls go to the peer, which sends them back; order holds with direct ones only among themselves (P-REF-4)."""
    tree, mine = Tree(), Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        call = node.late_hand(mine.root)
        home = pipe(call)
        calls = [home.say(str(number)) for number in range(5)]
        deeper = pipe(home.child("mine")).say("below")
        met = node.meet(home)
        await until(lambda: tree.gate.entered)
        tree.gate.open()
        assert [await one for one in calls] == [f":{number}" for number in range(5)]
        assert await deeper == "/mine:below" and await met == "a stranger"
        assert mine.log == ["0", "1", "2", "3", "4", "below"] and tree.log == []
        assert await call is mine.root
        assert await home.say("after") == ":after"
        del node, call, home
        await assert_nothing_left(server, client)
        await until(lambda: mine.nodes["/mine"].closed == mine.root.closed == 1)


async def test_more_than_the_peer_keeps_wait_for_their_answers_instead() -> None:
    """All work, in order; the peer never keeps more than it said, and counts no strike."""
    tree = Tree()
    async with connected(tree.root, limits=Limits(max_calls=16)) as (server, client):
        node = await client.bootstrap(Node)
        promises = [pipe(node.child(str(number))) for number in range(40)]
        kinds = [type(reference_of(promise).imported) for promise in promises]
        assert kinds == [Pipelined] * 16 + [Late] * 24
        calls = [promise.say(f"{number}.{turn}") for number, promise in enumerate(promises) for turn in range(3)]
        for call in calls:
            await call
        assert server.stats()["answers_kept"] == 16
        for number in range(40):
            assert [word for word in tree.log if word.startswith(f"{number}.")] == [f"{number}.{n}" for n in range(3)]
        del node, promises, calls, call
        await assert_nothing_left(server, client)


async def test_a_result_too_long_to_be_kept_is_still_delivered() -> None:
    """`max_kept_bytes`: those that wait when it comes still take what they need; those that come later fail."""
    tree = Tree()
    async with connected(tree.root, limits=Limits(max_kept_bytes=8)) as (server, client):
        node = await client.bootstrap(Node)
        call = node.late_child("a")
        below = pipe(call)
        waiting = below.say("x")
        await until(lambda: server.stats()["answers_waiting"] == 1)
        tree.gate.open()
        assert await waiting == "/a:x" and await (await call).say("y") == "/a:y"
        with pytest.raises(ResourceExhausted) as caught:
            await below.say("z")
        assert caught.value.reason == "max_kept_bytes"
        del node, call, below, waiting, caught
        await assert_nothing_left(server, client)


async def test_only_calls_are_piped() -> None:
    async with connected(Tree().root) as (_, client):
        node = await client.bootstrap(Node)
        for wrong in (node, node.count(3), 3, None):
            with pytest.raises(TypeError):
                pipe(cast("Any", wrong))


async def test_many_promises_and_parts_leave_no_trace() -> None:
    """200 pipelines of three calls, each with its own end: answered, failed, cancelled, dropped at once."""
    tree = Tree()
    tree.gate.open()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        base: Any = None
        below: Any = None
        said: Any = None
        for number in range(200):
            base = node.refuse("odd") if number % 3 == 0 else node.child(str(number))
            below = pipe(base)
            said = below.say("x")
            if number % 5 == 0:
                base.cancel()
            if number % 7 == 0:
                continue
            assert await code_of(said) in (f"/{number}:x", "not_found/odd", "cancelled/None")
        del node, base, below, said
        await assert_no_leaks(server, client)
        await assert_nothing_left(server, client)
        await until(lambda: all(node.closed == 1 for path, node in tree.nodes.items() if path))
