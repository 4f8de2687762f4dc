"""One peer makes a program grow by 96 MiB at most, as the system sees it, whatever it leaves lying (P-LIMIT-3)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import anyio
import pytest

from capnet.wire.frames import Op
from capnet.wire.references import CapRef, StreamRef
from tests.hostile.attack import Raw
from tests.hostile.jail import MIB, MOST_MEMORY, Jail, jailed, watching
from tests.hostile.jail import anyio_backend as anyio_backend  # a fixture

WIDE: Final = "a" * (4 * MIB - 300) + "\U0001f600"
"""Text of 4 MiB that takes 16."""
LONG: Final = "a" * (4 * MIB - 300)


async def calls_with_wide_text(raw: Raw, bait: int) -> None:
    """Calls that run."""
    for id in range(2, 22):
        await raw.send([Op.CALL, id, bait, "hold", {"value": WIDE}])


async def many_shapes(raw: Raw, bait: int) -> None:
    """Calls that run, each with other values."""
    values: list[Any] = [
        [{f"{key:03}": f"{key:04}"} for key in range(20_000)],
        [chr(0x1F600 + key % 500) + str(key) for key in range(30_000)],
        [[[[]]]] * 15_000,
        [{f"{key:05}中": 0} for key in range(20_000)],
    ]
    for id in range(2, 60):
        await raw.send([Op.CALL, id, bait, "hold", {"value": values[id % len(values)]}])


async def ends_with_long_details(raw: Raw, bait: int) -> None:
    """Streams that have ended and are held by a call that runs."""
    for id in range(2, 5):
        streams = range(id * 100, id * 100 + 60)
        await raw.send([Op.CALL, id, bait, "hold", {"value": [StreamRef("out", id=one) for one in streams]}])
        for one in streams:
            await raw.send([Op.END, one, "internal", LONG[:1000], {"x": LONG[: 2 * MIB]}])


async def revocations_with_reasons(raw: Raw, bait: int) -> None:
    """Capabilities that a call holds, each taken back with a reason of its own."""
    for id in range(2, 11):
        caps = [CapRef("test.Thing", 1, id=id * 1000 + one) for one in range(1000)]
        await raw.send([Op.CALL, id, bait, "hold", {"value": caps}])
    for id in range(2, 11):
        await raw.send(*[[Op.CAP_REVOKED, [id * 1000 + one], f"{one}{LONG[:4080]}\U0001f600"] for one in range(1000)])


async def events_of_failures(raw: Raw, bait: int) -> None:
    """Events that it does not read, of calls with long arguments and of streams with long reasons."""
    await raw.send([Op.CALL, 2, 1, "events", {"kinds": ["HandlerFailed", "StreamClosed", "CallFinished"]}])
    assert (await raw.reply())[0] == Op.RESULT
    for id in range(3, 60):
        await raw.send([Op.CALL, id, bait, "fail", {"how": WIDE}])
        await raw.send([Op.CALL, id + 100, bait, "hold", {"value": StreamRef("out", id=id)}])
        await raw.send([Op.END, id, "internal", "m", {"reason": WIDE}])


async def all_at_once(raw: Raw, bait: int) -> None:
    """Results, an item, what it does not read, calls, and most of a frame."""
    for id in range(2, 6):
        await raw.send([Op.CALL, id, bait, "echo", {"value": bytes(MIB - 1000)}, {"keep": True}])
        assert (await raw.reply())[0] == Op.RESULT
    await raw.send([Op.CALL, 6, bait, "sink", {"items": StreamRef("out", id=1)}], [Op.ITEMS, 1, [WIDE]])
    for id in range(10, 17):
        await raw.send([Op.CALL, id, bait, "echo", {"value": bytes(MIB)}])
    for id in range(20, 40):
        await raw.send([Op.CALL, id, bait, "hold", {"value": WIDE if id % 4 == 0 else LONG}])
    await raw.send((4 * MIB).to_bytes(4) + b"\x85" + bytes(4 * MIB - 100))


WAYS: Final = [
    calls_with_wide_text,
    many_shapes,
    ends_with_long_details,
    revocations_with_reasons,
    events_of_failures,
    all_at_once,
]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("loop", ["asyncio", "trio"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_one_peer(
    way: Callable[[Raw, int], Awaitable[None]], loop: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also one that is cut off for it, until then."""
    most = 0
    with watching("memory"):
        async with jailed(loop=loop, kill_after=120.0) as jail:
            most = await _tried(jail, way)
    with capsys.disabled():
        print(f"\n{way.__name__}, {loop}: {most / MIB:.1f} MiB")
    assert most <= MOST_MEMORY


@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", WAYS[:-1], ids=lambda way: way.__name__)
async def test_twenty_peers_of_one_host(
    way: Callable[[Raw, int], Awaitable[None]], capsys: pytest.CaptureFixture[str]
) -> None:
    """All of them together: what the host counts, and what is on its way. What they do not read is not counted."""
    most = 0
    with watching("memory"):
        async with jailed(kill_after=300.0) as jail:
            jail.most_memory = 256 * MIB
            for _ in range(20):
                most = await _tried(jail, way)
    with capsys.disabled():
        print(f"\ntwenty, {way.__name__}: {most / MIB:.1f} MiB")


async def _tried(jail: Jail, way: Callable[[Raw, int], Awaitable[None]]) -> int:
    """Let a peer do it; the bytes by which the host grew at most so far."""
    with anyio.move_on_after(60), suppress(AssertionError):  # it may be cut off, and hears no answer then
        await way(*await jail.holder())
    await anyio.sleep(0.5)
    return jail.figures(check=False).most
