"""`Hosted`: one implementation and everything that keeps it open.

Registrations, exports on any connection and running calls each hold it. When the last lets go its close hook is due,
once in the life of the implementation, whatever happens to it later (P-REF-3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, cast
from weakref import WeakValueDictionary, ref

from capnet.contract import (
    Cap,
    ContractSpec,
    Handler,
    contract_spec,
    edition_of,
    implementation_table,
    implemented_spec,
)
from capnet.contract.implementation import FUNCTIONS, function_table
from capnet.contract.stand_in import StandIn
from capnet.errors import CapnetError, Indeterminate, Revoked, Unavailable

from .turns import Turns

__all__ = ["Grants", "Hosted"]

_HOSTED: Final = "_capnet_hosted"
_CLOSED: Final = "_capnet_closed"
_GRANTS: Final = "_capnet_grants"
_FACET: Final = "_capnet_facet"


_NO_TABLE: Final[Mapping[str, Handler]] = {}
_NO_TABLES: Final[Mapping[ContractSpec, Mapping[str, Handler]]] = {}
_FEW: Final = 64
"""Exports of one object among which those that are gone may stay unnoticed."""


class Grants:
    """The exports of one capability on all connections, as their connections keep them.

    They are kept with the object: also what came of an export that was given back can be taken by it. They are not
    kept alive by it; a `WeakSet` would do the same with eight objects more for each capability that is passed.

    Args:
        owner: the object.
    """

    __slots__ = ("__weakref__", "_around", "_exports", "behind", "owner")

    def __init__(self, owner: object = None) -> None:
        self.owner = id(owner)
        self._exports: dict[ref[Any], None] = {}
        self._around: dict[ref[Any], None] | None = None
        self.behind: Grants | None = None
        """Those of what it stands in front of."""

    def __iter__(self) -> Iterator[Any]:
        return _alive(self._exports)

    @property
    def around(self) -> Iterator[Any]:
        """The exports of what stands in front of it."""
        return _alive(self._around or {})

    def add(self, item: Any) -> None:
        """One more."""
        if len(self._exports) < _FEW:
            self._exports[ref(item)] = None
        else:
            _add(self._exports, item)
        behind = self.behind
        while behind is not None:
            if behind._around is None:  # noqa: SLF001 - another of the same
                behind._around = {}  # noqa: SLF001
            _add(behind._around, item)  # noqa: SLF001
            behind = behind.behind

    def discard(self, item: Any) -> None:
        """One less, if it is there."""
        self._exports.pop(ref(item), None)
        behind = self.behind
        while behind is not None and behind._around is not None:  # noqa: SLF001
            behind._around.pop(ref(item), None)  # noqa: SLF001
            behind = behind.behind


def _alive(exports: dict[ref[Any], None]) -> Iterator[Any]:
    return (item for each in tuple(exports) if (item := each()) is not None)


def _add(exports: dict[ref[Any], None], item: Any) -> None:
    size = len(exports)
    if size >= _FEW and not size & (size - 1):  # each time that it has doubled
        for each in [each for each in exports if each() is None]:
            del exports[each]
    exports[ref(item)] = None


class Hosted:
    """One implementation in use.

    Attributes:
        implementation: the object, or a function that is a capability.
        holders: registrations, exports and running calls.
        running: calls that run on it, and streams that it produces.
        streams: how many of those are streams.
        generation: of the registration that serves it, 0 without one.
        names: the contracts under which it is behind names now.
        served: the name of that.
        turns: of its calls, when its contract is ordered; else None.
        granted: its exports on all connections.
        facets: what stands for it where it came home under a contract, by that; None as long as it never did.
    """

    __slots__ = (
        "__weakref__",
        "_idle",
        "_others",
        "_spec",
        "_table",
        "facets",
        "generation",
        "granted",
        "holders",
        "implementation",
        "names",
        "running",
        "served",
        "streams",
        "turns",
    )

    def __init__(self, implementation: Any) -> None:
        self.implementation = implementation
        self.holders = 0
        self.running = 0
        self.streams = 0
        self.generation = 0
        self.names: tuple[str, ...] = ()
        self.served = ""
        self.turns: Turns | None = None
        self.granted = Grants(implementation)
        self._idle: list[tuple[int, Callable[[], None]]] | None = None
        # Most are exposed under one contract; a table of tables for each would be one object more for each export.
        self._spec: ContractSpec | None = None
        self._table = _NO_TABLE
        self._others = _NO_TABLES
        self.facets: WeakValueDictionary[ContractSpec, StandIn] | None = None

    @classmethod
    def of(cls, implementation: Cap) -> Hosted:
        """The one `Hosted` of an implementation while anything holds it; that of a facet is its object's."""
        facet = implementation.__dict__.get(_FACET)
        if facet is not None:
            return cast("Hosted", facet.hosted)
        known = cast("ref[Hosted] | None", implementation.__dict__.get(_HOSTED))
        hosted = known() if known is not None else None
        if hosted is None or hosted.implementation is not implementation:  # a copy of what was exported is another
            # What stands in front of another object keeps that open too (`capnet/attenuation/wrapper.py`).
            kind: type[Hosted] = getattr(type(implementation), "__capnet_hosted__", cls)
            hosted = kind(implementation)
            grants = cast("Grants | None", implementation.__dict__.get(_GRANTS))
            if grants is not None and grants.owner == id(implementation):
                hosted.granted = grants
            else:
                object.__setattr__(implementation, _GRANTS, hosted.granted)
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
        if spec is not self._spec and spec not in self._others:
            if type(self.implementation) in FUNCTIONS and spec.is_callable:
                table = function_table(spec)
            else:
                table = _table(self.implementation.__class__, spec)
            if self._spec is not None:
                self._others = {**self._others, spec: table}
            else:
                self._spec, self._table = spec, table

    def handler(self, interface: str, contract: ContractSpec | None, method: str) -> Handler | None:
        """What runs for a method name from the wire: an entry of an explicit table, or nothing (P-CALL-9).

        Args:
            interface: what the caller knows it as.
            contract: what it was exposed under; None for the first of these.
        """
        if contract is None or contract is self._spec:
            return self._table.get(method)
        table = self._others.get(contract)
        if table is None:  # of another one that has taken its place, with other type arguments
            self.expose(contract)
            table = self._others[contract]
        return table.get(method)

    @property
    def gone(self) -> CapnetError | None:
        """Why what it stands for answers nothing any more, or None; an object of this program answers always."""
        return None

    @property
    def origin(self) -> int:
        """The generation that what it brings comes of, where that ends with something elsewhere; else 0."""
        return 0

    def check_there(self) -> None:
        """Nothing, where a call on it can be made that is behind a name: that stays, whatever becomes of this.

        Raises:
            Unavailable: `vacant`.
        """
        gone = self.gone
        if gone is not None:
            raise Unavailable(
                f"nothing is behind {self.names[0]} now: {gone.message}",
                reason="vacant",
                retry="after-cooldown",
                details={"generation": self.generation},
            )

    def seen(self, error: CapnetError) -> CapnetError:
        """What those who hold it by a name, or did, are told of an error: it is not what they hold that has ended."""
        if not (self.generation and isinstance(error, Unavailable | Revoked) and error.reason != "vacant"):
            return error
        gone = self.gone
        if gone is None:
            return error
        return Indeterminate(
            f"it may have run or not: generation {self.generation} of what was called has ended: {gone.message}",
            retry="never",
            details={"generation": self.generation},
        )

    def serve(self, contract: str, generation: int) -> None:
        """It is behind a name from now on, which holds it."""
        self.names += (contract,)
        self.generation = generation
        self.hold()

    def unserve(self, contract: str) -> None:
        """It is behind that name no longer; who has taken it from there is to release it."""
        names = list(self.names)
        names.remove(contract)
        self.names = tuple(names)

    def all_granted(self) -> list[Any]:
        """Its exports, and those of what stands in front of it."""
        return [*self.granted, *self.granted.around]

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
        if self._idle:
            self._tell_idle()
        if self.holders > 1:
            self.holders -= 1
        else:
            self.release(close)

    def stream_begins(self) -> None:
        """It produces a stream, which holds it like a call."""
        self.streams += 1
        self.call_begins()

    def stream_ends(self, close: Callable[[Hosted], None]) -> None:
        """That stream has ended."""
        self.streams -= 1
        self.call_ends(close)

    def when_idle(self, wake: Callable[[], None], *, besides: int = 0) -> None:
        """Call `wake` once, when the last running call has ended, or no more than `besides` are left."""
        self._idle = [*(self._idle or ()), (besides, wake)]

    def _tell_idle(self) -> None:
        waiting = self._idle or ()
        due = [entry for entry in waiting if self.running <= entry[0]]
        self._idle = [entry for entry in waiting if self.running > entry[0]] or None
        for _, wake in due:
            wake()

    def _has_close_hook(self) -> bool:
        implementation = self.implementation
        if type(implementation) in FUNCTIONS or not isinstance(implementation, Cap):
            return False
        return type(implementation).aclose is not Cap.aclose or "aclose" in implementation.__dict__

    async def aclose(self) -> None:
        """Run the close hook, unless it ran before."""
        if not self.implementation.__dict__.get(_CLOSED):
            object.__setattr__(self.implementation, _CLOSED, True)
            await self.implementation.aclose()


def _table(kind: type, spec: ContractSpec) -> Mapping[str, Handler]:
    """The methods of a contract, also for a class that implements another edition of it, from a module loaded again.

    Raises:
        ContractError: it lacks some.
    """
    edition = edition_of(spec, kind)
    if edition is spec.cls:
        return implementation_table(kind, spec)
    table = implementation_table(kind, implemented_spec(kind, edition))
    return {name: handler for name, handler in table.items() if name in spec.methods}
