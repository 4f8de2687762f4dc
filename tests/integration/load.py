"""Load on a connection, for tests that kill: calls that hang, calls that return, streams and capabilities, both ways.

Both ends serve a `Target` and put a `Load` on the other's. As a program it is one end in a process of its own:

    python -m tests.integration.load host LOOP KEEPALIVE PATH      starts a plugin; prints `loaded PID` of the plugin
    python -m tests.integration.load plugin LOOP KEEPALIVE         for the host that has started it

Each prints an account (`_tell`) when its load has ended, and ends. With `host+fork` or `plugin+fork` it forks a child
that holds all it has open and does nothing for ever; with `plugin+daemon` that child leaves the session as well.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Generator
from contextlib import contextmanager
from time import monotonic
from typing import Final

import anyio

from capnet import Cap, CapnetError, Host, Limits, Stream, Unavailable, call, connect, stream
from tests.integration.programs import ROOT

__all__ = ["ENDS", "FULL", "HANGING", "STREAMS", "TOKENS", "Load", "RealTarget", "Target", "program"]

HANGING: Final = 20
"""Calls that a load has hanging."""
STREAMS: Final = 4
"""Streams that it reads, and as many that it writes, each for a call of its own."""
TOKENS: Final = 50
"""Capabilities that it gets."""
RETURNING: Final = 5
"""Tasks that make one call after the other."""
ENDS: Final = HANGING + 2 * STREAMS + RETURNING
"""Ends that a load has when it was all on."""
FULL: Final = {"hanging": HANGING, "producing": STREAMS, "consuming": STREAMS, "tokens": TOKENS}
"""`RealTarget.state` under one load. Two loads against each other: 58 calls, 8 streams each way, 100 capabilities."""
_CHUNK: Final = bytes(512)


class Token(Cap, name="tests.Token"):
    """One of many."""

    @call
    async def value(self) -> int: ...


class Target(Cap, name="tests.Target"):
    """What a load is put on."""

    @call
    async def echo(self, value: int) -> int: ...
    @call
    async def hang(self) -> None: ...
    @stream
    def produce(self) -> Stream[bytes]:
        """Chunks without end."""
        ...

    @call
    async def consume(self, chunks: AsyncIterable[bytes]) -> None: ...
    @call
    async def tokens(self, count: int) -> list[Token]: ...
    @call
    async def state(self) -> dict[str, int]:
        """How much of each kind there is now; what there is none of is left out."""
        ...

    @call
    async def exit(self) -> None:
        """End the process without a word."""
        ...

    @call
    async def block(self) -> None:
        """Stop the process's loop for ever, and ignore SIGTERM."""
        ...

    @call
    async def shout(self, size: int) -> None:
        """Write so many bytes to standard error, without a newline."""
        ...


class RealToken(Token):
    """Counted by its target as long as it is referred to."""

    def __init__(self, target: RealTarget, value: int) -> None:
        self._target = target
        self._value = value
        target.count["tokens"] += 1

    async def value(self) -> int:
        return self._value

    async def aclose(self) -> None:
        self._target.count["tokens"] -= 1


class RealTarget(Target):
    """Counts what goes on in it; nothing does once the peers are gone."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()

    @contextmanager
    def _counted(self, kind: str) -> Generator[None]:
        self.count[kind] += 1
        try:
            yield
        finally:
            self.count[kind] -= 1

    async def echo(self, value: int) -> int:
        return value

    async def hang(self) -> None:
        with self._counted("hanging"):
            await anyio.sleep_forever()

    async def produce(self) -> Stream[bytes]:
        with self._counted("producing"):
            while True:
                yield _CHUNK

    async def consume(self, chunks: AsyncIterable[bytes]) -> None:
        with self._counted("consuming"):
            await _read(chunks)

    async def tokens(self, count: int) -> list[Token]:
        return [RealToken(self, value) for value in range(count)]

    async def state(self) -> dict[str, int]:
        return self.going_on

    @property
    def going_on(self) -> dict[str, int]:
        """What `state` tells."""
        return dict(+self.count)

    async def exit(self) -> None:
        os._exit(7)

    async def block(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            signal.pause()

    async def shout(self, size: int) -> None:
        view = memoryview(b"!" * size)
        while view:
            view = view[os.write(2, view) :]


class Load:
    """The load that one end puts on the other.

    Attributes:
        ends: what its calls and streams ended with, `code/reason`, and how often; complete when `run` has returned.
        calls: of those that returned, when they were made (`time.monotonic`) and the seconds they took.
        sources: generators of ours that the peer reads.
        target: what it is put on.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.ends: Counter[str] = Counter()
        self.calls: list[tuple[float, float]] = []
        self.sources = 0

    async def run(self) -> None:
        """Put the load on; returns when all of it has ended, which it does only with the connection."""
        try:
            tokens = await self.target.tokens(TOKENS)
        except CapnetError as error:
            self._ended(error)
            return
        async with anyio.create_task_group() as tasks:
            for _ in range(HANGING):
                tasks.start_soon(self._to_its_end, self.target.hang)
            for _ in range(STREAMS):
                tasks.start_soon(self._to_its_end, self._read)
                tasks.start_soon(self._to_its_end, self._write)
            for _ in range(RETURNING):
                tasks.start_soon(self._to_its_end, self._call)
        del tokens

    async def is_on(self, loads: int = 1) -> None:
        """Return when that many loads, this one among them, are all on the target.

        Raises:
            Unavailable: the peer was gone first.
        """
        wanted = {kind: loads * count for kind, count in FULL.items()}
        while await self.target.state() != wanted:  # noqa: ASYNC110 (asked from afar)
            await anyio.sleep(0.002)

    async def _to_its_end(self, function: Callable[[], Awaitable[None]]) -> None:
        try:
            await function()
        except CapnetError as error:
            self._ended(error)
        else:
            self.ends["returned"] += 1

    def _ended(self, error: CapnetError) -> None:
        self.ends[f"{error.code}/{error.reason}"] += 1

    async def _read(self) -> None:
        await _read(self.target.produce())

    async def _write(self) -> None:
        await self.target.consume(self._source())

    async def _source(self) -> AsyncGenerator[bytes]:
        self.sources += 1
        try:
            while True:
                yield _CHUNK
        finally:
            self.sources -= 1

    async def _call(self) -> None:
        value = 0
        while True:
            value += 1
            since = monotonic()
            assert await self.target.echo(value) == value
            self.calls.append((since, monotonic() - since))
            await anyio.sleep(0.002)


async def _read(chunks: AsyncIterable[bytes]) -> None:
    """Read for ever, with a breath now and then: the machine has other processes to run."""
    count = 0
    async for _ in chunks:
        count += 1
        if not count % 64:
            await anyio.sleep(0.005)


def program(role: str, loop: str, *, keepalive: float = 3600.0, path: str = "") -> list[str]:
    """A command line, to be run in ROOT.

    Args:
        role: `host`, `host+fork`, `plugin`, `plugin+fork` or `plugin+daemon`.
        loop: `asyncio`, `asyncio+uvloop` or `trio`.
        keepalive: seconds of silence until it pings, and until a ping has gone without an answer for too long.
        path: where a host listens.
    """
    return [sys.executable, "-m", "tests.integration.load", role, loop, str(keepalive), path]


# --- the program ---


async def be_plugin(limits: Limits) -> None:
    """Serve, and load the host, until it is gone."""
    own = RealTarget()
    ends: Counter[str] = Counter()
    async with connect("fd:", name="plugin", limits=limits) as host:
        host.serve(own)
        try:
            load = Load(await host.bootstrap(Target, wait=60))
        except Unavailable as error:
            ends[f"{error.code}/{error.reason}"] += 1
        else:
            await load.run()
            ends = load.ends
        cause = await host.wait_closed()
    _tell("plugin", cause.kind, ends, own.going_on)


async def be_host(loop: str, keepalive: float, limits: Limits, path: str, fork: bool) -> None:
    """Serve, start a plugin and load it, until it is gone."""
    own = RealTarget()
    async with Host(name="host", limits=limits) as host:
        host.serve(own)
        await host.listen(f"unix:{path}")
        mark = {name: value for name, value in os.environ.items() if name == "CAPNET_MARK"}
        argv = program("plugin", loop, keepalive=keepalive)
        plugin = await host.connect("exec:", argv=argv, cwd=ROOT, env=mark, stdout=sys.stdout)
        load = Load(await plugin.bootstrap(Target, wait=60))
        if fork:
            leave_a_child(new_session=False)

        async def tell_when_on() -> None:
            await load.is_on()
            print(f"loaded {plugin.attestation.pid}", flush=True)  # noqa: T201 (a program speaks so)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tell_when_on)
            await load.run()
        cause = await plugin.wait_closed()
        for connection in host.connections:
            await connection.wait_closed()
    _tell("host", cause.kind, load.ends, own.going_on)


def _tell(role: str, cause: str, ends: Counter[str], left: dict[str, int]) -> None:
    account = {"role": role, "cause": cause, "ends": ends, "left": left}
    os.write(1, json.dumps(account).encode() + b"\n")  # in one piece: others write to it as well


def leave_a_child(*, new_session: bool) -> None:
    """Fork a process that holds all that this one has open."""
    if os.fork():
        return
    if new_session:
        os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        signal.pause()


def main(role: str, loop: str, keepalive: str, path: str) -> None:
    """See the top of this file."""
    role, _, child = role.partition("+")
    backend, _, variant = loop.partition("+")
    options = {"use_uvloop": True} if variant else {}
    limits = Limits(keepalive=float(keepalive), keepalive_timeout=float(keepalive), handshake_timeout=600.0)
    if role == "plugin":
        if child:
            leave_a_child(new_session=child == "daemon")
        anyio.run(be_plugin, limits, backend=backend, backend_options=options)
    else:
        arguments = (loop, float(keepalive), limits, path, bool(child))
        anyio.run(be_host, *arguments, backend=backend, backend_options=options)


if __name__ == "__main__":
    main(*sys.argv[1:])
