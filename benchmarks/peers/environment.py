"""A virtual environment for each peer: made when it is first needed, and again when its requirements have changed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers.roster import Peer

__all__ = ["Installed", "install"]

STAMP = "installed.json"
"""Written last: what is in the environment, or why nothing is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What became of an installation."""

    python: str = sys.executable
    """The environment's interpreter."""
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of everything that pip installed."""
    reason: str = ""
    """Why it could not be installed; empty when it was."""


def install(peer: Peer, folder: Path) -> Installed:
    """Have the peer in an environment below `folder`. What fails is told and not raised; the next run tries again."""
    place = folder / peer.name
    python = place / "bin" / "python"
    stamp = place / STAMP
    wanted = {"requirements": list(peer.requirements), "for": sys.version}
    if stamp.exists():
        found = json.loads(stamp.read_text())
        if found["wanted"] == wanted:
            return Installed(python=str(python), versions=found["versions"])
    shutil.rmtree(place, ignore_errors=True)
    try:
        venv.create(place, with_pip=True)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
        _run([*pip, "install", "--quiet", "--prefer-binary", *peer.requirements])
        listed = json.loads(_run([*pip, "list", "--format", "json", "--exclude", "pip", "--exclude", "setuptools"]))
    except (OSError, subprocess.CalledProcessError) as failure:
        return Installed(reason=f"it could not be installed: {_words(failure)}")
    versions = {package["name"]: package["version"] for package in listed}
    stamp.write_text(json.dumps({"wanted": wanted, "versions": versions}, indent=2))
    return Installed(python=str(python), versions=versions)


def _run(command: list[str]) -> str:
    return subprocess.run(command, check=True, text=True, capture_output=True).stdout


def _words(failure: Exception) -> str:
    """The last line that says anything."""
    if isinstance(failure, subprocess.CalledProcessError):
        errors = [line for line in (failure.stderr or "").splitlines() if "ERROR" in line.upper()]
        return errors[-1].strip() if errors else f"pip ended with code {failure.returncode}"
    return str(failure)
