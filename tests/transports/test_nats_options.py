"""`nats:` without a server: what makes no sense is said at once; the configuration says who may what."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from capnet import connect
from capnet.errors import CapnetError, FailedPrecondition, InvalidArgument
from capnet_transports import nats, nats_link
from capnet_transports.nats_access import Subjects, User, server_config
from tests.loops import ONE_LOOP, TRIO

GOOD: dict[str, Any] = {"user": "anna", "password": "secret"}


@ONE_LOOP
@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("nats:", GOOD),
        ("nats://127.0.0.1:4222", GOOD),
        ("nats://127.0.0.1:4222/", GOOD),
        ("nats:///adder", GOOD),
        ("nats://127.0.0.1:4222/a.b", GOOD),
        ("nats://127.0.0.1:4222/a/b", GOOD),
        ("nats://127.0.0.1:4222/*", GOOD),
        ("nats://127.0.0.1:99999/adder", GOOD),
        ("nats://anna:secret@127.0.0.1:4222/adder", GOOD),
        ("nats://127.0.0.1:4222/adder", {}),
        ("nats://127.0.0.1:4222/adder", {"user": "a.b"}),
        ("nats://127.0.0.1:4222/adder", {"user": "-"}),
        ("nats://127.0.0.1:4222/adder", {"user": ">"}),
        ("nats://127.0.0.1:4222/adder", {**GOOD, "ca": "/nonexistent.pem"}),
        ("nats://127.0.0.1:4222/adder", {**GOOD, "key": "/nonexistent.pem"}),
    ],
)
async def test_what_makes_no_sense(url: str, options: dict[str, Any]) -> None:
    """And a password in a URL is not repeated where the error is shown."""
    for attempt in (connect(url, **options), nats.listen(url.removeprefix("nats:"), lambda _: None, **options)):
        with pytest.raises(InvalidArgument) as caught:
            await attempt
        assert "secret" not in str(caught.value)


@ONE_LOOP
@pytest.mark.parametrize("sessions", [0, -1, 1 << 20])
async def test_sessions_that_make_no_sense(sessions: int) -> None:
    with pytest.raises(InvalidArgument):
        await nats.listen("//127.0.0.1:4222/adder", lambda _: None, sessions=sessions, **GOOD)


@ONE_LOOP
async def test_nobody_listens() -> None:
    with pytest.raises(CapnetError) as caught:
        await connect("nats://127.0.0.1:1/adder", **GOOD)
    assert (caught.value.code, caught.value.reason) == ("unavailable", "econnrefused")


@ONE_LOOP
@pytest.mark.parametrize(
    "says",
    [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"INFO nonsense\r\n", b"INFO []\r\n", b"x" * 200_000, b"\xff\r\n", None],
    ids=["nothing", "http", "no JSON", "no map", "much", "bytes", "silence"],
)
async def test_what_answers_is_no_nats_server(says: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats_link, "PATIENCE", 0.5)

    async def answer(stream: SocketStream) -> None:
        async with stream:
            if says is None:
                await anyio.sleep_forever()
            elif says:
                with suppress(anyio.BrokenResourceError):
                    await stream.send(says)
                    await anyio.sleep(60)

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        port = listener.extra(SocketAttribute.local_port)
        with pytest.raises(CapnetError) as caught:
            await connect(f"nats://127.0.0.1:{port}/adder", **GOOD)
        assert (caught.value.code, caught.value.reason) in {
            ("unavailable", "nats"), ("unavailable", "connect_timeout"), ("unavailable", "connection_lost"),
        }  # fmt: skip
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("anyio_backend", [TRIO], scope="module")
async def test_trio_is_told_so() -> None:
    for attempt in (connect("nats://127.0.0.1:4222/adder", **GOOD), nats.hosts("nats://127.0.0.1:4222/adder", **GOOD)):
        with pytest.raises(FailedPrecondition) as caught:
            await attempt
        assert caught.value.reason == "asyncio_only"


# --- the configuration ---


def rules(config: str, user: str) -> dict[str, list[str]]:
    """What a user may publish and subscribe to."""
    block = re.search(rf'user: "{user}".*?permissions: {{(.*?)\n    }} }}', config, re.DOTALL)
    assert block is not None
    found = re.findall(r"(publish|subscribe): { allow: (.*?) }", block[1])
    return {kind: json.loads(subjects) for kind, subjects in found}


def test_a_configuration_holds_each_user_to_what_is_his() -> None:
    config = server_config(
        [User("fleet", "a", serves=["adder"]), User("anna", "b", dials=["adder"]), User("nobody", "c")]
    )
    adder = Subjects("adder")
    anna = rules(config, "anna")
    assert set(anna["publish"]) == {adder.dial("anna"), adder.up("anna", "*"), "$SRV.INFO.adder"}
    assert set(anna["subscribe"]) == {adder.down("anna", "*"), "_INBOX.anna.>"}
    fleet = rules(config, "fleet")
    assert set(fleet["publish"]) == {adder.down("*", "*"), "_INBOX.>"}
    assert {adder.dial("*"), adder.up("*", "*")} <= set(fleet["subscribe"])
    assert not any(subject.endswith(("dial.*", "up.*.*")) for subject in fleet["publish"])
    assert rules(config, "nobody") == {} and config.count('deny: ">"') == 2


@pytest.mark.parametrize(
    "users",
    [
        [User("a b", "x")],
        [User("anna", "")],
        [User("anna", "two words")],
        [User("anna", "x"), User("anna", "y")],
        [User("anna", "x", dials=["a.>"])],
        [User("fleet", "x", serves=["*"])],
    ],
)
def test_what_cannot_be_configured(users: list[User]) -> None:
    with pytest.raises(InvalidArgument):
        server_config(users)


def test_an_address_that_cannot_be_configured() -> None:
    with pytest.raises(InvalidArgument):
        server_config([], listen="127.0.0.1:4222\nno_auth_user: eve")


def test_a_password_is_quoted() -> None:
    assert r'password: "a\"b\\c$d"' in server_config([User("anna", 'a"b\\c$d')])
