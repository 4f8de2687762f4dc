"""capnet: two programs hand each other objects, typed, revocable, replaceable while in use.

What a contract needs is imported at once; what needs a loop (`connect`, `Host`, …) when it is first asked for, so that
`import capnet` stays cheap in programs that only declare contracts.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from capnet.contract.capability import Cap, Stream, call, options, stream
from capnet.contract.context import INJECT, CallContext
from capnet.contract.sink import Sink
from capnet.errors import (
    AlreadyExists,
    CallCancelled,
    CapnetError,
    ContractError,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    MissingExtra,
    NotFound,
    PermissionDenied,
    ProtocolViolation,
    Released,
    Replaced,
    ResourceExhausted,
    Revoked,
    StreamStopped,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    VersionMismatch,
)
from capnet.limits import Limits
from capnet.transport import Attestation

if TYPE_CHECKING:
    from capnet.connection.call import Call
    from capnet.connection.channel import channel
    from capnet.connection.connect import connect
    from capnet.connection.connection import Connection
    from capnet.connection.pipe import pipe
    from capnet.connection.policy import Admission, CallInfo, Denied, Explanation, Identity, Introduction, Policy, Verdict
    from capnet.connection.proxy import cast_cap, dup, generation, notify, on_broken, release
    from capnet.connection.runtime import Runtime
    from capnet.connection.serving import ReplaceReport
    from capnet.connection.threads import in_thread
    from capnet.engine.lifecycle import CloseCause
    from capnet.fanout.broadcast import Broadcast
    from capnet.fanout.state import State
    from capnet.fanout.subscription import Subscription
    from capnet.host import Host
    from capnet.registry.registry import ServeHandle

__version__ = "0.1.0"

__all__ = [
    "INJECT",
    "Admission",
    "AlreadyExists",
    "Attestation",
    "Broadcast",
    "Call",
    "CallCancelled",
    "CallContext",
    "CallInfo",
    "Cap",
    "CapnetError",
    "CloseCause",
    "Connection",
    "ContractError",
    "DeadlineExceeded",
    "Denied",
    "Explanation",
    "FailedPrecondition",
    "Host",
    "Identity",
    "Internal",
    "Introduction",
    "InvalidArgument",
    "Limits",
    "MissingExtra",
    "NotFound",
    "PermissionDenied",
    "Policy",
    "ProtocolViolation",
    "Released",
    "ReplaceReport",
    "Replaced",
    "ResourceExhausted",
    "Revoked",
    "Runtime",
    "ServeHandle",
    "Sink",
    "State",
    "Stream",
    "StreamStopped",
    "Subscription",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Verdict",
    "VersionMismatch",
    "call",
    "cast_cap",
    "channel",
    "connect",
    "dup",
    "generation",
    "in_thread",
    "notify",
    "on_broken",
    "options",
    "pipe",
    "release",
    "stream",
]

_LAZY = {
    "Admission": "capnet.connection.policy",
    "Broadcast": "capnet.fanout.broadcast",
    "Call": "capnet.connection.call",
    "CallInfo": "capnet.connection.policy",
    "CloseCause": "capnet.engine.lifecycle",
    "Connection": "capnet.connection.connection",
    "Denied": "capnet.connection.policy",
    "Explanation": "capnet.connection.policy",
    "Host": "capnet.host",
    "Identity": "capnet.connection.policy",
    "Introduction": "capnet.connection.policy",
    "Policy": "capnet.connection.policy",
    "ReplaceReport": "capnet.connection.serving",
    "Runtime": "capnet.connection.runtime",
    "ServeHandle": "capnet.registry.registry",
    "State": "capnet.fanout.state",
    "Subscription": "capnet.fanout.subscription",
    "Verdict": "capnet.connection.policy",
    "cast_cap": "capnet.connection.proxy",
    "channel": "capnet.connection.channel",
    "connect": "capnet.connection.connect",
    "dup": "capnet.connection.proxy",
    "generation": "capnet.connection.proxy",
    "in_thread": "capnet.connection.threads",
    "notify": "capnet.connection.proxy",
    "on_broken": "capnet.connection.proxy",
    "pipe": "capnet.connection.pipe",
    "release": "capnet.connection.proxy",
}


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module 'capnet' has no attribute {name!r}")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
