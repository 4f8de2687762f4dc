"""The `CapTable`: what this side hosts for the peer (P-CAP-1, P-REF-1…3).

An export lives from the first appearance of its subject on the wire until its count is zero:

    live ──revoke──▶ revoked (the subject is let go, the id stays until the peer has dropped it)
      └────────── count reaches zero, from either ──────────▶ gone (the id is never used again)

The count is the number of appearances in frames for the peer less those it has given back. Those in a frame that is
held back keep the export alive and are not the peer's to drop yet. The count never falls below zero: a peer that drops
more than it was given is refused before anything changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from capnet.errors import ProtocolViolation, ResourceExhausted
from capnet.limits import NOT_YET_KNOWN
from capnet.wire.references import CapRef, Reference

__all__ = ["BOOTSTRAP_ID", "FIRST_USER_ID", "ONWARD_ID", "RUNTIME_ID", "CapTable", "Export"]

ONWARD_ID: Final = -1
"""Of what a call is made on that goes straight on to another peer: it is in no table."""
BOOTSTRAP_ID: Final = 0
RUNTIME_ID: Final = 1
FIRST_USER_ID: Final = 2
_MAX_COUNT: Final = 2**31 - 1


class Export:
    """One capability that the peer may call.

    Attributes:
        id: its cap-id on this connection.
        subject: what answers its calls; opaque here. None once it was revoked.
        interface, version: the contract it is exported under, as it is told.
        contract: the same as whoever answers the calls knows it; opaque here, and None where the name says it all.
        references: appearances that the peer has not given back.
        unsent: how many of them stand in frames that are held back.
        revoked: why it was revoked, or None.
        pins: what keeps it open also when the peer has dropped it: calls on it, streams of those calls, calls and items
            that bring it home, and answers that are kept and lead to it.
    """

    __slots__ = ("contract", "id", "interface", "pins", "references", "revoked", "subject", "unsent", "version")

    def __init__(self, id: int, subject: Any, interface: str, version: int, contract: Any = None) -> None:
        self.id = id
        self.subject = subject
        self.interface = interface
        self.version = version
        self.contract = contract
        self.references = 0
        self.unsent = 0
        self.revoked: str | None = None
        self.pins = 0

    @property
    def given(self) -> int:
        """References that the peer has, or will have when what was sent has arrived."""
        return self.references - self.unsent

    def __repr__(self) -> str:
        return f"<Export {self.id} {self.interface} refs={self.references}{' revoked' if self.revoked else ''}>"


class CapTable:
    """Exports by id, and by subject and contract. Finding "already exported?" is one look-up."""

    __slots__ = ("_by_subject", "_next", "bounds", "by_id", "limit", "lingering")

    def __init__(self, bootstrap: Any, runtime: Any) -> None:
        self.bounds = NOT_YET_KNOWN
        self.limit = 0
        """How many user exports the peer takes; set from its hello."""
        self.by_id: dict[int, Export] = {
            BOOTSTRAP_ID: Export(BOOTSTRAP_ID, bootstrap, "capnet.Bootstrap", 1),
            RUNTIME_ID: Export(RUNTIME_ID, runtime, "capnet.Runtime", 1),
        }
        """All of them; what the peer may name says `named`."""
        self._by_subject: dict[tuple[int, Any], Export] = {}
        self._next = FIRST_USER_ID
        self.lingering: dict[Export, None] = {}
        """Those that the peer has given back while something here still leads to them (`pins.py`)."""

    def __len__(self) -> int:
        """User exports; the two built in do not count (P-ID-3)."""
        return len(self.by_id) - FIRST_USER_ID

    def __iter__(self) -> Iterator[Export]:
        """The user exports, oldest first."""
        return (export for export in self.by_id.values() if export.id >= FIRST_USER_ID)

    def find(self, id: int) -> Export | None:
        """The export with that id, unless it is gone.

        Raises:
            ProtocolViolation: P-ID-4, the id was never issued.
        """
        export = self.by_id.get(id)
        if export is None and not 0 <= id < self._next:
            raise ProtocolViolation("P-ID-4", f"cap-id {id} was never issued")
        return export

    def named(self, id: int) -> Export | None:
        """The export that the peer means, unless it is gone, or was not given to it yet.

        Raises:
            ProtocolViolation: P-ID-4, the id was never issued.
        """
        export = self.find(id)
        if export is not None and export.unsent and not export.given:
            return None  # the frame that gives it is held back, but its id can be guessed
        return export

    def live(self, export: Export) -> bool:
        """Whether it is a user export of this table, neither revoked nor gone."""
        return export.revoked is None and export.id >= FIRST_USER_ID and self.by_id.get(export.id) is export

    def of(self, subject: Any, contract: Any) -> Export | None:
        """The live export of `subject` under a contract, or under an interface that says it all, if there is one."""
        return self._by_subject.get((id(subject), contract))

    def count(self, references: Iterable[Reference]) -> list[Export]:
        """Count one appearance for each reference to a subject of ours, exporting it first where it is not yet.

        Fills in the ids. Returns the exports that are new. Undo with `uncount` when the frame is not queued.

        Raises:
            ResourceExhausted: `max_caps_per_connection`; nothing has been counted.
        """
        new: list[Export] = []
        counted: list[CapRef] = []
        for reference in references:
            if type(reference) is not CapRef or reference.id < 0:
                continue
            export = self._by_subject.get((id(reference.subject), reference.contract or reference.interface))
            if export is None:
                if len(self.by_id) - FIRST_USER_ID >= self.limit:
                    self.uncount(counted)
                    text = f"the receiver holds {len(self)} capabilities already: {self.bounds.said('max_caps')}"
                    raise ResourceExhausted(text, reason="max_caps_per_connection")
                export = self._add(reference)
                new.append(export)
            export.references += 1
            reference.id = export.id
            reference.version = export.version  # that of the first appearance: what comes home is compared with it
            counted.append(reference)
        return new

    def uncount(self, references: Iterable[Reference]) -> list[Export]:
        """Take back what `count` counted for these references. Returns the exports whose last appearance that was."""
        ended: list[Export] = []
        for export in self._exports_in(references):
            export.references -= 1
            if not export.references:
                self._remove(export)
                ended.append(export)
        return ended

    def hold_back(self, references: Iterable[Reference]) -> None:
        """The frame with these references waits: the peer has not been given them."""
        for export in self._exports_in(references):
            export.unsent += 1

    def let_go(self, references: Iterable[Reference]) -> list[Export]:
        """The frame with these references does not wait any more. Returns the exports in it that were revoked."""
        revoked: list[Export] = []
        for export in self._exports_in(references):
            export.unsent -= 1
            if export.revoked is not None:
                revoked.append(export)
        return revoked

    def drop(self, id: int, count: int) -> Export | None:
        """The peer gives back `count` references. Returns the export when that was its last.

        Raises:
            ProtocolViolation: P-REF-2, it was given fewer; P-ID-3, the id cannot be dropped. Nothing has changed.
        """
        if id < FIRST_USER_ID:
            raise ProtocolViolation("P-ID-3", f"cap-id {id} cannot be dropped")
        export = self.by_id.get(id) or self.find(id)
        if export is None or export.references - export.unsent < count:
            given = 0 if export is None else export.given
            raise ProtocolViolation("P-REF-2", f"drop of {count} references to cap-id {id}, {given} were given")
        export.references -= count
        if export.references:
            return None
        self._remove(export)
        return export

    def revoke(self, export: Export, reason: str) -> bool:
        """Let go of the subject; the id stays until the peer has dropped it. False when there is nothing to do."""
        if not self.live(export):
            return False
        self._forget_subject(export)
        export.subject = None
        export.revoked = reason
        return True

    def replace(self, export: Export, subject: Any) -> None:
        """Put another subject behind the same id (P-CAP-5). One that is exported already keeps its own id as well."""
        self._forget_subject(export)
        export.subject = subject
        self._by_subject.setdefault(_key(export), export)

    def clear(self) -> list[Export]:
        """Forget every user export; returns those that were live."""
        bootstrap, runtime, *exports = self.by_id.values()
        live = [export for export in exports if export.revoked is None]
        self._by_subject.clear()
        self.by_id = {BOOTSTRAP_ID: bootstrap, RUNTIME_ID: runtime}
        return live

    def check_invariants(self) -> None:
        """I2, I3: positive counts, ids below the next, and the two indexes agree."""
        assert self.by_id[BOOTSTRAP_ID].id == BOOTSTRAP_ID and self.by_id[RUNTIME_ID].id == RUNTIME_ID
        for id_, export in self.by_id.items():
            assert export.id == id_ < self._next
        for export in self:
            assert 0 <= export.unsent <= export.references <= _MAX_COUNT and export.references, export
        for key, export in self._by_subject.items():
            assert self.live(export) and _key(export) == key, export

    def _add(self, reference: CapRef) -> Export:
        export = Export(self._next, reference.subject, reference.interface, reference.version, reference.contract)
        self._next += 1
        self.by_id[export.id] = export
        self._by_subject[id(export.subject), export.contract or export.interface] = export
        return export

    def _remove(self, export: Export) -> None:
        del self.by_id[export.id]
        self._forget_subject(export)

    def _forget_subject(self, export: Export) -> None:
        # After `replace` two ids may have one subject; the index knows the elder.
        key = (id(export.subject), export.contract or export.interface)
        if self._by_subject.get(key) is export:
            del self._by_subject[key]

    def _exports_in(self, references: Iterable[Reference]) -> Iterator[Export]:
        return (
            self.by_id[reference.id]
            for reference in references
            if type(reference) is CapRef and reference.id >= FIRST_USER_ID
        )


def _key(export: Export) -> tuple[int, Any]:
    return id(export.subject), export.contract or export.interface
