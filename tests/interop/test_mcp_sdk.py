"""The clients of the MCP SDKs in front of `capnet mcp`."""

from __future__ import annotations

import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.cli.processes import COMMAND, ROOT, environment
from tests.interop import counterparts

CLIENT = str(Path(__file__).with_name("mcp_client.py"))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """Of a host in another process."""
    with counterparts.hosting("tests.cli.office_host", tmp_path_factory.mktemp("host")) as listens:
        yield listens


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_python_sdk(url: str, tmp_path: Path, mode: str) -> None:
    """Of both protocols: tools, values, handles, errors."""
    use([counterparts.python(), CLIENT, mode], url, tmp_path)


@pytest.mark.parametrize("which", ["new", "old", "sdk"])
def test_the_typescript_sdks(url: str, tmp_path: Path, which: str) -> None:
    """The newer one with both protocols, and the one that knows the older protocol alone."""
    use(counterparts.node("mcp_client.mjs", which), url, tmp_path)


def use(client: list[str], url: str, tmp_path: Path) -> None:
    """Have a client use what a host serves."""
    done = subprocess.run(
        [*client, *COMMAND, "mcp", url],
        cwd=ROOT,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        timeout=120,
        check=True,
    )
    assert done.stdout == b"used\n"
