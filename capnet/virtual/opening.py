"""Openings: who decides about the virtual connections that a peer opens, and how one is opened by us (P-VIRT)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from inspect import isawaitable
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar, cast

from anyio import CancelScope
from anyio import Event as Signal

from capnet.engine.channels import Channel
from capnet.errors import (
    CapnetError,
    FailedPrecondition,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
)
from capnet.limits import Limits
from capnet.policy.policy import Policy
from capnet.session.disclosure import goes_on, told_of
from capnet.session.session import Session
from capnet.transport import Attestation
from capnet.wire.values import lower, only_data

from .inside import Inside
from .transport import VirtualTransport, join

__all__ = ["OpenHandler", "Opening", "decide", "open_in"]

C = TypeVar("C")
DEEPEST: Final = 8
"""Virtual connections, each inside of the one before: each byte of the last goes through all of them, so whoever sends
a few would have others work for many."""
_AROUND: Final = 1
"""The frame that metadata stands in."""


class Opens(Protocol):
    """What a connection is here."""

    async def open_transport(self, metadata: Mapping[str, Any] | None = None) -> VirtualTransport:
        """Open a virtual connection at its peer."""
        ...


class Opening(Generic[C]):
    """A peer wants to open a virtual connection inside of the one that it has.

    The handler that is given it takes it in one of three ways before it returns: `accept`, `transport` or `lend`. Else
    it is refused, with the error of capnet's that the handler raises, whose details the peer is told.
    """

    def __init__(self, inside: Inside, channel: Channel, connect: Callable[..., C]) -> None:
        self._scope = CancelScope()
        self._inside = inside
        self._channel = channel
        self._connect = connect
        self._taken = False
        channel.token = self

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the peer has said of it, unverified."""
        return self._channel.said

    @property
    def attestation(self) -> Attestation:
        """What is proven about the peer."""
        return self._inside.session.attestation

    @property
    def peer_name(self) -> str:
        """What the peer calls itself, unverified."""
        return self._inside.session.peer_name

    def accept(
        self,
        metadata: Mapping[str, Any] | None = None,
        *,
        name: str = "",
        limits: Limits | None = None,
        policy: Policy | None = None,
        auth: Any = None,
    ) -> C:
        """Accept it, and have a connection that serves what you serve on it, under a policy and limits of its own.

        Args:
            metadata: plain data that the peer is told, up to 4 KiB.
            name, limits, policy, auth: as for `capnet.connect`.

        Raises:
            InvalidArgument: the metadata is no plain data, or too long. FailedPrecondition: it was taken before.
        """
        loop, transport = self._inside.session.loop, self.transport(metadata)
        return self._connect(loop, transport, name=name, limits=limits, policy=policy, auth=auth)

    def transport(self, metadata: Mapping[str, Any] | None = None) -> VirtualTransport:
        """A transport for `Host.accept`: a host serves there what it serves everywhere, under its policy.

        Args:
            metadata: plain data that the peer is told, up to 4 KiB.

        Raises:
            InvalidArgument: the metadata is no plain data, or too long. FailedPrecondition: it was taken before.
        """
        if self._taken:
            raise FailedPrecondition("this virtual connection was taken before", reason="taken")
        virtual = self._inside.session.engine.virtual
        acceptance = virtual.acceptance(self._channel, plain(self._inside, metadata))
        self._taken = True
        self._scope.deadline = math.inf
        return VirtualTransport(self._inside, self._channel, acceptance)

    async def lend(self, connection: Opens, metadata: Mapping[str, Any] | None = None) -> None:
        """Open one at another peer, and pass on what the two say to each other without looking at it.

        Args:
            connection: to the other peer.
            metadata: plain data that it is told; without, what this peer has said.

        Raises:
            What the other peer refuses it with; `Unavailable` when it is gone. FailedPrecondition: it was taken before.
        """
        there = await connection.open_transport(self.metadata if metadata is None else metadata)
        try:
            here = self.transport(there.attestation.metadata)
        except BaseException:
            there.abort()
            raise
        join(here, there)

    def changed(self) -> None:
        """The peer wants it no more, or is gone: nobody has to decide."""
        self._scope.cancel()


OpenHandler: TypeAlias = Callable[[Opening[Any]], object]
"""What decides, plain or a coroutine function."""


def decide(
    inside: Inside,
    channel: Channel,
    handlers: Iterable[OpenHandler | None],
    known: Signal | None,
    connect: Callable[..., Any],
) -> None:
    """The peer has opened a virtual connection: have somebody decide about it.

    Args:
        handlers: those there are, the nearest first.
        known: is set when it is known who the peer is.
        connect: makes a connection on a transport.
    """
    session = inside.session
    handler = next(filter(None, handlers), None)
    if inside.depth > DEEPEST:
        error: CapnetError = ResourceExhausted(
            f"no more than {DEEPEST} virtual connections inside of each other",
            reason="max_virtual_depth",
            retry="never",
        )
        session.engine.virtual.close(channel, error)
    elif handler is None:
        error = Unimplemented("nobody here takes virtual connections", reason="no_virtual_connections")
        session.engine.virtual.close(channel, error)
    else:
        session.loop.spawn(_decide, inside, channel, Opening(inside, channel, connect), handler, known)


async def _decide(
    inside: Inside, channel: Channel, opening: Opening[Any], handler: OpenHandler, known: Signal | None
) -> None:
    session, scope = inside.session, opening._scope  # noqa: SLF001 - of this file
    error: CapnetError | None = None
    try:
        with scope:
            if known is not None:
                await known.wait()
            scope.deadline = session.loop.now() + session.limits.policy_timeout
            error = await _ask(session, opening, handler)
        if error is None:
            error = Unavailable("nobody has decided in time", reason="policy_timeout", retry="after-cooldown")
    finally:
        if not channel.accepted:
            inside.close(channel, error)


async def _ask(session: Session, opening: Opening[Any], handler: OpenHandler) -> CapnetError:
    """What the peer is told if it is not accepted then."""
    try:
        answer = handler(opening)
        if isawaitable(answer):
            await answer
    except BaseException as error:
        if goes_on(session.loop, error):
            raise
        return told_of(session, "handler of virtual connections", error) or _REFUSED
    return _REFUSED


_REFUSED: Final = PermissionDenied("this virtual connection is not for you", reason="refused")


async def open_in(inside: Inside, metadata: Mapping[str, Any] | None) -> VirtualTransport:
    """Open a virtual connection, and wait for the peer to accept it.

    Raises:
        What the peer refuses it with; see `Connection.open`.
    """
    session = inside.session
    waiting = _Waiting(session.loop.waiter, session.loop.wake)
    channel = session.engine.virtual.open(plain(inside, metadata), waiting)
    session.driver.flush_soon()
    try:
        while not (channel.accepted or channel.heard):
            await waiting.wait()
    except BaseException:
        inside.close(channel)
        raise
    if channel.error is not None:
        raise channel.error.again()
    return VirtualTransport(inside, channel)


class _Waiting:
    """For a channel of ours that is not accepted yet."""

    __slots__ = ("_make", "_waiter", "_wake")

    def __init__(self, make: Callable[[], Any], wake: Callable[[Any], None]) -> None:
        self._make = make
        self._wake = wake
        self._waiter: Any = None

    async def wait(self) -> None:
        """Wait for the next word of the peer's."""
        self._waiter = self._make()
        await self._waiter

    def changed(self) -> None:
        """There is one."""
        if self._waiter is not None:
            self._wake(self._waiter)


def plain(inside: Inside, metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Metadata as it travels.

    Raises:
        InvalidArgument: it is no plain data.
    """
    lowered, _ = lower(dict(metadata or {}), only_data, inside.session.engine.outbox.bounds, _AROUND)
    return cast("dict[str, Any]", lowered)
