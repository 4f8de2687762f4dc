"""Functions as capabilities."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from capnet.contract import CallableCap, callable_contract
from capnet.contract.callables import callable_parts
from capnet.contract.declaration import declaration_of
from capnet.errors import ContractError


def test_the_contract_of_a_callable_has_one_method() -> None:
    """It is named `capnet.Callable` and declares `call`."""
    contract = callable_contract(Callable[[int, str], Awaitable[None]])
    declared = declaration_of(contract)
    assert issubclass(contract, CallableCap)
    assert declared is not None and declared.name == "capnet.Callable" and list(declared.methods) == ["call"]


def test_equal_annotations_have_the_same_contract() -> None:
    """So that an object exported twice has one id (P-REF-1)."""
    assert callable_contract(Callable[[int], Awaitable[None]]) is callable_contract(Callable[[int], Awaitable[None]])


def test_parts_are_arguments_and_awaited_result() -> None:
    """Awaitable and Coroutine both say what is awaited."""
    assert callable_parts(Callable[[int], Awaitable[str]]) == ([int], str)
    assert callable_parts(Callable[[], Coroutine[Any, Any, None]]) == ([], None)


@pytest.mark.parametrize("hint", [Callable, Callable[..., Awaitable[int]], Callable[[int], int]])
def test_open_or_synchronous_callables_have_no_contract(hint: Any) -> None:
    """Arguments must be listed, and the result awaited."""
    assert callable_parts(hint) is None
    with pytest.raises(ContractError):
        callable_contract(hint)


async def test_an_object_of_the_contract_is_called_like_a_function() -> None:
    """`proxy(x)` is `proxy.call(x)`."""
    contract: Any = callable_contract(Callable[[int], Awaitable[int]])

    class Double(contract):  # type: ignore[misc]
        async def call(self, a0: int) -> int:
            return 2 * a0

    assert await Double()(21) == 42
    assert str(inspect.signature(Double())) == "(a0: int, /) -> int"


async def test_the_declared_method_has_no_body() -> None:
    """It only stands for the signature."""
    contract: Any = callable_contract(Callable[[int], Awaitable[int]])
    assert await contract.call(None, 1) is None
