"""Killing plugins, and hosts, under load and at random instants: the short tests and the long ones do the same."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import le
from pathlib import Path
from time import monotonic
from typing import Any, Final, Self

import anyio

from capnet import Connection, Host, Unavailable, connect, notify
from tests.cost import BARS, HANGS
from tests.integration.load import ENDS, FULL, Load, RealTarget, Target, program
from tests.integration.processes import MARK, PATIENT, all_gone, descriptors, marked, running, until, zombies
from tests.integration.programs import ROOT

__all__ = [
    "AT_ONCE",
    "LOST",
    "SOON",
    "LoadedPlugin",
    "Tally",
    "kill_hosts",
    "kill_plugins",
    "new_mark",
    "p99",
]

AT_ONCE: Final = 1.0 if BARS else HANGS
"""Seconds after a death in which every call, stream and handler must have ended: the bar, or never."""
SOON: Final = 5.0 if BARS else HANGS
"""Seconds after a death in which every process that goes with it must have ended."""
LOST: Final = {"unavailable/connection_lost": ENDS}
"""How a load ends with its connection."""
_EARLY = 0.2
"""Part of the kills that come while the victim starts."""
_START = 0.3
"""Seconds that a program takes to start and to be under load, more or less."""
_UNDER_LOAD = 0.1
"""Seconds under load in which the others are killed."""
_NEAR = 0.1
"""Seconds before and after a death in which the calls of a bystander are looked at."""
_ROLES = ["plugin", "plugin", "plugin+fork"]
_DEATHS = ["kill -9", "kill -9", "exit"]


@dataclass
class Tally:
    """What was killed, and how that went.

    Attributes:
        kills: how many of each kind.
        ended: seconds from each death until every call, stream and handler had ended.
        gone: seconds from each death of a host until none of its processes was left.
        before: seconds that a bystander's calls took that were made shortly before a death.
        after: the same, shortly after it.
    """

    kills: Counter[str] = field(default_factory=Counter[str])
    ended: list[float] = field(default_factory=list[float])
    gone: list[float] = field(default_factory=list[float])
    before: list[float] = field(default_factory=list[float])
    after: list[float] = field(default_factory=list[float])

    def __str__(self) -> str:
        words = [f"{self.kills.total()} kills {dict(self.kills)}"]
        words += [f"slowest {name} {max(took):.3f} s" for name in ("ended", "gone") if (took := getattr(self, name))]
        words += [
            f"p99 {name} {p99(took) * 1e3:.1f} ms" for name in ("before", "after") if (took := getattr(self, name))
        ]
        return ", ".join(words)


def p99(seconds: list[float]) -> float:
    """What 99 of 100 do not exceed."""
    return sorted(seconds)[len(seconds) * 99 // 100]


def new_mark(chance: random.Random) -> str:
    """A mark for the processes of one test."""
    return f"{os.getpid()}-{chance.getrandbits(64):x}"


class LoadedPlugin:
    """A plugin of ours that we load, and that loads us.

    Attributes:
        connection: to it.
        pid: its process.
        own: what it loads.
        load: what we put on it, once it serves.
        ended: when all of it had ended on our side (`time.monotonic`); 0 as long as it has not.
        codes: how the process exited, once it has.
    """

    def __init__(self, connection: Connection, codes: list[int]) -> None:
        assert connection.attestation.pid is not None
        self.connection = connection
        self.pid = connection.attestation.pid
        self.own = RealTarget()
        self.load: Load | None = None
        self.ended = 0.0
        self.codes = codes
        connection.serve(self.own)

    @classmethod
    async def start(cls, host: Host, argv: list[str], mark: str, **options: Any) -> Self:
        """Start a program; `run` must follow."""
        codes: list[int] = []
        options = {"stdout": subprocess.DEVNULL, **options, "cwd": ROOT, "env": {MARK: mark}, "on_exit": codes.append}
        return cls(await host.connect("exec:", argv=argv, **options), codes)

    async def run(self) -> None:
        """Put our load on it; returns when the plugin has exited and nothing of either load is left here."""
        try:
            self.load = Load(await self.connection.bootstrap(Target, wait=60))
            await self.load.run()
        except Unavailable:
            pass  # it was killed before it served
        await until(lambda: not self.own.going_on and not (self.load and self.load.sources))
        self.ended = monotonic()
        await self.connection.wait_closed()
        await until(lambda: self.codes)

    async def is_on(self) -> None:
        """Return when both loads are on."""
        await until(lambda: self.load or self.codes)
        assert self.load is not None, f"it exited by itself: {self.codes}"
        with anyio.fail_after(HANGS):
            await self.load.is_on()
        await until(lambda: self.own.going_on == FULL)
        stats = self.connection.stats()
        assert stats["calls"] + stats["answers"] >= 48 and stats["streams"] == 16, stats
        assert stats["exports"] > 50 and stats["imports"] > 50, stats


# --- plugins ---


async def kill_plugins(
    count: int, chance: random.Random, loop: str, *, together: int = 2, progress: Callable[[Tally], object] = print
) -> Tally:
    """Start plugins and kill them, a few at a time; after each round nothing of the dead is left.

    A bystander is under the same load all the time and notices nothing.

    Args:
        count: how many to kill.
        chance: decides when and how.
        loop: that the plugins run.
        together: how many live, and die, at the same time.
        progress: told after each round.
    """
    tally, mark, deaths = Tally(), new_mark(chance), list[float]()
    async with Host(name="host", limits=PATIENT) as host:
        bystander = await LoadedPlugin.start(host, program("plugin", loop), mark)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bystander.run)
            await bystander.is_on()
            assert bystander.load is not None
            base = _held()
            while (left := count - tally.kills.total()) > 0:
                async with anyio.create_task_group() as round_:
                    for _ in range(min(together, left)):
                        one = random.Random(chance.getrandbits(64))
                        round_.start_soon(_kill_plugin, host, one, loop, mark, tally, deaths)
                assert host.connections == (bystander.connection,)
                await until(lambda: all(map(le, _held(), base)), SOON)
                assert marked(mark) == {bystander.pid} and not zombies()
                await _goes_on(bystander.load)
                assert not bystander.load.ends and bystander.own.going_on == FULL
                progress(tally)
            await bystander.connection.aclose(grace=0)
    await all_gone(mark, SOON)
    assert not zombies()
    assert bystander.load is not None
    calls = sorted(bystander.load.calls)
    for death in deaths:
        first, at, last = (bisect_left(calls, (death + offset,)) for offset in (-_NEAR, 0, _NEAR))
        tally.before += [took for _, took in calls[first:at]]
        tally.after += [took for _, took in calls[at:last]]
    assert not tally.after or max(tally.after) < AT_ONCE, tally
    return tally


async def _goes_on(load: Load) -> None:
    """Return when one more of its calls has returned."""
    made = len(load.calls)
    await until(lambda: len(load.calls) > made)


async def _kill_plugin(
    host: Host, chance: random.Random, loop: str, mark: str, tally: Tally, deaths: list[float]
) -> None:
    early, role, death = chance.random() < _EARLY, chance.choice(_ROLES), chance.choice(_DEATHS)
    plugin, died = await LoadedPlugin.start(host, program(role, loop), mark), 0.0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(plugin.run)
        if early:
            await anyio.sleep(chance.uniform(0, _START))
        else:
            await plugin.is_on()
            await anyio.sleep(chance.uniform(0, _UNDER_LOAD))
        died = monotonic()
        if early or death == "kill -9":
            os.kill(plugin.pid, signal.SIGKILL)
        else:
            assert plugin.load is not None
            notify(plugin.load.target.exit)()
        await until(lambda: plugin.codes, SOON)
    kind = "early kill -9" if early else f"{death} of a {role}"
    tally.kills[kind] += 1
    tally.ended.append(plugin.ended - died)
    deaths.append(died)
    assert tally.ended[-1] < AT_ONCE, f"{kind}: {tally.ended[-1]:.3f} s"
    assert plugin.codes == [7 if kind.startswith("exit") else -signal.SIGKILL]
    ends = plugin.load.ends if plugin.load is not None else Counter[str]()
    assert ends.keys() <= LOST.keys() if early else ends == LOST, ends


def _held() -> tuple[int, int]:
    """Descriptors and threads of this process. What a test before this one has left may still go meanwhile."""
    return descriptors(), threading.active_count()


# --- hosts ---


async def kill_hosts(
    count: int, chance: random.Random, loop: str, folder: Path, *, progress: Callable[[Tally], object] = print
) -> Tally:
    """Start hosts that have a plugin and a client, this process, and kill them; nobody survives them.

    All listen at the same path, so that each takes over the file that the one before has left.

    Args:
        count: how many to kill.
        chance: decides when.
        loop: that hosts and plugins run.
        folder: an empty one for the socket.
        progress: told after each.
    """
    tally, mark, path = Tally(), new_mark(chance), folder / "s"
    base = _held()
    for _ in range(count):
        await _kill_host(random.Random(chance.getrandbits(64)), loop, mark, path, tally)
        await until(lambda: all(map(le, _held(), base)), SOON)
        assert not zombies() and os.listdir(folder) in ([], ["s"])
        progress(tally)
    await _end_host(loop, mark, path)
    assert not os.listdir(folder)
    return tally


async def _kill_host(chance: random.Random, loop: str, mark: str, path: Path, tally: Tally) -> None:
    early, died = chance.random() < _EARLY, 0.0
    async with running(program("host", loop, path=str(path)), mark) as host:
        if early:
            await anyio.sleep(chance.uniform(0, 2 * _START))
            died = monotonic()
            host.process.kill()
        else:
            await host.loaded()
            async with connect(f"unix:{path}", name="client", limits=PATIENT) as client:
                load = Load(await client.bootstrap(Target))
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(load.run)
                    with anyio.fail_after(HANGS):
                        await load.is_on(loads=2)
                    await anyio.sleep(chance.uniform(0, _UNDER_LOAD))
                    died = monotonic()
                    host.process.kill()
                await client.wait_closed()
                assert not load.sources and load.ends == LOST, load.ends
            tally.ended.append(monotonic() - died)
            assert tally.ended[-1] < AT_ONCE, f"{tally.ended[-1]:.3f} s"
        await all_gone(mark, SOON)
        tally.gone.append(monotonic() - died)
        tally.kills["early kill -9" if early else "kill -9"] += 1
        assert await host.code() == -signal.SIGKILL
        for account in await host.accounts():
            assert (account["role"], account["cause"], account["left"]) == ("plugin", "lost", {}), account
            assert account["ends"].keys() <= LOST.keys() if early else account["ends"] == LOST, account


async def _end_host(loop: str, mark: str, path: Path) -> None:
    """Let the last one end by itself, by killing its plugin; it takes its socket file with it."""
    async with running(program("host", loop, path=str(path)), mark) as host:
        os.kill(await host.loaded(), signal.SIGKILL)
        assert await host.code() == 0
        assert await host.accounts() == [{"role": "host", "cause": "lost", "ends": LOST, "left": {}}]
    await all_gone(mark, SOON)
