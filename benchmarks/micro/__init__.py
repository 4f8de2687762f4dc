"""The library's pure rooms without any I/O: framing, codec, and two engines handing each other bytes in one process.

`operations` holds what is timed, `timing` how. Here is the place to look when a change to those rooms should show and
the macro rows are too noisy to say. These benchmarks know the rooms' inner names, unlike the macro ones.
"""

from __future__ import annotations

from benchmarks.micro.operations import OPERATIONS, Operation
from benchmarks.micro.timing import Cost, as_records, as_table, time_all

__all__ = ["OPERATIONS", "Cost", "Operation", "as_records", "as_table", "time_all"]
