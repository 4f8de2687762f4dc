"""Implementations of `Search` over one index: `PlainSearch` first, `RankedSearch` to replace it.

`HastySearch` is to replace it too, but should not.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeAlias

from anyio.lowlevel import checkpoint

from capnet import InvalidArgument
from capnet.cli.demo.contract import Answer, Match, Search

__all__ = ["MAX_MATCHES", "HastySearch", "Index", "PlainSearch", "RankedSearch"]

Index: TypeAlias = Mapping[str, Sequence[str]]
"""Paths to lines."""

MAX_MATCHES: Final = 10
"""Matches in one answer; it says how many there are beyond."""
MAX_QUERY: Final = 200
MAX_LINE: Final = 200
"""Characters of a query, and of a line in an answer."""


class PlainSearch(Search):
    """Finds lines in the order of the files.

    Args:
        index: where; none for one that adopts its index.
    """

    def __init__(self, index: Index = MappingProxyType({})) -> None:
        self._index = index

    def adopt(self, previous: PlainSearch) -> None:
        """Take over the index of the search that this one is to replace."""
        self._index = previous._index

    async def find(self, query: str) -> Answer:
        """See `Search`."""
        found = await _matches(self._index, _checked(query))
        return Answer("plain", len(found), found[:MAX_MATCHES])


class RankedSearch(PlainSearch):
    """Finds the same lines, and tells the best first: headings, then whole words, then short lines."""

    async def find(self, query: str) -> Answer:
        """See `Search`."""
        found = await _matches(self._index, _checked(query))
        word = re.compile(rf"\b{re.escape(query)}\b", re.IGNORECASE)

        def rank(match: Match) -> tuple[bool, bool, int]:
            return not match.text.startswith("#"), word.search(match.text) is None, len(match.text)

        return Answer("ranked", len(found), heapq.nsmallest(MAX_MATCHES, found, key=rank))


class HastySearch(PlainSearch):
    """Saves the time to look whether a query makes sense."""

    async def find(self, query: str) -> Answer:
        """Not what `Search` says."""
        found = await _matches(self._index, query.casefold())
        return Answer("hasty", len(found), found[:MAX_MATCHES])


def _checked(query: str) -> str:
    """What to look for."""
    if not query.strip() or len(query) > MAX_QUERY:
        raise InvalidArgument(f"a query has 1 to {MAX_QUERY} characters", reason="query")
    return query.casefold()


async def _matches(index: Index, wanted: str) -> list[Match]:
    found: list[Match] = []
    await checkpoint()
    for path, lines in index.items():
        found += [
            Match(path, number, line.strip()[:MAX_LINE])
            for number, line in enumerate(lines, 1)
            if wanted in line.casefold()
        ]
        await checkpoint()  # other calls go on between two files
    return found
