"""The room of toolboxes: many tools behind one capability, found and called by name.

Owns: the contract `Toolbox`, and what makes one of hosts, of connections and of functions; what is held against the
calls of a tool (grants, rates, times, an approval), the audit log of them, and pages.
Must not know: how a tool is reached by those who speak another protocol; that is for `capnet.gateways`.

A tool is a method of something that is served, called by way of a connection, so what holds for any call holds for
it. Open `contract.py` first (what callers see), then `box.py` (what is done with a call), `source.py` and `served.py`
(where tools come from), `functions.py` (functions become capabilities), `rules.py`, `approval.py`, `audit.py`,
`paging.py`; `life.py` opens and closes what a toolbox needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from capnet.lazy import loaded_on_use

if TYPE_CHECKING:
    from capnet.toolbox.approval import ToolRequest
    from capnet.toolbox.audit import ToolCalled
    from capnet.toolbox.box import ToolboxServer, toolbox
    from capnet.toolbox.contract import (
        Outcome,
        Page,
        Progress,
        Step,
        Toolbox,
        ToolDescription,
        ToolFilter,
        ToolSummary,
    )
    from capnet.toolbox.functions import tool
    from capnet.toolbox.paging import collect, paged
    from capnet.toolbox.rules import Rule
    from capnet.toolbox.source import Extras, Offered, Source

__all__ = [
    "Extras",
    "Offered",
    "Outcome",
    "Page",
    "Progress",
    "Rule",
    "Source",
    "Step",
    "ToolCalled",
    "ToolDescription",
    "ToolFilter",
    "ToolRequest",
    "ToolSummary",
    "Toolbox",
    "ToolboxServer",
    "collect",
    "paged",
    "tool",
    "toolbox",
]

_LAZY = {
    "Extras": "capnet.toolbox.source",
    "Offered": "capnet.toolbox.source",
    "Outcome": "capnet.toolbox.contract",
    "Page": "capnet.toolbox.contract",
    "Progress": "capnet.toolbox.contract",
    "Rule": "capnet.toolbox.rules",
    "Source": "capnet.toolbox.source",
    "Step": "capnet.toolbox.contract",
    "ToolCalled": "capnet.toolbox.audit",
    "ToolDescription": "capnet.toolbox.contract",
    "ToolFilter": "capnet.toolbox.contract",
    "ToolRequest": "capnet.toolbox.approval",
    "ToolSummary": "capnet.toolbox.contract",
    "Toolbox": "capnet.toolbox.contract",
    "ToolboxServer": "capnet.toolbox.box",
    "collect": "capnet.toolbox.paging",
    "paged": "capnet.toolbox.paging",
    "tool": "capnet.toolbox.functions",
    "toolbox": "capnet.toolbox.box",
}

__getattr__ = loaded_on_use(__name__, _LAZY)
