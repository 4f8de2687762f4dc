"""Connections of a background loop."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from typing_extensions import TypeForm, Unpack

from capnet.connection.connect import connect as connect_in_loop
from capnet.connection.connection import Connection
from capnet.connection.retry import Retry
from capnet.limits import Limits
from capnet.policy.policy import Policy

from .background import Background
from .opened import Blocking, begun

if TYPE_CHECKING:
    from capnet_transports.options import ConnectOptions

__all__ = ["BlockingConnection", "connect"]

C = TypeVar("C")


def connect(
    url: str,
    *,
    wait: float | Retry | None = None,
    ready: bool = False,
    name: str = "",
    limits: Limits | None = None,
    policy: Policy | None = None,
    auth: Any = None,
    backend: Literal["asyncio", "trio"] = "asyncio",
    **options: Unpack[ConnectOptions],
) -> BlockingConnection:
    """Open a connection from a program that has no event loop.

    Args:
        url: as for `capnet.connect`, and so are all others but `backend`.
        backend: the library whose loop runs in the background thread, for what you give to `call` and pass to peers.

    Close it with `close`, or use it as a context manager. What is still open when the program ends is closed then.

    Raises:
        Unavailable: nobody answers at the address. InvalidArgument: the URL makes no sense. MissingExtra: the transport
        is not installed.
    """
    settings: dict[str, Any] = {
        "wait": wait,
        "ready": ready,
        "name": name,
        "limits": limits,
        "policy": policy,
        "auth": auth,
    }
    loop = Background.of(backend)
    return begun(loop, lambda: connect_in_loop(url, **settings, **options), BlockingConnection)


class BlockingConnection(Blocking):
    """A connection of a background loop, made by `capnet.blocking.connect`.

    Attributes:
        connection: the same one for what runs in the loop. `call` its methods from outside:
            `conn.call(conn.connection.serve, MyRoom())`.
    """

    def __init__(self, connection: Connection, loop: Background) -> None:
        self.connection = connection
        super().__init__(connection, loop)

    def bootstrap(self, contract: TypeForm[C], /, *, wait: float | None = None, name: str | None = None) -> C:
        """A proxy of what the peer serves under a contract's name; `call` its methods.

        Args:
            wait: seconds to wait for the name to be served; None fails at once when it is not.
            name: the name it is served under, when that is not the contract's.

        Raises:
            NotFound, PermissionDenied, VersionMismatch, ResourceExhausted: the peer says no. DeadlineExceeded: it says
            nothing. Unavailable: the connection is closed.
        """
        return self.call(partial(self.connection.bootstrap, contract, wait=wait, name=name))

    def open(
        self,
        metadata: Mapping[str, Any] | None = None,
        *,
        name: str = "",
        limits: Limits | None = None,
        policy: Policy | None = None,
        auth: Any = None,
    ) -> BlockingConnection:
        """Open a virtual connection inside of this one: `with conn.open({"tenant": "blue"}) as blue: …`.

        Args and errors are those of `Connection.open`. It is closed with this one at the latest.
        """
        settings: dict[str, Any] = {"name": name, "limits": limits, "policy": policy, "auth": auth}
        return self._inside(lambda: self.connection.open(metadata, **settings), BlockingConnection)
