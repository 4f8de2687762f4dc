"""Events in words, to be shown."""

from __future__ import annotations

from dataclasses import dataclass

from capnet.cli.events import words
from capnet.observe import Event
from capnet.plugins import PluginChanged, PluginEnded, PluginSwapped, PluginUnresponsive

__all__ = ["Report", "report"]


@dataclass(frozen=True, slots=True)
class Report:
    """An event: when (seconds since 1970), with which plugin, on which connection, of what kind, and in words."""

    time: float
    plugin: str
    connection: int
    kind: str
    text: str


def report(event: Event) -> Report:
    """An event as a line of text; its kind is the name of its class."""
    match event:
        case PluginChanged():
            plugin, text = event.plugin, f"is {event.state}" + (f": {event.reason}" if event.reason else "")
        case PluginEnded():
            plugin = event.plugin
            text = f"has ended with {event.returncode}, and {event.taken_back} capabilities of it were taken back"
        case PluginUnresponsive():
            plugin, text = event.plugin, f"has not answered for {event.seconds:.1f} s; its process {event.process}"
        case PluginSwapped():
            plugin = event.plugin
            text = f"swap {event.result.replace('_', ' ')}" + (f": {event.reason}" if event.reason else "")
        case _:
            plugin, text = event.principal or "", words(event)
    return Report(event.time, plugin, event.connection, type(event).__name__, text)
