"""The code in C against the pure code on a million frames, shapes and streams.

CAPNET_NATIVE_INPUTS says how many, CAPNET_SEED which.
"""

from __future__ import annotations

import os
from random import Random, SystemRandom

import pytest

from tests.native.twins import PROFILES, RUNS, Twins, cut_alike, same_check, shaped
from tests.property.cbor import Generator

INPUTS = int(os.environ.get("CAPNET_NATIVE_INPUTS", "1000000"))


@pytest.mark.skipif(not RUNS, reason="the code in C was not built, or is not wanted")
@pytest.mark.timeout(7200)
def test_both_make_the_same_of_everything(capsys: pytest.CaptureFixture[str]) -> None:
    """P-FRAME-4, P-OP, P-FRAME-1: frames in order and out of it, shapes right and wrong, streams cut anywhere."""
    seed = int(os.environ.get("CAPNET_SEED") or SystemRandom().randrange(2**32))
    random, twins, frames = Random(seed), [Twins(limits) for limits in PROFILES], 0
    generator = Generator(random)
    with capsys.disabled():
        print(f"\nCAPNET_SEED={seed}")
        for number in range(INPUTS):
            frames += twins[number % len(twins)].round_trip(generator.frame())
            same_check(shaped(random))
            if number % 10 == 0:
                cut_alike(random)
            if number % 10_000 == 0:
                print(f"\rnative: {number:,} of {INPUTS:,}", end="", flush=True)
        print(f"\rnative: {INPUTS:,} inputs, {frames:,} of them frames")
    assert 0.2 * INPUTS < frames < 0.8 * INPUTS
