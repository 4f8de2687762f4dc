"""The hot part of `capnet.wire` written in C: optional, behind the same doors, and never the judge of anything.

Owns: what cuts, decodes, checks, walks and encodes frames (`*.c`), and the choice between that and the pure code.
Must not know: anything but the values it is given; it imports nothing of capnet.

`capnet.wire` marks what exists twice with `compiled`. The code in C takes what it knows to be in order; for everything
else, what is wrong included, it asks the pure code. That stays the text of record: it refuses, names the clause, and is
what the tests hold the other to. Where nothing was built (`pip install` found no compiler), in a second interpreter of
one process, and with `CAPNET_PURE=1` in the environment the pure code runs alone.

Open `core.h` first, then `decode.c`.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any, Final, TypeVar, cast

__all__ = ["RUNS", "why"]

_T = TypeVar("_T")

EDITION: Final = 2
"""Raised with its twin in `core.h` when pure code and C change together."""

PURE: Final[dict[str, Any]] = {}
"""The pure code of what exists twice, by name: for tests, which compare the two."""


def _load() -> tuple[Any, str]:
    if os.environ.get("CAPNET_PURE"):
        return None, "CAPNET_PURE is set"
    try:
        core: Any = import_module("capnet.native.core")
    except ImportError as error:
        return None, f"it was not built, or cannot be loaded: {error}"
    if core.EDITION != EDITION:
        return None, "it was built from other sources: build it again"
    return core, "it was built"


core, _why = _load()

RUNS: Final[bool] = core is not None
"""Whether frames are handled by the code in C. The same for as long as the program runs."""


def why() -> str:
    """Why that is so, in words for a person."""
    return _why


def compiled(pure: _T) -> _T:
    """What does the same as `pure` in C, where that runs; else `pure`."""
    PURE[cast("Any", pure).__name__] = pure
    return pure if core is None else cast("_T", core.bind(pure))


def bind_references(cap: type, answer: type, stream: type) -> None:
    """Tell the code in C what a reference is made of, and what may be encoded as one."""
    if core is not None:
        core.bind_references(cap, answer, stream)
