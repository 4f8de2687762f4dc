"""Streams between real processes, over `exec:` and unix sockets, and what happens when one of them stops or dies."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from capnet import Connection, Host, Limits, Unavailable, channel, connect
from tests.connection.flows import Bundle, Counting, Flows, read_into
from tests.connection.leaks import nothing_left as nothing_left  # a fixture
from tests.connection.shop import until
from tests.cost import HANGS
from tests.integration.processes import PATIENT
from tests.integration.producer import Producer
from tests.integration.programs import ROOT
from tests.loops import on_every_loop as on_every_loop


@asynccontextmanager
async def producing(path: Path | None = None) -> AsyncGenerator[tuple[Connection, Flows, Producer]]:
    """The program, started."""
    argv = [sys.executable, "-m", "tests.integration.producer", *([] if path is None else [str(path)])]
    async with Host(limits=PATIENT) as host:
        connection = await host.connect("exec:", argv=argv, cwd=ROOT)
        with anyio.fail_after(HANGS):
            flows, producer = await connection.bootstrap_all(Flows, Producer, wait=60)
        yield connection, flows, producer


async def state_until(producer: Producer, **wanted: Any) -> dict[str, Any]:
    """What the program says, once it says what is wanted."""
    with anyio.fail_after(HANGS):
        while not wanted.items() <= (state := await producer.state()).items():
            continue
    return state


async def test_every_kind_of_stream_between_processes() -> None:
    async with producing() as (connection, flows, producer):
        assert [n async for n in flows.numbers(20_000)] == list(range(20_000))
        assert await flows.add(Counting(20_000).run()) == sum(range(20_000))
        assert [n async for n in flows.double(Counting(1000).run())] == list(range(0, 2000, 2))
        assert [await item.label() async for item in flows.items(["a", "b", "c"])] == ["a", "b", "c"]
        assert sum([len(chunk) async for chunk in flows.chunks([100_000] * 100)]) == 10_000_000
        sink, answers = channel(int)
        working = flows.work(Bundle(Counting(500).run(), sink))
        del sink
        assert [n async for n in answers] == [n * n for n in range(500)]
        await working
        async with aclosing(flows.numbers(10**9)) as numbers:
            assert await anext(numbers) == 0
        state = await state_until(producer, ended=["end", "end", "end", "end", "GeneratorExit"])
        assert state["read"] == 20_000
        assert not connection.stats()["streams"] and not connection.stats()["exports"]


async def test_the_death_of_the_producer_ends_its_streams() -> None:
    """kill -9: what has come is read, then `unavailable`; and what it consumed is closed here."""
    async with producing() as (connection, flows, producer):
        pid = (await producer.state())["pid"]
        numbers, source = flows.numbers(10**9), Counting()
        sink, answers = channel(int)
        await flows.keep(source.run())
        await flows.keep_sink(sink)
        assert await anext(numbers) == 0
        await until(lambda: source.produced == Limits().stream_items)
        os.kill(pid, signal.SIGKILL)
        read = [0]
        with anyio.fail_after(HANGS), pytest.raises(Unavailable):
            await read_into(read, numbers)
        assert read == list(range(len(read)))
        with anyio.fail_after(HANGS), pytest.raises(Unavailable):
            await anext(answers)
        await connection.wait_closed()
        assert source.ended == ["GeneratorExit"]


async def test_a_reader_that_is_stopped_costs_its_window() -> None:
    """SIGSTOP: what is taken of our generator stays within the window; SIGCONT: it goes on where it was."""
    async with producing() as (connection, flows, producer):
        pid = (await producer.state())["pid"]
        source = Counting(50_000)
        adding = flows.add(source.run())
        await until(lambda: source.produced > 1000)
        os.kill(pid, signal.SIGSTOP)
        try:
            await until(lambda: os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT | os.WNOHANG))
            seen = -1
            while seen != source.produced:
                seen = source.produced
                for _ in range(500):
                    await anyio.lowlevel.checkpoint()
            assert source.produced < 50_000 and not source.ended
            assert connection._session.driver.transport.backlog < 64 * 1024
        finally:
            os.kill(pid, signal.SIGCONT)
        assert await adding == sum(range(50_000))
        await until(lambda: not connection.stats()["streams"])


async def test_a_peer_that_does_not_read_delays_no_other(tmp_path: Path) -> None:
    """Two clients on one socket: one opens streams and stops reading from its transport, the other notices nothing."""
    path, narrow = tmp_path / "s", Limits(stream_items=64)
    async with producing(path) as (_, _flows, producer), connect(f"unix:{path}", limits=narrow) as stalled:
        async with connect(f"unix:{path}") as busy:
            many = (await stalled.bootstrap(Flows)).numbers(10**9)
            assert await anext(many) == 0
            stalled._session.driver.transport.pause()
            other = await busy.bootstrap(Flows)
            for _ in range(3):
                assert len([n async for n in other.numbers(10_000)]) == 10_000
            assert (await producer.state())["produced"] == 30_000 + narrow.stream_items
            del other
        stalled._session.driver.transport.resume()
        assert [await anext(many) for _ in range(200)] == list(range(1, 201))
        await many.aclose()
        await state_until(producer, ended=["end", "end", "end", "GeneratorExit"])
