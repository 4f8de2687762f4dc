"""The conformance routine itself: a transport that breaks a rule does not pass."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest

from capnet.testing.transports import check_transport
from capnet.transport import Attestation, Receiver, Transport
from capnet_transports.memory import MemoryTransport, memory_pair


class Faulty(MemoryTransport):
    """Made from one end of a pair; each subclass breaks one rule."""

    def __init__(self, whole: MemoryTransport) -> None:
        super().__init__(whole._incoming, whole._outgoing)


class Nameless(Faulty):
    def __init__(self, whole: MemoryTransport) -> None:
        super().__init__(whole)
        self.attestation = Attestation()


class Reordering(Faulty):
    def send(self, chunks: Sequence[bytes]) -> None:
        super().send(chunks[::-1])


class Swallowing(Faulty):
    def send(self, chunks: Sequence[bytes]) -> None:
        super().send(chunks[:1000])


class Restless(Faulty):
    def pause(self) -> None:
        """Reads on."""


class Unbounded(Faulty):
    @property
    def backlog(self) -> int:
        return 0


class Silent(Faulty):
    def _relieve(self) -> None:
        """Never tells."""


class Insistent(Faulty):
    def _relieve(self) -> None:
        if self._receiver is not None:
            self._receiver.writable()


class Hasty(Faulty):
    def close(self) -> None:
        super().abort()


class Stubborn(Faulty):
    def abort(self) -> None:
        super().close()


class Repeating(Faulty):
    def close(self) -> None:
        super().close()
        if self._soon is not None and self._receiver is not None:
            self._soon(partial(self._receiver.closed, None))


class Alarmed(Faulty):
    def start(self, receiver: Receiver) -> None:
        super().start(Alarm(receiver))


class Alarm:
    """Makes an error of every end."""

    def __init__(self, receiver: Receiver) -> None:
        self.data_received = receiver.data_received
        self.writable = receiver.writable
        self._closed = receiver.closed

    def closed(self, error: Exception | None) -> None:
        self._closed(ConnectionError())


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        (Nameless, "attestation.transport"),
        (Reordering, "whole and in order"),
        (Swallowing, "any number of chunks"),
        (Restless, "while paused"),
        (Unbounded, "backlog stays"),
        (Silent, "writable is called when"),
        (Insistent, "writable"),
        (Hasty, "close sends what is queued"),
        (Stubborn, "abort"),
        (Repeating, "closed was called twice"),
        (Alarmed, "not an error|without an error"),
    ],
)
async def test_broken_rule_is_named(fault: type[Faulty], rule: str) -> None:
    async def connect_pair() -> tuple[Transport, Transport]:
        one, other = memory_pair()
        return fault(one), fault(other)

    with pytest.raises(AssertionError, match=rule):
        await check_transport(connect_pair, timeout=1.0)  # for what never comes
