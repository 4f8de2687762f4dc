"""Who may say what at a NATS server: what it refuses, and what each side is told."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from capnet import CapnetError, Host, connect
from capnet.errors import FailedPrecondition, PermissionDenied, Unauthenticated, Unavailable
from capnet_transports.certificates import make
from tests.interop.nats_servers import (
    ANNA,
    EVE,
    FLEET,
    LIMIT,
    OPEN,
    OTTO,
    SUBJECTS,
    NatsServer,
    nats_server,
    raw,
    serving,
    until,
)
from tests.interop.nats_servers import on_asyncio as on_asyncio
from tests.interop.nats_servers import server as server
from tests.transports.test_tcp import Adder, PlainAdder

SESSION = "0123456789abcdef" * 2


async def test_who_may_not_dial(server: NatsServer) -> None:
    async with serving(server) as host:
        turned_away: list[tuple[dict[str, Any], type[CapnetError], str]] = [
            (EVE, PermissionDenied, "nats_permissions"),
            ({**ANNA, "user": "otto"}, Unauthenticated, "nats_user"),
            ({**ANNA, "password": "wrong"}, Unauthenticated, "nats_user"),
            (OPEN, Unauthenticated, "nats_user"),
        ]
        for who, kind, reason in turned_away:
            with pytest.raises(kind) as caught:
                await connect(server.url(), **who)
            assert (caught.value.reason, caught.value.retry) == (reason, "never")
            assert "hint" in caught.value.__notes__[0]
        assert not host.connections


async def test_who_may_not_serve(server: NatsServer) -> None:
    async with Host() as host:
        for who in (ANNA, EVE):
            with pytest.raises(PermissionDenied) as caught:
                await host.listen(server.url(), **who)
            assert caught.value.reason == "nats_permissions"
        with pytest.raises(PermissionDenied):
            await host.listen(server.url("other"), **FLEET)
        assert host.stats()["listeners"] == 0


async def test_nobody_serves(server: NatsServer) -> None:
    with pytest.raises(Unavailable) as caught:
        await connect(server.url(), **ANNA)
    assert caught.value.reason == "no_listener"
    async with anyio.create_task_group() as tasks:

        async def later() -> None:
            await anyio.sleep(0.1)
            async with serving(server):
                await anyio.sleep_forever()

        tasks.start_soon(later)
        async with connect(server.url(), wait=LIMIT, **ANNA) as conn:
            await conn.bootstrap(Adder)
        tasks.cancel_scope.cancel()


async def test_a_server_without_users(tmp_path: Path) -> None:
    """Is refused, by both sides, unless they say that anybody may be anybody; then nobody is known."""
    with nats_server(tmp_path, "") as server:
        async with Host() as host:
            host.serve(PlainAdder())
            for attempt in (host.listen(server.url(), **FLEET), connect(server.url(), **ANNA)):
                with pytest.raises(FailedPrecondition) as caught:
                    await attempt
                assert caught.value.reason == "no_users"
            await host.listen(server.url(), **OPEN)
            async with connect(server.url(), **OPEN) as conn:
                assert await (await conn.bootstrap(Adder)).add(1, 1) == 2
                assert host.connections[0].attestation.user is None


async def test_what_the_server_does_not_let_others_say(server: NatsServer) -> None:
    """Nobody speaks, hears or serves in the name of another, with whatever client."""
    forged = [
        (EVE, SUBJECTS.dial("eve"), "publish"),
        (OTTO, SUBJECTS.dial("anna"), "publish"),
        (OTTO, SUBJECTS.up("anna", SESSION), "publish"),
        (OTTO, SUBJECTS.down("otto", SESSION), "publish"),
        (OTTO, SUBJECTS.down("anna", "*"), "subscribe"),
        (OTTO, SUBJECTS.up("otto", "*"), "subscribe"),
        (OTTO, SUBJECTS.dial("*"), "subscribe"),
        (OTTO, "_INBOX.anna.>", "subscribe"),
        (OTTO, ">", "subscribe"),
        (FLEET, SUBJECTS.dial("anna"), "publish"),
        (FLEET, SUBJECTS.up("anna", SESSION), "publish"),
        (FLEET, SUBJECTS.down("anna", "*"), "subscribe"),
    ]
    for who, subject, what in forged:
        async with raw(server, who) as (client, told):
            if what == "publish":
                await client.publish(subject, b"x")
            else:
                await client.subscribe(subject)
            await client.flush()
            await until(partial(bool, told))
            assert "permissions violation" in told[0].lower(), (who, subject)


async def test_tls_to_the_server(tmp_path: Path) -> None:
    """Both sides know the server, and it knows them; one that does not speak TLS is told no password."""
    certificates = {name: make(name) for name in ("server", "friend", "stranger")}
    for name, one in certificates.items():
        (tmp_path / f"{name}.pem").write_text(one.private + one.public)
        (tmp_path / f"{name}.crt").write_text(one.public)
    config = (
        "authorization: { users: [\n"
        "  { user: fleet, password: fleet-password }, { user: anna, password: anna-password }\n"
        "] }\n"
        f'tls: {{ cert_file: "{tmp_path}/server.pem", key_file: "{tmp_path}/server.pem" }}\n'
    )
    trusting: dict[str, Any] = {"ca": certificates["server"]}
    with nats_server(tmp_path, config) as server:
        async with serving(server, **trusting), connect(server.url(), **ANNA, **trusting) as conn:
            assert await (await conn.bootstrap(Adder)).add(1, 1) == 2
        strangers: list[dict[str, Any]] = [{}, {"ca": certificates["stranger"]}]
        for options in strangers:
            with pytest.raises(Unauthenticated) as caught:
                await connect(server.url(), **ANNA, **options)
            assert (caught.value.reason, caught.value.retry) == ("tls", "never")
    with nats_server(tmp_path) as server:
        with pytest.raises(Unauthenticated) as caught:
            await connect(server.url(), **ANNA, **trusting)
        assert caught.value.reason == "tls" and "does not speak TLS" in caught.value.message
