"""What is timed: each operation says how many frames or calls one run of it handles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import cbor2

from benchmarks.micro.pair import Pair
from benchmarks.workload import SMALL
from capnet.limits import Limits
from capnet.wire.codec import Codec
from capnet.wire.frames import Op
from capnet.wire.framing import FrameReader, header

__all__ = ["OPERATIONS", "Operation"]

BATCH = 64
CALL: list[Any] = [Op.CALL, 12_345, 2, "echo", {"value": SMALL}]
BYTES = cbor2.dumps(CALL)
LARGE = cbor2.dumps([Op.CALL, 12_345, 2, "echo", {"value": [SMALL] * 500}])
"""Above the size from which frames are scanned before they are decoded."""


@dataclass(frozen=True, slots=True)
class Operation:
    """Something to repeat."""

    name: str
    prepare: Callable[[], Callable[[], object]]
    """Makes what is to be run, with fresh state."""
    things: int = 1
    """Frames or calls that one run handles."""


def _framing() -> Callable[[], object]:
    chunk = (header(len(BYTES)) + BYTES) * BATCH
    reader = FrameReader(len(BYTES))
    return lambda: list(reader.frames(chunk))


def _framing_in_pieces() -> Callable[[], object]:
    chunk = (header(len(BYTES)) + BYTES) * BATCH
    pieces = [chunk[start : start + 100] for start in range(0, len(chunk), 100)]
    reader = FrameReader(len(BYTES))
    return lambda: [list(reader.frames(piece)) for piece in pieces]


OPERATIONS: tuple[Operation, ...] = (
    Operation("framing: 64 frames in one chunk", _framing, BATCH),
    Operation("framing: the same in pieces of 100 bytes", _framing_in_pieces, BATCH),
    Operation("encode a call", lambda: partial(Codec(Limits()).encode, CALL)),
    Operation("… with cbor2 alone", lambda: partial(cbor2.dumps, CALL)),
    Operation("decode a call", lambda: partial(Codec(Limits()).decode, BYTES)),
    Operation("… with cbor2 alone", lambda: partial(cbor2.loads, BYTES)),
    Operation("decode a call of 500 values", lambda: partial(Codec(Limits()).decode, LARGE)),
    Operation("… with cbor2 alone", lambda: partial(cbor2.loads, LARGE)),
    Operation("engine pair: one call at a time", lambda: partial(Pair().echo, 1)),
    Operation("engine pair: 64 calls at a time", lambda: partial(Pair().echo, BATCH), BATCH),
)
