"""The writing end of a stream: what leaving its block does."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from capnet.contract import Sink
from capnet.errors import CallCancelled, CapnetError, Internal, NotFound, StreamStopped


class Listed(Sink[int]):
    """Keeps what was sent and how it ended."""

    def __init__(self, room: int = 100) -> None:
        self.items: list[int] = []
        self.ends: list[CapnetError | None] = []
        self._room = room

    async def send(self, item: int) -> None:
        if len(self.items) == self._room:
            raise StreamStopped
        self.items.append(item)

    async def aclose(self) -> None:
        self.ends.append(None)

    def fail(self, error: CapnetError) -> None:
        self.ends.append(error)


async def test_a_block_that_is_left_at_its_end_ends_the_stream() -> None:
    """Cleanly, once."""
    listed = Listed()
    async with listed as sink:
        assert sink is listed
        await sink.send(1)
        assert listed.ends == []
    assert (listed.items, listed.ends) == ([1], [None])


@pytest.mark.parametrize("error", [NotFound("gone"), StreamStopped()])
async def test_an_error_of_capnet_is_what_the_reader_gets(error: CapnetError) -> None:
    """It travels whole, and goes on to whoever writes."""
    sink = Listed()
    with pytest.raises(type(error)) as caught:
        async with sink:
            raise error
    assert caught.value is error
    assert sink.ends == [error]


async def test_a_reader_that_wants_no_more_ends_the_block() -> None:
    """`send` raises, so a producer that loops for ever stops."""

    async def flood(sink: Sink[int]) -> None:
        async with sink:
            while True:
                await sink.send(1)

    sink = Listed(room=2)
    with pytest.raises(StreamStopped):
        await flood(sink)
    assert sink.items == [1, 1]
    assert [type(end) for end in sink.ends] == [StreamStopped]


async def test_any_other_exception_is_not_told() -> None:
    """The reader learns that the stream was broken off, and nothing of the producer's insides (P-ERR-2)."""
    sink = Listed()
    with pytest.raises(KeyError):
        async with sink:
            raise KeyError("secret")
    (end,) = sink.ends
    assert type(end) is Internal
    assert "secret" not in end.message


async def test_a_cancelled_producer_breaks_the_stream_off() -> None:
    """Without waiting for anything, so nothing needs a shield."""
    sink = Listed()
    with anyio.CancelScope() as scope:
        async with sink:
            scope.cancel()
            await anyio.sleep_forever()
    assert [type(end) for end in sink.ends] == [CallCancelled]


def test_a_sink_must_be_complete() -> None:
    """What writes must be able to end."""
    incomplete: Any = type("Incomplete", (Sink,), {"send": Listed.send})
    with pytest.raises(TypeError, match="aclose"):
        incomplete()
