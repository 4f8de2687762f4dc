"""Which plugins there are, by what packages and folders say of them. Nothing of theirs is imported, nothing runs.

A package that is installed says it by an entry point of the group `capnet.plugins`; a folder by a table
`[tool.capnet.plugin]` in its `pyproject.toml`. What makes no sense is in the list too, with the reason.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from typing_extensions import TypeForm

from capnet.contract import contract_spec
from capnet.errors import CapnetError, InvalidArgument
from capnet.plugin.control import Control
from capnet.plugins.spec import ENTRY_POINTS, PluginSpec

__all__ = ["FoundPlugin", "discover"]

C = TypeVar("C")
_TARGET: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*(:[^\W\d]\w*(\.[^\W\d]\w*)*)?|[\w./-]+\.py", re.ASCII)
_OPTIONS: Final[Mapping[str, type | tuple[type, ...]]] = {
    **dict.fromkeys(("group", "log_level", "restart"), str),
    **dict.fromkeys(("max_restarts", "max_state", "max_output"), int),
    **dict.fromkeys(("restart_period", "backoff", "max_backoff", "start_timeout", "check_timeout"), (int, float)),
    **dict.fromkeys(("heartbeat", "hang_timeout", "grace", "probation"), (int, float)),
    "requires": list,
    "settings": dict,
}
"""What of a `PluginSpec` a table may say. What confines a plugin is for its host to say, not for itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPlugin:
    """A plugin that somebody says is there.

    Attributes:
        name: what it calls itself.
        source: who says so: a package and its version, or a file.
        run: how it is started, as in `PluginSpec`.
        contract: the name of the contract that it gives, if it says that.
        folder: where it runs, when it was found in a folder.
        options: others of `PluginSpec`.
        problem: why it cannot be used, None when it can.
    """

    name: str
    source: str
    run: str = ""
    contract: str | None = None
    folder: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    problem: str | None = None

    def spec(self, contract: TypeForm[C], **options: Any) -> PluginSpec[C]:
        """How to load it.

        Args:
            contract: what the host wants of it.
            options: of `PluginSpec`; they stand before what it says itself.

        Raises:
            InvalidArgument: it has a problem, or says that it gives another contract.
        """
        if self.problem is not None:
            raise InvalidArgument(f"plugin {self.name} of {self.source}: {self.problem}")
        wanted = contract_spec(contract).name
        if self.contract not in (None, wanted):
            raise InvalidArgument(f"plugin {self.name} of {self.source} gives {self.contract!r}, not {wanted!r}")
        found: dict[str, Any] = {**self.options, **options}
        if self.folder is not None:
            found.setdefault("cwd", self.folder)
        if "argv" not in found:
            found.setdefault("run", self.run)
        return PluginSpec(self.name, contract=contract, **found)


def discover(*folders: str | os.PathLike[str]) -> list[FoundPlugin]:
    """All plugins that installed packages have, and those in folders.

    Args:
        folders: each is a plugin's, or has folders of plugins in it.

    Returns a row for each plugin, and for each thing that is wrong: no bad plugin keeps others from being found.
    """
    taken: dict[str, str] = {}
    rows: list[FoundPlugin] = []
    for row in (*_installed(), *(row for folder in folders for row in _in_folder(Path(folder)))):
        if row.problem is None and row.name in taken:
            row = replace(row, problem=f"the name is taken by {taken[row.name]}")
        taken.setdefault(row.name, row.source)
        rows.append(row if row.problem is not None else _checked(row))
    return rows


def _installed() -> Iterator[FoundPlugin]:
    from importlib.metadata import entry_points  # takes as long as a tenth of all else

    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        try:
            source = f"{point.dist.name} {point.dist.version}" if point.dist is not None else "an installed package"
        except Exception as error:  # metadata is a file that anybody may have written
            source, problem = "an installed package", f"its metadata cannot be read: {error}"
            yield FoundPlugin(name=point.name, source=source, problem=problem)
            continue
        yield FoundPlugin(name=point.name, source=source, run=point.value)


def _in_folder(folder: Path) -> Iterator[FoundPlugin]:
    own = folder / "pyproject.toml"
    try:
        files = [own] if own.is_file() else sorted(folder.glob("*/pyproject.toml"))
        if not folder.is_dir():
            raise NotADirectoryError("there is no such folder")
    except OSError as error:
        yield FoundPlugin(name=folder.name, source=str(folder), problem=error.strerror or str(error))
        return
    for file in files:
        yield from _in_file(file)


def _in_file(file: Path) -> Iterator[FoundPlugin]:
    import tomllib

    name, source = file.parent.name, str(file)
    try:
        said: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        yield FoundPlugin(name=name, source=source, problem=f"it cannot be read: {error}")
        return
    try:
        found: Any = said["tool"]["capnet"]["plugin"]
    except (KeyError, TypeError):
        return
    for table in [found] if not isinstance(found, list) else cast("Iterable[Any]", found):
        if not isinstance(table, dict):
            yield FoundPlugin(name=name, source=source, problem="[tool.capnet.plugin] is no table")
            continue
        yield _of_table(cast("dict[str, Any]", table), name, source, file.parent.absolute())


def _of_table(table: dict[str, Any], name: str, source: str, folder: Path) -> FoundPlugin:
    known = {"name", "run", "contract"}
    said = {key: table[key] for key in known if key in table}
    options = {key: value for key, value in table.items() if key not in known}
    problem = _first(
        *(f"{key} is no text" for key, value in said.items() if not isinstance(value, str)),
        *(f"there is no option {key}" for key in options if key not in _OPTIONS),
        *(f"{key} is of the wrong type" for key, value in options.items() if not _fits(key, value)),
        *(("it does not say what to run",) if "run" not in said else ()),
    )
    if problem is None and "requires" in options:
        options["requires"] = tuple(options["requires"])
    return FoundPlugin(
        name=str(said.get("name", name)),
        source=source,
        run=str(said.get("run", "")),
        contract=said.get("contract"),
        folder=folder,
        options=options if problem is None else {},
        problem=problem,
    )


def _fits(key: str, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, _OPTIONS.get(key, object)):
        return False
    return key != "requires" or all(isinstance(name, str) for name in cast("list[object]", value))


def _checked(row: FoundPlugin) -> FoundPlugin:
    """The same, with what would be wrong if it were loaded."""
    if _TARGET.fullmatch(row.run) is None:
        return replace(row, problem=f"{row.run!r} is neither `module:function` nor a module nor a file"[:300])
    try:
        PluginSpec(row.name, contract=Control, run=row.run, **row.options)
    except CapnetError as error:
        return replace(row, problem=error.message)
    return row


def _first(*problems: str) -> str | None:
    return next(iter(problems), None)
