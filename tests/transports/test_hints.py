"""Whatever goes wrong first at a transport, the error says what to do: in a hint, or in its own words."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from capnet import Host, connect
from capnet.errors import CapnetError
from capnet_transports import listeners
from capnet_transports.certificates import make
from tests.connection.shop import MemShop
from tests.loops import ONE_LOOP
from tests.transports.carriers import CARRIERS, HOST, PEER, TOKEN, Listening, everywhere

STRANGER = make("stranger")
NOBODY: dict[str, tuple[str, dict[str, Any]]] = {
    "unix": ("unix:/tmp/nobody-listens-here", {}),
    "memory": ("memory:nobody-listens-here", {}),
    "tcp": ("tcp:127.0.0.1:1", {"token": TOKEN}),
    "tls": ("tls:127.0.0.1:1", {"ca": HOST}),
    "ws": ("ws://127.0.0.1:1", {"token": TOKEN}),
    "wss": ("wss://127.0.0.1:1", {"ca": HOST}),
    "asgi": ("asgi:", {}),
    "stdio": ("stdio:true", {}),
}
REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "tcp, no token": ("tcp", {}),
    "tcp, another": ("tcp", {"token": TOKEN[::-1]}),
    "tls, untrusted": ("tls", {"certificate": PEER}),
    "tls, unknown": ("tls", {"certificate": STRANGER, "ca": HOST}),
    "tls, another key": ("tls", {"certificate": PEER, "pins": [STRANGER.pin]}),
    "ws, no token": ("ws", {}),
    "ws, another": ("ws", {"token": TOKEN[::-1]}),
    "ws, a page": ("ws", {"token": TOKEN, "origin": "https://other.example"}),
    "wss, unknown": ("wss", {"certificate": STRANGER, "ca": HOST}),
    "asgi, another": ("asgi", {"token": TOKEN[::-1]}),
    "asgi, a page": ("asgi", {"token": TOKEN, "origin": "https://other.example"}),
    "unix, an option": ("unix", {"token": TOKEN}),
}
MIXED = [("tls", "tcp"), ("tcp", "tls"), ("ws", "tcp"), ("tcp", "ws"), ("wss", "ws"), ("ws", "wss"), ("tls", "asgi")]


@pytest.fixture(scope="module")
async def urls(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[dict[str, str]]:
    async with Host() as host:
        host.serve(MemShop())
        async with everywhere(host, tmp_path_factory.mktemp("h")) as urls:
            yield urls


async def hint_of(url: str, options: dict[str, Any]) -> str:
    with pytest.raises(CapnetError) as caught:
        await connect(url, **options)
    notes = "\n".join(getattr(caught.value, "__notes__", ()))
    assert notes.startswith("hint: "), caught.value
    assert TOKEN not in notes and TOKEN not in str(caught.value)
    return notes


@ONE_LOOP
@pytest.mark.parametrize("name", NOBODY)
async def test_nobody_listens(name: str) -> None:
    url, options = NOBODY[name]
    assert ("wait=5" in await hint_of(url, options)) == (name not in ("asgi", "stdio"))


@ONE_LOOP
@pytest.mark.parametrize("case", REFUSED)
async def test_not_let_in(case: str, urls: dict[str, str]) -> None:
    name, options = REFUSED[case]
    await hint_of(urls[name], options)


@ONE_LOOP
@pytest.mark.parametrize(("ours", "theirs"), MIXED)
async def test_another_transport_is_spoken_there(
    ours: str, theirs: str, urls: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "HANDSHAKE_TIME", 0.2)  # both may wait for the other to begin
    address = urls[theirs].partition(":")[2].removeprefix("//").partition("/")[0]
    await hint_of(
        f"{ours}:{address}" if ours in ("tcp", "tls") else f"{ours}://{address}/", dict(CARRIERS[ours].options)
    )


@ONE_LOOP
@pytest.mark.parametrize("name", ["unix", "tcp", "tls", "ws", "wss"])
async def test_somebody_listens_there_already(name: str, urls: dict[str, str]) -> None:
    carrier = CARRIERS[name]
    assert isinstance(carrier, Listening)
    async with Host() as host:
        with pytest.raises(CapnetError) as caught:
            await host.listen(urls[name], **carrier.told)
    assert caught.value.reason == "eaddrinuse" and caught.value.__notes__[0].startswith("hint: ")
