"""The commands of `docs/how-to/sandbox.md` keep from a plugin what the page says, where the system has them."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest
from structlog.testing import capture_logs

from capnet import Cap, PluginHost, PluginSpec, call
from tests.cost import HANGS
from tests.integration.processes import MARK, all_gone
from tests.loops import ONE_LOOP

ROOT = Path(__file__).parents[2]
pytestmark = [ONE_LOOP, pytest.mark.skipif(sys.platform != "linux", reason="these are commands of Linux")]

PLUGIN = """
import os, socket
from collections.abc import Callable
from pathlib import Path
from capnet import Cap, call
from capnet.plugin import run

class Spy(Cap, name="sandbox.Spy"):
    @call
    async def tries(self, secret: str, port: int, host: int) -> dict[str, bool]: ...

def works(act: Callable[[], object]) -> bool:
    try:
        act()
    except OSError:
        return False
    return True

class Curious(Spy):
    async def tries(self, secret: str, port: int, host: int) -> dict[str, bool]:
        return {
            "network": works(lambda: socket.create_connection(("127.0.0.1", port), 10).close()),
            "processes": works(lambda: os.kill(host, 0)),
            "files": works(lambda: Path(secret).read_text()),
            "own files": works(lambda: Path("spy.py").read_text()),
            "writing": works(lambda: Path("left.txt").write_text("I was here")),
        }

async def main() -> Spy:
    return Curious()

run(main)
"""


class Spy(Cap, name="sandbox.Spy"):
    @call
    async def tries(self, secret: str, port: int, host: int) -> dict[str, bool]: ...


def page() -> Mapping[str, Callable[..., tuple[str, ...]]]:
    """The functions on the page."""
    text = (ROOT / "docs" / "how-to" / "sandbox.md").read_text("utf-8")
    (block,) = re.findall(r"^```py\n# sandbox.py\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    made: dict[str, Any] = {}
    exec(compile(block, "sandbox.py", "exec"), made)
    return made


def here(prefix: tuple[str, ...]) -> tuple[str, ...]:
    """The same; skips the test where the system has no such command.

    That it lets nobody use it is no fault of ours, nor that it runs without systemd: containers often do both.
    """
    try:
        done = subprocess.run([*prefix, "true"], capture_output=True, text=True, timeout=HANGS, check=False)
    except FileNotFoundError as error:
        if prefix[0] == "systemd-run":
            pytest.xfail("there is no systemd here")
        pytest.skip(f"{prefix[0]} is not installed: {error}")
    if done.returncode != 0:
        pytest.xfail(f"{prefix[0]} cannot be used here: {done.stderr.strip()}")
    return prefix


async def found(folder: Path, prefix: tuple[str, ...]) -> dict[str, bool]:
    """What a plugin can do behind that; nothing of it is left afterwards."""
    inside, secret, mark = folder / "plugin", folder / "secret.txt", uuid4().hex
    inside.mkdir()
    (inside / "spy.py").write_text(PLUGIN)
    secret.write_text("not for plugins")
    with socket.create_server(("127.0.0.1", 0)) as listener, capture_logs(), anyio.fail_after(HANGS):
        async with PluginHost() as plugins:
            spec = PluginSpec("spy", contract=Spy, run="spy.py", cwd=inside, prefix=prefix, env={MARK: mark})
            spy = await plugins.load(spec)
            could = await spy.slot.tries(str(secret), listener.getsockname()[1], os.getpid())
        await all_gone(mark, HANGS)
    return could


async def test_without_a_prefix_it_can_do_all(tmp_path: Path) -> None:
    assert set((await found(tmp_path, ())).values()) == {True}


async def test_unshare(tmp_path: Path) -> None:
    could = await found(tmp_path, here(page()["alone"]()))
    assert could == {"network": False, "processes": False, "files": True, "own files": True, "writing": True}


async def test_bubblewrap(tmp_path: Path) -> None:
    here(page()["jail"](ROOT))
    could = await found(tmp_path, page()["jail"](tmp_path / "plugin"))
    assert could == {"network": False, "processes": False, "files": False, "own files": True, "writing": False}


async def test_systemd(tmp_path: Path) -> None:
    assert set((await found(tmp_path, here(page()["bounded"]()))).values()) == {True}
