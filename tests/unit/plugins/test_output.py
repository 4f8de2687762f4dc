"""What a plugin writes: how a line is read, cut and kept, and how much of it is taken."""

from __future__ import annotations

import os
from typing import Any

import anyio
import pytest
import structlog
from anyio.lowlevel import checkpoint
from structlog.testing import capture_logs

from capnet.plugins.output import LINES_PER_WINDOW, LONGEST, Output, read_line
from tests.cost import HANGS

PLENTY = 1 << 40
"""Bytes in a second that hold up nobody."""


@pytest.mark.parametrize(
    ("raw", "level", "text", "fields"),
    [
        (b"hello", "info", "hello", {}),
        (b"", "info", "", {}),
        (b'{"event": "up", "level": "error", "n": 3}', "error", "up", {"n": 3}),
        (b'{"message": "up", "level": "WARN"}', "warning", "up", {}),
        (b'{"msg": "up", "event": 3}', "info", "up", {"event": 3}),
        (b'{"level": "loud"}', "info", "", {}),
        (b'{"level": ["error"]}', "info", "", {}),
        (b'{"a": {"b": [1]}}', "info", "", {"a": "{'b': [1]}"}),
        (b'{"event": "a\\u001b[31mb\\nc"}', "info", "a\\x1b[31mb\\nc", {}),
        (b'{"event": "cut', "info", '{"event": "cut', {}),
        (b"{" * 1000, "info", "{" * 1000, {}),
        (b'{"a":' * 1000 + b"1" + b"}" * 1000, "info", '{"a":' * 1000 + "1" + "}" * 1000, {}),
        (b"[1, 2]", "info", "[1, 2]", {}),
        (b"\x1b[2Jgone\rback", "info", "\\x1b[2Jgone\\rback", {}),
        (b"\xff\xfe", "info", "��", {}),
        ("ünï ☃".encode(), "info", "ünï ☃", {}),
    ],
    ids=range(16),
)
def test_a_line(raw: bytes, level: str, text: str, fields: dict[str, Any]) -> None:
    assert read_line(raw, "info") == (level, text, fields)


def test_a_line_has_no_more_fields_than_a_few() -> None:
    raw = b"{" + b",".join(b'"k%d": %d' % (n, n) for n in range(500)) + b"}"
    assert len(read_line(raw, "info")[2]) == 20


async def written(output: Output, *chunks: bytes) -> None:
    """A process has written that to its standard error, and ended."""
    ours, theirs = os.pipe()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(output.read, 1, "stderr", ours, PLENTY)
        for chunk in chunks:
            os.write(theirs, chunk)
            await checkpoint()
        os.close(theirs)


async def test_lines_are_found_wherever_the_pipe_cuts() -> None:
    output = Output("p")
    with capture_logs() as log, anyio.fail_after(HANGS):
        await written(output, b"one\ntw", b"o\r\n\nth", b"ree")
    assert [line.text for line in output.lines] == ["one", "two", "", "three"]
    assert {line.level for line in output.lines} == {"warning"}
    assert [(entry["event"], entry["plugin"], entry["channel"], entry["log_level"]) for entry in log] == [
        (text, "p", "stderr", "warning") for text in ("one", "two", "", "three")
    ]


async def test_a_line_without_end_is_cut() -> None:
    output = Output("p")
    with capture_logs(), anyio.fail_after(HANGS):
        await written(output, b"x" * (2 * LONGEST + 5), b"\n")
    assert [len(line.text) for line in output.lines] == [LONGEST, LONGEST, 5]


async def test_the_log_has_so_many_entries_and_counts_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    output = Output("p")
    with capture_logs() as log:
        for _ in range(LINES_PER_WINDOW + 7):
            output.take(1, "stdout", b"again")
        assert len(log) == LINES_PER_WINDOW
        now = 100.0
        output.take(1, "stdout", b"later")
    assert (log[-1]["event"], log[-1]["left_out_before"]) == ("later", 7)
    assert len(output.lines) == 200


async def test_nothing_it_says_passes_for_ours() -> None:
    """Nor fails when the names are those of parameters of the logger."""
    output = Output("p")
    hostile = (
        b'{"event": "e", "plugin": "q", "channel": "c", "self": 1, "method_name": 2, "exc_info": true, "event_kw": 3}'
    )
    with capture_logs() as log:
        output.take(1, "stdout", hostile)
    (entry,) = log
    assert (entry["plugin"], entry["channel"]) == ("p", "stdout")
    assert entry["said"] == {
        "plugin": "q",
        "channel": "c",
        "self": 1,
        "method_name": 2,
        "exc_info": True,
        "event_kw": 3,
    }
    assert "exc_info" not in entry


async def test_a_log_that_fails_harms_nobody() -> None:
    def fail(*_: Any) -> Any:
        raise ValueError("closed")

    structlog.configure(processors=[fail])
    try:
        output = Output("p")
        output.take(1, "stdout", b"there")
    finally:
        structlog.reset_defaults()
    assert [line.text for line in output.lines] == ["there"]


async def test_who_follows_gets_what_comes_and_the_end() -> None:
    output = Output("p")
    lines = output.follow()
    with capture_logs():
        output.take(3, "stdout", b"one")
        output.take(3, "stdout", b"two")
    output.close()
    with anyio.fail_after(HANGS):
        assert [(line.text, line.generation) async for line in lines] == [("one", 3), ("two", 3)]


async def test_its_pace_is_held() -> None:
    """A flood waits in the pipe: what is read is bounded by seconds, here of a clock that hardly moves."""
    output = Output("p")
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    flood = b"y\n" * 30_000
    assert os.write(theirs, flood) == len(flood)
    with capture_logs():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(output.read, 1, "stdout", ours, 1)
            for _ in range(100):
                await checkpoint()
            await anyio.wait_writable(theirs)
            tasks.cancel_scope.cancel()
    os.close(theirs)
    assert len(output.lines) == 200  # one chunk was read, and no second one
