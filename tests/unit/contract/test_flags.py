"""Flags that a peer has chosen: what is declared, and no work that grows with how they are combined."""

from __future__ import annotations

import enum
from typing import Any

import pytest

from capnet.contract.annotation import read_annotation
from capnet.contract.conversion import Conversion
from capnet.contract.flags import MAX_FLAGS
from capnet.errors import ContractError
from tests.counting import calls_of
from tests.unit.contract.converting import converted, refusal


class Marks(enum.IntFlag):
    A = 1
    B = 2
    D = 8


class Strict(enum.Flag):
    A = 1
    B = 2


def test_flags_are_what_their_class_declares() -> None:
    """Python remembers each combination that it is asked for, so there are no more than of what is declared."""
    assert converted(Marks, 11) == Marks.A | Marks.B | Marks.D
    assert converted(list[Strict], [3]) == [Strict.A | Strict.B]
    assert converted(dict[Marks, int], {"3": 1}) == {Marks.A | Marks.B: 1}
    before = len(Marks._value2member_map_)
    for number in (4, -1, 12, 2**40, 2**64 - 1):
        assert f"Invalid enum value {number}" in refusal(Marks, number).message
        assert "Invalid enum value" in refusal(dict[Marks, int], {str(number): 1}).message
        assert "Invalid enum value" in refusal(set[Marks] | None, [number]).message
    assert "at `key` in `$.value`" in refusal(dict[Marks, int], {"9" * 5000: 1}).message
    assert "at `key` in `$.value`" in refusal(dict[Marks, int], {"x": 1}).message
    assert len(Marks._value2member_map_) == before
    assert refusal(Marks, "x").message


@pytest.mark.parametrize("value", [5, None, "x", [1]])
def test_another_form_than_declared_is_left_for_msgspec(value: Any) -> None:
    assert "Expected `object`" in refusal(dict[Marks, int], value).message


@pytest.mark.parametrize("kind", [enum.Flag, enum.IntFlag])
def test_all_combinations_are_there(kind: Any) -> None:
    """So that none is looked for in Python, one bit after the other."""
    few = kind("Few", [f"F{number}" for number in range(6)])
    convert = Conversion("test", [("value", read_annotation(list[few], "here"), True)]).convert  # type: ignore[valid-type]
    assert convert({"value": list(range(64))}).value == [few(number) for number in range(64)]
    assert len(few._value2member_map_) == 64
    assert calls_of(lambda: convert({"value": [63] * 100}), "_missing_") == 0


def test_more_flags_than_have_all_their_combinations_made_are_refused() -> None:
    most: Any = enum.Flag("Most", [f"F{number}" for number in range(MAX_FLAGS)])  # type: ignore[misc]
    many: Any = enum.Flag("Many", [f"F{number}" for number in range(MAX_FLAGS + 1)])  # type: ignore[misc]
    wide: Any = enum.IntFlag("Wide", {"ALL": 2**MAX_FLAGS * 2 - 1}, boundary=enum.KEEP)  # type: ignore[misc]
    assert converted(most, 3) == most(3)
    for kind in (many, wide):
        with pytest.raises(ContractError, match="has more than 12 flags"):
            read_annotation(kind, "here")


def test_flags_with_a_way_of_their_own_are_asked() -> None:
    class Own(enum.Flag):
        A = 1
        B = 2

        @classmethod
        def _missing_(cls, value: object) -> Any:
            raise RuntimeError(value)

    assert converted(Own, 1) is Own.A
    assert refusal(Own, 3).reason is None
