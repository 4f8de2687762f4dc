"""The demo as people run it: a process of its own, with plugins of their own, and nothing left of any."""

from __future__ import annotations

import ast
import functools
import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from anyio import to_thread

import capnet
import capnet.plugin
import capnet.plugins
from capnet import PluginHost
from capnet.cli.demo import contract, examples, host
from capnet.cli.demo.folder import MAX_FILE_BYTES, DirectoryFolder
from capnet.cli.demo.host import Demo
from capnet.cli.demo.show import JsonShow, PlainShow
from capnet.cli.demo.under_load import CALLERS, ROUNDS
from tests.cli.processes import COMMAND, ROOT, environment, run, run_on_terminal
from tests.loops import EACH_LOOP, ONE_LOOP

MOST = 80
"""Lines that it prints unless every event is wanted."""
STEP = re.compile(r"^\d+\. ")
TIME = re.compile(r"^ +(\d+\.\d{3}) (?:host|linter|index|guest) ", re.MULTILINE)
TEXT = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """Where temporary files go."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return scratch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with something of everything."""
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.md").write_text("# A capability\nand more\n", "utf-8")
    (folder / "sub" / "b.md").write_text("capability\n", "utf-8")
    (folder / "sub" / "c.py").write_text("import os\n", "utf-8")
    return folder


@functools.cache
def told(*words: str) -> subprocess.CompletedProcess[str]:
    """What it does without a folder of ours; run once for all tests that only look at it."""
    with TemporaryDirectory() as scratch:
        done = run(Path(scratch), "demo", *words)
        assert os.listdir(scratch) == []
    return done


class Sooner(Demo):
    """Without the step that kills a plugin, which others show: a process less to start."""

    async def _kill(self) -> None: ...


class Soonest(Sooner):
    """Nor with the swaps, which take three more; what the guest does comes after them, and does not know of them."""

    async def _swap(self) -> None: ...


async def facts_of(folder: Path, query: str = "capability") -> dict[str, Any]:
    """What a demo here finds."""
    demo = Sooner("folder", DirectoryFolder(folder), query, PlainShow())
    assert await demo.run() == demo.summary.ok
    return asdict(demo.summary)


def test_it_tells_its_story_in_a_few_lines() -> None:
    done = told()
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout and "\r" not in done.stdout
    assert "All of it went as it should." in done.stdout
    lines = done.stdout.splitlines()
    assert len(lines) <= MOST
    steps = [number for number, line in enumerate(lines) if STEP.match(line)]
    assert len(steps) == 10
    for begin, end in itertools.pairwise([*steps, lines.index("All of it went as it should.")]):
        assert any(line.startswith("   ✓ ") for line in lines[begin:end]), lines[begin]


def test_every_event_when_asked_for() -> None:
    done = told("-v")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r" guest +#\d +denied demo.Vault: not_granted", done.stdout)
    assert re.search(r" index +swap rolled back: .*plugin index does not fit", done.stdout)
    assert " index      swap committed\n" in done.stdout
    assert re.search(r" linter +is backoff: was ended by SIGKILL", done.stdout)
    for cap in ("2", "5"):  # a folder, and one that was opened in it
        assert re.search(rf" guest +#\d +revoked demo.Folder, capability {cap}: revoked", done.stdout)
    times = [float(time) for time in TIME.findall(done.stdout)]
    assert len(times) > 100 and times == sorted(times)
    assert "more, with -v" not in done.stdout


def test_the_code_of_a_step_is_code() -> None:
    """Each is Python, and each name that it calls is there."""
    done = told("--json")
    steps = [json.loads(line) for line in done.stdout.splitlines() if '"type": "step"' in line]
    known = {*dir(capnet), *dir(PluginHost), *dir(contract), *dir(contract.Folder), *dir(examples.Index)}
    known |= {*dir(examples.Linter), *dir(capnet.plugins.FoundPlugin), "print", "kill", "bootstrap"}
    called: set[str] = set()
    for step in steps:
        tree = compile(step["code"], "code", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        called |= {call.attr if isinstance(call, ast.Attribute) else ast.unparse(call) for call in calls}
    assert len(steps) == 10 and len(called) >= 9
    assert called - known == set()


def normal(line: str) -> str:
    """What is another number in every run."""
    return re.sub(r"\d+(\.\d+)?", "#", line.strip())


def test_the_page_shows_what_it_prints() -> None:
    page = (ROOT / "docs" / "tutorial" / "demo.md").read_text("utf-8")
    shown = [line for block in TEXT.findall(page) for line in block.splitlines() if line.strip()]
    plain, verbose = ([normal(line) for line in done.stdout.splitlines()] for done in (told(), told("-v")))
    assert len(shown) > 40
    assert [line for line in shown if normal(line) not in plain + verbose] == []
    assert [normal(line) for line in shown if STEP.match(line)] == [line for line in plain if re.match(r"#\. ", line)]


def test_json_has_the_whole_story() -> None:
    done = told("--json")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    facts = lines[-1]
    assert facts["calls"] >= CALLERS * ROUNDS
    assert {name: facts[name] for name in facts if name not in ("calls", "events", "seconds", "state")} == {
        "type": "summary",
        "ok": True,
        "folder": "notes",
        "query": "capability",
        "plugins": ["linter", "index", "guest"],
        "remarks": 3,
        "files": 5,
        "skipped": 0,
        "words": 61,
        "hits": 3,
        "restarts": 1,
        "rolled_back": 1,
        "failed": 0,
        "generation": 3,
        "denied": 3,
        "refused": 6,
        "restricted": 3,
        "revoked": 3,
        "exits": {"linter": 0, "index": 0, "guest": 0},
    }
    # Of every denial, swap and revocation it is told once.
    events = Counter(line["kind"] for line in lines if line["type"] == "event")
    assert events["PolicyDenied"] == 3
    assert events["PluginSwapped"] == 2
    assert events["PluginEnded"] == 5
    assert events["CapRevoked"] == 3
    assert events["CallStarted"] == events["CallFinished"] > 0
    assert not events["HandlerFailed"]


def test_coloured_lines_on_a_terminal(folder: Path, scratch: Path) -> None:
    code, seen = run_on_terminal(scratch, "demo", "-v", str(folder))
    assert code == 0
    assert "\x1b[35m" in seen and "\x1b[32m" in seen
    assert seen.rstrip().splitlines()[-1].lstrip().startswith("ended")


def test_of_a_large_folder_it_tells_no_more_on_any_terminal(folder: Path, scratch: Path) -> None:
    """Nor does it need colours, or more than ASCII."""
    for number in range(50):
        (folder / f"in{number}").mkdir()
        (folder / f"in{number}" / "a.md").write_text("capability\n" * 50, "utf-8")
    code, seen = run_on_terminal(scratch, "demo", str(folder), NO_COLOR="1", PYTHONIOENCODING="ascii")
    assert code == 0 and seen.isascii()
    assert len(seen.splitlines()) <= MOST
    assert "\x1b[3" not in seen and "All of it went as it should." in seen


@ONE_LOOP
async def test_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    facts = await facts_of(tmp_path / "empty")
    assert (facts["ok"], facts["files"], facts["hits"], facts["revoked"]) == (True, 0, 0, 1)


@ONE_LOOP
async def test_a_query_that_matches_nothing(folder: Path) -> None:
    facts = await facts_of(folder, "nowhere")
    assert (facts["ok"], facts["files"], facts["hits"]) == (True, 3, 0)


@ONE_LOOP
async def test_folder_with_everything_in_it(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.md").write_text("capability\n", "utf-8")
    (folder / "link.md").symlink_to("../outside.md")
    (folder / "door").symlink_to("..")
    (folder / "binary.bin").write_bytes(b"capability\0")
    (folder / "latin.txt").write_bytes(b"capabilit\xe9 \x1b[2J capability\n")
    (folder / "locked.md").write_text("capability\n", "utf-8")
    (folder / "locked.md").chmod(0)
    with (folder / "huge.md").open("wb") as stream:
        stream.truncate(MAX_FILE_BYTES + 1)
    readable = os.access(folder / "locked.md", os.R_OK)  # to the superuser it is
    facts = await facts_of(folder)
    assert facts["ok"]
    assert facts["files"] == 4 + readable
    assert facts["hits"] == 3 + readable
    assert facts["skipped"] == 4 + (not readable)  # two links, binary, huge, locked


def many(folder: Path) -> Path:
    """So many files that the events do not fit into a pipe: the demo waits for its reader, and cannot end before.

    Not so many that any of them is dropped meanwhile.
    """
    for number in range(300):
        (folder / f"{number}.md").touch()
    return folder


@pytest.mark.parametrize("moment", ["linter     is starting", "example.Index.add", "is backoff", "denied demo.Vault"])
def test_interrupt_leaves_nothing_behind(folder: Path, scratch: Path, moment: str) -> None:
    with subprocess.Popen(
        [*COMMAND, "demo", "-v", str(many(folder))],
        cwd=ROOT,
        env=environment(scratch),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert any(moment in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        # The plugin holds the other end of the error output: its end of file says that the plugin has gone too.
        out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (130, "")
    assert out.rstrip().endswith("✗ interrupted")
    assert list(scratch.iterdir()) == []


def test_reader_that_goes_away(folder: Path, scratch: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "demo", "-v", str(many(folder))],
        cwd=ROOT,
        env=environment(scratch),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=120) == 1


@EACH_LOOP
async def test_runs_on_every_loop(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await to_thread.run_sync(int)  # the loop opens what it needs for threads once
    before = os.listdir("/dev/fd")
    demo = Demo("folder", DirectoryFolder(folder), "capability", PlainShow())
    assert await demo.run()
    assert demo.summary.generation == 3
    # The folders of all steps are closed, and the connection; what a test before has left may go meanwhile.
    assert set(os.listdir("/dev/fd")) <= set(before)
    assert "All of it went as it should." in capsys.readouterr().out


PLUGIN = (
    "import os, sys\nimport capnet.plugin\nfrom capnet.cli.demo import guest\nfrom capnet.cli.demo.contract import *\n"
)
RUN = "\ncapnet.plugin.run(guest.main)"
ROGUES = {
    "cannot start": ("", "cannot start"),
    "exits at once": ("sys.exit(3)", "exited with code 3"),
    "exits with a code": (f"import atexit\natexit.register(os._exit, 3){RUN}", "guest ended with exit code 3"),
    "got out": (
        "async def lie(self, folder): return [Attempt('inside.txt', 'ok'), Attempt('link.txt', 'ok')]\n"
        f"guest.Trespasser.trespass = lie{RUN}",
        "'link.txt' got out",
    ),
    "was not denied": (
        f"async def lie(self): return [Attempt('bootstrap demo.Vault', 'ok')]\nguest.Trespasser.overreach = lie{RUN}",
        "it was not denied",
    ),
    "knows no restriction": (
        f"async def lie(self, folder): return Overstep([], False, 0, [])\nguest.Trespasser.overstep = lie{RUN}",
        "the guest knows of",
    ),
    "does more than it may": (
        "async def lie(self, folder): return Overstep(['files', 'read'], True, 2, [Attempt('open', 'ok')])\n"
        f"guest.Trespasser.overstep = lie{RUN}",
        "the restriction does not hold",
    ),
    "dies at work": (f"async def die(self): os._exit(9)\nguest.Trespasser.explore = die{RUN}", "unavailable"),
    "does not tell which folders it opened": (
        "explore = guest.Trespasser.explore\n"
        "async def lie(self):\n"
        "    await explore(self)\n"
        "    return []\n"
        f"guest.Trespasser.explore = lie{RUN}",
        "2 capabilities would be taken, not 1",
    ),
    "was not told": (
        "async def lie(self): return [Loss(path, 'failed_precondition/revoked', 'nothing') for path in self._held]\n"
        f"guest.Trespasser.aftermath = lie{RUN}",
        "the guest was told of folder '': nothing",
    ),
}


@ONE_LOOP
@pytest.mark.parametrize("rogue", ROGUES)
async def test_a_plugin_that_misbehaves_is_found_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rogue: str
) -> None:
    program, finding = ROGUES[rogue]
    command = (sys.executable, "-c", PLUGIN + program) if program else (str(folder / "a.md"),)
    monkeypatch.setattr(host, "GUEST", {"argv": command})
    demo = Soonest("folder", DirectoryFolder(folder), "capability", JsonShow())
    assert not await demo.run()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert any(finding in line["text"] for line in lines if line["type"] == "problem"), lines
    assert lines[-1]["type"] == "summary" and not lines[-1]["ok"]


def test_a_plugin_started_by_hand_says_how() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "capnet.cli.demo.guest"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == capnet.plugin.NOT_A_PLUGIN
    assert "start capnet demo, which starts it" in done.stderr and "Traceback" not in done.stderr
