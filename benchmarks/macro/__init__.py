"""The workloads on capnet, written as a user of the library writes them: public names only, default settings.

Only a row that asks for observers, a guard, or the limits of a program's own parts gets other settings.
"""

from __future__ import annotations

from benchmarks.macro import client, server
from benchmarks.subject import Subject

__all__ = ["SUBJECT"]

SUBJECT = Subject(serving=server.serving, openings=client.OPENINGS)
