"""The pages that show whole files and commands: the files are written, the commands are run, in the order of the page.

A block ```` ```py ```` that begins with `# name.py` is a file. In a block ```` ```console ```` the lines behind a
command `$ python name.py` are what it prints. One that says that it is listening is a server: it runs on until the page
starts the next one, or ends; then it gets SIGINT, or SIGTERM on every other page, and must end well. Blocks that begin
with `# In [1]:` and so on are the cells of one notebook; the comment behind a `print` says what it prints.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.cost import HANGS
from tests.integration.programs import ROOT

BLOCK = re.compile(r"^```(py|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CELL = re.compile(r"# In \[\d+\]:\n")
PRINTED = re.compile(r"^ *print\(.*\)  # (.+)$", re.MULTILINE)
NOTEBOOK = """
import ast, asyncio, inspect, json, sys

async def run():
    names = {}
    for cell in json.load(sys.stdin):
        running = eval(compile(cell, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
        if inspect.isawaitable(running):
            await running

asyncio.run(run())
"""
"""One loop for all cells, and `await` in each of them, as in Jupyter."""
NAMED = re.compile(r"# (\w+\.py)\n")
RUN = re.compile(r"\$ python (\w+\.py)\n((?:(?!\$ ).*\n)*)")
FOLDER = re.compile(r"unix:/\S*/")
OTHERWISE = {
    "docs/how-to/exec.md": "integration/test_documented_plugin.py",
    "docs/how-to/reload.md": "cli/test_reloading.py",
    "docs/how-to/sandbox.md": "interop/test_sandbox.py",
    "docs/how-to/shell.md": "cli/test_shell_page.py",
}
"""Pages that have a test of their own."""
PAGES = [
    str(page.relative_to(ROOT))
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if page.parent.name != "reference" and "```py\n" in page.read_text(encoding="utf-8")
]
"""Those of the reference have such blocks from docstrings: parts of programs, to be read."""


RUN_HERE = [page for page in PAGES if page not in OTHERWISE]


def cells(page: Path) -> list[str]:
    """Of the notebook on a page."""
    return [text for _, text in BLOCK.findall(page.read_text(encoding="utf-8")) if CELL.match(text)]


def steps(page: Path) -> Iterator[tuple[str, str, bool]]:
    """Name and text of each file, and name and output of each command; which of the two, at the end."""
    for kind, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if CELL.match(text):
            continue
        if kind == "py":
            named = NAMED.match(text)
            assert named is not None, text
            yield named[1], text, True
        else:
            yield from ((name, output, False) for name, output in RUN.findall(text))


def without_folder(text: str) -> str:
    """Where the reader keeps the files is not for the page to say."""
    return FOLDER.sub("unix:/…/", text)


def run(folder: Path, *words: str, given: str = "") -> tuple[int, str, str]:
    """Exit code, output and error output of a program."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        input=given,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((".", os.environ.get("PYTHONPATH", "")))},
        capture_output=True,
        encoding="utf-8",
        timeout=HANGS,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@contextmanager
def serving(folder: Path, name: str, shown: str, number: signal.Signals) -> Generator[None]:
    with subprocess.Popen(
        [sys.executable, name], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    ) as process:
        try:
            assert process.stderr is not None
            first = process.stderr.readline()
            assert without_folder(first) == without_folder(shown), first + process.stderr.read()
            yield
            process.send_signal(number)
            assert process.communicate(timeout=HANGS) == ("", "")
            assert process.returncode == 0
        finally:
            process.kill()


@pytest.mark.parametrize("page", RUN_HERE)
def test_the_files_of_a_page_run_as_they_stand(tmp_path: Path, page: str) -> None:
    number = (signal.SIGINT, signal.SIGTERM)[RUN_HERE.index(page) % 2]
    ran = 0
    with ExitStack() as servers:
        for name, text, is_file in steps(ROOT / page):
            if is_file:
                (tmp_path / name).write_text(text, encoding="utf-8")
            elif text.startswith("listening on "):
                servers.close()
                servers.enter_context(serving(tmp_path, name, text, number))
            else:
                assert run(tmp_path, name) == (0, text, "")
                ran += 1
        if notebook := cells(ROOT / page):  # with the server that was started last
            shown = "".join(f"{line}\n" for cell in notebook for line in PRINTED.findall(cell))
            assert run(tmp_path, "-c", NOTEBOOK, given=json.dumps(notebook)) == (0, shown, "")
    assert ran > 0


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial/first-connection.md"])
def test_a_page_for_beginners_begins_with_a_server_and_a_client(page: str) -> None:
    begin = [(name, is_file) for name, _, is_file in steps(ROOT / page)][:4]
    assert begin == [("server.py", True), ("client.py", True), ("server.py", False), ("client.py", False)]


def test_cells_are_found() -> None:
    assert len(cells(ROOT / "docs/how-to/blocking.md")) == 3


def test_a_page_with_a_test_of_its_own_exists() -> None:
    assert set(OTHERWISE) <= set(PAGES) and all((ROOT / "tests" / test).exists() for test in OTHERWISE.values())
