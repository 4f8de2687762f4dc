"""What can be called on a capability that is held: its issuer says so, and no more than that (P-CAP-9)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from capnet import (
    Cap,
    CapnetError,
    ContractDescription,
    InvalidArgument,
    Membrane,
    Released,
    Revoked,
    Unavailable,
    call,
    cast_cap,
    describe,
    pipe,
    release,
    restrict,
    revocable,
    revoke,
    untyped,
)
from capnet.serving.runtime import RuntimeService
from capnet.testing import assert_no_leaks, connected
from tests.connection.office import Clerk, File, MemClerk, MemFile, Reader


async def methods_of(capability: object) -> list[str]:
    """The names of the methods that it is said to have."""
    return list((await describe(capability)).methods)


READER = ["read", "follow"]
FILE = [*READER, "write", "append", "copy_to"]


async def test_the_issuer_tells_of_what_is_held() -> None:
    """Of what came as a result as of what was asked for by name: shapes and words."""
    async with connected(MemClerk()) as (server, client):
        clerk = await client.bootstrap_untyped("office.Clerk")
        tea = await clerk.call("open", name="tea")
        assert await describe(clerk) == ContractDescription.of(Clerk)
        told = await describe(tea)
        assert told == ContractDescription.of(File)
        read = told.methods["read"]
        assert (read.doc, read.idempotent, read.parameters["first"].doc) == ("The lines of it.", True, "where to begin")
        assert read.parameters["most"].keyword_only and read.parameters["most"].default == 100
        assert await describe(await client.bootstrap(Clerk)) == ContractDescription.of(Clerk)
        assert await describe(pipe(client.bootstrap(Clerk))) == ContractDescription.of(Clerk)
        del clerk, tea
        await assert_no_leaks(server, client)


async def test_an_object_of_our_own_tells_itself() -> None:
    """Nobody has to be asked."""
    assert await describe(MemFile()) == ContractDescription.of(File)
    assert await methods_of(restrict(MemFile(), methods={"write"})) == ["write"]
    for nothing in (None, MemFile, "x"):
        with pytest.raises(TypeError):
            await describe(nothing)


async def test_nothing_is_told_that_was_not_given() -> None:
    """A narrower contract, and restrictions, also several of them."""
    narrow = restrict(restrict(MemFile(), methods={"write", "read", "append"}, uses=5), methods={"read", "append"})
    lent, take_back = revocable(MemFile())
    membrane = Membrane()
    files: dict[str, File] = {"tea": MemFile(), "narrow": narrow, "lent": lent, "wrapped": membrane.wrap(MemFile())}
    async with connected(MemClerk(files)) as (_, client):
        clerk = await client.bootstrap_untyped("office.Clerk")
        shown = await describe(await clerk.call("show", name="tea"))
        assert (shown.name, shown.doc, list(shown.methods)) == ("office.Reader", "Reads a file.", READER)
        assert await methods_of(await clerk.call("open", name="narrow")) == ["read", "append"]
        assert await methods_of(await clerk.call("show", name="narrow")) == ["read"]
        assert await methods_of(await clerk.call("open", name="lent")) == FILE
        assert await methods_of(await clerk.call("open", name="wrapped")) == FILE
        # What this side holds under less has no more, whatever its issuer would say.
        reader = untyped(cast_cap(await clerk.call("show", name="tea"), Reader))
        assert await methods_of(reader) == READER
        assert (await reader.call("read", 0)) == []
        take_back()


async def test_a_proxy_that_is_held_under_less_has_less() -> None:
    """Though the issuer would tell of more."""
    async with connected(MemFile()) as (_, client):
        proxy = await client.bootstrap(Reader, name="office.File")
        told = await describe(proxy)
        assert (told.name, told.version, told.doc, list(told.methods)) == ("office.Reader", 1, "Reads a file.", READER)
        assert await methods_of(untyped(proxy)) == READER
        assert await methods_of(restrict(proxy, methods={"read"})) == ["read"]


async def test_whoever_passes_on_asks_for_the_others() -> None:
    """And tells of no more than was passed on."""
    middle = MemClerk()
    async with connected(MemFile()) as (_, first), connected(middle) as (_, last):
        middle.files = {"tea": await first.bootstrap(File)}
        clerk = await last.bootstrap_untyped("office.Clerk")
        assert await describe(await clerk.call("open", name="tea")) == ContractDescription.of(File)
        assert await methods_of(await clerk.call("show", name="tea")) == READER
        middle.files = {"tea": restrict(await first.bootstrap(File), methods={"read", "write"})}
        assert await methods_of(await clerk.call("open", name="tea")) == ["read", "write"]
        assert await methods_of(await clerk.call("show", name="tea")) == ["read"]


async def test_functions() -> None:
    """Their parameters have the names of the wire."""

    class Caller(Cap, name="describe.Caller"):
        @call
        async def give(self) -> Callable[[int, str], Awaitable[bool]]: ...

    class MemCaller(Caller):
        async def give(self) -> Callable[[int, str], Awaitable[bool]]:
            return given

    async def given(number: int, text: str) -> bool:
        """Not for others."""
        return bool(number and text)

    async with connected(MemCaller()) as (_, client):
        function = await (await client.bootstrap_untyped("describe.Caller")).call("give")
        told = await describe(function)
        assert (told.name, told.doc, told.methods["call"].doc) == ("capnet.Callable", "", "")
        assert await function.call("call", 1, "x") is True


async def test_what_cannot_be_asked() -> None:
    """What was given back or taken back, and what is nothing."""
    here = MemClerk()
    async with connected(here) as (_, client):
        clerk = await client.bootstrap_untyped("office.Clerk")
        tea = await clerk.call("open", name="tea")
        revoke(here.files["tea"])
        with pytest.raises(Revoked):
            await describe(tea)
        release(clerk)
        with pytest.raises(Released):
            await describe(clerk)
        for nothing in (None, 5, {"a": 1}, MemFile()):
            with pytest.raises(InvalidArgument):
                await client.runtime().contract(nothing)
        clerk = await client.bootstrap_untyped("office.Clerk")
        await client.aclose()
        with pytest.raises(Unavailable):
            await describe(clerk)


@pytest.mark.parametrize(
    "data", [{}, {"contract": "a", "version": 1, "methods": {"m": ["call"]}}], ids=["empty", "bad"]
)
async def test_a_peer_may_say_anything(data: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no description is an error, and nothing is kept of it."""

    async def contract(*_: Any, **__: Any) -> dict[str, Any]:
        return data

    async with connected(MemClerk()) as (_, client):
        clerk = await client.bootstrap_untyped("office.Clerk")
        with monkeypatch.context() as patch:
            patch.setattr(RuntimeService, "contract", contract)
            with pytest.raises(CapnetError):
                await describe(clerk)
        with pytest.raises(TypeError):
            clerk.call("open", "tea")


async def test_names_are_told_with_a_line() -> None:
    """The whole of it is for whoever holds the capability."""
    async with connected(MemFile(), MemClerk()) as (_, client):
        described = await client.runtime().describe()
        assert {name: told["doc"] for name, told in described.items()} == {
            "office.File": "Reads and writes a file.",
            "office.Clerk": "",
        }
        assert described["office.File"]["methods"] == ContractDescription.of(File).shape
        assert "words" not in described["office.File"]
