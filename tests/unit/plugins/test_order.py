"""In which order plugins start."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capnet import InvalidArgument
from capnet.plugins.order import in_layers


def test_what_is_required_comes_first() -> None:
    requires = {"top": ("left", "right"), "left": ("base",), "right": ("base", "there already"), "base": ()}
    assert list(in_layers(requires)) == [["base"], ["left", "right"], ["top"]]


def test_those_that_can_start_at_once_keep_their_order() -> None:
    assert list(in_layers({"z": (), "a": (), "m": ()})) == [["z", "a", "m"]]
    assert list(in_layers({})) == []


@pytest.mark.parametrize("requires", [{"a": ("a",)}, {"a": ("b",), "b": ("a",)}], ids=["itself", "two"])
def test_a_circle_is_refused(requires: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(InvalidArgument):
        list(in_layers(requires))


@given(st.lists(st.sets(st.integers(0, 9), max_size=4), max_size=10))
def test_nothing_starts_before_what_it_requires(needs: list[set[int]]) -> None:
    requires = {str(one): [str(other) for other in others if other < one] for one, others in enumerate(needs)}
    started: set[str] = set()
    for layer in in_layers(requires):
        assert all(set(requires[name]) <= started for name in layer)
        started.update(layer)
    assert started == requires.keys()
