"""Keys that a peer has chosen: thousands with one hash, for each set and map that a contract may declare.

A class that counts says how much work they make, whichever way they come in: as arguments, results or items.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

import pytest

from capnet import Cap, Stream, call
from capnet.wire.frames import Op
from capnet.wire.references import CapRef, StreamRef
from tests.hostile.attack import Raw, Scene, scene

BOOTSTRAP = 0
PRIME = 2**61 - 1
"""Numbers that differ by it have the same hash, and so has what is made of them."""
MANY = 2000
SAME = [str(UUID(int=5 + number * PRIME)) for number in range(MANY)]
OTHER = [str(UUID(int=5 + number * (PRIME + 2))) for number in range(MANY)]


@dataclass(frozen=True)
class Key:
    """Counts how often two of them are compared."""

    id: UUID
    compared: ClassVar[list[int]] = [0]

    def __eq__(self, other: object) -> bool:
        Key.compared[0] += 1
        return isinstance(other, Key) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)


class Index(Cap, name="test.Index"):
    @call
    async def by_argument(self, keys: set[Key]) -> int: ...
    @call
    async def by_result(self, other: Index) -> int: ...
    @call
    async def keys(self) -> set[Key]: ...
    @call
    async def by_items(self, keys: Stream[frozenset[Key]]) -> int: ...
    @call
    async def ids(self, ids: dict[UUID, int]) -> int: ...
    @call
    async def numbers(self, numbers: list[dict[int, int]]) -> int: ...
    @call
    async def decimals(self, decimals: set[Decimal]) -> int: ...
    @call
    async def tuples(self, tuples: set[tuple[UUID, int]]) -> int: ...


class MemIndex(Index):
    async def by_argument(self, keys: set[Key]) -> int:
        return len(keys)

    async def by_result(self, other: Index) -> int:
        return len(await other.keys())

    async def keys(self) -> set[Key]:
        return set()

    async def by_items(self, keys: Stream[frozenset[Key]]) -> int:
        return sum([len(some) async for some in keys])

    async def ids(self, ids: dict[UUID, int]) -> int:
        return len(ids)

    async def numbers(self, numbers: list[dict[int, int]]) -> int:
        return sum(map(len, numbers))

    async def decimals(self, decimals: set[Decimal]) -> int:
        return len(decimals)

    async def tuples(self, tuples: set[tuple[UUID, int]]) -> int:
        return len(tuples)


async def index(raw: Raw, here: Scene) -> int:
    """The id of what the host serves."""
    here.host.serve(MemIndex())
    await raw.greet()
    await raw.send([Op.CALL, 1, BOOTSTRAP, "bootstrap", {"name": "test.Index"}])
    target: int = (await raw.reply())[2].id
    return target


async def sent(raw: Raw, target: int, way: str, keys: list[str]) -> list[Any]:
    """How the host answers to these keys."""
    value = [{"id": key} for key in keys]
    if way == "argument":
        await raw.send([Op.CALL, 2, target, "by_argument", {"keys": value}])
    elif way == "result":
        await raw.send([Op.CALL, 2, target, "by_result", {"other": CapRef("test.Index", 1, id=2)}])
        while (frame := await raw.frame())[0] != Op.CALL:
            continue
        await raw.send([Op.RESULT, frame[1], value])
    else:
        await raw.send([Op.CALL, 2, target, "by_items", {"keys": StreamRef("out", None, 1)}])
        await raw.send([Op.ITEMS, 1, [value]], [Op.END, 1])
    while (found := await raw.reply())[1] != 2:
        continue
    return found


@pytest.mark.parametrize("way", ["argument", "result", "item"])
async def test_keys_are_never_compared_each_with_each(way: str) -> None:
    """What is one hash to all of them is an error of the one call."""
    async with scene() as here, here.attacker() as raw:
        target = await index(raw, here)
        Key.compared[0] = 0
        assert (await sent(raw, target, way, SAME))[2] == "invalid_argument"
        assert Key.compared[0] < MANY
        assert not here.violations


@pytest.mark.parametrize("way", ["argument", "result", "item"])
async def test_honest_keys_are_taken(way: str) -> None:
    async with scene() as here, here.attacker() as raw:
        target = await index(raw, here)
        Key.compared[0] = 0
        assert await sent(raw, target, way, OTHER) == [Op.RESULT, 2, MANY]
        assert Key.compared[0] < MANY


NUMBERS = [str(5 + number * PRIME) for number in range(MANY)]
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "keys of a map": ("ids", {"ids": dict.fromkeys(SAME, 1)}),
    "numbers": ("numbers", {"numbers": [{"1": 1}, dict.fromkeys(NUMBERS, 1)]}),
    "long numbers": ("numbers", {"numbers": [{"9" * 4000: 1}]}),
    "longer numbers": ("numbers", {"numbers": [{"9" * 100_000: 1}]}),
    "decimals": ("decimals", {"decimals": NUMBERS}),
    "tuples": ("tuples", {"tuples": [[key, 1] for key in SAME]}),
}


@pytest.mark.parametrize(("method", "arguments"), KINDS.values(), ids=KINDS)
async def test_every_kind_of_key(method: str, arguments: dict[str, Any]) -> None:
    async with scene() as here, here.attacker() as raw:
        target = await index(raw, here)
        await raw.send([Op.CALL, 2, target, method, arguments])
        assert (await raw.reply())[:3] == [Op.ERROR, 2, "invalid_argument"]
        assert not here.violations
