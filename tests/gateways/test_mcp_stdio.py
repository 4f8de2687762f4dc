"""`capnet mcp` as a process, in front of a host in another one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.cli.processes import COMMAND, ROOT, environment


def test_a_whole_session(tmp_path: Path) -> None:
    """Lines in, lines out, and the end of input is the end."""
    url = f"unix:{tmp_path}/host.sock"
    host = [sys.executable, "-m", "tests.cli.office_host", url]
    with subprocess.Popen(host, cwd=ROOT, env=environment(tmp_path), stdout=subprocess.PIPE) as served:
        assert served.stdout is not None
        try:
            assert served.stdout.readline() == b"listens\n"
            session(tmp_path, url)
        finally:
            served.kill()


def session(scratch: Path, url: str) -> None:
    with subprocess.Popen(
        [*COMMAND, "mcp", url],
        cwd=ROOT,
        env=environment(scratch),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        sent, got = process.stdin, process.stdout

        def ask(number: int, method: str, **params: Any) -> dict[str, Any]:
            message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            sent.write(json.dumps(message).encode() + b"\n")
            sent.flush()
            answer: dict[str, Any] = json.loads(got.readline())
            assert answer["id"] == number
            return answer

        begun = ask(1, "initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo={"name": "t"})
        assert begun["result"]["protocolVersion"] == "2025-06-18"
        names = {tool["name"] for tool in ask(2, "tools/list")["result"]["tools"]}
        assert "office.Clerk.open" in names
        assert not any(name.startswith("office.Secret") for name in names)  # the policy of the host says so
        opened = ask(3, "tools/call", name="office.Clerk.count", arguments={"reader": "x"})
        assert opened["result"]["isError"]
        sent.write(b'not json\n{"jsonrpc": "2.0", "id": 4, "method": "server/discover"}')
        sent.close()
        assert json.loads(got.readline())["error"]["code"] == -32700
        assert json.loads(got.readline())["id"] == 4
        assert got.read() == b""
        assert process.stderr is not None and process.stderr.read() == b""
        assert process.wait(timeout=60) == 0
