"""Standard input and output: nothing that is printed does harm, and what goes wrong at the start is told."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from capnet import Host
from capnet.errors import InvalidArgument, Unavailable
from capnet_transports import process, stdio
from tests.connection.leaks import nothing_left as nothing_left  # a fixture
from tests.cost import HANGS
from tests.transports.test_tcp import Adder

ROOT = str(Path(__file__).parents[2])

PROGRAM = """
import os, subprocess, sys
{before}
import anyio
from capnet import Cap, call, connect

class Adder(Cap, name="test.Adder"):
    @call
    async def add(self, a: int, b: int) -> int: ...

class Printing(Adder):
    async def add(self, a: int, b: int) -> int:
        print("adding", flush=True)
        os.write(1, b"from below\\n")
        subprocess.run(["echo", "from a child"])
        print(repr(sys.stdin.read()), flush=True)
        return a + b

async def main():
    async with connect("stdio:") as conn:
        conn.serve(Printing())
        print("ready", flush=True)
        await conn.wait_closed()

anyio.run(main, backend={backend!r})
"""


def program(before: str = "", backend: str = "asyncio") -> list[str]:
    return [sys.executable, "-c", PROGRAM.format(before=before, backend=backend)]


async def added(argv: list[str], **options: Any) -> int:
    """What comes of a call to a program."""
    async with Host() as host:
        conn = await host.connect("stdio:", argv=argv, env={"PYTHONPATH": ROOT}, **options)
        assert (conn.attestation.transport, conn.attestation.uid) == ("stdio", os.geteuid())
        with anyio.fail_after(60):
            return await (await conn.bootstrap(Adder, wait=30)).add(2, 3)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
async def test_prints_do_no_harm(backend: str, tmp_path: Path) -> None:
    """Of the program, of what it is made of, and of its children; before and after it connects."""
    before = "print('hello'); os.write(1, b'\\0capnet-std' * 1000); subprocess.run(['echo', 'motd']); print('late')"
    with (tmp_path / "errors").open("wb") as errors:
        assert await added(program(before, backend), stderr=errors) == 5
    said = (tmp_path / "errors").read_text()
    assert all(words in said for words in ("ready", "adding", "from below", "from a child", "''"))


@pytest.mark.parametrize("line", ["{0}", "echo motd; {0}", "cat | {0} | cat", "{0} | cat"])
async def test_through_a_shell(line: str) -> None:
    """As through ssh, whose other side hands out a socket or pipes."""
    assert await added(["sh", "-c", line.format(shlex.join(program()))]) == 5


async def test_command_line() -> None:
    async with Host() as host:
        line = shlex.join(["env", f"PYTHONPATH={ROOT}", *program()])
        conn = await host.connect(f"stdio:{line}")
        assert await (await conn.bootstrap(Adder, wait=30)).add(2, 3) == 5


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo no such plugin; exit 3", "exited with code 3 before it has connected; it has printed b'no such plugin"),
        ("exit 0", "exited with code 0"),
        ("exec >&-; sleep 60 & exit 4", "exited with code 4"),
        ("sleep 60 & echo a child holds the pipe; exit 5", "exited with code 5"),
        ("head -c 3000000 /dev/zero; sleep 60", "printed"),
    ],
)
async def test_a_program_that_does_not_connect(script: str, words: str) -> None:
    with anyio.fail_after(60), pytest.raises(Unavailable) as caught:
        await stdio.scheme.connect("", argv=["sh", "-c", script], start_timeout=3600.0)
    assert caught.value.reason == "not_a_plugin"
    assert words in caught.value.message


async def test_a_program_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE", 0.1)
    ended, gone = list[int | None](), anyio.Event()

    def on_exit(code: int | None) -> None:
        ended.append(code)
        gone.set()

    with pytest.raises(Unavailable) as caught:
        await stdio.scheme.connect("", argv=["sleep", "60"], start_timeout=0.1, on_exit=on_exit)
    assert caught.value.reason == "not_a_plugin" and "has not connected" in caught.value.message
    with anyio.fail_after(60):
        await gone.wait()
    assert (ended[0] or 0) < 0, "it is ended"


def _set(event: anyio.Event, _code: int | None) -> None:
    event.set()


async def test_cancelled_while_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE", 0.1)
    gone = anyio.Event()
    with anyio.move_on_after(0.1):
        await stdio.scheme.connect("", argv=["sleep", "60"], on_exit=partial(_set, gone))
    with anyio.fail_after(60):
        await gone.wait()


@pytest.mark.parametrize(
    ("rest", "options"),
    [
        ("a", {"argv": ["a"]}),
        ("'", {}),
        ("", {"argv": []}),
        ("", {"env": {}}),
        ("cat", {"env": {"A": 1}}),
        ("cat", {"cwd": 3}),
        ("cat", {"stderr": subprocess.PIPE}),
        ("cat", {"stderr": subprocess.STDOUT}),
        ("cat", {"stdout": subprocess.DEVNULL}),
        ("cat", {"on_exit": anyio.sleep}),
        ("cat", {"start_timeout": 0}),
        ("cat", {"name": "exec"}),
    ],
)
async def test_what_makes_no_sense(rest: str, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await stdio.scheme.connect(rest, **options)
    assert caught.value.message.startswith("stdio:")


async def test_no_such_program() -> None:
    with pytest.raises(Unavailable) as caught:
        await stdio.scheme.connect("/no/such/program")
    assert (caught.value.reason, caught.value.retry) == ("enoent", "never")
    assert caught.value.message == "stdio: cannot start /no/such/program: No such file or directory"


async def test_what_it_writes_about_its_end_is_told() -> None:
    with pytest.raises(Unavailable) as caught:
        await stdio.scheme.connect("", argv=[sys.executable, "-c", "print('hello'); import no_such_module"])
    assert "exited with code 1 before it has connected; it has printed b'hello" in caught.value.message
    assert caught.value.message.endswith("No module named 'no_such_module'")


async def test_so_is_that_of_one_that_ends_before_its_hello() -> None:
    script = f"import os, sys; os.write(1, {stdio.MARK!r}); sys.exit('no luck')"
    async with Host() as host:
        conn = await host.connect("stdio:", argv=[sys.executable, "-c", script])
        with anyio.fail_after(HANGS):
            cause = await conn.wait_closed()
    assert "exited with code 1 before it has said anything" in cause.message
    assert cause.message.endswith("no luck")


async def test_its_process_ends_with_it() -> None:
    async with Host() as host:
        conn = await host.connect("stdio:", argv=program(), env={"PYTHONPATH": ROOT})
        process = conn.process
        assert process is not None and process.running and process.pid == conn.attestation.pid
        assert await (await conn.bootstrap(Adder, wait=HANGS)).add(2, 3) == 5
    assert process.returncode == 0


async def test_cannot_be_listened_at() -> None:
    with pytest.raises(InvalidArgument):
        await stdio.scheme.listen("", print)


@pytest.mark.parametrize("redirection", ["</dev/null", "<&-", ">/dev/null", ">&-"])
async def test_a_program_that_no_host_has_started(redirection: str) -> None:
    """It says so, in place of waiting for a terminal."""
    command = f"{shlex.join(program())} {redirection}"
    result = await anyio.run_process(
        ["sh", "-c", command], input=b"", check=False, env=os.environ | {"PYTHONPATH": ROOT}
    )
    assert result.returncode == 1
    assert b"unavailable/not_a_plugin" in result.stderr or b"unavailable/ebadf" in result.stderr
