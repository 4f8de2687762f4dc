"""Where capnet listens by each carrier, and how its clients get there."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import capnet
from benchmarks import carriers
from benchmarks.macro.limits import limits_of
from benchmarks.workload import Carrier, Row

__all__ = ["connecting", "listening"]


@asynccontextmanager
async def listening(host: capnet.Host, path: str, carrier: Carrier) -> AsyncGenerator[str]:
    """Have a host listen inside the block. The address has what a client must know behind a `#`."""
    pin = ""
    with ExitStack() as stack:
        match carrier:
            case "unix":
                listener = await host.listen(f"unix:{path}")
            case "tls":
                file = Path(path).with_name(carriers.CERTIFICATE)
                pin = carriers.certificate(str(file))
                listener = await host.listen("tls:127.0.0.1:0", certificate=file, token=None)
            case "nats":
                port = stack.enter_context(carriers.nats_server())
                listener = await host.listen(f"nats://127.0.0.1:{port}/bench", user=None, sessions=16)
            case _:
                listener = await host.listen(f"{carrier}:127.0.0.1:0", token=None)
        yield f"{listener.url}#{pin}" if pin else listener.url
        await listener.aclose()
        await host.aclose()


def connecting(address: str, row: Row) -> capnet.connect:
    """Connect to a server of capnet."""
    url, _, pin = address.partition("#")
    options: dict[str, Any] = {"limits": limits_of(row)}
    match row.carrier:
        case "unix":
            pass
        case "tls":
            options["pins"] = [pin]
        case "nats":
            options["user"] = None
        case _:
            options["token"] = None
    return capnet.connect(url, **options)
