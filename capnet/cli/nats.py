"""`capnet nats`: a configuration of `nats-server` that says who may serve and who may dial what."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from capnet.cli.exits import Stop
from capnet.cli.files import write_new
from capnet.cli.output import Output
from capnet.errors import InvalidArgument
from capnet_transports.nats_access import User, server_config

__all__ = ["nats"]


def nats(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where it goes; made with mode 0700 if missing.")],
    out: Output,
    *,
    host: Annotated[
        list[str], typer.Option(metavar="USER=SERVICE", help="A user who may serve that; may be repeated.")
    ],
    peer: Annotated[
        list[str], typer.Option(metavar="USER=SERVICE", help="A user who may connect to that; may be repeated.")
    ],
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where the server listens.")] = "127.0.0.1:4222",
) -> None:
    """Make a configuration of nats-server, for hosts and their peers: who may serve and who may connect to what.

    nats.conf is for the server, USER.password for each user: a password that was made for him. Each may say what is his
    and nothing else. Files that are there are left alone.
    """
    serves, dials = _by_user("--host", host), _by_user("--peer", peer)
    users = [
        User(name, secrets.token_urlsafe(), serves.get(name, ()), dials.get(name, ())) for name in {**serves, **dials}
    ]
    try:
        config = server_config(users, listen=listen)
    except InvalidArgument as error:
        raise Stop(error.message) from error
    files = {"nats.conf": config, **{f"{user.name}.password": user.password + "\n" for user in users}}
    write_new(directory, files, private=files)
    if out.json:
        out.value({"directory": str(directory), "users": [user.name for user in users]})
        return
    out.line(f"nats-server --config {directory}/nats.conf")
    for user in users:
        options = f"--user {user.name} --password {directory}/{user.name}.password"
        for service in user.serves:
            out.line(f"capnet run … --listen nats://{listen}/{service} {options}")
        for service in user.dials:
            out.line(f"capnet ls nats://{listen}/{service} {options}")


def _by_user(option: str, pairs: Sequence[str]) -> Mapping[str, list[str]]:
    services: dict[str, list[str]] = {}
    for pair in pairs:
        user, equals, service = pair.partition("=")
        if not equals:
            raise Stop(f"{option} {pair!r} names no service", hint=f"{option} USER=SERVICE")
        services.setdefault(user, []).append(service)
    return services
