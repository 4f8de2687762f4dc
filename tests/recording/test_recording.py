"""Recordings: what is in them, what is not, and that a connection is the same with one and without."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from capnet import (
    AlreadyExists,
    Cap,
    Host,
    InvalidArgument,
    Opening,
    Stream,
    Unavailable,
    call,
    connect,
    pipe,
    stream,
)
from capnet.observe import HandlerFailed
from capnet.recording import Entry, Recorder, read
from capnet.recording.recorder import MARK
from capnet.recording.tap import Tap
from capnet.testing import check_transport
from capnet.transport import Transport
from capnet_transports.memory import memory_pair

SECRET = "never in a recording"
NUMBERS = 3


class Line(Cap, name="test.Line"):
    @call
    async def say(self, text: str) -> str: ...


class Desk(Cap, name="test.Desk"):
    @call
    async def open(self, secret: str, blob: bytes) -> Line: ...

    @call
    async def fail(self, secret: str) -> None: ...

    @stream
    def numbers(self, secret: str) -> Stream[str]: ...


class MemLine(Line):
    async def say(self, text: str) -> str:
        return text


class MemDesk(Desk):
    async def open(self, secret: str, blob: bytes) -> Line:
        return MemLine()

    async def fail(self, secret: str) -> None:
        raise InvalidArgument(secret, reason="wrong", details={"given": secret})

    async def numbers(self, secret: str) -> Stream[str]:
        for _ in range(NUMBERS):
            yield secret


async def talk(path: Path, host_path: Path, *, values: bool) -> None:
    """One of everything, recorded on both sides."""
    async with Host(record=host_path, record_values=values) as host:
        host.serve(MemDesk())
        await host.listen("memory:test-recording")
        async with connect(
            "memory:test-recording", name="client", auth={"token": SECRET}, record=path, record_values=values
        ) as connection:
            desk = await connection.bootstrap(Desk)
            line = pipe(desk.open(SECRET, b"\x01\x02"))
            assert await line.say(SECRET) == SECRET
            assert len([number async for number in desk.numbers(SECRET)]) == NUMBERS
            with pytest.raises(InvalidArgument):
                await desk.fail(SECRET)


def entries(path: Path) -> list[Entry]:
    with path.open(encoding="utf-8") as lines:
        return list(read(lines))


def frames(path: Path, op: str, direction: str) -> list[dict[str, Any]]:
    return [one.fields for one in entries(path) if one.fields.get("op") == op and one.direction == direction]


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "client.rec", tmp_path / "host.rec"


async def test_values_are_told_by_type_and_size(paths: tuple[Path, Path]) -> None:
    await talk(*paths, values=False)
    for path in paths:
        assert SECRET not in path.read_text()
    path, _ = paths
    opened = next(one for one in frames(path, "call", "out") if one["method"] == "open")
    assert opened["arguments"] == {"secret": f"<str {len(SECRET)}>", "blob": "<bytes 2>"}
    assert frames(path, "hello", "out")[0]["options"]["auth"] == "<dict 1>"
    (failed,) = frames(path, "error", "in")
    assert (failed["code"], failed["reason"]) == ("invalid_argument", "wrong")
    assert failed["details"] == {"given": f"<str {len(SECRET)}>"}
    items = [one for frame in frames(path, "items", "in") for one in frame["items"]]
    assert items == [f"<str {len(SECRET)}>"] * NUMBERS


async def test_both_sides_tell_the_same_story(paths: tuple[Path, Path]) -> None:
    """What one has sent the other has received, and what it is about is told in both."""
    await talk(*paths, values=False)
    ours, theirs = map(entries, paths)
    for here, there in (("out", "in"), ("in", "out")):
        sent = [one.fields["op"] for one in ours if one.direction == here]
        received = [one.fields["op"] for one in theirs if one.direction == there]
        assert sent == received and sent
    assert [ours[0].fields["recording"], ours[1].fields["opened"]] == [MARK, "memory"]
    assert "closed" in ours[-1].fields and "closed" in theirs[-1].fields
    said = next(one for one in frames(paths[0], "call", "out") if one["method"] == "say")
    assert said["target"].startswith("answer ")
    assert [one["value"] for one in frames(paths[0], "result", "in")][:2] == ["cap 2 test.Desk", "cap 3 test.Line"]


async def test_values_are_there_when_they_are_wanted_but_never_what_a_hello_carries(
    paths: tuple[Path, Path],
) -> None:
    await talk(*paths, values=True)
    path, _ = paths
    opened = next(one for one in frames(path, "call", "out") if one["method"] == "open")
    assert opened["arguments"] == {"secret": SECRET, "blob": "h'0102'"}
    assert frames(path, "error", "in")[0]["message"] == SECRET
    assert frames(path, "hello", "out")[0]["options"]["auth"] == "<dict 1>"


@pytest.mark.parametrize("inside", [1, 2])
async def test_so_are_connections_inside_of_one(paths: tuple[Path, Path], inside: int) -> None:
    """Each by itself, whichever side has opened it; what is around it tells only how much it carries."""

    def accept(opening: Opening) -> None:
        conn = opening.accept()
        conn.serve(MemDesk())
        conn.on_open(accept)

    async with Host(record=paths[1]) as host:
        host.on_open(accept)
        await host.listen("memory:test-recording-inside")
        async with AsyncExitStack() as stack:
            conn = await stack.enter_async_context(connect("memory:test-recording-inside", record=paths[0]))
            for _ in range(inside):
                conn = await stack.enter_async_context(conn.open())
            await (await conn.bootstrap(Desk)).open(SECRET, b"")
    for path in paths:
        opened = [one.fields["opened"] for one in entries(path) if "opened" in one.fields]
        assert len(opened) == 1 + inside
        assert [one.connection for one in entries(path) if one.fields.get("method") == "open"] == [1 + inside]
        assert len([one for one in entries(path) if "closed" in one.fields]) == 1 + inside
        assert SECRET not in path.read_text()


async def test_without_it_there_is_no_layer() -> None:
    """What is off costs nothing."""
    async with Host() as host:
        await host.listen("memory:test-recording-off")
        async with connect("memory:test-recording-off") as connection:
            await connection.ping()
            for side in (connection, *host.connections):
                assert not isinstance(side._session.driver.transport, Tap)


class Ignores:
    """Listens to nothing."""

    def sent(self, chunks: object) -> None: ...

    def received(self, data: object) -> None: ...

    def closed(self, error: object) -> None: ...


async def test_a_recorded_transport_keeps_every_rule_of_transports(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "rules.rec")

    async def connect_pair() -> tuple[Transport, Transport]:
        here, there = memory_pair()
        return Tap(here, Ignores()), recorder.tap(there)

    await check_transport(connect_pair)
    recorder.close()


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x00\x00\x00\x01\xff",
        b"\x00\x00\x00\x03\x82\x18\x20",
        b"\x00\x00\x00\x02\x82\x01",
        bytes(4),
        b"GET / HTTP/1.1",
    ],
    ids=["no CBOR", "unknown op", "cut off", "empty", "long"],
)
async def test_what_are_no_frames_is_told_as_that_once(tmp_path: Path, nonsense: bytes) -> None:
    """Whatever a peer sends, the connection alone judges it; and it cannot fill the recording with it."""
    path = tmp_path / "odd.rec"
    recorder = Recorder(path)
    line = recorder.tap(memory_pair()[0])
    assert isinstance(line, Tap)
    for _ in range(100):
        line._listening.received(nonsense)
    line._listening.sent([b"\x00\x00\x00\x03", b"\x82\x0e\x01"])
    recorder.close()
    told = [one.fields["op"] for one in entries(path)[2:]]
    assert told in (["unreadable", "ping"], ["ping"])  # a long one has not come yet


async def test_it_ends_at_its_bound_and_the_connection_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "full.rec"
    recorder = Recorder(path, limit=4096)
    tapped = recorder.tap(memory_pair()[0])
    assert isinstance(tapped, Tap)
    for _ in range(200):
        tapped._listening.sent([b"\x00\x00\x00\x03", b"\x82\x0e\x01"])
    told = entries(path)
    assert path.stat().st_size <= 4096
    assert told[-1].fields["full"] and told[-2].fields["op"] == "ping"
    with pytest.raises(InvalidArgument):
        Recorder(path, limit=100)


async def test_a_disk_that_is_full_ends_the_recording_and_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_write = os.write
    left = 3

    def write(file: int, data: bytes) -> int:
        nonlocal left
        if MARK.encode() in data or b'"connection"' in data:
            left -= 1
            if left < 0:
                raise OSError(28, "No space left on device")
        return really_write(file, data)

    monkeypatch.setattr(os, "write", write)
    failures: list[HandlerFailed] = []
    async with Host(record=tmp_path / "host.rec") as host:
        host.on(HandlerFailed, failures.append)
        host.serve(MemDesk())
        await host.listen("memory:test-recording-disk")
        async with connect("memory:test-recording-disk") as connection:
            line = await (await connection.bootstrap(Desk)).open("", b"")
            assert await line.say("goes on") == "goes on"
            await connection.ping()
    assert [failure.where for failure in failures] == ["recording"]


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.rec"
    path.touch(0o644)
    Recorder(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_is_no_recording_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("notes")
    with pytest.raises(AlreadyExists):
        Recorder(path)
    assert path.read_text() == "notes"
    with pytest.raises(AlreadyExists):
        Recorder("/dev/null")
    (tmp_path / "link").symlink_to(path)
    for unusable in (tmp_path / "link", tmp_path / "nowhere" / "file", tmp_path):
        with pytest.raises(Unavailable):
            Recorder(unusable)


def test_a_recording_is_recorded_over(tmp_path: Path) -> None:
    path = tmp_path / "again.rec"
    for _ in range(2):
        recorder = Recorder(path)
        recorder.tap(memory_pair()[0])
        recorder.close()
        recorder.close()
    assert len(entries(path)) == 2


HEAD = json.dumps({"recording": MARK, "form": 1, "began": 0, "values": False}) + "\n"


@pytest.mark.parametrize(
    "lines",
    [
        ["nonsense\n"],
        ["{}\n"],
        ["[]\n"],
        [HEAD, "[]\n"],
        [HEAD, '{"t": "x"}\n'],
        [HEAD, '{"t": 0, "connection": null}\n'],
        [HEAD, '{"t": 0, "direction": 3}\n'],
        [HEAD, "[" * 100_000 + "\n"],
    ],
    ids=["text", "no mark", "a list", "a list below", "time", "connection", "direction", "deep"],
)
def test_what_is_no_entry_is_refused(lines: list[str]) -> None:
    with pytest.raises(InvalidArgument):
        list(read(lines))


def test_a_last_line_that_was_cut_off_is_left_out() -> None:
    def lines() -> Iterator[str]:
        yield HEAD
        yield '{"t": 1}\n'
        yield '{"t": 2'

    assert [one.t for one in read(lines())] == [0.0, 1.0]


async def test_what_is_said_inside_is_recorded_as_a_connection(tmp_path: Path) -> None:
    """P-VIRT: on both sides, one inside of the other; as bytes it is told by its size, for a hello is in there."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"

    def take(opening: Opening) -> None:
        child = opening.accept(auth={"token": SECRET})
        child.serve(MemLine())
        child.on_open(take)

    async with Host(record=theirs, record_values=True) as host:
        host.on_open(take)
        await host.listen("memory:recorded-inside")
        async with (
            connect("memory:recorded-inside", record=ours, record_values=True) as conn,
            conn.open(auth={"token": SECRET}) as inner,
            inner.open({"n": 1}) as deep,
        ):
            assert await (await deep.bootstrap(Line)).say("deep") == "deep"
    for path in (ours, theirs):
        assert SECRET not in path.read_text() and SECRET.encode().hex() not in path.read_text()
        with path.open() as lines:
            entries = list(read(lines))
        around = {entry.connection: entry.fields.get("inside") for entry in entries if "opened" in entry.fields}
        assert around == {1: None, 2: 1, 3: 2}
        calls = [entry for entry in entries if entry.fields.get("method") == "say"]
        assert [entry.connection for entry in calls] == [3] and '"deep"' in json.dumps(calls[0].fields)
        assert {entry.connection for entry in entries if entry.fields.get("op") == "data"} == {1, 2}
