"""Who moves the items of streams between the client and the host, with no more under way than the slower one takes."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, Final, cast

from anyio import Event

from capnet import (
    CallCancelled,
    CapnetError,
    FailedPrecondition,
    Internal,
    ResourceExhausted,
    Sink,
    StreamStopped,
    Unimplemented,
)

from .actions import Stub
from .cells import Cell
from .session import Session
from .streams import Readable
from .values import UNDEFINED, size_of

__all__ = ["ClientSink", "Inflow", "Outflow", "PipeReader", "done", "pump", "thrown"]

ITEMS: Final = 64
SIZE: Final = 256 * 1024
"""Of one stream to the client: what is under way at most until it says that it has used it."""

_Convert = Callable[[Any], Any]


async def done(cell: Cell) -> Any:
    """What a cell holds, when it is there.

    Raises:
        CapnetError: it is an error.
    """
    if not cell.done:
        event = Event()
        cell.when_done(event.set)
        await event.wait()
    if cell.error is not None:
        raise cell.error.again()
    return cell.value


class PipeReader(AsyncIterator[Any]):
    """The readable end of a pipe, which the host reads.

    Args:
        end: of the pipe into which the client writes.
        convert: makes of an item what the contract declares.
        act: called after something was read.
    """

    def __init__(self, end: Readable, convert: _Convert, act: Callable[[], None]) -> None:
        self._end = end
        self._pipe = end.pipe
        self._convert = convert
        self._act = act

    async def __anext__(self) -> Any:
        while True:
            try:
                found = self._pipe.read()
            finally:
                self._act()
            if found is not None:
                return self._convert(found[0])
            news = Event()
            self._pipe.on_news = news.set
            await news.wait()

    async def aclose(self) -> None:
        """Read no more. Idempotent."""
        self._pipe.stop()
        self._act()


class Outflow:
    """What is written into a stream at the client.

    Args:
        session: of the client.
        number: of the stream.
        act: called after something was asked of the client.
    """

    def __init__(self, session: Session, number: int, act: Callable[[], None]) -> None:
        self._session = session
        self._number = number
        self._act = act
        self._items = self._size = 0
        self._error: CapnetError | None = None
        self._room = Event()

    async def write(self, item: Any) -> None:
        """Send an item as soon as there is room for it.

        Raises:
            CapnetError: it cannot leave, or the client reads no more.
        """
        while self._error is None and (self._items >= ITEMS or self._size >= SIZE):
            self._room = Event()
            await self._room.wait()
        self._send("write", [item], size_of(item))

    async def close(self) -> None:
        """It is the end; returns when the client has it."""
        await done(self._send("close", [], 0))

    def abort(self, error: CapnetError) -> None:
        """It is broken off."""
        with suppress(CapnetError):
            self._send("abort", [error], 0)

    def _send(self, method: str, arguments: list[Any], size: int) -> Cell:
        if self._error is not None:
            raise StreamStopped("the client wants no more") from self._error
        question = self._session.ask(self._number, (method,), arguments, streamed=True)
        self._items += 1
        self._size += size

        def acknowledged() -> None:
            self._items -= 1
            self._size -= size
            self._error = self._error or question.error
            self._room.set()

        question.when_done(acknowledged)
        self._act()
        return question


async def pump(items: AsyncIterator[Any], session: Session, number: int, act: Callable[[], None]) -> None:
    """Write a stream of the host's into a pipe at the client, to its end."""
    flow = Outflow(session, number, act)
    try:
        try:
            async for item in items:
                await flow.write(item)
            await flow.close()
        except StreamStopped:
            pass
        except CapnetError as error:
            flow.abort(error)
    finally:
        session.counts.streams -= 1
        session.give_back(number)
        close = getattr(items, "aclose", None)
        if close is not None:
            await close()
        act()


class ClientSink(Sink[Any]):
    """Something of the client's that the host writes into.

    Args:
        stub: of the client's.
        session: of the client.
        convert: makes of an item what the client takes.
        act: called after something was asked of the client.
    """

    def __init__(self, stub: Stub, session: Session, convert: _Convert, act: Callable[[], None]) -> None:
        self._stub = stub
        self._flow = Outflow(session, stub.number, act)
        self._act = act
        self._convert = convert
        self._ended = False

    async def send(self, item: Any) -> None:
        """See `Sink`."""
        if self._ended:
            raise FailedPrecondition("this sink was closed", reason="closed")
        await self._flow.write(self._convert(item))

    async def aclose(self) -> None:
        """See `Sink`."""
        if not self._ended:
            self._ended = True
            with suppress(CapnetError):
                await self._flow.close()
            self._give_back()

    def fail(self, error: CapnetError) -> None:
        """See `Sink`."""
        if not self._ended:
            self._ended = True
            self._flow.abort(error)
            self._give_back()

    def _give_back(self) -> None:
        self._stub.release()
        self._act()


class Inflow:
    """What the client writes into something of the host's, one after the other.

    Args:
        sink: of the host.
        session: of the client.
        act: called after something was written.

    Attributes:
        sink: of the host.
    """

    def __init__(self, sink: Sink[Any], session: Session, act: Callable[[], None]) -> None:
        self.sink = sink
        self._session = session
        self._act = act
        self._line: deque[tuple[str, Any, int, Cell]] = deque()
        self._news = Event()
        self._over = False

    def put(self, method: str, given: list[Any], answer: Cell) -> None:
        """Do what the client asks for when what it asked for before is done; `answer` is settled then.

        Raises:
            Unimplemented: a stream has no such method. CapnetError: it has ended, or too much waits.
        """
        if self._over:
            raise FailedPrecondition("this stream was closed", reason="closed")
        if method not in _METHODS or len(given) > 1:
            raise Unimplemented(f"a stream has no method {method[:100]!r}")
        item = given[0] if given else UNDEFINED
        size = size_of(item)
        if self._session.counts.stream_bytes + size > self._session.bounds.max_stream_bytes:
            raise ResourceExhausted("too much was written that nobody has read", reason="max_stream_bytes")
        self._session.counts.stream_bytes += size
        self._line.append((method, item, size, answer))
        self._over = method != "write"
        self._news.set()

    def break_off(self) -> None:
        """The client has given it back; unless it was closed, that breaks it off."""
        if not self._over:
            self._over = True
            self._line.append(("abort", UNDEFINED, 0, Cell(self._session.turn)))
            self._news.set()

    async def run(self) -> None:
        """Write until the end, or until the host reads no more."""
        method = "write"
        try:
            while method == "write":
                while not self._line:
                    self._news = Event()
                    await self._news.wait()
                method, item, size, answer = self._line.popleft()
                self._session.counts.stream_bytes -= size
                await self._do(method, item, answer)
                self._act()
        finally:
            self._session.counts.streams -= 1

    async def _do(self, method: str, item: Any, answer: Cell) -> None:
        try:
            if method == "write":
                await self.sink.send(item)
            elif method == "close":
                await self.sink.aclose()
            else:
                self.sink.fail(thrown(item))
        except CapnetError as error:
            answer.fail(error)
        answer.settle(None)


_METHODS: Final = ("write", "close", "abort")


def thrown(value: Any) -> CapnetError:
    """What a stream ends with that the client has broken off with a reason."""
    error = getattr(value, "error", None)
    if isinstance(error, CapnetError):
        return error
    if value is None or value is UNDEFINED:
        return CallCancelled("the client has broken off the stream", reason="abandoned")
    return Internal(str(cast("object", value))[:200])
