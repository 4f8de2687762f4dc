"""What passes through a program that forwards: it is neither read nor checked here, and loses and gains nothing."""

from __future__ import annotations

from typing import Any, Final

from capnet.contract import Annotation, Cap, MethodSpec
from capnet.registry import Hosted
from capnet.wire.references import CapRef

__all__ = ["Lent", "RelayedMethod"]

_ANYTHING: Final = Annotation(Any, "any")


class RelayedMethod(MethodSpec):
    """A method of a contract that this side does not know: what goes through it stays plain data and references.

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
        self.argument_contracts = ()
        self.result_contracts = (Cap,) if kept else ()
        self.may_pipe = kept
        self.argument_text_keys = self.result_text_keys = False

    def receive_result(self, value: Any) -> Any:
        """As it came."""
        return value


class Lent:
    """An object of ours that one peer holds and gives to another by way of us: it stays what the giver holds.

    The object itself would go on under all that it can do.

    Args:
        hosted: the object.
        interface, version: the contract that the giver has it under.
    """

    __slots__ = ("_hosted", "_interface", "_version")

    def __init__(self, hosted: Hosted, interface: str, version: int) -> None:
        self._hosted = hosted
        self._interface = interface
        self._version = version

    def reference(self) -> CapRef:
        """What stands for it on the next connection."""
        return CapRef(self._interface, self._version, self._hosted)

    def __capnet_narrow__(self, contract: Any) -> Lent:
        """This object where `contract` is declared; what it is lent as does not change.

        Raises:
            TypeError: it is none.
        """
        if not isinstance(self._hosted.implementation, contract):
            raise TypeError(f"Expected `{contract.__name__}`, got `{self._interface}`")
        return self
