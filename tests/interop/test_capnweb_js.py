"""The released client of Cap'n Web in front of a host: in node, in pages of Chromium, and as the how-to page has it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from tests.cli.processes import ROOT, environment
from tests.cost import HANGS
from tests.interop import counterparts

FOLDER = Path(__file__).parent
PAGE = (ROOT / "docs" / "how-to" / "capnweb.md").read_text("utf-8")
CASES = 18


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scripts, in which node finds the packages."""
    packages = counterparts.INSTALLED / "node_modules"
    if not (packages / "capnweb").is_dir() or not (packages / "ws").is_dir():
        pytest.skip("the packages capnweb and ws of npm are not installed: make interop")
    folder = tmp_path_factory.mktemp("capnweb")
    (folder / "node_modules").symlink_to(packages)
    for script in FOLDER.glob("capnweb_*.*"):
        shutil.copy(script, folder)
    return folder


@contextmanager
def lounge(scratch: Path, *origins: str) -> Generator[str]:
    """The address of a host in another process."""
    command = [sys.executable, "-m", "tests.interop.capnweb_host", *origins]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(scratch),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as host:
        assert host.stdout is not None
        try:
            yield f"127.0.0.1:{host.stdout.readline().decode().strip()}"
        finally:
            host.kill()


def check(said: str) -> None:
    lines = said.splitlines()
    assert [line for line in lines if not line.startswith("ok ")] == []
    assert len(lines) == CASES


def test_in_node(scripts: Path, tmp_path: Path) -> None:
    with lounge(tmp_path) as address:
        command = [counterparts.program("node"), "capnweb_node.mjs", address]
        done = subprocess.run(command, cwd=scripts, stdout=subprocess.PIPE, text=True, timeout=5 * HANGS, check=False)
    check(done.stdout)


def test_in_a_page(scripts: Path, tmp_path: Path) -> None:
    """Of another origin than the host's; first it is not among those that may come."""
    with pages(scripts) as (origin, said):
        with lounge(tmp_path) as address:
            lines = visit(f"{origin}/capnweb_page.html?address={address}", said, tmp_path / "stranger").splitlines()
            assert [line for line in lines if line.startswith("ok ")] == []
            assert sum(line.startswith("failed ") for line in lines) == CASES
        with lounge(tmp_path, origin) as address:
            check(visit(f"{origin}/capnweb_page.html?address={address}", said, tmp_path / "friend"))


def test_the_programs_of_the_how_to_page(scripts: Path, tmp_path: Path) -> None:
    (host,) = re.findall(r"^```python\n(# lobby\.py\n.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (client,) = re.findall(r"^```js\n(// client\.mjs\n.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (shown,) = re.findall(r"^```console\n\$ node client\.mjs\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "lobby.py").write_text(host, "utf-8")
    with socket.create_server(("127.0.0.1", 0)) as listens:
        client = client.replace("localhost:8000", f"127.0.0.1:{listens.getsockname()[1]}")
        socket_of_node = 'globalThis.WebSocket ??= (await import("ws")).WebSocket;\n'
        (scripts / "client.mjs").write_text(socket_of_node + client, "utf-8")
        served = [sys.executable, "-m", "uvicorn", "lobby:app", "--log-level", "error", "--fd", str(listens.fileno())]
        variables = environment(tmp_path, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
        with subprocess.Popen(served, env=variables, pass_fds=[listens.fileno()]) as server:
            try:
                command = [counterparts.program("node"), "client.mjs"]
                done = subprocess.run(
                    command, cwd=scripts, stdout=subprocess.PIPE, text=True, timeout=HANGS, check=False
                )
            finally:
                server.kill()
    assert done.stdout == shown


def visit(page: str, said: Queue[str], profile: Path) -> str:
    """What a page has said that a browser, new each time, has opened."""
    # Without the port for debuggers it would end as soon as the page is loaded.
    command = [
        *(
            counterparts.program("chromium"),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
        ),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *(f"--user-data-dir={profile}", "--remote-debugging-port=0", page),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
        try:
            return said.get(timeout=5 * HANGS)
        finally:
            browser.terminate()


@contextmanager
def pages(folder: Path) -> Generator[tuple[str, Queue[str]]]:
    """A server of the scripts, and what pages tell it."""
    said: Queue[str] = Queue()

    class Handler(SimpleHTTPRequestHandler):
        extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}  # noqa: RUF012

        def do_POST(self) -> None:
            said.put(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", said
        finally:
            server.shutdown()
            thread.join()
