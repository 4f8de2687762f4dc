"""The plugin host: other people's programs in processes of their own, looked after and swapped while in use.

Owns: how a plugin is described and found, started and stopped, when it is started again, what becomes of its output,
and its swap.
Must not know: the plugin's own code; that is on the other side, with `capnet.plugin` around it.

Open `host.py` and `plugin.py` first (the words of users), then `life.py` (one plugin over all its processes),
`supervision.py` (when it is started again; rules without a clock), `launching.py` and `process.py` (how a process
becomes ready), `instance.py` (one process), `swapping.py` (two of them), `output.py` (what they write), `spec.py` and
`discovery.py` (what is known before), `verdict.py`, `confinement.py`, `order.py`, `events.py`, `remote.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from capnet.lazy import loaded_on_use

if TYPE_CHECKING:
    from capnet.plugins.discovery import FoundPlugin, discover
    from capnet.plugins.events import PluginChanged, PluginEnded, PluginSwapped, PluginUnresponsive
    from capnet.plugins.host import PluginHost
    from capnet.plugins.output import Line
    from capnet.plugins.plugin import Plugin
    from capnet.plugins.remote import PluginControl, PluginInfo
    from capnet.plugins.spec import PluginSpec
    from capnet.plugins.swapping import PluginSwap

__all__ = [
    "FoundPlugin",
    "Line",
    "Plugin",
    "PluginChanged",
    "PluginControl",
    "PluginEnded",
    "PluginHost",
    "PluginInfo",
    "PluginSpec",
    "PluginSwap",
    "PluginSwapped",
    "PluginUnresponsive",
    "discover",
]

_LAZY = {
    "FoundPlugin": "capnet.plugins.discovery",
    "Line": "capnet.plugins.output",
    "Plugin": "capnet.plugins.plugin",
    "PluginChanged": "capnet.plugins.events",
    "PluginControl": "capnet.plugins.remote",
    "PluginEnded": "capnet.plugins.events",
    "PluginHost": "capnet.plugins.host",
    "PluginInfo": "capnet.plugins.remote",
    "PluginSpec": "capnet.plugins.spec",
    "PluginSwap": "capnet.plugins.swapping",
    "PluginSwapped": "capnet.plugins.events",
    "PluginUnresponsive": "capnet.plugins.events",
    "discover": "capnet.plugins.discovery",
}

__getattr__ = loaded_on_use(__name__, _LAZY)
