"""Fuzz one target: `python -m tests.fuzz TARGET [--seconds N]`, with atheris.

What is new is kept in `build/fuzz/TARGET`, and what fails in `build/fuzz/TARGET-failed`; `--merge` then takes into the
corpus of the repository those inputs that reach something that the others there do not.

Exit codes: 0 nothing failed, 2 wrong arguments, 3 atheris is not installed, any other: an input failed, and was kept.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from tests.fuzz.corpus import CORPUS, TARGETS, seeds

SCRATCH = Path(__file__).parents[2] / "build" / "fuzz"
MISSING = 3
LONGEST = {
    "framing": 512, "engine": 1024, "pair": 1024, "circle": 1024, "jsonrpc": 512, "mcp": 512, "capnweb": 512,
}  # fmt: skip
"""Longest input in bytes where that is not 4,096: a script of that length is played to its last step."""

SMALL = {"framing", "conversion"}
"""Targets of little code, where it counts how often a branch is taken. A corpus of the others would be ten times as
large for that, and reach no more."""


def main() -> int:
    """Parse the command line and fuzz."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz one target with atheris.")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60, help="how long (60)")
    parser.add_argument("--merge", action="store_true", help="take what is new into the corpus and do not fuzz")
    parser.add_argument("--runs", type=int, default=-1, help="end after so many inputs as well")
    parser.add_argument("--fault", default="", help="plant this fault of faults.py, to find an input that shows it")
    arguments = parser.parse_args()
    try:
        import_module("atheris")
    except ImportError:
        print("atheris is not installed: pip install 'capnet[fuzz]' (CPython 3.11 to 3.13, Linux)", file=sys.stderr)
        return MISSING
    return merge(arguments.target) if arguments.merge else run(arguments)


def run(arguments: argparse.Namespace) -> int:
    """Fuzz for a while; returns an exit code."""
    target: str = arguments.target
    found, failed = SCRATCH / target, SCRATCH / f"{target}-failed"
    for folder in (found, failed):
        folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds(target):
        (found / hashlib.sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
    known = [str(CORPUS / target)] if (CORPUS / target).is_dir() else []
    limits = [
        f"-max_total_time={arguments.seconds}",
        f"-runs={arguments.runs}",
        f"-max_len={LONGEST.get(target, 4096)}",
        "-len_control=20",
    ]
    limits += ["-timeout=2", "-rss_limit_mb=512", f"-artifact_prefix={failed}/", "-print_final_stats=1"]
    return start(target, arguments.fault, [*limits, str(found), *known])


def merge(target: str) -> int:
    """Make the corpus the smallest set of what is in it and what was found that reaches all of it."""
    merged = SCRATCH / f"{target}-merged"
    merged.mkdir(parents=True, exist_ok=True)
    for old in merged.iterdir():
        old.unlink()
    known, found = CORPUS / target, SCRATCH / target
    known.mkdir(parents=True, exist_ok=True)
    found.mkdir(parents=True, exist_ok=True)
    options = ["-set_cover_merge=1", f"-use_counters={int(target in SMALL)}", f"-max_len={LONGEST.get(target, 4096)}"]
    code = start(target, "", [*options, str(merged), str(known), str(found)])
    if code == 0:
        named = {path.read_bytes() for path in known.iterdir() if len(path.name) != 16}
        for old in known.iterdir():
            if len(old.name) == 16:
                old.unlink()
        for new in merged.iterdir():
            if (data := new.read_bytes()) not in named:
                (known / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    return code


def start(target: str, fault: str, options: list[str]) -> int:
    """Run atheris with these options in a process of its own; returns its exit code."""
    command = [sys.executable, "-m", "tests.fuzz.instrumented", target, fault, *options]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
