"""Gateways by name, those that packages add among them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from capnet import InvalidArgument, MissingExtra
from capnet.gateways.finding import find_gateway, known_gateways
from capnet.gateways.framing import Headers
from tests.cli.processes import COMMAND, ROOT, environment

CODE = """
async def serve(connection, /):
    print(sorted(await connection.runtime().describe()))
"""
POINTS = "[capnet.gateways]\nshouting = shouting:serve\nlacking = lacking.not_there:serve\n"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with a package that adds two."""
    (tmp_path / "shouting.py").write_text(CODE, encoding="utf-8")
    information = tmp_path / "shouting-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting\nVersion: 1.0\n", encoding="utf-8")
    (information / "entry_points.txt").write_text(POINTS, encoding="utf-8")
    return tmp_path


def test_those_of_capnet_and_of_packages(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(installed), *sys.path])
    assert set(known_gateways()) == {"acp", "jsonrpc", "lacking", "mcp", "shouting"}
    for name in ("acp", "jsonrpc", "mcp", "shouting"):
        assert callable(find_gateway(name))
    with pytest.raises(MissingExtra, match="lacking"):
        find_gateway("lacking")
    with pytest.raises(InvalidArgument) as caught:
        find_gateway("none")
    assert "shouting" in str(caught.value.__notes__)


def test_the_commands(installed: Path, tmp_path: Path) -> None:
    """One that a package has added; and JSON-RPC, which ends with its input, or with the host."""
    variables = environment(tmp_path, PYTHONPATH=f"{ROOT}:{installed}")
    url = f"unix:{tmp_path}/host.sock"

    def run(*words: str, given: bytes = b"") -> tuple[int, bytes, bytes]:
        command = [*COMMAND, *words]
        done = subprocess.run(
            command, cwd=ROOT, env=variables, input=given, capture_output=True, timeout=120, check=False
        )
        return done.returncode, done.stdout, done.stderr

    assert run("gateway", "none", url)[:2] == (2, b"")
    host = [sys.executable, "-m", "tests.cli.office_host", url]
    with subprocess.Popen(host, cwd=ROOT, env=variables, stdout=subprocess.PIPE) as served:
        assert served.stdout is not None
        try:
            assert served.stdout.readline() == b"listens\n"
            code, shown, wrong = run("gateway", "shouting", url)
            assert (code, wrong) == (0, b"") and b"office.Clerk" in shown and b"Secret" not in shown
            framing = Headers(1 << 20)
            asked = framing.framed('{"jsonrpc": "2.0", "id": 1.50, "method": "odd.data", "params": ["AQI="]}')
            code, shown, wrong = run("jsonrpc", url, "--framing", "headers", "--dialect", "lsp", given=asked)
            assert (code, wrong) == (0, b"")
            with subprocess.Popen(
                [*COMMAND, "jsonrpc", url], cwd=ROOT, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            ) as gateway:  # fmt: skip
                assert gateway.stdin is not None and gateway.stdout is not None
                gateway.stdin.write(b'{"jsonrpc": "2.0", "id": 1, "method": "odd.say"}\n')
                gateway.stdin.flush()
                assert b"result" in gateway.stdout.readline()
                served.kill()
                assert gateway.wait(timeout=120) == 3
            assert list(framing.feed(shown)) == [b'{"jsonrpc":"2.0","id":1.50,"result":{"data":"AQI=","flag":false}}']
        finally:
            served.kill()
