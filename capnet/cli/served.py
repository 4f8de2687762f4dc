"""What a peer serves, for commands that are given names: what there is, and what was meant."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, cast

from anyio import fail_after

from capnet import CapnetError, Connection, ContractDescription, NotFound, PermissionDenied, Unimplemented, Untyped
from capnet import describe as ask_for_contract
from capnet.cli.exits import Exit, Stop
from capnet.nearest import nearest

__all__ = ["contract_of", "no_such_method", "open_name", "served_names", "split"]

_Told = Mapping[str, Any]


async def served_names(connection: Connection) -> dict[str, _Told]:
    """What is told of each name that we may have, by the name.

    Raises:
        CapnetError: the peer does not say.
    """
    told: object = await connection.runtime().describe()
    assert isinstance(told, dict)
    names = cast("dict[str, object]", told)
    return {name: cast("_Told", about) if isinstance(about, dict) else {} for name, about in sorted(names.items())}


async def open_name(connection: Connection, name: str, path: str = "") -> Untyped:
    """What is served under a name.

    Args:
        path: all that was written, where a method should stand behind the name.

    Raises:
        Stop: it is not; with a hint which one was meant.
    """
    try:
        return await connection.bootstrap_untyped(name)
    except (NotFound, PermissionDenied) as error:
        with suppress(CapnetError):
            names = await served_names(connection)
            if path in names:
                methods = ", ".join(names[path].get("methods", ()))
                raise Stop(f"{path} is a name, and no method of it was named", hint=f"it has {methods}") from None
            raise Stop(exit_code=Exit.FAILED, cause=error, hint=nearest(name, names)) from None
        raise


def split(path: str) -> tuple[str, str]:
    """The name and the method in `chat.Lobby.open`.

    Raises:
        Stop: there is no method.
    """
    name, _, method = path.rpartition(".")
    if not name or not method:
        raise Stop(f"{path!r} names no method", hint="write NAME.METHOD, such as chat.Lobby.open")
    return name, method


async def contract_of(capability: Untyped, seconds: float) -> ContractDescription | None:
    """What can be called on a capability; None when the peer does not tell.

    Raises:
        CapnetError: it cannot be asked.
    """
    try:
        with fail_after(seconds):
            return await ask_for_contract(capability)
    except Unimplemented:
        return None


def no_such_method(contract: ContractDescription, method: str) -> Stop:
    """What is said of a method that is not there."""
    error = Unimplemented(f"{contract.name} has no method {method!r}")
    return Stop(exit_code=Exit.FAILED, cause=error, hint=nearest(method, contract.methods))
