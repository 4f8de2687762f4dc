"""The frames: every shape of the table in the wire reference, and nothing else (P-OP)."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest

from capnet.errors import ProtocolViolation
from capnet.wire.frames import (
    CHAIN,
    HOPS,
    MAX_CONTEXT_BYTES,
    MAX_CONTEXT_KEYS,
    OPERATION,
    WINDOW,
    Op,
    check,
    items_frame,
)
from capnet.wire.references import CapRef, StreamRef

TOP = 2**53 - 1
FULL = {f"key{number}": "" for number in range(MAX_CONTEXT_KEYS)}

VALID: list[list[Any]] = [
    [Op.HELLO, "capnet", [1, 1], {}],
    [Op.GOAWAY, 0, "unavailable", "", 0],
    [Op.GOAWAY, TOP, "unavailable", "bye", TOP],
    [Op.CALL, 1, 2, "post", {}],
    [Op.CALL, 0, 0, "p" * 256, {"text": "hi"}],
    [Op.CALL, TOP, TOP, "post", {}, {}],
    [Op.CALL, 1, [5], "post", {}],
    [Op.CALL, 1, [5, "room", 0, -1], "post", {}],
    [Op.CALL, 1, 2, "post", {}, {"deadline": 0, "keep": True, "idempotent": False, "context": {"traceparent": "00"}}],
    [Op.CALL, 1, 2, "post", {}, {"unknown": [1]}],
    [Op.CALL, 1, 2, "post", {}, {"context": FULL}],
    [Op.CALL, 1, 2, "post", {}, {"context": {**FULL, HOPS: "1", CHAIN: " a"}}],
    [Op.CALL, 1, 2, "post", {}, {"context": {**FULL, HOPS: "1", CHAIN: " a", WINDOW: "1 1", OPERATION: "a 1"}}],
    [Op.CALL, 1, 2, "post", {}, {"context": {"k" * 256: "v" * MAX_CONTEXT_BYTES, "": "é" * (MAX_CONTEXT_BYTES // 2)}}],
    [Op.RESULT, 0, None],
    [Op.RESULT, TOP, CapRef("a", 1, None, 2)],
    [Op.ERROR, 1, "internal", ""],
    [Op.ERROR, 1, "new_code", "text", {"reason": "x"}],
    [Op.CANCEL, 1],
    [Op.CANCEL, 1, "gave up"],
    [Op.FINISH, 0],
    [Op.FINISH, TOP],
    [Op.ITEMS, 1, [None]],
    [Op.ITEMS, -TOP, ["a", {"b": 1}, CapRef("a", 1, None, 2), StreamRef("in", None, 1)]],
    [Op.CREDIT, 1, 1, 0],
    [Op.CREDIT, -1, 0, 1],
    [Op.CREDIT, 0, 8, 0],
    [Op.CREDIT, TOP, TOP, TOP],
    [Op.END, 1],
    [Op.END, -TOP, "internal", ""],
    [Op.END, TOP, "new_code", "text", {"reason": "x"}],
    [Op.STOP, 1],
    [Op.STOP, -TOP, "enough"],
    [Op.DROP, []],
    [Op.DROP, [[2, 1], [TOP, TOP]]],
    [Op.CAP_REVOKED, [], ""],
    [Op.CAP_REVOKED, [2, 3], "over"],
    [Op.CAP_REPLACED, [], 0],
    [Op.CAP_REPLACED, [2, TOP], TOP],
    [Op.PING, 1],
    [Op.PING, -1],
    [Op.PONG, TOP],
    [Op.PONG, 1 - 2**53],
    [Op.ABORT, "P-FRAME-4", "why"],
    [Op.OPEN, 1, 1],
    [Op.OPEN, TOP, 2**31 - 1, {}],
    [Op.ACCEPT, -1, 1],
    [Op.ACCEPT, -TOP, 2**31 - 1, {"a": [1]}],
    [Op.REJECT, -1, "new_code", ""],
    [Op.REJECT, -TOP, "internal", "text", {"reason": "x"}],
    [Op.DATA, 1, b"x"],
    [Op.DATA, -TOP, bytes(100)],
    [Op.CLOSE, 1],
    [Op.CLOSE, -1, "internal", ""],
    [Op.CLOSE, -TOP, "new_code", "text", {"reason": "x"}],
    [Op.ROOM, 1, 1],
    [Op.ROOM, -TOP, 2**31 - 1],
]

INVALID: list[list[Any]] = [
    [Op.HELLO],
    [Op.HELLO, "capnet", [1, 1]],
    [Op.HELLO, "capnet", [1, 1], {}, 0],
    [Op.GOAWAY, 1, "unavailable", "bye"],
    [Op.GOAWAY, 1, "unavailable", "bye", 0, 0],
    [Op.GOAWAY, -1, "unavailable", "bye", 0],
    [Op.GOAWAY, True, "unavailable", "bye", 0],
    [Op.GOAWAY, 1, 5, "bye", 0],
    [Op.GOAWAY, 1, "unavailable", None, 0],
    [Op.GOAWAY, 1, "unavailable", "bye", 0.5],
    [Op.CALL, 1, 2, "post"],
    [Op.CALL, 1, 2, "post", {}, {}, {}],
    [Op.CALL, -1, 2, "post", {}],
    [Op.CALL, True, 2, "post", {}],
    [Op.CALL, 2**53, 2, "post", {}],
    [Op.CALL, 1, -2, "post", {}],
    [Op.CALL, 1, True, "post", {}],
    [Op.CALL, 1, CapRef("a", 1, None, 2), "post", {}],
    [Op.CALL, 1, [], "post", {}],
    [Op.CALL, 1, ["room"], "post", {}],
    [Op.CALL, 1, [-5], "post", {}],
    [Op.CALL, 1, [5, None], "post", {}],
    [Op.CALL, 1, [5, True], "post", {}],
    [Op.CALL, 1, 2, b"post", {}],
    [Op.CALL, 1, 2, "", {}],
    [Op.CALL, 1, 2, "p" * 257, {}],
    [Op.CALL, 1, 2, "a\0b", {}],
    [Op.CALL, 1, 2, "post", []],
    [Op.CALL, 1, 2, "post", None],
    [Op.CALL, 1, 2, "post", {}, None],
    [Op.CALL, 1, 2, "post", {}, []],
    [Op.CALL, 1, 2, "post", {}, {"deadline": -1}],
    [Op.CALL, 1, 2, "post", {}, {"deadline": True}],
    [Op.CALL, 1, 2, "post", {}, {"deadline": 1.5}],
    [Op.CALL, 1, 2, "post", {}, {"deadline": None}],
    [Op.CALL, 1, 2, "post", {}, {"keep": 1}],
    [Op.CALL, 1, 2, "post", {}, {"idempotent": None}],
    [Op.CALL, 1, 2, "post", {}, {"context": []}],
    [Op.CALL, 1, 2, "post", {}, {"context": {"a": 1}}],
    [Op.CALL, 1, 2, "post", {}, {"context": {**FULL, "one more": ""}}],
    [Op.CALL, 1, 2, "post", {}, {"context": {**FULL, HOPS: "1", CHAIN: " a", "one more": ""}}],
    [Op.CALL, 1, 2, "post", {}, {"context": {"k" * 257: ""}}],
    [Op.CALL, 1, 2, "post", {}, {"context": {"é" * 129: ""}}],
    [Op.CALL, 1, 2, "post", {}, {"context": {"k": "v" * (MAX_CONTEXT_BYTES + 1)}}],
    [Op.CALL, 1, 2, "post", {}, {"context": {CHAIN: "é" * (MAX_CONTEXT_BYTES // 2 + 1)}}],
    [Op.RESULT, 1],
    [Op.RESULT, 1, 2, 3],
    [Op.RESULT, -1, None],
    [Op.RESULT, "1", None],
    [Op.ERROR, 1, "internal"],
    [Op.ERROR, 1, "internal", "", {}, 0],
    [Op.ERROR, None, "internal", ""],
    [Op.ERROR, 1, 5, ""],
    [Op.ERROR, 1, "internal", b""],
    [Op.ERROR, 1, "internal", "", None],
    [Op.ERROR, 1, "internal", "", []],
    [Op.CANCEL],
    [Op.CANCEL, 1, None],
    [Op.CANCEL, 1, "x", "y"],
    [Op.CANCEL, -1],
    [Op.CANCEL, 1.0],
    [Op.FINISH],
    [Op.FINISH, 1, "done"],
    [Op.FINISH, -1],
    [Op.FINISH, True],
    [Op.FINISH, [1]],
    [Op.FINISH, 2**53],
    [Op.ITEMS, 1],
    [Op.ITEMS, 1, [0], [1]],
    [Op.ITEMS, 0, [0]],
    [Op.ITEMS, True, [0]],
    [Op.ITEMS, 2**53, [0]],
    [Op.ITEMS, -(2**53), [0]],
    [Op.ITEMS, 1, []],
    [Op.ITEMS, 1, None],
    [Op.ITEMS, 1, {"a": 1}],
    [Op.ITEMS, 1, "ab"],
    [Op.CREDIT, 1, 1],
    [Op.CREDIT, 1, 1, 1, 1],
    [Op.CREDIT, 1, 0, 0],
    [Op.CREDIT, 0, 0, 0],
    [Op.CREDIT, 1, -1, 1],
    [Op.CREDIT, 1, 1, -1],
    [Op.CREDIT, 1, True, 1],
    [Op.CREDIT, 1, 1, 1.0],
    [Op.CREDIT, 1, 2**53, 1],
    [Op.CREDIT, None, 1, 1],
    [Op.CREDIT, -(2**53), 1, 1],
    [Op.END],
    [Op.END, 0],
    [Op.END, True],
    [Op.END, 2**53],
    [Op.END, 1, "internal"],
    [Op.END, 1, None, None],
    [Op.END, 1, "internal", None],
    [Op.END, 1, 5, ""],
    [Op.END, 0, "internal", ""],
    [Op.END, 1, "internal", "", None],
    [Op.END, 1, "internal", "", []],
    [Op.END, 1, "internal", "", {}, 0],
    [Op.STOP],
    [Op.STOP, 0],
    [Op.STOP, True],
    [Op.STOP, 1, None],
    [Op.STOP, 0, "enough"],
    [Op.STOP, 1, "enough", 0],
    [Op.STOP, -(2**53), "enough"],
    [Op.DROP],
    [Op.DROP, [], []],
    [Op.DROP, {}],
    [Op.DROP, [2, 1]],
    [Op.DROP, [[2]]],
    [Op.DROP, [[2, 1, 1]]],
    [Op.DROP, [[2, 0]]],
    [Op.DROP, [[2, -1]]],
    [Op.DROP, [[2, True]]],
    [Op.DROP, [[-2, 1]]],
    [Op.DROP, [[2, 1], [2, 2**53]]],
    [Op.CAP_REVOKED, [2]],
    [Op.CAP_REVOKED, [2], "", 0],
    [Op.CAP_REVOKED, 2, ""],
    [Op.CAP_REVOKED, [-2], ""],
    [Op.CAP_REVOKED, [2, True], ""],
    [Op.CAP_REVOKED, [2], None],
    [Op.CAP_REPLACED, [2]],
    [Op.CAP_REPLACED, [2], 1, 1],
    [Op.CAP_REPLACED, [2], -1],
    [Op.CAP_REPLACED, [2], True],
    [Op.CAP_REPLACED, None, 1],
    [Op.PING],
    [Op.PING, 1, 1],
    [Op.PING, True],
    [Op.PING, 2**53],
    [Op.PONG, 1.0],
    [Op.PONG, None],
    [Op.ABORT, "P-FRAME-4"],
    [Op.ABORT, "P-FRAME-4", "why", {}],
    [Op.ABORT, 4, "why"],
    [Op.ABORT, "P-FRAME-4", None],
    [Op.OPEN, 1],
    [Op.OPEN, 0, 1],
    [Op.OPEN, -1, 1],
    [Op.OPEN, True, 1],
    [Op.OPEN, 2**53, 1],
    [Op.OPEN, 1, 0],
    [Op.OPEN, 1, -1],
    [Op.OPEN, 1, True],
    [Op.OPEN, 1, 2**31],
    [Op.OPEN, 1, 1, None],
    [Op.OPEN, 1, 1, []],
    [Op.OPEN, 1, 1, {}, {}],
    [Op.ACCEPT, -1],
    [Op.ACCEPT, 1, 1],
    [Op.ACCEPT, 0, 1],
    [Op.ACCEPT, -1, 0],
    [Op.ACCEPT, -1, 1, "a"],
    [Op.REJECT, -1, "internal"],
    [Op.REJECT, 1, "internal", ""],
    [Op.REJECT, 0, "internal", ""],
    [Op.REJECT, None, "internal", ""],
    [Op.REJECT, -1, 5, ""],
    [Op.REJECT, -1, "internal", "", None],
    [Op.REJECT, -1, "internal", "", {}, 0],
    [Op.DATA, 1],
    [Op.DATA, 0, b"x"],
    [Op.DATA, True, b"x"],
    [Op.DATA, 1, b""],
    [Op.DATA, 1, "x"],
    [Op.DATA, 1, [1]],
    [Op.DATA, 1, b"x", b"y"],
    [Op.CLOSE],
    [Op.CLOSE, 0],
    [Op.CLOSE, 1, "internal"],
    [Op.CLOSE, 1, "internal", "", None],
    [Op.ROOM, 1],
    [Op.ROOM, 0, 1],
    [Op.ROOM, True, 1],
    [Op.ROOM, 1, 0],
    [Op.ROOM, 1, 2**31],
    [Op.ROOM, 1, 1, 1],
]


@pytest.mark.parametrize("frame", VALID, ids=repr)
def test_every_shape_of_the_table_passes(frame: list[Any]) -> None:
    """P-OP: with and without the optional items, at both ends of every range."""
    assert check(frame)


@pytest.mark.parametrize("frame", INVALID, ids=repr)
def test_any_other_shape_is_refused(frame: list[Any]) -> None:
    """P-OP: too short, too long, a wrong type or a number out of range, in each place."""
    with pytest.raises(ProtocolViolation) as caught:
        check(frame)
    assert caught.value.clause == "P-OP"


@pytest.mark.parametrize("op", [17, 19, 26, 63, -1, None, True, 2.0, "2", [2]])
def test_unknown_ops_are_refused(op: object) -> None:
    """P-OP: an op below 64 that version 1 does not have, or none at all."""
    with pytest.raises(ProtocolViolation) as caught:
        check([op, 1])
    assert caught.value.clause == "P-OP"


def test_an_empty_frame_is_refused() -> None:
    """P-OP: a frame has an op."""
    with pytest.raises(ProtocolViolation) as caught:
        check([])
    assert caught.value.clause == "P-OP"


@pytest.mark.parametrize("op", [64, 1000, 2**64 - 1])
def test_ops_from_64_on_are_ignored(op: int) -> None:
    """P-OP: room to grow, whatever else such a frame holds."""
    assert not check([op])
    assert not check([op, {"anything": None}])


@pytest.mark.parametrize("id", [1, 23, 24, 25, 255, 256, 257, 65535, 65536, 2**32 - 1, 2**32, TOP])
@pytest.mark.parametrize("sign", [1, -1], ids=["ours", "theirs"])
def test_a_frame_of_items_has_the_shortest_heads(id: int, sign: int) -> None:
    """P-FRAME-4, P-STREAM-6: what is put together of encoded items is what a CBOR library writes at once."""
    items: list[Any] = ["a", {"b": [1.5]}]
    assert items_frame(sign * id, [*map(cbor2.dumps, items)]) == cbor2.dumps([Op.ITEMS, sign * id, items])


@pytest.mark.parametrize("count", [1, 23, 24, 255, 256, 65535, 65536])
def test_a_frame_of_many_items_is_one_array(count: int) -> None:
    """P-STREAM-6: however many there are."""
    assert items_frame(1, [b"\x00"] * count) == cbor2.dumps([Op.ITEMS, 1, [0] * count])


@pytest.mark.parametrize("item", [0, "", [], {}, [[None]], b"\x00" * 70_000], ids=lambda item: repr(item)[:10])
def test_items_keep_their_encoding(item: Any) -> None:
    """P-FRAME-1: each is one CBOR item, of any kind and length, and the frame passes as one of the table."""
    frame = cbor2.loads(items_frame(7, [cbor2.dumps(item)]))
    assert frame == [Op.ITEMS, 7, [item]]
    assert check(frame)
