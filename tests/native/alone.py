"""The pure code without the one in C: for faults that are planted in it, which the other would hide."""

from __future__ import annotations

import sys

import pytest

from capnet.native import PURE, core

__all__ = ["pure_code_alone"]


def pure_code_alone(patch: pytest.MonkeyPatch) -> None:
    """Wherever the code in C was imported, the pure code stands until the test is over."""
    twins = [] if core is None else [(name, getattr(core, name), pure) for name, pure in PURE.items()]
    for module in list(sys.modules.values()):
        for name, native, pure in twins:
            if module is not core and vars(module).get(name) is native:
                patch.setattr(module, name, pure)
