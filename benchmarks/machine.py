"""Where the figures come from: without it a rate means nothing."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from benchmarks.core import running
from benchmarks.process import can_pin
from benchmarks.reference import factor
from benchmarks.workload import Core

__all__ = ["Machine", "describe"]

PACKAGES = ("capnet", "cbor2", "msgspec", "anyio", "uvloop", "trio")
"""The first three after capnet move the floor or what is compared with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine as it was when a run began."""

    processor: str
    cores: int
    """Those that this process may use."""
    system: str
    python: str
    versions: Mapping[str, str]
    """Of capnet and of what it is built on; what is not installed is not there."""
    core: Core
    """Which core of capnet runs when no variable says otherwise."""
    factor: float
    """How many times as long as the reference machine it takes for the reference loop."""
    load: float
    """Processes that wanted to run, on average over the minute before."""
    pins: bool
    """Whether a process can choose its core."""
    when: str
    """UTC."""

    def __str__(self) -> str:
        """Two lines: the machine; the versions."""
        parts = [self.processor, "1 core" if self.cores == 1 else f"{self.cores} cores", self.system]
        parts += [f"{self.factor:.2f} times the reference loop", f"load {self.load:.1f}", self.when]
        if not self.pins:
            parts.append("this system cannot pin: every row ran unpinned")
        versions = [self.python, *(f"{name} {number}" for name, number in self.versions.items()), f"{self.core} core"]
        return f"{', '.join(parts)}\n{', '.join(versions)}"

    def as_record(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def describe() -> Machine:
    """This machine, and how fast and how busy it is now."""
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)) if can_pin() else os.cpu_count() or 1,
        system=platform.system(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        versions=_versions(),
        core=running(),
        factor=round(factor(20), 2),
        load=round(os.getloadavg()[0], 1),
        pins=can_pin(),
        when=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _versions() -> Mapping[str, str]:
    found: dict[str, str] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # a source tree that was never installed, or an extra left out
            continue
    return found
