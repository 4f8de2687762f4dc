"""The sequences that the wire reference shows, played by two engines: they send what stands there, in that order.

One play for each diagram, by its title. Cap-id 2 of B's is in A's hands before it begins, and windows are small.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any, Final, cast

import pytest

from capnet.engine.answers import Answer
from capnet.engine.calls import Pipelined
from capnet.engine.channels import Channel
from capnet.engine.events import CallReturned, ChannelOpened, StreamChanged
from capnet.engine.imports import Import
from capnet.engine.stream import InStream, OutStream
from capnet.errors import NotFound, Unimplemented
from capnet.limits import Limits
from capnet.testing.engines import EnginePair, EngineSide, capability
from capnet.wire.hello import VIRTUAL, Hello
from capnet.wire.references import AnswerRef, CapRef, Reference, StreamRef

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "wire.md"
LIMITS: Final = Limits(stream_items=4, max_calls=16)
_BLOCK = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_A = re.compile(r"^  A  (\[.*\]) +──▶")
_B = re.compile(r"^ +(?:or )?◀──  (\[.*\])  B")


def diagrams() -> dict[str, list[str]]:
    """The frames of each diagram of the reference, each with its sender before it, by title."""
    found: dict[str, list[str]] = {}
    for block in _BLOCK.findall(REFERENCE.read_text(encoding="utf-8")):
        frames: list[str] = []
        for line in block.splitlines():
            if line[:1].strip():
                frames = found[re.split(r" {2,}", line)[0]] = []
            for sender, pattern in (("A", _A), ("B", _B)):
                frames += (f"{sender} {shown}" for shown in pattern.findall(line))
    return found


DIAGRAMS: Final = diagrams()


def notation(value: Any) -> str:
    """A value as diagrams show it."""
    match value:
        case CapRef() | AnswerRef() | StreamRef():
            return f"{value.tag}({notation(value.content())})"
        case dict():
            pairs = cast("dict[str, Any]", value).items()
            return f"{{{', '.join(f'{json.dumps(key)}: {notation(item)}' for key, item in pairs)}}}"
        case [*items]:
            return f"[{', '.join(map(notation, items))}]"
        case bytes():
            return f"h'{value.hex()}'"
        case _:
            return json.dumps(value)


class Play:
    """A and B, and what they have sent since the play began."""

    def __init__(self) -> None:
        self.pair = EnginePair(Hello("A", LIMITS, (VIRTUAL,)), Hello("B", LIMITS, (VIRTUAL,))).open()
        self.a, self.b = self.pair.left, self.pair.right
        self.lobby = self.pair.give(self.b, "lobby")
        self.sent: list[str] = []

    def call(
        self,
        method: str,
        arguments: dict[str, Any],
        *references: Reference,
        target: Import | Pipelined | None = None,
        kept: bool = False,
        one_way: bool = False,
    ) -> Pipelined:
        """A calls, on the lobby if on nothing else; returns what will come of it."""
        engine = self.a.engine
        target = self.lobby if target is None else target
        call = engine.call(target, method, arguments, references, method, one_way=one_way, may_keep=kept)
        assert not kept or engine.calling.keep(call)
        return Pipelined(call, (), "chat.Room", 1)

    def move(self) -> None:
        """What has been sent on both sides arrives, after it was noted; until nothing moves."""
        self.pair.step()
        while self.a.incoming.waiting or self.b.incoming.waiting:
            for sender, side in (("A", self.b), ("B", self.a)):
                self.sent += (f"{sender} {notation(frame)}" for frame, _ in side.incoming.frames())
            for side in self.pair.sides:
                side.engine.receive_data(side.incoming.take(), self.pair.now)
            self.pair.step()

    def arrived(self) -> Answer:
        """What B is asked for, as soon as it has come."""
        self.move()
        return self.b.arrived()

    def reply(self, value: Any, *references: Reference) -> None:
        """B answers the oldest call that it has been asked."""
        self.b.engine.reply(self.arrived(), value, references)

    def end(self) -> None:
        """Everything has arrived and nothing is left on either side."""
        self.move()
        sent = list(self.sent)
        for side in self.pair.sides:
            for event in side.take(CallReturned):
                side.engine.release_all(event.references)
        self.a.engine.release(self.lobby)
        self.pair.finish()
        self.sent = sent


def streams(references: Any) -> list[Any]:
    """The streams among references."""
    return [reference.subject for reference in references if type(reference) is StreamRef]


def opened(answer: Answer) -> Any:
    """The stream in the arguments of a call."""
    (stream,) = streams(answer.references)
    return stream


def send(side: EngineSide, stream: OutStream, *items: str) -> None:
    """Send items, each while there is room."""
    for item in items:
        assert stream.room
        side.engine.streaming.send(stream, item)


def use(side: EngineSide, stream: InStream) -> list[Any]:
    """Take the items that have come, and be done with them."""
    used: list[Any] = []
    while (batch := side.engine.streaming.take(stream)) is not None:
        values, _, size, *_ = batch
        used += values
        side.engine.streaming.consumed(stream, len(values), size)
    return used


def pipelined_calls(play: Play) -> None:
    """Two calls on a room that is not there yet, in order."""
    room = play.call("open", {"topic": "tea"}, kept=True)
    play.call("post", {"text": "hi"}, target=room)
    play.call("post", {"text": "ho"}, target=room)
    ref = capability("the room", "chat.Room")
    play.reply(ref, ref)
    first, second = play.arrived(), play.arrived()
    assert [answer.arguments["text"] for answer in (first, second)] == ["hi", "ho"]
    assert first.export is second.export is play.b.engine.exports.find(3)
    play.b.engine.reply(first, 1)
    play.b.engine.reply(second, 2)
    play.move()
    play.a.engine.release(room)


def result_as_an_argument(play: Play) -> None:
    """The value takes its place, and no call overtakes the one that waits for it."""
    found = play.call("find", {}, kept=True)
    promise = AnswerRef(found.call.id, ("found", 0), found)
    play.call("show", {"what": promise}, promise)
    play.call("ping", {})
    play.a.engine.release(found)
    play.reply({"found": ["a", "b"]})
    show, ping = play.arrived(), play.arrived()
    (arrived,) = show.references
    assert (show.method, arrived.subject, ping.method) == ("show", "a", "ping")
    play.b.engine.reply(show, None)
    play.b.engine.reply(ping, None)


def failed_source(play: Play) -> None:
    """The call on what never came does not start."""
    room = play.call("open", {"topic": "tea"}, kept=True)
    play.call("post", {"text": "hi"}, target=room)
    play.b.engine.fail(play.arrived(), NotFound("no such room"))
    play.move()
    assert [play.a.failed().code, play.a.failed().code] == ["not_found", "not_found"]
    play.a.engine.release(room)


def one_way_calls(play: Play) -> None:
    """Room comes back when half of it was used up, not before."""
    for _ in range(8):
        play.call("heard", {"text": "hi"}, one_way=True)
    for number in range(8):
        assert play.a.engine.calls.one_way_room == 8, number
        play.reply(None)
    play.move()
    assert play.a.engine.calls.one_way_room == 16


def stream_in_a_result(play: Play) -> None:
    """B produces, A consumes, and gives credit for what it has used."""
    play.call("history", {})
    reference = StreamRef("out", "producer")
    play.reply(reference, reference)
    produced: OutStream = reference.subject
    send(play.b, produced, "a", "b")
    play.move()
    (consumed,) = streams(play.a.returned().references)
    assert produced.items == 2
    assert use(play.a, consumed) == ["a", "b"]
    play.move()
    assert produced.items == 4
    send(play.b, produced, "c")
    play.move()
    play.b.engine.streaming.end(produced)
    play.move()
    assert consumed.ended and use(play.a, consumed) == ["c"]


def stream_as_an_argument(play: Play) -> None:
    """A produces, from the turn of the call on."""
    reference = StreamRef("out", "producer")
    play.call("upload", {"lines": reference}, reference)
    send(play.a, reference.subject, "a", "b")
    upload = play.arrived()
    assert use(play.b, opened(upload)) == ["a", "b"]
    play.move()
    play.a.engine.streaming.end(reference.subject)
    play.move()
    play.b.engine.reply(upload, 2)


def both_ways(play: Play) -> None:
    """Two streams with one number."""
    lines, translated = StreamRef("out", "lines"), StreamRef("out", "translated")
    play.call("translate", {"lines": lines}, lines)
    translate = play.arrived()
    play.b.engine.reply(translate, translated, (translated,))
    play.move()
    (ours,) = streams(play.a.returned().references)
    send(play.a, lines.subject, "eins")
    play.move()
    assert use(play.b, opened(translate)) == ["eins"]
    send(play.b, translated.subject, "one")
    play.move()
    assert use(play.a, ours) == ["one"]
    play.a.engine.streaming.end(lines.subject)
    play.move()
    play.b.engine.streaming.end(translated.subject)


def stop(play: Play) -> None:
    """What was under way is let go of; the producer has the last word."""
    into = StreamRef("in", "consumer")
    play.call("watch", {"into": into}, into)
    watch = play.arrived()
    produced: OutStream = opened(watch)
    produced.token = "producer"
    send(play.b, produced, "a")
    play.move()
    assert use(play.a, into.subject) == ["a"]
    play.a.engine.streaming.stop(into.subject, "enough")
    send(play.b, produced, "b")
    play.move()
    assert not into.subject.batches
    assert play.b.take(StreamChanged)
    assert produced.closed is not None
    assert (produced.closed.reason, produced.closed.message) == ("stopped", "enough")
    play.b.engine.streaming.end(produced)
    play.move()
    play.b.engine.reply(watch, None)


def revoked_stream(play: Play) -> None:
    """Items that were not taken yet are overtaken by it."""
    play.call("history", {})
    reference = StreamRef("out", "producer")
    play.reply(reference, reference)
    play.move()
    (consumed,) = streams(play.a.returned().references)
    send(play.b, reference.subject, "a")
    play.move()
    play.sent.clear()
    assert consumed.batches
    play.b.engine.exporting.revoke(play.b.engine.exporting.of("lobby"), "session over")
    play.move()
    assert use(play.a, consumed) == []
    assert consumed.error is not None and consumed.error.reason == "revoked"


def open_at_b(play: Play, metadata: dict[str, Any]) -> tuple[Channel, Channel]:
    """A opens a virtual connection: both ends of it."""
    ours = play.a.engine.virtual.open(metadata, "A")
    play.move()
    (event,) = play.b.take(ChannelOpened)
    event.channel.token = "B"
    return ours, event.channel


def virtual_connection(play: Play) -> None:
    """Bytes both ways, and the last words of both sides."""
    ours, theirs = open_at_b(play, {"tenant": "blue"})
    virtual = play.b.engine.virtual
    virtual.accept(theirs, virtual.acceptance(theirs, {"region": "north"}))
    play.move()
    virtual.send(theirs, bytes.fromhex("00000003820e01"))
    play.move()
    assert play.a.engine.virtual.take(ours) == bytes.fromhex("00000003820e01")
    play.a.engine.virtual.send(ours, bytes.fromhex("00000003820f01"))
    play.move()
    assert virtual.take(theirs) == bytes.fromhex("00000003820f01")
    play.a.engine.virtual.close(ours)
    play.move()
    virtual.close(theirs)
    play.move()


def refused_virtual_connection(play: Play) -> None:
    """B says why."""
    ours, theirs = open_at_b(play, {})
    play.b.engine.virtual.close(theirs, Unimplemented("none", reason="no_virtual_connections"))
    play.move()
    assert ours.error is not None and ours.error.reason == "no_virtual_connections"


PLAYS: Final[dict[str, Callable[[Play], None]]] = {
    "pipelined calls": pipelined_calls,
    "result as an argument": result_as_an_argument,
    "failed source": failed_source,
    "one-way calls": one_way_calls,
    "stream in a result": stream_in_a_result,
    "stream as an argument": stream_as_an_argument,
    "both ways": both_ways,
    "stop": stop,
    "revoked stream": revoked_stream,
    "virtual connection": virtual_connection,
    "refused virtual connection": refused_virtual_connection,
}


@pytest.mark.parametrize("title", PLAYS)
def test_a_diagram_shows_what_is_sent(title: str) -> None:
    """P-CALL-7, P-CALL-8, P-STREAM-1, P-STREAM-2, P-STREAM-3, P-STREAM-4, P-STREAM-7, P-VIRT-2: each frame.

    Equal frames in a row stand there once.
    """
    play = Play()
    PLAYS[title](play)
    play.end()
    assert [frame for frame, _ in groupby(play.sent)] == DIAGRAMS[title]


@pytest.mark.parametrize("title", DIAGRAMS)
def test_a_diagram_has_frames(title: str) -> None:
    """Every line of a diagram that shows a frame is read as one."""
    assert DIAGRAMS[title]
