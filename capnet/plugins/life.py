"""The life of one plugin: its processes one after the other, and what is behind its slot meanwhile.

Whoever starts, stops or swaps it holds `lock`. What it does by itself, when a process ends that nobody has stopped,
goes on in tasks of the site. `stop` breaks off whatever is being tried and has not come to its end.
"""

from __future__ import annotations

import random
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final, Generic, TypeVar

from anyio import CancelScope, Lock, create_task_group, current_time, move_on_after, sleep_until
from anyio import Event as Signal

from capnet.errors import CapnetError, FailedPrecondition, Unavailable
from capnet.observe import Event
from capnet.plugins.events import PluginChanged, PluginEnded, PluginUnresponsive
from capnet.plugins.instance import Instance, condition_of
from capnet.plugins.launching import Site, launch
from capnet.plugins.output import Output
from capnet.plugins.spec import PluginSpec
from capnet.plugins.supervision import Rules, Supervision
from capnet.slots import Occupant, Slot

__all__ = ["Life"]

C = TypeVar("C")
LAST_WORDS: Final = 0.25
"""Seconds that the end of its output may come after the end of a process, so that its last words say why."""
_chance: Final = random.SystemRandom().random


class Life(Generic[C]):
    """Of one plugin.

    Attributes:
        site: where it runs.
        spec: how it is started; a swap changes it.
        supervision: its state, and when it is started again.
        slot: what its users hold.
        output: what it writes.
        instance: what runs now, if anything does.
        before: what ran before the swap that is on probation.
        generation: how many processes it has had.
        failure: what was said when it ended, or could not start, the last time.
        lock: see the module.
    """

    def __init__(self, site: Site, spec: PluginSpec[C]) -> None:
        self.site = site
        self.spec = spec
        self.supervision = Supervision(Rules.of(spec), _chance)
        self.slot: Slot[C] = Slot(spec.contract, wait=spec.wait, name=f"plugin {spec.name}")
        self.output = Output(spec.name)
        self.instance: Instance[C] | None = None
        self.before: Instance[C] | None = None
        self.generation = 0
        self.failure: CapnetError | None = None
        self.lock = Lock()
        self._trying: CancelScope | None = None
        """Around a start or a swap that somebody waits for."""
        self._restarting: CancelScope | None = None
        """Around the attempts to start it again."""
        self._tried = Signal()
        """Set when nobody tries to start it again."""
        self._tried.set()

    # For its host

    async def start(self) -> None:
        """Start it, and wait until it is ready; what it has failed with before is forgotten.

        Raises:
            FailedPrecondition: `running`, it runs. Unavailable: `stopped` meanwhile. Whatever `launch` raises.
        """
        async with self.lock:
            if self.supervision.state not in ("stopped", "quarantined", "backoff"):
                raise FailedPrecondition(f"plugin {self.spec.name} runs", reason="running")
            await self.try_no_more()
            self.supervision.start()
            self.slot.clear("it is starting")
            try:
                with self.trying():
                    await self._launch()
            except BaseException as error:
                self.failure = self._told(error)
                self._has_stopped(f"it could not start: {error}")
                raise

    async def stop(self, reason: str, *, grace: float | None, again: bool = False) -> None:
        """End its process; nothing starts it again but `start`.

        Args:
            reason: told to it, and to those who call it.
            grace: seconds for what runs there; those of its spec when None.
            again: whether it is started next, so that calls may wait for that.
        """
        if self._trying is not None:
            self._trying.cancel()
        async with self.lock:
            await self.try_no_more()
            instance, self.instance = self.instance, None
            if instance is None:
                if self.supervision.state != "stopped":
                    self._has_stopped(reason, again=again)
                return
            self.supervision.stop()
            self.slot.clear(reason, in_vain=not again)
            self.changed(reason)
            with CancelScope(shield=True):
                await self.retire(instance, reason, self.spec.grace if grace is None else grace)
                self._has_stopped(reason, again=again)

    async def begin_again(self, reason: str) -> None:
        """Stop it, if it runs, and start it in a moment: another one of its group has failed. See `Member`."""
        if self.instance is not None:
            await self.stop(reason, grace=None, again=True)
            self.supervision.start()
            self.supervision.ended(current_time(), failed=True)
            self.slot.clear(reason, in_vain=self.supervision.due is None)
            self.changed(reason)
            self.site.scope.start(self._start_again)

    async def close(self) -> None:
        """It is unloaded."""
        await self.slot.aclose("it was unloaded")
        self.output.close()

    # For swaps as well

    @contextmanager
    def trying(self) -> Generator[None]:
        """Around what `stop` breaks off.

        Raises:
            Unavailable: it has.
        """
        with CancelScope() as scope:
            self._trying = scope
            try:
                yield
            finally:
                self._trying = None
        if scope.cancelled_caught:
            raise Unavailable(f"plugin {self.spec.name} was stopped meanwhile", reason="stopped")

    async def try_no_more(self) -> None:
        """Nobody tries to start it again from now on; when it does not run then, it has stopped."""
        if self._restarting is not None:
            self._restarting.cancel()
            with CancelScope(shield=True):
                await self._tried.wait()
        if self.supervision.state in ("starting", "backoff"):
            self.supervision.stop()
            self.supervision.stopped()

    async def launched(self, spec: PluginSpec[C]) -> Instance[C]:
        """Another process, which is ready."""
        self.generation += 1
        if self.supervision.state == "starting":
            self.changed()
        instance = await launch(self.site, spec, self.generation, self.output)
        self.site.scope.start(self._attend, instance)
        return instance

    def put(self, instance: Instance[C]) -> Occupant[C] | None:
        """Calls go there from now on; what they went to before.

        Raises:
            CapnetError: it has ended.
        """
        before = self.slot.set(instance.proxy)
        self.instance = instance
        self.spec = instance.spec
        self.supervision.rules = Rules.of(instance.spec)
        return before

    async def retire(self, instance: Instance[C], reason: str, grace: float) -> None:
        """End what nothing new goes to; returns when nothing is left of it."""
        await instance.stop(reason, grace=grace)
        await instance.over.wait()

    def publish(self, kind: type[Event], **fields: Any) -> None:
        """Tell observers of the host."""
        bus = self.site.host._services.bus  # noqa: SLF001 - a host tells of its own things there
        bus.publish(kind, plugin=self.spec.name, **{"generation": self.generation, **fields})

    def changed(self, reason: str = "") -> None:
        """Tell them of the state."""
        pid = None if self.instance is None else self.instance.pid
        self.publish(PluginChanged, state=self.supervision.state, reason=reason, pid=pid)

    # What becomes of its processes

    async def _launch(self) -> None:
        instance = await self.launched(self.spec)
        self.supervision.is_ready(current_time())
        self.put(instance)
        self.changed()

    async def _attend(self, instance: Instance[C]) -> None:
        async with create_task_group() as tasks:
            if instance.spec.heartbeat is not None and instance.pid is not None:  # in this process it is our own
                tasks.start_soon(self._feel, instance, instance.spec.heartbeat)
            await instance.ended()
            tasks.cancel_scope.cancel()
        with move_on_after(LAST_WORDS):  # what it has started may hold its output for ever
            await instance.written.wait()
        taken_back = instance.connection.stats()["taken_back"]
        self.publish(PluginEnded, generation=instance.generation, returncode=instance.returncode, taken_back=taken_back)
        instance.over.set()
        if self.instance is instance:
            self.instance = None
            await self._has_ended(instance)

    async def _feel(self, instance: Instance[C], heartbeat: float) -> None:
        def unresponsive(seconds: float) -> None:
            process = condition_of(instance.pid)
            self.publish(PluginUnresponsive, generation=instance.generation, seconds=seconds, process=process)

        await instance.heart(heartbeat, unresponsive)
        if not instance.connection.closed:
            instance.kill(f"was killed: its loop has not answered for {instance.spec.hang_timeout:g} s")
            await instance.connection.aclose("you do not answer", grace=0)

    async def _has_ended(self, instance: Instance[C]) -> None:
        """Nobody has asked for that."""
        how = instance.outcome()
        said = f"plugin {self.spec.name} {how}{self.output.last(instance.generation)}"
        self.failure = Unavailable(said, reason="plugin_ended")
        if self.before is not None and not self.before.connection.closed:
            self.put(self.before)
            return
        self._ended(how, failed=instance.failed)
        if self.supervision.due is not None:
            for other in self.site.group_of(self.spec):
                await other.begin_again(f"plugin {self.spec.name} of its group {how}")
        await self._start_again()

    async def _start_again(self) -> None:
        """As often as it should be."""
        self._tried = Signal()
        try:
            with CancelScope() as self._restarting:
                while (due := self.supervision.due) is not None:
                    await sleep_until(due)
                    self.supervision.start_again()
                    try:
                        await self._launch()
                    except Exception as error:  # also of our own: no descriptors are left, say
                        self.failure = self._told(error)
                        self._ended(f"could not start: {self.failure.message}", failed=True)
        finally:
            self._restarting = None
            self._tried.set()

    def _told(self, error: BaseException) -> CapnetError:
        """The same to be kept, without what it went through."""
        if isinstance(error, CapnetError):
            return error.again()
        said = f"plugin {self.spec.name} could not start: {type(error).__name__}: {error}"
        return Unavailable(said, reason="not_started")

    def _ended(self, how: str, *, failed: bool) -> None:
        self.supervision.ended(current_time(), failed=failed)
        self.slot.clear(f"it {how}, and is {_WORDS[self.supervision.state]}", in_vain=self.supervision.due is None)
        self.changed(how)

    def _has_stopped(self, reason: str, *, again: bool = False) -> None:
        self.supervision.stop()
        self.supervision.stopped()
        self.slot.clear(reason, in_vain=not again)
        self.changed(reason)


_WORDS: Final = {"backoff": "started again", "quarantined": "in quarantine", "stopped": "not started again"}
