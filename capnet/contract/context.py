"""The call's context as a handler sees it: `CallContext`, asked for with `ctx: CallContext = INJECT`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from capnet.transport import Attestation

__all__ = ["INJECT", "CallContext"]


class _Inject:
    """The one default value that asks for the context."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "INJECT"


INJECT: Final[Any] = _Inject()
"""Default of the parameter that receives the `CallContext`; the parameter is no part of the contract."""


@dataclass(slots=True, eq=False)
class CallContext:
    """Who called, what, and how long there is. One object per call, made when its handler starts.

    Args:
        peer: the name the peer gave itself; not proven, see `attestation`.
        attestation: what the transport and the host prove about the peer.
        deadline: seconds that were left when the handler started, or None without a deadline (P-CALL-5).
        call_id: the caller's id of the call, 0 for a one-way call.
        method: the method's name.
        metadata: the caller's context map, such as `traceparent` (P-CALL-4).
        connection: the connection the call came on.
    """

    peer: str
    attestation: Attestation
    deadline: float | None
    call_id: int
    method: str
    metadata: Mapping[str, str]
    connection: object
