"""One connection to a NATS server. It is never made again: what was lost with it would be lost unnoticed, and what was
kept would be said twice. Who needs another one opens another one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, Final, TypeAlias, cast

import anyio
from nats import errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from capnet.errors import (
    CapnetError,
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from capnet_transports import inet
from capnet_transports.failures import failure, unreached
from capnet_transports.handshakes import PATIENCE
from capnet_transports.loops import in_trio
from capnet_transports.nats_access import NOBODY, Subjects, UserName, inbox, named
from capnet_transports.options import Identity, Trust
from capnet_transports.tls_codec import refused
from capnet_transports.tls_context import connecting

__all__ = ["Link", "Msg", "Place", "Subscription", "place"]

PORT: Final = 4222
_Hear: TypeAlias = "Callable[[Msg], Awaitable[None] | None]"
_PENDING: Final = 8192
"""Messages of one subject that wait here to be looked at, at most; an honest peer's window has no more."""
_PENDING_BYTES: Final = 4 * 1024 * 1024
_LEAVE: Final = 2.0
"""Seconds that a server has to take what is said last."""
_BRIEF: Final = 0.1
"""Seconds that a server has that was not let in, or has not let us in."""


class Link:
    """A connection that was made, until it is lost or closed. Made by `open`.

    Args:
        url: of the server, for texts of errors.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.lost = asyncio.Event()
        """Whether it is over."""
        self.on_lost: set[Callable[[CapnetError], None]] = set()
        """Told when the server has gone."""
        self.on_denied: Callable[[CapnetError], None] = self._deny
        """Told when the server does not let us say or hear something."""
        self.denial: CapnetError | None = None
        """What it was first."""
        self._client = _Client()
        self._first: Exception | None = None
        """What went wrong first while it was made."""
        self._failed = self._note
        self._drowned: dict[str, Callable[[CapnetError], None]] = {}

    @classmethod
    async def open(cls, servers: Sequence[inet.Address], url: str, **options: Any) -> Link:
        """A connection to the first of several servers that answers.

        Args:
            servers: where they are.
            url: for texts of errors.
            options: for the client: who we are there, and TLS.

        Raises:
            Unavailable: none answers. Unauthenticated: the server does not know us, or we do not trust it.
        """
        link = cls(url)
        try:
            async with asyncio.timeout(PATIENCE):
                await link._connect([f"nats://{server}" for server in servers], options)
        except BaseException as error:
            await link._shut(_BRIEF)
            if isinstance(error, Exception):  # whatever is there may make the client stumble over it
                raise link._unopened(error) from error
            raise
        link._failed = link._refused
        return link

    async def _connect(self, servers: list[str], options: dict[str, Any]) -> None:
        await self._client.connect(
            servers,
            error_cb=self._told,
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            dont_randomize=True,
            connect_timeout=int(PATIENCE),
            name="capnet",
            **options,
        )
        self._client.on_last_read(self._lose)

    @property
    def largest(self) -> int:
        """Bytes that a message may have."""
        return self._client.max_payload

    @property
    def knows_users(self) -> bool:
        """Whether the server asks who connects."""
        return bool(self._client.server_info.get("auth_required"))

    async def publish(self, subject: str, message: bytes, reply: str = "") -> None:
        """Have the server take a message soon.

        Raises:
            Unavailable: the connection is over.
        """
        try:
            await self._client.publish(subject, message, reply=reply)
        except errors.Error as error:
            raise self._over() from error

    async def subscribe(
        self, subject: str, hear: _Hear, *, queue: str = "", drowned: Callable[[CapnetError], None] | None = None
    ) -> Subscription:
        """Have `hear` called with each message of a subject, and `drowned` when one was dropped.

        Raises:
            Unavailable: the connection is over.
        """
        if drowned is not None:
            self._drowned[subject] = drowned

        async def heard(message: Msg) -> None:
            more = hear(message)
            if more is not None:
                await more

        client = cast("Any", self._client)  # the type of its method has a hole
        try:
            subscription: Subscription = await client.subscribe(
                subject, queue, heard, pending_msgs_limit=_PENDING, pending_bytes_limit=_PENDING_BYTES
            )
        except errors.Error as error:
            raise self._over() from error
        return subscription

    async def unsubscribe(self, subscription: Subscription) -> None:
        """Hear no more of it."""
        self._drowned.pop(subscription.subject, None)
        with suppress(errors.Error):
            await subscription.unsubscribe()

    async def settle(self) -> None:
        """Wait until the server has taken all that was said.

        Raises:
            Unavailable: the connection is over.
        """
        flushed = asyncio.ensure_future(self._flush())
        lost = asyncio.ensure_future(self.lost.wait())
        try:
            await asyncio.wait({flushed, lost}, return_when=asyncio.FIRST_COMPLETED)
            if not flushed.done() or not flushed.result():
                raise self._over()
        finally:
            flushed.cancel()
            lost.cancel()

    async def _flush(self) -> bool:
        try:
            for _ in range(2):  # the first may overtake what the client holds back
                await self._client.flush(int(PATIENCE))
        except (OSError, errors.Error):
            return False
        return True

    async def close(self) -> None:
        """Leave, once the server has taken what was said last, or has had the time to."""
        self.on_lost.clear()
        self.lost.set()
        await self._shut(_LEAVE)

    async def _shut(self, seconds: float) -> None:
        """The client waits for a farewell that does not come where TLS was refused."""
        try:
            with anyio.move_on_after(seconds, shield=True), suppress(Exception):
                await self._client.close()
        finally:
            self.drop()

    def drop(self) -> None:
        """Leave without a word."""
        self.lost.set()
        self._client.hang_up()

    # --- what the client tells ---

    async def _told(self, error: Exception) -> None:
        self._failed(error)

    def _lose(self) -> None:
        self.lost.set()
        self._client.hang_up()
        for tell in [*self.on_lost]:
            tell(self._over())

    def _note(self, error: Exception) -> None:
        self._first = self._first or error

    def _refused(self, error: Exception) -> None:
        """The server has not let us say something, or we could not keep up with a peer."""
        if isinstance(error, errors.SlowConsumerError):
            drowned = self._drowned.get(error.subject)
            if drowned is not None:
                drowned(Unavailable("the peer sends more than could be looked at", reason="session"))
        elif "permissions violation" in str(error).lower():
            self.on_denied(_denied(self.url, str(error)))

    def _deny(self, error: CapnetError) -> None:
        self.denial = self.denial or error

    def _over(self) -> CapnetError:
        return Unavailable(f"{self.url}: the connection to the NATS server is lost", reason="connection_lost")

    def _unopened(self, error: Exception) -> CapnetError:
        first = self._first or error
        by_tls = refused(first, self.url)
        if by_tls is not None:
            return by_tls
        if isinstance(first, _Plain):
            hint = "without ca= and certificate= the password goes as it is"
            return Unauthenticated(f"{self.url}: {first}", reason="tls", retry="never", hint=hint)
        if "authorization" in str(first).lower():
            return Unauthenticated(
                f"{self.url}: the NATS server does not know that user with that password",
                reason="nats_user",
                retry="never",
                hint="its configuration names users and their passwords; capnet nats makes one",
            )
        if isinstance(first, TimeoutError):
            return Unavailable(f"{self.url}: nobody has answered within {PATIENCE:g} seconds", reason="connect_timeout")
        if isinstance(first, OSError):
            return unreached(first, self.url) if first.errno else failure(first, self.url)
        return Unavailable(f"{self.url}: what answers does not speak NATS: {first}"[:300], reason="nats")


def _denied(url: str, words: str) -> CapnetError:
    """What it means that the server does not let us say or hear something."""
    return PermissionDenied(
        f"{url}: the NATS server does not allow it: {words}"[:300],
        reason="nats_permissions",
        retry="never",
        hint="the permissions of the user, in the server's configuration; capnet nats writes them",
    )


@dataclass(frozen=True, slots=True)
class Place:
    """A service at a server, and who we are there. Made by `place`."""

    url: str
    servers: Sequence[inet.Address]
    subjects: Subjects
    user: str
    options: dict[str, Any]
    """For the client."""

    @property
    def inbox(self) -> str:
        """The prefix of subjects at which we are answered."""
        return inbox(self.user)

    async def open(self) -> Link:
        """A connection to the server.

        Raises:
            CapnetError: see `Link.open`. FailedPrecondition: the server asks nobody who he is (`no_users`).
        """
        link = await Link.open(self.servers, self.url, **self.options)
        if self.user != NOBODY and not link.knows_users:
            await link.close()
            raise FailedPrecondition(
                f"{self.url}: the NATS server asks nobody who he is, so anybody may be any user, or the host",
                reason="no_users",
                hint="capnet nats makes a configuration with users; user=None is for a server without",
            )
        return link


def place(
    rest: str,
    user: UserName,
    *,
    password: str | None,
    credentials: str | os.PathLike[str] | None,
    ca: Trust | None,
    certificate: Identity | None,
    key: str | os.PathLike[str] | None,
) -> Place:
    """The URL and the options, checked."""
    if in_trio():
        raise FailedPrecondition(
            "nats: runs on asyncio only, as does the client of NATS that it needs",
            reason="asyncio_only",
            hint="run the program with asyncio, or connect by tls:",
        )
    authority, slash, service = rest.removeprefix("//").partition("/")
    if not slash or not authority or "@" in authority:
        raise InvalidArgument(
            f"nats: needs a server and a service, not {rest.rpartition('@')[2][:300]!r}",
            hint="write nats://HOST:4222/SERVICE; who you are there is said with user= and password=",
        )
    servers = [inet.parse("nats", one, port=PORT) for one in authority.split(",")]
    url = f"nats://{','.join(map(str, servers))}/{named('service', service)}"
    if isinstance(user, EllipsisType):
        raise InvalidArgument(
            f"{url}: a user is needed: by it a NATS server knows who may say what",
            reason="user_needed",
            hint="user=NAME and password=…, or user=None at a server that lets anybody say anything",
        )
    options: dict[str, Any] = {}
    if user is not None:
        named("user", user)
        if password is not None:
            options |= {"user": user, "password": password}
    if credentials is not None:
        options["user_credentials"] = os.fspath(credentials)
    if ca is not None or certificate is not None or key is not None:
        side = connecting(
            servers[0].host, url, certificate=certificate, key=key, ca=ca, pins=(), server_name=None, alpn="nats"
        )
        options["tls"] = side.context
    return Place(url, servers, Subjects(service), NOBODY if user is None else user, options)


class _Plain(errors.Error):
    """TLS was asked for, and the server, or whoever is in between, says that it has none."""

    def __str__(self) -> str:
        return "the NATS server does not speak TLS"


class _Client(Client):
    """Says no password to a server that was to speak TLS and does not."""

    @property
    def server_info(self) -> dict[str, Any]:
        """What the server has said of itself."""
        return self._server_info

    def on_last_read(self, callback: Callable[[], None]) -> None:
        """Call back when nothing comes from the server any more, for whatever reason.

        The client's own word for that is not said when it fails to say farewell to a server that has gone.
        """

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled():
                task.exception()  # which is that failure
            callback()

        vars(self)["_reading_task"].add_done_callback(ended)

    def hang_up(self) -> None:
        """Close what is left where closing has failed."""
        parts = vars(self)  # they have no types
        tasks = [parts[name] for name in ("_reading_task", "_ping_interval_task", "_flusher_task")]
        tasks += [vars(subscription)["_wait_for_msgs_task"] for subscription in parts["_subs"].values()]
        for task in tasks:
            if task is not None and task is not asyncio.current_task():
                task.cancel()
        parts["_subs"].clear()
        if parts["_transport"] is not None:
            with suppress(AttributeError):  # nats-py before 2.15 stumbles where nobody has answered
                parts["_transport"].close()

    def _connect_command(self) -> bytes:
        if self.options.get("tls") is not None and not self._server_info.get("tls_required"):
            raise _Plain
        return super()._connect_command()
