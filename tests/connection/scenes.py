"""Scenes for tests of what is left behind: each can be played as often as one likes, and leaves nothing by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count as count_from
from typing import Any, Final

from anyio import move_on_after
from anyio.lowlevel import checkpoint

from capnet import (
    Admission,
    Broadcast,
    CallCancelled,
    CallInfo,
    Cap,
    CapnetError,
    Connection,
    DeadlineExceeded,
    Host,
    Membrane,
    NotFound,
    Opening,
    PermissionDenied,
    Revoked,
    Unavailable,
    call,
    channel,
    connect,
    dup,
    notify,
    on_broken,
    pipe,
    restrict,
    revocable,
)
from capnet.observe import Event
from tests.connection.desk import VALUE, Desk, Item, MemDesk, OwnItem, count, successor
from tests.connection.shop import socket_pair

__all__ = ["AUTHORITY", "CALLS", "CONNECTIONS", "SCENES", "STREAMS", "Rules", "Scene", "Stage", "on_stage"]


_numbers: Final = count_from(1)


class Rules:
    """Denies the name `vault` and every `secret`."""

    def admit(self, request: Admission, /) -> bool:
        """Not the vault."""
        return request.name != "vault"

    def guard(self, call: CallInfo, /) -> bool:
        """No secrets."""
        return call.method != "secret"


@dataclass
class Stage:
    """Where scenes are played: two ends, a desk of the first as the second has it, and how to have another desk.

    The first is a host's, which lasts as long as the stage; `url` leads to it.
    """

    server: Connection
    client: Connection
    desk: Desk
    new_desk: Callable[[], MemDesk]
    url: str
    host: Host

    @asynccontextmanager
    async def visitor(self) -> AsyncGenerator[tuple[Connection, Desk]]:
        """Another peer of the host, which comes and goes, with a desk of its own."""
        async with connect(self.url) as connection, await connection.bootstrap(Desk) as desk:
            yield connection, desk


@asynccontextmanager
async def on_stage(policy: Rules | None = None) -> AsyncGenerator[Stage]:
    """A stage; with the policy, every call on it is guarded."""
    tally: Counter[str] = Counter()
    lent: dict[str, Item] = {}

    def new_desk() -> MemDesk:
        return MemDesk(tally, lent)

    url = f"memory:test.stage-{next(_numbers)}"
    async with Host(policy=policy) as host:
        host.serve(new_desk())
        await host.listen(url)
        async with connect(url) as client:
            await client.ping()
            (server,) = host.connections
            server.serve(new_desk())
            async with await client.bootstrap(Desk) as desk:
                yield Stage(server, client, desk, new_desk, url, host)


Scene = Callable[[Stage], Awaitable[None]]


# --- calls ---


async def one_call(stage: Stage) -> None:
    """There and back."""
    assert await stage.desk.echo(VALUE) == VALUE


async def calls_at_once(stage: Stage) -> None:
    """Several on their way."""
    for one in [stage.desk.echo(VALUE) for _ in range(5)]:
        await one


async def a_callback(stage: Stage) -> None:
    """A function as an argument, called while the call runs."""
    assert await stage.desk.ask(successor, 1) == 2


async def an_object_of_ours(stage: Stage) -> None:
    """Passed, called back, given back."""
    assert await stage.desk.read(OwnItem("ours")) == "ours"


async def an_object_of_theirs(stage: Stage) -> None:
    """Given back at the end of a block."""
    async with await stage.desk.make("theirs") as item:
        assert await item.label() == "theirs"


async def an_object_let_go(stage: Stage) -> None:
    """Nobody closes it."""
    assert await (await stage.desk.make("theirs")).label() == "theirs"


async def an_object_that_comes_home(stage: Stage) -> None:
    """Theirs, passed back to them; and one more proxy of it."""
    async with await stage.desk.make("theirs") as item, dup(item) as other:
        assert await stage.desk.read(other) == "theirs"


async def a_promise(stage: Stage) -> None:
    """A call on what another will bring."""
    assert await pipe(stage.desk.make("promised")).label() == "promised"


async def a_promise_passed_on(stage: Stage) -> None:
    """As an argument."""
    assert await stage.desk.read(pipe(stage.desk.make("promised"))) == "promised"


async def one_way(stage: Stage) -> None:
    """Nothing comes back; the call after it does."""
    notify(stage.desk.echo)(VALUE)
    await stage.desk.echo(VALUE)


async def a_result_nobody_collects(stage: Stage) -> None:
    """The call is dropped."""
    left: Any = stage.desk
    left.make("unwanted")
    await stage.desk.echo(VALUE)


async def a_declared_error(stage: Stage) -> None:
    """One that travels."""
    with suppress(NotFound):
        await stage.desk.fail("declared")
        raise AssertionError


async def an_unexpected_error(stage: Stage) -> None:
    """One that becomes `internal`."""
    with suppress(CapnetError):
        await stage.desk.fail("unexpected")
        raise AssertionError


async def a_cancelled_call(stage: Stage) -> None:
    """While its handler runs."""
    waiting: Any = stage.desk.wait()
    await stage.desk.echo(VALUE)
    waiting.cancel()
    with suppress(CallCancelled):
        await waiting
        raise AssertionError


async def a_cancelled_await(stage: Stage) -> None:
    """The scope around it ends; the handler's own call is cancelled with it."""
    with suppress(DeadlineExceeded), move_on_after(0.002):  # on a busy machine the callee may notice first
        await stage.desk.wait()
        raise AssertionError


async def a_call_cancelled_at_once(stage: Stage) -> None:
    """Before it has left."""
    waiting: Any = stage.desk.wait()
    waiting.cancel()
    with suppress(CallCancelled):
        await waiting
        raise AssertionError


# --- streams ---


async def a_stream(stage: Stage) -> None:
    """Read to its end."""
    assert [n async for n in stage.desk.numbers(5)] == [0, 1, 2, 3, 4]


async def a_stream_left(stage: Stage) -> None:
    """Closed after the first item."""
    async with aclosing(stage.desk.numbers(10**9)) as numbers:
        assert await anext(numbers) == 0


async def a_stream_let_go(stage: Stage) -> None:
    """Nobody closes it, and its producer has nothing more to say."""
    numbers = stage.desk.silent()
    assert await anext(numbers) == 0


async def a_stream_never_read(stage: Stage) -> None:
    """Opened, and let go."""
    stage.desk.numbers(5)
    await stage.desk.echo(VALUE)


async def a_stream_that_fails(stage: Stage) -> None:
    """After two items."""
    with suppress(CapnetError):
        async for _ in stage.desk.failing("declared"):
            pass
        raise AssertionError


async def a_stream_that_breaks(stage: Stage) -> None:
    """By an error that the caller is not told."""
    with suppress(CapnetError):
        async for _ in stage.desk.failing("unexpected"):
            pass
        raise AssertionError


async def a_stream_of_ours(stage: Stage) -> None:
    """As an argument, read to its end."""
    assert await stage.desk.add(count(5)) == 10


async def a_stream_of_ours_cancelled(stage: Stage) -> None:
    """The call that reads it is."""
    adding: Any = stage.desk.add(count(10**9))
    await stage.desk.echo(VALUE)
    adding.cancel()
    with suppress(CallCancelled):
        await adding
        raise AssertionError


async def streams_both_ways(stage: Stage) -> None:
    """One in, one out."""
    assert [n async for n in stage.desk.double(count(3))] == [0, 2, 4]


async def a_stream_of_objects(stage: Stage) -> None:
    """Some of which are never looked at."""
    items = stage.desk.items(3)
    assert await (await anext(items)).label() == "0"


async def a_channel(stage: Stage) -> None:
    """Its writing end is passed."""
    sink, numbers = channel(int)
    filling = stage.desk.fill(sink, 3)
    del sink
    assert [n async for n in numbers] == [0, 1, 2]
    await filling


async def a_broadcast(stage: Stage) -> None:
    """A subscription is passed; the broadcast ends."""
    broadcast = Broadcast[int]()
    adding = stage.desk.add(broadcast.subscribe())
    await broadcast.send(1)
    await stage.desk.echo(VALUE)
    broadcast.close()
    assert await adding == 1


# --- authority ---


async def a_revocation(stage: Stage) -> None:
    """What was lent is taken back, with a call on it running elsewhere."""
    item = await stage.desk.lend("lent")
    broken: list[object] = []
    on_broken(item, broken.append)
    assert await stage.desk.recall("lent") == 1
    with suppress(Revoked):
        await item.label()
        raise AssertionError
    while not broken:
        await checkpoint()


async def a_denied_name(stage: Stage) -> None:
    """By the policy, or because it is not there."""
    with suppress(PermissionDenied, NotFound):
        await stage.client.bootstrap(Desk, name="vault")
        raise AssertionError


async def a_denied_call(stage: Stage) -> None:
    """By the guard, or by the object."""
    with suppress(CapnetError):
        await stage.desk.secret()
        raise AssertionError


async def a_replacement(stage: Stage) -> None:
    """New calls go to the new one."""
    await stage.server.replace(stage.new_desk())
    assert await stage.desk.echo(VALUE) == VALUE


async def a_replacement_under_a_call(stage: Stage) -> None:
    """What runs on the old one is cut."""
    waiting: Any = stage.desk.wait()
    await stage.desk.echo(VALUE)
    await stage.server.replace(stage.new_desk(), mode="cut")
    with suppress(CapnetError):
        await waiting
        raise AssertionError


async def a_swap_rolled_back(stage: Stage) -> None:
    """The block raises."""
    with suppress(LookupError):
        async with stage.server.swap(stage.new_desk()):
            raise LookupError


async def a_name_served_for_a_while(stage: Stage) -> None:
    """By the other side, bootstrapped, and ended."""
    handle = stage.client.serve(stage.new_desk())
    desk = await stage.server.bootstrap(Desk)
    assert await desk.echo(VALUE) == VALUE
    handle.close()


async def a_name_waited_for(stage: Stage) -> None:
    """Served while somebody waits."""
    waiting = stage.server.bootstrap(Desk, name="later", wait=5)
    await stage.server.runtime().ping()
    handle = stage.client.serve(stage.new_desk(), name="later")
    async with await waiting as desk:
        assert await desk.echo(VALUE) == VALUE
    handle.close()


async def a_scope(stage: Stage) -> None:
    """With a name, a loan and a hook in it."""
    async with stage.server.scope("plug") as scope:
        scope.serve(stage.new_desk(), name="desk")
        scope.push(lambda: None)
        desk = await stage.client.bootstrap(Desk, name="plug.desk")
        assert await desk.echo(VALUE) == VALUE


async def a_restriction(stage: Stage) -> None:
    """A narrower object is passed."""
    narrow = restrict(OwnItem("narrow"), uses=1)
    assert await stage.desk.read(narrow) == "narrow"


async def a_loan(stage: Stage) -> None:
    """A revocable object is passed, and taken back."""
    lent, take_back = revocable(OwnItem("lent"))
    assert await stage.desk.read(lent) == "lent"
    take_back()


async def a_membrane(stage: Stage) -> None:
    """Around their desk; what comes out is wrapped; cut."""
    membrane = Membrane()
    desk = membrane.wrap(stage.desk)
    assert await (await desk.make("across")).label() == "across"
    assert await desk.read(OwnItem("in")) == "in"
    membrane.cut()


# --- connections ---


async def an_observer(stage: Stage) -> None:
    """Of everything, for a while."""
    seen: list[Event] = []
    forget = stage.client.on(Event, seen.append)
    async with stage.server.events(Event) as feed:
        async with await stage.desk.make("seen") as item:
            await item.label()
        assert [n async for n in stage.desk.numbers(2)] == [0, 1]
        await anext(feed)
    forget()


async def the_runtime(stage: Stage) -> None:
    """What the peer tells of itself."""
    await stage.client.runtime().ping()
    await stage.client.runtime().stats()


async def a_hop(stage: Stage) -> None:
    """A desk that is passed on to a third peer, with objects, an error and a stream through both hops."""
    async with on_stage() as beyond, served_onward(beyond.server, stage.desk):
        hub = await beyond.client.bootstrap(Hub)
        async with hub, await hub.desk() as desk:
            assert await (await desk.make("far")).label() == "far"
            assert await desk.read(OwnItem("near")) == "near"
            assert [n async for n in desk.double(count(2))] == [0, 2]
            with suppress(NotFound):
                await desk.fail("declared")
                raise AssertionError


async def a_hop_cancelled(stage: Stage) -> None:
    """The connection beyond is cut, with calls and streams of it going on."""
    async with on_stage() as beyond, served_onward(beyond.server, stage.desk):
        desk = await (await beyond.client.bootstrap(Hub)).desk()
        waiting, numbers = desk.wait(), desk.numbers(10**9)
        assert await anext(numbers) == 0
        beyond.client._session.driver.transport.abort()
        with suppress(Unavailable):
            await waiting
            raise AssertionError


async def a_visitor(stage: Stage) -> None:
    """A connection that is opened, used and closed."""
    async with stage.visitor() as (_, desk):
        await use(desk)


async def a_visitor_without_time(stage: Stage) -> None:
    """Closed under its work, with no grace."""
    async with stage.visitor() as (connection, desk):
        await end_under_work(desk, connection.aclose(grace=0))


async def a_visitor_lost(stage: Stage) -> None:
    """Its transport breaks."""
    async with stage.visitor() as (connection, desk):
        await end_under_work(desk, lose(connection))


async def a_virtual_connection(stage: Stage) -> None:
    """Opened with words both ways, used, closed."""
    async with taken(stage), stage.client.open({"n": 1}) as inner, await inner.bootstrap(Desk) as desk:
        await use(desk)


async def a_virtual_connection_refused(stage: Stage) -> None:
    """By nobody, by somebody, and given up before anybody has decided."""
    with suppress(CapnetError):
        await stage.client.open()
        raise AssertionError
    async with taken(stage):
        with suppress(PermissionDenied):
            await stage.client.open({"n": 0})
            raise AssertionError
        with move_on_after(0):
            await stage.client.open({"n": 1})


async def a_virtual_connection_lost(stage: Stage) -> None:
    """The transport of the one around it breaks."""
    async with stage.visitor() as (connection, _):
        await end_under_work(await opened_on(connection, stage), lose(connection))


async def a_virtual_connection_lent(stage: Stage) -> None:
    """To a third peer, which has what is said there."""
    async with on_stage() as beyond, taken(stage):

        async def lend(opening: Opening) -> None:
            await opening.lend(stage.client)

        beyond.server.on_open(lend)
        async with beyond.client.open({"n": 1}) as inner, await inner.bootstrap(Desk) as desk:
            await use(desk)


async def opened_on(connection: Connection, stage: Stage) -> Desk:
    """A desk at the far end of a virtual connection inside of one of the peer's."""

    async def serve(opening: Opening) -> None:
        opening.accept().serve(stage.new_desk())

    connection.on_open(serve)
    server = stage.host.connections[-1]
    return await (await server.open()).bootstrap(Desk)


@asynccontextmanager
async def taken(stage: Stage) -> AsyncGenerator[None]:
    """Virtual connections with a number that is not 0 get a desk."""

    async def decide(opening: Opening) -> None:
        await checkpoint()
        if opening.metadata["n"]:
            opening.accept(opening.metadata).serve(stage.new_desk())

    stage.server.on_open(decide)
    try:
        yield
    finally:
        stage.server.on_open(None)


async def a_violation(stage: Stage) -> None:
    """The peer sends what no honest one can."""
    async with stage.visitor() as (connection, _):
        connection._session.driver.transport.send([b"\0\0\0\1\0"])
        await connection.wait_closed()


async def a_host(stage: Stage) -> None:
    """Opened with a connection, used, closed."""
    async with on_stage() as another:
        await use(another.desk)


async def a_host_without_time(stage: Stage) -> None:
    """Closed under its work, with no grace."""
    async with on_stage() as another:
        await end_under_work(another.desk, another.server.aclose(grace=0))


async def a_socket(stage: Stage) -> None:
    """The same over a real one: opened, used, closed."""
    async with socket_pair(stage.new_desk()) as (_, client), await client.bootstrap(Desk) as desk:
        await use(desk)


async def a_socket_closed_under_work(stage: Stage) -> None:
    """No grace."""
    async with socket_pair(stage.new_desk()) as (server, client), await client.bootstrap(Desk) as desk:
        await end_under_work(desk, server.aclose(grace=0))


async def a_socket_lost(stage: Stage) -> None:
    """It breaks."""
    async with socket_pair(stage.new_desk()) as (_, client), await client.bootstrap(Desk) as desk:
        await end_under_work(desk, lose(client))


async def use(desk: Desk) -> None:
    """A little of everything."""
    assert await desk.echo(VALUE) == VALUE
    assert await (await desk.make("theirs")).label() == "theirs"
    assert await desk.read(OwnItem("ours")) == "ours"
    assert [n async for n in desk.double(count(2))] == [0, 2]


async def end_under_work(desk: Desk, ending: Awaitable[object]) -> None:
    """The connection of a desk ends while calls and streams go on, and objects are held both ways."""
    item, waiting, numbers = await desk.make("held"), desk.wait(), desk.numbers(10**9)
    adding, asked = desk.add(count(10**9)), desk.read(OwnItem("asked"))
    assert await anext(numbers) == 0
    await asked
    await ending
    for one in (waiting, adding, item.label):
        with suppress(Unavailable, CallCancelled):
            await (one() if callable(one) else one)
            raise AssertionError


async def lose(connection: Connection) -> None:
    """Without a word."""
    connection._session.driver.transport.abort()
    await connection.wait_closed()


class Hub(Cap, name="test.Hub"):
    """Has a desk."""

    @call
    async def desk(self) -> Desk: ...


class MemHub(Hub):
    """That of another peer."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def desk(self) -> Desk:
        return self._desk


@asynccontextmanager
async def served_onward(connection: Connection, desk: Desk) -> AsyncGenerator[None]:
    """A proxy, for the peer of another connection."""
    handle = connection.serve(MemHub(desk))
    yield
    handle.close()


CALLS: dict[str, Scene] = {
    scene.__name__: scene
    for scene in (
        one_call,
        calls_at_once,
        a_callback,
        an_object_of_ours,
        an_object_of_theirs,
        an_object_let_go,
        an_object_that_comes_home,
        a_promise,
        a_promise_passed_on,
        one_way,
        a_result_nobody_collects,
        a_declared_error,
        an_unexpected_error,
        a_cancelled_call,
        a_cancelled_await,
        a_call_cancelled_at_once,
    )
}
STREAMS: dict[str, Scene] = {
    scene.__name__: scene
    for scene in (
        a_stream,
        a_stream_left,
        a_stream_let_go,
        a_stream_never_read,
        a_stream_that_fails,
        a_stream_that_breaks,
        a_stream_of_ours,
        a_stream_of_ours_cancelled,
        streams_both_ways,
        a_stream_of_objects,
        a_channel,
        a_broadcast,
    )
}
AUTHORITY: dict[str, Scene] = {
    scene.__name__: scene
    for scene in (
        a_revocation,
        a_denied_name,
        a_denied_call,
        a_replacement,
        a_replacement_under_a_call,
        a_swap_rolled_back,
        a_name_served_for_a_while,
        a_name_waited_for,
        a_scope,
        a_restriction,
        a_loan,
        a_membrane,
        an_observer,
        the_runtime,
    )
}
CONNECTIONS: dict[str, Scene] = {
    scene.__name__: scene
    for scene in (
        a_hop,
        a_hop_cancelled,
        a_visitor,
        a_visitor_without_time,
        a_visitor_lost,
        a_virtual_connection,
        a_virtual_connection_refused,
        a_virtual_connection_lost,
        a_virtual_connection_lent,
        a_violation,
        a_host,
        a_host_without_time,
        a_socket,
        a_socket_closed_under_work,
        a_socket_lost,
    )
}
SCENES = CALLS | STREAMS | AUTHORITY | CONNECTIONS
