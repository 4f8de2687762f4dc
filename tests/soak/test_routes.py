"""A hundred thousand routes of references, with the first seed printed; CAPNET_ROUTES says how many."""

from __future__ import annotations

import os
import time
from collections import Counter
from random import SystemRandom

import anyio
import pytest

from tests.property.routes.route import play

ROUTES = int(os.environ.get("CAPNET_ROUTES", "100000"))
AT_ONCE = 1000
"""Routes between two lines of progress, each thousand on another loop than the one before."""


@pytest.mark.timeout(14400)
def test_a_reference_is_what_it_was_given_as_on_many_routes(capsys: pytest.CaptureFixture[str]) -> None:
    """They take about twenty minutes of one core."""
    first = int(os.environ.get("CAPNET_SEED") or SystemRandom().randrange(2**31))
    began, seen = time.monotonic(), Counter[str]()
    with capsys.disabled():
        print(f"\nCAPNET_SEED={first}")
        for number, seed in enumerate(range(first, first + ROUTES, AT_ONCE)):
            routes = min(AT_ONCE, first + ROUTES - seed)
            anyio.run(play, seed, routes, seen, backend=("asyncio", "trio")[number % 2])
            told = f"{seen['routes']:,} of {ROUTES:,}, {seen['refused']:,} with a refusal, {seen['tries']:,} tries"
            print(f"\rroutes: {told}, {time.monotonic() - began:.0f} s", end="", flush=True)
        print()
    assert seen["routes"] == ROUTES
