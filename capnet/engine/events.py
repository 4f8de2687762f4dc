"""What the engine tells its driver, drained with `Engine.events()` after each input, in order.

`token` is whatever the driver passed with the intent that this event answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from capnet.errors import CapnetError
from capnet.wire.hello import Hello
from capnet.wire.references import Reference

from .answers import Answer
from .channels import Channel
from .exports import Export
from .imports import Import
from .lifecycle import CloseCause
from .stream import Stream

__all__ = [
    "AnswerEnded",
    "CallArrived",
    "CallFailed",
    "CallFollows",
    "CallReturned",
    "ChannelChanged",
    "ChannelOpened",
    "Closed",
    "Draining",
    "Event",
    "ExportEnded",
    "ImportBroken",
    "ImportReplaced",
    "LimitReached",
    "PeerIntroduced",
    "PongReceived",
    "StreamChanged",
]


class PeerIntroduced(Struct, eq=False):
    """The handshake is done."""

    hello: Hello
    version: int


class CallArrived(Struct, eq=False):
    """Start a handler for `answer`; end it with exactly one `reply` or `fail`.

    Where it has no `export`, its `place` says where it goes: to a capability of the peer's own, or on to where the
    call that it depends on was forwarded.
    """

    answer: Answer


class CallFollows(Struct, eq=False):
    """A call waits for what will come of `source`, which was forwarded before: to `forward` it again lets it go on.

    Nothing need be done: it is answered like any other when `source` has ended.
    """

    source: Answer


class AnswerEnded(Struct, eq=False):
    """The terminal of `answer` was sent without its handler (cancel, deadline, revocation, loss): stop the handler.

    The slot stays taken until the driver calls `reply` or `fail`, which then send nothing (P-CALL-6).
    """

    answer: Answer
    error: CapnetError


class CallReturned(Struct, eq=False):
    """A call of ours has its result; the references in it are the driver's to hold or release."""

    token: Any
    value: Any
    references: Sequence[Reference]


class CallFailed(Struct, eq=False):
    """A call of ours ended with an error."""

    token: Any
    error: CapnetError


class ExportEnded(Struct, eq=False):
    """An export is gone, for `reason`: dropped, revoked or closed. Said once per export."""

    export: Export
    reason: str


class ImportBroken(Struct, eq=False):
    """A capability of the peer's will answer nothing but `error` any more. Said at most once per import."""

    imported: Import
    error: CapnetError


class ImportReplaced(Struct, eq=False):
    """The peer put a new implementation behind a capability that we hold."""

    imported: Import


class StreamChanged(Struct, eq=False):
    """Look at the stream again: items have come, there is room for some, or it has ended. Only once it has a token."""

    stream: Stream


class ChannelOpened(Struct, eq=False):
    """The peer opens a virtual connection; it waits for `accept` or `close`."""

    channel: Channel


class ChannelChanged(Struct, eq=False):
    """Look at the virtual connection again: it was accepted, there are bytes or room, or it has ended. Only once it has
    a token."""

    channel: Channel


class PongReceived(Struct, eq=False):
    """The answer to ping `number`."""

    number: int


class LimitReached(Struct, eq=False):
    """The peer ran into a limit of ours, named by `reason`; a strike was counted."""

    reason: str


class Draining(Struct, eq=False):
    """No new calls: a goaway was sent or received."""

    cause: CloseCause


class Closed(Struct, eq=False):
    """The last event: everything has ended. Send what is queued, then close the transport."""

    cause: CloseCause


Event = (
    PeerIntroduced
    | CallArrived
    | CallFollows
    | AnswerEnded
    | CallReturned
    | CallFailed
    | ExportEnded
    | ImportBroken
    | ImportReplaced
    | StreamChanged
    | ChannelOpened
    | ChannelChanged
    | PongReceived
    | LimitReached
    | Draining
    | Closed
)
