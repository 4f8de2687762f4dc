"""What can be watched: the event types and the bus that carries them.

Owns: one frozen class for each thing that happens on a connection or host, `Bus`, which hands them to observers, and
the log of what went wrong in our own code.
Must not know: connections, hosts, the engine. Whoever has something to tell calls `Bus.publish`.

Observers never stand on the data path: events wait in a bounded queue for each observer, the oldest go first when it is
full, and what an observer raises disturbs nobody. Where nobody observes, nothing is built. An event holds numbers and
short text, and nothing that leads elsewhere. Open `events.py` first.
"""

from .bus import Bus, Feed
from .events import (
    Bootstrapped,
    CallFinished,
    CallStarted,
    CapBroken,
    CapDropped,
    CapExported,
    CapReplaced,
    CapRevoked,
    ConnectionClosed,
    ConnectionOpened,
    CreditStalled,
    Event,
    HandlerFailed,
    LimitHit,
    NameReplaced,
    NameServed,
    NameUnserved,
    PolicyDenied,
    Reconnected,
    Reconnecting,
    StreamClosed,
    StreamOpened,
    SwapBegan,
    SwapEnded,
    ViolationSeen,
)
from .failure import Failure

__all__ = [
    "Bootstrapped",
    "Bus",
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
    "Failure",
    "Feed",
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
