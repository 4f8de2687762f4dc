"""What a host shows to clients of MCP, row by row: each test is one of what the protocol and a host have in common."""

from __future__ import annotations

import datetime as dt
import decimal
import re
import uuid
from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, cast

import anyio
import pytest

from capnet import Cap, Denied, Host, Identity, Sink, Stream, call, options, stream
from capnet.gateways import values
from capnet.gateways.mcp import held
from capnet.gateways.mcp.tools import spelled
from capnet.toolbox import toolbox
from tests.attenuation.store import Clock
from tests.connection.shop import until
from tests.gateways.test_mcp_bridge import client
from tests.loops import ONE_LOOP


@dataclass
class Point:
    x: int
    y: int = 0


@dataclass
class Node:
    name: str
    below: list[Node] = field(default_factory=list["Node"])


class Shapes(Cap, name="t.Shapes"):
    @call
    async def take_any(self, value: Any) -> Any: ...
    @call
    async def take_none(self, value: None) -> None: ...
    @call
    async def take_bool(self, value: bool) -> bool: ...
    @call
    async def take_int(self, value: int) -> int: ...
    @call
    async def take_float(self, value: float) -> float: ...
    @call
    async def take_str(self, value: str) -> str: ...
    @call
    async def take_bytes(self, value: bytes) -> bytes: ...
    @call
    async def take_datetime(self, value: dt.datetime) -> dt.datetime: ...
    @call
    async def take_date(self, value: dt.date) -> dt.date: ...
    @call
    async def take_time(self, value: dt.time) -> dt.time: ...
    @call
    async def take_timedelta(self, value: dt.timedelta) -> dt.timedelta: ...
    @call
    async def take_uuid(self, value: uuid.UUID) -> uuid.UUID: ...
    @call
    async def take_decimal(self, value: decimal.Decimal) -> decimal.Decimal: ...
    @call
    async def take_list(self, value: list[bytes]) -> list[bytes]: ...
    @call
    async def take_tuple(self, value: tuple[int, str]) -> tuple[int, str]: ...
    @call
    async def take_map(self, value: dict[str, bytes]) -> dict[str, bytes]: ...
    @call
    async def take_union(self, value: int | list[bytes] | None) -> int | list[bytes] | None: ...
    @call
    async def take_literal(self, value: Literal["a", "b"]) -> Literal["a", "b"]: ...
    @call
    async def take_struct(self, value: Point) -> Point: ...
    @call
    async def take_ref(self, value: Node) -> Node: ...


async def _same(self: Any, value: Any) -> Any:
    return value


MemShapes: Any = type("MemShapes", (Shapes,), {name: _same for name in vars(Shapes) if not name.startswith("_")})
ID = "12345678-1234-5678-1234-567812345678"
SHAPES: dict[str, tuple[Any, dict[str, Any]]] = {
    "any": ({"a": [1, None]}, {}),
    "none": (None, {"type": "null"}),
    "bool": (True, {"type": "boolean"}),
    "int": (7, {"type": "integer"}),
    "float": (1.5, {"type": "number"}),
    "str": ("ä", {"type": "string"}),
    "bytes": ("AQI=", {"type": "string", "contentEncoding": "base64"}),
    "datetime": ("2026-01-02T03:04:05Z", {"type": "string", "format": "date-time"}),
    "date": ("2026-01-02", {"type": "string", "format": "date"}),
    "time": ("03:04:05", {"type": "string", "format": "time"}),
    "timedelta": ("PT1S", {"type": "string", "format": "duration"}),
    "uuid": (ID, {"type": "string", "format": "uuid"}),
    "decimal": ("1.10", {"type": "string"}),
    "list": (["AQI="], {"type": "array", "items": {"type": "string", "contentEncoding": "base64"}}),
    "tuple": ([1, "a"], {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]}),
    "map": (
        {"a": "AQI="},
        {"type": "object", "additionalProperties": {"type": "string", "contentEncoding": "base64"}},
    ),
    "union": (["AQI="], {"anyOf": [{"type": "integer"}, {"type": "array"}, {"type": "null"}]}),
    "literal": ("b", {"enum": ["a", "b"]}),
    "struct": ({"x": 1, "y": 2}, {"$ref": "#/$defs/Point"}),
    "ref": ({"name": "a", "below": [{"name": "b", "below": []}]}, {"$ref": "#/$defs/Node"}),
}
"""For each form of a value one as JSON has it, and what is in its schema."""


@pytest.mark.parametrize("form", SHAPES)
@ONE_LOOP
async def test_a_form_of_values(form: str) -> None:
    value, wanted = SHAPES[form]
    async with Host() as host:
        host.serve(MemShapes())
        async with client(host) as one:
            told = (await one.tools())[f"t.Shapes.take_{form}"]
            assert within(told["inputSchema"]["properties"]["value"], wanted)
            assert within(told["outputSchema"]["properties"]["result"], wanted)
            assert await one.result(f"t.Shapes.take_{form}", value=value) == value


class Row(Cap, name="t.Row"):
    @options(idempotent=True)
    @call
    async def documented(
        self, first: Annotated[str, "what it begins with"], second: int = 2, *, third: list[Point] | None = None
    ) -> Point:
        """What it does.

        Args:
            second: how many
        """
        ...

    @options(timeout=0.01)
    @call
    async def late(self) -> None: ...

    @call
    async def make(self) -> Row: ...

    @call
    async def give(self, row: Row) -> bool: ...

    @call
    async def function(self, do: Callable[[int], Awaitable[None]]) -> None: ...

    @call
    async def sink(self, sink: Sink[int]) -> None: ...

    @call
    async def maybe(self, do: Callable[[int], Awaitable[None]] | None = None) -> int: ...

    @call
    async def total(self, items: AsyncIterable[bytes]) -> int: ...

    @stream
    def big(self, letters: int, items: int) -> Stream[str]: ...

    @call
    async def fail(self) -> None: ...


class MemRow(Row):
    async def documented(self, first: str, second: int = 2, *, third: list[Point] | None = None) -> Point:
        return Point(len(first), second)

    async def late(self) -> None:
        await anyio.sleep_forever()

    async def make(self) -> Row:
        return MemRow()

    async def give(self, row: Row) -> bool:
        return isinstance(row, MemRow)

    async def function(self, do: Callable[[int], Awaitable[None]]) -> None: ...

    async def sink(self, sink: Sink[int]) -> None: ...

    async def maybe(self, do: Callable[[int], Awaitable[None]] | None = None) -> int:
        return 1 if do is None else 2

    async def total(self, items: AsyncIterable[bytes]) -> int:
        return sum([len(item) async for item in items])

    async def big(self, letters: int, items: int) -> Stream[str]:
        for number in range(items):
            yield str(number % 10) * letters

    async def fail(self) -> None:
        raise RuntimeError("a secret")


def rows(**options: Any) -> Host:
    host = Host(**options)
    host.serve(MemRow())
    return host


async def test_a_served_name_and_a_method_are_a_tool() -> None:
    """Of the letters that the protocol allows."""
    async with rows() as host, client(host) as one:
        host.serve(MemRow(), name="a" * 130)
        host.serve(MemRow(), name="my-rows.v1")
        tools = await one.tools()
        assert {"t.Row.documented", "my-rows.v1.documented"} <= set(tools)
        assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,128}", name) for name in tools)
        assert (await one.ask("tools/call", name="a" * 130 + ".make"))["error"]["code"] == -32602


async def test_names_without_dots() -> None:
    async def write_it(text: str) -> str:
        return text

    async with rows() as host, client(host, names="underscore") as one:
        host.serve(MemRow(), name="long-" + "n" * 80)
        host.serve(MemRow(), name="t_Row")
        host.serve(toolbox(write_it, host, only=["write_it", "t.Row.total"]), name="box")
        tools = await one.tools()
        assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in tools)
        assert {"capnet_next", "write_it"} <= set(tools)
        assert len([name for name in tools if name.startswith("t_Row_total_")]) == 2  # they would be the same
        (long,) = (name for name in tools if name.startswith("long-") and name.endswith("_documented"))
        assert await one.result(long, first="abc") == {"x": 3, "y": 2}
        assert await one.result("write_it", text="a") == "a"
        big = await one.use("t_Row_big_" + mark("t.Row.big"), letters=1, items=101)
        assert await one.result("capnet_next", cap=big["structuredContent"]["next"]) == ["0"]
        assert (await one.ask("tools/call", name="t.Row.late"))["error"]["code"] == -32602  # this is no name here
        host.unserve("t_Row")
        assert "t_Row_late" in await one.tools()


def mark(name: str) -> str:
    ((short, _),) = (one for one in spelled([name, name.replace(".", "_")]).items() if one[1] == name)
    return short.rpartition("_")[2]


@pytest.mark.parametrize("names", [["a.b", "a_b"], ["x" * 70, "x" * 71], ["a." + "b" * 70, "a_" + "b" * 70]])
def test_a_name_without_dots_is_of_one_tool(names: list[str]) -> None:
    told = spelled(names)
    assert sorted(told.values()) == sorted(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in told)
    for name in names:  # alone it has the same name, or one that none of the others ever had
        assert set(spelled([name])) & set(told) <= {short for short, meant in told.items() if meant == name}


async def test_parameters_are_the_input_schema_and_nothing_else_is_taken() -> None:
    async with rows() as host, client(host) as one:
        taken = (await one.tools())["t.Row.documented"]["inputSchema"]
        assert (taken["type"], taken["required"], taken["additionalProperties"]) == ("object", ["first"], False)
        assert list(taken["properties"]) == ["first", "second", "third"]
        assert taken["properties"]["second"]["default"] == 2
        assert (await one.use("t.Row.documented", first="a", fourth=1))["structuredContent"]["code"] == (
            "invalid_argument"
        )


async def test_the_result_is_an_object_that_may_grow() -> None:
    async with rows() as host, client(host) as one:
        given = (await one.tools())["t.Row.documented"]["outputSchema"]
        assert (given["type"], list(given["properties"])) == ("object", ["result"])
        assert "additionalProperties" not in given
        assert "additionalProperties" not in given["$defs"]["Point"]
        answer = await one.use("t.Row.documented", first="a")
        assert answer["structuredContent"] == {"result": {"x": 1, "y": 2}}
        assert answer["content"][0]["type"] == "text"


async def test_docstrings_and_annotated_texts_are_descriptions() -> None:
    async with rows() as host, client(host) as one:
        told = (await one.tools())["t.Row.documented"]
        assert told["description"].startswith("What it does.")
        described = {name: one.get("description") for name, one in told["inputSchema"]["properties"].items()}
        assert described == {"first": "what it begins with", "second": "how many", "third": None}


async def test_idempotent_is_a_hint() -> None:
    async with rows() as host, client(host) as one:
        tools = await one.tools()
        assert tools["t.Row.documented"]["annotations"] == {"idempotentHint": True}
        assert "annotations" not in tools["t.Row.late"]


async def test_a_reference_in_a_result_is_a_handle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 128 random bits, for as long as it is used now and then."""
    clock = Clock()
    monkeypatch.setattr(values, "clock", clock)
    async with rows() as host, client(host) as one:
        first, second = [await one.result("t.Row.make") for _ in range(2)]
        assert first != second and all(re.fullmatch(r"cap_[a-z2-7]{26}", handle) for handle in (first, second))
        told = (await one.tools())["t.Row.make"]["inputSchema"]
        assert next(iter(told["properties"])) == "cap"
        assert await one.result("t.Row.give", row=first)
        clock.now += held.UNUSED - 1
        assert await one.result("t.Row.give", cap=first, row=first)
        clock.now += 2
        assert await one.result("t.Row.give", row=first)
        assert (await one.use("t.Row.give", row=second))["structuredContent"]["reason"] == "handle"
        await until(lambda: host.connections[0].stats()["exports"] == 1)  # the other one was given back


async def test_a_handle_as_an_argument_is_the_callers_own() -> None:
    async with rows() as host, client(host) as one, client(host, "memory:mcp-2") as other:
        told = (await one.tools())["t.Row.give"]["inputSchema"]["properties"]["row"]
        assert (told["type"], told["format"]) == ("string", "capnet-handle")
        handle = await one.result("t.Row.make")
        for wrong in (handle.upper(), "cap_", "", handle):
            assert (await other.use("t.Row.give", row=wrong))["structuredContent"]["code"] in (
                "not_found", "invalid_argument",
            )  # fmt: skip


async def test_a_stream_in_a_result_is_collected_as_far_as_there_is_room() -> None:
    """100 items or 64 KiB, each reported, and the rest by a handle."""
    async with rows() as host, client(host) as one:
        for letters, items, come in ((1, 101, 100), (40_000, 3, 2), (1, 100, 100)):
            one.notices.clear()
            result = (await one.use("t.Row.big", letters=letters, items=items))["structuredContent"]
            assert len(result["result"]) == come == len(one.notices)
            if "next" in result:
                rest = (await one.use("capnet.next", cap=result["next"]))["structuredContent"]
                assert len(rest["result"]) == items - come and "next" not in rest
            else:
                assert come == items
        assert (await one.use("capnet.next", cap=await one.result("t.Row.make")))["isError"]


async def test_a_stream_as_an_argument_is_an_array() -> None:
    async with rows() as host, client(host) as one:
        assert (await one.tools())["t.Row.total"]["inputSchema"]["properties"]["items"]["type"] == "array"
        assert await one.result("t.Row.total", items=["AQI=", "AQ=="]) == 3


async def test_what_needs_a_function_or_a_sink_is_no_tool_and_why_is_told() -> None:
    async with rows() as host, client(host) as one:
        tools = await one.tools()
        assert not {"t.Row.function", "t.Row.sink"} & set(tools)
        assert tools["t.Row.maybe"]["inputSchema"]["properties"] == {}
        assert await one.result("t.Row.maybe") == 1
        for name in ("t.Row.function", "t.Row.sink"):
            error = (await one.ask("tools/call", name=name))["error"]
            assert error["code"] == -32602 and "needs a function or a sink" in error["message"]


async def test_errors() -> None:
    """An unknown tool is one of the protocol, others are results, and what went wrong inside is in the log alone."""
    async with rows() as host, client(host) as one:
        assert (await one.ask("tools/call", name="t.Row.nothing"))["error"]["code"] == -32602
        result = await one.use("t.Row.fail")
        assert result["isError"] and result["structuredContent"]["code"] == "internal"
        assert set(result["structuredContent"]["details"]) == {"correlation"}
        assert "secret" not in str(result)
        result = await one.use("t.Row.late")
        assert result["structuredContent"]["code"] == "deadline_exceeded"  # the time of the method


async def test_changes_that_follow_each_other_are_one_notice() -> None:
    """Served, replaced, swapped, ended."""
    async with rows() as host, client(host) as one, anyio.create_task_group() as tasks:
        await one.tell("notifications/initialized")
        tasks.start_soon(one.bridge.follow)
        await one.tools()
        await anyio.wait_all_tasks_blocked()
        for number in range(5):
            host.serve(MemRow(), name=f"row{number}")
        assert (await one.read())["method"] == "notifications/tools/list_changed"
        for number in range(5):
            host.unserve(f"row{number}")
        assert (await one.read())["method"] == "notifications/tools/list_changed"
        await host.replace(MemRow(), name="t.Row")
        assert (await one.read())["method"] == "notifications/tools/list_changed"
        async with host.swap(MemRow(), name="t.Row"):
            pass
        assert (await one.read())["method"] == "notifications/tools/list_changed"
        assert (await one.ask("ping"))["result"] == {} and not one.notices
        host.unserve("t.Row")
        host.serve(MemShapes(), name="t.Row")  # the first one again, by its number
        assert "t.Row.take_uuid" in await one.tools()
        tasks.cancel_scope.cancel()


async def test_tools_of_a_toolbox_change_too() -> None:
    """Whatever is behind it, though the host itself serves what it did; and another toolbox takes the place of one."""

    async def greet(name: str) -> str:
        return f"hello {name}"

    async def part(name: str) -> str:
        return f"bye {name}"

    async with Host() as behind, Host() as host, client(host) as one, anyio.create_task_group() as tasks:
        behind.serve(MemRow())
        host.serve(toolbox(behind), name="box")
        await one.tell("notifications/initialized")
        tasks.start_soon(one.bridge.follow)
        assert "t.Row.make" in await one.tools()
        await anyio.wait_all_tasks_blocked()
        behind.serve(MemRow(), name="more")
        assert (await one.read())["method"] == "notifications/tools/list_changed"
        assert "more.make" in await one.tools()
        host.unserve("box")
        host.serve(toolbox(greet), name="box")
        assert (await one.read())["method"] == "notifications/tools/list_changed"
        assert await one.result("greet", name="ann") == "hello ann"
        await host.replace(toolbox(part), name="box", grace=0)
        assert (await one.read())["method"] == "notifications/tools/list_changed"
        assert set(await one.tools()) == {"part", "capnet.next"}
        assert await one.result("part", name="ann") == "bye ann"
        tasks.cancel_scope.cancel()


async def test_tools_are_what_the_policy_admits() -> None:
    class Grants:
        def identify(self, introduction: Any) -> Any:
            return Denied() if introduction.token is None else Identity(principal=introduction.token)

        def admit(self, request: Any) -> bool:
            return bool(request.name == "t.Row" or request.attestation.principal == "ann")

    async with rows(policy=Grants()) as host:
        host.serve(MemRow(), name="hers")
        async with client(host, auth={"token": "ann"}) as ann, client(host, "memory:2", {"token": "bob"}) as bob:
            assert "hers.make" in await ann.tools()
            assert "hers.make" not in await bob.tools()
            answer = await bob.ask("tools/call", name="hers.make")
            assert answer["error"] == {"code": -32602, "message": "there is no tool 'hers.make'"}


def within(found: Any, wanted: Any) -> bool:
    """Whether all that is wanted is there."""
    if isinstance(wanted, dict):
        parts = cast("dict[str, Any]", wanted)
        return all(name in found and within(found[name], part) for name, part in parts.items())
    if isinstance(wanted, list):
        return isinstance(found, list) and all(map(within, cast("Any", found), cast("Any", wanted)))
    return bool(found == wanted)
