"""What is sent is the value at the moment of sending, whatever is done to it before it leaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from capnet import Broadcast, Cap, Sink, State, Stream, call, channel, notify, options, pipe, stream
from capnet.testing import connected
from tests.connection.shop import until


@dataclass
class Order:
    lines: list[int] = field(default_factory=list[int])


class Till(Cap, name="reused.Till"):
    @call
    async def add(self, order: Order, more: dict[str, list[int]], raw: bytes) -> list[int]: ...

    @call
    async def same(self, value: Any) -> Any: ...


@dataclass
class Both:
    lines: list[int]
    till: Till


class Shop(Cap, name="reused.Shop"):
    @call
    async def till(self) -> Till: ...

    @options(idempotent=True)
    @call
    async def again(self, order: Order) -> list[int]: ...

    @call
    async def read(self, items: Stream[bytes]) -> list[bytes]: ...

    @call
    async def watch(self, orders: Sink[Order]) -> None: ...

    @stream
    def orders(self) -> Stream[Order]: ...

    @stream
    def news(self) -> Stream[Order]: ...

    @stream
    def changes(self) -> Stream[Order]: ...

    @call
    async def both(self) -> Both: ...


class MemTill(Till):
    def __init__(self) -> None:
        self.added: list[list[int]] = []

    async def add(self, order: Order, more: dict[str, list[int]], raw: bytes) -> list[int]:
        self.added.append([*order.lines, *more["a"], *raw])
        return self.added[-1]

    async def same(self, value: Any) -> Any:
        return value


class MemShop(Shop):
    def __init__(self) -> None:
        self.open = anyio.Event()
        self.entered = 0
        self.mem = MemTill()
        self.sent = Broadcast[Order](buffer=8)
        self.state = State(Order([0]))
        self.lines: list[int] = [1]

    async def _wait(self) -> None:
        self.entered += 1
        await self.open.wait()

    async def till(self) -> Till:
        await self._wait()
        return self.mem

    async def again(self, order: Order) -> list[int]:
        await self._wait()
        return order.lines

    async def read(self, items: Stream[bytes]) -> list[bytes]:
        await self._wait()
        return [item async for item in items]

    async def watch(self, orders: Sink[Order]) -> None:
        order = Order()
        async with orders:
            for number in range(3):
                order.lines.append(number)
                await orders.send(order)

    async def orders(self) -> Stream[Order]:
        order = Order()
        for number in range(3):
            order.lines.append(number)
            yield order

    def news(self) -> Stream[Order]:
        return self.sent.subscribe()

    def changes(self) -> Stream[Order]:
        return self.state.changes(buffer=8)

    async def both(self) -> Both:
        await self._wait()
        return Both(self.lines, self.mem)


GROWING = [Order([0]), Order([0, 1]), Order([0, 1, 2])]


@pytest.mark.parametrize("late", [True, False], ids=["late", "kept"])
async def test_arguments_of_calls_on_a_promise(late: bool) -> None:
    """Late ones wait here, one-way calls behind them."""
    async with connected(shop := MemShop()) as (_, client):
        opening = (await client.bootstrap(Shop)).till()
        if late:
            await until(lambda: shop.entered)
        till = pipe(opening)
        order, more, raw = Order([1]), {"a": [2]}, bytearray(b"\3")
        view: Any = memoryview(raw)
        first = till.add(order, more, view)
        order.lines.append(7)
        more["a"].append(7)
        raw[0] = 7
        second = till.add(order, more, view)
        notify(till.add)(order, more, view)
        order.lines.clear()
        more.clear()
        raw[0] = 0
        value: list[Any] = [(1, [2])]
        same = till.same(value)
        value[0][1].append(3)
        shop.open.set()
        assert await first == [1, 2, 3]
        assert await second == [1, 7, 2, 7, 7]
        assert await same == [[1, [2]]]
        await until(lambda: shop.mem.added[2:] == [[1, 7, 2, 7, 7]])


async def test_what_cannot_be_copied_fails_the_call_when_it_is_made() -> None:
    """And no other."""

    class Odd(dict[str, int]):
        def __copy__(self) -> Odd:
            raise ValueError("mine")

    async with connected(shop := MemShop()) as (_, client):
        opening = (await client.bootstrap(Shop)).till()
        await until(lambda: shop.entered)
        till = pipe(opening)
        for way in (till.same, notify(till.same)):
            with pytest.raises(ValueError, match="mine"):
                way(Odd(a=1))
        same = till.same(1)
        shop.open.set()
        assert await same == 1


async def test_arguments_of_a_call_that_is_made_again() -> None:
    """It has the arguments that it had."""
    old, new = MemShop(), MemShop()
    new.open.set()
    async with connected(MemTill()) as (server, client):
        server.serve(old)
        order = Order([1])
        shop = await client.bootstrap(Shop)
        again = shop.again(order)
        order.lines.append(2)
        await until(lambda: old.entered)
        await server.replace(new, mode="cut")
        assert await again == [1] and new.entered


async def test_items_of_a_channel() -> None:
    """As for the sink of a peer's: a buffer may be filled again when `send` is back."""
    async with connected(shop := MemShop()) as (_, client):
        sink, items = channel(bytes)
        reading = (await client.bootstrap(Shop)).read(items)
        buffer = bytearray(4)
        view: Any = memoryview(buffer)
        async with sink:
            for letter in b"abcd":
                buffer[:] = bytes([letter]) * 4
                await sink.send(view)
        shop.open.set()
        assert await reading == [b"aaaa", b"bbbb", b"cccc", b"dddd"]


async def test_items_of_a_sink_and_of_a_generator() -> None:
    """One object for all."""
    async with connected(MemShop()) as (_, client):
        shop = await client.bootstrap(Shop)
        sink, orders = channel(Order)
        await shop.watch(sink)
        assert [order async for order in orders] == GROWING
        assert [order async for order in shop.orders()] == GROWING


async def test_items_of_a_broadcast_and_changes_of_a_state() -> None:
    """Of a reader who is slow, and of one who comes later."""
    async with connected(mem := MemShop()) as (_, client):
        shop = await client.bootstrap(Shop)
        news, changes = shop.news(), shop.changes()
        await until(lambda: mem.sent.subscribers and mem.state.subscribers)
        order = Order()
        for number in range(3):
            order.lines.append(number)
            await mem.sent.send(order)
            mem.state.set(order)
        order.lines.append(7)
        mem.sent.send_nowait(order)
        order.lines.clear()
        assert [await anext(news) for _ in range(4)] == [*GROWING, Order([0, 1, 2, 7])]
        assert [await anext(changes) for _ in range(4)] == [Order([0]), *GROWING]
        assert await anext(shop.changes()) == GROWING[-1]
        await client.aclose(grace=0)


async def test_a_result_that_is_kept() -> None:
    """What is taken out of it later is what it was."""
    async with connected(mem := MemShop()) as (_, client):
        shop = await client.bootstrap(Shop)
        bringing = shop.both()
        both = pipe(bringing)
        first = both.till.same(both.lines)
        mem.open.set()
        brought = await bringing
        mem.lines.append(2)
        second = both.till.same(both.lines)
        assert await first == await second == brought.lines == [1]
