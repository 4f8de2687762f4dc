"""Names that come later: fallback handlers claim, decline or hold; who serves the name comes first (P-CAP-2)."""

from __future__ import annotations

import gc
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from capnet import (
    HOLD,
    Admission,
    Cap,
    Connection,
    Host,
    InvalidArgument,
    Limits,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Revoked,
    VersionMismatch,
    connect,
    pipe,
)
from capnet.observe import Bootstrapped, HandlerFailed, LimitHit
from capnet.references.revoke import revoke
from capnet.testing import connected
from capnet.wire.frames import Op
from tests.connection.shop import Item, MemItem, MemShop, Shop, raw_call, until
from tests.connection.test_policy import Rule
from tests.connection.tree import assert_nothing_left
from tests.hostile.attack import scene


class Asked:
    """A handler that writes down what it is asked, and says what it is told to say."""

    def __init__(self, answer: Any = None, *, later: bool = False) -> None:
        self.names: list[str] = []
        self.requests: list[Admission] = []
        self._answer = answer
        self._later = later

    def __call__(self, request: Admission) -> Any:
        self.names.append(request.name)
        self.requests.append(request)
        return self._in_time() if self._later else self._say()

    def _say(self) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer() if callable(self._answer) else self._answer

    async def _in_time(self) -> Any:
        await checkpoint()
        return self._say()


class Slow:
    """A handler that waits until it is let go, and says whether it was cancelled."""

    def __init__(self, answer: object, *, stubborn: bool = False) -> None:
        self.entered = 0
        self.cancelled = 0
        self.go = anyio.Event()
        self._answer = answer
        self._stubborn = stubborn

    async def __call__(self, request: Admission) -> Any:
        self.entered += 1
        try:
            await self.go.wait()
        except BaseException:
            self.cancelled += 1
            if not self._stubborn:
                raise
            return self._answer  # it claims in spite of its cancellation
        return self._answer


@asynccontextmanager
async def asking(client: Connection, **options: Any) -> AsyncGenerator[list[Any]]:
    """Bootstraps an item meanwhile; what came of it is in the list when the block is left."""
    outcome: list[Any] = []

    async def ask() -> None:
        try:
            outcome.append(await client.bootstrap(Item, **options))
        except (NotFound, PermissionDenied) as error:
            outcome.append(type(error))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        yield outcome


# --- claim ---


@pytest.mark.parametrize("later", [False, True])
async def test_a_claim_is_for_one_bootstrap_and_registers_nothing(later: bool) -> None:
    made: list[MemItem] = []

    def make() -> MemItem:
        made.append(MemItem(f"item {len(made)}"))
        return made[-1]

    handler = Asked(make, later=later)
    events: list[Bootstrapped] = []
    async with connected() as (server, client):
        server.on(Bootstrapped, events.append)
        server.fallback(handler)
        first, second = await client.bootstrap(Item), await client.bootstrap(Item)
        assert (await first.label(), await second.label()) == ("item 0", "item 1")
        assert server.stats()["names"] == 0 and await client.runtime().describe() == {}
        await until(lambda: len(events) == 2)
        assert {(event.name, event.result) for event in events} == {("test.Item", "ok")}
        del first
        await until(lambda: made[0].closed == 1)
        assert made[1].closed == 0 and await second.label() == "item 1"
        del second
        await assert_nothing_left(server, client)
        await until(lambda: [item.closed for item in made] == [1, 1])


async def test_the_handler_sees_who_asks_and_for_what() -> None:
    handler = Asked(MemItem("x"))
    async with connected(auth={"token": "t"}) as (server, client):
        server.fallback(handler)
        await client.bootstrap(Item, name="some.name")
        (request,) = handler.requests
        assert (request.name, request.version, request.peer) == ("some.name", 1, "client")
        assert request.auth == {"token": "t"} and request.attestation.transport == "memory"


async def test_a_name_that_is_served_asks_nobody() -> None:
    handler = Asked(MemItem("claimed"))
    async with connected(MemItem("served")) as (server, client):
        server.fallback(handler)
        assert await (await client.bootstrap(Item)).label() == "served"
        assert not handler.names


async def test_a_claim_can_be_called_on_before_it_arrives() -> None:
    async with connected() as (server, client):
        server.fallback(Asked(MemItem("x"), later=True))
        assert await pipe(client.bootstrap(Item)).label() == "x"
        (item,) = await client.bootstrap_all(Item)
        assert await item.label() == "x"


async def test_the_newest_is_asked_first_and_the_connection_before_the_host() -> None:
    """None declines; whoever claims ends the asking."""
    order: list[str] = []

    def handler(name: str, answer: Any = None) -> Callable[[Admission], Any]:
        def ask(_: Admission) -> Any:
            order.append(name)
            return answer

        return ask

    async with Host() as host:
        await host.listen("memory:fallback.order")
        async with connect("memory:fallback.order") as client:
            await client.ping()
            (server,) = host.connections
            server.fallback(handler("connection, old"))
            remove = host.fallback(handler("host, old", MemItem("x")))
            host.fallback(handler("host, new"))
            server.fallback(handler("connection, new"))
            await client.bootstrap(Item)
            assert order == ["connection, new", "connection, old", "host, new", "host, old"]
            remove()
            remove()
            with pytest.raises(NotFound):
                await client.bootstrap(Item)
            assert order[4:] == ["connection, new", "connection, old", "host, new"]


async def test_a_proxy_that_is_claimed_is_passed_on() -> None:
    """A front that fetches from behind what it is asked for: no name is known to it beforehand."""
    far = MemItem("far")
    async with Host() as back, Host() as front:
        back.serve(far)
        await back.listen("memory:fallback.back")
        await front.listen("memory:fallback.front")
        there = await front.connect("memory:fallback.back")

        async def fetch(request: Admission) -> Cap | None:
            return await there.bootstrap(Item) if request.name == "test.Item" else None

        front.fallback(fetch)
        async with connect("memory:fallback.front") as client:
            item = await client.bootstrap(Item)
            assert await item.label() == "far"
            with pytest.raises(NotFound):
                await client.bootstrap(Shop)
            with pytest.raises(VersionMismatch):
                await client.bootstrap(Shop, name="test.Item")
            del item
            gc.collect()
            await assert_nothing_left(client, there)


async def test_a_claim_must_have_what_the_client_declares() -> None:
    """P-CAP-3: like what is served. What was made for nothing is closed."""
    item = MemItem("x")
    async with connected() as (server, client):
        server.fallback(Asked(item))
        with pytest.raises(VersionMismatch) as caught:
            await client.bootstrap(Shop)
        assert caught.value.details["differences"]
        await until(lambda: item.closed == 1)
        await assert_nothing_left(server, client)


# --- decline ---


WRONG: dict[str, Any] = {
    "raises": RuntimeError("canary"),
    "denies": PermissionDenied("canary"),
    "true": True,
    "text": "canary",
    "a class": lambda: MemItem,
    "a denial that is none": object(),
}


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("answer", WRONG.values(), ids=WRONG)
async def test_a_handler_that_fails_is_logged_and_declines(answer: Any, later: bool) -> None:
    """The peer hears nothing of it, and the next handler is asked."""
    failed: list[HandlerFailed] = []
    async with connected() as (server, client):
        server.on(HandlerFailed, failed.append)
        older = Asked()
        server.fallback(older)
        server.fallback(Asked(answer, later=later))
        with pytest.raises(NotFound) as caught:
            await client.bootstrap(Item)
        assert "canary" not in str(caught.value)
        await until(lambda: failed)
        assert failed[0].where == "fallback handler" and older.names == ["test.Item"]
        await assert_nothing_left(server, client)


async def test_a_handler_that_hangs_is_logged_and_declines() -> None:
    failed: list[HandlerFailed] = []
    slow = Slow(None)
    async with connected(limits=Limits(policy_timeout=0.5)) as (server, client):
        server.on(HandlerFailed, failed.append)
        server.fallback(Asked(MemItem("older")))
        server.fallback(slow)
        with anyio.fail_after(60):
            assert await (await client.bootstrap(Item)).label() == "older"
        await until(lambda: failed)
        assert failed[0].error.kind == "TimeoutError" and slow.cancelled == 1


# --- hold ---


async def test_fault_28_a_client_that_comes_first() -> None:
    """Fault 28: there a bootstrap before the name was served failed at once. Here: it may wait, or be made to wait."""
    async with connected() as (server, client):
        async with asking(client, wait=60) as waited:
            await until(lambda: server._names._pending)
            server.serve(MemItem("late"))
        assert await waited.pop().label() == "late"
        server.unserve(Item)
        server.fallback(Asked(HOLD))
        async with asking(client) as held:
            await until(lambda: server._names._pending)
            server.serve(MemItem("later"))
        assert await held.pop().label() == "later"
        await assert_nothing_left(server, client)
        assert not server._services.registry._waiters


async def test_fault_18_who_waits_for_a_name_is_looked_at_again() -> None:
    """Fault 18, P-CAP-7: what the policy said before the wait does not count after it."""
    verdicts = [True]
    policy = Rule(lambda _: verdicts[0])
    async with connected(policy=policy) as (server, client):
        async with asking(client, wait=60) as outcome:
            await until(lambda: server._services.registry._waiters)
            verdicts[:] = [False]
            server.serve(item := MemItem("late"))
        assert outcome == [PermissionDenied] and len(policy.asked) == 2
        verdicts[:] = [True]
        assert await (await client.bootstrap(Item)).label() == "late" and not item.closed


@pytest.mark.parametrize("later", [False, True])
async def test_hold_asks_nobody_else_and_ends_in_time(later: bool) -> None:
    """Without the caller's `wait` it lasts for `policy_timeout`, with it as long as that."""
    older = Asked(MemItem("older"))
    async with connected(limits=Limits(policy_timeout=0.2)) as (server, client):
        server.fallback(older)
        server.fallback(Asked(HOLD, later=later))
        for wait in (None, 0.01):
            with anyio.fail_after(60), pytest.raises(NotFound):
                await client.bootstrap(Item, wait=wait)
        async with asking(client, wait=60) as held:
            await anyio.sleep(0.25)  # longer than the policy's time
            server.serve(MemItem("late"))
        assert await held.pop().label() == "late"
        assert not older.names
        await assert_nothing_left(server, client)


async def test_when_all_decline_the_caller_waits_as_long_as_it_wants() -> None:
    async with connected() as (server, client):
        server.fallback(handler := Asked())
        async with asking(client, wait=60) as waited:
            await until(lambda: handler.names)
            server.serve(MemItem("late"))
        assert await waited.pop().label() == "late"


async def test_the_time_that_handlers_take_is_part_of_the_wait() -> None:
    slow = Slow(HOLD)
    async with connected() as (server, client):
        server.fallback(slow)
        async with asking(client, wait=0.5) as outcome:
            await until(lambda: slow.entered)
            await anyio.sleep(0.55)
            slow.go.set()
        assert outcome == [NotFound]


# --- what happens meanwhile ---


@pytest.mark.parametrize("stubborn", [False, True])
async def test_who_serves_the_name_meanwhile_comes_first(stubborn: bool) -> None:
    """The handler is cancelled; what it claims all the same does not count, and is closed."""
    claimed = MemItem("claimed")
    slow = Slow(claimed, stubborn=stubborn)
    async with connected() as (server, client):
        older = Asked(MemItem("older"))
        server.fallback(older)
        server.fallback(slow)
        async with asking(client) as outcome:
            await until(lambda: slow.entered)
            server.serve(MemItem("served"))
        assert await outcome.pop().label() == "served"
        assert slow.cancelled == 1 and not older.names
        await until(lambda: claimed.closed == stubborn)
        await assert_nothing_left(server, client)


async def test_a_handler_that_serves_the_name_itself() -> None:
    """Loaded when it is asked for first: the registration is what the peer gets, now and later."""
    names: list[str] = []
    async with connected() as (server, client):

        def load(request: Admission) -> Cap | None:
            names.append(request.name)
            server.serve(MemItem("loaded"))
            return None

        server.fallback(load)
        for _ in range(2):
            assert await (await client.bootstrap(Item)).label() == "loaded"
        assert names == ["test.Item"]


@pytest.mark.parametrize("stubborn", [False, True])
async def test_a_handler_that_is_removed_while_it_is_asked(stubborn: bool) -> None:
    """It is cancelled, its late claim does not count and is closed, and the next one is asked."""
    claimed = MemItem("claimed")
    slow = Slow(claimed, stubborn=stubborn)
    failed: list[HandlerFailed] = []
    async with connected() as (server, client):
        server.on(HandlerFailed, failed.append)
        server.fallback(Asked(MemItem("older")))
        remove = server.fallback(slow)
        async with asking(client) as outcome:
            await until(lambda: slow.entered)
            remove()
            remove()
        assert await outcome.pop().label() == "older"
        assert slow.cancelled == 1 and not failed
        await until(lambda: claimed.closed == stubborn)
        assert await (await client.bootstrap(Item)).label() == "older"
        assert slow.entered == 1


async def test_a_handler_that_is_removed_before_its_turn_is_not_asked() -> None:
    older, slow = Asked(MemItem("older")), Slow(None)
    async with connected() as (server, client):
        remove = server.fallback(older)
        server.fallback(slow)
        async with asking(client) as outcome:
            await until(lambda: slow.entered)
            remove()
            slow.go.set()
        assert outcome == [NotFound] and not older.names


async def test_what_was_claimed_stays_when_the_handler_goes_and_can_be_revoked() -> None:
    item = MemItem("x")
    async with connected() as (server, client):
        remove = server.fallback(Asked(item))
        mine = await client.bootstrap(Item)
        remove()
        assert await mine.label() == "x"
        assert [(one.peer, one.contract) for one in revoke(item)] == [("client", "test.Item")]
        with pytest.raises(Revoked):
            await mine.label()
        await until(lambda: item.closed == 1)


async def test_a_bootstrap_that_is_cancelled_cancels_the_handler() -> None:
    slow = Slow(MemItem("x"))
    async with connected() as (server, client):
        server.fallback(slow)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.bootstrap, Item)
            await until(lambda: slow.entered)
            tasks.cancel_scope.cancel()
        await until(lambda: slow.cancelled == 1)
        await assert_nothing_left(server, client)
        assert not server._names._pending and not server._services.registry._waiters


async def test_a_connection_that_closes_cancels_the_handler() -> None:
    slow = Slow(MemItem("x"))
    async with Host() as host:
        host.fallback(slow)
        await host.listen("memory:fallback.close")
        async with connect("memory:fallback.close") as client:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.bootstrap, Item)
                await until(lambda: slow.entered)
                tasks.cancel_scope.cancel()
            client._session.driver.transport.abort()
        await until(lambda: slow.cancelled == 1 and not host.connections)
        assert not host._services.registry._waiters


# --- scopes ---


async def test_a_fallback_of_a_scope_is_asked_for_its_names_only_and_ends_with_it() -> None:
    """What it has handed out ends as well: nobody else would take it back."""
    made: list[MemItem] = []

    def make() -> MemItem:
        made.append(MemItem("x"))
        return made[-1]

    handler = Asked(make, later=True)
    async with connected() as (server, client):
        async with server.scope("plug") as scope:
            scope.fallback(handler)
            early = scope.fallback(Asked(RuntimeError()))
            early()
            item = await client.bootstrap(Item, name="plug.thing")
            assert await item.label() == "x"
            for name in ("test.Item", "plug", "plugin.thing"):
                with pytest.raises(NotFound):
                    await client.bootstrap(Item, name=name)
            assert handler.names == ["plug.thing"]
        with pytest.raises(Revoked):
            await item.label()
        with pytest.raises(NotFound):
            await client.bootstrap(Item, name="plug.thing")
        await until(lambda: made[0].closed == 1)


@pytest.mark.parametrize("stubborn", [False, True])
async def test_a_scope_that_ends_while_its_fallback_is_asked(stubborn: bool) -> None:
    claimed = MemItem("claimed")
    slow = Slow(claimed, stubborn=stubborn)
    async with connected() as (server, client):
        scope = server.scope("plug")
        scope.fallback(slow)
        async with asking(client, name="plug.x") as outcome:
            await until(lambda: slow.entered)
            await scope.aclose()
        assert outcome == [NotFound] and slow.cancelled == 1
        await until(lambda: claimed.closed == stubborn)
        await assert_nothing_left(server, client)


# --- hostile names, and many of them ---


NAMES = (
    *("__class__", "__init__", "__dict__", "_private", "_capnet_hosted", "aclose", "serve", "registry", "find"),
    *("test.Shop.__class__", "test.Shop/gate", "../test.Shop", "/etc/passwd", "test.Shop ", " test.Shop", "TEST.SHOP"),
    *("test.\u0405hop", "test.Sho\u0440", "cafe\u0301", "\uff34est.Shop", "x" * 256),  # homoglyphs, decomposed, wide
)
NO_NAMES = ("", "\x00", "test.Shop\n", "\x1b[2J", "\u202etest.Shop", "x" * 257, "\u00e9" * 129, "\x7f", "x" * 1_000_000)


async def test_t18_names_reach_a_table_and_nothing_else() -> None:
    """T18: no attribute of any object is reached by a name from the wire; what is no name reaches nobody at all."""
    looked_up: list[str] = []

    class Watched(MemShop):
        def __getattribute__(self, name: str) -> Any:
            if watching:
                looked_up.append(name)
            return super().__getattribute__(name)

    policy, handler = Rule(lambda _: True), Asked()
    watching = False
    async with connected(Watched(), policy=policy) as (server, client):
        server.fallback(handler)
        watching = True
        told: set[tuple[str, str | None]] = set()
        for name in NAMES:
            with pytest.raises(NotFound) as missed:
                await client.bootstrap(Shop, name=name)
            told.add((missed.value.code, missed.value.reason))
        for name in NO_NAMES:
            arguments = {"name": name}
            with pytest.raises(InvalidArgument):
                await raw_call(client, client._session.engine.imports.bootstrap, _bootstrap(), "bootstrap", arguments)
        watching = False
        assert not looked_up and len(told) == 1
        assert handler.names == list(NAMES) == [request.name for request in policy.asked]
        await assert_nothing_left(server, client)


async def test_t18_a_denied_name_looks_like_one_that_is_not_there_to_fallbacks_too() -> None:
    """T18, P-CAP-7: the policy comes first, so that what a handler does tells nothing to those who may not have it."""
    handler = Asked(MemItem("x"))
    async with connected(MemShop(), policy=Rule(lambda _: False)) as (server, client):
        server.fallback(handler)
        told: list[tuple[Any, ...]] = []
        for name in ("test.Shop", "test.Item", "test.none"):
            with pytest.raises(PermissionDenied) as caught:
                await client.bootstrap(Item, name=name, wait=60)
            error = caught.value
            told.append((error.code, error.reason, error.details, error.retry, error.message.replace(name, "N")))
        assert told[0] == told[1] == told[2] and not handler.names


def _bootstrap() -> type[Cap]:
    from capnet.serving.bootstrap import Bootstrap

    return Bootstrap


async def test_t18_what_is_served_has_a_name_in_one_form() -> None:
    """T18: two names that look the same by their composition cannot be served side by side."""
    async with connected() as (server, client):
        server.serve(MemItem("x"), name="caf\u00e9")
        for name in ("cafe\u0301", "\u202ecafe", "\u0000"):
            with pytest.raises(InvalidArgument):
                server.serve(MemItem("y"), name=name)
        assert await (await client.bootstrap(Item, name="caf\u00e9")).label() == "x"


@pytest.mark.parametrize("how", ["raises", "hangs", "cancels"])
async def test_t19_a_policy_that_fails_under_a_flood_of_bootstraps_denies(how: str) -> None:
    """T19: a hook that raises, hangs or cancels itself is a no, for each of them; 16 at most are asked at once."""
    inside = most = 0

    async def admit() -> bool:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        try:
            if how == "raises":
                raise RuntimeError("broken")
            if how == "cancels":
                with anyio.CancelScope() as scope:
                    scope.cancel()
                    await checkpoint()
                return False
            await anyio.sleep_forever()
        finally:
            inside -= 1
        return True

    told: list[tuple[str, str | None]] = []
    limits = Limits(policy_timeout=0.05 if how == "hangs" else 60.0, max_strikes=1000)
    async with connected(MemItem("x"), policy=Rule(lambda _: admit()), limits=limits) as (server, client):

        async def ask() -> None:
            try:
                await client.bootstrap(Item)
            except (PermissionDenied, ResourceExhausted) as error:
                told.append((error.code, error.reason))

        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                for _ in range(200):
                    tasks.start_soon(ask)
        assert len(told) == 200 and most <= 16
        denied = {"raises": "policy_failed", "hangs": "policy_timeout", "cancels": "denied"}[how]
        assert set(told) <= {("permission_denied", denied), ("resource_exhausted", "max_pending_bootstraps")}
        assert ("permission_denied", denied) in told
        assert inside == 0 == server._names._pending


async def test_t19_names_that_are_held_count_as_pending() -> None:
    """T19: the handler of the host has them wait; of 20 the last 4 are refused, and say why."""
    async with connected() as (server, client):
        server.fallback(Asked(HOLD))
        refused: list[str | None] = []

        async def ask(number: int) -> None:
            try:
                await client.bootstrap(Item, name=f"test.{number}", wait=60)
            except ResourceExhausted as error:
                refused.append(error.reason)

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(ask, number)
            await until(lambda: len(refused) == 4)
            assert set(refused) == {"max_pending_bootstraps"} and server._names._pending == 16
            tasks.cancel_scope.cancel()
        await until(lambda: server._names._pending == 0)
        assert not server._services.registry._waiters


async def test_t19_a_hundred_thousand_bootstraps_on_a_real_socket() -> None:
    """T19: few are asked about, the flooder is cut off with its clause, the honest client beside notices nothing."""
    asked = 0
    limits: list[LimitHit] = []
    async with scene() as here:

        async def hold(_: Admission) -> Any:
            nonlocal asked
            asked += 1
            return HOLD

        here.host.fallback(hold)
        here.host.on(LimitHit, limits.append)
        async with here.attacker() as raw:
            await raw.greet()
            await raw.send(*(_flood(range(1, 61))))
            for _ in range(44):
                op, _, code, _, details = await raw.reply()
                assert (op, code, details["reason"]) == (Op.ERROR, "resource_exhausted", "max_pending_bootstraps")
            sent = 60
            while sent < 100_000 and not here.violations:
                await raw.send(*_flood(range(sent + 1, sent + 1001)))
                sent += 1000
            await raw.closed()
            assert (await here.clause()).startswith("P-LIMIT")
        assert asked == 16
        await until(lambda: {limit.limit for limit in limits} == {"max_pending_bootstraps"})
        await until(lambda: not here.host._services.registry._waiters)


def _flood(ids: range) -> list[list[Any]]:
    return [[Op.CALL, id, 0, "bootstrap", {"name": f"test.{id}", "wait_ms": 60_000}] for id in ids]
