"""R3, at length: a million frames of a malicious peer, and what memory an engine takes that hears some of them."""

from __future__ import annotations

import gc
import os
import random
import time
import tracemalloc

import pytest

from tests.hostile.malicious import EAGER, MALICE, MOST_PER_TURN, Campaign, campaign

FRAMES = int(os.environ.get("CAPNET_MALICIOUS_FRAMES", "1000000"))
TRACED = FRAMES // 10
MOST_AT_ONCE = 8 * 2**20
"""Bytes that an encounter takes at its worst, with all that the owner and the referee note down."""
MOST_LEFT = 256 * 1024
"""Bytes by which memory may grow from the middle to the end (the bar of R13)."""


def seed() -> int:
    """To be given again when a run has failed."""
    chosen = int(os.environ.get("CAPNET_SEED") or random.SystemRandom().randrange(2**32))
    print(f"CAPNET_SEED={chosen}")
    return chosen


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("malice", [MALICE, EAGER], ids=["deep", "wide"])
def test_a_million_frames(malice: tuple[float, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing that a peer says leaves the engine other than it should be."""
    last = time.monotonic()

    def progress(done: Campaign) -> None:
        nonlocal last
        if time.monotonic() - last > 10:
            last = time.monotonic()
            with capsys.disabled():
                print(f"\n{done.frames} of {FRAMES} frames", end="", flush=True)

    done = campaign(seed(), FRAMES, progress, malice=malice)
    with capsys.disabled():
        print(f"\n{done}")
    assert done.frames >= FRAMES
    assert done.slowest <= MOST_PER_TURN


@pytest.mark.timeout(3600)
def test_memory_is_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    """What an encounter takes is bounded while it lasts, and nothing of it is left when it is over."""
    half, held = 0, list[int]()

    def measure(done: Campaign) -> None:
        nonlocal half
        if len(held) < 1 + (done.frames >= TRACED // 2):
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])
            half = done.frames

    campaign(0, 2000)  # what is kept for ever is there now
    tracemalloc.start()
    try:
        done = campaign(seed(), TRACED, measure)
        gc.collect()
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    with capsys.disabled():
        print(f"\n{done}\nat most {peak / 2**20:.1f} MiB, {now - held[-1]} bytes more than after {half} frames")
    assert peak <= MOST_AT_ONCE
    assert now - held[-1] <= MOST_LEFT
