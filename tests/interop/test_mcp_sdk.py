"""The client of the MCP Python SDK in front of `capnet mcp`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.cli.processes import COMMAND, ROOT, environment
from tests.interop import counterparts

CLIENT = str(Path(__file__).with_name("mcp_client.py"))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """Of a host in another process."""
    scratch = tmp_path_factory.mktemp("host")
    listens = f"unix:{scratch}/host.sock"
    host = [sys.executable, "-m", "tests.cli.office_host", listens]
    with subprocess.Popen(host, cwd=ROOT, env=environment(scratch), stdout=subprocess.PIPE) as served:
        assert served.stdout is not None
        try:
            assert served.stdout.readline() == b"listens\n"
            yield listens
        finally:
            served.kill()


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_sdk_uses_what_a_host_serves(url: str, tmp_path: Path, mode: str) -> None:
    """Of both protocols: tools, values, handles, errors."""
    client = subprocess.run(
        [counterparts.python(), CLIENT, mode, *COMMAND, "mcp", url],
        cwd=ROOT,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        timeout=120,
        check=True,
    )
    assert client.stdout == b"used\n"
