"""A plugin with a memory: its state goes on to the process that takes its place."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import AsyncIterator

import capnet.plugin
from capnet.plugin import Context
from contracts import Hit, Index, Source

WORD = re.compile(r"\w+")


class WordIndex(Index):
    def __init__(self, order: str) -> None:
        self.order = order
        self.words: dict[str, dict[str, int]] = {}
        """For each word the files in which it stands, and how often."""

    async def add(self, source: Source) -> int:
        for word, count in Counter(WORD.findall(source.text.lower())).items():
            self.words.setdefault(word, {})[source.path] = count
        return len(self.words)

    async def find(self, word: str) -> list[Hit]:
        hits = [Hit(path, count) for path, count in self.words.get(word.lower(), {}).items()]
        if self.order == "count":
            return sorted(hits, key=lambda hit: (-hit.count, hit.path))
        return sorted(hits, key=lambda hit: hit.path)

    async def export_state(self) -> AsyncIterator[bytes]:
        for word, files in self.words.items():
            yield json.dumps([word, files]).encode()

    async def import_state(self, state: AsyncIterator[bytes]) -> None:
        async for part in state:
            word, files = json.loads(part)
            self.words[word] = files


async def main(context: Context) -> Index:
    return WordIndex(context.settings.get("order", "path"))


if __name__ == "__main__":
    capnet.plugin.run(main, started_by="host.py")
