"""What another process has, to be served by this one: its contracts are what that process tells of them."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from itertools import count
from types import ModuleType
from typing import Any, Final

from capnet import Cap, ContractDescription, cast_cap, describe
from capnet.cli.exits import Stop
from capnet.cli.source import Source
from capnet.contract import contract_spec, differences
from capnet.references.proxy import dup, release

__all__ = ["PassedOn"]

_number: Final = count(1)


class PassedOn:
    """A capability of another process, under a contract that was made of what its issuer tells.

    Attributes:
        proxy: it, held until `close`.
        contract: what the issuer tells.
    """

    def __init__(self, proxy: Cap, contract: ContractDescription) -> None:
        self.proxy = proxy
        self.contract = contract

    @classmethod
    async def of(cls, capability: Cap, before: PassedOn | None) -> PassedOn:
        """Ask the issuer.

        Args:
            capability: a proxy of it; it stays the caller's.
            before: what it is to take the place of; where they have the same contract they have the same class.

        Raises:
            Stop: the contract cannot be written here.
        """
        told = await describe(capability)
        if before is not None and told.data() == before.contract.data():
            contract: Any = contract_spec(type(before.proxy)).cls
        else:
            contract = _made(told)
        return cls(dup(cast_cap(capability, contract)), told)

    def lacks(self, before: PassedOn) -> list[str]:
        """What keeps it from taking the place of another, in sentences."""
        return differences(contract_spec(type(before.proxy)).shape, contract_spec(type(self.proxy)).shape)

    def close(self) -> None:
        """Let go of it; the name under which it is served has a reference of its own."""
        release(self.proxy)


def _made(told: ContractDescription) -> type[Cap]:
    """A contract as it was told."""
    text = "\n".join(Source([told]).module("the program"))
    with _module() as module:
        exec(compile(text, module.__name__, "exec"), vars(module))  # noqa: S102 - each word in it is checked there
        for found in vars(module).values():
            if not isinstance(found, type) or found.__module__ != module.__name__ or not issubclass(found, Cap):
                continue
            spec = contract_spec(found)
            if spec.name == told.name:
                told_shape = {name: method.shape for name, method in told.methods.items()}
                if not differences(told_shape, spec.shape) and not differences(spec.shape, told_shape):
                    return found
    raise Stop(f"the contract {told.name} cannot be passed on: its names are none of Python's, or capnet's own")


@contextmanager
def _module() -> Generator[ModuleType]:
    """A module to be filled, which is known as long as annotations in it are read."""
    module = ModuleType(f"capnet contract {next(_number)}")
    sys.modules[module.__name__] = module
    try:
        yield module
    finally:
        del sys.modules[module.__name__]
