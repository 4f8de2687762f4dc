"""One-way calls: no answer, and yet no more at once than the callee takes (P-CALL-7)."""

from __future__ import annotations

import pytest

from capnet.engine.answers import Answer
from capnet.engine.events import AnswerEnded, CallArrived, CallFailed, LimitReached
from capnet.errors import CallCancelled, NotFound, ResourceExhausted
from capnet.limits import EARLY, Limits
from capnet.testing.engines import EnginePair, EngineSide, capability
from capnet.wire.frames import Op
from capnet.wire.hello import Hello


def narrow(**bounds: int) -> EnginePair:
    """A right side that takes 16 calls of each kind at once."""
    return EnginePair(Hello("left", Limits(**bounds)), Hello("right", Limits(max_calls=16))).open()


def notes(side: EngineSide, count: int, *, start: int = 0) -> None:
    """Make one-way calls."""
    for number in range(start, start + count):
        side.call(f"note {number}", one_way=True)


def end(pair: EnginePair, answers: list[Answer]) -> None:
    """Let their handlers end."""
    for answer in answers:
        pair.right.engine.release_all(answer.references)
        pair.right.reply(answer)
    pair.flush()


def arrived(pair: EnginePair) -> list[Answer]:
    """What has started at the right side."""
    pair.flush()
    return [event.answer for event in pair.right.take(CallArrived)]


class TestCredit:
    """As many as the callee announced may be under way; it says when some have ended."""

    def test_a_sender_without_credit_holds_them(self) -> None:
        """P-CALL-7: the seventeenth waits here, whatever it is that holds the others up there."""
        pair = narrow()
        notes(pair.left, 20)
        first = arrived(pair)
        assert len(first) == 16 and pair.left.engine.calls.waiting == 4
        end(pair, first[:7])
        assert arrived(pair) == []
        end(pair, first[7:8])
        second = arrived(pair)
        assert [answer.method for answer in second] == [f"note {number}" for number in range(16, 20)]
        end(pair, first[8:] + second)
        pair.finish()

    def test_credit_is_given_at_half(self) -> None:
        """P-CALL-7: one frame for as many as have ended, and none before."""
        pair = narrow()
        notes(pair.left, 16)
        running = arrived(pair)
        granted: list[list[object]] = []
        for answer in running:
            pair.right.reply(answer)
            pair.step()
            granted += [frame for frame, _ in pair.left.incoming.frames()]
            pair.flush()
        assert granted == [[Op.CREDIT, 0, 8, 0], [Op.CREDIT, 0, 8, 0]]
        assert pair.left.engine.calls.one_way_room == 16
        pair.finish()

    def test_ten_thousand_without_a_strike(self) -> None:
        """P-LIMIT-1: a caller that notes and notes never runs into a limit of the callee's."""
        pair = EnginePair(Hello("left", Limits(max_outgoing_calls=10_000)), Hello("right", Limits(max_calls=16))).open()
        left, right = pair.left.engine, pair.right.engine
        for number in range(10_000):
            left.call(left.imports.bootstrap, str(number), {}, one_way=True)
        methods: list[str] = []
        while len(methods) < 10_000:
            right.receive_data(b"".join(left.data_to_send()), pair.now)
            for event in right.events():
                assert not isinstance(event, LimitReached)
                if isinstance(event, CallArrived):
                    methods.append(event.answer.method)
                    right.reply(event.answer, None)
            assert len(right.answers) <= 16
            left.receive_data(b"".join(right.data_to_send()), pair.now)
        assert methods == [str(number) for number in range(10_000)]
        pair.finish()

    def test_before_the_hello(self) -> None:
        """P-CONN-2: 16, as of other calls; the rest follows the hello, as far as it goes."""
        pair = EnginePair(right=Hello("right", Limits(max_calls=20)))
        notes(pair.left, 30)
        assert pair.left.engine.calls.one_way_room == 0 and pair.left.engine.calls.waiting == 30 - EARLY.max_calls
        running = arrived(pair)
        assert len(running) == 20 and pair.left.engine.calls.waiting == 10
        end(pair, running)
        end(pair, arrived(pair))
        assert pair.left.engine.calls.one_way_room == 20
        pair.finish()

    @pytest.mark.parametrize("how", ["refused", "failed", "ended", "queued"])
    def test_each_one_that_has_ended_counts(self, how: str) -> None:
        """P-CALL-7: however it ended, also without having started, its credit comes back."""
        pair = narrow()
        imported = pair.give(pair.right, "thing")
        if how == "refused":
            pair.right.engine.exporting.revoke(pair.right.engine.exporting.of("thing"), "gone")
        if how == "queued":
            for _ in range(16):
                pair.left.call("run")
        for _ in range(16):
            pair.left.call("note", capability("fresh"), target=imported, one_way=True)
        running = arrived(pair)
        if how == "failed":
            for answer in running:
                pair.right.engine.release_all(answer.references)
                pair.right.engine.fail(answer, NotFound("nobody hears it"))
        elif how == "ended":
            for answer in running:
                pair.right.engine.answering.end_answer(answer, CallCancelled("stopped"))
            assert pair.right.engine.answers.one_way_left == 0, "the slot and the credit go with the handler"
            end(pair, running)
        elif how == "queued":
            assert len(pair.right.engine.answers.queue) == 16
            pair.right.engine.exporting.revoke(pair.right.engine.exporting.of("thing"), "gone")
            end(pair, running)
        pair.flush()
        assert pair.left.engine.calls.one_way_room == 16 and not pair.left.take(CallFailed)
        assert not pair.right.engine.imports and len(pair.right.take(AnswerEnded)) == (16 if how == "ended" else 0)
        pair.left.engine.release(imported)
        pair.finish()


class TestOrder:
    """In one line with all other calls (P-CALL-2)."""

    def test_calls_with_an_answer_wait_behind_them(self) -> None:
        """P-CALL-2: what is held is held in order, though there would be room for a call with an answer."""
        pair = narrow()
        notes(pair.left, 17)
        pair.left.call("asks")
        notes(pair.left, 1, start=17)
        running = arrived(pair)
        assert pair.left.engine.calls.waiting == 3 and not pair.left.engine.calls
        end(pair, running)
        second = arrived(pair)
        assert [answer.method for answer in second] == ["note 16", "asks", "note 17"]
        end(pair, second)
        assert pair.left.returned().token == "asks"
        pair.finish()

    def test_they_wait_behind_calls_with_an_answer(self) -> None:
        """P-CALL-2: and the other way round."""
        pair = narrow()
        for _ in range(17):
            pair.left.call("asks")
        notes(pair.left, 2)
        running = arrived(pair)
        assert len(running) == 16 and pair.left.engine.calls.waiting == 3
        end(pair, running)
        second = arrived(pair)
        assert [answer.method for answer in second] == ["asks", "note 0", "note 1"]
        end(pair, second)
        pair.finish()


class TestHeld:
    """What becomes of those that have not left."""

    def test_their_number_is_bounded(self) -> None:
        """P-CALL-7: a callee that never ends one does not fill our memory."""
        pair = narrow(max_outgoing_calls=4)
        notes(pair.left, 20)
        with pytest.raises(ResourceExhausted) as raised:
            pair.left.call("note", capability("thing"), one_way=True)
        assert raised.value.reason == "max_concurrent_calls" and not pair.left.engine.exports
        end(pair, arrived(pair))
        end(pair, arrived(pair))
        pair.finish()

    def test_cancelling_one(self) -> None:
        """P-CALL-6: it is never made; nobody hears of it; one that has left cannot be called back."""
        pair = narrow()
        left = pair.left.call("left", one_way=True)
        notes(pair.left, 15)
        held = pair.left.call("held", one_way=True)
        for call in (left, held):
            pair.left.engine.cancel(call)
        running = arrived(pair)
        assert running[0].method == "left" and not pair.right.take(AnswerEnded)
        end(pair, running)
        assert arrived(pair) == []
        pair.finish()

    def test_cancelling_one_lets_those_of_the_other_kind_go(self) -> None:
        """P-CALL-2, P-CALL-7: what stood behind it in the line, and has room, leaves at once."""
        pair = narrow()
        notes(pair.left, 16)
        held = pair.left.call("held", one_way=True)
        pair.left.call("asks")
        running = arrived(pair)
        assert len(running) == 16
        pair.left.engine.cancel(held)
        asks = arrived(pair)
        assert [answer.method for answer in asks] == []
        assert not pair.left.engine.calls.held and len(pair.right.engine.answers.queue) == 1
        end(pair, running)
        end(pair, arrived(pair))
        assert pair.left.returned().token == "asks"
        pair.finish()

    @pytest.mark.parametrize("closer", ["left", "right"])
    @pytest.mark.parametrize("ended", [0, 3])
    def test_goaway_waits_for_them(self, closer: str, ended: int) -> None:
        """P-CONN-4: they may end within the grace like all others; the callee says at once when they have."""
        pair = narrow()
        notes(pair.left, 4)
        running = arrived(pair)
        end(pair, running[:ended])
        assert pair.right.engine.answers.one_way_ended == ended
        (pair.left if closer == "left" else pair.right).engine.close("bye", 5.0, pair.now)
        pair.flush()
        assert [side.closed for side in pair.sides] == [False, False]
        end(pair, running[ended:])
        assert [side.closed for side in pair.sides] == [True, True] and not pair.right.take(AnswerEnded)
        pair.finish()

    def test_goaway_after_they_have_ended(self) -> None:
        """P-CONN-4: what was not worth a frame is told now, and there is nothing to wait for."""
        for closer in ("left", "right"):
            pair = narrow()
            notes(pair.left, 3)
            end(pair, arrived(pair))
            assert pair.left.engine.calls.one_way_room == 13
            (pair.left if closer == "left" else pair.right).engine.close("bye", 5.0, pair.now)
            pair.flush()
            assert pair.left.closed and pair.right.closed
            pair.finish()

    @pytest.mark.parametrize("how", ["goaway", "cut"])
    def test_the_connection_ends(self, how: str) -> None:
        """P-CONN-4, P-CONN-6: those that are held are forgotten, those that run are told to stop if it was cut."""
        pair = narrow()
        notes(pair.left, 20)
        running = arrived(pair)
        if how == "goaway":
            pair.left.engine.close("bye", 5.0, pair.now)
            pair.flush()
            end(pair, running)
        else:
            pair.cut()
            assert len(pair.right.take(AnswerEnded)) == 16
        assert not pair.left.engine.calls.held and arrived(pair) == []
        pair.finish()
