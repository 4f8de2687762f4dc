"""A NATS server that is killed again and again under load, and what became of each call."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import anyio

from capnet import Cap, CapnetError, Host, Unavailable, call, connect
from tests.interop.nats_servers import NatsServer

__all__ = ["Tally", "check", "restart_under_load"]

CALLERS: Final = 16
CALLS: Final = 20
"""Calls that must have been answered between two kills, at least."""
LIMIT: Final = 60.0


class Till(Cap, name="interop.Till"):
    @call
    async def add(self, number: int, padding: bytes) -> int: ...


class CountingTill(Till):
    """Says what it was told, and how often it was told so."""

    def __init__(self, ran: Counter[int]) -> None:
        self._ran = ran

    async def add(self, number: int, padding: bytes) -> int:
        self._ran[number] += 1
        return number


@dataclass
class Tally:
    """How calls have ended, each known by its number."""

    begun: int = 0
    answered: set[int] = field(default_factory=set[int])
    failed: Counter[str] = field(default_factory=Counter[str])
    ran: Counter[int] = field(default_factory=Counter[int])

    @property
    def ended(self) -> int:
        return len(self.answered) + self.failed.total()


async def restart_under_load(server: NatsServer, rounds: int, chance: random.Random, fleet: Any, caller: Any) -> Tally:
    """Kill the server at any instant and start it again, `rounds` times, while two hosts serve and many call.

    Args:
        server: that runs, and does so at the end.
        fleet: options of the hosts.
        caller: of those who call.
    """
    tally = Tally()
    stop = anyio.Event()

    async def serve() -> None:
        async with Host() as host:
            host.serve(CountingTill(tally.ran))
            await host.listen(server.url(), **fleet)
            await stop.wait()

    async def use() -> None:
        while not stop.is_set():
            try:
                async with connect(server.url(), wait=LIMIT, **caller) as conn:
                    till = await conn.bootstrap(Till, wait=LIMIT)
                    while not stop.is_set():
                        await one(till)
            except Unavailable:
                pass  # the connection was lost: the next one

    async def one(till: Till) -> None:
        tally.begun += 1
        number = tally.begun
        try:
            answer = await till.add(number, bytes(chance.choice((0, 100, 20_000))))
        except CapnetError as error:
            tally.failed[f"{error.code}/{error.reason}"] += 1
            raise
        assert answer == number and number not in tally.answered
        tally.answered.add(number)

    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(serve)
        for _ in range(CALLERS):
            tasks.start_soon(use)
        for _ in range(rounds):
            await _more_answers(tally)
            await anyio.sleep(chance.random() * 0.05)
            server.kill()
            await anyio.to_thread.run_sync(server.start)
        await _more_answers(tally)
        stop.set()
    return tally


async def _more_answers(tally: Tally) -> None:
    wanted = len(tally.answered) + CALLS
    with anyio.fail_after(LIMIT):
        while len(tally.answered) < wanted:  # noqa: ASYNC110 (a count tells nobody)
            await anyio.sleep(0.005)


def check(tally: Tally, rounds: int) -> None:
    """Each call has run at most once, and its caller was told either its answer or an error that says why."""
    assert tally.ended == tally.begun, tally
    assert max(tally.ran.values()) == 1
    assert set(tally.answered) <= set(tally.ran)
    assert set(tally.failed) <= {"unavailable/connection_lost", "unavailable/peer_closing", "unavailable/goaway"}, (
        tally.failed
    )
    assert len(tally.answered) >= CALLS * rounds
