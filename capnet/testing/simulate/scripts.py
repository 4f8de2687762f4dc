"""Scripts: what drivers and the line do, chosen by a seed, played, and made shorter when they show a fault.

A script is a list of rules with their arguments. It is made before it is played and every index in it is taken modulo
what there is, so any part of a script is a script as well: that is how one that fails is shrunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Any, Final, TypeAlias

from .choices import THREE, TWO, begin_three, begin_two
from .circle import CircleModel
from .model import PairModel, UncheckedPair

__all__ = ["Figures", "Script", "as_test", "play_seeds", "replay", "script", "shrink"]

Script: TypeAlias = list[tuple[str, dict[str, Any]]]
"""Names of rules of a model, with their arguments; the first is `begin`."""

LENGTH: Final = 150
"""Rules in a script when nothing else is said."""
EVERY: Final = 4
"""How many rules stand between two looks at every entry of every table, when nothing else is said."""
_LONGEST_SHRINK: Final = 2_000
"""Scripts that are played at most to find the shortest."""


class _Pair(PairModel):
    """Looks at every entry only when it is asked whether all agree."""

    pair_type = UncheckedPair

    def agree(self) -> None:
        super().agree()
        assert isinstance(self.pair, UncheckedPair)
        self.pair.check_all()


_MODELS: Final[dict[str, type[_Pair | CircleModel]]] = {"begin": _Pair, "begin_circle": CircleModel}


@dataclass(slots=True)
class Figures:
    """How much was played.

    Attributes:
        scripts: from beginning to end, all tables empty.
        rules: that were followed.
        steps: how often something was given to an engine: an intent, bytes, or the time.
    """

    scripts: int = 0
    rules: int = 0
    steps: int = 0

    def __str__(self) -> str:
        return f"{self.scripts} scripts, {self.rules} rules, {self.steps} steps"


def play_seeds(seeds: Iterable[int], *, peers: int = 2, length: int = LENGTH, every: int = EVERY) -> Figures:
    """Play the script of each seed; returns how much that was.

    Args:
        peers: 2, or 3 in a row or a ring.
        length: rules in each script.
        every: how many rules stand between two whole checks; 1 checks everything after each.

    Raises:
        Exception: what the first script that fails fails with. Its notes say the seed and show the shortest script that
        was found to fail as well, as a test.
    """
    figures = Figures()
    for seed in seeds:
        steps = script(seed, length, peers)
        try:
            figures.steps += replay(steps, every=every)
        except Exception as error:
            shortest = shrink(steps, lambda part: _fails(part, every))
            error.add_note(f"seed {seed} shows it: play_seeds([{seed}], peers={peers}, length={length}, every={every})")
            error.add_note(
                f"so does this, {len(shortest)} rules of {len(steps)}:\n\n{as_test(shortest, f'seed_{seed}')}"
            )
            raise
        figures.scripts += 1
        figures.rules += len(steps)
    return figures


def replay(steps: Script, *, every: int = 1) -> int:
    """Play a script to its end, where everything is given back and every table must be empty.

    Returns:
        How often something was given to an engine.

    Raises:
        AssertionError: an invariant does not hold; or whatever an engine raises that it must not.
    """
    (beginning, given), *rules = steps
    model = _MODELS[beginning]()
    getattr(model, beginning)(**given)
    for number, (name, arguments) in enumerate(rules, 1):
        before = model.steps
        getattr(model, name)(**arguments)
        if number % every == 0:
            model.agree()
        elif model.steps != before:
            model.agree_on_what_flows()
    model.agree()
    model.quiesce()
    return model.steps


def script(seed: int, length: int = LENGTH, peers: int = 2) -> Script:
    """The script of a seed: the same in every process.

    Each seed prefers some rules to others, so that many seeds reach what no average run does.

    Args:
        peers: 2, or 3 in a row or a ring.
    """
    random = Random(seed)  # noqa: S311 - a seed is no secret
    beginning, rules = (begin_two(random), TWO) if peers == 2 else (begin_three(random), THREE)
    names = list(rules)
    weights = [rules[name][0] * random.choice([0.2, 1.0, 1.0, 3.0]) for name in names]
    chosen = random.choices(names, weights, k=length)
    return [beginning, *((name, rules[name][1](random)) for name in chosen)]


def shrink(steps: Script, fails: Callable[[Script], bool]) -> Script:
    """A part of a script that fails as well, from which nothing can be left out: parts are deleted, long ones first.

    The first rule stays. Where that would take too long, the result is only shorter.
    """
    first, rest = steps[0], steps[1:]
    size, tried = max(len(rest) // 2, 1), 0
    while True:
        shorter = False
        start = 0
        while start < len(rest) and tried < _LONGEST_SHRINK:
            part = rest[:start] + rest[start + size :]
            tried += 1
            if fails([first, *part]):
                rest, shorter = part, True
            else:
                start += size
        if tried >= _LONGEST_SHRINK or (size == 1 and not shorter):
            return [first, *rest]
        size = max(size // 2, 1)


def as_test(steps: Script, name: str = "it_happens_again") -> str:
    """The script as a test in Python."""
    lines = "\n".join(f"            ({rule!r}, {arguments!r})," for rule, arguments in steps)
    return (
        "from capnet.testing import simulate\n\n\n"
        f"def test_{name}() -> None:\n    simulate.replay(\n        [\n{lines}\n        ]\n    )\n"
    )


def _fails(steps: Script, every: int) -> bool:
    try:
        replay(steps, every=every)
    except Exception:
        return True
    return False
