"""`Hosted`: one implementation and everything that keeps it open.

Registrations, exports on any connection and running calls each hold it. When the last lets go its close hook is due,
once in the life of the implementation, whatever happens to it later (P-REF-3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast
from weakref import ref

from capnet.contract import Cap, ContractSpec, Handler, contract_spec, implementation_table

from .turns import Turns

__all__ = ["Hosted"]

_HOSTED: Final = "_capnet_hosted"
_CLOSED: Final = "_capnet_closed"


class Hosted:
    """One implementation in use.

    Attributes:
        implementation: the object, or a function that is a capability.
        holders: registrations, exports and running calls.
        running: calls that run on it.
        generation: of the registration that serves it, 0 without one.
        turns: of its calls, when its contract is ordered; else None.
        granted: its exports on all connections, as their connections keep them.
    """

    __slots__ = (
        "__weakref__",
        "_idle",
        "_tables",
        "generation",
        "granted",
        "holders",
        "implementation",
        "running",
        "turns",
    )

    def __init__(self, implementation: Any) -> None:
        self.implementation = implementation
        self.holders = 0
        self.running = 0
        self.generation = 0
        self.turns: Turns | None = None
        self.granted: dict[Any, None] = {}
        self._idle: list[Callable[[], None]] = []
        self._tables: dict[str, Mapping[str, Handler]] = {}

    @classmethod
    def of(cls, implementation: Cap) -> Hosted:
        """The one `Hosted` of an implementation while anything holds it."""
        known = cast("ref[Hosted] | None", implementation.__dict__.get(_HOSTED))
        hosted = known() if known is not None else None
        if hosted is None:
            hosted = cls(implementation)
            if contract_spec(type(implementation)).ordered:
                hosted.turns = Turns()
            # Weak, or every object that is passed once would be a cycle for the collector to find.
            object.__setattr__(implementation, _HOSTED, ref(hosted))
        return hosted

    def expose(self, spec: ContractSpec) -> None:
        """Make the methods of a contract callable on it.

        Raises:
            ContractError: it lacks some.
        """
        if spec.name not in self._tables:
            self._tables[spec.name] = implementation_table(self.implementation.__class__, spec)

    def handler(self, interface: str, method: str) -> Handler | None:
        """What runs for a method name from the wire: an entry of an explicit table, or nothing (P-CALL-9)."""
        return self._tables[interface].get(method)

    def hold(self) -> None:
        """One holder more."""
        self.holders += 1

    def release(self, close: Callable[[Hosted], None]) -> None:
        """One holder less; `close` is called when that was the last and a close hook is due."""
        self.holders -= 1
        if not self.holders and self._has_close_hook():
            close(self)

    def call_begins(self) -> None:
        """A call runs on it, and holds it."""
        self.holders += 1
        self.running += 1

    def call_ends(self, close: Callable[[Hosted], None]) -> None:
        """That call has ended."""
        self.running -= 1
        if not self.running and self._idle:
            waiting, self._idle = self._idle, []
            for wake in waiting:
                wake()
        self.release(close)

    def when_idle(self, wake: Callable[[], None]) -> None:
        """Call `wake` once, when the last running call has ended."""
        self._idle.append(wake)

    def _has_close_hook(self) -> bool:
        return isinstance(self.implementation, Cap) and type(self.implementation).aclose is not Cap.aclose

    async def aclose(self) -> None:
        """Run the close hook, unless it ran before."""
        if not getattr(self.implementation, _CLOSED, False):
            object.__setattr__(self.implementation, _CLOSED, True)
            await self.implementation.aclose()
