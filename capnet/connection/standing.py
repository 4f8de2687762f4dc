"""What the parts of a connection stand on: the session that they share, and what of its host or the connection around
it this one has a part of."""

from __future__ import annotations

from itertools import count
from typing import Final

from capnet.contract import Cap, contract_spec
from capnet.engine.engine import Engine
from capnet.engine.ledger import Ledger, kind_in
from capnet.loop import Loop
from capnet.observe import Bus
from capnet.registry import Hosted
from capnet.serving.bootstrap import Bootstrap, BootstrapDispatcher
from capnet.serving.runtime import Runtime, RuntimeService
from capnet.session.capacity import Capacity
from capnet.session.disclosure import is_ours
from capnet.session.fair_share import FIRST_TURNS, FairShare
from capnet.session.faults import Faults
from capnet.session.publisher import Publisher
from capnet.session.session import Session
from capnet.transport import Transport
from capnet.virtual.inside import Inside
from capnet.wire.hello import Hello

__all__ = ["new_session", "share_of", "whole_of"]

_numbers: Final = count(1)


def new_session(
    loop: Loop,
    transport: Transport,
    hello: Hello,
    *,
    bus: Bus | None,
    within: Inside | None,
    capacity: Capacity | None,
    development: bool,
) -> Session:
    """The session of one more connection, with its engine; it has no driver yet.

    Args:
        bus: its host's.
        within: of the connection that carries it.
        capacity: its host's.

    Raises:
        InvalidArgument: our hello does not fit into the frame that every peer takes.
    """
    if within is not None:
        bus = bus or within.session.bus
    whole = whole_of(within, capacity)
    unheard = kind_in(whole)(0, whole)
    publisher = Publisher(Bus(bus, loop, unheard), next(_numbers), loop)
    engine = Engine(hello, loop.now(), bootstrap=_BOOTSTRAP, runtime=_RUNTIME, whole=whole)
    faults = Faults(publisher.bus, publisher.publish)
    session = Session(loop, engine, transport.attestation, publisher, faults, unheard, development=development)
    session.confides = development and within is None and is_ours(transport.attestation)
    return session


def whole_of(within: Inside | None, capacity: Capacity | None) -> Ledger | None:
    """What counts what a connection holds for others as well."""
    if within is not None:
        return within.budget
    return None if capacity is None else capacity.ledger


def share_of(within: Inside | None, capacity: Capacity | None) -> FairShare | None:
    """A peer has one share, with all that it has inside of its connection."""
    if within is not None and within.session.driver.share is not None:
        return within.session.driver.share
    return None if capacity is None else FairShare(capacity.shares, first=FIRST_TURNS)


def _builtin(implementation: Cap, contract: type[Cap]) -> Hosted:
    hosted = Hosted.of(implementation)
    hosted.expose(contract_spec(contract))
    hosted.hold()
    return hosted


_BOOTSTRAP: Final = _builtin(BootstrapDispatcher(), Bootstrap)
_RUNTIME: Final = _builtin(RuntimeService(), Runtime)
