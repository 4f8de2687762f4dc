"""Events in words, and the events of a peer that come as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from capnet import observe

__all__ = ["BAD", "KINDS", "event_of", "words"]

KINDS: Final[Mapping[str, type[observe.Event]]] = {
    name: kind
    for name, kind in vars(observe).items()
    if isinstance(kind, type) and issubclass(kind, observe.Event) and kind is not observe.Event
}
"""The kinds of events, by name."""
BAD: Final = frozenset({"CapBroken", "CapRevoked", "HandlerFailed", "LimitHit", "PolicyDenied", "ViolationSeen"})
"""Those that stand out."""


def event_of(record: Mapping[str, Any]) -> observe.Event | None:
    """The event that a record of a peer's tells of (see `capnet.Runtime.events`).

    None when it is of a kind that we do not know, or has other fields: of a failure a peer is not told all.
    """
    kind = KINDS.get(record["kind"])
    if kind is None:
        return None
    try:
        return msgspec.convert({**record, **record["fields"]}, kind)
    except msgspec.ValidationError:
        return None


def words(event: observe.Event) -> str:
    """What an event says, without who and when."""
    match event:
        case observe.CallStarted() | observe.CallFinished():
            return _call(event)
        case observe.CapExported(contract=contract, cap=cap):
            return f"gave {contract} as capability {cap}"
        case observe.CapDropped(contract=contract, cap=cap, reason=reason):
            return f"got {contract} back, capability {cap}: {reason}"
        case observe.CapRevoked(contract=contract, cap=cap, reason=reason):
            return f"revoked {contract}, capability {cap}: {reason}"
        case observe.CapBroken(contract=contract, cap=cap, code=code, reason=reason):
            return f"lost {contract}, capability {cap}: {code}/{reason}"
        case observe.CapReplaced(contract=contract, cap=cap, generation=generation):
            return f"{contract}, capability {cap}, is now of generation {generation}"
        case observe.StreamOpened() | observe.StreamClosed() | observe.CreditStalled():
            return _stream(event)
        case _:
            return _name(event)


def _call(event: observe.CallStarted | observe.CallFinished) -> str:
    said = f"{_arrow(event.direction)} {event.contract}.{event.method} #{event.call}"
    if isinstance(event, observe.CallStarted):
        return said
    return f"{said} {_result(event.result, event.reason)} {event.seconds * 1000:.1f} ms"


def _stream(event: observe.StreamOpened | observe.StreamClosed | observe.CreditStalled) -> str:
    match event:
        case observe.StreamOpened(direction=direction, stream=stream):
            return f"{_arrow(direction)} stream {stream}"
        case observe.StreamClosed(direction=direction, stream=stream, items=items, result=result, reason=reason):
            return f"{_arrow(direction)} stream {stream} {_result(result, reason)} {items} items"
        case observe.CreditStalled(stream=stream, seconds=seconds):
            return f"stream {stream} waits for its reader since {seconds:.1f} s"


def _name(event: observe.Event) -> str:
    match event:
        case observe.Bootstrapped(direction=direction, name=name, result=result, reason=reason):
            return f"{'was asked' if direction == 'in' else 'asked'} for {name}: {_result(result, reason)}"
        case observe.PolicyDenied(name=name, method=method, reason=reason):
            return f"denied {name if method is None else f'{name}.{method}'}: {reason}"
        case observe.NameServed(name=name):
            return f"serves {name}"
        case observe.NameReplaced(name=name, generation=generation):
            return f"replaced {name}: generation {generation}"
        case observe.NameUnserved(name=name):
            return f"serves {name} no more"
        case observe.SwapBegan(name=name):
            return f"tries another {name}"
        case observe.SwapEnded(name=name, result=result, generation=generation):
            return f"swap of {name} {result.replace('_', ' ')}: generation {generation}"
        case observe.Reconnecting(attempt=attempt, delay=delay, cause=cause):
            return f"lost: {cause}; attempt {attempt} in {delay:.1f} s"
        case observe.Reconnected(generation=generation, healed=healed, broken=broken):
            return f"connected again: generation {generation}, {len(healed)} names healed, {len(broken)} broken"
        case _:
            return _connection(event)


def _connection(event: observe.Event) -> str:
    match event:
        case observe.ConnectionOpened(transport=transport, peer=peer, version=version):
            return f"connected to {peer or 'a peer'} by {transport}, protocol {version}"
        case observe.ConnectionClosed(cause=cause, message=message):
            return f"connection closed: {cause}, {message}"
        case observe.LimitHit(limit=limit):
            return f"limit {limit}"
        case observe.ViolationSeen(clause=clause, message=message):
            return f"violation of {clause}: {message}"
        case observe.HandlerFailed(where=where, error=error):
            return f"{where} failed: {error}"
        case _:
            return ""


def _arrow(direction: str) -> str:
    return "←" if direction == "in" else "→"


def _result(result: str, reason: str | None) -> str:
    return result if reason is None else f"{result}/{reason}"
