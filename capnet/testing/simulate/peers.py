"""What peers have when there are more than two: what they host, what they hold, and what they pass on."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from capnet.engine.answers import Answer
from capnet.engine.calls import Call
from capnet.engine.exports import Export
from capnet.engine.imports import Import
from capnet.engine.stream import InStream, OutStream
from capnet.testing.engines import EngineSide

from .shadow import Subject

__all__ = ["Course", "Handle", "Made", "Passed", "Peer", "Pump", "Relay"]


@dataclass(eq=False, slots=True)
class Handle:
    """One owner of something that another peer hosts; `truth` is the number of what it leads to."""

    side: EngineSide
    imported: Import
    truth: int


@dataclass(eq=False, slots=True)
class Relay:
    """What a peer exports for something that it holds itself; it holds it as long as it is exported."""

    side: EngineSide
    imported: Import
    truth: int
    exports: dict[Export, EngineSide] = field(default_factory=dict[Export, EngineSide])


@dataclass(eq=False, slots=True)
class Made:
    """A call as its caller remembers it: what it must reach, and the how manyeth it is on that owner's reference."""

    serial: int
    truth: Any
    reference: Any
    nth: int
    side: EngineSide
    call: Call | None = None
    started: bool = False


@dataclass(eq=False, slots=True)
class Passed:
    """A call that was passed on: the answer that is owed on one side, and the call that was made on another."""

    side: EngineSide
    answer: Answer
    onward: EngineSide
    call: Call | None = None


@dataclass(eq=False, slots=True)
class Course:
    """A stream from one end to the other, however many lie between."""

    number: int
    producer: tuple[EngineSide, OutStream] | None = None
    consumer: tuple[EngineSide, InStream] | None = None
    sent: int = 0
    received: int = 0
    stopped: bool = False
    ended: bool = False

    def check_end(self) -> None:
        """How it must have ended, when everything has."""
        if self.consumer is not None:
            stream = self.consumer[1]
            assert stream.ended, "I6: a stream has no end"
            if stream.error is None and not self.stopped and self.producer is not None:
                assert self.ended and self.received == self.sent, "I6: a clean end that nobody said, or too early"


@dataclass(eq=False, slots=True)
class Pump:
    """Items of one stream that go on in another, as far as there is credit."""

    from_side: EngineSide
    inn: InStream
    to_side: EngineSide
    out: OutStream

    rest: deque[Any] = field(default_factory=deque[Any])
    size: int = 0

    def run(self) -> bool:
        """Move what can be moved; whether there may be more."""
        source, sink = self.from_side.engine.streaming, self.to_side.engine.streaming
        while self.out.room:
            if not self.rest:
                batch = source.take(self.inn)
                if batch is None:
                    break
                self.rest.extend(batch[0])
                self.size = batch[2]
            sink.send(self.out, self.rest.popleft())
            source.consumed(self.inn, 1, 0 if self.rest else self.size)
        if self.out.closed is None and (not self.inn.ended or self.rest or self.inn.batches):
            return True
        source.stop(self.inn, "the reader wants no more")  # once it has ended it gives back what it was charged
        sink.end(self.out, self.inn.error)
        return False


class Peer:
    """One peer, with one engine for each line it has."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.sides: list[EngineSide] = []
        self.subjects: list[Subject] = []
        self.handles: list[Handle] = []
        self.relays: dict[Import, Relay] = {}
        self.running: list[tuple[EngineSide, Answer]] = []
        self.stopped: set[Answer] = set()
        self.producing: list[Course] = []
        self.consuming: list[Course] = []
        self.pumps: list[Pump] = []

    def relay(self, side: EngineSide, imported: Import, truth: int) -> Relay:
        """What stands for something that is held, on the peer's other lines; made when there is none."""
        relay = self.relays.get(imported)
        if relay is None:
            side.engine.hold(imported)
            relay = self.relays[imported] = Relay(side, imported, truth)
        return relay

    def tidy(self, relay: Relay) -> None:
        """Nobody may need it any more."""
        if not relay.exports and self.relays.get(relay.imported) is relay:
            del self.relays[relay.imported]
            relay.side.engine.release(relay.imported)
