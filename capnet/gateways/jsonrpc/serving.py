"""JSON-RPC over streams of bytes and messages: a host for those who connect, and a connection to those we talk to."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Final, Literal, Protocol, Self, TypeAlias

from anyio import TASK_STATUS_IGNORED, move_on_after
from anyio.abc import ByteStream, TaskStatus

from capnet import Attestation, CapnetError, Connection, Host, Unavailable, connect
from capnet.gateways.bounds import Bounds, Share
from capnet.gateways.framing import Broken, Framing, Headers, Lines
from capnet.gateways.sessions import Sessions, attested
from capnet.gateways.stdio import standard_stream
from capnet.gateways.tasks import tasks_of_block

from .bridge import GONE, Bridge, Profile
from .calling import Method
from .dialect import PLAIN, Dialect
from .remotes import Remote
from .session import Session

__all__ = ["Gateway", "Settings", "Stream", "connected", "serve", "serve_messages", "serve_stdio"]

GRACE: Final = 1.0
"""Seconds that what a client has asked for may take after it has said its last word."""
_log: Final = logging.getLogger("capnet.gateways.jsonrpc")
_numbers: Final = count(1)
_FRAMINGS: Final[Mapping[str, Callable[[int], Framing]]] = {"lines": Lines, "headers": Headers}


class Stream(Protocol):
    """Bytes both ways, such as a stream of anyio."""

    async def receive(self) -> bytes: ...

    async def send(self, item: bytes, /) -> None: ...


_Receive: TypeAlias = "Callable[[], Awaitable[str | bytes]]"
_Send: TypeAlias = "Callable[[str], Awaitable[None]]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a client is spoken with.

    Args:
        dialect: of the client.
        framing: in streams of bytes, `lines` or `headers` with a `Content-Length`.
        methods: what the client may call, by the names it uses, each a served name and a method; None for
            `NAME.method` and `NAME/method` of whatever is served.
        remotes: contracts that the client implements.
        bounds: of each session.
        profile: decides in place of `methods` and `remotes` what is called; see `capnet.gateways.acp`.
    """

    dialect: Dialect = PLAIN
    framing: Literal["lines", "headers"] = "lines"
    methods: Mapping[str, Method] | None = None
    remotes: Collection[Remote] = ()
    bounds: Bounds = field(default_factory=Bounds)
    profile: Profile | None = None


class Gateway:
    """A host for clients that speak JSON-RPC 2.0.

        async with Gateway(host, Settings(framing="headers")) as gateway:
            listener = await anyio.create_unix_listener("lsp.sock")
            await listener.serve(gateway.serve)

    Each client is a peer of the host: `host.connections` has it, and its policy, limits and events hold for it.

    Args:
        host: is open.
        settings: how clients are spoken with.

    Raises:
        Unavailable: the host is not open.
    """

    def __init__(self, host: Host, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()
        self._sessions = Sessions(host, self._settings.bounds.max_sessions)

    async def __aenter__(self) -> Self:
        await self._sessions.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._sessions.__aexit__(*exc_info)

    async def serve(self, stream: ByteStream, attestation: Attestation | None = None) -> None:
        """Serve one client until it goes, then close the stream.

        Args:
            stream: one of anyio's.
            attestation: what is proven about the client; what the socket of the stream says when there is none.
        """
        async with stream:
            try:
                async with self._sessions.open(attestation or attested(stream, "jsonrpc")) as (connection, share):
                    await serve(connection, stream, self._settings, share=share)
            except CapnetError as error:  # it is not let in
                _log.info("a client is sent away: %s", error)
            except Exception:  # of this client alone: the listener has others
                _log.exception("a session has ended by a fault")

    async def serve_messages(self, receive: _Receive, send: _Send, attestation: Attestation) -> None:
        """Serve one client that sends whole messages, such as those of a WebSocket, until it goes.

        Args:
            receive, send: see `serve_messages`.
            attestation: what is proven about the client.

        Raises:
            Unauthenticated, ResourceExhausted: it may not come in.
        """
        async with self._sessions.open(attestation) as (connection, share):
            await serve_messages(connection, receive, send, self._settings, share=share)


async def serve(
    connection: Connection,
    stream: Stream,
    settings: Settings | None = None,
    *,
    share: Share | None = None,
    task_status: TaskStatus[None] = TASK_STATUS_IGNORED,
) -> None:
    """Serve the client at a stream of bytes until it goes.

    Args:
        connection: of this client alone.
        stream: stays open.
        settings: how it is spoken with.
        share: what its principal has.
        task_status: of anyio; it has started when what the client is to implement is served.
    """
    settings = settings or Settings()
    framing = _FRAMINGS[settings.framing](settings.bounds.max_message)

    async def write(text: str) -> None:
        await stream.send(framing.framed(text))

    async with _bridge(connection, write, settings, share) as bridge:
        task_status.started()
        try:
            while True:
                for message in framing.feed(await stream.receive()):
                    bridge.feed(message)
                    await bridge.room()
        except Broken:
            bridge.feed(b"{")  # which is no JSON either, and is answered so
        except GONE:
            for message in framing.end():
                bridge.feed(message)


async def serve_messages(
    connection: Connection,
    receive: _Receive,
    send: _Send,
    settings: Settings | None = None,
    *,
    share: Share | None = None,
) -> None:
    """Serve a client that sends whole messages until it goes.

    Args:
        connection: of this client alone.
        receive: gives the next message; raises `anyio.EndOfStream`, or an `OSError`, when there are no more.
        send: sends one; it may wait until there is room.
        settings, share: as of `serve`.
    """
    async with _bridge(connection, send, settings or Settings(), share) as bridge:
        try:
            while True:
                bridge.feed(await receive())
                await bridge.room()
        except GONE:
            pass


async def serve_stdio(connection: Connection, settings: Settings | None = None) -> None:
    """Serve the client at standard input and output until it closes our input, or reads our output no more.

    Args:
        connection: to what is offered; it stays open.
        settings: how the client is spoken with.

    Raises:
        Unavailable: the connection has ended.
    """
    with standard_stream() as stream:
        await serve(connection, stream, settings)
    if connection.closed:
        raise Unavailable(f"the connection has ended: {connection.close_cause}")


@asynccontextmanager
async def connected(stream: Stream, settings: Settings | None = None) -> AsyncGenerator[Connection]:
    """A connection to a program that speaks JSON-RPC 2.0, for instance one that was started.

        async with connected(process_stream, Settings(framing="headers")) as connection:
            server = await connection.bootstrap(Foreign)
            await server.request("initialize", {})

    What is served on the connection are methods that the program can call. `foreign` makes proxies of the contracts in
    `remotes`. When the program goes, the connection ends.

    Args:
        stream: stays open.
        settings: how the program is spoken with.
    """
    url = f"memory:capnet.jsonrpc-{next(_numbers)}"
    async with Host() as host:
        await host.listen(url)
        async with connect(url) as ours, tasks_of_block() as tasks:
            await ours.ping()
            (theirs,) = host.connections

            async def talk(*, task_status: TaskStatus[None]) -> None:
                await serve(theirs, stream, settings, task_status=task_status)
                await theirs.aclose("the program has gone")

            await tasks.start(talk)
            yield ours


@asynccontextmanager
async def _bridge(
    connection: Connection, write: _Send, settings: Settings, share: Share | None
) -> AsyncGenerator[Bridge]:
    session = Session(settings.dialect, bounds=settings.bounds, share=share)
    bridge = Bridge(
        connection, session, write, methods=settings.methods, remotes=settings.remotes, profile=settings.profile
    )
    async with bridge.running():
        yield bridge
        with move_on_after(GRACE):
            await bridge.finish()
