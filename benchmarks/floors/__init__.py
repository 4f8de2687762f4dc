"""The floors: the same workloads written by hand, with no RPC library at all.

`f2` is the one every ratio refers to. A floor stays what a good engineer would write in an afternoon: it is neither
tuned when capnet gets faster nor slowed down when it does not.
"""

from __future__ import annotations

from benchmarks.floors import f2
from benchmarks.subject import Subject

__all__ = ["FLOOR"]

FLOOR = Subject(
    serving=f2.serving,
    echo=f2.echo,
    callback=f2.callback,
    connect=f2.connect,
    numbers=f2.numbers,
    blob=f2.blob,
    chain=f2.chain,
)
