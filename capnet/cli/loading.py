"""Objects that are named on the command line, as MODULE:NAME."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from capnet.cli.exits import Stop
from capnet.nearest import nearest

__all__ = ["load_object"]


def load_object(target: str) -> Any:
    """What is called so in a module, which is looked for in the working directory first.

    Args:
        target: `MODULE:NAME`, with dots in either where they belong.

    Raises:
        Stop: there is no such module, or nothing of that name in it. What the module itself raises comes out as it is.
    """
    module_name, _, names = target.partition(":")
    if not module_name or not names:
        raise Stop(f"{target!r} names nothing", hint="write MODULE:NAME, such as app:Chat")
    if "" not in sys.path:
        sys.path.insert(0, "")
    found: Any = _module(module_name)
    for name in names.split("."):
        if not hasattr(found, name):
            where = getattr(found, "__name__", module_name)
            raise Stop(f"there is no {name!r} in {where}", hint=nearest(name, _public(found)))
        found = getattr(found, name)
    return found


def _module(name: str) -> Any:
    try:
        known = find_spec(name) is not None
    except (ImportError, ValueError):  # of a package that is not there, or is none
        known = False
    if not known:
        raise Stop(f"there is no module {name!r}", hint="it is looked for in this directory and where Python looks")
    return import_module(name)


def _public(found: object) -> list[str]:
    return [name for name in dir(found) if not name.startswith("_")]
