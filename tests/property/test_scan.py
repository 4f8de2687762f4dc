"""The pre-scan lets exactly those frames pass that the safe decoder takes (P-FRAME-4, R18).

The seed is printed; CAPNET_SEED repeats a run, CAPNET_SCAN_INPUTS says how many inputs there are. Hypothesis does the
same in `test_codec.py` with fewer inputs, which it shrinks.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from capnet.errors import ProtocolViolation
from capnet.limits import Limits
from capnet.wire.codec import SCAN_ABOVE
from capnet.wire.references import TAG_CAP
from capnet.wire.scan import scan
from tests.property.agreement import codecs_agree, judge
from tests.property.cbor import Generator, head

PROFILES = [
    Limits(max_depth=8, max_items=256, max_references=8),
    Limits(max_depth=4, max_items=24, max_references=2),
    Limits(),
]


@pytest.fixture(autouse=True)
def untraced() -> Iterator[None]:
    """Coverage of these rooms is proved by smaller tests; to trace so many inputs would take ten times as long."""
    trace = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(trace)


@pytest.fixture
def random() -> Random:
    """Chance, with the seed that repeats it."""
    seed = int(os.environ.get("CAPNET_SEED", "2024"))
    print(f"CAPNET_SEED={seed}")
    return Random(seed)


def check_scan(random: Random, inputs: int) -> Iterator[int]:
    """Put inputs before both judges; yields how many have passed, every 10,000 inputs and at the end.

    Raises:
        AssertionError: they disagree, or hardly anything passes, or hardly anything is refused.
    """
    generator = Generator(random)
    passed = 0
    for number in range(inputs):
        frame = generator.frame()
        passed += judge(frame, PROFILES[number % 3])
        if number % 10_000 == 9_999:
            yield passed
    # A generator that makes rubbish, or nothing but perfect frames, would prove little.
    assert 0.2 * inputs < passed < 0.8 * inputs, f"{passed} of {inputs} passed"
    yield passed


def check_codec(random: Random, inputs: int) -> int:
    """Decode inputs with a scan before it and without; returns how many were frames."""
    generator = Generator(random, faults=0.01)
    return sum(codecs_agree(generator.frame(), PROFILES[number % 2]) is not None for number in range(inputs))


def at_the_edge(random: Random) -> Iterator[bytes]:
    """Frames just below and above the length from which they are scanned, sound or with something wrong at the end."""
    generator = Generator(random, faults=0.1)
    for size in range(SCAN_ABOVE - 2, SCAN_ABOVE + 4):
        for _ in range(8):
            tail = generator.value(6)
            padding = size - len(tail) - 4  # a head of one byte, and one of three
            text = random.random() < 0.5
            yield b"\x82" + head(3 if text else 2, padding, 2) + b"x" * padding + tail
            many = size - len(tail) - 7
            yield (
                b"\x82" + head(4, many, 2) + random.choice((b"\x00", b"\x80", b"\xf6", b"\xa0")) * many + tail + b"\x00"
            )
        reference = head(6, TAG_CAP) + b"\x83\x02\x61a\x01"
        count = (size - 4) // len(reference)
        rest = size - 4 - count * len(reference)
        yield head(4, count + rest, 2) + reference * count + b"\x00" * rest
        yield head(5, 1) + b"\x61a" + b"\x00" * (size - 3)


def test_the_scan_and_the_decoder_agree(random: Random) -> None:
    """R18: on random structured and changed inputs, under three sets of bounds."""
    for _ in check_scan(random, int(os.environ.get("CAPNET_SCAN_INPUTS", "50000"))):
        pass


def test_the_verdict_is_the_same_with_and_without_a_scan(random: Random) -> None:
    """P-FRAME-4: whether a frame was long enough to be scanned changes nothing but who refuses it."""
    inputs = int(os.environ.get("CAPNET_SCAN_INPUTS", "10000"))
    assert check_codec(random, inputs) > inputs / 5


def test_the_verdict_is_the_same_on_either_side_of_the_edge(random: Random) -> None:
    """P-FRAME-4: frames of about `SCAN_ABOVE` bytes, as they are and forced the other way."""
    frames = list(at_the_edge(random))
    taken = [frame for frame in frames if codecs_agree(frame, Limits()) is not None]
    assert {len(frame) > SCAN_ABOVE for frame in taken} == {False, True} and len(taken) < len(frames)


@pytest.mark.parametrize("change", [-1, 1], ids=["less", "more"])
@pytest.mark.parametrize("bound", ["max_depth", "max_items", "max_tags"])
def test_a_bound_that_is_off_by_one_is_noticed(
    bound: str, change: int, random: Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inputs that never come to a bound would prove nothing of it."""

    def off_by_one(frame: bytes, **bounds: Any) -> None:
        scan(frame, **{**bounds, bound: bounds[bound] + change})

    monkeypatch.setattr("tests.property.agreement.scan", off_by_one)
    with pytest.raises(AssertionError, match="the scan"):
        list(check_scan(random, 20_000))


def test_tags_and_bytes_that_should_be_refused_are_noticed(random: Random, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same of the tags, and of what stands behind the item."""

    def any_tag(frame: bytes, **bounds: Any) -> None:
        bounds["tags"] = range(2**64)
        scan(frame, **bounds)

    def any_rest(frame: bytes, **bounds: Any) -> None:
        try:
            scan(frame, **bounds)
        except ProtocolViolation as violation:
            if violation.clause != "P-FRAME-1":
                raise

    for fault in (any_tag, any_rest):
        monkeypatch.setattr("tests.property.agreement.scan", fault)
        with pytest.raises(AssertionError, match="the scan passes"):
            list(check_scan(random, 20_000))
