"""Thousands of links whose host is killed and started again: the program of the host, and that of the links.

    python -m tests.soak.herd host PATH
    python -m tests.soak.herd links PATH COUNT

The links say when all are up, and when all are back (`Back`). `measure` runs both, and kills the host between.
"""

from __future__ import annotations

import gc
import math
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic

import anyio
from msgspec import convert

from capnet import INJECT, CallContext, Cap, Host, HostLimits, Retry, call, link, options
from capnet.observe import ConnectionOpened, LimitHit, Reconnecting
from tests.soak.programs import running, say

__all__ = ["Back", "measure"]

MOST = 20_000
"""Connections that the host takes, more than there are links."""
AT_ONCE = 64
"""Links that are entered at the same time: fewer than a listener's queue holds."""
PATIENCE = 1200.0
BETWEEN = 0.02
"""Seconds between two calls of whoever has work to do meanwhile."""


class Gate(Cap, name="herd.Gate"):
    @options(idempotent=True)
    @call
    async def come(self) -> None:
        """One of the links is back."""
        ...

    @options(idempotent=True)
    @call
    async def work(self) -> None:
        """Somebody has work to do meanwhile."""
        ...

    @options(idempotent=True)
    @call
    async def told(self) -> dict[str, int]: ...


@dataclass
class Back:
    """What was counted.

    Attributes:
        links: there are; all are back.
        lost: links that are over.
        attempts: of the links, the first of each among them.
        opened: connections that the host has begun since it was started again.
        turned_away: by the host, when too many stood at its door.
        worked: calls that were answered meanwhile to somebody who had been let in before.
        between: connections that were let in between two of these, at most.
        crowd: connections that were let in within a tenth of a second, at most; depends on the machine.
        seconds: until all were back; depends on the machine.
    """

    links: int
    lost: int
    attempts: int
    opened: int
    turned_away: int
    worked: int
    between: int
    crowd: int
    seconds: float


class RealGate(Gate):
    """Counts."""

    def __init__(self, host: Host) -> None:
        self.opened = self.turned_away = self.worked = self.between = self.seen = 0
        self.crowds: Counter[int] = Counter()
        host.on(ConnectionOpened, self._opened)
        host.on(LimitHit, self._hit)

    def _opened(self, event: ConnectionOpened) -> None:
        self.opened += 1
        self.crowds[int(monotonic() * 10)] += 1

    def _hit(self, event: LimitHit) -> None:
        self.turned_away += event.limit == "max_strangers"

    async def come(self) -> None:
        return None

    async def work(self) -> None:
        if self.worked:
            self.between = max(self.between, self.opened - self.seen)
        self.worked += 1
        self.seen = self.opened

    async def told(self, ctx: CallContext = INJECT) -> dict[str, int]:
        counted = {name: getattr(self, name) for name in ("opened", "turned_away", "worked", "between")}
        return {**counted, "crowd": max(self.crowds.values(), default=0)}


def measure(count: int, folder: Path) -> Back:
    """Run both programs; the host is killed when all links are up, and started again."""
    path, told = str(folder / "s"), dict[str, dict[str, int]]()
    with running("tests.soak.herd", "links", path, str(count)) as links:
        for word in ("up", "back"):
            with running("tests.soak.herd", "host", path):
                told = next(links)
            assert word in told
    return convert(told["back"], Back)


async def serve(path: str) -> None:
    """The host: until killed."""
    async with Host(host_limits=HostLimits(max_connections=MOST)) as host:
        host.serve(RealGate(host))
        await host.listen(f"unix:{path}")
        await anyio.sleep_forever()


async def come(path: str, count: int) -> None:
    """The links: up, gone, and back."""
    url, retry = f"unix:{path}", Retry(budget=math.inf, jitter=1.0)
    entering, lost, attempts = anyio.CapacityLimiter(AT_ONCE), 0, 0
    up, back, begun = 0, 0, 0.0
    gone, over = anyio.Event(), anyio.Event()

    def tried(event: Reconnecting) -> None:
        nonlocal attempts, begun
        attempts += 1
        begun = begun or monotonic()

    async def one() -> None:
        nonlocal up, back, lost
        async with entering:
            mine = link(url, wait=retry)
            await mine.__aenter__()
            gate = await mine.bootstrap(Gate)
            await gate.come()
        try:
            up += 1
            mine.on(Reconnecting, tried)
            first = mine.connection
            assert first is not None
            await first.wait_closed()
            gone.set()
            await gate.come()
            back += 1
            await over.wait()
            lost += mine.connection is None
        finally:
            await mine.__aexit__(None, None, None)

    async def work() -> None:
        await gone.wait()
        async with link(url, wait=Retry(budget=math.inf, base=0.001, cap=0.01)) as mine:
            gate = await mine.bootstrap(Gate)
            while back < count:
                await gate.work()
                await anyio.sleep(BETWEEN)
            told = await gate.told()
            over.set()
            seconds = monotonic() - begun
        say({"back": asdict(Back(links=back, lost=lost, attempts=attempts, seconds=seconds, **told))})

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            for _ in range(count):
                tasks.start_soon(one)
            while up < count:  # noqa: ASYNC110 (nothing tells)
                await anyio.sleep(0.1)
            say({"up": up})


if __name__ == "__main__":
    from tests.soak.many import allow_descriptors

    allow_descriptors()
    role, where, *rest = sys.argv[1:]
    if role == "host":
        anyio.run(serve, where)
    else:
        gc.freeze()
        anyio.run(come, where, int(rest[0]))
