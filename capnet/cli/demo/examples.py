"""The two plugins of `docs/examples`, which the demo starts, and the contracts that they have with their host."""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["FOLDER", "Hit", "Index", "Linter", "Remark", "Source", "Sources"]

_WITH_US = Path(__file__).parent / "plugins"
FOLDER = _WITH_US if _WITH_US.is_dir() else Path(__file__).parents[3] / "docs" / "examples" / "plugins"
"""Where they are: in a clone with the documentation, where capnet is installed beside this file (`setup.py`)."""

sys.path.insert(0, str(FOLDER))
try:
    from contracts import Folder as Sources
    from contracts import Hit, Index, Linter, Remark, Source
finally:
    sys.path.remove(str(FOLDER))
