"""Toolboxes as their callers see them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import anyio
import pytest
from anyio.lowlevel import checkpoint

from capnet import (
    INJECT,
    CallContext,
    Cap,
    CapnetError,
    Connection,
    ContractError,
    DeadlineExceeded,
    FailedPrecondition,
    Host,
    Identity,
    Internal,
    Introduction,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Sink,
    Stream,
    call,
    connect,
    describe,
    restrict,
    stream,
)
from capnet.toolbox import (
    Outcome,
    Page,
    Progress,
    Rule,
    Toolbox,
    ToolboxServer,
    ToolCalled,
    ToolFilter,
    ToolRequest,
    collect,
    paged,
    tool,
    toolbox,
)
from tests.connection.office import MemClerk


@dataclass
class Letter:
    to: str
    text: str = ""


sent: list[Letter] = []


@tool(tags=["mail"], destructive=True, secret=["text"])
async def send(to: str, text: str = "hello", *, dry_run: bool = False) -> Letter:
    """Send a letter.

    Args:
        to: the address
    """
    letter = Letter(to, text)
    if not dry_run:
        sent.append(letter)
    return letter


@tool(read_only=True, tags=["mail", "list"], idempotent=True)
async def letters(word: str, *, cursor: str | None = None) -> Page[Letter]:
    """Find letters."""
    start = int(cursor or 0)
    return Page([Letter(f"{word}{start + number}") for number in range(2)], str(start + 2) if start < 4 else None)


async def count(to: int) -> Stream[int]:
    """Count."""
    for number in range(to):
        yield number


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def slow(steps: int, *, progress: Sink[Progress] | None = None) -> str:
    """Take long."""
    for step in range(steps):
        if progress is not None:
            await progress.send(Progress(step + 1, steps, f"step {step}"))
    return "done"


async def whoami(ctx: CallContext = INJECT) -> list[Any]:
    return [ctx.principal, sorted(ctx.attestation.grants), dict(ctx.metadata)]


async def fail() -> None:
    raise RuntimeError("a secret")


class Counter(Cap, name="shop.Counter"):
    @call
    async def bump(self, by: int) -> int:
        """Count up."""
        ...


class Shop(Cap, name="shop.Shop"):
    """A shop."""

    @call
    async def open(self, start: int = 0) -> Counter: ...

    @call
    async def each(self, counters: list[Counter]) -> int: ...

    @stream
    def prices(self, count: int) -> Stream[float]: ...

    @call
    async def needs(self, sink: Sink[int]) -> None:
        """Not for tools."""
        ...


class MemCounter(Counter):
    def __init__(self, value: int) -> None:
        self.value = value

    async def bump(self, by: int) -> int:
        self.value += by
        return self.value


class MemShop(Shop):
    async def open(self, start: int = 0) -> Counter:
        return MemCounter(start)

    async def each(self, counters: list[Counter]) -> int:
        return sum([await one.bump(1) for one in counters])

    async def prices(self, count: int) -> Stream[float]:
        for number in range(count):
            yield number / 2

    async def needs(self, sink: Sink[int]) -> None: ...


class Names:
    """Peers are who they say, and have what they ask for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.denied: set[str | None] = set()

    def identify(self, introduction: Introduction) -> Identity:
        auth: Any = introduction.auth
        return Identity(principal=auth["who"], allowed=frozenset({"mail", "shop"}))

    def admit(self, request: Any) -> bool:
        self.asked.append((request.name, request.attestation.principal))
        return not (request.name.startswith("shop.") and request.attestation.principal in self.denied)


@asynccontextmanager
async def served(box: Toolbox, host: Host | None = None, **auth: Any) -> AsyncGenerator[tuple[Toolbox, Connection]]:
    """A toolbox, as a peer has it."""
    async with host or Host(policy=Names()) as here:
        here.serve(box)
        await here.listen("memory:toolbox")
        async with connect("memory:toolbox", auth={"who": "ann", **auth}) as connection:
            yield await connection.bootstrap(Toolbox), connection


def every(**options: Any) -> ToolboxServer:
    return toolbox(send, letters, count, add, slow, whoami, fail, **options)


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(60):
        while not condition():
            await checkpoint()


async def test_types_and_docstrings_are_the_description() -> None:
    async with served(every()) as (box, _):
        told = await box.describe("send")
        assert told.doc == "Send a letter."
        assert told.parameters["properties"] == {
            "to": {"type": "string", "description": "the address"},
            "text": {"type": "string", "default": "hello"},
        }
        assert told.parameters["required"] == ["to"]
        assert told.result is not None and told.result["$ref"] == "#/$defs/Letter"
        assert (told.dry_run, told.pages, told.streams, told.progress) == (True, False, False, False)
        assert (told.tags, told.destructive, told.read_only, told.idempotent) == (["mail"], True, None, False)
        told = await box.describe("letters")
        assert list(told.parameters["properties"]) == ["word"]
        assert (told.pages, told.read_only, told.idempotent) == (True, True, True)
        assert (await box.describe("count")).streams
        assert (await box.describe("slow")).progress
        with pytest.raises(NotFound) as raised:
            await box.describe("nothing")
        assert raised.value.reason == "tool"


async def test_discover_looks_and_pages_at_the_side_of_the_tools() -> None:
    async with served(every()) as (box, _):
        page = await box.discover(limit=3)
        assert [one.name for one in page.items] == ["add", "count", "fail"]
        rest = await box.discover(limit=100, cursor=page.next)
        assert [one.name for one in rest.items] == ["letters", "send", "slow", "whoami"]
        assert rest.next is None
        assert [one.name async for one in paged(box.discover, limit=2)] == [
            "add", "count", "fail", "letters", "send", "slow", "whoami",
        ]  # fmt: skip
        assert [one.name for one in (await box.discover("MAIL letter")).items] == ["letters", "send"]
        for wanted, names in (
            (ToolFilter(tags=["list"]), ["letters"]),
            (ToolFilter(prefix="s"), ["send", "slow"]),
            (ToolFilter(read_only=True), ["letters"]),
            (ToolFilter(read_only=False, prefix="l"), []),
            (ToolFilter(dry_run=True), ["send"]),
        ):
            assert [one.name for one in (await box.discover(filter=wanted)).items] == names
        for wrong in (box.discover(limit=0), box.discover(limit=1001), box.discover("a " * 17)):
            with pytest.raises(InvalidArgument):
                await wrong


async def test_calls_are_checked_and_give_plain_data() -> None:
    sent.clear()
    async with served(every()) as (box, _):
        assert await box.call("add", {"a": 1, "b": 2}) == Outcome(3)
        assert (await box.call("send", {"to": "bob"})).value == {"to": "bob", "text": "hello"}
        assert sent == [Letter("bob", "hello")]
        for tool_name, wrong in (
            ("add", {"a": 1}),
            ("add", {"a": 1, "b": "x"}),
            ("add", {"a": 1, "b": 2, "c": 3}),
            ("send", {"to": "bob", "dry_run": False}),
            ("slow", {"steps": 1, "progress": None}),
        ):
            with pytest.raises(InvalidArgument):
                await box.call(tool_name, wrong)
        with pytest.raises(Internal) as raised:
            await box.call("fail", {})
        assert "secret" not in str(raised.value)


async def test_a_dry_run_is_never_a_silent_run() -> None:
    sent.clear()
    async with served(every()) as (box, _):
        assert (await box.call("send", {"to": "bob"}, dry_run=True)).value == {"to": "bob", "text": "hello"}
        steps = [step async for step in box.run("send", {"to": "bob"}, dry_run=True)]
        assert [step.outcome is not None for step in steps] == [True]
        assert sent == []
        for name, arguments in (("add", {"a": 1, "b": 2}), ("count", {"to": 3})):
            with pytest.raises(FailedPrecondition) as raised:
                await box.call(name, arguments, dry_run=True)
            assert raised.value.reason == "no_dry_run"


async def test_pages_are_collected_within_bounds() -> None:
    async with served(every()) as (box, _):
        first = await box.call("letters", {"word": "x"})
        assert (first.value, first.next) == ([{"to": "x0", "text": ""}, {"to": "x1", "text": ""}], "2")
        assert [one["to"] for one in await collect(box.call, "letters", {"word": "x"})] == [
            "x0", "x1", "x2", "x3", "x4", "x5",
        ]  # fmt: skip
        with pytest.raises(ResourceExhausted) as raised:
            await collect(box.call, "letters", {"word": "x"}, max_pages=2)
        assert (raised.value.reason, raised.value.details["pages"]) == ("max_pages", 2)
        with pytest.raises(FailedPrecondition) as refused:
            await box.call("add", {"a": 1, "b": 2}, cursor="1")
        assert refused.value.reason == "no_pages"


async def test_run_tells_progress_and_then_the_outcome() -> None:
    async with served(every()) as (box, _):
        steps = [step async for step in box.run("slow", {"steps": 3})]
        assert [step.progress for step in steps[:-1]] == [
            Progress(1, 3, "step 0"),
            Progress(2, 3, "step 1"),
            Progress(3, 3, "step 2"),
        ]
        assert steps[-1].outcome == Outcome("done")
        assert (await box.call("slow", {"steps": 3})).value == "done"
        steps = [step async for step in box.run("count", {"to": 2})]
        assert [step.progress and step.progress.item for step in steps] == [0, 1, None]
        assert [item async for item in (await box.call("count", {"to": 3})).value] == [0, 1, 2]
        with pytest.raises(Internal):
            [step async for step in box.run("fail", {})]


async def test_who_calls_is_who_calls() -> None:
    async with served(every(), grants=["mail"]) as (box, _):
        assert (await box.call("whoami", {})).value == ["ann", ["mail"], {}]


async def test_what_a_host_serves_are_tools_as_its_policy_says() -> None:
    policy = Names()
    host = Host(policy=policy)
    host.serve(MemShop())
    async with served(toolbox(host, only="shop.*"), host) as (box, connection):
        names = [one.name for one in (await box.discover()).items]
        assert names == ["shop.Shop.each", "shop.Shop.open", "shop.Shop.prices"]
        counter = (await box.call("shop.Shop.open", {"start": 5})).value
        assert (await describe(counter)).name == "shop.Counter"
        assert await counter.call("bump", by=2) == 7
        assert (await box.call("shop.Shop.each", {"counters": [counter]})).value == 8
        assert [item async for item in (await box.call("shop.Shop.prices", {"count": 2})).value] == [0.0, 0.5]
        async with connect("memory:toolbox", auth={"who": "bob"}) as other:
            policy.denied.add("bob")
            theirs = await other.bootstrap(Toolbox)
            assert (await theirs.discover()).items == []
            with pytest.raises(NotFound):
                await theirs.call("shop.Shop.open", {})
            assert ("shop.Shop", "bob") in policy.asked
        assert (await box.call("shop.Shop.open", {"start": 5})).value is not None
        await until(lambda: len(host.connections) == 2)  # what was opened for bob is closed after him
        assert {one.attestation.principal for one in host.connections} == {"ann"}
        assert connection.closed is False


async def test_what_the_peer_of_a_connection_serves_are_tools() -> None:
    async with Host() as host:
        host.serve(MemShop())
        await host.listen("memory:shop")
        async with connect("memory:shop") as connection, toolbox(connection, add) as box:
            assert [one.name for one in (await box.discover("shop")).items] == [
                "shop.Shop.each", "shop.Shop.open", "shop.Shop.prices",
            ]  # fmt: skip
            counter = (await box.call("shop.Shop.open", {})).value
            assert (await box.call("shop.Shop.each", {"counters": [counter]})).value == 1
            assert (await box.call("add", {"a": 1, "b": 1})).value == 2


async def test_changes_tell_that_there_are_other_tools() -> None:
    host = Host()
    host.serve(MemShop())
    async with host:
        await host.listen("memory:shop")
        async with (
            connect("memory:shop") as connection,
            toolbox(host) as near,
            toolbox(connection) as far,
        ):
            for box in (near, far):
                changes = box.changes()
                before = await anext(changes)
                generation = (await box.describe("shop.Shop.open")).generation
                await connection.ping()
                await host.replace(MemShop(), name="shop.Shop")
                with anyio.fail_after(60):
                    assert await anext(changes) > before
                    while (await box.describe("shop.Shop.open")).generation == generation:
                        await checkpoint()
                handle = host.serve(MemCounter(1))
                with anyio.fail_after(60):
                    await anext(changes)
                assert (await box.call("shop.Counter.bump", {"by": 1})).value == 2
                handle.close()
                with anyio.fail_after(60):
                    await anext(changes)
                with pytest.raises(NotFound):
                    await box.call("shop.Counter.bump", {"by": 1})
                await changes.aclose()


async def test_a_tool_needs_what_its_rule_says() -> None:
    box = toolbox(add, send, rules={"send": Rule(grants=["mail"]), "*": Rule(tags=["all"])})
    async with served(box) as (theirs, _):
        assert [one.name for one in (await theirs.discover()).items] == ["add"]
        for refused in (theirs.describe("send"), theirs.call("send", {"to": "x"})):
            with pytest.raises(PermissionDenied) as raised:
                await refused
            assert (raised.value.reason, raised.value.details) == ("denied", {"required": ["mail"], "granted": []})
        async with connect("memory:toolbox", auth={"who": "bob", "grants": ["mail"]}) as other:
            granted = await other.bootstrap(Toolbox)
            assert (await granted.describe("send")).grants == ["mail"]
            assert (await granted.describe("send")).tags == ["all", "mail"]
            assert (await granted.call("send", {"to": "x"}, dry_run=True)).value["to"] == "x"
    assert [one.name for one in (await box.discover()).items] == ["add", "send"]  # the program itself
    await box.aclose()


async def test_a_rate_is_each_principals_own() -> None:
    async with served(toolbox(add, rules={"add": Rule(rate="2/h")})) as (box, _):
        for _ in range(2):
            await box.call("add", {"a": 1, "b": 1})
        with pytest.raises(ResourceExhausted) as raised:
            await box.call("add", {"a": 1, "b": 1})
        assert raised.value.reason == "rate_limited"
        assert raised.value.details["retry_after"] > 1000
        async with connect("memory:toolbox", auth={"who": "ann"}) as again:
            with pytest.raises(ResourceExhausted):  # the same one, come anew
                await (await again.bootstrap(Toolbox)).call("add", {"a": 1, "b": 1})
        async with connect("memory:toolbox", auth={"who": "bob"}) as other:
            await (await other.bootstrap(Toolbox)).call("add", {"a": 1, "b": 1})


async def test_a_call_has_its_time() -> None:
    ended: list[bool] = []

    async def sleepy() -> None:
        try:
            await anyio.sleep(600)
        finally:
            ended.append(True)

    async def drip() -> Stream[int]:
        yield 1
        await anyio.sleep(600)

    async with served(toolbox(sleepy, drip, rules={"*": Rule(timeout=0.05)})) as (box, _):
        for calling in (box.call("sleepy", {}), _steps(box, "sleepy"), _steps(box, "drip")):
            with anyio.fail_after(60), pytest.raises(DeadlineExceeded) as raised:
                await calling
            assert raised.value.reason == "tool_timeout"
        await until(lambda: len(ended) == 2)


async def _steps(box: Toolbox, name: str) -> None:
    async for _ in box.run(name, {}):
        pass


async def test_somebody_is_asked_first() -> None:
    asked: list[ToolRequest] = []
    answers: list[Any] = [True, False, 1, RuntimeError()]

    async def approve(request: ToolRequest) -> bool:
        asked.append(request)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return cast("bool", answer)

    sent.clear()
    async with served(toolbox(send, rules={"send": Rule(approval=True)}, approve=approve)) as (box, _):
        assert (await box.describe("send")).approval
        await box.call("send", {"to": "bob"})
        request = asked[0]
        assert request.tool.name == "send"
        assert request.arguments == {"to": "bob"}
        assert request.caller is not None and request.caller.principal == "ann"
        for reason in ("not_approved", "not_approved", "approval_failed"):
            with pytest.raises(PermissionDenied) as raised:
                await box.call("send", {"to": "eve"})
            assert raised.value.reason == reason
        assert sent == [Letter("bob", "hello")]
    async with served(toolbox(send, rules={"send": Rule(approval=True)})) as (box, _):
        with pytest.raises(PermissionDenied) as raised:
            await box.call("send", {"to": "eve"})
        assert raised.value.reason == "not_approved"


async def test_the_audit_log_names_who_what_with_which_arguments_and_how_it_ended() -> None:
    def redact(tool: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**arguments, "to": "x"} if tool == "send" else arguments

    box = every(redact=redact)
    seen: list[ToolCalled] = []
    box.on(ToolCalled, seen.append)
    async with served(box) as (theirs, _):
        await theirs.call("send", {"to": "bob", "text": "a secret"}, dry_run=True)
        for name, arguments in (("fail", {}), ("add", {"a": b"x" * 5}), ("no\nsuch", {})):
            with pytest.raises((Internal, InvalidArgument, NotFound)):
                await theirs.call(name, arguments)
        async for _ in theirs.run("slow", {"steps": 1}):
            pass
        await until(lambda: len(seen) == 5)
    assert [(one.tool, one.arguments, one.dry_run, one.result, one.reason) for one in seen] == [
        ("send", '{"to": "x", "text": "***"}', True, "ok", None),
        ("fail", "{}", False, "internal", None),
        ("add", '{"a": "<5 bytes>"}', False, "invalid_argument", None),
        (r"'no\nsuch'", "{}", False, "not_found", "tool"),
        ("slow", '{"steps": 1}', False, "ok", None),
    ]
    assert {(one.principal, one.connection > 0) for one in seen} == {("ann", True)}


async def test_what_a_rule_hides_is_hidden_of_a_tool_that_is_not_found_too() -> None:
    """A name that was misspelt, a source that has gone: what was sent is as secret as before."""
    seen: list[ToolCalled] = []
    async with toolbox(send, rules={"se*": Rule(secret=["text"])}, only="send") as box:
        box.on(ToolCalled, seen.append)
        with pytest.raises(NotFound):
            await box.call("sent", {"to": "bob", "text": "a secret"})
        with pytest.raises(NotFound):
            [step async for step in box.run("sent", {"more": {"text": "a secret"}})]
    assert [one.arguments for one in seen] == ['{"to": "bob", "text": "***"}', '{"more": {"text": "***"}}']


async def test_a_method_that_is_no_tool_says_why() -> None:
    async with Host() as host:
        host.serve(MemClerk())
        async with toolbox(host) as box:
            for ask in (box.describe("office.Clerk.each"), box.call("office.Clerk.each", {})):
                with pytest.raises(NotFound, match="needs a function or a sink") as raised:
                    await ask
                assert raised.value.reason == "tool"
            with pytest.raises(NotFound, match=r"there is no tool 'office.Clerk.none'$"):
                await box.describe("office.Clerk.none")


class Careful(Cap, name="t.Careful"):
    @call
    async def drop(self, table: str, *, dry_run: bool = False) -> str: ...


class Careless(Cap, name="t.Careful"):
    @call
    async def drop(self, table: str) -> str: ...


class MemCareful(Careful):
    async def drop(self, table: str, *, dry_run: bool = False) -> str:
        return "would drop" if dry_run else "dropped"


async def test_a_dry_run_is_refused_by_what_took_the_place_of_what_could() -> None:
    """Though it was found and described before, and its new description has not come yet."""
    dropped: list[str] = []

    class MemCareless(Careless):
        async def drop(self, table: str) -> str:
            dropped.append(table)
            return "dropped"

    async def approve(request: ToolRequest) -> bool:  # between the look at the tool and its call
        host.unserve("t.Careful")
        host.serve(MemCareless())
        return True

    async with Host() as host:
        host.serve(MemCareful())
        async with toolbox(host, approve=approve, rules={"t.*": Rule(approval=True)}) as box:
            with pytest.raises(CapnetError):
                await box.call("t.Careful.drop", {"table": "tea"}, dry_run=True)
            with pytest.raises(FailedPrecondition) as raised:
                await box.call("t.Careful.drop", {"table": "tea"}, dry_run=True)
            assert raised.value.reason == "no_dry_run"
            with pytest.raises(InvalidArgument):  # nor as an argument
                await box.call("t.Careful.drop", {"table": "tea", "dry_run": True})
    assert not dropped


async def test_what_cannot_be_a_tool_says_why() -> None:
    def many(*a: int) -> int:
        return 1

    def unknown(a: object) -> int:
        return 1

    unknown.__annotations__ = {"return": int}
    nameless: Callable[[], int] = lambda: 1  # noqa: E731
    wrong: list[Callable[..., Any]] = [unknown, many, nameless]
    for function in wrong:
        with pytest.raises(ContractError):
            toolbox(function)
    with pytest.raises(InvalidArgument):
        toolbox(5)  # type: ignore[arg-type]


async def test_a_toolbox_can_be_restricted_like_anything_else() -> None:
    box = restrict(every(), where=lambda method, arguments: method != "call" or arguments["tool"] == "add")
    async with served(box) as (theirs, _):
        assert (await theirs.call("add", {"a": 1, "b": 1})).value == 2
        with pytest.raises(PermissionDenied):
            await theirs.call("whoami", {})


async def test_a_closed_toolbox_opens_again() -> None:
    box = every()
    assert (await box.call("add", {"a": 1, "b": 1})).value == 2
    life = box._life
    await box.aclose()
    await box.aclose()
    assert life is not None and life.failure is None
    assert (await box.call("add", {"a": 1, "b": 2})).value == 3
    await box.aclose()
