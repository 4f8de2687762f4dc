"""A NATS server that is killed and started again a hundred times under load.

The seed is printed; CAPNET_SEED repeats a run.
"""

from __future__ import annotations

import os
from pathlib import Path
from random import Random, SystemRandom

from tests.interop.nats_servers import nats_server
from tests.interop.restarts import check, restart_under_load
from tests.loops import ONE_LOOP

ROUNDS = 100


@ONE_LOOP
async def test_a_server_that_is_killed(tmp_path: Path) -> None:
    seed = int(os.environ.get("CAPNET_SEED", SystemRandom().randrange(2**31)))
    print(f"\nCAPNET_SEED={seed}")
    with nats_server(tmp_path) as server:
        fleet = {"user": "fleet", "password": "fleet-password"}
        anna = {"user": "anna", "password": "anna-password"}
        tally = await restart_under_load(server, ROUNDS, Random(seed), fleet, anna)
    print(f"{tally.begun} calls, {len(tally.answered)} answered, {dict(tally.failed)}")
    check(tally, ROUNDS)
