"""Many idle connections: the program of the host, and the program of the client that has them all.

    python -m tests.soak.many host LOOP PATH TRACED
    python -m tests.soak.many client LOOP PATH COUNT

The client says what was measured (`Outcome`). `measure` runs both.
"""

from __future__ import annotations

import gc
import resource
import sys
import tracemalloc
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import TypeVar

from anyio import create_task_group, fail_after, move_on_after, sleep_forever
from anyio.lowlevel import checkpoint
from msgspec import convert

from capnet import INJECT, CallContext, Cap, Connection, Host, HostLimits, call, connect
from capnet.dispatch.runner import IDLE_RUNNERS
from capnet.testing.pair import entries
from tests.soak.figures import Figures, on_loop, take
from tests.soak.programs import running, say

__all__ = ["OPENING", "Outcome", "allow_descriptors", "measure"]

T = TypeVar("T")
AT_ONCE = 64
"""Connections that are opened or used at the same time: fewer than a listener's queue holds."""
MOST = 20_000
"""Connections that the host takes, more than are opened."""
PER_CONNECTION = 40 * 1024
"""Bytes of the host's memory that one may cost (R12)."""
OPENING = 30.0
"""Seconds in which ten thousand must be open, with their hellos exchanged (R12)."""
SETTLING = 60.0
"""Seconds in which what was closed must be gone."""
PATIENCE = 600.0
"""Seconds that any step may take; a measured one has its bar in the test."""


class Meter(Cap, name="soak.Meter"):
    """What the client asks the host; each connection has it."""

    @call
    async def add(self, number: int) -> int:
        """One call."""
        ...

    @call
    async def figures(self, connections: int) -> Figures:
        """Of the host, once so many connections are open beside the one that asks, and of those alone."""
        ...


class RealMeter(Meter):
    """Tells."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def add(self, number: int) -> int:
        return number + 1

    async def figures(self, connections: int, ctx: CallContext = INJECT) -> Figures:
        def others() -> list[Connection]:
            return [one for one in self._host.connections if one is not ctx.connection]

        with fail_after(PATIENCE):
            while len(self._host.connections) != connections + 1:
                await checkpoint()
        with move_on_after(SETTLING):  # the last references are on their way back
            while entries(others()):
                await checkpoint()
        return take(others())


@dataclass
class Outcome:
    """What was measured; seconds, and the host's figures.

    Attributes:
        opening: until all were open, with their hellos exchanged.
        calling: until each had made a call.
        closing: until the host knew that all had closed.
        before: with no connection but the one that asks.
        idle: all open and nothing happens.
        called: after a call on each.
        after: as before.
    """

    opening: float
    calling: float
    closing: float
    before: Figures
    idle: Figures
    called: Figures
    after: Figures

    @property
    def per_connection(self) -> float:
        """Bytes of the host for each idle one, or for each after it has been used once, whatever is more."""
        return max(self._each(self.idle), self._each(self.called))

    def _each(self, figures: Figures) -> float:
        grown = (figures.traced - self.before.traced) or (figures.resident - self.before.resident)
        return grown / self.called.connections

    def __str__(self) -> str:
        count = self.called.connections
        return (
            f"{count} connections: {self._each(self.idle) / 1024:.1f} KiB each, "
            f"{self._each(self.called) / 1024:.1f} after a call on each; "
            f"opened in {self.opening:.1f} s, called in {self.calling:.1f}, closed in {self.closing:.1f}"
        )

    def check(self, most: int = PER_CONNECTION) -> None:
        """What must hold, however many there are.

        Args:
            most: bytes for each.

        Raises:
            AssertionError: it does not.
        """
        for figures in (self.before, self.idle, self.called, self.after):
            assert not figures.tables and not figures.uncollectable, figures
        assert self.idle.descriptors == self.called.descriptors == self.before.descriptors + self.called.connections
        assert self.after.descriptors == self.before.descriptors, self
        # How many runners are kept depends on how many calls came at once; those of all connections are no more.
        assert self.after.tasks <= self.before.tasks + IDLE_RUNNERS, self
        assert self.per_connection <= most, str(self)


def measure(loop: str, count: int, folder: Path, *, traced: bool = False) -> Outcome:
    """Run both programs.

    Args:
        traced: count the Python objects of the host, which takes its time; else only what it occupies.

    Raises:
        AssertionError: one of them has failed, or takes for ever.
    """
    path = str(folder / "s")
    with running("tests.soak.many", "host", loop, path, str(int(traced))) as host:
        assert next(host) == {"ready": True}
        with running("tests.soak.many", "client", loop, path, str(count)) as client:
            return convert(next(client), Outcome)


def allow_descriptors() -> int:
    """Let this process, and those it starts, have as many descriptors as it may; returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


async def serve(path: str) -> None:
    """The host: until killed."""
    async with Host(name="host", host_limits=HostLimits(max_connections=MOST)) as host:
        host.serve(RealMeter(host))
        await host.listen(f"unix:{path}")
        say({"ready": True})
        await sleep_forever()


async def have(path: str, count: int) -> None:
    """The client: open so many, call once on each, close them."""
    url = f"unix:{path}"
    async with connect(url) as asking:
        meter = await asking.bootstrap(Meter)
        await _open_and_close(url, AT_ONCE)  # what the first ones bring into being stays, however many follow
        before = await meter.figures(0)
        started = monotonic()
        async with Host() as many:
            connections: list[Connection] = []

            async def open_one(_: int) -> None:
                connection = await many.connect(url)
                connections.append(connection)
                await connection.ping()

            await _each(open_one, range(count))
            opening = monotonic() - started
            idle = await meter.figures(count)
            started = monotonic()

            async def call_one(connection: Connection) -> None:
                async with await connection.bootstrap(Meter) as theirs:
                    assert await theirs.add(1) == 2

            await _each(call_one, connections)
            calling = monotonic() - started
            called = await meter.figures(count)
            started = monotonic()
        after = await meter.figures(0)
        closing = monotonic() - started
        with move_on_after(SETTLING):  # tasks whose timer was cancelled end in the next turns of the loop
            while after.tasks > before.tasks + IDLE_RUNNERS:
                after = await meter.figures(0)
        outcome = Outcome(opening, calling, closing, before, idle, called, after)
    say(asdict(outcome))


async def _open_and_close(url: str, count: int) -> None:
    async with Host() as some:

        async def one(_: int) -> None:
            connection = await some.connect(url)
            async with await connection.bootstrap(Meter) as meter:
                await meter.add(1)

        await _each(one, range(count))


async def _each(do: Callable[[T], Awaitable[None]], things: Iterable[T]) -> None:
    """Do it for each, some at a time."""
    todo = iter(things)

    async def go_on() -> None:
        for thing in todo:
            await do(thing)

    with fail_after(PATIENCE):
        async with create_task_group() as tasks:
            for _ in range(AT_ONCE):
                tasks.start_soon(go_on)


if __name__ == "__main__":
    allow_descriptors()
    role, loop, where, *rest = sys.argv[1:]
    if role == "host":
        if int(rest[0]):
            tracemalloc.start()
        on_loop(loop, serve, where)
    else:
        gc.freeze()
        on_loop(loop, have, where, int(rest[0]))
