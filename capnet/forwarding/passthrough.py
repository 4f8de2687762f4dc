"""What passes through a program that forwards: it is neither read nor checked here, and loses and gains nothing."""

from __future__ import annotations

from typing import Any, Final

from capnet.contract import Annotation, Cap, MethodSpec
from capnet.contract.leaving import Leaving
from capnet.contract.position import UNKNOWN

__all__ = ["PassThrough"]

_ANYTHING: Final = Annotation(Any, "any")
_LEAVING: Final = Leaving(_ANYTHING, "result")


class PassThrough(MethodSpec):
    """A method of a contract that this side does not know: what goes through it stays plain data and references.

    Capabilities go on under what they are held under.

    Args:
        kept: something may be pipelined on it.
    """

    def __init__(self, contract: str, name: str, kept: bool) -> None:
        self.contract = contract
        self.name = name
        self.kind = "call"
        self.since = 1
        self.timeout = None
        self.idempotent = False
        self.parameters = {}
        self.result = _ANYTHING
        self.leaving = _LEAVING
        self.arguments_position = self.result_position = UNKNOWN
        self.checks_arguments = self.checks_result = False
        self.result_contracts = (Cap,) if kept else ()
        self.may_pipe = kept

    def receive_result(self, value: Any) -> Any:
        """As it came."""
        return value
