"""The golden vectors of the wire reference, against this implementation.

They were made with a CBOR library alone. A valid one decodes, and encodes to the same bytes; a violation names its
clause.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, cast

import cbor2
import pytest

from capnet.engine.engine import Engine
from capnet.engine.lifecycle import State
from capnet.errors import ProtocolViolation
from capnet.limits import Limits
from capnet.wire.codec import Codec
from capnet.wire.frames import Op, check
from capnet.wire.framing import FrameReader, header
from capnet.wire.hello import VIRTUAL, Hello
from capnet.wire.references import AnswerRef, CapRef, StreamRef

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
VECTORS: dict[str, Any] = json.loads((REFERENCE / "vectors.json").read_text(encoding="utf-8"))
FRAMES: list[dict[str, Any]] = VECTORS["frames"]
SESSIONS: list[dict[str, Any]] = VECTORS["sessions"]
ACCEPTED = [vector for vector in FRAMES if vector["verdict"] != "violation"]
VIOLATIONS = [vector for vector in FRAMES if vector["verdict"] == "violation"]


def by_name(vector: dict[str, Any]) -> str:
    """What a vector is called."""
    return str(vector["name"])


def receive(data: bytes) -> tuple[list[Any], bool]:
    """What a receiver makes of one frame before it looks at its own state: the frame, and whether to act on it."""
    reader = FrameReader(Limits().max_frame)
    (payload,) = reader.frames(data)
    assert not reader.partial
    frame, _ = Codec(Limits()).decode(payload)
    acts = check(frame)
    if acts and frame[0] == Op.HELLO:
        Hello.from_frame(frame)
    return frame, acts


def diagnostic(value: Any) -> str:
    """A value in diagnostic notation (RFC 8949, section 8), whichever side of the codec it is from."""
    match value:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case float():
            special = {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, repr(value))
            return "NaN" if math.isnan(value) else special
        case str():
            return json.dumps(value, ensure_ascii=False)
        case bytes():
            return f"h'{value.hex()}'"
        case [*items]:  # the library makes tuples of arrays under a tag
            return f"[{', '.join(map(diagnostic, items))}]"
        case dict():
            pairs = cast("dict[str, Any]", value).items()
            return f"{{{', '.join(f'{diagnostic(key)}: {diagnostic(item)}' for key, item in pairs)}}}"
        case CapRef() | AnswerRef() | StreamRef():
            return f"{value.tag}({diagnostic(value.content())})"
        case cbor2.CBORTag():
            return f"{value.tag}({diagnostic(value.value)})"
        case _:
            return str(value)


@pytest.mark.parametrize("vector", ACCEPTED, ids=by_name)
def test_what_is_valid_is_decoded(vector: dict[str, Any]) -> None:
    """P-FRAME-4, P-OP: to the value that the vector says, by us as by the plain CBOR library."""
    data = bytes.fromhex(vector["hex"])
    frame, acts = receive(data)
    assert acts == (vector["verdict"] == "valid")
    assert diagnostic(frame) == vector["diagnostic"] == diagnostic(cbor2.loads(data[4:]))


@pytest.mark.parametrize("vector", [vector for vector in ACCEPTED if "other_form" not in vector], ids=by_name)
def test_what_is_valid_is_encoded_to_the_same_bytes(vector: dict[str, Any]) -> None:
    """P-FRAME-4: shortest heads, floats of eight bytes, maps in the order given."""
    data = bytes.fromhex(vector["hex"])
    payload = Codec(Limits()).encode(receive(data)[0])
    assert (header(len(payload)) + payload).hex() == vector["hex"]


@pytest.mark.parametrize("vector", VIOLATIONS, ids=by_name)
def test_a_violation_names_its_clause(vector: dict[str, Any]) -> None:
    """P-ERR-3: the one that is broken, and no other."""
    with pytest.raises(ProtocolViolation) as caught:
        receive(bytes.fromhex(vector["hex"]))
    assert caught.value.clause == vector["clause"]


@pytest.mark.parametrize("vector", SESSIONS, ids=by_name)
def test_a_session_ends_at_its_last_frame(vector: dict[str, Any]) -> None:
    """P-ERR-3: a peer that has said its hello and no more takes all frames but the last, which breaks the clause."""
    data = bytes.fromhex(vector["hex"])
    *before, last = FrameReader(Limits().max_frame).frames(data)
    engine = Engine(Hello(limits=Limits(stream_items=64), features=(VIRTUAL,)), 0.0)
    for frame in before:
        engine.receive_data(header(len(frame)) + frame, 0.0)
        assert engine.lifecycle.state is State.OPEN
    engine.receive_data(header(len(last)) + last, 0.0)
    cause = engine.lifecycle.cause
    assert cause is not None
    assert (cause.kind, cause.clause) == ("violation", vector["clause"])


@pytest.mark.parametrize("vector", SESSIONS, ids=by_name)
def test_a_session_shows_what_it_sends(vector: dict[str, Any]) -> None:
    """Its diagnostic notation is that of its bytes."""
    frames = FrameReader(Limits().max_frame).frames(bytes.fromhex(vector["hex"]))
    assert [diagnostic(cbor2.loads(frame)) for frame in frames] == vector["diagnostic"]


def test_every_op_has_a_vector() -> None:
    """P-OP, P-REF: each op of this version, each kind of reference, and both directions of those that have two."""
    seen = {receive(bytes.fromhex(vector["hex"]))[0][0] for vector in ACCEPTED}
    ops = {value for name, value in vars(Op).items() if name.isupper()}
    assert ops <= seen
    shown = " ".join(vector["diagnostic"] for vector in ACCEPTED)
    forms = (
        "52411([2,",
        "52411([-3,",
        "52412([8,",
        '52413([1, "out"])',
        '52413([2, "in"])',
        "[7, -1,",
        "[8, 0,",
        "[23, -1,",
        "[24, 1]",
    )
    assert [form for form in forms if form not in shown] == []


def test_every_clause_of_a_vector_is_in_the_reference() -> None:
    """P-ERR-3: a clause that a peer may be told can be looked up."""
    text = (REFERENCE / "wire.md").read_text(encoding="utf-8")
    clauses = {str(vector["clause"]) for vector in [*FRAMES, *SESSIONS]}
    assert [clause for clause in sorted(clauses) if f"**{clause}**" not in text] == []


def test_names_are_unique() -> None:
    """A vector can be cited by its name."""
    names = [by_name(vector) for vector in [*FRAMES, *SESSIONS]]
    assert len(names) == len(set(names))
