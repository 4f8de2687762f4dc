"""The commands that need no peer: recordings, certificates, what is wrong with a machine, what could be served."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from capnet import Host, connect, pipe
from capnet.cli import main
from capnet.cli.commands import COMMANDS
from capnet.cli.doctor import doctor
from capnet.cli.exits import Exit, Stop, failure_of
from capnet.cli.output import Output
from capnet.errors import DeadlineExceeded, MissingExtra, NotFound, VersionMismatch
from capnet.nearest import nearest
from capnet.recording.recorder import MARK
from tests.cli.processes import ROOT
from tests.cli.programs import Clock, Counter

HEAD = {"recording": MARK, "form": 1, "began": 0, "values": True}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of a host: a call on the result of another, a stream whose reader is slow, a failure."""
    path = tmp_path_factory.mktemp("recorded") / "host.rec"

    async def talk() -> None:
        async with Host(record=path) as host:
            host.serve(Counter())
            await host.listen("memory:test-files")
            async with connect("memory:test-files", name="visitor\x1b[2J"[:7]) as connection:
                clock = pipe(connection.bootstrap(Clock))
                await clock.tick()
                async for number in (await connection.bootstrap(Clock)).ticks(2000):
                    if not number:
                        await anyio.sleep(0.05)

    anyio.run(talk)
    return path


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def write(path: Path, *entries: object) -> str:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return str(path)


class TestRecordings:
    def test_decode_prints_a_frame_on_a_line(self, recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["decode", str(recorded)]) == Exit.OK
        first, connected, *frames, closed = capsys.readouterr().out.splitlines()
        assert "values left out" in first and "connected by memory" in connected and closed.endswith("closed")
        assert any("← hello visitor" in line for line in frames)
        assert any('call 1 cap 0 .bootstrap(name="test.Clock", version=<int>' in line for line in frames)
        assert any("call 2 answer 1 .tick()" in line for line in frames)

    def test_as_json_it_is_as_it_stands(self, recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["decode", str(recorded), "--json", "--connection", "1"]) == Exit.OK
        assert lines(capsys.readouterr().out) == lines(recorded.read_text())

    def test_trace_tells_who_waited_for_what(self, recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["trace", str(recorded), "--json"]) == Exit.OK
        spans = lines(capsys.readouterr().out)
        assert [(span["name"], span["result"]) for span in spans if span["kind"] == "call"] == [
            ("capnet.Bootstrap.bootstrap test.Clock", "ok"),
            ("test.Clock.tick", "ok"),
            ("capnet.Bootstrap.bootstrap test.Clock", "ok"),
            ("test.Clock.ticks", "ok"),
        ]
        assert spans[1]["waited_for"] == ["call 1"]
        (stream,) = (span for span in spans if span["kind"] == "stream")
        assert (stream["name"], stream["items"], stream["result"]) == ("stream of call 4", 2000, "ok")
        assert any(waited.startswith("its reader ") for waited in stream["waited_for"])
        assert all(span["ended"] >= span["began"] for span in spans)

    def test_trace_draws(self, recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["trace", str(recorded)]) == Exit.OK
        heads, *rows = capsys.readouterr().out.splitlines()
        assert heads.split()[:2] == ["at", "ms"] and len(rows) == 5
        assert all(row.count("|") == 2 and "█" in row for row in rows)
        assert main(["trace", str(recorded), "--slow", "1000000"]) == Exit.OK
        assert capsys.readouterr().out == "no calls\n"

    def test_what_did_not_end_is_shown_as_that(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        call = {"t": 1, "connection": 1, "direction": "in", "op": "call", "id": 1, "target": 7, "method": "m"}
        path = write(tmp_path / "r", HEAD, {**call, "arguments": {}})
        assert main(["trace", path]) == Exit.OK
        assert "m" in capsys.readouterr().out

    @pytest.mark.parametrize(
        "entry",
        [
            {"op": "call", "id": "x"},
            {"op": "call", "id": 1, "target": None, "method": 3, "arguments": 0},
            {"op": "call", "id": 1, "target": "answer", "method": "m", "arguments": {}},
            {"op": "result", "id": 1, "references": ["cap x y"]},
            {"op": "items", "stream": 1, "count": [], "references": ["stream 1 out"]},
            {"op": "hello", "options": []},
            {"op": "credit", "stream": {}},
        ],
        ids=lambda entry: str(entry["op"]),
    )
    @pytest.mark.parametrize("command", ["decode", "trace"])
    def test_a_recording_of_a_stranger_does_no_harm(
        self, tmp_path: Path, command: str, entry: dict[str, Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """It may be from a bug report: a line that says what is wrong at the worst, and no traceback."""
        path = write(tmp_path / "r", HEAD, {"t": 0, "connection": 1, "direction": "in", "size": 1, **entry})
        assert main([command, path]) in (Exit.OK, Exit.USAGE)
        assert capsys.readouterr().err.count("\n") <= 1

    def test_a_terminal_is_sent_nothing_that_steers_it(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        entry: dict[str, Any] = {"t": 0, "connection": 1, "direction": "in", "op": "call", "id": 1, "target": 7}
        path = write(tmp_path / "r", HEAD, {**entry, "method": "\x1b[2Jm", "arguments": {}, "size": 1})
        for command in ("decode", "trace"):
            assert main([command, path]) == Exit.OK
            assert "\x1b" not in capsys.readouterr().out

    @pytest.mark.parametrize("command", ["decode", "trace"])
    def test_what_is_no_recording(self, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "empty").touch()
        for path in (tmp_path / "nowhere", tmp_path / "empty", tmp_path):
            assert main([command, str(path)]) == Exit.USAGE
        assert main([command, __file__]) == Exit.FAILED
        assert capsys.readouterr().err.count("\n") == 4


class TestCertificates:
    async def test_they_work_for_a_host_and_a_peer(
        self, tmp_path: Path, anyio_backend_name: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """As the lines that it prints say."""
        folder = tmp_path / "certs"
        words = ["certs", str(folder), "--host", "localhost", "--peer", "anna", "--peer", "bob"]
        assert main([*words, "--json"]) == Exit.OK
        told = json.loads(capsys.readouterr().out)
        assert told["peers"] == ["anna", "bob"] and told["pin"].startswith("spki-sha256:")
        assert folder.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in folder.glob("*.pem")} == {0o600}
        async with Host() as host:
            listener = await host.listen("tls:localhost:0", certificate=folder / "host.pem", ca=folder / "peers.crt")
            ask = ["doctor", listener.url, "--json", "--ca", str(folder / "host.crt")]
            known = partial(main, [*ask, "--certificate", str(folder / "bob.pem")])
            assert await to_thread.run_sync(known) == Exit.OK
            assert await to_thread.run_sync(main, ask) == Exit.UNREACHABLE
        peers = [one for one in lines(capsys.readouterr().out) if one["about"] == "peer"]
        assert [one["state"] for one in peers] == ["ok", "wrong"] and "CN=host" in peers[0]["text"]

    def test_files_that_are_there_are_left_alone(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "peers.crt").write_text("mine")
        assert main(["certs", str(tmp_path)]) == Exit.USAGE
        assert "File exists" in capsys.readouterr().err
        assert [path.name for path in tmp_path.iterdir()] == ["peers.crt"], "all of them, or none"

    @pytest.mark.parametrize("name", ["host", "peers", "../x", "", ".x", "a b"])
    def test_names_that_are_no_files(self, tmp_path: Path, name: str) -> None:
        assert main(["certs", str(tmp_path), "--peer", name]) == Exit.USAGE
        assert list(tmp_path.iterdir()) == []


class TestNats:
    def test_a_configuration_and_a_password_for_each(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """What it says is in tests/transports/test_nats_options.py, that it works in tests/interop."""
        folder = tmp_path / "nats"
        words = ["nats", str(folder), "--host", "fleet=adder", "--peer", "anna=adder", "--peer", "anna=clock"]
        assert main([*words, "--json"]) == Exit.OK
        assert json.loads(capsys.readouterr().out)["users"] == ["fleet", "anna"]
        assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
            "nats.conf": 0o600,
            "fleet.password": 0o600,
            "anna.password": 0o600,
        }
        config = (folder / "nats.conf").read_text()
        assert (folder / "anna.password").read_text().strip() in config
        assert main(words) == Exit.USAGE
        assert "File exists" in capsys.readouterr().err

    @pytest.mark.parametrize("pair", ["adder", "=adder", "anna=", "a b=adder", "anna=a.b", "../x=adder"])
    def test_pairs_that_make_no_sense(self, tmp_path: Path, pair: str) -> None:
        assert main(["nats", str(tmp_path), "--host", "fleet=adder", "--peer", pair]) == Exit.USAGE
        assert list(tmp_path.iterdir()) == []


class TestDoctor:
    def test_it_tells_what_is_there(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["doctor", "--json"]) in (Exit.OK, Exit.FAILED)
        told = {one["about"]: one for one in lines(capsys.readouterr().out)}
        assert {"capnet", "python", "anyio", "typer", "code in C", "unix:", "wss:", "open files", "sockets"} <= set(
            told
        )
        assert told["unix:"]["state"] == "ok"

    def test_an_unsafe_directory_is_found(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        tmp_path.chmod(0o777)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        assert main(["doctor"]) == Exit.FAILED
        assert str(tmp_path) in capsys.readouterr().out

    def test_what_is_not_installed_is_told_with_its_extra(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        module = sys.modules[doctor.__module__]
        monkeypatch.setattr(module, "_version", {"anyio": "4"}.get)
        assert main(["doctor"]) == Exit.FAILED, "cbor2 is no extra"
        out = capsys.readouterr().out
        assert 'pip install "capnet[tls]"' in out and "pip install cbor2" in out


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("programs", "MODULE:NAME"),
        ("tests.cli.nowhere:x", "there is no module"),
        ("nowhere.at.all:x", "there is no module"),
        ("tests.cli.programs:Countr", "did you mean Counter"),
        ("tests.cli.programs:Wrong", "it lacks tick, ticks"),
        ("tests.cli.programs:Clock", "it lacks tick, ticks"),
        ("tests.cli.programs:number", "no implementation"),
    ],
)
def test_run_says_what_cannot_be_served(target: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", target, "--listen", "memory:test-run"]) == Exit.USAGE
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--listen", "tcp:localhost:0"], Exit.USAGE, "--token TEXT"),
        (["--listen", "unix:/tmp", "--ca", "x"], Exit.USAGE, "it is for nats:, tls:, wss:"),
        (["--listen", "unix:/tmp"], Exit.FAILED, "not a socket"),
        (["--listen", "memory:x", "--inspect", "--policy", "tests.cli.programs:Closed"], Exit.USAGE, "--inspect"),
        ([], Exit.USAGE, "--listen"),
    ],
    ids=["no token", "no TLS", "no socket", "two policies", "nowhere"],
)
def test_run_says_where_it_cannot_listen(
    words: list[str], code: Exit, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "tests.cli.programs:made", *words]) == code
    assert says in capsys.readouterr().err


def test_a_mistake_of_the_users_is_shown_as_python_shows_it() -> None:
    with pytest.raises(RuntimeError, match="a mistake"):
        main(["run", "tests.cli.programs:careless", "--listen", "memory:test-careless"])


def test_each_command_has_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    """And tells in its first words what the list says."""
    for name in COMMANDS:
        assert main([name, "--help"]) == Exit.OK
        assert f"capnet {name}" in capsys.readouterr().out


def test_the_help_is_quick() -> None:
    """It imports no command, no loop and no terminal: the list comes from a table."""
    program = (
        "import sys\nfrom capnet.cli import main\nmain(['--help'])\nmain(['--version'])\n"
        "print(sorted(name for name in sys.modules if name.split('.')[0] in ('anyio', 'asyncio', 'rich', 'cbor2')"
        " or name in ('capnet.cli.watch', 'capnet.cli.run', 'capnet.cli.demo', 'capnet.connection')))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(name in done.stdout for name in COMMANDS)


def test_without_the_extra_it_says_what_to_install() -> None:
    program = (
        "import sys\nsys.modules.update(rich=None, typer=None)\nfrom capnet.cli import main\n"
        "for words in ([], ['--version'], ['watch', 'unix:x']): print(main(words))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert [line for line in done.stdout.splitlines() if line.isdigit()] == ["0", "0", "2"]
    assert 'pip install "capnet[cli]"' in done.stdout and 'pip install "capnet[cli]"' in done.stderr


def test_exit_codes_of_errors() -> None:
    assert [
        failure.exit_code
        for error in (
            NotFound("x"),
            DeadlineExceeded("x"),
            VersionMismatch("x"),
            TimeoutError(),
            MissingExtra("x"),
            Stop("x"),
            Stop("x", exit_code=Exit.UNREACHABLE),
            ExceptionGroup("", [ExceptionGroup("", [NotFound("x")])]),
        )
        if (failure := failure_of(error)) is not None
    ] == [1, 4, 5, 4, 2, 2, 3, 1]
    assert failure_of(KeyError("x")) is None
    assert failure_of(ExceptionGroup("", [NotFound("x"), NotFound("y")])) is None


def test_nearest_words() -> None:
    known = ["chat.Lobby", "chat.Room", "demo.Clock"]
    assert nearest("chat.Loby", known) == "did you mean chat.Lobby, chat.Room?"
    assert nearest("counter", ["Counter", "counter"]) == "did you mean Counter, counter?"
    assert nearest("clock", known) == "did you mean demo.Clock?"
    assert nearest("zzz", known) == "there is chat.Lobby, chat.Room, demo.Clock"
    assert nearest("zzz", []) is None


def test_tables_are_as_wide_as_they_have_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    Output().table(("name", "n"), [("a", "1"), ("long\nname", "100")], right=("n",))
    assert capsys.readouterr().out.splitlines() == ["name         n", "a            1", "long name  100"]


def test_json_has_something_for_everything(capsys: pytest.CaptureFixture[str]) -> None:
    Output(json=True).value({"b": b"\x01", "s": {2, 1}, "o": Path("x")})
    assert json.loads(capsys.readouterr().out) == {"b": "01", "s": [1, 2], "o": "PosixPath('x')"}
