"""Three hosts behind a NATS server: `python fleet.py [PORT]` starts all of it, kills one host, and swaps another."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import anyio
from anyio import to_thread
from capnet import PermissionDenied, connect
from capnet_transports.nats import hosts
from capnet_transports.nats_access import User, server_config
from client import Callers
from contracts import Greeter

FLEET = User("fleet", secrets.token_urlsafe(), serves=["greeter"])
ANNA = User("anna", secrets.token_urlsafe(), dials=["greeter"])
OTTO = User("otto", secrets.token_urlsafe(), dials=["greeter"])
HERE = Path(__file__).parent


@contextmanager
def started(*command: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs until the end of a block, unless it has ended before."""
    with subprocess.Popen(command, env={**os.environ, **variables}, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def configured(folder: str, port: int) -> str:
    """The path of a configuration for the server."""
    config = Path(folder, "nats.conf")
    config.write_text(server_config([FLEET, ANNA, OTTO], listen=f"127.0.0.1:{port}"))
    return str(config)


async def main(port: int) -> None:
    url = f"nats://127.0.0.1:{port}/greeter"
    anna, otto = ({"user": user.name, "password": user.password} for user in (ANNA, OTTO))

    def host(name: str, version: int) -> AbstractContextManager[subprocess.Popen[bytes]]:
        program = [sys.executable, str(HERE / "host.py"), url, name, str(version)]
        return started(*program, FLEET_PASSWORD=FLEET.password)

    async def there_are(count: int) -> None:
        while len(await hosts(url, wait=0.1, **anna)) != count:
            pass

    with tempfile.TemporaryDirectory() as folder:
        server = started("nats-server", "--config", configured(folder, port))
        with server, host("one", 1), host("two", 1) as two:
            # The first connection waits until there is somebody.
            async with connect(url, wait=30, **anna) as conn:
                print("anna:", (await (await conn.bootstrap(Greeter)).greet("anna")).text)
            async with connect(url, **otto) as conn:
                try:
                    await conn.bootstrap(Greeter)
                except PermissionDenied:
                    print("otto: permission denied")

            async with anyio.create_task_group() as tasks:
                callers = Callers(tasks, url, **anna)
                with host("three", 1) as three:
                    await there_are(3)
                    await callers.more_until(("one", 1), ("two", 1), ("three", 1))
                    print("three hosts share the calls")

                    two.kill()
                    await there_are(2)
                    await callers.go_on()
                    print("one was killed")

                    with host("three", 2):
                        await there_are(3)
                        three.terminate()  # it says goodbye, and its callers go elsewhere
                        await to_thread.run_sync(three.wait)
                        await callers.more_until(("three", 2))
                        await callers.go_on()
                        print("one was swapped")
                        tasks.cancel_scope.cancel()
            print(f"{callers.answers.total()} calls, and none has failed")


if __name__ == "__main__":
    anyio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 4222)
