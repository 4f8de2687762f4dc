"""However the byte streams are cut, the engines say and send the same (P-FRAME-1)."""

from __future__ import annotations

from itertools import accumulate, pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from capnet.engine.answers import Answer
from capnet.engine.engine import Engine
from capnet.engine.events import CallArrived, CallReturned, Closed, Event
from capnet.engine.imports import Import
from capnet.engine.inspect import check_invariants, snapshot
from capnet.limits import Limits
from capnet.testing.engines import EnginePair, capability, homeward
from capnet.wire.codec import Codec
from capnet.wire.framing import FrameReader, header
from capnet.wire.hello import Hello
from capnet.wire.references import CapRef

CODEC = Codec(Limits())


def conversation() -> bytes:
    """All that the left side of a long conversation sends, as one stream of bytes."""
    pair = EnginePair(Hello("left"), Hello("right"))
    sent = bytearray()

    def flush() -> None:
        for _ in range(3):
            pair.step()
            sent.extend(pair.right.incoming.waiting)
            pair.deliver(pair.right)
            pair.deliver(pair.left)

    imported: Import | None = None
    for number in range(4):
        pair.left.call("give", capability("thing"), capability(f"other {number}"), timeout=5.0)
        cancelled = pair.left.call("cancelled")
        pair.right.call("ask")
        flush()
        pair.left.engine.cancel(cancelled, "enough")
        for event in pair.left.take(CallArrived):
            pair.left.reply(event.answer, capability("result"))
        for event in pair.right.take(CallArrived):
            pair.right.reply(event.answer, capability("theirs"))
        flush()
        for returned in pair.left.take(CallReturned):
            reference = returned.references[0]
            imported = reference.subject if isinstance(reference, CapRef) else None
        if imported is not None and imported.holders:
            pair.left.call("back", homeward(imported))
            pair.left.engine.release(imported)
        pair.left.engine.keepalive.ping()
        flush()
    pair.left.engine.exporting.revoke([next(iter(pair.left.engine.exports))], "enough")
    pair.left.engine.call(pair.left.engine.imports.bootstrap, "large", {"blob": bytes(70_000)}, token="large")
    flush()
    pair.left.engine.close("done", 0.0, pair.now)
    flush()
    return bytes(sent)


STREAM = conversation()
MALFORMED = STREAM[:700] + header(1) + b"\x80" + STREAM[700:]


def told(event: Event) -> str:
    """One event in words, with nothing in it that differs from run to run or changes later."""
    parts = msgspec.structs.astuple(event)
    return " ".join([type(event).__name__, *(str(part.id if isinstance(part, Answer) else part) for part in parts)])


def hear(stream: bytes, cuts: list[int]) -> tuple[list[str], bytes, str]:
    """Feed the stream in pieces to a new engine that has calls of its own.

    Returns the events in words, the bytes sent, and the end state. Answers would come at other times with other
    pieces, so none is given.
    """
    engine = Engine(Hello("right"), 0.0, bootstrap="bootstrap", runtime="runtime")
    events: list[str] = []
    for number in range(4):
        engine.call(engine.imports.bootstrap, "ask", {}, token=number)
    for start, end in pairwise([0, *sorted(cuts), len(stream)]):
        engine.receive_data(stream[start:end], 0.0)
        check_invariants(engine)
        events += [told(event) for event in engine.events()]
    return events, b"".join(engine.data_to_send()), repr(snapshot(engine))


WHOLE = hear(STREAM, [])
BROKEN = hear(MALFORMED, [])


@given(st.lists(st.integers(0, len(STREAM)), max_size=40))
def test_any_cutting_gives_the_same_events(cuts: list[int]) -> None:
    """P-FRAME-1: one stream, one meaning."""
    assert hear(STREAM, cuts) == WHOLE


@given(st.lists(st.integers(600, 760), max_size=20))
def test_any_cutting_finds_the_same_violation(cuts: list[int]) -> None:
    """P-FRAME-5, P-ERR-3: frames before the bad one count, those after it do not, however they came."""
    assert hear(MALFORMED, cuts) == BROKEN
    assert any(words.startswith(Closed.__name__) for words in BROKEN[0])


def test_byte_by_byte() -> None:
    """P-FRAME-1: the finest cutting of all, for everything up to the large frame."""
    head = STREAM[:2000]
    assert hear(head, list(range(1, 2000))) == hear(head, [])


@given(st.lists(st.booleans(), min_size=200, max_size=200))
def test_messages_of_whole_frames(together: list[bool]) -> None:
    """P-FRAME-3: a transport of messages may put one frame or several into each; the engine cannot tell."""
    ends = list(accumulate(len(header(len(frame))) + len(frame) for frame in FrameReader(2**32).frames(STREAM)))
    assert ends[-1] == len(STREAM) and len(ends) < 200
    assert hear(STREAM, [end for end, joined in zip(ends, together, strict=False) if not joined]) == WHOLE


@given(st.binary(max_size=200), st.integers(0, 200))
def test_garbage_never_raises(data: bytes, cut: int) -> None:
    """P-FRAME-5, P-CONN-3: whatever a stranger sends, in whatever pieces, is a close with a cause, or waiting."""
    for greeting in (b"", STREAM[: 4 + int.from_bytes(STREAM[:4], "big")]):
        hear(greeting + data, [min(len(greeting) + cut, len(greeting) + len(data))])
