"""Fuzz target: two honest engines, their drivers and the line between them, against the shadow of `simulate`.

An input decides on the rules of a script and their arguments, where a simulation takes them from a seed. Nothing that
honest drivers do may be a violation, and everything that the simulation checks must hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final

from capnet.testing.simulate import Script, replay
from capnet.testing.simulate.choices import TWO
from tests.fuzz.choices import Choices

__all__ = ["Chance", "one_input", "play"]

_LONGEST: Final = 60
"""Rules in a script."""
_ENDINGS: Final = frozenset(("cut", "goaway"))


class Chance(Random):
    """Chance that is none: the input decides."""

    def __init__(self, choices: Choices) -> None:
        super().__init__(0)
        self._choices = choices

    def random(self) -> float:
        """A number below 1, in steps of 1/256."""
        return self._choices.below(256) / 256

    def getrandbits(self, k: int) -> int:
        """`k` bits."""
        return self._choices.below(1 << k)


def one_input(data: bytes) -> None:
    """Play one input."""
    choices = Choices(data)
    windows = [(choices.one_of((1, 2, 3, 7)), choices.one_of((1, 60, 10_000))) for _ in range(2)]
    beginning = {
        "greeted": choices.below(4) != 3,
        "left": windows[0],
        "right": windows[1],
        "kept": choices.one_of((150, 10_000)),
    }
    play(choices, [("begin", beginning)], TWO)


def play(
    choices: Choices, steps: Script, rules: Mapping[str, tuple[float, Callable[[Random], dict[str, Any]]]]
) -> None:
    """Play a script that begins like this and goes on by these rules."""
    names, chance = list(rules), Chance(choices)
    while choices and len(steps) <= _LONGEST:
        name = choices.one_of(names)
        if name in _ENDINGS and choices.below(8) != 7:
            name = "flush"  # or hardly a script would get far
        steps.append((name, rules[name][1](chance)))
    replay(steps, every=2)
