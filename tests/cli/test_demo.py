"""The demo as people run it: a process of its own, with a plugin of its own, and nothing left of either."""

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
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from anyio import to_thread

import capnet
from capnet import Connection, Host
from capnet.cli.demo import contract, host
from capnet.cli.demo.folder import MAX_FILE_BYTES, DirectoryFolder
from capnet.cli.demo.host import Demo
from capnet.cli.demo.show import JsonShow, PlainShow
from tests.cli.processes import COMMAND, ROOT, environment, run, run_on_terminal
from tests.loops import EACH_LOOP, ONE_LOOP

MOST = 80
"""Lines that it prints unless every event is wanted."""
STEP = re.compile(r"^\d\. ")
TIME = re.compile(r"^ +(\d+\.\d{3}) (?:host|plugin)", re.MULTILINE)
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
    return folder


@functools.cache
def told(*words: str) -> subprocess.CompletedProcess[str]:
    """What it does without a folder of ours; run once for all tests that only look at it."""
    with TemporaryDirectory() as scratch:
        done = run(Path(scratch), "demo", *words)
        assert os.listdir(scratch) == []
    return done


def summary(*words: str, scratch: Path) -> dict[str, Any]:
    """Run the demo with `--json`; its summary, after checking that all lines are JSON and nothing is left."""
    done = run(scratch, "demo", "--json", *words)
    assert done.stderr == ""
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[-1].pop("type") == "summary"
    assert done.returncode == (0 if lines[-1]["ok"] else 1)
    assert list(scratch.iterdir()) == []
    return dict(lines[-1])


def test_it_tells_its_story_in_a_few_lines() -> None:
    done = told()
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout and "\r" not in done.stdout
    assert "All of it went as it should." in done.stdout
    lines = done.stdout.splitlines()
    assert len(lines) <= MOST
    steps = [number for number, line in enumerate(lines) if STEP.match(line)]
    assert len(steps) == 9
    for begin, end in itertools.pairwise([*steps, lines.index("All of it went as it should.")]):
        assert any(line.startswith("   ✓ ") for line in lines[begin:end]), lines[begin]


def test_of_a_large_folder_it_tells_no_more(folder: Path, scratch: Path) -> None:
    for number in range(50):
        (folder / f"in{number}").mkdir()
        (folder / f"in{number}" / "a.md").write_text("capability\n" * 50, "utf-8")
    done = run(scratch, "demo", str(folder))
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) <= MOST


def test_every_event_when_asked_for() -> None:
    done = told("-v")
    assert (done.returncode, done.stderr) == (0, "")
    assert " host   #1  denied demo.Vault: not_granted" in done.stdout
    assert " plugin #1  swap of demo.Search rolled back: generation 1" in done.stdout
    assert " plugin #1  swap of demo.Search committed: generation 2" in done.stdout
    for cap in ("2", "6"):  # a folder, and one that was opened in it
        assert f" host   #1  revoked demo.Folder, capability {cap}: unserved" in done.stdout
        assert f" plugin #1  lost demo.Folder, capability {cap}: failed_precondition/revoked" in done.stdout
    assert " host   #1  demo.Search, capability 3, is now of generation 2" in done.stdout
    times = [float(time) for time in TIME.findall(done.stdout)]
    assert len(times) > 100 and times == sorted(times)
    assert "more, with -v" not in done.stdout


def test_the_code_of_a_step_is_code() -> None:
    """Each is Python, and each name that it calls is there."""
    done = told("--json")
    steps = [json.loads(line) for line in done.stdout.splitlines() if '"type": "step"' in line]
    known = {*dir(capnet), *dir(Host), *dir(Connection), *dir(contract), "check", "find", "read"}
    called: set[str] = set()
    for step in steps:
        tree = compile(step["code"], "code", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        called |= {call.attr if isinstance(call, ast.Attribute) else ast.unparse(call) for call in calls}
    assert len(steps) == 9 and len(called) >= 9
    assert called - known - {"RankedSearch"} == set()


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


def test_json_has_the_whole_story(folder: Path, scratch: Path) -> None:
    facts = summary(str(folder), scratch=scratch)
    assert facts["calls"] >= 2 * host.CALLERS
    assert {name: facts[name] for name in facts if name not in ("calls", "events", "seconds")} == {
        "ok": True,
        "folder": str(folder),
        "query": "capability",
        "principal": "searcher",
        "grants": ["capnet.Runtime.restrictions", "demo.Console", "demo.Folder"],
        "denied": 3,
        "files": 2,
        "bytes": 35,
        "skipped": 0,
        "refused": 6,
        "restricted": 3,
        "matches": 2,
        "rolled_back": 1,
        "failed": 0,
        "in_flight": host.CALLERS,
        "generation": 2,
        "revoked": 2,
        "plugin_exit": 0,
    }


def test_json_tells_of_every_denial_swap_and_revocation_once(folder: Path, scratch: Path) -> None:
    done = run(scratch, "demo", "--json", str(folder))
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    events = Counter((line["source"], line["kind"]) for line in lines if line["type"] == "event")
    assert events["host", "PolicyDenied"] == 3
    assert events["plugin", "SwapBegan"] == events["plugin", "SwapEnded"] == 2
    assert events["plugin", "NameReplaced"] == events["host", "CapReplaced"] == 1
    assert events["host", "CapRevoked"] == events["plugin", "CapBroken"] == 2
    assert events["host", "CallStarted"] == events["host", "CallFinished"] > 0
    assert not events["host", "HandlerFailed"] and not events["plugin", "HandlerFailed"]


def test_coloured_lines_and_a_bar_on_a_terminal(folder: Path, scratch: Path) -> None:
    code, seen = run_on_terminal(scratch, "demo", "-v", str(folder))
    assert code == 0
    assert "\x1b[36m" in seen and "indexing" in seen and "2/2" in seen
    assert seen.rstrip().splitlines()[-1].lstrip().startswith("ended")


def test_no_color_is_respected(folder: Path, scratch: Path) -> None:
    code, seen = run_on_terminal(scratch, "demo", str(folder), NO_COLOR="1")
    assert code == 0
    assert "\x1b[3" not in seen and "All of it went as it should." in seen


def test_output_that_takes_ascii_only(folder: Path, scratch: Path) -> None:
    assert run(scratch, "demo", str(folder), PYTHONIOENCODING="ascii").returncode == 0


def test_empty_folder(tmp_path: Path, scratch: Path) -> None:
    (tmp_path / "empty").mkdir()
    facts = summary(str(tmp_path / "empty"), scratch=scratch)
    assert (facts["ok"], facts["files"], facts["matches"], facts["revoked"]) == (True, 0, 0, 1)


def test_a_query_that_matches_nothing(folder: Path, scratch: Path) -> None:
    facts = summary(str(folder), "nowhere to be found", scratch=scratch)
    assert (facts["ok"], facts["files"], facts["matches"]) == (True, 2, 0)


def test_folder_with_everything_in_it(folder: Path, tmp_path: Path, scratch: Path) -> None:
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
    facts = summary(str(folder), scratch=scratch)
    assert facts["ok"]
    assert facts["files"] == 4 + readable
    assert facts["matches"] == 3 + readable
    assert facts["skipped"] == 4 + (not readable)  # two links, binary, huge, locked


def many(folder: Path) -> Path:
    """So many files that the events do not fit into a pipe: the demo waits for its reader, and cannot end before.

    Not so many that any of them is dropped meanwhile.
    """
    for number in range(300):
        (folder / f"{number}.md").touch()
    return folder


@pytest.mark.parametrize(
    "moment", ["serves demo.Console", "demo.Folder as capability 2", "denied demo.Vault", "demo.Folder.read"]
)
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
    assert demo.summary.generation == 2
    # The folders of all steps are closed, and the connection; what a test before has left may go meanwhile.
    assert set(os.listdir("/dev/fd")) <= set(before)
    assert "All of it went as it should." in capsys.readouterr().out


@ONE_LOOP
async def test_neither_token_nor_secret_is_shown(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def guessable() -> str:
        return "of-the-plugin"

    monkeypatch.setattr(host, "token_urlsafe", guessable)
    demo = Demo("folder", DirectoryFolder(folder), "capability", JsonShow())
    assert await demo.run()
    out = capsys.readouterr().out
    assert "of-the-plugin" not in out and "not for the plugin" not in out


PLUGIN = (
    "import os, sys\n"
    "from anyio import run\n"
    "from capnet.cli.demo import plugin\n"
    "from capnet.cli.demo.contract import *\n"
)
ROGUES = {
    "cannot start": ("", "cannot start"),
    "exits at once": ("sys.exit(3)", "unavailable"),
    "exits with a code": ("run(plugin.main); sys.exit(3)", "the plugin ended with exit code 3"),
    "got out": (
        "async def lie(self, folder): return [Attempt('inside.txt', 'ok'), Attempt('link.txt', 'ok')]\n"
        "plugin.SearchPlugin.trespass = lie\nrun(plugin.main)",
        "'link.txt' got out",
    ),
    "has no token": ("os.environ[TOKEN] = 'a guess'\nrun(plugin.main)", "not_admitted"),
    "asks for no grants": ("plugin.ASKED = ()\nrun(plugin.main)", "unavailable"),
    "was not denied": (
        "async def lie(self): return [Attempt('bootstrap demo.Vault', 'ok')]\n"
        "plugin.SearchPlugin.overreach = lie\nrun(plugin.main)",
        "it was not denied",
    ),
    "knows no restriction": (
        "async def lie(self, folder): return Overstep([], False, 0, [])\n"
        "plugin.SearchPlugin.overstep = lie\nrun(plugin.main)",
        "the plugin knows of",
    ),
    "does more than it may": (
        "async def lie(self, folder): return Overstep(['files', 'read'], True, 2, [Attempt('open', 'ok')])\n"
        "plugin.SearchPlugin.overstep = lie\nrun(plugin.main)",
        "the restriction does not hold",
    ),
    "lies about what it read": (
        "async def lie(self): return Indexed(7, 7, {})\nplugin.SearchPlugin.index = lie\nrun(plugin.main)",
        "the plugin did not get what was read",
    ),
    "does not check": (
        "async def pass_all(self, candidate, query): pass\nplugin.SearchPlugin._check = pass_all\nrun(plugin.main)",
        "the hasty search passed its check",
    ),
    "serves the hasty search for a while": (
        "async def lie(self, kind, query):\n"
        "    await self._host.replace(plugin.KINDS[kind](self._index))\n"
        "    return Swapped(refused='it is hasty' if kind == 'hasty' else '', generation=3)\n"
        "plugin.SearchPlugin.swap = lie\nrun(plugin.main)",
        "the host noticed",
    ),
    "lies about the swap": (
        "swap = plugin.SearchPlugin.swap\n"
        "async def lie(self, kind, query):\n"
        "    await swap(self, kind, query)\n"
        "    return Swapped(refused='it is hasty' if kind == 'hasty' else '', generation=1)\n"
        "plugin.SearchPlugin.swap = lie\nrun(plugin.main)",
        "generation 2",
    ),
    "fails to swap": (
        "async def fail(self, kind, query): raise plugin.CapnetError('no')\n"
        "plugin.SearchPlugin.swap = fail\nrun(plugin.main)",
        "internal: no",
    ),
    "dies while it searches": (
        "import os\nasync def die(self, kind, query): os._exit(9)\nplugin.SearchPlugin.swap = die\nrun(plugin.main)",
        "unavailable",
    ),
    "does not tell which folders it opened": (
        "explore = plugin.SearchPlugin.explore\n"
        "async def lie(self):\n"
        "    await explore(self)\n"
        "    return []\n"
        "plugin.SearchPlugin.explore = lie\nrun(plugin.main)",
        "2 capabilities would be taken, not 1",
    ),
    "was not told": (
        "async def lie(self): return [Loss(path, 'failed_precondition/revoked', 'nothing') for path in self._held]\n"
        "plugin.SearchPlugin.aftermath = lie\nrun(plugin.main)",
        "the plugin was told of folder '': nothing",
    ),
    "has a better search that fails": (
        "async def fail(self, query): raise plugin.CapnetError('no')\n"
        "plugin.RankedSearch.find = fail\nrun(plugin.main)",
        "internal: no",
    ),
    "serves a search that fails": (
        "async def fail(self, query): raise plugin.CapnetError('no')\n"
        "async def check(self, candidate, query):\n"
        "    if isinstance(candidate, plugin.HastySearch): raise plugin.Unfit('it is hasty')\n"
        "plugin.RankedSearch.find = fail\nplugin.SearchPlugin._check = check\nrun(plugin.main)",
        "calls failed",
    ),
}


@ONE_LOOP
@pytest.mark.parametrize("rogue", ROGUES)
async def test_a_plugin_that_misbehaves_is_found_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rogue: str
) -> None:
    program, finding = ROGUES[rogue]
    command = (sys.executable, "-c", PLUGIN + program) if program else (str(folder / "a.md"),)
    monkeypatch.setattr(host, "COMMAND", command)
    demo = Demo("folder", DirectoryFolder(folder), "capability", JsonShow())
    assert not await demo.run()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert any(finding in line["text"] for line in lines if line["type"] == "problem"), lines
    assert lines[-1]["type"] == "summary" and not lines[-1]["ok"]


def test_a_plugin_started_by_hand_says_how() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "capnet.cli.demo.plugin"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.endswith("capnet demo\n") and "Traceback" not in done.stderr
