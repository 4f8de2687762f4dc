"""What the engine tells its driver, drained with `Engine.events()` after each input, in order.

`token` is whatever the driver passed with the intent that this event answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from capnet.errors import CapnetError
from capnet.wire.hello import Hello
from capnet.wire.references import Reference

from .answers import Answer
from .channels import Channel
from .exports import Export
from .imports import Import
from .lifecycle import CloseCause
from .streams import Stream

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


class PeerIntroduced:
    """The handshake is done."""

    __slots__ = ("hello", "version")

    def __init__(self, hello: Hello, version: int) -> None:
        self.hello = hello
        self.version = version


class CallArrived:
    """Start a handler for `answer`; end it with exactly one `reply` or `fail`.

    Where it has no `export`, its `place` says where it goes: to a capability of the peer's own, or on to where the
    call that it depends on was forwarded.
    """

    __slots__ = ("answer",)

    def __init__(self, answer: Answer) -> None:
        self.answer = answer


class CallFollows:
    """A call waits for what will come of `source`, which was forwarded before: to `forward` it again lets it go on.

    Nothing need be done: it is answered like any other when `source` has ended.
    """

    __slots__ = ("source",)

    def __init__(self, source: Answer) -> None:
        self.source = source


class AnswerEnded:
    """The terminal of `answer` was sent without its handler (cancel, deadline, revocation, loss): stop the handler.

    The slot stays taken until the driver calls `reply` or `fail`, which then send nothing (P-CALL-6).
    """

    __slots__ = ("answer", "error")

    def __init__(self, answer: Answer, error: CapnetError) -> None:
        self.answer = answer
        self.error = error


class CallReturned:
    """A call of ours has its result; the references in it are the driver's to hold or release."""

    __slots__ = ("references", "token", "value")

    def __init__(self, token: Any, value: Any, references: Sequence[Reference]) -> None:
        self.token = token
        self.value = value
        self.references = references


class CallFailed:
    """A call of ours ended with an error."""

    __slots__ = ("error", "token")

    def __init__(self, token: Any, error: CapnetError) -> None:
        self.token = token
        self.error = error


class ExportEnded:
    """An export is gone, for `reason`: dropped, revoked or closed. Said once per export."""

    __slots__ = ("export", "reason")

    def __init__(self, export: Export, reason: str) -> None:
        self.export = export
        self.reason = reason


class ImportBroken:
    """A capability of the peer's will answer nothing but `error` any more. Said at most once per import."""

    __slots__ = ("error", "imported")

    def __init__(self, imported: Import, error: CapnetError) -> None:
        self.imported = imported
        self.error = error


class ImportReplaced:
    """The peer put a new implementation behind a capability that we hold."""

    __slots__ = ("imported",)

    def __init__(self, imported: Import) -> None:
        self.imported = imported


class StreamChanged:
    """Look at the stream again: items have come, there is room for some, or it has ended. Only once it has a token."""

    __slots__ = ("stream",)

    def __init__(self, stream: Stream) -> None:
        self.stream = stream


class ChannelOpened:
    """The peer opens a virtual connection; it waits for `accept` or `close`."""

    __slots__ = ("channel",)

    def __init__(self, channel: Channel) -> None:
        self.channel = channel


class ChannelChanged:
    """Look at the virtual connection again: it was accepted, there are bytes or room, or it has ended. Only once it has
    a token."""

    __slots__ = ("channel",)

    def __init__(self, channel: Channel) -> None:
        self.channel = channel


class PongReceived:
    """The answer to ping `number`."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


class LimitReached:
    """The peer ran into a limit of ours, named by `reason`; a strike was counted."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason


class Draining:
    """No new calls: a goaway was sent or received."""

    __slots__ = ("cause",)

    def __init__(self, cause: CloseCause) -> None:
        self.cause = cause


class Closed:
    """The last event: everything has ended. Send what is queued, then close the transport."""

    __slots__ = ("cause",)

    def __init__(self, cause: CloseCause) -> None:
        self.cause = cause


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
