"""`capnet nats` as its lines say: a server by that configuration, a host, and those who may connect to it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.cli.processes import COMMAND, ROOT, environment, run
from tests.interop.nats_servers import NatsServer, free_port


def test_the_lines_that_it_prints(tmp_path: Path) -> None:
    port = free_port()
    folder = tmp_path / "nats"
    pairs = ["--host", "fleet=clocks", "--peer", "anna=clocks", "--peer", "otto=other"]
    made = run(tmp_path, "nats", str(folder), *pairs, "--listen", f"127.0.0.1:{port}")
    _server, host, *peers = made.stdout.splitlines()
    server = NatsServer(folder, port=port).start()
    serves = [*COMMAND, *host.replace("…", "demo=tests.cli.programs:Counter").split()[1:], "--json"]
    try:
        with subprocess.Popen(serves, cwd=ROOT, env=environment(tmp_path), stdout=subprocess.PIPE) as serving:
            try:
                assert serving.stdout is not None and b"listening" in serving.stdout.readline()
                ls, refused = (run(tmp_path, *line.split()[1:]) for line in peers)
                assert "demo" in ls.stdout, ls.stderr
                assert refused.returncode and "no_listener" in refused.stderr
                url, options = ls.args[-5], ls.args[-4:]
                call = run(tmp_path, "call", url, "demo.tick", *options)
                assert call.returncode == 0, call.stderr
                nobody = run(tmp_path, "ls", url)
                assert "--user NAME and --password FILE" in nobody.stderr
                wrong = run(tmp_path, "ls", url, "--user", "anna", "--password", str(folder / "otto.password"))
                assert "nats_user" in wrong.stderr
                absent = run(tmp_path, "ls", url, "--user", "anna", "--password", str(folder / "nobody.password"))
                assert "No such file" in absent.stderr
            finally:
                serving.terminate()
    finally:
        server.kill()
