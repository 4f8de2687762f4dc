"""One process of a plugin, from its start until nothing is left of it."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import anyio
from anyio import CancelScope, current_time, move_on_after
from anyio import Event as Signal

from capnet.connection.connection import Connection
from capnet.connection.parts import STOP_TIMEOUT
from capnet.errors import CapnetError, FailedPrecondition
from capnet.plugin.control import Control, Manifest
from capnet.plugins.events import Condition
from capnet.plugins.spec import PluginSpec

__all__ = ["Instance", "condition_of", "memory_of"]

C = TypeVar("C")
MOMENT: Final = 1.0
"""Seconds that a plugin has for a sign of life at least, however long ago it was asked."""
POLL: Final = 0.005
"""Seconds between two looks at what still runs."""


class Instance(Generic[C]):
    """What runs for a plugin now, in a process of its own or in ours.

    Attributes:
        spec: how it was started.
        generation: counts the starts and swaps of its plugin.
        since: when it was started, by the clock of the loop.
        connection: to it.
        control: what it has for its host.
        manifest: what it says of itself.
        proxy: what it gives.
        written: set when its output has ended.
        over: set when it has been told that nothing is left of it.
        why: what the host has ended it for, when that was no wish of its users.
    """

    def __init__(self, spec: PluginSpec[C], generation: int, connection: Connection, written: Signal) -> None:
        self.spec = spec
        self.generation = generation
        self.since = current_time()
        self.connection = connection
        self.written = written
        self.control: Control
        self.manifest: Manifest
        self.proxy: C
        self.over = Signal()
        self.why = ""

    @property
    def pid(self) -> int | None:
        """Its process; None in ours."""
        process = self.connection.process
        return None if process is None else process.pid

    @property
    def returncode(self) -> int | None:
        """How its process has exited, as far as that is known."""
        process = self.connection.process
        return None if process is None else process.returncode

    def outcome(self) -> str:
        """What became of its process, or of the connection to it; follows its name in texts."""
        cause, code = self.connection.close_cause, self.returncode
        if self.why:
            return self.why
        if cause is not None and cause.kind in ("violation", "idle"):
            return f"was given up ({cause.kind}: {cause.message})"
        return "has ended" if code is None else how(code)

    @property
    def failed(self) -> bool:
        """Whether its end was a failure: all but exit code 0."""
        cause = self.connection.close_cause
        given_up = bool(self.why) or (cause is not None and cause.kind in ("violation", "idle"))
        return given_up or (self.returncode != 0 if self.pid is not None else cause is None or cause.kind != "remote")

    async def check(self) -> None:
        """Ask whether it is well.

        Raises:
            FailedPrecondition: `unhealthy`, it says that it is not, or does not answer.
        """
        said: str | None = None
        try:
            with anyio.fail_after(self.spec.check_timeout):
                said = await self.control.check()
        except (CapnetError, TimeoutError) as error:
            said = str(error) or f"no answer in {self.spec.check_timeout:g} s"
        if said is not None:
            raise FailedPrecondition(f"plugin {self.spec.name} is not well: {said}"[:2000], reason="unhealthy")

    async def ended(self) -> None:
        """Wait until its connection or its process has ended, whichever is first, and then for the other."""
        await self.connection.wait_closed()
        with move_on_after(STOP_TIMEOUT):  # it may be stuck in the system
            if self.connection.process is not None:
                await self.connection.process.wait()

    @property
    def calls(self) -> int:
        """Calls of this program's that run there, by whatever way they have come."""
        if self.connection.closed:
            return 0
        stats = self.connection.stats()
        return stats["calls"] + stats["calls_held"]

    async def idle(self, grace: float) -> None:
        """Wait until there is none, for so many seconds."""
        with move_on_after(grace):
            while self.calls:  # noqa: ASYNC110 - nothing tells
                await anyio.sleep(POLL)

    async def stop(self, reason: str, *, grace: float) -> None:
        """End it: what runs may end, its socket is closed, and its process is made to exit. Nobody can break that off.

        Args:
            reason: told to it.
            grace: seconds for what runs.
        """
        with CancelScope(shield=True):
            await self.connection.aclose(reason, grace=grace)

    def kill(self, why: str) -> None:
        """End its process now; in ours, its connection."""
        self.why = why
        process = self.connection.process
        if process is not None:
            process.send_signal(signal.SIGKILL)

    async def heart(self, seconds: float, unresponsive: Any) -> None:
        """Ask for a sign of life of its loop, again and again; returns when there was none for `hang_timeout`.

        Args:
            seconds: between two.
            unresponsive: called with the seconds since it was asked, when it has not answered until the next is due.
        """
        while not self.connection.closed:
            since = current_time()
            with suppress(CapnetError):
                with move_on_after(min(seconds, self.spec.hang_timeout)) as asked:
                    await self.connection.ping()
                if asked.cancelled_caught and not self.connection.closed:
                    unresponsive(current_time() - since)
                    # Our own loop may have stood still, and its answer may be here: it has a moment in any case.
                    left = since + self.spec.hang_timeout - current_time()
                    with move_on_after(max(left, min(MOMENT, self.spec.hang_timeout))) as waiting:
                        await self.connection.ping()
                    if waiting.cancelled_caught:
                        return
            await anyio.sleep(max(0.0, since + seconds - current_time()))


def how(code: int) -> str:
    """What an exit code says; follows the name of a process in texts."""
    if code >= 0:
        return f"exited with code {code}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"


def condition_of(pid: int | None) -> Condition:
    """What the system says of a process, whatever its loop does."""
    if pid is None or sys.platform != "linux":
        return "unknown"
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):
        return "has ended"
    return _CONDITIONS.get(state, "waits")


def memory_of(pid: int | None) -> int | None:
    """Bytes that a process has resident; None where the system does not tell."""
    if pid is None or sys.platform != "linux":
        return None
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


_CONDITIONS: Final[dict[bytes, Condition]] = {
    b"R": "runs",
    b"T": "stands still",
    b"t": "stands still",
    b"Z": "has ended",
}
