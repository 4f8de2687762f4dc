"""Revoke against calls over real sockets: whatever the moment, nothing starts afterwards and everybody is told once."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from random import Random
from typing import Any

import pytest
from anyio.lowlevel import checkpoint

from capnet import CapnetError, Revoked, notify, on_broken, release, revoke
from tests.connection.doors import Door, House
from tests.connection.shop import socket_pair, until
from tests.connection.tree import assert_nothing_left

ROUNDS = 1000
TOGETHER = 25
"""Capabilities that are called and revoked at the same time."""


async def test_no_handler_starts_after_revoke_has_returned() -> None:
    """P-CAP-6, T16: a thousand races, among calls that wait, that return at once, that hand out more, and one-way ones.

    Each call is answered once, by its value or `revoked`; each holder is told once; nothing is left.
    """
    random = Random(4)
    made = House()
    async with socket_pair(made.root) as (server, client):
        root = await client.bootstrap(Door)
        answered = refused = 0
        for first in range(0, ROUNDS, TOGETHER):
            names = [str(number) for number in range(first, first + TOGETHER)]
            told: dict[str, list[CapnetError]] = {name: [] for name in names}
            calls: list[Any] = []
            doors = [await root.known(name) for name in names]
            for number, name in enumerate(names):
                on_broken(doors[number], told[name].append)
            revoked: dict[str, tuple[int, int]] = {}
            while len(revoked) < TOGETHER:
                number = random.randrange(TOGETHER)
                name = names[number]
                kind = random.choice(("name", "name", "wait", "open", "notify", "pause", "pause", "revoke"))
                try:
                    if kind == "revoke" and name not in revoked:
                        revoke(made.door(name))
                        revoked[name] = _started(made, name)
                    elif kind == "name":
                        calls.append(doors[number].name())
                    elif kind == "wait":
                        calls.append(doors[number].wait(name))
                    elif kind == "open":
                        calls.append(doors[number].open("below"))
                    elif kind == "notify":
                        notify(doors[number].name)()
                    elif kind == "pause":
                        for _ in range(random.randrange(4)):
                            await checkpoint()
                except Revoked:
                    refused += 1  # here already
            outcomes = [await _outcome(call) for call in calls]
            answered += outcomes.count("answered")
            refused += outcomes.count("revoked")
            await until(partial(_all_told, told))
            for name, before in revoked.items():
                assert _started(made, name) == before, "a handler has started"
            calls.clear()
            while doors:
                release(doors.pop())
        assert answered > 100 and refused > 100
        del root
        await assert_nothing_left(server, client)


def _started(made: House, name: str) -> tuple[int, int]:
    """How many handlers of a door have started."""
    return made.started.count(name), made.gate.entered.count(name)


def _all_told(told: dict[str, list[CapnetError]]) -> bool:
    return all(len(errors) == 1 for errors in told.values())


async def _outcome(call: Awaitable[Any]) -> str:
    """How it ended. What it has brought is revoked by now."""
    try:
        value = await call
    except Revoked:
        return "revoked"
    if not isinstance(value, str):
        with pytest.raises(Revoked):
            await value.name()
    return "answered"
