"""`notify`: one-way calls, of which nothing comes back (P-OP, P-CALL-7)."""

from __future__ import annotations

import gc
from typing import Any, cast

import anyio
import pytest

from capnet import CapnetError, Limits, Released, ResourceExhausted, Revoked, Unavailable, notify, pipe
from capnet.observe import HandlerFailed
from capnet.testing import connected
from tests.connection.shop import MemShop, Shop, socket_pair, until
from tests.connection.test_late_promises import left
from tests.connection.tree import CALL, MemNode, Node, Tap, Tree, assert_nothing_left

pytestmark = pytest.mark.usefixtures("whole_turns")


async def test_it_starts_in_its_order_with_the_others_and_nothing_comes_back() -> None:
    tree = Tree()
    async with socket_pair(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        sent, answered = Tap.on(client), Tap.on(server)
        notify(node.say)("1")
        call = node.say("2")
        notify(node.say)(text="3")
        assert await call == ":2"
        await until(lambda: tree.log == ["1", "2", "3"])
        assert sent.frames == [CALL] * 3
        assert len(answered.frames) == 1
        del node, call
        await assert_nothing_left(server, client)


async def test_a_burst_of_a_thousand_all_arrives_without_a_strike() -> None:
    """More than the peer takes at once wait here, and calls made behind them wait behind them."""
    tree = Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        for number in range(1000):
            notify(node.say)(str(number))
        assert client.stats()["calls_held"] == 1000 - 256
        assert await node.say("last") == ":last"
        assert tree.log == [*map(str, range(1000)), "last"]
        assert server.stats()["strikes"] == 0
        del node
        await assert_nothing_left(server, client)


async def test_beyond_the_bound_it_is_refused_here_and_nothing_else_changes() -> None:
    tree, mine = Tree(), Tree()
    limits = Limits(max_outgoing_calls=100)
    async with connected(tree.root, limits=Limits(max_calls=16), client_limits=limits) as (server, client):
        node = await client.bootstrap(Node)
        for number in range(16 + 100):
            notify(node.late_word)(str(number))
        with pytest.raises(ResourceExhausted) as caught:
            notify(node.hand)(mine.root)
        assert caught.value.reason == "max_concurrent_calls"
        assert not client.stats()["exports"] and client.stats()["calls_held"] == 100
        await until(lambda: len(tree.gate.entered) == 16)
        tree.gate.open()
        await until(lambda: len(tree.gate.left) == 116)
        assert tree.gate.entered == [str(number) for number in range(116)]
        del node, caught
        await assert_nothing_left(server, client)
        assert mine.root.closed == 0


async def test_errors_are_for_the_callees_log_only() -> None:
    failures: list[HandlerFailed] = []
    async with connected(implementation := MemShop()) as (server, client):
        server.on(HandlerFailed, failures.append)
        shop = await client.bootstrap(Shop)
        answered = Tap.on(server)
        notify(shop.fail)("secret")
        notify(cast("Any", shop.make))("capability that nobody gets")
        assert await shop.add(1) == 11
        await until(lambda: failures)
        assert failures[0].error.text == "secret"
        assert len(answered.frames) == 1
        await until(lambda: implementation.items)
        del shop
        await assert_nothing_left(server, client)


async def test_what_it_is_given_is_given_back() -> None:
    tree, mine = Tree(), Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        notify(node.ask)(MemNode(mine, "/mine"), "x")
        await until(lambda: mine.nodes["/mine"].closed == 1)
        assert mine.log == ["x"]
        del node
        await assert_nothing_left(server, client)


async def test_on_promises_kept_and_late_it_keeps_the_order() -> None:
    tree = Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        kept = pipe(node.late_child("kept"))
        notify(kept.say)("kept 1")
        second = kept.say("kept 2")
        late = pipe(await left(tree, node.late_child("late")))
        notify(late.say)("late 1")
        fourth = late.say("late 2")
        notify(late.say)("late 3")
        del kept, late
        gc.collect()
        tree.gate.open()
        assert (await second, await fourth) == ("/kept:kept 2", "/late:late 2")
        await until(lambda: len(tree.log) == 5)
        assert [word for word in tree.log if "kept" in word] == ["kept 1", "kept 2"]
        assert [word for word in tree.log if "late" in word] == ["late 1", "late 2", "late 3"]
        del node, second, fourth
        await assert_nothing_left(server, client)


async def test_with_data_that_is_not_there_yet() -> None:
    """It waits for its argument, and those made on the same target behind it."""
    tree = Tree()
    async with connected(tree.root) as (server, client):
        node = await client.bootstrap(Node)
        word = pipe(await left(tree, node.late_word("1")))
        notify(node.say)(word)
        notify(node.say)("2")
        call = node.say("3")
        tree.gate.open()
        assert await call == ":3" and tree.log == ["1", "2", "3"]
        gone = pipe(node.refuse("gone"))
        notify(gone.say)("never")
        notify(node.anything)(gone)
        assert await node.say("4") == ":4" and tree.log == ["1", "2", "3", "4"]
        del node, word, call, gone
        await assert_nothing_left(server, client)


async def test_a_handler_that_runs_is_not_waited_for_when_the_caller_closes() -> None:
    tree = Tree()
    async with connected(tree.root) as (_, client):
        node = await client.bootstrap(Node)
        notify(node.late_word)("x")
        await until(lambda: tree.gate.entered)
        with anyio.fail_after(60):
            await client.aclose(grace=0)
        with pytest.raises(Unavailable):
            notify(node.say)("y")
    assert tree.gate.cancelled == ["x"]


async def test_what_cannot_leave_says_so_at_once() -> None:
    async with connected() as (server, client):
        handle = server.serve(Tree().root)
        node = await client.bootstrap(Node)
        with pytest.raises(CapnetError):
            notify(node.anything)(object())
        with pytest.raises(TypeError):
            notify(cast("Any", node.say))()
        handle.close()
        with pytest.raises(Revoked):
            await node.say("told")
        with pytest.raises(Revoked):
            notify(node.say)("x")
        await node.aclose()
        with pytest.raises(Released):
            notify(node.say)("x")


async def test_only_methods_of_proxies_that_answer_once_are_taken() -> None:
    tree = Tree()
    async with connected(tree.root) as (_, client):
        node = await client.bootstrap(Node)
        for wrong in (node, tree.root.say, node.count, node.aclose, print, None):
            with pytest.raises(TypeError):
                notify(cast("Any", wrong))


async def test_a_function_of_the_peers_is_told_as_well() -> None:
    heard: list[str] = []

    async def listen(text: str) -> str:
        heard.append(text)
        return text

    class Telling(MemShop):
        async def ask(self, question: Any, about: str) -> str:
            notify(question)(about)
            notify(question)("again")
            return "told"

    async with connected(Telling()) as (server, client):
        shop = await client.bootstrap(Shop)
        assert await shop.ask(listen, "tea") == "told"
        await until(lambda: heard == ["tea", "again"])
        del shop
        await assert_nothing_left(server, client)
