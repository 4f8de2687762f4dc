"""What is dearest to build of the largest frame: classes and sets for which next to nothing comes, flags, trees."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from capnet import Cap, call

__all__ = ["LARGEST", "Dear", "MemDear"]


@dataclass
class Record:
    a: int = 0
    b: str = ""
    c: float = 0.0
    d: bool = False
    e: int | None = None
    f: list[int] = field(default_factory=list[int])


@dataclass
class Lists:
    a: list[int] = field(default_factory=list[int])
    b: dict[str, int] = field(default_factory=dict[str, int])
    c: set[int] = field(default_factory=set[int])


@dataclass
class Tree:
    children: list[Tree] = field(default_factory=list["Tree"])


@dataclass(init=False)
class Built:
    a: int = 0

    def __init__(self, a: int = 0) -> None:
        self.a = a


@dataclass(frozen=True)
class Key:
    id: UUID


class Marks(enum.Flag):
    A, B, C, D, E, F = (1 << bit for bit in range(6))
    G, H, J, K, M, N = (1 << bit for bit in range(6, 12))


class Dear(Cap, name="test.Dear"):
    @call
    async def records(self, value: list[Record]) -> int: ...
    @call
    async def lists(self, value: list[Lists]) -> int: ...
    @call
    async def trees(self, value: list[Tree]) -> int: ...
    @call
    async def built(self, value: list[Built]) -> int: ...
    @call
    async def sets(self, value: list[set[int]]) -> int: ...
    @call
    async def nested_sets(self, value: frozenset[frozenset[int]]) -> int: ...
    @call
    async def keys(self, value: set[Key]) -> int: ...
    @call
    async def decimals(self, value: set[Decimal]) -> int: ...
    @call
    async def marks(self, value: list[Marks]) -> int: ...
    @call
    async def map(self, value: dict[int, int]) -> int: ...


class MemDear(Dear):
    async def records(self, value: list[Record]) -> int:
        return len(value)

    async def lists(self, value: list[Lists]) -> int:
        return len(value)

    async def trees(self, value: list[Tree]) -> int:
        return len(value)

    async def built(self, value: list[Built]) -> int:
        return len(value)

    async def sets(self, value: list[set[int]]) -> int:
        return len(value)

    async def nested_sets(self, value: frozenset[frozenset[int]]) -> int:
        return len(value)

    async def keys(self, value: set[Key]) -> int:
        return len(value)

    async def decimals(self, value: set[Decimal]) -> int:
        return len(value)

    async def marks(self, value: list[Marks]) -> int:
        return len(value)

    async def map(self, value: dict[int, int]) -> int:
        return len(value)


MANY: Final = 65_000
LARGEST: dict[str, Any] = {
    "records": [{}] * 32_000,
    "lists": [{}] * 10_000,
    "trees": [{}] * 32_000,
    "built": [{"a": 1}] * (MANY // 3),
    "sets": [[]] * MANY,
    "nested_sets": [[]] * MANY,
    "keys": [{"id": str(UUID(int=number))} for number in range(MANY // 3)],
    "decimals": [str(number) for number in range(MANY)],
    "marks": [number % 4096 for number in range(MANY)],
    "map": {str(number): 1 for number in range(MANY // 2)},
}
"""For each method the largest argument that a frame may carry, or that may be made of one."""
