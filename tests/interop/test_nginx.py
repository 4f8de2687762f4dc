"""nginx in front of the ASGI mount, configured as the documentation has it."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from capnet import Host, connect
from capnet.errors import NotFound, PermissionDenied, Unauthenticated, Unavailable
from capnet_transports.asgi import mount
from tests.interop.counterparts import ROOT, program
from tests.transports.servers import SERVERS
from tests.transports.strangers import heard, stranger
from tests.transports.test_tcp import Adder, PlainAdder
from tests.transports.test_websocket import request

TOKEN = "correct-horse-battery-staple"
LIMIT = 60.0
CONFIG = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
    uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
    server {{
        listen 127.0.0.1:{port};
        {location}
    }}
}}
"""


@pytest.fixture(scope="module", params=["uvicorn", "hypercorn+trio"])
def server(request: pytest.FixtureRequest) -> Any:
    return SERVERS[request.param]


@pytest.fixture(scope="module")
def anyio_backend(server: Any) -> Any:
    return server[0]


def location(port: int) -> str:
    """The block of the how-to page, for a server at another port."""
    page = (ROOT / "docs/how-to/network.md").read_text()
    block = re.search(r"```nginx\n(.*?)```", page, re.DOTALL)
    assert block is not None and "127.0.0.1:8000" in block[1]
    return block[1].replace("127.0.0.1:8000", f"127.0.0.1:{port}")


@contextmanager
def nginx(folder: Path, upstream: int) -> Generator[int]:
    """The port at which it listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "nginx.conf").write_text(CONFIG.format(folder=folder, port=port, location=location(upstream)))
    process = subprocess.Popen([program("nginx"), "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf"])
    try:
        yield port
    finally:
        process.terminate()
        process.wait()


async def test_through_nginx(server: Any, tmp_path: Path) -> None:
    """Calls both small and large, who is there, and who is turned away with which word."""
    host = Host()
    host.serve(PlainAdder())
    app = mount(
        host, token=TOKEN, path="/capnet", proxies=["127.0.0.1"], hosts=["127.0.0.1"], headers=["X-Forwarded-For"]
    )
    async with server[1](app) as upstream:
        with nginx(tmp_path, upstream) as port:
            url = f"ws://127.0.0.1:{port}/capnet"
            async with connect(url, token=TOKEN, wait=LIMIT) as conn:
                with anyio.fail_after(LIMIT):
                    adder = await conn.bootstrap(Adder)
                    assert [await adder.add(number, 1) for number in range(20)] == [*range(1, 21)]
                known = host.connections[0].attestation
                assert (known.transport, known.path, known.address) == ("asgi", "/capnet", "127.0.0.1")
                assert known.headers == {"x-forwarded-for": "127.0.0.1"}
            with pytest.raises(Unauthenticated):
                await connect(url, token=TOKEN[::-1])
            with pytest.raises(PermissionDenied):
                await connect(url, token=TOKEN, origin="https://evil.example")
            with pytest.raises(NotFound):
                await connect(f"{url}/elsewhere", token=TOKEN)
            with stranger(url) as sock:
                sock.send(request({"Host": "127.0.0.1", "Sec-WebSocket-Extensions": "permessage-deflate"}))
                answer = await heard(sock, 12)
                while not answer.endswith(b"\r\n\r\n"):
                    answer += await heard(sock, 1)
                assert answer.startswith(b"HTTP/1.1 101") and b"sec-websocket-extensions" not in answer.lower()
    with nginx(tmp_path, upstream) as port:  # the server has gone
        with pytest.raises(Unavailable) as caught:
            await connect(f"ws://127.0.0.1:{port}/capnet", token=TOKEN, wait=1)
        assert caught.value.reason in ("http_502", "econnrefused")
