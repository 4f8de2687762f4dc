"""Items of sets, keys of maps and flags that a peer has chosen."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, MutableSet
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from decimal import Decimal
from itertools import count, islice
from typing import Annotated, Any, NamedTuple, NewType, TypeVar

import msgspec
import pytest

from capnet.contract.conversion import narrow
from capnet.contract.keys import MAX_ALIKE, MAX_KEY_CHARS, MAX_ORDERED
from capnet.contract.preparation import preparation
from tests.unit.contract.converting import PRIME, converted, refusal

T = TypeVar("T")


class Point(NamedTuple):
    x: int
    y: int


@dataclass(frozen=True)
class Spot:
    x: int
    y: int


def same_tuples(count: int) -> list[list[int]]:
    """Pairs of numbers whose tuples have one hash: it is not keyed, and can be turned round."""
    mask, one, two, five = 2**64 - 1, 11400714785074694791, 14029467366897019727, 2870177450012600261
    inverse_one, inverse_two = pow(one, -1, 2**64), pow(two, -1, 2**64)

    def left(value: int, by: int) -> int:
        return (value << by | value >> 64 - by) & mask

    aim = left(12345678901234567 * inverse_one & mask, 33)
    found: list[list[int]] = []
    first = 0
    while len(found) < count:
        first += 1
        lane = (aim - left(five + first * two & mask, 31) * one) * inverse_two & mask
        second = lane - 2**64 if lane >= 2**63 else lane
        if -PRIME < second < PRIME and second not in (-1, -2):
            found.append([first, second])
    return found


MANY = MAX_ALIKE + 1
Id = NewType("Id", uuid.UUID)
PAIRS = same_tuples(MANY)
SAME_UUIDS = [str(uuid.UUID(int=5 + number * PRIME)) for number in range(MANY)]
SAME_NUMBERS = [str(5 + number * PRIME) for number in range(MANY)]

CROWDED: list[Any] = [
    (set[uuid.UUID], SAME_UUIDS),
    (frozenset[uuid.UUID], SAME_UUIDS),
    (AbstractSet[uuid.UUID], SAME_UUIDS),
    (MutableSet[uuid.UUID], SAME_UUIDS),
    (set[uuid.UUID | None], SAME_UUIDS),
    (set[Annotated[uuid.UUID, "id"]], SAME_UUIDS),
    (set[Id], SAME_UUIDS),
    (set[Decimal], SAME_NUMBERS),
    (set[tuple[int, int]], PAIRS),
    (set[tuple[int, ...]], PAIRS),
    (set[Point], PAIRS),
    (set[tuple[Decimal, int]], [[number, 1] for number in SAME_NUMBERS]),
    (set[Spot], [{"x": x, "y": y} for x, y in PAIRS]),
    (set[frozenset[uuid.UUID]], [[one] for one in SAME_UUIDS]),
    (dict[uuid.UUID, int], dict.fromkeys(SAME_UUIDS, 1)),
    (Mapping[uuid.UUID, int], dict.fromkeys(SAME_UUIDS, 1)),
    (dict[int, int], dict.fromkeys(SAME_NUMBERS, 1)),
    (dict[Annotated[int, msgspec.Meta(ge=0)], int], dict.fromkeys(SAME_NUMBERS, 1)),
]


MAPS: list[Any] = [hint for hint, value in CROWDED if isinstance(value, dict)]


@pytest.mark.parametrize(("hint", "value"), CROWDED, ids=str)
@pytest.mark.parametrize("wrapped", [False, True])
def test_keys_that_stand_in_each_others_way_are_refused(hint: Any, value: Any, wrapped: bool) -> None:
    """More than so many with one hash: each would be compared with all the others. One less is well."""
    left = list(value)[1:]
    fewer: Any = dict.fromkeys(left, 1) if hint in MAPS else left
    if wrapped:
        sequence: Any = list
        hint, value, fewer = dict[str, sequence[hint]], {"a": [value]}, {"a": [fewer]}
    error = refusal(hint, value)
    assert "with one hash - at `$.value" in error.message and error.reason is None
    assert "[...][0]`" in error.message or not wrapped
    converted(hint, fewer)


class Counted:
    """Compared how often?"""

    compared = 0

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return self is other

    def __hash__(self) -> int:
        return 1


@pytest.mark.parametrize("size", [1000, 4000])
def test_the_work_for_keys_grows_with_their_number(size: int) -> None:
    """A class that counts how often its objects are compared: never once for each two of them."""

    @dataclass(frozen=True)
    class Key(Counted):
        number: int
        __eq__ = Counted.__eq__
        __hash__ = Counted.__hash__

    Counted.compared = 0
    refusal(set[Key], [{"number": number} for number in range(size)])
    assert Counted.compared <= MAX_ALIKE * (MAX_ALIKE + 1)


def test_the_same_again_is_no_collision() -> None:
    """Of a set that came from a program which knows none."""
    one = str(uuid.UUID(int=5))
    assert converted(set[uuid.UUID], [one] * 100) == {uuid.UUID(one)}
    assert one == SAME_UUIDS[0]
    spelled = [one, one.upper(), one.replace("-", "")] * 40 + SAME_UUIDS[2:]
    assert len(converted(set[uuid.UUID], spelled)) == MAX_ALIKE
    assert converted(set[Decimal], ["1." + "0" * number for number in range(1, 50)]) == {Decimal(1)}


def test_groups_of_few_alike_are_well() -> None:
    """As numbers make them that have a sign: -1 and -2 have the same hash."""
    near = [[x, y, z] for x in (-1, -2, 0) for y in (-1, -2, 0) for z in (-1, -2, 0)]
    assert converted(set[tuple[int, int, int]], near) == {(x, y, z) for x, y, z in near}


HONEST: list[Any] = [
    (set[uuid.UUID], [str(uuid.UUID(int=number * 7919)) for number in range(MAX_ORDERED + 5)]),
    (set[int], list(range(MAX_ORDERED + 5))),
    (set[float], [number / 4 for number in range(MAX_ORDERED + 5)]),
    (set[Any], [*range(MAX_ORDERED), "a", None]),
    (set[str], [str(number) for number in range(MAX_ORDERED + 5)]),
    (set[tuple[int, str]], [[number, "a"] for number in range(MAX_ORDERED + 5)]),
]


@pytest.mark.parametrize(("hint", "value"), HONEST, ids=lambda value: str(value)[:20])
def test_large_sets_are_whole(hint: Any, value: Any) -> None:
    found = converted(hint, value)
    assert len(found) == len(value) and type(found) is set


@pytest.mark.parametrize("count", [MAX_ALIKE, MAX_ORDERED, MAX_ORDERED + 5])
def test_maps_are_whole_and_up_to_a_bound_in_order(count: int) -> None:
    """P-FRAME-4: the order of keys says nothing; it is kept where that is safe."""
    numbers = [7919 * number % 100_003 for number in range(count)]
    ids = [uuid.UUID(int=number) for number in numbers]
    by_number = converted(dict[int, int], {str(number): number for number in numbers})
    by_id = converted(dict[uuid.UUID, int], {str(one): number for one, number in zip(ids, numbers, strict=True)})
    by_text = converted(dict[str, int], {str(number): number for number in numbers})
    assert by_number == {number: number for number in numbers}
    assert by_id == dict(zip(ids, numbers, strict=True))
    assert list(by_text.values()) == numbers
    kept = count <= MAX_ORDERED
    assert (list(by_number) == numbers) is kept and (list(by_id) == ids) is kept


def test_numbers_of_any_length_are_no_keys() -> None:
    """To read one takes the square of its length."""
    widest = 2**128
    assert converted(dict[int, int], {str(1 - widest): 1}) == {1 - widest: 1}
    for length in (MAX_KEY_CHARS + 1, 4000, 5000, 1_000_000):
        assert "at `key` in `$.value`" in refusal(dict[int, int], {"9" * length: 1}).message
    assert "at `key` in `$.value[0]`" in refusal(list[dict[int, int]], [{"9" * 50: 1}]).message


@pytest.mark.parametrize("bad", ["x", "", "1.5", "1e5", "0x1"])
def test_a_key_that_is_no_number_among_many(bad: str) -> None:
    """Before others that would take long have been put into a map."""
    keys = {str(10**20 + number): 1 for number in range(MANY)}
    text = "Expected `int`, got `str` - at `key` in `$.value`"
    assert refusal(dict[int, int], {**keys, bad: 1}).message == text
    assert refusal(dict[int, int], {bad: 1}).message == text


@pytest.mark.parametrize("value", [5, None, "x", [1]])
def test_another_form_than_declared_is_left_for_msgspec(value: Any) -> None:
    maps: list[Any] = [dict[int, int], dict[uuid.UUID, int]]
    for hint in maps:
        assert "Expected `object`" in refusal(hint, value).message
    arrays: list[Any] = [set[uuid.UUID], set[tuple[int, int]]]
    for hint in arrays:
        assert "Expected `" in refusal(hint, value).message


def test_items_of_a_set_that_do_not_fit() -> None:
    ids = [str(uuid.UUID(int=number)) for number in range(MANY)]
    assert refusal(list[set[uuid.UUID]], [[*ids, 5]]).message == "Expected `uuid`, got `int` - at `$.value[0][17]`"
    assert "hashable" in refusal(set[tuple[Any, int]], [[[], number] for number in range(MANY)]).message


BITS = 14
SIZE = 2**BITS


def places(number: int) -> Iterator[int]:
    """Where Python looks for a place for a number, one after the other, in a table of `SIZE`."""
    place, rest = number % SIZE, number
    while True:
        yield place
        rest >>= 5
        place = (place * 5 + rest + 1) % SIZE


def steps(numbers: Iterable[int], enough: int) -> int:
    """How often a place is taken already when these numbers are put into a table in this order."""
    taken = bytearray(SIZE)
    steps = 0
    for number in numbers:
        for place in places(number):
            if not taken[place]:
                taken[place] = 1
                break
            steps += 1
        if steps > enough:
            break
    return steps


def well_chosen(runners: int, walkers: int) -> list[int]:
    """Different numbers, all with hashes of their own. The first fill places that lead from one to the next; the others
    come upon these at once, and have to go all the way."""
    run = list(islice(places(1), runners))
    taken = bytearray(SIZE)
    for place in run:
        taken[place] = 1
    first = bytearray(SIZE)
    for place in run[: runners // 4]:
        first[place] = 1
    chosen: list[int] = []
    for number in count(SIZE):
        *early, last = islice(places(number), 6)
        if first[last] and all(taken[place] for place in early):
            chosen.append(number)
            if len(chosen) == walkers:
                return run + chosen
    raise AssertionError


def test_where_a_key_will_stand_cannot_be_reckoned_out() -> None:
    """Keys with different hashes can be chosen so that each has to pass by thousands of others: in the order in which
    they came, and in no other."""
    numbers = well_chosen(6000, 500)
    enough = 200 * len(numbers)
    assert steps(numbers, enough) > enough
    by_number = converted(dict[int, int], {str(number): 1 for number in numbers})
    assert steps(by_number, enough) < enough / 4
    listed = preparation(set[int], narrow)
    assert listed is not None
    assert steps(listed(numbers), enough) < enough / 4
    assert set(listed(numbers)) == by_number.keys() == set(numbers)
