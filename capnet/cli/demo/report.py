"""Events in words, to be shown here or told to the host."""

from __future__ import annotations

from capnet import observe
from capnet.cli.demo.contract import Console, Report
from capnet.contract import contract_spec

__all__ = ["concerns_console", "report"]

_CONSOLE = contract_spec(Console).name


def concerns_console(event: observe.Event) -> bool:
    """Whether an event is about a call that carries such reports: reporting those would never end."""
    return isinstance(event, observe.CallStarted | observe.CallFinished) and event.contract == _CONSOLE


def report(event: observe.Event) -> Report:
    """An event as a line of text; its kind is the name of its class."""
    return Report(event.time, event.connection, type(event).__name__, _words(event))


def _words(event: observe.Event) -> str:
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
        case _:
            return _connection_or_name(event)


def _call(event: observe.CallStarted | observe.CallFinished) -> str:
    arrow = "←" if event.direction == "in" else "→"
    words = f"{arrow} {event.contract}.{event.method} #{event.call}"
    if isinstance(event, observe.CallStarted):
        return words
    result = event.result if event.reason is None else f"{event.result}/{event.reason}"
    return f"{words} {result} {event.seconds * 1000:.1f} ms"


def _connection_or_name(event: observe.Event) -> str:
    match event:
        case observe.ConnectionOpened(transport=transport, peer=peer, version=version):
            return f"connected to {peer or 'a peer'} by {transport}, protocol {version}"
        case observe.ConnectionClosed(cause=cause, message=message):
            return f"connection closed: {cause}, {message}"
        case observe.Bootstrapped(name=name, result=result):
            return f"was asked for {name}: {result}"
        case observe.NameServed(name=name):
            return f"serves {name}"
        case observe.NameReplaced(name=name, generation=generation):
            return f"replaced {name}: generation {generation}"
        case observe.NameUnserved(name=name):
            return f"serves {name} no more"
        case observe.LimitHit(limit=limit):
            return f"limit {limit}"
        case observe.ViolationSeen(clause=clause, message=message):
            return f"violation of {clause}: {message}"
        case observe.HandlerFailed(where=where, error=error):
            return f"{where} failed: {type(error).__name__}: {error}"
        case _:
            return ""
