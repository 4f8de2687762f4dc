"""Which rules a script is made of: how often each comes, and how its arguments are chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final, TypeAlias

__all__ = ["THREE", "TWO", "begin_three", "begin_two"]

_CAPS: Final = ["fresh", "known", "home", "out", "in"]
_ARGUMENTS: Final = [*_CAPS, "answer", "answer"]
_THROUGH: Final = ["fresh", "known", "held", "held", "held", "out", "in"]
_SIDES: Final = ["left", "right"]


def begin_two(random: Random) -> tuple[str, dict[str, Any]]:
    """How two engines begin."""
    window = [(random.choice([1, 2, 3, 7]), random.choice([1, 60, 10_000])) for _ in _SIDES]
    greeted = random.random() < 0.7
    return "begin", {"greeted": greeted, "left": window[0], "right": window[1], "kept": random.choice([150, 10_000])}


def begin_three(random: Random) -> tuple[str, dict[str, Any]]:
    """How three peers begin."""
    return "begin_circle", {"ring": random.random() < 0.5, "window": random.choice([1, 2, 7])}


_Choice: TypeAlias = Callable[[Random], Any]
_Arguments: TypeAlias = Callable[[Random], dict[str, Any]]


def _side(random: Random) -> str:
    return random.choice(_SIDES)


def _index(random: Random) -> int:
    return random.randrange(1001)


def _perhaps(random: Random) -> bool:
    return random.random() < 0.5


def _timeout(random: Random) -> float | None:
    return round(random.uniform(0.1, 5.0), 2) if random.random() < 0.3 else None


def _between(least: int, most: int) -> _Choice:
    return lambda random: random.randint(least, most)


def _one_of(*values: Any) -> _Choice:
    return lambda random: random.choice(values)


def _caps(kinds: Sequence[str]) -> _Choice:
    def choose(random: Random) -> list[tuple[str, int]]:
        count = random.choice([0, 0, 1, 1, 2, 4])
        return [(random.choice(kinds), random.randrange(1001)) for _ in range(count)]

    return choose


def _rule(weight: float, **choices: _Choice) -> tuple[float, _Arguments]:
    return weight, lambda random: {name: choose(random) for name, choose in choices.items()}


TWO: Final[dict[str, tuple[float, _Arguments]]] = {
    "call": _rule(
        3, name=_side, on=_index, caps=_caps(_ARGUMENTS), timeout=_timeout, one_way=_perhaps, arrives=_perhaps
    ),
    "burst": _rule(
        1, name=_side, count=_between(2, 9), on=_index, caps=_caps(_ARGUMENTS), one_way=_perhaps, arrives=_perhaps
    ),
    "pipeline": _rule(
        1.5,
        name=_side,
        on=_index,
        caps=_caps(_ARGUMENTS),
        between=_between(0, 2),
        timeout=_timeout,
        chain=_between(0, 4),
        arrives=_perhaps,
    ),
    "call_in_line": _rule(1, name=_side, on=_index, index=_index, count=_between(1, 3), arrives=_perhaps),
    "keep_late": _rule(0.3, name=_side, index=_index),
    "call_in_vain": _rule(0.2, name=_side, caps=_caps(_ARGUMENTS), size=_one_of(0)),
    "cancel": _rule(1, name=_side, index=_index, arrives=_perhaps),
    "reply": _rule(4, name=_side, index=_index, caps=_caps(_CAPS), arrives=_perhaps),
    "fail": _rule(0.7, name=_side, index=_index),
    "forward": _rule(0.5, name=_side, index=_index),
    "release": _rule(1, name=_side, index=_index, count=_between(1, 3)),
    "release_promise": _rule(0.7, name=_side, index=_index, count=_between(1, 3)),
    "last_words": _rule(0.7, name=_side, index=_index, count=_between(1, 6), promised=_perhaps),
    "hold": _rule(0.5, name=_side, index=_index),
    "revoke": _rule(0.7, name=_side, index=_index, count=_between(1, 3)),
    "replace": _rule(0.7, name=_side, index=_index, known=_perhaps),
    "produce": _rule(2.5, index=_index, count=_between(1, 9), caps=_caps(_CAPS), last=_perhaps, arrives=_perhaps),
    "produce_in_vain": _rule(0.2, name=_side, index=_index, caps=_caps(_CAPS), size=_one_of(0)),
    "consume": _rule(2.5, index=_index, batches=_between(1, 4), used=_between(0, 8), arrives=_perhaps),
    "end_stream": _rule(0.5, name=_side, index=_index, failed=_perhaps, again=_perhaps),
    "stop_stream": _rule(
        0.7, name=_side, index=_index, caps=_caps(_CAPS), again=_perhaps, item=_one_of("", "travels", "waits")
    ),
    "ping": _rule(0.3, name=_side),
    "deliver": _rule(3, name=_side, count=_between(1, 200)),
    "flush": _rule(1),
    "stall": _rule(0.5, name=_side, stalled=_one_of(True, False, False)),
    "advance": _rule(1, seconds=lambda random: round(random.uniform(0.01, 8.0), 2)),
    "goaway": _rule(0.1, name=_side, grace=_one_of(0.0, 3.0, 60.0)),
    "cut": _rule(0.05),
}
"""How often each rule for two comes, and how its arguments are chosen."""

THREE: Final[dict[str, tuple[float, _Arguments]]] = {
    "call": _rule(5, peer=_between(0, 2), on=_index, caps=_caps(_THROUGH), arrives=_perhaps),
    "reply": _rule(5, peer=_between(0, 2), index=_index, caps=_caps(_THROUGH), arrives=_perhaps),
    "fail": _rule(0.5, peer=_between(0, 2), index=_index),
    "cancel": _rule(0.7, index=_index, arrives=_perhaps),
    "release": _rule(1.5, peer=_between(0, 2), index=_index),
    "revoke": _rule(0.4, peer=_between(0, 2), index=_index),
    "produce": _rule(2, index=_index, count=_between(1, 9), last=_one_of(True, False, False), arrives=_perhaps),
    "consume": _rule(2, index=_index, stop=_one_of(True, False, False, False), arrives=_perhaps),
    "deliver": _rule(4, line=_between(0, 2), left=_perhaps, count=_between(1, 200)),
    "flush": _rule(1),
    "cut": _rule(0.05, line=_between(0, 2)),
}
"""The same for three."""
