"""No test decides by the clock: who looks at one is known, and guards against hanging have a minute at least."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
CLOCKS = {"getrusage", "monotonic", "perf_counter", "process_time", "statm", "thread_time", "VmHWM", "VmRSS"}
KNOWN = {
    "architecture/test_clocks.py": "names them",
    "architecture/test_import_time.py": "for `make soak`",
    "attenuation/store.py": "has a virtual clock",
    "benchmarks/test_relay.py": "what is delayed takes at least so long",
    "cost.py": "tells time as the reference machine would take it",
    "faults/injection.py": "has a virtual clock go on slowly",
    "gateways/test_mcp_hostile.py": "latencies for `make soak`",
    "hostile/cell.py": "tells time as the reference machine would take it; memory for `make soak`",
    "hostile/encounter.py": "its user tells time as the reference machine would take it",
    "hostile/jail.py": "a guard against hanging; latencies for `make soak`",
    "hostile/malicious.py": "prints it",
    "integration/kills.py": "for `make soak`",
    "integration/load.py": "for `make soak`",
    "integration/plugin_load.py": "for `make soak`",
    "integration/processes.py": "a guard against hanging",
    "simulation/test_engines.py": "prints it",
    "transports/test_noise.py": "a peer that takes at least so long; for `make soak`",
}
"""What looks at a clock or at the size of a process, and why nothing depends on the machine."""
GUARDS = {"communicate", "fail_after", "move_on_after", "run", "settimeout", "wait", "wait_for"}
SHORT = 0.5
"""Seconds of what is meant to run out."""
LEAST = 60
FILES = sorted(path for path in TESTS.rglob("*.py") if "soak" not in path.parts)


def words(tree: ast.AST) -> Iterator[str]:
    """Names, attributes, what is imported, and words in texts that are short."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
                yield name
            case ast.Constant(value=str() as text) if len(text) < 40:
                yield from text.replace("/", " ").split()
            case _:
                pass


def guards(tree: ast.AST) -> Iterator[tuple[int, float]]:
    """Line and seconds of each call that waits for so long."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        first = node.args[:1] if name in ("fail_after", "move_on_after", "settimeout") else []
        times = [*first, *(word.value for word in node.keywords if word.arg == "timeout" and name in GUARDS)]
        for time in times:
            if isinstance(time, ast.Constant) and isinstance(time.value, (int, float)):
                yield node.lineno, time.value


def test_nothing_is_decided_by_the_clock() -> None:
    """A bound in seconds, or of a process's size, fails on a machine that is slower, busier or of another make."""
    found: list[str] = []
    for path in FILES:
        name, tree = str(path.relative_to(TESTS)), ast.parse(path.read_text(encoding="utf-8"))
        if name not in KNOWN:
            found += [f"{name} looks at {clock}" for clock in sorted(CLOCKS & set(words(tree)))]
        found += [f"{name}:{line} waits for {time} s" for line, time in guards(tree) if SHORT < time < LEAST]
    assert found == []


def test_all_that_are_known_are_there() -> None:
    """And nothing else is."""
    assert {str(path.relative_to(TESTS)) for path in FILES} >= KNOWN.keys()


def test_it_finds_what_it_looks_for() -> None:
    """The check is no check that cannot fail."""
    tree = ast.parse("from time import monotonic\nwith anyio.fail_after(5): run(x, timeout=3)\nsocket.settimeout(60)\n")
    assert CLOCKS & set(words(tree)) == {"monotonic"}
    assert sorted(guards(tree)) == [(2, 3), (2, 5), (3, 60)]
