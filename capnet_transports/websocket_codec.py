"""WebSocket as a codec between a stream and what is above it, by the protocol of the package `websockets`."""

from __future__ import annotations

import http
import logging
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final, cast

from websockets.client import ClientProtocol
from websockets.datastructures import MultipleValuesError
from websockets.exceptions import InvalidMessage, InvalidStatus
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from capnet.errors import CapnetError, FailedPrecondition, NotFound, PermissionDenied, Unauthenticated, Unavailable
from capnet_transports.handshakes import READ, SAME, Refusal, Steps
from capnet_transports.layers import Codec
from capnet_transports.web import SUBPROTOCOL, TOKEN, WRONG_HOST, WRONG_PATH, WRONG_TOKEN, host_name, is_shown, messages

if TYPE_CHECKING:
    from websockets.typing import Origin, Subprotocol

__all__ = ["ConnectingCodec", "ListeningCodec", "WebSocketCodec"]

_FRAME: Final = 1024 * 1024
"""Bytes in a frame of WebSocket that we take; messages may have any number of them."""
_SLICE: Final = 16 * 1024
"""Bytes that are parsed at once: what a peer makes of one read, thousands of empty frames, is taken in portions."""
_SILENT: Final = logging.Logger("capnet.transports.websocket", logging.CRITICAL + 1)
"""The package would log all that comes and goes, tokens among it."""
_CLEAN: Final = frozenset({CloseCode.NORMAL_CLOSURE, CloseCode.NO_STATUS_RCVD})
_DENIED: Final[dict[int, tuple[type[CapnetError], str]]] = {
    401: (Unauthenticated, "token"),
    403: (PermissionDenied, "origin"),
    404: (NotFound, "path"),
    421: (PermissionDenied, "host"),
}
"""What the answers mean by which a listener turns a client away."""
_HINTS: Final = {
    401: "token= is the same on both sides",
    403: "origins= of the listener has the page, or None for programs",
    404: "the path in the URL is the one that is listened at",
    421: "hosts= of the listener has the name in the URL",
}
_FOR_NOW: Final = frozenset({408, 425, 429})
"""Those beside the failures of servers (5xx) that are said of this attempt alone."""


class WebSocketCodec(Codec):
    """WebSocket between two streams of bytes; the two sides differ in their handshake. Made by its subclasses."""

    awaits_farewell: ClassVar[bool] = True

    def __init__(self, core: ClientProtocol | ServerProtocol) -> None:
        self._core = core
        self._frames: deque[Frame] = deque()
        self._unread = memoryview(b"")

    def encode(self, chunks: Sequence[bytes]) -> list[bytes]:
        if self._core.state is State.OPEN:
            for message in messages(chunks):
                self._core.send_binary(message)
        return self.answer()

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        if len(data) <= _SLICE and not self._unread:
            self._parse(data)
        else:
            self._unread = memoryview(b"".join((self._unread, data)))

    def take(self, most: int = READ) -> bytes | bytearray | None:
        while not self._frames and self._unread and not self.ended:
            slice_, self._unread = self._unread[:_SLICE], self._unread[_SLICE:]
            self._parse(slice_)
        if self._frames and not self.ended:
            return self._piece(self._frames.popleft())
        if self._core.parser_exc is not None:
            raise Unavailable(f"the peer breaks WebSocket: {self._core.parser_exc}", reason="websocket")
        return None

    def answer(self, *, crowded: bool = False) -> list[bytes]:
        writes = [data for data in self._core.data_to_send() if data]
        if crowded and self._core.close_sent is None:
            return []  # pongs, which need not be said to who does not listen
        return writes

    def farewell(self) -> list[bytes]:
        if self._core.state is State.OPEN:
            self._core.send_close(CloseCode.NORMAL_CLOSURE)
        return self.answer()

    def _parse(self, data: bytes | bytearray | memoryview) -> None:
        self._core.receive_data(cast("bytes", data))
        self._frames.extend(cast("list[Frame]", self._core.events_received()))

    def _piece(self, frame: Frame) -> bytes | bytearray:
        if frame.opcode in (Opcode.BINARY, Opcode.CONT):
            return cast("bytes | bytearray", frame.data)
        if frame.opcode is Opcode.TEXT:
            self._core.fail(CloseCode.UNSUPPORTED_DATA, "capnet speaks in binary messages")
            raise Unavailable("the peer has sent a text message", reason="websocket")
        if frame.opcode is Opcode.CLOSE:
            close = self._core.close_rcvd
            if close is not None and close.code not in _CLEAN:
                raise Unavailable(f"the peer has closed with {close}", reason="websocket_close")
            self.ended = True
        return b""


class ConnectingCodec(WebSocketCodec):
    """The side that connects.

    Args:
        url: whole, beginning with `ws:` or `wss:`.
        token: that of the listener, or None.
        origin: the page that connects, or None.
    """

    def __init__(self, url: str, token: str | None, origin: str | None) -> None:
        offered = [SUBPROTOCOL] if token is None else [SUBPROTOCOL, TOKEN + token]
        self._client = ClientProtocol(
            parse_uri(url),
            origin=cast("Origin | None", origin),
            subprotocols=cast("list[Subprotocol]", offered),
            max_size=(None, _FRAME),
            logger=_SILENT,
        )
        super().__init__(self._client)

    def handshake(self) -> Steps:
        client = self._client
        client.send_request(client.connect())
        out, begins = b"".join(client.data_to_send()), b""
        while client.state is State.CONNECTING:
            data = yield out, READ
            client.receive_data(data)
            out, begins = b"", begins or data[:4]
            if client.handshake_exc is not None:
                raise _turned_away(client.handshake_exc, begins) from client.handshake_exc
        _response, *frames = client.events_received()
        self._frames.extend(cast("list[Frame]", frames))


class ListeningCodec(WebSocketCodec):
    """The side that listens.

    Args:
        path: the one that is served.
        hosts: names under which we are known.
        origins: pages that may connect; None in it stands for whoever names none.
        token: what a peer must have, or None.
    """

    def __init__(self, path: str, hosts: frozenset[str], origins: Sequence[str | None], token: str | None) -> None:
        self._path = path
        self._hosts = hosts
        self._token = token
        self._server = ServerProtocol(
            origins=cast("Sequence[Origin | None]", origins),
            select_subprotocol=_select,
            max_size=(None, _FRAME),
            logger=_SILENT,
        )
        super().__init__(self._server)

    @property
    def origin(self) -> str | None:
        """The page that has connected, as its browser says."""
        return self._server.origin

    def handshake(self) -> Steps:
        server = self._server
        received = yield b"", READ
        if not received[:1].isalpha():
            raise Refusal(
                FailedPrecondition("the peer does not speak HTTP", reason="not_http"),
                b"capnet: this port speaks WebSocket: connect to ws://HOST:PORT/\n",
            )
        server.receive_data(received)
        while not (events := server.events_received()):
            if server.handshake_exc is not None:
                raise self._refusal(str(server.handshake_exc))
            server.receive_data((yield b"", READ))
        early = len(events) > 1 or server.reader.buffer or server.data_to_send()
        request = cast("Request", events[0])
        response = server.reject(400, "frames come after the handshake\n") if early else self._judge(request)
        if server.state is State.CONNECTING and not server.eof_sent:
            server.send_response(response)
        if response.status_code != 101:
            raise self._refusal(response.body.decode().strip())
        yield b"".join(server.data_to_send()), 0

    def _judge(self, request: Request) -> Response:
        server = self._server
        response = server.accept(request)
        if response.status_code != 101:
            return response
        try:
            host = host_name(request.headers.get("Host", ""))
        except MultipleValuesError:
            return server.reject(400, "one Host is enough\n")
        if host not in self._hosts:
            return server.reject(http.HTTPStatus.MISDIRECTED_REQUEST, WRONG_HOST)
        if request.path != self._path:
            return server.reject(404, WRONG_PATH)
        if self._token is not None and not self._is_shown(request):
            response = server.reject(401, WRONG_TOKEN)
            response.headers["WWW-Authenticate"] = "capnet"
            return response
        return response

    def _is_shown(self, request: Request) -> bool:
        assert self._token is not None
        lines = request.headers.get_all("Sec-WebSocket-Protocol")
        return is_shown(self._token, [one for line in lines for one in line.split(",")])

    def _refusal(self, words: str) -> Refusal:
        return Refusal(
            PermissionDenied(f"not let in: {words}"[:300], reason="websocket"),
            b"".join(data for data in self._server.data_to_send() if data),
        )


def _select(_server: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """Never the token: it would be said back."""
    return next((one for one in offered if one == SUBPROTOCOL), None)


def _turned_away(error: Exception, begins: bytes) -> CapnetError:
    """What it means; another attempt may help where a server in between speaks for one that is not there now."""
    if not isinstance(error, InvalidStatus):
        unread = isinstance(error, InvalidMessage) and b"HTTP".startswith(begins)
        retry = None if unread else "never"
        words = f"what answers does not speak WebSocket: {error}"[:300]
        return Unavailable(words, reason="websocket", retry=retry, hint=SAME)
    status = error.response.status_code
    kind, reason = _DENIED.get(status, (Unavailable, f"http_{status}"))
    lines = error.response.body.decode("ascii", "replace").splitlines()
    words = "".join(letter for letter in "".join(lines[:1])[:200] if letter.isprintable())
    retry = None if status >= 500 or status in _FOR_NOW else "never"
    return kind(f"not let in: HTTP {status} {words}".rstrip(), reason=reason, retry=retry, hint=_HINTS.get(status))
