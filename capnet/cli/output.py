"""How a command prints: lines for people, with colour on a terminal, or JSON, one value a line.

What comes from a peer may be hostile to a terminal: nothing is printed before `clean` has seen it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from capnet.cli.text import clean

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Output"]


@dataclass(frozen=True)
class Output:
    """Where a command prints what it has to say; errors go elsewhere (`exits.py`).

    Attributes:
        json: print JSON instead of lines for people.
    """

    json: Annotated[bool, typer.Option("--json", help="Print JSON, one value a line.")] = False

    @property
    def on_terminal(self) -> bool:
        """Whether somebody looks at it, and not a program."""
        return not self.json and sys.stdout.isatty()

    def line(self, text: str = "", style: str = "") -> None:
        """A line for people.

        Args:
            text: may come from a peer; of several lines each is one.
            style: as `rich` names them; seen on a terminal only, and nowhere where the variable `NO_COLOR` is set.
        """
        if self.on_terminal:
            from rich.text import Text

            self.console.print(Text(clean(text), style), soft_wrap=True)
        else:
            print(clean(text), flush=True)

    def value(self, value: Any) -> None:
        """A line of JSON. Bytes are hexadecimal digits in it, sets are lists; the rest is as Python shows it."""
        print(json.dumps(value, default=_plain), flush=True)

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> None:
        """Columns as wide as they have to be, with their heads.

        Args:
            heads: of the columns.
            rows: the cells of each.
            right: the heads of columns with figures.
        """
        cells = [tuple(clean(cell).replace("\n", " ") for cell in row) for row in (heads, *rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for number, row in enumerate(cells):
            padded = (
                cell.rjust(width) if head in right else cell.ljust(width)
                for cell, width, head in zip(row, widths, heads, strict=True)
            )
            self.line("  ".join(padded).rstrip(), "" if number else "bold")

    @cached_property
    def console(self) -> Console:
        """The terminal."""
        from rich.console import Console

        return Console(highlight=False)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray):
        return value.hex()
    if isinstance(value, set | frozenset):
        return sorted(cast("set[object]", value), key=repr)
    return repr(value)
