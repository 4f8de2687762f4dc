"""The hello: what each side says of itself first, and what follows from the two (P-CONN-1, P-CONN-2)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final, cast

from capnet.errors import InvalidArgument, ProtocolViolation
from capnet.limits import EARLY, Limits

from .references import MAX_ID, is_name
from .values import lower, only_data

__all__ = ["MAGIC", "OPERATIONS", "VERSIONS", "VIRTUAL", "Hello", "looks_like_capnet"]

MAGIC: Final = "capnet"
VERSIONS: Final = (1, 1)
"""Lowest and highest protocol version spoken here."""
VIRTUAL: Final = "virtual"
"""Feature: virtual connections (P-VIRT)."""
OPERATIONS: Final = "operations"
"""Feature: answers are kept for calls with an id (P-CALL-10)."""
MAX_INSTANCE: Final = 64
"""Longest word for an instance, in bytes."""

_ANNOUNCED: Final = (
    "max_frame",
    "max_calls",
    "max_caps",
    "max_streams",
    "stream_items",
    "stream_bytes",
    "max_call_charge",
    "max_depth",
    "max_items",
    "max_references",
)
_LEAST: Final[dict[str, int]] = {key: getattr(EARLY, key) for key in _ANNOUNCED}
_AUTH: Final = replace(EARLY, max_depth=32)
_START: Final = b"\x84\x00\x66capnet"


@dataclass(frozen=True, slots=True)
class Hello:
    """One side's introduction.

    Args:
        name: what the peer calls itself; for logs, proves nothing.
        limits: its receive limits; only the announced fields differ from the early ones.
        features: what it can do beyond the base; what is in use is the intersection.
        auth: opaque to the protocol, handed to the admission policy.
        versions: lowest and highest version it speaks.
        instance: tells one life of a peer from the next: who says another has lost what it knew. Empty says nothing.
    """

    name: str = ""
    limits: Limits = field(default_factory=Limits)
    features: tuple[str, ...] = ()
    auth: Any = None
    versions: tuple[int, int] = VERSIONS
    instance: str = ""

    def check(self) -> None:
        """Whether a peer would take it.

        Raises:
            InvalidArgument: the name is not printable or too long, `auth` is not plain data, or a limit is less than
                what every peer takes.
        """
        self.to_frame()

    def to_frame(self) -> list[Any]:
        """The hello frame.

        Raises:
            InvalidArgument: as `check`.
        """
        if self.name and not is_name(self.name, EARLY.max_name_bytes):
            raise InvalidArgument(f"a peer's name is printable text of at most {EARLY.max_name_bytes} bytes")
        options: dict[str, Any] = {key: getattr(self.limits, key) for key in _ANNOUNCED}
        if too_low := _too_low(options):
            raise InvalidArgument(too_low)
        if self.name:
            options["name"] = self.name
        if self.instance:
            options["instance"] = self.instance
        if self.features:
            options["features"] = list(self.features)
        if self.auth is not None:
            options["auth"], references = lower(self.auth, only_data, _AUTH)
            if references:
                raise InvalidArgument("auth is plain data, there are no capabilities before the handshake")
        return [0, MAGIC, list(self.versions), options]

    @classmethod
    def from_frame(cls, frame: list[Any]) -> Hello:
        """What the peer's hello says.

        Raises:
            ProtocolViolation: P-CONN-1, it does not have the shape of a hello; P-CONN-2, a limit below the early one.
        """
        match frame:
            case [0, "capnet", [int() as low, int() as high], dict()] if _is_range(low, high):
                options: dict[str, Any] = frame[3]
            case _:
                raise ProtocolViolation("P-CONN-1", "malformed hello")
        name: object = options.get("name", "")
        features: object = options.get("features", [])
        if not isinstance(name, str) or (name and not is_name(name, EARLY.max_name_bytes)):
            raise ProtocolViolation("P-CONN-1", "malformed peer name")
        if not isinstance(features, list):
            raise ProtocolViolation("P-CONN-1", "malformed features")
        instance: object = options.get("instance", "")
        if not isinstance(instance, str) or (instance and not is_name(instance, MAX_INSTANCE)):
            raise ProtocolViolation("P-CONN-1", "malformed instance")
        named = cast("list[str]", features)
        if not {*map(type, named)} <= {str}:
            raise ProtocolViolation("P-CONN-1", "malformed features")
        return cls(name, _announced(options), _features(tuple(named)), options.get("auth"), (low, high), instance)

    def version_with(self, theirs: Hello) -> int:
        """The highest version both speak.

        Raises:
            ProtocolViolation: P-CONN-1, there is none.
        """
        version = min(self.versions[1], theirs.versions[1])
        if version < max(self.versions[0], theirs.versions[0]):
            raise ProtocolViolation(
                "P-CONN-1", f"no common version: we speak {self.versions}, the peer {theirs.versions}"
            )
        return version


def looks_like_capnet(frame: bytes) -> bool:
    """Whether a first frame can be a hello at all; if not, a stranger is talking (P-CONN-3)."""
    return frame.startswith(_START)


def _is_range(low: int, high: int) -> bool:
    return type(low) is int and type(high) is int and 0 < low <= high < MAX_ID


def _announced(options: dict[str, Any]) -> Limits:
    values = {key: options.get(key, floor) for key, floor in _LEAST.items()}
    for key, value in values.items():
        if type(value) is not int or not 0 <= value < MAX_ID:
            raise ProtocolViolation("P-CONN-1", f"malformed limit {key}")
    return _limits(tuple(values.values()))


def _too_low(announced: dict[str, Any]) -> str | None:
    """What is said of a limit that is less than what a peer may use before it knows it."""
    for key, floor in _LEAST.items():
        if announced[key] < floor:
            return f"Limits.{key} must be at least {floor}: a peer may send that much before it knows our limits"
    return None


@lru_cache(maxsize=64)
def _features(named: tuple[str, ...]) -> tuple[str, ...]:
    """One object for all the peers that name the same."""
    return named


@lru_cache(maxsize=64)
def _limits(values: tuple[int, ...]) -> Limits:
    """One object for all the peers that announce the same, which are nearly all of them."""
    announced: dict[str, Any] = dict(zip(_ANNOUNCED, values, strict=True))
    if too_low := _too_low(announced):
        raise ProtocolViolation("P-CONN-2", too_low)
    return replace(EARLY, **announced)
