"""Objects of classes that equal others, hide things or raise: `is` decides, and nothing but their methods is asked."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast
from unittest.mock import AsyncMock, MagicMock, create_autospec, patch

import pytest

from capnet import (
    INJECT,
    CallContext,
    Cap,
    Connection,
    ContractError,
    Host,
    Internal,
    Membrane,
    NotFound,
    Sink,
    Stream,
    call,
    connect,
    implementation_of,
    on_broken,
    release,
    stream,
)
from capnet.observe import CallStarted, Event
from capnet.testing import connected
from tests.connection.shop import until

Heard = Callable[[int], Awaitable[int]]


class Counter(Cap, name="unusual.Counter"):
    @call
    async def up(self) -> int: ...

    @stream
    def counts(self) -> Stream[int]: ...


class Lobby(Cap, name="unusual.Lobby"):
    @call
    async def new(self) -> Counter: ...

    @call
    async def same(self, a: Counter, b: Counter) -> bool: ...

    @call
    async def on(self, heard: Heard) -> int: ...

    @call
    async def off(self, heard: Heard) -> bool: ...

    @call
    async def fire(self) -> list[int]: ...

    @call
    async def fill(self, first: Sink[int], second: Sink[int]) -> None: ...


class MemCounter(Counter):
    def __init__(self) -> None:
        object.__setattr__(self, "count", 0)

    async def up(self) -> int:
        object.__setattr__(self, "count", self.counted() + 1)
        return self.counted()

    async def counts(self) -> Stream[int]:
        yield self.counted()

    def counted(self) -> int:
        return cast("int", object.__getattribute__(self, "__dict__")["count"])


class MemLobby(Lobby):
    def __init__(self, kind: Callable[[], Counter] = MemCounter) -> None:
        self.kind = kind
        self.heard: list[Heard] = []

    async def new(self) -> Counter:
        return self.kind()

    async def same(self, a: Counter, b: Counter) -> bool:
        return a == b

    async def on(self, heard: Heard) -> int:
        self.heard.append(heard)
        return len(self.heard)

    async def off(self, heard: Heard) -> bool:
        known = heard in self.heard
        if known:
            self.heard.remove(heard)
        return known

    async def fire(self) -> list[int]:
        return [await heard(1) for heard in self.heard]

    async def fill(self, first: Sink[int], second: Sink[int]) -> None:
        await first.send(1)
        await second.send(2)
        await first.aclose()
        await second.aclose()


class Equal(MemCounter):
    """All of them are equal."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1


class Unhashable(Equal):
    __hash__ = None  # type: ignore[assignment]


class Raising(MemCounter):
    def _refuse(self, *_: object) -> Any:
        raise RuntimeError("nobody may ask")

    __eq__ = __hash__ = __bool__ = __len__ = __iter__ = __call__ = __repr__ = __str__ = _refuse


class Frozen(MemCounter):
    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


class Giving(MemCounter):
    """Has every attribute that is asked for, and says something else each time."""

    def __getattr__(self, name: str) -> Any:
        return MagicMock()


class Slotted(Counter):
    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    async def up(self) -> int:
        self.count += 1
        return self.count

    async def counts(self) -> Stream[int]:
        yield self.count


@dataclasses.dataclass(slots=True)
class Record(Counter):
    count: int = 0

    async def up(self) -> int:
        self.count += 1
        return self.count

    async def counts(self) -> Stream[int]:
        yield self.count


@dataclasses.dataclass(frozen=True)
class Still(Counter):
    counted: list[int] = dataclasses.field(default_factory=list[int])

    async def up(self) -> int:
        self.counted.append(1)
        return len(self.counted)

    async def counts(self) -> Stream[int]:
        yield len(self.counted)


KINDS: list[Any] = [Equal, Unhashable, Raising, Frozen, Giving, Slotted, Record, Still]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
async def test_equal_objects_are_two(kind: Any) -> None:
    """Handed out, passed on, served and given back: each is itself, and works."""
    async with connected(MemLobby(kind)) as (server, client):
        lobby = await client.bootstrap(Lobby)
        one, other = await lobby.new(), await lobby.new()
        assert one != other and [await one.up(), await one.up(), await other.up()] == [1, 2, 1]
        mine, yours = kind(), kind()
        assert not await lobby.same(mine, yours) and await lobby.same(mine, mine)
        served = server.serve(kind(), name="one"), server.serve(kind(), name="other")
        first, second = [await client.bootstrap(Counter, name=name) for name in ("one", "other")]
        assert [await first.up(), await second.up(), await second.up()] == [1, 1, 2]
        assert await anext(second.counts()) == 2
        server.unserve(served[0])
        with pytest.raises(NotFound):
            await client.bootstrap(Counter, name="one")
        assert await second.up() == 3
        await server.replace(kind(), name="other")
        assert await second.up() == 1
        for proxy in (one, other, first, second):
            release(proxy)
        await client.ping()
        assert client.stats()["exports"] == 0


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
async def test_wrappers_and_scopes_tell_equal_objects_apart(kind: Any) -> None:
    """Nobody gets another's wrapper; each that was lent is taken back."""
    membrane, one, other = Membrane(), kind(), kind()
    wrapped = membrane.wrap(one)
    assert wrapped is membrane.wrap(one) and wrapped is not membrane.wrap(other)
    async with Host() as host, host_and_client(host) as client:
        lent = kind(), kind()
        broken: list[str] = []
        async with host.scope("plug") as scope:
            host.serve(MemLobby(iter([scope.lend(each) for each in lent]).__next__))
            lobby = await client.bootstrap(Lobby)
            proxies = await lobby.new(), await lobby.new()
            for proxy in proxies:
                on_broken(proxy, lambda _: broken.append("broken"))
                assert await proxy.up() == 1
        await until(lambda: len(broken) == 2)


@asynccontextmanager
async def host_and_client(host: Host) -> AsyncGenerator[Connection]:
    await host.listen("memory:unusual")
    async with connect("memory:unusual") as client:
        yield client


async def test_observers_that_are_equal_are_two() -> None:
    """Each hears everything, and one may leave."""

    class Observer:
        def __init__(self) -> None:
            self.heard: list[Event] = []

        def __call__(self, event: Event) -> None:
            self.heard.append(event)

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    async with connected(MemCounter()) as (_, client):
        one, other = Observer(), Observer()
        leave = client.on(CallStarted, one)
        client.on(CallStarted, other)
        counter = await client.bootstrap(Counter)
        await counter.up()
        await until(lambda: len(one.heard) == len(other.heard) == 2)
        leave()
        await counter.up()
        await until(lambda: len(other.heard) == 3)
        assert len(one.heard) == 2


class Member:
    """A listener: its bound method is another object each time."""

    def __init__(self, number: int) -> None:
        self.number = number

    async def hear(self, value: int) -> int:
        return self.number

    async def __call__(self, value: int) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("nobody may ask")

    __hash__ = None  # type: ignore[assignment]


async def test_a_listener_that_is_passed_again_is_recognised() -> None:
    """So it can be taken off: functions, objects that are called, and bound methods; not those of another object."""

    async def plain(value: int) -> int:
        return 0

    one, other = Member(1), Member(2)
    async with connected(MemLobby()) as (_, client):
        lobby = await client.bootstrap(Lobby)
        for _ in range(2):
            await lobby.on(plain)
        assert await lobby.fire() == [0, 0]
        assert [await lobby.off(plain) for _ in range(3)] == [True, True, False]
        assert await lobby.on(one) == 1 and not await lobby.off(other)
        assert await lobby.on(other) == 2 and await lobby.fire() == [1, 2]
        assert await lobby.off(one) and await lobby.fire() == [2] and await lobby.off(other)
        await lobby.on(one.hear)
        assert await lobby.fire() == [1] and not await lobby.off(other.hear) and await lobby.off(one.hear)
        await until(lambda: client.stats()["exports"] == 0)


async def test_sinks_that_are_equal_are_two() -> None:
    """What goes into one does not come out of the other."""

    class Kept(Sink[int]):
        def __init__(self) -> None:
            self.items: list[object] = []

        async def send(self, item: int) -> None:
            self.items.append(item)

        async def aclose(self) -> None:
            self.items.append("end")

        def fail(self, error: object) -> None:
            self.items.append(error)

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 1

    async with connected(MemLobby()) as (_, client):
        first, second = Kept(), Kept()
        await (await client.bootstrap(Lobby)).fill(first, second)
        await until(lambda: (first.items, second.items) == ([1, "end"], [2, "end"]))


async def test_code_that_looks_at_every_object_calls_nobody() -> None:
    """A debugger or a mocking library: `isinstance`, `repr`, `hash` and `hasattr` ask nothing of the peer."""
    async with connected(MemLobby()) as (server, client):
        lobby = await client.bootstrap(Lobby)
        counter = await lobby.new()
        started: list[CallStarted] = []
        server.on(CallStarted, started.append)
        for found in _proxies():
            assert repr(found) and bool(found) and isinstance(hash(found), int) and found != 1
            assert not hasattr(found, "__array__") and vars(found)
            dir(found)
        assert [isinstance(counter, kind) for kind in (Counter, Lobby)] == [True, False]
        await client.ping()
        assert not started


def _proxies() -> Iterator[Any]:
    found = [one for one in gc.get_objects() if isinstance(one, (dict, Counter, Lobby)) and not isinstance(one, dict)]
    assert any(type(one).__name__ == "CounterProxy" for one in found)
    return iter([one for one in found if type(one).__name__.endswith("Proxy")])


# Methods that were replaced


@asynccontextmanager
async def served(counter: Counter) -> AsyncGenerator[Counter]:
    async with connected(counter) as (_, client):
        yield await client.bootstrap(Counter)


async def test_a_method_that_was_replaced_on_an_object_runs() -> None:
    """As a test does it, or an `__init__`; when it is put back, that one runs again."""
    impl: Any = MemCounter()
    async with served(impl) as counter:
        with patch.object(impl, "up", AsyncMock(return_value=42)) as mock:
            assert await counter.up() == 42 and mock.await_count == 1
        assert await counter.up() == 1

        async def other() -> Stream[int]:
            yield 43

        with patch.object(impl, "counts", other):
            assert await anext(counter.counts()) == 43
        with patch.object(impl, "counts", MagicMock(return_value=other())):
            assert await anext(counter.counts()) == 43
        with patch.object(impl, "up", partial(MemCounter.up, MemCounter())):
            assert await counter.up() == 1
        with patch.object(impl, "up", AsyncMock(side_effect=NotFound("x", reason="empty"))):
            with pytest.raises(NotFound) as caught:
                await counter.up()
            assert caught.value.reason == "empty"
        for wrong in (MagicMock(return_value=1), None, 5):
            with patch.object(impl, "up", wrong), pytest.raises(Internal):
                await counter.up()
        assert await counter.up() == 2


async def test_a_method_that_was_replaced_on_a_class_runs() -> None:
    """Whatever kind of method it is; wrappers and facets find it as well."""

    class Own(MemCounter):
        pass

    async def other(self: object) -> int:
        return 43

    async def bare(*_: object) -> int:
        return 44

    impl = Own()
    async with served(impl) as counter:
        assert await counter.up() == 1
        kinds: list[tuple[Any, int]] = [
            (other, 43),
            (staticmethod(bare), 44),
            (classmethod(bare), 44),
            (property(lambda self: bare), 44),
        ]
        for replacement, result in kinds:
            with patch.object(Own, "up", replacement):
                assert await counter.up() == result
                assert await Membrane().wrap(impl).up() == result
        assert await counter.up() == 2


async def test_the_context_goes_to_the_method_that_runs() -> None:
    """If that one takes it, and by its own word."""

    class Own(MemCounter):
        async def up(self, *, ctx: CallContext = INJECT) -> int:
            return 1 if ctx.method == "up" else 0

    async def asks(self: object, *, what: CallContext = INJECT) -> int:
        return 2 if what.method == "up" else 0

    async def does_not(self: object) -> int:
        return 3

    impl = Own()
    async with served(impl) as counter:
        assert await counter.up() == 1
        with patch.object(Own, "up", asks):
            assert await counter.up() == 2
        with patch.object(Own, "up", does_not):
            assert await counter.up() == 3
        with patch.object(Own, "up", autospec=True) as mock:
            mock.return_value = 4
            assert await counter.up() == 4 and cast("Any", mock.await_args).kwargs["ctx"].method == "up"
        with patch.object(impl, "up", AsyncMock(return_value=5)) as mock:
            assert await counter.up() == 5 and not cast("Any", mock.await_args).kwargs
        assert await counter.up() == 1
    async with served(MemCounter()) as counter:
        with patch.object(MemCounter, "up", asks):
            assert await counter.up() == 2


async def test_an_object_that_sets_its_methods_itself() -> None:
    """In its `__init__`, say with a decorator of its own."""

    class Own(MemCounter):
        def __init__(self) -> None:
            super().__init__()
            self.up = self.counted_twice  # type: ignore[method-assign]

        async def counted_twice(self) -> int:
            return 2

    async with served(Own()) as counter:
        assert await counter.up() == 2


@pytest.mark.parametrize("kind", [MemCounter, Giving, Equal, Slotted], ids=lambda kind: kind.__name__)
async def test_a_close_hook_that_was_replaced_runs_once(kind: Any) -> None:
    """On the object; also when that seems to have every attribute there is."""
    impl = kind()
    impl.aclose = hook = cast("Any", AsyncMock())
    async with served(impl) as counter:
        assert await counter.up() == 1 and not hook.await_count
    assert hook.await_count == 1
    assert implementation_of(impl) is impl


async def test_a_close_hook_of_a_class_that_gives_everything() -> None:
    closed: list[object] = []

    class Closing(Giving):
        async def aclose(self) -> None:
            closed.append(self)

    impl = Closing()
    async with served(impl) as counter:
        await counter.up()
    assert list(map(id, closed)) == [id(impl)]


async def test_a_mock_is_no_implementation() -> None:
    """It says that it is one; that it has all methods nobody can know. It is refused when it is served."""
    async with Host() as host:
        for mock in (MagicMock(spec=MemCounter), create_autospec(MemCounter, instance=True)):
            with pytest.raises(ContractError):
                host.serve(mock)
