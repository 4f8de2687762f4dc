"""A line with weather: two transports in one process whose bytes are delayed, split, stalled and cut as a seed says."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from capnet.loop import Loop
from capnet.transport import HIGH_WATER, LOW_WATER, Attestation, Receiver, Transport

__all__ = ["Weather", "WeatherTransport", "weather_pair"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """What a line does to what is written to it. Order within a direction is kept, as every transport keeps it.

    Attributes:
        delay: longest way of a piece, in seconds; each takes a time of its own up to that.
        split: probability that a write arrives in several pieces, cut anywhere.
        stall: probability that everything behind a piece waits for `stall_time`.
        stall_time: seconds.
        cut: probability that a write finds the line broken: what travels is lost, and both ends are told.
    """

    delay: float = 0.05
    split: float = 0.3
    stall: float = 0.02
    stall_time: float = 3.0
    cut: float = 0.0


def weather_pair(
    loop: Loop, random: Random, weather: Weather, log: Callable[[str], object]
) -> tuple[WeatherTransport, WeatherTransport]:
    """Two connected transports, each the other's peer, in the loop that runs.

    Args:
        random: decides; the same one in the same state gives the same line.
        log: is told what the line does.
    """
    line = _Line(loop, random, weather, log)
    there, back = _Way(line, "there"), _Way(line, "back")
    left, right = WeatherTransport(line, back, there), WeatherTransport(line, there, back)
    line.ends = (left, right)
    return left, right


class _Line:
    """What both directions have in common."""

    def __init__(self, loop: Loop, random: Random, weather: Weather, log: Callable[[str], object]) -> None:
        self.loop = loop
        self.random = random
        self.weather = weather
        self.log = log
        self.ends: tuple[WeatherTransport, ...] = ()

    def say(self, text: str) -> None:
        self.log(f"{self.loop.now():.3f} {text}")

    def break_(self) -> None:
        self.say("the line breaks")
        for end in self.ends:
            end.lose(ConnectionResetError("the line broke"))


class _Way:
    """One direction: pieces and when each arrives, oldest first."""

    def __init__(self, line: _Line, name: str) -> None:
        self._line = line
        self._name = name
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._latest = 0.0
        self._timer_runs = False
        self.size = 0
        self.ended = False
        """Nothing more is written."""
        self.paused = False
        self.reader: WeatherTransport | None = None
        self.on_room: Callable[[], None] = _nothing

    def put(self, data: bytes) -> None:
        line, random, weather = self._line, self._line.random, self._line.weather
        if random.random() < weather.cut:
            line.break_()
            return
        for piece in _cut_up(data, random, weather.split):
            due = line.loop.now() + random.random() * weather.delay
            if random.random() < weather.stall:
                due += weather.stall_time
                line.say(f"{self._name}: stalls for {weather.stall_time:g} s")
            self._latest = max(self._latest, due)
            self._pieces.append((self._latest, piece))
            self.size += len(piece)
        line.say(f"{self._name}: {len(data)} bytes")
        self.go_on()

    def drop(self) -> None:
        self._pieces.clear()
        self.size = 0

    def go_on(self) -> None:
        """Have what is there delivered when it is due."""
        if self.reader is None or self.paused or self._timer_runs or not (self._pieces or self.ended):
            return
        self._timer_runs = True
        self._line.loop.call_at(self._pieces[0][0] if self._pieces else self._latest, self._deliver)

    def _deliver(self) -> None:
        self._timer_runs = False
        if self.paused or self.reader is None:
            return
        reader = self.reader  # which may end with what it is given
        if self._pieces:
            _, piece = self._pieces.popleft()
            self.size -= len(piece)
            reader.deliver(piece)
            self.on_room()
        if not self._pieces and self.ended:
            reader.lose(None)
        self.go_on()


class WeatherTransport(Transport):
    """One end of a `weather_pair`."""

    def __init__(self, line: _Line, incoming: _Way, outgoing: _Way) -> None:
        self.attestation = Attestation(transport="weather")
        self._loop = line.loop
        self._incoming = incoming
        self._outgoing = outgoing
        self._receiver: Receiver | None = None
        self._ended = self._told = False
        self._error: Exception | None = None
        self._crowded = False
        outgoing.on_room = self._relieve

    def start(self, receiver: Receiver) -> None:
        self._receiver = receiver
        if self._ended:
            self._loop.call_soon(self._tell)
        else:
            self._incoming.reader = self
            self._incoming.go_on()

    def send(self, chunks: Sequence[bytes]) -> None:
        if not self._ended:
            self._outgoing.put(b"".join(chunks))
            self._crowded = self._crowded or self.backlog > HIGH_WATER

    @property
    def backlog(self) -> int:
        return self._outgoing.size

    def pause(self) -> None:
        self._incoming.paused = True

    def resume(self) -> None:
        self._incoming.paused = False
        self._incoming.go_on()

    def close(self) -> None:
        self.lose(None)

    def abort(self) -> None:
        if not self._ended:
            self._outgoing.drop()
            self.lose(None)

    def deliver(self, piece: bytes) -> None:
        """The line brings something."""
        if self._receiver is not None and not self._ended:
            self._receiver.data_received(piece)

    def lose(self, error: Exception | None) -> None:
        """This end is over. What it has written arrives still, unless the line broke."""
        if self._ended:
            return
        self._ended = True
        self._error = error
        self._incoming.drop()
        self._incoming.reader = None
        if error is not None:
            self._outgoing.drop()
        self._outgoing.ended = True
        self._outgoing.go_on()
        if self._receiver is not None:
            self._loop.call_soon(self._tell)

    def _tell(self) -> None:
        if self._receiver is not None and not self._told:
            self._told = True
            self._receiver.closed(self._error)

    def _relieve(self) -> None:
        if self._crowded and self.backlog <= LOW_WATER:
            self._crowded = False
            if self._receiver is not None and not self._ended:
                self._receiver.writable()


def _cut_up(data: bytes, random: Random, split: float) -> list[bytes]:
    if len(data) < 2 or random.random() >= split:
        return [data]
    cuts = sorted({random.randrange(1, len(data)) for _ in range(random.randint(1, 4))})
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def _nothing() -> None:
    """Until somebody writes."""
