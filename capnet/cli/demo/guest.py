"""The guest: a plugin that tries to do more than it may. Everything it does to the host's folder goes through proxies.

It is given no path and no file descriptor.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, ParamSpec

from anyio import Event as Signal
from anyio import move_on_after

import capnet.plugin
from capnet import INJECT, CallContext, CapnetError, on_broken, restrictions
from capnet.cli.demo.contract import NOBODY, Attempt, Folder, Guest, Loss, Opened, Overstep, Vault
from capnet.contract import contract_spec

__all__ = ["Trespasser", "main"]

P = ParamSpec("P")

WAYS_OUT: Final = ("link.txt", "door/secret.txt", "../secret.txt", "/etc/passwd", "inside.txt/../../secret.txt", "a\0b")
"""Tried on a folder in which `link.txt` and `door` are symbolic links to what is outside."""
MAX_OPENED: Final = 4
"""Folders in the folder that it opens."""


class Held:
    """A folder of the host's, until it is lost.

    Args:
        folder: the proxy.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self._broken: CapnetError | None = None
        self._told = Signal()
        on_broken(folder, self._note_broken)

    async def loss(self, path: str) -> Loss:
        """Use it once more, and say what came of it."""
        call = await _outcome(self.folder.files)
        with move_on_after(5):
            await self._told.wait()
        return Loss(path, call, "nothing" if self._broken is None else _words(self._broken))

    def _note_broken(self, error: CapnetError) -> None:
        self._broken = error
        self._told.set()


class Trespasser(Guest):
    """Does what the host asks for, with the folder that the host gave.

    Args:
        folder: the proxy.
    """

    def __init__(self, folder: Folder) -> None:
        self._held: dict[str, Held] = {"": Held(folder)}

    async def overreach(self, ctx: CallContext = INJECT) -> list[Attempt]:
        """See `Guest`."""
        host, vault = ctx.connection, contract_spec(Vault).name
        return [
            Attempt(f"bootstrap {vault}", await _outcome(host.bootstrap, Vault)),
            Attempt(f"bootstrap {NOBODY}", await _outcome(host.bootstrap, Vault, name=NOBODY)),
            Attempt("runtime().describe", await _outcome(host.runtime().describe)),
        ]

    async def trespass(self, folder: Folder) -> list[Attempt]:
        """See `Guest`."""
        return [Attempt(path, await _outcome(folder.read, path)) for path in ("inside.txt", *WAYS_OUT)]

    async def overstep(self, folder: Folder) -> Overstep:
        """See `Guest`."""
        (known,) = await restrictions(folder)
        attempts = [
            Attempt("read 'inside.txt'", await _outcome(folder.read, "inside.txt")),
            Attempt("open 'private'", await _outcome(folder.open, "private")),
            Attempt("read 'private/diary.txt'", await _outcome(folder.read, "private/diary.txt")),
            Attempt("files", await _outcome(folder.files)),
            Attempt("read 'inside.txt' again", await _outcome(folder.read, "inside.txt")),
        ]
        return Overstep(sorted(known.methods or ()), known.where, known.uses_left or 0, attempts)

    async def explore(self) -> list[Opened]:
        """See `Guest`."""
        opened: list[Opened] = []
        await self._open_in("", opened)
        return opened

    async def aftermath(self) -> list[Loss]:
        """See `Guest`."""
        return [await held.loss(path) for path, held in self._held.items()]

    async def _open_in(self, path: str, opened: list[Opened]) -> None:
        """Open the folders in a folder that is open, and those in them."""
        folder = self._held[path].folder
        listing = await folder.files()
        for name in sorted({file.path.partition("/")[0] for file in listing.files if "/" in file.path}):
            if len(opened) == MAX_OPENED:
                return
            inner = f"{path}{name}/"
            self._held[inner] = Held(await folder.open(name))
            opened.append(Opened(inner, sum(file.path.startswith(f"{name}/") for file in listing.files)))
            await self._open_in(inner, opened)


async def main(folder: Folder) -> Guest:
    """What it needs, and what it gives."""
    return Trespasser(folder)


async def _outcome(method: Callable[P, Awaitable[object]], *args: P.args, **kwargs: P.kwargs) -> str:
    """What came of a call, in a word."""
    try:
        await method(*args, **kwargs)
    except CapnetError as refused:
        return _words(refused)
    return "ok"


def _words(error: CapnetError) -> str:
    return f"{error.code}/{error.reason}" if error.reason else error.code


if __name__ == "__main__":
    capnet.plugin.run(main, started_by="capnet demo")
