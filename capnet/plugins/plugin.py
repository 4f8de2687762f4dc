"""`Plugin`: one plugin that was loaded, over all its processes."""

from __future__ import annotations

import random
from typing import Any, Generic, TypeVar

from anyio import CancelScope, Lock, create_task_group, current_time, sleep_until
from anyio import Event as Signal

from capnet.errors import CapnetError, FailedPrecondition, Unavailable
from capnet.fanout.subscription import Subscription
from capnet.observe import Event
from capnet.plugin.control import Manifest
from capnet.plugins.events import PluginChanged, PluginEnded, PluginUnresponsive
from capnet.plugins.instance import Instance, condition_of
from capnet.plugins.launching import Site, launch
from capnet.plugins.output import Line, Output
from capnet.plugins.spec import PluginSpec
from capnet.plugins.supervision import State, Supervision

__all__ = ["Plugin"]

C = TypeVar("C")
_chance = random.SystemRandom().random


class Plugin(Generic[C]):
    """What `PluginHost.load` gives. It stays the same however often its process is started again or swapped."""

    def __init__(self, site: Site, spec: PluginSpec[C]) -> None:
        self.spec = spec
        """How it is started; a swap changes it."""
        self.failure: CapnetError | None = None
        """What was said when it ended, or could not start, the last time."""
        self.lock = Lock()
        """Whoever starts, stops or swaps it has this."""
        self._site = site
        self._output = Output(spec.name)
        self._supervision = Supervision.of(spec, _chance)
        self._instance: Instance[C] | None = None
        self._generation = 0
        self._again: CancelScope | None = None
        """Around the attempts to start it again."""
        self._tried = Signal()
        """Set when nobody attempts that."""
        self._tried.set()

    # What users ask

    @property
    def name(self) -> str:
        """What its host calls it."""
        return self.spec.name

    @property
    def state(self) -> State:
        """What it is doing: `stopped`, `starting`, `ready`, `swapping`, `draining`, `backoff` or `quarantined`."""
        return self._supervision.state

    @property
    def generation(self) -> int:
        """How many processes it has had."""
        return self._generation

    @property
    def restarts(self) -> int:
        """How often it was started again because it had failed or ended."""
        return self._supervision.restarts

    @property
    def pid(self) -> int | None:
        """Its process; None when there is none of its own."""
        return None if self._instance is None else self._instance.pid

    @property
    def manifest(self) -> Manifest:
        """What it says of itself.

        Raises:
            Unavailable: it does not run.
        """
        return self._running().manifest

    @property
    def slot(self) -> C:
        """A proxy of what it gives.

        Raises:
            Unavailable: it does not run.
        """
        return self._running().proxy

    @property
    def output(self) -> tuple[Line, ...]:
        """The last lines that it wrote, oldest first."""
        return self._output.lines

    def follow(self) -> Subscription[Line]:
        """A stream of the lines that it writes from now on, until it is unloaded; who is slow misses the oldest."""
        return self._output.follow()

    async def check(self) -> None:
        """Ask whether it is well.

        Raises:
            FailedPrecondition: `unhealthy`, it says that it is not, or does not answer. Unavailable: it does not run.
        """
        await self._running().check()

    def __repr__(self) -> str:
        return f"<Plugin {self.name} {self.state}>"

    # What its host does with it

    async def start(self) -> None:
        """Start it, and wait until it is ready; what it has failed with before is forgotten.

        Raises:
            FailedPrecondition: `running`, it runs. Whatever `launch` raises.
        """
        async with self.lock:
            await self._try_no_more()
            if self.state in ("starting", "ready", "swapping", "draining"):
                raise FailedPrecondition(f"plugin {self.name} runs", reason="running")
            self._supervision.start()
            try:
                await self._launch()
            except BaseException as error:
                self.failure = error if isinstance(error, CapnetError) else None
                self._supervision.stop()
                self._supervision.stopped()
                self.changed(str(error))
                raise

    async def stop(self, reason: str = "stopped", *, grace: float | None = None) -> None:
        """End its process; nothing starts it again but `start`.

        Args:
            reason: told to it.
            grace: seconds for what runs there; those of its spec when None.
        """
        async with self.lock:
            await self._try_no_more()
            instance, self._instance = self._instance, None
            self._supervision.stop()
            if instance is not None:
                self.changed(reason)
                await instance.stop(reason, grace=self.spec.grace if grace is None else grace)
                with CancelScope(shield=True):
                    await instance.over.wait()
            if self.state != "stopped" or instance is not None:
                self._supervision.stopped()
                self.changed(reason)

    def close(self) -> None:
        """It is unloaded."""
        self._output.close()

    # What becomes of its processes

    async def _launch(self) -> None:
        self._generation += 1
        self.changed()
        instance = await launch(self._site, self.spec, self._generation, self._output)
        self._supervision.is_ready(current_time())
        self.attend(instance)
        self.changed()

    def attend(self, instance: Instance[C]) -> None:
        """From now on this is its process."""
        self._instance = instance
        self._site.scope.start(self._attend, instance)

    async def _attend(self, instance: Instance[C]) -> None:
        async with create_task_group() as tasks:
            if instance.spec.heartbeat is not None:
                tasks.start_soon(self._feel, instance, instance.spec.heartbeat)
            await instance.ended()
            tasks.cancel_scope.cancel()
        self._tell_end(instance)
        if self._instance is instance:
            self._instance = None
            await self._has_ended(instance)

    async def _feel(self, instance: Instance[C], heartbeat: float) -> None:
        def unresponsive(seconds: float) -> None:
            self.publish(PluginUnresponsive, seconds=seconds, process=condition_of(instance.pid))

        await instance.heart(heartbeat, unresponsive)
        if not instance.connection.closed:
            instance.kill(f"its loop has not answered for {instance.spec.hang_timeout:g} s")
            await instance.connection.aclose("you do not answer", grace=0)

    async def _has_ended(self, instance: Instance[C]) -> None:
        """Nobody has asked for that."""
        how = instance.outcome()
        said = f"plugin {self.name} {how}{self._output.last(instance.generation)}"
        self.failure = Unavailable(said, reason="plugin_ended")
        self._supervision.ended(current_time(), failed=instance.failed)
        self.changed(how)
        await self._start_again()

    async def _start_again(self) -> None:
        """As often as it should be."""
        self._tried = Signal()
        try:
            with CancelScope() as self._again:
                while (due := self._supervision.due) is not None:
                    await sleep_until(due)
                    self._supervision.start_again()
                    try:
                        await self._launch()
                    except CapnetError as error:
                        self.failure = error
                        self._supervision.ended(current_time(), failed=True)
                        self.changed(error.message)
        finally:
            self._again = None
            self._tried.set()

    async def _try_no_more(self) -> None:
        if self._again is not None:
            self._again.cancel()
        with CancelScope(shield=True):
            await self._tried.wait()
        if self.state in ("starting", "backoff"):
            self._supervision.stop()
            self._supervision.stopped()

    # Events

    def publish(self, kind: type[Event], **fields: Any) -> None:
        """Tell observers of the host."""
        bus = self._site.host._services.bus  # noqa: SLF001 - a host tells of its own things there
        bus.publish(kind, plugin=self.name, generation=self._generation, **fields)

    def changed(self, reason: str = "") -> None:
        """Tell them of the state."""
        self.publish(PluginChanged, state=self.state, reason=reason, pid=self.pid)

    def _tell_end(self, instance: Instance[C]) -> None:
        self.publish(
            PluginEnded,
            returncode=instance.returncode,
            taken_back=instance.connection.stats()["taken_back"],
        )
        instance.over.set()

    def _running(self) -> Instance[C]:
        if self._instance is None:
            failure = f": {self.failure.message}" if self.failure is not None else ""
            raise Unavailable(f"plugin {self.name} is {self.state}{failure}", reason="not_running")
        return self._instance
