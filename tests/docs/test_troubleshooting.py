"""Every message on the page "Find what a message means" is one that capnet says: each is brought about here."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from threading import Thread
from typing import Any, cast

import anyio
import pytest

from capnet import Cap, Host, call, connect, release
from capnet.testing import connected

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "troubleshooting.md"
MESSAGES = re.findall(r"^### `(.+)`$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
SITUATIONS: dict[str, Callable[[], Awaitable[object]]] = {}


class Room(Cap, name="chat.Room"):
    @call
    async def post(self, text: str) -> int: ...


class MemRoom(Room):
    async def post(self, text: str) -> int:
        if text == "boom":
            raise ValueError("a secret")
        return len(text)


def situation(beginning: str) -> Callable[[Callable[[], Awaitable[object]]], None]:
    """What brings about the message on the page that begins so."""

    def note(bring_about: Callable[[], Awaitable[object]]) -> None:
        (message,) = (message for message in MESSAGES if message.startswith(beginning))
        SITUATIONS[message] = bring_about

    return note


async def post(what: Any) -> None:
    async with connected(MemRoom()) as (_, client):
        await (await client.bootstrap(Room)).post(what)


@situation("unavailable/enoent")
async def _nobody() -> None:
    await connect("unix:chat.sock")


@situation("unavailable/econnrefused")
async def _left_behind() -> None:
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind("chat.sock")
        await connect("unix:chat.sock")


@situation("already_exists/eaddrinuse")
async def _in_use() -> None:
    async with Host() as host:
        await host.listen("unix:chat.sock")
        await host.listen("unix:chat.sock")


@situation("unavailable/peer_closing")
async def _over() -> None:
    async with Host() as host:
        host.serve(MemRoom())
        await host.listen("unix:chat.sock")
        async with connect("unix:chat.sock") as connection:
            room = await connection.bootstrap(Room)
        await room.post("late")


@situation("unavailable/connection_lost: connection closed (lost")
async def _gone() -> None:
    async with connect("exec:", argv=[sys.executable, "-c", "raise SystemExit(3)"]) as connection:
        await connection.bootstrap(Room)


@situation("unavailable/connection_lost: connection closed (violation")
async def _stranger() -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as web, anyio.create_task_group() as group:

        async def answer(client: anyio.abc.SocketStream) -> None:
            async with client:
                await client.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        group.start_soon(web.serve, answer)
        try:
            port = web.extra(anyio.abc.SocketAttribute.local_port)
            async with connect(f"tcp:127.0.0.1:{port}", token=None) as connection:
                await connection.bootstrap(Room)
        finally:
            group.cancel_scope.cancel()


@situation("invalid_argument: no transport")
async def _no_transport() -> None:
    await connect("carrier-pigeon:home")


@situation("invalid_argument/enametoolong")
async def _long() -> None:
    await connect(f"unix:{'x' * 120}")


@situation("not_found")
async def _not_served() -> None:
    async with connected(MemRoom()) as (_, client):
        await client.bootstrap(Room, name="chat.Kitchen")


@situation("failed_precondition/version_mismatch")
async def _newer() -> None:
    class NewRoom(Cap, name="chat.Room"):
        @call
        async def post(self, text: str, loud: bool) -> int: ...

    async with connected(MemRoom()) as (_, client):
        await client.bootstrap(NewRoom)


@situation("bootstrap: ")
async def _implementation() -> None:
    async with connected(MemRoom()) as (_, client):
        await client.bootstrap(MemRoom)


@situation("already_exists/name_collision")
async def _twice() -> None:
    async with Host() as host:
        host.serve(MemRoom())
        host.serve(MemRoom())


@situation("invalid_argument: …: Expected")
async def _another_type() -> None:
    await post(1)


@situation("invalid_argument: … does not travel")
async def _object() -> None:
    await post(object())


@situation("invalid_argument: this is a call")
async def _not_awaited() -> None:
    async with connected(MemRoom()) as (_, client):
        room = await client.bootstrap(Room)
        await room.post(cast("str", room.post("tea")))


@situation("resource_exhausted/max_frame_bytes")
async def _too_long() -> None:
    await post("x" * 5_000_000)


@situation("internal")
async def _fails() -> None:
    await post("boom")


@situation("failed_precondition/another_loop")
async def _another_thread() -> None:
    async with connected(MemRoom()) as (_, client):
        room = await client.bootstrap(Room)
        raised: list[Exception] = []

        def call_it() -> None:
            try:
                anyio.run(lambda: room.post("hello"))
            except Exception as error:
                raised.append(error)

        thread = Thread(target=call_it)
        thread.start()
        thread.join()
        raise raised[0]


@situation("failed_precondition/released")
async def _given_back() -> None:
    async with connected(MemRoom()) as (_, client):
        room = await client.bootstrap(Room)
        release(room)
        await room.post("late")


@situation("… has no method")
async def _not_in_the_contract() -> None:
    async with connected(MemRoom()) as (_, client):
        await cast("Any", await client.bootstrap(Room)).pots("hello")


@situation("…: there is no option")
async def _no_option() -> None:
    await cast("Any", connect)("unix:chat.sock", limit=None)


@situation("contract …")
async def _not_declared() -> None:
    type("Bad", (Cap,), {"__module__": __name__, "good": call(_stub()), "helper": _stub()}, name="chat.Bad")


@situation("… does not implement")
async def _not_async() -> None:
    class Half(Room):
        def post(self, text: str) -> int:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
            return 1

    async with Host() as host:
        host.serve(Half())


def _stub() -> Any:
    async def stub(self: object) -> None: ...

    return stub


def _leaves(raised: BaseException) -> list[str]:
    """The words of an exception, or of those in a group."""
    if not isinstance(raised, BaseExceptionGroup):
        return [str(raised)]
    group = cast("BaseExceptionGroup[BaseException]", raised)
    return [words for error in group.exceptions for words in _leaves(error)]


def test_every_message_on_the_page_is_brought_about() -> None:
    assert sorted(SITUATIONS) == sorted(MESSAGES)


@pytest.mark.parametrize("message", MESSAGES, ids=[str(number) for number in range(len(MESSAGES))])
async def test_it_is_said_in_these_words(message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    monkeypatch.chdir(folder)
    said: list[str] = []
    try:
        await SITUATIONS[message]()
    except Exception as raised:
        said += _leaves(raised)
    words = ".+".join(map(re.escape, message.split("…")))
    assert len(said) == 1 and re.fullmatch(words, said[0], re.DOTALL), said
