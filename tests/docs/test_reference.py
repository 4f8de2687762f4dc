"""The pages of the reference say what the code says, and every public name has its place on one of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import capnet
from docs import reference_texts

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def test_the_pages_are_up_to_date() -> None:
    """Else run `python docs/reference_texts.py`."""
    assert reference_texts.main(["--check"]) is None


def test_a_page_that_says_something_else_is_found_and_mended(tmp_path: Path) -> None:
    page = tmp_path / "errors.md"
    good = (reference_texts.FOLDER / "errors.md").read_text(encoding="utf-8")
    page.write_text(good.replace("```py\nclass NotFound", "```py\nclass Found"), encoding="utf-8")
    assert reference_texts.main(["--check"], tmp_path) is not None
    assert reference_texts.main([], tmp_path) is None
    assert page.read_text(encoding="utf-8") == good
    assert reference_texts.main(["--wrong"], tmp_path) is not None


def test_every_public_name_is_on_a_page() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in reference_texts.FOLDER.glob("*.md"))
    there = set(re.findall(r"<!-- capnet\.(\w+)", pages))
    missing = {name for name in capnet.__all__ if not name.startswith("__")} - there
    assert not missing


def test_a_docstring_becomes_markdown() -> None:
    """Examples are code, sections are lists, and errors that share a line have one each."""
    shown = reference_texts.text(
        """Do it.

            await it(1)

        Args:
            one: of two
                lines.
            two: the other.

        Raises:
            NotFound: none. InvalidArgument, TypeError: it makes
            no sense.
        """
    )
    assert shown.split("\n") == [
        "Do it.",
        "",
        "```py",
        "await it(1)",
        "```",
        "",
        "**Arguments**",
        "",
        "- `one`: of two lines.",
        "- `two`: the other.",
        "",
        "**Raises**",
        "",
        "- `NotFound`: none.",
        "- `InvalidArgument`, `TypeError`: it makes no sense.",
    ]


@pytest.mark.parametrize("long", [False, True])
def test_a_signature_is_shown_as_it_is_written(long: bool) -> None:
    def short(a: int, /, b: str = "x", *, c: float | None = None) -> bool:
        return False

    def wide(
        self: object, first: dict[str, list[int]], /, second: dict[str, int], *, third: dict[str, str]
    ) -> None: ...

    if long:
        assert reference_texts.signature("wide_and_long", wide).split("\n") == [
            "wide_and_long(",
            "    first: dict[str, list[int]],",
            "    /,",
            "    second: dict[str, int],",
            "    *,",
            "    third: dict[str, str],",
            ") -> None",
        ]
    else:
        expected = "short(a: int, /, b: str = 'x', *, c: float | None = None) -> bool"
        assert reference_texts.signature("short", short) == expected


def test_pages_can_be_read_where_they_are_files() -> None:
    """No link without words, no role that only Sphinx knows, no directive with text in it; what is linked is there."""
    pages = sorted((ROOT / "docs").rglob("*.md"))
    assert len(pages) > 50
    for page in pages:
        whole = page.read_text(encoding="utf-8")
        text = FENCED.sub("", whole)
        assert "{py:" not in text and "[](" not in text and "eval-rst" not in whole, page
        files = [target.partition("#")[0] for target in LINK.findall(text) if "://" not in target]
        assert [name for name in files if name and not (page.parent / name).exists()] == [], page
