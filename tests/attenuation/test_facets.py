"""What stands in front of others sees an object under a contract, as the wire does, and makes no more of it."""

from __future__ import annotations

from collections import abc
from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass
from functools import reduce
from types import new_class
from typing import Any, Generic, NamedTuple, NotRequired, TypeAlias, TypedDict, TypeVar, cast

import anyio
import msgspec
import pytest

from capnet import (
    Cap,
    CapnetError,
    ContractError,
    InvalidArgument,
    Membrane,
    PermissionDenied,
    ResourceExhausted,
    Revoked,
    Sink,
    Stream,
    call,
    cast_cap,
    channel,
    implementation_of,
    pipe,
    restrict,
    restrictions,
    revocable,
    revoke,
    stream,
)
from capnet.contract import contract_spec
from capnet.references.proxy import Proxy
from capnet.registry import Facet, Hosted, facet_of
from capnet.testing import connected
from tests.connection.shop import until
from tests.connection.test_facets import Desk, File, Job, MemDesk, MemFile, Off, On, Reader, can_write

T = TypeVar("T")
Way: TypeAlias = Callable[[Any], Awaitable[Any]]
Makes: TypeAlias = Callable[[Any], Any]
Path: TypeAlias = tuple[Any, ...]


def step_into(value: Any, step: Any) -> Any:
    """What stands one step into a value."""
    if isinstance(step, str) and not hasattr(value, "keys"):
        return getattr(value, step)
    return next(iter(value)) if hasattr(value, "isdisjoint") else value[step]


def is_reader(what: Any) -> bool:
    """Whether something can be used as a `Reader` and by no means as a `File`."""
    with pytest.raises((InvalidArgument, AttributeError)):
        cast_cap(what, File).write  # noqa: B018 - it must not be there
    return isinstance(what, Reader) and not isinstance(what, File) and not hasattr(what, "write")


def reader_of(file: Any) -> Any:
    """The facet of a file for `Reader`."""
    return facet_of(Hosted.of(file), contract_spec(Reader))


def puts(desk: Desk) -> list[Way]:
    """All ways to hand in what may be a `Reader` only."""
    return [desk.put, desk.put_cap, lambda what: desk.put_readers([what])]


# Each place in a value


@dataclass
class Box(Generic[T]):
    it: T
    number: int = 0
    any: Any = None


@dataclass
class BigBox(Box[T]):
    more: Any = None


class Pair(NamedTuple):
    template: Reader
    scratch: File


class Options(TypedDict):
    source: Reader
    target: NotRequired[File]


class Renamed(msgspec.Struct, rename={"it": "other", "other": "it"}):
    it: Reader
    other: File | None = None


class Row(msgspec.Struct, array_like=True, tag="row", frozen=True):
    it: Reader
    number: int
    other: File | msgspec.UnsetType = msgspec.UNSET


class Left(msgspec.Struct, tag=True):
    it: Reader


class Right(msgspec.Struct, tag=True):
    it: File


def place(hint: Any) -> type[Cap]:
    """A contract that takes and gives one value, in every way."""

    async def get(self: Any) -> Any: ...

    async def put(self: Any, what: Any) -> None: ...

    def items(self: Any) -> Any: ...

    async def feed(self: Any, into: Any) -> None: ...

    get.__annotations__ = {"return": hint}
    put.__annotations__ = {"what": hint, "return": None}
    items.__annotations__ = {"return": Stream[hint]}
    feed.__annotations__ = {"into": Sink[hint], "return": None}
    body = {"get": call(get), "put": call(put), "items": cast("Any", stream)(items), "feed": call(feed)}
    contract = new_class("Place", (Cap,), {"name": "test.Place"}, lambda namespace: namespace.update(body))

    class Placed(contract):  # type: ignore[misc,valid-type]
        value: Any = None

        async def get(self) -> Any:
            return self.value

        async def put(self, what: Any) -> None:
            self.value = what

        async def items(self) -> Any:
            yield self.value

        async def feed(self, into: Any) -> None:
            async with into:
                await into.send(self.value)

    return Placed


async def given(*items: Any) -> AsyncIterable[Any]:
    for item in items:
        yield item


async def across(hint: Any, value: Any) -> list[Any]:
    """A value, as it comes out of a membrane and goes into it where a type is declared, in each way that there is."""
    placed: Any = place(hint)()
    outside = Membrane().wrap(placed)
    await outside.put(value)
    crossed = [placed.value]
    placed.value = value
    crossed.append(await outside.get())
    crossed += [item async for item in outside.items()]
    sink, fed = channel(Any)
    await outside.feed(sink)
    return [*crossed, *[item async for item in fed]]


reader, writer = MemFile("reader"), MemFile("writer")


@pytest.mark.parametrize(
    ("hint", "value", "narrow", "wide"),
    [
        (tuple[Reader, File], (reader, writer), (0,), (1,)),
        (tuple[Reader, ...], (writer, reader), (1,), None),
        (list[tuple[Reader, File]], [(reader, writer)], (0, 0), (0, 1)),
        (abc.Sequence[Reader], [reader], (0,), None),
        (set[Reader], {reader}, (0,), None),
        (frozenset[Reader | None], frozenset({reader}), (0,), None),
        (dict[str, Reader], {"a": reader}, ("a",), None),
        (dict[int, list[Reader]], {7: [reader]}, (7, 0), None),
        (Box[Reader], Box(reader, 1, writer), ("it",), ("any",)),
        (Box[Box[Reader]], Box(Box(reader), 1, [writer]), ("it", "it"), ("any", 0)),
        (Box[Reader], BigBox(reader, 1, writer), ("it",), ("any",)),
        (Pair, Pair(reader, writer), ("template",), ("scratch",)),
        (Options, {"source": reader, "target": writer}, ("source",), ("target",)),
        (Renamed, Renamed(reader, writer), ("it",), ("other",)),
        (Row, Row(reader, 1, writer), ("it",), ("other",)),
        (Row, Row(reader, 1), ("it",), None),
        (Left | Right, Left(reader), ("it",), None),
        (Left | Right, Right(writer), None, ("it",)),
        (list[Reader] | dict[str, File], {"a": writer}, None, ("a",)),
        (list[Reader] | dict[str, File], [reader], (0,), None),
        (Any, writer, None, ()),
        (Cap, writer, None, ()),
        (dict[str, Any], {"a": [{1: Box(writer)}]}, None, ("a", 0, 1, "it")),
    ],
)
async def test_each_place_gives_what_it_declares(hint: Any, value: Any, narrow: Path | None, wide: Path | None) -> None:
    """Arguments, results and items, both ways; `Any` gives what the object is."""
    for crossed in await across(hint, value):
        assert isinstance(value, Cap) or type(crossed) is type(value)
        if narrow is not None:
            less = reduce(step_into, narrow, crossed)
            assert is_reader(less) and await less.read() == "reader"
        if wide is not None:
            more = reduce(step_into, wide, crossed)
            assert isinstance(more, File) and more is not writer


async def _plus(number: int) -> int:
    return number + 1


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (int, writer),
        (list[int], [writer]),
        (dict[str, int], {"a": writer}),
        (dict[int, Reader], {writer: reader}),
        (tuple[Reader, File], (reader, writer, writer)),
        (Box[Reader], Box(reader, cast("int", writer))),
        (Box[Reader], BigBox(reader, more=writer)),
        (Row, Row(reader, cast("int", [writer]))),
        (Left | Right, {"it": reader}),
        (Options, {"else": reader}),
        (Reader, MemDesk()),
        (File, reader_of(writer)),
        (Reader, channel(int)[0]),
        (Reader, channel(int)[1]),
        (list[str], [channel(int)[1]]),
        (Reader, _plus),
        (Any, _plus),
        (Any, {writer: 1}),
        (On, reader),
    ],
)
async def test_nothing_else_crosses(hint: Any, value: Any) -> None:
    """Where data is declared no capability, function, stream or sink; where one is, no other."""
    placed: Any = place(hint)()
    outside = Membrane().wrap(placed)
    sink, _ = channel(Any)
    placed.value = value
    ways: tuple[Way, ...] = (
        outside.put,
        lambda _: outside.get(),
        lambda _: anext(outside.items()),
        lambda _: outside.feed(sink),
    )
    for way in ways:
        with pytest.raises(InvalidArgument) as caught:
            await way(value)
        assert caught.value.reason == "cannot_cross"
    assert placed.value is value


async def test_items_of_streams_and_sinks_that_cross_have_places() -> None:
    """Both ways, and as deep as they are passed."""

    class Ends(Cap, name="test.Ends"):
        @call
        async def take(self, readers: AsyncIterable[tuple[Reader, Any]]) -> None: ...
        @call
        async def give(self) -> AsyncIterable[Box[Reader]]: ...
        @call
        async def fill(self, into: Sink[Box[Reader]]) -> None: ...
        @call
        async def filled(self) -> Sink[tuple[Reader, Any]]: ...
        @call
        async def numbers(self) -> AsyncIterable[int]: ...

    class MemEnds(Ends):
        def __init__(self) -> None:
            self.seen: list[Any] = []
            self.sink, self.stream = channel(Any)

        async def take(self, readers: AsyncIterable[tuple[Reader, Any]]) -> None:
            self.seen += [item async for item in readers]

        async def give(self) -> AsyncIterable[Box[Reader]]:
            return given(Box(MemFile(), 0, MemFile()))

        async def fill(self, into: Sink[Box[Reader]]) -> None:
            await into.send(Box(MemFile(), 0, MemFile()))

        async def filled(self) -> Sink[tuple[Reader, Any]]:
            return self.sink

        async def numbers(self) -> AsyncIterable[int]:
            return given(MemFile())

    inside = MemEnds()
    outside = Membrane().wrap(cast("Ends", inside))
    await outside.take(given((MemFile(), MemFile())))
    await (await outside.filled()).send((MemFile(), MemFile()))
    for narrow, wide in (inside.seen.pop(), await anext(inside.stream)):
        assert is_reader(narrow) and isinstance(wide, File)
    sink, boxes = channel(Any)
    await outside.fill(sink)
    for box in (await anext(boxes), *[box async for box in await outside.give()]):
        assert is_reader(box.it) and isinstance(box.any, File)
    with pytest.raises(InvalidArgument) as caught:
        await anext(aiter(await outside.numbers()))
    assert caught.value.reason == "cannot_cross"


async def test_arguments_and_results_of_callbacks_have_places() -> None:
    """A function that crossed is called across, whoever has it."""

    class Caller(Cap, name="test.Caller"):
        @call
        async def run(self, ask: Callable[[Reader, Any], Awaitable[tuple[Reader, File]]]) -> None: ...
        @call
        async def asker(self) -> Callable[[Reader], Awaitable[Reader]]: ...

    class MemCaller(Caller):
        seen: Any = ()

        async def run(self, ask: Callable[[Reader, Any], Awaitable[tuple[Reader, File]]]) -> None:
            self.seen = await ask(MemFile("mine"), MemFile())

        async def asker(self) -> Callable[[Reader], Awaitable[Reader]]:
            async def ask(what: Reader) -> Reader:
                self.seen = what
                return MemFile()

            return ask

    taken: list[Any] = []

    async def answer(narrow: Reader, wide: Any) -> tuple[Reader, File]:
        taken.extend((narrow, wide))
        return MemFile(), MemFile()

    inside = MemCaller()
    outside = Membrane().wrap(cast("Caller", inside))
    await outside.run(answer)
    for narrow, wide in (taken, inside.seen):
        assert is_reader(narrow) and isinstance(wide, File)
    assert is_reader(await (await outside.asker())(MemFile())) and is_reader(inside.seen)


async def test_two_functions_in_one_value_are_told_apart() -> None:
    """By where they stand; what crosses back is the function where its signature fits."""
    inside = MemDesk()
    outside = Membrane().wrap(cast("Desk", inside))
    on, off = await outside.functions()
    assert await on(1) == 2 and await off("abc") == 3
    assert (on, off) == await outside.functions()
    assert await outside.put_on(on) == 2 and inside.held.pop() == inside.plus
    assert await outside.put_off(off) == 3 and inside.held.pop() == inside.length
    with pytest.raises(InvalidArgument):
        await outside.put_on(cast("On", off))
    with pytest.raises(InvalidArgument):
        await outside.put_off(cast("Off", on))
    assert not inside.held


async def test_a_function_does_not_lose_its_signature() -> None:
    """Where any or any capability is declared it goes with it, and is handed out again as no more."""
    inside = MemDesk()
    outside = Membrane().wrap(cast("Desk", inside))
    on, off = await outside.functions()
    for put in (outside.put, outside.put_cap):
        await put(cast("Any", on))
        assert isinstance(inside.held[-1], Facet) and await cast("Any", inside.held[-1])(1) == 2
        for get in (outside.get, outside.get_cap):
            assert await get() is on
        inside.held.clear()

    class Wrong(MemDesk):
        async def functions(self) -> tuple[On, Off]:
            return self.held[-1], self.held[-1]

    wrong = Wrong()
    far = Membrane().wrap(cast("Desk", wrong))
    for put in (far.put, far.put_cap):
        await put(cast("Any", off))
        with pytest.raises(InvalidArgument):
            await far.functions()


async def test_what_crosses_back_is_what_its_holder_has() -> None:
    """The object under its own contract, wherever it stands; under a narrower one always the same facet."""
    inside = MemDesk()
    membrane = Membrane()
    outside = membrane.wrap(cast("Desk", inside))
    narrow, file = await outside.both()
    assert await outside.narrow() is narrow and await outside.whole() is file and is_reader(narrow)
    assert (await outside.job()).source is narrow and (await outside.job()).note is file
    for put in (outside.put, outside.put_cap):
        await put(narrow)
        await put(file)
    await outside.put_readers([narrow, file])
    await outside.put_file(file)
    facet = reader_of(inside.file)
    assert inside.held == [facet, inside.file, facet, inside.file, facet, inside.file, inside.file]
    assert is_reader(facet) and implementation_of(facet) is inside.file
    with pytest.raises(InvalidArgument):
        await outside.put_file(cast("File", narrow))
    with pytest.raises(InvalidArgument):
        await outside.put_job(Job(cast("File", narrow), file))
    # And out again.
    inside.held.append(facet)
    assert await outside.get() is narrow and await outside.get_cap() is narrow
    assert membrane.wrap(facet) is narrow and membrane.wrap(inside.file) is file
    assert len(membrane._wrappers) == 3  # one for each object and contract, and the desk


async def test_what_went_in_comes_out_as_what_it_was() -> None:
    """The other way: the outside's own things, given in as more or less."""
    inside, mine = MemDesk(), MemFile("mine")
    outside = Membrane().wrap(cast("Desk", inside))
    await outside.put_readers([mine])
    assert is_reader(inside.held[-1]) and await inside.held[-1].read() == "mine"
    assert await outside.get() is reader_of(mine)
    await outside.put(mine)
    assert isinstance(inside.held[-1], File) and await outside.get() is mine
    assert inside.held[0] is not inside.held[1]
    await outside.put(reader_of(mine))
    assert inside.held[-1] is inside.held[0]


async def test_a_facet_of_a_wrapper_that_crosses_back_is_one_of_the_original() -> None:
    """Not a wrapper around a facet around a wrapper. In the direction in which it crossed it stays what it is."""
    inside = MemDesk()
    membrane = Membrane()
    outside = membrane.wrap(cast("Desk", inside))
    file = await outside.whole()
    office = MemDesk()  # outside
    office.file = cast("Any", file)
    async with connected(office) as (_, client):
        desk = await client.bootstrap(Desk)
        await desk.put(await desk.narrow())
        await desk.put_cap(await desk.whole())
        facet, whole = office.held
        assert whole is file and is_reader(facet) and implementation_of(facet) is file
        await outside.put(facet)
        await outside.put_cap(facet)
        await outside.put_readers([facet, facet])
        assert set(inside.held) == {reader_of(inside.file)}
        with pytest.raises(InvalidArgument):
            await outside.put_file(facet)
        # Somebody inside has what stands outside, and gives it out.
        for what, taken in ((facet, facet), (file, file)):
            inside.held.append(what)
            assert await outside.get() is taken and await outside.get_cap() is taken
        inside.file = cast("Any", file)
        assert await outside.narrow() is facet and await outside.whole() is file
        # What came as `Any` under its own contract is whole.
        await desk.put(await desk.whole())
        assert isinstance(office.held[-1], Facet)
        await outside.put(office.held[-1])
        assert inside.held[-1] is not file and implementation_of(office.held[-1]) is file


async def test_a_proxy_that_crosses_back_is_what_its_holder_has() -> None:
    """The inside is another program: equal, and at its owner the object itself or no more than a proxy through us."""
    owner = MemDesk()
    async with connected(owner) as (_, client):
        home = await client.bootstrap(Desk)
        inside = MemDesk()
        theirs = inside.file = cast("Any", await home.whole())
        outside = Membrane().wrap(cast("Desk", inside))
        narrow, file = await outside.both()
        assert is_reader(narrow) and await narrow.read() == owner.file.text
        wide: tuple[Way, ...] = (outside.put, outside.put_cap, outside.put_file)
        for put in wide:
            await put(file)
            assert inside.held[-1] == theirs and isinstance(inside.held[-1], File)
            await home.put_cap(inside.held.pop())
            assert owner.held.pop() is owner.file
        for put in puts(outside):
            await put(narrow)
            back = inside.held[-1]
            assert is_reader(back) and isinstance(back, Proxy) and back != theirs
            assert await outside.get() is narrow and await outside.get_cap() is narrow
            await home.put_cap(inside.held.pop())
            assert not await can_write(owner.held[-1]) and owner.held.pop() is not owner.file
        with pytest.raises(InvalidArgument):
            await outside.put_file(cast("File", narrow))
        # What the program itself says less of is less, too.
        inside.held.append(cast_cap(theirs, Reader))
        assert await outside.get() is narrow
        inside.held.append(pipe(home.whole()))
        assert await cast("File", await outside.get()).read() == owner.file.text
        inside.held.clear()
        owner.held.clear()


async def test_a_proxy_of_unknown_contract_crosses_where_one_is_declared() -> None:
    """If it is that."""

    class Careless(MemDesk):
        async def whole(self) -> File:
            return cast("File", self.held[-1])

        async def narrow(self) -> Reader:
            return cast("Reader", self.held[-1])

    inside = Careless()
    outside = Membrane().wrap(cast("Desk", inside))
    async with connected(MemDesk()) as (_, client):
        home = await client.bootstrap(Desk)
        file, less = await home.job(), await home.narrow()
        inside.held.append(file.note)
        assert await (await outside.whole()).read() == MemFile().text
        assert is_reader(await outside.narrow())  # a file is known to be a reader, and crosses as no more
        with pytest.raises(InvalidArgument):
            await outside.get()
        inside.held.append(less)
        assert is_reader(await outside.narrow())
        with pytest.raises(InvalidArgument):
            await outside.whole()
        inside.held.clear()


async def test_a_generic_proxy_keeps_what_its_contract_stands_for() -> None:
    """Through a restriction and a membrane: an argument goes as what is declared."""

    class Topic(Cap, Generic[T], name="test.FileTopic"):
        @call
        async def swap(self, value: T) -> T: ...

    class MemTopic(Topic[Reader]):
        seen: Any = None

        async def swap(self, value: Reader) -> Reader:
            self.seen = value
            return MemFile()

    topic = MemTopic()
    async with connected(topic) as (_, client):
        proxy = await client.bootstrap(Topic[Reader])
        for one in (proxy, restrict(proxy, uses=1), Membrane().wrap(proxy), revocable(proxy)[0]):
            assert is_reader(await one.swap(MemFile()))
            assert not await can_write(topic.seen)


async def test_a_module_that_was_loaded_again_says_the_same() -> None:
    """Its contracts are other classes; an object of before goes where they are declared, as no more than they say."""

    class Again(Cap, name="facet.Reader"):
        @call
        async def read(self) -> str: ...

    placed: Any = place(Again)()
    outside = Membrane().wrap(placed)
    placed.value = MemFile("inside")
    again = await outside.get()
    assert isinstance(again, Again) and await again.read() == "inside" and await outside.get() is again
    await outside.put(again)
    assert await placed.value.read() == "inside" and not hasattr(placed.value, "write")
    assert await outside.get() is again
    await outside.put(MemFile("mine"))
    assert isinstance(placed.value, Again) and await cast("Any", placed.value).read() == "mine"


# Routes


async def test_the_detour_by_another_service() -> None:
    """Given out as less, exported, home through `Any`, back in, kept, and given out again as anything."""
    inside = MemDesk()
    membrane = Membrane()
    async with connected(membrane.wrap(cast("Desk", inside))) as (_, peer), connected(inside) as (_, other):
        desk, straight = await peer.bootstrap(Desk), await other.bootstrap(Desk)
        narrow = await desk.narrow()
        for put in puts(desk):
            await put(narrow)
            assert inside.held[-1] is reader_of(inside.file)
            for get in (desk.get, desk.get_cap, straight.get, straight.get_cap):
                assert not await can_write(await get())
            with pytest.raises(CapnetError):
                await desk.put_file(cast("File", await desk.get()))
        async with anyio.create_task_group() as tasks:
            heard = desk.heard()

            async def listen() -> None:
                assert not await can_write(await anext(heard))
                await heard.aclose()

            tasks.start_soon(listen)
            await until(lambda: inside.said.subscribers == 1)
            async with await desk.sink() as sink:
                await sink.send(narrow)
        inside.file = inside.held[-1]
        with pytest.raises(CapnetError):
            await desk.whole()


async def test_the_detour_by_two_membranes_and_a_proxy() -> None:
    """Nested membranes around a proxy of a third program; what is given out as less never is more."""
    owner = MemDesk()
    async with connected(owner) as (_, to_owner):
        middle = MemDesk()
        middle.file = cast("Any", await (await to_owner.bootstrap(Desk)).whole())
        outer = Membrane().wrap(Membrane().wrap(cast("Desk", middle)))
        async with connected(outer) as (_, guest):
            desk = await guest.bootstrap(Desk)
            narrow, file = await desk.both()
            assert await can_write(file) and not await can_write(narrow)
            for put in puts(desk):
                await put(narrow)
                assert is_reader(middle.held[-1])
                for get in (desk.get, desk.get_cap):
                    back = await get()
                    assert back == narrow and not await can_write(back)
            await desk.put_file(file)
            assert middle.held[-1] == middle.file
            with pytest.raises(InvalidArgument):
                await desk.put_file(cast("File", narrow))


# Restrictions and revocation of facets


async def test_what_is_made_of_a_facet_has_its_contract() -> None:
    """And calls the object, tells what is held against it, and goes out and comes home as that."""
    file = MemFile()
    granted = frozenset({"read", "lines", "write"})
    limited = restrict(file, methods=granted)
    facet = reader_of(limited)
    assert implementation_of(facet) is limited
    ways: list[Makes] = [
        lambda what: restrict(what, uses=9),
        lambda what: revocable(what)[0],
        lambda what: Membrane().wrap(what),
        lambda what: Membrane().wrap(revocable(restrict(what, uses=9))[0]),
    ]
    for way in ways:
        made = way(facet)
        assert is_reader(made) and await made.read() == file.text
        assert [line async for line in made.lines()] == file.text.splitlines()
        assert (await restrictions(made))[-1].methods == granted == (await restrictions(facet))[-1].methods
        assert not any(MemFile.secret in repr(one) for one in (made, way(MemFile())))
        holder = MemDesk()
        holder.held.append(made)
        async with connected(holder) as (_, client):
            desk = await client.bootstrap(Desk)
            proxy = await desk.get_cap()
            assert not await can_write(proxy)
            assert (await restrictions(proxy))[-1].methods == granted
            await desk.put_cap(proxy)
            assert holder.held[-1] is made
            await desk.put(proxy)
            assert implementation_of(holder.held[-1]) is made
            assert await restrictions(holder.held[-1]) == await restrictions(made)
    with pytest.raises(ContractError):
        restrict(facet, methods={"write"})


async def test_what_is_held_against_a_proxy_is_told_to_who_holds_less_of_it() -> None:
    """By its owner, who is asked about its own."""
    owner = MemDesk()
    owner.file = cast("Any", restrict(cast("File", MemFile()), uses=9))
    async with connected(owner) as (server, to_owner):
        middle = MemDesk()
        theirs = middle.file = cast("Any", await (await to_owner.bootstrap(Desk)).whole())
        outside = await Membrane().wrap(cast("Desk", middle)).narrow()
        async with connected(middle) as (_, guest):
            lobby = await guest.bootstrap(Desk)
            await lobby.put(await lobby.narrow())
            for less in (outside, middle.held[-1], restrict(middle.held[-1], uses=5), pipe(lobby.narrow())):
                assert [rule.uses for rule in await restrictions(less)][-1:] == [9]
            assert await restrictions(theirs) == await restrictions(outside)
            assert server.stats()["imports"] == 0


async def test_a_facet_of_a_restriction_is_restricted_further() -> None:
    """The guards of both decide as one: what is refused counts nowhere."""
    limited = restrict(MemFile(), uses=2)
    once = restrict(reader_of(limited), uses=1)
    other = restrict(reader_of(limited), where=lambda method, arguments: method == "lines")
    with pytest.raises(PermissionDenied):
        await other.read()
    await once.read()
    with pytest.raises(ResourceExhausted):
        await once.read()
    assert [rule.uses_left for rule in await restrictions(once)] == [0, 1]
    await limited.write("x")
    assert [rule.uses_left for rule in await restrictions(once)] == [0, 0]
    fresh = restrict(reader_of(limited), uses=1)
    with pytest.raises(ResourceExhausted):
        await fresh.read()
    assert [rule.uses_left for rule in await restrictions(fresh)] == [1, 0]


async def test_what_is_made_of_a_facet_is_taken_back_with_it() -> None:
    """By itself, with the facet, also where another facet stands between, and with the object; nothing else is."""
    ways: list[Makes] = [
        lambda what: restrict(what, uses=99),
        lambda what: revocable(what)[0],
        lambda what: Membrane().wrap(what),
        lambda what: restrict(facet_of(Hosted.of(revocable(what)[0]), contract_spec(Reader)), uses=99),
    ]
    for way in ways:
        for taken in ("made", "facet", "object"):
            file = MemFile()
            facet = reader_of(file)
            made = way(facet)
            holder = MemDesk()
            async with connected(holder) as (_, client):
                desk = await client.bootstrap(Desk)
                proxies: list[Any] = []
                kinds: list[Any] = [File, Reader, Reader]
                for what in (file, facet, made):
                    holder.held.append(what)
                    proxies.append(await desk.get_cap())
                proxies = [cast_cap(proxy, kind) for proxy, kind in zip(proxies, kinds, strict=True)]
                revoke({"made": made, "facet": facet, "object": file}[taken])
                gone: list[bool] = []
                for proxy in proxies:
                    try:
                        await proxy.read()
                    except Revoked:
                        gone.append(True)
                    else:
                        gone.append(False)
                assert gone == [taken == "object", taken != "made", True]


async def test_taking_back_what_was_made_of_a_facet_leaves_the_facet() -> None:
    """`revocable` and a cut end what was made, here and at peers."""
    file = MemFile()
    facet = reader_of(file)
    lent, take_back = revocable(facet)
    membrane = Membrane()
    outside = membrane.wrap(facet)
    holder = MemDesk()
    holder.held += [lent, outside]
    async with connected(holder) as (_, client):
        desk = await client.bootstrap(Desk)
        second = cast_cap(await desk.get_cap(), Reader)
        holder.held.pop()
        first = cast_cap(await desk.get_cap(), Reader)
        await desk.put(first)
        home = holder.held[-1]
        take_back("over")
        membrane.cut("over")
        for gone in (first, second, lent, outside, home):
            with pytest.raises(Revoked, match="over"):
                await gone.read()
        assert await facet.read() == file.text
