"""Plugins of the tests of the plugin host, good and bad; each is a main function."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator

import anyio

from capnet import Cap, Stream, call, stream
from capnet.plugin import Context

__all__ = ["Bench", "Plane", "Wood", "bench", "bench_of_another_kind", "failing", "never_ready", "sick", "stubborn"]


class Wood(Cap, name="plugged.Wood"):
    """The host's."""

    @call
    async def cut(self) -> int: ...


class Plane(Cap, name="plugged.Plane"):
    """What a plugin makes for its host."""

    @call
    async def use(self) -> int: ...


class Bench(Cap, name="plugged.Bench"):
    """The plugin's."""

    @call
    async def add(self, number: int) -> int: ...
    @call
    async def about(self) -> dict[str, str]: ...
    @call
    async def saw(self) -> int: ...
    @call
    async def plane(self) -> Plane: ...
    @call
    async def do(self, what: str) -> None: ...
    @stream
    def count(self, upto: int) -> Stream[int]: ...


class _Plane(Plane):
    async def use(self) -> int:
        return os.getpid()


class _Bench(Bench):
    def __init__(self, wood: Wood | None, context: Context) -> None:
        self.wood = wood
        self.context = context
        self.sum = 0
        self.ill: str | None = None

    async def add(self, number: int) -> int:
        self.sum += number
        return self.sum

    async def about(self) -> dict[str, str]:
        told = self.context
        return {
            "pid": str(os.getpid()),
            "plugin": told.plugin,
            "generation": str(told.generation),
            "colour": str(told.settings.get("colour")),
            "secret": told.secrets.get("secret", ""),
            "environment": repr([*os.environ.items(), sys.argv]),
        }

    async def saw(self) -> int:
        assert self.wood is not None
        return await self.wood.cut()

    async def plane(self) -> Plane:
        return _Plane()

    async def do(self, what: str) -> None:
        match what:
            case "block":
                sys.stdout.write("blocked\n")
                time.sleep(3600)  # noqa: ASYNC251 - on purpose
            case "spin":
                sys.stdout.write("blocked\n")
                while True:
                    pass
            case "hold":  # the interpreter's lock as well: no thread of this process runs
                sys.stdout.write("blocked\n")
                sum(range(10**15))
            case "helpers":  # which hold all that is open, and the signal that asks them to go is nothing to them
                if os.fork() == 0:
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)
                    time.sleep(3600)  # noqa: ASYNC251 - on purpose
                subprocess.Popen(["sleep", "3600"])  # noqa: ASYNC220 - on purpose
                sys.stdout.write("blocked\n")
                time.sleep(3600)  # noqa: ASYNC251 - on purpose
            case "flood":
                for number in range(20_000):
                    sys.stderr.write(f"{number} {'x' * 40}\n")
            case "exit":
                os._exit(0)
            case "sick":
                self.ill = "it has a cold"
            case "end":
                sys.exit(3)
            case "fork":  # and leave a child that holds all that is open, in a session of its own
                if os.fork() == 0:
                    os.setsid()
                    time.sleep(20)  # noqa: ASYNC251 - on purpose
                os._exit(4)
            case "raise":
                raise KeyError(what)
            case "close":
                os.closerange(0, 3)
            case _:
                os.kill(os.getpid(), signal.SIGKILL)

    async def count(self, upto: int) -> Stream[int]:
        for number in range(upto):
            yield number
            await anyio.sleep(0.01)

    async def check(self) -> str | None:
        return self.ill


class _Stateful(_Bench):
    async def export_state(self) -> AsyncIterator[bytes]:
        text = str(self.sum).encode()
        for start in range(len(text)):
            yield text[start : start + 1]

    async def import_state(self, state: AsyncIterator[bytes]) -> None:
        self.sum = int(b"".join([chunk async for chunk in state]))


async def bench(wood: Wood, context: Context) -> Bench:
    """The good one."""
    sys.stdout.write(f"on {context.plugin}\n")
    sys.stderr.write('{"event": "ready", "level": "debug", "colour": 3}\n')
    return _Bench(wood, context)


async def alone(context: Context, wood: Wood | None = None) -> Bench:
    """It does without the host."""
    return _Bench(wood, context)


async def stateful(context: Context, wood: Wood | None = None) -> Bench:
    """One whose state can be handed over."""
    return _Stateful(wood, context)


async def bench_of_another_kind(context: Context) -> Plane:
    """It gives something else."""
    return _Plane()


async def failing(context: Context) -> Bench:
    """It raises."""
    raise LookupError("no bench here")


async def never_ready(context: Context) -> Bench:
    """It does not come to its end."""
    sys.stdout.write("still looking for the bench\n")
    await anyio.sleep_forever()
    raise AssertionError


async def sick(context: Context) -> Bench:
    """It says that it is not well."""
    made = _Bench(None, context)
    made.ill = "it has a cold"
    return made


async def stubborn(context: Context) -> Bench:
    """It does not go, whatever it is told."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    import threading

    threading.Thread(target=time.sleep, args=(3600,), daemon=False).start()
    return _Bench(None, context)
