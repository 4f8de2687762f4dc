"""Fuzz target: the code in C against the pure code, on one frame of any bytes (P-FRAME-1, P-FRAME-4, P-REF, P-OP).

The first byte chooses the bounds, the rest is the frame. Both make the same of it: the value, its charge, its bytes,
the verdict on its shape; or the same violation in the same words. Where the code in C does not run nothing is played.
"""

from __future__ import annotations

from tests.native.twins import PROFILES, RUNS, Twins

__all__ = ["one_input"]


def one_input(data: bytes) -> None:
    """Play one input."""
    if RUNS:
        Twins(PROFILES[(data[0] if data else 0) % len(PROFILES)]).round_trip(data[1:])
