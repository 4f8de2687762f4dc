"""Requests by HTTP, as a client of MCP needs them: one connection for each, and its answer as it comes."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    DelimiterNotFound,
    EndOfStream,
    IncompleteRead,
    connect_tcp,
    move_on_after,
)
from anyio.abc import ByteStream
from anyio.streams.buffered import BufferedByteReceiveStream

from capnet import CapnetError, InvalidArgument, Unavailable

__all__ = ["Answer", "Endpoint", "events_of"]

CONNECT: Final = 10.0
"""Seconds to reach a server."""
MAX_LINE: Final = 16 * 1024
"""Bytes of one line of the head of an answer."""
MAX_LINES: Final = 200
_BLANK: Final = b"\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of an answer.

    Attributes:
        status: by which it is known whether it went well.
        headers: under names in small letters.
        body: what follows, as it comes.
    """

    status: int
    headers: Mapping[str, str]
    body: AsyncIterator[bytes]


class Endpoint:
    """Where a server is.

    Args:
        url: `http://…` or `https://…`.
        headers: that go with every request.
        ssl_context: how the certificate of the server is looked at; as the system does it when None.

    Raises:
        InvalidArgument: it is no such URL, or a header is none.
    """

    def __init__(self, url: str, headers: Mapping[str, str], ssl_context: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable() or " " in url:
            raise InvalidArgument(f"an address is http://HOST:PORT/PATH or https://…, not {url!r}"[:300])
        for name, value in headers.items():
            if not (name + value).isascii() or not (name + value).isprintable() or ":" in name:
                raise InvalidArgument(f"{name!r} is no header"[:300])
        self.url = url
        self._host = parts.hostname
        self._tls = parts.scheme == "https"
        self._port = parts.port or (443 if self._tls else 80)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._context = ssl_context
        self._headers = {"host": parts.netloc.rpartition("@")[2], "connection": "close", **headers}

    @asynccontextmanager
    async def send(self, method: str, headers: Mapping[str, str], body: bytes = b"") -> AsyncGenerator[Answer]:
        """Send a request; gives the answer when its head has come.

        Raises:
            Unavailable: nobody answers there, or what answers is no such server.
        """
        lines = {**self._headers, **headers, "content-length": str(len(body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        stream = await self._connected()
        try:
            async with stream:
                await stream.send(f"{method} {self._target} HTTP/1.1\r\n{head}\r\n".encode() + body)
                received = BufferedByteReceiveStream(stream)
                status, told = await _head(received)
                async with aclosing(_body(received, told)) as parts:
                    yield Answer(status, told, parts)
        except CapnetError:  # some are errors of the system, too
            raise
        except (OSError, BrokenResourceError, ClosedResourceError, EndOfStream) as error:
            raise Unavailable(f"{self.url} has ended the connection", reason="truncated") from error

    async def _connected(self) -> ByteStream:
        stream: ByteStream | None = None
        try:
            with move_on_after(CONNECT):
                if self._tls:
                    context = self._context or ssl.create_default_context()
                    stream = await connect_tcp(
                        self._host, self._port, tls=True, ssl_context=context, tls_standard_compatible=False
                    )
                else:
                    stream = await connect_tcp(self._host, self._port)
        except (OSError, BrokenResourceError, EndOfStream) as error:
            raise Unavailable(f"nobody answers at {self.url}: {error}"[:300]) from error
        if stream is None:
            raise Unavailable(f"nobody has answered at {self.url} in {CONNECT:g} s", reason="timeout")
        return stream


async def events_of(body: AsyncIterator[bytes], most: int) -> AsyncGenerator[str]:
    """The data of each event in a stream of events.

    Args:
        most: bytes of one event.

    Raises:
        Unavailable: one is longer.
    """
    rest, data, size = b"", list[bytes](), 0
    async for part in body:
        *lines, rest = (rest + part).replace(b"\r\n", b"\n").split(b"\n")
        if len(rest) > most:
            raise _too_much()
        for line in lines:
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
                size += len(line)
                if size > most:
                    raise _too_much()
            elif not line and data:
                yield b"\n".join(data).decode(errors="replace")
                data, size = [], 0


async def _head(received: BufferedByteReceiveStream) -> tuple[int, dict[str, str]]:
    """Status and headers, after those that only say that there will be others."""
    while True:
        version, _, rest = (await _line(received)).partition(" ")
        status = rest[:3]
        if not version.startswith("HTTP/1.") or not (status.isascii() and status.isdigit()) or len(status) < 3:
            raise Unavailable("this is no HTTP server", reason="no_http", retry="never")
        headers: dict[str, str] = {}
        for _ in range(MAX_LINES):
            line = await _line(received)
            if not line:
                break
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        else:
            raise _too_much()
        if int(status) >= 200:
            return int(status), headers


async def _line(received: BufferedByteReceiveStream) -> str:
    try:
        line = await received.receive_until(_BLANK, MAX_LINE)
    except DelimiterNotFound as error:
        raise _too_much() from error
    except IncompleteRead as error:
        raise EndOfStream from error
    if len(line) > MAX_LINE:
        raise _too_much()
    return line.decode("latin-1")


async def _body(received: BufferedByteReceiveStream, headers: Mapping[str, str]) -> AsyncGenerator[bytes]:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while size := _size(await _line(received)):
            left = size
            while left:
                part = await received.receive(min(left, 65536))
                left -= len(part)
                yield part
            await _line(received)
        return
    length = headers.get("content-length", "")
    if length.isascii() and length.isdigit() and len(length) < 16:
        left = int(length)
        while left:
            part = await received.receive(min(left, 65536))
            left -= len(part)
            yield part
        return
    while True:  # until the connection ends
        try:
            part = await received.receive()
        except EndOfStream:
            return
        yield part


def _size(line: str) -> int:
    digits = line.partition(";")[0].strip()
    if not digits or len(digits) > 8 or not all(one in "0123456789abcdefABCDEF" for one in digits):
        raise Unavailable("this is no HTTP server", reason="no_http", retry="never")
    return int(digits, 16)


def _too_much() -> Unavailable:
    return Unavailable("the server sends more than is taken", reason="too_long", retry="never")
