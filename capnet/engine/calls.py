"""Calls: what we asked of the peer and have not been answered yet (P-CALL).

    held ──the peer has room──▶ sent ──result or error──▶ gone
      └──cancel──▶ gone          └──cancel──▶ cancelled ──result or error, discarded──▶ gone

A cancelled call keeps its place until the peer has answered, so that both sides count the same calls. One that is kept
can be pipelined on, until it is finished (P-CALL-8). Nothing here sends: `calling.py` does.

Calls that are held wait in lines: one for what this side wants itself, which goes first, and one for each party for
which it makes calls because that has called it. Those take turns, and each has its portion of the peer's room
(`portions.py`). As ids have to ascend (P-ID-1), calls in these lines get theirs when they leave.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, Final

from msgspec import Struct

from capnet.errors import CapnetError, ProtocolViolation
from capnet.wire.references import AnswerRef, CapRef, Reference

from .imports import Import
from .ledger import ROOMY
from .portions import NOBODY

__all__ = ["PEER", "Call", "Calls", "Pipelined", "Target"]

PEER: Final = object()
"""The party of a call that is made while one of the peer's own is handled: it has all the room there is."""


class Call(Struct, eq=False):
    """One call of ours.

    Attributes:
        id: 0 for one-way calls, which are only ever held or gone.
        target: what it is made on.
        token: the driver's; None once the call was cancelled.
        charge: what it takes up at the peer.
        frame, references: what will be sent, while it is held.
        kept: the callee keeps the answer, until nobody here can ask for anything in it.
        users: local owners of what is to come of it.
        failure: why nothing will, once that is known of a call that is kept.
        position, meta: where its frame stands in the outbox, while it may become a kept one.
        dependents: calls that are held and need its answer.
        party: for whom it is made, if that is another peer.
        nested: it is made while another call is handled, of that party or of the peer itself, or `within` a stream.
        within: the stream of ours whose next item waits for it; a call of the peer's may wait for that.
        method: interface and name of what is called for a party.
    """

    id: int
    target: Target
    token: Any
    charge: int = 0
    frame: bytes | None = None
    references: Sequence[Reference] = ()
    kept: bool = False
    users: int = 0
    failure: CapnetError | None = None
    position: tuple[int, int] | None = None
    meta: dict[str, Any] | None = None
    dependents: list[Call] | None = None
    nested: bool = False
    within: Hashable = None
    party: Hashable = None
    method: tuple[str, str] | None = None

    @property
    def named(self) -> list[Target]:
        """What its frame names of what is held here."""
        return [
            self.target,
            *(
                ref.subject
                for ref in self.references
                if type(ref) in (AnswerRef, CapRef) and type(ref.subject) in _HELD
            ),
        ]


class Pipelined:
    """What will stand at a path in the result of a call that is kept (P-CALL-8): calls can be made on it now.

    Attributes:
        call: the call.
        path: steps into its result.
        id: call id and path, as they stand in frames.
        interface, version: what it is expected to be.
    """

    __slots__ = ("call", "generation", "id", "interface", "path", "version")

    def __init__(self, call: Call, path: tuple[str | int, ...], interface: str, version: int) -> None:
        self.call = call
        self.path = path
        self.id: list[str | int] = [call.id, *path]
        self.interface = interface
        self.version = version
        self.generation = 0

    @property
    def broken(self) -> CapnetError | None:
        """Why nothing will ever stand there, as far as that is known."""
        return self.call.failure

    def __repr__(self) -> str:
        return f"<Pipelined {self.interface} at {'/'.join(map(str, self.id))}>"


Target = Import | Pipelined
_HELD: Final = (Import, Pipelined)


class Line(deque[Call]):
    """Calls that are held and made for the same party, oldest first.

    Attributes:
        moved: when the last one left, or the first came.
    """

    __slots__ = ("moved",)

    def __init__(self, now: float) -> None:
        super().__init__()
        self.moved = now


class Calls:
    """Calls by id, in the order they were made, and those held back until the peer has room."""

    __slots__ = (
        "by_id",
        "_charges",
        "_portions",
        "cancelled",
        "charge",
        "finished",
        "held",
        "kept",
        "limit",
        "max_charge",
        "next",
        "one_way_room",
    )

    def __init__(self) -> None:
        self.limit = 0
        """How many calls the peer takes at once; set from its hello."""
        self.max_charge = 0
        """What they may take up there; set from its hello."""
        self.charge = 0
        """What those that were sent take up."""
        self.one_way_room = 0
        """How many one-way calls it takes now (P-CALL-7)."""
        self.by_id: dict[int, Call] = {}
        """Calls that were sent and not answered."""
        self.next = 1
        """The id of the next."""
        self.held: dict[Hashable, Line] = {}
        """Those that wait, by party; lines are not empty. Of parties, the first has waited longest for its turn."""
        self._portions = NOBODY
        self._charges = NOBODY
        self.cancelled: list[tuple[Call, str]] = []
        """Calls that were cancelled, and why, which the peer will be told when there were fewer cancels."""
        self.kept = 0
        """How many answers the peer keeps for us, or will."""
        self.finished: list[Call] = []
        """Calls whose answers need not be kept any more; the peer is told with the next frames."""

    def __len__(self) -> int:
        """Calls that were sent and not answered."""
        return len(self.by_id)

    def __iter__(self) -> Iterator[Call]:
        return iter(self.by_id.values())

    @property
    def waiting(self) -> int:
        """Calls that are held."""
        return sum(map(len, self.held.values()))

    @property
    def plenty(self) -> bool:
        """Whether there is room whoever the call is made for."""
        return len(self.by_id) * 4 < self.limit * 3

    @property
    def outstanding(self) -> bool:
        """Whether any call has been sent and has not ended, as far as the peer has told."""
        return bool(self.by_id) or self.one_way_room < self.limit

    def next_id(self) -> int:
        """A call id that was never used."""
        id = self.next
        self.next = id + 1
        return id

    def has_room_for(self, call: Call) -> bool:
        """Whether the peer takes it now."""
        if not call.id:
            return self.one_way_room > 0
        used, party = len(self.by_id), call.party
        roomy = self.charge * ROOMY <= self.max_charge
        if used >= self.limit or not (roomy or self.charge + call.charge <= self.max_charge):
            return False
        return party is None or (
            self._portions.allow(party, 1, used, self.limit)
            and (roomy or self._charges.allow(party, call.charge, self.charge, self.max_charge))
        )

    def sent(self, call: Call) -> None:
        """The frame is on its way; an answer may come."""
        if call.id:
            self.by_id[call.id] = call
            self.charge += call.charge
            if call.party is not None:
                self._portions = self._portions.take(call.party)
                self._charges = self._charges.take(call.party, call.charge)
        else:
            self.one_way_room -= 1

    def may_leave(self, call: Call) -> bool:
        """Whether a call need not be held."""
        held = self.held and (call.party in self.held or None in self.held)
        return not held and self.has_room_for(call)

    def hold(self, call: Call, now: float) -> None:
        """It waits in its party's line."""
        line = self.held.get(call.party)
        if line is None:
            line = self.held[call.party] = Line(now)
        line.append(call)

    def let_go(self, call: Call) -> None:
        """It waits no longer, nor does it leave."""
        line = self.held[call.party]
        line.remove(call)
        if not line:
            del self.held[call.party]

    def next_held(self, now: float) -> Call | None:
        """Take out a call that there is room for, of the line whose turn it is; None when none may leave."""
        ours = self.held.get(None)
        for party, line in self.held.items() if ours is None else ((None, ours),):
            call = line[0]
            if self.has_room_for(call):
                line.popleft()
                line.moved = now
                del self.held[party]
                if line:
                    self.held[party] = line  # behind the others
                return call
        return None

    def blocking(self, party: Hashable) -> int:
        """How many calls of ours have to end at the peer, one of them at least, before one in a party's line leaves."""
        full = len(self.by_id) >= self.limit
        return len(self.by_id) if full or party is None else self._portions.of(party)

    @property
    def streams_that_wait(self) -> int:
        """How many streams of ours wait for calls that were made for their next item."""
        held = (call for line in self.held.values() for call in line)
        return len({call.within for call in (*self.by_id.values(), *held)} - {None})

    def find(self, id: int) -> Call | None:
        """The call with that id, if it was sent and is not answered."""
        return self.by_id.get(id)

    def answered(self, id: int) -> Call:
        """The call that the peer has answered, taken out.

        Raises:
            ProtocolViolation: P-ID-4, we never made it; P-CALL-1, it was answered before.
        """
        call = self.by_id.pop(id, None)
        if call is None:
            if id >= self.next:
                raise ProtocolViolation("P-ID-4", f"answer to call {id}, which was never made")
            raise ProtocolViolation("P-CALL-1", f"second answer to call {id}")
        self.charge -= call.charge
        if call.party is not None:
            self._portions.give(call.party)
            self._charges.give(call.party, call.charge)
        return call

    def unseen(self, last_id: int) -> list[Call]:
        """The calls above `last_id` that were sent: a peer that goes away has not seen them.

        They stay: the peer still answers them if it reads on.
        """
        return [call for id, call in self.by_id.items() if id > last_id]

    def clear(self) -> list[tuple[Call, bool]]:
        """Forget every call, sent and held, oldest first. Gives each with whether it was sent."""
        calls = [(call, True) for call in self.by_id.values()] if self.by_id else []
        for line in self.held.values():
            for call in line:
                call.frame = None
                calls.append((call, False))
        self.by_id = {}
        self.charge = 0
        self.held.clear()
        if self._portions:
            self._portions.clear()
            self._charges.clear()
        self.cancelled.clear()
        self.finished.clear()
        self.kept = 0
        return calls

    def check_invariants(self) -> None:
        """I3, I5: ids below the next, and what parties have is what was sent for them."""
        for id, call in self.by_id.items():
            assert call.id == id < self.next
        for party, line in self.held.items():
            assert line
            for call in line:
                assert call.id < self.next and call.id not in self.by_id and call.frame is not None
                assert call.party is party or call.party == party
        assert self.charge == sum(call.charge for call in self.by_id.values())
        for_others = [call.charge for call in self.by_id.values() if call.party is not None]
        assert (self._portions.total, self._charges.total) == (len(for_others), sum(for_others))
        assert self.one_way_room >= 0 and 0 <= self.kept <= self.limit
