"""The pages about the command say and show what it does."""

from __future__ import annotations

from pathlib import Path

import pytest

from capnet.cli.commands import COMMANDS
from docs import command_page, screenshots


def test_every_command_has_its_place() -> None:
    text = command_page.commands()
    assert [name for name in COMMANDS if f"## `capnet {name}" not in text] == []


@pytest.mark.parametrize("page", screenshots.PAGES, ids=lambda page: page.stem)
def test_what_commands_print_is_what_the_page_shows(page: Path) -> None:
    """Else run `python docs/screenshots.py`."""
    assert screenshots.main(["--check"], [page]) is None


def test_what_is_shown_otherwise_is_found() -> None:
    """Figures and widths may differ, words may not."""
    page = "```console\n$ capnet x\n1.5 ms  ok |█  |\n```\n"
    same = "```console\n$ capnet x\n20 ms   ok |  ██|\n```\n"
    assert screenshots.alike(page) == screenshots.alike(same)
    assert screenshots.alike(page) != screenshots.alike(page.replace("ok", "wrong"))
    assert screenshots.alike(screenshots.renewed(page, {"capnet x": "new\n"}))["capnet x"] >= {"new"}
