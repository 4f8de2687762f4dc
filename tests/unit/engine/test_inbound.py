"""`Inbound`: one method for each frame, which judges before it changes anything. Hostile frames: tests/hostile."""

from __future__ import annotations

from capnet.engine.events import CallArrived, CallFailed, ExportEnded, ImportReplaced, PongReceived
from capnet.engine.inbound import HANDLERS
from capnet.errors import NotFound
from capnet.testing.engines import RawPeer, capability, made_on
from capnet.wire.frames import Op


def test_every_op_has_its_method() -> None:
    """P-OP: what `frames.check` lets through is handled."""
    ops = {value for name, value in vars(Op).items() if name.isupper()}
    assert set(HANDLERS) == ops


def test_a_call_becomes_an_answer() -> None:
    """P-CALL-4, P-CALL-9: target, method, arguments and meta; the method is only a name here."""
    raw = RawPeer()
    meta = {"deadline": 1500, "context": {"k": "v"}, "keep": True, "idempotent": True}
    raw.say([2, 7, 1, "__class__", {"a": 1}, meta])
    answer = raw.take(CallArrived)[0].answer
    assert (answer.id, made_on(answer), answer.method, answer.arguments) == (7, "runtime", "__class__", {"a": 1})
    assert (answer.deadline, answer.context) == (1.5, {"k": "v"})


def test_an_error_becomes_the_class_of_its_code() -> None:
    """P-ERR-1: by table; an unknown code of a newer peer is kept in the details."""
    raw = RawPeer()
    for _ in range(2):
        raw.engine.call(raw.engine.imports.bootstrap, "m", {}, token="t")
    raw.collect()
    raw.say([4, 1, "not_found", "no", {"reason": "r", "x": 1}], [4, 2, "os.system", "boo"])
    first, second = (event.error for event in raw.take(CallFailed))
    assert isinstance(first, NotFound) and (first.reason, first.details) == ("r", {"x": 1})
    assert second.code == "internal" and second.details == {"code": "os.system"}


def test_drops_of_several_exports_come_in_one_frame() -> None:
    """P-REF-2, P-REF-3: each export that is given back whole ends."""
    raw = RawPeer()
    things = [capability("a"), capability("b"), capability("b")]
    raw.engine.call(raw.engine.imports.bootstrap, "m", {"x": things}, things, "t")
    raw.collect()
    raw.say([11, [[2, 1], [3, 1]]])
    assert [event.export.id for event in raw.take(ExportEnded)] == [2]


def test_news_and_signs_of_life() -> None:
    """P-CAP-5, P-OP: replaced, ping and pong."""
    raw = RawPeer()
    reference = capability(None)
    reference.id = 2
    raw.say([2, 1, 0, "m", {"x": reference}])
    raw.engine.keepalive.ping()
    raw.collect()
    assert raw.say([13, [2], 5], [14, 9], [15, 1]) == [[15, 9]]
    assert raw.take(ImportReplaced)[0].imported.generation == 5 and raw.take(PongReceived)[0].number == 1
