"""A client of Cap'n Web that says anything, in front of a host: nothing is raised that nobody declared."""

from __future__ import annotations

import json
import logging
import random
from typing import Any

import anyio
import pytest

from capnet.gateways.capnweb import Bounds
from tests.gateways.lounge import Lounge
from tests.gateways.webclient import Client, client

METHODS = [name for name in vars(Lounge) if not name.startswith("_")]
NAMES = [*METHODS, "post", "texts", "info", "call", "heard", "write", "close", "missing", "aclose", "x" * 300, "\0"]
STEPS: list[str | int] = [*NAMES, 0, 1, "0", "topic", "length", "tags"]
PLAIN: list[Any] = [None, True, 1, -1.5, "x", "tea", 2**60, 1e308, "2026-01-01T00:00:00+00:00"]
SPECIAL: list[Any] = [
    ["undefined"], ["inf"], ["nan"], ["bigint", "123456789012345678901"], ["bigint", "5"], ["date", 0], ["date", 1e18],
    ["date", None], ["bytes", "AA"], ["url", "u"], ["error", "E", "m"], ["bytes", "AAAA", "Int8Array"],
]  # fmt: skip
BOUNDS = Bounds(max_calls=20, max_answers=30, max_streams=10, max_stubs=200, max_values=5000, max_elements=20)


class Speaker:
    """Says what could be said, mostly with numbers that stand for something."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.last = 0
        self.given = 0
        self.pipes: list[int] = []

    def message(self) -> list[Any]:
        match self.chance.randrange(12):
            case 6:
                return ["stream", self.expression()]
            case 7:
                self.pipes.append(self.last + 1)
                return ["pipe"]
            case 8 if self.last:
                return ["pull", self.chance.randint(1, self.last)]
            case 9:
                number = self.chance.choice([self.chance.randint(1, 5), -self.chance.randint(1, 99)])
                return [self.chance.choice(["resolve", "reject"]), number, self.expression()]
            case 10 if self.last:
                return ["release", max(self.last - 3, 1), 1]
            case _:
                return ["push", self.expression()]

    def expression(self, depth: int = 0) -> Any:
        chance = self.chance
        match chance.randrange(16 if depth < 5 else 3):
            case 0:
                return chance.choice(PLAIN)
            case 1:
                return chance.choice(SPECIAL)
            case 2:
                return [[chance.randrange(5) for _ in range(chance.randrange(5))]]
            case 3:
                return [self.some(depth)]
            case 4:
                return {chance.choice(["a", "author", "loud", "toJSON"]): self.expression(depth + 1)}
            case 5 | 6 | 7 | 8:
                path = [chance.choice(NAMES)] if chance.random() < 0.8 else self.path()
                return ["pipeline", chance.choice([0, 0, self.number()]), path, self.some(depth)]
            case 9:
                return ["import", self.number(), self.path()]
            case 10:
                return ["pipeline", self.number()]
            case 11:
                captures = [["import", self.number()] for _ in range(chance.randrange(3))]
                return ["remap", self.number(), self.path(), captures, [*self.some(depth), self.expression(depth + 1)]]
            case 12:
                return ["export", -chance.randint(1, 4)]
            case 13:
                return ["promise", -chance.randint(1, 10**6)]
            case 14:
                return ["writable", -chance.randint(1, 4)]
            case _:
                return ["readable", self.pipes.pop()] if self.pipes else None

    def some(self, depth: int) -> list[Any]:
        return [self.expression(depth + 1) for _ in range(self.chance.randrange(4))]

    def path(self) -> list[Any]:
        return [self.chance.choice(STEPS) for _ in range(self.chance.randrange(3))]

    def number(self) -> int:
        return self.chance.randint(-self.given, self.last)


async def speak(seed: int, one: Client) -> None:
    speaker = Speaker(random.Random(seed))
    answers, exports = one.session._answers, one.session._exports
    for _ in range(120):
        speaker.last, speaker.given = answers._last, -exports._next - 1
        one.says(speaker.message())
        if one.session.closed:
            return
        if speaker.chance.random() < 0.3:
            for _ in range(speaker.chance.randrange(5)):
                await anyio.lowlevel.checkpoint()
        assert one.connection.closed is False
        assert len(list(answers)) <= BOUNDS.max_calls + BOUNDS.max_answers + BOUNDS.max_streams
        assert 0 <= one.session.counts.streams <= BOUNDS.max_streams
        assert json.dumps(one.told)


async def test_whatever_is_said_the_host_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "capnet.gateways"):
        for seed in range(20):
            with anyio.fail_after(60):
                async with client(bounds=BOUNDS, main="web.Lounge" if seed % 2 else None) as one:
                    await speak(seed, one)
                    assert one.connection.closed is False
    assert [record.getMessage() for record in caplog.records if record.name.startswith("capnet.gateways")] == []
