"""`capnet.blocking`: a script and its server, two processes; a loop of the script in a thread of its own."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any, Literal

import anyio
import pytest

from capnet import (
    INJECT,
    CallContext,
    Cap,
    CapnetError,
    FailedPrecondition,
    Host,
    InvalidArgument,
    NotFound,
    Sink,
    Stream,
    Unavailable,
    blocking,
    call,
    connect,
    dup,
    notify,
    pipe,
    stream,
)
from capnet.blocking import BlockingConnection, background
from capnet.blocking.background import Errand
from tests.cost import HANGS
from tests.integration.programs import ROOT
from tests.loops import on_every_loop as on_every_loop

Backend = Literal["asyncio", "trio"]


class Item(Cap, name="blocking.Item"):
    @call
    async def label(self) -> str: ...


class Shop(Cap, name="blocking.Shop"):
    @call
    async def echo(self, text: str, *, times: int = 1) -> str: ...
    @call
    async def make(self, label: str) -> Item: ...
    @call
    async def read(self, item: Item) -> str: ...
    @call
    async def ask(self, question: Callable[[str], Awaitable[str]]) -> str: ...
    @call
    async def refuse(self) -> None: ...
    @call
    async def stay(self) -> None: ...
    @call
    async def happened(self, what: str) -> None:
        """Wait until it has."""
        ...

    @stream
    def numbers(self, count: int) -> Stream[int]: ...
    @call
    async def later(self, count: int) -> Stream[int]: ...
    @call
    async def book(self) -> Sink[str]: ...
    @call
    async def notes(self) -> list[str]: ...
    @call
    async def forget(self) -> None: ...
    @call
    async def callers(self) -> int: ...
    @call
    async def other(self) -> Item: ...


class MemItem(Item):
    def __init__(self, label: str) -> None:
        self._label = label

    async def label(self) -> str:
        return self._label


class Book(Sink[str]):
    def __init__(self) -> None:
        self.notes: list[str] = []

    async def send(self, item: str) -> None:
        self.notes.append(item)

    async def aclose(self) -> None:
        self.notes.append("closed")

    def fail(self, error: CapnetError) -> None:
        self.notes.append(error.code)


class MemShop(Shop):
    def __init__(self, host: Host) -> None:
        self._host = host
        self._book = Book()
        self._events: dict[str, anyio.Event] = {}

    def _event(self, what: str) -> anyio.Event:
        return self._events.setdefault(what, anyio.Event())

    async def echo(self, text: str, *, times: int = 1) -> str:
        return text * times

    async def make(self, label: str) -> Item:
        return MemItem(label)

    async def read(self, item: Item) -> str:
        return await item.label()

    async def ask(self, question: Callable[[str], Awaitable[str]]) -> str:
        return await question("why?")

    async def refuse(self) -> None:
        raise InvalidArgument("no", reason="refused")

    async def stay(self) -> None:
        self._event("staying").set()
        try:
            await anyio.sleep_forever()
        finally:
            self._event("cancelled").set()

    async def happened(self, what: str) -> None:
        await self._event(what).wait()

    async def numbers(self, count: int) -> Stream[int]:
        try:
            for number in range(count):
                yield number
        finally:
            self._event("stopped").set()

    async def later(self, count: int) -> Stream[int]:
        return self.numbers(count)

    async def book(self) -> Sink[str]:
        return self._book

    async def notes(self) -> list[str]:
        return self._book.notes

    async def forget(self) -> None:
        """All that other tests have left."""
        self._book = Book()
        self._events.clear()

    async def callers(self) -> int:
        return len(self._host.connections)

    async def other(self, ctx: CallContext = INJECT) -> Item:
        return await ctx.connection.bootstrap(Item)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it is so."""
    with anyio.fail_after(HANGS):
        while not await condition():  # noqa: ASYNC110 (nothing tells)
            await anyio.sleep(0.001)


async def serve(url: str) -> None:
    async with Host() as host:
        host.serve(MemShop(host))
        await host.listen(url)
        await host.serve_forever(announce=True)


def started(program: str, *words: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", f"import sys\nfrom tests.integration.test_blocking import *\n{program}", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        encoding="utf-8",
        **options,
    )


@pytest.fixture(scope="module")
def server_url() -> Generator[str]:
    """Where a server listens, in a process of its own that ends well."""
    with TemporaryDirectory(prefix="cap", dir="/tmp") as folder:
        yield from serving(f"unix:{folder}/s")


def serving(url: str) -> Generator[str]:
    with started("anyio.run(serve, sys.argv[1])", url, stderr=subprocess.PIPE) as server:
        try:
            assert server.stderr is not None and server.stderr.readline().startswith("listening on")
            yield url
            server.send_signal(signal.SIGTERM)
            assert server.communicate(timeout=HANGS)[1] == ""
            assert server.returncode == 0
        finally:
            server.kill()


@pytest.fixture
def url(server_url: str) -> str:
    """The same, as if it had just been started."""
    with blocking.connect(server_url, wait=HANGS) as conn:
        shop = conn.bootstrap(Shop, wait=HANGS)
        wait_until_callers(conn, shop, 1)
        conn.call(shop.forget)
    return server_url


@pytest.fixture(autouse=True)
def no_thread_left() -> Generator[None]:
    """The loop ends with the last connection."""
    yield
    gc.collect()
    for thread in threading.enumerate():
        if thread.name.startswith("capnet on "):
            thread.join(HANGS)
            assert not thread.is_alive()


@pytest.fixture(params=["asyncio", "trio"])
def backend(request: pytest.FixtureRequest) -> Backend:
    found: Backend = request.param
    return found


@pytest.fixture
def conn(url: str, backend: Backend) -> Generator[BlockingConnection]:
    with blocking.connect(url, backend=backend, wait=HANGS) as conn:
        yield conn


@pytest.fixture
def shop(conn: BlockingConnection) -> Shop:
    return conn.bootstrap(Shop, wait=HANGS)


def wait_until_callers(conn: BlockingConnection, shop: Shop, count: int) -> None:
    """The server has so many connections, of which this is one."""

    async def so_many() -> bool:
        return await shop.callers() == count

    conn.call(until, so_many)


async def failing(error: type[BaseException]) -> None:
    raise error


def interrupt_soon(conn: BlockingConnection, shop: Shop) -> Thread:
    """Ctrl-C, once the main thread waits in the server."""

    def interrupt() -> None:
        conn.call(shop.happened, "staying")
        os.kill(os.getpid(), signal.SIGINT)

    thread = Thread(target=interrupt)
    thread.start()
    return thread


def test_calls(conn: BlockingConnection, shop: Shop) -> None:
    assert conn.call(shop.echo, "x") == "x"
    assert conn.call(shop.echo, text="x", times=3) == "xxx"
    assert conn.call(lambda: pipe(shop.make("piped")).label()) == "piped"
    assert conn.call(notify(shop.echo), "x") is None
    assert conn.call(max, 1, 2) == 2
    with pytest.raises(InvalidArgument) as caught:
        conn.call(shop.refuse)
    assert caught.value.reason == "refused"
    with pytest.raises(NotFound):
        conn.bootstrap(Item)
    with pytest.raises(ZeroDivisionError):
        conn.call(lambda: 1 // 0)
    for end in (SystemExit, KeyboardInterrupt):
        with pytest.raises(end):
            conn.call(failing, end)
    assert conn.call(shop.echo, "x") == "x"
    assert not conn.closed and "BlockingConnection" in repr(conn)


def test_capabilities_go_and_come(conn: BlockingConnection, shop: Shop) -> None:
    item = conn.call(shop.make, "tea")
    assert conn.call(item.label) == "tea"
    copy = conn.call(dup, item)
    conn.call(item.aclose)
    assert conn.call(copy.label) == "tea"
    assert conn.call(shop.read, MemItem("mine")) == "mine"


def test_functions_are_called_meanwhile_in_the_thread_of_the_loop(conn: BlockingConnection, shop: Shop) -> None:
    threads: list[Thread] = []

    async def answer(question: str) -> str:
        threads.append(threading.current_thread())
        return question + await shop.echo(" because", times=2)

    assert conn.call(shop.ask, answer) == "why? because because"
    assert threads[0] is not threading.current_thread()


def test_what_is_served_is_called_meanwhile(conn: BlockingConnection, shop: Shop) -> None:
    conn.call(conn.connection.serve, MemItem("served"))
    assert conn.call(conn.call(shop.other).label) == "served"


def test_streams_are_iterators(conn: BlockingConnection, shop: Shop) -> None:
    assert list(conn.iterate(shop.numbers, 1000)) == list(range(1000))
    assert list(conn.iterate(shop.numbers, count=3)) == [0, 1, 2]
    assert list(conn.iterate(shop.later, 3)) == [0, 1, 2]
    assert list(conn.iterate(conn.call(shop.later, 3))) == [0, 1, 2]

    async def own() -> Stream[str]:
        yield "a"
        yield "b"

    assert list(conn.iterate(own)) == ["a", "b"]
    numbers = conn.iterate(shop.numbers, 1)
    assert (next(numbers), next(numbers, None), next(numbers, None)) == (0, None, None)


@pytest.mark.parametrize("how", ["closed", "dropped"])
def test_a_stream_that_nobody_reads_is_stopped(conn: BlockingConnection, shop: Shop, how: str) -> None:
    numbers = conn.iterate(shop.numbers, 10**9)
    assert next(numbers) == 0
    if how == "closed":
        numbers.close()
        numbers.close()
    del numbers
    conn.call(shop.happened, "stopped")


def test_a_sink_is_written_by_calls(conn: BlockingConnection, shop: Shop) -> None:
    book = conn.call(shop.book)
    conn.call(book.send, "first")
    conn.call(book.aclose)

    async def closed() -> bool:
        return "closed" in await shop.notes()

    conn.call(until, closed)
    assert conn.call(shop.notes) == ["first", "closed"]


def test_an_interrupt_cancels_the_call_that_waits_and_nothing_else(conn: BlockingConnection, shop: Shop) -> None:
    thread = interrupt_soon(conn, shop)
    with pytest.raises(KeyboardInterrupt):
        conn.call(shop.stay)
    thread.join()
    conn.call(shop.happened, "cancelled")
    assert conn.call(shop.echo, "still here") == "still here"


def test_an_interrupt_while_a_stream_is_read(conn: BlockingConnection, shop: Shop) -> None:
    async def never() -> Stream[int]:
        yield 1
        await shop.stay()

    numbers = conn.iterate(never)
    assert next(numbers) == 1
    thread = interrupt_soon(conn, shop)
    with pytest.raises(KeyboardInterrupt):
        next(numbers)
    thread.join()
    conn.call(shop.happened, "cancelled")


def test_who_waits_looks_up_now_and_then(conn: BlockingConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt may have come just before it began to wait; a timeout of what it waits for is no such look."""
    monkeypatch.setattr(background, "GLANCE", 0.01)

    async def late(error: Exception | None = None) -> int:
        await anyio.sleep(0.05)
        if error is not None:
            raise error
        return 5

    assert conn.call(late) == 5
    with pytest.raises(TimeoutError, match="its own"):
        conn.call(late, TimeoutError("its own"))


def test_an_interrupt_while_nobody_listens_yet(tmp_path: Path, backend: Backend) -> None:
    """The test would hang for the time of `wait` if it went on trying."""
    timer = threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        blocking.connect(f"unix:{tmp_path}/nobody", backend=backend, wait=10 * HANGS)
    timer.join()


def test_what_has_not_begun_when_it_is_given_up_does_not_begin(conn: BlockingConnection) -> None:
    """The interrupt may come before there is anything to cancel."""
    done: list[int] = []
    errand = Errand(lambda: done.append(1))
    errand._given_up = True
    with pytest.raises(Unavailable):
        errand.result(conn._loop)
    assert done == []


def test_several_threads(conn: BlockingConnection, shop: Shop) -> None:
    results: list[str] = []

    def work(number: int) -> None:
        results.extend(conn.call(shop.echo, f"{number}.{count}") for count in range(50))

    threads = [Thread(target=work, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == sorted(f"{number}.{count}" for number in range(8) for count in range(50))


def test_connections_share_the_loop(url: str, conn: BlockingConnection, shop: Shop, backend: Backend) -> None:
    with blocking.connect(url, backend=backend) as second:
        item = second.call(second.bootstrap(Shop).make, "of the other")
        assert conn.call(shop.read, item) == "of the other"
    wait_until_callers(conn, shop, 1)


def test_closing_ends_what_other_threads_wait_for(url: str, backend: Backend, conn: BlockingConnection) -> None:
    second = blocking.connect(url, backend=backend)
    shop = second.bootstrap(Shop)
    failures: list[BaseException] = []

    def wait(function: Callable[[], Awaitable[None]]) -> None:
        try:
            second.call(function)
        except BaseException as error:
            failures.append(error)

    threads = [Thread(target=wait, args=[function]) for function in (shop.stay, anyio.sleep_forever)]
    for thread in threads:
        thread.start()
    second.call(shop.happened, "staying")
    second.close()
    for thread in threads:
        thread.join()
    assert [type(error) for error in failures] == [Unavailable, Unavailable]
    for _ in range(2):
        second.close()
    assert second.closed
    with pytest.raises(Unavailable):
        second.call(shop.stay)
    with pytest.raises(Unavailable):
        second.bootstrap(Shop)


def test_a_block_that_is_left_by_an_error_ends_at_once(url: str, backend: Backend) -> None:
    conn = blocking.connect(url, backend=backend)
    with pytest.raises(ZeroDivisionError), conn:
        raise ZeroDivisionError
    assert conn.closed


def test_one_that_nobody_holds_is_closed(url: str, conn: BlockingConnection, shop: Shop, backend: Backend) -> None:
    second = blocking.connect(url, backend=backend)
    second.bootstrap(Shop)
    wait_until_callers(conn, shop, 2)
    del second
    gc.collect()
    wait_until_callers(conn, shop, 1)


def test_what_is_used_in_the_wrong_place_says_so(conn: BlockingConnection, shop: Shop) -> None:
    def inside() -> None:
        conn.call(shop.echo, "x")

    async def close() -> None:
        conn.close()

    for function in (inside, close):
        with pytest.raises(FailedPrecondition) as caught:
            conn.call(function)
        assert caught.value.reason == "in_loop"
    with pytest.raises(FailedPrecondition) as caught:
        shop.echo("x")  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    assert caught.value.reason == "another_loop" and any("conn.call" in note for note in caught.value.__notes__)
    assert not conn.closed


def test_who_is_not_there(tmp_path: Path, backend: Backend) -> None:
    with pytest.raises(Unavailable) as caught:
        blocking.connect(f"unix:{tmp_path}/nobody", backend=backend)
    assert "is the server running?" in str(caught.value)
    with pytest.raises(LookupError):
        blocking.connect(f"unix:{tmp_path}/nobody", backend="curio")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_the_peer_ends(tmp_path: Path, backend: Backend) -> None:
    url = f"unix:{tmp_path}/s"
    with started("anyio.run(serve, sys.argv[1])", url, stderr=subprocess.DEVNULL) as server:
        conn = blocking.connect(url, backend=backend, wait=HANGS)
        shop = conn.bootstrap(Shop)

        def kill() -> None:
            conn.call(shop.happened, "staying")
            server.kill()

        thread = Thread(target=kill)
        thread.start()
        with pytest.raises(Unavailable):
            conn.call(shop.stay)
        thread.join()
        conn.call(conn.connection.wait_closed)
        assert conn.closed
        conn.close()


LEFT_OPEN = """
conn = blocking.connect(sys.argv[1], backend=sys.argv[2])
shop = conn.bootstrap(Shop)
book = conn.call(shop.book)
conn.call(book.send, "last words")
conn.call(notify(shop.echo), "x")
"""
FORKED = """
import os
from capnet import FailedPrecondition
with blocking.connect(sys.argv[1], backend=sys.argv[2]) as conn:
    shop = conn.bootstrap(Shop)
    child = os.fork()
    if not child:
        try:
            conn.call(shop.echo, "x")
        except FailedPrecondition as error:
            print(error.reason)
        conn.close()
        with blocking.connect(sys.argv[1], backend=sys.argv[2]) as own:
            print(own.call(own.bootstrap(Shop).echo, "child"))
        sys.exit()
    assert os.waitpid(child, 0)[1] == 0
    print(conn.call(shop.echo, "parent"))
"""
EXITS = """
from capnet import Unavailable
async def leave(question):
    raise SystemExit(3)
conn = blocking.connect(sys.argv[1], backend=sys.argv[2])
shop = conn.bootstrap(Shop)
try:
    conn.call(shop.ask, leave)
except Unavailable:
    print("over")
try:
    conn.call(shop.echo, "x")
except Unavailable:
    print("over")
conn._loop.thread.join()  # until then it may look alive
with blocking.connect(sys.argv[1], backend=sys.argv[2]) as own:
    print(own.call(own.bootstrap(Shop).echo, "another"))
"""


@pytest.mark.parametrize(
    ("program", "says"),
    [(LEFT_OPEN, ""), (FORKED, "another_loop\nchild\nparent\n"), (EXITS, "over\nover\nanother\n")],
    ids=["left open", "forked", "exits"],
)
def test_whole_programs(url: str, backend: Backend, program: str, says: str) -> None:
    with started(program, url, backend, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        out, err = process.communicate(timeout=HANGS)
    assert (process.returncode, out) == (0, says), err
    if program is not EXITS:  # there the loop says why it has ended
        assert err == ""


def test_what_a_program_leaves_open_is_closed_in_order(url: str, backend: Backend) -> None:
    """The peer sees an end, no loss: what was said last is there."""
    with started(LEFT_OPEN, url, backend) as process:
        assert process.wait(HANGS) == 0

    async def notes() -> list[str]:
        async with connect(url) as connection:
            shop = await connection.bootstrap(Shop)

            async def ended() -> bool:
                return len(await shop.notes()) == 2

            await until(ended)
            return await shop.notes()

    assert anyio.run(notes)[0] == "last words"


async def test_beside_a_loop_that_runs(tmp_path: Path, anyio_backend_name: str) -> None:
    """As in a notebook: it blocks the loop of the caller, and works."""
    url = f"unix:{tmp_path}/s"
    with started("anyio.run(serve, sys.argv[1])", url, stderr=subprocess.DEVNULL) as server:
        backend: Backend = "trio" if anyio_backend_name == "trio" else "asyncio"
        with blocking.connect(url, wait=HANGS, backend=backend) as conn:
            assert conn.call(conn.bootstrap(Shop).echo, "x") == "x"
        server.terminate()
