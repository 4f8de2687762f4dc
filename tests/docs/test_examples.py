"""The programs in docs/examples do what the pages that show them say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.cost import HANGS

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
FILE = re.compile(r"^```text\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN = re.compile(r"^```console\n\$ python host\.py FOLDER (\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_a_host_with_two_plugins(tmp_path: Path) -> None:
    """The page has the files that it is tried on, and what it prints."""
    page = (ROOT / "docs" / "tutorial" / "plugins.md").read_text("utf-8")
    files = FILE.findall(page)
    assert [name for name, _ in files] == ["src/tea.py", "water.py"]
    for name, text in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    ((word, shown),) = RUN.findall(page)
    done = subprocess.run(
        [sys.executable, "host.py", tmp_path, word],
        cwd=EXAMPLES / "plugins",
        capture_output=True,
        encoding="utf-8",
        timeout=HANGS,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, shown, "")


def test_every_example_is_shown_by_a_page() -> None:
    pages = "".join(page.read_text("utf-8") for page in (ROOT / "docs").rglob("*.md"))
    shown = set(re.findall(r"^```\{literalinclude\} \.\./examples/(\S+)$", pages, re.MULTILINE))
    files = {file for file in EXAMPLES.rglob("*") if file.is_file() and file.suffix in (".py", ".toml")}
    assert {file.relative_to(EXAMPLES).as_posix() for file in files} == shown
