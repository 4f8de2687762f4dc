"""Pipelines: results that are kept so that the peer can ask for things in them, and what calls take from them.

A kept answer stays from its end to the peer's *finish* (P-CALL-8): its value, with the capabilities in it held open, or
the error that it ended with. What stands at a path in it is the target of a call, or takes the place of an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from capnet.errors import CapnetError, FailedPrecondition, ProtocolViolation, ResourceExhausted, Revoked
from capnet.limits import bound
from capnet.wire.charge import BYTES_PER_CAP, measured
from capnet.wire.references import AnswerRef, CapRef, Reference, StreamRef, kind_of

from .answers import Answer, Answers
from .exports import CapTable, Export
from .imports import Import
from .ledger import Ledger

__all__ = ["MOST_TAKEN", "Found", "Kept", "Pipelines", "Place", "Promises", "promises_in"]

Place = Export | Import
MOST_TAKEN: Final = 128 * 1024
"""Values of one result that calls take at once: all that wait when it comes, or one that comes later. It bounds for how
long nothing else happens."""
Path = Sequence[str | int]
Promises = dict[int, list[AnswerRef]]
_LEAVES: Final = frozenset((str, bytes, int, float, bool, type(None)))
_REFERENCES: Final = frozenset((CapRef, AnswerRef, StreamRef))


class Found:
    """What stands at a path of a kept result. Nothing of it has been copied.

    Attributes:
        value: lowered data, which belongs to the result.
        count: how many values it has, keys and itself included.
        references: the capabilities in it.
        share: what it takes up in memory beside the bytes that it has on the wire.
        charge: what a copy of it takes up, as if it had come in a frame: it may be all that is left of the result.
    """

    __slots__ = ("charge", "count", "references", "share", "value")

    def __init__(self, value: Any, references: Sequence[CapRef]) -> None:
        self.value = value
        self.references = references
        self.count, length, self.share = measured(value)
        self.share += BYTES_PER_CAP * len(references)
        self.charge = self.share + length

    def taken(self) -> tuple[Any, list[CapRef]]:
        """A copy of it, and the references in that, which hold nothing yet."""
        references: list[CapRef] = []

        def another(reference: Reference) -> Reference:
            assert type(reference) is CapRef, "what was found has no others"
            copy = CapRef(reference.interface, reference.version, reference.subject, reference.id)
            references.append(copy)
            return copy

        return _copy(self.value, another), references


class Kept:
    """How a call ended that the peer may still pipeline on.

    Attributes:
        value: its result, with references as they would arrive: to an export that comes home, or to an import.
        error: what it failed with, or None.
        size: bytes of the result.
        charge: what it takes up while it is kept.
        budget: how many values of it may still be taken before others have a turn.
        references: the references in the value, but for streams.
        streaming: whether there are streams in it.
    """

    __slots__ = ("_whole", "budget", "charge", "error", "references", "size", "streaming", "value")

    def __init__(
        self, value: Any, error: CapnetError | None = None, size: int = 0, references: Sequence[CapRef] = ()
    ) -> None:
        self.value = value
        self.references = references
        self.streaming = False
        self.error = error
        self.size = size
        self.charge = 0
        self.budget = MOST_TAKEN
        self._whole: Found | None = None

    @property
    def whole(self) -> Found:
        """All of it, counted once however often it is asked for."""
        if self._whole is None:
            self._whole = Found(self.value, self.references)
        return self._whole

    def places(self) -> list[Place]:
        """What the capabilities in the value lead to."""
        return [reference.subject for reference in self.references]

    def place_at(self, path: Path) -> Place:
        """The capability at a path.

        Raises:
            CapnetError: the call's own error. FailedPrecondition: no capability stands there. Revoked: it was taken
            back.
        """
        found = self._at(path)
        if type(found) is not CapRef:
            raise FailedPrecondition("the path leads to no capability", reason="no_capability")
        place: Place = found.subject
        if type(place) is Export and place.revoked is not None:
            raise Revoked(place.revoked)
        return place

    def look(self, path: Path, room: int) -> Found | None:
        """What stands at a path, or None when it has more values than there is room for.

        What is too much is not counted to its end, and the whole is counted once.

        Raises:
            CapnetError: the call's own error. FailedPrecondition: nothing stands there, or a stream. Revoked: a part
            was taken back.
        """
        value = self._at(path)
        if self.streaming and not path:
            raise _a_stream()
        if path:
            references: list[CapRef] = []
            if _room_beside(value, room, references) < 0:
                return None
            found = Found(value, references)
        else:
            found = self.whole
            if found.count > room:
                return None
        for reference in found.references:
            if type(reference.subject) is Export and reference.subject.revoked is not None:
                raise Revoked(reference.subject.revoked)
        return found

    def _at(self, path: Path) -> Any:
        if self.error is not None:
            raise self.error.again()
        value = self.value
        for step in path:
            value = _inside(value, step)
        return value


class Pipelines:
    """Kept answers by call id.

    Args:
        answers: those that have not ended.
        exports: where references of ours lead.
        ledger: counts what is kept.
        max_bytes: of all results that are kept.
        max_kept: how many answers the peer may have us keep.
    """

    __slots__ = ("_answers", "_bytes", "_exports", "_kept", "_ledger", "_max_bytes", "_max_kept", "promised")

    def __init__(self, answers: Answers, exports: CapTable, ledger: Ledger, max_bytes: int, max_kept: int) -> None:
        self._answers = answers
        self._exports = exports
        self._ledger = ledger
        self._kept: dict[int, Kept] = {}
        self._bytes = 0
        self._max_bytes = max_bytes
        self._max_kept = max_kept
        self.promised = 0
        """Answers that are kept or will be."""

    def __len__(self) -> int:
        return len(self._kept)

    def promise(self) -> None:
        """The peer wants another answer kept.

        Raises:
            ProtocolViolation: P-LIMIT-2, more of them than it may have.
        """
        if self.promised >= self._max_kept:
            raise ProtocolViolation("P-LIMIT-2", f"more than {self._max_kept} answers to be kept (Limits.max_calls)")
        self.promised += 1

    def find(self, id: int, needed_by: int) -> Answer | Kept | None:
        """The answer that a call needs, or what it has become; None when it is not kept.

        Raises:
            ProtocolViolation: P-ID-4, there is no such call before the one that needs it.
        """
        if id == needed_by or not 0 < id <= self._answers.last_id:
            raise ProtocolViolation("P-ID-4", f"call {needed_by} needs call {id}, which was not made before it")
        kept = self._kept.get(id)
        if kept is not None:
            return kept
        answer = self._answers.find(id)
        return answer if answer is not None and answer.keep else None

    def ended(self, value: Any, references: Sequence[Reference], size: int) -> Kept:
        """What a result is to those that wait for it."""
        leads_to: dict[CapRef, Place] = {}
        for reference in references:
            if type(reference) is CapRef:
                export = self._exports.find(reference.id) if reference.id > 0 else None
                leads_to[reference] = reference.subject if export is None else export

        kept: list[CapRef] = []

        def turned(reference: Reference) -> Reference:
            if type(reference) is not CapRef:
                return reference
            other = CapRef(reference.interface, reference.version, leads_to[reference], -reference.id)
            kept.append(other)
            return other

        result = Kept(_copy(value, turned), None, size, kept)
        result.streaming = len(kept) < len(references)
        return result

    def keep(self, id: int, kept: Kept) -> list[Place]:
        """Keep it until it is finished. Returns the capabilities in it, which are to be held open."""
        if self._bytes + kept.size > self._max_bytes:
            text = f"too much is kept of results: {bound('max_kept_bytes', self._max_bytes, 'callee')}"
            kept = Kept(None, ResourceExhausted(text, reason="max_kept_bytes"))
        else:
            kept = self._charged(kept)
        self._kept[id] = kept
        self._bytes += kept.size
        return kept.places()

    def finish(self, id: int) -> list[Place]:
        """The peer needs it no more. Returns the capabilities in it, which are held open no more.

        Raises:
            ProtocolViolation: P-CALL-8, it is not kept; P-ID-4, there was no such call.
        """
        kept = self._kept.pop(id, None)
        if kept is None:
            answer = self._answers.find(id)
            if answer is None or not answer.keep:
                raise ProtocolViolation("P-CALL-8", f"call {id} is not kept")
            answer.keep = False
        self.promised -= 1
        if kept is None:
            return []
        self._bytes -= kept.size
        self._ledger.give(kept.charge)
        return kept.places()

    def clear(self) -> None:
        """Forget everything: the connection is over."""
        self._kept = {}
        self._bytes = self.promised = 0

    def check_invariants(self) -> None:
        """Kept answers are over, and as many are promised as there are and will be."""
        assert all(not 0 < id > self._answers.last_id for id in self._kept)
        assert self.promised == len(self._kept) + sum(
            answer.keep and id not in self._kept for answer in self._answers if (id := answer.id)
        )
        assert self._bytes == sum(kept.size for kept in self._kept.values()) <= self._max_bytes
        assert sum(kept.charge for kept in self._kept.values()) <= self._ledger.used

    def _charged(self, kept: Kept) -> Kept:
        """It, counted, or what there is instead when there is no room for it."""
        if kept.error is None:
            charge = kept.size + kept.whole.share
        else:
            _, length, charge = measured([kept.error.message, kept.error.details])
            charge += length
        if not self._ledger.take(charge):
            text = f"results that are kept take too much: {bound('max_held_charge', self._ledger.limit, 'callee')}"
            return Kept(None, ResourceExhausted(text, reason="max_held_charge"))
        kept.charge = charge
        return kept


def promises_in(references: Iterable[Reference]) -> Promises:
    """The unanswered results among references, by the call that they will come of."""
    promises: Promises = {}
    for reference in references:
        if type(reference) is AnswerRef:
            promises.setdefault(reference.id, []).append(reference)
    return promises


def _inside(value: Any, step: str | int) -> Any:
    kind = kind_of(value)
    if (kind is dict and type(step) is str and step in value) or (
        (kind is list or kind is tuple) and type(step) is int and 0 <= step < len(value)
    ):
        return value[step]
    raise FailedPrecondition("the path leads nowhere", reason="no_capability")


def _a_stream() -> FailedPrecondition:
    return FailedPrecondition("a stream cannot be taken out of a promise", reason="no_capability")


def _copy(value: Any, turned: Callable[[Reference], Reference]) -> Any:
    """A copy of lowered data, with other references: the handler's own containers may change later."""
    kind = kind_of(value)
    if kind is dict:
        return {key: item if kind_of(item) in _LEAVES else _copy(item, turned) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [item if kind_of(item) in _LEAVES else _copy(item, turned) for item in value]
    return turned(value) if kind in _REFERENCES else value


def _room_beside(value: Any, room: int, found: list[CapRef]) -> int:
    """How many values there is room for beside what stands in lowered data, less than 0 when that is too much already.

    The room is counted on the way down, so that no more is looked at than there is room for. The capabilities that
    were met are put into `found`.

    Raises:
        FailedPrecondition: there is a stream in it.
    """
    kind = kind_of(value)
    room -= 1
    if kind is CapRef:
        found.append(value)
    elif kind is StreamRef:
        raise _a_stream()
    elif kind is dict or kind is list:
        room -= len(value) if kind is dict else 0
        if room < len(value):
            return -1
        for item in value.values() if kind is dict else value:
            if kind_of(item) in _LEAVES:
                room -= 1
            else:
                room = _room_beside(item, room, found)
                if room < 0:
                    break
    return room
