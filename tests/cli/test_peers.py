"""The commands that talk to a host, which `capnet run` has started as another process."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import anyio
import pytest

from capnet import InvalidArgument, connect
from capnet.cli import main
from capnet.cli.exits import Exit
from tests.cli.processes import COMMAND, ROOT, Terminal, environment, started
from tests.cli.programs import Clock

TARGET = "tests.cli.programs:Counter"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """The URL of a host that tells its own user of everything; ended as a service manager would."""
    scratch = tmp_path_factory.mktemp("host")
    url = f"unix:{scratch}/host.sock"
    with started(scratch, "run", TARGET, "--inspect", "--json", "--listen", url) as process:
        assert process.stdout is not None
        listening = json.loads(process.stdout.readline())
        assert listening == {"listening": url, "pid": process.pid}
        yield url
        process.terminate()
        out, error = process.communicate(timeout=60)
        assert (process.returncode, out, error) == (Exit.OK, "", "")


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def use(url: str) -> None:
    """What another program does meanwhile."""

    async def client() -> None:
        async with connect(url, name="visitor") as connection:
            clock = await connection.bootstrap(Clock)
            await clock.tick()
            assert [number async for number in clock.ticks(3)] == [0, 1, 2]
            with pytest.raises(InvalidArgument):
                await clock.tick(fail=True)

    anyio.run(client)


def test_bench_counts_calls(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", host, "--calls", "20", "--in-flight", "1", "--in-flight", "4"]
    assert main([*words, "--json"]) == Exit.OK
    told = lines(capsys.readouterr().out)
    assert [(one["in_flight"], one["calls"]) for one in told] == [(1, 20), (4, 20)]
    assert all(0 < one["p50_ms"] <= one["p99_ms"] <= one["most_ms"] and one["rate"] > 0 for one in told)
    assert main(words) == Exit.OK
    heads, first, second = capsys.readouterr().out.splitlines()
    assert heads.split()[:3] == ["in", "flight", "calls"]
    assert (first.split()[:2], second.split()[:2]) == (["1", "20"], ["4", "20"])


def test_top_shows_names_and_connections_once_when_nobody_watches(
    host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["top", host, "--json"]) == Exit.OK
    (told,) = lines(capsys.readouterr().out)
    assert told["all"] and list(told["served"]) == ["test.Clock"]
    (own,) = told["connections"]
    assert (own["peer"], own["transport"], own["calls"]) == ("capnet", "unix", 1)
    assert main(["top", host, "--sort", "connection", "--count", "2", "--every", "0.1"]) == Exit.OK
    out = capsys.readouterr().out
    assert out.count("serves test.Clock version 1, generation 1") == 2
    assert out.count("charge  backlog") == 2


def test_top_on_a_terminal_draws_until_interrupted(host: str, tmp_path: Path) -> None:
    terminal = Terminal()
    with started(tmp_path, "top", host, "--every", "0.1", stdout=terminal.theirs) as process:
        seen = terminal.until("serves test.Clock").partition("serves test.Clock")[0]
        assert "\x1b[" in seen
        terminal.seen = ""
        terminal.until("serves test.Clock")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == Exit.INTERRUPTED
    terminal.close()
    assert "Traceback" not in terminal.seen


def test_watch_piped_and_on_a_terminal(host: str, tmp_path: Path) -> None:
    """Both see what a third program does. The pipe has JSON of what was asked for; the terminal has lines in colour."""
    terminal = Terminal()
    chosen = ("--json", "--kind", "CallFinished", "--name", "test.*", "--count", "3")
    with (
        started(tmp_path, "watch", host, *chosen) as piped,
        started(tmp_path, "watch", host, "--errors", stdout=terminal.theirs) as shown,
    ):
        assert piped.stderr is not None
        assert "all connections" in piped.stderr.readline()
        terminal.until("Ctrl-C ends it")
        use(host)
        out, error = piped.communicate(timeout=60)
        seen = terminal.until("invalid_argument/told")
        shown.send_signal(signal.SIGINT)
        assert (piped.returncode, error, shown.wait(timeout=60)) == (Exit.OK, "", Exit.INTERRUPTED)
    terminal.close()
    assert [(one["fields"]["method"], one["fields"]["result"]) for one in lines(out)] == [
        ("tick", "ok"),
        ("ticks", "ok"),
        ("tick", "invalid_argument"),
    ]
    assert "test.Clock.tick #" in seen and "\x1b[31m" in seen and "Traceback" not in terminal.seen
    assert "→ stream" not in seen, "only what went wrong"


def test_a_reader_that_goes_away_ends_watch_quietly(host: str, tmp_path: Path) -> None:
    with started(tmp_path, "watch", host) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stderr.readline()
        process.stdout.close()
        use(host)
        assert process.wait(timeout=60) == Exit.FAILED
        assert process.stderr.read() == ""


def test_no_colour_where_it_is_not_wanted(host: str, tmp_path: Path) -> None:
    terminal = Terminal()
    process = subprocess.Popen(
        [*COMMAND, "top", host, "--count", "1"],
        cwd=ROOT,
        env=environment(tmp_path, NO_COLOR="1"),
        stdout=terminal.theirs,
        stderr=terminal.theirs,
    )
    seen = terminal.until("backlog")
    assert process.wait(timeout=60) == Exit.OK
    terminal.close()
    assert "\x1b[3" not in seen


def test_a_recording_of_a_command(host: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bench.rec"
    assert main(["bench", host, "--calls", "2", "--in-flight", "1", "--record", str(path)]) == Exit.OK
    capsys.readouterr()
    assert main(["decode", str(path)]) == Exit.OK
    decoded = capsys.readouterr().out
    assert "→ hello capnet" in decoded and ".ping()" in decoded and "← result" in decoded
    assert main(["trace", str(path), "--json"]) == Exit.OK
    traced = lines(capsys.readouterr().out)
    assert traced and {(one["name"], one["result"]) for one in traced} == {("capnet.Runtime.ping", "ok")}


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["bench", "unix:/nowhere/host.sock"], Exit.UNREACHABLE, "--wait SECONDS"),
        (["bench", "nonsense"], Exit.USAGE, "write SCHEME:ADDRESS"),
        (["bench", "unix:x", "--ca", "x"], Exit.USAGE, "it is for nats:, tls:, wss:"),
        (["bench", "tcp:localhost:1"], Exit.USAGE, "--token TEXT"),
        (["watch", "unix:x", "--kind", "CalFinished"], Exit.USAGE, "did you mean CallFinished?"),
        (["watch", "unix:x", "--auth", "{"], Exit.USAGE, "--auth is not JSON"),
        (["bench"], Exit.USAGE, "capnet bench --help"),
        (["bench", "x", "--cals", "3"], Exit.USAGE, "--calls"),
        (["bench", "x", "--calls", "0"], Exit.USAGE, "--calls"),
        (["wach"], Exit.USAGE, "did you mean watch?"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_is_told_in_a_line_with_what_to_do(
    words: list[str], code: Exit, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == code
    captured = capsys.readouterr()
    first, *hints = captured.err.splitlines()
    assert captured.out == "" and first.startswith("capnet") and ": " in first
    assert says in captured.err and all(hint.startswith("  hint: ") for hint in hints)


def test_errors_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "unix:/nowhere/host.sock", "--json"]) == Exit.UNREACHABLE
    error = json.loads(capsys.readouterr().err)["error"]
    assert (error["exit"], error["code"], error["reason"]) == (3, "unavailable", "enoent")


def test_a_peer_that_says_nothing_is_not_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent.sock"))
        silent.listen()
        assert main(["bench", f"unix:{tmp_path}/silent.sock", "--timeout", "0.2"]) == Exit.TIMEOUT
    assert "--timeout" in capsys.readouterr().err


def test_nothing_of_a_command_is_left_when_it_is_interrupted(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent.sock"))
        silent.listen()
        with started(tmp_path, "bench", f"unix:{tmp_path}/silent.sock") as process, silent.accept()[0] as accepted:
            accepted.recv(1)
            process.send_signal(signal.SIGINT)
            out, error = process.communicate(timeout=60)
            assert (process.returncode, out, error) == (Exit.INTERRUPTED, "", "")


def test_what_watches_files_is_an_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    assert main(["run", TARGET, "--watch", "--listen", "memory:x"]) == Exit.USAGE
    assert 'pip install "capnet[watch]"' in capsys.readouterr().err
