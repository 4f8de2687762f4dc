"""`import capnet` is cheap: a command-line tool pays for it on every start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHARE = 0.65
"""Of the calls that `import asyncio` takes; seconds are in `tests/soak`."""
LAZY = {"anyio", "asyncio", "cbor2", "msgspec", "rich", "ssl", "structlog", "trio", "uvloop"}
"""What is imported when it is needed first, never before."""

PROBE = """
import json, sys, time
calls = 0
def count(frame, event, argument):
    global calls
    calls += event in ("call", "c_call")
before = time.process_time()
sys.setprofile(count if {counting} else None)
import {module}
sys.setprofile(None)
print(json.dumps([calls, time.process_time() - before, sorted(sys.modules)]))
"""


def fresh_import(module: str, *, counting: bool = False) -> tuple[int, float, set[str]]:
    """What a new interpreter sees of an import: calls of functions, seconds, and the modules that it left."""
    command = [sys.executable, "-c", PROBE.format(module=module, counting=counting)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    calls, seconds, modules = json.loads(done.stdout)
    return calls, seconds, set(modules)


def test_import_leaves_heavy_modules_alone() -> None:
    """Loops, terminals, TLS and logging come with their first use."""
    assert LAZY.isdisjoint(fresh_import("capnet")[2])


def test_a_server_for_agents_starts_with_what_it_needs() -> None:
    """Its client waits for it, and there is one for each client."""
    left_out = {"importlib.metadata", "pydantic", "rich", "structlog", "trio", "typer"}
    left_out |= {"capnet.gateways.jsonrpc.serving", "capnet.gateways.mcp.http", "capnet.toolbox"}
    assert left_out.isdisjoint(fresh_import("capnet.cli.mcp, capnet_transports.unix")[2])


def test_import_is_within_its_budget() -> None:
    """In calls, of which the second run counts: the first may have to compile."""
    ours, theirs = ([fresh_import(module, counting=True)[0] for _ in range(2)][1] for module in ("capnet", "asyncio"))
    assert 0 < ours <= SHARE * theirs
