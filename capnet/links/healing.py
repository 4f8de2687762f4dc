"""The proxies of a link: `Root`, for a name, and `Derived`, for what an idempotent method of one of these has brought.

Each is a slot: what stands behind it is a proxy of the connection that is there now. A root is filled when the link is
connected again, a derived one when it is used: the call that brought it is made again, on what it was made on.
"""

from __future__ import annotations

from typing import Any, Final, Protocol, TypeVar, cast

from anyio import Event as Signal
from anyio import current_time, move_on_after

from capnet.calls.metadata import going_along
from capnet.connection.connection import Connection
from capnet.contract import CallContext, MethodSpec, contract_at, contract_spec
from capnet.dispatch.operations import EXPIRED
from capnet.errors import (
    CapnetError,
    DeadlineExceeded,
    FailedPrecondition,
    Indeterminate,
    Released,
    Revoked,
    Unavailable,
)
from capnet.references.proxy import Proxy, reference_of, release
from capnet.slots.attempts import Attempts, repeatable, sendable_again
from capnet.slots.occupant import Occupant
from capnet.slots.slot import Slot, SlotProxy
from capnet.wire.frames import OPERATION

__all__ = ["MAX_DEPTH", "Derived", "Healing", "Keeper", "Once", "Root"]

C = TypeVar("C")
MAX_DEPTH: Final = 8
"""How many calls one behind the other are made again for one capability."""


class Keeper(Protocol):
    """What the proxies of a link know of it: `Link`."""

    operations: bool
    """Calls have ids, where the peer keeps answers."""

    def generation_now(self) -> int:
        """How often the state of the peer was lost."""
        ...

    def counted(self, again: bool) -> None:
        """A call was cut off, and is made again or may have run."""
        ...

    def keep(self, slot: Healing[Any]) -> None:
        """End it when the link ends."""
        ...

    def operation(self) -> tuple[str, str]:
        """An id for a call, and the word of the peer for its life; empty where it keeps no answers."""
        ...


class Once(Attempts):
    """A call that has an id: it may be made again while the peer keeps answers, and runs once.

    Args:
        keeper: the link.
    """

    __slots__ = ("_generation", "_id", "_keeper", "_life")

    def __init__(self, keeper: Keeper, *what: Any) -> None:
        super().__init__(*what)
        self._keeper = keeper
        self._id = self._life = ""
        self._generation = 0

    @property
    def repeatable(self) -> bool:
        """See `Attempts`."""
        return self._id != "" and self._keeper.generation_now() == self._generation

    async def made_on(self, occupant: Occupant[Any]) -> Any:
        """See `Attempts`."""
        if not self.may_have_run:
            self._id, self._life = self._keeper.operation()
            self._generation = self._keeper.generation_now()
        if not self._id:
            return await super().made_on(occupant)
        id = f"{self._id} {self._life}" if self.may_have_run else self._id
        before = going_along.set({**(going_along.get() or {}), OPERATION: id})
        try:
            return await super().made_on(occupant)
        except FailedPrecondition as error:
            if error.reason != EXPIRED:
                raise
            raise Indeterminate(f"it may have run or not: {error.message}", retry="never") from error
        finally:
            going_along.reset(before)


class Healing(Slot[C]):
    """A slot of a link.

    Args:
        keeper: the link.
        contract: of what is behind it.
        name: in errors.
        depth: how many calls it came of.
    """

    def __init__(self, keeper: Keeper, contract: Any, name: str, wait: float, depth: int) -> None:
        self.keeper = keeper
        self.depth = depth
        self._patience = wait
        super().__init__(contract, wait=wait, name=name)
        keeper.keep(self)

    @property
    def closed(self) -> bool:
        """Whether it heals no more."""
        return self._closed

    def end(self, reason: str) -> None:
        """The link is over, or nobody wants it any more."""
        self._close(reason)

    def derived(
        self, parent: HealingProxy, method: MethodSpec, arguments: tuple[Any, ...], keywords: dict[str, Any], made: Any
    ) -> Any:
        """What a call has brought, as something that heals, if it can be brought again."""
        contract = contract_at(method.result)
        if not isinstance(made, Proxy) or contract is None or self.depth >= MAX_DEPTH or not repeatable(method):
            return made
        if any(isinstance(one, Proxy) for one in (*arguments, *keywords.values())):
            return made  # that is gone with its connection
        call = method, arguments, keywords
        derived: Derived[Any] = Derived(self.keeper, contract, parent, call, self._patience, self.depth + 1)
        derived.keep(made)
        return derived.proxy

    def fill(self, proxy: Any) -> None:
        """Put a proxy of the connection behind it, which is given back."""
        try:
            self.set(proxy)
        finally:
            release(proxy)

    def _kind(self) -> type[SlotProxy]:
        return HealingProxy

    def _attempts(
        self,
        method: MethodSpec,
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        context: CallContext | None,
        wait: float,
    ) -> tuple[Attempts, Occupant[C] | None]:
        """See `Slot`."""
        again = self.keeper.operations and method.kind == "call" and not method.idempotent and sendable_again(method)
        if not again or context is not None or any(isinstance(one, Proxy) for one in (*arguments, *keywords.values())):
            return super()._attempts(method, arguments, keywords, context, wait)
        self._check()
        attempts = Once(
            self.keeper, method, arguments, keywords, context, wait, self._occupied, self._lost, self._counted
        )
        return attempts, self._now()

    def _replaced(self) -> int:
        return self.keeper.generation_now()

    def _lost(self, occupant: Occupant[C], error: CapnetError) -> None:
        """What has gone with its connection heals; what the peer has taken back is not to be had another way."""
        here = self._occupant is occupant
        super()._lost(occupant, error)
        if here and isinstance(error, Revoked):
            self._fail(error)

    def _counted(self, again: bool) -> None:
        self.keeper.counted(again)

    def _empty(self) -> CapnetError:
        if self._closed and self._reason == RELEASED:
            return Released(f"this proxy of {self._spec.name} was given back")
        if self._closed:
            return Unavailable(f"{self._name}: {self._reason}", reason="link_closed", retry="never")
        return super()._empty()


class Root(Healing[C]):
    """For a name that was bootstrapped."""

    def __init__(self, keeper: Keeper, contract: Any, name: str | None, wait: float) -> None:
        spec = contract_spec(contract)
        self._contract = contract
        self._served = name or spec.name
        super().__init__(keeper, contract, self._served, wait, 0)

    @property
    def name(self) -> str:
        """It is served under."""
        return self._served

    async def bootstrap(self, connection: Connection, wait: float | None) -> None:
        """Ask for the name.

        Raises:
            CapnetError: the peer says no, or the connection has ended.
        """
        self.fill(await connection.bootstrap(self._contract, wait=wait, name=self._served))

    async def heal(self, connection: Connection, wait: float) -> bool:
        """The same on another connection. When the peer says no, which is returned, calls fail until the next one."""
        try:
            await self.bootstrap(connection, wait)
        except CapnetError as error:
            if connection.close_cause is None and not self._closed:
                self._fail(not_healed(self._served, error))
            return False
        return True


class Derived(Healing[C]):
    """For what a call has brought.

    Args:
        parent: what the call was made on.
        call: its method and arguments.
        depth: how many calls it came of.
    """

    def __init__(
        self,
        keeper: Keeper,
        contract: Any,
        parent: HealingProxy,
        call: tuple[MethodSpec, tuple[Any, ...], dict[str, Any]],
        wait: float,
        depth: int,
    ) -> None:
        self._parent = parent
        self._call = call
        self._running: Signal | None = None
        name = f"what {call[0].contract}.{call[0].name} has brought"
        super().__init__(keeper, contract, name, wait, depth)

    def keep(self, made: Proxy) -> None:
        """Put what was brought behind it. When it has gone meanwhile with its connection, it is brought again."""
        if self._closed or reference_of(made).caller.session.engine.lifecycle.cause is not None:
            release(made)
        else:
            self.fill(made)

    async def _occupied(self, until: float) -> Occupant[C]:
        while (occupant := self._now()) is None:
            if self._closed or self._failure is not None or until <= current_time():
                raise self._empty()
            with move_on_after(until - current_time()):
                if self._running is not None:  # one call for all who need it
                    await self._running.wait()
                else:
                    await self._derive()
        return occupant

    async def _derive(self) -> None:
        running = self._running = Signal()
        method, arguments, keywords = self._call
        try:
            made = await SlotProxy._capnet_call(self._parent, method, arguments, keywords, None)  # noqa: SLF001
            if not isinstance(made, Proxy):
                raise not_healed(self._name, FailedPrecondition("the call has brought something else"))
            self.keep(made)
        except Indeterminate as error:  # that may have run, and what is to be called here has not
            raise Unavailable(
                f"{self._name} is not there: {error.message}", reason="vacant", retry=error.retry
            ) from error
        except (Unavailable, DeadlineExceeded):
            raise
        except CapnetError as error:
            raise not_healed(self._name, error) from error
        finally:
            self._running = None
            running.set()


class HealingProxy(SlotProxy):
    """What a link gives out."""

    @property
    def _capnet_healing(self) -> Healing[Any]:
        return cast("Healing[Any]", self._capnet_slot)

    async def aclose(self) -> None:
        """Give it back: what is behind it is, and it heals no more. Idempotent."""
        self._capnet_healing.end(RELEASED)

    def __capnet_home__(self) -> Any:
        """What stands for it at the peer that it is of, for whoever passes it on."""
        return self._capnet_healing.current

    async def _capnet_call(
        self, method: MethodSpec, arguments: tuple[Any, ...], keywords: dict[str, Any], context: CallContext | None
    ) -> Any:
        if not method.idempotent or contract_at(method.result) is None:
            return await super()._capnet_call(method, arguments, keywords, context)
        made = await super()._capnet_call(method, arguments, keywords, context)
        return self._capnet_healing.derived(self, method, arguments, keywords, made)


RELEASED: Final = "it was given back"


def not_healed(name: str, error: CapnetError) -> FailedPrecondition:
    """What calls are told on what the peer does not give any more."""
    return FailedPrecondition(
        f"the connection was lost, and {name} is not there on the new one: {error}",
        reason="connection_replaced",
        details={"code": error.code, "cause": error.reason},
    )
