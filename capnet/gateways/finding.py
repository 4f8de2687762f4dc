"""Gateways by name: those that come with capnet, and those that others have installed.

Third parties add one through the entry point group `capnet.gateways`. Its object is a `Gateway`, its name is what users
call it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Final, Protocol, cast

from capnet import Connection, InvalidArgument, MissingExtra

__all__ = ["Gateway", "find_gateway", "known_gateways"]

GROUP: Final = "capnet.gateways"


class Gateway(Protocol):
    """Speaks another protocol on standard input and output."""

    async def __call__(self, connection: Connection, /) -> None:
        """Serve the client that has started this program, until it goes.

        Args:
            connection: to what is offered; it stays open.
        """
        ...


def _acp() -> Gateway:
    from capnet.gateways.acp import for_editors
    from capnet.gateways.jsonrpc import serve_stdio

    async def serve(connection: Connection, /) -> None:
        await serve_stdio(connection, for_editors())

    return serve


def _jsonrpc() -> Gateway:
    from capnet.gateways.jsonrpc import serve_stdio

    return serve_stdio


def _mcp() -> Gateway:
    import capnet
    from capnet.gateways.mcp import Session, serve_stdio

    async def serve(connection: Connection, /) -> None:
        await serve_stdio(connection, Session("capnet", capnet.__version__))

    return serve


_OWN: Final[Mapping[str, Callable[[], Gateway]]] = {"acp": _acp, "jsonrpc": _jsonrpc, "mcp": _mcp}


def find_gateway(name: str) -> Gateway:
    """The gateway of a name.

    Raises:
        InvalidArgument: there is none. MissingExtra: it lacks what it needs.
    """
    if name in _OWN:
        return _OWN[name]()
    point = _installed().get(name)
    if point is None:
        raise InvalidArgument(f"there is no gateway {name[:100]!r}", hint=f"known: {', '.join(known_gateways())}")
    try:
        return cast("Gateway", point.load())
    except ImportError as error:
        raise MissingExtra(
            f"the gateway {name!r} of {point.value!r} needs {error.name or error}, which is not installed"
        ) from error


def known_gateways() -> list[str]:
    """The names of all that come with capnet or are installed, whether they can be used or not."""
    return sorted({*_OWN, *_installed()})


def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}
