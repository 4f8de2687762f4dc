"""A program that is there to be killed: a host at every transport, or a client of one by each of them.

    python -m tests.transports.killed host FOLDER {}         writes its URLs, then "ready"
    python -m tests.transports.killed client FOLDER URLS     is in a call by each of them, then writes "ready"

In FOLDER are the certificates of both, and those that are reached in place of all transports; URLS is JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio

from capnet import Host, connect
from capnet_transports.certificates import Certificate
from tests.connection.shop import MemShop, Shop
from tests.transports.carriers import Carrier, Listening, carriers, everywhere


def say(words: str) -> None:
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


async def host(reached: Mapping[str, Carrier], folder: Path) -> None:
    async with Host() as host:
        host.serve(MemShop())
        async with everywhere(host, folder, reached) as urls:
            say(json.dumps(urls))
            say("ready")
            await anyio.sleep_forever()


async def client(reached: Mapping[str, Carrier], urls: dict[str, str]) -> None:
    async with AsyncExitStack() as stack:
        calls: list[Coroutine[Any, Any, str]] = []
        for name, url in urls.items():
            conn = await stack.enter_async_context(connect(url, **reached[name].options))
            calls.append((await conn.bootstrap(Shop)).wait())
        say("ready")
        for call in calls:
            await call


async def main(what: str, folder: Path, urls: str) -> None:
    made = [Certificate(*json.loads((folder / name).read_text())) for name in ("host.json", "peer.json")]
    others = json.loads((folder / "others.json").read_text())
    reached: Mapping[str, Carrier] = {name: Listening(*told) for name, told in others.items()} or carriers(*made)
    await (host(reached, folder) if what == "host" else client(reached, json.loads(urls)))


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], Path(sys.argv[2]), sys.argv[3])
