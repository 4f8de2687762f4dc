"""The long programme says how fast the machine is, since its figures are in seconds."""

from __future__ import annotations

from benchmarks.reference import factor


def pytest_report_header() -> str:
    """Stands above everything."""
    return f"this machine takes {factor(20):.2f} times as long as the reference machine"
