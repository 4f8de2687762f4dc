"""Contracts as Python source: what is written says the same as what it was made of, and nothing else."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

import capnet
from capnet import Cap, ContractDescription, Stream, options
from capnet.cli.source import Source
from capnet.contract import differences
from tests.connection.office import Clerk, File
from tests.unit.contract.test_schema import Room


class Inside:
    """Stands for what is made below: a class with fields of the names of types cannot be written as text."""


if not TYPE_CHECKING:
    Inside = msgspec.defstruct(
        "Inside",
        [("bytes", int), ("date", date), ("class_", str), ("id_", int, 0), ("str", int | None, None)],
        rename={"class_": "class", "id_": "id-x"},
    )


class Tool(Cap, name="source:Tool.Nested", version=4):
    """Its methods have the names of what declares them.

    "Quotes" and \\ backslashes.
    """

    @options(since=3, timeout=1.5, idempotent=True)
    @capnet.call
    async def call(self, name: str, inside: Inside, of: str = "a", *, none: int | None = None, many: Any = ()) -> bytes:
        """Ends with a quote: \"\"\"

        Args:
            name: whose "name"
        """
        ...

    @capnet.call
    async def options(self, first: dict[str, Inside] | None = None) -> dict[str, Any]: ...

    @capnet.stream
    def stream(self) -> Stream[Inside]: ...

    @capnet.call
    async def int(self, x: bool = True, y: float = 1.0) -> None: ...


MALICIOUS: list[dict[str, Any]] = [
    {"contract": name, "version": 1, "methods": {method: ["call", {parameter: [kind, False]}, kind, 1]}, "words": words}
    for name, method, parameter, kind, words in [
        ("x\n    import os", "m", "p", "int", {}),
        ('x"):\n    harm()', "m", "p", "int", {}),
        ("x", "m(self): harm()\n    async def n", "p", "int", {}),
        ("x", "m", "p: int): harm()\n    def q(self, p", "int", {}),
        ("x", "m", "p", ["struct", "S:\n    harm()", {"f\n    harm()": ["int", True]}], {}),
        ("x", "m", "p", ["literal", '"]; harm()', "\n", "\ud800", None, 1], {}),
        ("x", "m", "p", ["cap", 'C"): harm()\nclass D(Cap, name="', "capnet.Runtime", "e\u0301"], {}),
        ("x", "m", "p", "int", {"doc": '"""\nharm()\n"""', "methods": {"m": {"doc": "\\"}}}),
        ("x", "m", "p", "str", {"methods": {"m": {"parameters": {"p": {"default": '"\n\u2028\\', "doc": '"""'}}}}}),
        ("capnet.Evil", "m", "p", "int", {}),
        ("class", "def", "lambda", "int", {}),
        ("1", "__init__", "self", "int", {}),
        ("x", "aclose", "p", ["tuple"], {}),
        ("x", "m", "p", ["union"], {}),
        ("x", "m", "p", ["literal"], {}),
    ]
]


FOLDER = Path(__file__).parent / "stubs"
STUBS: dict[str, tuple[type[Cap], ...]] = {"office": (Clerk, File, Room), "tool": (Tool,)}


def written(*contracts: ContractDescription) -> str:
    """The module that is made of contracts."""
    return "\n".join(Source(contracts).module("unix:x")) + "\n"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module to run sources in: contracts look up their annotations there."""
    module = ModuleType("stub")
    monkeypatch.setitem(sys.modules, "stub", module)
    return module


def contracts_in(module: ModuleType) -> dict[str, ContractDescription]:
    """What a source declares, by name."""
    classes = [one for one in vars(module).values() if isinstance(one, type) and issubclass(one, Cap)]
    described = [ContractDescription.of(one) for one in classes if one is not Cap]
    return {one.name: one for one in described}


@pytest.mark.parametrize("contract", [Clerk, File, Room, Tool])
def test_what_is_written_fits_what_it_was_made_of(contract: type[Cap], module: ModuleType) -> None:
    """Both ways: clients of either can work with the other. The words are the same."""
    original = ContractDescription.of(contract)
    exec(compile(written(original), "stub", "exec"), vars(module))
    made = contracts_in(module)[original.name]
    assert differences(made.shape, original.shape) == differences(original.shape, made.shape) == []
    assert (made.name, made.version, made.doc) == (original.name, original.version, original.doc)
    for name, method in original.methods.items():
        mine = made.methods[name]
        assert (mine.doc, mine.timeout, mine.idempotent) == (method.doc, method.timeout, method.idempotent)
        assert [(one.name, one.doc, one.keyword_only) for one in mine.parameters.values()] == [
            (one.name, one.doc, one.keyword_only) for one in method.parameters.values()
        ]


@pytest.mark.parametrize(("name", "contracts"), STUBS.items(), ids=STUBS)
def test_what_type_checkers_are_shown_is_what_is_written(name: str, contracts: tuple[type[Cap], ...]) -> None:
    """`make check` has them read these files, which are written by `python -m tests.cli.test_source`."""
    assert (FOLDER / f"{name}.py").read_text(encoding="utf-8") == written(*map(ContractDescription.of, contracts))


@pytest.mark.parametrize("data", MALICIOUS, ids=range(len(MALICIOUS)))
def test_a_peer_writes_no_code(data: dict[str, Any], module: ModuleType) -> None:
    """Whatever its names and texts are: the source declares classes, and does nothing."""
    told = ContractDescription.from_data(data)
    text = written(told)
    assert all(one.isprintable() or one == "\n" for one in text)
    exec(compile(text, "stub", "exec"), vars(module))  # there is no `harm` that could be called


def test_contracts_that_extend_others_come_behind_them() -> None:
    """Also when peers tell of circles."""
    shape = {
        "m": ["call", {"a": [["cap", "A", "B", "C"], True]}, "none", 1],
        "n": ["call", {"c": [["cap", "C", "A"], True], "b": [["cap", "B", "C"], True]}, "none", 1],
    }
    told = ContractDescription.from_data({"contract": "X", "version": 1, "methods": shape})
    lines = [line for line in Source([told]).module("x") if line.startswith("class ")]
    assert lines == [
        'class X(Cap, name="X"):',
        'class C(Cap, name="C"):',
        'class B(C, name="B"):',
        'class A(B, name="A"):',
    ]


if __name__ == "__main__":
    for file, classes in STUBS.items():
        (FOLDER / f"{file}.py").write_text(written(*map(ContractDescription.of, classes)), encoding="utf-8")
