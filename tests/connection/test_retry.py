"""`Retry`, live: by `connect` and by a host, until somebody listens, and until the peer has admitted us."""

from __future__ import annotations

from pathlib import Path

import anyio
import anyio.abc
import pytest

from capnet import Admission, Denied, Host, Introduction, Limits, Retry, Unauthenticated, Unavailable, connect
from capnet.connection.connect import attempt
from capnet.connection.retry import VARIABLE, trying
from capnet.transport import Transport
from tests.cost import HANGS


async def test_it_is_one_mechanism_for_connect_and_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds, a `Retry` and the environment; the last error is told when it ends."""
    url = f"unix:{tmp_path}/s"
    fast = Retry(attempts=3, base=0.001)
    async with Host() as caller:
        with pytest.raises(Unavailable):
            await caller.connect(url, wait=fast)
        with pytest.raises(Unavailable):
            await connect(url, wait=fast)
        monkeypatch.setenv(VARIABLE, f"budget={HANGS} base=0.001 cap=0.01")
        async with Host() as host, anyio.create_task_group() as tasks:

            async def come() -> None:
                connection = await caller.connect(url, ready=True, auth={"token": "t"})
                assert connection.peer_instance != ""
                await connection.aclose()
                tasks.cancel_scope.cancel()

            tasks.start_soon(come)
            await anyio.sleep(0.02)
            await host.listen(url)
            await anyio.sleep_forever()


async def test_attempts_that_take_too_long_are_given_up() -> None:
    """A system that neither refuses nor answers."""
    begun = 0

    async def silent() -> Transport:
        nonlocal begun
        begun += 1
        await anyio.sleep_forever()
        raise AssertionError

    retry = Retry(attempts=2, attempt_timeout=0.01, base=0.001)
    with pytest.raises(Unavailable) as late:
        await trying(
            retry, lambda: attempt(silent, retry.attempt_timeout, False, lambda _: pytest.fail("it was reached"))
        )
    assert (late.value.reason, begun) == ("timeout", 2)


async def test_who_is_not_admitted_is_told_so_once() -> None:
    class Nobody:
        asked = 0

        def identify(self, introduction: Introduction) -> Denied:
            self.asked += 1
            return Denied("no_token")

        def admit(self, request: Admission, /) -> bool:
            return True

    policy = Nobody()
    async with Host(policy=policy) as host:
        await host.listen("memory:nobody")
        with pytest.raises(Unauthenticated):
            async with connect("memory:nobody", wait=Retry(base=0.001), ready=True):
                pass
    assert policy.asked == 1


@pytest.mark.parametrize("kind", ["stranger", "silent", "gone"])
async def test_ready_waits_for_the_hello(tmp_path: Path, kind: str) -> None:
    """Another protocol is no matter of trying again; a peer that ends before its hello, or says nothing, is."""
    path, came = f"{tmp_path}/s", 0
    retry = Retry(attempts=2, base=0.001)

    async def answer(stream: anyio.abc.SocketStream) -> None:
        nonlocal came
        came += 1
        async with stream:
            if kind == "stranger":
                await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            if kind != "gone":
                with anyio.move_on_after(HANGS):
                    while True:
                        await stream.receive()

    async def serve(listener: anyio.abc.SocketListener) -> None:
        await listener.serve(answer_quietly)

    async def answer_quietly(stream: anyio.abc.SocketStream) -> None:
        try:
            await answer(stream)
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return

    listener = await anyio.create_unix_listener(path, mode=0o600)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(serve, listener)
        limits = Limits(handshake_timeout=0.05 if kind == "silent" else HANGS)
        with pytest.raises(Unavailable) as failed:
            async with connect(f"unix:{path}", wait=retry, ready=True, limits=limits):
                pass
        tasks.cancel_scope.cancel()
        assert (failed.value.retry == "never", failed.value.reason == "handshake") == (kind == "stranger",) * 2
    assert came == (1 if kind == "stranger" else 2)
