"""What the ends of streams use: who waits for a stream to change, and how items leave (P-STREAM).

    async iterable ──Producer──▶ OutStream ⇢ InStream ──▶ StreamReader        who mentions it produces: `out`
    Sink ◀──Consumer── StreamReader ◀── InStream ⇠ OutStream ◀── RemoteSink   who mentions it consumes: `in`

`reader.py` and `sink.py` have the ends that users hold, `pump.py` the tasks, `Producer` and `Consumer`. Whoever waits
is found through the stream's token, which refers to no object of a user's: a reader that nobody holds is collected, and
that stops its stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from capnet.calls.call import Payloads
from capnet.contract.leaving import Leaving
from capnet.contract.position import Position
from capnet.engine.stream import OutStream
from capnet.errors import InvalidArgument
from capnet.revocation.lineage import handling
from capnet.session.held import Held
from capnet.session.session import Session
from capnet.wire.references import Reference as WireReference
from capnet.wire.values import is_plain, lower, unencodable_text

__all__ = ["AROUND_ITEMS", "MAX_RUN", "Flow", "Streams"]

MAX_RUN: Final = 256
"""Items that a producer which never waits may send until others have their turn."""
AROUND_ITEMS: Final = 2
"""Arrays around an item in its frame."""


class Streams:
    """What the streams of one connection have in common.

    Attributes:
        session: the connection.
        held: is told of ends that are collected.
        payloads: turns items into plain data and references, and back; set by whoever has made that.
    """

    __slots__ = ("held", "payloads", "session")

    payloads: Payloads

    def __init__(self, session: Session, held: Held) -> None:
        self.session = session
        self.held = held

    def send(self, stream: OutStream, item: Any, position: Position, leaving: Leaving | None) -> None:
        """Send an item, while there is room; it leaves with what else is ready in this turn of the loop.

        Args:
            position: what may stand where in the items.
            leaving: what is declared of them, where that is known.

        Raises:
            CapnetError: it cannot travel. TypeError: it is not what is declared.
        """
        session = self.session
        references: Sequence[WireReference] = ()
        bounds = session.engine.outbox.bounds
        if position.checks_keys or not is_plain(item, bounds, AROUND_ITEMS):
            item, references = lower(item, self.payloads.value, bounds, AROUND_ITEMS, position)
        if leaving is not None:
            leaving.check(item)
        try:
            session.engine.streaming.send(stream, item, references)
        except InvalidArgument as error:
            raise unencodable_text(item) or error from None
        if references:
            self.payloads.queued(references, handling.get())
        if len(stream.batch) <= 1:
            session.driver.flush_soon()


class Flow:
    """Where a task waits for a stream to change; the token of the stream."""

    __slots__ = ("_streams", "_waiter")

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._waiter: Any = None

    def changed(self, stream: Any) -> None:
        """There is room, or an item, or the end."""
        if self._waiter is not None:
            self._streams.session.loop.wake(self._waiter)

    async def wait(self) -> None:
        """Until it changes.

        Raises:
            RuntimeError: another task waits.
        """
        if self._waiter is not None:
            raise RuntimeError("another task uses this end of the stream already")
        self._waiter = waiter = self._streams.session.loop.waiter()
        try:
            await waiter
        finally:
            self._waiter = None

    async def wait_observed(self, stream: OutStream) -> None:
        """Until there is room, while somebody wants to know if that takes long."""
        timer = self._streams.session.publisher.credit_awaited(stream)
        try:
            await self.wait()
        finally:
            timer.cancel()
