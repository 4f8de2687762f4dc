"""`import capnet` is cheap: a command-line tool pays for it on every start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BUDGET = 0.030
"""Seconds over bare Python."""
LAZY = {"anyio", "rich", "ssl", "structlog", "trio", "uvloop"}
"""What is imported when it is needed first, never before."""

PROBE = """
import json, sys, time
before = time.perf_counter()
import capnet
print(json.dumps({"seconds": time.perf_counter() - before, "modules": sorted(sys.modules)}))
"""


def fresh_import() -> dict[str, Any]:
    """What a new interpreter sees of `import capnet`: the seconds it took and the modules it left."""
    done = subprocess.run([sys.executable, "-c", PROBE], cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_import_leaves_heavy_modules_alone() -> None:
    """Loops, terminals, TLS and logging come with their first use."""
    assert LAZY.isdisjoint(fresh_import()["modules"])


def test_import_is_within_its_budget() -> None:
    """The best of several runs counts: the machine may be busy, the import is the same."""
    assert min(fresh_import()["seconds"] for _ in range(10)) <= BUDGET
