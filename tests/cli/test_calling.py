"""`capnet ls`, `describe`, `call` and `diff`, against a host in a process of its own.

Most run the command in this process, which takes a hundredth of the time; those on a pipe and on a terminal do not.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from capnet import ContractDescription
from capnet.cli import main
from capnet.cli.exits import Exit
from tests.cli.processes import COMMAND, ROOT, environment, run, run_on_terminal
from tests.connection.office import Clerk, File


class Office:
    """The host, and how to talk to it."""

    def __init__(self, url: str, process: subprocess.Popen[str]) -> None:
        self.url = url
        self.process = process

    def says(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """A host in a process of its own."""
    folder = tmp_path_factory.mktemp("office")
    url = f"unix:{folder}/s"
    command = [sys.executable, "-m", "tests.cli.office_host", url]
    with subprocess.Popen(command, cwd=ROOT, env=environment(folder), stdout=subprocess.PIPE, text=True) as process:
        found = Office(url, process)
        assert found.says() == "listens"
        yield found
        process.terminate()
        assert process.wait(60) == 0


Capnet = Callable[..., tuple[int, str, str]]


@pytest.fixture
def capnet(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Capnet:
    """Runs the command here: exit code, output, error output."""

    def call(*words: str, feed: str | None = None) -> tuple[int, str, str]:
        reading, writing = os.pipe()
        with open(reading, encoding="utf-8") as stdin, open(writing, "w", encoding="utf-8") as pipe:
            monkeypatch.setattr(sys, "stdin", stdin)
            pipe.write(feed or "")
            pipe.close()
            code = main(words)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


# ls


def test_ls_lists_what_is_served_to_us(office: Office, capnet: Capnet) -> None:
    """What the policy does not give is not there; and what a peer says harms no terminal."""
    code, out, err = capnet("ls", office.url)
    lines = out.splitlines()
    assert (code, err, lines[0].split()) == (0, "", ["name", "version", "methods", "about"])
    assert [line.split()[0] for line in lines[1:]] == ["odd", "office.Clerk", "office.File"]
    assert lines[-1].split(maxsplit=3)[1:] == ["2", "5", "Reads and writes a file."]
    assert "\x1b" not in out


def test_ls_as_json(office: Office, capnet: Capnet) -> None:
    """A name a line."""
    code, out, _ = capnet("ls", office.url, "--json")
    told = [json.loads(line) for line in out.splitlines()]
    assert (code, [one["name"] for one in told]) == (0, ["odd", "office.Clerk", "office.File"])
    assert told[2] == {
        "name": "office.File",
        "contract": "office.File",
        "version": 2,
        "generation": 1,
        "methods": ["read", "follow", "write", "append", "copy_to"],
        "doc": "Reads and writes a file.",
    }


# describe


def test_describe_shows_python(office: Office, capnet: Capnet) -> None:
    """All names, one, or one method."""
    code, out, _ = capnet("describe", office.url)
    assert code == 0 and "class Clerk(" in out and "class File(" in out and "\x1b" not in out
    assert capnet("describe", office.url, "office.Clerk")[1].splitlines()[:3] == [
        'class Clerk(Cap, name="office.Clerk"):',
        "    @call",
        "    async def open(self, name: str) -> File: ...",
    ]
    code, out, _ = capnet("describe", office.url, "office.File.write")
    assert out.splitlines() == [
        'class File(Cap, name="office.File", version=2):',
        "    @options(since=2, timeout=60)",
        "    @call",
        "    async def write(self, text: str) -> int: ...",
    ]


def test_describe_for_programs(office: Office, capnet: Capnet) -> None:
    """As JSON, as a module, and as JSON Schema."""
    told = json.loads(capnet("describe", office.url, "office.File", "--json")[1])
    assert told["name"] == "office.File" and ContractDescription.from_data(told) == ContractDescription.of(File)
    code, out, _ = capnet("describe", office.url, "--stub")
    compile(out, "stub", "exec")
    assert code == 0 and out.startswith('"""Contracts as ') and "class Reader(Cap," in out
    code, out, _ = capnet("describe", office.url, "office.File", "--schema")
    schemas = {one["method"]: one for one in map(json.loads, out.splitlines())}
    assert schemas["write"]["parameters"]["required"] == ["text"]
    assert schemas["read"]["result"]["items"] == {"$ref": "#/$defs/Note"}
    assert capnet("describe", office.url, "--stub", "--json")[0] == Exit.USAGE


# call


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["odd.say"], ["�[31mred�"]),
        (["odd.data", "data=AQI="], ['{"data": "AQI=", "flag": false}']),
        (["odd.data", "data=AQI=", "true"], ['{"data": "AQI=", "flag": true}']),
        (["office.Clerk.keep", "5"], ["5"]),
        (["office.Clerk.keep", "what=five"], ["five"]),
        (["office.Clerk.keep", '"5"'], ["5"]),
        (["office.Clerk.keep", "what=ü=x"], ["ü=x"]),
        (["office.Clerk.keep", 'what={"a": [null, 1.5, "b"]}'], ['{"a": [null, 1.5, "b"]}']),
        (["office.Clerk.keep", "--args", '{"what": [1]}'], ["[1]"]),
        (["office.Clerk.keep", "what=null"], []),
        (["office.Clerk.keep", "null", "--json"], ["null"]),
        (["office.Clerk.keep", "text", "--json"], ['"text"']),
        (["office.Clerk.open", "tea"], ["$1 office.File"]),
        (["office.Clerk.open", "tea", "--json"], ['{"handle": "$1", "contract": "office.File"}']),
        (["office.Clerk.all"], ['{"tea": "$1 office.File"}']),
        (
            ["office.Clerk.open", "tea", "--then", "$1.read most=1"],
            ["$1 office.File", '[{"text": "a", "when": "2026-01-01"}]'],
        ),
        (
            ["office.Clerk.open", "tea", "--then", "$1.follow 1"],
            ["$1 office.File", '{"text": "0", "when": "2026-01-01"}'],
        ),
        (["office.Clerk.count", "@office.File"], ["0"]),
        (["office.File.follow", "2"], ['{"text": "0", "when": "2026-01-01"}', '{"text": "1", "when": "2026-01-01"}']),
        (["office.File.follow", "count=1", "--json"], ['{"text": "0", "when": "2026-01-01"}']),
    ],
    ids=lambda words: " ".join(words),
)
def test_calls(office: Office, capnet: Capnet, words: list[str], lines: list[str]) -> None:
    """Values are JSON, else text; text is printed as it is, all else as JSON."""
    code, out, err = capnet("call", office.url, *words)
    assert (code, out.splitlines(), err) == (0, lines, "")


def test_what_came_can_be_called_and_passed_on(office: Office, capnet: Capnet) -> None:
    """Handles count on over all calls of one command. A text may look like a number where a text is taken."""
    code, out, err = capnet(
        "call",
        office.url,
        "office.Clerk.open",
        "tea",
        *("--then", "$1.write text=5"),
        *("--then", "$1.write 'two words'"),
    )
    assert (code, out.splitlines()[0], err) == (0, "$1 office.File", "")
    lines = [
        json.loads(line)
        for line in capnet("call", office.url, "office.Clerk.all", "--then", "$1.read")[1].splitlines()[1:]
    ]
    assert [line["text"] for line in lines[0]][-2:] == ["5", "two words"]
    keep = capnet("call", office.url, "office.Clerk.keep", "x", "--then", "$1.read")
    assert keep[0] == Exit.USAGE and "no capability came" in keep[2]
    code, out, _ = capnet("call", office.url, "office.Clerk.open", "tea", "--then", "$1.read", "--then", "$2.read")
    assert code == Exit.USAGE


def test_streams_are_fed_and_sinks_are_printed(office: Office, capnet: Capnet) -> None:
    """Lines are JSON, else text; empty ones are passed over."""
    feed = '{"text": "x"}\n\n{"text": "y", "when": "2026-02-02"}'
    code, out, err = capnet("call", office.url, "office.File.append", "-", feed=feed)
    assert (code, out, err) == (0, "2\n", "")
    code, out, _ = capnet("call", office.url, "office.File.copy_to", "-")
    assert [json.loads(line) for line in out.splitlines()] == [
        {"text": "x", "when": "2026-01-01"},
        {"text": "y", "when": "2026-02-02"},
        2,
    ]
    assert capnet("call", office.url, "office.File.append", "lines=-", feed="")[1] == "2\n"
    code, out, err = capnet("call", office.url, "office.File.append", "lines=-", feed="no note")
    assert (code, out) == (Exit.FAILED, "") and "invalid_argument" in err


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["call", "URL", "office.Clerk.open"], 2, "open needs name\n  hint: open name=TEXT"),
        (["call", "URL", "office.Clerk.open", "nam=x"], 2, "did you mean name?"),
        (["call", "URL", "office.Clerk.open", "a", "b"], 2, "takes no argument for 'b'"),
        (["call", "URL", "office.Clerk.open", "name=a", "name=b"], 2, "there twice"),
        (
            ["call", "URL", "office.Clerk.opn", "a"],
            1,
            "unimplemented: office.Clerk has no method 'opn'\n  hint: did you mean open?",
        ),
        (
            ["call", "URL", "office.Clark.open"],
            1,
            "not_found: 'office.Clark' is not served\n  hint: did you mean office.Clerk",
        ),
        (["call", "URL", "office.Clerk"], 2, "it has open, show"),
        (["call", "URL", "open"], 2, "names no method"),
        (["call", "URL", "office.Clerk.open", "milk"], 1, "not_found: no file 'milk'"),
        (["call", "URL", "office.Secret.read"], 1, "permission_denied"),
        (["call", "URL", "odd.data", "data=é"], 2, "not base64"),
        (["call", "URL", "office.Clerk.keep", "--args", "[]"], 2, "not a JSON object"),
        (["call", "URL", "office.Clerk.keep", "--args", "{"], 2, "not JSON"),
        (["call", "URL", "office.Clerk.hang", "--timeout", "0.2"], 4, "deadline_exceeded"),
        (["describe", "URL", "office.Clark"], 1, "did you mean office.Clerk"),
        (["describe", "URL", "office.File.reed"], 1, "did you mean read?"),
        (["ls", "unix:/nowhere/s"], 3, "unavailable"),
        (["ls", "nowhere:x"], 2, "nowhere"),
        (["lss", "URL"], 2, "did you mean ls?"),
        (["diff", "URL", "nothing"], 2, "neither a URL"),
        (["diff", "URL", "nothing.json"], 2, "No such file"),
        (["diff", "URL", "tests.connection.office:Clark"], 2, "did you mean Clerk"),
        (["diff", "URL", "tests.connection.office:Note"], 2, "no contract"),
        (["diff", "tests.connection.office:Reader", "URL"], 1, "on one side only"),
    ],
    ids=str,
)
def test_mistakes(office: Office, capnet: Capnet, words: list[str], code: int, says: str) -> None:
    """A line that says what is wrong, one that says what to do, and an exit code."""
    ended, out, err = capnet(*(office.url if word == "URL" else word for word in words))
    assert (ended, out) == (code, "") and says in err and "Traceback" not in err
    if words[-2:] == ["--timeout", "0.2"]:
        assert [office.says(), office.says()] == ["hangs", "cancelled"]


def test_errors_as_json(office: Office, capnet: Capnet) -> None:
    """With what a program needs to go on."""
    code, out, err = capnet("call", office.url, "office.Clerk.open", "milk", "--json")
    error = json.loads(err)["error"]
    assert (code, out, error["code"], error["exit"]) == (1, "", "not_found", 1)


# diff


def test_diff(office: Office, capnet: Capnet, tmp_path: Path) -> None:
    """Between a host, a class and a file; what is added is told, what is gone keeps clients from working."""
    new = tmp_path / "new.json"
    new.write_text(capnet("describe", office.url, "--json")[1])
    assert capnet("diff", str(new), office.url)[0] == 0
    code, out, _ = capnet("diff", "tests.connection.office:Clerk", office.url)
    assert (code, out) == (0, "office.Clerk: clients can go on\n")
    less = tmp_path / "less.json"
    told = ContractDescription.of(Clerk).only({"open"}).data()
    told["methods"]["open"][1]["again"] = ["int", True]
    less.write_text(json.dumps(told))
    code, out, _ = capnet("diff", office.url, str(less))
    assert code == Exit.MISMATCH
    assert out.splitlines()[:2] == [
        "office.Clerk: clients cannot go on",
        "  - method 'open': parameter 'again': is required, but unknown to the client",
    ]
    less.write_text(json.dumps(ContractDescription.of(Clerk).only({"open"}).data()))
    code, out, _ = capnet("diff", str(less), "tests.connection.office:Clerk", "--json")
    verdict = json.loads(out)
    assert (code, verdict["fits"], verdict["added"]) == (
        Exit.OK,
        True,
        ["show", "all", "count", "keep", "each", "hang"],
    )
    assert "count it up" in capnet("diff", str(less), "tests.connection.office:Clerk")[1]
    code, out, _ = capnet("diff", str(less), "tests.connection.office:File")
    assert code == Exit.MISMATCH and "it was office.Clerk, and is office.File" in out
    both = tmp_path / "both.json"
    both.write_text("\n".join(json.dumps(ContractDescription.of(one).data()) for one in (Clerk, File)))
    code, out, _ = capnet("diff", office.url, str(both))
    assert code == Exit.MISMATCH and "odd: clients cannot go on\n  - it is gone" in out


def test_nothing_of_a_file_is_taken_on_trust(office: Office, capnet: Capnet, tmp_path: Path) -> None:
    """It may be anything."""
    file = tmp_path / "a.json"
    for text, says in [
        ("{", "not what"),
        ("", "no contract"),
        ("[1]", "no description"),
        ('{"contract": 1}', "no description"),
    ]:
        file.write_text(text)
        code, _, err = capnet("diff", str(file), office.url)
        assert code == Exit.USAGE and says in err
    file.write_bytes(b"\xff")
    assert capnet("diff", str(file), office.url)[0] == Exit.USAGE


# Processes


def test_piped(office: Office, tmp_path: Path) -> None:
    """Lines for programs, without anything around them; input is read to its end."""
    done = run(tmp_path, "ls", office.url)
    assert (done.returncode, done.stderr) == (0, "") and "\x1b" not in done.stdout
    fed = subprocess.run(
        [*COMMAND, "call", office.url, "office.Clerk.count", "x", "--then", "$1.x"],
        cwd=ROOT,
        env=environment(tmp_path),
        input="",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert fed.returncode == Exit.FAILED and "Traceback" not in fed.stderr


def test_on_a_terminal(office: Office, tmp_path: Path) -> None:
    """What a peer says cannot steer it."""
    code, seen = run_on_terminal(tmp_path, "call", office.url, "odd.say")
    assert (code, seen.strip()) == (0, "�[31mred�")


def test_ctrl_c_cancels(office: Office, tmp_path: Path) -> None:
    """The handler is told, and the command ends as one that was interrupted, without a word."""
    with subprocess.Popen(
        [*COMMAND, "call", office.url, "office.Clerk.hang"],
        cwd=ROOT,
        env=environment(tmp_path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert office.says() == "hangs"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert office.says() == "cancelled"
    assert (process.returncode, out, err) == (Exit.INTERRUPTED, "", "")
