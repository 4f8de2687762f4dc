"""How a handler may end that is neither a result nor an error: its call ends, and nothing else that need not."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest

from capnet import INJECT, CallContext, Cap, CapnetError, Host, Internal, Stream, call, connect, stream
from capnet.testing import connected
from tests.loops import on_every_loop as on_every_loop


class Desk(Cap, name="ends.Desk"):
    @call
    async def get(self) -> int: ...

    @stream
    def follow(self) -> Stream[int]: ...

    @call
    async def fine(self) -> int: ...


class Odd(BaseException):
    """Of the user's, and no Exception."""


class MemDesk(Desk):
    def __init__(self, raised: Callable[[], BaseException]) -> None:
        self.raised = raised

    async def get(self) -> int:
        raise self.raised()

    async def follow(self) -> Stream[int]:
        yield 1
        raise self.raised()

    async def fine(self) -> int:
        return 1


@pytest.mark.parametrize(
    "raised",
    [GeneratorExit, Odd, lambda: BaseExceptionGroup("", [Odd(), ValueError()]), StopAsyncIteration, StopIteration],
    ids=["GeneratorExit", "Odd", "group", "StopAsyncIteration", "StopIteration"],
)
async def test_what_no_handler_should_raise_ends_its_call_only(raised: Callable[[], BaseException]) -> None:
    """Its caller gets `internal`, as for any fault; the connection goes on."""
    async with connected(MemDesk(raised)) as (server, client):
        desk = await client.bootstrap(Desk)
        for _ in range(2):
            with pytest.raises(Internal):
                await desk.get()
            with pytest.raises(CapnetError):
                async for _ in desk.follow():
                    pass
            assert await desk.fine() == 1
        assert server.stats()["answers"] == server.stats()["streams"] == 0


class Stopping(Cap, name="ends.Stopping"):
    @call
    async def stop(self, how: str) -> str: ...


class MemStopping(Stopping):
    def __init__(self, host: Host) -> None:
        self.host = host
        self.went_on = False

    async def stop(self, how: str, *, ctx: CallContext = INJECT) -> str:
        async with anyio.create_task_group() as tasks:
            match how:
                case "host":
                    await self.host.aclose()
                case "all":
                    await self.host.close_all()
                case "task":
                    tasks.start_soon(self.host.aclose)
                case _:
                    await ctx.connection.aclose()
        self.went_on = True
        return "bye"


@pytest.mark.parametrize("how", ["host", "all", "task", "connection"])
async def test_a_handler_may_end_what_it_runs_on(how: str, tmp_path: object) -> None:
    """It goes on, its answer travels, and then comes the end."""
    async with Host() as host:
        impl = MemStopping(host)
        host.serve(impl)
        await host.listen(f"unix:{tmp_path}/s")
        async with connect(f"unix:{tmp_path}/s") as client:
            assert await (await client.bootstrap(Stopping)).stop(how) == "bye"
            assert impl.went_on
            cause = await client.wait_closed()
            assert cause.kind == "remote"
        if how in ("host", "task"):
            assert host.stats()["listeners"] == 0
