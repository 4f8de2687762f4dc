"""The registry: who serves what under which name (P-CAP-4, P-CAP-5).

A registration belongs to the handle that made it. A handle ends only what is still its own: after somebody else has
replaced a registration, closing the old handle does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal, Protocol, cast
from unicodedata import is_normalized

from capnet.contract import Cap, ContractSpec, contract_spec, differences
from capnet.errors import (
    AlreadyExists,
    ContractError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    VersionMismatch,
)
from capnet.wire.references import is_name

from .fallback import Fallbacks
from .hosted import Hosted

__all__ = ["IfExists", "Registration", "Registry", "Replacement", "ServeHandle", "Subscriber"]

IfExists = Literal["raise", "replace", "skip"]

RESERVED_PREFIX: Final = "capnet."
MAX_NAME_BYTES: Final = 256
MAX_NAMES: Final = 1024


class Registration:
    """One name that is served.

    Attributes:
        name: what peers ask for; the contract's name unless another was given.
        spec: the contract.
        hosted: the implementation behind it now.
        generation: 1, and one more with each replace.
        handle: who may end it.
        swapping: whether a swap is under way that is not decided.
    """

    __slots__ = ("generation", "handle", "hosted", "name", "spec", "swapping")

    def __init__(self, name: str, spec: ContractSpec, hosted: Hosted, handle: ServeHandle) -> None:
        self.name = name
        self.spec = spec
        self.hosted = hosted
        self.generation = 1
        self.handle = handle
        self.swapping = False


class Replacement:
    """Another implementation for a name that is served: checked and held open, and not to be reached by anybody yet.

    Attributes:
        registration: what it is for.
        hosted: the implementation.
        generation: of the registration when it was prepared; it is for what is served then.
        committed: whether it is behind the name now.
        swap: whether it belongs to a swap, of which a name has one at a time.
    """

    __slots__ = ("committed", "generation", "hosted", "registration", "swap")

    def __init__(self, registration: Registration, hosted: Hosted, swap: bool) -> None:
        self.registration = registration
        self.hosted = hosted
        self.generation = registration.generation
        self.committed = False
        self.swap = swap
        hosted.hold()


class Subscriber(Protocol):
    """Who must be told when a registration changes: every connection that can bootstrap from the registry."""

    def registration_replaced(self, registration: Registration, old: Hosted) -> None:
        """From now on calls go to `registration.hosted`."""

    def registration_ended(self, registration: Registration, reason: str) -> None:
        """What was bootstrapped from it is to be revoked."""


class ServeHandle:
    """The right to end what one `serve` registered; not names that were ended before, or that others took over."""

    __slots__ = ("_close", "names")

    def __init__(self, close: Callable[[ServeHandle], None]) -> None:
        self._close = close
        self.names: tuple[str, ...] = ()
        """The names that this `serve` registered, skipped ones left out."""

    def close(self) -> None:
        """Stop serving what is still this handle's."""
        self._close(self)

    def __repr__(self) -> str:
        return f"<ServeHandle {', '.join(self.names) or 'nothing'}>"


class Registry:
    """Names to registrations.

    Args:
        close: called with a `Hosted` whose close hook is due; runs it in a task.
    """

    __slots__ = ("_by_name", "_close", "_followers", "_subscribers", "_waiters", "fallbacks", "opener")

    def __init__(self, close: Callable[[Hosted], None]) -> None:
        self.fallbacks = Fallbacks()
        """Who is asked for names that are not served."""
        self.opener: Callable[[Any], object] | None = None
        """Who decides about virtual connections that peers open."""
        self._by_name: dict[str, Registration] = {}
        self._close = close
        self._subscribers: dict[int, Subscriber] = {}
        self._waiters: dict[str, list[Callable[[], None]]] = {}
        self._followers: dict[object, Callable[[str], None]] = {}

    def __iter__(self) -> Iterator[Registration]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def find(self, name: str) -> Registration | None:
        """The registration of a name, or None."""
        return self._by_name.get(name)

    def subscribe(self, subscriber: Subscriber) -> None:
        """Tell `subscriber` of changes from now on."""
        self._subscribers[id(subscriber)] = subscriber

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Tell it no more."""
        self._subscribers.pop(id(subscriber), None)

    def when_served(self, name: str, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake` each time the name begins to be served. Returns a function that ends it."""
        waiters = self._waiters.setdefault(name, [])
        waiters.append(wake)

        def forget() -> None:
            waiters.remove(wake)
            if not waiters and self._waiters.get(name) is waiters:
                del self._waiters[name]

        return forget

    def when_changed(self, tell: Callable[[str], None]) -> Callable[[], None]:
        """Call `tell` with each name that is served, replaced or ended. Returns a function that ends it."""
        key = object()
        self._followers[key] = tell
        return lambda: cast("None", self._followers.pop(key, None))

    def serve(
        self,
        implementations: Sequence[Cap],
        name: str | None,
        if_exists: IfExists,
        end: Callable[[ServeHandle], None],
        prefix: str = "",
    ) -> tuple[ServeHandle, list[Registration], list[tuple[Registration, Hosted]]]:
        """Register all of them or none, under names that begin with `prefix`.

        Returns the handle, the registrations that are new, and those that were replaced with what was there before.

        Raises:
            AlreadyExists: `name_collision` or `reserved_namespace`. ContractError: an implementation lacks methods, or
            two of them have one name. VersionMismatch: a replacement lacks what is served now.
        """
        handle = ServeHandle(end)
        planned: dict[str, tuple[ContractSpec, Hosted]] = {}
        for implementation in implementations:
            spec, hosted = _prepared(implementation)
            wanted = checked_name(prefix + (name or spec.name))
            if wanted in planned:
                raise ContractError(f"two implementations for the name {wanted!r}")
            taken = self._by_name.get(wanted)
            if taken is not None and if_exists == "skip":
                continue
            if taken is not None and if_exists == "raise":
                raise AlreadyExists(
                    f"{wanted!r} is served already",
                    reason="name_collision",
                    hint='pass if_exists="replace" or "skip", or another name',
                )
            if taken is not None:
                check_replacement(taken, spec)
                hosted.expose(taken.spec)
            planned[wanted] = (spec, hosted)
        if len(self._by_name.keys() | planned.keys()) > MAX_NAMES:
            raise ContractError(f"more than {MAX_NAMES} names in one registry")
        return self._commit(handle, planned)

    def _commit(
        self, handle: ServeHandle, planned: dict[str, tuple[ContractSpec, Hosted]]
    ) -> tuple[ServeHandle, list[Registration], list[tuple[Registration, Hosted]]]:
        served: list[Registration] = []
        replaced: list[tuple[Registration, Hosted]] = []
        for name, (spec, hosted) in planned.items():
            handle.names += (name,)
            taken = self._by_name.get(name)
            if taken is not None:
                old = self._swap(taken, hosted)
                taken.handle = handle
                replaced.append((taken, old))
                continue
            registration = self._by_name[name] = Registration(name, spec, hosted, handle)
            hosted.serve(spec.name, registration.generation)
            hosted.served = registration.name
            served.append(registration)
            for wake in tuple(self._waiters.get(name, ())):
                wake()
            self._changed(name)
        return handle, served, replaced

    def prepare(
        self, implementation: Cap, name: str | None = None, owner: ServeHandle | None = None, *, swap: bool = False
    ) -> Replacement:
        """Check whether an implementation can stand in for what is served, and hold it open until that is decided.

        Returns what can be given to `commit`; if it is not, its `hosted` must be released.

        Raises:
            NotFound: the name is not served. ContractError, VersionMismatch: the implementation lacks something.
            FailedPrecondition: `superseded`, the name is not the owner's any more; `swap_running`. Nothing has changed.
        """
        spec, hosted = _prepared(implementation)
        registration = self._served(name or spec.name)
        if owner is not None and registration.handle is not owner:
            raise _superseded(registration)
        check_replacement(registration, spec)
        hosted.expose(registration.spec)
        if swap:
            if registration.swapping:
                raise FailedPrecondition(f"{registration.name!r} is being swapped already", reason="swap_running")
            registration.swapping = True
        return Replacement(registration, hosted, swap)

    def commit(self, replacement: Replacement) -> Hosted:
        """Put it behind the name, on all connections in one step; ids and proxies stay (P-CAP-5).

        Returns what was there before, which the caller must `release` when it is done with it.

        Raises:
            FailedPrecondition: `superseded`, the name was ended or replaced since it was prepared. What the new one has
            ended with, if it is elsewhere. Nothing has changed.
        """
        registration = replacement.registration
        if self.find(registration.name) is not registration or registration.generation != replacement.generation:
            raise _superseded(registration)
        gone = replacement.hosted.gone
        if gone is not None:
            raise gone.again()
        old = self._swap(registration, replacement.hosted)
        replacement.committed = True
        replacement.hosted.release(self._close)  # the registration holds it
        return old

    def _swap(self, registration: Registration, hosted: Hosted) -> Hosted:
        old, name = registration.hosted, registration.spec.name
        # What is elsewhere may have been replaced there meanwhile, which counts as well.
        registration.generation = max(registration.generation, old.origin) + 1
        registration.hosted = hosted
        old.unserve(name)
        hosted.serve(name, registration.generation)
        hosted.served = registration.name
        for subscriber in tuple(self._subscribers.values()):
            subscriber.registration_replaced(registration, old)
        self._changed(registration.name)
        return old

    def end(self, registration: Registration, reason: str) -> None:
        """Stop serving a name: it cannot be bootstrapped, and what was bootstrapped from it is revoked. Idempotent."""
        if self._by_name.get(registration.name) is not registration:
            return
        del self._by_name[registration.name]
        for subscriber in tuple(self._subscribers.values()):
            subscriber.registration_ended(registration, reason)
        registration.hosted.unserve(registration.spec.name)
        registration.hosted.release(self._close)
        self._changed(registration.name)

    def owned_by(self, handle: ServeHandle) -> list[Registration]:
        """The registrations that are still this handle's."""
        return [
            registration
            for registration in (self._by_name.get(name) for name in handle.names)
            if registration is not None and registration.handle is handle
        ]

    def served_as(self, contract: type[Cap] | str) -> list[Registration]:
        """The registration of a contract or name, as a list of one.

        Raises:
            NotFound: it is not served.
        """
        return [self._served(contract if isinstance(contract, str) else contract_spec(contract).name)]

    def _changed(self, name: str) -> None:
        for tell in tuple(self._followers.values()):
            tell(name)

    def _served(self, name: str) -> Registration:
        registration = self._by_name.get(name)
        if registration is None:
            raise NotFound(f"{name!r} is not served", hint=f"served now: {', '.join(self._by_name) or 'nothing'}")
        return registration


def _superseded(registration: Registration) -> FailedPrecondition:
    return FailedPrecondition(
        f"{registration.name!r} was taken over or ended by somebody else",
        reason="superseded",
        hint="look at what is served now, then try again",
    )


def check_replacement(registration: Registration, spec: ContractSpec) -> None:
    """Whether an implementation of `spec` can stand in for what is served; one rule with bootstrap (P-CAP-3).

    Raises:
        VersionMismatch: with what it lacks.
    """
    lacking = differences(registration.spec.shape, spec.shape)
    if lacking:
        raise VersionMismatch(
            f"{spec.name} cannot replace {registration.name}: {'; '.join(lacking)}", details={"differences": lacking}
        )


def checked_name(name: str) -> str:
    """`name`, if it may be served.

    Raises:
        AlreadyExists: `reserved_namespace`. InvalidArgument: it is empty, too long, not printable, or could be
        written in two ways (not in normal form C).
    """
    if name.startswith(RESERVED_PREFIX):
        raise AlreadyExists(f"names that begin with {RESERVED_PREFIX!r} are reserved", reason="reserved_namespace")
    if not is_name(name, MAX_NAME_BYTES) or not is_normalized("NFC", name):
        raise InvalidArgument(
            f"a name is printable text of 1 to {MAX_NAME_BYTES} bytes in normal form C, not {name[:50]!r}"
        )
    return name


def _prepared(implementation: Cap) -> tuple[ContractSpec, Hosted]:
    if not isinstance(cast("object", implementation), Cap):  # also where no type checker has been
        raise ContractError(
            f"{implementation!r} is not an implementation", hint="pass an object of a class that fills in a contract"
        )
    # What stands for a capability of a peer's is kept by its connection (`capnet/references/proxy.py`).
    elsewhere = getattr(type(implementation), "__capnet_elsewhere__", None)
    hosted: Hosted = Hosted.of(implementation) if elsewhere is None else elsewhere(implementation)
    spec = contract_spec(type(implementation))
    hosted.expose(spec)
    return spec, hosted
