"""A web server that fails in the middle of what it says to the mount; a real one is in test_asgi.py."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from capnet import Host
from capnet_transports.asgi import Mount, mount
from tests.connection.leaks import nothing_left as nothing_left  # a fixture
from tests.connection.shop import MemShop, until
from tests.cost import HANGS
from tests.loops import on_both_kinds as on_both_kinds
from tests.transports.carriers import TOKEN
from tests.transports.test_faults import GREETING


class WebServer:
    """One whose words with an application go wrong at one of them: by an error, or by the end of its task.

    Args:
        wrong: the number of the word, from 0.
        error: what comes of it; None where the task is cancelled.
    """

    def __init__(self, wrong: int, error: Exception | None) -> None:
        self.said = 0
        self._wrong = wrong
        self._error = error
        self._scope = anyio.CancelScope()
        self._events: list[dict[str, Any]] = [
            {"type": "websocket.connect"},
            {"type": "websocket.receive", "bytes": GREETING},
        ]
        self._answered = anyio.Event()

    async def run(self, application: Mount) -> None:
        scope = {
            "type": "websocket",
            "path": "/",
            "headers": [(b"host", b"localhost")],
            "subprotocols": ["capnet.1", f"capnet.token.{TOKEN}"],
        }
        with self._scope, suppress(*self._comes_out()):
            await application(scope, self._receive, self._send)

    def _comes_out(self) -> tuple[type[BaseException], ...]:
        """A peer that is lost is no fault of the application's, once the two have begun to speak."""
        if isinstance(self._error, OSError):
            return (OSError,) if self._wrong == 0 else ()
        return (ExceptionGroup, RuntimeError)

    async def _receive(self) -> dict[str, Any]:
        await self._word()
        if self._events:
            return self._events.pop(0)
        await self._answered.wait()
        return {"type": "websocket.disconnect", "code": 1000}

    async def _send(self, event: dict[str, Any]) -> None:
        await self._word()
        if len(event.get("bytes") or b"") > 0 and not self._events:
            self._answered.set()

    async def _word(self) -> None:
        self.said += 1
        if self.said == self._wrong + 1:
            self._answered.set()  # whoever is lost has ended
            if self._error is not None:
                raise self._error
            self._scope.cancel()
        await checkpoint()


@pytest.mark.parametrize("error", [OSError(), RuntimeError(), None], ids=["lost", "broken", "cancelled"])
async def test_a_web_server_that_fails_at_every_word(error: Exception | None) -> None:
    """The host lets go of the peer, and is open to others."""
    async with Host() as host:
        host.serve(MemShop())
        application = mount(host, token=TOKEN)
        number = 0
        while True:
            server = WebServer(number, error)
            with anyio.fail_after(HANGS):
                await server.run(application)
            await until(lambda: not host.connections)
            if server.said <= number:
                break
            number += 1
        assert number > 4
