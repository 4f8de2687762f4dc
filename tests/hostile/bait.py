"""What a host in the jail serves: one method for each way in which a peer may try to take more than its share."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import anyio

from capnet import Admission, Cap, Denied, Host, HostLimits, Limits, Sink, Stream, call, revoke, stream
from capnet.observe import Event
from tests.hostile.dear import MemDear

__all__ = ["CANARY", "PRIVATE", "Bait", "Made", "MemBait", "Thing", "loud", "plain", "secretive", "unsure", "watched"]

CANARY = "canary-2f9c"
"""Stands where it must not be seen from outside."""


class Thing(Cap, name="test.Thing"):
    """Something to hand out."""

    @call
    async def label(self) -> str: ...


class Bait(Cap, name="test.Bait"):
    """The contract."""

    @call
    async def add(self, a: int, b: int = 10) -> int: ...
    @call
    async def echo(self, value: Any) -> Any: ...
    @call
    async def hold(self, value: Any = None) -> None:
        """Waits until it is cancelled."""
        ...

    @call
    async def stubborn(self, seconds: float) -> None:
        """Goes on for so long when it is cancelled."""
        ...

    @call
    async def things(self, count: int) -> list[Thing]: ...
    @call
    async def things_and_more(self) -> list[Any]:
        """Things, and what cannot travel."""
        ...

    @call
    async def late_thing(self) -> Thing:
        """One that comes when its call was cancelled."""
        ...

    @call
    async def keep(self, things: list[Thing]) -> int: ...
    @call
    async def revoke_all(self) -> int: ...
    @call
    async def bounce(self, back: Callable[[int], Awaitable[int]], depth: int) -> int: ...
    @call
    async def ask(self, question: Callable[[], Awaitable[str]]) -> str:
        """What it is told, or the type of what is raised, with its text."""
        ...

    @call
    async def pass_on(self, question: Callable[[], Awaitable[str]]) -> str:
        """Fails with what it is told, in words of its own."""
        ...

    @call
    async def fail(self, how: str) -> Any: ...
    @stream
    def numbers(self, size: int, count: int) -> Stream[bytes]: ...
    @stream
    def failing(self) -> Stream[int]: ...
    @call
    async def sink(self, items: AsyncIterable[Any]) -> None:
        """Takes it, and reads nothing."""
        ...

    @call
    async def leave(self, many: list[AsyncIterable[Any]]) -> None:
        """Does nothing with them."""
        ...

    @call
    async def fill(self, into: Sink[bytes], size: int, count: int) -> None: ...


class MemThing(Thing):
    """One of a shop's things."""

    def __init__(self, bait: MemBait) -> None:
        self._bait = bait
        bait.made += 1
        bait.open.add(self)

    async def label(self) -> str:
        self._bait.labels += 1
        return "thing"

    async def aclose(self) -> None:
        self._bait.ended += 1


class MemBait(Bait):
    """The implementation.

    Attributes:
        made, ended: things, and how many of them were closed.
        open: things that something holds.
        labels: calls that things had.
        running, most: handlers that wait now, and the most at once.
        cancelled: calls of `hold` that were.
        produced: items of streams.
    """

    def __init__(self) -> None:
        self.made = self.ended = self.labels = self.running = self.most = self.cancelled = 0
        self.produced = 0
        self.kept: list[Thing] = []
        self.open: WeakSet[MemThing] = WeakSet()
        self._password = CANARY

    async def add(self, a: int, b: int = 10) -> int:
        return a + b

    async def echo(self, value: Any) -> Any:
        return value

    async def hold(self, value: Any = None) -> None:
        self._enter()
        try:
            await anyio.sleep_forever()
        except BaseException:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    async def stubborn(self, seconds: float) -> None:
        self._enter()
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(seconds)
            self.running -= 1

    async def things(self, count: int) -> list[Thing]:
        return [MemThing(self) for _ in range(count)]

    async def things_and_more(self) -> list[Any]:
        return [MemThing(self), MemThing(self), object()]

    async def late_thing(self) -> Thing:
        self._enter()
        with suppress(BaseException):
            await anyio.sleep_forever()
        self.running -= 1
        return MemThing(self)

    async def keep(self, things: list[Thing]) -> int:
        self.kept += things
        return len(self.kept)

    async def revoke_all(self) -> int:
        return sum(len(revoke(thing, reason="all of them")) for thing in list(self.open))

    async def bounce(self, back: Callable[[int], Awaitable[int]], depth: int) -> int:
        self._enter()
        try:
            return await back(depth) + 1
        finally:
            self.running -= 1

    async def ask(self, question: Callable[[], Awaitable[str]]) -> str:
        try:
            return await question()
        except Exception as error:
            return f"{type(error).__module__}.{type(error).__qualname__} {len(str(error).encode())}"

    async def pass_on(self, question: Callable[[], Awaitable[str]]) -> str:
        try:
            return await question()
        except Exception as error:
            raise RuntimeError(f"it said: {error}") from error

    async def fail(self, how: str) -> Any:
        secret = f"{CANARY} in a local variable, {self._password}, {__file__}"
        match how:
            case "raise":
                raise RuntimeError(f"{secret} in the text")
            case "chain":
                try:
                    raise KeyError(secret)
                except KeyError as error:
                    raise RuntimeError("no") from error
            case "unencodable":
                return {"x": object(), CANARY: {secret}}
            case "deep":
                nested: list[Any] = [secret]
                for _ in range(200):
                    nested = [nested]
                return nested
            case "surrogate":
                return f"{secret}\udc80"
            case "group":
                raise ExceptionGroup(secret, [KeyError(secret)])
            case _:
                pass
        raise AssertionError(secret)

    async def numbers(self, size: int, count: int) -> Stream[bytes]:
        for _ in range(count):
            self.produced += 1
            yield bytes(size)

    async def failing(self) -> Stream[int]:
        yield 1
        raise RuntimeError(f"{CANARY} in a stream, {__file__}")

    async def sink(self, items: AsyncIterable[Any]) -> None:
        await self.hold()

    async def leave(self, many: list[AsyncIterable[Any]]) -> None:
        pass

    async def fill(self, into: Sink[bytes], size: int, count: int) -> None:
        for _ in range(count):
            await into.send(bytes(size))
            self.produced += 1

    async def aclose(self) -> None:
        raise RuntimeError(f"{CANARY} at the end, {__file__}")

    def _enter(self) -> None:
        self.running += 1
        self.most = max(self.most, self.running)


PRIVATE = (
    "__class_getitem__", "__code__", "__func__", "__getattr__", "__getstate__", "__globals__", "__init__", "__mro__",
    "__new__", "__reduce__", "__reduce_ex__", "__self__", "__setattr__", "__subclasses__", "_enter", "_password",
    "kept", "made", "mro", "open",
)  # fmt: skip
"""Names of attributes that an implementation may have, and that are nobody else's affair."""


class _Watched(MemBait):
    """Counts how often one of these was looked for. (`touched` is no attribute before the first time.)"""

    def __getattribute__(self, name: str) -> Any:
        if name in PRIVATE:
            counters = super().__getattribute__("__dict__")
            counters["touched"] = counters.get("touched", 0) + 1
        return super().__getattribute__(name)


@dataclass
class Made:
    """A host, and what it serves."""

    host: Host
    bait: MemBait


def plain(limits: Limits, host_limits: HostLimits) -> Made:
    """A host that serves the bait to everybody."""
    made = Made(Host(name="host", limits=limits, host_limits=host_limits), MemBait())
    made.host.serve(made.bait)
    return made


def dear(limits: Limits, host_limits: HostLimits) -> Made:
    """A host that takes what is dear to build as well."""
    made = plain(limits, host_limits)
    made.host.serve(MemDear())
    return made


def watched(limits: Limits, host_limits: HostLimits) -> Made:
    """A host that knows when somebody looks for what is private."""
    made = Made(Host(name="host", limits=limits, host_limits=host_limits), _Watched())
    made.host.serve(made.bait)
    return made


class _Unsure:
    """A policy that fails in a way of its own for each name; the bait alone may be had."""

    async def admit(self, request: Admission) -> Any:
        secret = f"{CANARY} of the policy"
        match request.name:
            case "test.Bait":
                return True
            case "raises":
                raise RuntimeError(secret)
            case "hangs":
                await anyio.sleep_forever()
            case "truthy":
                return "yes"
            case "none":
                return None
            case "denied":
                return Denied("no_key")
            case _:
                pass
        return False


def unsure(limits: Limits, host_limits: HostLimits) -> Made:
    """A host whose policy is no good; under each name that it fails at there is something."""
    made = Made(Host(name="host", limits=limits, host_limits=host_limits, policy=_Unsure()), MemBait())
    made.host.serve(made.bait)
    for name in ("raises", "hangs", "truthy", "none", "denied", "served"):
        made.host.serve(MemThing(made.bait), name=name)
    return made


def secretive(limits: Limits, host_limits: HostLimits) -> Made:
    """A host that has something to hide wherever a host can have it."""
    made = unsure(limits, host_limits)

    async def ask(request: Admission) -> Any:
        if request.name == "fallback":
            raise RuntimeError(f"{CANARY} of the fallback, {__file__}")
        return None

    def observe(event: Event) -> None:
        raise RuntimeError(f"{CANARY} of an observer")

    made.host.fallback(ask)
    made.host.on(Event, observe)
    return made


def loud(limits: Limits, host_limits: HostLimits) -> Made:
    """A host whose observers raise, take their time, or write everything to standard error."""
    made = plain(limits, host_limits)

    def raises(event: Event) -> None:
        raise RuntimeError("an observer has failed")

    def writes(event: Event) -> None:
        sys.stderr.write(f"{event!r}\n")

    made.host.on(Event, raises)
    made.host.on(Event, writes)
    return made
