"""`revoke` and `detach`: what a program does with the lineage of its capabilities (P-CAP-6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from capnet.contract import Cap
from capnet.errors import InvalidArgument
from capnet.registry import Facet, Hosted, implementation_of
from capnet.revocation.lineage import Granted, check_loops, take_back, with_descendants

from .proxy import Proxy, reference_of

__all__ = ["Revocation", "detach", "revoke"]


@dataclass(frozen=True, slots=True)
class Revocation:
    """One capability that a revocation takes from one peer.

    Attributes:
        connection: its number in this process.
        peer: what the peer calls itself.
        cap: the cap-id that the peer knows it by.
        contract: the contract under which it was exported.
    """

    connection: int
    peer: str
    cap: int
    contract: str


def revoke(capability: object, *, reason: str = "revoked", dry_run: bool = False) -> list[Revocation]:
    """Take a capability back from all peers that hold it, with everything that was handed out on calls on it.

    When this returns no handler of it starts any more: running ones are cancelled, their callers are answered with
    `Revoked`, streams that came of it end, and each peer is told. What a peer has by another way as well, it keeps. A
    name under which it is served stays: `unserve` ends that, and revokes too.

    Args:
        capability: an object of ours, or a proxy that was passed on to other peers. A facet, which came home, stands
            for what peers hold under its contract and for what was made of the facet.
        reason: told to the peers.
        dry_run: change nothing, only say what would be taken.

    Returns what was taken from whom, in the order of connections and cap-ids.

    Raises:
        InvalidArgument: it is nothing that a peer can hold.
    """
    granted = _granted(capability)
    check_loops(granted)
    fallen = with_descendants(granted)
    taken: list[Revocation] = []
    for one in fallen:
        session = one.session_ref() if isinstance(one, Granted) and one.live else None
        if session is not None and isinstance(one, Granted):
            taken.append(Revocation(session.number, session.peer_name, one.export.id, one.interface))
    if not dry_run:
        take_back(fallen, reason)
    return sorted(taken, key=lambda one: (one.connection, one.cap))


def detach(capability: object) -> None:
    """Take a capability out of the tree: what peers hold of it now no longer falls with what it came of.

    Raises:
        InvalidArgument: it is nothing that a peer can hold.
    """
    granted = _granted(capability)
    check_loops(granted)
    for one in granted:
        one.detach()


def _granted(capability: object) -> list[Granted]:
    if isinstance(capability, Proxy):
        reference = reference_of(capability)
        return reference.caller.held.passing.granted(reference.imported)
    if isinstance(capability, Facet):
        return _granted_as(capability)
    if isinstance(capability, Cap):
        return Hosted.of(capability).all_granted()
    raise InvalidArgument(f"{type(capability).__name__} is no capability", hint="a function: declare a contract")


def _granted_as(facet: Facet) -> list[Granted]:
    """The exports of an object under the contract of a facet, and those of what stands in front of the facet."""
    behind = facet._capnet_facet  # noqa: SLF001 - contracts may use every public name, so this one is not
    granted = behind.hosted.granted
    return [
        *(one for one in granted if one.interface == behind.spec.name),
        *(one for one in granted.around if one.hosted is not None and _leads_to(one.hosted.implementation, facet)),
    ]


def _leads_to(wrapper: Any, facet: Facet) -> bool:
    """Whether a wrapper, or one behind it, stands in front of a facet."""
    inner = getattr(wrapper, "__dict__", {}).get("_capnet_inner")
    if inner is None or inner.subject is facet:
        return inner is not None
    subject = inner.subject
    return _leads_to(implementation_of(subject) if isinstance(subject, Facet) else subject, facet)
