"""Deferring: calls that cannot leave yet, because they need the result of another that was not kept for them.

They wait in a line for each target, with all later calls on it, so that calls on one reference leave in the order they
were made (P-CALL-2). Nothing here is looked at while no call is deferred.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from capnet.engine.calls import Target
from capnet.errors import CapnetError, FailedPrecondition

if TYPE_CHECKING:
    from .call import Call

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


class Deferring:
    """The calls of one connection that wait, by what they are made on.

    Args:
        send: makes a call for real; raises `NotYet` when it has to wait on, and otherwise what the call ends with.
    """

    __slots__ = ("_send", "lines")

    def __init__(self, send: Callable[[Call[Any], Any, dict[str, Any]], None]) -> None:
        self._send = send
        self.lines: dict[Target | Late, deque[tuple[Call[Any], dict[str, Any]]]] = {}

    def put(self, call: Call[Any], target: Target | Late, arguments: dict[str, Any], needs: Call[Any] | None) -> None:
        """Have a call wait, for the answer of another or only behind those that do."""
        self.lines.setdefault(target, deque()).append((call, arguments))
        if needs is not None:
            needs.when_done(lambda: self._advance(target))

    def _advance(self, target: Target | Late) -> None:
        """Send the calls on a target that need wait no more."""
        line = self.lines.get(target)
        while line:
            call, arguments = line[0]
            if not call.done:
                try:
                    self._send(call, target, arguments)
                except NotYet as needs:
                    needs.call.when_done(lambda: self._advance(target))
                    return
                except CapnetError as error:
                    call.settle(None, error)
            line.popleft()
        self.lines.pop(target, None)
