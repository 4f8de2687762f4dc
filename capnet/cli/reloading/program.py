"""`python -m capnet.cli.reloading.program LOOP TARGET…`: the process that has the modules, started by the host."""

from __future__ import annotations

import sys
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import anyio

import capnet
from capnet import Cap, Limits, connect
from capnet.cli.exits import Exit, failure_of
from capnet.cli.reloading.agreed import FRONT, Front
from capnet.cli.targets import implementation, named
from capnet.contract import contract_spec

__all__ = ["main"]

_OURS: Final = Path(capnet.__path__[0]).resolve()
_INSTALLED: Final = tuple(
    f"{path}/"
    for path in {
        *(Path(path).resolve() for path in sysconfig.get_paths().values()),
        *(_OURS, _OURS.with_name("capnet_transports")),
    }
    if path != Path(sys.prefix).resolve()
)
"""Where modules are that nobody edits who works on what is served."""


def main(words: Sequence[str]) -> int:
    """Load the targets, hand them to the host, and be there until it closes the connection.

    Args:
        words: the loop, then the targets.

    Returns the exit code: 2 when the targets are not there, 1 when they cannot be loaded.
    """
    loop, *targets = words
    # A file that is saved twice in a second, and is as long as before, looks the same to who reads what was compiled.
    sys.dont_write_bytecode = True
    backend, options = ("trio", {}) if loop == "trio" else ("asyncio", {"use_uvloop": loop == "uvloop"})
    try:
        found = [named(target) for target in targets]
    except Exception as error:
        return anyio.run(partial(_told, error), backend=backend, backend_options=options)
    return anyio.run(partial(_serve, found), backend=backend, backend_options=options)


async def _serve(found: Sequence[tuple[str | None, Any]]) -> int:
    async with connect("fd:", name="capnet run", limits=Limits.trusted()) as connection:
        front = await connection.bootstrap(Front, name=FRONT, wait=60)
        try:
            served: dict[str, Cap] = {}
            for name, target in found:
                made = await implementation(target)
                served[name or contract_spec(type(made)).name] = made
        except Exception as error:
            return await _tell(front, error)
        await front.ready(served, list(_own_files()))
        del served  # the host holds what it wants
        await connection.wait_closed()
    return Exit.OK


async def _told(error: Exception) -> int:
    async with connect("fd:", name="capnet run") as connection:
        return await _tell(await connection.bootstrap(Front, name=FRONT, wait=60), error)


async def _tell(front: Front, error: Exception) -> int:
    """Say why it cannot be served: what was named wrongly to the host, all else by a traceback."""
    failure = failure_of(error)
    if failure is not None and failure.exit_code == Exit.USAGE:
        await front.failed(list(_own_files()), str(failure), next(iter(failure.hints), None))
        return Exit.USAGE
    traceback.print_exception(type(error), error, _theirs(error.__traceback__))
    await front.failed(list(_own_files()))
    return Exit.FAILED


def _theirs(trace: TracebackType | None) -> TracebackType | None:
    """A traceback from where the user's own code begins; its end when there is none of that, as with bad syntax."""
    inside = last = trace
    while inside is not None and inside.tb_frame.f_code.co_filename.startswith((*_INSTALLED, "<frozen ")):
        inside, last = inside.tb_next, inside
    return inside or last


def _own_files() -> Iterator[str]:
    for module in tuple(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and file.endswith(".py"):
            path = str(Path(file).resolve())
            if not path.startswith(_INSTALLED):
                yield path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
