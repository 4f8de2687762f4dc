"""A host with two plugins: `python host.py FOLDER WORD` lints the programs in a folder and looks for a word in them."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
from anyio import to_thread
from capnet import PluginHost, Stream
from contracts import Folder, Index, Linter, Source


class Files(Folder):
    def __init__(self, root: Path) -> None:
        self.root = root

    async def sources(self, ending: str) -> Stream[Source]:
        for path in sorted(self.root.rglob(f"*{ending}")):
            text = await to_thread.run_sync(path.read_text, "utf-8")
            yield Source(path.relative_to(self.root).as_posix(), text)


async def main(root: Path, word: str) -> None:
    files = Files(root)
    found = {plugin.name: plugin for plugin in PluginHost.discover(Path(__file__).parent)}
    async with PluginHost(expose=files) as plugins:
        linter, index = await plugins.load_all(found["linter"].spec(Linter), found["index"].spec(Index))

        async for remark in linter.slot.lint():
            print(f"{remark.path}:{remark.line}: {remark.text}")

        async for source in files.sources(".py"):
            await index.slot.add(source)
        print(word, [(hit.path, hit.count) for hit in await index.slot.find(word)])

        report = await plugins.swap("index", settings={"order": "count"}, probation=0.1)
        print(f"swapped: process {report.generation}, with {report.state} bytes of memory")
        print(word, [(hit.path, hit.count) for hit in await index.slot.find(word)])


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), sys.argv[2])
