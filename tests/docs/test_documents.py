"""Every Python block of the README and of docs/ runs, top to bottom, with one namespace for each document.

The comment behind a `print` says what it prints, and is held to it: `print(await room.post("hello"))  # 5`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import pytest
from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
DOCUMENTS = [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")]
SHOWN = re.compile(r"^ *print\(.*\)  # (.+)$", re.MULTILINE)
SYBIL = Sybil(parsers=[PythonCodeBlockParser()])


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory with a short path, so that `unix:chat.sock` fits an address."""
    with TemporaryDirectory() as name:
        monkeypatch.chdir(name)
        yield Path(name)
        monkeypatch.undo()


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A real module for the document's names: contracts look up their annotations in the module that declares them."""
    module = ModuleType("document")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def run(page: Path, module: ModuleType) -> int:
    """Run the blocks of `page` in `module`; how many there were."""
    document = SYBIL.parse(page)
    document.namespace = module.__dict__
    examples = list(document.examples())
    for example in examples:
        example.evaluate()
    return len(examples)


def missing(shown: Iterable[str], printed: Iterable[str]) -> list[str]:
    """What a document says that it prints and does not, in this order; other lines may stand between."""
    lines = iter(printed)
    return [line for line in shown if line not in lines]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_runs(page: Path, module: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """What the document shows works as it is shown, and prints what it says."""
    assert run(page, module) > 0
    assert missing(SHOWN.findall(page.read_text("utf-8")), capsys.readouterr().out.splitlines()) == []


def test_blocks_share_the_names_of_their_document(folder: Path, module: ModuleType) -> None:
    """A later block uses what an earlier one made; text between them is left alone."""
    page = folder / "page.md"
    page.write_text("```python\nx = 1\n```\ntext\n```python\ny = x + 1\n```\n```console\nnot python\n```\n", "utf-8")
    assert run(page, module) == 2
    assert vars(module)["y"] == 2


def test_a_block_that_fails_fails_the_test(folder: Path, module: ModuleType) -> None:
    """The error comes out, with the document and the line in its traceback."""
    page = folder / "page.md"
    page.write_text("line one\n\n```python\n1 / 0\n```\n", "utf-8")
    with pytest.raises(ZeroDivisionError) as caught:
        run(page, module)
    assert (str(caught.traceback[-1].path), caught.traceback[-1].lineno + 1) == (str(page), 4)


def test_a_comment_behind_a_print_is_compared() -> None:
    """The lines are found in the order in which they are shown."""
    page = "x = 1  # no print\nprint(x)  # 1\n    print('a', f(2))  # a 2\nprint(x)\n"
    assert SHOWN.findall(page) == ["1", "a 2"]
    assert missing(["1", "a 2"], ["0", "1", "1", "a 2"]) == []
    assert missing(["1", "a 2"], ["a 2", "1"]) == ["a 2"]
    assert missing(["5"], []) == ["5"]
