"""The tables of docs/reference/limits.md, made from capnet/limits.py: `python docs/limits_table.py [--check]`.

Fields and figures come from the classes, the words from the docstring under each field, and what is announced from the
hello that a connection sends. With `--check` nothing is written, and the exit code is 1 where the page says otherwise.
"""

from __future__ import annotations

import ast
import inspect
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import capnet.limits
from capnet.limits import EARLY, HostLimits, Limits
from capnet.wire.hello import Hello

PAGE = Path(__file__).parent / "reference" / "limits.md"
BEGIN = "<!-- From here on the page is made by docs/limits_table.py; do not edit. -->"
END = "<!-- Here the tables end. -->"
KIB, MIB = 1024, 1024 * 1024
SIZES = {"max_frame", "max_backlog"}
"""Fields in bytes whose names do not say so."""


def docstrings(class_name: str) -> dict[str, str]:
    """The text under each field of a class of capnet/limits.py, on one line."""
    module = ast.parse(inspect.getsource(capnet.limits))
    (found,) = (node for node in module.body if isinstance(node, ast.ClassDef) and node.name == class_name)
    texts: dict[str, str] = {}
    for field, text in zip(found.body, found.body[1:], strict=False):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str() as words)):
                texts[name] = " ".join(words.split())
            case _:
                pass
    return texts


def figure(name: str, value: Any) -> str:
    """A value with its unit."""
    if isinstance(value, float):
        return f"{value:g} s"
    if name in SIZES or name.endswith(("_bytes", "_charge")):
        for size, unit in ((MIB, "MiB"), (KIB, "KiB")):
            if value and value % size == 0:
                return f"{value // size} {unit}"
        return "1 byte" if value == 1 else f"{value} bytes"
    return f"{value:,}".replace(",", "\N{NO-BREAK SPACE}")


def announced() -> list[str]:
    """The fields that the peer is told of, in the order in which they are declared."""
    options = Hello(limits=Limits()).to_frame()[3]
    return [field.name for field in fields(Limits) if field.name in options]


def table(names: list[str], columns: dict[str, Limits | HostLimits], texts: dict[str, str]) -> list[str]:
    """One table, a row for each field; `columns` are what the figures are taken from, by their headings."""
    rows = [["", *columns, "what it bounds, and what happens there"]]
    rows.append(["---", *("--:" for _ in columns), "---"])
    for name in names:
        figures = [figure(name, getattr(limits, name)) for limits in columns.values()]
        rows.append([f"`{name}`", *figures, texts[name].replace("|", "\\|")])
    return [f"| {' | '.join(row)} |" for row in rows]


def tables() -> str:
    """All that stands between the two markers."""
    of_one, of_host = docstrings("Limits"), docstrings("HostLimits")
    told = announced()
    ours = [field.name for field in fields(Limits) if field.name not in told]
    profiles = {"`untrusted()`": Limits.untrusted(), "`trusted()`": Limits.trusted()}
    lines = [
        "## Announced to the peer",
        "",
        *table(told, {**profiles, "at least": EARLY}, of_one),
        "",
        "## For one connection",
        "",
        *table(ours, {**profiles}, of_one),
        "",
        "## For a whole host",
        "",
        *table([field.name for field in fields(HostLimits)], {"`HostLimits()`": HostLimits()}, of_host),
    ]
    return "\n".join(lines)


def renewed(page: str) -> str:
    """A page with the tables as they should be."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"the page has not both of {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"


def main(words: list[str], path: Path = PAGE) -> str | None:
    """Do what the command line says; returns what is wrong, or None."""
    if words not in ([], ["--check"]):
        return "usage: python docs/limits_table.py [--check]"
    page = path.read_text(encoding="utf-8")
    if renewed(page) == page:
        return None
    if words:
        return f"{path.name} does not say what capnet/limits.py says: run `python docs/limits_table.py`"
    path.write_text(renewed(page), encoding="utf-8")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
