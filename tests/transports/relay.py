"""A plugin that passes bytes between its host and a unix transport, and holds one back as the other holds it back."""

from __future__ import annotations

import asyncio
import sys

from capnet.transport import HIGH_WATER, Transport
from capnet_transports import exec as exec_transport
from capnet_transports import stdio, unix


class Pipe:
    """Takes from one transport and gives to another."""

    def __init__(self, source: Transport, sink: Transport) -> None:
        self.source = source
        self.sink = sink
        self.ended = asyncio.Event()

    def data_received(self, data: bytes | bytearray | memoryview) -> None:
        self.sink.send([bytes(data)])
        if self.sink.backlog > HIGH_WATER:
            self.source.pause()

    def writable(self) -> None:
        self.sink.resume()  # what goes out at our source is what came in at our sink

    def closed(self, error: Exception | None) -> None:
        self.sink.close()
        self.ended.set()


async def main() -> None:
    by_stdio = sys.argv[2:] == ["stdio"]
    host = await (stdio.scheme if by_stdio else exec_transport.inherited_scheme).connect("")
    other = await unix.scheme.connect(sys.argv[1])
    pipes = Pipe(host, other), Pipe(other, host)
    for pipe in pipes:
        pipe.source.start(pipe)
    for pipe in pipes:
        await pipe.ended.wait()


asyncio.run(main())
