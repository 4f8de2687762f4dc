"""Dependent calls: those that cannot leave yet, because they need the result of another that was not kept for them.

They wait in a line for each target, with all later calls on it, so that calls on one reference leave in the order they
were made (P-CALL-2). Nothing here is looked at while no call waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any

from capnet.contract.copied import copied
from capnet.engine.lifecycle import CloseCause
from capnet.errors import EXITS, CapnetError, DeadlineExceeded
from capnet.session.held import Held
from capnet.session.session import Session

from .call import Call, NotYet, Target

__all__ = ["DependentCalls"]


class _Line:
    """The calls that wait on one target, oldest first."""

    __slots__ = ("calls", "needs")

    def __init__(self) -> None:
        self.calls: deque[tuple[Call[Any], dict[str, Any], Context]] = deque()
        self.needs: Call[Any] | None = None
        """What the oldest waits for."""


class DependentCalls:
    """The calls of one connection that wait, by what they are made on.

    Args:
        held: what it is made on is kept for it.
        send: makes a call for real; raises `NotYet` when it has to wait on, and otherwise what the call ends with.
    """

    __slots__ = ("_due", "_held", "_send", "_session", "lines")

    def __init__(self, session: Session, held: Held, send: Callable[[Call[Any], Any, dict[str, Any]], None]) -> None:
        self._session = session
        self._held = held
        self._send = send
        self._due: deque[Target] | None = None
        self.lines: dict[Target, _Line] = {}

    def put(self, call: Call[Any], target: Target, arguments: dict[str, Any], needs: Call[Any] | None) -> None:
        """Have a call wait, for the answer of another or only behind those that do, with the arguments as they are now.

        Raises:
            Unavailable: the connection is closing. Others: code of an argument's class fails.
        """
        engine = self._session.engine
        if not engine.lifecycle.accepts_calls:
            raise engine.lifecycle.error()
        arguments = copied(arguments)
        self._held.hold(target)  # the caller may let go of it before the call leaves
        line = self.lines.setdefault(target, _Line())
        line.calls.append((call, arguments, copy_context()))  # what it hands out came of where it was made
        call.when_done(lambda: self._advance(target))  # one that is cancelled holds up nobody
        if needs is not None:
            self._wait(line, needs, target)

    def _wait(self, line: _Line, needs: Call[Any], target: Target) -> None:
        line.needs = needs
        needs.when_done(lambda: self._advance(target))

    def _advance(self, target: Target) -> None:
        """Send the calls on a target that need wait no more.

        Those that fail with it are looked at after it and not within: a chain may be longer than the stack is deep.
        """
        if self._due is not None:
            self._due.append(target)
            return
        self._due = due = deque((target,))
        try:
            while due:
                self._advance_one(due.popleft())
        finally:
            self._due = None

    def _advance_one(self, target: Target) -> None:
        line = self.lines.get(target)
        while line is not None and line.calls:
            call, arguments, context = line.calls[0]
            if call.one_way or not call.done:
                if line.needs is not None and not line.needs.done:
                    return
                try:
                    if call.until is not None and call.until <= self._session.loop.now():
                        raise DeadlineExceeded("the deadline passed while the call waited for another")
                    context.run(self._send, call, target, arguments)
                except NotYet as needs:
                    self._wait(line, needs.call, target)
                    return
                except CapnetError as error:
                    call.settle(None, error)
                except EXITS:
                    raise
                except BaseException as error:  # what the user's own classes raise when they are taken apart
                    call.settle(None, self._session.faults.unexpected("call that was deferred", error))
            line.calls.popleft()
            line.needs = None
            self._held.release(target)
        self.lines.pop(target, None)

    def end(self, cause: CloseCause) -> None:
        """The connection is over: none of them will leave, whatever they wait for; that may live on."""
        lines, self.lines = self.lines, {}
        for line in lines.values():
            for call, _, _ in line.calls:
                if not call.done:
                    call.settle(None, cause.error(seen=False))
