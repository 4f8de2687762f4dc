"""Calls: arguments, results, order, and exactly one end for each (P-CALL)."""

from __future__ import annotations

import asyncio
import copy
import pickle
from typing import Any, cast

import anyio
import pytest
import structlog
import trio
from anyio.lowlevel import checkpoint
from sniffio import current_async_library
from structlog.testing import capture_logs

from capnet import (
    Call,
    CallCancelled,
    Cap,
    CapnetError,
    FailedPrecondition,
    Host,
    Internal,
    InvalidArgument,
    Limits,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    call,
    connect,
)
from capnet.observe import HandlerFailed
from capnet.observe.log import ENTRIES, NEWCOMERS, Account
from capnet.testing import connected
from tests.connection.shop import MemShop, Shop, socket_pair, until
from tests.loops import on_every_loop as on_every_loop


async def test_arguments_by_position_and_name_with_defaults() -> None:
    async with connected(MemShop()) as (_, client):
        shop = await client.bootstrap(Shop)
        assert await shop.add(1) == 11
        assert await shop.add(1, 2) == 3
        assert await shop.add(a=1, b=2, scale=3) == 9
        assert await shop.add(1, scale=2) == 22


@pytest.mark.parametrize(
    ("args", "named"), [((), {}), ((1, 2, 3), {}), ((1,), {"a": 1}), ((1,), {"unknown": 1})], ids=repr
)
async def test_arguments_that_do_not_bind_fail_here_and_send_nothing(args: Any, named: Any) -> None:
    async with connected(MemShop()) as (server, client):
        shop = cast("Any", await client.bootstrap(Shop))
        with pytest.raises(TypeError):
            shop.add(*args, **named)
        await client.ping()
        assert not client.stats()["calls"] and not server.stats()["answers"]


async def test_arguments_of_the_wrong_type_are_refused_there_with_their_path() -> None:
    """The handler is not reached; what is checked are the annotations of the side that is called."""
    async with connected(MemShop()) as (server, client):
        shop = cast("Any", await client.bootstrap(Shop))
        with pytest.raises(InvalidArgument, match=r"\$\.a"):
            await shop.add("one")
        assert await shop.add(1, 2) == 3
        assert not server.stats()["answers"]


async def test_values_that_cannot_travel_fail_here_and_change_nothing() -> None:
    async with connected(MemShop()) as (server, client):
        shop = await client.bootstrap(Shop)
        for value in (object(), {1: "key"}, 2**70, [[object()]]):
            with pytest.raises(InvalidArgument):
                await shop.echo(value)
        assert await shop.echo([1, {"two": b"3"}]) == [1, {"two": b"3"}]
        assert not client.stats()["calls"] and not server.stats()["answers"]


async def test_the_context_is_injected_and_is_no_argument() -> None:
    async with connected(MemShop()) as (_, client):
        shop = await client.bootstrap(Shop)
        with anyio.fail_after(60):
            told = await shop.who()
        assert told["peer"] == "client" and told["method"] == "who" and told["transport"] == "memory"
        assert 0 < told["left"] <= 60
        with pytest.raises(TypeError):
            cast("Any", shop).who(ctx=None)


async def test_calls_start_in_the_order_they_were_made() -> None:
    """P-CALL-2, on every loop, although trio starts tasks in random order: 500 handlers, half of which wait."""
    order: list[int] = []

    class Waiter(MemShop):
        async def echo(self, value: Any) -> Any:
            order.append(value)
            if value % 2:
                await self.gate.pass_through(str(value))
            return value

    implementation = Waiter()
    async with socket_pair(implementation, limits=Limits(max_calls=500)) as (_, client):
        shop = await client.bootstrap(Shop)
        calls = [shop.echo(number) for number in range(500)]
        await until(lambda: len(order) == 500)
        assert order == list(range(500))
        implementation.gate.open()
        assert [await call for call in calls] == list(range(500))


async def test_order_holds_when_tasks_of_the_caller_take_turns() -> None:
    """P-CALL-2: what each task sent comes in its order, whatever the others do in between."""
    implementation = MemShop()

    async def talk(who: int) -> None:
        for number in range(50):
            assert await shop.echo([who, number]) == [who, number]
            await checkpoint()

    async with connected(implementation) as (_, client):
        shop = await client.bootstrap(Shop)
        async with anyio.create_task_group() as tasks:
            for who in range(8):
                tasks.start_soon(talk, who)
    for who in range(8):
        assert [number for by, number in implementation.started if by == who] == list(range(50))


async def test_many_handlers_are_suspended_at_once_and_end_in_any_order() -> None:
    implementation = MemShop()
    async with connected(implementation) as (server, client):
        shop = await client.bootstrap(Shop)
        waiting = [shop.wait(str(number)) for number in range(200)]
        await until(lambda: len(implementation.gate.entered) == 200)
        assert await shop.add(1) == 11, "one that does not wait passes those that do"
        assert server.stats()["answers"] == 200
        implementation.gate.open()
        for number, one in reversed(list(enumerate(waiting))):
            assert await one == f"shop:{number}"
        await until(lambda: not server.stats()["answers"] and not client.stats()["calls"])


async def test_over_the_limit_calls_wait_here_and_none_is_lost() -> None:
    """P-CALL-7: an honest caller keeps to what the peer takes; results are still read while calls are held back."""
    implementation = MemShop()
    async with connected(implementation, limits=Limits(max_calls=16)) as (server, client):
        shop = await client.bootstrap(Shop)
        waiting = [shop.wait(str(number)) for number in range(40)]
        await until(lambda: len(implementation.gate.entered) == 16)
        assert client.stats()["calls_held"] == 24
        implementation.gate.open()
        assert [await one for one in waiting] == [f"shop:{number}" for number in range(40)]
        assert implementation.gate.entered == [str(number) for number in range(40)]
        assert server.stats()["strikes"] == 0


async def test_more_than_may_wait_here_fail_here() -> None:
    implementation = MemShop()
    limits = Limits(max_outgoing_calls=5)
    async with connected(implementation, limits=Limits(max_calls=16), client_limits=limits) as (_, client):
        shop = await client.bootstrap(Shop)
        waiting = [shop.wait() for _ in range(21)]
        with pytest.raises(ResourceExhausted) as caught:
            _ = shop.wait()
        assert caught.value.reason == "max_concurrent_calls"
        implementation.gate.open()
        for one in waiting:
            assert await one == "shop:"


class Ends(Cap, name="test.Ends"):
    """Handlers that end in every way there is."""

    @call
    async def end(self, how: str) -> Any: ...


class MemEnds(Ends):
    async def end(self, how: str) -> Any:
        ways = {
            "exception": self._raises,
            "deliberate": self._denies,
            "cancelled": self._cancels_itself,
            "cancelled later": self._cancels_itself_later,
            "unencodable": self._returns_an_object,
            "too much": self._returns_too_much,
            "none": self._returns_none,
        }
        return await ways[how]()

    async def _raises(self) -> Any:
        await checkpoint()
        raise ValueError("a secret path: /etc/shadow")

    async def _denies(self) -> Any:
        raise PermissionDenied("not today", reason="closed", details={"opens": 9}, retry="after-cooldown")

    async def _cancels_itself(self) -> Any:
        if current_async_library() == "trio":
            with trio.CancelScope() as scope:
                scope.cancel()
                await trio.lowlevel.checkpoint()
            raise CallCancelled("by itself")
        raise asyncio.CancelledError

    async def _cancels_itself_later(self) -> Any:
        await checkpoint()
        return await self._cancels_itself()

    async def _returns_an_object(self) -> Any:
        return [object()]

    async def _returns_too_much(self) -> Any:
        return bytes(5 * 1024 * 1024)

    async def _returns_none(self) -> Any:
        return None


WAYS: list[tuple[str, type[CapnetError], str | None]] = [
    ("exception", Internal, None),
    ("deliberate", PermissionDenied, "closed"),
    ("cancelled", CallCancelled, None),
    ("cancelled later", CallCancelled, None),
    ("unencodable", FailedPrecondition, "unencodable_result"),
    ("too much", ResourceExhausted, "max_frame_bytes"),
]


@pytest.mark.parametrize(("how", "kind", "reason"), WAYS, ids=[way[0] for way in WAYS])
async def test_one_terminal_whatever_the_handler_does(how: str, kind: type[CapnetError], reason: str | None) -> None:
    """P-CALL-1: exactly one error, the slot is given up, and the connection goes on."""
    async with socket_pair(MemEnds()) as (server, client):
        ends = await client.bootstrap(Ends)
        with anyio.fail_after(60), pytest.raises(kind) as caught:
            await ends.end(how)
        assert type(caught.value) is kind and caught.value.reason == reason
        assert await ends.end("none") is None
        await until(lambda: not server.stats()["answers"] and not client.stats()["calls"])


async def test_a_deliberate_error_travels_whole() -> None:
    """P-ERR-2, the second half."""
    async with connected(MemEnds()) as (_, client):
        ends = await client.bootstrap(Ends)
        with pytest.raises(PermissionDenied) as caught:
            await ends.end("deliberate")
        error = caught.value
        assert (error.message, error.reason, error.details, error.retry) == (
            "not today",
            "closed",
            {"opens": 9},
            "after-cooldown",
        )


async def test_an_exception_tells_the_caller_nothing_and_the_observers_all() -> None:
    """P-ERR-2: a correlation id and no text; the exception itself goes to observers on the callee's side."""
    seen: list[HandlerFailed] = []
    async with connected(MemEnds()) as (server, client):
        server.on(HandlerFailed, seen.append)
        ends = await client.bootstrap(Ends)
        with pytest.raises(Internal) as caught:
            await ends.end("exception")
        assert "shadow" not in repr(caught.value) + str(caught.value.details)
        await until(lambda: seen)
        assert caught.value.details["correlation"] == seen[0].correlation
        assert seen[0].error.kind == "ValueError" and "shadow" in str(seen[0].error)


async def test_failures_that_one_peer_provokes_keep_no_others_out_of_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """P-ERR-2: the word that each peer is told finds its failure in the callee's log."""
    monkeypatch.setattr("capnet.observe.log._common", Account(NEWCOMERS))  # tests before this one have theirs
    structlog.configure()
    try:
        with capture_logs() as entries:
            async with Host() as host:
                host.serve(MemShop())
                await host.listen("memory:test-log")
                async with connect("memory:test-log") as one, connect("memory:test-log") as two:
                    noisy, quiet = await one.bootstrap(Shop), await two.bootstrap(Shop)
                    for _ in range(ENTRIES + 10):
                        with pytest.raises(Internal):
                            await noisy.fail("again")
                    with pytest.raises(Internal) as caught:
                        await quiet.fail("once")
    finally:
        structlog.reset_defaults()
    failures = [entry for entry in entries if entry["log_level"] == "error"]
    assert failures[-1]["correlation"] == caught.value.details["correlation"]
    assert len(failures) == ENTRIES + 1


async def test_methods_that_are_not_declared_are_not_there() -> None:
    """P-CALL-9: a proxy has the contract's methods only; names put on the wire are in `tests/hostile`."""
    async with connected(MemShop()) as (_, client):
        shop = cast("Any", await client.bootstrap(Shop))
        for name in ("gate", "items", "started"):
            with pytest.raises(AttributeError):
                getattr(shop, name)


async def test_proxies_answer_python_themselves() -> None:
    """`repr`, `==`, `hash`, `bool` and copying are local: no call leaves."""
    async with connected(MemShop()) as (_, client):
        shop = await client.bootstrap(Shop)
        assert "test.Shop" in repr(shop) and bool(shop) and shop == shop and hash(shop)
        assert isinstance(cast("Any", shop), Shop)
        assert shop != object()
        for copied in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError):
                copied(shop)
        assert not client.stats()["calls"]


async def test_a_missing_name_is_not_found() -> None:
    async with connected() as (_, client):
        with pytest.raises(NotFound):
            await client.bootstrap(Shop)


async def test_a_reply_does_not_wait_for_the_handler_behind_it() -> None:
    """P-CALL-2: two calls arrive in one chunk; the first ends at once, the second waits."""
    async with connected(MemShop()) as (_, client):
        shop = await client.bootstrap(Shop)
        # The call before them leaves alone, at once; these two leave together, in the next turn.
        before, first, second = shop.add(0), shop.add(1), shop.wait("later")
        with anyio.fail_after(60):
            assert (await before, await first) == (10, 11)
        cast("Call[str]", second).cancel()
