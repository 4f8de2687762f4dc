"""The eleven scenarios that must survive any fault: what a program does with capnet, each in few steps."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import suppress
from typing import Final, cast

import anyio

from capnet import Call, CapnetError, Connection, Host, NotFound, Opening, Revoked, Unavailable, pipe, revoke
from tests.connection.flows import Flows, MemFlows
from tests.connection.shop import MemShop, Shop
from tests.connection.tree import Hub, MemHub, MemNode, Node, Tree
from tests.faults.trial import Ground, Scenario

__all__ = ["SCENARIOS"]


class Waiting(MemShop):
    """A shop whose `wait` tells when it is in there."""

    def __init__(self, name: str = "shop") -> None:
        super().__init__(name)
        self.entered = anyio.Event()

    async def wait(self, key: str = "") -> str:
        self.entered.set()
        return await super().wait(key)


async def connect_call_close(ground: Ground) -> None:
    """From nothing to an answer, and back to nothing."""
    async with ground.host(MemShop()) as (_, url), ground.client(url) as client:
        await ground.body(_echo, client)


async def _echo(client: Connection) -> None:
    async with await client.bootstrap(Shop) as shop:
        assert await shop.echo({"deep": [1, b"2"]}) == {"deep": [1, b"2"]}


async def callback(ground: Ground) -> None:
    """A capability in an argument, called before the call ends."""
    async with ground.host(MemShop()) as (_, url), ground.client(url) as client:
        await ground.body(_callback, client)


async def _callback(client: Connection) -> None:
    async def answer(about: str) -> str:
        await anyio.lowlevel.checkpoint()
        return f"{about}!"

    shop = await client.bootstrap(Shop)
    assert await shop.ask(answer, "tea") == "they said tea!"


async def stream_consumed(ground: Ground) -> None:
    """More items than the first credit allows."""
    async with ground.host(MemFlows()) as (_, url), ground.client(url) as client:
        await ground.body(_consume, client)


async def _consume(client: Connection) -> None:
    flows = await client.bootstrap(Flows)
    assert [number async for number in flows.numbers(COUNT)] == list(range(COUNT))


async def stream_produced(ground: Ground) -> None:
    """The same from the caller's side, as an argument."""
    async with ground.host(MemFlows()) as (_, url), ground.client(url) as client:
        await ground.body(_produce, client)


async def _produce(client: Connection) -> None:
    async def numbers() -> AsyncGenerator[int]:
        for number in range(COUNT):
            yield number

    flows = await client.bootstrap(Flows)
    assert await flows.add(numbers()) == sum(range(COUNT))


async def pipelined(ground: Ground) -> None:
    """A chain of calls on what is not there yet, from the first write of the connection on."""
    async with ground.host(Tree().root) as (_, url), ground.client(url) as client:
        await ground.body(_walk, client)


async def _walk(client: Connection) -> None:
    root = pipe(client.bootstrap(Node))
    below = pipe(root.child("a"))
    deeper = pipe(below.child("b"))
    spoken = deeper.say("x"), below.say("y")
    assert [await word for word in spoken] == ["/a/b:x", "/a:y"]


class Passing(MemHub):
    """Where a node is left for the next, if there is one."""

    async def get(self) -> Node:
        if self.node is None:
            raise NotFound("nobody has put a node here")
        return self.node


async def forwarded(ground: Ground) -> None:
    """A node of one host, passed on by a second to its own peer: calls, a capability each way, and a stream."""
    hub = Passing()
    async with (
        ground.host(MemHub(Tree().root)) as (_, url),
        ground.host(hub) as (_, nearer),
        ground.client(url) as between,
        ground.client(nearer) as client,
    ):
        await ground.body(_forward, hub, between, client)


async def _forward(hub: Passing, between: Connection, client: Connection) -> None:
    try:
        hub.node = await (await between.bootstrap(Hub)).get()
        node = await (await client.bootstrap(Hub)).get()
        below = await node.child("a")
        assert await below.ask(MemNode(Tree(), "mine"), "x") == "mine:x"
        assert [number async for number in below.count(3)] == [0, 1, 2]
    finally:
        hub.node = None


async def replaced(ground: Ground) -> None:
    """Another implementation comes behind a name while a call runs on the old one; then a swap that is rolled back."""
    async with ground.host(old := Waiting("old")) as (host, url), ground.client(url) as client:
        await ground.body(_replace, host, old, client)


async def _replace(host: Host, old: Waiting, client: Connection) -> None:
    shop = await client.bootstrap(Shop)
    running = await _begun(old, shop, client)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_replace_old, host)
            await anyio.lowlevel.checkpoint()
            old.gate.open()
            assert await running == "old:x"
    finally:
        running.cancel()
    with suppress(LookupError):
        async with host.swap(Waiting("third")) as swap:
            assert await swap.candidate.echo(1) == 1
            raise LookupError
    assert await shop.add(1) == 11


async def _replace_old(host: Host) -> None:
    report = await host.replace(Waiting("new"), grace=1)
    assert report.drained == 1


async def revoked(ground: Ground) -> None:
    """What was handed out is taken back while a call runs on it."""
    async with ground.host(MemHub()) as (host, url), ground.client(url) as client:
        await ground.body(_revoke, host, client)


async def _revoke(host: Host, client: Connection) -> None:
    lent = Waiting()
    handle = host.serve(lent)
    try:
        shop = await client.bootstrap(Shop)
        running = await _begun(lent, shop, client)
        try:
            item = await shop.make("tea")
            revoke(lent)
            for late in (running, item.label(), shop.echo(1)):
                await _fails(late, Revoked)
        finally:
            running.cancel()
    finally:
        handle.close()


async def scoped(ground: Ground) -> None:
    """A plugin with names, things lent, a task, a callback: all of it ends with its scope, while a call runs."""
    async with ground.host(MemHub()) as (host, url), ground.client(url) as client:
        await ground.body(_plug, host, client)


async def _plug(host: Host, client: Connection) -> None:
    plugin, ended = Waiting(), list[str]()

    async def callback() -> None:
        await anyio.lowlevel.checkpoint()
        ended.append("callback")

    async with host.scope("plug") as scope:
        scope.serve(plugin)
        scope.start(anyio.sleep_forever)
        scope.push(callback)
        running = await _begun(plugin, await client.bootstrap(Shop, name="plug.test.Shop"), client)
    try:
        assert ended == ["callback"] and scope.closed
        await _fails(running, Revoked)
    finally:
        running.cancel()


async def virtual(ground: Ground) -> None:
    """A virtual connection through a program in the middle: opened with words both ways, used, closed."""
    async with (
        ground.host(MemShop()) as (far, url),
        ground.host(MemHub()) as (middle, nearer),
        ground.client(url) as between,
        ground.client(nearer) as client,
    ):

        async def take(opening: Opening) -> None:
            far.accept(opening.transport({"taken": True}))

        async def lend(opening: Opening) -> None:
            await opening.lend(between)

        far.on_open(take)
        middle.on_open(lend)
        await ground.body(_open, client)


async def _open(client: Connection) -> None:
    async with client.open({"for": "you"}) as inner:
        assert inner.attestation.metadata == {"taken": True}
        shop = await inner.bootstrap(Shop)
        assert await shop.echo("x" * 100_000) == "x" * 100_000


async def shut_down(ground: Ground) -> None:
    """A host closes while calls are in flight, one that ends in time and one that does not, and a stream is open."""
    shop, flows = Waiting(), MemFlows()
    async with ground.host(shop, flows) as (host, url), ground.client(url) as client:
        await ground.body(_shut_down, host, shop, client)


async def _shut_down(host: Host, shop: Waiting, client: Connection) -> None:
    running = await _begun(shop, await client.bootstrap(Shop), client)
    try:
        numbers = (await client.bootstrap(Flows)).sleepy(3)
        assert await anext(numbers) == 0
        await host.aclose(grace=0.5)
        await _fails(running, Unavailable)
    finally:
        running.cancel()


async def _begun(shop: Waiting, proxy: Shop, client: Connection) -> Call[str]:
    """A call that is in its handler; it ends only with that, or when it is given up."""
    client.on_close(lambda _: shop.entered.set())
    running = cast("Call[str]", proxy.wait("x"))
    try:
        await shop.entered.wait()
        if client.closed:
            await running
    except BaseException:
        running.cancel()
        raise
    return running


async def _fails(late: Awaitable[object], kind: type[CapnetError]) -> None:
    """It ends with such an error."""
    try:
        await late
    except kind:
        return
    raise AssertionError(f"it should have ended as {kind.__name__}")


COUNT: Final = 40
SCENARIOS: Final[Sequence[Scenario]] = (
    connect_call_close,
    callback,
    stream_consumed,
    stream_produced,
    pipelined,
    forwarded,
    replaced,
    revoked,
    scoped,
    virtual,
    shut_down,
)
