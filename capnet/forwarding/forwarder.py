"""Forwarding: a capability of one peer, passed on to another (P-REF-4).

A proxy that travels over another connection is exported there as a `Forwarder`. Paths never shorten: each call comes
here and is made again on the next hop, with that hop's ids, what is left of its deadline, its context, and its
cancellation; results, errors, streams and references inside of them go back the same way. A forwarder that comes home
is the proxy it was made of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final
from weakref import WeakValueDictionary

from capnet.calls.call import Call, Caller, Target
from capnet.contract import ContractSpec, Handler
from capnet.engine.answers import Answer
from capnet.engine.exports import ONWARD_ID, Export
from capnet.engine.imports import Import
from capnet.errors import CapnetError, FailedPrecondition
from capnet.references.promise import promised
from capnet.references.proxy import make_proxy
from capnet.references.reference import Elsewhere, Reference
from capnet.references.untyped import UntypedMethod
from capnet.registry import Grants, Hosted
from capnet.revocation.lineage import Granted, Lineage, Opened, take_back, tell_replaced, with_descendants
from capnet.session.session import Session
from capnet.wire.frames import HOPS

__all__ = ["Forwarder", "Forwarders", "goes_straight_on"]

MAX_HOPS: Final = 32
"""Programs that a call goes through at most: promises that lead to each other would have it go round for ever."""
LIKE_VALUES: Final = 128
"""To tell somebody else of a capability takes as long as the handling of so many values."""


@lru_cache(maxsize=1024)
def _passed(contract: str, name: str, kept: bool) -> Handler:
    return Handler(UntypedMethod(contract, name, kept), None)


class Forwarder(Elsewhere):
    """What stands for a capability of one connection on the others.

    Args:
        reference: its own, given back when nobody there holds it any more.
        grants: exports of the same capability by forwarders before it, if any.
        parent: what came before it, when a call just goes on after another.
    """

    __slots__ = ("_forget",)

    def __init__(self, reference: Reference, grants: Grants | None = None, parent: Granted | None = None) -> None:
        super().__init__(None)
        self.reference = reference
        self.parent = parent
        if grants is not None:
            self.granted = grants
        self._forget: Callable[[], None] | None = None

    def expose(self, spec: ContractSpec) -> None:
        """Which methods there are is for the next hop to say."""

    def handler(self, interface: str, contract: ContractSpec | None, method: str) -> Handler | None:
        """Any method goes on that the contract has under which it was passed on; the next hop knows if there is one."""
        if contract is not None and method not in contract.methods:
            return None
        if self.names:
            self.check_there()
        return _passed(interface, method, False)

    @property
    def gone(self) -> CapnetError | None:
        """See `Hosted`."""
        lifecycle = self.reference.caller.session.engine.lifecycle
        return self.reference.imported.broken or (None if lifecycle.accepts_calls else lifecycle.error())

    def hold(self) -> None:
        """See `Hosted`. One that nobody ever held, because what mentions it did not leave, is just collected."""
        super().hold()
        target = self.reference.imported
        if self._forget is None and isinstance(target, Import):
            self._forget = self.reference.caller.held.watch(target, self._broken)

    def release(self, close: Callable[[Hosted], None]) -> None:
        """See `Hosted`. This is its end: when the capability is passed on again, it gets another forwarder."""
        self.holders -= 1
        if not self.holders:
            if self._forget is not None:
                self._forget()
            self.reference.release()

    def proxy(self, contract: ContractSpec | None) -> Any:
        """It has come home: the capability itself, with a reference of its own.

        Args:
            contract: what it was passed on under, when that is less than it is, or is not known yet.
        """
        reference, target = self.reference, self.reference.imported
        reference.caller.held.hold(target)
        # A promise is passed on as what its call says that it brings, and that is all that its holder has of it.
        less = contract is not None and (isinstance(target, Import) or contract.name != target.interface)
        own = Reference(reference.caller, target, reference.narrowed or less)
        return make_proxy(own, None if contract is None else contract.hint)

    async def relay(self, session: Session, answer: Answer, arguments: dict[str, Any]) -> Any:
        """Make a call of one connection on the next."""
        reference = self.reference
        target = reference.usable()
        piped = answer.keep or bool(answer.dependents)  # it may have been finished already, with calls on it behind it
        piped = piped and goes_straight_on(session, reference.caller.session)
        handler = _passed(answer.interface, answer.method, piped)
        context = {**answer.context, HOPS: str(_hops(answer) + 1)}
        call = reference.caller.start(target, handler.spec, arguments, context)
        if not piped:
            # A one-way call as well: the next hop's pace becomes the caller's, by the credit it does not get yet.
            return await call
        kept = Reference(reference.caller, promised(call))
        try:
            session.engine.answering.forward(answer, call)
            session.driver.handle_events()
            return await call
        finally:
            kept.release()

    def replaced(self, imported: Import) -> int:
        """Its peer has put something else behind it. Returns the generation that its holders are told."""
        if not self.names:
            return imported.generation
        self.generation += 1  # a name counts on from its own
        return self.generation

    def _broken(self, error: CapnetError) -> None:
        self.reference.caller.held.passing.broken(self.all_granted(), error.message)


class Forwarders:
    """The forwarders of what one connection holds. Each capability has one, so that it has one id with each peer."""

    __slots__ = ("_broken", "_by_target", "_caller", "_grants", "_lineage")

    def __init__(self, caller: Caller, lineage: Lineage) -> None:
        self._caller = caller
        self._lineage = lineage
        self._by_target: WeakValueDictionary[Target, Forwarder] | None = None  # most connections pass nothing on
        self._grants: dict[Import, Grants] = {}
        self._broken: dict[str, list[Granted]] = {}

    def granted(self, target: Target) -> list[Granted]:
        """The exports of what is held, and of those given back the ones that something came of."""
        forwarder = self._find(target)
        if forwarder is not None:
            return forwarder.all_granted()
        return list(self._grants.get(target, ())) if isinstance(target, Import) else []

    def forget(self, imported: Import) -> None:
        """Nobody here can name it any more."""
        self._grants.pop(imported, None)

    def of(self, target: Target) -> Forwarder:
        """The forwarder for what is held."""
        forwarder = self._find(target)
        if forwarder is None or forwarder.reference.released:
            self._caller.held.hold(target)
            grants = self._grants.setdefault(target, Grants()) if isinstance(target, Import) else None
            if self._by_target is None:
                self._by_target = WeakValueDictionary()
            forwarder = self._by_target[target] = Forwarder(Reference(self._caller, target), grants)
        return forwarder

    def _find(self, target: Target) -> Forwarder | None:
        return None if self._by_target is None else self._by_target.get(target)

    def broken(self, granted: Iterable[Granted], reason: str) -> None:
        """What is behind these exports answers nothing any more: `take_back` is to follow."""
        self._broken.setdefault(reason, []).extend(granted)

    def take_back(self) -> None:
        """Revoke what leads to nothing, and what came of it: all at once, so that each peer is told in few frames.

        What is held by a name stays, for something else may come behind that; what has come of it falls.
        """
        broken, self._broken = self._broken, {}
        for reason, granted in broken.items():
            by_generation: dict[int, list[Granted | Opened]] = {}
            for one in with_descendants(granted):
                if not one.stays:
                    by_generation.setdefault(one.born, []).append(one)
            for born, fallen in by_generation.items():
                take_back(fallen, f"generation {born} of what it came of has ended: {reason}" if born else reason)

    def replaced(self, imports: Iterable[Import]) -> None:
        """The peer has put other implementations behind capabilities: those who got them from us are told.

        What stands for them here stays what it is.
        """
        told: dict[int, list[Granted]] = {}
        for imported in imports:
            forwarder = self._find(imported)
            if forwarder is not None:
                told.setdefault(forwarder.replaced(imported), []).extend(forwarder.granted)
        for generation, granted in told.items():
            count = tell_replaced(granted, generation)
            self._caller.session.engine.turn.spend(LIKE_VALUES * count)

    def onward(self, answer: Answer) -> Export:
        """What a call is made on that leads to a capability of the caller's own, or goes on with the call before it."""
        place = answer.place
        if isinstance(place, Import):
            forwarder = self.of(place)
        else:
            assert isinstance(place, Answer) and place.export is not None and answer.target is not None
            steps = tuple(answer.target[1:])
            call: Call[Any] = place.forwarded
            before: Hosted | None = place.export.subject
            parent = self._lineage.granted.get(place.export.id)
            if parent is None and type(before) is Forwarder:
                parent = before.parent
            forwarder = Forwarder(Reference(call.caller, promised(call, steps, steps)), None, parent)
        export = Export(ONWARD_ID, forwarder, forwarder.reference.imported.interface, 0)
        export.pins = 1  # for the call
        return export


def _hops(answer: Answer) -> int:
    """How many programs have passed a call on already.

    Raises:
        FailedPrecondition: `forwarding_cycle`, too many.
    """
    hops = answer.context.get(HOPS, "0")
    if hops.isascii() and hops.isdecimal() and len(hops) <= len(str(MAX_HOPS)) and int(hops) < MAX_HOPS:
        return int(hops)
    raise FailedPrecondition(f"the call went through {MAX_HOPS} programs and is nowhere", reason="forwarding_cycle")


def goes_straight_on(session: Session, following: Session) -> bool:
    """Whether a call on what will come of another may go on to the next hop before it is known what it is made on.

    Not where a guard or an observer is to be told the contract of each call: there it waits for that result first.
    """
    return not (session.guarded or session.publisher.tells_calls or following.publisher.tells_calls)
