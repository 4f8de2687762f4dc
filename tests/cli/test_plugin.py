"""`capnet plugin`, on a host that runs in another process with plugins of its own."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Collection, Generator
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capnet.cli import main
from capnet.cli.bisect import culprit
from capnet.cli.exits import Exit, Stop
from tests.cli.processes import ROOT
from tests.cost import HANGS


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """Its URL."""
    url = f"unix:{tmp_path_factory.mktemp('plugins')}/s"
    with subprocess.Popen(
        [sys.executable, "-m", "tests.cli.plugin_host", url],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "listening\n"
        yield url
        process.terminate()
        assert process.wait(HANGS) == 0


def told(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_its_plugins_are_listed(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugin", "ls", host]) == Exit.OK
    heads, good, cracked = capsys.readouterr().out.splitlines()
    assert heads.split() == [
        *("name", "state", "process", "up", "memory", "version", "generation", "restarts", "contract")
    ]
    assert re.search(r"\d (s|min) +\d+ MiB +1 +1 +0  test.Bell$", good)
    assert (good.split()[:2], cracked.split()[:2]) == (["good", "ready"], ["cracked", "ready"])
    assert main(["plugin", "ls", host, "good", "--json"]) == Exit.OK
    (one,) = told(capsys)
    assert (one["name"], one["state"], one["contract"]) == ("good", "ready", "test.Bell") and one["pid"] > 0
    assert one["version"] == 1 and one["uptime"] > 0 and one["memory"] > 2**20


def test_they_are_checked(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugin", "check", host, "good"]) == Exit.OK
    assert capsys.readouterr().out == "good: well\n"
    assert main(["plugin", "check", host, "--json"]) == Exit.FAILED
    assert {one["plugin"]: one["well"] for one in told(capsys)} == {"good": True, "cracked": False}


def test_what_they_write_is_shown(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugin", "logs", host, "cracked"]) == Exit.OK
    assert set(capsys.readouterr().out.splitlines()) >= {"[info] cast cracked", "[error] cooled degrees=20"}
    assert main(["plugin", "logs", host, "cracked", "--last", "0"]) == Exit.OK
    assert capsys.readouterr().out == ""


def test_one_is_swapped_stopped_and_started(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugin", "swap", host, "good", "--json"]) == Exit.OK
    assert told(capsys)[0]["generation"] == 2
    for action, state, generation in (("stop", "stopped", 2), ("start", "ready", 3), ("restart", "ready", 4)):
        assert main(["plugin", action, host, "good", "--json"]) == Exit.OK
        (one,) = told(capsys)
        assert (one["state"], one["generation"]) == (state, generation)


def test_the_one_that_is_wrong_is_found(host: str, capfd: pytest.CaptureFixture[str]) -> None:
    """By a command that fails while that one runs."""
    listed = f"capnet.cli.main(['plugin', 'ls', '{host}', 'cracked', '--json'])"
    program = (
        f"import capnet.cli, io, sys; sys.stdout = said = io.StringIO(); {listed}; sys.exit('ready' in said.getvalue())"
    )
    outcomes = {program: (Exit.OK, '{"plugin": "cracked"}\n'), "": (Exit.FAILED, ""), "exit(3)": (Exit.FAILED, "")}
    for text, outcome in outcomes.items():
        test = shlex.join([sys.executable, "-c", text])
        assert (main(["plugin", "bisect", host, "--json", "--test", test]), capfd.readouterr().out) == outcome
        assert main(["plugin", "ls", host, "--json"]) == Exit.OK
        assert [json.loads(line)["state"] for line in capfd.readouterr().out.splitlines()] == ["ready", "ready"]


@given(st.integers(1, 20).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1))))
def test_each_is_found_in_few_steps(case: tuple[int, int]) -> None:
    size, wrong = case
    names = [str(number) for number in range(size)]
    asked = 0

    async def fails(running: Collection[str]) -> bool:
        nonlocal asked
        asked += 1
        return str(wrong) in running

    assert anyio.run(culprit, names, fails) == str(wrong)
    assert asked <= 2 + 2 * size.bit_length()


def test_what_needs_two_is_not_blamed_on_one() -> None:
    async def fails(running: Collection[str]) -> bool:
        return {"a", "d"} <= set(running)

    with pytest.raises(Stop):
        anyio.run(culprit, ["a", "b", "c", "d"], fails)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["stop", "{host}"], Exit.USAGE),
        (["dance", "{host}", "good"], Exit.USAGE),
        (["stop", "{host}", "nobody"], Exit.FAILED),
        (["bisect", "{host}"], Exit.USAGE),
        (["bisect", "{host}", "--test", "/no/such/program"], Exit.USAGE),
        (["check", "{host}", "nobody"], Exit.FAILED),
        (["ls", "{host}", "--served", "other"], Exit.FAILED),
        (["ls", "{host}x"], Exit.UNREACHABLE),
    ],
    ids=[
        "no name",
        "no action",
        "no plugin to stop",
        "no command",
        "no program",
        "no plugin to check",
        "no control",
        "nobody there",
    ],
)
def test_what_cannot_be_done(host: str, words: list[str], code: Exit, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugin", *(word.format(host=host) for word in words)]) == code
    said = capsys.readouterr()
    assert said.out == "" and said.err != "" and "Traceback" not in said.err
