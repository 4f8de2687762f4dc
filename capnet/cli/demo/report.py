"""Events in words, to be shown here or told to the host."""

from __future__ import annotations

from capnet import observe
from capnet.cli.demo.contract import Console, Report
from capnet.cli.events import words
from capnet.contract import contract_spec

__all__ = ["concerns_console", "report"]

_CONSOLE = contract_spec(Console).name


def concerns_console(event: observe.Event) -> bool:
    """Whether an event is about a call that carries such reports: reporting those would never end."""
    return isinstance(event, observe.CallStarted | observe.CallFinished) and event.contract == _CONSOLE


def report(event: observe.Event) -> Report:
    """An event as a line of text; its kind is the name of its class."""
    return Report(event.time, event.connection, type(event).__name__, words(event))
