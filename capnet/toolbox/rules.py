"""Rules: what a tool says of itself, and what is held against its calls."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from time import monotonic as clock
from typing import Any, Final, TypeAlias

from capnet.attenuation.restriction import Bucket
from capnet.contract import CallContext
from capnet.errors import InvalidArgument, PermissionDenied, ResourceExhausted

from .contract import ToolDescription, ToolFilter

__all__ = ["PLAIN", "Asked", "Rates", "Rule", "check_grants", "fits", "lacking", "matches", "rule_for"]

Asked: TypeAlias = "CallContext | None"
"""On whose behalf; None for the program itself."""
_LONGEST: Final = 3600.0
"""Seconds after which every bucket is full again: one that was not used for so long need not be kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What holds for a tool. What is left out says nothing.

    Args:
        grants: what a caller must have been granted; who lacks one does not find the tool.
        rate: calls that one principal may make, such as `10/s`, `10/min`, `10/h`. Callers without one share it.
        timeout: seconds that a call may take.
        approval: the callback of the toolbox is asked before the tool runs.
        secret: names of arguments that are not written into the audit log.
        tags: words by which it is found.
        read_only: it changes nothing.
        destructive: what it changes may be lost.

    Raises:
        InvalidArgument: a value makes no sense.
    """

    grants: Collection[str] = ()
    rate: str | None = None
    timeout: float | None = None
    approval: bool = False
    secret: Collection[str] = ()
    tags: Collection[str] = ()
    read_only: bool | None = None
    destructive: bool | None = None

    def __post_init__(self) -> None:
        for name in ("grants", "secret", "tags"):
            given: Any = getattr(self, name)
            if isinstance(given, str) or not all(isinstance(one, str) for one in given):
                raise InvalidArgument(f"{name} is a list of texts, not {given!r}"[:300])
        if self.rate is not None:
            Bucket(self.rate)
        if self.timeout is not None and not 0 < self.timeout < 1e9:
            raise InvalidArgument(f"timeout is seconds above 0, not {self.timeout!r}")

    def under(self, other: Rule) -> Rule:
        """This one with another above it: what both ask for is asked for, and in all else the other one counts."""
        return Rule(
            grants=frozenset(self.grants) | frozenset(other.grants),
            rate=other.rate or self.rate,
            timeout=other.timeout or self.timeout,
            approval=self.approval or other.approval,
            secret=frozenset(self.secret) | frozenset(other.secret),
            tags=frozenset(self.tags) | frozenset(other.tags),
            read_only=self.read_only if other.read_only is None else other.read_only,
            destructive=self.destructive if other.destructive is None else other.destructive,
        )


PLAIN: Final = Rule()
"""It says nothing."""


def matches(name: str, patterns: Collection[str]) -> bool:
    """Whether a name is, or fits, one of the patterns, in which `*` stands for anything."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def rule_for(name: str, own: Rule, rules: Mapping[str, Rule]) -> Rule:
    """What holds for a tool: what it says itself, and every rule whose pattern fits, the later ones above."""
    for pattern, rule in rules.items():
        if fnmatchcase(name, pattern):
            own = own.under(rule)
    return own


def lacking(rule: Rule, asked: Asked) -> bool:
    """Whether a caller was not granted what it needs. The program itself needs nothing."""
    return asked is not None and not asked.attestation.grants.issuperset(rule.grants)


def check_grants(tool: str, rule: Rule, asked: Asked) -> None:
    """Nothing, when a caller was granted what it needs.

    Raises:
        PermissionDenied: `denied`, with what was required and granted.
    """
    if asked is not None and lacking(rule, asked):
        granted = asked.attestation.grants
        raise PermissionDenied(
            f"{tool} needs more than you were granted",
            reason="denied",
            details={"required": sorted(rule.grants), "granted": sorted(granted & frozenset(rule.grants))},
            retry="never",
        )


def fits(told: ToolDescription, words: Collection[str], wanted: ToolFilter) -> bool:
    """Whether a tool is one that somebody looks for."""
    text = "\n".join((told.name, told.doc, *told.tags)).lower()
    return (
        all(word in text for word in words)
        and told.name.startswith(wanted.prefix)
        and set(wanted.tags) <= set(told.tags)
        and wanted.read_only in (None, bool(told.read_only))
        and wanted.dry_run in (None, told.dry_run)
    )


class Rates:
    """How many calls were made of late, by tool and principal."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[tuple[str, str | None], tuple[Bucket, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, tool: str, principal: str | None, rate: str) -> None:
        """One call.

        Raises:
            ResourceExhausted: `rate_limited`.
        """
        now = clock()
        while self._buckets and next(iter(self._buckets.values()))[1] < now - _LONGEST:
            self._buckets.popitem(last=False)
        key = (tool, principal)
        bucket = self._buckets.pop(key, (None, 0.0))[0]
        if bucket is None or bucket.rate != rate:
            bucket = Bucket(rate)
        wait = bucket.wait()
        self._buckets[key] = bucket, now
        if wait:
            raise ResourceExhausted(
                f"more than {rate} of {tool}",
                reason="rate_limited",
                details={"rate": rate, "retry_after": wait},
                retry="after-cooldown",
            )
        bucket.take()
