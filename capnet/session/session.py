"""`Session`: what every part of one connection uses, and what is no part's own.

Each part is given this and the parts that it works with; none knows the `Connection`, which makes them all.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

from capnet.engine.engine import Engine
from capnet.engine.ledger import Ledger
from capnet.engine.lifecycle import CloseCause
from capnet.limits import Limits
from capnet.loop import Loop
from capnet.observe import Bus
from capnet.registry import Hosted
from capnet.transport import Attestation

from .driver import Driver
from .faults import Faults
from .publisher import Publisher

__all__ = ["MustSucceed", "Session"]


class Session:
    """One connection, as its parts see it.

    Args:
        loop: that it runs in.
        engine: its state, and the words it has with the peer.
        attestation: what is proven about the peer now.
        publisher: publishes its events.
        faults: is told of what goes wrong in code of this program.
        unheard: counts what its events take up that wait for those who observe it.

    Attributes:
        number: tells it apart from the others of this process.
        driver: moves bytes and events; set once there is a transport.
        must_succeed: a block in which the peer must be told something.
        development: it is watched what runs for it.
        confides: the peer is told where in our code an error was raised.
        guarded: a policy is asked about each call of the peer's.
        over: everything has ended.
    """

    __slots__ = (
        "__weakref__",
        "attestation",
        "bus",
        "close_hosted",
        "confides",
        "development",
        "driver",
        "engine",
        "faults",
        "guarded",
        "limits",
        "loop",
        "must_succeed",
        "number",
        "over",
        "owner",
        "part_ended",
        "publisher",
        "unheard",
    )

    driver: Driver
    close_hosted: Callable[[Hosted], None]
    """Runs the close hook of an implementation that nobody uses any more."""
    owner: object
    """What users hold of it."""
    part_ended: Callable[..., None]
    """Is told by each part that has nothing left to do after the end."""

    def __init__(
        self,
        loop: Loop,
        engine: Engine,
        attestation: Attestation,
        publisher: Publisher,
        faults: Faults,
        unheard: Ledger,
        *,
        development: bool = False,
    ) -> None:
        self.loop = loop
        self.engine = engine
        self.limits: Limits = engine.limits
        self.number = publisher.number
        self.attestation = attestation
        self.bus: Bus = publisher.bus
        self.publisher = publisher
        publisher.known = self
        self.faults = faults
        self.must_succeed = MustSucceed(self)
        self.development = development
        self.confides = False
        self.guarded = False
        self.over = False
        self.unheard = unheard

    @property
    def charge(self) -> int:
        """What its peer takes up here."""
        return self.engine.charge + self.unheard.used

    @property
    def peer_name(self) -> str:
        """What the peer calls itself; proves nothing. Empty until the handshake is done."""
        peer = self.engine.lifecycle.peer
        return "" if peer is None else peer.name

    @property
    def peer_auth(self) -> Any:
        """What the peer's hello carried for the policy, unverified."""
        return self.engine.peer.auth if self.engine.peer is not None else None

    def strike(self, reason: str) -> None:
        """The peer ran into a limit that is kept outside of the engine."""
        self.engine.strike(reason)
        self.driver.handle_events()

    def crash(self, error: Exception) -> None:
        """A fault of capnet itself: end this connection, and no other."""
        internal = self.faults.unexpected("dispatch", error)
        self.engine.finish(CloseCause("lost", f"internal error {internal.details['correlation']}"))
        self.driver.drain()


class MustSucceed:
    """A block in which the peer must be told something: it is, or the connection ends, which tells it as well.

        with session.must_succeed:
            engine.fail(answer, error)

    Half of it must not have happened: a call would never be answered, a stream would never end. So a fault of our own,
    such as no memory, ends the one connection that it happened in, and nothing else.
    """

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self._session.crash(error)
        return True
