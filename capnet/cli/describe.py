"""`capnet describe`: what can be called at a peer."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import typer
from anyio import fail_after

from capnet import Connection, ContractDescription
from capnet.cli.exits import Stop
from capnet.cli.output import Output
from capnet.cli.peer import Peer
from capnet.cli.served import contract_of, no_such_method, open_name, served_names
from capnet.cli.source import Source

__all__ = ["describe", "told_by"]


async def describe(
    peer: Peer,
    out: Output,
    *,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="What is served, or a method of it; all names when left out.")
    ] = None,
    stub: Annotated[
        bool, typer.Option("--stub", help="Print a whole module, to be imported where there is no source.")
    ] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print JSON Schema of the methods, one a line.")] = False,
) -> None:
    """Print what can be called at a peer, as Python has it: methods, their types, and what is said of them.

    With --json a contract is a line, which capnet diff takes. A stub that was written into a file type-checks and
    connects like the contract that it comes of.
    """
    if stub and (schema or out.json):
        raise Stop("--stub prints Python, and nothing else", hint="leave --json or --schema out")
    async with peer.open() as connection:
        with fail_after(peer.timeout):
            told = await told_by(connection, name, peer.timeout)
    if schema:
        for served, contract in told.items():
            for method, each in contract.methods.items():
                schemas = {"parameters": each.parameters_schema(), "result": each.result_schema()}
                out.value({"name": served, "method": method, "doc": each.doc, **schemas})
        return
    if out.json:
        for served, contract in told.items():
            out.value({"name": served, **contract.data()})
        return
    # A contract may be served under several names.
    source = Source({contract.name: contract for contract in told.values()}.values())
    for line in source.module(peer.url.partition("?")[0]) if stub else source.lines():
        out.line(line)


async def told_by(connection: Connection, name: str | None, seconds: float) -> dict[str, ContractDescription]:
    """The contracts that are asked for, by the name that they are served under.

    Raises:
        Stop: there is no such name or method.
    """
    names = await served_names(connection)
    if name is None:
        return {each: await _contract(connection, each, names, seconds) for each in names}
    served, _, method = name.rpartition(".")
    if name in names or served not in names:
        return {name: await _contract(connection, name, names, seconds)}
    contract = await _contract(connection, served, names, seconds)
    if method not in contract.methods:
        raise no_such_method(contract, method)
    return {served: replace(contract.only({method}), doc="")}


async def _contract(connection: Connection, name: str, names: Any, seconds: float) -> ContractDescription:
    async with await open_name(connection, name) as capability:
        told = await contract_of(capability, seconds)
    # An older peer tells of names only, and says no words.
    return ContractDescription.from_data(names.get(name)) if told is None else told
