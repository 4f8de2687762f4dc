"""How the documentation is built: MyST pages, docstrings by autodoc, furo."""

from __future__ import annotations

import tomllib
from pathlib import Path

project = "capnet"
author = "capnet contributors"
copyright = "2026, capnet contributors"
release = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "capnet"

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
# Names in a signature that have no entry here: other packages, and the module in which a public name is written.
# Whatever a page or a docstring says with a role of its own is `capnet.Name`, and must resolve.
nitpick_ignore_regex = [("py:.*", r"(?!capnet\.).*"), ("py:.*", r"capnet\.\w+\..*")]
