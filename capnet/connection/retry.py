"""`Retry`: how often, how long and how fast somebody is tried to be reached who does not answer yet.

What a failure means is decided here, on a clock that is passed in; who waits is `trying` below and a link (`links`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from typing import Final, TypeVar

from anyio import current_time, sleep

from capnet.errors import CapnetError, InvalidArgument, ResourceExhausted, Unavailable

__all__ = ["ONCE", "VARIABLE", "Backoff", "Retry", "retry_of", "trying"]

T = TypeVar("T")
VARIABLE: Final = "CAPNET_RETRY"
"""What of the environment says how to retry where the program does not."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How to go on when nobody answers at an address: `connect(url, wait=Retry(attempts=5))`.

    The pause after the first failure is `base`, and `factor` times as long after each further one, up to `cap`. What
    another attempt cannot change ends it at once: a peer that does not admit us or speaks another protocol, a URL or
    option that makes no sense, a certificate that does not hold.

    Args:
        attempts: how many in all; None for as many as the budget has time for.
        budget: seconds in which they may begin; `math.inf` has no end.
        attempt_timeout: seconds that one of them may take to reach the address.
        base: seconds of the first pause.
        factor: how much longer each pause is than the one before.
        cap: seconds of the longest pause.
        jitter: share of a pause that is left to chance, from 0 to 1, so that those who were cut off together do not
            come back together: a pause of 2 s with 0.2 is one of 1.6 to 2.4 s, with 1 one of 0 to 4 s.

    Raises:
        InvalidArgument: a number makes no sense.
    """

    attempts: int | None = None
    budget: float = 30.0
    attempt_timeout: float = 5.0
    base: float = 0.1
    factor: float = 2.0
    cap: float = 5.0
    jitter: float = 0.2

    def __post_init__(self) -> None:
        for name, least, most in _RANGES:
            value = getattr(self, name)
            if type(value) not in (int, float) or not least <= value <= most:
                raise InvalidArgument(f"Retry.{name} is a number from {least:g} to {most:g}, not {value!r}")
        if self.attempts is not None and (type(self.attempts) is not int or self.attempts < 1):
            raise InvalidArgument(f"Retry.attempts is 1 or more, or None, not {self.attempts!r}")

    @classmethod
    def from_text(cls, text: str) -> Retry:
        """What is written as `attempts=5 budget=60`; what is left out is as usual.

        Raises:
            InvalidArgument: it is written otherwise.
        """
        known = {field.name for field in fields(cls)}
        values: dict[str, float | int | None] = {}
        for word in text.replace(",", " ").split():
            name, equals, number = word.partition("=")
            if not equals or name not in known or name in values:
                raise InvalidArgument(
                    f"{word!r} says nothing of a retry",
                    hint=f"write some of {', '.join(sorted(known))}, such as `attempts=5 budget=60`",
                )
            try:
                values[name] = int(number) if name == "attempts" else float(number)
            except ValueError:
                raise InvalidArgument(f"{word!r} has no number") from None
        return cls(**values)  # type: ignore[arg-type]

    def pause(self, failures: int, chance: float) -> float:
        """Seconds until the next attempt.

        Args:
            failures: how many there were, 1 or more.
            chance: from 0 to 1.
        """
        steps = min(failures - 1, 1024)
        try:
            pause = min(self.base * self.factor**steps, self.cap)
        except OverflowError:
            pause = self.cap
        return pause * (1 + self.jitter * (2 * chance - 1))


_RANGES: Final = (
    ("budget", 0.0, math.inf),
    ("attempt_timeout", 0.001, math.inf),
    ("base", 0.001, math.inf),
    ("factor", 1.0, math.inf),
    ("cap", 0.001, math.inf),
    ("jitter", 0.0, 1.0),
)
ONCE: Final = Retry(attempts=1, attempt_timeout=math.inf)


def retry_of(wait: float | Retry | None) -> Retry:
    """What a `wait` means: a `Retry` itself, seconds in which to look often, or what the environment says.

    Raises:
        InvalidArgument: the environment says something else.
    """
    if isinstance(wait, Retry):
        return wait
    if wait is not None:
        return Retry(budget=max(wait, 0.0), attempt_timeout=math.inf, base=0.01, cap=0.25, jitter=0.0)
    text = os.environ.get(VARIABLE)
    if not text:
        return ONCE
    try:
        return Retry.from_text(text)
    except InvalidArgument as error:
        error.add_note(f"it stands in the environment, as {VARIABLE}")
        raise


def may_pass(error: CapnetError) -> bool:
    """Whether another attempt may end otherwise than with this."""
    return isinstance(error, Unavailable | ResourceExhausted) and error.retry != "never"


class Backoff:
    """The attempts of one who wants to be connected.

    Args:
        retry: how often and how fast.
        now: when the first attempt begins.
        chance: gives numbers from 0 to 1; where it is left out they are random.
    """

    __slots__ = ("_chance", "_retry", "_since", "failures")

    def __init__(self, retry: Retry, now: float, chance: Callable[[], float] | None = None) -> None:
        self._retry = retry
        self._since = now
        self._chance = chance
        self.failures = 0
        """How many attempts have failed."""

    def failed(self, error: CapnetError, now: float) -> float | None:
        """Seconds until the next attempt; None when there is to be none."""
        self.failures += 1
        left = self.left(now)
        if not may_pass(error) or left <= 0 or self.failures == self._retry.attempts:
            return None
        return min(self._retry.pause(self.failures, (self._chance or _random())()), left)

    def left(self, now: float) -> float:
        """Seconds in which attempts may begin."""
        return self._since + self._retry.budget - now


def _random() -> Callable[[], float]:
    from random import random  # takes its time to import, and most are connected at once

    return random


async def trying(retry: Retry, attempt: Callable[[], Awaitable[T]]) -> T:
    """What an attempt gives that succeeds.

    Raises:
        CapnetError: what the last one has failed with.
    """
    if retry.attempts == 1:
        return await attempt()
    backoff = Backoff(retry, current_time())
    while True:
        try:
            return await attempt()
        except CapnetError as error:
            pause = backoff.failed(error, current_time())
            if pause is None:
                raise
        await sleep(pause)
