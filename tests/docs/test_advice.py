"""The names in what is said to people exist: in texts of errors, in hints, and what else the sources have as text."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import capnet
import capnet.testing
from capnet.limits import HostLimits, Limits
from capnet.serving.scope import Scope

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "capnet").rglob("*.py"), *(ROOT / "capnet_transports").rglob("*.py")])
ROOTS = "capnet|anyio|unicodedata|structlog|Limits|HostLimits"
DOTTED = re.compile(rf"(?<![\w.\"'])({ROOTS})((?:\.[A-Za-z_]\w*)+)")
CALLED = re.compile(r"(?<![\w.])(?:\w+\.)?([a-z_]\w*)\((?:…|\w+=…)?\)")
MARKED = re.compile(r"(?<!\w)@([a-z]\w*)")
LIMITS: dict[str, type[Any]] = {"Limits": Limits, "HostLimits": HostLimits}
BY_FIELD = {"bound": 0, "said": 0, "_time": 0, "_said": 1}
"""Functions that name a limit by its field, and which of their arguments that is."""
OF_OTHERS = {"model_dump": "pydantic.BaseModel", "token_urlsafe": "secrets"}
"""What others have that texts advise: classes of packages that are not installed for this, modules of Python's."""
HAVE_METHODS = (capnet.Host, capnet.Connection, Scope, capnet.Cap, capnet.Sink, capnet.Broadcast, capnet.CapnetError)


def texts(tree: ast.AST) -> Iterator[str]:
    """Every text in a module, those between braces left out; but not what documents something."""
    documents = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    joined = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents | joined:
            yield node.value


def named_fields(tree: ast.AST) -> Iterator[str]:
    """Every limit that is named by its field."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        place = BY_FIELD.get(name)
        if place is not None and len(node.args) > place:
            argument = node.args[place]
            if isinstance(argument, ast.Constant):
                yield str(argument.value)


def is_limit(named: str) -> bool:
    """Whether there is such a field; `Limits.` may be left out."""
    owner, _, field = named.rpartition(".")
    return field in {one.name for one in fields(LIMITS[owner or "Limits"])}


def resolves(root: str, rest: list[str]) -> bool:
    """Whether a dotted name leads to something."""
    found: Any = LIMITS.get(root) or import_module(root)
    path = root
    for step in rest:
        path += f".{step}"
        if not hasattr(found, step):
            try:
                found = import_module(path)
            except ImportError:
                return False
        else:
            found = getattr(found, step)
    return True


def advice_in(text: str) -> Iterator[tuple[str, bool]]:
    """The names in a text, and whether each exists. What is no more than a name is no advice."""
    if " " not in text:
        return
    for root, rest in DOTTED.findall(text):
        yield f"{root}{rest}", resolves(root, rest.strip(".").split("."))
    for name in CALLED.findall(text):
        places = (capnet, capnet.testing, builtins, *HAVE_METHODS)
        its_own = f"def {name}(" in text  # it is a program, and defines it
        yield f"{name}()", its_own or name in OF_OTHERS or any(hasattr(place, name) for place in places)
    for name in MARKED.findall(text):
        yield f"@{name}", hasattr(capnet, name)


@cache
def parsed() -> dict[str, ast.Module]:
    """Every module, by its path."""
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}


def test_what_is_advised_exists() -> None:
    wrong = [
        (source, name, text)
        for source, tree in parsed().items()
        for text in texts(tree)
        for name, exists in advice_in(text)
        if not exists
    ]
    assert not wrong


def test_what_is_named_as_a_limit_is_one() -> None:
    """And some are named, or nothing would have been looked at."""
    named = {(field, source) for source, tree in parsed().items() for field in named_fields(tree)}
    assert len({field for field, _ in named}) > 10
    assert [one for one in named if not is_limit(one[0])] == []


def test_what_does_not_exist_is_found() -> None:
    """The test would notice."""
    for text in (
        "observe capnet.CallFinished",
        "raise Limits.max_everything",
        "raise HostLimits.max_calls",
        "await give_back()",
        "use anyio.from_thread.walk(…)",
        "write @method above it",
    ):
        assert not all(exists for _, exists in advice_in(text)), text
    assert not is_limit("max_everything") and not is_limit("HostLimits.max_calls")
    good = "capnet.observe.CallFinished, Limits.max_frame, dup(), host.serve(…), anyio.from_thread.run(…), @call"
    found = list(advice_in(good))
    assert all(exists for _, exists in found) and len(found) == 6, found
    assert list(named_fields(ast.parse("bound('max_calls', 1); a.said('max_frame')"))) == ["max_calls", "max_frame"]
