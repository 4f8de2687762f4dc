"""One run of atheris over one target: the process that `python -m tests.fuzz` starts.

The rooms of capnet are instrumented while they are imported, so nothing may have imported them before.
"""

from __future__ import annotations

import shlex
import sys
from importlib import import_module
from typing import Any


def main(target: str, fault: str, options: list[str]) -> None:
    """Fuzz, perhaps with a fault planted; ends the process."""
    atheris: Any = import_module("atheris")  # not there for every interpreter, so no checker needs it
    with atheris.instrument_imports(include=["capnet"]):
        module = import_module(f"tests.fuzz.{target}")
        if fault:
            import_module("tests.fuzz.faults").plant(fault)
    # It starts itself again, by a shell, to merge.
    program = shlex.join([sys.executable, "-m", "tests.fuzz.instrumented", target, fault])
    atheris.Setup([program, *options], module.one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
