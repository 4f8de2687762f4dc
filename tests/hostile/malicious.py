"""A malicious peer: any frames, legal and not, against an engine whose owner is honest and does what it likes.

The peer keeps to the protocol most of the time, for what it can reach that way is deeper than what it gets by noise; a
share of its frames is spoiled in one place, and a share of its bytes is no frame at all. The referee says beforehand
which frames the engine must take and which it must refuse, and with what clause; the owner sees that everything ends
once; and after every step the engine's own invariants hold.

An encounter is its script: the bytes that came, the acts of the owner, and how time went by. One that fails is made
shorter, as far as it fails still, and printed; `replay` plays it.
"""

from __future__ import annotations

import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.reference import factor
from capnet.limits import Limits
from capnet.wire.codec import Codec
from capnet.wire.framing import FrameReader

from .encounter import ANY_LENGTH, LIMITS, MOST_PER_TURN, Encounter, Step
from .honest import ACTS
from .peer import Peer, cumulated

__all__ = ["EAGER", "MALICE", "MOST_PER_TURN", "Campaign", "Found", "campaign", "replay", "shortened"]

MALICE: Final = (0.0, 0.0, 0.001, 0.003, 0.01, 0.1)
"""Shares of its frames that a peer spoils: those that spoil few go deep."""
EAGER: Final = (0.01, 0.03, 0.1)
"""Those of one that looks for a certain fault."""
_EVERY: Final = 16
"""Steps after which the tables are looked through; a script that fails is played again with a look at each."""
_ACT_TABLE: Final = {
    "reply": 30,
    "fail": 4,
    "forward": 2,
    "call": 20,
    "cancel": 3,
    "keep": 2,
    "unkeep": 5,
    "hold": 2,
    "release": 9,
    "revoke": 3,
    "replace": 2,
    "send": 12,
    "end": 4,
    "read": 14,
    "stop": 2,
    "ping": 1,
    "close": 0.05,
}
_ACTS: Final = list(_ACT_TABLE)
_ACT_WEIGHTS: Final = cumulated(list(_ACT_TABLE.values()))
assert _ACT_TABLE.keys() == ACTS.keys()


class Found(Exception):
    """An encounter went wrong: its cause is what was seen, or what the engine raised and must not."""


@dataclass
class Campaign:
    """What was done and seen.

    Attributes:
        frames: that the engine has heard.
        acts: of its owner.
        ends: how the connections ended: a clause, or a kind.
        slowest: seconds of the reference machine's processor that the slowest turn of an engine took.
        seconds: of the processor in all.
        slowness: the factor of this machine.
    """

    seed: int
    frames: int = 0
    acts: int = 0
    encounters: int = 0
    ends: Counter[str] = field(default_factory=Counter[str])
    slowest: float = 0.0
    seconds: float = 0.0
    started: Counter[str] = field(default_factory=Counter[str])
    slowness: float = field(default_factory=factor)

    def __str__(self) -> str:
        ends = ", ".join(f"{end} {count}" for end, count in self.ends.most_common())
        return (
            f"malicious peer, seed {self.seed}: {self.frames} frames and {self.acts} acts in {self.encounters}"
            f" connections, {self.frames / max(self.seconds, 1e-9):.0f} frames/s, slowest {self.slowest * 1000:.1f} ms;"
            f" ended by {ends}; {dict(self.started)}"
        )


def campaign(
    seed: int,
    frames: int,
    each: Callable[[Campaign], None] | None = None,
    *,
    malice: Sequence[float] = MALICE,
    explain: bool = True,
) -> Campaign:
    """Connect again and again until the engine has heard so many frames.

    Args:
        each: is shown where it stands after every encounter.
        malice: shares of frames that are spoiled; each encounter has one of them.
        explain: print the script of an encounter that goes wrong, made shorter, to standard error.

    Raises:
        Found: an encounter went wrong.
    """
    done = Campaign(seed)
    began = time.thread_time()
    while done.frames < frames:
        _meet(random.Random(f"{seed}/{done.encounters}"), done, malice, explain=explain)
        done.seconds = time.thread_time() - began
        if each is not None:
            each(done)
    return done


def _meet(chance: random.Random, done: Campaign, malices: Sequence[float], *, explain: bool) -> None:
    """One encounter, drawn from `chance`."""
    name = chance.choices(list(LIMITS), (6, 3, 1, 1))[0]
    steps = chance.choice((30, 300, 1500, 4000))
    malice = chance.choice(malices)
    encounter = Encounter(name, _EVERY)
    for step in _steps(chance, encounter, Peer(chance, encounter, malice), steps):
        try:
            encounter.step(step)
        except Exception as error:
            if explain:
                _report(encounter, error, f"seed {done.seed}, encounter {done.encounters}")
            raise Found(str(error)) from error
    done.encounters += 1
    done.frames += encounter.referee.frames
    done.acts += sum(step[0] == "act" for step in encounter.steps)
    done.slowest = max(done.slowest, encounter.slowest / done.slowness)
    done.started.update(encounter.honest.counts)
    closed = encounter.honest.closed
    assert closed is not None
    done.ends[closed.cause.clause if closed.cause.clause and closed.cause.by_peer else closed.cause.kind] += 1


def _steps(chance: random.Random, encounter: Encounter, peer: Peer, most: int) -> Iterator[Step]:
    """What happens in one encounter, drawn as it goes on."""
    draw, bits = chance.random, chance.getrandbits
    while not encounter.over and len(encounter.steps) < most:
        pick = draw()
        if peer.planned:
            yield peer.planned.popleft()
        elif pick < 0.6:
            yield "hear", peer.chunk()
        elif pick < 0.99:
            yield "act", chance.choices(_ACTS, cum_weights=_ACT_WEIGHTS)[0], bits(8), bits(8), bits(8)
        else:
            yield "pass", chance.choice((0.0, 0.01, 0.5, 0.5, 2.0, 4.0, 25.0))
    yield ("part",)


def replay(limits: str, steps: Sequence[Step]) -> Encounter:
    """Play a script.

    Raises:
        AssertionError: as when it was played first.
    """
    encounter = Encounter(limits)
    for step in steps:
        encounter.step(step)
    return encounter


def _place(error: Exception) -> tuple[type[Exception], str, int]:
    """What was raised, and where."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return type(error), place.filename, place.lineno or 0


def _failure(limits: str, steps: Sequence[Step]) -> Exception | None:
    """What a script fails with."""
    try:
        replay(limits, steps)
    except Exception as error:
        return error
    return None


def _fails(limits: str, steps: Sequence[Step], place: object) -> bool:
    error = _failure(limits, steps)
    return error is not None and _place(error) == place


def shortened(limits: str, steps: Sequence[Step], place: object, most: int = 200_000) -> list[Step]:
    """The script without what it does not need to fail at that place, as far as it is found out by `most` steps."""
    kept = list(steps)
    size = max(len(kept) // 2, 1)
    while most > 0:
        position, before = 0, len(kept)
        while position < len(kept) and most > 0:
            shorter = kept[:position] + kept[position + size :]
            most -= len(shorter)
            if _fails(limits, shorter, place):
                kept = shorter
            else:
                position += size
        if size == 1 and len(kept) == before:
            break
        size = max(size // 2, 1)
    return kept


def _report(encounter: Encounter, error: Exception, where: str) -> None:
    """Print a script that fails in the same way, as code."""
    error = _failure(encounter.limits, encounter.steps) or error
    steps = shortened(encounter.limits, encounter.steps, _place(error))
    lines = [f"The malicious peer has found something ({where}).", *traceback.format_exception_only(error)]
    lines += [f"replay({encounter.limits!r}, ["]
    lines += [f"    {step!r},{_meaning(step)}" for step in steps]
    lines += ["])"]
    sys.stderr.write("\n".join(lines) + "\n")


def _meaning(step: Step) -> str:
    """What the frames in a chunk say, as a comment."""
    if step[0] != "hear":
        return ""
    codec, said = Codec(Limits.trusted()), list[str]()
    try:
        for payload in FrameReader(ANY_LENGTH).frames(step[1]):
            said.append(repr(codec.decode(payload)[0]))
    except Exception as error:
        said.append(repr(error))
    return f"  # {' '.join(said)[:200]}" if said else ""
