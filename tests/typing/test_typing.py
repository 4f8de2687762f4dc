"""What mypy and pyright say: nothing of good contracts, implementations and clients, and each planted mistake."""

from __future__ import annotations

import json
import os
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


def mypy(tmp: Path) -> Findings:
    """Errors of `mypy --strict` with no other settings."""
    found: Findings = {path.name: {} for path in FILES}
    options = ["--strict", "--config-file=", "--python-version=3.11", "--output=json", f"--cache-dir={tmp}"]
    for line in run("mypy", *options, *FILES, MYPYPATH=f"{ROOT}{os.pathsep}{HERE}").splitlines():
        item: dict[str, Any] = json.loads(line)
        path = (ROOT / item["file"]).resolve()
        if item["severity"] == "error" and path in FILES:
            found[path.name][item["line"]] = item["message"]
    return found


def pyright(tmp: Path) -> Findings:
    """Errors of pyright in strict mode with no other settings; it takes files only from below its settings."""
    found: Findings = {path.name: {} for path in FILES}
    for path in FILES:
        shutil.copy(path, tmp)
    settings = {
        "include": [path.name for path in FILES],
        "extraPaths": [str(ROOT)],
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
    }
    (tmp / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    report = json.loads(run("pyright", "-p", tmp, "--pythonpath", sys.executable, "--outputjson"))
    assert report["summary"]["filesAnalyzed"] == len(FILES)
    for item in report["generalDiagnostics"]:
        if item["severity"] == "error":
            found[Path(item["file"]).name][item["range"]["start"]["line"] + 1] = item["message"]
    return found


@pytest.fixture(scope="module", params=[mypy, pyright], ids=["mypy", "pyright"])
def findings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Findings:
    """One run of each checker over all files."""
    checker: Callable[[Path], Findings] = request.param
    return checker(tmp_path_factory.mktemp("checker"))


def marked_lines() -> list[int]:
    lines = (HERE / MISTAKES).read_text(encoding="utf-8").splitlines()
    return [number for number, line in enumerate(lines, 1) if "# mistake: " in line]


@pytest.mark.parametrize("name", CLEAN)
def test_good_code_is_clean(findings: Findings, name: str) -> None:
    """No plugin, no cast, no ignore is needed."""
    assert findings[name] == {}


def test_every_planted_mistake_is_found(findings: Findings) -> None:
    """Each marked line has an error, and no other line has one."""
    assert sorted(findings[MISTAKES]) == marked_lines()


def test_there_are_all_mistakes() -> None:
    """None was lost."""
    assert len(marked_lines()) == 25
