"""`Reference`: one local owner of a capability of the peer's, or of the promise of one."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from capnet.calls.call import Caller, Target
from capnet.contract import ContractSpec
from capnet.errors import Released
from capnet.registry import Hosted
from capnet.revocation.lineage import Granted

__all__ = ["Elsewhere", "Reference"]


class Reference:
    """One local owner of an import, or of the promise of one.

    Giving it back twice is harmless; using it afterwards raises `Released`.

    Args:
        caller: makes calls at the peer; references of one connection have the same.
        narrowed: somebody has given it who holds less than the import is; so it does not go home as that.
    """

    __slots__ = ("__weakref__", "caller", "imported", "narrowed", "released")

    def __init__(self, caller: Caller, imported: Target, narrowed: bool = False) -> None:
        self.caller = caller
        self.imported = imported
        self.narrowed = narrowed
        self.released = False

    def usable(self) -> Target:
        """What it owns, while it is ours.

        Raises:
            Released: it was given back.
        """
        if self.released:
            if self.caller.session.engine.lifecycle.closed:
                raise Released(f"this proxy of {self.imported.interface} was given back, and its connection has closed")
            raise Released(
                f"this proxy of {self.imported.interface} was given back", hint="dup() it to keep one of your own"
            )
        return self.imported

    def release(self) -> None:
        """Give it back; leaves with the next frames."""
        if not self.released:
            self.caller.session.loop.check()
            self.released = True
            self.caller.held.release(self.imported)

    def __del__(self) -> None:
        # The finaliser may run anywhere, even inside the engine: it only leaves a note (architecture §4).
        if not self.released:
            self.released = True
            self.caller.held.note_collected(self.imported)


class Elsewhere(Hosted):
    """What stands on one connection for a capability that lives on another: `capnet/forwarding/forwarder.py`.

    Attributes:
        reference: to that, over there.
        parent: what came before it, when a call just goes on after another.
    """

    __slots__ = ("parent", "reference")

    reference: Reference
    parent: Granted | None

    @property
    def origin(self) -> int:
        """See `Hosted`."""
        return self.generation

    @abstractmethod
    def proxy(self, contract: ContractSpec | None) -> Any:
        """It has come home: the capability itself."""
