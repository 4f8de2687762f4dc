"""What type variables stand for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, NamedTuple, TypeVar, Union

import pytest

from capnet.contract.generics import bindings_of, substitute

T = TypeVar("T")
U = TypeVar("U")
Bound = TypeVar("Bound", bound=int)
Either = TypeVar("Either", int, str)


class Box(Generic[T]): ...


class Pair(Box[U], Generic[T, U]): ...


class Diamond(Pair[int, str], Box[str]): ...


class Named(NamedTuple, Generic[T]):
    value: T


def test_each_base_has_its_own_bindings() -> None:
    """The same variable stands for different types in a class and its base."""
    found = bindings_of(Pair[int, str])
    assert found[Pair] == {T: int, U: str}
    assert found[Box] == {T: str}


def test_a_plain_subclass_binds_its_bases() -> None:
    """Arguments given in the class statement count."""
    assert bindings_of(Diamond)[Box] == {T: str}


def test_open_variables_become_any() -> None:
    """A bare generic class binds nothing; its base gets Any."""
    found = bindings_of(Pair)
    assert found[Pair] == {}
    assert found[Box] == {T: Any}


def test_bases_that_are_not_classes_are_passed_over() -> None:
    """`NamedTuple` is a function."""
    assert bindings_of(Named[int])[Named] == {T: int}


A: Any = T  # the checkers refuse a type variable outside of what it belongs to


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (T, int),
        (U, Any),
        (Bound, int),
        (Either, Union[int, str]),  # noqa: UP007
        (list[A], list[int]),
        (A | None, Union[int, None]),  # noqa: UP007
        (Callable[[A], Awaitable[A]], Callable[[int], Awaitable[int]]),
        (dict[str, list[A]], dict[str, list[int]]),
        (Box, Box),
        (str, str),
        (None, None),
    ],
)
def test_substitution(hint: Any, expected: Any) -> None:
    """Variables are replaced wherever they stand; a bare class stays as it is."""
    assert substitute(hint, {T: int}) == expected
