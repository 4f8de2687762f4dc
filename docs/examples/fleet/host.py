"""One of the hosts: `python host.py URL NAME VERSION`, with its password in FLEET_PASSWORD."""

from __future__ import annotations

import os
import sys

import anyio
from capnet import Admission, Host
from contracts import Answer, Greeter


class NamedGreeter(Greeter):
    def __init__(self, host: str, version: int) -> None:
        self._host = host
        self._version = version

    async def greet(self, name: str) -> Answer:
        return Answer(f"hello {name}", self._host, self._version)


class Friends:
    """Which user may have what. That it is that user the server of NATS has seen to."""

    async def admit(self, request: Admission) -> bool:
        return request.attestation.user == "anna"


async def main(url: str, name: str, version: int) -> None:
    async with Host(name=name, policy=Friends()) as host:
        host.serve(NamedGreeter(name, version))
        await host.listen(url, user="fleet", password=os.environ["FLEET_PASSWORD"])
        await host.serve_forever()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]))
