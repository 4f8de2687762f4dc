"""What a conversion makes beside what came: defaults are counted, and the collector waits until all is made."""

from __future__ import annotations

import gc
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from capnet.contract.annotation import read_annotation
from capnet.contract.conversion import Conversion
from capnet.contract.growth import MAX_DEFAULTS, NO_DEFAULTS, Defaults
from capnet.errors import InvalidArgument


@dataclass
class Page:
    lines: list[str] = field(default_factory=list[str])
    notes: dict[str, int] = field(default_factory=dict[str, int])


@dataclass
class Book:
    """Of each there must be something."""

    name: str
    pages: list[Page] = field(default_factory=list[Page])


class Row(msgspec.Struct, array_like=True):
    cells: list[int] = msgspec.field(default_factory=list[int])
    marks: list[int] = msgspec.field(default_factory=list[int])


@dataclass
class Plain:
    a: int = 0
    b: str = ""


def conversion(*hints: Any) -> Conversion:
    fields = [(f"v{number}", read_annotation(hint, "here"), True) for number, hint in enumerate(hints)]
    return Conversion("test", fields)


@pytest.mark.parametrize(("hint", "empty"), [(list[Page], {}), (list[Row], []), (dict[str, Page], {})])
def test_no_more_defaults_are_made_than_a_message_may_have_values(hint: Any, empty: Any) -> None:
    """P-LIMIT-3: the work is bounded, not only the memory."""
    most = MAX_DEFAULTS // 2
    convert = conversion(hint).convert

    def sent(count: int) -> dict[str, Any]:
        return {"v0": {str(number): empty for number in range(count)} if hint == dict[str, Page] else [empty] * count}

    assert len(convert(sent(most)).v0) == most
    with pytest.raises(InvalidArgument, match=f"More than {MAX_DEFAULTS} defaults would be made"):
        convert(sent(most + 1))


def test_what_came_is_no_default() -> None:
    """However many objects there are, if their fields are there."""
    whole: dict[str, Any] = {"lines": [], "notes": {"y": 1}}
    assert len(conversion(list[Page]).convert({"v0": [whole] * MAX_DEFAULTS}).v0) == MAX_DEFAULTS


def test_only_where_next_to_nothing_need_come_it_is_counted() -> None:
    assert read_annotation(list[Plain], "here").defaults == NO_DEFAULTS
    assert read_annotation(list[Page], "here").defaults == Defaults(2, frozenset({"lines", "notes"}))
    assert read_annotation(Book, "here").defaults == Defaults(2, frozenset({"lines", "notes"})), "of what stands in it"
    assert read_annotation(Row, "here").defaults == Defaults(2, frozenset({"cells", "marks"}), arrays=True)
    names = [{"name": "x"}] * (MAX_DEFAULTS + 1)
    assert len(conversion(list[Book]).convert({"v0": names}).v0) == MAX_DEFAULTS + 1, "none of them is a page"


@dataclass
class Watching:
    """Says whether the collector runs while it is made."""

    a: int = 0

    def __post_init__(self) -> None:
        SEEN.append(gc.isenabled())
        if self.a:
            raise ValueError("not this one")


SEEN: list[bool] = []


@pytest.fixture(autouse=True)
def collector() -> Generator[None]:
    """On before and after each."""
    SEEN.clear()
    gc.enable()
    yield
    gc.enable()


def test_the_collector_waits_until_all_is_made() -> None:
    """None of it can be garbage, and there may be much."""
    convert = conversion(list[Watching]).convert
    convert({"v0": [{}, {}]})
    assert SEEN == [False, False] and gc.isenabled()
    with pytest.raises(InvalidArgument):
        convert({"v0": [{"a": 1}]})
    assert SEEN[2:] == [False] and gc.isenabled()


def test_a_collector_that_is_off_stays_off() -> None:
    gc.disable()
    conversion(list[Watching]).convert({"v0": [{}]})
    assert not gc.isenabled()
