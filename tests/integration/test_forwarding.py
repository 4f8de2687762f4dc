"""A store that is reached through two other processes, over unix sockets; and what happens when one of them dies."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint

from capnet import CapnetError, connect, notify, pipe
from capnet.testing import assert_no_leaks
from tests.cost import HANGS
from tests.integration.programs import ROOT
from tests.integration.relaying import Desk
from tests.loops import ONE_LOOP

Programs = list[tuple[str, "subprocess.Popen[str]"]]


@contextmanager
def row(peers: int) -> Generator[Programs]:
    """So many processes, the first with the store, each connected to the one before; with their addresses."""
    programs: Programs = []
    with tempfile.TemporaryDirectory(prefix="cap", dir="/tmp") as folder, ExitStack() as stack:
        for number in range(peers):
            url = f"unix:{Path(folder) / str(number)}"
            before = [programs[-1][0]] if programs else []
            command = [sys.executable, "-m", "tests.integration.relaying", url, *before]
            process = stack.enter_context(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8"))
            stack.callback(process.kill)
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            programs.append((url, process))
        yield programs


async def chunks() -> AsyncIterator[bytes]:
    for number in range(300):
        yield bytes(number)


async def test_everything_goes_through_two_other_processes() -> None:
    with row(3) as programs:
        async with connect(programs[-1][0]) as connection:
            store = await (await connection.bootstrap(Desk)).store()
            assert [await store.add(str(number)) for number in range(3)] == [1, 2, 3]
            shelf = pipe(store.shelf("a"))
            notify(shelf.add)("one way")
            assert [await call for call in [shelf.add("x"), shelf.add("y")]] == [2, 3]
            assert [number async for number in store.numbers(2000)] == list(range(2000))
            assert await store.size(chunks()) == sum(range(300))
            del store, shelf
            await assert_no_leaks(connection)


@ONE_LOOP
@pytest.mark.parametrize("killed", [0, 1, 2], ids=["host", "middle", "next"])
async def test_one_of_them_is_killed_in_a_call(killed: int) -> None:
    """The call ends at once at this end; where the host lives on, its handler is cancelled."""
    with row(3) as programs:
        async with connect(programs[-1][0]) as connection, connect(programs[0][0]) as direct:
            store = await (await connection.bootstrap(Desk)).store()
            origin = await (await direct.bootstrap(Desk)).store()
            running = store.hang()
            with anyio.fail_after(HANGS):
                while not await origin.hanging():
                    await checkpoint()
            programs[killed][1].kill()
            with pytest.raises(CapnetError) as caught, anyio.fail_after(HANGS):
                await running
            assert caught.value.code in ("unavailable", "failed_precondition")
            if killed:
                with anyio.fail_after(HANGS):
                    while await origin.hanging():
                        await checkpoint()
                assert await origin.add("x") == 1
            with pytest.raises(CapnetError), anyio.fail_after(HANGS):
                await store.add("y")
