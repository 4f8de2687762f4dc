"""Two engines, and the least driver that lets one call the other."""

from __future__ import annotations

from benchmarks.workload import SMALL
from capnet.engine.engine import Engine
from capnet.engine.events import CallArrived, CallReturned
from capnet.wire.hello import Hello

__all__ = ["Pair"]


class Pair:
    """A caller and a callee that have met. Time stands still: nothing here is about timers."""

    def __init__(self) -> None:
        self.caller = Engine(Hello(), 0.0)
        self.callee = Engine(Hello(), 0.0)
        _carry(self.caller, self.callee)
        _carry(self.callee, self.caller)
        self.caller.events()
        self.callee.events()

    def echo(self, calls: int) -> None:
        """Make `calls` calls, answer each with its arguments, and take the results.

        Raises `RuntimeError` when not every call came back.
        """
        caller, callee = self.caller, self.callee
        for token in range(1, calls + 1):
            caller.call(caller.imports.bootstrap, "echo", {"value": SMALL}, (), token)
        _carry(caller, callee)
        for happened in callee.events():
            if type(happened) is CallArrived:
                callee.reply(happened.answer, happened.answer.arguments["value"])
        _carry(callee, caller)
        returned = sum(type(happened) is CallReturned for happened in caller.events())
        if returned != calls:
            raise RuntimeError(f"{returned} of {calls} calls returned")


def _carry(source: Engine, target: Engine) -> None:
    target.receive_data(b"".join(source.data_to_send()), 0.0)
    while target.turn.unread:
        target.receive_data(b"", 0.0)
    source.next_deadline()
