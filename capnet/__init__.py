"""capnet: two programs hand each other objects, typed, revocable, replaceable while in use.

What a contract needs is imported at once; what needs a loop (`connect`, `Host`, …) when it is first asked for, so that
`import capnet` stays cheap in programs that only declare contracts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from capnet.contract import context as _context
from capnet.contract.capability import Cap, Stream, call, options, stream
from capnet.contract.context import INJECT
from capnet.contract.sink import Sink
from capnet.errors import (
    AlreadyExists,
    CallCancelled,
    CapnetError,
    ContractError,
    DeadlineExceeded,
    FailedPrecondition,
    Indeterminate,
    Internal,
    InvalidArgument,
    MissingExtra,
    NotFound,
    NotRun,
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
from capnet.lazy import loaded_on_use
from capnet.limits import HostLimits, Limits
from capnet.transport import Attestation
from capnet.version import __version__ as __version__

if TYPE_CHECKING:
    from capnet.attenuation.membrane import Crossing, Membrane
    from capnet.attenuation.restriction import Restriction, restrict, restrictions
    from capnet.attenuation.revocable import revocable
    from capnet.calls.call import Call
    from capnet.calls.metadata import send_metadata
    from capnet.connection.connect import connect
    from capnet.connection.connection import Connection
    from capnet.connection.retry import Retry
    from capnet.contract.description import ContractDescription, MethodDescription, ParameterDescription
    from capnet.engine.lifecycle import CloseCause
    from capnet.fanout.broadcast import Broadcast
    from capnet.fanout.state import State
    from capnet.fanout.subscription import Subscription
    from capnet.host import Host
    from capnet.links.link import Link, link
    from capnet.plugins.host import PluginHost
    from capnet.plugins.plugin import Plugin
    from capnet.plugins.spec import PluginSpec
    from capnet.policy.policy import (
        Admission,
        CallInfo,
        Denied,
        Explanation,
        Identity,
        Introduction,
        Policy,
        Verdict,
    )
    from capnet.references.promise import pipe
    from capnet.references.proxy import cast_cap, dup, generation, notify, on_broken, release, untyped
    from capnet.references.revoke import Revocation, detach, revoke
    from capnet.references.untyped import Untyped
    from capnet.references.windowed import windowed
    from capnet.registry.facet import implementation_of
    from capnet.registry.fallback import HOLD
    from capnet.registry.registry import ServeHandle
    from capnet.serving.runtime import Runtime, describe
    from capnet.serving.scope import Scope
    from capnet.serving.swap import ReplaceReport, Swap
    from capnet.serving.threads import in_thread
    from capnet.slots.occupant import Occupant
    from capnet.slots.slot import Slot
    from capnet.streams.channel import channel
    from capnet.virtual import opening as _opening

    CallContext: TypeAlias = _context.CallContext[Connection]
    Opening: TypeAlias = _opening.Opening[Connection]
else:
    CallContext = _context.CallContext

__all__ = [
    "HOLD",
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
    "ContractDescription",
    "ContractError",
    "Crossing",
    "DeadlineExceeded",
    "Denied",
    "Explanation",
    "FailedPrecondition",
    "Host",
    "HostLimits",
    "Indeterminate",
    "Identity",
    "Internal",
    "Introduction",
    "InvalidArgument",
    "Limits",
    "Link",
    "Membrane",
    "MethodDescription",
    "MissingExtra",
    "NotFound",
    "NotRun",
    "ParameterDescription",
    "Occupant",
    "Opening",
    "PermissionDenied",
    "Plugin",
    "PluginHost",
    "PluginSpec",
    "Policy",
    "ProtocolViolation",
    "Released",
    "ReplaceReport",
    "Replaced",
    "ResourceExhausted",
    "Restriction",
    "Retry",
    "Revocation",
    "Revoked",
    "Runtime",
    "Scope",
    "ServeHandle",
    "Sink",
    "Slot",
    "State",
    "Stream",
    "StreamStopped",
    "Subscription",
    "Swap",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Untyped",
    "Verdict",
    "VersionMismatch",
    "call",
    "cast_cap",
    "channel",
    "connect",
    "describe",
    "detach",
    "dup",
    "generation",
    "implementation_of",
    "in_thread",
    "link",
    "notify",
    "on_broken",
    "options",
    "pipe",
    "release",
    "restrict",
    "restrictions",
    "revocable",
    "revoke",
    "send_metadata",
    "stream",
    "untyped",
    "windowed",
]

_LAZY = {
    "HOLD": "capnet.registry.fallback",
    "Admission": "capnet.policy.policy",
    "Broadcast": "capnet.fanout.broadcast",
    "Call": "capnet.calls.call",
    "CallInfo": "capnet.policy.policy",
    "CloseCause": "capnet.engine.lifecycle",
    "Connection": "capnet.connection.connection",
    "ContractDescription": "capnet.contract.description",
    "Crossing": "capnet.attenuation.membrane",
    "Denied": "capnet.policy.policy",
    "Explanation": "capnet.policy.policy",
    "Host": "capnet.host",
    "Link": "capnet.links.link",
    "Identity": "capnet.policy.policy",
    "Introduction": "capnet.policy.policy",
    "Membrane": "capnet.attenuation.membrane",
    "MethodDescription": "capnet.contract.description",
    "ParameterDescription": "capnet.contract.description",
    "Occupant": "capnet.slots.occupant",
    "Opening": "capnet.virtual.opening",
    "Plugin": "capnet.plugins.plugin",
    "PluginHost": "capnet.plugins.host",
    "PluginSpec": "capnet.plugins.spec",
    "Policy": "capnet.policy.policy",
    "ReplaceReport": "capnet.serving.swap",
    "Restriction": "capnet.attenuation.restriction",
    "Retry": "capnet.connection.retry",
    "Revocation": "capnet.references.revoke",
    "Runtime": "capnet.serving.runtime",
    "Scope": "capnet.serving.scope",
    "ServeHandle": "capnet.registry.registry",
    "Slot": "capnet.slots.slot",
    "State": "capnet.fanout.state",
    "Subscription": "capnet.fanout.subscription",
    "Swap": "capnet.serving.swap",
    "Untyped": "capnet.references.untyped",
    "Verdict": "capnet.policy.policy",
    "cast_cap": "capnet.references.proxy",
    "channel": "capnet.streams.channel",
    "connect": "capnet.connection.connect",
    "describe": "capnet.serving.runtime",
    "detach": "capnet.references.revoke",
    "dup": "capnet.references.proxy",
    "generation": "capnet.references.proxy",
    "implementation_of": "capnet.registry.facet",
    "in_thread": "capnet.serving.threads",
    "link": "capnet.links.link",
    "notify": "capnet.references.proxy",
    "on_broken": "capnet.references.proxy",
    "pipe": "capnet.references.promise",
    "release": "capnet.references.proxy",
    "restrict": "capnet.attenuation.restriction",
    "restrictions": "capnet.attenuation.restriction",
    "revocable": "capnet.attenuation.revocable",
    "revoke": "capnet.references.revoke",
    "send_metadata": "capnet.calls.metadata",
    "untyped": "capnet.references.proxy",
    "windowed": "capnet.references.windowed",
}

__getattr__ = loaded_on_use(__name__, _LAZY)


def __dir__() -> list[str]:
    return sorted(__all__)
