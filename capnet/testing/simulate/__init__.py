"""Simulation: everything that may happen, chosen by a seed, on a clock of its own, much faster than it could happen.

For programs that use capnet: `run` tells a story, a client's dealings with real implementations, once for each seed,
over a line that delays, splits, stalls and, if asked to, cuts.

For capnet itself: `play_seeds` has two engines do whatever drivers may do, and holds them to a shadow in plain Python.

    seed ─▶ script ─▶ model (two engines, a `Link` each way, a clock that stands) ─▶ quiesce: all tables empty
              └── fails? shrunk, and shown as a test: `replay([...])`

What is checked of the invariants in reliability §4, and where:

| | how |
|---|---|
| I1 | `EnginePair.check`: what is exported is owed, travels, or waits to leave; every few rules |
| I2, I3 | `check_invariants` of both engines; ids in `asking`; each export ends once, in `following` and at the end |
| I4 | `following`: no call starts on what has ended; `calls.revoke`: none runs on, no stream of it flows |
| I5 | `following`: one end for each call, with an error that can be its own; none waits for a closed connection |
| I6 | `shadow.Flow`: one end of each stream, told once, nothing after it |
| I7 | `shadow.Flow`: never more than the window; `EnginePair.check`: no credit is lost |
| I8 | `following`: calls on one reference start in order; `asking`: items are numbered without a gap |
| I9 | truth travels beside the references: who is called, and what arrives, is what was meant |
| I10 | `model`: no more handlers run than there are slots, the cancelled ones included |
| I11 | `check_invariants`: the ledgers; at the end they are 0 |
| I12 | `quiesce`: all tables are empty, on both sides, before the goaway and after |
| I13 | `following`: nothing happens after `Closed` |
| I14 | not here: engines know no secrets |

`shadow` is what should be true, `following` how it takes in what the engines say, `asking` what is asked of them;
`calls`, `streams` and `line` are the rules, and `model` is all of them together. With three peers, in a row or a
ring, `circle` has the rules, `passing` hands on what is for others, and `peers` is what they have: there truth is held
from end to end (I4, I5, I6, I8, I9), and on each line as between two. `choices` makes rules of random numbers and
`scripts` plays them. `stories`, `weather` and `clock` are what `run` needs.

A seed means the same on every machine with the same version of this package.
"""

from __future__ import annotations

from .scripts import Figures, Script, play_seeds, replay, script
from .stories import Story, run
from .weather import Weather

__all__ = ["Figures", "Script", "Story", "Weather", "play_seeds", "replay", "run", "script"]
