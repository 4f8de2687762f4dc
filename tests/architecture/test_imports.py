"""Who may import whom: the contracts of import-linter in pyproject.toml, and what they cannot say."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE = re.compile(r"[\w/]+\.(?:py|c|h)\b")
# These stand above every room and use the library as its users do.
USERS = ("benchmarks/", "capnet/__main__.py", "capnet/cli/", "capnet/gateways/", "capnet/testing/")
MODULES = [
    path.relative_to(ROOT).as_posix()
    for package in ("capnet", "capnet_transports", "benchmarks")
    for path in sorted((ROOT / package).rglob("*.py"))
]


def imported(tree: ast.Module) -> Iterator[str]:
    """Every module that is named after `import` or `from`, relative ones left out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module


@cache
def parsed() -> dict[str, ast.Module]:
    """Every module, by its path."""
    return {name: ast.parse((ROOT / name).read_text(encoding="utf-8")) for name in MODULES}


def asked_of_its_folder(path: Path, tree: ast.Module) -> set[str]:
    """What a file imports from the folder it is in, and is no file there."""
    folder = ".".join(path.parent.parts)
    asked = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module == folder or (node.level == 1 and node.module is None))
        for alias in node.names
    }
    return asked - {file.stem for file in (ROOT / path).parent.iterdir()}


def test_rooms_import_downwards_only() -> None:
    """Every import contract is kept, and every room is listed in them."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rooms_do_not_import_the_front_door() -> None:
    """`import capnet` from inside would be a way around the layers: a room names the room it means."""
    rooms = {name: tree for name, tree in parsed().items() if not name.startswith(USERS)}
    assert len(rooms) > 100
    assert [name for name, tree in rooms.items() if "capnet" in set(imported(tree))] == []


def test_files_do_not_import_their_own_folder() -> None:
    """A folder gives out what its files define: to ask it for that is a circle that import-linter does not see."""
    files = {name: tree for name, tree in parsed().items() if not name.endswith("__init__.py")}
    assert len(files) > 200
    assert {name: asked for name, tree in files.items() if (asked := asked_of_its_folder(Path(name), tree))} == {}


def test_files_that_are_named_to_who_looks_for_them_are_there() -> None:
    """In the openings of rooms, by their place in the room or in the tree; in the map, by their names."""
    openings = {name: ast.get_docstring(tree) or "" for name, tree in parsed().items() if name.endswith("__init__.py")}
    named = [(name, file) for name, text in openings.items() for file in FILE.findall(text)]
    assert len(named) > 100
    assert [
        (name, file)
        for name, file in named
        if not (ROOT / file).exists() and not ((ROOT / name).parent / file).exists()
    ] == []
    there = {
        path.name
        for folder in ("capnet", "capnet_transports", "docs", "tests")
        for path in (ROOT / folder).rglob("*.*")
    }
    on_map = {Path(file).name for file in FILE.findall((ROOT / "docs/contributing/map.md").read_text(encoding="utf-8"))}
    assert len(on_map) > 100 and on_map - there == set()
