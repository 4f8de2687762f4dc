"""`capnet new`: what it makes works as it stands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from capnet.cli import main
from capnet.cli.exits import Exit
from capnet.plugins import discover
from tests.cli.processes import ROOT
from tests.cost import HANGS


def test_a_new_plugin_passes_its_own_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", "plugin", "acme-spell"]) == Exit.OK
    assert "acme-spell/acme_spell/plugin.py" in capsys.readouterr().out.splitlines()
    (found,) = (row for row in discover(tmp_path) if row.name == "acme-spell")
    assert (found.problem, found.contract, found.run) == (None, "acme_spell.Greeter", "acme_spell.plugin:main")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path / "acme-spell",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        timeout=HANGS,
        check=False,
    )
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout + done.stderr


def test_nothing_is_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "there").write_text("mine")
    assert main(["new", "plugin", "acme", "--folder", str(tmp_path)]) == Exit.FAILED
    assert main(["new", "plugin", "acme", "--folder", str(tmp_path / "there")]) == Exit.FAILED
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("words", [["plugin", "../up"], ["plugin", "Acme"], ["plugin", ""], ["house", "acme"]])
def test_what_makes_no_sense(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", *words]) == Exit.USAGE
    assert list(tmp_path.iterdir()) == [] and capsys.readouterr().err != ""
