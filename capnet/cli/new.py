"""`capnet new`: the files of a new plugin, which runs and passes its own test as it stands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from capnet.cli.exits import Exit, Stop
from capnet.cli.output import Output

__all__ = ["new"]

_NAME: Final = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*", re.ASCII)


class Kind(StrEnum):
    """What can be made."""

    PLUGIN = "plugin"


def new(
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help="plugin.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Such as acme-spell; also the folder that is made.")],
    out: Output,
    *,
    folder: Annotated[Path | None, typer.Option(metavar="PATH", help="Another place for it.")] = None,
) -> int:
    """Make a new plugin: its contract, its main function, what says that it is one, and a test that passes.

    Nothing that is there is written over.
    """
    if _NAME.fullmatch(name) is None or len(name) > 40:
        raise Stop(f"{name!r} cannot be the name of a {kind}", hint="letters, digits, - and _, such as acme-spell")
    root = Path(name) if folder is None else folder
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise Stop(f"{root} is there, and not empty", exit_code=Exit.FAILED)
    module = name.replace("-", "_")
    for path, text in _PLUGIN.items():
        file = root / path.replace("MODULE", module)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text.replace("MODULE", module).replace("NAME", name), encoding="utf-8")
        except OSError as error:
            raise Stop(f"{file}: {error.strerror}", exit_code=Exit.FAILED) from error
        if out.json:
            out.value({"file": str(file)})
        else:
            out.line(str(file))
    return Exit.OK


_PLUGIN: Final[Mapping[str, str]] = {
    "pyproject.toml": """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "NAME"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["capnet"]

[project.entry-points."capnet.plugins"] # how hosts find it where it is installed
NAME = "MODULE.plugin:main"

[tool.capnet.plugin] # and where it lies in a folder of plugins
name = "NAME"
run = "MODULE.plugin:main"
contract = "MODULE.Greeter"

[tool.setuptools]
packages = ["MODULE"]

[tool.pytest.ini_options]
pythonpath = ["."]
""",
    "MODULE/__init__.py": '''\
"""The plugin NAME."""
''',
    "MODULE/contract.py": '''\
"""What the plugin can do for a host; hosts import this, and nothing else of it."""

from __future__ import annotations

from capnet import Cap, call


class Greeter(Cap, name="MODULE.Greeter"):
    @call
    async def greet(self, name: str) -> str: ...
''',
    "MODULE/plugin.py": '''\
"""The plugin itself; a host starts it."""

from __future__ import annotations

from capnet.plugin import Context, run

from MODULE.contract import Greeter


class PoliteGreeter(Greeter):
    def __init__(self, greeting: str) -> None:
        self.greeting = greeting

    async def greet(self, name: str) -> str:
        return f"{self.greeting}, {name}"

    async def check(self) -> str | None:
        """What is wrong with it, if anything; the host asks before it uses it."""
        return None if self.greeting else "there is no greeting"


async def main(context: Context) -> Greeter:
    """What it needs of the host are parameters, each a contract; what it gives is the result."""
    return PoliteGreeter(context.settings.get("greeting", "hello"))


if __name__ == "__main__":
    run(main)
''',
    "tests/test_MODULE.py": '''\
"""The plugin in a process of its own, as a host has it."""

from __future__ import annotations

from pathlib import Path

import anyio
from capnet import PluginHost, PluginSpec

from MODULE.contract import Greeter


def test_it_greets() -> None:
    async def host() -> None:
        spec = PluginSpec(
            "NAME",
            run="MODULE.plugin:main",
            contract=Greeter,
            cwd=Path(__file__).parents[1],
            settings={"greeting": "good morning"},
        )
        async with PluginHost() as plugins:
            plugin = await plugins.load(spec)
            assert await plugin.slot.greet("world") == "good morning, world"

    anyio.run(host)
''',
}
"""Path and text of each file, with MODULE and NAME in the place of those."""
