"""The example in docs/how-to/exec.md is three files; together they do what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.integration.programs import ROOT

PAGE = (ROOT / "docs" / "how-to" / "exec.md").read_text(encoding="utf-8")
FILE = re.compile(r"^```py\n# (\w+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"^\$ python host\.py\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_example_prints_what_the_page_shows(tmp_path: Path) -> None:
    files = FILE.findall(PAGE)
    assert [name for name, _ in files] == ["words.py", "checker.py", "host.py"]
    for name, text in files:
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "host.py"], cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=60, check=False
    )
    (shown,) = SHOWN.findall(PAGE)
    assert done.returncode == 0
    # On a terminal the two processes share the output, so which line comes first is not for either to say.
    assert sorted([*done.stdout.splitlines(), *done.stderr.splitlines()]) == sorted(shown.splitlines())
