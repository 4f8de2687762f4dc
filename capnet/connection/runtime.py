"""The runtime capability, cap-id 1: what every peer answers about itself (P-CAP-9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from capnet.contract import INJECT, CallContext, Cap, call

from .bootstrap import ask_policy

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Runtime", "RuntimeService"]


class Runtime(Cap, name="capnet.Runtime"):
    """Cap-id 1 of every connection: `connection.runtime()`."""

    @call
    async def ping(self) -> None:
        """Answer; the round trip goes through dispatch, so it shows that handlers run."""
        ...

    @call
    async def describe(self) -> dict[str, Any]:
        """The names that this peer may have, each with its contract, version and the shape of its methods."""
        ...

    @call
    async def stats(self) -> dict[str, int]:
        """How much of each bounded thing the connection holds at the other side now."""
        ...


class RuntimeService(Runtime):
    """The server side; one serves every connection. What it tells is guarded like the names themselves."""

    async def ping(self) -> None:
        """See `Runtime`."""

    async def describe(self, *, ctx: CallContext = INJECT) -> dict[str, Any]:
        """See `Runtime`."""
        connection = cast("Connection", ctx.connection)
        served: dict[str, Any] = {}
        for registration in connection.all_served():
            if await ask_policy(connection, registration.name, None) is None:
                spec = registration.spec
                served[registration.name] = {
                    "contract": spec.name,
                    "version": spec.version,
                    "generation": registration.generation,
                    "methods": spec.shape,
                }
        return served

    async def stats(self, *, ctx: CallContext = INJECT) -> dict[str, int]:
        """See `Runtime`."""
        return cast("Connection", ctx.connection).stats()
