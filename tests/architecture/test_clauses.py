"""Every clause of the protocol that this version keeps is cited by a test that shows it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
CLAUSE = re.compile(r"\bP-[A-Z]+-\d+\b")
CLAUSES = [
    *(f"P-FRAME-{number}" for number in range(1, 6)),
    *(f"P-ID-{number}" for number in range(1, 5)),
    *(f"P-REF-{number}" for number in range(1, 4)),
    *(f"P-CONN-{number}" for number in range(1, 7)),
    *(f"P-CALL-{number}" for number in range(1, 11)),
    *(f"P-ERR-{number}" for number in range(1, 5)),
    *(f"P-CAP-{number}" for number in (1, 2, 3, 4, 5, 8, 9)),
    *(f"P-LIMIT-{number}" for number in range(1, 3)),
    *(f"P-STREAM-{number}" for number in range(1, 8)),
    *(f"P-VIRT-{number}" for number in range(1, 6)),
]


def cited() -> set[str]:
    """Each clause that the docstring of a test names."""
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in TESTS.rglob("test_*.py"))
    nodes = (node for tree in trees for node in ast.walk(tree))
    functions = (node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    docstrings = (ast.get_docstring(node) or "" for node in functions if node.name.startswith("test_"))
    return {clause for docstring in docstrings for clause in CLAUSE.findall(docstring)}


def test_every_clause_is_cited() -> None:
    """A clause without a test is a wish."""
    assert sorted({*CLAUSES} - cited()) == []
