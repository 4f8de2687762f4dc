"""Text that goes along with calls: what users send with `send_metadata`, and what capnet sends with it (P-CALL-4)."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from capnet.errors import InvalidArgument
from capnet.wire.frames import CHAIN, MAX_CONTEXT_KEYS, is_context

__all__ = ["going_along", "moving", "send_metadata", "with_one_way"]

RESERVED: Final = "capnet."

going_along: Final[ContextVar[Mapping[str, str] | None]] = ContextVar("capnet.going_along", default=None)
"""What goes along with the calls that are made here; with those of a running handler also `CHAIN`. Never empty."""

moving: Final[ContextVar[tuple[int, int] | None]] = ContextVar("capnet.moving", default=None)
"""The number of a connection, and that of the stream on it whose items are made, or used, by what runs here.

Nothing but numbers: whatever is begun here keeps its context, also a timer of the connection's."""


@contextmanager
def send_metadata(metadata: Mapping[str, str]) -> Generator[None]:
    """Send text along with every call that is made in the block: a request id, or what a tracer calls `traceparent`.

        with send_metadata({"request": "4711"}):
            await room.post("hello")

    The handler finds it in `CallContext.metadata`. It is not passed on by itself: the calls which that handler makes
    have their own. Blocks within blocks add to each other, the inner one wins. Tasks that are started in the block send
    it, too.

    Args:
        metadata: at most 16 keys with those of the blocks around, each of at most 256 bytes; a value has at most 8192.

    Raises:
        InvalidArgument: it is more than that, is no text, or has a key that begins with `capnet.`.
    """
    above = going_along.get()
    along = {**(above or {}), **metadata}
    if not is_context(along):
        raise InvalidArgument(
            f"metadata is text by text, of at most {MAX_CONTEXT_KEYS} keys, and no long ones", reason="max_context"
        )
    if any(key.startswith(RESERVED) for key in metadata):
        raise InvalidArgument(f"keys of metadata that begin with `{RESERVED}` are capnet's own")
    token = going_along.set(along or None)
    try:
        yield
    finally:
        going_along.reset(token)


def with_one_way() -> Mapping[str, str] | None:
    """What goes along with a one-way call: nobody waits for that, so it leads to nothing."""
    along = going_along.get()
    if along is None or CHAIN not in along:
        return along
    return {key: value for key, value in along.items() if key != CHAIN} or None
