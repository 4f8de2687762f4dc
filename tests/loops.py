"""The loops that asynchronous tests run on.

uvloop is a loop of asyncio's kind: other code runs there in `capnet/loop` and in the transports, and what it does with
tasks, threads, signals and ends of loops is its own. Tests of these import `on_every_loop`; all others run on asyncio
and trio, and with `CAPNET_LOOPS=every`, as in `make soak`, on uvloop too.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

__all__ = ["EACH_LOOP", "ONE_LOOP", "on_both_kinds", "on_every_loop"]

ASYNCIO = pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio")
UVLOOP = pytest.param(("asyncio", {"use_uvloop": True}), id="asyncio+uvloop")
TRIO = pytest.param("trio", id="trio")
EVERY = [ASYNCIO, UVLOOP, TRIO]
BOTH = EVERY if os.environ.get("CAPNET_LOOPS") == "every" else [ASYNCIO, TRIO]

EACH_LOOP = pytest.mark.parametrize("anyio_backend", EVERY, scope="module")
"""For a single test that runs on each loop there is."""
ONE_LOOP = pytest.mark.parametrize("anyio_backend", [ASYNCIO], scope="module")
"""For what takes long, and where the loop makes no difference."""


@pytest.fixture(name="anyio_backend", scope="module", params=BOTH)
def on_both_kinds(request: pytest.FixtureRequest) -> Any:
    """Each asynchronous test runs once on a loop of each kind."""
    return request.param


@pytest.fixture(name="anyio_backend", scope="module", params=EVERY)
def on_every_loop(request: pytest.FixtureRequest) -> Any:
    """For modules, and folders by their conftest, whose tests run once on each loop there is."""
    return request.param
