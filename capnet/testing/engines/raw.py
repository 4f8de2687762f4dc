"""One engine, and a peer that is played by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from capnet.engine.answers import Answer
from capnet.engine.closing import STRANGER_LINE
from capnet.engine.engine import Engine
from capnet.engine.events import Event, PeerIntroduced
from capnet.engine.imports import Import
from capnet.engine.inspect import check_invariants
from capnet.engine.ledger import Ledger
from capnet.limits import Limits
from capnet.wire.codec import Codec
from capnet.wire.framing import FrameReader, header
from capnet.wire.hello import Hello
from capnet.wire.references import Reference

from .link import ANY_LENGTH

__all__ = ["RawPeer"]

E = TypeVar("E")


class RawPeer:
    """One engine, and the peer's part played by hand: any frame, any bytes, at any time.

    Args:
        hello: what the engine says of itself.
        greet: say a proper hello first.
        whole: what the engine's host counts for all its connections.
    """

    def __init__(self, hello: Hello | None = None, *, greet: bool = True, whole: Ledger | None = None) -> None:
        self.now = 0.0
        hello = hello or Hello("engine")
        self.engine = Engine(hello, self.now, bootstrap="bootstrap", runtime="runtime", whole=whole)
        self.events: list[Event] = []
        self._codec = Codec(Limits.trusted())
        self._reader = FrameReader(ANY_LENGTH)
        self.heard: list[list[Any]] = []
        """Frames of the engine's, its hello left out."""
        self.line = b""
        """What the engine said that was no frame."""
        self.collect()
        self.hello = self.heard.pop()
        if greet:
            self.say(Hello("raw").to_frame())
            assert self.take(PeerIntroduced)

    def say(self, *frames: list[Any]) -> list[list[Any]]:
        """Send frames to the engine, in one chunk; returns what it says to them."""
        return self.say_bytes(self.pack(*frames))

    def pack(self, *frames: list[Any]) -> bytes:
        """Frames as they travel."""
        encoded = [self._codec.encode(frame) for frame in frames]
        return b"".join(header(len(frame)) + frame for frame in encoded)

    def say_bytes(self, data: bytes) -> list[list[Any]]:
        """Send bytes to the engine; returns the frames it says to them."""
        before = len(self.heard)
        self.engine.receive_data(data, self.now)
        while self.engine.turn.unread:
            self.collect()
            self.engine.receive_data(b"", self.now)
        self.collect()
        return self.heard[before:]

    def advance(self, seconds: float) -> list[list[Any]]:
        """Let time pass; returns what the engine says on its deadlines."""
        end, before = self.now + seconds, len(self.heard)
        while (due := self.engine.next_deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.engine.handle_timeout(self.now)
            self.collect()
        self.now = end
        return self.heard[before:]

    def reply(self, answer: Answer, value: Any = None, references: Sequence[Reference] = ()) -> list[list[Any]]:
        """Have the engine's side answer a call; returns what it says."""
        self.engine.reply(answer, value, references)
        return self.collect()

    def take(self, kind: type[E]) -> list[E]:
        """The events of that kind, in order; they are taken out."""
        taken: list[E] = [event for event in self.events if isinstance(event, kind)]
        self.events = [event for event in self.events if not isinstance(event, kind)]
        return taken

    @property
    def clause(self) -> str | None:
        """The clause for which the engine has closed the connection, or None."""
        cause = self.engine.lifecycle.cause
        return cause.clause if cause is not None and self.engine.lifecycle.closed else None

    def imported(self, id: int) -> Import:
        """What the engine holds under the peer's cap-id."""
        return next(imported for imported in self.engine.imports if imported.id == id)

    def collect(self) -> list[list[Any]]:
        """What the engine has said since the last time; needed after intents that were given to it directly."""
        self.events += self.engine.events()
        check_invariants(self.engine)
        data = b"".join(self.engine.data_to_send())
        if data.endswith(STRANGER_LINE):
            self.line, data = STRANGER_LINE, data.removesuffix(STRANGER_LINE)
        said = [self._codec.decode(frame)[0] for frame in self._reader.frames(data)]
        self.heard += said
        return said
