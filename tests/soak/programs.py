"""Programs of the long programme: children that tell what they know in lines of JSON, and their certain end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

from tests.integration.programs import ROOT

__all__ = ["running", "say"]


@contextmanager
def running(module: str, *arguments: str) -> Generator[Iterator[Any]]:
    """A program inside the block, as what it says; it is killed at the end of it. Its errors go where ours go.

    What it says ends with a failure when the program has failed.
    """
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, cwd=ROOT) as child:
        try:
            yield _said_by(child)
        finally:
            child.kill()


def say(what: object) -> None:
    """Tell who has started this program."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def _said_by(child: subprocess.Popen[bytes]) -> Iterator[Any]:
    assert child.stdout is not None
    for line in child.stdout:
        yield json.loads(line)
    code = child.wait()
    assert not code, f"{child.args!r} ended with code {code}"
