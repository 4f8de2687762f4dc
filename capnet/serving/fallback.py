"""Fallbacks: what becomes of a name that a peer may have and nobody serves.

The fallback handlers are asked, the latest first: one may hand out an implementation for this one bootstrap, decline,
or have the peer wait for somebody to serve the name. Whoever serves it meanwhile comes first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import TypeAlias

from anyio import move_on_after

from capnet.contract import Cap, ContractSpec, contract_spec
from capnet.errors import ContractError
from capnet.policy.policy import Admission
from capnet.references.proxy import Proxy
from capnet.registry import Hosted
from capnet.registry.fallback import HOLD, Fallback
from capnet.session.disclosure import goes_on

from .names import Names

__all__ = ["Claim", "FallbackHandler", "unserved"]

FallbackHandler: TypeAlias = Callable[[Admission], Cap | Awaitable[Cap | None] | None]
"""What is asked for a name: an implementation is a claim, None declines, `HOLD` has the peer wait."""


class Claim:
    """What a handler hands out for one bootstrap.

    Args:
        implementation: the object, or a proxy that is passed on.

    Raises:
        ContractError: it is neither, or lacks methods.
    """

    __slots__ = ("_hosted", "implementation", "spec")

    def __init__(self, implementation: object) -> None:
        if not isinstance(implementation, Cap):
            raise ContractError(
                f"a fallback handler has returned {type(implementation).__name__}",
                hint="return an implementation, a proxy, None or HOLD",
            )
        self.implementation = implementation
        self.spec: ContractSpec = contract_spec(type(implementation))
        self._hosted = None if isinstance(implementation, Proxy) else Hosted.of(implementation)
        if self._hosted is not None:
            self._hosted.expose(self.spec)

    def discard(self, close: Callable[[Hosted], None]) -> None:
        """It was not wanted: its close hook is due, unless it is in use elsewhere."""
        if self._hosted is not None:
            self._hosted.hold()
            self._hosted.release(close)


async def unserved(names: Names, request: Admission, wait: float) -> Claim | None:
    """What the handlers claim for a name that is not served; None when somebody serves it now, or nobody has it.

    Args:
        wait: seconds that the peer is ready to wait for somebody to serve it.
    """
    until = names.session.loop.now() + wait
    answer = await _ask_all(names, request)
    if isinstance(answer, Claim):
        return answer
    left = until - names.session.loop.now() if wait else names.session.limits.policy_timeout
    if (wait or answer is HOLD) and left > 0 and names.find(request.name) is None:
        await names.wait_served(request.name, left)
    return None


async def _ask_all(names: Names, request: Admission) -> object:
    """The first answer that does not decline; None also when the name is served meanwhile."""
    for fallback in names.fallbacks():
        if fallback.removed:
            continue
        answer = await _ask(names, fallback, request)
        served = names.find(request.name) is not None
        if served or fallback.removed:
            if isinstance(answer, Claim):
                answer.discard(names.session.close_hosted)
            if served:
                return None
        elif answer is not None:
            return answer
    return None


async def _ask(names: Names, fallback: Fallback, request: Admission) -> object:
    """A claim, `HOLD`, or None; None as well from one that fails, or that says nothing in time."""
    try:
        answer = fallback.handler(request)
        if isawaitable(answer):
            with move_on_after(names.session.limits.policy_timeout) as asking:
                over = (fallback.when_removed(asking.cancel), names.when_served(request.name, asking.cancel))
                try:
                    answer = await answer
                finally:
                    for forget in over:
                        forget()
            if asking.cancelled_caught:
                if not fallback.removed and names.find(request.name) is None:
                    raise TimeoutError("the handler has said nothing in time")
                return None
        return answer if answer is None or answer is HOLD else Claim(answer)
    except BaseException as error:
        if goes_on(names.session.loop, error):
            raise
        names.session.faults.unexpected("fallback handler", error)
        return None
