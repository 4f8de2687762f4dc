"""The relay of the benchmarks: it delays each way, keeps every byte in order, and passes on the end."""

from __future__ import annotations

import asyncio
import tempfile
from array import array
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import pytest

from benchmarks.address import host_and_port
from benchmarks.relay import new_event_loop, relaying

T = TypeVar("T")

LATENCY = 0.02
BUFFER = 256 * 1024
"""Bytes that are read at once at most."""
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
def folder() -> Generator[Path]:
    """A short one: the path of a unix socket has about a hundred bytes."""
    with tempfile.TemporaryDirectory(prefix="capnet-bench-") as path:
        yield Path(path)


def relayed(folder: Path, latency: float, body: Callable[[Streams, Streams], Awaitable[T]]) -> T:
    """Run `body` with the streams of a client and of the server it reached through the relay."""

    async def main() -> T:
        accepted: asyncio.Future[Streams] = asyncio.get_running_loop().create_future()
        target, path = str(folder / "target.sock"), str(folder / "relay.sock")

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted.set_result((reader, writer))

        async with await asyncio.start_unix_server(accept, target), relaying(path, f"unix:{target}", latency):
            client = await asyncio.open_unix_connection(path)
            reached = await accepted
            try:
                return await body(client, reached)
            finally:
                for _, writer in (client, reached):
                    writer.close()
                    await writer.wait_closed()

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main())


def test_each_way_takes_the_latency(folder: Path) -> None:
    async def there_and_back(client: Streams, server: Streams) -> tuple[float, float]:
        begin = perf_counter()
        client[1].write(b"there")
        assert await server[0].readexactly(5) == b"there"
        middle = perf_counter()
        server[1].write(b"back")
        assert await client[0].readexactly(4) == b"back"
        return middle - begin, perf_counter() - middle

    there, back = relayed(folder, LATENCY, there_and_back)
    assert there >= LATENCY
    assert back >= LATENCY


def test_chunks_are_under_way_together_and_stay_in_order(folder: Path) -> None:
    data = array("I", range(2**21)).tobytes()

    async def one_way(client: Streams, server: Streams) -> tuple[bytes, float]:
        begin = perf_counter()
        client[1].write(data)
        return await server[0].readexactly(len(data)), perf_counter() - begin

    # Its socket buffers hold far less than is sent: one chunk after the other would take as many latencies.
    latency = 0.5
    received, seconds = relayed(folder, latency, one_way)
    assert received == data
    assert latency <= seconds < len(data) / BUFFER * latency


@pytest.mark.parametrize("closing", ["client", "server"])
def test_the_end_passes_through_after_what_was_sent(folder: Path, closing: str) -> None:
    async def close(client: Streams, server: Streams) -> bytes:
        (_, sender), (receiver, _) = (client, server) if closing == "client" else (server, client)
        sender.write(b"last words")
        sender.close()
        return await receiver.read(-1)

    assert relayed(folder, LATENCY, close) == b"last words"


def test_a_server_that_is_gone_ends_the_connection(folder: Path) -> None:
    async def main() -> bytes:
        path = str(folder / "relay.sock")
        async with relaying(path, f"unix:{folder}/nothing.sock", LATENCY):
            reader, writer = await asyncio.open_unix_connection(path)
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            return answer

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        assert runner.run(main()) == b""


def test_where_the_server_has_a_port_the_relay_has_one(folder: Path) -> None:
    async def main() -> bytes:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readexactly(5))
            writer.close()
            await writer.wait_closed()

        async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
            target = f"tcp:127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with relaying(str(folder / "relay.sock"), target, 0.0) as address:
                assert address != target
                reader, writer = await asyncio.open_connection(*host_and_port(address))
                writer.write(b"there")
                answer = await reader.read()
                writer.close()
                await writer.wait_closed()
                return answer

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        assert runner.run(main()) == b"there"


def test_its_timers_do_not_round_up_to_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the loop waits for is what the system is asked to wait for."""
    waits: list[float] = []

    def select(reads: object, writes: object, wrong: object, timeout: float) -> tuple[list[int], list[int], list[int]]:
        waits.append(timeout)
        return [], [], []

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        loop = runner.get_loop()
        monkeypatch.setattr(loop._selector, "_select", select)  # type: ignore[attr-defined]
        runner.run(asyncio.sleep(0.0004))
        monkeypatch.undo()
    assert any(0 < wait < 0.0004 for wait in waits)
