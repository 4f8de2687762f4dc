"""What a program of agents waits for, and what it holds: `capnet mcp` from a cold start, in seconds and bytes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from time import perf_counter
from typing import IO

import pytest

from benchmarks.memory import resident
from benchmarks.reference import factor
from tests.cli.processes import COMMAND, ROOT, environment
from tests.interop.counterparts import hosting

SECONDS = 0.3
"""Of the reference machine, from the start of the program to its first answer."""
MOST = 40 * 1024 * 1024
"""Bytes of memory that it has taken by then, and once its tools were listed."""
STARTS = 10


def test_a_server_for_agents_starts_at_once_and_is_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The best of some starts counts, of memory the worst."""
    with hosting("tests.cli.office_host", tmp_path) as url:
        runs = [start(url, tmp_path) for _ in range(STARTS)]
    seconds, size = min(took for took, _ in runs) / factor(), max(size for _, size in runs)
    with capsys.disabled():
        print(f"\ncapnet mcp: {seconds * 1000:.0f} ms to the answer, {size / 2**20:.1f} MiB resident")
    assert seconds <= SECONDS
    assert size <= MOST


def start(url: str, scratch: Path) -> tuple[float, int]:
    """Seconds until it answers, and bytes that are resident when it has told of its tools."""
    began = perf_counter()
    with subprocess.Popen(
        [*COMMAND, "mcp", url], cwd=ROOT, env=environment(scratch), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdin is not None and server.stdout is not None
        ask(server.stdin, server.stdout, "initialize")
        seconds = perf_counter() - began
        ask(server.stdin, server.stdout, "tools/list")
        size = resident(server.pid)
        server.stdin.close()
        assert server.wait(60) == 0
    return seconds, size


def ask(sent: IO[bytes], got: IO[bytes], method: str) -> None:
    """Ask for something, and have the answer."""
    sent.write(json.dumps({"jsonrpc": "2.0", "id": method, "method": method, "params": {}}).encode() + b"\n")
    sent.flush()
    answer = json.loads(got.readline())
    assert answer["id"] == method and "result" in answer
