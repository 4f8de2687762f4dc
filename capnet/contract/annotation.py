"""Annotations: what one annotation lets travel, and how msgspec is told to check it.

`read_annotation` walks an annotation once, through dataclasses and their like, and refuses what cannot travel. It
returns an `Annotation`: the shape (plain data, compared by `shape.py`), the contracts it mentions, and whether the wire
needs help: text keys, bytes, the hook for capabilities.

A shape is one of: a word such as `"int"`; `["list", T]`; `["tuple", T, …]`; `["map", K, T]`; `["union", T, …]`;
`["literal", value, …]`; `["struct", label, {field: [T, required]}]`; `["ref", label]` for a struct that encloses it;
`["cap", name, inherited name, …]`; `["callable", [T, …], T]`; `["stream", T]`; `["sink", T]`.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import uuid
from collections import abc
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Final, Literal, NotRequired, Required, TypeAlias, Union, get_args, get_origin

import msgspec
from typing_extensions import is_typeddict

from capnet.contract.callables import callable_contract, callable_parts
from capnet.contract.capability import Cap
from capnet.contract.construction import can_be_called, is_called
from capnet.contract.declaration import declaration_of
from capnet.contract.fields import Fields, fields_of, is_array, tag_of
from capnet.contract.flags import MAX_FLAGS, bits_of, make_combinations
from capnet.contract.growth import (
    GROWING,
    IN_SET,
    NO_DEFAULTS,
    SET,
    SETS,
    Defaults,
    defaults_of_class,
    growth_of_class,
)
from capnet.contract.hints import member_hints, stands_for
from capnet.contract.rules import DATA, holds_data
from capnet.contract.sink import Sink
from capnet.errors import ContractError

__all__ = ["Annotation", "Shape", "read_annotation"]

Shape: TypeAlias = Any
"""Plain data that describes a type; see the module's docstring."""

MAX_DEPTH: Final = 32
"""Types nested deeper in one annotation are taken for a generic that never stops unfolding."""

WORDS: Final[dict[Any, str]] = {
    Any: "any",
    object: "any",
    None: "none",
    NoneType: "none",
    bool: "bool",
    int: "int",
    float: "float",
    str: "str",
    bytes: "bytes",
    bytearray: "bytes",
    memoryview: "bytes",
    dt.datetime: "datetime",
    dt.date: "date",
    dt.time: "time",
    dt.timedelta: "timedelta",
    uuid.UUID: "uuid",
    decimal.Decimal: "decimal",
}
ARRAYS: Final = frozenset(
    {list, set, frozenset, abc.Sequence, abc.MutableSequence, abc.Collection, abc.Iterable, abc.Set, abc.MutableSet}
)
MAPS: Final = frozenset({dict, abc.Mapping, abc.MutableMapping})
CONTAINERS: Final = ARRAYS | MAPS | {tuple}
STREAMS: Final = frozenset({abc.AsyncIterable, abc.AsyncIterator, abc.AsyncGenerator})
ENDS: Final = STREAMS | {Sink}
"""The ends of a stream; what they carry is converted item by item."""
KEYS: Final = ("any", "str", "int", "uuid", "date")
FLAGS: Final = ("text_keys", "has_bytes", "has_custom", "may_lead")


@dataclass(frozen=True, slots=True)
class Annotation:
    """What one annotation lets travel.

    Args:
        hint: the type as msgspec is given it.
        shape: plain data for `describe` and comparison.
        contracts: contract classes that are mentioned, each once, callables included; `Topic[int]` counts as `Topic`.
        item: of a stream or a sink, what it carries; otherwise None.
        text_keys: the sender must turn the keys of maps to text, the receiver turns them back.
        has_bytes: byte strings may stand in it, so text must not be read as base64.
        has_custom: msgspec needs the hook for something in it.
        may_lead: a capability may stand in it, so a call may be made on what it will be (P-CALL-8); the items of a
            stream do not count.
        growth: bytes that a value in it may take more than its charge, on average over a frame; the items of a stream
            do not count.
        defaults: what may be made for fields that are left out in it.
    """

    hint: Any
    shape: Shape
    contracts: tuple[type[Cap], ...] = ()
    item: Annotation | None = None
    text_keys: bool = False
    has_bytes: bool = False
    has_custom: bool = False
    may_lead: bool = False
    growth: int = 0
    defaults: Defaults = NO_DEFAULTS


def read_annotation(hint: Any, where: str) -> Annotation:
    """Walk `hint`; type variables must be substituted before.

    Args:
        hint: the annotation, strings resolved.
        where: contract, method and parameter, for the error.

    Raises:
        ContractError: something in it cannot travel.
    """
    walk = _Walk(where, {})
    shape = walk.read(hint)
    hint = _for_msgspec(hint)
    _check_msgspec(where, hint)
    item = read_annotation(_argument(hint, 0), where) if (get_origin(hint) or hint) in ENDS else None
    flags = {name: name in walk.flags for name in FLAGS}
    return Annotation(hint, shape, tuple(walk.contracts), item, **flags, growth=walk.growth, defaults=walk.defaults)


def _for_msgspec(hint: Any) -> Any:
    """`Iterable[T]` is unknown to msgspec, a sequence is not; those in fields of classes pass through the hook."""
    origin = get_origin(hint) or hint
    if hasattr(origin, "__value__"):  # an alias, of which msgspec does not know those of typing_extensions
        return _for_msgspec(stands_for(hint))
    arguments = tuple(map(_for_msgspec, get_args(hint)))
    if origin is abc.Iterable:
        sequence: Any = abc.Sequence
        return sequence[arguments or Any]
    if arguments == get_args(hint):
        return hint
    if origin in (Union, UnionType):
        return Union[arguments]  # noqa: UP007 - built from a tuple
    container: Any = origin if origin in CONTAINERS else None
    return hint if container is None else container[arguments]


def _check_msgspec(where: str, hint: Any) -> None:
    """msgspec has rules of its own for unions and enums; a decoder that is made applies them."""
    try:
        msgspec.msgpack.Decoder(hint)
    except TypeError as error:
        ways_out = (way_out for word, way_out in _WAYS_OUT.items() if word in str(error))
        raise ContractError(f"{where}: {error}", hint=next(ways_out, None)) from error


_WAYS_OUT: Final = {
    "unions": "wrap them in tagged msgspec structs, or declare one of them",
    "Enums": "declare text or whole numbers, or give the members such values and keep in a dict what they stand for",
    "`InitVar`": "make it a field: what the constructor takes is all that travels",
    "Literal may": "list texts and whole numbers; instead of members of an enum declare the enum",
    "ReadOnly[": "leave `ReadOnly` out: whoever gets a value has one of their own",
    "Type '": "declare what it stands for",
}
"""What to do instead, by a word of what msgspec says."""


def _argument(hint: Any, index: int) -> Any:
    arguments = get_args(hint)
    return arguments[index] if arguments else Any


class _Walk:
    """One walk over one annotation; collects what is met on the way."""

    def __init__(self, where: str, labels: dict[Any, str], depth: int = 0) -> None:
        self.where = where
        self.labels = labels  # structs we are inside of → the label a `ref` to them carries
        self.depth = depth
        self.contracts: list[type[Cap]] = []
        self.flags: set[str] = set()
        self.growth = 0
        self.defaults = NO_DEFAULTS
        self.whole: Any = None

    def refuse(self, hint: Any, why: str = "cannot travel", hint_text: str | None = None) -> ContractError:
        name = hint.__qualname__ if isinstance(hint, type) else str(hint)
        return ContractError(f"{self.where}: `{name}` {why}", hint=hint_text)

    def read(self, hint: Any) -> Shape:
        """The shape of `hint`."""
        if self.depth == 0:
            self.whole = hint
        if self.depth == MAX_DEPTH:
            raise self.refuse(self.whole, "is nested too deeply", "declare `Any` for what may be nested without end")
        if not isinstance(hint, Hashable):  # such as `[int]`
            raise self.refuse(hint, "is not a type")
        self.depth += 1
        shape = self._read(hint)
        self.depth -= 1
        return shape

    def _read(self, hint: Any) -> Shape:
        origin = get_origin(hint) or hint
        if origin in WORDS:
            return self._word(origin)
        if origin in (Union, UnionType):
            return self._union(hint)
        if origin is Literal:
            return ["literal", *get_args(hint)]
        meant = stands_for(hint)
        return self._container(origin, hint) if meant is hint else self.read(meant)

    def _word(self, hint: Any) -> Shape:
        word = WORDS[hint]
        self._grow(GROWING.get(hint, 0))
        if word == "bytes":
            self.flags.add("has_bytes")
        if word == "any":
            self.flags.add("may_lead")
        if hint is object:
            self.flags.add("has_custom")
        return word

    def _union(self, hint: Any) -> Shape:
        members = [member for member in get_args(hint) if member is not msgspec.UnsetType]
        shapes = [self.read(member) for member in members]
        customs = [member for member, shape in zip(members, shapes, strict=True) if _is_custom(shape)]
        if len(customs) > 1 or (customs and any(shape != "none" and not _is_custom(shape) for shape in shapes)):
            raise self.refuse(hint, "mixes a capability with something else", "only None may stand beside a capability")
        return shapes[0] if len(shapes) == 1 else ["union", *shapes]

    def _container(self, origin: Any, hint: Any) -> Shape:
        if origin is tuple:
            return self._tuple(get_args(hint))
        if origin in ARRAYS:
            self.flags |= {"has_custom"} if origin is abc.Iterable else set()
            return ["list", self._items_of_set(hint) if origin in SETS else self.read(_argument(hint, 0))]
        if origin in MAPS:
            return ["map", self._key(_argument(hint, 0)), self.read(_argument(hint, 1))]
        if origin in ENDS:
            return self._end(origin, hint)
        if origin is Callable:
            return self._callable(hint)
        if isinstance(origin, type):
            return self._class(origin, hint)
        raise self.refuse(hint, hint_text="write the name of a class, or `Any` for what holds values of its own kind")

    def _items_of_set(self, hint: Any) -> Shape:
        around, self.growth = self.growth, 0
        shape = self.read(_argument(hint, 0))
        self.growth += IN_SET
        self._grow(SET)
        self._grow(around)
        return shape

    def _grow(self, bytes_per_value: int) -> None:
        self.growth = max(self.growth, bytes_per_value)

    def _tuple(self, items: tuple[Any, ...]) -> Shape:
        if not items or items[-1] is Ellipsis:
            return ["list", self.read(items[0] if items else Any)]
        return ["tuple", *map(self.read, items)]

    def _key(self, hint: Any) -> Shape:
        shape = self.read(hint)
        if shape[0] != "literal" and shape not in KEYS:
            raise self.refuse(hint, "cannot be the key of a map", "keys are str, int, enum, UUID or date")
        if shape not in ("any", "str"):
            self.flags.add("text_keys")
        return shape

    def _end(self, origin: Any, hint: Any) -> Shape:
        if get_origin(hint) is abc.AsyncGenerator and get_args(hint)[1:] not in ((None,), (NoneType,)):
            raise self.refuse(hint, "takes items back", "write Stream[T]")
        self.flags.add("has_custom")
        # Items are converted one by one, so what they need is not what the value around them needs.
        return ["sink" if origin is Sink else "stream", self._apart(_argument(hint, 0), self.contracts)]

    def _callable(self, hint: Any) -> Shape:
        parts = callable_parts(hint)
        if parts is None:
            raise self.refuse(hint, hint_text="write Callable[[A, B], Awaitable[R]]")
        self._mention(callable_contract(hint))
        return ["callable", [self._apart(argument, []) for argument in parts[0]], self._apart(parts[1], [])]

    def _apart(self, hint: Any, contracts: list[type[Cap]]) -> Shape:
        walk = _Walk(self.where, self.labels, self.depth)
        walk.contracts = contracts
        return walk.read(hint)

    def _mention(self, contract: type[Cap]) -> None:
        self.flags |= {"has_custom", "may_lead"}
        if contract not in self.contracts:
            self.contracts.append(contract)

    def _class(self, cls: Any, hint: Any) -> Shape:
        if issubclass(cls, Cap):
            return self._capability(cls)
        if issubclass(cls, enum.Flag) and bits_of(cls).bit_count() > MAX_FLAGS:
            raise self.refuse(cls, f"has more than {MAX_FLAGS} flags", "take an int, and make flags of it yourself")
        if issubclass(cls, enum.Flag):
            make_combinations(cls)
        if issubclass(cls, enum.Enum):
            return ["literal", *(member.value for member in cls)]
        fields = fields_of(cls)
        if fields is None:
            raise self.refuse(cls, hint_text=_way_out(cls))
        names, required = [name for _, name, _ in fields], [name for _, name, required in fields if required]
        if is_called(cls) and not can_be_called(cls, names, required):
            raise self.refuse(
                cls,
                "cannot be built of its fields",
                "have its constructor take all of them by name, or say field(init=False) of those that it sets itself",
            )
        return self._struct(cls, hint, fields)

    def _capability(self, cls: type[Cap]) -> Shape:
        names = [declared.name for base in cls.__mro__ if (declared := declaration_of(base))]
        if cls is not Cap and declaration_of(cls) is None:
            raise self.refuse(cls, "is an implementation", "annotate with the contract it implements")
        if holds_data(cls):
            raise self.refuse(cls, *DATA)
        self._mention(cls)
        return ["cap", *names]

    def _struct(self, cls: Any, hint: Any, fields: Fields) -> Shape:
        if hint in self.labels:
            return ["ref", self.labels[hint]]
        label = cls.__name__
        while label in self.labels.values():
            label += "'"
        self.labels[hint] = label
        shapes = {name: [["literal", value], True] for name, value in tag_of(cls).items()} | self._fields(hint, fields)
        del self.labels[hint]
        if not is_typeddict(cls):
            required = [must for _, must in shapes.values()].count(True)
            self._grow(growth_of_class(cls, required, len(fields), is_array(cls)))
            self.defaults = self.defaults.joined(defaults_of_class(cls, shapes, required, is_array(cls)))
        return ["tuple", *(shape for shape, _ in shapes.values())] if is_array(cls) else ["struct", label, shapes]

    def _fields(self, hint: Any, fields: Fields) -> dict[str, Shape]:
        hints = member_hints(hint, self.where)
        shapes: dict[str, Shape] = {}
        for name, wire, required in fields:
            if name not in hints:
                raise self.refuse(hint, f"has a field '{name}' without a type", "annotate it")
            # In a TypedDict under postponed evaluation only the annotation itself knows.
            marked = {Required: True, NotRequired: False}.get(get_origin(hints[name]), required)
            shapes[wire] = [self.read(hints[name]), marked]
        return shapes


def _way_out(cls: Any) -> str:
    """What to declare instead of a class that cannot travel."""
    if hasattr(cls, "__fspath__"):
        return "declare `str`, and send `os.fspath(path)`"
    if hasattr(cls, "model_fields"):
        return "make it a pydantic dataclass, or declare `dict[str, Any]` and send `model_dump()`"
    for base in (str, bytes, int, float, dt.datetime, dt.date, dt.time, dt.timedelta, uuid.UUID, decimal.Decimal):
        if issubclass(cls, base):
            return f"declare `{base.__name__}`, or a NewType of it"
    if issubclass(cls, abc.Mapping):
        return "declare `dict`, as which it arrives"
    if issubclass(cls, abc.Collection):
        return "declare `list`, `tuple` or `set`, as which it arrives"
    return "make it a dataclass, or its methods a contract"


def _is_custom(shape: Shape) -> bool:
    return shape[0] in ("cap", "callable", "stream", "sink")
