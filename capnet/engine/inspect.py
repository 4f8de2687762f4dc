"""Looking into an engine: every table as plain data, the counts, and the invariants that hold after every step."""

from __future__ import annotations

from typing import Any

from .engine import Engine
from .lifecycle import State
from .stream import InStream, OutStream

__all__ = ["check_invariants", "snapshot", "stats"]


def stats(engine: Engine) -> dict[str, int]:
    """How much of each bounded thing there is now."""
    return {
        "exports": len(engine.exports),
        "export_references": sum(export.references for export in engine.exports),
        "imports": len(engine.imports),
        "import_references": sum(imported.references for imported in engine.imports),
        "calls": len(engine.calls),
        "calls_held": engine.calls.waiting,
        "answers": len(engine.answers),
        "answers_queued": len(engine.answers.queue),
        "answers_waiting": len(engine.answers.waiting),
        "answers_kept": len(engine.pipelines),
        "streams": len(engine.streams),
        "virtual_connections": len(engine.channels),
        "call_charge": engine.call_charge.used,
        "held_charge": engine.held_charge.used,
        "strikes": engine.strikes.count,
    }


def snapshot(engine: Engine) -> dict[str, Any]:
    """Every table, as plain data that can be printed, compared or sent."""
    return {
        "state": engine.lifecycle.state.value,
        "cause": str(engine.lifecycle.cause) if engine.lifecycle.cause else None,
        "peer": engine.peer.name if engine.peer else None,
        "exports": [
            {
                "id": export.id,
                "interface": export.interface,
                "version": export.version,
                "references": export.references,
                "revoked": export.revoked,
            }
            for export in engine.exports
        ],
        "imports": [
            {
                "id": imported.id,
                "interface": imported.interface,
                "version": imported.version,
                "references": imported.references,
                "holders": imported.holders,
                "broken": str(imported.broken) if imported.broken else None,
                "generation": imported.generation,
            }
            for imported in engine.imports
        ],
        "calls": [
            {"id": call.id, "target": call.target.id, "cancelled": call.token is None, "kept": call.kept}
            for call in engine.calls
        ],
        "calls_held": engine.calls.waiting,
        "answers": [
            {
                "id": answer.id,
                "target": answer.target if answer.export is None else answer.export.id,
                "method": answer.method,
                "state": answer.state.value,
            }
            for answer in engine.answers
        ],
        "answers_kept": len(engine.pipelines),
        "streams": [
            {
                "id": stream.id,
                "direction": "out" if isinstance(stream, OutStream) else "in",
                "items": stream.items,
                "bytes": stream.bytes,
                "ending": stream.closed is not None if isinstance(stream, OutStream) else stream.stopped,
            }
            for stream in engine.streams
        ],
        "virtual_connections": [
            {
                "id": channel.id,
                "accepted": channel.accepted,
                "room": channel.room,
                "waiting": len(channel.data),
                "ending": channel.left or channel.heard,
            }
            for channel in engine.channels
        ],
    }


def check_invariants(engine: Engine) -> None:
    """Assert what holds after every step (reliability §4); for tests and fuzzing, it looks at every entry."""
    engine.exports.check_invariants()
    engine.imports.check_invariants()
    engine.calls.check_invariants()
    engine.answers.check_invariants()
    engine.pipelines.check_invariants()
    engine.streams.check_invariants()
    engine.channels.check_invariants()
    _check_charges(engine)
    if engine.lifecycle.state is State.CLOSED:
        assert not any(stats(engine)[key] for key in stats(engine) if key != "strikes"), stats(engine)
        assert engine.next_deadline() is None
    if engine.peer is not None and engine.lifecycle.accepts_calls:
        assert len(engine.calls) <= engine.calls.limit
        for party, line in engine.calls.held.items():
            assert not engine.calls.has_room_for(line[0]) or (party is not None and None in engine.calls.held)


def _check_charges(engine: Engine) -> None:
    """I11: what the tables hold is what the ledgers say; streams that are gone may still be read."""
    assert engine.call_charge.used == sum(answer.charge for answer in engine.answers)
    held = sum(stream.in_use + sum(batch[3] for batch in stream.batches) for stream in _in_streams(engine))
    held += sum(len(channel.data) for channel in engine.channels)
    assert held <= engine.held_charge.used


def _in_streams(engine: Engine) -> list[InStream]:
    return [stream for stream in engine.streams if isinstance(stream, InStream)]
