"""Memory transports: names, and what happens to connections that nobody takes."""

from __future__ import annotations

import os
from functools import partial

import anyio
import pytest
from anyio import to_thread

from capnet.errors import AlreadyExists, FailedPrecondition, InvalidArgument, Unavailable
from capnet.testing.transports import Recorder
from capnet.transport import Attestation, Transport
from capnet_transports.memory import memory_pair, scheme
from tests.transports.door import Door


def refuse(transport: Transport) -> None:
    raise AssertionError("nobody should get in")


async def test_name_is_free_again_after_close() -> None:
    for _ in range(2):
        door = Door()
        async with door.open(await scheme.listen("name", door.accept)) as url:
            assert url == "memory:name"
            ours = await scheme.connect("name")
            theirs = await door.next()
            assert ours.attestation == theirs.attestation
            assert ours.attestation.pid == os.getpid() and ours.attestation.uid == os.getuid()
    with pytest.raises(Unavailable) as caught:
        await scheme.connect("name")
    assert caught.value.reason == "no_listener"


async def test_who_is_behind_it_may_be_said() -> None:
    door, who = Door(), Attestation(transport="elsewhere", principal="ann")
    async with door.open(await scheme.listen("name", door.accept)):
        ours = await scheme.connect("name", attestation=who)
        theirs = await door.next()
        assert theirs.attestation is who and ours.attestation.transport == "memory"


async def test_name_is_taken() -> None:
    listener = await scheme.listen("name", refuse)
    with pytest.raises(AlreadyExists):
        await scheme.listen("name", refuse)
    await listener.aclose()
    await listener.aclose()
    await listener.serve()  # returns at once


async def test_name_is_needed() -> None:
    with pytest.raises(InvalidArgument):
        await scheme.listen("", refuse)


async def test_from_another_loop() -> None:
    """That of a thread, of either kind: there would be nobody to take the connection."""
    listener = await scheme.listen("name", refuse)

    async def elsewhere() -> None:
        with pytest.raises(FailedPrecondition) as caught:
            await scheme.connect("name")
        assert caught.value.reason == "another_loop" and "unix:" in caught.value.__notes__[0]

    for backend in ("asyncio", "trio"):
        await to_thread.run_sync(partial(anyio.run, elsewhere, backend=backend))
    await listener.aclose()


async def test_connections_that_were_not_accepted_end_with_the_listener() -> None:
    listener = await scheme.listen("name", refuse)
    transport = await scheme.connect("name")
    recorder = Recorder()
    transport.start(recorder)
    await listener.aclose()
    await recorder.until(lambda: recorder.ends, "the connection ends")


async def test_chunks_are_not_copied() -> None:
    ours, theirs = memory_pair()
    received = list[object]()

    class Keeper(Recorder):
        def data_received(self, data: bytes | bytearray | memoryview) -> None:
            received.append(data)

    chunk = bytes(100)
    theirs.start(Keeper())
    ours.start(Recorder())
    ours.send([chunk])
    await anyio.wait_all_tasks_blocked()
    assert received[0] is chunk
    ours.abort()
