"""Names of a module that are loaded when they are first used, so that importing it stays cheap (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["loaded_on_use"]


def loaded_on_use(package: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a module.

    Args:
        package: the module's own name.
        places: for each name the module that has it.
    """

    def load(name: str) -> Any:
        place = places.get(name)
        if place is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(place), name)
        setattr(sys.modules[package], name, value)  # found at once from now on
        return value

    return load
