"""Docstrings: what they say of the whole, and under `Args:` of each parameter."""

from __future__ import annotations

import inspect
import re
from typing import Final

__all__ = ["first_line", "parts_of"]

_HEADING: Final = re.compile(r"(Args|Arguments|Parameters):")
_ENTRY: Final = re.compile(r"\*{0,2}(\w+)(?:\s*\([^)]*\))?:\s*(.*)")


def parts_of(docstring: str | None) -> tuple[str, dict[str, str]]:
    """A docstring without what is said of parameters, and that by the name of the parameter.

        Args:
            text: what to post; a line
                that is indented further goes on with it.

    Returns:
        Both as they are written, without the indentation.
    """
    lines = inspect.cleandoc(docstring or "").splitlines()
    kept: list[str] = []
    about: dict[str, str] = {}
    index = 0
    while index < len(lines):
        if not _HEADING.fullmatch(lines[index].strip()) or lines[index][0].isspace():
            kept.append(lines[index])
            index += 1
            continue
        end = index + 1
        while end < len(lines) and (not lines[end] or lines[end][0].isspace()):
            end += 1
        about |= _entries(inspect.cleandoc("\n" + "\n".join(lines[index + 1 : end])).splitlines())
        index = end
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip(), about


def first_line(text: str) -> str:
    """The first line of a text."""
    return text.partition("\n")[0]


def _entries(lines: list[str]) -> dict[str, str]:
    about: dict[str, list[str]] = {}
    words: list[str] = []
    for line in lines:
        entry = None if line[:1].isspace() else _ENTRY.fullmatch(line)
        if entry is not None:
            words = about.setdefault(entry[1], [])
            words.append(entry[2])
        else:
            words.append(line.strip())
    return {name: " ".join(filter(None, words)) for name, words in about.items()}
