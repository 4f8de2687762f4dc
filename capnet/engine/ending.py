"""The end of a connection, and of everything in it with it: each thing once, the connection last (P-CONN-6)."""

from __future__ import annotations

from capnet.errors import CapnetError

from .events import AnswerEnded, CallFailed, ChannelChanged, Closed, ExportEnded, ImportBroken, StreamChanged
from .lifecycle import CloseCause, State
from .tables import Tables

__all__ = ["Ending"]


class Ending:
    """Empties the tables. Whatever leads to the end of a connection comes here last."""

    __slots__ = ("_tables",)

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def check_drained(self) -> None:
        """While draining: end when nothing is in flight any more."""
        if self._tables.lifecycle.state is State.DRAINING:
            cause = self._tables.lifecycle.cause
            assert cause is not None
            tables = self._tables
            if not (tables.answers or tables.calls.outstanding or tables.streams or tables.channels):
                self.finish(cause)

    def finish(self, cause: CloseCause) -> None:
        """End everything, each thing once, and the connection last. Later calls do nothing."""
        tables = self._tables
        if tables.lifecycle.closed:
            return
        tables.lifecycle.move(State.CLOSED, cause)
        tables.turn.unread = False
        cause = tables.lifecycle.cause or cause
        error = cause.error()  # one for all: whoever raises it raises a copy
        self._end_calls(error)
        self._end_streams(error)
        self._end_channels(error)
        self._end_capabilities(error)
        tables.outbox.forget_drops()
        tables.timers.clear_all()
        tables.emit(Closed(cause))

    def _end_calls(self, error: CapnetError) -> None:
        tables = self._tables
        if calls := tables.calls.clear():
            cause = tables.lifecycle.cause
            assert cause is not None
            not_run = cause.error(seen=False)
            for call, sent in calls:
                if call.token is not None:
                    tables.emit(CallFailed(call.token, error if sent else not_run))
        for answer in tables.answers.clear():
            tables.emit(AnswerEnded(answer, error))
        tables.pipelines.clear()
        for ledger in (tables.call_charge, tables.held_charge, tables.partial_charge, tables.backlog_charge):
            if ledger.used:
                ledger.clear()
        tables.reader.forget()

    def _end_streams(self, error: CapnetError) -> None:
        for stream in self._tables.streams.clear():
            if stream.end(error) and stream.token is not None:
                self._tables.emit(StreamChanged(stream))

    def _end_channels(self, error: CapnetError) -> None:
        for channel in self._tables.channels.clear():
            if channel.end(error) and channel.token is not None:
                self._tables.emit(ChannelChanged(channel))

    def _end_capabilities(self, error: CapnetError) -> None:
        for export in [*self._tables.exports.clear(), *self._tables.exports.lingering]:
            self._tables.emit(ExportEnded(export, "closed"))
        self._tables.exports.lingering.clear()
        for imported in self._tables.imports.clear():
            imported.broken = error
            self._tables.emit(ImportBroken(imported, error))
        for builtin in (self._tables.imports.bootstrap, self._tables.imports.runtime):
            builtin.broken = error
