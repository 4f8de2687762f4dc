"""`pipe` of a call that has left, or that the peer does not keep: what is made on it waits here, in order."""

# pyright: reportPossiblyUnboundVariable=false
# What is deleted at the end of a test comes of loops that run at least once.
from __future__ import annotations

import gc
from typing import Any, cast

import anyio
import pytest

from capnet import CallCancelled, DeadlineExceeded, FailedPrecondition, InvalidArgument, NotFound, Unavailable, pipe
from capnet.calls.call import Late
from capnet.references.proxy import reference_of
from capnet.testing import connected
from tests.connection.shop import left_when, until
from tests.connection.test_pipe import code_of
from tests.connection.tree import CALL, MemNode, Node, Tap, Tree, assert_nothing_left

pytestmark = pytest.mark.usefixtures("whole_turns")


async def left(tree: Tree, call: Any) -> Any:
    """A call behind the gate, once it is there."""
    before = len(tree.gate.entered)
    await until(lambda: len(tree.gate.entered) > before)
    return call


async def test_calls_wait_for_the_answer_and_then_leave_together_in_order() -> None:
    tree = Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        base = await left(tree, node.late_child("a"))
        below = pipe(base)
        assert type(reference_of(below).imported) is Late
        sent = Tap.on(client)
        calls = [below.say(str(number)) for number in range(5)]
        deeper = pipe(below.child("b")).say("5")
        await client.ping()
        assert CALL not in sent.frames
        tree.gate.open()
        assert [await call for call in calls] == [f"/a:{number}" for number in range(5)]
        assert await deeper == "/a/b:5"
        assert tree.log == ["0", "1", "2", "3", "4", "5"]
        assert [write.count(CALL) for write in sent.writes if CALL in write] == [6, 1]
        del node, base, below, calls, deeper
        await assert_nothing_left(server, client)


async def test_one_that_is_done_serves_at_once() -> None:
    """Awaited before, so nothing waits; a path leads into what it has brought."""
    tree = Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        call = node.branch()
        await call
        branch = pipe(call)
        assert await branch.node.say("x") == "/field:x"
        assert await branch.by_number[7].say("y") == "/numbered:y"
        assert await branch.pair[1].say("z") == "/pair:z"
        assert await node.say(branch.word) == ":leaf"
        for nothing in (cast("Any", branch).none, branch.row[8]):
            with pytest.raises(FailedPrecondition, check=lambda error: error.reason == "no_capability"):
                await nothing.say("a")
        del node, call, branch, nothing
        await assert_nothing_left(server, client)


async def test_one_that_has_failed_fails_at_once() -> None:
    tree = Tree()
    tree.gate.open()
    async with connected(tree.root) as (_, client):
        node = await client.bootstrap(Node)
        call = node.refuse("gone")
        with pytest.raises(NotFound):
            await call
        below = pipe(call)
        with pytest.raises(NotFound) as caught:
            await below.say("x")
        assert caught.value.reason == "gone" and tree.log == []


async def test_the_error_reaches_all_in_order_however_long_the_chain() -> None:
    """Longer than Python's stack is deep."""
    tree = Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        base = await left(tree, node.refuse("gone"))
        promise, calls = pipe(base), list[Any]()
        for _ in range(1500):
            calls.append(promise.child("a"))
            promise = pipe(calls[-1])
        ended: list[int] = []
        for number, call in enumerate(calls):
            call.when_done(lambda number=number: ended.append(number))
        tree.gate.open()
        assert {await code_of(call) for call in calls} == {"not_found/gone"}
        assert ended == sorted(ended) and len(ended) == 1500
        del node, base, promise, calls, call
        await assert_nothing_left(server, client)


async def test_data_as_an_argument_is_awaited_first_with_all_behind_it_on_that_target() -> None:
    """And nothing else is held up; it may come of a call of the same target."""
    tree = Tree()
    async with connected(tree.root) as (server, client):
        node, other = await client.bootstrap(Node), await (await client.bootstrap(Node)).child("other")
        word = pipe(await left(tree, node.late_word("1")))
        calls = [node.say(word), node.say("2"), node.spell(["x", word]), node.say("3")]
        assert await other.say("free") == "/other:free"
        assert tree.log == ["free"]
        tree.gate.open()
        assert [await call for call in calls] == [":1", ":2", "x-1", ":3"]
        assert tree.log == ["free", "1", "2", "3"]
        assert await node.say("4") == ":4"
        del node, other, word, calls
        await assert_nothing_left(server, client)


async def test_a_capability_as_an_argument_to_its_own_peer_goes_as_itself() -> None:
    tree = Tree()
    async with connected(tree.root) as pair:
        node = await pair[1].bootstrap(Node)
        base = await left(tree, node.late_child("a"))
        met = node.meet(pipe(base))
        tree.gate.open()
        assert await met == "/a"
        assert await node.meet(pipe(base)) == "/a"
        nothing = cast("Any", node.maybe())
        await nothing
        with pytest.raises(FailedPrecondition) as caught:
            await node.meet(pipe(nothing))
        assert caught.value.reason == "no_capability"
        del node, base, met, nothing, caught
        await assert_nothing_left(*pair)


async def test_data_goes_to_another_peer_once_it_is_there() -> None:
    """The other connection waits for an answer of the first; when it closes, or the first does, nothing hangs."""
    tree, other = Tree(), Tree()
    async with connected(tree.root) as one, connected(other.root) as two, connected(other.root) as three:
        here = await one[1].bootstrap(Node)
        there, far = await two[1].bootstrap(Node), await three[1].bootstrap(Node)
        word = pipe(await left(tree, here.late_word("tea")))
        said, lost = there.say(word), [far.say(word), far.say("behind it")]
        await three[1].aclose(grace=0)
        for call in lost:
            with pytest.raises(Unavailable), anyio.fail_after(60):
                await call
        with pytest.raises(Unavailable):
            await far.say(word)
        tree.gate.open()
        assert await said == ":tea" and other.log == ["tea"]
        await one[1].aclose(grace=0)
        assert await there.say("on") == ":on"
        del here, there, far, word, said, lost, call
        await assert_nothing_left(*two)


async def test_cancelled_while_it_waits_it_never_leaves_and_holds_up_nobody() -> None:
    tree = Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        word = pipe(await left(tree, node.late_word("1")))
        first, second = cast("Any", node.say(word)), node.say("2")
        first.cancel()
        with pytest.raises(CallCancelled):
            await first
        assert await second == ":2", "what it waited for has not come yet"
        async with left_when(lambda: client._parts.calls.dependent.lines) as scope:
            await node.say(word)
        assert scope.cancelled_caught
        assert await node.say("3") == ":3"
        tree.gate.open()
        assert await node.say(word) == ":1"
        assert tree.log == ["2", "3", "1"]
        del node, word, first, second
        await assert_nothing_left(server, client)


async def test_the_deadline_counts_from_when_the_call_was_made() -> None:
    """What is left of it travels; what was called in time and cannot leave in time is not heard of there."""
    tree = Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        below = pipe(await left(tree, node.late_child("a")))
        unread: Any = None
        with anyio.move_on_after(0.02):
            unread = below.say("too late")
            await anyio.sleep_forever()
        with anyio.fail_after(3600):
            told = below.context()
            tree.gate.open()
            assert 3500 < (await told)["left"] < 3601
        with pytest.raises(DeadlineExceeded):
            await unread
        del node, below, told, unread
        await assert_nothing_left(server, client)


async def test_the_base_is_cancelled() -> None:
    tree = Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        base = await left(tree, node.late_child("a"))
        below = pipe(base)
        calls = below.say("x"), pipe(below.child("b")).say("y")
        base.cancel()
        for call in calls:
            with pytest.raises(CallCancelled):
                await call
        assert tree.log == []
        del node, base, below, calls, call
        await assert_nothing_left(server, client)


async def test_the_connection_closes_while_they_wait() -> None:
    tree = Tree()
    async with connected(tree.root) as (_, client):
        node = await client.bootstrap(Node)
        below = pipe(await left(tree, node.late_child("a")))
        calls = below.say("x"), pipe(below.child("b")).say("y")
        await client.aclose(grace=0)
        for call in calls:
            with pytest.raises(Unavailable):
                await call


async def test_what_it_is_made_on_may_be_let_go_meanwhile() -> None:
    """The call that waits holds it: an object of the peer's, and a promise of one."""
    tree = Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        word = pipe(await left(tree, node.late_word("tea")))
        real, promised = await node.child("real"), pipe(node.child("promised"))
        calls = real.say(word), promised.say(word)
        del real, promised
        gc.collect()
        await client.ping()
        assert not tree.nodes["/real"].closed and not tree.nodes["/promised"].closed
        tree.gate.open()
        assert [await call for call in calls] == ["/real:tea", "/promised:tea"]
        await until(lambda: tree.nodes["/real"].closed == tree.nodes["/promised"].closed == 1)
        del node, word, calls
        await assert_nothing_left(server, client)


async def test_what_cannot_travel_fails_its_own_call_only() -> None:
    """Found when it would leave; also when the user's own class raises as it is taken apart."""

    class Hostile:
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError("not to be looked at")

    tree, mine = Tree(), Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        word = pipe(await left(tree, node.late_word("tea")))
        calls = [
            node.anything([word, object()]),
            node.anything([word, mine.root, Hostile()]),
            node.anything([word]),
        ]
        tree.gate.open()
        assert [await code_of(call) for call in calls] == [
            f"{InvalidArgument.code}/None",
            "internal/None",
            "['tea']",
        ]
        assert not client.stats()["exports"] and mine.root.closed == 0
        del node, word, calls
        await assert_nothing_left(server, client)


async def test_a_result_of_the_callers_own_is_no_capability_of_the_peers() -> None:
    """A late promise is followed here, and there is nothing to call at the peer."""
    tree, mine = Tree(), Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        call = await left(tree, node.late_hand(mine.root))
        home = pipe(call)
        said = home.say("x")
        tree.gate.open()
        with pytest.raises(FailedPrecondition) as caught:
            await said
        assert caught.value.reason == "no_capability"
        assert isinstance(await call, MemNode)
        del node, call, home, said, caught
        await assert_nothing_left(server, client)
