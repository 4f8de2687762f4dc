"""The pre-scan against the safe decoder on a million inputs (R18).

CAPNET_SCAN_INPUTS says how many, CAPNET_SEED which.
"""

from __future__ import annotations

import os
from random import Random, SystemRandom

import pytest

from tests.property.test_scan import check_codec, check_scan

INPUTS = int(os.environ.get("CAPNET_SCAN_INPUTS", "1000000"))


@pytest.mark.timeout(3600)
def test_the_scan_and_the_decoder_agree(capsys: pytest.CaptureFixture[str]) -> None:
    """Both take the same frames, and the codec decodes the same with a scan before it and without."""
    seed = int(os.environ.get("CAPNET_SEED") or SystemRandom().randrange(2**32))
    passed = 0
    with capsys.disabled():
        print(f"\nCAPNET_SEED={seed}")
        for number, passed in enumerate(check_scan(Random(seed), INPUTS)):  # noqa: B007 - the last one is said below
            print(f"\rscan: {number * 10_000:,} of {INPUTS:,}", end="", flush=True)
        frames = check_codec(Random(seed), INPUTS // 4)
        print(f"\rscan: {INPUTS:,} inputs, {passed:,} let pass; codec: {INPUTS // 4:,} inputs, {frames:,} decoded")
