"""`Plugin`: one plugin that was loaded, as users see it."""

from __future__ import annotations

from typing import Generic, TypeVar

from anyio import current_time

from capnet.errors import CapnetError, Unavailable
from capnet.fanout.subscription import Subscription
from capnet.plugin.control import Manifest
from capnet.plugins.instance import Instance, memory_of
from capnet.plugins.life import Life
from capnet.plugins.output import Line
from capnet.plugins.spec import PluginSpec
from capnet.plugins.supervision import State

__all__ = ["Plugin"]

C = TypeVar("C")


class Plugin(Generic[C]):
    """What `PluginHost.load` gives. It stays the same however often its process is started again or swapped."""

    def __init__(self, life: Life[C]) -> None:
        self._life = life

    @property
    def slot(self) -> C:
        """What it gives, as something to keep: it outlives the plugin's processes.

        While none is ready, calls wait for `PluginSpec.wait` seconds, or fail at once when none is about to be. A call
        that a process has ended under is made again when it had not left or its method is idempotent; else it fails
        with `Unavailable`, reason `indeterminate`. What a call brings breaks with the process that it came from. See
        `capnet.Slot`.
        """
        return self._life.slot.proxy

    def waiting(self, seconds: float) -> C:
        """The same, whose calls wait for so long; 0 has them fail at once."""
        return self._life.slot.waiting(seconds)

    @property
    def spec(self) -> PluginSpec[C]:
        """How it is started now; a swap changes it."""
        return self._life.spec

    @property
    def name(self) -> str:
        """What its host calls it."""
        return self._life.spec.name

    @property
    def state(self) -> State:
        """What it is doing: `stopped`, `starting`, `ready`, `swapping`, `draining`, `backoff` or `quarantined`."""
        return self._life.supervision.state

    @property
    def failure(self) -> CapnetError | None:
        """What was said when it ended, or could not start, the last time; None when that has not happened."""
        return self._life.failure

    @property
    def generation(self) -> int:
        """Of what runs now: how many processes it has had, with those of swaps."""
        instance = self._life.instance
        return self._life.generation if instance is None else instance.generation

    @property
    def restarts(self) -> int:
        """How often it was started again because it had failed or ended."""
        return self._life.supervision.restarts

    @property
    def pid(self) -> int | None:
        """Its process; None when there is none of its own."""
        return None if self._life.instance is None else self._life.instance.pid

    @property
    def uptime(self) -> float | None:
        """Seconds since its process was started; None when there is none that is ready."""
        return None if self._life.instance is None else current_time() - self._life.instance.since

    @property
    def memory(self) -> int | None:
        """Bytes that its process has resident; None when there is none of its own, or the system does not tell."""
        return memory_of(self.pid)

    @property
    def manifest(self) -> Manifest:
        """What it says of itself.

        Raises:
            Unavailable: it does not run.
        """
        return self._running().manifest

    @property
    def output(self) -> tuple[Line, ...]:
        """The last lines that it wrote, oldest first."""
        return self._life.output.lines

    def follow(self) -> Subscription[Line]:
        """A stream of the lines that it writes from now on, until it is unloaded; who is slow misses the oldest."""
        return self._life.output.follow()

    async def check(self) -> None:
        """Ask whether it is well.

        Raises:
            FailedPrecondition: `unhealthy`, it says that it is not, or does not answer. Unavailable: it does not run.
        """
        await self._running().check()

    def __repr__(self) -> str:
        return f"<Plugin {self.name} {self.state}>"

    def _running(self) -> Instance[C]:
        instance = self._life.instance
        if instance is None:
            failure = f": {self.failure.message}" if self.failure is not None else ""
            raise Unavailable(f"plugin {self.name} is {self.state}{failure}", reason="not_running")
        return instance
