"""How the documentation is built: MyST pages and furo."""

from __future__ import annotations

import tomllib
from pathlib import Path

project = "capnet"
author = "capnet contributors"
copyright = "2026, capnet contributors"
release = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]["version"]

extensions = ["myst_parser"]
myst_heading_anchors = 4
html_theme = "furo"
html_title = "capnet"
