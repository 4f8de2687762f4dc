"""Which core of capnet runs: its pure one, or its native one, which is optional."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module

from benchmarks.workload import Core

__all__ = ["environments", "running"]


def running() -> Core:
    """The core that runs in this process."""
    try:
        native = import_module("capnet.native")
    except ModuleNotFoundError:  # capnet as it is on its own, without a native core
        return "pure"
    return "native" if native.RUNS else "pure"


def environments() -> Sequence[Mapping[str, str]]:
    """Variables of processes in which each core that can run here runs."""
    return [{}, {"CAPNET_PURE": "1"}] if running() == "native" else [{}]
