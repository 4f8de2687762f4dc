"""What one side of a connection keeps count of, and what of it is told: all that the parts of the engine share.

There is next to no behaviour here. A part is given the tables and those parts that it has do something, never the
engine; so each can be read with those that stand below it, and nothing leads back up.
"""

from __future__ import annotations

from typing import Any

from capnet.limits import HANDSHAKE_FRAME, HONEST_BURST, HONEST_RATE, Limits
from capnet.wire.codec import Codec
from capnet.wire.framing import FrameReader

from .answers import Answers
from .calls import Calls
from .channels import Channels
from .events import Event
from .exports import CapTable
from .imports import ImportTable
from .ledger import Ledger, kind_in
from .lifecycle import Lifecycle
from .outbox import Outbox
from .pace import Pace
from .pipelines import Pipelines
from .streams import Streams
from .strikes import Strikes
from .timers import Timers
from .turn import Turn

__all__ = ["Tables"]


class Tables:
    """The state of one connection.

    Args:
        limits: ours.
        now: the time at which the handshake begins.
        bootstrap: subject of cap-id 0, opaque here.
        runtime: subject of cap-id 1, opaque here.
        whole: counts what all connections of a host hold.
    """

    __slots__ = (
        "answers",
        "backlog_charge",
        "call_charge",
        "calls",
        "channels",
        "codec",
        "exports",
        "happened",
        "held_charge",
        "imports",
        "lifecycle",
        "limits",
        "outbox",
        "own_pace",
        "partial_charge",
        "pipelines",
        "reader",
        "streams",
        "strikes",
        "timers",
        "turn",
    )

    def __init__(self, limits: Limits, now: float, bootstrap: Any, runtime: Any, whole: Ledger | None) -> None:
        self.limits = limits
        self.happened: list[Event] = []
        """Events that the driver has not drained."""
        self.lifecycle = Lifecycle()
        self.timers = timers = Timers(now)
        self.turn = Turn(limits, timers)
        self.strikes = Strikes(limits)
        self.own_pace = Pace(HONEST_BURST, HONEST_RATE, now)
        """How many more cancels and pings we may send (P-LIMIT-4); of the peer's `Conduct` knows."""
        self.exports = exports = CapTable(bootstrap, runtime)
        self.imports = ImportTable(limits.max_caps)
        ledger = kind_in(whole)
        self.call_charge = ledger(limits.max_call_charge, whole)
        """What the peer's calls take up that wait or run."""
        self.held_charge = held_charge = ledger(limits.max_held_charge, whole)
        """What its items that nobody has read take up, and results that are kept for it."""
        self.reader = FrameReader(HANDSHAKE_FRAME)
        self.partial_charge = ledger(limits.max_frame, whole)
        """What has come of a long frame that is not complete."""
        self.backlog_charge = ledger(limits.max_backlog + limits.max_frame, whole)
        """What has left for the peer and it has not read."""
        self.calls = Calls()
        self.answers = answers = Answers(limits.max_calls, limits.max_queued_calls)
        self.pipelines = Pipelines(answers, exports, held_charge, limits.max_kept_bytes, limits.max_calls)
        self.streams = streams = Streams(limits)
        self.channels = Channels(limits.max_virtual_connections)
        self.codec = codec = Codec(limits)
        self.outbox = Outbox(codec, exports, streams)

    def emit(self, event: Event) -> None:
        """Put an event before the driver."""
        self.happened.append(event)
