from __future__ import annotations

import capnet.plugin
from capnet.plugin import Context
from contracts import Buffer, Linter, Problems


class LineLinter(Linter):
    def __init__(self, buffer: Buffer, longest: int) -> None:
        self.buffer, self.longest = buffer, longest

    async def watch(self, problems: Problems) -> None:
        async for version in self.buffer.versions():
            lines = enumerate(version.text.splitlines(), 1)
            found = [f"line {number} has {len(line)} characters" for number, line in lines if len(line) > self.longest]
            await problems.show(version.number, found)


async def main(buffer: Buffer, context: Context) -> Linter:
    return LineLinter(buffer, context.settings.get("longest", 40))


capnet.plugin.run(main, started_by="editor.py")
