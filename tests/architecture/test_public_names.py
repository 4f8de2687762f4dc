"""What is public is what the reference documents."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

from capnet import Connection, Host
from capnet.serving.serving import Serving

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
ENTRY = re.compile(r"^<!-- ([\w.]+)\.(\w+)(?:\(\))?(?: <)?(?::[^>]*)? -->$", re.MULTILINE)
DOORS = (
    "capnet",
    "capnet.blocking",
    "capnet.gateways.acp",
    "capnet.gateways.jsonrpc",
    "capnet.gateways.capnweb",
    "capnet.gateways.mcp",
    "capnet.native",
    "capnet.observe",
    "capnet.plugin",
    "capnet.plugins",
    "capnet.testing",
    "capnet.testing.simulate",
    "capnet.tokens",
    "capnet.toolbox",
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


MEMBERS = re.compile(r"^<!-- capnet\.(\w+)(?:\(\))?: ([\w, *\n]+) -->$", re.MULTILINE)
CLAUSE = re.compile(r"\bP-[A-Z]+(?:-\d+)?\b")


def test_what_completes_is_documented() -> None:
    """A name without an underscore is a promise; those of connections that hosts have as well stand there once."""
    entries = dict(MEMBERS.findall((REFERENCE / "api.md").read_text(encoding="utf-8")))
    listed = {name: set(re.findall(r"\w+", entries[name])) for name in ("Host", "Connection")}
    assert listed["Host"] == {name for name in dir(Host) if not name.startswith("_")}
    completing = {name for name in dir(Connection) if not name.startswith("_")}
    assert listed["Connection"] == completing - (completing & set(dir(Serving)))
    assert completing & set(dir(Serving)) <= listed["Host"]


@pytest.mark.parametrize("door", DOORS)
def test_no_text_for_users_names_a_clause(door: str) -> None:
    """Who uses capnet need not know the protocol; comments, and texts of what is not public, name its clauses."""
    texts = {name: getattr(import_module(door), name).__doc__ for name in public(door)}
    for name, value in [(name, getattr(import_module(door), name)) for name in public(door)]:
        if isinstance(value, type):
            texts |= {f"{name}.{member}": inspect.getdoc(getattr(value, member, None)) for member in dir(value)}
    assert [name for name, text in texts.items() if not name.startswith("_") and CLAUSE.search(text or "")] == []


@pytest.mark.parametrize("page", ["api", "errors", "events", "plugins", "testing"])
def test_no_page_made_of_them_does(page: str) -> None:
    """The same of attributes, whose texts are found in the source only."""
    assert not CLAUSE.search((REFERENCE / f"{page}.md").read_text(encoding="utf-8"))


def test_modules_of_other_names_are_not_documented() -> None:
    """What the reference shows of a private module would be taken for a promise."""
    pages = [page.read_text(encoding="utf-8") for page in sorted(REFERENCE.glob("*.md"))]
    assert {module for page in pages for module, _ in ENTRY.findall(page)} == set(DOORS)
