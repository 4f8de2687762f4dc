"""The ways to a server: a program's standard input and output, or requests by HTTP."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from subprocess import PIPE
from typing import Protocol, TypeAlias

from anyio import (
    BrokenResourceError,
    CancelScope,
    ClosedResourceError,
    EndOfStream,
    Lock,
    move_on_after,
    open_process,
)
from anyio.abc import Process, TaskGroup

from capnet import CapnetError, Unauthenticated, Unavailable
from capnet.gateways.bounds import Bounds
from capnet.gateways.framing import Lines

from .asking import Request
from .posting import Answer, Endpoint, events_of

__all__ = ["Http", "Program", "Way"]

_Take: TypeAlias = "Callable[[bytes | str], Awaitable[None]]"
LEAVE = 2.0
"""Seconds that a program has to end by itself, and again after it was asked to."""


class Way(Protocol):
    """How messages go to a server and come from it.

    Attributes:
        by_request: a message is sent until all that it leads to has come, and is given up with that.
    """

    by_request: bool

    async def open(self, tasks: TaskGroup, take: _Take, ended: Callable[[], None]) -> None:
        """Begin.

        Args:
            tasks: for what goes on meanwhile.
            take: is given each message that comes.
            ended: is called when none will come any more.

        Raises:
            Unavailable: there is no such server.
        """
        ...

    async def send(self, request: Request) -> None:
        """Send a message.

        Raises:
            Unavailable: the server has gone; `session`: it has forgotten us.
        """
        ...

    async def follow(self) -> None:
        """Take messages that belong to no request, where the server has a way of its own for them."""
        ...

    async def close(self) -> None:
        """End. Idempotent."""
        ...


class Program:
    """A program that was started for this.

    Args:
        command: its words.
        env: its environment; ours when None.
    """

    by_request = False

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None, bounds: Bounds) -> None:
        self._command = list(command)
        self._env = env
        self._bounds = bounds
        self._process: Process | None = None
        self._lock = Lock()

    async def open(self, tasks: TaskGroup, take: _Take, ended: Callable[[], None]) -> None:
        """See `Way`."""
        try:
            self._process = await open_process(self._command, stdin=PIPE, stdout=PIPE, stderr=None, env=self._env)
        except OSError as error:
            raise Unavailable(f"{self._command[0]} cannot be started: {error}"[:300], reason="spawn") from error
        tasks.start_soon(self._read, self._process, take, ended)

    async def send(self, request: Request) -> None:
        """See `Way`."""
        process = self._process
        if process is None or process.stdin is None:
            raise Unavailable("the server has ended")
        try:
            async with self._lock:
                with CancelScope(shield=True):  # half a message would spoil all others
                    await process.stdin.send(request.text.encode() + b"\n")
        except (BrokenResourceError, ClosedResourceError) as error:
            raise Unavailable("the server has ended") from error

    async def follow(self) -> None:
        """See `Way`."""

    async def close(self) -> None:
        """See `Way`."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            await process.stdin.aclose()
        for ask in (None, process.terminate, process.kill):
            if ask is not None:
                with suppress(ProcessLookupError):
                    ask()
            with move_on_after(LEAVE):
                await process.wait()
                break
        await process.aclose()

    async def _read(self, process: Process, take: _Take, ended: Callable[[], None]) -> None:
        lines = Lines(self._bounds.max_message)
        assert process.stdout is not None
        with suppress(EndOfStream, BrokenResourceError, ClosedResourceError):
            while True:
                for line in lines.feed(await process.stdout.receive()):
                    if line is not None:
                        await take(line)
        ended()


class Http:
    """A server that is asked by HTTP.

    Args:
        endpoint: where it is.
    """

    by_request = True

    def __init__(self, endpoint: Endpoint, bounds: Bounds) -> None:
        self._endpoint = endpoint
        self._bounds = bounds
        self._take: _Take | None = None
        self._session: str | None = None

    async def open(self, tasks: TaskGroup, take: _Take, ended: Callable[[], None]) -> None:
        """See `Way`."""
        self._take = take

    async def send(self, request: Request) -> None:
        """See `Way`."""
        headers = {
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
            **request.headers,
            **self._of_session(),
        }
        async with self._endpoint.send("POST", headers, request.text.encode()) as answer:
            session = answer.headers.get("mcp-session-id")
            if session is not None and session.isascii() and session.isprintable():
                self._session = session
            await self._taken(answer, request.id)

    async def follow(self) -> None:
        """See `Way`. A session has a stream of its own for that."""
        if self._session is not None:
            async with self._endpoint.send("GET", {"accept": "text/event-stream", **self._of_session()}) as answer:
                if answer.status == 200:
                    await self._taken(answer, None)

    async def close(self) -> None:
        """See `Way`."""
        headers, self._session = self._of_session(), None
        if headers:
            with move_on_after(LEAVE), suppress(CapnetError):
                async with self._endpoint.send("DELETE", headers):
                    pass

    def _of_session(self) -> dict[str, str]:
        return {} if self._session is None else {"mcp-session-id": self._session}

    async def _taken(self, answer: Answer, number: int | None) -> None:
        assert self._take is not None
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if answer.status == 401:
            raise Unauthenticated(f"{self._endpoint.url} wants another token")
        if answer.status == 404 and self._session is not None:
            self._session = None
            raise Unavailable("the server has forgotten this session", reason="session")
        if kind == "text/event-stream":
            async for text in events_of(answer.body, self._bounds.max_message):
                await self._take(text)
        elif kind == "application/json":
            await self._take(await _whole(answer, self._bounds.max_message))
        if number is not None and answer.status >= 300:  # an error without words of the protocol; else it has one
            error = {"code": -32000, "message": f"HTTP status {answer.status}"}
            await self._take(json.dumps({"jsonrpc": "2.0", "id": number, "error": error}))


async def _whole(answer: Answer, most: int) -> bytes:
    parts, size = list[bytes](), 0
    async for part in answer.body:
        size += len(part)
        if size > most:
            raise Unavailable("the server sends more than is taken", reason="too_long", retry="never")
        parts.append(part)
    return b"".join(parts)
