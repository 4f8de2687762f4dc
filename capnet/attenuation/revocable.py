"""`revocable`: a capability that can be taken back from everybody, ourselves included."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar, cast
from weakref import ref

from capnet.contract import CallContext, MethodSpec, contract_spec
from capnet.registry import Hosted

from .gate import Gate, GuardedStream
from .wrapper import Inner, Wrapper, contract_of, make_wrapper

__all__ = ["Revoke", "revocable"]

C = TypeVar("C")


class Revoke(Protocol):
    """Takes one capability back."""

    def __call__(self, reason: str = "revoked") -> None:
        """Once; later calls do nothing.

        Args:
            reason: told to those who have it.
        """
        ...


def revocable(capability: C) -> tuple[C, Revoke]:
    """The same capability, to be given away, and what takes it back.

        lent, take_back = revocable(printer)

    Taking it back ends what runs on it and refuses what comes, here and at every peer that has it, with `Revoked`, and
    takes with it what was handed out on calls of peers on it. The capability itself goes on working.

    Args:
        capability: an object of ours, or a proxy, which stays the caller's: the result has a reference of its own.

    Raises:
        InvalidArgument: it is no capability. ContractError: it has no contract.
    """
    contract = contract_of(capability)
    wrapper = make_wrapper(Revocable, contract, Inner(capability, contract_spec(contract)))
    gate = wrapper._capnet_gate = Gate()  # noqa: SLF001 - contracts may use every public name, so this one is not
    # What nobody has need not be kept to be taken back; what came of it may be held still.
    known, grants = ref(wrapper), Hosted.of(wrapper).granted

    def revoke(reason: str = "revoked") -> None:
        given = known()
        gate.cut(reason, () if given is None else (given,), list(grants))

    return cast("C", wrapper), revoke


class Revocable(Wrapper):
    """A capability that can be taken back."""

    _capnet_gate: Gate

    async def _capnet_call(
        self, method: MethodSpec, arguments: tuple[Any, ...], keywords: dict[str, Any], context: CallContext | None
    ) -> Any:
        inner = self._capnet_inner
        return await self._capnet_gate(lambda: inner.start(method.name, arguments, keywords, context))

    def _capnet_stream(
        self, method: MethodSpec, arguments: tuple[Any, ...], keywords: dict[str, Any], context: CallContext | None
    ) -> Any:
        self._capnet_gate.check()
        return GuardedStream(self._capnet_inner.start(method.name, arguments, keywords, context), self._capnet_gate)
