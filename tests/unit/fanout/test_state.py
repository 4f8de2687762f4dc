"""A value and its changes: nothing is lost between the two, and a slow reader gets the newest."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capnet import FailedPrecondition, InvalidArgument, Revoked
from capnet.fanout import State, Subscription
from tests.unit.fanout.steps import rest, step


def test_the_value_and_then_its_changes() -> None:
    state = State(0)
    changes = state.changes()
    seen = [step(changes)]
    for number in range(1, 4):
        state.set(number)
        seen.append(step(changes))
    assert seen == [0, 1, 2, 3] and state.value == 3 and state.subscribers == 1


def test_a_slow_reader_gets_the_latest_only() -> None:
    state = State(0)
    changes = state.changes()
    for number in range(1, 10):
        state.set(number)
    assert step(changes) == 9 and changes.lagged == 9
    state.set(10)
    state.set(11)
    state.close()
    assert rest(changes) == [11]


def test_a_larger_buffer_keeps_the_newest() -> None:
    state = State(0)
    everything, some = state.changes(buffer=10), state.changes(buffer=3)
    for number in range(1, 6):
        state.set(number)
    state.close()
    assert rest(everything) == [0, 1, 2, 3, 4, 5] and rest(some) == [3, 4, 5]
    with pytest.raises(InvalidArgument):
        state.changes(buffer=0)


async def test_a_change_between_subscribing_and_reading_is_not_lost() -> None:
    state = State("a")
    changes = state.changes()
    assert await anext(changes) == "a"
    state.set("b")  # nobody waits at this moment
    with anyio.fail_after(60):
        assert await anext(changes) == "b"


async def test_a_reader_that_waits_is_woken() -> None:
    state, seen = State(0), list[int]()

    async def read(changes: Subscription[int]) -> None:
        seen.extend([value async for value in changes])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read, state.changes())
        for number in range(1, 4):
            await anyio.wait_all_tasks_blocked()
            state.set(number)
        state.close()
    assert seen == [0, 1, 2, 3]


def test_an_equal_value_is_a_change_too() -> None:
    state = State(0)
    changes = state.changes(buffer=2)
    state.set(0)
    state.close()
    assert rest(changes) == [0, 0]


def test_after_the_end() -> None:
    state = State(0)
    before = state.changes()
    state.close()
    with pytest.raises(FailedPrecondition) as caught:
        state.set(1)
    assert caught.value.reason == "closed"
    assert state.value == 0 and state.subscribers == 0
    assert rest(before) == rest(state.changes()) == [0]


def test_an_error_comes_after_the_last_value() -> None:
    state = State(0)
    before = state.changes()
    state.fail(Revoked())
    state.close()
    for changes in (before, state.changes()):
        assert step(changes) == 0
        with pytest.raises(Revoked):
            step(changes)
        assert rest(changes) == []


def test_collected_with_readers_left() -> None:
    state = State(0)
    changes = state.changes()
    del state
    assert rest(changes) == [0]


@given(steps=st.lists(st.one_of(st.integers(0, 100), st.none()), max_size=30), buffer=st.integers(1, 4))
def test_it_does_what_the_model_does(steps: list[int | None], buffer: int) -> None:
    """A number is set, None reads; the model is the last `buffer` values not yet read."""
    state, unread = State(-1), [-1]
    changes = state.changes(buffer=buffer)
    for number in steps:
        if number is not None:
            state.set(number)
            unread = [*unread, number][-buffer:]
        elif unread:
            assert step(changes) == unread.pop(0)
    state.close()
    assert rest(changes) == unread


def test_a_value_is_sent_as_it_was_set() -> None:
    """What is done to it afterwards is no change, for who reads already and for who comes later."""
    lines = [1]
    state = State(lines)
    changes = state.changes(buffer=8)
    lines.append(2)
    state.set(lines)
    lines.append(3)
    assert state.value is lines
    assert [step(changes), step(changes), step(state.changes())] == [[1], [1, 2], [1, 2]]
