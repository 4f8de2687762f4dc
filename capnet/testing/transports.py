"""What every transport must do, as one routine that its author can run.

    async def test_conformance() -> None:          # on asyncio and on trio
        await check_transport(connect_pair)

where `connect_pair` makes two ends of a new connection. Each rule runs on fresh pairs; a broken one raises an
`AssertionError` that says which. Needs no test framework.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeAlias

import anyio
from anyio.lowlevel import checkpoint

from capnet.transport import Transport

__all__ = ["Recorder", "check_transport"]

ConnectPair: TypeAlias = Callable[[], Awaitable[tuple[Transport, Transport]]]
_Ends: TypeAlias = "tuple[End, End]"
_Rule: TypeAlias = Callable[[_Ends], Awaitable[None]]

_MUCH: Final = 16 * 1024 * 1024
"""Bytes sent to fill a transport: more than it and the system may hold between them."""
_AHEAD: Final = 12 * 1024 * 1024
"""Bytes that may be on their way without being anybody's backlog."""
_TURNS: Final = 200
"""Turns of the loop in which something forbidden would have happened."""


async def check_transport(connect_pair: ConnectPair, *, timeout: float = 60.0) -> None:
    """Run every rule.

    Args:
        connect_pair: makes both ends of a new connection, not yet started, in the loop that runs now.
        timeout: seconds until a rule whose awaited effect does not come counts as broken.

    Raises:
        AssertionError: the rule that was broken, in words.
    """
    for rule in _RULES:
        await _check(rule, await connect_pair(), timeout)


class Recorder:
    """A receiver that keeps what it is told, and checks that nothing follows the end.

    Args:
        timeout: seconds `until` waits.
    """

    def __init__(self, timeout: float = 60.0) -> None:
        self.data = bytearray()
        self.chunks = 0
        self.writables = 0
        self.ends: list[Exception | None] = []
        self.faults: list[str] = []
        self._timeout = timeout
        self._news = anyio.Event()

    def data_received(self, data: bytes | bytearray | memoryview) -> None:
        self._note(not self.ends, "data was delivered after closed")
        self.data += data
        self.chunks += 1

    def writable(self) -> None:
        self._note(not self.ends, "writable was called after closed")
        self.writables += 1

    def closed(self, error: Exception | None) -> None:
        self._note(not self.ends, "closed was called twice")
        self.ends.append(error)

    async def until(self, condition: Callable[[], object], rule: str) -> None:
        """Wait until `condition` holds after something was received; `rule` is broken when it does not in time."""
        with anyio.move_on_after(self._timeout):
            while not condition():
                await self._news.wait()
        assert condition(), rule

    def _note(self, good: bool, fault: str) -> None:
        if not good:
            self.faults.append(fault)
        self._news.set()
        self._news = anyio.Event()


class End:
    """One end under test with its recorder."""

    def __init__(self, transport: Transport, timeout: float) -> None:
        self.transport = transport
        self.recorder = Recorder(timeout)
        self._started = anyio.Event()

    def start(self) -> None:
        self.transport.start(self.recorder)
        self._started.set()

    async def pump(self) -> None:
        """Run the transport's pump as a connection would: beside everything else, from its start."""
        await self._started.wait()
        if self.transport.pump is not None:
            await self.transport.pump()

    async def has_ended(self, rule: str) -> Exception | None:
        """Why the transport ended."""
        await self.recorder.until(lambda: self.recorder.ends, rule)
        return self.recorder.ends[0]

    async def has_received(self, data: bytes, rule: str) -> None:
        """Wait until `data`, and nothing else, has come since the last time."""
        await self.recorder.until(lambda: len(self.recorder.data) >= len(data), rule)
        assert self.recorder.data == data, f"{rule}: what came is not what was sent"
        self.recorder.data.clear()


async def _check(rule: _Rule, transports: tuple[Transport, Transport], timeout: float) -> None:
    one, other = (End(transport, timeout) for transport in transports)
    broken: AssertionError | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.pump)
        tasks.start_soon(other.pump)
        try:
            await rule((one, other))
            await _check_end((one, other))
        except AssertionError as error:
            broken = error  # raised outside, so that it does not come in a group
        finally:
            one.transport.abort()
            other.transport.abort()
            tasks.cancel_scope.cancel()
    if broken is not None:
        raise broken


async def _check_end(ends: _Ends) -> None:
    """After every rule both sides close, once, and stay closed whatever is asked of them."""
    for end in ends:
        if not end.recorder.ends:
            end.transport.abort()
    for end in ends:
        await end.has_ended("closed follows an abort")
        end.transport.send([b"late"])
        end.transport.pause()
        end.transport.resume()
        end.transport.close()
        end.transport.abort()
    await _turns()
    for end in ends:
        assert not end.recorder.faults, end.recorder.faults[0]
        assert end.transport.backlog == 0, "after the end the backlog is 0"


async def _turns() -> None:
    for _ in range(_TURNS):
        await checkpoint()


def _random_chunks(seed: int, size: int) -> list[bytes]:
    """`size` bytes cut at random into chunks from none to 64 KiB."""
    chance = random.Random(seed)  # noqa: S311 (the same bytes in every run)
    data, chunks = chance.randbytes(size), list[bytes]()
    start = 0
    while start < size:
        step = chance.choice((0, 1, 7, 100, 4096, 65_536))
        chunks.append(data[start : start + step])
        start += step
    return chunks


async def _attests(ends: _Ends) -> None:
    for end in ends:
        assert end.transport.attestation.transport, "attestation.transport names the transport"
        end.start()


async def _carries_one_byte(ends: _Ends) -> None:
    for end in ends:
        end.start()
    for sender, receiver in (ends, ends[::-1]):
        sender.transport.send([b"x"])
        await receiver.has_received(b"x", "one byte arrives")
        sender.transport.send([])
        sender.transport.send([b"", b"y", b""])
        await receiver.has_received(b"y", "empty chunks change nothing")


async def _carries_much_both_ways(ends: _Ends) -> None:
    for end in ends:
        end.start()
    sent = [_random_chunks(1, 5_000_000), _random_chunks(2, 3_000_001)]
    for end, chunks in zip(ends, sent, strict=True):
        while chunks_now := chunks[:50]:
            end.transport.send(chunks_now)
            del chunks[:50]
            await checkpoint()
    for end, chunks in zip(ends[::-1], (_random_chunks(1, 5_000_000), _random_chunks(2, 3_000_001)), strict=True):
        await end.has_received(b"".join(chunks), "bytes arrive whole and in order, both ways at once")


async def _carries_many_chunks_at_once(ends: _Ends) -> None:
    one, other = ends
    one.start()
    other.start()
    chunks = [bytes([n % 251]) * 40 for n in range(5000)]
    one.transport.send(chunks)
    await other.has_received(b"".join(chunks), "any number of chunks can be sent at once")


async def _waits_for_start(ends: _Ends) -> None:
    one, other = ends
    one.start()
    data = bytes(_MUCH)
    one.transport.send([data])
    await _turns()
    assert not other.recorder.chunks, "nothing is delivered before start"
    assert one.transport.backlog >= _MUCH - _AHEAD, "nothing is read before start, so the sender's backlog stays"
    other.start()
    await other.has_received(data, "what came before start is delivered after it")


async def _stops_when_paused(ends: _Ends) -> None:
    one, other = ends
    one.start()
    other.start()
    other.transport.pause()
    other.transport.pause()
    data = bytes(_MUCH)
    one.transport.send([data[:100], data[100:]])
    await _turns()
    assert not other.recorder.chunks, "nothing is delivered while paused"
    assert _MUCH - _AHEAD <= one.transport.backlog <= _MUCH, "while the peer is paused the sender's backlog stays"
    assert not one.recorder.writables, "writable is not called while the backlog is high"
    other.transport.resume()
    other.transport.resume()
    await other.has_received(data, "everything is delivered after resume")
    await one.recorder.until(lambda: one.recorder.writables, "writable is called when the backlog has fallen")
    one.transport.send([b"more"])
    await other.has_received(b"more", "a transport works on after back-pressure")
    assert one.recorder.writables <= 1, "writable is called once for each time the backlog was high"
    assert one.transport.backlog == 0, "the backlog falls to 0"


def _more_than(recorder: Recorder, chunks: int) -> bool:
    return recorder.chunks > chunks


async def _pauses_inside_delivery(ends: _Ends) -> None:
    one, other = ends

    class Stopping(Recorder):
        def data_received(self, data: bytes | bytearray | memoryview) -> None:
            super().data_received(data)
            other.transport.pause()

    other.recorder = Stopping()
    one.start()
    other.start()
    one.transport.send([b"a" * 1000])
    await other.recorder.until(lambda: other.recorder.chunks, "the first chunk arrives")
    one.transport.send([b"b" * 1000])
    await _turns()
    assert other.recorder.chunks == 1, "a receiver that pauses while it is called is not called again"
    while len(other.recorder.data) < 2000:
        seen = other.recorder.chunks
        other.transport.resume()
        await other.recorder.until(partial(_more_than, other.recorder, seen), "resume reads on")
    assert other.recorder.data == b"a" * 1000 + b"b" * 1000, "pausing loses nothing"


async def _flushes_on_close(ends: _Ends) -> None:
    one, other = ends
    one.start()
    other.start()
    data = bytes(4_000_000)
    one.transport.send([data])
    one.transport.close()
    one.transport.close()
    one.transport.send([b"after"])
    await other.has_received(data, "close sends what is queued, and nothing after it")
    assert await other.has_ended("the peer of a closed transport ends") is None, "and it ends without an error"
    assert await one.has_ended("closed follows a close") is None, "a local close is not an error"
    await _turns()
    assert not other.recorder.data, "nothing is sent after close"


async def _closes_while_the_peer_sends(ends: _Ends) -> None:
    one, other = ends
    one.start()
    other.start()
    other.transport.send([bytes(4_000_000)])
    one.transport.send([b"last words"])
    one.transport.close()
    received = one.recorder.chunks
    await other.has_received(b"last words", "last words arrive though the peer was sending")
    assert await other.has_ended("the peer of a closed transport ends") is None, "and it ends without an error"
    await one.has_ended("closed follows a close")
    assert one.recorder.chunks == received, "nothing is delivered after close"


async def _closes_when_paused(ends: _Ends) -> None:
    one, other = ends
    one.start()
    other.start()
    one.transport.pause()
    one.transport.close()
    assert await other.has_ended("the peer of a closed transport ends") is None, "and it ends without an error"
    await one.has_ended("closed follows a close, also when paused")


async def _closes_on_both_sides(ends: _Ends) -> None:
    for end in ends:
        end.start()
    for end in ends:
        end.transport.close()
    for end in ends:
        assert await end.has_ended("closed follows a close") is None, "when both close neither sees an error"


async def _aborts(ends: _Ends) -> None:
    one, other = ends
    one.start()
    other.start()
    other.transport.pause()
    one.transport.send([bytes(_MUCH)])
    one.transport.abort()
    one.transport.abort()
    assert await one.has_ended("closed follows an abort") is None, "a local abort is not an error"
    assert one.transport.backlog == 0, "abort drops what is queued"
    other.transport.resume()
    await other.has_ended("the peer of an aborted transport ends")
    assert len(other.recorder.data) < _MUCH, "abort does not send what is queued"


async def _ends_before_start(ends: _Ends) -> None:
    one, other = ends
    one.start()
    other.transport.close()
    await one.has_ended("the peer of a transport that was closed before its start ends")
    other.start()
    await other.has_ended("a transport that was closed before its start says so when it is started")


_RULES: Final[tuple[_Rule, ...]] = (
    _attests,
    _carries_one_byte,
    _carries_much_both_ways,
    _carries_many_chunks_at_once,
    _waits_for_start,
    _stops_when_paused,
    _pauses_inside_delivery,
    _flushes_on_close,
    _closes_while_the_peer_sends,
    _closes_when_paused,
    _closes_on_both_sides,
    _aborts,
    _ends_before_start,
)
