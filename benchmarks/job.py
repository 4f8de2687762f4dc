"""What a child process is told to do: one line of JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from benchmarks.workload import LoopName, Row

__all__ = ["READY", "Job", "Role"]

Role = Literal["serve", "relay", "drive", "both"]

READY = "ready"
"""What a server or relay writes once it listens, and after it the address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One side of a measurement, or both in one process."""

    role: Role
    subject: str
    row: Row
    address: str
    """Of a server, the path that its unix socket may have; of a relay, the same for its own; of a client, whom to
    connect to."""
    target: str = ""
    """Of a relay, the server's address."""
    loop: LoopName = "asyncio"
    core: int | None = None
    """Run on this core only."""
    profile: int = 0
    """Functions to list; 0 profiles nothing, and `hotspots.ROOMS` by room."""
    seconds: float = 1.0
    units: int = 0
    """How many units both sides do in one process; there nothing is timed."""
    server: int = 0
    """The server's process, for a client that looks at its memory."""

    def to_json(self) -> str:
        """The line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """The job in that line."""
        told: dict[str, Any] = json.loads(text)
        told["row"] = Row(**told["row"])
        return cls(**told)
