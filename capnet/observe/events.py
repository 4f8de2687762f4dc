"""The events (P-CAP-8). Every start has exactly one end, also at shutdown.

    ConnectionOpened … ConnectionClosed          NameServed … NameReplaced* … NameUnserved
    CallStarted … CallFinished                   CapExported … CapDropped | CapRevoked
    StreamOpened … CreditStalled* … StreamClosed

The common envelope is in `Event`. Arguments, results and exceptions are never in an event: it is built of numbers and
of text that is cut at 1024 characters, so that it may wait.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar, dataclass_transform

from .failure import Failure

__all__ = [
    "Bootstrapped",
    "CallFinished",
    "CallStarted",
    "CapBroken",
    "CapDropped",
    "CapExported",
    "CapReplaced",
    "CapRevoked",
    "ConnectionClosed",
    "ConnectionOpened",
    "CreditStalled",
    "Event",
    "HandlerFailed",
    "LimitHit",
    "NameReplaced",
    "NameServed",
    "NameUnserved",
    "PolicyDenied",
    "Reconnected",
    "Reconnecting",
    "StreamClosed",
    "StreamOpened",
    "SwapBegan",
    "SwapEnded",
    "ViolationSeen",
]

Direction = Literal["in", "out"]
"""Of a call, `in`: the peer calls us; `out`: we call the peer. Of a stream, where its items go: in from the peer, or
out to it."""


K = TypeVar("K")


@dataclass_transform(eq_default=False, frozen_default=True, kw_only_default=True)
def _event(kind: type[K]) -> type[K]:
    """Make a kind of event. All are shown and compared as `Event` is: to make that for each costs a third."""
    return dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)(kind)


@_event
class Event:
    """What every event says.

    Attributes:
        time: seconds since 1970.
        sequence: rises by one with each event that its bus published.
        connection: number of the connection in this process; 0 for events of a registry.
        peer: what the peer calls itself; proves nothing.
        principal: what the policy or the transport knows the peer as; None where none of them has said.
        generation: of the registration the event is about, else 0.
        served: the name it is served under, the last where there are several; empty without a registration.
    """

    time: float
    sequence: int
    connection: int = 0
    peer: str = ""
    principal: str | None = None
    generation: int = 0
    served: str = ""

    def __repr__(self) -> str:
        said = ", ".join(f"{one.name}={getattr(self, one.name)!r}" for one in fields(self))
        return f"{type(self).__qualname__}({said})"

    def __eq__(self, other: object) -> bool:
        return self._said() == other._said() if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._said())

    def _said(self) -> tuple[Any, ...]:
        return tuple(getattr(self, one.name) for one in fields(self))


@_event
class ConnectionOpened(Event):
    """The handshake is done."""

    transport: str
    version: int


@_event
class ConnectionClosed(Event):
    """Everything of the connection has ended; `cause` is `local`, `remote`, `lost`, `violation` or `idle`."""

    cause: str
    message: str
    clause: str | None


@_event
class NameServed(Event):
    """A name can be bootstrapped."""

    name: str
    contract: str


@_event
class NameReplaced(Event):
    """A name has a new implementation, of `generation`."""

    name: str
    contract: str
    mode: str


@_event
class NameUnserved(Event):
    """A name can no longer be bootstrapped; what was bootstrapped from it is revoked."""

    name: str
    contract: str


@_event
class Bootstrapped(Event):
    """The peer asked for a name (`in`), or we asked it for one (`out`) and have its answer.

    `result` is `ok` or the code of the refusal.
    """

    direction: Direction
    name: str
    result: str
    reason: str | None


@_event
class CallStarted(Event):
    """A handler starts (`in`) or a call has left (`out`). Call ids of the two directions are independent.

    `cap` is the number of what it is made on: of ours (`in`), or of the peer's (`out`).
    """

    direction: Direction
    call: int
    cap: int = 0
    contract: str
    method: str


@_event
class CallFinished(Event):
    """A call that started has ended; `result` is `ok` or an error code, `seconds` since its start."""

    direction: Direction
    call: int
    cap: int = 0
    contract: str
    method: str
    result: str
    reason: str | None
    seconds: float


@_event
class StreamOpened(Event):
    """A stream has an end here: its items are produced here (`out`), or read here (`in`).

    `stream` is positive when we opened it, by mentioning it in a frame, and negative when the peer did.
    """

    direction: Direction
    stream: int


@_event
class StreamClosed(Event):
    """A stream has ended, with `seconds` since its opening and the `items` that went or came.

    `result` is `ok` when its producer has come to the end, else an error code; a reader that wanted no more is
    `cancelled`, with reason `stopped`.
    """

    direction: Direction
    stream: int
    items: int
    result: str
    reason: str | None
    seconds: float


@_event
class CreditStalled(Event):
    """A producer here has waited for credit for `seconds`: its reader does not read. Told once in each wait."""

    stream: int
    seconds: float


@_event
class CapExported(Event):
    """The peer was given a capability that it did not hold."""

    cap: int
    contract: str


@_event
class CapDropped(Event):
    """The peer gave back its last reference, or the connection closed (`reason` says which)."""

    cap: int
    contract: str
    reason: str


@_event
class CapRevoked(Event):
    """We took a capability back from the peer."""

    cap: int
    contract: str
    reason: str


@_event
class CapBroken(Event):
    """A capability of the peer's answers nothing any more: it was revoked, or the connection closed."""

    cap: int
    contract: str
    code: str
    reason: str | None


@_event
class CapReplaced(Event):
    """The peer put a new implementation, of `generation`, behind a capability that we hold."""

    cap: int
    contract: str


@_event
class PolicyDenied(Event):
    """The policy said no to the peer: to a name, or with a `method` to a call on a contract of that name.

    Without a name it is the peer itself that it has sent away.
    """

    name: str
    method: str | None
    reason: str


@_event
class LimitHit(Event):
    """The peer ran into a limit of ours."""

    limit: str


@_event
class ViolationSeen(Event):
    """The peer broke a clause; the connection closes."""

    clause: str
    message: str


@_event
class HandlerFailed(Event):
    """Code of this program has failed: a handler, a policy, a callback or a close hook.

    `error` tells of the exception; the peer got no more than `correlation`.
    """

    where: str
    correlation: str
    error: Failure


@_event
class SwapBegan(Event):
    """Another implementation is being prepared for a name; `generation` is the one that is served."""

    name: str
    contract: str


@_event
class SwapEnded(Event):
    """A swap that began has ended; `generation` is the one that is served from now on."""

    name: str
    contract: str
    result: Literal["committed", "rolled_back"]


@_event
class Reconnecting(Event):
    """A link has lost its connection, or could not make another one: it will try in `delay` seconds.

    `attempt` counts from 1 since the last time that it was connected for long; `cause` says what went wrong.
    """

    attempt: int
    delay: float
    cause: str


@_event
class Reconnected(Event):
    """A link is connected again. `generation` is the link's: it has risen when the peer's state is new (`state_lost`).

    `healed` and `broken` are the names that were bootstrapped again, and those that the peer does not give any more.
    Of the calls that were cut off since, `again` are made again, and `indeterminate` have failed as they may have run.
    """

    state_lost: bool
    healed: tuple[str, ...]
    broken: tuple[str, ...]
    again: int
    indeterminate: int
