"""What mypy and pyright say: nothing of good contracts, implementations and clients, and each planted mistake.

Nor of any page: its Python blocks are one program. Where a page has a second one, that may have the same names.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CLEAN = ("contract.py", "server.py", "client.py")
MISTAKES = "mistakes.py"
FILES = [HERE / name for name in (*CLEAN, MISTAKES)]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
AGAIN = """# mypy: disable-error-code="no-redef"
# pyright: reportRedeclaration=false, reportDuplicateImport=false
"""
DOCUMENTS = [
    page
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if page.parent.name != "reference" and BLOCK.search(page.read_text(encoding="utf-8"))
]
"""Those of the reference have blocks from docstrings: parts of programs, to be read."""

Findings = dict[str, dict[int, str]]
"""File name → line → what the checker says of it."""


def run(*command: object, **environment: str) -> str:
    """Standard output of a checker; its exit status only repeats that it found mistakes."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr or done.stdout
    return done.stdout


def files_in(folder: Path) -> list[Path]:
    """What is checked: copies of the files, and a file for each page."""
    for path in FILES:
        shutil.copy(path, folder)
    for page in DOCUMENTS:
        text = AGAIN + "".join(BLOCK.findall(page.read_text(encoding="utf-8")))
        (folder / name_of(page)).write_text(text, encoding="utf-8")
    return [folder / path.name for path in FILES] + [folder / name_of(page) for page in DOCUMENTS]


def name_of(page: Path) -> str:
    """Of the file for a page."""
    return f"page_{re.sub('[^a-z]', '_', str(page.relative_to(ROOT).with_suffix('')).lower())}.py"


def mypy(tmp: Path) -> Findings:
    """Errors of `mypy --strict` with no other settings."""
    files = files_in(tmp)
    found: Findings = {path.name: {} for path in files}
    options = ["--strict", "--config-file=", "--python-version=3.11", "--output=json", f"--cache-dir={tmp}"]
    for line in run("mypy", *options, *files, MYPYPATH=f"{ROOT}{os.pathsep}{tmp}").splitlines():
        item: dict[str, Any] = json.loads(line)
        path = (ROOT / item["file"]).resolve()
        if item["severity"] == "error" and path in files:
            found[path.name][item["line"]] = item["message"]
    return found


def pyright(tmp: Path) -> Findings:
    """Errors of pyright in strict mode with no other settings; it takes files only from below its settings."""
    files = files_in(tmp)
    found: Findings = {path.name: {} for path in files}
    settings = {
        "include": [path.name for path in files],
        "extraPaths": [str(ROOT)],
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
    }
    (tmp / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    report = json.loads(run("pyright", "-p", tmp, "--pythonpath", sys.executable, "--outputjson"))
    assert report["summary"]["filesAnalyzed"] == len(files)
    for item in report["generalDiagnostics"]:
        if item["severity"] == "error":
            found[Path(item["file"]).name][item["range"]["start"]["line"] + 1] = item["message"]
    return found


def marked_lines() -> list[int]:
    lines = (HERE / MISTAKES).read_text(encoding="utf-8").splitlines()
    return [number for number, line in enumerate(lines, 1) if "# mistake: " in line]


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_every_planted_mistake_is_found_and_nothing_else(checker: Callable[[Path], Findings], tmp_path: Path) -> None:
    """Good code needs no plugin, no cast and no ignore, nor does that on a page, in the forms that it shows.

    It is one test, because workers that share its cases would each have the checker run.
    """
    findings = checker(tmp_path)
    assert {*CLEAN, *map(name_of, DOCUMENTS)} <= {*findings}
    mistakes = findings.pop(MISTAKES)
    assert {name: found for name, found in findings.items() if found} == {}
    assert sorted(mistakes) == marked_lines()


def test_there_are_all_mistakes() -> None:
    """None was lost."""
    assert len(marked_lines()) == 25
