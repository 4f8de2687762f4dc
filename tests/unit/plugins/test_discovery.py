"""What packages and folders say of their plugins; nothing of them is imported."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from capnet import Cap, InvalidArgument, call
from capnet.plugins import FoundPlugin, PluginHost, discover


class Speller(Cap, name="found.Speller"):
    @call
    async def check(self, word: str) -> bool: ...


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path of Python."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    return folder


def install(folder: Path, package: str, points: str) -> None:
    (folder / f"{package}.py").write_text("raise RuntimeError('imported')\n")
    info = folder / f"{package}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[capnet.plugins]\n{points}")


def table(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").write_text(text)
    return folder


def problems(rows: list[FoundPlugin]) -> dict[str, bool]:
    """Name of each, and whether it has a problem."""
    return {row.name: row.problem is not None for row in rows}


def test_installed_packages_say_it_by_entry_points(installed: Path) -> None:
    install(installed, "acme_spell", "spell = acme_spell:main\nodd = not a target!\n")
    rows = discover()
    assert problems(rows) == {"spell": False, "odd": True}
    (spell,) = (row for row in rows if row.name == "spell")
    assert (spell.run, spell.source) == ("acme_spell:main", "acme_spell 1.2")
    assert "acme_spell" not in sys.modules
    spec = spell.spec(Speller, restart="never")
    assert (spec.name, spec.run, spec.restart, spec.cwd) == ("spell", "acme_spell:main", "never", None)


def test_folders_say_it_in_pyproject(tmp_path: Path) -> None:
    table(
        tmp_path / "a",
        '[tool.capnet.plugin]\nname = "spell"\nrun = "spell.py"\ncontract = "found.Speller"\n'
        'restart = "always"\nrequires = ["dict"]\nsettings = {lang = "en"}\n',
    )
    table(tmp_path / "b", '[tool.capnet.plugin]\nrun = "b:main"\n')
    table(tmp_path / "c", "[tool.other]\nx = 1\n")
    table(
        tmp_path / "d",
        '[[tool.capnet.plugin]]\nname = "d1"\nrun = "d:one"\n[[tool.capnet.plugin]]\nname = "d2"\nrun = "d:two"\n',
    )
    rows = PluginHost.discover(tmp_path)
    assert problems(rows) == {"spell": False, "b": False, "d1": False, "d2": False}
    spec = rows[0].spec(Speller, max_restarts=1)
    assert (spec.cwd, spec.run, spec.restart, spec.requires) == (tmp_path / "a", "spell.py", "always", ("dict",))
    assert (spec.settings, spec.max_restarts) == ({"lang": "en"}, 1)
    assert discover(tmp_path / "b")[0].name == "b"  # a folder of a plugin itself


@pytest.mark.parametrize(
    "text",
    [
        "not toml [",
        "\xff",
        "[tool.capnet.plugin]\n",
        "[tool.capnet]\nplugin = 3\n",
        "[tool.capnet.plugin]\nrun = 3\n",
        '[tool.capnet.plugin]\nrun = "a b"\n',
        '[tool.capnet.plugin]\nrun = "a:b"\nname = "no name"\n',
        '[tool.capnet.plugin]\nrun = "a:b"\ncontract = 1\n',
        '[tool.capnet.plugin]\nrun = "a:b"\nrestart = "perhaps"\n',
        '[tool.capnet.plugin]\nrun = "a:b"\nmax_restarts = true\n',
        '[tool.capnet.plugin]\nrun = "a:b"\nstart_timeout = -1\n',
        '[tool.capnet.plugin]\nrun = "a:b"\nrequires = [1]\n',
        '[tool.capnet.plugin]\nrun = "a:b"\nenv = {PATH = "/evil"}\n',
        '[tool.capnet.plugin]\nrun = "a:b"\nisolation = "inprocess"\n',
    ],
    ids=range(14),
)
def test_a_bad_plugin_is_a_row_with_a_reason(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "pyproject.toml").write_bytes(text.encode("latin-1"))
    table(tmp_path / "good", '[tool.capnet.plugin]\nrun = "good:main"\n')
    rows = discover(tmp_path)
    assert len(rows) == 2 and [row.name for row in rows if row.problem is None] == ["good"]
    (bad,) = (row for row in rows if row.problem is not None)
    with pytest.raises(InvalidArgument):
        bad.spec(Speller)


def test_a_name_is_taken_once(tmp_path: Path, installed: Path) -> None:
    install(installed, "acme_spell", "spell = acme_spell:main\n")
    table(tmp_path / "plugins" / "spell", '[tool.capnet.plugin]\nrun = "other:main"\n')
    rows = discover(tmp_path / "plugins")
    assert [(row.run, row.problem is None) for row in rows] == [("acme_spell:main", True), ("other:main", False)]


def test_a_folder_that_is_not_there_is_a_row(tmp_path: Path) -> None:
    assert problems(discover(tmp_path / "gone")) == {"gone": True}


def test_another_contract_is_refused(tmp_path: Path) -> None:
    table(tmp_path, '[tool.capnet.plugin]\nrun = "a:b"\ncontract = "found.Other"\n')
    with pytest.raises(InvalidArgument):
        discover(tmp_path)[0].spec(Speller)
