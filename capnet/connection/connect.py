"""`connect`: from a URL to a live connection; the scheme picks the transport."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager
from copy import copy
from dataclasses import replace
from functools import lru_cache, partial
from math import inf
from os import PathLike
from typing import TYPE_CHECKING, Any, Final, cast

from anyio import CancelScope, move_on_after
from typing_extensions import Unpack

from capnet.errors import InvalidArgument, MissingExtra, Unavailable
from capnet.limits import Limits
from capnet.loop import Loop, open_loop
from capnet.loop.staying import Staying
from capnet.policy.policy import Policy
from capnet.transport import Transport, TransportScheme

from .connection import Connection
from .options import in_development, note_own_option
from .retry import Retry, retry_of, trying

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from capnet.recording import Recorder
    from capnet_transports.options import ConnectOptions

__all__ = ["GRACE", "OWN", "begin", "connect", "find_scheme", "known_schemes", "memory_ends", "opened"]

GROUP: Final = "capnet.transports"
GRACE: Final = 1.0
"""Seconds that calls in flight have when a block ends without an error."""


class connect:
    """`async with connect("unix:chat.sock") as conn: …` opens a connection and closes it at the end of the block.

    `conn = await connect("unix:chat.sock")` opens one that stays until `await conn.aclose()`, the peer, or the end of
    the loop closes it: for notebooks, and where a block does not fit.

    Args:
        url: `unix:PATH`, `memory:NAME`, `exec:COMMAND`, or any scheme of an installed transport.
        wait: seconds to wait for somebody to listen there, or a `Retry` that says how to try again; None has the
            environment decide (`CAPNET_RETRY`), and without a word there fails at once when nobody answers.
        ready: entering also waits for the peer to say hello and to admit us, so that a peer that ends before is tried
            again, and one that does not admit us, or speaks another protocol, is an error here.
        name: what we call ourselves to the peer.
        limits: bounds that hold for the peer; the untrusted profile by default.
        policy: decides what the peer may bootstrap from us; without one it may have all that is served.
        auth: plain data for the peer's policy, at most 4 KiB with the rest of the hello.
        record: a file to record to what both sides say, for `capnet decode` and `capnet trace`.
        record_values: record arguments, results and items as well, and not only how large they are.
        development: errors bring their traceback to peers of our own user on this machine, and what is slow, held up or
            not awaited is told. None has the environment decide (`CAPNET_DEVELOPMENT=1`); by default it is off.
        options: for the transport, as its scheme has them.

    Entering returns when the transport is connected, unless `ready` is set: the handshake goes on while the first calls
    leave. At the end of the block calls that have left, also one-way calls and those that nobody awaits, have a second
    to end; those that wait here for room are lost. An error that leaves the block ends them at once.

    Raises:
        Unavailable: nobody answers at the address. Unauthenticated: the peer does not admit us. InvalidArgument: the
        URL makes no sense. MissingExtra: what an installed transport needs is not.
    """

    def __init__(
        self,
        url: str,
        *,
        wait: float | Retry | None = None,
        ready: bool = False,
        name: str = "",
        limits: Limits | None = None,
        policy: Policy | None = None,
        auth: Any = None,
        record: str | PathLike[str] | None = None,
        record_values: bool = False,
        development: bool | None = None,
        **options: Unpack[ConnectOptions],
    ) -> None:
        self._url = url
        self._wait = wait
        self._ready = ready
        self._record = record
        self._record_values = record_values
        self._recorder: Recorder | None = None
        self._settings: dict[str, Any] = {"name": name, "limits": limits, "policy": policy, "auth": auth}
        self._settings["development"] = in_development(development)
        self._options: Mapping[str, Any] = options
        self._scope: AbstractAsyncContextManager[Loop] | None = None
        self._connection: Connection | None = None

    async def __aenter__(self) -> Connection:
        self._scope = open_loop()
        loop = await self._scope.__aenter__()
        try:
            if self._record is not None:
                from capnet.recording import Recorder  # few programs record

                self._recorder = Recorder(self._record, values=self._record_values)
            begun = partial(self._begun, loop)
            self._connection = await opened(self._url, self._wait, self._ready, self._options, begun)
        except BaseException as error:
            if self._recorder is not None:
                self._recorder.close()
            await self._scope.__aexit__(type(error), error, error.__traceback__)
            raise
        return self._connection

    def _begun(self, loop: Loop, transport: Transport) -> Connection:
        connection = begin(loop, transport, self._recorder, **self._settings)
        if self._recorder is not None:
            faults = connection._session.faults  # noqa: SLF001 - not for users
            self._recorder.complain = partial(faults.unexpected, "recording")
        return connection

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._scope is not None and self._connection is not None
        try:
            if exc_info[0] is None:
                await self._connection.aclose(grace=GRACE)
            else:  # an error on its way out does not wait for what is in flight
                with CancelScope(shield=True):
                    await self._connection._end("closed", 0.0)  # noqa: SLF001 - not for users
        finally:
            parts = self._connection._parts  # noqa: SLF001 - which are over with it
            try:
                await parts.hooks.ended()
            finally:
                if self._recorder is not None:
                    self._recorder.close()
                try:
                    await self._scope.__aexit__(None, None, None)
                finally:
                    parts.session.bus.attach(None)  # no sooner: what ends with the scope is told as well

    def __await__(self) -> Generator[Any, Any, Connection]:
        return Staying(copy(self), Connection.wait_closed).enter().__await__()

    if not TYPE_CHECKING:  # checkers know what there is, and what there is not

        def __getattr__(self, name: str) -> Any:
            if hasattr(Connection, name):
                error = AttributeError(f"this is no connection yet, so it has no {name!r}", name=name, obj=self)
                error.add_note("hint: write `async with connect(url) as conn:`, or `conn = await connect(url)`")
                raise error
            return object.__getattribute__(self, name)


async def opened(
    url: str,
    wait: float | Retry | None,
    ready: bool,
    options: Mapping[str, Any],
    begun: Callable[[Transport], Connection],
) -> Connection:
    """A connection to whoever listens at a URL.

    Args:
        wait: see `connect`.
        ready: wait until the peer has admitted us.
        begun: makes the connection on a transport that is connected and not started.
    """
    scheme, rest = find_scheme(url)
    retry = retry_of(wait)
    reach = partial(scheme.connect, rest, **options)
    return await trying(retry, lambda: attempt(reach, retry.attempt_timeout, ready, begun))


async def attempt(
    reach: Callable[[], Awaitable[Transport]], timeout: float, ready: bool, begun: Callable[[Transport], Connection]
) -> Connection:
    """One of them.

    Args:
        reach: brings a transport to the address.
        timeout: seconds to reach it; the handshake has a bound of its own.
    """
    try:
        transport = await reached(reach, timeout)
    except InvalidArgument as error:
        note_own_option(error)
        raise
    connection = begun(transport)
    if ready:
        try:
            await connection.wait_ready()
        except BaseException:
            with CancelScope(shield=True):
                await connection._end("closed", 0.0)  # noqa: SLF001 - not for users
            connection._session.bus.attach(None)  # noqa: SLF001 - nobody has it
            raise
    return connection


async def reached(reach: Callable[[], Awaitable[Transport]], timeout: float) -> Transport:
    """A transport to the address; `Unavailable` when that takes longer than so many seconds."""
    if timeout == inf:
        return await reach()
    with move_on_after(timeout):
        return await reach()
    raise Unavailable(f"nobody has answered in {timeout:g} s", reason="timeout")


def begin(loop: Loop, transport: Transport, recorder: Recorder | None = None, **settings: Any) -> Connection:
    """A connection on a transport that is connected and not started; the transport is closed when that fails.

    Args:
        recorder: records what is said on it.

    A peer that has to start first has that time, and then as long as any other for its hello.

    Raises:
        InvalidArgument: our hello does not fit into the frame that every peer takes.
    """
    try:
        if transport.start_timeout is not None:
            limits = settings.get("limits") or Limits()
            patience = limits.handshake_timeout + transport.start_timeout
            settings["limits"] = replace(limits, handshake_timeout=patience)
        if recorder is not None:
            transport = recorder.tap(transport)
        return Connection(loop, transport, **settings)
    except BaseException:
        transport.abort()
        raise


def find_scheme(url: str) -> tuple[TransportScheme, str]:
    """The transport that a URL names, and the rest of the URL.

    Raises:
        InvalidArgument: no scheme, or one that nothing installed provides. MissingExtra: it lacks its dependency.
        TypeError: it is no text.
    """
    if not isinstance(cast("object", url), str):
        raise TypeError(f"a URL is text, such as 'unix:/run/app.sock', not {type(url).__name__}")
    name, separator, rest = url.partition(":")
    if separator and name in OWN:
        return _own(name), rest
    points = _points()
    if not separator or name not in points:
        raise InvalidArgument(
            f"no transport for {url!r}"[:300],
            hint=f"known: {', '.join(known_schemes())}; write SCHEME:ADDRESS, such as unix:/run/app.sock",
        )
    return _load(points[name]), rest


def known_schemes() -> list[str]:
    """The schemes of all transports that come with capnet or are installed, whether they can be used or not."""
    return sorted({*OWN, *_points()})


# Those that come with capnet are there also where no metadata is installed, and tools that freeze a program see them.


def _asgi() -> TransportScheme:
    from capnet_transports.asgi import scheme

    return scheme


def _memory() -> TransportScheme:
    from capnet_transports.memory import scheme

    return scheme


def memory_ends() -> tuple[Transport, Transport]:
    """Two transports in this process, each the other's peer, connected and not started."""
    from capnet_transports.memory import memory_pair

    return memory_pair()


def _nats() -> TransportScheme:
    from capnet_transports.nats import scheme

    return scheme


def _unix() -> TransportScheme:
    from capnet_transports.unix import scheme

    return scheme


def _exec() -> TransportScheme:
    from capnet_transports.exec import scheme

    return scheme


def _fd() -> TransportScheme:
    from capnet_transports.inherited import inherited_scheme

    return inherited_scheme


def _stdio() -> TransportScheme:
    from capnet_transports.stdio import scheme

    return scheme


def _tcp() -> TransportScheme:
    from capnet_transports.tcp import scheme

    return scheme


def _tls() -> TransportScheme:
    from capnet_transports.tls import scheme

    return scheme


def _ws() -> TransportScheme:
    from capnet_transports.websocket import scheme

    return scheme


def _wss() -> TransportScheme:
    from capnet_transports.websocket import secure_scheme

    return secure_scheme


OWN: Final[Mapping[str, Callable[[], TransportScheme]]] = {
    "asgi": _asgi,
    "exec": _exec,
    "fd": _fd,
    "memory": _memory,
    "nats": _nats,
    "stdio": _stdio,
    "tcp": _tcp,
    "tls": _tls,
    "unix": _unix,
    "ws": _ws,
    "wss": _wss,
}


def _own(name: str) -> TransportScheme:
    try:
        return OWN[name]()
    except ImportError as error:
        raise MissingExtra(
            f'the transport {name!r} needs {error.name or error}, which is not installed; pip install "capnet[{name}]"'
        ) from error


@lru_cache(maxsize=1)
def _points() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # takes as long as a tenth of all else

    return {point.name: point for point in entry_points(group=GROUP)}


@lru_cache(maxsize=64)
def _load(point: EntryPoint) -> TransportScheme:
    try:
        return cast("TransportScheme", point.load())
    except ImportError as error:
        raise MissingExtra(
            f"the transport {point.name!r} of {point.value!r} needs {error.name or error}, which is not installed"
        ) from error
