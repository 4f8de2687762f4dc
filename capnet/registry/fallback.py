"""Fallbacks: the handlers that are asked for names that nobody serves; who asks is `capnet/serving/fallback.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, cast

from capnet.contract import Cap

__all__ = ["HOLD", "Fallback", "Fallbacks"]


class _Hold:
    """What a handler says that knows of somebody who will serve the name."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "HOLD"


HOLD: Final = cast("Cap", _Hold())
"""A fallback handler returns it to have the peer wait until somebody serves the name it asks for."""


class Fallback:
    """One handler.

    Attributes:
        handler: what is asked.
        removed: what it says does not count any more.
    """

    __slots__ = ("_asking", "handler", "removed")

    def __init__(self, handler: Callable[[Any], object]) -> None:
        self.handler = handler
        self.removed = False
        self._asking: dict[object, Callable[[], object]] = {}

    def when_removed(self, wake: Callable[[], object]) -> Callable[[], object]:
        """Call `wake` if it is removed. Returns what ends that."""
        key = object()
        self._asking[key] = wake
        return lambda: self._asking.pop(key, None)

    def remove(self) -> None:
        """Nobody waits for it any more."""
        self.removed = True
        while self._asking:
            self._asking.popitem()[1]()


class Fallbacks:
    """The handlers of one registry."""

    __slots__ = ("_handlers",)

    def __init__(self) -> None:
        self._handlers: dict[Fallback, None] = {}

    def __iter__(self) -> Iterator[Fallback]:
        """Those there are now, the latest first."""
        return iter(list(reversed(self._handlers)))

    def add(self, handler: Callable[[Any], object]) -> Callable[[], None]:
        """Ask a handler from now on. Returns what removes it; calling that twice is harmless."""
        fallback = Fallback(handler)
        self._handlers[fallback] = None

        def remove() -> None:
            if self._handlers.pop(fallback, self) is None:
                fallback.remove()

        return remove
