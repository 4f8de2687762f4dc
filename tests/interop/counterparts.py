"""What tests of this folder run against: programs of others, which `make interop` installs.

A test asks for each by a function here. Without it the test is skipped; with `CAPNET_INTEROP=whole`, as in
`make interop`, that is a failure (see conftest.py).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.cli.processes import environment

__all__ = ["FOLDER", "INSTALLED", "ROOT", "hosting", "node", "program", "python"]

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
INSTALLED = ROOT / "build/interop"
"""Where packages of npm and Python are."""
_SCRIPTS = INSTALLED / "scripts"
"""A link to this folder: node looks for packages beside and above the script that wants them."""


def program(name: str) -> str:
    """The path of a program that Debian has."""
    path = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"]))
    if path is None:
        pytest.skip(f"there is no {name}: make interop")
    return path


def node(script: str, *arguments: str) -> list[str]:
    """The command that runs a script of this folder in node, with the packages of package.json."""
    if not (INSTALLED / "node_modules").exists():
        pytest.skip("the packages of npm are not installed: make interop")
    with suppress(FileExistsError):
        _SCRIPTS.symlink_to(FOLDER, target_is_directory=True)
    return [
        program("node"),
        "--preserve-symlinks",
        "--preserve-symlinks-main",
        str(_SCRIPTS / script),
        *arguments,
    ]


def python() -> str:
    """A Python with the packages of requirements.txt, which `make interop` shows to the tests themselves as well."""
    path = INSTALLED / "python/bin/python"
    if not path.exists():
        pytest.skip("the packages of Python are not installed: make interop")
    return str(path)


@contextmanager
def hosting(module: str, scratch: Path) -> Generator[str]:
    """A host in another process, from a module that says when it listens; gives its URL."""
    listens = f"unix:{scratch}/host.sock"
    command = [sys.executable, "-m", module, listens]
    with subprocess.Popen(command, cwd=ROOT, env=environment(scratch), stdout=subprocess.PIPE) as served:
        assert served.stdout is not None
        try:
            assert served.stdout.readline() == b"listens\n"
            yield listens
        finally:
            served.kill()
