"""Every floor, and capnet on every loop, does every unit of work, and gets the right answer; nothing is timed."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from dataclasses import replace
from importlib.util import find_spec

import pytest

from benchmarks import scaling
from benchmarks.loops import drive, repeat
from benchmarks.peers.roster import PEERS
from benchmarks.subject import SUBJECTS, subject_named
from benchmarks.workload import ROWS, Carrier, LoopName, Row, checked

SMALLER = [
    replace(row, items=700, size=70_000, connections=1) for row in ROWS if row.workload != "W2" or row.in_flight == 1
]
UNITS = 3


@pytest.fixture
def path() -> Generator[str]:
    """A short one: the path of a unix socket has about a hundred bytes."""
    with tempfile.TemporaryDirectory(prefix="capnet-bench-") as folder:
        yield f"{folder}/bench.sock"


async def repeated(subject: str, row: Row, path: str) -> None:
    """Serve and do some units in this process."""
    work = subject_named(subject)
    async with work.serving(path, row) as address, work.openings[row.shape](address, row) as unit:
        for _ in range(UNITS):
            checked(await unit(), row)


@pytest.mark.parametrize("row", SMALLER, ids=lambda row: row.workload)
async def test_capnet_does_every_workload(row: Row, path: str) -> None:
    await repeated("capnet", row, path)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("row", SMALLER, ids=lambda row: row.workload)
@pytest.mark.parametrize("subject", ["F2", "f2-buffered"])
async def test_floors_do_every_workload(subject: str, row: Row, path: str) -> None:
    await repeated(subject, row, path)


@pytest.mark.parametrize("curve", scaling.CURVES, ids=lambda curve: curve.name)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_capnet_does_the_second_point_of_every_curve(curve: scaling.Curve, path: str) -> None:
    """The first is often the plain row, the last needs a minute."""
    _, row = curve.rows[1]
    await repeated("capnet", row, path)


@pytest.mark.parametrize("carrier", ["tcp", "tls", "ws"])
@pytest.mark.parametrize("subject", ["F2", "capnet"])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_every_carrier_carries_the_workloads(subject: str, carrier: Carrier, path: str) -> None:
    """But NATS, which needs a server: see tests/interop."""
    for row in SMALLER:
        if row.shape in ("echo", "numbers", "blob"):
            await repeated(subject, replace(row, carrier=carrier), path)


async def test_units_are_repeated_in_turns_and_side_by_side(anyio_backend_name: str) -> None:
    done: list[int] = []

    def unit(number: int):  # type: ignore[no-untyped-def]
        async def one() -> None:
            done.append(number)

        return one

    loop: LoopName = "trio" if anyio_backend_name == "trio" else "asyncio"
    units = [unit(number) for number in range(3)]
    timing = await drive(units, in_flight=1, seconds=0.01, loop=loop)
    assert timing.units == len(done) >= 1
    assert done == [number % 3 for number in range(len(done))]
    done.clear()
    timing = await drive(units, in_flight=5, seconds=0.0, loop=loop)
    assert timing.units == len(done) == 5, "each task does one at least, and all are counted"
    assert sorted(done) == [0, 0, 1, 1, 2], "tasks begin with different units"
    done.clear()
    assert await repeat(units[0], units=12, in_flight=4, loop=loop) == len(done) == 12


def test_a_wrong_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="instead of"):
        checked({"n": 0}, ROWS[0])


def test_what_a_row_carries_is_what_it_says() -> None:
    blob = next(row for row in ROWS if row.shape == "blob")
    assert len(replace(blob, size=1_000).argument) == 1_000
    assert len(blob.argument) == blob.size == 1024 * 1024
    assert len(replace(ROWS[0], values=40).argument["more"]) == 40


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_peer_has_an_adapter(peer: object) -> None:
    name = getattr(peer, "name", "")
    assert find_spec(SUBJECTS[name]) is not None
