"""News that there are other names, by way of the runtime capability (P-CAP-9)."""

from __future__ import annotations

import gc
from contextlib import aclosing
from typing import Any

import pytest

from capnet import Connection, Host, ResourceExhausted, connect
from capnet.serving.changes import MAX_ASKED
from capnet.serving.event_stream import MAX_EVENT_STREAMS
from capnet.testing import assert_no_leaks
from tests.connection.shop import MemShop, socket_pair, until


async def changes_of(client: Connection, server: Connection) -> Any:
    """A stream of changes that the other side has opened already."""
    before = server._session.publisher.event_streams
    changes = client.runtime().changes()
    await until(lambda: server._session.publisher.event_streams == before + 1)
    return changes


class Only:
    """Peers may have names that begin with `x`."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def admit(self, request: Any) -> bool:
        self.asked.append(request.name)
        return bool(request.name.startswith("x"))


async def test_a_peer_is_told_when_a_name_is_served_replaced_and_ended() -> None:
    async with socket_pair() as (server, client):
        async with aclosing(await changes_of(client, server)) as changes:
            handle = server.serve(MemShop())
            assert await anext(changes) == 1
            await server.replace(MemShop())
            assert await anext(changes) == 2
            handle.close()
            assert await anext(changes) == 3
        await until(lambda: not server._session.publisher.event_streams)
        assert not any(registry._followers for registry in server._names.registries)
        await assert_no_leaks(server, client)


async def test_it_is_told_of_the_names_of_its_host_that_it_may_have_and_of_no_others() -> None:
    policy = Only()
    async with Host(policy=policy) as host:
        await host.listen("memory:changes")
        async with connect("memory:changes", ready=True) as client:
            (server,) = host.connections
            async with aclosing(await changes_of(client, server)) as changes:
                host.serve(MemShop(), name="secret")
                await until(lambda: "secret" in policy.asked)
                host.serve(MemShop(), name="x")
                assert await anext(changes) == 1
                policy.asked.clear()
                for number in range(2 * MAX_ASKED):
                    host.serve(MemShop(), name=f"s{number}")
                assert await anext(changes) == 2  # too many to look at each
                assert policy.asked == []
        assert not host._services.registry._followers


async def test_a_peer_may_have_few_of_these_streams() -> None:
    async with socket_pair() as (server, client):
        streams = [await changes_of(client, server) for _ in range(MAX_EVENT_STREAMS)]
        for more in (client.runtime().changes(), client.runtime().events()):
            with pytest.raises(ResourceExhausted) as raised:
                await anext(more)
            assert raised.value.reason == "max_event_streams"
        for stream in streams:
            await stream.aclose()
        await until(lambda: not server._session.publisher.event_streams)
        async with aclosing(await changes_of(client, server)) as changes:
            server.serve(MemShop())
            assert await anext(changes) == 1


async def test_the_stream_of_a_connection_that_is_lost_is_forgotten() -> None:
    async with Host() as host:
        await host.listen("memory:changes")
        async with connect("memory:changes", ready=True) as client:
            (server,) = host.connections
            changes = await changes_of(client, server)
        del changes, server
        gc.collect()
        await until(lambda: not host._services.registry._followers)
