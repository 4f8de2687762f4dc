"""Each fuzz target for CAPNET_SOAK_SECONDS (60), with what was found before and what is in the corpus (R4)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.corpus import TARGETS

SECONDS = int(os.environ.get("CAPNET_SOAK_SECONDS", "60"))
ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(2 * SECONDS + 120)
@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_found(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No crash, no exception that is not declared, no input over two seconds, no more than 512 MiB."""
    pytest.importorskip("atheris", reason="the fuzzer is not installed: pip install 'capnet[fuzz]'")
    command = [sys.executable, "-m", "tests.fuzz", target, "--seconds", str(SECONDS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, f"the input is in build/fuzz/{target}-failed:\n{done.stderr[-4000:]}"
    inputs = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    coverage = re.findall(r"cov: (\d+)", done.stderr)
    assert inputs is not None and coverage, done.stderr[-4000:]
    with capsys.disabled():
        print(f"\n{target}: {int(inputs[1]):,} inputs in {SECONDS} s, {coverage[-1]} branches")
