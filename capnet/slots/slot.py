"""`Slot`: a capability that outlives what is behind it.

    calls ──▶ proxy ──▶ Slot ──▶ Occupant, generation 3 ──▶ a plugin's object, say
                         │
                         └── nothing there: calls wait, or fail at once

The proxy is an implementation of the contract in this program, so holders elsewhere have it like any other object: it
does not break with what is behind it. What it brings, capabilities and streams, is the occupant's and breaks with that.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import Any, Generic, TypeVar, cast
from weakref import WeakValueDictionary, ref

from anyio import Event as Signal
from anyio import current_time, move_on_after
from typing_extensions import TypeForm

from capnet.attenuation.wrapper import HostedWrapper, Inner, Wrapper, make_wrapper
from capnet.contract import CallContext, MethodSpec, contract_spec
from capnet.errors import CapnetError, DeadlineExceeded, FailedPrecondition, InvalidArgument, Unavailable, elsewhere
from capnet.references.proxy import cast_cap
from capnet.references.revoke import revoke
from capnet.registry import Hosted
from capnet.revocation.lineage import tell_replaced
from capnet.serving.runtime import restrictions_of

from .attempts import Attempts
from .occupant import Broken, Occupant
from .stream import SlotStream

__all__ = ["Slot"]

C = TypeVar("C")


class Slot(Generic[C]):
    """A place for a capability that is replaced, or gone for a time, while others use it.

        slot = Slot(Speller)
        host.serve(slot.proxy)
        slot.set(await plugin.bootstrap(Speller))   # and again, with the next one

    A slot empties itself when the connection of what is behind it ends, or when that is taken back. A call that nothing
    is there for waits. One that what is behind it has ended under is made again for the next one, if it did not leave
    or its method is idempotent, three times in all; otherwise it fails with `Unavailable`, reason `indeterminate`.
    Use a slot from one thread only.

    Args:
        contract: of what is behind it.
        wait: seconds that calls wait for something to be there; 0 has them fail at once.
        name: of the slot in errors; that of the contract unless another is given.

    Attributes:
        generation: how often something was put behind it.

    Raises:
        InvalidArgument: `wait` makes no sense. ContractError: it is no contract.
    """

    def __init__(self, contract: TypeForm[C], *, wait: float = 10.0, name: str | None = None) -> None:
        self._spec = contract_spec(cast("Any", contract))
        self._name = name or self._spec.name
        self._occupant: Occupant[C] | None = None
        self._reason = "nothing was there yet"
        self._failure: CapnetError | None = None
        self._on_broken: dict[object, Callable[[CapnetError], object]] = {}
        self._closed = False
        self._in_vain = False
        """Whether nobody is about to put something there."""
        self._waiting: dict[Signal, None] = {}
        self._thread = get_ident()
        self._proxies: WeakValueDictionary[float, SlotProxy] = WeakValueDictionary()
        self.generation = 0
        self._proxy = self.waiting(wait)

    @property
    def proxy(self) -> C:
        """What users keep: it works whatever is behind the slot, and as long as the slot is open."""
        return self._proxy

    def waiting(self, seconds: float) -> C:
        """The same, whose calls wait so long for something to be there.

        Args:
            seconds: 0 has them fail at once, `math.inf` wait for as long as their callers do.

        Raises:
            InvalidArgument: it is less than 0, or no number.
        """
        if type(seconds) not in (int, float) or not seconds >= 0:
            raise InvalidArgument(f"wait is seconds, 0 or more, not {seconds!r}")
        proxy = self._proxies.get(seconds)
        if proxy is None:
            proxy = self._proxies[seconds] = make_wrapper(self._kind(), self._spec.hint, None)
            proxy._capnet_slot, proxy._capnet_wait = self, seconds  # noqa: SLF001 - ours; a contract has the public names
        return cast("C", proxy)

    @property
    def current(self) -> C | None:
        """What is behind it now, or None."""
        occupant = self._now()
        return None if occupant is None else occupant.capability

    def set(self, capability: C) -> Occupant[C] | None:
        """Put something behind it: calls that wait go on, and new ones go to it. Calls that run end where they run.

        Args:
            capability: a proxy, which stays the caller's, for the slot has a reference of its own; or an object of this
                program.

        Returns what was there before, to be waited for (`drained`), or None.

        Raises:
            InvalidArgument: it has another contract. ContractError: it lacks methods. FailedPrecondition: `closed`.
            Whatever it is broken with. Nothing has changed then.
        """
        self._check()
        if self._closed:
            raise FailedPrecondition(f"the slot {self._name} was closed", reason="closed")
        inner = Inner(cast_cap(capability, cast("TypeForm[C]", self._spec.hint)), self._spec)
        occupant: Occupant[C] = Occupant(inner, self.generation + 1)
        if occupant.broken is not None:
            occupant.leave()
            raise occupant.broken.again()
        before = self._vacate("it was replaced")
        self.generation = occupant.generation
        self._occupant, self._in_vain, self._failure = occupant, False, None
        known = ref(self)

        def look(_: CapnetError) -> None:  # which keeps neither
            slot = known()
            if slot is not None:
                slot._now()  # noqa: SLF001 - ours

        occupant.watch(look)
        self._wake()
        if self.generation > 1:
            tell_replaced(
                [one for proxy in self._proxies.values() for one in Hosted.of(proxy).granted], self.generation
            )
        return before

    def clear(self, reason: str, *, in_vain: bool = False) -> Occupant[C] | None:
        """Have nothing behind it: new calls wait. Calls that run end where they run.

        Args:
            reason: what those are told whose calls wait in vain, such as `crashed with code 1, starting again`. It may
                be given again while nothing is there.
            in_vain: whether nobody is about to put something there, so that calls fail at once, also those that wait.

        Returns what was there, to be waited for (`drained`), or None.
        """
        self._check()
        occupant = self._vacate(reason)
        self._in_vain = in_vain
        if in_vain:
            self._wake()
        return occupant

    async def aclose(self, reason: str = "the slot was closed") -> None:
        """End it: what it gave out is taken back from all who hold it, and calls that wait or come fail. Idempotent.

        Args:
            reason: told to them.
        """
        self._check()
        self._close(reason)

    def __repr__(self) -> str:
        state = "closed" if self._closed else "empty" if self._now() is None else f"generation {self.generation}"
        return f"<Slot {self._name} {state}>"

    # For what it gives out

    def _kind(self) -> type[SlotProxy]:
        return SlotProxy

    def _close(self, reason: str) -> None:
        if not self._closed:
            self._closed = True
            self._vacate(reason)
            self._wake()
            self._broke(self._empty())
            for proxy in tuple(self._proxies.values()):
                revoke(proxy, reason=reason)

    def _fail(self, error: CapnetError) -> None:
        """Nothing is behind it, and nothing will be for now: calls fail with that."""
        self._vacate(error.message)
        self._failure = error
        self._wake()
        self._broke(error)

    def _broke(self, error: CapnetError) -> None:
        watchers, self._on_broken = self._on_broken, {}
        for callback in watchers.values():
            callback(error)

    def _watch(self, callback: Callable[[CapnetError], object]) -> Callable[[], None]:
        """Call back once when calls fail, whatever is waited for. Returns what ends that."""
        key = object()
        self._on_broken[key] = callback

        def forget() -> None:
            self._on_broken.pop(key, None)

        return forget

    def _replaced(self) -> int:
        """How often what answers was replaced."""
        return max(0, self.generation - 1)

    def _counted(self, again: bool) -> None:
        """A call broke, and is made again or may have run."""

    def _check(self) -> None:
        if get_ident() != self._thread:
            raise elsewhere("slot")

    def _now(self) -> Occupant[C] | None:
        """What answers now; one that has broken may not be known to have done so."""
        occupant = self._occupant
        if occupant is not None and (error := occupant.broken) is not None:
            self._lost(occupant, error)
        return self._occupant

    async def _occupied(self, until: float) -> Occupant[C]:
        while (occupant := self._now()) is None:
            left = until - current_time()
            if self._closed or self._in_vain or self._failure is not None or left <= 0:
                raise self._empty()
            woken = Signal()
            self._waiting[woken] = None
            try:
                with move_on_after(left):
                    await woken.wait()
            finally:
                self._waiting.pop(woken, None)
        return occupant

    def _empty(self) -> CapnetError:
        if self._failure is not None and not self._closed:
            return self._failure.again()
        if self._closed:
            return Unavailable(f"{self._name}: {self._reason}", reason="slot_closed", retry="never")
        return Unavailable(
            f"nothing is behind {self._name} now: {self._reason}", reason="vacant", retry="after-cooldown"
        )

    def _lost(self, occupant: Occupant[C], error: CapnetError) -> None:
        if self._occupant is occupant:
            self._vacate(error.message)

    def _vacate(self, reason: str) -> Occupant[C] | None:
        occupant, self._occupant = self._occupant, None
        self._reason = reason
        if occupant is not None:
            occupant.leave()
        return occupant

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for woken in waiting:
            woken.set()

    def _attempts(
        self,
        method: MethodSpec,
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        context: CallContext | None,
        wait: float,
    ) -> tuple[Attempts, Occupant[C] | None]:
        """A call, and what to make it on at once, if that is there."""
        self._check()
        attempts = Attempts(method, arguments, keywords, context, wait, self._occupied, self._lost, self._counted)
        return attempts, self._now()


class HostedSlot(HostedWrapper):
    """What keeps the proxy of a slot; what that brings is of the slot's generation."""

    __slots__ = ()

    @property
    def origin(self) -> int:
        """See `Hosted`."""
        slot: Slot[Any] = self.implementation._capnet_slot  # noqa: SLF001
        return slot.generation


class SlotProxy(Wrapper):
    """What a slot gives out."""

    __capnet_hosted__ = HostedSlot

    _capnet_slot: Slot[Any]
    _capnet_wait: float

    def __capnet_behind__(self) -> Hosted | None:
        """See `Wrapper`. What is behind a slot is the slot's to keep."""
        return None

    def __capnet_generation__(self) -> int:
        """See `capnet.generation`."""
        return self._capnet_slot._replaced()  # noqa: SLF001

    def __capnet_on_broken__(self, callback: Callable[[CapnetError], object]) -> Callable[[], None]:
        """See `capnet.on_broken`. It breaks when the slot is closed, not with what is behind it."""
        return self._capnet_slot._watch(callback)  # noqa: SLF001

    async def __capnet_restrictions__(self) -> list[dict[str, Any]]:
        """See `Wrapper`."""
        return await restrictions_of(self._capnet_slot.current)

    async def _capnet_call(
        self, method: MethodSpec, arguments: tuple[Any, ...], keywords: dict[str, Any], context: CallContext | None
    ) -> Any:
        making = self._capnet_make(method, arguments, keywords, context)
        if method.timeout is None:
            return await making
        with move_on_after(method.timeout):
            return await making
        raise DeadlineExceeded("the method's timeout has passed")

    async def _capnet_make(
        self, method: MethodSpec, arguments: tuple[Any, ...], keywords: dict[str, Any], context: CallContext | None
    ) -> Any:
        attempts, occupant = self._capnet_slot._attempts(method, arguments, keywords, context, self._capnet_wait)  # noqa: SLF001
        while True:
            occupant = occupant or await attempts.occupant()
            try:
                return await attempts.made_on(occupant)
            except Broken as broken:
                attempts.broken(broken, occupant)
                occupant = None

    def _capnet_stream(
        self, method: MethodSpec, arguments: tuple[Any, ...], keywords: dict[str, Any], context: CallContext | None
    ) -> Any:
        return SlotStream(*self._capnet_slot._attempts(method, arguments, keywords, context, self._capnet_wait))  # noqa: SLF001
