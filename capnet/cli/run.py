"""`capnet run`: serve what a module has, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias, cast

import anyio
import typer

from capnet import Admission, CapnetError, Host, Identity, Introduction, InvalidArgument, Policy
from capnet.cli.exits import Exit, Stop
from capnet.cli.loading import load_object
from capnet.cli.output import Output
from capnet.cli.peer import given
from capnet.cli.targets import implementation, instance, named
from capnet.cli.watch import GRANT

__all__ = ["run"]

_TLS: Final = ("ca", "certificate", "key", "token")
_TAKEN: Final[Mapping[str, tuple[str, ...]]] = {
    "memory": (),
    "nats": ("user", "password", "ca", "certificate", "key"),
    "tcp": ("token",),
    "tls": _TLS,
    "unix": ("allow_uids",),
    "ws": ("token", "origins", "hosts"),
    "wss": (*_TLS, "origins", "hosts"),
}
"""What each of capnet's own transports takes when it listens."""
_HINTS: Final[Mapping[str | None, str]] = {
    "token_needed": "--token TEXT or the variable CAPNET_TOKEN; --no-token to let anybody in who can reach the port",
    "user_needed": "--user NAME and --password FILE; --user - at a server that asks nobody who he is",
}
"""What to do here, where the library has only words for programs."""


class Loop(StrEnum):
    """What runs the program."""

    ASYNCIO = "asyncio"
    UVLOOP = "uvloop"
    TRIO = "trio"


@dataclass(frozen=True)
class Place:
    """Where to listen, and who may come.

    Attributes:
        listen: URLs.
        token: a secret that peers must have.
        no_token: anybody may come.
        certificate: ours, with TLS.
        key: the file of its key.
        ca: whom we let in, with TLS.
        allow_uid: users that may come to a unix socket.
        origin: pages that may come by WebSocket; no programs then.
        hostname: names by which we may be called, by WebSocket.
        user: who we are at a NATS server.
        password: a file with the password of that user.
    """

    listen: Annotated[
        list[str], typer.Option(metavar="URL", help="Where: unix:PATH, tcp:HOST:PORT, …; may be repeated.")
    ]
    token: Annotated[
        str | None,
        typer.Option(metavar="TEXT", envvar="CAPNET_TOKEN", help="A secret that peers must have, for tcp:, tls:, …."),
    ] = None
    no_token: Annotated[bool, typer.Option("--no-token", help="Let anybody in who can reach the port.")] = False
    certificate: Annotated[Path | None, typer.Option(metavar="FILE", help="Our certificate, for tls:, wss:.")] = None
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its key, if that is not in the same file.")] = None
    ca: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Whom to let in, for tls:, wss:; may be repeated.")
    ] = None
    allow_uid: Annotated[
        list[int] | None,
        typer.Option(metavar="UID", help="Users that may come, for unix:, in place of our own; may be repeated."),
    ] = None
    origin: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="Pages that may come, for ws:, wss:, in place of programs; may be repeated."),
    ] = None
    hostname: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name by which we may be called, for ws:, wss:; may be repeated."),
    ] = None

    user: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who we are, for nats:; - at a server that asks nobody.")
    ] = None
    password: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file with the password of that user, for nats:.")
    ] = None

    def options(self, url: str) -> dict[str, Any]:
        """Those for the transport of one of the URLs.

        Raises:
            Stop: there are some that none of the URLs can use.
        """
        options: dict[str, Any] = {
            "certificate": self.certificate,
            "key": self.key,
            "ca": self.ca,
            "allow_uids": self.allow_uid,
            "origins": self.origin,
            "hosts": self.hostname,
            "user": self.user,
            "password": self.password,
        }
        schemes = {other.partition(":")[0] for other in self.listen}
        for_others = {
            name
            for name in options
            if name not in _TAKEN.get(url.partition(":")[0], (name,))
            and any(name in _TAKEN.get(scheme, (name,)) for scheme in schemes)
        }
        mine = {name: value for name, value in options.items() if name not in for_others}
        return given(url, mine, _TAKEN, token=self.token, no_token=self.no_token)


class OwnUser:
    """A policy that lets programs of the user who runs the host look into it, by a unix socket.

    Everything that is served is for everybody, as without a policy.
    """

    def identify(self, introduction: Introduction) -> Identity:
        """What follows from the user, which the system tells."""
        attestation = introduction.attestation
        if attestation.transport == "unix" and attestation.uid == os.geteuid():
            return Identity(principal=f"user {attestation.uid}", allowed=frozenset({GRANT}))
        return Identity()

    def admit(self, request: Admission) -> bool:
        """Whoever asks."""
        return True


def run(
    target: Annotated[list[str], typer.Argument(metavar="TARGET", help="MODULE:NAME, or SERVED_NAME=MODULE:NAME.")],
    place: Place,
    out: Output,
    *,
    name: Annotated[str, typer.Option(metavar="NAME", help="What the host calls itself to peers.")] = "",
    policy: Annotated[
        str | None, typer.Option(metavar="MODULE:NAME", help="Who may have what: a policy, or a class of one.")
    ] = None,
    inspect: Annotated[
        bool, typer.Option("--inspect", help="Let our own user see all connections, by unix:, with watch and top.")
    ] = False,
    loop: Annotated[Loop, typer.Option(metavar="|".join(Loop), help="What runs it.")] = Loop.ASYNCIO,
    record: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Record what is said, for capnet decode and capnet trace.")
    ] = None,
    record_values: Annotated[
        bool, typer.Option("--record-values", help="Record values too, and not only how large they are.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="When a program file is saved, swap what is served for what it says now.")
    ] = False,
) -> int:
    """Serve what a module has, until Ctrl-C or SIGTERM: implementations, or classes and functions that make them.

    A class or function is called without arguments when the host is open; what a function gives is awaited if that can
    be. Modules are looked for in the working directory first.

    With --watch they are in a process of their own, which another one replaces when a .py file is saved below the
    working directory, or where they have come from. Clients keep what they hold. What cannot be loaded is told of once,
    and what ran before answers on.
    """
    if policy is not None and inspect:
        raise Stop("--inspect is a policy, and --policy is another one", hint=f"have yours grant {GRANT}")
    served = _reloaded(target, loop, out) if watch else _once([named(each) for each in target])
    who: Any = OwnUser() if inspect else None if policy is None else instance(load_object(policy))
    host = Host(name=name, policy=cast("Policy | None", who), record=record, record_values=record_values)
    backend, options = ("trio", {}) if loop is Loop.TRIO else ("asyncio", {"use_uvloop": loop is Loop.UVLOOP})
    return anyio.run(partial(_serve, host, served, place, out), backend=backend, backend_options=options)


_Served: TypeAlias = Callable[[Host], AbstractAsyncContextManager[None]]
"""Has a host serve something, for the length of a block."""


def _once(made: Sequence[tuple[str | None, Any]]) -> _Served:
    @asynccontextmanager
    async def served(host: Host) -> AsyncGenerator[None]:
        for name, found in made:
            host.serve(await implementation(found), name=name)
        yield

    return served


def _reloaded(target: Sequence[str], loop: Loop, out: Output) -> _Served:
    from capnet.cli.reloading.reloader import Reloader

    return Reloader(target, loop, out).served


async def _serve(host: Host, served: _Served, place: Place, out: Output) -> int:
    async with host, served(host):
        for url in place.listen:
            try:
                listener = await host.listen(url, **place.options(url))
            except CapnetError as error:
                exit_code = Exit.USAGE if isinstance(error, InvalidArgument) else Exit.FAILED
                raise Stop(exit_code=exit_code, cause=error, hint=_HINTS.get(error.reason)) from error
            if out.json:
                out.value({"listening": listener.url, "pid": os.getpid()})
        await host.serve_forever(announce=not out.json)
    return Exit.OK
