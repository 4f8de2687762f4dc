"""A client of an ASGI application, without a server between."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.abc import TaskGroup

__all__ = ["Answer", "Browser", "Request", "browsing"]


@dataclass
class Answer:
    """What has come of an answer so far."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    ended: bool = False

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The messages of a stream of events."""
        assert self.headers["content-type"] == "text/event-stream"
        data = [part for part in self.body.decode().split("\r\n\r\n") if part.startswith("event: message\r\n")]
        return [json.loads(part.partition("data: ")[2]) for part in data]


class Request:
    """One request that was sent."""

    def __init__(self) -> None:
        self.answer = Answer()
        self.gone = anyio.Event()
        self.news = anyio.Event()

    async def until(self, wanted: Callable[[Answer], object]) -> Answer:
        with anyio.fail_after(60):
            while not wanted(self.answer):
                await self.news.wait()
        return self.answer


class Browser:
    """Sends requests to an application.

    Args:
        headers: of every request.
    """

    def __init__(self, app: Any, tasks: TaskGroup, **headers: str) -> None:
        self._app = app
        self._tasks = tasks
        self.headers = {
            "host": "localhost:1",
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
            **headers,
        }
        self.client = ("127.0.0.1", 5000)
        self.path = "/mcp"

    def begin(self, method: str, body: bytes = b"", headers: Mapping[str, str | None] | None = None) -> Request:
        """Send a request; None takes a header away."""
        told = {name: value for name, value in {**self.headers, **(headers or {})}.items() if value is not None}
        request = Request()
        parts = [body[: len(body) // 2], body[len(body) // 2 :]]
        scope = {
            "type": "http",
            "method": method,
            "path": self.path,
            "client": self.client,
            "headers": [(name.encode(), value.encode()) for name, value in told.items()],
        }

        async def receive() -> dict[str, Any]:
            if parts:
                return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}
            await request.gone.wait()
            return {"type": "http.disconnect"}

        async def send(event: Mapping[str, Any]) -> None:
            answer = request.answer
            if event["type"] == "http.response.start":
                assert not answer.status
                answer.status = event["status"]
                answer.headers = {name.decode(): value.decode() for name, value in event["headers"]}
            else:
                assert answer.status and not answer.ended
                answer.body += event["body"]
                answer.ended = not event.get("more_body")
            request.news.set()
            request.news = anyio.Event()
            await anyio.lowlevel.checkpoint()

        self._tasks.start_soon(self._app, scope, receive, send)
        return request

    async def send(self, method: str, body: bytes = b"", **headers: str | None) -> Answer:
        """The whole answer to a request. Names of headers are written with `_`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.begin(method, body, named).until(lambda answer: answer.ended)


@asynccontextmanager
async def browsing(app: Any, **headers: str) -> AsyncGenerator[Browser]:
    async with anyio.create_task_group() as tasks:
        yield Browser(app, tasks, **headers)
        tasks.cancel_scope.cancel()
