"""What a plugin is said to be, and what makes no sense."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import pytest

from capnet import Cap, InvalidArgument, call
from capnet.plugins import PluginSpec


class Speller(Cap, name="example.Speller"):
    @call
    async def check(self, word: str) -> bool: ...


async def main() -> Speller:
    raise NotImplementedError


@pytest.mark.parametrize(
    ("how", "command"),
    [
        ({"run": "acme.spell:main"}, [sys.executable, "-m", "capnet.plugin", "acme.spell:main"]),
        ({"run": "acme.spell"}, [sys.executable, "-m", "acme.spell"]),
        ({"run": "acme/spell.py"}, [sys.executable, "acme/spell.py"]),
        ({"argv": ["node", "spell.js"]}, ["node", "spell.js"]),
    ],
    ids=["function", "module", "file", "argv"],
)
def test_how_it_is_started(how: dict[str, Any], command: list[str]) -> None:
    assert PluginSpec("spell", contract=Speller, **how).command() == command


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "a" * 65},
        {"name": "a b"},
        {"name": "a\n"},
        {"name": "ä"},
        {"name": 3},
        {"run": None},
        {"argv": ["true"]},
        {"run": main},
        {"isolation": "thread"},
        {"isolation": "inprocess", "run": None, "argv": ["true"]},
        {"restart": "sometimes"},
        {"start_timeout": 0},
        {"start_timeout": "soon"},
        {"start_timeout": float("nan")},
        {"backoff": -1},
        {"max_restarts": -1},
        {"heartbeat": 0},
        {"max_output": 0},
    ],
    ids=itertools.count(),
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    given: dict[str, Any] = {"name": "spell", "run": "a:b", **wrong}
    with pytest.raises(InvalidArgument):
        PluginSpec(given.pop("name"), contract=Speller, **given)


def test_secrets_are_in_no_text() -> None:
    spec = PluginSpec("spell", contract=Speller, run="a:b", secrets={"token": "hunter2"}, env={"KEY": "hunter2"})
    assert "hunter2" not in repr(spec) + str(spec) + spec.shown()
