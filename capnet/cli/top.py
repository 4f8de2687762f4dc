"""`capnet top`: what a peer serves, and who is connected, again and again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, Final

import anyio
import typer

from capnet import Connection, PermissionDenied, Runtime, Unimplemented
from capnet.cli.output import Output
from capnet.cli.peer import Peer
from capnet.cli.text import clean
from capnet.cli.watch import GRANT

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["top"]

PAGES: Final = 64
"""Answers of the peer, with 64 connections each, of which one table is made at most."""
_FIGURES: Final = ("calls", "calls_out", "streams", "exports", "imports", "charge", "backlog")
_HEADS: Final = ("#", "who", "by", "calls", "out", "streams", "exports", "imports", "charge", "backlog")


class Sort(StrEnum):
    """By what the connections are sorted, the most first."""

    CALLS = "calls"
    STREAMS = "streams"
    EXPORTS = "exports"
    CHARGE = "charge"
    BACKLOG = "backlog"
    NUMBER = "connection"


@dataclass(frozen=True)
class Look:
    """What there was at one time.

    Attributes:
        whole: whether all connections are there, or ours alone.
        served: what may be bootstrapped, by name.
        connections: each with its figures.
        rtt: seconds that a ping took.
    """

    whole: bool
    served: Mapping[str, Mapping[str, Any]]
    connections: list[Mapping[str, Any]]
    rtt: float


async def top(
    peer: Peer,
    out: Output,
    *,
    every: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="Look again after so long.")] = 2.0,
    count: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Look so many times; once when nobody watches a terminal.")
    ] = None,
    sort: Annotated[Sort, typer.Option(metavar="|".join(Sort), help="What has most of it comes first.")] = Sort.CALLS,
) -> None:
    """Show what a peer serves and who is connected, with their calls, streams and capabilities, again and again.

    On a terminal the table is drawn anew until Ctrl-C; elsewhere it is printed once. A host shows all its connections
    to those whom its policy grants capnet.events, and to others their own.
    """
    if count is None and not out.on_terminal:
        count = 1
    async with peer.open(grants=(GRANT,)) as connection:
        if out.on_terminal and count is None:
            await _live(connection, peer.url, out, every, sort)
            return
        for number in range(count or 1):
            if number:
                await anyio.sleep(every)
            look = await _look(connection)
            if out.json:
                out.value(_plain(look))
            else:
                _print(look, peer.url, out, sort)


async def _look(connection: Connection) -> Look:
    rtt = await connection.ping()
    runtime = connection.runtime()
    try:
        served = await runtime.describe()
    except (PermissionDenied, Unimplemented):
        served = {}
    try:
        return Look(True, served, await _all(runtime), rtt)
    except (PermissionDenied, Unimplemented):
        return Look(False, served, [_own(await runtime.stats())], rtt)


async def _all(runtime: Runtime) -> list[Mapping[str, Any]]:
    everyone: list[Mapping[str, Any]] = []
    after = 0
    for _ in range(PAGES):
        some = await runtime.connections(after)
        if not some:
            break
        everyone += some
        after = some[-1]["connection"]
    return everyone


def _own(stats: Mapping[str, int]) -> Mapping[str, Any]:
    """Our own connection, as the other side's counters have it."""
    figures = {
        "calls": stats.get("answers", 0),
        "calls_out": stats.get("calls", 0),
        "charge": stats.get("call_charge", 0) + stats.get("held_charge", 0),
    }
    rest = {name: stats.get(name, 0) for name in _FIGURES if name not in figures}
    return {"connection": 0, "peer": "this connection", "principal": None, "transport": "", **figures, **rest}


def _plain(look: Look) -> dict[str, Any]:
    served = {
        name: {key: one.get(key) for key in ("contract", "version", "generation")} for name, one in look.served.items()
    }
    return {
        "all": look.whole,
        "rtt_ms": round(1000 * look.rtt, 3),
        "served": served,
        "connections": look.connections,
    }


def _headline(look: Look, url: str) -> str:
    many = f"connections {len(look.connections)}" if look.whole else f"this connection only (no grant {GRANT})"
    sums = [f"{key} {sum(int(one[key]) for one in look.connections)}" for key in ("calls", "streams", "exports")]
    return f"{url}: {', '.join((many, *sums))}, ping {1000 * look.rtt:.1f} ms"


def _served(look: Look) -> list[str]:
    return [
        f"serves {name}"
        + (f" ({one.get('contract')})" if one.get("contract") != name else "")
        + f" version {one.get('version')}, generation {one.get('generation')}"
        for name, one in sorted(look.served.items())
    ]


def _rows(look: Look, sort: Sort) -> list[tuple[str, ...]]:
    by = sort.value
    ordered = sorted(look.connections, key=lambda one: (-one[by] if by != "connection" else 0, one["connection"]))
    return [
        (
            str(one["connection"] or ""),
            str(one["principal"] or one["peer"]),
            str(one["transport"]),
            *(str(one[name]) for name in _FIGURES),
        )
        for one in ordered
    ]


def _print(look: Look, url: str, out: Output, sort: Sort) -> None:
    out.line(_headline(look, url), "bold")
    for line in _served(look):
        out.line(line)
    out.table(_HEADS, _rows(look, sort), right=("#", *_HEADS[3:]))


async def _live(connection: Connection, url: str, out: Output, every: float, sort: Sort) -> None:
    """The table, drawn anew in the same place until Ctrl-C."""
    from rich.live import Live

    # It is drawn by nobody but us: a thread that redraws would need the interpreter while calls wait for it.
    with Live(console=out.console, auto_refresh=False, transient=False) as live:
        while True:
            started = monotonic()
            look = await _look(connection)
            live.update(_drawn(look, url, sort, out.console.height), refresh=True)
            await anyio.sleep(max(0.0, every - (monotonic() - started)))


def _drawn(look: Look, url: str, sort: Sort, height: int) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    lines = [Text(clean(line)) for line in _served(look)][: max(1, height // 3)]
    rows = _rows(look, sort)
    room = max(1, height - len(lines) - 6)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, head in enumerate(_HEADS):
        table.add_column(head, justify="left" if number in (1, 2) else "right", no_wrap=True)
    for row in rows[:room]:
        table.add_row(*(Text(clean(cell)) for cell in row))
    more = [Text(f"… and {len(rows) - room} more")] if len(rows) > room else []
    return Group(Text(clean(_headline(look, url)), "bold"), *lines, table, *more)
