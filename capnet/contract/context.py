"""The call's context as a handler sees it: `CallContext`, asked for with `ctx: CallContext = INJECT`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic

from typing_extensions import TypeVar

if TYPE_CHECKING:
    from capnet.transport import Attestation

__all__ = ["INJECT", "CallContext"]

ConnectionT = TypeVar("ConnectionT", default=Any)
"""What users hold of a connection; this room knows none, so `capnet.CallContext` says it."""


class _Inject:
    """The default of a parameter that is given the context of the call."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "INJECT"


INJECT: Final[Any] = _Inject()
"""Default of the parameter that is given the `CallContext`: `ctx: CallContext = INJECT`.

It stands in the implementation only. Callers do not see the parameter, and it is no part of the contract.
"""


@dataclass(slots=True, eq=False)
class CallContext(Generic[ConnectionT]):
    """Who called, what, and how long there is. One object per call, made when its handler starts.

    A handler that has a parameter `ctx: CallContext = INJECT` is given it.

    Args:
        peer: the name the peer gave itself; not proven, see `attestation`.
        attestation: what the transport and the host prove about the peer.
        deadline: seconds that were left when the handler started, or None without a deadline.
        call_id: the caller's id of the call, 0 for a one-way call.
        method: the method's name.
        metadata: the text that the caller has sent along, see `send_metadata`; not proven.
        connection: the `Connection` that the call came on.
    """

    peer: str
    attestation: Attestation
    deadline: float | None
    call_id: int
    method: str
    metadata: Mapping[str, str]
    connection: ConnectionT

    @property
    def principal(self) -> str | None:
        """Who the caller is, as the host's policy or the transport knows it; None where nobody has said."""
        return self.attestation.principal
