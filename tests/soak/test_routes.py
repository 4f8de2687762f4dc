"""A hundred thousand routes of references, with the first seed printed; CAPNET_ROUTES says how many."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from random import SystemRandom

import anyio
import pytest

from tests.property.routes.route import play

ROUTES = int(os.environ.get("CAPNET_ROUTES", "100000"))
AT_ONCE = 500
"""Routes of one process, every other on trio. What it knows of their contracts, in all gigabytes, goes with it."""


@pytest.mark.timeout(14400)
def test_a_reference_is_what_it_was_given_as_on_many_routes(capsys: pytest.CaptureFixture[str]) -> None:
    """They take about ten minutes of two cores."""
    first = int(os.environ.get("CAPNET_SEED") or SystemRandom().randrange(2**31))
    began, seen = time.monotonic(), Counter[str]()
    spawning = multiprocessing.get_context("spawn")
    with capsys.disabled(), ProcessPoolExecutor(mp_context=spawning, max_tasks_per_child=1) as processes:
        print(f"\nCAPNET_SEED={first}")
        seeds = range(first, first + ROUTES, AT_ONCE)
        playing = [processes.submit(_play, seed, min(AT_ONCE, first + ROUTES - seed)) for seed in seeds]
        for played in as_completed(playing):
            seen += played.result()
            told = f"{seen['routes']:,} of {ROUTES:,}, {seen['refused']:,} with a refusal, {seen['tries']:,} tries"
            print(f"\rroutes: {told}, {time.monotonic() - began:.0f} s", end="", flush=True)
        print()
    assert seen["routes"] == ROUTES


def _play(seed: int, routes: int) -> Counter[str]:
    seen = Counter[str]()
    anyio.run(play, seed, routes, seen, backend=("asyncio", "trio")[seed // AT_ONCE % 2])
    return seen
