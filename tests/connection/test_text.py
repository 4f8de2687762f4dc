"""Text with a lone surrogate, which no frame can hold: whose fault it is, wherever it stands (P-CALL-1, P-ERR-1)."""

# pyright: reportPossiblyUnboundVariable=false
# What is deleted at the end of a test comes of loops that run at least once.
from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, cast

import anyio
import pytest

from capnet import (
    CallCancelled,
    Cap,
    CapnetError,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    Sink,
    Stream,
    call,
    notify,
    revoke,
    stream,
)
from capnet.contract import contract_spec
from capnet.observe import HandlerFailed
from capnet.references.proxy import reference_of
from capnet.references.reference import Reference
from capnet.testing import assert_no_leaks, connected
from tests.connection.shop import Item, MemItem, MemShop, Shop, until

BAD = "a\ud800b"


@dataclass
class Label:
    """Text in data."""

    text: str
    item: Item | None = None


class Clerk(Cap, name="test.Clerk"):
    """Gives and takes text in every place."""

    @call
    async def anything(self, where: str) -> Any: ...
    @call
    async def text(self) -> str: ...
    @call
    async def label(self) -> Label: ...
    @call
    async def numbered(self) -> dict[int, str]: ...
    @call
    async def labelled(self) -> Label: ...
    @call
    async def take(self, value: Any) -> None: ...
    @call
    async def read(self, values: AsyncIterable[Any]) -> int: ...
    @call
    async def write(self, into: Sink[Any]) -> None: ...
    @call
    async def fail(self, where: str) -> None: ...
    @stream
    def items(self, where: str) -> Stream[Any]: ...


PLACES = {
    "alone": "",
    "in a list": "[1][0]",
    "as a key": ".a\\ud800b",
    "behind long bytes": "[1]",
    "beside an object": "[1]",
}
"""Where it is found in these."""
VALUES: dict[str, Any] = {
    "alone": BAD,
    "in a list": [1, [BAD]],
    "as a key": {BAD: 1},
    "behind long bytes": [bytes(100_000), BAD],
    "beside an object": [MemItem("x"), BAD],
}


class Odd(CapnetError):
    """An error of a program's own."""

    code: ClassVar[str] = BAD


ERRORS: dict[str, CapnetError | ValueError] = {
    "message": NotFound(BAD),
    "reason": NotFound("m", reason=BAD),
    "retry": NotFound("m", retry=BAD),
    "details": NotFound("m", details={"k": [BAD]}),
    "key of details": NotFound("m", details={BAD: 1}),
    "code": Odd("m"),
    "exception": ValueError(BAD),
}


class MemClerk(Clerk):
    async def anything(self, where: str) -> Any:
        return VALUES[where]

    async def text(self) -> str:
        return BAD

    async def label(self) -> Label:
        return Label(BAD)

    async def numbered(self) -> dict[int, str]:
        return {1: BAD}

    async def labelled(self) -> Label:
        return Label(BAD, MemItem("x"))

    async def take(self, value: Any) -> None: ...

    async def read(self, values: AsyncIterable[Any]) -> int:
        return len([value async for value in values])

    async def write(self, into: Sink[Any]) -> None:
        await into.send(1)
        await into.send(BAD)

    async def fail(self, where: str) -> None:
        error = ERRORS[where]
        raise error.again() if isinstance(error, CapnetError) else error

    async def items(self, where: str) -> Stream[Any]:
        yield 1
        if where in ERRORS:
            await self.fail(where)
        yield VALUES[where]


@pytest.mark.parametrize("where", VALUES)
async def test_in_a_result_it_is_the_callees_fault(where: str) -> None:
    async with connected(MemClerk()) as (server, client):
        clerk = await client.bootstrap(Clerk)
        with pytest.raises(FailedPrecondition) as caught:
            await clerk.anything(where)
        assert caught.value.reason == "unencodable_result"
        assert f"surrogate cannot travel - at `${PLACES[where]}`" in caught.value.message
        del clerk
        await assert_no_leaks(server, client)


async def test_in_a_result_of_any_type() -> None:
    async with connected(MemClerk()) as (server, client):
        clerk = await client.bootstrap(Clerk)
        places = {"text": "$", "label": "$.text", "numbered": "$.1", "labelled": "$.text"}
        for method, place in places.items():
            with pytest.raises(FailedPrecondition) as caught:
                await getattr(clerk, method)()
            assert caught.value.reason == "unencodable_result" and f"at `{place}`" in caught.value.message
        del clerk
        await assert_no_leaks(server, client)


@pytest.mark.parametrize("where", VALUES)
async def test_in_an_argument_it_is_the_callers(where: str) -> None:
    """Nothing leaves, whichever way the call is made."""
    async with connected(MemClerk()) as (server, client):
        clerk = await client.bootstrap(Clerk)
        for make in (clerk.take, notify(clerk.take)):
            with pytest.raises(InvalidArgument) as caught:
                make(VALUES[where])
            assert caught.value.message.endswith(f"`$.value{PLACES[where]}`")
            del caught
        reference, spec = reference_of(clerk), contract_spec(Clerk).methods["take"]
        for context in ({"key": BAD}, {BAD: "value"}):
            with pytest.raises(InvalidArgument):
                client._parts.calls.start(reference.usable(), spec, {"value": 1}, context)
        with pytest.raises(InvalidArgument):
            client.bootstrap(Clerk, name=BAD)
        assert not client.stats()["calls"] and not server.stats()["answers"]
        del clerk, make, reference
        await assert_no_leaks(server, client)


@pytest.mark.parametrize("where", VALUES)
async def test_in_an_item_it_ends_the_stream(where: str) -> None:
    """P-STREAM-3: what came before it counts. It is told and logged where it was produced; the reader has no part."""
    here: list[HandlerFailed] = []
    there: list[HandlerFailed] = []
    async with connected(MemClerk()) as (server, client):
        client.on(HandlerFailed, here.append)
        server.on(HandlerFailed, there.append)
        clerk = await client.bootstrap(Clerk)
        reader = clerk.items(where)
        assert await anext(reader) == 1
        with pytest.raises(FailedPrecondition) as caught:
            await anext(reader)
        assert caught.value.reason == "unencodable_item"
        await until(lambda: len(there) == 1)
        assert f"surrogate cannot travel - at `${PLACES[where]}`" in str(there[0].error)

        async def values() -> AsyncIterator[Any]:
            yield VALUES[where]

        with pytest.raises(FailedPrecondition):
            await clerk.read(values())
        await until(lambda: len(here) == 1)
        assert f"surrogate cannot travel - at `${PLACES[where]}`" in str(here[0].error)
        del clerk, reader
        await assert_no_leaks(server, client)


async def test_in_what_is_sent_into_a_sink_it_is_the_senders() -> None:
    sink = Collecting()
    failed: list[HandlerFailed] = []
    async with connected(MemClerk()) as (server, client):
        server.on(HandlerFailed, failed.append)
        clerk = await client.bootstrap(Clerk)
        with pytest.raises(Internal):
            await clerk.write(sink)
        await until(lambda: sink.error is not None and failed)
        assert "surrogate cannot travel - at `$`" in str(failed[0].error)
        assert sink.came == [1] and type(sink.error) is CallCancelled
        del clerk
        await assert_no_leaks(server, client)


@pytest.mark.parametrize("where", ERRORS)
async def test_in_an_error_it_is_replaced_or_left_out(where: str) -> None:
    """P-ERR-1: an error always arrives, of a call and of a stream."""
    code = {"code": "internal", "exception": "internal"}.get(where, "not_found")
    async with connected(MemClerk()) as (server, client):
        clerk = await client.bootstrap(Clerk)
        with anyio.fail_after(60), pytest.raises(CapnetError) as caught:
            await clerk.fail(where)
        assert caught.value.code == code and "\ud800" not in f"{caught.value}{caught.value.details}"
        assert where != "exception" or type(caught.value) is Internal
        with anyio.fail_after(60), pytest.raises(CapnetError) as caught:
            async for _ in clerk.items(where):
                pass
        assert caught.value.code == code and "\ud800" not in f"{caught.value}{caught.value.details}"
        del clerk
        await assert_no_leaks(server, client)


async def test_in_reasons_it_is_replaced() -> None:
    """Of cancels, revocations, events and goodbyes."""
    async with connected(shop := MemShop(), MemClerk()) as (server, client):
        theirs, clerk = await client.bootstrap(Shop), await client.bootstrap(Clerk)
        waiting = cast("Any", theirs.wait("x"))
        await until(lambda: shop.gate.entered)
        waiting.cancel(BAD)
        await until(lambda: shop.gate.cancelled)
        events = client.runtime().events(["CapRevoked", "StreamClosed"])
        told = cast("Any", events)
        reader = clerk.items("alone")
        assert await anext(reader) == 1
        revoke(shop, reason=BAD)
        await until(partial(_is_broken, reference_of(theirs)))
        with pytest.raises(FailedPrecondition):
            await anext(reader)
        assert (await anext(told))["kind"] in ("CapRevoked", "StreamClosed")
        await told.aclose()
        del theirs, clerk, waiting, reader, events, told
        await client.aclose(BAD)
        await until(lambda: server.close_cause is not None)
        assert server.close_cause is not None and server.close_cause.message == "a?b"


def _is_broken(reference: Reference) -> bool:
    return reference.imported.broken is not None


class Collecting(Sink[Any]):
    """Keeps what comes."""

    def __init__(self) -> None:
        self.came: list[Any] = []
        self.error: CapnetError | None = None

    async def send(self, item: Any) -> None:
        self.came.append(item)

    async def aclose(self) -> None: ...

    def fail(self, error: CapnetError) -> None:
        self.error = error
