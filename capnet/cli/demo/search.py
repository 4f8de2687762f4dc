"""Two implementations of `Search` over one index: `PlainSearch` first, `RankedSearch` to replace it."""

from __future__ import annotations

import heapq
import re
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from anyio.lowlevel import checkpoint

from capnet import InvalidArgument
from capnet.cli.demo.contract import Answer, Match, Search

__all__ = ["MAX_MATCHES", "Index", "PlainSearch", "RankedSearch"]

Index: TypeAlias = Mapping[str, Sequence[str]]
"""Paths to lines."""

MAX_MATCHES: Final = 10
"""Matches in one answer; it says how many there are beyond."""
MAX_QUERY: Final = 200
MAX_LINE: Final = 200
"""Characters of a query, and of a line in an answer."""


class PlainSearch(Search):
    """Finds lines in the order of the files."""

    def __init__(self, index: Index) -> None:
        self._index = index

    async def find(self, query: str) -> Answer:
        """See `Search`."""
        found = await _matches(self._index, query)
        return Answer("plain", len(found), found[:MAX_MATCHES])


class RankedSearch(Search):
    """Finds the same lines, and tells the best first: headings, then whole words, then short lines."""

    def __init__(self, index: Index) -> None:
        self._index = index

    async def find(self, query: str) -> Answer:
        """See `Search`."""
        found = await _matches(self._index, query)
        word = re.compile(rf"\b{re.escape(query)}\b", re.IGNORECASE)

        def rank(match: Match) -> tuple[bool, bool, int]:
            return not match.text.startswith("#"), word.search(match.text) is None, len(match.text)

        return Answer("ranked", len(found), heapq.nsmallest(MAX_MATCHES, found, key=rank))


async def _matches(index: Index, query: str) -> list[Match]:
    if not query.strip() or len(query) > MAX_QUERY:
        raise InvalidArgument(f"a query has 1 to {MAX_QUERY} characters", reason="query")
    wanted = query.casefold()
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
