"""References as they travel inside values: three private CBOR tags (P-REF).

The same classes serve both directions. On the way out the sender fills in `subject` (what is referred to) and the
engine `id`; on the way in the codec fills in what the peer wrote and the engine `subject` (the import, the export that
came home, the stream, or the value that an answer turned out to be).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final, cast

from capnet.errors import ProtocolViolation
from capnet.native import bind_references

__all__ = [
    "TAG_ANSWER",
    "TAG_CAP",
    "TAG_STREAM",
    "AnswerRef",
    "CapRef",
    "Reference",
    "StreamRef",
    "check_reference",
    "is_window",
    "narrower",
]

TAG_CAP: Final = 52411
TAG_ANSWER: Final = 52412
TAG_STREAM: Final = 52413

MAX_ID: Final = 2**53
"""Ids stay below this, so that they are exact in every language (P-ID-1)."""
MAX_CREDIT: Final = 2**31 - 1
"""Items, and bytes, of credit that there are on a stream at most (P-STREAM-2)."""


class CapRef:
    """A capability: `[id, interface, version]`; id > 0: hosted by the sender, id < 0: by the receiver.

    `contract` never travels: it is what the sender exports its subject under, where the name alone does not say it.
    """

    __slots__ = ("contract", "id", "interface", "subject", "version")
    tag = TAG_CAP

    def __init__(self, interface: str, version: int, subject: Any = None, id: int = 0, contract: Any = None) -> None:
        self.interface = interface
        self.version = version
        self.subject = subject
        self.id = id
        self.contract = contract

    def content(self) -> list[Any]:
        """What stands under the tag."""
        return [self.id, self.interface, self.version]

    def __repr__(self) -> str:
        return f"<CapRef {self.id} {self.interface}/{self.version}>"


class AnswerRef:
    """A future value: `[call_id, step, …]`, the value at that path in the result of an earlier call."""

    __slots__ = ("id", "path", "subject")
    tag = TAG_ANSWER

    def __init__(self, id: int, path: tuple[str | int, ...] = (), subject: Any = None) -> None:
        self.id = id
        self.path = path
        self.subject = subject

    def content(self) -> list[Any]:
        """What stands under the tag."""
        return [self.id, *self.path]

    def __repr__(self) -> str:
        return f"<AnswerRef {self.id} {'/'.join(map(str, self.path))}>"


class StreamRef:
    """A stream opened by being mentioned: `[id, direction]`, `out` when the sender produces the items, else `in`.

    Attributes:
        window: items and bytes that its first credit is at most, which stand behind the direction; None for what the
            consumer has announced.
        party: for whom it is opened, which the wire does not tell; None when that is the sender.
    """

    __slots__ = ("direction", "id", "party", "subject", "window")
    tag = TAG_STREAM

    def __init__(self, direction: str, subject: Any = None, id: int = 0, window: tuple[int, int] | None = None) -> None:
        self.direction = direction
        self.subject = subject
        self.id = id
        self.window = window
        self.party: Hashable = None

    def content(self) -> list[Any]:
        """What stands under the tag."""
        return [self.id, self.direction, *(self.window or ())]

    def __repr__(self) -> str:
        return f"<StreamRef {self.id} {self.direction}>"


kind_of: Callable[[Any], Any] = type
"""`type`, by another name: the exact class of a value, which checkers leave alone."""

Reference = CapRef | AnswerRef | StreamRef
bind_references(CapRef, AnswerRef, StreamRef)


def is_id(value: object) -> bool:
    """Whether `value` is an integer that can be an id, of either sign; booleans are not integers here."""
    return type(value) is int and -MAX_ID < value < MAX_ID


def is_window(value: Sequence[object]) -> bool:
    """Whether `value` is a window: a number of items and one of bytes, each at least 1."""
    return len(value) == 2 and all(type(number) is int and 0 < number <= MAX_CREDIT for number in value)


def narrower(one: tuple[int, int] | None, other: tuple[int, int] | None) -> tuple[int, int] | None:
    """The window that keeps within both; None sets no bound."""
    if one is None or other is None:
        return one or other
    return min(one[0], other[0]), min(one[1], other[1])


def check_reference(tag: int, content: object, max_name_bytes: int) -> Reference:
    """The reference that `content` under `tag` stands for.

    Raises:
        ProtocolViolation: P-REF, the content does not have the tag's shape.
    """
    match tag, content:
        case 52411, [int() as id, str() as interface, int() as version] if (
            is_id(id) and id and type(version) is int and 0 <= version < MAX_ID and is_name(interface, max_name_bytes)
        ):
            return CapRef(interface, version, None, id)
        case 52412, [int() as id, *path] if is_id(id) and id > 0:  # pyright: ignore[reportUnknownVariableType]
            steps = cast("list[Any]", path)
            if all(type(step) in (str, int) for step in steps):
                return AnswerRef(id, tuple(steps))
        case 52413, [int() as id, "in" | "out"] if is_id(id) and id > 0:
            return StreamRef(cast("list[str]", content)[1], None, id)
        case 52413, [int() as id, "in" | "out", int() as items, int() as size] if is_id(id) and id > 0:
            if is_window((items, size)):
                return StreamRef(cast("list[str]", content)[1], None, id, (items, size))
        case _:
            pass
    raise ProtocolViolation("P-REF", f"malformed reference under tag {tag}")


def is_name(text: str, max_bytes: int) -> bool:
    """Whether `text` can name a method, an interface or a registration: not empty, printable, of bounded size."""
    return 0 < len(text) <= max_bytes and text.isprintable() and (text.isascii() or len(text.encode()) <= max_bytes)
