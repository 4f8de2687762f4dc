"""Pages that are made from the code: they say what it says, and what says something else is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from docs import command_page, limits_table

MADE = pytest.mark.parametrize(
    ("maker", "right", "wrong"),
    [(command_page, "| `--slow MS` |", "| `--fast MS` |"), (limits_table, "| 4 MiB |", "| 5 MiB |")],
    ids=["command", "limits"],
)


@MADE
def test_the_page_is_up_to_date(maker: Any, right: str, wrong: str) -> None:
    """Else run the script: `python docs/command_page.py`, `python docs/limits_table.py`."""
    assert maker.main(["--check"]) is None


@MADE
def test_a_page_that_says_something_else_is_found_and_mended(
    maker: Any, right: str, wrong: str, tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    good = maker.PAGE.read_text(encoding="utf-8")
    page.write_text(good.replace(right, wrong), encoding="utf-8")
    assert maker.main(["--check"], page) is not None
    assert maker.main([], page) is None
    assert page.read_text(encoding="utf-8") == good
    assert maker.main(["--wrong"], page) is not None
    page.write_text("no markers", encoding="utf-8")
    with pytest.raises(SystemExit):
        maker.main([], page)
