"""Answers: what the peer asked of us and we still owe (P-CALL-1, P-CALL-6, P-CALL-7).

    queued ──slot free──▶ running ──reply or fail──▶ gone
      └─ cancel, deadline ─▶ gone   └─ cancel, deadline, revocation: terminal sent ─▶ ended ──handler done──▶ gone

A slot is held from `running` to `gone`, so a peer that cancels as fast as it calls has no more handlers running than
one that waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Any, Final, NoReturn

from capnet.errors import ProtocolViolation
from capnet.wire.references import Reference

from .exports import Export

__all__ = ["Answer", "AnswerState", "Answers"]


_NO_CONTEXT: Final[Mapping[str, str]] = MappingProxyType({})


class AnswerState(Enum):
    """Where an answer stands."""

    QUEUED = "queued"
    RUNNING = "running"
    ENDED = "ended"
    GONE = "gone"


class Answer:
    """One call of the peer's.

    Attributes:
        id: 0 for one-way calls: nothing is ever sent for them.
        export: the capability it was made on.
        method: the name on the wire; look it up in an explicit table only.
        arguments: plain data by parameter name, references still in it.
        references: the references in the arguments; the driver holds or releases them.
        deadline: when it must be answered, on the engine's clock, or None.
        context: text map from the caller.
        handler: the driver's record of what runs for it.
    """

    __slots__ = ("arguments", "context", "deadline", "export", "handler", "id", "method", "references", "state")

    def __init__(
        self, id: int, export: Export, method: str, arguments: dict[str, Any], references: Sequence[Reference]
    ) -> None:
        self.id = id
        self.export = export
        self.method = method
        self.arguments = arguments
        self.references = references
        self.deadline: float | None = None
        self.context = _NO_CONTEXT
        self.state = AnswerState.QUEUED
        self.handler: Any = None

    def __repr__(self) -> str:
        return f"<Answer {self.id} {self.export.interface}.{self.method} {self.state.value}>"


class Answers:
    """Answers by id, those that wait for a slot, and how many slots are taken."""

    __slots__ = ("_active", "_limit", "last_id", "queue")

    def __init__(self, limit: int) -> None:
        self._active: dict[int | Answer, Answer] = {}  # by id; one-way ones, which have none, by themselves
        self._limit = limit
        self.last_id = 0
        """The highest call id the peer has used."""
        self.queue: deque[Answer] = deque()

    @property
    def full(self) -> bool:
        """Whether every slot is taken, or somebody waits for one already."""
        return len(self._active) >= self._limit or bool(self.queue)

    def __len__(self) -> int:
        """Slots taken."""
        return len(self._active)

    def __iter__(self) -> Iterator[Answer]:
        """All that is owed or running: slots taken, then the queue."""
        yield from self._active.values()
        yield from self.queue

    def refuse(self, id: int) -> NoReturn:
        """Say what is wrong with a call id that is not higher than all before.

        Raises:
            ProtocolViolation: P-CALL-7, the id is active; P-ID-1, it was used before.
        """
        if id in self._active or any(answer.id == id for answer in self.queue):
            raise ProtocolViolation("P-CALL-7", f"call id {id} is active")
        raise ProtocolViolation("P-ID-1", f"call id {id} after {self.last_id}")

    def start(self, answer: Answer) -> None:
        """Give the answer a slot."""
        answer.state = AnswerState.RUNNING
        self._active[answer.id or answer] = answer

    def find(self, id: int) -> Answer | None:
        """The answer with that id while it has a slot or waits for one.

        Raises:
            ProtocolViolation: P-ID-4, the peer never made that call.
        """
        answer = self._active.get(id)
        if answer is None:
            if not 0 < id <= self.last_id:
                raise ProtocolViolation("P-ID-4", f"cancel of call {id}, which was never made")
            answer = next((waiting for waiting in self.queue if waiting.id == id), None)
        return answer

    def finish(self, answer: Answer) -> None:
        """The handler is done: the slot is free."""
        answer.state = AnswerState.GONE
        del self._active[answer.id or answer]

    def next_queued(self) -> Answer | None:
        """The answer that waits longest, started, if a slot is free."""
        if self.queue and len(self._active) < self._limit:
            answer = self.queue.popleft()
            self.start(answer)
            return answer
        return None

    def clear(self) -> list[Answer]:
        """Forget every answer; returns those whose handlers run and were not told to stop yet."""
        running = [answer for answer in self._active.values() if answer.state is AnswerState.RUNNING]
        for answer in self:
            answer.state = AnswerState.GONE
        self._active = {}
        self.queue.clear()
        return running

    def check_invariants(self) -> None:
        """I5, I10: no more slots than the limit, and states agree with the tables."""
        assert len(self._active) <= self._limit
        for key, answer in self._active.items():
            assert key == (answer.id or answer) and answer.id <= self.last_id
            assert answer.state in (AnswerState.RUNNING, AnswerState.ENDED), answer
        for answer in self.queue:
            assert answer.state is AnswerState.QUEUED and answer.id not in self._active, answer
