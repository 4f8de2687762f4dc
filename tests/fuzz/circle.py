"""Fuzz target: three honest peers in a row or a ring that pass things on, against the shadow of `simulate`.

An input decides as in `pair.py`.
"""

from __future__ import annotations

from capnet.testing.simulate.choices import THREE, begin_three
from tests.fuzz.choices import Choices
from tests.fuzz.pair import Chance, play

__all__ = ["one_input"]


def one_input(data: bytes) -> None:
    """Play one input."""
    choices = Choices(data)
    play(choices, [begin_three(Chance(choices))], THREE)
