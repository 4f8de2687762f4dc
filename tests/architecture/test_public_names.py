"""What is public is what the reference documents."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
ENTRY = re.compile(r"^<!-- ([\w.]+)\.(\w+)(?:\(\))?(?: <)?(?::[^>]*)? -->$", re.MULTILINE)
DOORS = (
    "capnet",
    "capnet.blocking",
    "capnet.native",
    "capnet.observe",
    "capnet.plugin",
    "capnet.plugins",
    "capnet.testing",
    "capnet.testing.simulate",
    "capnet.transport",
)
"""The modules whose `__all__` is public, as docs/reference/api.md says."""


def documented(door: str) -> list[str]:
    """Each name of a module that has an entry of its own on a page of the reference."""
    pages = [page.read_text(encoding="utf-8") for page in sorted(REFERENCE.glob("*.md"))]
    return [name for page in pages for module, name in ENTRY.findall(page) if module == door]


def public(door: str) -> list[str]:
    """Each name of a module that users may import from it; what `capnet` gives itself is documented there."""
    module, capnet = import_module(door), import_module("capnet")
    names: list[str] = list(module.__all__)
    if door == "capnet":
        return names
    return [name for name in names if getattr(module, name) is not getattr(capnet, name, None)]


@pytest.mark.parametrize("door", DOORS)
def test_every_public_name_is_documented_and_nothing_else_is(door: str) -> None:
    """`__all__` and the entries of docs/reference are the same names."""
    assert set(public(door)) == set(documented(door))


@pytest.mark.parametrize("door", DOORS)
def test_no_name_is_public_or_documented_twice(door: str) -> None:
    """A second entry would drift away from the first."""
    assert len(public(door)) == len(set(public(door)))
    assert len(documented(door)) == len(set(documented(door)))


@pytest.mark.parametrize("door", DOORS)
def test_every_public_name_exists(door: str) -> None:
    """`from capnet import *` brings every name, also those that are loaded on first use."""
    module = import_module(door)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_modules_of_other_names_are_not_documented() -> None:
    """What the reference shows of a private module would be taken for a promise."""
    pages = [page.read_text(encoding="utf-8") for page in sorted(REFERENCE.glob("*.md"))]
    assert {module for page in pages for module, _ in ENTRY.findall(page)} == set(DOORS)
