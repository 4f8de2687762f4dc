from __future__ import annotations

import capnet.plugin
from contracts import Formatter


class Spaces(Formatter):
    async def format(self, text: str) -> str:
        print("formats", len(text), "characters")
        return "\n".join(" ".join(line.split()) for line in text.splitlines())


async def main() -> Formatter:
    return Spaces()


capnet.plugin.run(main, started_by="editor.py")
