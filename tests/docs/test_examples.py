"""The programs in docs/examples do what the pages that show them say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

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


def shown(page: str, command: str) -> str:
    """What a page shows below a command."""
    text = (ROOT / "docs" / "tutorial" / page).read_text("utf-8")
    (found,) = re.findall(rf"^```console\n\$ {re.escape(command)}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert isinstance(found, str)
    return found


def run(folder: str, *words: str) -> subprocess.Popen[str]:
    argv, pipe = [sys.executable, *words], subprocess.PIPE
    return subprocess.Popen(argv, cwd=EXAMPLES / folder, stdout=pipe, stderr=pipe, encoding="utf-8")


def test_an_editor_with_plugins() -> None:
    with run("editor", "editor.py") as editor:
        out, error = editor.communicate(timeout=HANGS)
    assert (editor.returncode, out) == (0, shown("editor.md", "python editor.py")), error


def test_a_tool_server(tmp_path_factory: pytest.TempPathFactory) -> None:
    url = f"unix:{tmp_path_factory.mktemp('t')}/s"
    with run("tools", "server.py", url) as server:
        with run("tools", "client.py", url) as client:
            out, error = client.communicate(timeout=HANGS)
        assert (client.returncode, out, error) == (0, shown("tools.md", "python client.py unix:tools.sock"), "")
        server.terminate()
        told, _ = server.communicate(timeout=HANGS)
    assert (server.returncode, told) == (0, shown("tools.md", "python server.py unix:tools.sock"))


@pytest.mark.parametrize(("name", "before"), [("editor", 243), ("tools", 272)])
def test_how_much_shorter_they_are(name: str, before: int) -> None:
    lines = sum(len(file.read_text("utf-8").splitlines()) for file in (EXAMPLES / name).glob("*.py"))
    text = " ".join((ROOT / "docs" / "tutorial" / f"{name}.md").read_text("utf-8").split())
    assert f"It took {before} lines" in text
    assert f"This one has {lines} lines, which is {before - lines} fewer" in text


def test_every_example_is_shown_by_a_page() -> None:
    pages = "".join(page.read_text("utf-8") for page in (ROOT / "docs").rglob("*.md"))
    shown = set(re.findall(r"^```\{literalinclude\} \.\./examples/(\S+)$", pages, re.MULTILINE))
    files = {file for file in EXAMPLES.rglob("*") if file.is_file() and file.suffix in (".py", ".toml")}
    assert {file.relative_to(EXAMPLES).as_posix() for file in files} == shown
