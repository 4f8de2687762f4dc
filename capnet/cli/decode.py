"""`capnet decode`: a recording as lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

import typer

from capnet.cli.exits import Stop
from capnet.cli.output import Output
from capnet.cli.recordings import RecordingFile, recording
from capnet.recording import Entry

__all__ = ["decode"]

_COMMON: Final = ("t", "connection", "direction", "size", "op", "references")
_ARROWS: Final = {"out": "→", "in": "←"}


def decode(
    file: RecordingFile,
    out: Output,
    *,
    connection: Annotated[
        int | None, typer.Option(metavar="N", help="Only this one, as the recording counts them.")
    ] = None,
) -> None:
    """Print a recording, a frame on a line: when, on which connection, to the peer or from it, and what it said.

    Values are there if the recording has them; else they are shown by type and size.
    """
    with recording(file) as entries:
        for entry in entries:
            if connection is not None and entry.connection not in (0, connection):
                continue
            if out.json:
                out.value(entry.fields)
            else:
                try:
                    out.line(_line(entry), _style(entry.fields))
                except (AttributeError, TypeError, ValueError) as error:
                    raise Stop("this recording has entries that are none of capnet's") from error


def _line(entry: Entry) -> str:
    fields = entry.fields
    if "recording" in fields:
        began = datetime.fromtimestamp(float(fields.get("began", 0))).isoformat(" ", "milliseconds")  # noqa: DTZ006
        return f"began {began}, process {fields.get('pid')}, values {'kept' if fields.get('values') else 'left out'}"
    if fields.get("full"):
        said = "the recording is full: what followed is not in it"
    elif "opened" in fields:
        inside = f", inside of {fields['inside']}" if "inside" in fields else ""
        said = f"connected by {fields['opened']}{inside}"
    elif "closed" in fields:
        said = f"closed{': ' + str(fields['closed']) if fields['closed'] else ''}"
    else:
        said = f"{_frame(fields)}  {fields.get('size')} B"
    where = f"#{entry.connection}" if entry.connection else ""
    return f"{entry.t:12.6f} {where:4} {_ARROWS.get(entry.direction, ' ')} {said}"


def _frame(fields: Mapping[str, Any]) -> str:
    op = str(fields.get("op"))
    rest = {name: value for name, value in fields.items() if name not in _COMMON}
    match op:
        case "call":
            arguments = rest.pop("arguments", {})
            target, number, method = rest.pop("target", "?"), rest.pop("id", "?"), rest.pop("method", "?")
            where = f"cap {target}" if isinstance(target, int) else target
            said = f"call {number} {where} .{method}({_pairs(arguments)})"
        case "result":
            said = f"result {rest.pop('id', '?')} {_shown(rest.pop('value', None))}"
        case "hello":
            options = rest.pop("options", {})
            said = f"hello {options.get('name', '')}".rstrip()
            rest = {"versions": rest.get("versions")}
        case _:
            said = op
    return f"{said} {_pairs(rest)}".rstrip()


def _pairs(fields: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_shown(value)}" for name, value in fields.items())


def _shown(value: Any) -> str:
    """As in the recording; what is told by type and size is no text."""
    if isinstance(value, str) and value.startswith(("<", "cap ", "stream ", "answer ")):
        return value
    return json.dumps(value, ensure_ascii=False)


def _style(fields: Mapping[str, Any]) -> str:
    return "red" if fields.get("op") in ("error", "abort", "unreadable") or fields.get("closed") else ""
