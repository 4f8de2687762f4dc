"""Every row of the tables of values holds: what is sent where that is declared, and what arrives."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

import pytest

from capnet import Cap, ContractError, FailedPrecondition, Internal, InvalidArgument, call
from capnet.contract import contract_spec
from capnet.testing import connected

T = TypeVar("T")
TEXT = (Path(__file__).parents[2] / "docs" / "reference" / "values.md").read_text(encoding="utf-8")
CELL = r" (`(?:\\\||[^|])+`|the same|refused) \|"
ROWS = re.findall(rf"^\|{CELL}{CELL}{CELL}$", TEXT, re.MULTILINE)
NOT_DECLARED = TEXT.partition("## What cannot be declared")[2]
REFUSED = re.findall(r"^\| (`(?:\\\||[^|])+`) \| [^|]+ \|$", NOT_DECLARED, re.MULTILINE)


class Desk(Cap, Generic[T], name="documented.Desk"):
    @call
    async def take(self, value: T) -> T: ...

    @call
    async def give(self) -> T: ...


def desk_of(hint: Any) -> Any:
    """The contract with a type in it."""
    desk: Any = Desk
    return desk[hint]


@pytest.fixture(scope="module")
def names() -> Any:
    """What the tables speak of."""
    module = ModuleType("documented_values")
    sys.modules[module.__name__] = module
    code = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    exec("".join(code), vars(module))
    yield vars(module)
    del sys.modules[module.__name__]


def read(cell: str, names: dict[str, Any]) -> Any:
    """What an expression in a cell is."""
    return eval(cell.strip("`").replace(r"\|", "|"), names)


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal and of the same types, as far in as these have no say in what is equal."""
    if type(one) in (list, tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def test_there_are_rows() -> None:
    """Of each table, and all that look like one."""
    assert len(ROWS) + len(REFUSED) == len(re.findall(r"^\| `", TEXT, re.MULTILINE))
    assert len(ROWS) > 80 and len(REFUSED) > 5


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(row[:2]))
async def test_a_row(row: tuple[str, str, str], names: dict[str, Any]) -> None:
    """As an argument, and as a result."""
    declared, sent, arrives = row
    contract: Any = desk_of(read(declared, names))

    class MemDesk(contract):  # type: ignore[misc]
        async def take(self, value: Any) -> Any:
            taken.append(value)
            return value

        async def give(self) -> Any:
            return read(sent, names)

    taken: list[Any] = []
    async with connected(MemDesk()) as (_, client):
        desk = await client.bootstrap(contract)
        if arrives == "refused":
            with pytest.raises(InvalidArgument) as caught:
                await desk.take(read(sent, names))
            assert "`$.value" in str(caught.value) and not taken
            with pytest.raises((FailedPrecondition, Internal)) as failed:
                await desk.give()
            assert failed.value.details["correlation"] in str(failed.value)
        else:
            expected = read(sent if arrives == "the same" else arrives, names)
            found = await desk.take(read(sent, names)), await desk.give(), *taken
            assert [one for one in found if not same(one, expected)] == [] and len(found) == 3


@pytest.mark.parametrize("declared", REFUSED)
def test_a_row_of_what_cannot_be_declared(declared: str, names: dict[str, Any]) -> None:
    """The hint says what to do."""
    hint = read(declared, names)
    with pytest.raises(ContractError) as caught:
        contract_spec(desk_of(hint))
    assert caught.value.__notes__
