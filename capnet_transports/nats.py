"""`nats://HOST:PORT/SERVICE`: by way of a NATS server, which both sides connect to. Needs the extra `nats`.

Hosts that serve the same service share what comes: the server gives each session to one of them. A session is a stream
of bytes each way, in messages (`sessions.py`); it ends when the server, or one message, is lost. Who may say what is
the server's to hold (`nats_access.py`), and so is who a peer is.

    client   subscribes to its end of a session, and dials:  capnet-nats/1 ID WINDOW
    host     subscribes to its end, and answers there:       capnet-nats/1 ok WINDOW   or   capnet-nats/1 full

The client of NATS knows asyncio only.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import anyio

from capnet.errors import CapnetError, Unavailable
from capnet.transport import Attestation, Listener, Transport, TransportScheme
from capnet_transports.nats_access import UserName
from capnet_transports.nats_link import Link, Msg, Place, place
from capnet_transports.nats_listener import WINDOW, listening
from capnet_transports.nats_transport import NatsTransport
from capnet_transports.options import Identity, NatsListenOptions, NatsOptions, Trust, refuse_others

__all__ = ["Presence", "connect", "hosts", "listen", "scheme"]

PATIENCE: Final = 5.0
"""Seconds that a host has to answer who dials."""
ATTEMPTS: Final = 3
"""Hosts that are asked when those before had no room."""
_ANSWER: Final = re.compile(rb"capnet-nats/1 (?:ok ([0-9]{1,9})|full)")


async def connect(
    rest: str,
    *,
    user: UserName = ...,
    password: str | None = None,
    credentials: str | os.PathLike[str] | None = None,
    ca: Trust | None = None,
    certificate: Identity | None = None,
    key: str | os.PathLike[str] | None = None,
) -> Transport:
    """A transport to one of the hosts that serve `//HOST:PORT/SERVICE`.

    Args:
        rest: the URL without its scheme; port 4222 where none is written. Several servers of one cluster have commas
            between them.
        user: who we are at the server; None at one that does not ask.
        password: that of the user, where the server wants one.
        credentials: a file of credentials (`.creds`), where the server wants that; needs the package `nkeys`.
        ca: whom we trust to be the server, with TLS; those whom the system trusts when None.
        certificate: ours, if the server wants one.
        key: the file of its key, if that is another one.

    Raises:
        InvalidArgument: no such URL, or no user. Unavailable: no server answers, or nobody serves that (`no_listener`).
        Unauthenticated: the server does not know us (`nats_user`), or we do not trust it (`tls`). PermissionDenied: it
        does not let the user dial that (`nats_permissions`). FailedPrecondition: the server asks nobody who he is
        (`no_users`); the program runs on trio (`asyncio_only`).
    """
    where = place(rest, user, password=password, credentials=credentials, ca=ca, certificate=certificate, key=key)
    for left in reversed(range(ATTEMPTS)):
        try:
            return await _Dial(where, await where.open()).run()
        except Unavailable as error:
            if error.reason != "full" or not left:
                raise
    raise AssertionError


class _Dial:
    """One attempt to have a session."""

    def __init__(self, where: Place, link: Link) -> None:
        self._url = where.url
        self._link = link
        self._session = secrets.token_hex(16)
        self._dials = where.subjects.dial(where.user)
        self._down = where.subjects.down(where.user, self._session)
        self._answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        up = where.subjects.up(where.user, self._session)
        self._transport = NatsTransport(link, up, self._down, WINDOW, Attestation(transport="nats"), self._leave)

    async def run(self) -> Transport:
        """The transport, once a host has answered."""
        link, transport = self._link, self._transport
        link.on_denied = self._fail
        link.on_lost.add(self._fail)
        try:
            await link.subscribe(self._down, self._hear, drowned=transport.lose)
            await link.publish(self._dials, b"capnet-nats/1 %s %d" % (self._session.encode(), WINDOW), self._down)
            async with asyncio.timeout(PATIENCE):
                await self._answered
        except BaseException as error:
            transport.abort()
            with anyio.CancelScope(shield=True):
                await transport.wait_left()
            if isinstance(error, TimeoutError):
                words = f"{self._url}: the host has not answered within {PATIENCE:g} seconds"
                raise Unavailable(words, reason="handshake_timeout") from None
            raise
        link.on_lost.discard(self._fail)
        link.on_denied = transport.lose
        return transport

    def _hear(self, message: Msg) -> None:
        if self._answered.done():
            self._transport.hear(message)
        elif message.headers:
            self._fail(
                Unavailable(
                    f"{self._url}: nobody serves that, or all who do have no room",
                    reason="no_listener",
                    hint=f"start it first, or wait for it: connect({self._url!r}, wait=5, …)",
                )
            )
        elif (answer := _ANSWER.fullmatch(message.data)) is None:
            self._fail(Unavailable(f"{self._url}: the host speaks another protocol", reason="session"))
        elif answer[1] is None:
            self._fail(Unavailable(f"{self._url}: the host has no room", reason="full", retry="after-cooldown"))
        else:
            self._transport.open(min(int(answer[1]), WINDOW))
            self._answered.set_result(None)

    def _fail(self, error: CapnetError) -> None:
        if not self._answered.done():
            self._answered.set_exception(error)

    async def _leave(self, _transport: NatsTransport) -> None:
        await self._link.close()


async def listen(
    rest: str,
    accept: Callable[[Transport], object],
    *,
    user: UserName = ...,
    password: str | None = None,
    credentials: str | os.PathLike[str] | None = None,
    ca: Trust | None = None,
    certificate: Identity | None = None,
    key: str | os.PathLike[str] | None = None,
    sessions: int = 128,
) -> Listener:
    """One more host that serves `//HOST:PORT/SERVICE`.

    Args:
        rest: the URL without its scheme, as for `connect`.
        accept: takes each new transport, not yet started.
        user: who we are at the server; None at one that lets anybody say anything: then nobody is known.
        password, credentials, ca, certificate, key: as for `connect`.
        sessions: how many there may be at once; others go to the other hosts, or wait. The more there may be, the less
            each may have under way.

    A server that is lost takes all sessions with it; the listener then looks for it until it is closed.

    Raises:
        InvalidArgument: no such URL, no user, or `sessions` makes no sense. Unavailable: no server answers.
        Unauthenticated: the server does not know us (`nats_user`), or we do not trust it (`tls`). PermissionDenied: it
        does not let the user serve that (`nats_permissions`). FailedPrecondition: the server asks nobody who he is
        (`no_users`); the program runs on trio (`asyncio_only`).
    """
    where = place(rest, user, password=password, credentials=credentials, ca=ca, certificate=certificate, key=key)
    return await listening(where, accept, sessions)


@dataclass(frozen=True, slots=True)
class Presence:
    """A host that serves a service.

    Attributes:
        host: a word for this listener, which it has as long as it lives.
        sessions: how many it has now.
        room: how many it may have at once.
    """

    host: str
    sessions: int
    room: int


async def hosts(url: str, *, wait: float = 0.5, **options: Any) -> list[Presence]:
    """The hosts that serve a service now, by their own word, the least busy first.

    Args:
        url: as for `connect`.
        wait: seconds in which they have to answer.
        options: as for `connect`.

    Raises:
        CapnetError: as `connect`, but that nobody serves it is no error.
    """
    defaults: dict[str, Any] = {"password": None, "credentials": None, "ca": None, "certificate": None, "key": None}
    where = place(url.removeprefix("nats:"), options.pop("user", ...), **(defaults | options))
    link = await where.open()
    try:
        heard: dict[str, Presence] = {}
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def fail(error: CapnetError) -> None:
            if not failed.done():
                failed.set_exception(error)

        def hear(message: Msg) -> None:
            if message.headers:
                fail(Unavailable(reason="no_listener"))
            elif (presence := _presence(message.data)) is not None:
                heard[presence.host] = presence

        link.on_denied = fail
        link.on_lost.add(fail)
        answers = f"{where.inbox}.{secrets.token_hex(16)}"
        await link.subscribe(answers, hear)
        await link.publish(where.subjects.presence, b"", answers)
        try:
            async with asyncio.timeout(wait):
                await failed
        except TimeoutError:
            pass
        except Unavailable as error:
            if error.reason != "no_listener":
                raise
        return sorted(heard.values(), key=lambda one: (one.sessions, one.host))
    finally:
        await link.close()


def _presence(data: bytes) -> Presence | None:
    """What a host says of itself; None when it is none of ours."""
    try:
        told = json.loads(data)
        return Presence(str(told["id"])[:64], int(told["metadata"]["sessions"]), int(told["metadata"]["room"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


class _NatsScheme:
    async def connect(self, rest: str, /, **options: Any) -> Transport:
        refuse_others("nats", options, NatsOptions)
        return await connect(rest, **options)

    async def listen(self, rest: str, accept: Callable[[Transport], object], /, **options: Any) -> Listener:
        refuse_others("nats", options, NatsListenOptions)
        return await listen(rest, accept, **options)


scheme: TransportScheme = _NatsScheme()
"""The scheme `nats`."""
