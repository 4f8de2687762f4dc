"""`restrict`: a narrower capability, and what is held against it (P-CAP-7).

A restriction of a restricted capability stands in front of the same object with the guards of both, so it can only
become narrower. A call is admitted by all guards or by none: those that count do so when all of them have agreed.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from inspect import iscoroutinefunction
from time import monotonic
from typing import Any, Final, TypeVar, cast

from anyio import move_on_after

from capnet.contract import CallContext, MethodSpec, contract_spec
from capnet.engine.pace import Pace
from capnet.errors import ContractError, InvalidArgument, PermissionDenied, ResourceExhausted
from capnet.registry import Facet, implementation_of
from capnet.serving.runtime import restrictions_of

from .gate import GuardedStream
from .wrapper import Inner, Wrapper, contract_of, make_wrapper

__all__ = ["Restriction", "restrict", "restrictions"]

C = TypeVar("C")
T = TypeVar("T")
Where = Callable[[str, Mapping[str, Any]], bool]
_SECONDS: Final = {"s": 1, "min": 60, "h": 3600}


@dataclass(frozen=True, slots=True, kw_only=True)
class Restriction:
    """What one `restrict` holds against calls; None where it says nothing.

    Attributes:
        methods: those that may be called.
        where: whether a condition on the arguments must hold too.
        rate: calls in a time, such as `10/s`.
        uses: calls there were at first.
        uses_left: calls there are still.
        until: when it ends, by the clock of its issuer.
    """

    methods: frozenset[str] | None = None
    where: bool = False
    rate: str | None = None
    uses: int | None = None
    uses_left: int | None = None
    until: datetime | None = None


def restrict(
    capability: C,
    *,
    methods: Collection[str] | None = None,
    where: Where | None = None,
    rate: str | None = None,
    uses: int | None = None,
    until: datetime | float | None = None,
) -> C:
    """A narrower capability: the same object, of which less can be asked. It is enforced here.

        reader = restrict(store, methods={"read", "list"}, rate="10/s", until=3600)

    A call that breaks one of the rules fails with the error named below and does not reach the object. An open stream
    is one use, and ends with the same error when the time is over; calls that run then may end.

    Args:
        capability: an object of ours, or a proxy, which stays the caller's: the result has a reference of its own.
        methods: the only ones that may be called; others fail with `PermissionDenied`, reason `restricted`.
        where: asked with the method and its arguments by name, those left to their defaults absent. Only a real True
            admits; otherwise, and when it raises, the call fails with `PermissionDenied`, reason `restricted`.
        rate: `10/s`, `10/min` or `10/h`: so many at once, and as many again in that time; others fail with
            `ResourceExhausted`, reason `rate_limited`, and `retry_after` in the details.
        uses: calls that are admitted in all; others fail with `ResourceExhausted`, reason `used_up`.
        until: an aware `datetime`, or seconds from now; later calls fail with `PermissionDenied`, reason `expired`.

    Raises:
        ContractError: the contract has no such method. InvalidArgument: it is no capability, a value makes no sense, or
            nothing is restricted.
    """
    contract = contract_of(capability)
    if all(rule is None for rule in (methods, where, rate, uses, until)):
        raise InvalidArgument("restrict() without a rule", hint="say methods=, where=, rate=, uses= or until=")
    spec = contract_spec(contract)
    guard = Guard(
        None if methods is None else _checked_methods(methods, spec.name, spec.methods),
        None if where is None else _checked_where(where),
        None if rate is None else Bucket(rate),
        None if uses is None else _checked_uses(uses),
        None if until is None else Expiry(until),
    )
    restricted = make_wrapper(Restricted, contract, Inner(capability, spec))
    behind: object = implementation_of(capability) if isinstance(capability, Facet) else capability
    guards, target = (behind._capnet_guards, behind._capnet_target) if isinstance(behind, Restricted) else ((), None)  # noqa: SLF001 - ours
    restricted._capnet_guards = (guard, *guards)  # noqa: SLF001
    restricted._capnet_target = target or restricted._capnet_inner  # noqa: SLF001
    return cast("C", restricted)


async def restrictions(capability: object) -> list[Restriction]:
    """What is held against calls on a capability, the outermost first; its issuer is asked about a proxy.

    Raises:
        CapnetError: the issuer cannot be asked.
    """
    return [_restriction(told) for told in await restrictions_of(capability)]


class Bucket:
    """So many calls at once, and as many again in a time.

    Args:
        rate: such as `10/s`.

    Raises:
        InvalidArgument: it is something else.
    """

    __slots__ = ("_pace", "rate")

    def __init__(self, rate: Any) -> None:
        count, _, unit = rate.partition("/") if isinstance(rate, str) else ("", "", "")
        if not (count.isascii() and count.isdecimal()) or not 0 < len(count) < 10 or not int(count):
            raise InvalidArgument(f"rate is a text such as '10/s', '10/min' or '10/h', not {rate!r}")
        if unit not in _SECONDS:
            raise InvalidArgument(f"the time of a rate is s, min or h, not {unit!r}")
        self.rate: str = rate
        self._pace = Pace(int(count), int(count) / _SECONDS[unit], monotonic())

    def wait(self) -> float:
        """Seconds until there is room for a call, 0 when there is."""
        return self._pace.wait(monotonic())

    def take(self) -> None:
        """One call."""
        self._pace.spend(monotonic())


class Expiry:
    """A moment from which on nothing goes through; a `Through` for what is under way then.

    Args:
        until: a moment by the clock on the wall, or seconds from now, which hold whatever happens to that clock.

    Raises:
        InvalidArgument: it is something else.
    """

    __slots__ = ("_end", "until")

    def __init__(self, until: datetime | float) -> None:
        self._end: float | None = None
        if isinstance(until, datetime):
            if until.utcoffset() is None:
                raise InvalidArgument("until takes a datetime with a time zone", hint="datetime.now(UTC) + …")
            self.until = until
            return
        if type(until) not in (int, float) or not math.isfinite(until) or not 0 < until < 1e9:
            raise InvalidArgument(f"until is an aware datetime, or seconds above 0, not {until!r}")
        self._end = monotonic() + until
        self.until = datetime.now(UTC) + timedelta(seconds=until)

    @property
    def left(self) -> float:
        """Seconds that are left, 0 or less when it is over."""
        return (self.until - datetime.now(UTC)).total_seconds() if self._end is None else self._end - monotonic()

    def check(self) -> None:
        """Nothing, before the moment.

        Raises:
            PermissionDenied: `expired`.
        """
        if self.left <= 0:
            raise self._over()

    async def __call__(self, step: Callable[[], Awaitable[T]], /) -> T:
        """See `Through`."""
        self.check()
        brought: list[T] = []
        with move_on_after(self.left):
            brought.append(await step())
        if not brought:
            raise self._over()  # whatever our clock says: a loop's timer may be a little early
        return brought[0]

    def _over(self) -> PermissionDenied:
        return PermissionDenied(
            "the time for which this was granted is over",
            reason="expired",
            details={"until": self.until.isoformat()},
            retry="never",
        )


class Guard:
    """The rules of one `restrict`."""

    __slots__ = ("_bucket", "_left", "_methods", "_uses", "_where", "expiry")

    def __init__(
        self,
        methods: frozenset[str] | None,
        where: Where | None,
        bucket: Bucket | None,
        uses: int | None,
        expiry: Expiry | None,
    ) -> None:
        self._methods = methods
        self._where = where
        self._bucket = bucket
        self._uses = uses
        self._left = uses
        self.expiry = expiry

    def permit(self, method: MethodSpec, arguments: Mapping[str, Any]) -> None:
        """Nothing, when the call itself is allowed.

        Raises:
            PermissionDenied: `expired` or `restricted`.
        """
        if self.expiry is not None:
            self.expiry.check()
        if self._methods is not None and method.name not in self._methods:
            raise PermissionDenied(
                f"{method.contract}.{method.name} was not granted",
                reason="restricted",
                details={"required": [method.name], "granted": sorted(self._methods)},
                retry="never",
            )
        if self._where is not None and not _says_yes(self._where, method.name, arguments):
            raise PermissionDenied(
                f"{method.contract}.{method.name} was not granted with these arguments",
                reason="restricted",
                details={"required": ["where"], "granted": []},
                retry="never",
            )

    def afford(self) -> None:
        """Nothing, when there is room for a call.

        Raises:
            ResourceExhausted: `used_up` or `rate_limited`.
        """
        if self._left is not None and self._left <= 0:
            raise ResourceExhausted(
                "what was granted is used up", reason="used_up", details={"uses": self._uses}, retry="never"
            )
        if self._bucket is not None and (wait := self._bucket.wait()):
            raise ResourceExhausted(
                f"more than {self._bucket.rate}",
                reason="rate_limited",
                details={"rate": self._bucket.rate, "retry_after": wait},
                retry="after-cooldown",
            )

    def take(self) -> None:
        """The call is admitted."""
        if self._left is not None:
            self._left -= 1
        if self._bucket is not None:
            self._bucket.take()

    def tell(self) -> dict[str, Any]:
        """The rules, as they travel."""
        return {
            "methods": None if self._methods is None else sorted(self._methods),
            "where": self._where is not None,
            "rate": None if self._bucket is None else self._bucket.rate,
            "uses": self._uses,
            "uses_left": self._left,
            "until": None if self.expiry is None else self.expiry.until.isoformat(),
        }


class Restricted(Wrapper):
    """A capability of which less can be asked."""

    _capnet_guards: tuple[Guard, ...]
    """Its own, then those of what it was made of."""
    _capnet_target: Inner
    """What answers behind all guards."""

    async def __capnet_restrictions__(self) -> list[dict[str, Any]]:
        """See `Wrapper`."""
        behind = await restrictions_of(self._capnet_target.subject)
        return [*(guard.tell() for guard in self._capnet_guards), *behind]

    def _capnet_admit(self, method: MethodSpec, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        by_name = method.bind(arguments, keywords)
        guards = self._capnet_guards
        for guard in guards:
            guard.permit(method, by_name)
        for guard in guards:
            guard.afford()
        for guard in guards:
            guard.take()

    async def _capnet_call(
        self, method: MethodSpec, arguments: tuple[Any, ...], keywords: dict[str, Any], context: CallContext | None
    ) -> Any:
        self._capnet_admit(method, arguments, keywords)
        return await self._capnet_target.start(method.name, arguments, keywords, context)

    def _capnet_stream(
        self, method: MethodSpec, arguments: tuple[Any, ...], keywords: dict[str, Any], context: CallContext | None
    ) -> Any:
        self._capnet_admit(method, arguments, keywords)
        opened = self._capnet_target.start(method.name, arguments, keywords, context)
        ends = [guard.expiry for guard in self._capnet_guards if guard.expiry is not None]
        return GuardedStream(opened, min(ends, key=lambda end: end.left)) if ends else opened


def _says_yes(where: Where, method: str, arguments: Mapping[str, Any]) -> bool:
    try:
        return where(method, arguments) is True
    except Exception:
        return False


def _checked_methods(methods: Collection[str], contract: str, declared: Mapping[str, MethodSpec]) -> frozenset[str]:
    if isinstance(methods, str):
        raise InvalidArgument("methods is a set of names, not a text", hint=f"methods={{{methods!r}}}")
    unknown = sorted(str(name) for name in methods if name not in declared)
    if unknown:
        raise ContractError(
            f"{contract} has no method {', '.join(map(repr, unknown))}", hint=f"it has {', '.join(declared)}"
        )
    return frozenset(methods)


def _checked_where(where: Any) -> Where:
    if not callable(where) or iscoroutinefunction(where):
        raise InvalidArgument("where takes a plain function of the method and its arguments")
    return cast("Where", where)


def _checked_uses(uses: int) -> int:
    if type(uses) is not int or uses < 1:
        raise InvalidArgument(f"uses is a whole number from 1, not {uses!r}")
    return uses


def _restriction(told: Mapping[str, Any]) -> Restriction:
    """What an issuer has told; a newer one may tell more."""
    methods, until = told.get("methods"), told.get("until")
    return Restriction(
        methods=None if methods is None else frozenset(methods),
        where=bool(told.get("where")),
        rate=told.get("rate"),
        uses=told.get("uses"),
        uses_left=told.get("uses_left"),
        until=None if until is None else datetime.fromisoformat(until),
    )
