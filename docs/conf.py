"""How the documentation is built: MyST pages, docstrings by autodoc, furo."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

project = "capnet"
author = "capnet contributors"
copyright = "2026, capnet contributors"
release = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "capnet"
default_role = "code"  # docstrings say `name`, as comments do

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
# Names in a signature that have no entry here: other packages, and the module in which a public name is written.
# Whatever a page or a docstring says with a role of its own is `capnet.Name`, and must resolve.
nitpick_ignore_regex = [("py:.*", r"(?!capnet\.).*"), ("py:.*", r"capnet\.\w+\..*")]

SECTION = re.compile(r"(Args|Attributes|Raises):$")
ERROR = re.compile(r"(?:^|(?<=\.) )(?=[A-Z]\w+(?:, [A-Z]\w+)*: )")
"""Where one error of a `Raises` section ends and the next one's name begins."""


def shape_docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are written for the reader of the source: indented examples, errors one behind the other."""
    shaped: list[str] = []
    section = ""
    for line in lines:
        if found := SECTION.match(line):
            section = found[1]
        elif line and not line.startswith(" "):
            section = ""
        elif line and not section and not shaped[-1]:
            shaped += [".. code-block:: python", ""]
            section = "example"
        if section == "Raises" and line.startswith("    ") and not shaped[-1].endswith(":"):
            line = f"{shaped.pop()} {line.strip()}"
        shaped.append(line)
    lines[:] = [part for line in shaped for part in _errors(line)]


def _errors(line: str) -> list[str]:
    text = line.strip()
    parts = [part.strip() for part in ERROR.split(text) if part]
    return [line] if len(parts) < 2 or not line.startswith("    ") else [f"    {part}" for part in parts]


def setup(app: Any) -> None:
    """Before napoleon reads the docstrings."""
    app.connect("autodoc-process-docstring", shape_docstring, priority=400)
