"""The codec: encoding, decoding and what decoding refuses (P-FRAME-1, P-FRAME-4, P-REF)."""

from __future__ import annotations

from typing import Any

import pytest

from capnet.errors import InvalidArgument, ProtocolViolation
from capnet.limits import Limits
from capnet.wire.codec import LONG, SCAN_ABOVE, Codec, holds_long
from capnet.wire.references import AnswerRef, CapRef, StreamRef

CAP = "d9ccbb830263612e4201"  # 52411([2, "a.B", 1])


@pytest.fixture
def codec() -> Codec:
    """With the limits of the untrusted profile."""
    return Codec(Limits())


def clause_of(codec: Codec, frame: str | bytes) -> str:
    """The clause that this frame breaks."""
    with pytest.raises(ProtocolViolation) as caught:
        codec.decode(bytes.fromhex(frame) if isinstance(frame, str) else frame)
    return caught.value.clause


def filled(head: str, tail: str) -> bytes:
    """`[byte string, …]` of more than `SCAN_ABOVE` bytes: a frame that is scanned first."""
    return bytes.fromhex(head) + b"\x59\x40\x01" + bytes(SCAN_ABOVE + 1) + bytes.fromhex(tail)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -1,
        2**64 - 1,
        -(2**64),
        0.1,
        float("inf"),
        "",
        "päth €",
        b"",
        b"\xff",
        [],
        {},
        [[{"a": [None]}]],
        {"": {"b": b"c"}},
    ],
)
def test_plain_values_come_back_the_same(codec: Codec, value: object) -> None:
    """P-FRAME-4: same value, same type, no references."""
    frame, references = codec.decode(codec.encode([3, 1, value]))
    assert frame == [3, 1, value]
    assert type(frame[2]) is type(value)
    assert not references


def test_encoding_is_plain_cbor(codec: Codec) -> None:
    """P-FRAME-4: shortest heads, stated lengths, no sharing marks for a value that stands twice."""
    twice = [1]
    assert codec.encode([3, 500, {"a": twice, "b": twice}]).hex() == "83031901f4a261618101616281" + "01"


def test_references_are_tagged_and_found_in_order(codec: Codec) -> None:
    """P-REF: each kind under its own tag; `decode` lists them as they stand, nested or not."""
    cap, answer, stream = CapRef("a.B", 1, None, 2), AnswerRef(7, ("x", 0)), StreamRef("in", None, 3)
    encoded = codec.encode([3, 1, {"a": [cap], "b": {"c": answer}, "d": stream}])
    assert encoded.hex() == (
        "830301a3" + "6161" + "81" + CAP + "6162a16163" + "d9ccbc8307617800" + "6164" + "d9ccbd820362696e"
    )
    frame, references = codec.decode(encoded)
    assert [type(reference) for reference in references] == [CapRef, AnswerRef, StreamRef]
    assert [reference.content() for reference in references] == [[2, "a.B", 1], [7, "x", 0], [3, "in"]]
    assert frame[2]["a"][0] is references[0] and frame[2]["b"]["c"] is references[1] and frame[2]["d"] is references[2]


@pytest.mark.parametrize("value", ["\ud800", {"\udfff": 1}, [CapRef("\ud800", 1, None, 2)]])
def test_lone_surrogates_cannot_be_encoded(codec: Codec, value: object) -> None:
    """P-FRAME-4: text is UTF-8. The codec goes on as if nothing had been."""
    with pytest.raises(InvalidArgument):
        codec.encode([3, 1, "before", value])
    assert codec.encode([3, 1, None]).hex() == "830301f6"


@pytest.mark.parametrize("frame", ["00", "60", "a0", "f6", "f7", "e0", CAP])
def test_a_frame_is_an_array(codec: Codec, frame: str) -> None:
    """P-FRAME-1: anything else is refused, whatever it is."""
    assert clause_of(codec, frame) == "P-FRAME-1"


@pytest.mark.parametrize("tail", ["00", "80", "ff", "f7", "48" + "00" * 8, "d81c80"])
def test_nothing_follows_the_item(codec: Codec, tail: str) -> None:
    """P-FRAME-1: neither another item nor something that could be taken for one."""
    assert clause_of(codec, "830301f6" + tail) == "P-FRAME-1"


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "81",
        "8161",
        "8162",
        "8169",
        "8141",
        "8149",
        "815a00001000",
        "81f9",
        "81fb",
        "81d9cc",
        "81d9ccbb",
        "a16161",
        "9bffffffffffffffff",
    ],
)
def test_a_frame_that_ends_too_early_is_refused(codec: Codec, frame: str) -> None:
    """P-FRAME-4: always by the same clause, and never by anything of what stands behind the frame in memory."""
    with pytest.raises(ProtocolViolation) as caught:
        codec.decode(bytes.fromhex(frame))
    assert (caught.value.clause, caught.value.message) in {
        ("P-FRAME-4", "the frame ends inside an item"),
        ("P-FRAME-4", "more than 65536 values (Limits.max_items of the receiver)"),
    }


@pytest.mark.parametrize(
    "value",
    [
        "9fff",  # indefinite lengths
        "bfff",
        "5fff",
        "7fff",
        "1c",  # reserved heads
        "f7",  # undefined and other simple values
        "e0",
        "f0",
        "f820",
        "f818",
        "ff",
        "c001",  # tags: date, bignum, shared value, set, and the numbers next to the references'
        "c24101",
        "d81c80",
        "d9010280",
        "d9ccba80",
        "d9ccbe80",
        "61ff",  # text that is not UTF-8
        "63eda080",
        "a2616100616101",  # keys that stand twice, or are no text
        "a10000",
        "a14161f6",
        "a1f5f6",
        "a1f6f6",
        "a1fb3ff0000000000000f6",
        "a180f6",
        "a1a0f6",
        "a1" + CAP + "f6",
        "a26161f64161f6",
    ],
)
def test_what_is_not_plain_is_refused(codec: Codec, value: str) -> None:
    """P-FRAME-4: the same whether the frame is so long that it is scanned first, or not; in maps and in arrays."""
    assert clause_of(codec, "81" + value) == "P-FRAME-4"
    assert clause_of(codec, "81a16161" + value) == "P-FRAME-4"
    assert clause_of(codec, filled("82", value)) == "P-FRAME-4"


@pytest.mark.parametrize("content", ["02", "80", "82026161", "8300616101", "83026001", "8302616120", "a0"])
def test_a_malformed_reference_is_refused(codec: Codec, content: str) -> None:
    """P-REF: by its own clause, in short and in long frames."""
    assert clause_of(codec, "81d9ccbb" + content) == "P-REF"
    assert clause_of(codec, filled("82", "d9ccbb" + content)) == "P-REF"


def test_a_reference_inside_of_a_reference_is_refused(codec: Codec) -> None:
    """P-REF: the content of a reference is plain."""
    assert clause_of(codec, "81d9ccbb83" + CAP + "616101") == "P-REF"


def test_a_refused_frame_leaves_no_references_behind(codec: Codec) -> None:
    """P-REF: the next frame has its own references only."""
    assert clause_of(codec, "82" + CAP + "f7") == "P-FRAME-4"
    assert clause_of(codec, "82" + CAP + "c0") == "P-FRAME-4"
    _, references = codec.decode(bytes.fromhex("81" + CAP))
    assert len(references) == 1
    _, references = codec.decode(bytes.fromhex("81f6"))
    assert not references


def test_depth_counts_arrays_maps_and_tags(codec: Codec) -> None:
    """P-FRAME-4: 64 levels, the frame's own array included, empty ones not; the same in short and in long frames."""
    for deepest in ("81" * 64 + "00", "81" * 64 + "80", "81" * 63 + "a1616100", "81" * 62 + CAP):
        codec.decode(bytes.fromhex(deepest))
        codec.decode(filled("82", deepest[2:]))
        assert clause_of(codec, "81" + deepest) == "P-FRAME-4"
        assert clause_of(codec, filled("82", deepest)) == "P-FRAME-4"


def test_references_are_counted() -> None:
    """P-FRAME-4: as many as the limit, in short and in long frames."""
    codec = Codec(Limits(max_references=2))
    assert len(codec.decode(bytes.fromhex("82" + CAP * 2))[1]) == 2
    assert clause_of(codec, "83" + CAP * 3) == "P-FRAME-4"
    assert len(codec.decode(filled("83", CAP * 2))[1]) == 2
    assert clause_of(codec, filled("84", CAP * 3)) == "P-FRAME-4"


def test_items_are_counted_in_short_frames_too() -> None:
    """P-FRAME-4: a small `max_items` holds for frames that are shorter than what is scanned by default."""
    codec = Codec(Limits(max_items=8))
    codec.decode(bytes.fromhex("87" + "00" * 7))
    assert clause_of(codec, "88" + "00" * 8) == "P-FRAME-4"


def test_the_longest_name_is_the_limits_to_say() -> None:
    """P-REF: interface names are held to `max_name_bytes`."""
    codec = Codec(Limits(max_name_bytes=3))
    codec.decode(bytes.fromhex("81" + CAP))
    assert clause_of(codec, "81d9ccbb830264612e424301") == "P-REF"


def test_numbers_need_not_be_in_their_shortest_form(codec: Codec) -> None:
    """P-FRAME-4: longer heads say the same."""
    assert codec.decode(bytes.fromhex("9b000000000000000319000318011b0000000000000002")) == ([3, 1, 2], ())


def test_all_floats_are_taken(codec: Codec) -> None:
    """P-FRAME-4: of 2, 4 and 8 bytes, infinities and not-a-number included."""
    frame, _ = codec.decode(bytes.fromhex("84f93e00fa3fc00000fb3ff8000000000000f97e00"))
    assert frame[:3] == [1.5, 1.5, 1.5]
    assert frame[3] != frame[3]


def test_a_violation_says_nothing_of_the_frame_or_of_the_seal(codec: Codec) -> None:
    """P-ERR-3: the text goes to the peer and into logs; it quotes neither the peer nor what we keep to ourselves."""
    for frame in (b"\x81\xa1\x66secret", b"\x81\xa2\x66secret\x00\x66secret\x00", b"\x81\x67secret\xff", b"\x81\xdb"):
        with pytest.raises(ProtocolViolation) as caught:
            codec.decode(frame)
        assert "secret" not in str(caught.value)
        assert caught.value.message in {
            "the frame ends inside an item",
            "text that is not UTF-8, or a map key that stands twice",
        }
        assert caught.value.__suppress_context__


def test_codecs_do_not_share_references() -> None:
    """P-REF: each connection has its own."""
    one, other = Codec(Limits()), Codec(Limits())
    _, references = one.decode(bytes.fromhex("81" + CAP))
    assert len(references) == 1
    found: list[Any] = list(other.decode(bytes.fromhex("80"))[1])
    assert found == []


BLOB = bytes(range(256)) * (LONG // 256)
SHORT = BLOB[1:]


@pytest.mark.parametrize(
    "frame",
    [
        [3, 1, BLOB],
        [3, 1, BLOB + b"more"],
        [3, 1, {"a": BLOB, "b": "text"}],
        [3, 1, {"a": SHORT, "b": BLOB, "c": b"", "d": BLOB}],
        [7, 1, [BLOB, BLOB, None]],
        [2, 1, 2, "m", {"a": [{"b": [BLOB, {"c": [SHORT, BLOB]}]}]}],
        [2, 1, 2, "m", {"a": BLOB}, {"deadline": 5}],
        [2, 1, 2, "m", {"a": BLOB, "to": CapRef("a.B", 1, None, 2)}],
        [3, 1, SHORT],
    ],
    ids=range(9),
)
def test_pieces_are_the_same_bytes(codec: Codec, frame: list[Any]) -> None:
    """P-FRAME-4: cut or not, a frame is encoded the same; long byte strings are pieces at any depth, and no copies."""
    pieces = codec.encode_pieces(frame)
    assert b"".join(pieces) == codec.encode(frame)
    assert all(pieces)
    itself = [piece for piece in pieces if piece is BLOB or piece is frame[2]]
    assert len(itself) == codec.encode(frame).count(BLOB)


def test_pieces_of_what_cannot_be_encoded(codec: Codec) -> None:
    """P-FRAME-4: the same error as without pieces."""
    with pytest.raises(InvalidArgument):
        codec.encode_pieces([3, 1, [BLOB, "\ud800"]])


WHERE: list[tuple[list[Any], bool]] = [
    ([3, 1, BLOB], True),
    ([3, 1, SHORT], False),
    ([3, 1, "x" * LONG], False),
    ([3, 1, {"a": 1, "b": BLOB}], True),
    ([3, 1, {"a": 1, "b": SHORT}], False),
    ([7, 1, [None, BLOB]], True),
    ([7, 1, [SHORT] * 100], False),
    ([2, 1, 2, "m", {"a": BLOB}], True),
    ([2, 1, 2, "m", {"a": BLOB}, {"deadline": 5}], True),
    ([2, 1, 2, "m", {}], False),
    ([14, 1], False),
]


@pytest.mark.parametrize(("frame", "held"), WHERE, ids=range(len(WHERE)))
def test_long_byte_strings_are_seen_where_most_stand(frame: list[Any], held: bool) -> None:
    """P-FRAME-4: as an argument or a result, or right inside of one."""
    assert holds_long(frame) is held


def test_long_byte_strings_come_back(codec: Codec) -> None:
    """P-FRAME-1, P-FRAME-4: a long frame is decoded as it is, without a seal, and nothing may follow its item."""
    encoded = codec.encode([3, 1, {"a": BLOB, "b": [BLOB]}])
    assert codec.decode(encoded) == ([3, 1, {"a": BLOB, "b": [BLOB]}], ())
    for tail in (b"\x00", b"\x48" + bytes(8), encoded):
        assert clause_of(codec, encoded + tail) == "P-FRAME-1"
    assert clause_of(codec, encoded[:-1]) == "P-FRAME-4"
