"""Text that may come from anybody, for a terminal."""

from __future__ import annotations

import sys

__all__ = ["clean"]


def clean(text: str) -> str:
    """`text` without what could steer a terminal, and with what standard output cannot encode replaced."""
    shown = "".join(char if char.isprintable() or char == "\n" else "�" for char in text)
    encoding = sys.stdout.encoding or "utf-8"
    return shown.encode(encoding, "replace").decode(encoding)
