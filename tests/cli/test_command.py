"""The command line: what it takes, what it says, and its exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

import capnet
from capnet.cli import main
from capnet.cli.exits import Exit
from tests.cli.processes import run


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"capnet {capnet.__version__}\n"


def test_nothing_prints_help(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: capnet ") and "demo" in done.stdout


@pytest.mark.parametrize("words", [["nope"], ["demo", "a", "b", "c"], ["--nope"], ["bench"]], ids=" ".join)
def test_usage_errors_exit_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == Exit.USAGE
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith(("capnet", "usage: capnet demo"))


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("nowhere", "No such file or directory"),
        ("file.txt", "Not a directory"),
        ("a\0b", "embedded null byte"),
    ],
)
def test_a_path_that_is_no_folder(tmp_path: Path, path: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file.txt").touch()
    assert main(["demo", str(tmp_path / path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("capnet demo: ") and says in captured.err


def test_an_empty_query(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", str(tmp_path), " "]) == 2
    assert capsys.readouterr().err == "capnet demo: the query is empty\n"
