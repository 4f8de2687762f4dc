"""Twenty tools, each of them a function. A docstring says what one does."""

from __future__ import annotations

import calendar
import difflib
import fnmatch
import heapq
import html
import inspect
import shlex
import statistics
import textwrap
from collections.abc import AsyncIterator
from typing import Any

import anyio
import capnet.plugin
from capnet import Stream
from contracts import About, Progress, Toolbox


async def search(text: str, progress: Progress) -> int:
    """Look for a text for a long time, and say how far it is."""
    for percent in (0, 50, 100):
        await progress(f"{percent} %")
        await anyio.sleep(0.01)
    return len(text)


async def delete(path: str) -> str:
    """Delete a file (it only says so)."""
    return f"{path} is gone"


async def tail(count: int) -> AsyncIterator[str]:
    """Follow what is written."""
    for number in range(count):
        yield f"line {number}"


OWN = (search, delete, tail)
OTHERS = (
    *(calendar.isleap, calendar.weekday, difflib.get_close_matches, fnmatch.fnmatch, heapq.nlargest, html.escape),
    *(html.unescape, shlex.quote, shlex.split, statistics.mean, statistics.median, statistics.mode),
    *(statistics.pstdev, textwrap.dedent, textwrap.indent, textwrap.shorten, textwrap.wrap),
)
FUNCTIONS: dict[str, Any] = {function.__name__: function for function in (*OWN, *OTHERS)}


class Functions(Toolbox):
    async def tools(self) -> list[About]:
        return [About(name, inspect.getdoc(one) or "", one is delete) for name, one in FUNCTIONS.items()]

    async def run(self, name: str, arguments: dict[str, Any], progress: Progress | None) -> Any:
        result = FUNCTIONS[name](**arguments, **({} if progress is None else {"progress": progress}))
        return await result if inspect.isawaitable(result) else result

    async def follow(self, name: str, arguments: dict[str, Any]) -> Stream[str]:
        async for text in FUNCTIONS[name](**arguments):
            yield text


async def main() -> Toolbox:
    return Functions()


capnet.plugin.run(main, started_by="server.py")
