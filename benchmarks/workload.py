"""The rows of the table: what one unit of work is, how and where it is repeated, and what is wanted of it."""

from __future__ import annotations

from dataclasses import dataclass
from reprlib import repr as short
from typing import Any, Literal

__all__ = [
    "CHAIN",
    "ROWS",
    "SMALL",
    "TEXT",
    "Carrier",
    "Core",
    "LoopName",
    "Row",
    "Shape",
    "Timing",
    "checked",
]

LoopName = Literal["asyncio", "uvloop", "trio"]
Core = Literal["pure", "native"]
Carrier = Literal["unix", "tcp", "tls", "ws", "nats"]
Shape = Literal["echo", "callback", "connect", "numbers", "blob", "chain", "idle"]

SMALL: dict[str, Any] = {"n": 123_456, "s": "abcdefghijklmnopqrstuvwxyz012345"}
"""What a small call brings there and back: an int and a text of 32 characters."""
PAYLOAD = 1024 * 1024
"""Length of what a large call brings there and back."""
ITEMS = 100_000
"""Length of a stream."""
TEXT = "text"
"""What each item of a stream carries beside its number."""
CHAIN = 8
"""Calls in a chain: each but the last answers with what the next one is made on."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Units done and the seconds they took; of idle connections also what each of them adds to the server."""

    units: int
    seconds: float
    bytes_each: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One workload on one placement of its two processes, what its figure is, and the aims.

    The second half are circumstances that cost nothing as long as they stay at their defaults; the scaling curves vary
    them one by one.
    """

    workload: str
    title: str
    shape: Shape
    pure: float = 0.0
    """Wanted of capnet without its native core, as `aim_in` says."""
    native: float = 0.0
    """The same with its native core."""
    native_uvloop: float = 0.0
    """The same with the native core on uvloop, where more is wanted there; 0 wants what `native` says."""
    instructions: float = 0.0
    """Wanted with the native core: F2's instructions for a unit over capnet's; 0 wants nothing."""
    pinned: bool = True
    """Server and client share one core; otherwise the system places them."""
    latency: float = 0.0
    """Seconds that everything between client and server takes, each way."""
    figure: Literal["rate", "milliseconds", "memory"] = "rate"
    """What is shown: how much is done in a second, where more is better; or how long one unit takes, or how much
    memory one connection takes, where less is better."""
    counts: str = "calls"
    """What a rate counts."""
    per_unit: float = 1
    """How many of those one unit of work holds."""

    carrier: Carrier = "unix"
    """What the bytes go by."""
    in_flight: int = 1
    """Calls that wait for their answer at any time."""
    connections: int = 1
    """Connections that the calls take in turns; of idle ones, how many are opened."""
    items: int = ITEMS
    """Length of a stream; its items are `(0, TEXT)`, `(1, TEXT)`, …"""
    size: int = PAYLOAD
    """Bytes that a large call brings there and back."""
    values: int = 0
    """Small integers that a small call carries beside its own two values."""
    exports: int = 0
    """Capabilities of the server that the client holds meanwhile."""
    observers: int = 0
    """Observers of finished calls on the server's side."""
    guard: bool = False
    """Whether a policy is asked about each call; it says yes at once."""
    trusted: bool = False
    """Both sides have the limits for parts of one program, and room for many exports, in place of the defaults."""

    @property
    def argument(self) -> Any:
        """What a call of this row carries."""
        if self.shape == "blob":
            return (bytes(range(256)) * (self.size // 256 + 1))[: self.size]
        return {**SMALL, "more": list(range(self.values))} if self.values else SMALL

    @property
    def answer(self) -> object:
        """What one unit of work must return."""
        match self.shape:
            case "numbers":
                return sum(range(self.items)), self.items * len(TEXT)
            case "chain":
                return CHAIN - 1
            case _:
                return self.argument

    @property
    def where(self) -> str:
        """The placement, in words."""
        return "one core" if self.pinned else "unpinned"

    @property
    def measured_in(self) -> str:
        """What the figures of this row are."""
        return {"rate": f"{self.counts}/s", "milliseconds": "ms", "memory": "KiB"}[self.figure]

    @property
    def aim_in(self) -> str:
        """What the aims of this row are: ratios to the floor, or for memory its own figures."""
        return "KiB" if self.figure == "memory" else "ratio"

    def figure_of(self, timing: Timing) -> float:
        """The figure that a timing gives."""
        match self.figure:
            case "rate":
                return self.per_unit * timing.units / timing.seconds
            case "milliseconds":
                return 1000 * timing.seconds / timing.units
            case "memory":
                return timing.bytes_each / 1024

    def ratio(self, figure: float, floor: float) -> float:
        """How many times as fast as the floor, or as small, something is by their figures."""
        return figure / floor if self.figure == "rate" else floor / figure

    def aim(self, core: Core, loop: LoopName) -> float:
        """What is wanted of capnet with that core on that event loop; 0 when nothing is."""
        if core == "pure":
            return self.pure
        return self.native_uvloop if loop == "uvloop" and self.native_uvloop else self.native

    def reached(self, aim: float, *, figure: float, ratio: float) -> bool:
        """Whether the figure, or its ratio to the floor's, is as good as the aim."""
        return figure <= aim if self.aim_in == "KiB" else ratio >= aim


ROWS: tuple[Row, ...] = (
    Row(
        workload="W1",
        title="one call at a time",
        shape="echo",
        pure=0.95,
        native=1.2,
        native_uvloop=1.5,
        instructions=0.9,
    ),
    Row(workload="W2", title="64 calls in flight", shape="echo", pure=0.55, native=1.0, instructions=1.0, in_flight=64),
    Row(workload="W2", title="64 calls in flight", shape="echo", pure=0.5, native=0.8, in_flight=64, pinned=False),
    Row(
        workload="W3",
        title="stream of 100 000 items",
        shape="numbers",
        pure=1.2,
        native=1.5,
        pinned=False,
        counts="items",
        per_unit=ITEMS,
    ),
    Row(
        workload="W4",
        title="1 MiB echoed",
        shape="blob",
        pure=6.0,
        native=6.0,
        pinned=False,
        counts="MB",
        per_unit=PAYLOAD / 1e6,
    ),
    Row(workload="W5", title="callback during a call", shape="callback", pure=0.65, native=0.9, instructions=0.7),
    Row(workload="W6", title="connect, one call, close", shape="connect", pure=0.3, native=0.5, instructions=0.5),
    Row(
        workload="W7",
        title="memory of an idle connection",
        shape="idle",
        pure=12.0,
        native=12.0,
        pinned=False,
        figure="memory",
        connections=900,
    ),
    # The floor pays the line once for each call. At most 1.2 times what the line takes for one is 8 / 1.2 of that.
    Row(
        workload="W8",
        title="chain of 8 calls, 1 ms each way",
        shape="chain",
        pure=CHAIN / 1.2,
        native=CHAIN / 1.2,
        pinned=False,
        latency=0.001,
        figure="milliseconds",
    ),
)


def checked(answer: object, row: Row) -> None:
    """Raise `ValueError` unless that is what a unit of the row returns: what is fast but wrong has no figure."""
    if answer != row.answer:
        raise ValueError(f"the unit of work answered {short(answer)} instead of {short(row.answer)}")
