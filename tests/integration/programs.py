"""The programs that these tests start, as command lines."""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["HOST", "PLUGIN", "ROOT"]

ROOT = Path(__file__).parents[2]
PLUGIN = [sys.executable, "-m", "tests.integration.plugin"]
HOST = [sys.executable, "-m", "tests.integration.host"]
"""Both are started in ROOT, where Python finds `tests`."""
