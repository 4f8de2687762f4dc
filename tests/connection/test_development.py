"""Development mode: what a callee tells of its errors, and to whom; what is held up, slow or not awaited is told."""

from __future__ import annotations

import gc
import os
import threading
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import anyio.lowlevel
import pytest
import structlog
from structlog.testing import capture_logs

from capnet import (
    Call,
    Cap,
    CapnetError,
    Connection,
    Host,
    Internal,
    PermissionDenied,
    Stream,
    call,
    connect,
    pipe,
    stream,
)
from capnet.connection.options import in_development
from capnet.dispatch import watched
from capnet.session.disclosure import is_ours
from capnet.transport import Attestation
from tests.connection.shop import until

ANYBODY: Mapping[str, Any] = {"token": None}
NONE: Mapping[str, Any] = {}


class Bench(Cap, name="dev.Bench"):
    """Fails in every way."""

    @call
    async def fail(self, text: str) -> None: ...

    @call
    async def refuse(self) -> None: ...

    @call
    async def mistyped(self) -> int: ...

    @call
    async def block(self) -> None: ...

    @call
    async def wait(self) -> int: ...

    @call
    async def another(self) -> Bench: ...

    @call
    async def ask(self, other: Bench) -> None: ...

    @stream
    def numbers(self) -> Stream[int]: ...


class MemBench(Bench):
    """Fails."""

    def __init__(self) -> None:
        self.told = threading.Event()

    async def fail(self, text: str) -> None:
        self.deeper(text)

    def deeper(self, text: str) -> None:
        raise KeyError(text)

    async def refuse(self) -> None:
        raise PermissionDenied("not you", details={"who": "you"})

    async def mistyped(self) -> int:
        return "words"  # type: ignore[return-value]  # pyright: ignore[reportReturnType]

    async def block(self) -> None:
        assert self.told.wait(60)

    async def wait(self) -> int:
        await anyio.lowlevel.checkpoint()
        return 1

    async def another(self) -> Bench:
        raise KeyError("no other")

    async def ask(self, other: Bench) -> None:
        await other.fail("below")

    async def numbers(self) -> Stream[int]:
        yield 1
        raise ValueError("no more numbers")


@asynccontextmanager
async def benches(
    url: str = "memory:bench", *, development: bool | None = True, options: Mapping[str, Any] = NONE
) -> AsyncGenerator[tuple[MemBench, Bench, Connection]]:
    """A bench, and a proxy of it at a client; both sides are in development mode, or the host alone is."""
    served = MemBench()
    async with Host(development=development) as host:
        host.serve(served)
        listener = await host.listen(url, **options)
        async with connect(listener.url, development=development, **options) as connection:
            yield served, await connection.bootstrap(Bench), connection


def told(error: BaseException) -> str:
    """What was noted on it."""
    return "\n".join(getattr(error, "__notes__", []))


async def error_of(failing: Awaitable[object]) -> CapnetError:
    """What it fails with."""
    with pytest.raises(CapnetError) as caught:
        await failing
    return caught.value


@pytest.mark.parametrize("scheme", ["memory", "unix"])
async def test_the_traceback_of_the_callee_is_a_note(scheme: str, tmp_path: Path) -> None:
    """P-ERR-4: from the handler's own first line on; for errors that it meant as well."""
    url = "memory:bench" if scheme == "memory" else f"unix:{tmp_path}/bench.sock"
    async with benches(url) as (_, bench, _connection):
        failed = await error_of(bench.fail("the text"))
        assert type(failed) is Internal and failed.details.keys() == {"correlation"}
        assert "in fail" in told(failed) and "in deeper" in told(failed) and "KeyError: 'the text'" in told(failed)
        assert "dispatcher.py" not in told(failed)
        refused = await error_of(bench.refuse())
        assert type(refused) is PermissionDenied and refused.details == {"who": "you"}
        assert "in refuse" in told(refused)
        assert "Expected `int`, got `str`" in told(await error_of(bench.mistyped()))


async def test_it_is_told_of_streams_and_of_calls_on_what_comes() -> None:
    """P-ERR-4: wherever an error of the callee's arrives."""
    async with benches() as (_, bench, _connection):
        with pytest.raises(Internal) as caught:
            async for _number in bench.numbers():
                pass
        assert "ValueError: no more numbers" in told(caught.value)
        assert "KeyError: 'no other'" in told(await error_of(pipe(bench.another()).wait()))


async def test_who_awaits_twice_has_notes_of_each() -> None:
    """What is added to one error is not on another."""
    async with benches() as (_, bench, _connection):
        failing = bench.fail("twice")
        first = await error_of(failing)
        first.add_note("of the first")
        assert "of the first" not in told(await error_of(failing)) and "KeyError" in told(first)


async def test_a_long_one_is_cut_and_speaks_to_no_terminal() -> None:
    """P-ERR-4: its end is what stays; the peer's text is escaped."""
    async with benches() as (_, bench, _connection):
        note = told(await error_of(bench.fail("\x1b[31m\u202e" + "é" * 20_000)))
        assert len(note) < 10_000 and note.startswith("traceback at the callee:\n  | ")
        escaped = told(await error_of(bench.fail("\x1b[31m\n\u202e")))
        assert all(char.isprintable() or char == "\n" for char in escaped)


@pytest.mark.parametrize("development", [None, False])
async def test_without_development_nothing_is_told(development: bool | None) -> None:
    """P-ERR-2: only the word that finds it in the log."""
    async with benches(development=development) as (_, bench, connection):
        for failing in (bench.fail("secret"), bench.refuse(), bench.mistyped(), pipe(bench.another()).wait()):
            assert not told(await error_of(failing))
        assert connection._parts.watchdog is None


async def test_strangers_are_told_nothing_in_development_either() -> None:
    """P-ERR-4: who comes by the network may be anybody."""
    async with benches("tcp:127.0.0.1:0", options=ANYBODY) as (_, bench, _connection):
        for failing in (bench.fail("secret"), bench.refuse(), bench.mistyped()):
            error = await error_of(failing)
            assert not told(error) and "capnet.traceback" not in error.details


async def test_who_stands_behind_a_gateway_is_told_nothing() -> None:
    """P-ERR-4: a link in this process may be somebody else's."""
    async with Host(development=True) as host:
        host.serve(MemBench())
        await host.listen("memory:bench")
        stranger = Attestation(transport="ws", address="192.0.2.1:5000")
        async with connect("memory:bench", attestation=stranger) as connection:
            assert not told(await error_of((await connection.bootstrap(Bench)).fail("secret")))


@pytest.mark.parametrize(
    ("attestation", "ours"),
    [
        (Attestation(transport="memory"), True),
        (Attestation(transport="unix", uid=os.geteuid()), True),
        (Attestation(transport="exec", uid=os.geteuid()), True),
        (Attestation(transport="unix", uid=os.geteuid() + 1), False),
        (Attestation(transport="unix"), False),
        (Attestation(transport="stdio", uid=os.geteuid()), False),
        (Attestation(transport="tcp", address="127.0.0.1:1", principal="owner", level="internal"), False),
        (Attestation(transport="asgi", uid=os.geteuid()), False),
        (Attestation(), False),
    ],
    ids=["memory", "unix", "exec", "another", "unknown", "stdio", "tcp", "asgi", "nothing"],
)
async def test_who_is_told(attestation: Attestation, *, ours: bool) -> None:
    """P-ERR-4: who runs as we do, and no one else, whatever a policy calls them."""
    assert is_ours(attestation) is ours


async def test_what_is_told_below_goes_up_only_among_friends() -> None:
    """P-ERR-4: a peer in the middle has it as a note, and a note goes no further than it may."""
    async with benches("memory:below") as (_, below, _connection):
        async with benches("memory:middle") as (_, middle, _other):
            note = told(await error_of(middle.ask(below)))
            assert "KeyError: 'below'" in note and "in ask" in note
        for url, development, options in (
            ("memory:up", False, NONE),
            ("tcp:127.0.0.1:0", True, ANYBODY),
        ):
            async with Host(development=development) as host:
                host.serve(below)  # passed on as it is
                host.serve(MemBench(), name="own")
                listener = await host.listen(url, **options)
                async with connect(listener.url, **options) as up:
                    assert not told(await error_of((await up.bootstrap(Bench)).fail("below")))
                    own = await up.bootstrap(Bench, name="own")
                    assert not told(await error_of(own.ask(await up.bootstrap(Bench))))


@pytest.mark.parametrize(
    ("said", "environment", "on"),
    [(None, "", False), (None, "0", False), (None, "1", True), (False, "1", False), (True, "", True)],
)
async def test_the_program_has_the_last_word(
    monkeypatch: pytest.MonkeyPatch, *, said: bool | None, environment: str, on: bool
) -> None:
    """The environment decides only where it says nothing."""
    monkeypatch.setenv("CAPNET_DEVELOPMENT", environment)
    assert in_development(said) is on


@pytest.fixture
def entries() -> Iterator[list[Any]]:
    """What is logged."""
    structlog.configure()
    try:
        with capture_logs() as entries:
            yield entries
    finally:
        structlog.reset_defaults()


async def test_a_handler_that_holds_up_the_loop_is_named_while_it_does(
    entries: list[Any],
) -> None:
    """With the line that it is at; it ends only when that was told."""
    async with benches() as (served, bench, _connection):
        watcher = threading.Thread(target=when, args=(lambda: held_up(entries), served.told.set), daemon=True)
        watcher.start()
        await bench.block()
        assert "dev.Bench.block" in {entry.get("handler") for entry in held_up(entries)}
        at = "\n".join(entry["at"] for entry in held_up(entries))
        assert "in block" in at and "dispatcher.py" not in at


def held_up(entries: list[Any]) -> list[Any]:
    """Those that say so."""
    return [entry for entry in entries if entry["event"] == "the loop is held up"]


def when(so: Callable[[], object], then: Callable[[], object]) -> None:
    """Wait in a thread until something is so."""
    waiting = threading.Event()
    for _ in range(6000):
        if so():
            break
        waiting.wait(0.01)
    then()


async def test_the_watchdog_goes_with_the_last_connection() -> None:
    """One for each thread; nothing stays."""
    async with benches("memory:one"), benches("memory:two"):
        assert [thread.name for thread in threading.enumerate()].count("capnet watchdog") >= 1
    await until(lambda: all(thread.name != "capnet watchdog" for thread in threading.enumerate()))


async def test_a_slow_handler_is_named(entries: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """When it has ended, with how long it took."""
    monkeypatch.setattr(watched, "SLOW", 0.0)
    async with benches() as (_, bench, _connection):
        assert await bench.wait() == 1
        slow = [entry for entry in entries if entry["event"] == "slow handler"]
        assert [entry["log_level"] for entry in slow if entry["handler"] == "dev.Bench.wait"] == ["warning"]


async def test_a_call_that_failed_unheard_is_told_with_its_line() -> None:
    """Where it was made; one that was awaited, given up or piped is not."""
    async with benches() as (_, bench, connection):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            bench.fail("unheard")  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
            await error_of(bench.fail("heard"))
            given_up = cast("Call[None]", bench.fail("given up"))
            given_up.cancel()
            await error_of(pipe(bench.another()).wait())
            bench.wait()  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
            del given_up
            await connection.ping()
            gc.collect()
        (warning,) = caught
        assert issubclass(warning.category, RuntimeWarning) and warning.filename == __file__
        assert "nobody has awaited dev.Bench.fail, which has failed: internal" in str(warning.message)
