"""References: what may stand under the three tags (P-REF, P-ID-1)."""

from __future__ import annotations

from typing import Any

import pytest

from capnet.errors import ProtocolViolation
from capnet.wire.references import (
    MAX_ID,
    TAG_ANSWER,
    TAG_CAP,
    TAG_STREAM,
    AnswerRef,
    CapRef,
    Reference,
    StreamRef,
    check_reference,
    is_id,
    is_name,
    is_window,
    narrower,
)


def check(tag: int, content: object) -> Reference:
    """The reference that comes of `content`."""
    return check_reference(tag, content, 256)


def test_the_tags_are_neighbours() -> None:
    """P-REF: the numbers of the wire reference; they can never change."""
    assert (TAG_CAP, TAG_ANSWER, TAG_STREAM) == (52411, 52412, 52413)


@pytest.mark.parametrize("id", [1, 2, -2, MAX_ID - 1, 1 - MAX_ID])
def test_a_capability_has_an_id_of_either_sign(id: int) -> None:
    """P-ID-2: positive when the sender hosts it, negative when it comes home; `subject` is the engine's to fill in."""
    reference = check(TAG_CAP, [id, "chat.Room", 3])
    assert type(reference) is CapRef
    assert (reference.id, reference.interface, reference.version, reference.subject) == (id, "chat.Room", 3, None)


@pytest.mark.parametrize(
    "content",
    [
        [],
        [2],
        [2, "a"],
        [2, "a", 1, 1],
        [0, "a", 1],
        [True, "a", 1],
        [2.0, "a", 1],
        ["2", "a", 1],
        [None, "a", 1],
        [MAX_ID, "a", 1],
        [-MAX_ID, "a", 1],
        [2, b"a", 1],
        [2, None, 1],
        [2, "", 1],
        [2, "a" * 257, 1],
        [2, "é" * 129, 1],
        [2, "a\nb", 1],
        [2, "a", -1],
        [2, "a", True],
        [2, "a", 1.0],
        [2, "a", None],
        [2, "a", MAX_ID],
        {"id": 2},
        "cap",
        2,
        None,
    ],
)
def test_a_malformed_capability_is_refused(content: object) -> None:
    """P-REF: exactly three items of the right types and sizes."""
    with pytest.raises(ProtocolViolation) as caught:
        check(TAG_CAP, content)
    assert caught.value.clause == "P-REF"


def test_an_answer_has_a_path_of_texts_and_integers() -> None:
    """P-CALL-8: the path may be empty."""
    whole, part = check(TAG_ANSWER, [7]), check(TAG_ANSWER, [7, "rooms", 0])
    assert type(whole) is AnswerRef and (whole.id, whole.path) == (7, ())
    assert type(part) is AnswerRef and (part.id, part.path) == (7, ("rooms", 0))


@pytest.mark.parametrize(
    "content", [[], [0], [-1], [True], [MAX_ID], [7, None], [7, True], [7, 1.0], [7, ["a"]], [7, b"a"], 7]
)
def test_a_malformed_answer_is_refused(content: object) -> None:
    """P-REF: a positive call id, then steps."""
    with pytest.raises(ProtocolViolation) as caught:
        check(TAG_ANSWER, content)
    assert caught.value.clause == "P-REF"


@pytest.mark.parametrize(("id", "direction"), [(1, "in"), (2, "out"), (MAX_ID - 1, "out")])
def test_a_stream_has_a_direction(id: int, direction: str) -> None:
    """P-STREAM-1: `in` or `out`, seen from the sender, who has opened it; `subject` is the engine's to fill in."""
    reference = check(TAG_STREAM, [id, direction])
    assert type(reference) is StreamRef
    assert (reference.id, reference.direction, reference.subject) == (id, direction, None)


@pytest.mark.parametrize(
    "content",
    [
        [],
        [1],
        ["in"],
        [0, "in"],
        [-1, "in"],
        [-1, "out"],
        [True, "in"],
        [1.0, "in"],
        [1, "up"],
        [1, "IN"],
        [1, b"in"],
        [1, None],
        [1, 0],
        [1, "in", 1],
        [1, "in", 1, 0],
        [1, "in", 0, 1],
        [1, "out", 1, 2**31],
        [1, "out", True, 1],
        [1, "out", 1.0, 1],
        [1, "out", "1", 1],
        [1, "out", 1, 1, 1],
        [0, "out", 1, 1],
        [MAX_ID, "in"],
        ["in", 1],
        {"id": 1},
        1,
    ],
)
def test_a_malformed_stream_is_refused(content: object) -> None:
    """P-REF, P-STREAM-1: exactly an id and a direction, and the id is of the side that mentions it."""
    with pytest.raises(ProtocolViolation) as caught:
        check(TAG_STREAM, content)
    assert caught.value.clause == "P-REF"


def test_another_tag_is_no_reference() -> None:
    """P-REF: there are three tags."""
    with pytest.raises(ProtocolViolation):
        check(52414, [1, "a", 1])


@pytest.mark.parametrize(
    ("reference", "content"),
    [
        (CapRef("a.B", 1, None, 2), [2, "a.B", 1]),
        (AnswerRef(7, ("a", 0)), [7, "a", 0]),
        (StreamRef("in", None, 3), [3, "in"]),
        (StreamRef("out", None, 3, (1, 2**31 - 1)), [3, "out", 1, 2**31 - 1]),
    ],
)
def test_content_is_what_check_reference_takes(reference: Reference, content: list[Any]) -> None:
    """P-REF: what is written can be read again."""
    assert reference.content() == content
    assert check(reference.tag, content).content() == content


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        (CapRef("a.B", 1, object(), 2), ("CapRef", "2", "a.B/1")),
        (AnswerRef(7, ("a", 0)), ("AnswerRef", "7", "a/0")),
        (StreamRef("in", object(), 3), ("StreamRef", "3", "in")),
    ],
)
def test_a_reference_shows_what_it_refers_to(reference: Reference, words: tuple[str, ...]) -> None:
    """P-REF: a reference in a log tells its id, and nothing of its subject."""
    assert all(word in repr(reference) for word in words)
    assert "object" not in repr(reference)


@pytest.mark.parametrize(
    ("value", "whether"), [(0, True), (MAX_ID - 1, True), (MAX_ID, False), (True, False), (1.0, False)]
)
def test_ids_are_exact_in_every_language(value: object, whether: bool) -> None:
    """P-ID-1: integers below 2^53 in size; a boolean is none."""
    assert is_id(value) is whether


@pytest.mark.parametrize(
    ("name", "whether"),
    [
        ("a", True),
        ("__new__", True),
        ("a b", True),
        ("a" * 8, True),
        ("é" * 4, True),
        ("", False),
        ("a" * 9, False),
        ("é" * 5, False),
        ("a\0", False),
        ("a\x1b[0m", False),
        ("a\u202e", False),
        ("\ud800", False),
    ],
)
def test_names_are_printable_and_bounded(name: str, whether: bool) -> None:
    """P-REF: the bound is bytes of UTF-8; what a name may reach is decided by explicit tables, not by its spelling."""
    assert is_name(name, 8) is whether


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [(None, None, None), ((1, 5), None, (1, 5)), (None, (1, 5), (1, 5)), ((1, 5), (2, 4), (1, 4))],
)
def test_the_narrower_window_is_within_both(
    one: tuple[int, int] | None, other: tuple[int, int] | None, both: tuple[int, int] | None
) -> None:
    """P-STREAM-2: in items and in bytes."""
    assert narrower(one, other) == both


@pytest.mark.parametrize("value", [(), (1,), (1, 1, 1), (0, 1), (1, 2**31), (True, 1), ("1", 1)], ids=repr)
def test_what_is_no_window(value: tuple[Any, ...]) -> None:
    """P-STREAM-2: two numbers, none of them 0 or more than there may be of credit."""
    assert not is_window(value)
    assert is_window((1, 2**31 - 1))
