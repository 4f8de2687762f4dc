"""What is done with capabilities of ours: take them back, put others in their place (P-CAP-5, P-CAP-6)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from capnet.errors import cut_text
from capnet.wire.frames import Op

from .answering import Answering
from .events import ExportEnded
from .exports import Export
from .streaming import Streaming
from .tables import Tables

__all__ = ["Exporting"]


class Exporting:
    """The capabilities that one side hosts."""

    __slots__ = ("_answering", "_streaming", "_tables")

    def __init__(self, tables: Tables, answering: Answering, streaming: Streaming) -> None:
        self._tables = tables
        self._answering = answering
        self._streaming = streaming

    def of(self, subject: Any) -> list[Export]:
        """Every user export behind which `subject` answers, also one given back whose calls or streams have not ended.

        It looks at every entry: for replacement, not for calls.
        """
        return [
            export for export in (*self._tables.exports, *self._tables.exports.lingering) if export.subject is subject
        ]

    def revoke(self, exports: Iterable[Export], reason: str) -> None:
        """Take capabilities of ours back: calls on them are answered, the peer is told, later calls do not arrive.

        Those that are revoked already, or gone, and the built-in two stay as they are.
        """
        told: list[int] = []
        for export in exports:
            if export in self._tables.exports.lingering:
                del self._tables.exports.lingering[export]  # it ends here, not when what leads to it is gone
                export.subject, export.revoked = None, reason
            elif not self._tables.exports.revoke(export, reason):
                continue
            self._tables.emit(ExportEnded(export, "revoked"))
            if export.given:  # else the peer is told when the frame that mentions it leaves
                told.append(export.id)
        self._tables.outbox.send_many(Op.CAP_REVOKED, told, cut_text(reason))
        self._answering.revoke()
        self._streaming.revoke()

    def replace(self, exports: Sequence[Export], subject: Any, generation: int) -> None:
        """Put another subject behind the ids of live exports, for calls that have not started (P-CAP-5)."""
        replaced = [export for export in exports if self._tables.exports.live(export)]
        for export in replaced:
            self._tables.exports.replace(export, subject)
        for export in exports:
            if export in self._tables.exports.lingering:
                export.subject = subject
        self.tell_replaced(replaced, generation)

    def tell_replaced(self, exports: Iterable[Export], generation: int) -> None:
        """Say that something else answers behind the ids of exports, however that came about."""
        given = [export.id for export in exports if export.given and self._tables.exports.live(export)]
        self._tables.outbox.send_many(Op.CAP_REPLACED, given, generation)
