"""Lines: when a call of the peer's starts that has to wait first (P-CALL-2).

What it is made on is known, what it takes from other answers has come, no call on the same capability waits before it,
and a slot is free. Then it enters; everything before that is `WAITING`.
"""

from __future__ import annotations

from collections import deque

from .answers import Answer, AnswerState
from .events import CallArrived
from .pipelines import Place
from .streaming import Streaming
from .tables import Tables

__all__ = ["Lines", "is_on", "wait_for", "wait_no_more"]


class Lines:
    """The ways of waiting calls."""

    __slots__ = ("_streaming", "_tables")

    def __init__(self, tables: Tables, streaming: Streaming) -> None:
        self._tables = tables
        self._streaming = streaming

    def route(self, answer: Answer, place: Place) -> None:
        """Start the call, or put it in line behind those that wait on the same capability."""
        lines = self._tables.answers.lines
        if answer.sources or place in lines:
            line = lines.setdefault(place, deque())
            if answer not in line:
                line.append(answer)
            self.advance(place)
        else:
            self.enter(answer)

    def advance(self, place: Place) -> None:
        """Start the calls at the head of the line that wait for nothing else."""
        lines = self._tables.answers.lines
        line = lines.get(place)
        while line and not line[0].sources:
            self.enter(line.popleft())
        if line is not None and not line:
            del lines[place]

    def enter(self, answer: Answer) -> None:
        """Nothing but a slot is missing."""
        answers = self._tables.answers
        del answers.waiting[answer.id or answer]
        if answer.references and answer.export is not None:
            self._streaming.belong_to(answer.export, answer.references)
        if answers.full:
            answer.state = AnswerState.QUEUED
            answers.queue.append(answer)
        else:
            answers.start(answer)
            self._tables.emit(CallArrived(answer))

    def leave(self, answer: Answer) -> None:
        """Wait for nothing any more."""
        answers = self._tables.answers
        if answer.state is AnswerState.QUEUED:
            answers.queue.remove(answer)
            return
        del answers.waiting[answer.id or answer]
        for source in list(answer.sources or ()):
            wait_no_more(answer, source)
        line = answers.lines.get(answer.place) if isinstance(answer.place, Place) else None
        if line and answer in line:
            line.remove(answer)


def is_on(answer: Answer, source: Answer) -> bool:
    """Whether the call is made on what will come of `source`."""
    return answer.target is not None and answer.target[0] == source.id


def wait_for(answer: Answer, source: Answer) -> None:
    """Another answer has to come first."""
    answer.sources = answer.sources or []
    answer.sources.append(source)
    source.dependents = source.dependents or []
    source.dependents.append(answer)


def wait_no_more(answer: Answer, source: Answer) -> None:
    """It has come, or never will."""
    assert answer.sources is not None and source.dependents is not None
    answer.sources.remove(source)
    source.dependents.remove(answer)
