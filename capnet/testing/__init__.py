"""What helps to test programs and transports that use capnet.

Owns: both ends of a connection in one process (`pair`, `connected`, `assert_no_leaks`), the routine that every
transport must pass (`check_transport`), engines without a loop (`EnginePair`), and what may happen to either, chosen
by a seed (`simulate/`). It knows every room but the command line, and needs no test framework. Open `pair.py` first.
"""

from __future__ import annotations

from .engines import EnginePair, EngineSide, Link, RawPeer
from .pair import assert_no_leaks, connected, pair
from .transports import Recorder, check_transport

__all__ = [
    "EnginePair",
    "EngineSide",
    "Link",
    "RawPeer",
    "Recorder",
    "assert_no_leaks",
    "check_transport",
    "connected",
    "pair",
]
