"""The targets, and the inputs that are played again in every run of the tests.

`corpus/TARGET/` holds inputs that a fuzzer has found: those named by sixteen hexadecimal digits are the smallest set
that reaches what all of them reached; any other name says what failed once, or which of the planted faults the input
shows (`faults.py`). `seeds` makes more of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

__all__ = ["CORPUS", "TARGETS", "inputs", "seeds"]

TARGETS: Final = (
    "framing", "decoding", "native", "hello", "conversion", "engine", "pair", "circle", "jsonrpc", "mcp", "capnweb",
)  # fmt: skip
CORPUS: Final = Path(__file__).parent / "corpus"
_VECTORS: Final = Path(__file__).parents[2] / "docs" / "reference" / "vectors.json"


def inputs(target: str) -> Iterator[tuple[str, bytes]]:
    """Everything to be played again: a name, and the input."""
    for path in sorted((CORPUS / target).iterdir()):
        yield path.name, path.read_bytes()
    for number, seed in enumerate(seeds(target)):
        yield f"seed {number}", seed


def seeds(target: str) -> Iterator[bytes]:
    """Inputs made by hand or of the golden vectors, and nothing at all."""
    yield b""
    vectors: dict[str, Any] = json.loads(_VECTORS.read_text(encoding="utf-8"))
    frames = [bytes.fromhex(vector["hex"]) for vector in vectors["frames"]]
    match target:
        case "decoding" | "native":
            yield from (bytes((bounds,)) + frame[4:] for frame in frames for bounds in range(3))
        case "hello":
            yield from (b"\x01" + frame[4:] for frame in frames if frame[5:6] == b"\x00")
            yield from (b"\x00" + bytes.fromhex(vector["hex"]) for vector in vectors["sessions"] if "hex" in vector)
        case "framing":  # one stream of one frame: every limit, and every length that is near one
            yield from (bytes((0, limit, 0, 3, size)) for limit in range(5) for size in range(12))
        case "jsonrpc":  # a request that is answered, and one that is given up, in each dialect and framing
            asks, gives_up = (0, 1, 0, 0, 0, 1, 0, 7, 1, 1), (0, 1, 0, 1, 1, 2, 9, 2, 7, 1, 1)
            script = bytes((*asks, 4, 0, 5, 0, *asks, *gives_up))
            yield from (bytes((0, dialect, framing)) + script for dialect in range(6) for framing in range(2))
            four = [one for number in (0, 1, 5, 6) for one in (0, 1, 0, 0, 0, number, 0, 7, 1, 1)]
            yield bytes((2, 0, 0, *four))  # more than is left of what the principal may have
        case "mcp":  # a client that calls and gives up, a server that answers, and requests by HTTP
            begins, ends = (3, 7, 2, 0, 1, 3, 0), (0, 0, 0, 0, 0, 2)
            yield from (
                bytes((who, *(begins[:3]), one, *begins[3:], *ends)) * 3 for who in range(3) for one in range(8)
            )
        case _:
            pass
