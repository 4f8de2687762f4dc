"""The options of each scheme, as `connect` and `listen` take them by name; what is said of one that is misspelt."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, TypeAlias, TypedDict

from capnet.errors import InvalidArgument
from capnet.nearest import nearest

if TYPE_CHECKING:
    from capnet.transport import Attestation
    from capnet_transports.certificates import Certificate
    from capnet_transports.nats_access import UserName
    from capnet_transports.tokens import Token

__all__ = ["ConnectOptions", "Identity", "ListenOptions", "Output", "Trust", "Word", "refuse_others"]

Word: TypeAlias = "str | bytes | os.PathLike[str] | os.PathLike[bytes]"
Output: TypeAlias = "int | IO[Any] | None"
Identity: TypeAlias = "Certificate | str | os.PathLike[str]"
"""A certificate with its key, or the path of a file in PEM that has both or, with `key=`, the certificate."""
Trust: TypeAlias = "Certificate | str | os.PathLike[str] | Sequence[Certificate | str | os.PathLike[str]]"
"""Who is trusted: certificates, or paths of files in PEM; of authorities, or of the peers themselves."""


class StdioOptions(TypedDict, total=False):
    """`stdio:`, to start a program; see `stdio.connect`."""

    argv: Sequence[Word] | None
    env: Mapping[str, Word] | Mapping[bytes, Word] | None
    cwd: Word | None
    stderr: Output
    on_exit: Callable[[int | None], object] | None
    start_timeout: float


class ExecOptions(StdioOptions, total=False):
    """`exec:`; see `exec.spawn`."""

    stdout: Output


class MemoryOptions(TypedDict, total=False):
    """`memory:`; see `memory.connect`."""

    attestation: Attestation | None


class UnixOptions(TypedDict, total=False):
    """`unix:`; see `unix.connect`."""

    allow_uids: Collection[int]


class TcpOptions(TypedDict, total=False):
    """`tcp:`; see `tcp.connect`."""

    token: Token


class TlsOptions(TcpOptions, total=False):
    """`tls:`; see `tls.connect`."""

    certificate: Identity | None
    key: str | os.PathLike[str] | None
    ca: Trust | None
    pins: Collection[str]
    server_name: str | None


class WebSocketOptions(TlsOptions, total=False):
    """`ws:`, which has no options of TLS, and `wss:`; see `websocket.connect`."""

    origin: str | None


class NatsOptions(TypedDict, total=False):
    """`nats:`; see `nats.connect`."""

    user: UserName
    password: str | None
    credentials: str | os.PathLike[str] | None
    certificate: Identity | None
    key: str | os.PathLike[str] | None
    ca: Trust | None


class ConnectOptions(ExecOptions, MemoryOptions, UnixOptions, WebSocketOptions, NatsOptions, total=False):
    """What all schemes that come with capnet take to connect; `fd:` takes nothing."""


class UnixListenOptions(TypedDict, total=False):
    """`unix:`; see `unix.listen`."""

    allow_uids: Collection[int] | None
    backlog: int


class TcpListenOptions(TypedDict, total=False):
    """`tcp:`; see `tcp.listen`."""

    token: Token
    backlog: int


class TlsListenOptions(TcpListenOptions, total=False):
    """`tls:`; see `tls.listen`."""

    certificate: Identity | None
    key: str | os.PathLike[str] | None
    ca: Trust | None


class WebSocketListenOptions(TlsListenOptions, total=False):
    """`ws:`, which has no options of TLS, and `wss:`; see `websocket.listen`."""

    origins: Sequence[str | None]
    hosts: Collection[str] | None


class NatsListenOptions(NatsOptions, total=False):
    """`nats:`; see `nats.listen`."""

    sessions: int


class AsgiListenOptions(TypedDict, total=False):
    """`asgi:`, which `asgi.mount` asks for."""

    mount: object


class ListenOptions(UnixListenOptions, WebSocketListenOptions, NatsListenOptions, AsgiListenOptions, total=False):
    """What all schemes that come with capnet take to listen; `memory:` takes nothing."""


class NoOptions(TypedDict):
    """`memory:`."""


def refuse_others(scheme: str, options: Iterable[str], kind: type[Any]) -> None:
    """Refuse options that a scheme does not know.

    Args:
        kind: the class above that has those that it does know.

    Raises:
        InvalidArgument: `no_option`, there is such a one.
    """
    known: frozenset[str] = kind.__optional_keys__
    for option in options:
        if option not in known:
            raise InvalidArgument(
                f"{scheme}: there is no option {option}",
                reason="no_option",
                details={"option": option},
                hint=nearest(option, known) or "it takes no options",
            )
