"""Links of a background loop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from anyio import Event
from typing_extensions import TypeForm, Unpack

from capnet.connection.connect import GRACE
from capnet.connection.retry import Retry
from capnet.limits import Limits
from capnet.links.link import Link
from capnet.links.link import link as link_in_loop
from capnet.loop.staying import Staying
from capnet.policy.policy import Policy

from .background import Background
from .opened import Blocking, begun

if TYPE_CHECKING:
    from capnet_transports.options import ConnectOptions

__all__ = ["BlockingLink", "link"]

C = TypeVar("C")


def link(
    url: str,
    *,
    wait: float | Retry | None = None,
    patience: float = math.inf,
    name: str = "",
    limits: Limits | None = None,
    policy: Policy | None = None,
    auth: Any = None,
    operations: bool = False,
    backend: Literal["asyncio", "trio"] = "asyncio",
    **options: Unpack[ConnectOptions],
) -> BlockingLink:
    """Open a connection that comes back, from a program that has no event loop.

    Args:
        url: as for `capnet.link`, and so are all others but `backend`.
        backend: the library whose loop runs in the background thread.

    Close it with `close`, or use it as a context manager.

    Raises:
        As `capnet.link` does when it is entered.
    """
    settings: dict[str, Any] = {
        "wait": wait,
        "patience": patience,
        "name": name,
        "limits": limits,
        "policy": policy,
        "auth": auth,
        "operations": operations,
    }
    loop = Background.of(backend)
    return begun(loop, lambda: entered(link_in_loop(url, **settings, **options)), BlockingLink)


class BlockingLink(Blocking):
    """A link of a background loop, made by `capnet.blocking.link`: `call` what `bootstrap` gives, as on a connection.

    Attributes:
        link: the same one for what runs in the loop: `desk.call(desk.link.on_connected, give_anew)`.
    """

    def __init__(self, opened: _Entered, loop: Background) -> None:
        self.link = opened.link
        super().__init__(opened, loop)

    @property
    def generation(self) -> int:
        """How often the peer that was found again had lost its state."""
        return self.link.generation

    def bootstrap(self, contract: TypeForm[C], /, *, wait: float | None = None, name: str | None = None) -> C:
        """A proxy of what the peer serves under a contract's name, which works on when the connection is another.

        Args and errors are those of `Link.bootstrap`.
        """
        return self.call(partial(self.link.bootstrap, contract, wait=wait, name=name))

    def open(
        self,
        metadata: Mapping[str, Any] | None = None,
        *,
        wait: float | Retry | None = None,
        patience: float = math.inf,
        name: str = "",
        limits: Limits | None = None,
        policy: Policy | None = None,
        auth: Any = None,
        operations: bool = False,
    ) -> BlockingLink:
        """Open a link inside of this one: `with hub.open({"tenant": "blue"}) as blue: …`.

        Args and errors are those of `Link.open`. It is over with this one at the latest.
        """
        settings: dict[str, Any] = {
            "wait": wait,
            "patience": patience,
            "name": name,
            "limits": limits,
            "policy": policy,
            "auth": auth,
            "operations": operations,
        }
        return self._inside(lambda: entered(self.link.open(metadata, **settings)), BlockingLink)


async def entered(link: Link) -> _Entered:
    entered = _Entered(link)
    await entered.block.enter()
    return entered


class _Entered:
    """A link whose block is entered."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self._ends = Event()
        self.block = Staying(link, lambda _: self._ends.wait())

    @property
    def closed(self) -> bool:
        """Whether it is over."""
        return self.link._over is not None  # noqa: SLF001 - not for users

    async def aclose(self, *, grace: float = GRACE) -> None:
        """Leave the block, which has a grace of its own."""
        self._ends.set()
        await self.block.left.wait()

    def __repr__(self) -> str:
        return repr(self.link)
