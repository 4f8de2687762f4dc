"""Which of several plugins it is: half of them are stopped, then half of those that are left, until one is."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from typing import Final

from anyio import CancelScope, run_process

from capnet.cli.exits import Exit, Stop
from capnet.cli.output import Output
from capnet.errors import CapnetError
from capnet.plugins import PluginControl

__all__ = ["bisect", "culprit"]

_RUNNING: Final = ("ready", "swapping")


async def bisect(control: PluginControl, command: str, out: Output) -> int:
    """Find the plugin with which a command fails, and start all others again at the end.

    Args:
        control: of the host.
        command: exits with 0 when all is well.
        out: where it is said.

    Raises:
        Stop: it does not fail, or fails without any of them, or needs more than one.
    """
    argv = shlex.split(command)
    if not argv:
        raise Stop("bisect needs a command that says whether all is well", hint="--test 'COMMAND'")
    running = [info.name for info in await control.plugins() if info.state in _RUNNING]
    now = set(running)

    async def fails(wanted: Collection[str]) -> bool:
        for name in running:
            if (name in now) != (name in wanted):
                await (control.start(name) if name in wanted else control.stop(name))
                now.symmetric_difference_update((name,))
        done = await run_process(argv, check=False, stdin=subprocess.DEVNULL)
        if not out.json:
            said = "fails" if done.returncode else "passes"
            out.line(f"{said} with {', '.join(name for name in running if name in now) or 'none'}")
        return done.returncode != 0

    try:
        found = await culprit(running, fails)
    except OSError as error:
        raise Stop(f"{argv[0]}: {error.strerror}") from error
    finally:
        with CancelScope(shield=True):
            for name in running:
                if name not in now:
                    with suppress(CapnetError):  # it does not start any more: the list says so
                        await control.start(name)
    if out.json:
        out.value({"plugin": found})
    else:
        out.line(f"it is {found}")
    return Exit.OK


async def culprit(names: Sequence[str], fails: Callable[[Collection[str]], Awaitable[bool]]) -> str:
    """The one with which it fails.

    Args:
        names: of all.
        fails: whether it does with some of them.

    Raises:
        Stop: there is no such one.
    """
    if not await fails(names):
        raise Stop("the command passes with all plugins: there is nothing to find", exit_code=Exit.FAILED)
    if await fails(()):
        raise Stop("the command fails without any plugin: it is none of them", exit_code=Exit.FAILED)
    left = list(names)
    while len(left) > 1:
        half = len(left) // 2
        for part in (left[:half], left[half:]):
            if await fails(part):
                left = part
                break
        else:
            raise Stop(
                f"the command passes with each half of {', '.join(left)}: it needs several of them",
                exit_code=Exit.FAILED,
            )
    return left[0]
