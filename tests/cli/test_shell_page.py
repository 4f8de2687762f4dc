"""What docs/how-to/shell.md shows is what the command does, word for word."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from capnet.cli import main
from tests.cli.processes import ROOT, environment

PAGE = (ROOT / "docs" / "how-to" / "shell.md").read_text(encoding="utf-8")
SERVER = re.findall(r"```py\n# server.py\n(.*?)```", PAGE, re.DOTALL)
CONSOLE = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the page's server, which runs."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        monkeypatch.chdir(folder)
        (folder / "server.py").write_text(SERVER[0], encoding="utf-8")
        command = [sys.executable, "server.py"]
        with subprocess.Popen(
            command, env=environment(folder, PYTHONPATH=str(ROOT)), stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None
            assert process.stderr.readline().startswith("listening on unix:")
            yield folder
            process.terminate()
            assert process.wait(60) == 0
        sys.modules.pop("server", None)


def steps() -> Iterator[tuple[str, str]]:
    """Each command of the page, and what it prints."""
    for block in CONSOLE:
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = step.partition("\n")
            yield command.removeprefix("capnet "), output


def test_the_page(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """From top to bottom."""
    shown = list(steps())
    assert len(shown) == 8
    for command, output in shown:
        feed, bar, rest = command.rpartition(" | capnet ")
        words, _, file = rest.partition(" > ") if "'" not in rest else (rest, "", "")
        reading, writing = os.pipe()
        text = shlex.split(feed)[1].replace("\\n", "\n") if bar else ""
        os.write(writing, text.encode())
        os.close(writing)
        with open(reading, encoding="utf-8") as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            main(shlex.split(words))
        captured = capsys.readouterr()
        if file:
            (folder / file).write_text(captured.out, encoding="utf-8")
        else:
            assert captured.out + captured.err == output, command
