"""What is public is what the reference documents."""

from __future__ import annotations

import re
from pathlib import Path

import capnet

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
ENTRY = re.compile(r"^\.\. auto(?:class|function|data|exception):: capnet\.(\w+)$", re.MULTILINE)


def documented() -> list[str]:
    """Each name that has an entry of its own on a page of the reference."""
    return [name for page in sorted(REFERENCE.glob("*.md")) for name in ENTRY.findall(page.read_text(encoding="utf-8"))]


def test_every_public_name_is_documented_and_nothing_else_is() -> None:
    """`capnet.__all__` and the entries of docs/reference are the same names."""
    assert set(capnet.__all__) == set(documented())


def test_no_name_is_public_or_documented_twice() -> None:
    """A second entry would drift away from the first."""
    assert len(capnet.__all__) == len(set(capnet.__all__))
    assert len(documented()) == len(set(documented()))


def test_every_public_name_exists() -> None:
    """`from capnet import *` brings every name, also those that are loaded on first use."""
    assert [name for name in capnet.__all__ if not hasattr(capnet, name)] == []
