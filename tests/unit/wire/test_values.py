"""Lowering: what may be encoded, and how the rest is refused before anything has changed (P-FRAME-4)."""

from __future__ import annotations

import enum
from typing import Any

import pytest

from capnet.limits import FrameBounds, Limits
from capnet.wire.codec import Codec
from capnet.wire.references import AnswerRef, CapRef, StreamRef
from capnet.wire.values import NO_REFERENCES, Unencodable, is_plain, lower, unencodable_text

LIMITS = Limits()
FRAME_ITEMS = 64
"""What `lower` leaves for the frame around the value."""


class Number(enum.IntEnum):
    """Not exactly an int."""

    ONE = 1


class Opaque:
    """What `refuse` knows nothing of."""


def refuse(value: Any, place: object) -> Any:
    """Nothing is rich."""
    raise TypeError(f"{type(value).__name__} does not travel")


def refusal(value: object, limits: Limits = LIMITS) -> Unencodable:
    """How `value` is refused."""
    with pytest.raises(Unencodable) as caught:
        lower(value, refuse, limits)
    return caught.value


def nested(levels: int, innermost: object = 0) -> Any:
    """`innermost` inside of so many lists."""
    value: Any = innermost
    for _ in range(levels):
        value = [value]
    return value


def cap(id: int = 2) -> CapRef:
    """Some reference."""
    return CapRef("a.B", 1, None, id)


@pytest.mark.parametrize(
    "value", [None, True, 0, 2**64 - 1, -(2**64), 0.5, "", "a", b"\0", [], {}, [1, "a"], {"a": [None]}]
)
def test_plain_values_stay_as_they_are(value: object) -> None:
    """P-FRAME-4: every plain type, up to the widest integers."""
    assert lower(value, refuse, LIMITS) == (value, NO_REFERENCES)


def test_what_is_plain_already_is_not_copied() -> None:
    """P-FRAME-4: only what has to change is made anew; the rest is encoded before anybody can change it."""
    value = {"a": [1], "b": {"c": (None,)}}
    assert lower(value, refuse, LIMITS)[0] is value


@pytest.mark.parametrize(
    ("value", "whether"),
    [
        ({"a": [1, {"b": -(2**64)}]}, True),
        ([], True),
        ({"a": (1, [2], ())}, True),
        ((), True),
        ({"a": (1, {2})}, False),
        (((1,), (2**64,)), False),
        ({1: 1}, False),
        ([{"a": Number.ONE}], False),
        ([2**64], False),
        ([CapRef("a", 1)], False),
        ("a", True),
        (None, True),
        (-(2**64), True),
        (2**64 - 1, True),
        (2**64, False),
        (Number.ONE, False),
    ],
)
def test_plain_containers_are_known(value: object, whether: bool) -> None:
    """P-FRAME-4: scalars, containers of scalars and of such containers, with text keys, and no references."""
    assert is_plain(value, LIMITS) is whether


def test_tuples_travel_as_arrays() -> None:
    """P-FRAME-4: the wire has arrays only; it makes no difference what stands beside them."""
    codec = Codec(LIMITS)
    reference = cap()
    cases: list[tuple[Any, Any]] = [((1, ("a", [3])), [1, ["a", [3]]]), ([(), {"a": (1,)}], [[], {"a": [1]}])]
    for value, arrives in cases:
        for lowered in (lower(value, refuse, LIMITS)[0], lower((value, reference), refuse, LIMITS)[0][0]):
            assert codec.decode(codec.encode([3, 1, lowered]))[0] == [3, 1, arrives]


@pytest.mark.parametrize("value", [2**64, -(2**64) - 1, [2**64], {"a": 10**30}])
def test_wider_integers_are_refused(value: object) -> None:
    """P-FRAME-4: they would become bignums."""
    assert refusal(value).code == "invalid_argument"


@pytest.mark.parametrize("key", [1, None, True, b"a", 1.5, ("a",), Number.ONE])
def test_keys_are_text(key: object) -> None:
    """P-FRAME-4: a key is never turned into text unless that is declared."""
    assert refusal({key: 1}).steps == []
    assert refusal([{"a": 1, key: 1}]).steps == ["[0]"]


def test_who_refuses_is_named() -> None:
    """P-FRAME-4: bounds of one side are its own; those of a frame are the less of what both sides have."""
    theirs = Limits(max_references=1)
    both = FrameBounds(LIMITS, theirs)
    two: Any = [cap(), cap()]
    with pytest.raises(Unencodable, match=r"Limits\.max_references of the sender"):
        lower(two, refuse, theirs)
    with pytest.raises(Unencodable, match=r"Limits\.max_references of the receiver"):
        lower(two, refuse, both)
    assert len(lower(two[:1], refuse, both)[1]) == 1


def test_what_is_not_plain_is_enriched() -> None:
    """P-FRAME-4: level by level, until it is plain or a reference."""

    def enrich(value: Any, place: object) -> Any:
        return {"set": (cap(), [Number.ONE])} if isinstance(value, set) else int(value)

    value, references = lower({"a": {1}}, enrich, LIMITS)
    assert value == {"a": {"set": [references[0], [1]]}}
    assert len(references) == 1


def test_an_object_may_become_a_scalar() -> None:
    """P-FRAME-4: a text for a date, say."""
    assert lower([Opaque()], lambda value, place: "2026-01-01", LIMITS)[0] == ["2026-01-01"]


def test_an_object_may_become_a_reference() -> None:
    """P-REF: also where it is the whole value."""
    reference = cap()
    assert lower(Opaque(), lambda value, place: reference, LIMITS) == (reference, [reference])


def test_references_are_listed_in_order() -> None:
    """P-REF-1: each appearance counts, also of the same one."""
    first, second, third = cap(), AnswerRef(7), StreamRef("in", None, 3)
    value, references = lower({"a": [first, {"b": second}], "c": third, "d": first}, refuse, LIMITS)
    assert references == [first, second, third, first]
    assert value == {"a": [first, {"b": second}], "c": third, "d": first}


def test_the_path_says_where_it_stands() -> None:
    """P-FRAME-4: keys and positions from the outside in; long keys are cut."""
    error = refusal({"a": [0, {"b": Opaque()}]})
    assert error.steps == [".b", "[1]", ".a"]
    assert "$.a[1].b" in str(error)
    assert "$.a[1].b" in error.message, "which is what a peer is told"
    assert len(refusal({"k" * 1000: Opaque()}).steps[0]) == 100
    long = refusal(nested(60, {"last": Opaque()}))
    assert len(long.message) < 250 and "…" in long.message and "[0][0]" in long.message and "[0].last`" in long.message


def test_the_error_can_be_raised_again() -> None:
    """P-ERR-1: like every error of the tree, with the same facts."""
    error = Unencodable("no", reason="max_items", details={"a": 1}, retry="never").again()
    assert (error.message, error.reason, error.details, error.retry) == ("no", "max_items", {"a": 1}, "never")
    assert isinstance(error, ValueError)


def test_the_deepest_value_fits_into_a_frame() -> None:
    """P-FRAME-4: the frame's own array is one of the 64 levels; a reference takes two."""
    codec = Codec(LIMITS)
    for value in (nested(63), nested(61, cap())):
        codec.decode(codec.encode([3, 1, lower(value, refuse, LIMITS)[0]]))
    for value in (nested(64), nested(62, cap()), nested(63, cap()), nested(65), nested(10_000)):
        assert refusal(value).code == "invalid_argument"


def test_an_item_of_a_stream_stands_one_array_deeper() -> None:
    """P-FRAME-4, P-STREAM-2: `around` says so, for plain values and for others."""
    codec = Codec(LIMITS)
    for value in (nested(62), nested(60, cap())):
        codec.decode(codec.encode([7, 1, [lower(value, refuse, LIMITS, 2)[0]]]))
    assert is_plain(nested(62), LIMITS, 2) and not is_plain(nested(63), LIMITS, 2)
    for value in (nested(63), nested(61, cap())):
        lower(value, refuse, LIMITS)
        with pytest.raises(Unencodable):
            lower(value, refuse, LIMITS, 2)


def test_depth_counts_maps_too() -> None:
    """P-FRAME-4: with their values, not their keys."""
    value: Any = 0
    for _ in range(63):
        value = {"a": value}
    assert lower(value, refuse, LIMITS)[0] == value
    assert refusal({"a": value}).steps[-1] == ".a"


def test_cycles_are_refused() -> None:
    """P-FRAME-4: of lists, of maps, and of what `enrich` makes of an object."""
    array: list[Any] = []
    array.append(array)
    refusal(array)
    mapping: dict[str, Any] = {}
    mapping["a"] = [mapping]
    refusal(mapping)
    with pytest.raises(Unencodable):
        lower(Opaque(), lambda value, place: [value], LIMITS)
    with pytest.raises(Unencodable):
        lower(Opaque(), lambda value, place: value, LIMITS)


def test_the_largest_value_fits_into_a_frame() -> None:
    """P-FRAME-4: values and keys are counted, with room for the frame around them."""
    most = LIMITS.max_items - FRAME_ITEMS
    codec = Codec(LIMITS)
    context = {str(number): "" for number in range(24)}
    meta = {"deadline": 1, "keep": True, "idempotent": True, "context": context}
    pairs = {str(number): None for number in range(most // 2)}
    codec.decode(codec.encode([2, 1, 2, "m", lower(pairs, refuse, LIMITS)[0], meta]))
    assert refusal([0] * (most + 1)).reason == "max_items"
    assert refusal(pairs | {"one more": None}).reason == "max_items"
    assert refusal([cap()] * 10, Limits(max_items=FRAME_ITEMS + 49)).reason == "max_items"
    assert len(lower([cap()] * 10, refuse, Limits(max_items=FRAME_ITEMS + 50))[1]) == 10


def test_a_small_graph_that_unfolds_without_end_is_refused() -> None:
    """P-FRAME-4: what stands twice travels twice, so 60 doublings are counted as what they would become."""
    value: list[Any] = []
    for _ in range(60):
        value = [value, value]
    assert refusal(value).reason == "max_items"


def test_references_are_bounded() -> None:
    """P-FRAME-4: as many as the limit, not one more."""
    limits = Limits(max_references=2)
    assert len(lower([cap(), cap()], refuse, limits)[1]) == 2
    assert refusal([cap(), cap(), cap()], limits).reason == "max_references"


def text_keys(value: Any, place: object) -> Any:
    """Makes text of the keys of every map."""
    return {str(key): item for key, item in value.items()}


def test_declared_keys_become_text() -> None:
    """P-FRAME-4: where `enrich` does it."""
    assert lower({1: {2: "a"}}, text_keys, LIMITS)[0] == {"1": {"2": "a"}}


def test_a_reference_beside_a_key_that_becomes_text_is_counted_once() -> None:
    """P-REF-1: what was lowered before the key was met is not lowered again."""
    first, second = cap(2), cap(3)
    value, references = lower({"a": first, 1: second, "b": None}, text_keys, LIMITS)
    assert value == {"a": first, "1": second, "b": None}
    assert list(value) == ["a", "1", "b"]
    assert references == [first, second]


def test_values_beside_a_key_that_becomes_text_are_counted_once() -> None:
    """P-FRAME-4: a map costs the same with and without such keys."""
    limits = Limits(max_items=FRAME_ITEMS + 6)
    assert lower({"a": 1, 2: 2, 3: 3}, text_keys, limits)[0] == {"a": 1, "2": 2, "3": 3}


@pytest.mark.parametrize("plainer", [[1], None, {2: 1}, {None: 1}])
def test_keys_that_stay_no_text_are_refused(plainer: object) -> None:
    """P-FRAME-4: whatever `enrich` makes of the map."""
    with pytest.raises(Unencodable):
        lower({1: 1}, lambda value, place: plainer, LIMITS)


class Only:
    """A place where a map may have certain keys only, and everything in it likewise."""

    checks_keys = True

    def __init__(self, *keys: str) -> None:
        self.keys: frozenset[str] | None = frozenset(keys)

    def inside(self, step: str | int, /) -> Only:
        return self

    def of(self, kind: type, /) -> Only:
        return self


def test_a_key_that_would_be_lost_does_not_leave() -> None:
    """Plain data is looked at as well where that is declared."""
    lowered, _ = lower({"a": {"b": 1}}, refuse, LIMITS, place=Only("a", "b"))
    assert lowered == {"a": {"b": 1}}
    for value, path in (({"a": 1, "c": 1}, "$`"), ({"a": [{"b": {"c": 1}}]}, "$.a[0].b`"), ({1: 1}, "$`")):
        with pytest.raises(Unencodable) as caught:
            lower(value, refuse, LIMITS, place=Only("a", "b"))
        assert path in str(caught.value) and "lost" in str(caught.value)


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ("\ud800", "$"),
        ({"a": ["x", 1, b"", None, {"b": "y\udfff"}]}, "$.a[4].b"),
        ({"a": 1, 2: [], "\udc00": "z"}, "$.\\udc00"),
        ([["x"], ["x", "\ud800"], "\ud800"], "$[1][1]"),
        ({"a": ("x", "\ud800")}, "$.a[1]"),
    ],
)
def test_where_text_stands_that_cannot_travel(data: Any, place: str) -> None:
    error = unencodable_text(data)
    assert error is not None and error.message.endswith(f"- at `{place}`") and error.message.isascii()


def test_other_text_can_travel() -> None:
    assert unencodable_text({"ä": ["€", "😀", 1, {"x": {}}]}) is None
