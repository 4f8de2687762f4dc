"""The host's side at a NATS server: a listener that finds the server again, and takes its share of the sessions."""

from __future__ import annotations

import json
import logging
import random
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import anyio

from capnet.errors import CapnetError, InvalidArgument
from capnet.transport import Attestation, Listener, Transport
from capnet_transports.nats_access import NOBODY, is_user
from capnet_transports.nats_link import Link, Msg, Place, Subscription
from capnet_transports.nats_transport import NatsTransport

__all__ = ["WINDOW", "listening"]

WINDOW: Final = 1024 * 1024
"""Bytes that one peer may have under way to us, at most."""
ALL_WINDOWS: Final = 32 * 1024 * 1024
"""Bytes that all peers of a listener may have under way together: half of what a NATS server keeps for one client
before it takes that for too slow and cuts it."""
LEAST: Final = 16 * 1024
"""Bytes that the window of a peer has at least."""
MOST: Final = ALL_WINDOWS // LEAST
"""Sessions of one listener at once, at most."""
_PAUSES: Final = (0.05, 2.0)
"""Seconds between two attempts to reach a server that was lost: the first pause, and the longest."""
_DIAL: Final = re.compile(rb"capnet-nats/1 ([0-9a-f]{32}) ([0-9]{1,9})")
_log = logging.getLogger("capnet.transports")


async def listening(where: Place, accept: Callable[[Transport], object], sessions: int) -> Listener:
    """A listener that serves, as long as there is room for so many sessions."""
    if not 1 <= sessions <= MOST:
        raise InvalidArgument(f"{where.url}: sessions is a number from 1 to {MOST}")
    listener = NatsListener(where, accept, sessions)
    await listener.open()
    return listener


class NatsListener(Listener):
    """Takes its share of the sessions of a service. Made by `listening`."""

    def __init__(self, where: Place, accept: Callable[[Transport], object], sessions: int) -> None:
        self.url = where.url
        self.accept = accept
        self.room = sessions
        """Sessions at once."""
        self.window = min(WINDOW, ALL_WINDOWS // sessions)
        """Bytes that each peer may have under way."""
        self.name = secrets.token_hex(11)
        """The word by which this host is told from the others."""
        self._where = where
        self._closing = anyio.Event()
        self._door: _Door | None = None

    async def open(self) -> None:
        """Begin to serve, with a new connection to the server."""
        link = await self._where.open()
        try:
            self._door = _Door(self, self._where, link)
            await self._door.open()
        except BaseException:
            self._door = None
            with anyio.CancelScope(shield=True):
                await link.close()
            raise

    async def serve(self) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._stay)
            await self._closing.wait()
            tasks.cancel_scope.cancel()

    async def aclose(self) -> None:
        self._closing.set()
        if self._door is not None:
            await self._door.close()

    async def _stay(self) -> None:
        while self._door is not None:
            await self._door.link.lost.wait()
            if self._closing.is_set():
                return
            _log.warning("%s: the server is lost, and with it all sessions; looks for it", self.url)
            await self._reopen()

    async def _reopen(self) -> None:
        pause, longest = _PAUSES
        while True:
            await anyio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 (so that not all hosts come at once)
            pause = min(pause * 2, longest)
            try:
                await self.open()
            except CapnetError as error:
                _log.info("%s", error)
            else:
                _log.warning("%s: serves again", self.url)
                return


class _Door:
    """Where those who dial come in, on one connection to the server, and the sessions that they have there."""

    def __init__(self, listener: NatsListener, where: Place, link: Link) -> None:
        self.link = link
        self._listener = listener
        self._subjects = where.subjects
        self._proven = where.user != NOBODY
        """Whether the server knows who dials."""
        self._sessions: dict[NatsTransport, Subscription] = {}
        self._dials: Subscription | None = None
        """None while there is no room: the server then asks other hosts."""
        self._presence: list[Subscription] = []
        self._closed = False
        self._attending = anyio.Lock()

    async def open(self) -> None:
        """Let peers in."""
        await self._attend()
        for subject in ("$SRV.INFO", self._subjects.presence, f"{self._subjects.presence}.{self._listener.name}"):
            self._presence.append(await self.link.subscribe(subject, self._describe))
        await self.link.settle()
        if self.link.denial is not None:
            raise self.link.denial
        self.link.on_denied = self._log_denial

    async def close(self) -> None:
        """Let nobody in any more. Sessions live on; the connection ends with the last of them."""
        self._closed = True
        try:
            for subscription in self._presence:
                await self.link.unsubscribe(subscription)
            await self._attend()
            if not self.link.lost.is_set():
                with suppress(CapnetError):
                    await self.link.settle()
        except BaseException:  # cancelled: nobody would come back to it
            if not self._sessions:
                self.link.drop()
            raise

    async def _attend(self) -> None:
        """Take dials while there is room; leave when there is nothing to do any more."""
        async with self._attending:
            wanted = not self._closed and len(self._sessions) < self._listener.room and not self.link.lost.is_set()
            if wanted and self._dials is None:
                subject = self._subjects.dial("*")
                self._dials = await self.link.subscribe(subject, self._dialled, queue=self._subjects.service)
            elif not wanted and self._dials is not None:
                dials, self._dials = self._dials, None
                await self.link.unsubscribe(dials)
            if self._closed and not self._sessions:
                await self.link.close()

    async def _dialled(self, message: Msg) -> None:
        dial = _DIAL.fullmatch(message.data)
        user = message.subject.rpartition(".")[2]
        if dial is None or int(dial[2]) < LEAST or not is_user(user) or (self._proven and user == NOBODY):
            _log.info("%s: %r turned away: it speaks another protocol", self._listener.url, user[:64])
            return
        try:
            await self._welcome(user, dial[1].decode(), int(dial[2]))
        except CapnetError as error:
            _log.info("%s: %s turned away: %s", self._listener.url, user, error)

    async def _welcome(self, user: str, session: str, window: int) -> None:
        listener, link = self._listener, self.link
        down, up = self._subjects.down(user, session), self._subjects.up(user, session)
        if self._closed or len(self._sessions) >= listener.room:  # it was under way when we have left
            await link.publish(down, b"capnet-nats/1 full")
            return
        attestation = Attestation(transport="nats", user=user if self._proven else None)
        transport = NatsTransport(link, down, up, listener.window, attestation, self._leave)
        try:
            self._sessions[transport] = await link.subscribe(up, transport.hear, drowned=transport.lose)
            await self._attend()
        except BaseException:
            transport.abort()
            raise
        listener.accept(transport)
        if transport.ended:
            await link.publish(down, b"capnet-nats/1 full")
            return
        await link.publish(down, b"capnet-nats/1 ok %d" % listener.window, up)
        transport.open(min(window, WINDOW))

    async def _leave(self, transport: NatsTransport) -> None:
        subscription = self._sessions.pop(transport, None)
        if subscription is not None:
            await self.link.unsubscribe(subscription)
        await self._attend()

    async def _describe(self, message: Msg) -> None:
        """Answer who asks for services, as NATS's own protocol for them has it."""
        listener = self._listener
        if message.reply.startswith("_INBOX."):
            told = {
                "type": "io.nats.micro.v1.info_response",
                "name": self._subjects.service,
                "id": listener.name,
                "version": "1.0.0",
                "description": "a host of capnet",
                "metadata": {"sessions": str(len(self._sessions)), "room": str(listener.room)},
                "endpoints": [
                    {"name": "dial", "subject": self._subjects.dial("*"), "queue_group": self._subjects.service}
                ],
            }
            await self.link.publish(message.reply, json.dumps(told).encode())

    def _log_denial(self, error: CapnetError) -> None:
        _log.warning("%s", error)
