"""`capnet trace`: the calls and streams of a recording, how long each took, and what it waited for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Final

import typer

from capnet.cli.exits import Stop
from capnet.cli.output import Output
from capnet.cli.recordings import RecordingFile, recording
from capnet.errors import CapnetError
from capnet.recording import Entry

__all__ = ["Span", "spans", "trace"]

_FIXED: Final = {0: "capnet.Bootstrap", 1: "capnet.Runtime"}
_OTHER: Final = {"out": "in", "in": "out"}
_ARROWS: Final = {"out": "→", "in": "←"}
_WINDOW: Final = 512
"""Items that a reader takes in advance, if its hello says nothing else."""
WIDTH: Final = 32
"""Letters of a bar."""


@dataclass
class Span:
    """A call or a stream.

    Attributes:
        kind: `call` or `stream`.
        connection: its number in the recording.
        direction: of a call, `out` when it was made here; of a stream, where its items went.
        id: of the call or stream.
        name: contract and method, or what the stream belongs to.
        began, ended: seconds since the recording began; None when it did not end in it.
        result: `ok`, or code and reason; empty while there is none.
        waited_for: what it needed first, and how long it waited for its reader.
        items: of a stream.
    """

    kind: str
    connection: int
    direction: str
    id: int
    name: str
    began: float
    ended: float | None = None
    result: str = ""
    waited_for: list[str] = field(default_factory=list[str])
    items: int = 0


class _Connection:
    """What is known of one connection while its entries are read."""

    def __init__(self) -> None:
        self.calls: dict[tuple[str, int], Span] = {}
        self.targets: dict[tuple[str, int], Any] = {}
        """What each call was made on."""
        self.caps: dict[tuple[str, int], str] = {
            (side, number): name for side in _OTHER for number, name in _FIXED.items()
        }
        """Contracts of capabilities, by the side that has sent them and their id."""
        self.results: dict[tuple[str, int], str] = {}
        self.streams: dict[tuple[str, int], Span] = {}
        self.window = dict.fromkeys(_OTHER, _WINDOW)
        """Items that each side takes in advance."""
        self.credit: dict[tuple[str, int], int] = {}
        self.dry: dict[tuple[str, int], float] = {}
        """Since when a producer may send nothing."""
        self.spans: list[Span] = []


def trace(
    file: RecordingFile,
    out: Output,
    *,
    connection: Annotated[
        int | None, typer.Option(metavar="N", help="Only this one, as the recording counts them.")
    ] = None,
    slow: Annotated[float, typer.Option(metavar="MS", min=0, help="Only what took as many milliseconds.")] = 0.0,
) -> None:
    """Show the calls and streams of a recording in the order in which they began: how long each took, and what it
    waited for.

    A call waits for the result of another one when it is made on that, or has it among its arguments. A stream waits
    for its reader when that has not asked for more. The bar shows when it was, from the first to the last of all.
    """
    with recording(file) as entries:
        found = spans(entries)
    chosen = [
        span
        for span in found
        if (connection is None or span.connection == connection)
        and (span.ended is None or 1000 * (span.ended - span.began) >= slow)
    ]
    if out.json:
        for span in chosen:
            out.value(asdict(span))
    elif chosen:
        _draw(chosen, out)
    else:
        out.line("no calls")


def spans(entries: Iterable[Entry]) -> list[Span]:
    """The calls and streams of a recording, by their beginning."""
    connections: dict[int, _Connection] = {}
    try:
        for entry in entries:
            known = connections.setdefault(entry.connection, _Connection())
            take = _TAKERS.get(str(entry.fields.get("op")))
            if take is not None and entry.direction in _OTHER:
                _note_references(known, entry)
                take(known, entry)
        found = [span for known in connections.values() for span in _named(known)]
    except CapnetError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise Stop("this recording has entries that are none of capnet's") from error
    return sorted(found, key=lambda span: span.began)


def _call(known: _Connection, entry: Entry) -> None:
    fields = entry.fields
    key = (entry.direction, int(fields["id"]))
    asked = f" {fields['arguments'].get('name')}" if fields["target"] == 0 else ""
    span = Span("call", entry.connection, entry.direction, key[1], f"{fields['method']}{asked}", entry.t)
    needed = [reference for reference in _references(fields) if reference.startswith("answer ")]
    if isinstance(fields["target"], str):
        needed.append(fields["target"])
    span.waited_for = [f"call {number}" for number in sorted({_number(one) for one in needed})]
    known.calls[key] = span
    known.targets[key] = fields["target"]
    known.spans.append(span)


def _answered(known: _Connection, entry: Entry) -> None:
    fields = entry.fields
    key = (_OTHER[entry.direction], int(fields["id"]))
    span = known.calls.get(key)
    if span is not None and span.ended is None:
        span.ended = entry.t
        span.result = _outcome(fields)
        if isinstance(fields.get("value"), str):
            known.results[key] = fields["value"]
        for reference in _references(fields):
            stream = known.streams.get((entry.direction, _number(reference)))
            if reference.startswith("stream ") and stream is not None:
                stream.name = f"stream of call {span.id}"


def _items(known: _Connection, entry: Entry) -> None:
    key = _stream_key(entry)
    span = known.streams.get(key)
    if span is not None:
        span.items += int(entry.fields["count"])
        left = known.credit.get(key, known.window[_OTHER[entry.direction]]) - int(entry.fields["count"])
        known.credit[key] = left
        if left <= 0:
            known.dry[key] = entry.t


def _credit(known: _Connection, entry: Entry) -> None:
    if "stream" not in entry.fields:
        return
    key = _stream_key(entry)
    known.credit[key] = known.credit.get(key, known.window[entry.direction]) + int(entry.fields["items"])
    since = known.dry.pop(key, None)
    span = known.streams.get(key)
    if since is not None and span is not None:
        span.waited_for.append(f"its reader {1000 * (entry.t - since):.1f} ms")


def _stream_ended(known: _Connection, entry: Entry) -> None:
    span = known.streams.get(_stream_key(entry))
    if span is not None and span.ended is None:
        span.ended = entry.t
        span.result = "stopped" if entry.fields["op"] == "stop" else _outcome(entry.fields)


def _hello(known: _Connection, entry: Entry) -> None:
    known.window[entry.direction] = int(entry.fields["options"].get("stream_items", _WINDOW))


def _note_references(known: _Connection, entry: Entry) -> None:
    """What a frame speaks of for the first time."""
    for reference in _references(entry.fields):
        kind, number, *rest = reference.split(" ", 2)
        if kind == "cap" and int(number) > 0:
            known.caps[entry.direction, int(number)] = rest[0] if rest else ""
        elif kind == "stream":
            key = (entry.direction, int(number))
            goes = entry.direction if rest == ["out"] else _OTHER[entry.direction]
            known.streams[key] = Span("stream", entry.connection, goes, key[1], "stream", entry.t)
            known.spans.append(known.streams[key])


def _named(known: _Connection) -> list[Span]:
    """All of it, with the contracts of calls, which may be known from a later frame only."""
    for key, span in known.calls.items():
        contract = _contract(known, key[0], known.targets[key])
        span.name = f"{contract}.{span.name}" if contract else span.name
    return known.spans


def _contract(known: _Connection, direction: str, target: Any) -> str:
    if isinstance(target, int):
        return known.caps.get((_OTHER[direction], target), "")
    result = known.results.get((direction, _number(target)), "")
    return result.split(" ", 2)[2] if result.startswith("cap ") and "/" not in str(target) else ""


def _references(fields: Mapping[str, Any]) -> list[str]:
    return [str(reference) for reference in fields.get("references", ())]


def _number(reference: str) -> int:
    """The id in a reference such as `answer 4/item/0`."""
    return int(reference.split(" ", 2)[1].partition("/")[0])


def _stream_key(entry: Entry) -> tuple[str, int]:
    """Who has opened a stream, and its id."""
    number = int(entry.fields["stream"])
    return (entry.direction, number) if number > 0 else (_OTHER[entry.direction], -number)


def _outcome(fields: Mapping[str, Any]) -> str:
    code = fields.get("code")
    return "ok" if code is None else "/".join(str(part) for part in (code, fields.get("reason")) if part)


_TAKERS: Final = {
    "call": _call,
    "credit": _credit,
    "end": _stream_ended,
    "error": _answered,
    "hello": _hello,
    "items": _items,
    "result": _answered,
    "stop": _stream_ended,
}


def _draw(chosen: list[Span], out: Output) -> None:
    first = chosen[0].began
    last = max(span.began if span.ended is None else span.ended for span in chosen)
    scale = WIDTH / ((last - first) or 1.0)
    rows: list[tuple[str, ...]] = []
    for span in chosen:
        left = min(int((span.began - first) * scale), WIDTH - 1)
        right = WIDTH if span.ended is None else max(left + 1, min(round((span.ended - first) * scale), WIDTH))
        bar = " " * left + "█" * (right - left) + " " * (WIDTH - right)
        items = f", {span.items} items" if span.kind == "stream" else ""
        rows.append(
            (
                f"{1000 * span.began:.1f}",
                f"#{span.connection}",
                f"{_ARROWS[span.direction]} {span.id}",
                span.name + items,
                "" if span.ended is None else f"{1000 * (span.ended - span.began):.1f}",
                span.result or "…",
                f"|{bar}|",
                ", ".join(span.waited_for),
            )
        )
    heads = ("at ms", "on", "id", "what", "took ms", "result", "when", "waited for")
    out.table(heads, rows, right=("at ms", "took ms"))
