"""The transport interface: how bytes reach a connection and leave it.

A transport moves an ordered byte stream and knows who is at its other end; it knows nothing of frames, calls or
capabilities. It is callback-style so that no task and no copy stands between the socket and the engine:

    transport.start(receiver)            reading begins now, never earlier (nothing is buffered before)
    receiver.data_received(chunk)        each chunk as it comes; valid only until the call returns
    transport.send(chunks)               never waits; `backlog` says how much the system has not taken yet
    receiver.writable()                  the backlog fell to `LOW_WATER` after it had been above `HIGH_WATER`
    receiver.closed(error)               exactly once, last; error is None for a clean end of file or a local close

A transport on a backend without callbacks sets `pump`, a coroutine function that the connection runs in a task of its
own until the transport is closed. Third parties add transports through the entry point group `capnet.transports`, whose
objects satisfy `TransportScheme`; `capnet.testing` holds the conformance routine they must pass.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

__all__ = [
    "HIGH_WATER",
    "LOW_WATER",
    "Attestation",
    "Listener",
    "Process",
    "Receiver",
    "Transport",
    "TransportScheme",
]

HIGH_WATER = 1024 * 1024
"""Backlog in bytes above which `Receiver.writable` will be called once it has fallen."""
LOW_WATER = 256 * 1024
"""Backlog in bytes at which it is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """What the transport and the host prove about a peer. Nothing in it is taken from the wire unverified.

    A transport fills in what the operating system or the TLS layer told it; a host may add `level`, `principal` and
    `grants`. The default is an untrusted stranger.

    Attributes:
        transport: name of the transport.
        level: how far the peer is trusted.
        uid: user that the peer's process ran as when it connected.
        pid: that process.
        address: where the peer is in the network, `HOST:PORT`, or `HOST` where a proxy has told it. It says where to
            answer, not who is there.
        tls_subject: subject of the peer's certificate, where an authority that we trust has signed it.
        tls_key: `spki-sha256:` and the hash, in hexadecimal, of the public key that the peer has shown to have the
            private one of.
        origin: the web page that has made the connection, as its browser says; a program may say what it likes.
        user: the name under which a server in between, such as one of NATS, has let the peer in. It is worth as much as
            that server, and what it lets each user say.
        path: what the peer has asked for in a web application, without its query.
        headers: what it has said beside, under names in small letters, as far as the application wants to know it. A
            peer may say what it likes, unless a proxy in front says it in its place. Not shown in texts, for there may
            be secrets in it.
        metadata: what the peer has said when it opened or accepted this virtual connection, unverified: all else is
            what is proven of the connection around it.
        principal: the peer's name in the host's own terms.
        grants: what it may do, in words of the host's own.
    """

    transport: str = ""
    level: Literal["untrusted", "trusted", "internal"] = "untrusted"
    uid: int | None = None
    pid: int | None = None
    address: str | None = None
    tls_subject: str | None = None
    tls_key: str | None = None
    origin: str | None = None
    user: str | None = None
    path: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False, hash=False)
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False)
    principal: str | None = None
    grants: frozenset[str] = frozenset()


class Receiver(Protocol):
    """The side that takes what a transport brings. No method may raise or wait."""

    def data_received(self, data: bytes | bytearray | memoryview) -> None:
        """Bytes from the peer; the buffer is reused after the call."""

    def writable(self) -> None:
        """The backlog has fallen to `LOW_WATER`."""

    def closed(self, error: Exception | None) -> None:
        """The transport has ended: the peer's end of file, a local close, or `error`."""


class Process(Protocol):
    """A program that was started for a connection and ends with it."""

    @property
    def pid(self) -> int:
        """Its process id."""
        ...

    @property
    def running(self) -> bool:
        """Whether it has not exited yet."""
        ...

    @property
    def returncode(self) -> int | None:
        """How it exited: its exit code, or the negative number of the signal that has ended it. None while it runs, and
        when nobody knows because somebody else has reaped it."""
        ...

    async def wait(self) -> int | None:
        """Wait until it has exited; returns its `returncode`."""
        ...

    def send_signal(self, number: int, /) -> None:
        """Send a signal to it and to all in its process group; nothing happens when it has exited."""


class Transport(ABC):
    """One connected byte stream."""

    attestation: Attestation
    """What is known of the peer."""
    process: Process | None = None
    """The program at the other end, when it was started for this transport and ends with it."""
    start_timeout: float | None = None
    """Seconds that the transport itself gives the peer to say its first word, when that is no stranger but a program
    that has to start; `Limits.handshake_timeout` then comes on top."""
    within: object = None
    """What carries it, when that is another connection."""
    pump: Callable[[], Coroutine[Any, Any, None]] | None = None
    """Run by the connection in its own task, when set; returns when the transport has closed."""

    @abstractmethod
    def start(self, receiver: Receiver) -> None:
        """Begin to read. Called once, before anything else."""

    @abstractmethod
    def send(self, chunks: Sequence[bytes]) -> None:
        """Queue whole chunks in order. Never waits, nor calls the receiver from within; after the end it is a no-op."""

    @property
    @abstractmethod
    def backlog(self) -> int:
        """Bytes queued that the system has not taken yet."""

    @abstractmethod
    def pause(self) -> None:
        """Stop reading, so that the peer feels back-pressure. Idempotent."""

    @abstractmethod
    def resume(self) -> None:
        """Read again. Idempotent."""

    @abstractmethod
    def close(self) -> None:
        """Send what is queued, then close. Reading stops at once. Idempotent; `Receiver.closed` follows."""

    @abstractmethod
    def abort(self) -> None:
        """Close now and drop what is queued. Idempotent; `Receiver.closed` follows."""


class Listener(ABC):
    """Accepts transports until it is closed."""

    url: str
    """Where peers connect to; complete, with a port or path chosen by the system filled in."""

    @abstractmethod
    async def serve(self) -> None:
        """Accept until `aclose`; run by the host in a task of its own. Returns when closed."""

    @abstractmethod
    async def aclose(self) -> None:
        """Stop accepting and remove what was left in the file system. Accepted transports live on."""


class TransportScheme(Protocol):
    """What an entry point of the group `capnet.transports` names; the entry point's name is the URL scheme.

    `rest` is the URL without `scheme:`. Both methods raise `Unavailable` with the system's words when the address
    cannot be used and `InvalidArgument` when it makes no sense.
    """

    async def connect(self, rest: str, /, **options: Any) -> Transport:
        """A connected transport, not yet started."""
        ...

    async def listen(self, rest: str, accept: Callable[[Transport], object], /, **options: Any) -> Listener:
        """A bound listener that hands every new transport, not yet started, to `accept`."""
        ...
