"""The peer's part in the engine target: frames of every kind, whose ids are mostly those of something."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from capnet.engine.calls import Call
from capnet.engine.stream import InStream, OutStream
from capnet.limits import Limits
from capnet.testing.engines import RawPeer
from capnet.wire.codec import Codec
from capnet.wire.frames import Op
from capnet.wire.framing import header
from capnet.wire.hello import Hello
from capnet.wire.references import AnswerRef, CapRef, Reference, StreamRef
from tests.fuzz.choices import Choices

__all__ = ["Peer"]

_CODEC: Final = Codec(Limits.trusted())
_ODD: Final[tuple[Any, ...]] = (
    0,
    1,
    2,
    3,
    2**31,
    2**53 - 1,
    2**53,
    2**64 - 1,
    -1,
    -2,
    True,
    1.0,
    "1",
    None,
    b"",
    [],
    {},
)
_NAMES: Final = ("m", "bootstrap", "", "x" * 256, "x" * 257, "__class__", "a\n", "é")
_PATHS: Final[tuple[tuple[str | int, ...], ...]] = (
    ("refs", 0),
    (),
    ("refs", 1),
    ("refs", 9),
    ("names",),
    (0,),
    ("refs", -1),
)
_COUNTS: Final = (1, 1, 1, 1, 2, 2, 2, 3, 3, 6, 7, 100, 401, 2**31 - 1, 2**53 - 1)


class Peer:
    """Says one thing at a time; what it says may be held back in part until the next.

    Args:
        raw: the engine, and its tables to find ids in.
        choices: what decides.
    """

    def __init__(self, raw: RawPeer, choices: Choices) -> None:
        self._raw = raw
        self._choices = choices
        self._held = b""
        self._next_cap = 2
        self._next_stream = 1
        self._frames: tuple[Callable[[], list[Any]], ...] = (
            self._call, self._call, self._call, self._result, self._result, self._items, self._items, self._error,
            self._cancel, self._finish, self._credit, self._end, self._stop, self._drop, self._told, self._ping,
            self._pong, self._goaway, self._one_way, self._odd,
        )  # fmt: skip

    def say(self) -> None:
        """One frame, or some bytes, whole or in part."""
        choices = self._choices
        if choices.below(256) == 255:
            data = choices.take(choices.below(32))
        else:
            try:
                greeted = self._raw.engine.peer is not None or choices.below(8) == 7
                frame = choices.one_of(self._frames)() if greeted else Hello("fuzz").to_frame()
            except LookupError:
                frame = self._call()
            if choices.below(64) == 63:
                frame = self._spoiled(frame)
            payload = _CODEC.encode(frame)
            data = header(len(payload)) + payload
        data = self._held + data
        size = choices.below(len(data) + 1) if choices.below(16) == 15 else len(data)
        self._held = data[size:]
        self._raw.say_bytes(data[:size])

    def _spoiled(self, frame: list[Any]) -> list[Any]:
        """With something else in one place, one part more or one less."""
        choices = self._choices
        match choices.below(4):
            case 0:
                frame.append(self._value())
            case 1:
                frame.pop()
            case _:
                frame[choices.below(len(frame))] = choices.one_of(_ODD)
        return frame

    # Ids

    def _one(self, ids: Iterable[int]) -> int:
        """Mostly one of these, else any small number or one that is odd.

        Raises:
            LookupError: there is none, and it shall be one.
        """
        choices, known = self._choices, list(ids)
        luck = choices.below(256)
        if luck < 252:
            if not known:
                raise LookupError
            return known[luck % len(known)]
        return choices.below(40) if luck < 255 else choices.one_of((0, 1, 2**31, 2**53 - 1))

    def _stream(self, kind: type[InStream | OutStream]) -> int:
        """A stream as the peer names it."""
        streams = self._raw.engine.streams
        found = self._one(-stream.id for stream in streams if type(stream) is kind)
        return -found if self._choices.below(64) == 63 else found

    # Frames

    def _call(self, id: int | None = None) -> list[Any]:
        choices, engine = self._choices, self._raw.engine
        answers = engine.answers
        if id is None:
            id = answers.last_id + 1 if choices.below(64) != 63 else self._one([1, *(answer.id for answer in answers)])
        kept = self._kept()
        target: Any = self._one([0, *(export.id for export in engine.exports)])
        if kept and choices.below(3) == 0:
            target = [self._one(kept), *choices.one_of(_PATHS)]
        frame = [Op.CALL, id, target, _NAMES[0] if choices.below(32) else choices.one_of(_NAMES), self._arguments(True)]
        match choices.below(4):
            case 0:
                frame.append({"keep": True})
            case 1:
                frame.append({"deadline": choices.one_of((0, 1, 100, 5000, 2**53 - 1)), "context": {"a": "b"}})
            case _:
                pass
        return frame

    def _one_way(self) -> list[Any]:
        return self._call(0)

    def _kept(self) -> list[int]:
        """The peer's calls whose answer is kept, or will be."""
        engine = self._raw.engine
        return [*engine.pipelines._kept, *(answer.id for answer in engine.answers if answer.keep)]

    def _result(self) -> list[Any]:
        return [Op.RESULT, self._ours(), self._arguments(False) if self._choices.flag() else self._value()]

    def _error(self) -> list[Any]:
        frame: list[Any] = [
            Op.ERROR,
            self._ours(),
            self._choices.one_of(("not_found", "revoked", "x", "internal")),
            "text",
        ]
        return [*frame, {"reason": "why", "more": self._value()}] if self._choices.flag() else frame

    def _ours(self) -> int:
        calls: Iterable[Call] = self._raw.engine.calls
        return self._one(call.id for call in calls)

    def _cancel(self) -> list[Any]:
        return [Op.CANCEL, self._one(answer.id for answer in self._raw.engine.answers)]

    def _finish(self) -> list[Any]:
        return [Op.FINISH, self._one(self._kept())]

    def _items(self) -> list[Any]:
        values = [self._arguments(False) if self._choices.below(4) == 0 else self._value()]
        return [Op.ITEMS, self._stream(InStream), values * (1 + self._choices.below(3))]

    def _credit(self) -> list[Any]:
        choices = self._choices
        id = self._stream(OutStream) if choices.below(64) else 0
        return [Op.CREDIT, id, choices.one_of(_COUNTS), choices.one_of((0, *_COUNTS)) if id else 0]

    def _end(self) -> list[Any]:
        frame: list[Any] = [Op.END, self._stream(InStream)]
        return [*frame, "not_found", "text"] if self._choices.flag() else frame

    def _stop(self) -> list[Any]:
        return [Op.STOP, self._stream(OutStream), "enough"]

    def _drop(self) -> list[Any]:
        choices = self._choices
        pairs: list[list[int]] = []
        for _ in range(1 + choices.below(3)):
            live = {export.id: export.references for export in self._raw.engine.exports}
            id = self._one(live)
            pairs.append([id, live.get(id, 1) if choices.below(8) else choices.one_of(_COUNTS)])
        return [Op.DROP, pairs]

    def _told(self) -> list[Any]:
        choices = self._choices
        held = [imported.id for imported in self._raw.engine.imports]
        ids = [self._one(held) for _ in range(choices.below(3))]
        return [Op.CAP_REVOKED, ids, "gone"] if choices.flag() else [Op.CAP_REPLACED, ids, choices.below(5)]

    def _ping(self) -> list[Any]:
        return [Op.PING, self._choices.below(256)]

    def _pong(self) -> list[Any]:
        asked = self._raw.engine.keepalive.number
        return [Op.PONG, self._one(range(1, asked + 1))]

    def _goaway(self) -> list[Any]:
        if self._choices.below(8):
            return self._call()  # else there would be nothing else
        return [Op.GOAWAY, self._ours(), "unavailable", "bye", self._choices.one_of((0, 1, 5000, 2**53 - 1))]

    def _odd(self) -> list[Any]:
        choices = self._choices
        match choices.below(64):
            case 0:
                return [Op.ABORT, "P-X", "you did"]
            case 1:
                return Hello("again").to_frame()
            case 2:
                return [choices.one_of(_ODD), self._value()]
            case 3 | 4:
                return Hello("fuzz").to_frame() if self._raw.engine.peer is None else [64, self._value()]
            case number:
                return self._call() if number % 4 else [64 + choices.below(8), self._value()]

    # Values

    def _arguments(self, promises: bool) -> dict[str, Any]:
        count = self._choices.below(4) if self._choices.below(16) else self._choices.below(30)
        return {"refs": [self._reference(promises) for _ in range(count)]} if count else {}

    def _reference(self, promises: bool) -> Reference:
        choices = self._choices
        try:
            return self._known_reference(promises)
        except LookupError:
            pass
        self._next_cap += 1
        if choices.flag():
            return CapRef("test.Thing", 1, id=self._next_cap - 1)
        self._next_stream += 1
        id = self._next_stream - 1 if choices.below(64) != 63 else choices.below(20) + 1
        return StreamRef(choices.one_of(("out", "in")), id=id)

    def _known_reference(self, promises: bool) -> Reference:
        choices, engine = self._choices, self._raw.engine
        match choices.below(6 if promises else 4):
            case 0:
                return CapRef("test.Thing", 1, id=self._one(imported.id for imported in engine.imports) or 2)
            case 1:
                return CapRef("test.Thing", 1, id=-self._one(export.id for export in engine.exports) or 2)
            case 2 | 3:
                raise LookupError
            case _:
                return AnswerRef(self._one(self._kept()) or 1, choices.one_of(_PATHS))

    def _value(self) -> Any:
        choices = self._choices
        values: tuple[Any, ...] = (
            None,
            1,
            "text",
            b"bytes",
            [1, 2],
            {"a": {"b": 1}},
            b"x" * choices.below(256),
            [[0]] * 30,
        )
        return choices.one_of(values)
