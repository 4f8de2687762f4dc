"""Pipelining: what calls that are made before others have ended get out of their results (P-CALL-8)."""

from __future__ import annotations

from collections.abc import Mapping

from capnet.errors import ResourceExhausted
from capnet.limits import bound
from capnet.wire.references import AnswerRef, CapRef

from .answers import Answer
from .conduct import Conduct
from .exports import Export
from .importing import Importing
from .imports import Import
from .ledger import call_charge
from .pins import hold_homes, pin
from .pipelines import MOST_TAKEN, Found, Kept, Place
from .tables import Tables

__all__ = ["Pipelining"]


class Pipelining:
    """Fills calls with what they have waited for."""

    __slots__ = ("_conduct", "_importing", "_tables")

    def __init__(self, tables: Tables, importing: Importing, conduct: Conduct) -> None:
        self._tables = tables
        self._importing = importing
        self._conduct = conduct

    def take(self, answer: Answer, kept: Mapping[int, Kept]) -> None:
        """Take what the answer needs of others that have ended.

        Raises:
            CapnetError: a result's own error. FailedPrecondition, Revoked: it is not there. ResourceExhausted: it is
            too much.
        """
        if answer.target is not None and answer.target[0] in kept:
            self._aim(answer, kept[answer.target[0]].place_at(answer.target[1:]))
        if answer.promises:
            self._fill(answer, kept)

    def _aim(self, answer: Answer, place: Place) -> None:
        """What the call is made on is known."""
        answer.target = None
        answer.place = place
        if isinstance(place, Export):
            answer.export = place
            pin(place)
        else:
            self._importing.hold(place)  # until the call has ended: its driver makes it again there

    def _fill(self, answer: Answer, kept: Mapping[int, Kept]) -> None:
        """Put results in the place of the arguments that ask for them: all that do, or none is copied."""
        found = self._look(answer, kept)
        references: list[CapRef] = []
        count = charge = 0
        for promise, one in found:
            promise.subject, taken = one.taken()
            references += taken
            count += one.count
            charge += one.charge
        answer.taken += count
        answer.charge += charge
        self._tables.call_charge.add(charge)
        self._tables.turn.spend(count)
        for reference in references:
            if type(reference.subject) is Import:
                self._importing.hold(reference.subject)
        if references:
            answer.references = [*answer.references, *references]
            hold_homes(answer, references)

    def _look(self, answer: Answer, kept: Mapping[int, Kept]) -> list[tuple[AnswerRef, Found]]:
        """What the arguments ask for that come of these results, when there is room for it.

        Raises:
            CapnetError: as `take` does.
        """
        wanted = answer.promises or {}
        room = self._tables.limits.max_items - answer.taken
        references = len(answer.references)
        found: list[tuple[AnswerRef, Found]] = []
        walked = 0
        try:
            for id, source in kept.items():
                for promise in wanted.get(id, ()):
                    one = source.look(promise.path, room)
                    count = room if one is None else one.count
                    if promise.path:
                        walked += count
                    if one is None:
                        raise self._too_many_values()
                    if source.budget <= 0:
                        text = f"calls take more than {MOST_TAKEN} values out of one result at once"
                        raise self._refused(text, "max_items")
                    source.budget -= count
                    room -= count
                    references += len(one.references)
                    if references > self._tables.limits.max_references:
                        raise self._too_many_references()
                    found.append((promise, one))
        finally:
            self._tables.turn.spend(walked)
        if found and not self._tables.call_charge.has_room(sum(one.charge for _, one in found)):
            raise self._refused(call_charge(self._tables.call_charge), "max_call_charge")
        return found

    def _too_many_values(self) -> ResourceExhausted:
        most = bound("max_items", self._tables.limits.max_items, "callee")
        return self._refused(f"a call takes too many values out of other results: {most}", "max_items")

    def _too_many_references(self) -> ResourceExhausted:
        most = bound("max_references", self._tables.limits.max_references, "callee")
        return self._refused(f"a call takes too many references: {most}", "max_references")

    def _refused(self, message: str, reason: str) -> ResourceExhausted:
        """The error for a call that asks for too much; it counts like others that are refused."""
        self._conduct.count_late_refusal()
        return ResourceExhausted(message, reason=reason)
