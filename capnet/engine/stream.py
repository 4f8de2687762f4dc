"""A stream: values that flow, either way, against credit (P-STREAM).

Each stream has two ends, an `OutStream` where it is produced and an `InStream` where it is consumed. It is opened by
being mentioned in a frame and lives until its producer has said *end*, once:

    OutStream   unsent ──its frame leaves──▶ open ──stop, revocation──▶ closed ──end──▶ gone
    InStream    unsent ──its frame leaves──▶ open ──stop──▶ stopped ──the producer's end──▶ gone

Nothing here sends: `streaming.py` does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from typing import Any

from capnet.errors import CapnetError, ProtocolViolation
from capnet.limits import Limits
from capnet.wire.references import MAX_CREDIT, Reference, narrower

from .exports import Export

__all__ = ["Batch", "InStream", "OutStream", "Stream"]

Batch = tuple[list[Any], Sequence[Reference], int, int, int]
"""Items that came in one frame: values, the references in them, the length of the frame, its charge, and how many
values it had. Exports of ours that they name are pinned until the items are taken."""


class OutStream:
    """One that we produce.

    Attributes:
        id: positive when we opened it.
        items, bytes: credit that is left; bytes may be negative by one frame.
        granted: items of credit that there ever was.
        window: items and bytes of first credit at most, None where nobody has said so.
        batch: items that were encoded and wait for company, `batch_bytes` long.
        unsent: the frame that opens it is held back.
        farewell: the end, said while it was unsent.
        closed: why nothing more may be sent, or None.
        export: the capability it was handed out by; it ends with it.
        party: for whom there is this stream, if that is another peer.
        token: the driver's; set once somebody produces.
    """

    __slots__ = (
        "batch",
        "batch_bytes",
        "bytes",
        "closed",
        "export",
        "farewell",
        "granted",
        "id",
        "items",
        "party",
        "token",
        "unsent",
        "window",
    )

    def __init__(self, id: int, token: Any = None, window: tuple[int, int] | None = None) -> None:
        self.id = id
        self.window = window
        self.items = self.bytes = self.granted = 0
        self.batch: list[bytes] = []
        self.batch_bytes = 0
        self.unsent = False
        self.farewell: list[Any] | None = None
        self.closed: CapnetError | None = None
        self.export: Export | None = None
        self.party: Hashable = None
        self.token = token

    @property
    def room(self) -> bool:
        """Whether an item may be sent now."""
        return self.items > 0 and self.bytes > 0 and self.closed is None

    def end(self, error: CapnetError) -> bool:
        """Nothing more may be sent, for this reason. Whether that is news."""
        news = self.closed is None
        if news:
            self.closed = error
        return news

    @property
    def sent(self) -> int:
        """Items that were sent."""
        return self.granted - self.items

    def grant(self, items: int, size: int) -> None:
        """The consumer gives credit.

        Raises:
            ProtocolViolation: P-STREAM-2, the sum of it is out of all proportion.
        """
        if self.items + items > MAX_CREDIT or self.bytes + size > MAX_CREDIT:
            raise ProtocolViolation("P-STREAM-2", f"more than {MAX_CREDIT} of credit on a stream")
        self.items += items
        self.bytes += size
        self.granted += items

    def begin(self, announced: tuple[int, int], before: tuple[int, int] = (0, 0)) -> None:
        """The first credit, or what is left of it.

        Args:
            announced: by the consumer, for all its streams.
            before: what was known of that when some of it was given already.
        """
        items, size = narrower(announced, self.window) or announced
        earlier = narrower(before, self.window) or before
        self.grant(items - earlier[0], size - earlier[1])

    def __repr__(self) -> str:
        return f"<OutStream {self.id} items={self.items} bytes={self.bytes}{' closed' if self.closed else ''}>"


class InStream:
    """One that we consume.

    Attributes:
        id: positive when we opened it.
        window: items and bytes of first credit.
        items, bytes: credit that the producer has left; bytes may be negative by one frame.
        owed_items, owed_bytes: consumed and not granted again yet.
        came: items that have come.
        batches: what has come and nobody has taken.
        in_use: charge of what was taken last.
        end_charge: of the error that it ended with, until somebody has read it.
        unsent, farewell, export, party, token: as of an `OutStream`.
        stopped: we want no more; what comes is let go.
        ended: the last word has come, or never will.
        error: what it ended with, None for a clean end.
    """

    __slots__ = (
        "batches",
        "bytes",
        "came",
        "end_charge",
        "ended",
        "error",
        "export",
        "farewell",
        "id",
        "in_use",
        "items",
        "owed_bytes",
        "owed_items",
        "party",
        "stopped",
        "token",
        "unsent",
        "window",
    )

    def __init__(self, id: int, limits: Limits, token: Any = None, window: tuple[int, int] | None = None) -> None:
        self.id = id
        announced = limits.stream_items, limits.stream_bytes
        self.window = announced if window is None else (min(announced[0], window[0]), min(announced[1], window[1]))
        self.items, self.bytes = self.window
        self.owed_items = self.owed_bytes = self.came = self.in_use = self.end_charge = 0
        self.batches: deque[Batch] = deque()
        self.unsent = False
        self.farewell: list[Any] | None = None
        self.stopped = self.ended = False
        self.error: CapnetError | None = None
        self.export: Export | None = None
        self.party: Hashable = None
        self.token = token

    def end(self, error: CapnetError | None) -> bool:
        """The last word has come, or never will. Whether that is news."""
        news = not self.ended
        if news:
            self.ended, self.error = True, error
        return news

    def charge(self, items: int, size: int) -> None:
        """A frame has come.

        Raises:
            ProtocolViolation: P-STREAM-2, the producer had no credit for it.
        """
        if items > self.items or self.bytes <= 0:
            raise ProtocolViolation("P-STREAM-2", f"{items} items on a stream with credit for {max(self.items, 0)}")
        self.items -= items
        self.bytes -= size
        self.came += items

    def __repr__(self) -> str:
        state = "ended" if self.ended else "stopped" if self.stopped else "open"
        return f"<InStream {self.id} {state} batches={len(self.batches)}>"


Stream = OutStream | InStream
