"""`run`: the program around a plugin's main function."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, cast

import anyio

from capnet.connection.connect import connect
from capnet.errors import ContractError, Unavailable
from capnet.limits import Limits
from capnet.plugin.manifest import Main, declared
from capnet.plugin.service import serve

__all__ = ["NOT_A_PLUGIN", "found", "run"]

NOT_A_PLUGIN: Final = 64
"""Exit code of a plugin that somebody has started by hand: EX_USAGE of <sysexits.h>."""


def run(
    main: Main,
    *,
    started_by: str | None = None,
    limits: Limits | None = None,
    backend: Literal["asyncio", "trio"] = "asyncio",
    backend_options: Mapping[str, Any] | None = None,
) -> None:
    """Be a plugin: run a main function when the host says so, and serve what it gives until the host has gone.

        async def main(host: HostApi) -> Speller:
            return MySpeller(await host.dictionary("en"))

        if __name__ == "__main__":
            capnet.plugin.run(main)

    What the host wants to know stands in its annotations. Each parameter is a capability that the host has exposed, by
    its contract (`HostApi | None` when the plugin does without), or `capnet.plugin.Context`; the result is what the
    plugin gives. The program may print: that has nothing to do with the connection.

    The object that it gives may have methods that are not of its contract: `check`, which is awaited when the host
    wants to know whether the plugin is well, and returns or raises what is wrong; `export_state`, an async generator
    of bytes, and `import_state`, which takes what another version of the plugin has given, in a swap; `aclose`.

    Args:
        main: the function.
        started_by: what starts this plugin, for who starts it by hand.
        limits: bounds that hold for the host.
        backend: the event loop.
        backend_options: for `anyio.run`.

    It exits with code 64 when no host has started it, and with 1 when the main function has failed.

    Raises:
        ContractError: the main function is declared wrongly.
    """
    declared(main)
    if not os.environ.get("CAPNET_PLUGIN"):
        _refuse(started_by)
    failure = anyio.run(_run, main, limits, started_by, backend=backend, backend_options=dict(backend_options or {}))
    if failure is not None:
        sys.exit(1)


async def _run(main: Main, limits: Limits | None, started_by: str | None) -> Exception | None:
    try:
        async with connect("fd:", name=getattr(main, "__module__", ""), limits=limits) as connection:
            return (await serve(main, connection)).failure
    except Unavailable as error:
        if error.reason != "not_a_plugin":
            raise
        _refuse(started_by)


def _refuse(started_by: str | None) -> NoReturn:
    name = Path(sys.argv[0]).name or "this"
    start = f"start {started_by}, which starts it" if started_by else "a host starts it, by capnet.PluginHost"
    sys.stderr.write(f"{name} is a plugin and does nothing by itself; {start}.\n")
    sys.exit(NOT_A_PLUGIN)


def found(target: str) -> Main:
    """The main function that `module:function` names; an import error in it is its own.

    Raises:
        ContractError: there is no such module or function.
    """
    module, _, name = target.partition(":")
    value: Any = import_module(module)
    try:
        for part in (name or "main").split("."):
            value = getattr(value, part)
    except AttributeError:
        raise ContractError(f"{module} has no {name or 'main'}") from None
    return cast("Main", value)
