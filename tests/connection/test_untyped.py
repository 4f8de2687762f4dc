"""Untyped references: calls by name, with plain data, on what this side has no contract of."""

from __future__ import annotations

import datetime as dt
from contextlib import aclosing
from typing import Any, cast

import anyio
import pytest

from capnet import (
    Admission,
    CallCancelled,
    Cap,
    ContractError,
    Denied,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Released,
    ResourceExhausted,
    Revoked,
    Unimplemented,
    Untyped,
    cast_cap,
    channel,
    describe,
    dup,
    implementation_of,
    pipe,
    release,
    restrict,
    revoke,
    untyped,
)
from capnet.engine.calls import Pipelined
from capnet.references.proxy import reference_of
from capnet.testing import assert_no_leaks, connected
from tests.connection.office import Clerk, File, MemClerk, MemFile, Note, Reader, notes
from tests.connection.shop import until

pytestmark = pytest.mark.usefixtures("whole_turns")


async def test_calls_take_and_give_plain_data() -> None:
    """What the contract has as a class is a map, and a moment a text."""
    file = MemFile([Note("a"), Note("b")])
    async with connected(MemClerk({"tea": file})) as (server, client):
        async with await client.bootstrap_untyped("office.Clerk") as clerk:
            tea = await clerk.call("open", name="tea")
            assert isinstance(tea, Untyped)
            assert await tea.call("write", text="c") == 3
            assert await tea.call("read", first=1, most=1) == [{"text": "b", "when": "2026-01-01"}]
            assert await clerk.call("keep", what={"self": 1, "method": [b"x", 1.5, None]}) == {
                "self": 1,
                "method": [b"x", 1.5, None],
            }
            assert await clerk.call("keep", what=dt.date(2026, 1, 1)) == "2026-01-01"
        del tea, clerk
        await assert_no_leaks(server, client)


async def test_results_have_untyped_references_in_them() -> None:
    """Wherever they stand. One is cast to its contract when the program has that."""
    async with connected(MemClerk()) as (_, client):
        clerk = await client.bootstrap_untyped("office.Clerk")
        (name, tea), *_ = (await clerk.call("all")).items()
        assert (name, await tea.call("write", text="x")) == ("tea", 1)
        assert await cast_cap(tea, File).read() == [Note("x")]
        assert await clerk.call("count", reader=tea) == 1
        assert await clerk.call("count", reader=dup(tea)) == 1
        with pytest.raises(InvalidArgument):
            cast_cap(tea, Clerk)
        with pytest.raises(ContractError):
            restrict(tea, methods={"read"})


async def test_what_arrives_where_any_is_declared_can_be_called() -> None:
    """It needs no contract either."""
    async with connected(MemClerk()) as (_, client):
        clerk = await client.bootstrap(Clerk)
        ours = MemFile()
        home = await clerk.keep(ours)
        with pytest.raises(TypeError, match="not a proxy"):
            untyped(home)
        assert implementation_of(home) is ours
        (file,) = await clerk.keep([await clerk.open("tea")])
        assert await untyped(file).call("write", text="x") == 1
        assert untyped(file) is file


async def test_streams_go_both_ways() -> None:
    """Out as an async iterator, in from one, and into a sink; and a stream is an ordinary result, too."""
    async with connected(MemClerk()) as (server, client):
        clerk = await client.bootstrap_untyped("office.Clerk")
        tea = await clerk.call("open", name="tea")
        assert [one["text"] async for one in tea.stream("follow", count=3)] == ["0", "1", "2"]
        assert [one["text"] async for one in await tea.call("follow", count=2)] == ["0", "1"]
        async with aclosing(tea.stream("follow", count=10**9)) as lines:
            assert await anext(lines) == {"text": "0", "when": "2026-01-01"}
        assert await tea.call("append", lines=notes("a", "b")) == 2
        sink, items = channel(Any)
        copy = tea.call("copy_to", sink=sink)
        assert [one async for one in items] == [{"text": text, "when": "2026-02-03"} for text in ("a", "b")]
        assert await copy == 2
        with pytest.raises(InvalidArgument, match="when"):
            await tea.call("append", lines=_one({"text": "a", "when": 5}))
        del clerk, tea, lines, sink, items, copy
        await assert_no_leaks(server, client)


async def _one(item: Any) -> Any:
    yield item


async def test_functions_go_along() -> None:
    """The peer can call them. With the contract known it is what that says, whatever the function is like."""
    seen: list[tuple[Any, ...]] = []

    async def do(text: str, number: int) -> bool:
        seen.append((text, number))
        return number > 0

    async def any_number(*given: Any) -> bool:
        return len(given) == 2

    async with connected(MemClerk({"tea": MemFile([Note("a"), Note("b")])})) as (server, client):
        clerk = await client.bootstrap_untyped("office.Clerk")
        assert await clerk.call("each", name="tea", do=do) == 1
        assert seen == [("a", 0), ("b", 1)]
        with pytest.raises(InvalidArgument):
            await clerk.call("each", name="tea", do=any_number)
        await describe(clerk)
        assert await clerk.call("each", "tea", any_number) == 2
        del clerk
        await assert_no_leaks(server, client)


async def test_one_way() -> None:
    """Nothing comes back, not even that there is no such method."""
    file = MemFile()
    async with connected(MemClerk({"tea": file})) as (_, client):
        tea = await (await client.bootstrap_untyped("office.Clerk")).call("open", name="tea")
        tea.notify("write", text="a")
        tea.notify("no_such")
        assert await tea.call("write", text="b") == 2


# Pipelining


async def test_calls_on_what_a_call_will_bring_leave_at_once() -> None:
    """Before anything is answered, on what it brings and on what is in that; and it may be an argument."""
    async with connected(MemClerk({"tea": MemFile(), "milk": MemFile()})) as (server, client):
        clerk = pipe(client.bootstrap_untyped("office.Clerk"))
        tea = pipe(clerk.call("open", name="tea"))
        assert type(reference_of(clerk).imported) is Pipelined
        wrote = tea.call("write", text="a")
        everything = pipe(clerk.call("all"))
        again = everything["tea"].call("write", text="b")
        read = everything["milk"].stream("follow", count=1)
        counted = clerk.call("count", reader=everything["tea"])
        everything["milk"].notify("write", text="c")
        assert [await wrote, await again, await counted] == [1, 2, 2]
        assert [one["text"] async for one in read] == ["0"]
        assert await everything["milk"].call("read") != []
        missing = pipe(clerk.call("open", name="no such"))
        with pytest.raises(NotFound) as caught:
            await missing.call("read")
        assert caught.value.details == {"name": "no such"}
        await tea.aclose()
        with pytest.raises(Released):
            tea.call("read")
        del clerk, tea, everything, missing, read, caught
        await assert_no_leaks(server, client)


async def test_calls_on_what_a_call_brings_later_wait_for_it() -> None:
    """When it has left without word that anything is to be kept."""
    async with connected(MemClerk()) as (_, client):
        clerk = await client.bootstrap_untyped("office.Clerk")
        opened = clerk.call("open", name="tea")
        await client.ping()
        assert await pipe(opened).call("write", text="a") == 1
        nothing = clerk.call("keep", what=[1])
        await client.ping()
        with pytest.raises(Exception, match="no capability"):
            await pipe(nothing)[0].call("write")


async def test_what_is_not_known_yet_stays_with_its_peer() -> None:
    """What it is can only be said to another peer when it is there."""
    async with connected(MemClerk()) as (_, one), connected(MemClerk()) as (_, two):
        promise = pipe(one.bootstrap_untyped("office.Clerk"))
        other = await two.bootstrap_untyped("office.Clerk")
        with pytest.raises(InvalidArgument, match="await its call"):
            await other.call("keep", what=promise)
        with pytest.raises(InvalidArgument, match="await its call"):
            await other.call("keep", what=pipe(promise.call("open", name="tea")))
        tea = await promise.call("open", name="tea")
        assert await other.call("count", reader=tea) == 0


# Arguments without names


async def test_arguments_without_names_need_the_contract() -> None:
    """It is asked for once, by whoever wants that."""
    async with connected(MemClerk()) as (_, client):
        clerk = await client.bootstrap_untyped("office.Clerk")
        with pytest.raises(TypeError, match=r"capnet\.describe"):
            clerk.call("open", "tea")
        with pytest.raises(TypeError, match=r"capnet\.describe"):
            pipe(clerk.call("open", name="tea")).call("read", 1)
        await describe(clerk)
        tea = await clerk.call("open", "tea")
        await describe(tea)
        assert await tea.call("write", "a") == 1
        assert await tea.call("read", 0, most=5) == [{"text": "a", "when": "2026-01-01"}]
        assert await dup(tea).call("write", "b") == 2
        with pytest.raises(TypeError, match="takes 1"):
            tea.call("read", 1, 2)
        with pytest.raises(TypeError, match="no_such"):
            tea.call("no_such", 1)


async def test_what_is_told_of_a_method_holds_for_calls() -> None:
    """As it does for a proxy with the contract: the timeout of a method is that of its calls."""
    async with connected(MemClerk()) as (_, client):
        clerk = await client.bootstrap_untyped("office.Clerk")
        tea = await clerk.call("open", name="tea")
        assert (tea.call("write", text="a").method.timeout, tea.call("read").method.idempotent) == (None, False)
        await describe(tea)
        assert (tea.call("write", text="a").method.timeout, tea.call("read").method.idempotent) == (60, True)


# Errors and bounds


async def test_what_the_peer_says_is_raised() -> None:
    """As for any call: unknown methods and arguments, values of another type, its own errors."""
    async with connected(MemClerk()) as (_, client):
        clerk = await client.bootstrap_untyped("office.Clerk")
        tea = await clerk.call("open", name="tea")
        with pytest.raises(NotFound) as caught:
            await clerk.call("open", name="milk")
        assert caught.value.details == {"name": "milk"}
        with pytest.raises(Unimplemented):
            await tea.call("no_such")
        with pytest.raises(Unimplemented):
            await anext(tea.stream("aclose"))
        with pytest.raises(InvalidArgument, match="text"):
            await tea.call("write", text=1)
        with pytest.raises(InvalidArgument):
            await tea.call("write", text="a", more=1)
        with pytest.raises(InvalidArgument):
            await tea.call("write", text=object())
        with pytest.raises(NotFound):
            await client.bootstrap_untyped("office.Nobody")
        with pytest.raises(NotFound):
            await client.bootstrap_untyped("office.Nobody", wait=0.01)


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 257, "ü" * 200, "\ud800"], ids=range(5))
async def test_a_name_that_cannot_travel_harms_nothing(name: str) -> None:
    """It comes from anywhere: from a command line, or from another protocol."""
    async with connected(MemClerk()) as (_, client):
        clerk = await client.bootstrap_untyped("office.Clerk")
        for start in (clerk.call, clerk.stream, clerk.notify):
            with pytest.raises(InvalidArgument):
                start(name)
        with pytest.raises(InvalidArgument):
            await clerk.call("keep", **{"\ud800": 1})
        with pytest.raises(InvalidArgument):
            await client.bootstrap_untyped(name)
        assert await clerk.call("keep", what=1) == 1


async def test_it_is_given_back_like_a_proxy() -> None:
    """By `aclose`, by `release`, or when it is collected; and it ends when it is taken back."""
    clerk_here = MemClerk()
    async with connected(clerk_here) as (server, client):
        clerk = await client.bootstrap_untyped("office.Clerk")
        tea = await clerk.call("open", name="tea")
        release(tea)
        for start in (tea.call, tea.stream, tea.notify):
            with pytest.raises(Released):
                start("read")
        tea = await clerk.call("open", name="tea")
        revoke(clerk_here.files["tea"])
        with pytest.raises(Revoked):
            await tea.call("read")
        await tea.aclose()
        await tea.aclose()
        del tea, clerk
        await assert_no_leaks(server, client)


async def test_a_call_can_be_cancelled() -> None:
    """By itself, and with the task that awaits it."""
    here = MemClerk()
    async with connected(here) as (_, client):
        clerk = await client.bootstrap_untyped("office.Clerk")
        call = clerk.call("hang")
        await until(lambda: here.hanging == 1)
        call.cancel()
        with pytest.raises(CallCancelled):
            await call
        with anyio.move_on_after(0.01):
            await clerk.call("hang")
        await until(lambda: here.hanging == 0)


class Nobody:
    """A policy that admits to one name."""

    async def admit(self, request: Admission) -> bool | Denied:
        return request.name == "office.Other"


async def test_the_policy_is_asked_as_for_any_name() -> None:
    """A name is no way round it."""
    async with connected(MemClerk(), policy=cast("Any", Nobody())) as (_, client):
        with pytest.raises(PermissionDenied):
            await client.bootstrap_untyped("office.Clerk")


async def test_restrictions_hold() -> None:
    """They are enforced where the object is."""
    here = MemClerk({"tea": restrict(MemFile(), methods={"write"}, uses=1)})
    async with connected(here) as (_, client):
        tea = await (await client.bootstrap_untyped("office.Clerk")).call("open", name="tea")
        with pytest.raises(PermissionDenied):
            await tea.call("read")
        assert await tea.call("write", text="a") == 1
        with pytest.raises(ResourceExhausted):
            await tea.call("write", text="a")


# What is held under less


async def test_what_was_lent_under_less_is_less() -> None:
    """The peer lends a reader: its name tells of no other methods, and neither can they be called."""
    file = MemFile()
    async with connected(MemClerk({"tea": file})) as (_, client):
        clerk = await client.bootstrap_untyped("office.Clerk")
        tea = await clerk.call("show", name="tea")
        with pytest.raises(Unimplemented):
            await tea.call("write", text="a")
        assert file.calls == []
        assert await tea.call("read") == []


async def test_a_proxy_with_a_contract_stays_within_it() -> None:
    """Also where the peer would let it do more, and where it is passed on."""
    file, other = MemFile(), MemClerk()
    async with connected(file) as (_, client), connected(other) as (_, elsewhere):
        less = untyped(await client.bootstrap(Reader, name="office.File"))
        assert await less.call("read", 0, most=1) == []
        with pytest.raises(Unimplemented):
            less.call("write", text="a")
        with pytest.raises(Unimplemented):
            dup(less).stream("append")
        assert untyped(less) is less
        # Passed on, it is no more elsewhere.
        there = await elsewhere.bootstrap_untyped("office.Clerk")
        assert await there.call("count", reader=less) == 0
        await there.call("keep", what=less)
        (kept,) = other.kept
        with pytest.raises(Unimplemented):
            await kept.call("write", text="a")
        assert file.calls == ["read", "read"]


async def test_what_is_no_proxy() -> None:
    """There is nothing to call."""
    for nothing in (MemFile(), None, Cap):
        with pytest.raises(TypeError):
            untyped(nothing)
