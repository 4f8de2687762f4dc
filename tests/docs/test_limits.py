"""The page of limits says what the code says, and the code says of every limit what happens there."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from capnet.limits import HostLimits, Limits
from docs import limits_table

ROOT = Path(__file__).parents[2]
WIRE = (ROOT / "docs" / "reference" / "wire.md").read_text(encoding="utf-8")
TEXTS = limits_table.docstrings("Limits") | limits_table.docstrings("HostLimits")
CLAUSE = re.compile(r"\bP-[A-Z]+(?:-\d+)?\b")
ERROR = re.compile(r"`([a-z_]+)(?:/([a-z_]+))?`")
CODES = {
    code: set(re.findall(r"`([a-z_]+)`", reasons))
    for code, reasons in re.findall(r"^\| `([a-z_]+)` \|(.*)\|$", WIRE.partition("**P-ERR-1**")[2], re.MULTILINE)
}
"""Codes of the protocol, and the reasons in use with each."""


def errors_in(text: str) -> list[tuple[str, str]]:
    """Code and reason of each error that a text names; the reason may be missing."""
    return [(code, reason) for code, reason in ERROR.findall(text) if reason or code in CODES]


def test_every_field_has_its_row() -> None:
    """One each, announced or not."""
    rows = re.findall(r"^\| `(\w+)` \|", limits_table.tables(), re.MULTILINE)
    assert sorted(rows) == sorted(field.name for kind in (Limits, HostLimits) for field in fields(kind))
    assert set(rows) == set(TEXTS)


def test_figures_have_their_units() -> None:
    assert limits_table.figure("max_frame", 4 * 1024 * 1024) == "4 MiB"
    assert limits_table.figure("max_frame", 64 * 1024) == "64 KiB"
    assert limits_table.figure("stream_bytes", 1) == "1 byte"
    assert limits_table.figure("max_name_bytes", 257) == "257 bytes"
    assert limits_table.figure("keepalive", 0.5) == "0.5 s"
    assert limits_table.figure("max_calls", 256) == "256"


def test_a_limit_says_what_happens_there() -> None:
    """A violation, an error that comes, or what we do."""
    for name, text in TEXTS.items():
        assert "violation" in text or errors_in(text) or "nothing is read" in text or "we close" in text, name


def test_what_it_names_stands_in_the_protocol() -> None:
    """No code or reason is made up, and users need not know the clauses."""
    for name, text in TEXTS.items():
        assert not CLAUSE.search(text), name
        for code, reason in errors_in(text):
            assert code in CODES and (not reason or reason in CODES[code]), name


def test_the_table_of_codes_was_found() -> None:
    """Twelve codes (P-ERR-1): with none of them the test above would hold anything."""
    assert len(CODES) == 12 and "max_call_charge" in CODES["resource_exhausted"]
