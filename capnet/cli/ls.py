"""`capnet ls`: the names that a peer serves."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from anyio import fail_after

from capnet.cli.output import Output
from capnet.cli.peer import Peer
from capnet.cli.served import served_names

__all__ = ["ls"]


async def ls(peer: Peer, out: Output) -> None:
    """List the names that a peer serves to us, each with the version of its contract, its methods and what it is for.

    Names that its policy does not give us are not told of.
    """
    async with peer.open() as connection:
        with fail_after(peer.timeout):
            names = await served_names(connection)
    if out.json:
        for name, told in names.items():
            out.value({"name": name, **told, "methods": list(told.get("methods", ()))})
        return
    if not names:
        print("capnet ls: nothing is served to us", file=sys.stderr)
        return
    rows = [
        (
            name,
            str(told.get("version", "")),
            str(len(told.get("methods", ()))),
            str(told.get("doc", "")) or _contract(name, told),
        )
        for name, told in names.items()
    ]
    out.table(("name", "version", "methods", "about"), rows, right=("version", "methods"))


def _contract(name: str, told: Mapping[str, Any]) -> str:
    """What it is, where the name does not say so."""
    contract = told.get("contract", name)
    return "" if contract == name else f"a {contract}"
