"""A day's work at full speed: the program of the host, and the program of the client that does it.

    python -m tests.soak.day host LOOP PATH TRACED
    python -m tests.soak.day client LOOP PATH TRACED DAY

The day has rounds of the same work; after each half everything is at rest, and both sides take their figures. So what
grows, grows with the work. The client says how far it is, and at the end what was found (`Evening`). `spend` runs both.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Final

from anyio import create_task_group, fail_after, move_on_after, sleep, sleep_forever
from anyio.lowlevel import checkpoint
from msgspec import convert

from capnet import (
    INJECT,
    Admission,
    CallCancelled,
    CallContext,
    CallInfo,
    Cap,
    Connection,
    Host,
    Limits,
    PermissionDenied,
    Revoked,
    Unavailable,
    call,
    connect,
    notify,
    pipe,
)
from capnet.dispatch.runner import IDLE_RUNNERS
from capnet.testing.pair import entries
from tests.connection.desk import VALUE, Desk, Item, MemDesk, OwnItem, count, successor
from tests.soak.figures import Figures, on_loop, take
from tests.soak.programs import running, say

__all__ = ["LONG", "SHORT", "Day", "Evening", "spend"]

BATCH: Final = 32
"""Calls, or capabilities, that are on their way at once."""
CANCELS_PER_SECOND: Final = 150
"""What a connection allows itself; the peer takes 200, and a burst (P-LIMIT-4)."""
CANCELS_AT_ONCE: Final = 500
SETTLING: Final = 10.0
"""Seconds in which everything must be at rest."""
PATIENCE: Final = 120.0
"""Seconds that one round may take."""
QUIET: Final = Limits(keepalive=0.2, keepalive_timeout=30)


@dataclass(frozen=True)
class Day:
    """What is done in each round, on each of the connections that last.

    Attributes:
        rounds: an even number.
        connections: that last all day.
        calls: that only bring a value back; other work makes calls as well.
        exports: capabilities that are handed over and given back, half of them each way.
        streams: of several kinds, each way and both ways, some not read to their end.
        cancels: calls that are given up, early and late.
        reconnects: further connections, closed in order or cut with work on them.
        denials: what the policy refuses, names and calls.
        revocations: capabilities that are taken back.
    """

    rounds: int
    connections: int
    calls: int
    exports: int
    streams: int
    cancels: int
    reconnects: int
    denials: int
    revocations: int


LONG: Final = Day(
    rounds=100, connections=10, calls=1000, exports=200, streams=20, cancels=20, reconnects=2, denials=2, revocations=2
)
"""10^6 calls, 2·10^5 exports, 2·10^4 streams and cancels, 2,000 reconnects, denials and revocations, 100 swaps."""
SHORT: Final = Day(
    rounds=10, connections=2, calls=250, exports=50, streams=6, cancels=6, reconnects=1, denials=2, revocations=2
)
"""A two hundredth of it."""


@dataclass
class Noon:
    """Both sides at rest."""

    host: Figures
    client: Figures


@dataclass
class Evening:
    """What was found.

    Attributes:
        done: how often the client did what.
        seen: how often the host did what.
        seconds: that the day took.
        pings: that the idle connection has sent because of silence.
        morning: before the first round, one connection open each.
        noon, night: after half of the rounds and after all, the connections that last open.
        end: all of them closed.
    """

    done: dict[str, int]
    seen: dict[str, int]
    seconds: float
    pings: int
    morning: Noon
    noon: Noon
    night: Noon
    end: Noon

    def grown(self) -> dict[str, int]:
        """Bytes between noon and night, by what they are."""
        return {
            "host resident": self.night.host.resident - self.noon.host.resident,
            "host traced": self.night.host.traced - self.noon.host.traced,
            "client resident": self.night.client.resident - self.noon.client.resident,
            "client traced": self.night.client.traced - self.noon.client.traced,
        }

    def __str__(self) -> str:
        done = ", ".join(f"{count:,} {what}" for what, count in self.done.items())
        grown = ", ".join(f"{what} {size / 1024:+.0f} KiB" for what, size in self.grown().items())
        return f"{done}; {self.pings} pings; {self.seconds:.0f} s; from noon to night: {grown}"

    def check(self, *, traced: int, resident: int | None = None) -> None:
        """What must hold after any day.

        Args:
            traced: bytes of Python objects that either process may have more at night than at noon.
            resident: the same of memory that it occupies, where that is told.

        Raises:
            AssertionError: it does not.
        """
        for moment in (self.morning, self.noon, self.night, self.end):
            for figures in (moment.host, moment.client):
                assert not figures.tables and not figures.uncollectable, moment
        for of in ("host", "client"):
            noon, night = getattr(self.noon, of), getattr(self.night, of)
            morning, end = getattr(self.morning, of), getattr(self.end, of)
            assert night.descriptors == noon.descriptors and end.descriptors == morning.descriptors, (of, self)
            assert night.connections == noon.connections and end.connections == morning.connections, (of, self)
            assert end.tasks <= morning.tasks + IDLE_RUNNERS, (of, self)
            assert resident is None or night.resident - noon.resident <= resident, (of, str(self))
            assert night.traced - noon.traced <= traced, (of, str(self))
        assert self.seen["waits begun"] == self.seen["waits ended"]
        assert self.seen["items made"] == self.seen["items closed"]
        assert self.seen["desks made"] == self.seen["desks closed"] + 1
        assert self.pings, "the idle connection sent no ping"


def spend(day: Day, loop: str, folder: Path, *, traced: bool, progress: Callable[[str], None] | None = None) -> Evening:
    """Run both programs for a day.

    Args:
        traced: count Python objects, which takes its time; else only what the processes occupy.
        progress: told of each tenth.

    Raises:
        AssertionError: one of them has failed.
    """
    path, trace = str(folder / "s"), str(int(traced))
    with running("tests.soak.day", "host", loop, path, trace) as host:
        assert next(host) == {"ready": True}
        plan = ",".join(str(number) for number in asdict(day).values())
        with running("tests.soak.day", "client", loop, path, trace, plan) as client:
            for told in client:
                if "progress" not in told:
                    return convert(told, Evening)
                if progress is not None:
                    progress(f"{loop}: {told['progress']}")
    raise AssertionError("the client ended without its figures")


# --- contracts ---


class Vault(Cap, name="soak.Vault"):
    """Nobody may have it."""

    @call
    async def open(self) -> None: ...


class Warden(Cap, name="soak.Warden"):
    """What the client asks of the host itself."""

    @call
    async def figures(self, connections: int) -> Figures:
        """Once so many connections are open beside the one that asks, of those alone."""
        ...

    @call
    async def seen(self) -> dict[str, int]: ...
    @call
    async def swap(self) -> None:
        """Put a new desk in the place of the old one."""
        ...

    @call
    async def fail_to_swap(self) -> None:
        """Prepare a new desk, and roll back."""
        ...


# --- the host ---


class MemVault(Vault):
    """Behind the policy."""

    async def open(self) -> None:
        raise AssertionError("the policy lets nobody come here")


class RealWarden(Warden):
    """Tells."""

    def __init__(self, host: Host, tally: Counter[str], lent: dict[str, Item]) -> None:
        self._host = host
        self._tally = tally
        self._lent = lent

    async def figures(self, connections: int, ctx: CallContext = INJECT) -> Figures:
        def others() -> list[Connection]:
            return [one for one in self._host.connections if one is not ctx.connection]

        with move_on_after(SETTLING):
            while len(self._host.connections) != connections + 1 or entries(others()):
                await checkpoint()
        return take(others())

    async def seen(self) -> dict[str, int]:
        return dict(self._tally)

    async def swap(self) -> None:
        await self._host.replace(MemDesk(self._tally, self._lent))

    async def fail_to_swap(self) -> None:
        with suppress(LookupError):
            async with self._host.swap(MemDesk(self._tally, self._lent)):
                raise LookupError


class Rules:
    """The policy."""

    def admit(self, request: Admission, /) -> bool:
        """No vault."""
        return request.name != "soak.Vault"

    def guard(self, call: CallInfo, /) -> bool:
        """No secrets."""
        return call.method != "secret"


async def serve(path: str) -> None:
    """The host: until killed."""
    tally: Counter[str] = Counter()
    lent: dict[str, Item] = {}
    async with Host(name="host", policy=Rules()) as host:
        host.serve_all(MemDesk(tally, lent), MemVault(), RealWarden(host, tally, lent))
        await host.listen(f"unix:{path}")
        say({"ready": True})
        await sleep_forever()


# --- the client ---


class Worker:
    """One connection that lasts, and its work. Between rounds it holds nothing."""

    desk: Desk

    def __init__(self, connection: Connection, done: Counter[str]) -> None:
        self.connection = connection
        self.done = done
        self.began = monotonic()
        self.cancelled = 0

    async def work(self, day: Day) -> None:
        """A round."""
        async with await self.connection.bootstrap(Desk) as self.desk:
            await self.call(day.calls)
            await self.export(day.exports)
            for number in range(day.streams):
                await self.stream(number)
            await self.cancel(day.cancels)
            for number in range(day.denials):
                await self.be_denied(number)
            for number in range(day.revocations):
                await self.be_robbed(number)
        del self.desk

    async def call(self, count: int) -> None:
        """Many at once, one of them one-way, one of them on what another will bring."""
        for size in _batches(count):
            notify(self.desk.echo)(VALUE)
            piped = pipe(self.desk.make("piped")).label()
            calls = [self.desk.echo(VALUE) for _ in range(size - 2)]
            for one in calls:
                assert await one == VALUE
            assert await piped == "piped"
            self.done["calls"] += size

    async def export(self, count: int) -> None:
        """Theirs to us, ours to them; given back in order, or by letting go."""
        for size in _batches(count):
            theirs = [await made for made in [self.desk.make(str(number)) for number in range(size // 2)]]
            labels = [item.label() for item in theirs]
            ours = [self.desk.read(OwnItem(str(number))) for number in range(size // 2, size - 1)]
            asked = self.desk.ask(successor, size)
            for item in theirs[::2]:
                await item.aclose()
            del theirs
            assert [await label for label in (*labels, *ours)] == [str(number) for number in range(size - 1)]
            assert await asked == size + 1
            self.done["exports"] += size

    async def stream(self, number: int) -> None:
        """One of several kinds."""
        match number % 5:
            case 0:
                assert [n async for n in self.desk.numbers(50)] == list(range(50))
            case 1:
                assert await self.desk.add(count(50)) == sum(range(50))
            case 2:
                assert [n async for n in self.desk.double(count(50))] == [2 * n for n in range(50)]
                self.done["streams"] += 1
            case 3:
                async with aclosing(self.desk.numbers(10**9)) as numbers:
                    assert await anext(numbers) == 0
            case _:
                items = self.desk.items(3)
                assert await (await anext(items)).label() == "0"
        self.done["streams"] += 1

    async def cancel(self, count: int) -> None:
        """Before it has left, on its way, and while its handler runs; no faster than the peer allows."""
        for number in range(count):
            allowed = CANCELS_AT_ONCE + (monotonic() - self.began) * CANCELS_PER_SECOND
            if self.cancelled >= allowed:
                await sleep((self.cancelled - allowed + 1) / CANCELS_PER_SECOND)
            waiting: Any = self.desk.wait()
            if number % 3:
                await (checkpoint() if number % 3 == 1 else self.desk.echo(VALUE))
            waiting.cancel()
            with suppress(CallCancelled):
                await waiting
                raise AssertionError("a call that was cancelled has returned")
            self.cancelled += 1
            self.done["cancels"] += 1

    async def be_denied(self, number: int) -> None:
        """A name, or a call."""
        try:
            await (self.connection.bootstrap(Vault) if number % 2 else self.desk.secret())
        except PermissionDenied:
            self.done["denials"] += 1
        else:
            raise AssertionError("the policy has let it pass")

    async def be_robbed(self, number: int) -> None:
        """What was lent is taken back."""
        label = f"{self.connection.number}-{number}"
        lent = await self.desk.lend(label)
        assert await lent.label() == label
        assert await self.desk.recall(label) == 1
        try:
            await lent.label()
        except Revoked:
            self.done["revocations"] += 1
        else:
            raise AssertionError("a capability that was revoked has answered")


async def come_and_go(url: str, number: int, done: Counter[str]) -> None:
    """A connection with a little of everything on it, closed in order or cut."""
    async with connect(url) as connection:
        desk = await connection.bootstrap(Desk)
        assert await desk.echo(VALUE) == VALUE
        item = await desk.make("kept")
        numbers = desk.numbers(10**9)
        assert await anext(numbers) == 0
        adding: Any = desk.add(count(10**9))
        waiting: Any = desk.wait()
        assert await item.label() == "kept"
        if number % 3 == 0:
            waiting.cancel()
            adding.cancel()
            await numbers.aclose()
            await connection.aclose()
        elif number % 3 == 1:
            await connection.aclose(grace=0)
        else:
            connection._session.driver.transport.abort()
            await connection.wait_closed()
        for ended in (adding, waiting):
            with suppress(Unavailable, CallCancelled):
                await ended
                raise AssertionError("a call has returned that was cut off")
    done["reconnects"] += 1


async def live(path: str, day: Day) -> None:
    """The client."""
    url = f"unix:{path}"
    done: Counter[str] = Counter()
    async with connect(url) as asking, await asking.bootstrap(Warden) as warden:
        for number in range(3):
            await come_and_go(url, number, Counter())
        morning = await _rest(warden, [])
        started = monotonic()
        async with connect(url, limits=QUIET) as quiet, _workers(url, day.connections, done) as workers:
            lasting = [quiet, *(worker.connection for worker in workers)]

            async def half(first: int) -> Noon:
                for number in range(first, first + day.rounds // 2):
                    with fail_after(PATIENCE):
                        await _round(url, day, workers, warden, done)
                    if number % max(1, day.rounds // 10) == 0:
                        say({"progress": f"round {number + 1} of {day.rounds}, {monotonic() - started:.0f} s"})
                return await _rest(warden, lasting)

            noon = await half(0)
            night = await half(day.rounds // 2)
            assert not any(connection.closed for connection in lasting), [one.close_cause for one in lasting]
            seconds, pings = monotonic() - started, quiet._session.engine.keepalive.number
        end = await _rest(warden, [], morning)
        seen = await warden.seen()
    say(asdict(Evening(dict(done), seen, seconds, pings, morning, noon, night, end)))


@asynccontextmanager
async def _workers(url: str, count: int, done: Counter[str]) -> AsyncGenerator[list[Worker]]:
    async with AsyncExitStack() as stack:
        yield [Worker(await stack.enter_async_context(connect(url)), done) for _ in range(count)]


async def _round(url: str, day: Day, workers: list[Worker], warden: Warden, done: Counter[str]) -> None:
    async def come_and_go_often(first: int) -> None:
        for number in range(day.reconnects):
            await come_and_go(url, first + number, done)

    async with create_task_group() as tasks:
        for position, worker in enumerate(workers):
            tasks.start_soon(worker.work, day)
            tasks.start_soon(come_and_go_often, position * day.reconnects)
        await warden.swap()
        await warden.fail_to_swap()
    done["swaps"] += 1


async def _rest(warden: Warden, connections: list[Connection], like: Noon | None = None) -> Noon:
    """Both sides, once nothing happens any more.

    Args:
        like: with no more tasks than there were then, but for idle runners.
    """
    with move_on_after(SETTLING):
        while entries(connections):
            await checkpoint()
    noon = Noon(await warden.figures(len(connections)), take(connections))
    with move_on_after(SETTLING):
        while (
            like is not None
            and max(noon.host.tasks - like.host.tasks, noon.client.tasks - like.client.tasks) > IDLE_RUNNERS
        ):
            noon = Noon(await warden.figures(len(connections)), take(connections))
    return noon


def _batches(count: int) -> Iterator[int]:
    """Sizes that come to a count."""
    for start in range(0, count, BATCH):
        yield min(BATCH, count - start)


if __name__ == "__main__":
    role, which, where, tracing, *rest = sys.argv[1:]
    if int(tracing):
        tracemalloc.start()
    if role == "host":
        on_loop(which, serve, where)
    else:
        on_loop(which, live, where, Day(*map(int, rest[0].split(","))))
