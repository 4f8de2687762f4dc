"""`capnet watch`: what happens at a peer, as it happens."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final

import typer

from capnet import PermissionDenied, Runtime, Unimplemented
from capnet.cli.events import BAD, KINDS, event_of, words
from capnet.cli.exits import Stop
from capnet.cli.output import Output
from capnet.cli.peer import Peer
from capnet.nearest import nearest

__all__ = ["GRANT", "is_told_all", "watch"]

GRANT: Final = "capnet.events"
"""Who has it is told of the whole host."""
_FINE: Final = ("ok", "committed", None)
"""What stands as the result of what went well, or has none."""


@dataclass(frozen=True)
class Filter:
    """Which records are shown; all that a part is None for.

    Attributes:
        name: a pattern for what is served, the contract, or contract and method.
        principal: a pattern for who it is.
        errors: only what went wrong.
        slow: only what took as many milliseconds.
    """

    name: str | None
    principal: str | None
    errors: bool
    slow: float | None

    def passes(self, record: Mapping[str, Any]) -> bool:
        """Whether it is shown. That records were lost always is."""
        fields = record["fields"]
        if record["kind"] == "Dropped":
            return True
        if self.name is not None and not any(fnmatchcase(name, self.name) for name in _names(fields)):
            return False
        if self.principal is not None and not fnmatchcase(record["principal"] or "", self.principal):
            return False
        if self.errors and not _is_bad(record):
            return False
        return self.slow is None or 1000 * fields.get("seconds", -1.0) >= self.slow


async def watch(
    peer: Peer,
    out: Output,
    *,
    kind: Annotated[
        list[str] | None, typer.Option(metavar="KIND", help="Only events of this kind; may be repeated.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="PATTERN", help="Only about this name, contract or contract.method: 'chat.*'.")
    ] = None,
    principal: Annotated[
        str | None, typer.Option(metavar="PATTERN", help="Only about peers that the host knows as this.")
    ] = None,
    errors: Annotated[bool, typer.Option("--errors", help="Only what went wrong.")] = False,
    slow: Annotated[
        float | None, typer.Option(metavar="MS", min=0, help="Only calls and streams that took as many milliseconds.")
    ] = None,
    count: Annotated[int | None, typer.Option(metavar="N", min=1, help="End after so many lines.")] = None,
) -> None:
    """Print what happens at a peer, as it happens: connections, calls, streams, capabilities.

    A host tells of all its connections those whom its policy grants capnet.events, and others of their own only. Ctrl-C
    ends it.
    """
    kinds = _checked(kind or ())
    chosen = Filter(name, principal, errors, slow)
    async with peer.open(grants=(GRANT,)) as connection:
        runtime = connection.runtime()
        whole = await is_told_all(runtime)
        async with aclosing(runtime.events(kinds or None)) as records:
            await runtime.ping()  # from here on we are told
            print(f"capnet watch: {_scope(whole)}; Ctrl-C ends it", file=sys.stderr, flush=True)
            async for record in records:
                if chosen.passes(record):
                    _show(record, out)
                    count = None if count is None else count - 1
                    if count == 0:
                        return


async def is_told_all(runtime: Runtime) -> bool:
    """Whether the peer tells us of all its connections."""
    try:
        await runtime.connections(2**53)
    except (PermissionDenied, Unimplemented):
        return False
    return True


def _scope(whole: bool) -> str:
    if whole:
        return "all connections of the host"
    return f"this connection only, for the policy there does not grant {GRANT} to us"


def _checked(kinds: Sequence[str]) -> list[str]:
    for kind in kinds:
        if kind not in KINDS:
            raise Stop(f"there is no event {kind!r}", hint=nearest(kind, KINDS) or f"there is {', '.join(KINDS)}")
    return list(kinds)


def _show(record: Mapping[str, Any], out: Output) -> None:
    if out.json:
        out.value(record)
        return
    event = event_of(record)
    fields = record["fields"]
    said = (
        " ".join((record["kind"], *(f"{name}={value}" for name, value in fields.items())))
        if event is None
        else words(event)
    )
    who = record["principal"] or record["peer"]
    at = datetime.fromtimestamp(record["time"]).strftime("%H:%M:%S.%f")[:-3]  # noqa: DTZ006 - as the clock on the wall
    style = "red" if _is_bad(record) else "dim" if record["kind"].endswith(("Started", "Began")) else ""
    out.line("  ".join(filter(None, (at, f"#{record['connection']}", who, said))), style)


def _names(fields: Mapping[str, Any]) -> list[str]:
    """All that an event could be looked for by."""
    names = [fields[key] for key in ("name", "contract") if fields.get(key)]
    method = fields.get("method")
    return names + [f"{name}.{method}" for name in names] if method else names


def _is_bad(record: Mapping[str, Any]) -> bool:
    fields = record["fields"]
    if fields.get("reason") == "stopped":  # a reader wanted no more
        return False
    return record["kind"] in BAD or fields.get("result") not in _FINE or record["kind"] == "Dropped"
