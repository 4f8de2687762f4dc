"""Deferring: calls that cannot leave yet, because they need the result of another that was not kept for them.

They wait in a line for each target, with all later calls on it, so that calls on one reference leave in the order they
were made (P-CALL-2). Nothing here is looked at while no call is deferred.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

from capnet.contract import Cap
from capnet.contract.snapshot import snapshot
from capnet.engine.calls import Target
from capnet.errors import EXITS, CapnetError, DeadlineExceeded, FailedPrecondition

if TYPE_CHECKING:
    from capnet.calls.call import Call

__all__ = ["Deferring", "Late", "NotYet"]


class NotYet(Exception):
    """What is to be sent holds a promise whose call has to be answered first."""

    def __init__(self, call: Call[Any]) -> None:
        super().__init__("waits for another call")
        self.call = call


class Late:
    """What a call will bring at a path, when the callee does not keep it: known here only once it is answered.

    Args:
        call: the call.
        steps: into its result, as the caller writes them.
    """

    __slots__ = ("call", "generation", "id", "interface", "steps", "version")

    def __init__(self, call: Call[Any], steps: tuple[str | int, ...]) -> None:
        self.call = call
        self.steps = steps
        self.interface = ""
        self.version = 0
        self.generation = 0
        self.id = 0

    @property
    def broken(self) -> CapnetError | None:
        """The call's error, once it has failed."""
        return self.call.error

    def value(self) -> Any:
        """What stands there.

        Raises:
            NotYet: that is not known. CapnetError: the call's own error. FailedPrecondition: nothing stands there.
        """
        if not self.call.done:
            raise NotYet(self.call)
        value = self.call.outcome()
        for step in self.steps:
            try:
                value = getattr(value, step) if isinstance(step, str) and not hasattr(value, "keys") else value[step]
            except (LookupError, AttributeError, TypeError):
                raise FailedPrecondition("the path leads nowhere", reason="no_capability") from None
        return value

    def capability(self) -> Cap:
        """What stands there, which is to be passed on.

        Raises:
            NotYet, CapnetError: see `value`. FailedPrecondition: it is no capability.
        """
        value = self.value()
        if not isinstance(value, Cap):
            raise FailedPrecondition("the path leads to no capability", reason="no_capability")
        return value


class _Line:
    """The calls that wait on one target, oldest first."""

    __slots__ = ("calls", "needs")

    def __init__(self) -> None:
        self.calls: deque[tuple[Call[Any], dict[str, Any], Context]] = deque()
        self.needs: Call[Any] | None = None
        """What the oldest waits for."""


class Deferring:
    """The calls of one connection that wait, by what they are made on.

    Args:
        send: makes a call for real; raises `NotYet` when it has to wait on, and otherwise what the call ends with.
    """

    __slots__ = ("_due", "_send", "_watching", "lines")

    def __init__(self, send: Callable[[Call[Any], Any, dict[str, Any]], None]) -> None:
        self._send = send
        self._due: deque[Target | Late] | None = None
        self._watching = False
        self.lines: dict[Target | Late, _Line] = {}

    def put(self, call: Call[Any], target: Target | Late, arguments: dict[str, Any], needs: Call[Any] | None) -> None:
        """Have a call wait, for the answer of another or only behind those that do, with the arguments as they are now.

        Raises:
            Unavailable: the connection is closing. Others: code of an argument's class fails.
        """
        connection = call.connection
        if not connection.engine.lifecycle.accepts_calls:
            raise connection.engine.closing.error()
        arguments = snapshot(arguments)
        if not self._watching:  # what a call waits for may be of another connection, which lives on
            self._watching = True
            connection.on_close(lambda cause: self._end(cause.error()))
        connection.holdings.hold(target)  # the caller may let go of it before the call leaves
        line = self.lines.setdefault(target, _Line())
        line.calls.append((call, arguments, copy_context()))  # what it hands out came of where it was made
        call.when_done(lambda: self._advance(target))  # one that is cancelled holds up nobody
        if needs is not None:
            self._wait(line, needs, target)

    def _wait(self, line: _Line, needs: Call[Any], target: Target | Late) -> None:
        line.needs = needs
        needs.when_done(lambda: self._advance(target))

    def _advance(self, target: Target | Late) -> None:
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

    def _advance_one(self, target: Target | Late) -> None:
        line = self.lines.get(target)
        while line is not None and line.calls:
            call, arguments, context = line.calls[0]
            if call.one_way or not call.done:
                if line.needs is not None and not line.needs.done:
                    return
                try:
                    if call.until is not None and call.until <= call.connection.loop.now():
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
                    call.settle(None, call.connection.unexpected("call that was deferred", error))
            line.calls.popleft()
            line.needs = None
            call.connection.holdings.release(target)
        self.lines.pop(target, None)

    def _end(self, error: CapnetError) -> None:
        """The connection is over: none of them will leave."""
        lines, self.lines = self.lines, {}
        for line in lines.values():
            for call, _, _ in line.calls:
                if not call.done:
                    call.settle(None, error.again())
