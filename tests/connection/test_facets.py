"""A reference is exactly the right it was given as: out under the contract of its place, home as what is held."""

from __future__ import annotations

import copy
import gc
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import anyio
import pytest

from capnet import (
    INJECT,
    Broadcast,
    CallContext,
    Cap,
    CapnetError,
    Internal,
    InvalidArgument,
    Revoked,
    Sink,
    Stream,
    Unimplemented,
    call,
    cast_cap,
    implementation_of,
    pipe,
    restrict,
    restrictions,
    revocable,
    revoke,
    stream,
)
from capnet.contract import callable_contract, contract_spec
from capnet.references.proxy import reference_of
from capnet.registry import Facet
from capnet.testing import connected
from tests.connection.shop import until

T = TypeVar("T")


class Reader(Cap, name="facet.Reader"):
    @call
    async def read(self) -> str: ...

    @stream
    def lines(self) -> Stream[str]: ...


class File(Reader, name="facet.File"):
    @call
    async def write(self, text: str) -> None: ...


class MemFile(File):
    secret = "hunter2"

    def __init__(self, text: str = "one\ntwo") -> None:
        self.text = text
        self.callers: list[CallContext] = []
        self.closed = 0

    async def read(self, extra: str = "", *, ctx: CallContext = INJECT) -> str:
        if ctx is not INJECT:
            self.callers.append(ctx)
        return self.text + extra

    async def lines(self) -> Stream[str]:
        for line in self.text.splitlines():
            yield line

    async def write(self, text: str) -> None:
        self.text = text

    async def aclose(self) -> None:
        self.closed += 1

    def __repr__(self) -> str:
        return f"MemFile({self.secret})"

    def __eq__(self, other: object) -> bool:
        return getattr(other, "password", None) == self.secret

    __hash__ = object.__hash__


@dataclass
class Job(Generic[T]):
    source: T
    target: File
    note: Any = None


On = Callable[[int], Awaitable[int]]
Off = Callable[[str], Awaitable[int]]
Wide = Callable[[int | str], Awaitable[int]]


class Desk(Cap, name="facet.Desk"):
    """Lends, and takes back, in every position."""

    @call
    async def whole(self) -> File: ...

    @call
    async def narrow(self) -> Reader: ...

    @call
    async def both(self) -> tuple[Reader, File]: ...

    @call
    async def job(self) -> Job[Reader]: ...

    @stream
    def jobs(self) -> Stream[Job[Reader]]: ...

    @call
    async def put(self, what: Any) -> None: ...

    @call
    async def get(self) -> Any: ...

    @call
    async def put_cap(self, what: Cap) -> None: ...

    @call
    async def put_readers(self, what: list[Reader]) -> None: ...

    @call
    async def put_file(self, what: File) -> None: ...

    @call
    async def put_job(self, job: Job[File]) -> None: ...

    @call
    async def get_cap(self) -> Cap: ...

    @call
    async def number(self) -> Any: ...

    @call
    async def sink(self) -> Sink[Any]: ...

    @stream
    def heard(self) -> Stream[Any]: ...

    @call
    async def functions(self) -> tuple[On, Off]: ...

    @call
    async def put_on(self, on: On) -> int: ...

    @call
    async def put_off(self, off: Off) -> int: ...


class MemDesk(Desk):
    def __init__(self) -> None:
        self.file = MemFile()
        self.held: list[Any] = []
        self.said: Broadcast[Any] = Broadcast()

    async def whole(self) -> File:
        return self.file

    async def narrow(self) -> Reader:
        return self.file

    async def both(self) -> tuple[Reader, File]:
        return self.file, self.file

    async def job(self) -> Job[Reader]:
        return Job(self.file, self.file, self.file)

    async def jobs(self) -> Stream[Job[Reader]]:
        yield Job(self.file, self.file, self.file)

    async def put(self, what: Any) -> None:
        self.held.append(what)

    async def get(self) -> Any:
        return self.held[-1]

    async def put_cap(self, what: Cap) -> None:
        self.held.append(what)

    async def put_readers(self, what: list[Reader]) -> None:
        self.held += what

    async def put_file(self, what: File) -> None:
        self.held.append(what)

    async def put_job(self, job: Job[File]) -> None:
        self.held.append(job)

    async def get_cap(self) -> Cap:
        return cast("Cap", self.held[-1])

    async def number(self) -> int:
        return cast("int", self.file)

    async def sink(self) -> Sink[Any]:
        return _Saying(self.said)

    def heard(self) -> Stream[Any]:
        return self.said.subscribe()

    async def plus(self, number: int) -> int:
        return number + 1

    async def length(self, text: str) -> int:
        return len(text)

    async def functions(self) -> tuple[On, Off]:
        return self.plus, self.length

    async def put_on(self, on: On) -> int:
        self.held.append(on)
        return await on(1)

    async def put_off(self, off: Off) -> int:
        self.held.append(off)
        return await off("abc")


class _Saying(Sink[Any]):
    def __init__(self, broadcast: Broadcast[Any]) -> None:
        self.broadcast = broadcast

    async def send(self, item: Any) -> None:
        await self.broadcast.send(item)

    async def aclose(self) -> None: ...

    def fail(self, error: CapnetError) -> None: ...


async def can_write(capability: Any) -> bool:
    """Whether a call of `write` gets through, whatever the holder of a proxy thinks it has."""
    reference = reference_of(capability)
    method = contract_spec(File).methods["write"]
    try:
        await reference.caller.start(reference.usable(), method, {"text": "DEFACED"})
    except Unimplemented:
        return False
    return True


# Out: what each place declares


async def test_each_place_lends_what_it_declares() -> None:
    """Results, fields, elements and items; `Any` lends what the object is."""
    async with connected(MemDesk()) as (_, client):
        desk = await client.bootstrap(Desk)
        reader, file = await desk.both()
        assert not await can_write(reader)
        assert await can_write(file)
        jobs = [await desk.job(), *[job async for job in desk.jobs()]]
        for job in jobs:
            assert not await can_write(job.source)
            assert await can_write(job.target) and await can_write(job.note)
        assert not await can_write(await desk.narrow())


async def test_arguments_lend_what_their_parameter_declares() -> None:
    """Also where another parameter of the method declares more, between two honest programs."""

    class Worker(Cap, name="facet.Worker"):
        @call
        async def copy(self, source: Reader, target: File) -> bool: ...

    class MemWorker(Worker):
        async def copy(self, source: Reader, target: File) -> bool:
            await target.write(await source.read())
            return await can_write(source)

    async with connected(MemWorker()) as (_, client):
        master, scratch = MemFile("master"), MemFile("")
        assert not await (await client.bootstrap(Worker)).copy(master, scratch)
        assert (master.text, scratch.text) == ("master", "master")


async def test_where_data_is_declared_no_capability_leaves() -> None:
    """Whatever a handler returns there."""

    class Count(Cap, name="facet.Count"):
        @call
        async def count(self) -> dict[str, int]: ...

    class Wrong(Count):
        async def count(self) -> dict[str, int]:
            return {"n": cast("int", MemFile())}

    async with connected(Wrong()) as (server, client):
        counter = await client.bootstrap(Count)
        with pytest.raises(Internal):
            await counter.count()
        assert server.stats()["exports"] == 1


async def test_something_else_than_is_declared_does_not_leave() -> None:
    """Not even as less."""
    async with connected(MemDesk()) as (_, client):
        desk = await client.bootstrap(Desk)
        with pytest.raises(InvalidArgument):
            await desk.put_file(cast("File", MemDesk()))
        assert client.stats()["exports"] == 0


# Home: what its holder holds


async def test_what_was_lent_as_itself_is_itself() -> None:
    """Where its contract, a base of it or any capability is declared."""
    impl = MemDesk()
    async with connected(impl) as (_, client):
        desk = await client.bootstrap(Desk)
        file = await desk.whole()
        await desk.put_file(file)
        await desk.put_cap(file)
        await desk.put_readers([file])
        await desk.put_job(Job(file, file, file))
        job = impl.held.pop()
        assert job.source is job.target is impl.file and job.note is not impl.file
        assert all(held is impl.file for held in impl.held) and len(impl.held) == 3


async def test_what_was_lent_as_less_is_a_facet_everywhere() -> None:
    """One for each object and contract, and the object only for who asks for it by name."""
    impl = MemDesk()
    async with connected(impl) as (_, client):
        desk = await client.bootstrap(Desk)
        reader = await desk.narrow()
        await desk.put(reader)
        await desk.put_cap(reader)
        await desk.put_readers([reader])
        first, *others = impl.held
        assert isinstance(first, Reader) and not isinstance(first, File)
        assert all(held is first and held == first for held in others) and len(others) == 2
        assert first != impl.file and impl.file != first
        assert implementation_of(first) is impl.file and implementation_of(impl.file) is impl.file
        with pytest.raises(TypeError):
            implementation_of(reader)
        with pytest.raises(TypeError):
            implementation_of({})
        # It works, without the wire, as its contract says.
        called = client.stats()
        assert await first.read() == impl.file.text
        assert [line async for line in first.lines()] == impl.file.text.splitlines()
        assert client.stats() == called
        with pytest.raises(TypeError):
            await cast("Any", first).read("more than the contract takes")
        with pytest.raises(AttributeError):
            await cast("Any", first).write("x")
        assert cast_cap(first, Reader) is first
        with pytest.raises(InvalidArgument):
            cast_cap(first, File)


async def test_more_than_was_lent_is_refused_where_it_is_declared() -> None:
    """The path is named."""
    impl = MemDesk()
    async with connected(impl) as (_, client):
        desk = await client.bootstrap(Desk)
        reader: Any = await desk.narrow()
        note = cast_cap(reader, Reader)
        with pytest.raises(InvalidArgument) as caught:
            await client._parts.calls.start(reference_of(desk).usable(), _loose("put_file"), {"what": note})
        assert "$.what" in caught.value.message
        job = {"source": note, "target": note}
        with pytest.raises(InvalidArgument) as caught:
            await client._parts.calls.start(reference_of(desk).usable(), _loose("put_job"), {"job": job})
        assert "$.job.source" in caught.value.message
        with pytest.raises(InvalidArgument):
            await desk.put_file(reader)  # and does not leave an honest program
        assert impl.held == []


def _loose(method: str) -> Any:
    """A method as a peer calls it that declares nothing."""
    from capnet.references.untyped import UntypedMethod

    return UntypedMethod("facet.Desk", method, False)


async def test_passed_on_again_it_is_no_more() -> None:
    """To the one who had it, with the same proxy, and to others; in results, items and by a broadcast."""
    impl = MemDesk()
    async with connected(impl) as (_, one), connected(impl) as (_, two):
        desk, other = await one.bootstrap(Desk), await two.bootstrap(Desk)
        reader = await desk.narrow()
        for put in (desk.put, desk.put_cap):
            await put(reader)
            for getting in (desk.get, desk.get_cap):
                back = await getting()
                assert back == reader and not await can_write(back)
            for getting in (other.get, other.get_cap):
                assert not await can_write(await getting())
        async with anyio.create_task_group() as tasks:
            heard = other.heard()

            async def listen() -> None:
                assert not await can_write(await anext(heard))
                await heard.aclose()

            tasks.start_soon(listen)
            await until(lambda: impl.said.subscribers == 1)
            async with await desk.sink() as sink:
                await sink.send(reader)
        assert impl.file.text == MemFile().text


async def test_any_tells_nothing_of_the_object() -> None:
    """Neither of a facet nor of what was lent as what it is: not by text, comparison, attributes or copies."""
    impl = MemDesk()
    async with connected(impl) as (_, client):
        desk = await client.bootstrap(Desk)
        for proxy in (await desk.whole(), await desk.narrow()):
            await desk.put(proxy)
            what = impl.held[-1]
            assert isinstance(what, Facet)
            told = [repr(what), str(what), f"{what}", repr(vars(what)), repr(vars(what).values())]
            told += [repr(getattr(what, name, None)) for name in dir(what) if name != "__doc__"]
            told.append(json.dumps(what, default=lambda value: getattr(value, "__dict__", repr(value))))
            assert not any(MemFile.secret in text for text in told)

            class Guess:
                password = MemFile.secret

            assert what != Guess() and what != impl.file
            for copying in (copy.copy, copy.deepcopy):
                with pytest.raises(TypeError):
                    copying(what)


async def test_functions_come_home_with_their_signature() -> None:
    """Where that is declared the function itself; elsewhere it is refused."""
    impl = MemDesk()
    async with connected(impl) as (_, client):
        desk = await client.bootstrap(Desk)
        on, off = await desk.functions()
        assert await on(1) == 2 and await off("abc") == 3
        assert await desk.put_on(on) == 2 and impl.held.pop() == impl.plus
        assert await desk.put_off(off) == 3 and impl.held.pop() == impl.length
        for wrong, method, name in ((off, "put_on", "on"), (on, "put_off", "off")):
            with pytest.raises(InvalidArgument) as caught:
                await client._parts.calls.start(reference_of(desk).usable(), _loose(method), {name: cast("Any", wrong)})
            assert f"$.{name}" in caught.value.message
        await desk.put(on)
        facet = impl.held.pop()
        assert "plus" not in repr(facet) and await facet(1) == 2 and implementation_of(facet) == impl.plus


async def test_a_function_that_is_passed_on_has_no_more_than_either_signature() -> None:
    """That which it was lent under, and that which is declared; as `Any` and `Cap` it keeps the first."""

    class Phone(Cap, name="facet.Phone"):
        @call
        async def wide(self) -> Wide: ...

        @call
        async def keep(self, what: Any) -> None: ...

        @call
        async def keep_cap(self, what: Cap) -> None: ...

        @call
        async def on(self) -> On: ...

        @call
        async def off(self) -> Off: ...

    class MemPhone(Phone):
        held: Any = None

        async def wide(self) -> Wide:
            return self.double

        async def double(self, value: int | str) -> int:
            return int(value) * 2

        async def keep(self, what: Any) -> None:
            self.held = what

        async def keep_cap(self, what: Cap) -> None:
            self.held = what

        async def on(self) -> On:
            return cast("On", self.held)

        async def off(self) -> Off:
            return cast("Off", self.held)

    impl = MemPhone()
    async with connected(impl) as (_, client):
        phone = await client.bootstrap(Phone)
        wide = await phone.wide()
        assert await wide("2") == 4
        on: Any = None
        for keep in (phone.keep, phone.keep_cap):
            await keep(cast("Any", wide))
            assert isinstance(impl.held, Facet) and implementation_of(impl.held) == impl.double
            on = await phone.on()
            assert await on(2) == 4
            with pytest.raises(InvalidArgument):
                await on("2")
            await keep(on)
            assert await (await phone.on())(2) == 4
            with pytest.raises(CapnetError):
                await phone.off()
        # As a proxy of another program.
        impl.held = wide
        assert await (await phone.on())(2) == 4
        impl.held = on
        with pytest.raises(CapnetError):
            await phone.off()
        with pytest.raises(InvalidArgument):
            cast_cap(on, cast("Any", contract_spec(callable_contract(Off)).cls))


async def test_a_facet_is_kept_by_who_holds_it_only() -> None:
    """And keeps its object; afterwards there is nothing of it."""
    impl = MemDesk()
    async with connected(impl) as (server, client):
        desk = await client.bootstrap(Desk)
        await desk.put(await desk.narrow())
        gc.collect()
        facet = impl.held.pop()
        await until(lambda: server.stats()["exports"] == 1 and impl.file.closed == 1)
        assert await facet.read() == impl.file.text
        del facet
        gc.collect()
        assert not [one for one in gc.get_objects() if isinstance(one, Facet) and implementation_of(one) is impl.file]


# What stands in front


async def test_the_context_reaches_the_object() -> None:
    """Through a restriction of a facet, as through one of the object."""
    impl = MemDesk()
    async with connected(impl) as (_, client):
        desk = await client.bootstrap(Desk)
        await desk.put(await desk.narrow())
        impl.held.append(restrict(impl.held.pop(), uses=5))
        assert await cast_cap(await desk.get(), Reader).read() == impl.file.text
        assert [ctx.method for ctx in impl.file.callers] == ["read"]


async def test_a_restriction_that_comes_home_is_one_still() -> None:
    """As what it is, or as a facet of less."""
    impl = MemDesk()
    limited = restrict(cast("File", impl.file), methods={"read"})
    impl.held.append(limited)
    async with connected(impl) as (_, client):
        desk = await client.bootstrap(Desk)
        proxy = cast_cap(await desk.get_cap(), File)
        await desk.put_file(proxy)
        assert impl.held[-1] is limited
        await desk.put(proxy)
        assert await restrictions(impl.held[-1]) == await restrictions(limited) == await restrictions(proxy) != []
        with pytest.raises(CapnetError):
            await cast_cap(impl.held[-1], File).write("x")


async def test_taking_back_a_facet_takes_what_is_held_under_it() -> None:
    """And what was made of it; who holds the object by another contract keeps that."""
    impl = MemDesk()
    async with connected(impl) as (_, client):
        desk = await client.bootstrap(Desk)
        file, reader = await desk.whole(), await desk.narrow()
        await desk.put(reader)
        facet = impl.held[-1]
        lent, take_back = revocable(facet)
        impl.held.append(lent)
        wrapped = cast_cap(await desk.get_cap(), Reader)
        assert {one.contract for one in revoke(facet, dry_run=True)} == {"facet.Reader"}
        assert len(revoke(facet)) == 2
        for gone in (reader, wrapped):
            with pytest.raises(Revoked):
                await gone.read()
        assert await file.read() == impl.file.text
        revoke(impl.file)
        with pytest.raises(Revoked):
            await file.read()
        take_back()


# By way of another program


class Middle(MemDesk):
    """Holds a file of another program, and lends it on."""

    def __init__(self, file: File) -> None:
        super().__init__()
        self.file = cast("Any", file)


async def test_a_proxy_is_passed_on_as_what_is_declared() -> None:
    """And comes home to the middle as that: its owner gets it back as no more, too."""
    owner = MemDesk()
    async with connected(owner) as (_, to_owner):
        desk = await to_owner.bootstrap(Desk)
        middle = Middle(await desk.whole())
        async with connected(middle) as (_, guest):
            lobby = await guest.bootstrap(Desk)
            reader, file = await lobby.both()
            assert await reader.read() == owner.file.text
            assert not await can_write(reader)
            assert await can_write(file)
            await lobby.put(reader)
            home = middle.held[-1]
            assert isinstance(home, Reader) and not isinstance(home, File)
            with pytest.raises(InvalidArgument):
                cast_cap(home, File)
            with pytest.raises(InvalidArgument):
                await lobby.put_file(cast("File", reader))
            # From the middle to the owner, and from there to whoever asks.
            await desk.put(home)
            assert not await can_write(cast_cap(owner.held[-1], Reader))
            with pytest.raises(InvalidArgument):
                cast_cap(await desk.get(), File)
            # What is all that the middle holds goes home as itself.
            await lobby.put_file(file)
            await desk.put_file(middle.held[-1])
            assert owner.held[-1] is owner.file


async def test_a_guest_that_calls_the_owner_by_way_of_the_middle_gains_nothing() -> None:
    """The reference goes through a call that the middle only relays."""
    owner = MemDesk()
    async with connected(owner) as (_, to_owner):
        desk = await to_owner.bootstrap(Desk)
        middle = Middle(await desk.whole())
        middle.held.append(desk)
        async with connected(middle) as (_, guest):
            lobby = await guest.bootstrap(Desk)
            reader = await lobby.narrow()
            far = cast_cap(await lobby.get(), Desk)
            for put in (far.put, far.put_cap):
                await put(reader)
                assert not await can_write(await far.get())
                with pytest.raises(InvalidArgument):
                    cast_cap(await desk.get(), File)
            with pytest.raises(InvalidArgument):
                await guest._parts.calls.start(reference_of(far).usable(), _loose("put_file"), {"what": reader})


async def test_what_was_given_as_more_may_stand_where_a_base_is_declared() -> None:
    """Also when it comes by a program that does not know what is declared, or as plain data."""
    owner = MemDesk()
    async with connected(owner) as (_, one), connected(owner) as (to_two, two):
        desk = await one.bootstrap(Desk)
        await desk.put(await desk.whole())
        untyped = await desk.get()
        reader = cast_cap(untyped, Reader)
        assert await reader.read() == owner.file.text
        with pytest.raises(InvalidArgument):
            cast_cap(untyped, Desk)
        # Two's desk, by way of the owner: what is the owner's comes there under what it is held under.
        far = MemDesk()
        two.serve(far)
        owner.held.append(await to_two.bootstrap(Desk))
        relayed = cast_cap(await desk.get(), Desk)
        await relayed.put_readers([await desk.whole()])
        assert await far.held.pop().read() == owner.file.text


async def test_a_promise_is_passed_on_as_what_its_call_brings() -> None:
    """And no more, also where nothing is declared and what comes could do more."""
    mine = MemFile()
    keeper, other = MemDesk(), MemDesk()
    async with connected(keeper) as (_, to_keeper), connected(other) as (_, to_other):
        desk = await to_keeper.bootstrap(Desk)
        await desk.put_file(mine)
        keeper.file = keeper.held.pop()
        promise = pipe(desk.narrow())
        for put in ("put", "put_cap"):
            await getattr(await to_other.bootstrap(Desk), put)(promise)
            assert not await can_write(other.held.pop())
        assert mine.text == MemFile().text


async def test_what_goes_home_is_worth_what_its_holder_has() -> None:
    """P-REF-5: also where the owner only passes it on. What a guest declares of the host's file binds the guest."""
    host, shelf = MemDesk(), MemDesk()
    async with connected(host) as (to_one, one), connected(host) as (_, two):
        one.serve(shelf)
        shelf.file = cast("Any", await (await one.bootstrap(Desk)).whole())
        host.held.append(await to_one.bootstrap(Desk))
        far = cast_cap(await (await two.bootstrap(Desk)).get(), Desk)
        assert await can_write(await far.narrow())
