"""`capnet plugin`: look after the plugins of a host that runs."""

from __future__ import annotations

import sys
from contextlib import aclosing
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Final

import typer
from anyio import fail_after

from capnet.cli.bisect import bisect
from capnet.cli.exits import Exit, Stop
from capnet.cli.output import Output
from capnet.cli.peer import Peer
from capnet.plugins import PluginControl, PluginInfo

__all__ = ["plugin"]


class Action(StrEnum):
    """What is done."""

    LS = "ls"
    START = "start"
    STOP = "stop"
    RESTART = "restart"
    SWAP = "swap"
    CHECK = "check"
    LOGS = "logs"
    BISECT = "bisect"


async def plugin(
    action: Annotated[
        Action, typer.Argument(metavar="ACTION", help="ls, start, stop, restart, swap, check, logs, bisect.")
    ],
    peer: Peer,
    out: Output,
    name: Annotated[str | None, typer.Argument(metavar="PLUGIN", help="Which one; all, for ls, check, bisect.")] = None,
    *,
    served: Annotated[
        str, typer.Option(metavar="NAME", help="The name under which the host serves its control.")
    ] = "plugins",
    last: Annotated[int, typer.Option(metavar="N", min=0, help="With logs: so many of the last lines.")] = 50,
    test: Annotated[str, typer.Option(metavar="COMMAND", help="With bisect: what exits with 0 when all is well.")] = "",
    follow: Annotated[bool, typer.Option("--follow", help="With logs: and all that come, until Ctrl-C.")] = False,
) -> int | None:
    """Look after the plugins of a host that runs: list them, start, stop, restart, swap or check one, read its logs.

    A swap starts the program of a plugin anew and has it take the old one's place, and no call is lost. The exit code
    is 1 when a plugin is not well. To bisect finds the plugin with which a command of yours fails: it stops half of
    them, then half of the rest, and starts all of them again at the end.
    """
    if name is None and action not in (Action.LS, Action.CHECK, Action.BISECT):
        raise Stop(f"{action} needs the name of a plugin", hint=f"capnet plugin ls {peer.url}")
    async with peer.open() as connection:
        with fail_after(peer.timeout):
            control = await connection.bootstrap(PluginControl, name=served)
        match action:
            case Action.LS:
                await _ls(control, name, out)
            case Action.CHECK:
                return await _check(control, name, out)
            case Action.BISECT:
                return await bisect(control, test, out)
            case Action.LOGS:
                await _logs(control, str(name), last, follow, out)
            case Action.SWAP:
                report = await control.swap(str(name))
                if out.json:
                    out.value({"plugin": name, **asdict(report)})
                else:
                    state = f", with {report.state} bytes of state" if report.state else ""
                    out.line(f"{name}: process {report.generation} answers{state}; it took {report.seconds:.1f} s")
            case Action.START | Action.STOP | Action.RESTART:
                act = {Action.START: control.start, Action.STOP: control.stop, Action.RESTART: control.restart}
                await act[action](str(name))
                await _ls(control, name, out)
    return None


async def _ls(control: PluginControl, name: str | None, out: Output) -> None:
    found = [info for info in await control.plugins() if name in (None, info.name)]
    if out.json:
        for info in found:
            out.value(asdict(info))
        return
    if not found:
        print("capnet plugin: there is none", file=sys.stderr)
        return
    out.table(_HEADS, [_row(info) for info in found], right=_HEADS[2:8])
    for info in found:
        if info.state != "ready" and info.failure is not None:
            out.line(f"{info.name}: {info.failure}", "red")


_HEADS: Final = ("name", "state", "process", "up", "memory", "version", "generation", "restarts", "contract")


def _row(info: PluginInfo) -> tuple[str, ...]:
    return (
        *(info.name, info.state),
        "" if info.pid is None else str(info.pid),
        "" if info.uptime is None else _duration(info.uptime),
        "" if info.memory is None else f"{info.memory / 2**20:.0f} MiB",
        "" if info.version is None else str(info.version),
        *(str(info.generation), str(info.restarts), info.contract),
    )


def _duration(seconds: float) -> str:
    """In the largest unit of which it is one at least."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


async def _check(control: PluginControl, name: str | None, out: Output) -> int:
    names = [info.name for info in await control.plugins()] if name is None else [name]
    wrong = {one: await control.check(one) for one in names}
    for one, said in wrong.items():
        if out.json:
            out.value({"plugin": one, "well": said is None, "said": said})
        else:
            out.line(f"{one}: {'well' if said is None else said}", "" if said is None else "red")
    return Exit.FAILED if any(wrong.values()) else Exit.OK


async def _logs(control: PluginControl, name: str, last: int, follow: bool, out: Output) -> None:
    async with aclosing(control.output(name, last=last, follow=follow)) as lines:
        async for line in lines:
            if out.json:
                out.value(asdict(line))
                continue
            fields = "".join(f" {field}={value!r}" for field, value in line.fields.items())
            out.line(f"[{line.level}] {line.text}{fields}", _STYLES.get(line.level, ""))


_STYLES: Final = {"warning": "yellow", "error": "red", "critical": "red", "debug": "dim"}
