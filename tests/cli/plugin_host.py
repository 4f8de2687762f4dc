"""A host with two plugins, which serves the control of them; `python -m tests.cli.plugin_host URL`."""

from __future__ import annotations

import sys

import anyio

from capnet import Cap, Host, PluginHost, PluginSpec, call
from capnet.plugin import Context

__all__ = ["Bell", "bell"]


class Bell(Cap, name="test.Bell"):
    @call
    async def ring(self) -> str: ...


class Brass(Bell):
    def __init__(self, wrong: str | None) -> None:
        self.wrong = wrong

    async def ring(self) -> str:
        return "ding"

    async def check(self) -> str | None:
        if self.wrong is None:
            return None
        said, self.wrong = self.wrong, "it is cracked"
        return said or None


async def bell(context: Context) -> Bell:
    """The plugin; a setting says what is wrong with it once it runs."""
    sys.stdout.write(f"cast {context.plugin}\n")
    sys.stderr.write('{"event": "cooled", "level": "error", "degrees": 20}\n')
    return Brass(context.settings.get("wrong"))


async def main(url: str) -> None:
    """Serve until SIGTERM."""
    async with PluginHost() as plugins, Host() as host:
        for name, wrong in (("good", None), ("cracked", "")):
            await plugins.load(
                PluginSpec(name, contract=Bell, run=f"{__spec__.name}:bell", settings={"wrong": wrong}, probation=0)
            )
        host.serve(plugins.control(), name="plugins")
        await host.listen(url)
        sys.stdout.write("listening\n")
        sys.stdout.flush()
        await host.serve_forever()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
