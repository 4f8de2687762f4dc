"""What links may say, and what all that stand in one token say together: what each of them grants, and no more."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from capnet.attenuation.restriction import Bucket, Restriction
from capnet.errors import InvalidArgument

from .chain import decoded

__all__ = ["Held", "as_data", "checked_names", "claims_of"]

_KEY: Final = 32
"""Bytes of a public key."""
_SAID: Final = frozenset({"aud", "exp", "grants", "names", "to"})
"""What links may say; the first one also whom it is about."""


class Held:
    """What all links say together."""

    def __init__(self) -> None:
        self.audience: frozenset[str] = frozenset()
        self.grants: frozenset[str] = frozenset()
        self.names: dict[str, tuple[Restriction, ...]] | None = None
        self.until: datetime | None = None
        self._first = True

    def add(self, link: Mapping[str, Any]) -> None:
        """One more; it can only take away."""
        first, self._first = self._first, False
        if not link.keys() <= (_SAID | {"sub"} if first else _SAID):
            raise ValueError("a link says what is not known here, which may be a restriction")
        if first or "aud" in link:
            said = checked_names(link["aud"], "aud")
            self.audience = said if first else self.audience & said
        if first or "grants" in link:
            said = checked_names(link.get("grants", ()), "grants")
            self.grants = said if first else self.grants & said
        if first or "exp" in link:
            until = _moment(link["exp"])
            self.until = until if self.until is None else min(self.until, until)
        if "names" in link:
            told = {_name(name): _restrictions(some) for name, some in link["names"].items()}
            if self.names is None:
                self.names = told
            else:
                self.names = {name: self.names[name] + told[name] for name in self.names if name in told}
        if not isinstance(link.get("sub", ""), str):
            raise TypeError("sub")


def claims_of(
    until: datetime | float | None,
    grants: Collection[str] | None,
    names: Mapping[str, Restriction | Sequence[Restriction]] | None,
    to: str | None,
) -> dict[str, Any]:
    """What a link says, of what it is given.

    Raises:
        InvalidArgument: a value makes no sense.
    """
    said: dict[str, Any] = {}
    if until is not None:
        if not isinstance(until, datetime):
            if not 0 < until < 1e9:
                raise InvalidArgument(f"until is an aware datetime, or seconds above 0, not {until!r}")
            until = datetime.now(UTC) + timedelta(seconds=until)
        said["exp"] = _told(until)
    if grants is not None:
        said["grants"] = sorted(checked_names(grants, "grants"))
    if names is not None:
        some = {name: [one] if isinstance(one, Restriction) else list(one) for name, one in names.items()}
        said["names"] = {_name(name): [as_data(one) for one in each] for name, each in some.items()}
    if to is not None:
        try:
            known = len(decoded(to)) == _KEY
        except ValueError:
            known = False
        if not known:
            raise InvalidArgument("to is a public key: public_key(key)")
        said["to"] = to
    return said


def checked_names(names: Any, what: str) -> frozenset[str]:
    """A list of texts that can be shown.

    Raises:
        InvalidArgument: it is something else.
    """
    if not isinstance(names, list | tuple | set | frozenset):
        raise InvalidArgument(f"{what} is a list of texts")
    return frozenset(map(_name, cast("Iterable[Any]", names)))


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name or not name.isprintable():
        raise InvalidArgument(f"{name!r} is no name"[:200])
    return name


def as_data(restriction: Restriction) -> dict[str, Any]:
    """A restriction as JSON has it.

    Raises:
        InvalidArgument: it has a condition on arguments, which is no data; or a value makes no sense.
    """
    if restriction.where:
        raise InvalidArgument("a condition on arguments (`where`) is no data", hint="say it in methods, rate, until")
    told = {field.name: getattr(restriction, field.name) for field in fields(Restriction)}
    del told["where"]
    if restriction.methods is not None:
        told["methods"] = sorted(restriction.methods)
    if restriction.until is not None:
        told["until"] = _told(restriction.until)
    data = {name: value for name, value in told.items() if value is not None}
    _restriction(data)
    return data


def _restrictions(some: Any) -> tuple[Restriction, ...]:
    if not isinstance(some, list):
        raise InvalidArgument("restrictions are a list")
    return tuple(_restriction(one) for one in cast("Any", some))


def _restriction(data: Mapping[str, Any]) -> Restriction:
    """The counterpart of `as_data`.

    Raises:
        InvalidArgument: it is none, or says what is not known here: that would be left out.
    """
    told = dict(data)
    kinds = {"methods": list, "rate": str, "uses": int, "uses_left": int, "until": str}
    if not all(type(value) is kinds.get(name) for name, value in told.items()):
        raise InvalidArgument("this is no restriction")
    if told.get("uses", 1) < 1 or told.get("uses_left", 0) < 0:
        raise InvalidArgument("uses are a whole number from 1, and those that are left one from 0")
    if "rate" in told:
        Bucket(told["rate"])
    if "methods" in told:
        told["methods"] = checked_names(told["methods"], "methods")
    if "until" in told:
        told["until"] = _moment(told["until"])
    return Restriction(**told)


def _told(moment: datetime) -> str:
    if moment.utcoffset() is None:
        raise InvalidArgument("a moment has a time zone", hint="datetime.now(UTC) + …")
    return moment.isoformat()


def _moment(text: Any) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.utcoffset() is None:
        raise InvalidArgument("a moment has a time zone")
    return moment
