"""Turns: one call at a time, in the order they came."""

from __future__ import annotations

from functools import partial

from capnet.registry import Turns


def test_the_first_has_its_turn_and_the_others_wait() -> None:
    turns, begun = Turns(), list[str]()
    assert turns.take("a") and turns.take("a")
    assert not turns.take("b")
    turns.wait("b", lambda: begun.append("b"))
    turns.wait("c", lambda: begun.append("c"))
    turns.leave("a")
    assert begun == ["b"] and turns.take("b") and not turns.take("c")
    turns.leave("b")
    turns.leave("c")
    assert begun == ["b", "c"] and turns.holder is None


def test_one_that_leaves_the_line_is_passed_over() -> None:
    turns, begun = Turns(), list[str]()
    turns.take("a")
    turns.wait("b", lambda: begun.append("b"))
    turns.leave("b")
    turns.leave("a")
    assert begun == [] and turns.take("c")


def test_a_turn_that_ends_forgets_its_token() -> None:
    turns = Turns()
    turns.take("a")
    turns.token = "1"
    turns.leave("a")
    assert turns.token == ""


def test_a_line_that_dissolves_begins_from_its_end() -> None:
    """So that whoever puts each in front of the others has them in their order."""
    turns, begun = Turns(), list[str]()
    turns.take("a")
    for name in ("b", "c", "d"):
        turns.wait(name, partial(begun.append, name))
    turns.dissolve()
    turns.dissolve()
    assert begun == ["d", "c", "b"] and turns.take("a")
