"""An editor whose linter and formatter are plugins: `python editor.py`."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import anyio
from capnet import PluginHost, PluginSpec, State, Stream, Unavailable, restrict
from contracts import Buffer, Formatter, Linter, Problems, Version

HERE = Path(__file__).parent


class Document(Buffer):
    def __init__(self) -> None:
        self.state = State(Version(0, ""))

    async def write(self, text: str) -> None:
        self.state.set(Version(self.state.value.number + 1, text))

    def versions(self) -> Stream[Version]:
        return self.state.changes()


class Pane(Problems):
    def __init__(self) -> None:
        self.shown = State((0, [""]))

    async def show(self, number: int, problems: list[str]) -> None:
        self.shown.set((number, problems))

    async def about(self, document: Document) -> list[str]:
        """What is wrong with the text as it is now."""
        async for number, problems in self.shown.changes():
            if number == document.state.value.number:
                return problems
        raise AssertionError


async def main() -> None:
    document, pane = Document(), Pane()
    exposed = restrict(document, methods={"versions"})
    async with PluginHost(expose=exposed) as plugins, anyio.create_task_group() as tasks:
        linter, formatter = await plugins.load_all(
            PluginSpec("linter", run="linter.py", contract=Linter, cwd=HERE),
            PluginSpec("formatter", run="formatter.py", contract=Formatter, cwd=HERE),
        )

        async def lint() -> None:
            with suppress(Unavailable):  # it was unloaded
                await linter.slot.watch(pane)

        tasks.start_soon(lint)
        await document.write("a capability  is an object that you may   use")
        print(await pane.about(document))

        await document.write(await formatter.slot.format(document.state.value.text))
        print(await pane.about(document), [line.text for line in formatter.output])

        os.kill(linter.pid or 0, signal.SIGKILL)  # a crash; it looks at the text again when it is back
        await document.write("because you hold it")
        print(await pane.about(document), linter.failure and linter.failure.message)

        report = await plugins.swap("linter", settings={"longest": 10}, probation=0.1, grace=0.1)
        print("swapped: process", report.generation)
        await document.write("because you hold it, and for no other reason")
        print(await pane.about(document))

        await plugins.unload("linter", grace=0.1)
        print("unloaded:", document.state.subscribers, "readers of the text are left")


anyio.run(main)
