"""How much may be under way on a stream: the reader's word for it, which goes along with its call (P-STREAM-2).

Whoever opens a stream says its window, and its consumer's limits bound that. A stream in a result is opened by the side
that produces it, so a reader who wants less says so when it calls.
"""

from __future__ import annotations

from collections.abc import Iterable

from capnet.contract import Reader
from capnet.wire.references import MAX_CREDIT, Reference, StreamRef, is_window, narrower

from .sink import StoppableSink

__all__ = ["keep_within", "said", "window_of"]

_DIGITS = len(str(MAX_CREDIT))


def window_of(end: object) -> tuple[int, int] | None:
    """The window of a stream or sink of ours that is passed on; None when it has none of its own."""
    return end.__capnet_window__ if isinstance(end, Reader | StoppableSink) else None


def said(window: tuple[int, int]) -> str:
    """A window as text that goes along with a call."""
    return f"{window[0]} {window[1]}"


def keep_within(references: Iterable[Reference], text: str) -> None:
    """Streams that are handed out keep within what the caller has said; what is no window says nothing."""
    words = text.split(" ")
    if not all(word.isascii() and word.isdigit() and len(word) <= _DIGITS for word in words):
        return
    window = [int(word) for word in words]
    if is_window(window):
        for reference in references:
            if type(reference) is StreamRef and reference.direction == "out":
                reference.window = narrower(reference.window, (window[0], window[1]))
