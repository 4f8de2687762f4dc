"""Everything that a fuzzer has found interesting, or that has failed once, is played again, without the fuzzer.

The second part plants faults and expects the corpus to notice: else it would have grown over nothing.
"""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks.reference import factor
from tests.cost import TO_SPARE, reference_seconds
from tests.fuzz import __main__ as program
from tests.fuzz.corpus import CORPUS, TARGETS, inputs
from tests.fuzz.faults import FAULTS, Fault

FRAME_SECONDS = 0.05
"""Seconds of the reference machine's processor that one frame should take at most."""
SCRIPT_SECONDS = 0.5
"""The same of a script, which is many frames, and all that checks them."""
SINGLE = {"decoding", "native", "conversion"}


def load(target: str) -> ModuleType:
    """The module of a target."""
    return import_module(f"tests.fuzz.{target}")


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_is_played_again(name: str) -> None:
    """R4: nothing undeclared comes out, every invariant holds, and no input takes long."""
    target, bound = load(name), FRAME_SECONDS if name in SINGLE else SCRIPT_SECONDS
    played, slowness = 0, factor()
    for label, data in inputs(name):
        try:
            took = reference_seconds(partial(target.one_input, data), slowness)
            assert took < TO_SPARE * bound, f"{took:.3f} s"
        except Exception as error:
            error.add_note(f"tests/fuzz/corpus/{name}/{label}: {data[:64].hex()}")
            raise
        played += 1
    assert played > 20


def test_the_corpus_is_small() -> None:
    """It is read by people who clone, so 500 files and 1 MiB are enough."""
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert {path.parent.name for path in files} == set(TARGETS)
    assert len(files) <= 500 and sum(path.stat().st_size for path in files) <= 1 << 20


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_corpus_notices(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    """A corpus that lets a planted fault pass would prove nothing."""
    name = fault(monkeypatch)
    target = load(name)
    for _, data in inputs(name):
        try:
            target.one_input(data)
        except Exception:
            return
    pytest.fail("no input shows it")


def test_without_atheris_it_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The optional dependency is named, and the exit code is one of its own."""
    monkeypatch.setitem(sys.modules, "atheris", None)
    monkeypatch.setattr(sys, "argv", ["tests.fuzz", "framing"])
    monkeypatch.setattr(program, "SCRATCH", tmp_path)
    assert program.main() == program.MISSING
    assert "atheris" in capsys.readouterr().err and not list(tmp_path.iterdir())
