"""A family of contracts made by chance, objects that have them, and what can be called on either.

The contracts extend each other in a lattice, names of methods may be those of unrelated contracts, and some methods
give streams. An object notes which of its methods ran, and by which call.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from random import Random
from types import new_class
from typing import Any

from capnet import Cap, Stream, call, stream
from capnet.contract import MethodSpec, contract_spec
from capnet.references.untyped import UntypedMethod

__all__ = ["SPARE", "Family", "Log", "methods_of"]

Log = list[tuple[str, int]]
"""What ran: the name of the method and the token of the call."""
SPARE = "spare"
"""A method that every object has and no contract declares."""
_NAMES = tuple(f"m{number}" for number in range(11))
_CONTRACTS = 7


def methods_of(contract: Any) -> frozenset[str]:
    """The names that a contract declares, inherited ones included."""
    return frozenset(contract_spec(contract).methods)


class Family:
    """Contracts, and a class of objects for each.

    Args:
        seed: says which.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        random = Random(f"family {seed}")
        self._streams = frozenset(random.sample(_NAMES, 3))
        self.contracts: list[Any] = []
        for index in range(_CONTRACTS):
            self.contracts.append(self._contract(random, index))
        self.names = sorted({name for contract in self.contracts for name in methods_of(contract)})
        self._things = {contract: self._thing(contract) for contract in self.contracts}
        self.probes: dict[str, MethodSpec] = {SPARE: UntypedMethod("Thing", SPARE, False)}
        for contract in self.contracts:
            self.probes |= contract_spec(contract).methods

    def thing(self, contract: Any, log: Log) -> Any:
        """An object that has a contract, and notes in `log` what runs."""
        return self._things[contract](log)

    def within(self, contract: Any) -> list[Any]:
        """The contracts that `contract` is one of, itself included."""
        return [other for other in self.contracts if issubclass(contract, other)]

    def beyond(self, contract: Any) -> list[Any]:
        """The contracts that extend `contract`, itself left out."""
        return [other for other in self.contracts if other is not contract and issubclass(other, contract)]

    def _contract(self, random: Random, index: int) -> Any:
        # The first five are there in every family: a chain of three, a second branch, and a stranger.
        fixed: dict[int, tuple[int, ...]] = {0: (), 1: (0,), 2: (1,), 3: (0,), 4: ()}
        picked = fixed.get(index) or (() if index in fixed else random.sample(range(index), random.randint(1, 2)))
        bases = [self.contracts[base] for base in picked]
        if len(bases) == 2 and (issubclass(bases[0], bases[1]) or issubclass(bases[1], bases[0])):
            bases = bases[:1]
        names = random.sample(_NAMES, random.randint(1, 2))
        body = {name: self._stub(name) for name in names}
        letter = "ABCDEFGHIJ"[index]
        options: dict[str, Any] = {"name": f"routes.{self.seed}.{letter}"}
        if random.random() < 0.15:
            options["ordered"] = True
        return new_class(letter, (*bases, *(() if bases else (Cap,))), options, lambda space: space.update(body))

    def _stub(self, name: str) -> Any:
        if name in self._streams:

            def opened(self: Any, token: int) -> Stream[int]:
                raise NotImplementedError

            return stream(_named(opened, name))

        async def called(self: Any, token: int) -> int:
            raise NotImplementedError

        return call(_named(called, name))

    def _thing(self, contract: Any) -> Any:
        def __init__(self: Any, log: Log) -> None:
            self.log = log

        body: dict[str, Any] = {"__init__": __init__, SPARE: _call(SPARE)}
        for name in methods_of(contract):
            body[name] = (_stream if name in self._streams else _call)(name)
        return new_class(f"{contract.__name__}Thing", (contract,), {}, lambda space: space.update(body))


def _named(function: Any, name: str) -> Any:
    function.__name__ = function.__qualname__ = name
    return function


def _call(name: str) -> Callable[..., Any]:
    async def run(self: Any, token: int) -> int:
        self.log.append((name, token))
        return token

    return run


def _stream(name: str) -> Callable[..., Any]:
    def run(self: Any, token: int) -> Stream[int]:
        self.log.append((name, token))
        return _once(token)

    return run


async def _once(token: int) -> AsyncGenerator[int]:
    yield token
