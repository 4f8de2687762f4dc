"""`capnet call --once`, and `--inside` of all commands that talk to a host, which is in another thread."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from capnet import Cap, Host, Opening, PermissionDenied, Stream, call, stream
from capnet.cli import main
from capnet.cli.exits import Exit


class Pad(Cap, name="heal.Pad"):
    @call
    async def write(self, text: str) -> int: ...
    @call
    async def ends(self) -> None: ...
    @stream
    def lines(self) -> Stream[str]: ...


class MemPad(Pad):
    """Cuts the line of its host in each call, as often as it is told to, and ends the host if it is told that."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.texts: list[str] = []

    async def write(self, text: str) -> int:
        self.texts.append(text)
        await self._place.cut()
        return len(self.texts)

    async def ends(self) -> None:
        await self._place.cut()
        await self._place.end()

    async def lines(self) -> Stream[str]:
        yield "one"


class Place:
    """Where a host is, until it ends."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.cuts = 0
        self.pad = MemPad(self)
        self.gone = False
        self._ends = anyio.Event()
        self._ready = anyio.Event()

    async def serve(self, *, operations: bool) -> None:
        async with Host(operations=operations) as self.host:
            self.host.serve(self.pad)
            self.host.on_open(self.decide)
            await self.host.listen(self.url)
            self._ready.set()
            await self._ends.wait()

    async def decide(self, opening: Opening) -> None:
        """One deeper, for who is called so."""
        if opening.metadata.get("tenant") != "blue":
            raise PermissionDenied("no such tenant", reason="tenant")
        child = opening.accept()
        child.serve(MemPad(Place("")), name="blue.Pad")
        child.on_open(self.decide)

    async def cut(self) -> None:
        if self.cuts:
            self.cuts -= 1
            for connection in self.host.connections:
                connection._session.driver.transport.abort()

    async def end(self) -> None:
        self._ends.set()

    async def ready(self) -> None:
        await self._ready.wait()


@pytest.fixture
def portal() -> Iterator[BlockingPortal]:
    """A loop in another thread."""
    with start_blocking_portal() as portal:
        yield portal


def place(portal: BlockingPortal, folder: Path, *, operations: bool = True) -> Place:
    there = portal.call(Place, f"unix:{folder}/s")
    portal.start_task_soon(lambda: there.serve(operations=operations))
    portal.call(there.ready)
    return there


def test_a_call_runs_once(portal: BlockingPortal, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """However often the line is cut; and where it cannot be told, that is said."""
    there = place(portal, tmp_path)
    there.cuts = 1
    words = ["call", there.url, "heal.Pad.write", "text=tea", "--once"]
    assert (main(words), capsys.readouterr().out, there.pad.texts) == (Exit.OK, "1\n", ["tea"])
    there.cuts = 1
    assert main(words[:-1]) == Exit.UNREACHABLE, "without it a line that is cut is the end"
    assert main([*words[:2], "heal.Pad.lines", "--once"]) == Exit.USAGE
    there.cuts = 1
    assert main([*words[:2], "heal.Pad.ends", "--once", "--timeout", "0.2"]) == Exit.UNREACHABLE
    assert "unavailable/indeterminate: it may have run or not" in capsys.readouterr().err


def test_a_host_that_keeps_nothing(portal: BlockingPortal, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = place(portal, tmp_path, operations=False)
    assert main(["call", there.url, "heal.Pad.write", "text=tea", "--once"]) == Exit.FAILED
    assert "Host(operations=True)" in capsys.readouterr().err and not there.pad.texts
    portal.call(there.end)


def test_who_is_inside(portal: BlockingPortal, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of all that talks to a host; one inside of the other."""
    there = place(portal, tmp_path)
    blue = ["--inside", '{"tenant": "blue"}']
    assert main(["ls", there.url, *blue]) == Exit.OK
    assert "blue.Pad" in capsys.readouterr().out
    assert main(["call", there.url, "blue.Pad.write", "text=tea", *blue, *blue]) == Exit.OK
    assert capsys.readouterr().out == "1\n" and not there.pad.texts
    assert main(["ls", there.url, "--inside", '{"tenant": "red"}']) == Exit.UNREACHABLE
    assert "permission_denied/tenant: no such tenant" in capsys.readouterr().err
    for wrong in ("[1]", "{"):
        assert main(["ls", there.url, "--inside", wrong]) == Exit.USAGE
    portal.call(there.end)
