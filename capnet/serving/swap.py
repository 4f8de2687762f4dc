"""Swap: how another implementation comes behind a name that is in use (P-CAP-5).

    prepare ── adopt ── the block checks it ── commit ── drain or cut what runs on the old one
       └─────────┴──────────────┴────────────────┴──▶ roll back: it is closed, and nobody has noticed anything

`replace` is the same without a block. Until the commit no peer can reach the new implementation; the commit is one
step for all connections, so each call goes to exactly one of the two.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from inspect import getattr_static, isawaitable
from typing import Generic, Literal, TypeVar

from anyio import Event as Signal
from anyio import move_on_after
from anyio.lowlevel import checkpoint_if_cancelled

from capnet.contract import Cap, contract_spec
from capnet.errors import Replaced
from capnet.observe import NameReplaced, SwapBegan
from capnet.references.reference import Elsewhere
from capnet.registry import Hosted, Replacement, ServeHandle

from .services import Services

__all__ = ["Mode", "ReplaceReport", "Swap", "replacing", "swapping"]

I = TypeVar("I", bound=Cap)  # noqa: E741 - an implementation
Mode = Literal["drain", "cut"]


@dataclass(frozen=True, slots=True)
class ReplaceReport:
    """How a replacement went.

    Attributes:
        generation: of the name from now on.
        drained: calls that ran on the old implementation and ended by themselves.
        cut: calls that were ended with `unavailable/replaced`.
        streams_drained: open streams of the old implementation that ended by themselves.
        streams_cut: streams that were ended with `unavailable/replaced`.
        seconds: from the moment when new calls went to the new implementation until the old one had none.
    """

    generation: int
    drained: int
    cut: int
    streams_drained: int
    streams_cut: int
    seconds: float


class Swap(Generic[I]):
    """What `async with host.swap(new) as swap:` gives.

    Attributes:
        candidate: the new implementation itself, to be checked in the block. No peer can reach it yet.
        report: how it went; None until the block has ended and everything has been committed.
    """

    __slots__ = ("candidate", "report")

    def __init__(self, candidate: I) -> None:
        self.candidate = candidate
        self.report: ReplaceReport | None = None


async def replacing(
    services: Services, implementation: Cap, name: str | None, owner: ServeHandle | None, mode: Mode, grace: float
) -> ReplaceReport:
    """See `Serving.replace`."""
    replacement = services.registry.prepare(implementation, name, owner)
    try:
        await _adopt(replacement)
        return await _commit(services, replacement, mode, grace)
    finally:
        await _let_go(services, replacement)


@asynccontextmanager
async def swapping(
    services: Services, implementation: I, name: str | None, owner: ServeHandle | None, grace: float
) -> AsyncGenerator[Swap[I]]:
    """See `Serving.swap`."""
    swap = Swap(implementation)
    replacement = services.registry.prepare(implementation, name, owner, swap=True)
    services.announce(SwapBegan, replacement.registration)
    try:
        await _adopt(replacement)
        yield swap
        await checkpoint_if_cancelled()  # who was cancelled at the end of the block has not committed
        swap.report = await _commit(services, replacement, "drain", grace)
    finally:
        if not replacement.committed:
            services.end_swap(replacement.registration, "rolled_back")
        await _let_go(services, replacement)


async def _adopt(replacement: Replacement) -> None:
    """Let the new implementation take over what it wants of the old one's state; nothing has changed yet."""
    implementation, previous = replacement.hosted.implementation, replacement.registration.hosted
    if previous is replacement.hosted or getattr_static(implementation, "adopt", None) is None:
        return
    if "adopt" in contract_spec(type(implementation)).methods:  # that one is for the peers
        return
    adopt = implementation.adopt
    if not callable(adopt):
        return
    old = previous.proxy(replacement.registration.spec) if isinstance(previous, Elsewhere) else previous.implementation
    adopted = adopt(old)
    if isawaitable(adopted):
        await adopted


async def _let_go(services: Services, replacement: Replacement) -> None:
    """What was not committed is closed, unless something else holds it; here, for its owner may have closed before."""
    if not replacement.committed:
        due: list[Hosted] = []
        replacement.hosted.release(due.append)
        for hosted in due:
            await services.close_now(hosted)


async def _commit(services: Services, replacement: Replacement, mode: Mode, grace: float) -> ReplaceReport:
    """Put what was prepared behind its name; returns when what ran on the old implementation has ended or was cut."""
    started = services.loop.now()
    old = services.registry.commit(replacement)
    registration = replacement.registration
    generation = registration.generation
    services.announce(NameReplaced, registration, mode=mode)
    if replacement.swap:
        services.end_swap(registration, "committed")
    try:
        if old is replacement.hosted:
            return ReplaceReport(generation, 0, 0, 0, 0, services.loop.now() - started)
        own = int(services.is_handling(old))  # a handler that replaces what it runs on cannot wait for its own end
        running, streams = old.running - old.streams - own, old.streams
        if old.running > own and mode == "drain":
            idle = Signal()
            old.when_idle(idle.set, besides=own)
            with move_on_after(grace):
                await idle.wait()
        cut = streams_cut = 0
        if old.running > own:
            error = Replaced("the implementation was replaced", retry="transparent")
            cut, streams_cut = services.end_calls_on(old, error)
    finally:
        old.release(services.close_hosted)
    return ReplaceReport(
        generation,
        max(0, running - cut),
        cut,
        max(0, streams - streams_cut),  # one that began in the meantime may have been cut
        streams_cut,
        services.loop.now() - started,
    )
