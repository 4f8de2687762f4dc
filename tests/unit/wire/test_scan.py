"""The pre-scan: what P-FRAME-4 forbids, seen without building a value."""

from __future__ import annotations

import pytest

from capnet.errors import ProtocolViolation
from capnet.wire.scan import scan


def verdict(frame: str | bytes, *, max_depth: int = 4, max_items: int = 16, max_tags: int = 2) -> str | None:
    """The clause that a frame breaks, or None."""
    data = bytes.fromhex(frame) if isinstance(frame, str) else frame
    try:
        scan(data, max_depth=max_depth, max_items=max_items, tags={52411}, max_tags=max_tags)
    except ProtocolViolation as violation:
        return violation.clause
    return None


@pytest.mark.parametrize(
    "frame",
    [
        "00",
        "17",
        "1818",
        "191000",
        "1a00010000",
        "1bffffffffffffffff",
        "3bffffffffffffffff",
        "f4",
        "f5",
        "f6",
        "f97e00",
        "fa7f800000",
        "fb3ff8000000000000",
        "40",
        "43010203",
        "60",
        "63e282ac",
        "80",
        "83018202030a",
        "a0",
        "a16161a1616201",
        "a261610161628101",
        "d9ccbb8302616101",
        "820180",
    ],
)
def test_plain_items_pass(frame: str) -> None:
    """P-FRAME-4: null, booleans, 64-bit integers, floats, text, bytes, arrays, text-keyed maps, references."""
    assert verdict(frame) is None


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "18",
        "19ff",
        "1b00000000000000",
        "42ff",
        "5affffffff",
        "62",
        "82",
        "8201",
        "a1",
        "a16161",
        "f9",
        "fa00",
        "fb00",
    ],
)
def test_a_frame_that_ends_too_early_is_refused(frame: str) -> None:
    """P-FRAME-4: every length must be inside of the frame, at its very end too."""
    assert verdict(frame) == "P-FRAME-4"


@pytest.mark.parametrize("frame", ["d9", "d9cc", "da0000cc"])
def test_a_tag_cut_short_is_refused(frame: str) -> None:
    """P-FRAME-4: a tag number that is not all there is no tag number."""
    assert verdict(frame) == "P-FRAME-4"


@pytest.mark.parametrize("frame", ["0000", "80ff", "a0a0", "6161616161"])
def test_bytes_after_the_item_are_refused(frame: str) -> None:
    """P-FRAME-1: a frame is exactly one item."""
    assert verdict(frame) == "P-FRAME-1"


@pytest.mark.parametrize("initial", [0xE0, 0xF3, 0xF7, 0xF8, 0xFC, 0xFD, 0xFE, 0xFF])
def test_simple_values_and_breaks_are_refused(initial: int) -> None:
    """P-FRAME-4: of major type 7 only the booleans, null and floats travel."""
    assert verdict(bytes([0x81, initial, 0x20])) == "P-FRAME-4"


@pytest.mark.parametrize("major", range(7))
@pytest.mark.parametrize("info", [28, 29, 30, 31])
def test_reserved_heads_and_indefinite_lengths_are_refused(major: int, info: int) -> None:
    """P-FRAME-4: every length is stated."""
    assert verdict(bytes([major << 5 | info, 0xFF])) == "P-FRAME-4"


@pytest.mark.parametrize("tag", ["c0", "c2", "d81c", "d81d", "d90102", "d9ccba", "d9ccbc", "dbffffffffffffffff"])
def test_other_tags_are_refused_at_their_head(tag: str) -> None:
    """P-FRAME-4: no tag but the references', so no bignum, date, set or shared value."""
    assert verdict(tag + "8302616101") == "P-FRAME-4"


@pytest.mark.parametrize("key", ["00", "20", "4161", "80", "a0", "d9ccbb8302616101", "f4", "f6", "f93c00"])
def test_keys_are_text(key: str) -> None:
    """P-FRAME-4: a key of any other type is refused, in the second pair as in the first."""
    assert verdict(f"a1{key}00") == "P-FRAME-4"
    assert verdict(f"a2616100{key}00") == "P-FRAME-4"


def test_depth_counts_arrays_maps_and_tags() -> None:
    """P-FRAME-4: as many may be open at once as `max_depth` says, not one more; empty ones open nothing."""
    assert verdict("8181818100") is None
    assert verdict("8181818180") is None
    assert verdict("818181818100") == "P-FRAME-4"
    assert verdict("a16161a16161a16161a1616100") is None
    assert verdict("a16161a16161a16161a16161a1616100") == "P-FRAME-4"
    assert verdict("8181" + "d9ccbb8302616101") is None
    assert verdict("818181" + "d9ccbb8302616101") == "P-FRAME-4"


def test_every_value_counts_keys_included() -> None:
    """P-FRAME-4: containers, their values and their keys are counted, at the head of the container already."""
    assert verdict("8f" + "00" * 15) is None
    assert verdict("90" + "00" * 16) == "P-FRAME-4"
    assert verdict("90") == "P-FRAME-4"
    assert verdict("a7" + "616100" * 7) is None
    assert verdict("a8" + "616100" * 8) == "P-FRAME-4"
    assert verdict("9bffffffffffffffff") == "P-FRAME-4"
    assert verdict("bb7fffffffffffffff") == "P-FRAME-4"
    assert verdict("00", max_items=0) == "P-FRAME-4"


def test_references_are_counted() -> None:
    """P-FRAME-4: as many tags as `max_tags` says, not one more."""
    reference = "d9ccbb8302616101"
    assert verdict("82" + reference * 2) is None
    assert verdict("83" + reference * 3, max_items=64) == "P-FRAME-4"
