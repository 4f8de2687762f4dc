"""Operations: calls with an id, whose answer is kept for a caller that has lost the line (P-CALL-10).

live ──answered──▶ sealed ──too old, or too many──▶ gone

A caller that comes back for one gets the one answer, whether that is there already or not. One that is gone does not
run again: of each caller the highest number is known that may have been.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from anyio import Event as Signal

from capnet.engine.answers import Answer
from capnet.errors import CallCancelled, CapnetError, FailedPrecondition, Indeterminate, InvalidArgument, Revoked
from capnet.loop import Loop
from capnet.registry import Hosted
from capnet.revocation.lineage import Granted
from capnet.session.session import Session
from capnet.wire.frames import OPERATION

__all__ = ["EXPIRED", "Operation", "Operations", "expired"]

EXPIRED: Final = "operation_expired"
"""Why a call that is made again does not run: what came of it before is not known any more."""
GRACE: Final = 30.0
"""Seconds that a call may run on when nobody waits for it."""
KEPT: Final = 60.0
"""Seconds for which an answer is kept."""
MOST: Final = 64
"""Answers that are kept for one caller, and calls of one that run on alone."""
MOST_ALONE: Final = 1024
"""Calls that run on alone, of all callers together: whoever comes and goes under other names has no more."""
MOST_CALLERS: Final = 256
"""Callers that are known; of more, those that were not heard of for longest are forgotten."""
LARGEST: Final = 1024 * 1024
"""Bytes of an answer that is kept."""
ROOM: Final = 8 * 1024 * 1024
"""Bytes of all of them."""
Close: TypeAlias = Callable[[Hosted], None]


class Operation:
    """One of them.

    Attributes:
        number: its caller's for it.
        what: it is a call of, so that no other gets its answer.
        size: bytes that the answer takes up.
    """

    __slots__ = (
        "_all",
        "_done",
        "_error",
        "_forgotten",
        "_give_up",
        "_granted",
        "_held",
        "_loop",
        "_value",
        "_waiting",
        "caller",
        "number",
        "size",
        "what",
    )

    def __init__(self, of: Operations, caller: _Caller, number: int, what: str, loop: Loop) -> None:
        self._all = of
        self.caller = caller
        self.number = number
        self.what = what
        self.size = 0
        self._loop = loop
        self._done = Signal()
        self._value: Any = None
        self._error: CapnetError | None = None
        self._held: Sequence[Hosted] = ()
        self._granted: Sequence[Granted] = ()
        self._forgotten: Close | None = None
        self._waiting = 0
        self._give_up: Callable[[], None] | None = None

    @property
    def sealed(self) -> bool:
        """Whether its answer is there."""
        return self._done.is_set()

    async def outcome(self) -> Any:
        """What has come of it, or will.

        Raises:
            CapnetError: it has failed. Revoked: what it has brought was taken back meanwhile.
        """
        self._waiting += 1
        try:
            await self._done.wait()
        finally:
            self._waiting -= 1
            self._watch()
            if self._forgotten is not None:
                self._loop.call_soon(self._let_go)  # and no sooner: the answer is still to leave
        fallen = next((one.fallen for one in self._granted if one.fallen is not None), None)
        if fallen is not None:
            raise Revoked(fallen)
        if self._error is not None:
            raise self._error.again()
        return self._value

    def run_on(self, give_up: Callable[[], None]) -> bool:
        """The line of its caller is lost: it goes on for a while, until `give_up` is called. Whether it may."""
        if self.caller.alone >= MOST or self._all.alone >= MOST_ALONE:
            return False
        self.caller.alone += 1
        self._all.alone += 1
        self._give_up = give_up
        self._watch()
        return True

    def seal(
        self, value: Any, error: CapnetError | None, held: Sequence[Hosted], granted: Sequence[Granted], size: int
    ) -> None:
        """Its answer is there; see `Operations.seal`."""
        if self._give_up is not None:
            self.caller.alone -= 1
            self._all.alone -= 1
            if type(error) is CallCancelled:
                error = Indeterminate(f"{self.what} was stopped: nobody has come back for it in {GRACE:g} s")
        self._give_up = None
        self._value, self.size = value, size
        self._error = None if error is None else error.again()  # whose traceback leads to nothing
        self._held, self._granted = held, granted
        for hosted in held:
            hosted.hold()
        self._done.set()

    def forget(self, close: Close) -> None:
        """It is gone, and keeps nothing open once those who wait for it have it."""
        self._forgotten = close
        if not self._waiting:
            self._let_go()

    def _let_go(self) -> None:
        close, held = self._forgotten, self._held
        if close is not None and not self._waiting:
            self._held = self._granted = ()
            self._value = None
            for hosted in held:
                hosted.release(close)

    def _watch(self) -> None:
        if self._give_up is not None and not self._waiting:
            self._loop.call_at(self._loop.now() + GRACE, self._look)

    def _look(self) -> None:
        if not self._waiting:
            self.give_up()

    def give_up(self) -> None:
        """Stop it if it runs on alone."""
        if self._give_up is not None:
            self._give_up()


class _Caller:
    """What is known of one.

    Attributes:
        floor: up to this number what is not here may have been.
        alone: how many of its calls run on alone.
        latest: the connection that it was last heard on; what comes on one before that may have been made again since.
    """

    __slots__ = ("alone", "floor", "latest", "operations")

    def __init__(self, floor: int) -> None:
        self.floor = floor
        self.alone = self.latest = 0
        self.operations: dict[int, Operation] = {}


class Operations:
    """Those of a host, for callers whose connections come and go.

    Args:
        instance: the word of the host for its life.

    Attributes:
        alone: how many run on alone.
    """

    def __init__(self, instance: str) -> None:
        self._instance = instance
        self.alone = 0
        self._forgot = False
        """Whether a caller was forgotten, so that one who is not known may have been."""
        self._callers: dict[tuple[Any, ...], _Caller] = {}
        self._sealed: dict[Operation, tuple[float, Close]] = {}
        """When each was sealed, the oldest first, and who closes what it keeps open."""
        self._size = 0
        self._looking = self._over = False

    def __len__(self) -> int:
        return sum(len(caller.operations) for caller in self._callers.values())

    def find(self, session: Session, answer: Answer) -> tuple[Operation, bool]:
        """That of a call, and whether it begins with this.

        Raises:
            InvalidArgument: it says no id, or that of another call. FailedPrecondition: `operation_expired`, it is made
            again or comes late, and what came of it is not known any more.
        """
        link, number, life = _read(answer.context[OPERATION])
        again = life != ""
        what = f"{answer.interface}.{answer.method}"
        who = session.attestation
        key = who.principal, who.uid, who.tls_key, link
        caller = self._callers.pop(key, None)
        if caller is None:
            self._make_room()
            caller = _Caller(number - (not again) if self._forgot else 0)
        self._callers[key] = caller  # the last are those that have come last
        late, caller.latest = session.number < caller.latest, max(session.number, caller.latest)
        operation = caller.operations.get(number)
        if operation is not None:
            if operation.what != what:
                raise InvalidArgument("another call has this id", reason="operation_conflict")
            return operation, False
        if (again and life != self._instance) or ((again or late) and number <= caller.floor):
            raise expired(what)
        operation = caller.operations[number] = Operation(self, caller, number, what, session.loop)
        return operation, True

    def seal(
        self,
        session: Session,
        operation: Operation,
        value: Any,
        error: CapnetError | None,
        held: Sequence[Hosted] = (),
        granted: Sequence[Granted] = (),
        size: int = 0,
    ) -> None:
        """Keep what has come of one, if there is room for that.

        Args:
            held: what is to be kept open for it.
            granted: as what it was handed out: what is taken back meanwhile is not handed out again.
            size: bytes that it takes up.
        """
        close = session.close_hosted
        operation.seal(value, error, held, granted, size)
        self._sealed[operation] = session.loop.now(), close
        self._size += size
        mine = [one for one in operation.caller.operations.values() if one.sealed]
        if size > LARGEST or self._over:
            self._forget(operation)
        elif len(mine) > MOST:
            self._forget(next(one for one in self._sealed if one.caller is operation.caller))
        while self._size > ROOM:
            self._forget(next(iter(self._sealed)))
        self._look_later(session.loop)

    def clear(self) -> None:
        """The host has closed: nobody comes back for what runs on alone."""
        for caller in self._callers.values():
            for operation in caller.operations.values():
                operation.give_up()
        self._over = True
        while self._sealed:
            self._forget(next(iter(self._sealed)))

    def _look_later(self, loop: Loop) -> None:
        if not self._looking and self._sealed:
            self._looking = True
            loop.call_at(next(iter(self._sealed.values()))[0] + KEPT, lambda: self._look(loop))

    def _look(self, loop: Loop) -> None:
        self._looking = False
        while self._sealed and next(iter(self._sealed.values()))[0] + KEPT <= loop.now():
            self._forget(next(iter(self._sealed)))
        self._look_later(loop)

    def _forget(self, operation: Operation) -> None:
        _, close = self._sealed.pop(operation)
        self._size -= operation.size
        caller = operation.caller
        del caller.operations[operation.number]
        caller.floor = max(caller.floor, operation.number)
        operation.forget(close)

    def _make_room(self) -> None:
        """For one more caller; those that have something running stay."""
        if len(self._callers) >= MOST_CALLERS:
            idle = (
                key for key, caller in self._callers.items() if all(one.sealed for one in caller.operations.values())
            )
            key = next(idle, None)
            if key is not None:
                for operation in tuple(self._callers[key].operations.values()):
                    self._forget(operation)
                del self._callers[key]
                self._forgot = True


def _read(text: str) -> tuple[str, int, str]:
    """Whose it is, its number, and if it is made again the life of the host in which it was made first."""
    words = text.split(" ")
    if len(words) not in (2, 3) or not all(0 < len(word) <= 64 for word in words):
        raise InvalidArgument("this is no id of an operation", reason="operation_conflict")
    link, number, life = (*words, "")[:3]
    if not (number.isascii() and number.isdecimal() and len(number) < 16 and int(number) > 0):
        raise InvalidArgument("this is no number of an operation", reason="operation_conflict")
    return link, int(number), life


def expired(what: str) -> FailedPrecondition:
    """What a caller is told that is too late."""
    return FailedPrecondition(f"{what} was made before, and what came of it is not kept any more", reason=EXPIRED)
