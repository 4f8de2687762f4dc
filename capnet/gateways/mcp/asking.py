"""The protocol of a client, without input and output: what is to be sent, and what has come.

Two protocols have the name MCP, see `session.py`. A client asks for the newer one first, and begins with the handshake
of the older one where that is not understood.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, cast

from capnet.gateways.bounds import Bounds
from capnet.gateways.jsonrpc.texts import message_text
from capnet.gateways.reading import Unreadable, read

from .headers import METHOD, NAME, VERSION, encoded, named_in, within
from .session import HANDSHAKE, PREFIX, STATELESS

__all__ = ["Answered", "Asking", "Changed", "Progressed", "Reply", "Request"]

_CHANGED: Final = "notifications/tools/list_changed"


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be sent.

    Attributes:
        id: of the request; None for what gets no answer.
        text: the message.
        headers: that go with it by HTTP.
    """

    id: int | None
    text: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Answered:
    """A request of ours is answered.

    Attributes:
        id: of the request.
        result: None when it failed.
        error: `code`, `message` and `data` of the failure.
    """

    id: int
    result: Mapping[str, Any] | None
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Progressed:
    """How far a request is.

    Attributes:
        id: of the request.
    """

    id: int
    done: float
    total: float | None
    message: str


@dataclass(frozen=True, slots=True)
class Changed:
    """There are other tools."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The server has asked something; this is to be sent back."""

    request: Request


Event: TypeAlias = "Answered | Progressed | Changed | Reply"


class Asking:
    """What one server was asked, and says.

    Args:
        name: of the client, as servers log it.
        version: of the client.
        bounds: of the messages that are taken.

    Attributes:
        stateless: the newer protocol is spoken.
    """

    def __init__(self, name: str, version: str, bounds: Bounds | None = None) -> None:
        self.stateless = True
        self._version = STATELESS[-1]
        self._info = {"name": name, "version": version}
        self._bounds = bounds or Bounds()
        self._last = 0
        self._open: set[int] = set()

    def request(self, method: str, params: Mapping[str, Any] | None = None, *, progress: bool = False) -> Request:
        """Ask for something.

        Args:
            progress: the server is to tell how far it is.
        """
        self._last += 1
        self._open.add(self._last)
        told = dict(params or {})
        meta: dict[str, Any] = {"progressToken": self._last} if progress else {}
        if self.stateless:
            meta |= {
                f"{PREFIX}protocolVersion": self._version,
                f"{PREFIX}clientInfo": self._info,
                f"{PREFIX}clientCapabilities": {},
            }
        if meta:
            told["_meta"] = meta
        return Request(
            self._last, message_text({"id": self._last, "method": method, "params": told}), self._headers(method, told)
        )

    def speaks(self, versions: object) -> bool:
        """Whether the newer protocol is among what a server speaks; it is spoken then."""
        known = cast("list[object]", versions) if isinstance(versions, list) else []
        return any(version in known for version in STATELESS)

    def initialize(self) -> Request:
        """Begin in the older protocol."""
        self.stateless = False
        self._version = HANDSHAKE[-1]
        params = {"protocolVersion": HANDSHAKE[-1], "capabilities": {}, "clientInfo": self._info}
        return self.request("initialize", params)

    def initialized(self, result: Mapping[str, Any]) -> Request | None:
        """What follows the answer to `initialize`; None when it cannot be gone on with."""
        version = result.get("protocolVersion")
        if version not in HANDSHAKE:
            return None
        self._version = version
        return self._note("notifications/initialized", {})

    def cancel(self, number: int) -> Request:
        """Give up a request."""
        self._open.discard(number)
        return self._note("notifications/cancelled", {"requestId": number})

    def feed(self, text: str | bytes) -> Sequence[Event]:
        """Take a message of the server's. What makes no sense is passed over."""
        try:
            message: object = read(text, self._bounds)
        except Unreadable:
            return ()
        if not isinstance(message, dict):
            return ()
        told = cast("dict[str, Any]", message)
        number, method = told.get("id"), told.get("method")
        if isinstance(method, str):
            return self._told(method, told) if number is None else [self._asked(method, number)]
        if type(number) is not int or number not in self._open:
            return ()
        self._open.discard(number)
        result, error = told.get("result"), told.get("error")
        if isinstance(result, dict):
            return [Answered(number, cast("dict[str, Any]", result))]
        return [Answered(number, None, cast("dict[str, Any]", error) if isinstance(error, dict) else {})]

    def _told(self, method: str, message: Mapping[str, Any]) -> Sequence[Event]:
        if method == _CHANGED:
            return [Changed()]
        number, done = within(message, "params", "progressToken"), within(message, "params", "progress")
        if method != "notifications/progress" or number not in self._open or not _is_number(done):
            return ()
        total, words = within(message, "params", "total"), within(message, "params", "message")
        return [Progressed(number, done, total if _is_number(total) else None, words if isinstance(words, str) else "")]

    def _asked(self, method: str, number: Any) -> Reply:
        if method == "ping":
            return Reply(Request(None, message_text({"id": number, "result": {}}), self._headers("", {})))
        error = {"code": -32601, "message": "this client does nothing for servers"}
        return Reply(Request(None, message_text({"id": number, "error": error}), self._headers("", {})))

    def _note(self, method: str, params: Mapping[str, Any]) -> Request:
        return Request(None, message_text({"method": method, "params": params}), self._headers(method, params))

    def _headers(self, method: str, params: Mapping[str, Any]) -> dict[str, str]:
        if method == "initialize":
            return {}
        headers = {VERSION: self._version}
        if self.stateless:
            name = named_in(method, params)
            headers |= {METHOD: method} | ({} if name is None else {NAME: encoded(name)})
        return headers


def _is_number(value: object) -> bool:
    return type(value) in (int, float)
