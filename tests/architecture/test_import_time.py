"""`import capnet` is cheap: a command-line tool pays for it on every start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUDGET = 0.030
"""Seconds over a bare interpreter."""
SHARE = 0.65
"""The same as a share of what `import asyncio` takes, for a machine that is slow or busy."""
LAZY = {"anyio", "asyncio", "cbor2", "msgspec", "rich", "ssl", "structlog", "trio", "uvloop"}
"""What is imported when it is needed first, never before."""

PROBE = """
import json, sys, time
before = time.perf_counter()
import {module}
print(json.dumps([time.perf_counter() - before, sorted(sys.modules)]))
"""


def fresh_import(module: str) -> tuple[float, set[str]]:
    """What a new interpreter sees of an import: the seconds it took and the modules it left."""
    command = [sys.executable, "-c", PROBE.format(module=module)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    seconds, modules = json.loads(done.stdout)
    return seconds, set(modules)


def test_import_leaves_heavy_modules_alone() -> None:
    """Loops, terminals, TLS and logging come with their first use."""
    assert LAZY.isdisjoint(fresh_import("capnet")[1])


def test_import_is_within_its_budget() -> None:
    """The best of many runs counts: the machine may be busy, the import is the same."""
    runs = [(fresh_import("capnet")[0], fresh_import("asyncio")[0]) for _ in range(15)]
    ours, theirs = (min(seconds) for seconds in zip(*runs, strict=True))
    assert ours <= max(BUDGET, SHARE * theirs)
