"""Where the figures come from: without it a rate means nothing."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from benchmarks.process import can_pin
from benchmarks.reference import factor

__all__ = ["describe"]

PACKAGES = ("capnet", "cbor2", "anyio", "msgspec", "uvloop")


def describe() -> str:
    """One line: processor, cores, system, Python, versions, and how fast and how busy it is before the run."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    parts = [_processor(), _cores(), platform.system(), python, *_versions()]
    parts += [f"{factor(20):.2f} times the reference loop", f"load {os.getloadavg()[0]:.1f}"]
    if not can_pin():
        parts.append("this system cannot pin: every row ran unpinned")
    return ", ".join(parts)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _cores() -> str:
    cores = len(os.sched_getaffinity(0)) if can_pin() else os.cpu_count() or 1
    return "1 core" if cores == 1 else f"{cores} cores"


def _versions() -> Sequence[str]:
    found: list[str] = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:  # a source tree that was never installed, or an extra left out
            continue
    return found
