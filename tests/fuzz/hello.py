"""Fuzz target: what a stranger says first, to a whole engine (P-CONN-1, P-CONN-2, P-CONN-3, P-FRAME-2).

An input decides the first bytes (as they are, as one frame, or as a hello made of parts that may be there, be wrong or
be at a bound), where they are cut, and how much time passes between. In the end the peer is introduced and can call, or
the engine has closed with a clause and has said one thing.
"""

from __future__ import annotations

from typing import Any, Final

from capnet.engine.events import CallArrived, Closed, PeerIntroduced
from capnet.errors import InvalidArgument
from capnet.limits import HANDSHAKE_FRAME, Limits
from capnet.testing.engines import RawPeer
from capnet.wire.codec import Codec
from capnet.wire.framing import header
from capnet.wire.hello import Hello
from capnet.wire.references import AnswerRef, CapRef, StreamRef
from tests.fuzz.choices import Choices

__all__ = ["one_input"]

_CODEC: Final = Codec(Limits.trusted())
_CLAUSES: Final = frozenset(
    ("P-CONN-1", "P-CONN-2", "P-CONN-3", "P-FRAME-1", "P-FRAME-2", "P-FRAME-4", "P-REF", "P-OP")
)
_KEYS: Final = (
    "name", "features", "auth", "max_frame", "max_calls", "max_caps", "max_streams", "stream_items", "stream_bytes",
    "new",
)  # fmt: skip
_NUMBERS: Final = (
    0,
    1,
    2,
    15,
    16,
    17,
    65_535,
    65_536,
    10**9,
    2**31 - 1,
    2**31,
    2**53 - 1,
    2**53,
    2**64 - 1,
    -1,
    -(2**63),
)
_SECOND: Final[tuple[list[Any], ...]] = ([14, 1], [0, "capnet", [1, 1], {}], [64], [63], [15, 1])
_TEXTS: Final = ("", "peer", "x" * 256, "x" * 257, "é" * 128, "é" * 129, "a\nb", "\u202e", "capnet", "\x00")


def one_input(data: bytes) -> None:
    """Play one input."""
    choices = Choices(data)
    raw = RawPeer(greet=False)
    first = _first(choices)
    while first and not raw.engine.lifecycle.closed:
        size = choices.below(64) + 1 if choices.flag() else len(first)
        raw.say_bytes(first[:size])
        first = first[size:]
        if choices.below(8) == 7:
            raw.advance(choices.below(64) / 10)
    if not raw.engine.lifecycle.closed and raw.engine.peer is None:
        raw.advance(5.0)
    introduced = raw.take(PeerIntroduced)
    if introduced and raw.engine.lifecycle.accepts_calls:
        _check_peer(raw, introduced)
    elif raw.engine.lifecycle.closed:
        _check_closed(raw)
    else:
        assert introduced, "the handshake never ends"


def _check_peer(raw: RawPeer, introduced: list[PeerIntroduced]) -> None:
    (said,) = introduced
    hello, engine = said.hello, raw.engine
    assert hello is engine.peer and said.version == 1
    assert len(hello.name.encode()) <= 256 and (not hello.name or hello.name.isprintable())
    assert engine.outbox.limit <= min(hello.limits.max_frame, engine.limits.max_frame)
    assert engine.next_deadline() is not None, "nothing guards the connection"
    try:
        hello.check()  # it could be said on: to a mesh, a log, a policy
    except InvalidArgument:
        assert hello.auth is not None, "only what is opaque may be more than we could say ourselves"
    if engine.reader.held:
        return
    engine.call(engine.imports.bootstrap, "hello", {}, token="ours")
    raw.say([2, raw.engine.answers.last_id + 1, 0, "probe", {}])
    arrived = raw.take(CallArrived)
    assert arrived and raw.reply(arrived[-1].answer, "well")[-1][2] == "well"


def _check_closed(raw: RawPeer) -> None:
    cause = raw.engine.lifecycle.cause
    assert raw.engine.lifecycle.closed and cause is not None
    assert len(raw.take(Closed)) == 1
    if raw.engine.peer is None:
        assert cause.kind == "violation" and cause.clause in _CLAUSES, cause
        assert raw.heard == [] if raw.line else [frame[:2] for frame in raw.heard] == [[16, cause.clause]]
    elif cause.kind == "violation" and cause.by_peer:
        assert raw.heard[-1][:2] == [16, cause.clause] and not raw.line
    raw.events.clear()
    heard = len(raw.heard)
    raw.say_bytes(b"\x00\x00\x00\x01\x80" * 3)
    assert not raw.events and len(raw.heard) == heard


def _first(choices: Choices) -> bytes:
    match choices.below(4):
        case 0:
            return choices.rest()
        case 1:
            payload = choices.rest()
            return header(len(payload)) + payload
        case 2:
            return _framed(_hello(choices))
        case _:
            second: list[Any] = choices.one_of(_SECOND)
            return _framed(_hello(choices)) + _framed(second)


def _framed(frame: list[Any]) -> bytes:
    payload = _CODEC.encode(frame)
    return header(len(payload)) + payload


def _hello(choices: Choices) -> list[Any]:
    frame: list[Any] = Hello("fuzz", features=("a",)).to_frame()
    match choices.below(16):
        case 0:
            frame[choices.below(4)] = _value(choices, 2)
        case 1:
            frame.append(_value(choices, 2))
        case 2:
            del frame[choices.below(4)]
        case 3:
            frame[2] = [_value(choices, 0) for _ in range(choices.below(4))]
        case _:
            pass
    if len(frame) > 3 and isinstance(frame[3], dict):
        for _ in range(choices.below(6)):
            frame[3][choices.one_of(_KEYS)] = _value(choices, 3)
    return frame


def _value(choices: Choices, depth: int) -> Any:
    match choices.below(10 if depth else 6):
        case 0:
            return choices.one_of(_NUMBERS)
        case 1:
            return choices.below(1 << 32)
        case 2:
            return choices.one_of(_TEXTS)
        case 3:
            return choices.one_of((None, True, False, 0.5, float("nan"), b"", b"secret"))
        case 4:
            return "x" * choices.below(HANDSHAKE_FRAME)
        case 5:
            return choices.one_of(
                (
                    CapRef("test.Thing", 1, id=2),
                    CapRef("test.Thing", 1, id=-1),
                    AnswerRef(1, ("a",)),
                    StreamRef("in", id=1),
                )
            )
        case 6 | 7:
            return [_value(choices, depth - 1) for _ in range(choices.below(6))]
        case 8:
            return {choices.one_of(_TEXTS): _value(choices, depth - 1) for _ in range(choices.below(6))}
        case _:
            return [[[[_value(choices, 0)]]]] * choices.below(20)
