"""Who is compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.workload import Row, Shape

__all__ = ["PEERS", "Peer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A library beside capnet."""

    name: str
    """Of its subject, and of its column."""
    requirements: Sequence[str]
    """What pip installs for it."""
    missing: Mapping[Shape, str] = field(default_factory=dict[Shape, str])
    """Why it does not do a workload."""
    serial: str = ""
    """Why it has no more than one call in flight on a connection."""

    def unable(self, row: Row) -> str:
        """Why it does not take part in that row; empty when it does."""
        return self.serial if row.in_flight > 1 and self.serial else self.missing.get(row.shape, "")


PEERS: Sequence[Peer] = (
    Peer(
        name="grpcio",
        requirements=("grpcio", "grpcio-tools"),
        missing={"callback": "a server cannot call its client"},
    ),
    Peer(name="pycapnp", requirements=("pycapnp>=2",)),
    Peer(name="RPyC", requirements=("rpyc>=6,<7",)),
    Peer(
        name="Pyro5",
        requirements=("pyro5>=5.15", "msgpack"),
        serial="a connection carries one call at a time",
    ),
    Peer(
        name="py-capnweb",
        requirements=("py-capnweb>=0.5",),
        missing={
            "callback": "a server cannot call its client over its WebSocket",
            "numbers": "it has no streams",
            "blob": "it carries JSON, which has no bytes",
        },
    ),
)
