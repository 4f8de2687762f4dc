"""A frame as plain data for a recording.

Numbers, names, codes and references are told as they are. Values are told by type and size, unless they are wanted:
arguments, results, items, texts of errors and of reasons, what comes along with a call. What a hello carries for the
policy is never told, for it is most often a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, Final, TypeAlias, cast

from capnet.wire.frames import Op
from capnet.wire.references import AnswerRef, CapRef, StreamRef

__all__ = ["Show", "entry", "size_of", "whole"]

Show: TypeAlias = Callable[[Any], Any]
"""What is told of a value."""
MOST: Final = 1024
"""Characters of a text, digits of bytes, and items of a list that are told of a value."""


def size_of(value: Any) -> Any:
    """A value by type and size; a reference as it is."""
    if isinstance(value, CapRef | AnswerRef | StreamRef):
        return _reference(value)
    kind = type(value).__name__
    return f"<{kind} {len(value)}>" if kind in _SIZED else f"<{kind}>"


def whole(value: Any) -> Any:
    """A value itself, as JSON has it: bytes by their hexadecimal digits, what is very long cut off."""
    if isinstance(value, CapRef | AnswerRef | StreamRef):
        return _reference(value)
    shown = _WHOLE.get(type(value).__name__)
    return value if shown is None else shown(value)


def _text(value: str) -> str:
    return value if len(value) <= MOST else f"{value[:MOST]}… ({len(value)} characters)"


def _bytes(value: bytes) -> str:
    digits = value[: MOST // 2].hex()
    return f"h'{digits}'" if len(value) <= MOST // 2 else f"h'{digits}…' ({len(value)} bytes)"


def _list(value: list[Any]) -> list[Any]:
    return [*map(whole, value[:MOST]), *([f"… ({len(value)} items)"] if len(value) > MOST else ())]


def _map(value: dict[Any, Any]) -> dict[str, Any]:
    return {str(whole(key)): whole(one) for key, one in islice(value.items(), MOST)}


def entry(frame: Sequence[Any], references: Sequence[Any], show: Show) -> dict[str, Any]:
    """What is told of a frame.

    Args:
        frame: of a shape that `capnet.wire.frames.check` lets through.
        references: in it.
        show: what is told of a value.
    """
    make = _ENTRIES.get(frame[0])
    told: dict[str, Any] = {"op": f"op {frame[0]}"} if make is None else make(frame, show)
    if references:
        told["references"] = [_reference(reference) for reference in references]
    return told


def _reference(reference: CapRef | AnswerRef | StreamRef) -> str:
    match reference:
        case CapRef():
            return f"cap {reference.id} {reference.interface}"
        case AnswerRef():
            return _answer(reference.id, reference.path)
        case StreamRef():
            return f"stream {reference.id} {reference.direction}"


def _answer(call: int, path: Sequence[str | int]) -> str:
    return "/".join((f"answer {call}", *map(str, path)))


def _hello(frame: Sequence[Any], _: Show) -> dict[str, Any]:
    options = dict(cast("Mapping[str, Any]", frame[3]))
    if "auth" in options:
        options["auth"] = size_of(options["auth"])
    return {"op": "hello", "versions": frame[2], "options": options}


def _goaway(frame: Sequence[Any], show: Show) -> dict[str, Any]:
    return {"op": "goaway", "last": frame[1], "code": frame[2], "message": show(frame[3]), "grace_ms": frame[4]}


def _call(frame: Sequence[Any], show: Show) -> dict[str, Any]:
    target = frame[2]
    told: dict[str, Any] = {
        "op": "call",
        "id": frame[1],
        "target": target if isinstance(target, int) else _answer(target[0], target[1:]),
        "method": frame[3],
        "arguments": {name: show(value) for name, value in frame[4].items()},
    }
    if target == 0 and isinstance(frame[4].get("name"), str):
        told["arguments"]["name"] = frame[4]["name"]  # of what is asked for: a name, and no value
    if len(frame) > 5:
        meta = dict(frame[5])
        if "context" in meta:
            meta["context"] = {name: show(value) for name, value in meta["context"].items()}
        told["meta"] = meta
    return told


def _result(frame: Sequence[Any], show: Show) -> dict[str, Any]:
    return {"op": "result", "id": frame[1], "value": show(frame[2])}


def _error(frame: Sequence[Any], show: Show) -> dict[str, Any]:
    return {"op": "error", "id": frame[1], **_failure(frame[2:], show)}


def _failure(parts: Sequence[Any], show: Show) -> dict[str, Any]:
    """Code, message and details, of which the reason is a word of the protocol's."""
    told: dict[str, Any] = {"code": parts[0], "message": show(parts[1])}
    if len(parts) > 2:
        details = dict(cast("Mapping[str, Any]", parts[2]))
        reason = details.pop("reason", None)
        told["reason"] = reason if isinstance(reason, str) else show(reason)
        told["details"] = {str(name): show(value) for name, value in details.items()}
    return told


def _cancel(frame: Sequence[Any], show: Show) -> dict[str, Any]:
    return {"op": "cancel", "id": frame[1], **_reason(frame[2:], show)}


def _reason(parts: Sequence[Any], show: Show) -> dict[str, Any]:
    return {"reason": show(parts[0])} if parts else {}


def _finish(frame: Sequence[Any], _: Show) -> dict[str, Any]:
    return {"op": "finish", "id": frame[1]}


def _items(frame: Sequence[Any], show: Show) -> dict[str, Any]:
    return {
        "op": "items",
        "stream": frame[1],
        "count": len(frame[2]),
        "items": [show(item) for item in frame[2][:MOST]],
    }


def _credit(frame: Sequence[Any], _: Show) -> dict[str, Any]:
    if frame[1] == 0:
        return {"op": "credit", "calls": frame[2]}
    return {"op": "credit", "stream": frame[1], "items": frame[2], "bytes": frame[3]}


def _end(frame: Sequence[Any], show: Show) -> dict[str, Any]:
    return {"op": "end", "stream": frame[1], **(_failure(frame[2:], show) if len(frame) > 2 else {})}


def _stop(frame: Sequence[Any], show: Show) -> dict[str, Any]:
    return {"op": "stop", "stream": frame[1], **_reason(frame[2:], show)}


def _drop(frame: Sequence[Any], _: Show) -> dict[str, Any]:
    return {"op": "drop", "caps": frame[1]}


def _revoked(frame: Sequence[Any], show: Show) -> dict[str, Any]:
    return {"op": "cap_revoked", "caps": frame[1], "reason": show(frame[2])}


def _replaced(frame: Sequence[Any], _: Show) -> dict[str, Any]:
    return {"op": "cap_replaced", "caps": frame[1], "generation": frame[2]}


def _ping(frame: Sequence[Any], _: Show) -> dict[str, Any]:
    return {"op": "ping", "n": frame[1]}


def _pong(frame: Sequence[Any], _: Show) -> dict[str, Any]:
    return {"op": "pong", "n": frame[1]}


def _abort(frame: Sequence[Any], _: Show) -> dict[str, Any]:
    return {"op": "abort", "clause": frame[1], "message": frame[2]}


def _open(frame: Sequence[Any], show: Show) -> dict[str, Any]:
    return {"op": "open", **_opening(frame, show)}


def _accept(frame: Sequence[Any], show: Show) -> dict[str, Any]:
    return {"op": "accept", **_opening(frame, show)}


def _opening(frame: Sequence[Any], show: Show) -> dict[str, Any]:
    metadata = cast("Mapping[str, Any]", frame[3] if len(frame) > 3 else {})
    return {"channel": frame[1], "bytes": frame[2], "metadata": {name: show(value) for name, value in metadata.items()}}


def _reject(frame: Sequence[Any], show: Show) -> dict[str, Any]:
    return {"op": "reject", "channel": frame[1], **_failure(frame[2:], show)}


def _data(frame: Sequence[Any], _: Show) -> dict[str, Any]:
    """What is said inside is told where it is a connection, and there is no secret of its hello in it."""
    return {"op": "data", "channel": frame[1], "data": size_of(frame[2])}


def _close(frame: Sequence[Any], show: Show) -> dict[str, Any]:
    return {"op": "close", "channel": frame[1], **(_failure(frame[2:], show) if len(frame) > 2 else {})}


def _room(frame: Sequence[Any], _: Show) -> dict[str, Any]:
    return {"op": "room", "channel": frame[1], "bytes": frame[2]}


_SIZED: Final = ("str", "bytes", "list", "dict")
_WHOLE: Final[Mapping[str, Callable[[Any], Any]]] = {"str": _text, "bytes": _bytes, "list": _list, "dict": _map}
_ENTRIES: Final[Mapping[int, Callable[[Sequence[Any], Show], dict[str, Any]]]] = {
    Op.HELLO: _hello,
    Op.GOAWAY: _goaway,
    Op.CALL: _call,
    Op.RESULT: _result,
    Op.ERROR: _error,
    Op.CANCEL: _cancel,
    Op.FINISH: _finish,
    Op.ITEMS: _items,
    Op.CREDIT: _credit,
    Op.END: _end,
    Op.STOP: _stop,
    Op.DROP: _drop,
    Op.CAP_REVOKED: _revoked,
    Op.CAP_REPLACED: _replaced,
    Op.PING: _ping,
    Op.PONG: _pong,
    Op.ABORT: _abort,
    Op.OPEN: _open,
    Op.ACCEPT: _accept,
    Op.REJECT: _reject,
    Op.DATA: _data,
    Op.CLOSE: _close,
    Op.ROOM: _room,
}
