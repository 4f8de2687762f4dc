"""The malicious peer: what it says, in order most of the time, and what it makes of that."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from capnet.limits import Limits
from capnet.wire.codec import Codec
from capnet.wire.frames import Op
from capnet.wire.framing import header
from capnet.wire.hello import Hello
from capnet.wire.references import AnswerRef, CapRef, Reference, StreamRef

from .encounter import LIMITS, Encounter, Step

__all__ = ["Peer", "cumulated"]


class Peer:
    """Makes up what the peer says. It reads the referee's notes as an attacker would keep them.

    Args:
        chance: where every choice comes from.
        encounter: whom it talks to.
        malice: share of its frames that is spoiled.
    """

    def __init__(self, chance: random.Random, encounter: Encounter, malice: float) -> None:
        self.chance = chance
        self.notes = encounter.referee
        self.limits = encounter.honest.limits
        self.malice = malice
        self._codec = Codec(Limits.trusted())
        self.planned: deque[Step] = deque()
        self._next_call = self._next_cap = self._next_stream = 0
        self._rest = b""

    def chunk(self) -> bytes:
        """The next bytes: mostly one frame, sometimes several, a part of one, or none at all."""
        chance = self.chance.random()
        if self._rest:
            size = self.chance.randrange(1, len(self._rest) + 1)
            data, self._rest = self._rest[:size], self._rest[size:]
            return data
        if not self.notes.introduced:
            return self._greeting()
        if self.malice and self.chance.random() < self.malice:
            return b"".join(map(self._pack, self.chance.choice(_BREACHES)(self)))
        if chance < 0.9:
            return self._frame()
        if chance < 0.96:
            return self._several()
        if self.malice and chance > 0.9996:
            return self._burst()
        if chance < 0.995 or self.chance.random() > self.malice:
            self._rest = self._frame()
            return self.chunk()
        return self._noise()

    def _several(self) -> bytes:
        """Frames that are in order one after the other, as far as each is for itself; the last may not be."""
        frames = [[Op.PING, 1]]
        about: set[Any] = set()
        for _ in range(self.chance.randrange(2, 6)):
            frame = self._honest_frame()
            group = _GROUPS.get(frame[0])
            if group is None or (frame[0] == Op.CALL and frame[1]):
                frames.append(frame)
            elif (subject := (group, None if frame[0] == Op.DROP else frame[1])) not in about:
                frames.append(frame)
                about.add(subject)
        if self.malice and self.chance.random() < self.malice / 3:
            frames[-1] = self._spoil(frames[-1])
        return b"".join(map(self._pack, frames))

    def _burst(self) -> bytes:
        """Very many at once of what costs nothing to say."""
        notes, count = self.notes, self.chance.choice((50, 200, 600, 1100))
        match self.chance.randrange(4):
            case 0:
                return self._pack([Op.PING, 1]) * count
            case 1 if notes.last_id:
                return self._pack([Op.CANCEL, notes.last_id]) * count
            case 2 if notes.retired:
                target = self.chance.choice(list(notes.retired))
            case _:
                target = self.chance.choice((0, 1))
        self._next_call = first = max(self._next_call, notes.last_id + 1)
        self._next_call += count
        cancelled = self.chance.random() < 0.5
        said = bytearray()
        for id in range(first, first + count):
            said += self._pack([Op.CALL, id, target, "m", {}])
            if cancelled:
                said += self._pack([Op.CANCEL, id])
        return bytes(said)

    # What breaks one rule, and as far as it can be told no other

    def _again(self) -> list[list[Any]]:
        last = self.notes.last_id
        return [[Op.CALL, self.chance.randrange(1, last + 1), 0, "m", {}]] if last else []

    def _guess(self) -> list[list[Any]]:
        id = self.chance.choice((1000, 2**52))
        home = CapRef("test.Thing", 1, None, -id)
        call = self._new_call({"keep": True})
        return self.chance.choice(
            (
                [[*call[:2], id, "m", {}]],
                [[*call[:4], {"home": home}]],
                [[*call[:2], [id, "refs", 0], "m", {}]],
                [[*call[:4], {"promise": AnswerRef(id)}]],
                [[Op.CANCEL, id]],
                [[Op.FINISH, id]],
                [[Op.FINISH, max(self.notes.last_id, 1)]],
                [[Op.RESULT, id, None]],
                [[Op.ITEMS, self.chance.choice((id, -id)), [1]]],
                [[Op.STOP, self.chance.choice((id, -id))]],
                [[Op.PONG, self.notes.their_pings + 1]],
                [[Op.CAP_REVOKED, [self.chance.choice((0, 1, self.notes.next_given))], "gone"]],
                [[Op.CAP_REPLACED, [self.notes.next_given], 1]],
            )
        )

    def _drop_more(self) -> list[list[Any]]:
        held, retired = list(self.notes.held.items()), list(self.notes.retired)
        some: list[list[int]] = [[self.chance.randrange(2), 1]]
        if held:
            id, count = self.chance.choice(held)
            some = self.chance.choice(([[id, count + 1]], [[id, count], [id, 1]], [[id, 2**52]]))
        elif retired:
            some = [[self.chance.choice(retired), 1]]
        return [[Op.DROP, some]]

    def _answer_again(self) -> list[list[Any]]:
        notes = self.notes
        if notes.asked:
            answer = [Op.RESULT, self.chance.choice(list(notes.asked)), None]
            return [answer, answer]
        return [[Op.ERROR, notes.last_asked, "internal", ""]]

    def _overrun(self) -> list[list[Any]]:
        id = self._flow(ours=True)
        return [] if id is None else [[Op.ITEMS, id, [None] * (max(self.notes.flows[id].items, 0) + 1)]]

    def _flood_of_credit(self) -> list[list[Any]]:
        if self.chance.random() < 0.3:
            return [[Op.CREDIT, 0, self.notes.one_way_asked + 1, 0]]
        id = self._flow(ours=False)
        return [] if id is None else [[Op.CREDIT, id, *self.chance.choice(((2**31, 0), (0, 2**52)))]]

    def _wrong_way(self) -> list[list[Any]]:
        ours, theirs = self._flow(ours=True), self._flow(ours=False)
        if ours is not None and (theirs is None or self.chance.random() < 0.5):
            return [self.chance.choice(([Op.CREDIT, ours, 1, 1], [Op.STOP, ours]))]
        return [] if theirs is None else [self.chance.choice(([Op.ITEMS, theirs, [1]], [Op.END, theirs]))]

    def _after_the_end(self) -> list[list[Any]]:
        id = self._flow(ours=True)
        return [] if id is None else [[Op.END, id], self.chance.choice(([Op.END, id], [Op.ITEMS, id, [1]]))]

    def _reference_where_none_may_be(self) -> list[list[Any]]:
        notes = self.notes
        promise: Any = AnswerRef(max(notes.last_id, 1))
        id = next(iter(notes.asked), notes.last_asked)
        flow = self._flow(ours=True)
        if flow is not None and self.chance.random() < 0.5:
            return [[Op.ITEMS, flow, [promise]]]
        return [self.chance.choice(([Op.RESULT, id, promise], [Op.ERROR, id, "", "", {"a": StreamRef("in", None, 9)}]))]

    def _too_many(self) -> list[list[Any]]:
        """As many as are allowed, and one."""
        notes, limits = self.notes, self.limits
        if limits.max_calls > 100:
            return []
        match self.chance.randrange(4):
            case 0:
                missing = limits.max_calls - len(notes.kept) + 1
                return [self._new_call({"keep": True}) for _ in range(missing)]
            case 1:
                return [[Op.CALL, 0, self.chance.randrange(2), "m", {}] for _ in range(notes.one_way_room + 1)]
            case 2:
                refs: list[Reference] = [self._new_cap() for _ in range(limits.max_caps - len(notes.given) + 1)]
            case _:
                missing = limits.max_streams - notes.streams_opened + 1
                refs = [self._new_stream(self.chance.choice(("in", "out"))) for _ in range(missing)]
        call = self._new_call({})
        return [[*call[:4], {"refs": refs}]]

    def _strike_often(self) -> list[list[Any]]:
        """Calls on what was given back, one more than are forgiven."""
        retired = list(self.notes.retired)
        if not retired or self.limits.max_strikes > 50:
            return []
        target = self.chance.choice(retired)
        calls = (self._new_call({}) for _ in range(self.limits.max_strikes + 1))
        return [[Op.CALL, call[1], target, "m", {}] for call in calls]

    def _never_finished(self) -> list[list[Any]]:
        """The beginning of a frame, and then nothing."""
        frame = self._pack(self._honest_frame())
        self.planned += [("hear", frame[: self.chance.randrange(1, len(frame))]), ("pass", 16.0), ("pass", 15.0)]
        return []

    def _second_hello(self) -> list[list[Any]]:
        return [Hello("again").to_frame()]

    def _new_call(self, meta: dict[str, Any]) -> list[Any]:
        self._next_call = id = max(self._next_call, self.notes.last_id + 1)
        self._next_call += 1
        return [Op.CALL, id, 0, "m", {}, meta]

    def _new_cap(self) -> CapRef:
        self._next_cap = id = max(self._next_cap, self.notes.next_given)
        self._next_cap += 1
        return CapRef("test.Thing", 1, None, id)

    def _new_stream(self, direction: str) -> StreamRef:
        self._next_stream = id = max(self._next_stream, self.notes.next_stream)
        self._next_stream += 1
        return StreamRef(direction, None, id)

    # What is no frame, or hardly one

    def _greeting(self) -> bytes:
        chance = self.chance
        pick = chance.random()
        if pick > 0.08 + self.malice / 4:
            announced = chance.choice(list(LIMITS.values()))
            hello = Hello(chance.choice(("", "raw", "ünï")), announced, auth=chance.choice((None, {"token": 1})))
            frame = hello.to_frame()
            frame[3]["stream_items"] = chance.choice((1, 2, 7, 512, 2**40))
            frame[3]["stream_bytes"] = chance.choice((1, 50, 1000, 2**40))
            return self._pack(frame)
        if pick < 0.02:
            return chance.choice(_STRANGERS)
        if pick < 0.06:
            return self._pack(self._spoil(Hello("raw").to_frame()))
        return self._frame()

    def _noise(self) -> bytes:
        chance = self.chance
        match chance.randrange(5):
            case 0:
                return header(chance.choice((2**31, 2**32 - 1, self.limits.max_frame + 1)))
            case 1:
                return chance.randbytes(chance.randrange(1, 40))
            case 2:
                payload = chance.randbytes(chance.randrange(40))
                return header(len(payload)) + payload
            case 3:
                return chance.choice(_BOMBS)
            case _:
                data = bytearray(self._frame())
                data[chance.randrange(len(data))] = chance.randrange(256)
                return bytes(data)

    def _honest_frame(self) -> list[Any]:
        frame = None
        while frame is None:
            frame = self.chance.choices(_SAYINGS, cum_weights=_SAYINGS_WEIGHTS)[0](self)
        return frame

    def _frame(self) -> bytes:
        frame = self._honest_frame()
        if self.malice and self.chance.random() < self.malice / 3:
            frame = self._spoil(frame)
        return self._pack(frame)

    def _pack(self, frame: list[Any]) -> bytes:
        payload = self._codec.encode(frame)
        return header(len(payload)) + payload

    def _spoil(self, frame: list[Any]) -> list[Any]:
        """The same with one thing about it that is odd, and may be wrong."""
        chance = self.chance
        spoiled = list(frame)
        index = chance.randrange(len(spoiled))
        match chance.randrange(8):
            case 0:
                del spoiled[index]
            case 1:
                spoiled.insert(index, self._odd())
            case 2:
                spoiled.append(self._odd())
            case 3:
                spoiled[0] = chance.choice(_OPS)
            case 4 if isinstance(spoiled[index], list) and spoiled[index]:
                spoiled[index] = [*spoiled[index][1:], self._odd()]
            case 5 if isinstance(spoiled[-1], dict):
                spoiled[-1] = {**spoiled[-1], chance.choice(_META_KEYS): self._odd()}
            case _ if len(spoiled) > 1:
                spoiled[chance.randrange(1, len(spoiled))] = self._odd()
            case _:
                pass
        return spoiled

    def _odd(self) -> Any:
        """A value that hardly belongs anywhere, or an id of another kind."""
        chance, notes = self.chance, self.notes
        pick = chance.randrange(12)
        if pick < 4:
            return chance.choice(_ODDITIES)
        if pick < 6:
            ids = [notes.last_id, notes.last_asked, notes.next_given, notes.next_stream, len(notes.their_streams)]
            return chance.choice(ids) + chance.randrange(-2, 3)
        if pick < 8:
            return self._any_id()
        if pick < 9:
            return CapRef("test.Thing", 1, None, self._any_id() or 7)
        if pick < 10:
            return AnswerRef(abs(self._any_id()) or 1, ("refs", 0))
        if pick < 11:
            return StreamRef(chance.choice(("in", "out")), None, abs(self._any_id()) or 1)
        return [self._any_id(), chance.choice(_ODDITIES)]

    def _any_id(self) -> int:
        notes = self.notes
        table: Any = self.chance.choice(
            (notes.owed, notes.kept, notes.held, notes.given, notes.asked, notes.flows, notes.retired)
        )
        id: int = self.chance.choice(list(table)) if table else self.chance.randrange(-3, 30)
        return id if self.chance.random() < 0.8 else -id

    # What is in order

    def _value(self, references: list[Reference] | None = None) -> Any:
        """A value, mostly without references; `references` is for those that were made up."""
        chance = self.chance
        pick = chance.random()
        if pick < 0.45:
            return chance.choice(_PLAIN) if pick > 0.004 else _LONG
        refs = [self._reference() for _ in range(1 if pick < 0.9 else chance.randrange(1, 5))]
        refs = [ref for ref in refs if ref is not None]
        if references is not None and self.notes.kept and pick > 0.8:
            refs.append(AnswerRef(chance.choice(list(self.notes.kept)), chance.choice(_PATHS)))
        return {"refs": refs, "n": 1} if pick < 0.95 else refs

    def _reference(self) -> Reference | None:
        chance, notes = self.chance, self.notes
        pick = chance.random()
        if pick < 0.3 and len(notes.given) < self.limits.max_caps - 4:
            return self._new_cap()
        if pick < 0.45 and notes.given:
            return CapRef("test.Other", 2, None, chance.choice(list(notes.given)))
        if pick < 0.75 and notes.held:
            return CapRef("test.Thing", 1, None, -chance.choice(list(notes.held)))
        if pick < 0.98 and notes.streams_opened < self.limits.max_streams - 4:
            return self._new_stream("out" if pick < 0.87 else "in")
        if pick > 0.9996:
            return CapRef("capnet.Runtime", 1, None, -1)
        if pick > 0.998 and notes.held:
            return CapRef(chance.choice(("test.Other", "test.Thing")), 2, None, -chance.choice(list(notes.held)))
        return None

    def _call(self) -> list[Any] | None:
        chance, notes = self.chance, self.notes
        if len(notes.owed) >= self.limits.max_calls + self.limits.max_queued_calls and chance.random() < 0.9:
            return None
        references: list[Reference] = []
        target: Any = 0
        pick = chance.random()
        if pick < 0.45 and notes.held:
            target = chance.choice(list(notes.held))
        elif pick < 0.7 and notes.kept:
            target = [chance.choice(list(notes.kept)), *chance.choice(_PATHS)]
        elif pick < 0.75:
            target = 1
        elif pick > 0.985 and notes.retired:
            target = chance.choice(list(notes.retired))
        id = 0
        if pick < 0.08 or pick > 0.97:
            if not notes.one_way_room:
                return None
        else:
            self._next_call = id = max(self._next_call, notes.last_id + 1)
            self._next_call += 1
        arguments = (
            self._value(references) if id else {"refs": [ref for ref in (self._reference(),) if ref is not None]}
        )
        frame: list[Any] = [
            Op.CALL,
            id,
            target,
            "m",
            arguments if isinstance(arguments, dict) else {"value": arguments},
        ]
        pick = chance.random()
        if pick < 0.3 and len(notes.kept) < self.limits.max_calls - 4:
            frame.append({"keep": True})
        elif pick < 0.4:
            frame.append({"deadline": chance.choice((0, 1, 30, 1000, 2**52))})
        elif pick < 0.45:
            frame.append({"context": {"traceparent": "00-1"}, "idempotent": True, "unknown": 1})
        return frame

    def _result(self) -> list[Any] | None:
        asked = self.notes.asked
        return [Op.RESULT, self.chance.choice(list(asked)), self._value()] if asked else None

    def _error(self) -> list[Any] | None:
        asked = self.notes.asked
        if not asked:
            return None
        frame = [Op.ERROR, self.chance.choice(list(asked)), self.chance.choice(_CODES), "no"]
        return [*frame, self.chance.choice(_DETAILS)] if self.chance.random() < 0.5 else frame

    def _cancel(self) -> list[Any] | None:
        notes = self.notes
        if not notes.last_id:
            return None
        owed = notes.owed and self.chance.random() < 0.8
        id = self.chance.choice(list(notes.owed)) if owed else self.chance.randrange(1, notes.last_id + 1)
        return [Op.CANCEL, id] if self.chance.random() < 0.5 else [Op.CANCEL, id, "x" * 5000]

    def _finish(self) -> list[Any] | None:
        kept = self.notes.kept
        return [Op.FINISH, self.chance.choice(list(kept))] if kept else None

    def _flow(self, *, ours: bool) -> int | None:
        flows = [id for id, flow in self.notes.flows.items() if flow.ours is ours]
        return self.chance.choice(flows) if flows else None

    def _items(self) -> list[Any] | None:
        id = self._flow(ours=True)
        if id is None:
            return None
        flow = self.notes.flows[id]
        if (flow.items <= 0 or flow.bytes <= 0) and self.chance.random() > self.malice / 40:
            return None
        count = self.chance.randrange(1, min(max(flow.items, 1), 6) + 1)
        return [Op.ITEMS, id, [self._value() for _ in range(count)]]

    def _credit(self) -> list[Any] | None:
        chance, notes = self.chance, self.notes
        if notes.one_way_asked and chance.random() < 0.3:
            return [Op.CREDIT, 0, chance.randrange(1, notes.one_way_asked + 1), 0]
        id = self._flow(ours=False)
        if id is None:
            return None
        items, size = chance.randrange(4), chance.choice((1, 100, 10_000))
        flow = notes.flows[id]
        if max(flow.items + items, flow.bytes + size) >= 2**31 and chance.random() > self.malice / 40:
            return None
        return [Op.CREDIT, id, items, size]

    def _end(self) -> list[Any] | None:
        id = self._flow(ours=True)
        if id is None:
            return None
        return self.chance.choice(([Op.END, id], [Op.END, id, "internal", "no"], [Op.END, id, "not_found", "", {}]))

    def _stop(self) -> list[Any] | None:
        id = self._flow(ours=False)
        return None if id is None else [Op.STOP, id] if self.chance.random() < 0.5 else [Op.STOP, id, "enough"]

    def _drop(self) -> list[Any] | None:
        chance, held = self.chance, self.notes.held
        ids = chance.sample(list(held), min(len(held), chance.choice((1, 1, 1, 3))))
        return [Op.DROP, [[id, chance.randrange(1, held[id] + 1)] for id in ids]] if ids else None

    def _told(self) -> list[Any] | None:
        chance, notes = self.chance, self.notes
        if notes.next_given == 2:
            return None
        ids = [chance.randrange(2, notes.next_given) for _ in range(chance.randrange(3))]
        if chance.random() < 0.4:
            return [Op.CAP_REPLACED, ids, chance.randrange(9)]
        return [Op.CAP_REVOKED, ids, "gone"]

    def _ping(self) -> list[Any] | None:
        return [Op.PING, self.chance.randrange(-5, 2**50)]

    def _pong(self) -> list[Any] | None:
        pings = self.notes.their_pings
        return [Op.PONG, self.chance.randrange(1, pings + 1)] if pings else None

    def _future(self) -> list[Any] | None:
        return [self.chance.choice((64, 99, 2**40)), self._value(), None]

    def _storm(self) -> list[Any] | None:
        """What a peer does that means harm and nothing else: mostly legal, and too much of it."""
        notes = self.notes
        match self.chance.randrange(4):
            case 0 if notes.owed:
                return [Op.CANCEL, self.chance.choice(list(notes.owed))]
            case 1 if notes.retired:
                self._next_call = max(self._next_call, notes.last_id + 1) + 1
                return [Op.CALL, self._next_call - 1, self.chance.choice(list(notes.retired)), "m", {}]
            case 2:
                self._next_call = max(self._next_call, notes.last_id + 1) + 1
                return [Op.CALL, self._next_call - 1, 0, "m", {}]
            case _:
                return None

    def _farewell(self) -> list[Any] | None:
        if self.chance.random() > 0.03:
            return None
        if self.chance.random() < 0.3:
            return [Op.ABORT, "P-ID-1", "you did"]
        last = self.chance.choice((self.notes.last_asked, 0, 2**52))
        return [Op.GOAWAY, last, "unavailable", "bye", self.chance.choice((0, 1000, 10**12))]


def cumulated(weights: Sequence[float]) -> list[float]:
    total, sums = 0.0, list[float]()
    for weight in weights:
        total += weight
        sums.append(total)
    return sums


_TABLE: Final[dict[Callable[[Peer], list[Any] | None], float]] = {
    Peer._call: 30,
    Peer._result: 12,
    Peer._error: 3,
    Peer._cancel: 4,
    Peer._finish: 4,
    Peer._items: 14,
    Peer._credit: 8,
    Peer._end: 3,
    Peer._stop: 2,
    Peer._drop: 8,
    Peer._told: 2,
    Peer._ping: 2,
    Peer._pong: 1,
    Peer._future: 1,
    Peer._storm: 2,
    Peer._farewell: 1,
}
_SAYINGS: Final = list(_TABLE)
_SAYINGS_WEIGHTS: Final = cumulated(list(_TABLE.values()))
_BREACHES: Final[list[Callable[[Peer], list[list[Any]]]]] = [
    Peer._again,
    Peer._guess,
    Peer._guess,
    Peer._guess,
    Peer._drop_more,
    Peer._answer_again,
    Peer._overrun,
    Peer._flood_of_credit,
    Peer._wrong_way,
    Peer._after_the_end,
    Peer._reference_where_none_may_be,
    Peer._too_many,
    Peer._too_many,
    Peer._strike_often,
    Peer._never_finished,
    Peer._second_hello,
]
_GROUPS: Final = {
    Op.CALL: "one-way calls",
    Op.RESULT: "answers",
    Op.ERROR: "answers",
    Op.FINISH: "promises",
    Op.ITEMS: "streams",
    Op.END: "streams",
    Op.CREDIT: "credit",
    Op.DROP: "drops",
}
"""Of frames of one group about one thing, the second may be out of order."""
_OPS: Final = [*range(24), 63, 64, 2**53, -1, True, None, "2"]
_META_KEYS: Final = ["keep", "deadline", "context", "idempotent", "refs"]
_CODES: Final = ["internal", "not_found", "cancelled", "no such code", "", "x" * 500]
_PATHS: Final[list[tuple[str | int, ...]]] = [(), ("refs", 0), ("refs", 1), ("n",), ("refs",), (0,), ("refs", -1)]
_PLAIN: Final[list[Any]] = [
    None, 1, {}, {"a": 1}, [1, "two", 3.0], "text", b"\x00" * 40, {"m": {"n": [[]]}},
    "x" * 400, "x" * 400 + "\U0001f600", {"é" * 40: "中" * 40},
]  # fmt: skip
_DETAILS: Final[list[dict[str, Any]]] = [
    {"reason": "revoked", "n": [1]},
    {"reason": "r" * 300 + "\U0001f600", "retry": 7},
    {"reason": [], "x": ["y"] * 300},
    {"x": "\U0001f600" * 5000},
]
_LONG: Final = list(range(4000))
_ODDITIES: Final[list[Any]] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    3,
    1.0,
    -(2**53),
    2**31 - 1,
    2**31,
    2**53 - 1,
    2**53,
    2**63,
    "",
    "x",
    "in",
    "__class__",
    "a\nb",
    "x" * 300,
    b"bytes",
    [],
    [0],
    [True],
    [[2, 1]],
    [[2, 0]],
    [[2, 2**31]],
    [1, "refs", 0.5],
    {},
    {"keep": 1},
    {"context": {"a": 1}},
]
_STRANGERS: Final = [
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    header(0),
    header(4097),
    header(5) + b"hello",
    header(2) + b"\x81\x0e",
    bytes(64),
]
_BOMBS: Final = [
    header(len(payload)) + payload
    for payload in (
        b"\x80" * 60_000,
        b"\x9a\x00\x00\xea\x60" + b"\x80" * 60_000,
        b"\x83\x07\x01\x99\xea\x60" + b"\xa1\x60\x80" * 20_000,
        b"\x81" * 500 + b"\x00",
        b"\x82\x0e\xc2\x58\x40" + b"\xff" * 64,
        b"\x82\x0e\xd8\x1c\x82\xd8\x1d\x00\xd8\x1d\x00",
        b"\x82\x0e\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\x82\x0e\x9f\xff",
        b"\x82\x0e\x01\x02",
    )
]
