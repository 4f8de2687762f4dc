"""A host that clients of Cap'n Web reach: prints its port, and serves until its input ends."""

from __future__ import annotations

import socket
import sys
import threading

import uvicorn

from capnet import Host
from capnet.gateways.capnweb import Bounds, capnweb
from tests.gateways.lounge import Listener, MemLounge, Room


def main() -> None:
    host = Host()
    host.serve(MemLounge())
    application = capnweb(
        host,
        "web.Lounge",
        token=None,
        origins=(None, *sys.argv[1:]),
        contracts=[Listener, Room],
        bounds=Bounds(batch_timeout=5),
    )
    config = uvicorn.Config(application, log_level="warning", lifespan="on", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)

    def stop() -> None:
        sys.stdin.read()
        server.should_exit = True

    with socket.create_server(("127.0.0.1", 0)) as sock:
        sys.stdout.write(f"{sock.getsockname()[1]}\n")
        sys.stdout.flush()
        threading.Thread(target=stop, daemon=True).start()
        server.run(sockets=[sock])


if __name__ == "__main__":
    main()
