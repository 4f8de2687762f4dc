"""Faults at the k-th chance: where a task waits, where a socket is used, where the engine is told or encodes something.

Nothing of capnet is changed for this. Each task's coroutine runs inside of another that sees every wait of it: on
asyncio a task factory puts it there, on trio an instrument. Sockets are of a subclass that can fail; methods of the
engine are exchanged for the time of one trial.
"""

from __future__ import annotations

import asyncio
import enum
import errno
import os
import selectors
import socket
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from inspect import iscoroutine
from time import monotonic
from types import coroutine
from typing import Any, Final, cast
from unittest.mock import patch

import anyio
import outcome
import trio
from trio import lowlevel

from capnet.engine.answering import Answering
from capnet.engine.calling import Calling
from capnet.engine.engine import Engine
from capnet.engine.exporting import Exporting
from capnet.engine.importing import Importing
from capnet.engine.keepalive import Keepalive
from capnet.engine.streaming import Streaming
from capnet.wire.codec import Codec
from capnet_transports import inet, unix

__all__ = ["Chances", "Injected", "Kind", "Virtual", "watched"]


class Kind(enum.Enum):
    """What goes wrong, and of what it is the k-th."""

    CANCEL = "the scenario is cancelled at a wait of any task"
    CANCEL_BODY = "the user's part of it is cancelled at a wait of any task; its connections live on"
    MEMORY = "MemoryError comes out of a wait of any task"
    SOCKET = "OSError comes out of an operation on a socket"
    INTENT = "MemoryError comes out of an intent, before the engine has done anything"
    ENCODE = "MemoryError comes out of an encoding"


class Injected(MemoryError):
    """The memory error that a trial injects."""


class Chances:
    """Counts the chances of one trial and takes the one that it is about.

    Args:
        kind: what goes wrong, None when the trial only counts.
        number: at which chance of that kind, from 0.
    """

    def __init__(self, kind: Kind | None = None, number: int = 0) -> None:
        self.kind = kind
        self.number = number
        self.counts: Counter[Kind] = Counter()
        self.active = False
        """Whether chances are counted now."""
        self.in_body = False
        self.taken = ""
        """Where the fault was injected; empty while it was not."""
        self.places: defaultdict[Kind, list[str]] = defaultdict(list)
        """Where each chance was, in a trial that only counts."""
        self.whole: anyio.CancelScope
        self.body: anyio.CancelScope
        self._in_engine = False

    def take(self, kind: Kind, place: Callable[[], str]) -> bool:
        """Count one chance of a kind; whether it is the one."""
        if not self.active:
            return False
        if self.kind is None:
            self.places[kind].append(place())
            return False
        count = self.counts[kind]
        self.counts[kind] += 1
        if kind is not self.kind or count != self.number:
            return False
        self.taken = place()
        return True

    # Waits

    def suspended(self, running: Any) -> BaseException | None:
        """A task waits. Returns what is to come out of the wait, if it ends by itself."""
        place = partial(place_of, running)
        if self.take(Kind.CANCEL, place):
            self.whole.cancel()
        if self.in_body and self.take(Kind.CANCEL_BODY, place):
            self.body.cancel()
        if self.active and not _must_not_fail(running) and self.take(Kind.MEMORY, place):
            place_taken, self.taken = self.taken, ""
            return Injected(place_taken)
        return None

    # Sockets

    def operate(self, name: str) -> None:
        """A socket is used.

        Raises:
            OSError: this is the chance.
        """
        if self.take(Kind.SOCKET, lambda: name):
            numbers = ERRORS[name]
            number = numbers[self.number % len(numbers)]
            raise OSError(number, f"injected {errno.errorcode[number]}")

    # The engine

    def intend(self, name: str, intent: Callable[..., Any], counted: bool) -> Callable[..., Any]:
        """The same method of the engine, which may fail before it begins, when it was called from outside."""

        def method(*args: Any, **kwargs: Any) -> Any:
            if self._in_engine:
                return intent(*args, **kwargs)
            if counted and self.take(Kind.INTENT, lambda: name):
                raise Injected(name)
            self._in_engine = True
            try:
                return intent(*args, **kwargs)
            finally:
                self._in_engine = False

        return method

    def encode(self, name: str, encode: Callable[..., Any]) -> Callable[..., Any]:
        """The same method of the codec, which may fail."""

        def method(codec: Codec, frame: Any) -> Any:
            if self.take(Kind.ENCODE, lambda: f"{name} {str(frame)[:60]}"):
                raise Injected(name)
            return encode(codec, frame)

        return method


ERRORS: Final = {
    "connect": (errno.ECONNREFUSED, errno.EACCES),
    "accept": (errno.EMFILE, errno.ECONNABORTED),
    "send": (errno.EPIPE, errno.ECONNRESET, errno.ENOBUFS),
    "receive": (errno.ECONNRESET, errno.ETIMEDOUT),
    "shutdown": (errno.ENOTCONN, errno.EIO),
    "close": (errno.EIO, errno.EDQUOT),
}
"""What may come of each operation, in turn."""
INTENTS: Final = {
    Engine: "strike close finish",
    Calling: "call cancel keep",
    Answering: "reply fail end_answer forward",
    Streaming: "send flush end take consumed stop release release_all",
    Importing: "hold release release_call",
    Exporting: "revoke replace",
    Keepalive: "ping",
}
"""What the driver and the other parts of a connection tell the engine."""
INPUTS: Final = "receive_data receive_eof handle_timeout data_to_send"
"""What the engine does for the transport and the clock; intents in there are its own."""


@contextmanager
def watched(chances: Chances) -> Generator[None]:
    """While the block runs, sockets, engines and codecs made by capnet have these chances."""

    def new_socket(family: int = socket.AF_UNIX) -> socket.socket:
        sock = FaultySocket(family, socket.SOCK_STREAM)
        sock.chances = chances
        sock.setblocking(False)
        return sock

    with ExitStack() as stack:
        for module in (inet, unix):
            stack.enter_context(patch.object(module, "_new_socket", new_socket))
        for kind, names in INTENTS.items():
            for name in names.split():
                method = chances.intend(f"{kind.__name__}.{name}", getattr(kind, name), counted=True)
                stack.enter_context(patch.object(kind, name, method))
        for name in INPUTS.split():
            method = chances.intend(name, getattr(Engine, name), counted=False)
            stack.enter_context(patch.object(Engine, name, method))
        for name in ("encode", "encode_pieces"):
            stack.enter_context(patch.object(Codec, name, chances.encode(name, getattr(Codec, name))))
        yield


class FaultySocket(socket.socket):
    """A socket whose operations may fail; one that closes with an error is closed."""

    chances: Chances

    def connect(self, address: Any) -> None:
        self.chances.operate("connect")
        super().connect(address)

    def accept(self) -> tuple[socket.socket, Any]:
        self.chances.operate("accept")
        number, address = cast("Any", self)._accept()
        return self._another(number), address

    def dup(self) -> FaultySocket:
        return self._another(os.dup(self.fileno()))

    def _another(self, number: int) -> FaultySocket:
        sock = FaultySocket(self.family, self.type, self.proto, fileno=number)
        sock.chances = self.chances
        return sock

    def send(self, *args: Any) -> int:
        self.chances.operate("send")
        return super().send(*args)

    def sendmsg(self, *args: Any) -> int:
        self.chances.operate("send")
        return super().sendmsg(*args)

    def recv(self, *args: Any) -> bytes:
        self.chances.operate("receive")
        return super().recv(*args)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        self.chances.operate("receive")
        return super().recv_into(buffer, nbytes, flags)

    def shutdown(self, how: int) -> None:
        self.chances.operate("shutdown")
        super().shutdown(how)

    def close(self) -> None:
        there = self.fileno() >= 0
        super().close()
        if there:
            self.chances.operate("close")


# Waits of every task

HANGS: Final = 240.0
"""Seconds of real time after which a loop with a virtual clock is given up."""
SLOWLY: Final = 0.05
"""Seconds by which a virtual clock goes on in one of real time: whoever turns until a deadline comes there, and no
deadline passes because the machine is slow."""


class Virtual(selectors.DefaultSelector):
    """A selector whose loop does not wait for time: where nothing else is to be done, the clock jumps.

    The clock also runs by itself, `SLOWLY`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._skipped = 0.0
        self._begun = monotonic()

    def time(self) -> float:
        """Seconds of the loop's clock."""
        return (monotonic() - self._begun) * SLOWLY + self._skipped

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(1 if timeout is None else 0)
        if not ready and timeout is None:
            raise RuntimeError("every task waits for ever")
        if monotonic() - self._begun > HANGS:
            raise RuntimeError("the loop turns for ever")
        if not ready and timeout:
            self._skipped += timeout
        return ready

    @classmethod
    def loop(cls) -> asyncio.AbstractEventLoop:
        """A new loop with such a clock."""
        selector = cls()
        loop = asyncio.SelectorEventLoop(selector)
        loop.time = selector.time  # type: ignore[method-assign]
        return loop


class Tasks(trio.abc.Instrument):
    """Has the waits of every new task counted.

    Args:
        chances: of the trial, that begins with `watch`.
    """

    def __init__(self, chances: Chances) -> None:
        self._chances = chances

    def task_spawned(self, task: lowlevel.Task) -> None:
        if self._chances.active:
            running: Any = _stepped(task.coro, self._chances)
            task.coro = running

    def watch(self) -> None:
        """From now on, in the asyncio loop that runs."""

        def factory(loop: asyncio.AbstractEventLoop, running: Any, **options: Any) -> asyncio.Task[Any]:
            if not self._chances.active or not iscoroutine(running):
                return asyncio.Task(running, loop=loop, **options)
            task: asyncio.Task[Any] = asyncio.Task(_stepped(running, self._chances), loop=loop, **options)
            task.add_done_callback(lambda _: running.close())  # it may have been cancelled before it began
            return task

        asyncio.get_running_loop().set_task_factory(factory)


async def _stepped(running: Coroutine[Any, Any, Any], chances: Chances) -> Any:
    return await steps(running, chances)


@coroutine
def steps(running: Coroutine[Any, Any, Any], chances: Chances) -> Generator[Any, Any, Any]:
    """Run a coroutine; its waits are chances."""
    step: Any = running.send
    argument: Any = None
    thrown: BaseException | None = None
    while True:
        try:
            paused: Any = step(argument)
        except StopIteration as stop:
            return stop.value
        finally:
            argument = thrown = None  # an error must not be kept by a frame that it has gone through
        thrown = chances.suspended(running)
        step = running.send
        try:
            argument = yield paused
        except BaseException as raised:
            step, argument = running.throw, raised
        else:
            if thrown is not None and not isinstance(argument, outcome.Error):  # that is a cancellation, on trio
                chances.taken = str(thrown)
                step, argument = running.throw, thrown


def _chain(running: Any) -> Iterator[Any]:
    """What a coroutine waits in, outermost first: coroutines, generators, and at the end what cannot be looked into."""
    while running is not None:
        yield running
        kind = next((kind for kind in ("cr", "gi", "ag") if hasattr(running, f"{kind}_frame")), None)
        if kind is None:
            return
        running = getattr(running, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")


def _codes(running: Any) -> Iterator[tuple[str, str, int]]:
    """File, name and line of each frame that a coroutine waits in, outermost first."""
    for one in _chain(running):
        for kind in ("cr", "gi", "ag"):
            frame = getattr(one, f"{kind}_frame", None)
            if frame is not None:
                yield frame.f_code.co_filename, frame.f_code.co_qualname, frame.f_lineno


def place_of(running: Any) -> str:
    """Where a coroutine waits, as text."""
    return " > ".join(f"{name}:{line}" for _, name, line in _codes(running))


def _must_not_fail(running: Any) -> bool:
    """Whether it waits for its children in a task group, which nothing but cancellation may end.

    So may one that waits in an async generator: that cannot be looked into.
    """
    if any(type(one).__name__.startswith("async_generator_") for one in _chain(running)):
        return True
    return any(name in ("TaskGroup.__aexit__", "Nursery._nested_child_finished") for _, name, _ in _codes(running))
