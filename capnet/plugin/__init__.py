"""The plugin's side of the plugin host: a whole plugin is a function and `capnet.plugin.run`.

Owns: what a plugin says of itself (read from the annotations of its main function), what host and plugin say to each
other before and beside their calls, and the program around it.
Must not know: `capnet.plugins`, the host's side, which uses this one.

Open `running.py` first (what users call), then `control.py` (what goes over the wire), `manifest.py` (what annotations
say) and `service.py` (what the host may ask).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from capnet.lazy import loaded_on_use

if TYPE_CHECKING:
    from capnet.plugin.manifest import Context
    from capnet.plugin.running import NOT_A_PLUGIN, run

__all__ = ["NOT_A_PLUGIN", "Context", "run"]

_LAZY = {
    "NOT_A_PLUGIN": "capnet.plugin.running",
    "Context": "capnet.plugin.manifest",
    "run": "capnet.plugin.running",
}

__getattr__ = loaded_on_use(__name__, _LAZY)
