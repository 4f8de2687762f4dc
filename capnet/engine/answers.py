"""Answers: what the peer asked of us and we still owe (P-CALL-1, P-CALL-6, P-CALL-7).

    waiting ──what it needs has come──▶ queued ──slot free──▶ running ──reply or fail──▶ gone
      └─ cancel, deadline, failure ─▶ gone └─ cancel, deadline ─▶ gone
                             running ──cancel, deadline, revocation: terminal sent──▶ ended ──handler done──▶ gone

A slot is held from `running` to `gone`, so a peer that cancels as fast as it calls has no more handlers running than
one that waits. Nothing here sends: `answering.py` does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Any, Final, NoReturn

from capnet.errors import ProtocolViolation
from capnet.limits import LARGEST_ONE_WAY
from capnet.wire.references import AnswerRef, Reference

from .exports import Export
from .imports import Import

__all__ = ["Answer", "AnswerState", "Answers"]


_NO_CONTEXT: Final[Mapping[str, str]] = MappingProxyType({})


class AnswerState(Enum):
    """Where an answer stands."""

    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    ENDED = "ended"
    GONE = "gone"


class Answer:
    """One call of the peer's.

    Attributes:
        id: 0 for one-way calls: nothing is ever sent for them.
        export: the capability it was made on; None while that is not known, and for a call that goes on elsewhere.
        method: the name on the wire; look it up in an explicit table only.
        arguments: plain data by parameter name, references still in it.
        references: the references in the arguments; the driver holds or releases them.
        charge: what it takes up here.
        growth: how much of that is what its arguments became here, which the peer cannot know.
        values: how many stood in its frame.
        deadline: when it must be answered, on the engine's clock, or None.
        context: text map from the caller.
        handler: the driver's record of what runs for it.
        keep: its result is kept when it has one (P-CALL-8).
        forwarded: the driver's, once it has passed the call on: calls on what will come of it can go the same way.
        target: call id and path of what it is made on, while that is a promise.
        place: where it stands in line: an export, an import of the peer's own, or an answer that was forwarded.
        promises: results of other calls that its arguments ask for, by call id; None when there are none.
        sources: the answers it waits for.
        taken: how many values it has taken from others.
        dependents: the answers that wait for it, in the order they came.
        homes: exports of ours that its arguments name; they stay open until it is done.
    """

    __slots__ = (
        "arguments",
        "charge",
        "context",
        "deadline",
        "dependents",
        "export",
        "forwarded",
        "growth",
        "handler",
        "homes",
        "id",
        "keep",
        "method",
        "place",
        "promises",
        "references",
        "sources",
        "state",
        "taken",
        "target",
        "values",
    )

    def __init__(
        self, id: int, export: Export | None, method: str, arguments: dict[str, Any], references: Sequence[Reference]
    ) -> None:
        self.id = id
        self.export = export
        self.method = method
        self.arguments = arguments
        self.references = references
        self.charge = self.growth = self.values = 0
        self.deadline: float | None = None
        self.context = _NO_CONTEXT
        self.state = AnswerState.QUEUED
        self.handler: Any = None
        self.keep = False
        self.forwarded: Any = None
        self.target: list[Any] | None = None
        self.place: Export | Import | Answer | None = None
        self.homes: list[Export] | None = None
        self.promises: dict[int, list[AnswerRef]] | None = None
        self.sources: list[Answer] | None = None
        self.taken = 0
        self.dependents: list[Answer] | None = None

    @property
    def interface(self) -> str:
        """Of what it was made on, as far as that is known."""
        return "" if self.export is None else self.export.interface

    def __repr__(self) -> str:
        return f"<Answer {self.id} {self.interface}.{self.method} {self.state.value}>"


class Answers:
    """Answers by id, those that wait for something, and how many slots are taken.

    Args:
        limit: slots.
        queued: how many answers more may be owed at once.
    """

    __slots__ = (
        "_owed_limit",
        "active",
        "last_id",
        "limit",
        "lines",
        "one_way_ended",
        "one_way_left",
        "owed",
        "queue",
        "waiting",
    )

    def __init__(self, limit: int, queued: int) -> None:
        self.active: dict[int | Answer, Answer] = {}
        """Those that have a slot, by id; one-way ones, which have none, by themselves."""
        self.limit = limit
        """How many slots there are."""
        self._owed_limit = limit + queued
        self.last_id = 0
        """The highest call id the peer has used."""
        self.queue: list[Answer] = []
        """Those that wait for a slot, in order."""
        self.waiting: dict[int | Answer, Answer] = {}
        """Those that wait for other answers, or behind one that does."""
        self.lines: dict[Export | Import, deque[Answer]] = {}
        """Where calls on one capability wait for their turn: those that may not start before one that waits for what
        it needs, which is the first, in the order they came."""
        self.owed = 0
        """How many with an id there are in all."""
        self.one_way_left = limit
        """How many one-way calls the peer may still make (P-CALL-7)."""
        self.one_way_ended = 0
        """How many have ended since it was told."""

    @property
    def full(self) -> bool:
        """Whether every slot is taken, or somebody waits for one already."""
        return len(self.active) >= self.limit or bool(self.queue)

    @property
    def overfull(self) -> bool:
        """Whether there are so many that no other is taken."""
        return self.owed >= self._owed_limit

    def __len__(self) -> int:
        """Slots taken."""
        return len(self.active)

    def __iter__(self) -> Iterator[Answer]:
        """All that is owed or running: slots taken, then those that wait."""
        yield from self.active.values()
        yield from self.queue
        yield from self.waiting.values()

    def refuse(self, id: int) -> NoReturn:
        """Say what is wrong with a call id that is not higher than all before.

        Raises:
            ProtocolViolation: P-CALL-7, the id is active; P-ID-1, it was used before.
        """
        if id in self.active or id in self.waiting or any(answer.id == id for answer in self.queue):
            raise ProtocolViolation("P-CALL-7", f"call id {id} is active")
        raise ProtocolViolation("P-ID-1", f"call id {id} after {self.last_id}")

    def take_one_way(self, size: int) -> None:
        """The peer makes a one-way call.

        Args:
            size: bytes of its frame.

        Raises:
            ProtocolViolation: P-CALL-7, more than it had credit for, or a frame that is longer than theirs are.
        """
        if size > LARGEST_ONE_WAY:
            raise ProtocolViolation("P-CALL-7", f"one-way call of {size} bytes, at most {LARGEST_ONE_WAY} are allowed")
        if not self.one_way_left:
            raise ProtocolViolation("P-CALL-7", f"more than {self.limit} one-way calls at once (Limits.max_calls)")
        self.one_way_left -= 1

    def one_way_credit(self, *, now: bool) -> int:
        """How many one-way calls have ended that the peer is to be told of: `now`, or when they are half of all."""
        if not now and self.one_way_ended * 2 < self.limit:
            return 0
        ended, self.one_way_ended = self.one_way_ended, 0
        self.one_way_left += ended
        return ended

    def start(self, answer: Answer) -> None:
        """Give the answer a slot."""
        answer.state = AnswerState.RUNNING
        self.active[answer.id or answer] = answer

    def find(self, id: int) -> Answer | None:
        """The answer with that id while it has a slot or waits for one.

        Raises:
            ProtocolViolation: P-ID-4, the peer never made that call.
        """
        answer = self.active.get(id) or self.waiting.get(id)
        if answer is None:
            if not 0 < id <= self.last_id:
                raise ProtocolViolation("P-ID-4", f"call {id} was never made")
            answer = next((queued for queued in self.queue if queued.id == id), None)
        return answer

    def finish(self, answer: Answer) -> None:
        """The handler is done: the slot is free."""
        answer.state = AnswerState.GONE
        del self.active[answer.id or answer]
        if answer.id:
            self.owed -= 1

    def next_queued(self) -> Answer | None:
        """The answer that waits longest, started, if a slot is free."""
        if self.queue and len(self.active) < self.limit:
            answer = self.queue.pop(0)
            self.start(answer)
            return answer
        return None

    def clear(self) -> list[Answer]:
        """Forget every answer; returns those whose handlers run and were not told to stop yet."""
        running: list[Answer] = []
        if self.active or self.queue or self.waiting:
            running += (answer for answer in self.active.values() if answer.state is AnswerState.RUNNING)
            for answer in self:
                answer.state = AnswerState.GONE
        self.active = {}
        self.queue.clear()
        self.waiting = {}
        self.lines.clear()
        self.owed = 0
        self.one_way_left, self.one_way_ended = self.limit, 0
        return running

    def check_invariants(self) -> None:
        """I5, I10: no more slots than the limit, and states agree with the tables."""
        assert len(self.active) <= self.limit
        for key, answer in self.active.items():
            assert key == (answer.id or answer) and answer.id <= self.last_id
            assert answer.state in (AnswerState.RUNNING, AnswerState.ENDED), answer
        for answer in self.queue:
            assert answer.state is AnswerState.QUEUED and answer.id not in self.active, answer
        for answer in self.waiting.values():
            assert answer.state is AnswerState.WAITING and (answer.sources or answer.place is not None), answer
            for source in answer.sources or ():
                assert source.state is not AnswerState.GONE and source.dependents and answer in source.dependents
        for place, line in self.lines.items():
            assert line and all(answer.state is AnswerState.WAITING and answer.place is place for answer in line)
        assert self.owed == sum(answer.id > 0 for answer in self)
        assert self.owed <= self._owed_limit
        one_way = sum(not answer.id for answer in self)
        assert one_way + self.one_way_left + self.one_way_ended == self.limit
