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
        case observe.StreamOpened() | observe.StreamClosed() | observe.CreditStalled():
            return _stream(event)
        case _:
            return _name(event)


def _call(event: observe.CallStarted | observe.CallFinished) -> str:
    words = f"{_arrow(event.direction)} {event.contract}.{event.method} #{event.call}"
    if isinstance(event, observe.CallStarted):
        return words
    return f"{words} {_result(event.result, event.reason)} {event.seconds * 1000:.1f} ms"


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
