"""The page about security names tests for what it promises: they are there, and nothing is promised without one."""

from __future__ import annotations

import ast
import os
import re
import socket
import tempfile
from functools import cache
from pathlib import Path

from capnet import Cap, Host, Limits, call, connect
from tests.connection.shop import until
from tests.hostile.attack import Raw

KIB = 1024
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "explanation" / "security.md").read_text(encoding="utf-8")
TEST = re.compile(r"`(tests/[^`]+)`")
THREAT = re.compile(r"^\| (T\d+) \|.*\|([^|]*)\|$", re.MULTILINE)
PROMISES = re.findall(
    r"^- \*\*(.+?)\*\*(.*?)(?=^- |^$)",
    PAGE.partition("## What a peer cannot do")[2].partition("\n## ")[0],
    re.MULTILINE | re.DOTALL,
)


@cache
def names_in(path: Path) -> frozenset[str]:
    """The tests of a module, and its classes of tests, as pytest calls them."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            names.add(node.name)
            names |= {
                f"{node.name}::{inner.name}"
                for inner in node.body
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return frozenset(name for name in names if name.rpartition("::")[2].startswith(("test_", "Test")))


def is_there(test: str) -> bool:
    """Whether a module, class or function of tests exists."""
    path, _, name = test.partition("::")
    return (ROOT / path).is_file() and (not name or name in names_in(ROOT / path))


def test_what_the_page_names_is_there() -> None:
    """A test that was renamed is renamed on the page."""
    assert [test for test in TEST.findall(PAGE) if not is_there(test)] == []


def test_what_is_not_there_is_noticed() -> None:
    """By its file, its class, or its name."""
    assert is_there("tests/docs/test_security.py::test_what_is_not_there_is_noticed")
    assert is_there("tests/hostile/test_engine.py::TestFloods::test_rapid_reset")
    assert not is_there("tests/docs/test_nothing.py")
    assert not is_there("tests/docs/test_security.py::test_rapid_reset")
    assert not is_there("tests/docs/test_security.py::names_in")
    assert not is_there("tests/hostile/test_engine.py::TestFloods::test_nothing")


def test_every_promise_has_a_test() -> None:
    """What nothing holds is no promise."""
    assert len(PROMISES) >= 18
    assert [promise for promise, text in PROMISES if not TEST.search(text)] == []


def test_every_threat_has_its_row_and_a_test() -> None:
    rows = THREAT.findall(PAGE)
    assert [threat for threat, _ in rows] == [f"T{number}" for number in range(1, 31)]
    assert [threat for threat, tests in rows if not TEST.search(tests)] == []


def imported(path: Path) -> set[str]:
    """The packages that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


def test_nothing_compresses() -> None:
    """T29, T30: TLS is the standard library's, and where it is spoken; as nothing compresses, nothing swells."""
    files = [file for room in ("capnet", "capnet_transports") for file in (ROOT / room).rglob("*.py")]
    used = {name for file in files for name in imported(file)}
    assert {"socket", "cbor2"} <= used
    spoken = {"certificates", "tls", "tls_codec", "tls_context", "websocket", "client", "posting"}  # the last two: MCP
    assert {file.stem for file in files if "ssl" in imported(file)} == spoken
    assert not used & {"zlib", "gzip", "bz2", "lzma", "zipfile", "compression", "brotli", "zstandard", "lz4"}


class Blob(Cap, name="test.Blob"):
    """What is larger than the question for it."""

    @call
    async def get(self) -> bytes: ...


class MemBlob(Blob):
    def __init__(self) -> None:
        self.asked = 0

    async def get(self) -> bytes:
        self.asked += 1
        return bytes(64 * KIB)


async def test_while_a_peer_reads_nothing_its_calls_wait() -> None:
    """T11: above `max_backlog` nothing of the peer's is acted on, also what came in one piece with the rest."""
    limits = Limits(max_backlog=256 * KIB, frames_per_turn=2)
    blob = MemBlob()
    with tempfile.TemporaryDirectory(prefix="cap", dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as sock:
        path = os.path.join(folder, "s")
        async with Host(limits=limits) as host:
            host.serve(blob)
            await host.listen(f"unix:{path}")
            sock.connect(path)
            sock.setblocking(False)
            raw = Raw(sock)
            await raw.greet()
            (silent,) = host.connections
            await raw.send([2, 1, 0, "bootstrap", {"name": "test.Blob"}])
            id = (await raw.reply())[2].id
            await raw.send(*(raw.pack([2, number, id, "get", {}]) for number in range(2, 202)))
            await until(lambda: silent.stats()["backlog"] > limits.max_backlog)
            async with connect(f"unix:{path}") as honest:
                for _ in range(150):
                    await honest.ping()  # there was a turn for everybody
            assert blob.asked < 50
