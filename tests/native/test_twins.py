"""The code in C makes of everything what the pure code makes of it: values, order, classes, bits, charges, errors.

CAPNET_NATIVE_INPUTS says how many inputs there are, CAPNET_SEED which; `make soak` has a million.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.corpus import TARGETS, inputs
from tests.native.twins import PROFILES, RUNS, Twins, cut_alike, same_check, same_walks, shaped
from tests.property.cbor import Generator, head
from tests.property.test_codec import anything, plain

pytestmark = pytest.mark.skipif(not RUNS, reason="the code in C was not built, or is not wanted")

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "docs" / "reference" / "vectors.json").read_text(encoding="utf-8")
)


@pytest.fixture
def twins() -> list[Twins]:
    """With each set of bounds."""
    return [Twins(limits) for limits in PROFILES] if RUNS else []


def test_the_vectors(twins: list[Twins]) -> None:
    """P-FRAME-4: the golden vectors, and all that begins one of them."""
    for vector in VECTORS["frames"]:
        frame = bytes.fromhex(vector["hex"])[4:]
        for both in twins:
            both.round_trip(frame)
        for size in range(min(len(frame), 100)):
            twins[0].round_trip(frame[:size])


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus(target: str, twins: list[Twins]) -> None:
    """P-FRAME-4: what a fuzzer has found, with and without the bytes that choose what it is for."""
    for _, data in inputs(target):
        for skipped in range(6):
            for both in twins[:3]:
                both.round_trip(data[skipped:])


def test_random_frames(twins: list[Twins]) -> None:
    """P-FRAME-4, P-REF: structured, changed, cut off; most of them frames and many of them not."""
    random, count = (
        Random(int(os.environ.get("CAPNET_SEED", "2024"))),
        int(os.environ.get("CAPNET_NATIVE_INPUTS", "10000")),
    )
    generator = Generator(random)
    frames = sum(twins[number % 3].round_trip(generator.frame()) for number in range(count))
    assert 0.2 * count < frames < 0.8 * count


@given(plain, st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=3), st.integers(0, 2))
def test_changed_frames(value: Any, changes: list[tuple[int, int]], which: int) -> None:
    """P-FRAME-4: a valid frame with some bytes changed."""
    both = Twins(PROFILES[which])
    frame = bytearray(Twins(PROFILES[2]).pure.encode([3, 1, value]))
    for position, byte in changes:
        frame[position % len(frame)] = byte
    both.round_trip(bytes(frame))


@given(anything)
def test_any_value_is_encoded_alike(value: Any) -> None:
    """P-FRAME-4: the same bytes, or the same error; and the walks before it say the same."""
    if "object object" not in repr(value):
        Twins(PROFILES[2]).encode(value)
    for limits in PROFILES:
        same_walks(value, limits)


def test_shapes() -> None:
    """P-OP: every frame with every field wrong in every way."""
    random = Random(2024)
    said = [same_check(shaped(random))[1] for _ in range(20_000)]
    assert said.count(("bool", True)) > 4_000 and said.count(("bool", False)) > 50
    others: list[Any] = [None, (), [], {}, [2], [True], (3, 1, None), [3, 1, object()]]
    for frame in others:
        same_check(frame)


def test_streams_are_cut_alike() -> None:
    """P-FRAME-1, P-FRAME-2: wherever the chunks end, whatever is left for later."""
    random = Random(2024)
    for _ in range(2_000):
        cut_alike(random)


class Text(str):
    """No text of ours."""


class Number(int):
    """No number of ours."""


ODD: list[Any] = [
    *(2**power + near for power in (8, 16, 31, 32, 53, 63, 64, 65) for near in (-1, 0, 1)),
    *(-(2**power) + near for power in (8, 16, 31, 32, 53, 63, 64, 65) for near in (-1, 0, 1)),
    *(0.0, -0.0, 5e-324, 1.7e308, float("inf"), -float("inf"), float("nan"), -float("nan")),
    *("", "a", "é", "ÿ" * 23, "€" * 24, "🦊" * 256, "\ud800", "a\0b", Text("a"), {"é": "é"}),
    *(b"", b"x" * 23, b"x" * 24, b"x" * 65_536, bytearray(b"x"), memoryview(b"x")),
    *(Number(1), {1: 2}, {None: 1}, {"a": {b"b": 1}}, {Text("a"): 1}, (), (1, (2,)), {1, 2}, range(3)),
]


def test_odd_values(twins: list[Twins]) -> None:
    """P-FRAME-4: edges of heads, classes that look like ours, and what only the gate before keeps out."""
    for value in ODD:
        for item in (
            value,
            [value],
            {"a": value},
            [3, 1, value],
            [7, -1, [value, value]],
            [2, 1, 2, "m", {"a": value}],
        ):
            if not isinstance(value, memoryview):
                twins[2].encode(item)
            for limits in PROFILES:
                same_walks(item, limits)


@pytest.mark.parametrize("levels", [1, 3, 4, 7, 8, 9, 63, 64, 65, 255, 256, 257, 258, 300])
def test_depth(levels: int, twins: list[Twins]) -> None:
    """P-FRAME-4: what is deeper than the stack of the code in C goes is the other's, and judged alike."""
    value: Any = None
    mixed: Any = 1
    for level in range(levels):
        value = [value]
        mixed = {"a": mixed, "b": [level]}
    for both in twins:
        for deep in (value, [3, 1, mixed]):
            same_walks(deep, both.limits)
            ended, found = both.encode(deep)
            assert ended == "returned"
            both.round_trip(found[1])


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_sizes_that_are_not_there(width: int, twins: list[Twins]) -> None:
    """T3: nothing is set aside for what is only announced, in any container, however deep."""
    most = 256**width - 1
    for major in (2, 3, 4, 5, 6):
        for size in (0, 1, 2, 5, 23, 24, 250, most // 2, most - 1, most):
            if size > most:
                continue
            for before in (b"", b"\x83\x03\x01", b"\x82\x03\xa1\x61a", b"\x82\xd9\xcc\xbb"):
                for behind in (b"", b"\x00", b"\x00" * 30, b"\x61a\x00" * 30):
                    for both in twins:
                        both.round_trip(before + head(major, size, width) + behind)


def test_containers_that_announce_more_than_is_left(twins: list[Twins]) -> None:
    """P-FRAME-4: each level announces what would fit if it stood alone."""
    for levels in range(1, 64):
        for count in (2, 100, 250, 1000):
            frame = head(4, count, 2) * levels + b"\x00" * 1000
            for both in twins:
                both.round_trip(frame)
