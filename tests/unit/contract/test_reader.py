"""What all reading ends of streams do alike."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

import pytest

from capnet.contract import Reader
from capnet.contract.reader import taken_from

ERROR = ValueError("x")


class Counting(Reader[int]):
    """Counts down, and notes when it is closed."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.closed = 0

    async def __anext__(self) -> int:
        if not self.left:
            raise StopAsyncIteration
        self.left -= 1
        return self.left

    async def aclose(self) -> None:
        self.closed += 1
        self.left = 0


async def test_it_is_read_like_a_generator_and_takes_nothing_back() -> None:
    reader = Counting(3)
    assert await reader.asend(None) == 2
    assert [number async for number in reader] == [1, 0]


def some_traceback() -> TracebackType:
    try:
        raise KeyError
    except KeyError:
        trace = sys.exc_info()[2]
        assert trace is not None
        return trace


THROWN: list[tuple[Any, ...]] = [(ERROR,), (ValueError, ERROR, some_traceback()), (ValueError, ERROR), (ValueError,)]


@pytest.mark.parametrize("thrown", THROWN, ids=["error", "all three", "type and error", "type"])
async def test_what_is_thrown_into_it_closes_it_and_comes_out(thrown: tuple[Any, ...]) -> None:
    reader = Counting(3)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the very one is looked at
        await reader.athrow(*thrown)
    assert ERROR not in thrown or caught.value is ERROR
    assert reader.closed == 1 and [number async for number in reader] == []


async def test_it_leaves_the_window_to_the_peer() -> None:
    """P-STREAM-2: what is said of no stream in particular is in the hello."""
    assert Counting(3).__capnet_window__ is None


class Around(Counting):
    """Has its items from somewhere else."""

    def __init__(self, source: object) -> None:
        super().__init__(0)
        self.source = source

    @property
    def __capnet_source__(self) -> object:
        return self.source


def test_the_items_come_from_what_is_behind_all_others() -> None:
    innermost, foreign = Counting(3), object()
    assert taken_from(innermost) is innermost
    assert taken_from(Around(Around(innermost))) is innermost
    assert taken_from(Around(foreign)) is foreign
    assert taken_from(foreign) is foreign
