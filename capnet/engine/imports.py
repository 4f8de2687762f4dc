"""Imports: what the peer hosts for us (P-REF-2).

An import lives while somebody here holds it. Every arrival of its id adds one reference that we owe and one holder;
when the last holder lets go, all that is owed goes back in one drop, and a later arrival of the same id begins a new
import.

    live ──cap_revoked──▶ broken (its holders get the error) ──last holder──▶ gone
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from weakref import WeakValueDictionary

from capnet.errors import CapnetError, ProtocolViolation, Revoked

from .exports import BOOTSTRAP_ID, FIRST_USER_ID, RUNTIME_ID

__all__ = ["Import", "ImportTable"]

_MAX_COUNT: Final = 2**31 - 1
MAX_REASONS: Final = 64
"""Different reasons for which capabilities of one peer are held that it has taken back; of others no text stays."""


class Import:
    """One capability of the peer's.

    Attributes:
        id: its cap-id on this connection.
        interface, version: what the peer says it is.
        references: appearances that we owe back.
        holders: local owners.
        named: calls that are held back and name it.
        broken: why it answers nothing any more, or None.
        generation: how often the peer has replaced the implementation behind it, as told.
    """

    __slots__ = ("broken", "generation", "holders", "id", "interface", "named", "references", "version")

    def __init__(self, id: int, interface: str, version: int) -> None:
        self.id = id
        self.interface = interface
        self.version = version
        self.references = 0
        self.holders = self.named = 0
        self.broken: CapnetError | None = None
        self.generation = 0

    def __repr__(self) -> str:
        return f"<Import {self.id} {self.interface} refs={self.references}{' broken' if self.broken else ''}>"


class ImportTable:
    """Imports by id."""

    __slots__ = ("_by_id", "_limit", "_next", "_reasons", "bootstrap", "runtime")

    def __init__(self, limit: int) -> None:
        self.bootstrap = Import(BOOTSTRAP_ID, "capnet.Bootstrap", 1)
        self.runtime = Import(RUNTIME_ID, "capnet.Runtime", 1)
        self._by_id: dict[int, Import] = {}
        self._limit = limit
        self._next = FIRST_USER_ID
        self._reasons: WeakValueDictionary[str, Revoked] | None = None  # most peers take nothing back

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Import]:
        return iter(self._by_id.values())

    def arrive(self, id: int, interface: str, version: int) -> Import:
        """Count one appearance of the peer's cap-id, with a holder for it.

        Raises:
            ProtocolViolation: P-ID-3, the id is built in; P-LIMIT-2, more capabilities than we said we take.
        """
        imported = self._by_id.get(id)
        if imported is None:
            if id < FIRST_USER_ID:
                raise ProtocolViolation("P-ID-3", f"cap-id {id} does not travel")
            if len(self._by_id) >= self._limit:
                raise ProtocolViolation("P-LIMIT-2", f"more than {self._limit} capabilities (Limits.max_caps)")
            imported = self._by_id[id] = Import(id, interface, version)
            self._next = max(self._next, id + 1)
        if imported.references >= _MAX_COUNT:
            raise ProtocolViolation("P-LIMIT-2", f"more than {_MAX_COUNT} references to cap-id {id}")
        imported.references += 1
        imported.holders += 1
        return imported

    def release(self, imported: Import) -> int:
        """One holder lets go. Returns the references to give back: all of them with the last holder, else 0.

        While calls that are held back name it they go back with the last of these: that must not overtake them.
        """
        imported.holders -= 1
        if imported.holders or imported.named or self._by_id.get(imported.id) is not imported:
            return 0
        del self._by_id[imported.id]
        return imported.references

    def told(self, id: int) -> Import | None:
        """The import that the peer speaks of, unless we have let it go.

        Raises:
            ProtocolViolation: P-CAP-6, the id is built in or never came to us.
        """
        if not FIRST_USER_ID <= id < self._next:
            raise ProtocolViolation("P-CAP-6", f"cap-id {id} was never given to us")
        return self._by_id.get(id)

    def revoked(self, reason: str) -> Revoked:
        """What capabilities that the peer takes back are broken with: one error for all that have this reason."""
        reasons = self._reasons
        if reasons is None:
            reasons = self._reasons = WeakValueDictionary()
        if reason not in reasons and len(reasons) >= MAX_REASONS:
            reason = ""
        error = reasons.get(reason)
        if error is None:
            error = reasons[reason] = Revoked(reason)
        return error

    def clear(self) -> list[Import]:
        """Forget every import; returns those that were not broken yet."""
        live = [imported for imported in self._by_id.values() if imported.broken is None]
        self._by_id = {}
        return live

    def check_invariants(self) -> None:
        """I1, I2: an import has holders, and owes at least as much as came."""
        for id, imported in self._by_id.items():
            assert imported.id == id < self._next
            assert imported.holders + imported.named > 0 and 0 < imported.references <= _MAX_COUNT, imported
