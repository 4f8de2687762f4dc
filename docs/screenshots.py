"""What commands print, on the pages that show it, made by running them: `python docs/screenshots.py [--check]`.

A block of a page that begins with `$ capnet …` is followed by what that command printed. With `--check` nothing is
written, and the exit code is 1 where a command prints something else now, figures aside.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from capnet.cli import main as capnet

HERE = Path(__file__).parent
PAGES = (HERE / "how-to" / "look-inside.md", HERE / "reference" / "command.md")
ROOT = Path(__file__).parents[1]
SHOWN_AS = "/run/user/1000"
"""In place of the folder in which the commands ran."""
BLOCK = re.compile(r"^```console\n\$ (.+)\n(?:.*\n)*?```$", re.MULTILINE)
CODE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HOST = "capnet run clock:Counter --listen unix:clock.sock --inspect"
WATCH = "capnet watch unix:clock.sock --name 'demo.*'"
CALLS = (
    "capnet call unix:clock.sock demo.Clock.tick",
    "capnet call unix:clock.sock demo.Clock.ticks to=3",
    "capnet call unix:clock.sock demo.Clock.tick by=0",
)
"""What `watch` sees."""


def taken(page: str) -> dict[str, str]:
    """What each command of a page prints, run in a folder of its own, beside the program and the host of the page."""
    commands: list[str] = BLOCK.findall(page)
    with TemporaryDirectory() as name, working_in(Path(name).resolve()) as folder:
        printed: dict[str, str] = {}
        if HOST in commands:
            blocks: list[str] = CODE.findall(page)
            (folder / "clock.py").write_text(blocks[0], encoding="utf-8")
            (folder / "program.py").write_text("\n".join(blocks), encoding="utf-8")
            subprocess.run([sys.executable, "program.py"], env=environment(), check=True, capture_output=True)
            with running(HOST, "Ctrl-C ends it") as (host, lines):
                printed = {HOST: "".join(lines), WATCH: watched()}
                printed |= {command: output_of(command) for command in commands if command not in printed}
            assert host.returncode == 0, "told to stop, it ends well"
        else:
            printed = {command: output_of(command) for command in commands}
        return {command: text.replace(str(folder), SHOWN_AS) for command, text in printed.items()}


def watched() -> str:
    """What `watch` prints while others call."""
    with running(WATCH, "Ctrl-C ends it") as (process, lines):
        assert process.stdout is not None
        for call in CALLS:
            output_of(call)
            while True:
                lines.append(process.stdout.readline())
                assert lines[-1], "it has ended"
                if lines[-1].endswith("closed\n"):  # the last that is told of this call
                    break
        return "".join(lines)


@contextmanager
def running(command: str, until: str) -> Generator[tuple[subprocess.Popen[str], list[str]]]:
    """A command that runs for the length of a block, and what it has printed up to some words; Ctrl-C ends it."""
    with subprocess.Popen(  # noqa: S603 - our own commands
        [sys.executable, "-m", *shlex.split(command)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        lines: list[str] = []
        try:
            while not lines or until not in lines[-1]:
                lines.append(process.stdout.readline())
                assert lines[-1], f"{command} has ended: {''.join(lines)}"
            yield process, lines
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)


def output_of(command: str) -> str:
    """What a command prints, standard error behind standard output."""
    out, error = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(error):
        capnet(shlex.split(command)[1:])
    return out.getvalue() + error.getvalue()


@contextmanager
def working_in(folder: Path) -> Generator[Path]:
    """A working directory, and a terminal of a certain width, for the length of a block."""
    before, columns = Path.cwd(), os.environ.get("COLUMNS")
    os.chdir(folder)
    os.environ["COLUMNS"] = "80"
    try:
        yield folder
    finally:
        os.chdir(before)
        del os.environ["COLUMNS"]
        if columns is not None:
            os.environ["COLUMNS"] = columns


def environment() -> dict[str, str]:
    """Ours, for programs that use this capnet."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}


def renewed(page: str, printed: Mapping[str, str]) -> str:
    """A page with what its commands have printed."""

    def block(found: re.Match[str]) -> str:
        return f"```console\n$ {found[1]}\n{printed[found[1]]}```"

    return BLOCK.sub(block, page)


def alike(page: str) -> dict[str, Any]:
    """What of the commands of a page must be the same each time: the lines, without figures, widths and bars."""
    return {
        found[1]: {
            re.sub(r"\s+", " ", re.sub(r"[█ ]{2,}", " ", re.sub(r"\d+(\.\d+)?", "0", line))).strip()
            for line in found[0].splitlines()
        }
        for found in BLOCK.finditer(page)
    }


def main(words: list[str], pages: Sequence[Path] = PAGES) -> str | None:
    """Do what the command line says; returns what is wrong, or None."""
    if words not in ([], ["--check"]):
        return "usage: python docs/screenshots.py [--check]"
    for path in pages:
        page = path.read_text(encoding="utf-8")
        anew = renewed(page, taken(page))
        shown, printed = alike(page), alike(anew)
        if shown == printed:
            continue
        if words:
            other = {command: sorted(shown[command] ^ printed[command]) for command in shown}
            lines = "\n".join(f"{command}: {line}" for command, lines in other.items() for line in lines)
            return f"{path.name} does not show what the commands print: run `python docs/screenshots.py`\n{lines}"
        path.write_text(anew, encoding="utf-8")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
