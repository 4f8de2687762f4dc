"""A peer in JavaScript, written from the wire alone: node with the package `ws`, and a page in Chromium."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any
from urllib.parse import urlencode

import anyio

from capnet import Cap, Host, NotFound, Stream, call, stream
from tests.interop import counterparts
from tests.loops import EACH_LOOP

TOKEN = "correct-horse-battery-staple"
SCRIPTS = Path(__file__).with_name("js")


class Desk(Cap, name="js.Desk"):
    @call
    async def name(self) -> str: ...


class Listener(Cap, name="js.Listener"):
    @call
    async def heard(self, text: str) -> int: ...

    @call
    async def named(self) -> str: ...


class Office(Cap, name="js.Office"):
    @call
    async def add(self, a: int, b: int) -> int: ...

    @call
    async def echo(self, value: Any) -> Any: ...

    @call
    async def fail(self) -> None: ...

    @call
    async def open(self, name: str) -> Desk: ...

    @call
    async def greet(self, desk: Desk) -> str: ...

    @call
    async def tell(self, listener: Listener, times: int) -> int: ...

    @stream
    def count(self, to: int) -> Stream[int]: ...


class WoodenDesk(Desk):
    def __init__(self, name: str) -> None:
        self._name = name

    async def name(self) -> str:
        return self._name


class PlainOffice(Office):
    async def add(self, a: int, b: int) -> int:
        return a + b

    async def echo(self, value: Any) -> Any:
        return value

    async def fail(self) -> None:
        raise NotFound("no file", reason="no_such_file")

    async def open(self, name: str) -> Desk:
        return WoodenDesk(name)

    async def greet(self, desk: Desk) -> str:
        return f"hello {await desk.name()}"

    async def tell(self, listener: Listener, times: int) -> int:
        try:
            await listener.named()
        except NotFound:
            return sum([await listener.heard("hi") for _ in range(times)])
        raise AssertionError

    async def count(self, to: int) -> Stream[int]:
        for number in range(to):
            yield number


@asynccontextmanager
async def office(origins: list[str | None]) -> AsyncGenerator[str]:
    """The URL of a host, which holds nothing of anybody's in the end."""
    async with Host() as host:
        host.serve(PlainOffice())
        listener = await host.listen("ws://127.0.0.1:0", token=TOKEN, origins=origins)
        yield listener.url
        with anyio.fail_after(60):
            while host.connections:  # noqa: ASYNC110 (the end comes from elsewhere)
                await anyio.sleep(0.01)
        assert host.stats()["charge"] == 0


@EACH_LOOP
async def test_node() -> None:
    async with office([None]) as url:
        command = counterparts.node("js/in_node.js", url, TOKEN)
        ended = await anyio.run_process(command, stderr=subprocess.STDOUT, check=False)
        assert ended.stdout == b"conversed\n", ended.stdout.decode()


@EACH_LOOP
async def test_a_page(tmp_path: Path) -> None:
    """From another origin than the host's; first it is not on the list."""
    with pages() as (origin, said):
        async with office([None]) as url:
            words = await visit(f"{origin}/page.html", url, said, tmp_path / "stranger")
            assert "not let in" in words, words
        async with office([origin]) as url:
            words = await visit(f"{origin}/page.html", url, said, tmp_path / "friend")
            assert words == "conversed", words


async def visit(page: str, url: str, said: Queue[tuple[str, str]], profile: Path) -> str:
    """What a page has said that a browser, new each time, has opened."""
    # Without the port for debuggers it would end as soon as the page is loaded.
    command = [
        *(counterparts.program("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
        *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *(f"--user-data-dir={profile}", "--remote-debugging-port=0"),
        f"{page}?{urlencode({'url': url, 'token': TOKEN, 'visit': profile.name})}",
    ]
    with (profile.with_suffix(".log")).open("wb") as log:
        browser = await anyio.open_process(command, stdout=log, stderr=log)
    try:
        with anyio.fail_after(120):
            while True:  # a browser may open a page twice, and say late what came of it
                visit, words = await anyio.to_thread.run_sync(said.get, abandon_on_cancel=True)
                if visit == profile.name:
                    return words
    finally:
        browser.terminate()
        await browser.wait()


@contextmanager
def pages() -> Generator[tuple[str, Queue[tuple[str, str]]]]:
    """A server of the scripts, and what pages tell it."""
    said: Queue[tuple[str, str]] = Queue()

    class Handler(SimpleHTTPRequestHandler):
        def translate_path(self, path: str) -> str:
            return str(SCRIPTS / path.partition("?")[0].rpartition("/")[2])

        def do_POST(self) -> None:
            words = self.rfile.read(int(self.headers["Content-Length"])).decode()
            said.put((self.path.partition("?")[2], words))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", said
        finally:
            server.shutdown()
            thread.join()
