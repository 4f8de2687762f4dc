"""The peer that a command talks to, and the options of the way to it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

from anyio import fail_after

from capnet.cli.exits import Exit, Stop
from capnet.connection.connect import connect
from capnet.connection.connection import Connection
from capnet.errors import CapnetError, DeadlineExceeded, InvalidArgument, Unavailable

if TYPE_CHECKING:  # its annotations are read by `flat`, and a command that has its words already needs none
    import typer

__all__ = ["Peer", "given"]

NOBODY: Final = "-"
"""Stands for the user at a server that asks nobody who he is."""
_TLS: Final = ("ca", "certificate", "key", "pins", "server_name", "token")
_TAKEN: Final[Mapping[str, tuple[str, ...]]] = {
    "exec": (),
    "fd": (),
    "memory": (),
    "nats": ("user", "password", "ca", "certificate", "key"),
    "stdio": (),
    "tcp": ("token",),
    "tls": _TLS,
    "unix": ("allow_uids",),
    "ws": ("token", "origin"),
    "wss": (*_TLS, "origin"),
}
"""What each of capnet's own transports takes when it connects."""
_HINTS: Final[Mapping[str | None, str]] = {
    "econnrefused": "start it first, or wait for it: --wait SECONDS",
    "enoent": "start it first, or wait for it: --wait SECONDS",
    "token_needed": "--token TEXT or the variable CAPNET_TOKEN; --no-token for a listener that lets anybody in",
    "user_needed": "--user NAME and --password FILE; --user - at a server that asks nobody who he is",
    "other_user": "--allow-uid UID, if that user is the one you mean",
    "tls_pin": "if it has a new one, and you know that from elsewhere: --pin",
}
"""What to do here, where the library has only words for programs."""


@dataclass(frozen=True)
class Peer:
    """Who listens at a URL.

    Attributes:
        url: `unix:PATH`, `tcp:HOST:PORT`, `exec:COMMAND`, or any other that `capnet.connect` takes.
        token: the listener's secret.
        no_token: the listener lets anybody in.
        ca: whom we trust, with TLS.
        certificate: ours.
        key: the file of its key.
        pin: keys that the listener may have.
        server_name: whom its certificate must be for.
        origin: the page that we say we are.
        user: who we are at a NATS server.
        password: a file with the password of that user.
        allow_uid: users that may listen at a unix socket.
        auth: for the peer's policy, as JSON.
        inside: what is said to open virtual connections, each inside of the one before; the last leads to the peer.
        wait: seconds to wait for somebody to listen.
        timeout: seconds until the peer must have answered.
        record: a file that is written.
        record_values: what is in it.
    """

    url: Annotated[str, typer.Argument(metavar="URL", help="Such as unix:PATH, tcp:HOST:PORT, exec:COMMAND.")]
    token: Annotated[
        str | None,
        typer.Option(metavar="TEXT", envvar="CAPNET_TOKEN", help="The listener's secret, for tcp:, tls:, ws:, wss:."),
    ] = None
    no_token: Annotated[bool, typer.Option("--no-token", help="The listener lets anybody in.")] = False
    ca: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Whom to trust, for tls:, wss:; may be repeated.")
    ] = None
    certificate: Annotated[Path | None, typer.Option(metavar="FILE", help="Our certificate, for tls:, wss:.")] = None
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its key, if that is not in the same file.")] = None
    pin: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="A key that the listener may have, spki-sha256:…; may be repeated."),
    ] = None
    server_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whom its certificate is for, if not the host in the URL.")
    ] = None
    origin: Annotated[str | None, typer.Option(metavar="URL", help="The page that we say we are, for ws:, wss:.")] = (
        None
    )
    user: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who we are, for nats:; - at a server that asks nobody.")
    ] = None
    password: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file with the password of that user, for nats:.")
    ] = None
    allow_uid: Annotated[
        list[int] | None,
        typer.Option(metavar="UID", help="Another user who may listen there, for unix:; may be repeated."),
    ] = None
    auth: Annotated[str | None, typer.Option(metavar="JSON", help="What the peer's policy asks for.")] = None
    inside: Annotated[
        list[str] | None,
        typer.Option(
            metavar="JSON",
            help="Open a virtual connection with that metadata, and talk to whom it leads; may be repeated.",
        ),
    ] = None
    wait: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0, help="Wait so long for somebody to listen there.")
    ] = None
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="Wait so long for an answer.")] = 10.0
    record: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Record what is said, for capnet decode and capnet trace.")
    ] = None
    record_values: Annotated[
        bool, typer.Option("--record-values", help="Record values too, and not only how large they are.")
    ] = False

    @asynccontextmanager
    async def open(self, *, grants: Collection[str] = ()) -> AsyncGenerator[Connection]:
        """A connection that is closed at the end of the block.

        Args:
            grants: what we ask the peer's policy for, beside what `--auth` says.

        Raises:
            Stop: the peer cannot be reached, does not let us in, says nothing in time, or has gone.
        """
        inside = [_object("--inside", text) for text in self.inside or ()]
        async with AsyncExitStack() as stack:
            try:
                with fail_after(self.timeout + (self.wait or 0.0)):
                    link = connect(
                        self.url,
                        wait=self.wait,
                        name="capnet",
                        auth=self._auth(grants),
                        record=self.record,
                        record_values=self.record_values,
                        **self.options(),
                    )
                    connection = await stack.enter_async_context(link)
                    await connection.ping()
                    for metadata in inside:
                        connection = await stack.enter_async_context(connection.open(metadata, name="capnet"))
            except CapnetError as error:
                raise _unreached(error) from error
            try:
                yield connection
            except Unavailable as error:
                if not connection.closed and connection.close_cause is None:
                    raise
                raise Stop(exit_code=Exit.UNREACHABLE, cause=error) from error

    def options(self) -> dict[str, Any]:
        """Those for the transport.

        Raises:
            Stop: some are for another one.
        """
        options: dict[str, Any] = {
            "ca": self.ca,
            "certificate": self.certificate,
            "key": self.key,
            "pins": self.pin,
            "server_name": self.server_name,
            "origin": self.origin,
            "user": self.user,
            "password": self.password,
            "allow_uids": self.allow_uid,
        }
        return given(self.url, options, _TAKEN, token=self.token, no_token=self.no_token)

    def _auth(self, grants: Collection[str]) -> Any:
        auth: Any = {} if self.auth is None else _json("--auth", self.auth)
        if grants and isinstance(auth, dict):
            asked = cast("dict[str, Any]", auth)
            return {**asked, "grants": [*asked.get("grants", ()), *grants]}
        return auth if self.auth is not None else None


def _json(option: str, text: str) -> Any:
    """What an option says.

    Raises:
        Stop: it is no JSON.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise Stop(f"{option} is not JSON: {error}") from error


def _object(option: str, text: str) -> dict[str, Any]:
    value = _json(option, text)
    if not isinstance(value, dict):
        raise Stop(f"{option} is not a JSON object", hint=f"""{option} '{{"tenant": "blue"}}'""")
    return cast("dict[str, Any]", value)


def _unreached(error: CapnetError) -> Stop:
    exit_code = Exit.UNREACHABLE
    if isinstance(error, InvalidArgument):
        exit_code = Exit.USAGE
    elif isinstance(error, DeadlineExceeded):
        exit_code = Exit.TIMEOUT
    return Stop(exit_code=exit_code, cause=error, hint=_HINTS.get(error.reason))


def given(
    url: str,
    options: Mapping[str, Any],
    taken: Mapping[str, tuple[str, ...]],
    *,
    token: str | None,
    no_token: bool,
) -> dict[str, Any]:
    """The options that were given, for the transport of a URL.

    Args:
        options: None and empty lists were not given.
        taken: what each of capnet's own transports takes.
        token: goes to those that take one; it may be in the environment for all of them.
        no_token: whether anybody is let in.

    Raises:
        Stop: the transport takes no such option, or a file with a password cannot be read.
    """
    scheme = url.partition(":")[0]
    known = taken.get(scheme)
    chosen = {name: value for name, value in options.items() if value is not None and value != []}
    if known is not None:
        for name in chosen:
            if name not in known:
                option = name.replace("_", "-").removesuffix("s")
                raise Stop(f"--{option} is not for {scheme}:", hint=_takers(name, taken))
    if "user" in chosen and chosen["user"] == NOBODY:
        chosen["user"] = None
    if "password" in chosen:
        chosen["password"] = _first_line(chosen["password"])
    if (no_token or token is not None) and (known is None or "token" in known):
        chosen["token"] = None if no_token else token
    return chosen


def _first_line(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.readline().rstrip("\r\n")
    except (OSError, ValueError) as error:
        raise Stop(f"--password {path}: {getattr(error, 'strerror', None) or 'it is no text'}") from error


def _takers(option: str, taken: Mapping[str, tuple[str, ...]]) -> str:
    return f"it is for {', '.join(f'{scheme}:' for scheme, names in taken.items() if option in names)}"
