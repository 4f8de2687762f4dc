"""Descriptions: a contract as it is told to others, in shapes and in words.

The shapes are those of `shape.py`, and nothing else of a description is ever compared. The words stand beside them:
docstrings, what is said of parameters, defaults, hints. A description is made of a contract here, or of what a peer has
told; then it is checked, and what is wrong or too much in it is an error.

    {"contract": name, "version": 2, "methods": shape,
     "words": {"doc": text,
               "methods": {name: {"doc": text, "timeout": seconds, "idempotent": true,
                                  "parameters": {name: {"doc": text, "default": value, "keyword_only": true}}}}}}
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import lru_cache
from typing import Any, Final, Self, cast

from capnet.contract.annotation import Shape
from capnet.contract.declaration import MAX_NAME_BYTES, MAX_VERSION, Kind, signature_of
from capnet.contract.documentation import first_line, parts_of
from capnet.contract.schema import parameters_schema, schema
from capnet.contract.shape import check_shape
from capnet.contract.spec import ContractSpec, MethodSpec, contract_spec
from capnet.errors import InvalidArgument, cut_text

__all__ = ["ContractDescription", "MethodDescription", "ParameterDescription"]

MAX_TEXT: Final = 4096
"""Longest text about one thing, in bytes; more is cut off."""
MAX_SUMMARY: Final = 200
"""Bytes of what is told of each of many contracts at once."""
MAX_WORDS: Final = 65_536
"""Bytes of all texts and defaults of a contract; what does not fit any more is left out."""
MAX_DEFAULT: Final = 64
"""Values in one default; a larger one is left out."""
MAX_TIMEOUT: Final = 1e9
_kind: Callable[[Any], Any] = type
"""`type`, by another name: checkers leave the class alone."""

_Data = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ParameterDescription:
    """One parameter of a method.

    Attributes:
        name: as it travels.
        type: its shape.
        required: it has no default.
        doc: what the docstring of the method says of it under `Args:`.
        default: what the callee takes when it is left out, as plain data; None, too, when that is not told.
        has_default: whether that is told.
        keyword_only: it is only passed by name.
    """

    name: str
    type: Shape
    required: bool
    doc: str = ""
    default: Any = None
    has_default: bool = False
    keyword_only: bool = False


@dataclass(frozen=True, slots=True)
class MethodDescription:
    """One method of a contract.

    Attributes:
        name: its name.
        kind: `call` or `stream`.
        parameters: by name, in order.
        result: the shape of what it gives.
        since: contract version that brought it.
        doc: its docstring, without what is said of the parameters.
        timeout: seconds that a caller waits who has no nearer deadline, or None.
        idempotent: it may be called again when it is not known whether it ran.
    """

    name: str
    kind: Kind
    parameters: Mapping[str, ParameterDescription]
    result: Shape
    since: int = 1
    doc: str = ""
    timeout: float | None = None
    idempotent: bool = False

    @property
    def shape(self) -> Shape:
        """What is compared of it."""
        parameters = {name: [one.type, one.required] for name, one in self.parameters.items()}
        return [self.kind, parameters, self.result, self.since]

    def bind(self, positional: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by name.

        Raises:
            TypeError: there are more without a name than the method takes, or one is given twice.
        """
        names = [name for name, parameter in self.parameters.items() if not parameter.keyword_only]
        if len(positional) > len(names):
            raise TypeError(f"{self.name}() takes {len(names)} arguments without a name, {len(positional)} were given")
        bound = dict(zip(names, positional, strict=False))
        twice = [name for name in named if name in bound]
        if twice:
            raise TypeError(f"{self.name}() got two values for {twice[0]!r}")
        return {**bound, **named}

    def parameters_schema(self) -> dict[str, Any]:
        """JSON Schema 2020-12 of its arguments by name, as an object.

        A capability, a function or a `Sink` is a text there, the handle by which whoever speaks JSON names it, and a
        stream is an array; `x-capnet` says which of these it is.
        """
        return parameters_schema(self.parameters.values())

    def result_schema(self) -> dict[str, Any]:
        """The same of its result."""
        return schema(self.result)

    def words(self) -> dict[str, Any]:
        """What is said of it beside the shape, as plain data."""
        about = {name: said for name, one in self.parameters.items() if (said := _parameter_words(one))}
        words: dict[str, Any] = {"doc": self.doc} if self.doc else {}
        if self.timeout is not None:
            words["timeout"] = self.timeout
        if self.idempotent:
            words["idempotent"] = True
        return words | ({"parameters": about} if about else {})


@dataclass(frozen=True, slots=True)
class ContractDescription:
    """What can be called on a capability, in shapes and in words.

    Attributes:
        name: of the contract.
        version: of the contract.
        methods: by name, in order.
        doc: the docstring of the contract.
    """

    name: str
    version: int
    methods: Mapping[str, MethodDescription] = field(default_factory=dict[str, MethodDescription])
    doc: str = ""

    @classmethod
    def of(cls, contract: Any) -> Self:
        """The description of a contract of this program, or of a class that implements one.

        Raises:
            ContractError: it is none.
        """
        return cast("Self", described(contract_spec(contract)))

    @classmethod
    def from_data(cls, data: object) -> Self:
        """What `data` gave, here or at a peer.

        Raises:
            InvalidArgument: it is no description, or too large.
        """
        told = _map(data)
        name, version, shape = told.get("contract"), told.get("version"), told.get("methods")
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_BYTES:
            raise _malformed("its contract has no name")
        if type(version) is not int or not 0 <= version <= MAX_VERSION:
            raise _malformed("its version is no whole number")
        check_shape(shape)
        words = _Words(_map(told.get("words", {})))
        methods = {method: words.method(method, parts) for method, parts in cast("_Data", shape).items()}
        return cls(name, version, methods, words.doc)

    def data(self) -> dict[str, Any]:
        """It as plain data, which is JSON as well: what travels, and what `from_data` takes."""
        about = {name: said for name, method in self.methods.items() if (said := method.words())}
        words: dict[str, Any] = {"doc": self.doc} if self.doc else {}
        if about:
            words["methods"] = about
        return {"contract": self.name, "version": self.version, "methods": self.shape, "words": words}

    def only(self, methods: Collection[str]) -> Self:
        """The same with no other methods than these."""
        return replace(self, methods={name: method for name, method in self.methods.items() if name in methods})

    @property
    def shape(self) -> dict[str, Shape]:
        """What is compared of it."""
        return {name: method.shape for name, method in self.methods.items()}

    @property
    def summary(self) -> str:
        """The first line of its docstring, cut to 200 bytes."""
        return cut_text(first_line(self.doc), MAX_SUMMARY)


@lru_cache(maxsize=256)
def described(spec: ContractSpec) -> ContractDescription:
    """The description of a contract."""
    room = _Room(MAX_WORDS)
    doc = room.text(parts_of(_own_doc(spec))[0])
    methods = {name: _described_method(method, room) for name, method in spec.methods.items()}
    return ContractDescription(spec.name, spec.version, methods, doc)


def _own_doc(spec: ContractSpec) -> str | None:
    return cast("str | None", vars(spec.cls).get("__doc__"))


def _described_method(method: MethodSpec, room: _Room) -> MethodDescription:
    doc, about = parts_of(method.stub.__doc__)
    doc = room.text(doc)
    defaults = signature_of(method.stub).parameters
    parameters: dict[str, ParameterDescription] = {}
    for name, taken in method.parameters.items():
        said = room.text(about.get(name, taken.doc))
        default, told = room.default(defaults[name].default)
        shape, required, keyword_only = taken.annotation.shape, taken.required, taken.keyword_only
        parameters[name] = ParameterDescription(name, shape, required, said, default, told, keyword_only)
    return MethodDescription(
        method.name,
        method.kind,
        parameters,
        method.result.shape,
        method.since,
        doc,
        method.timeout,
        method.idempotent,
    )


class _Room:
    """Room for the words of one contract."""

    def __init__(self, size: int) -> None:
        self.left = size

    def text(self, text: str) -> str:
        """A text, cut to what may be said of one thing; nothing when there is no room left."""
        text = cut_text(text, MAX_TEXT)
        return text if self._take(len(text.encode())) else ""

    def default(self, default: Any) -> tuple[Any, bool]:
        """A default as plain data, and whether there is one that is."""
        if isinstance(default, Enum):
            default = default.value
        size = _json_size(default, [MAX_DEFAULT])
        fits = size is not None and self._take(size)
        return (json.loads(json.dumps(default)) if fits else None), fits

    def _take(self, size: int) -> bool:
        if size > self.left:
            return False
        self.left -= size
        return True


class _Words:
    """The words of a description that came from anywhere."""

    def __init__(self, words: _Data) -> None:
        self._room = _Room(MAX_WORDS)
        self.doc = self._text(words)
        self._methods = _map(words.get("methods", {}))

    def method(self, name: str, shape: Shape) -> MethodDescription:
        """A method, whose shape was checked, with what is said of it."""
        words = _map(self._methods.get(name, {}))
        kind, parameters, result, since = shape
        timeout, idempotent = words.get("timeout"), words.get("idempotent", False)
        if timeout is not None and not _is_seconds(timeout):
            raise _malformed("a timeout is no number of seconds")
        if not isinstance(idempotent, bool):
            raise _malformed("`idempotent` is not true or false")
        doc = self._text(words)
        about = _map(words.get("parameters", {}))
        described = {
            one: self._parameter(one, taken, required, _map(about.get(one, {})))
            for one, (taken, required) in parameters.items()
        }
        return MethodDescription(name, kind, described, result, since, doc, timeout, idempotent)

    def _parameter(self, name: str, taken: Shape, required: bool, words: _Data) -> ParameterDescription:
        default, has_default = self._room.default(words["default"]) if "default" in words else (None, False)
        if has_default is not ("default" in words):
            raise _malformed("a default is no plain data, or too large")
        keyword_only = words.get("keyword_only", False)
        if not isinstance(keyword_only, bool):
            raise _malformed("`keyword_only` is not true or false")
        return ParameterDescription(name, taken, required, self._text(words), default, has_default, keyword_only)

    def _text(self, words: _Data) -> str:
        doc = words.get("doc", "")
        if not isinstance(doc, str):
            raise _malformed("a text is none")
        return self._room.text(doc)


def _parameter_words(parameter: ParameterDescription) -> dict[str, Any]:
    words: dict[str, Any] = {"doc": parameter.doc} if parameter.doc else {}
    if parameter.has_default:
        words["default"] = parameter.default
    if parameter.keyword_only:
        words["keyword_only"] = True
    return words


def _json_size(value: Any, left: list[int]) -> int | None:
    """Bytes that a value takes, nearly; None when it is nothing that JSON has, too, or has more than `left` values."""
    left[0] -= 1
    if left[0] < 0:
        return None
    kind = _kind(value)
    if value is None or kind is bool or (kind is float and math.isfinite(value)):
        return 8
    if kind is int:
        return cast("int", value.bit_length()) // 8 + 1 if abs(value) < 2**53 else None
    if kind is str:
        return _text_size(value)
    if kind is list or kind is tuple:
        return _sum(_json_size(item, left) for item in value)
    if kind is dict:
        return _sum(
            size
            for key, item in value.items()
            for size in (_text_size(key) if type(key) is str else None, _json_size(item, left))
        )
    return None


def _text_size(text: str) -> int | None:
    return len(text) * 4 if len(text) <= MAX_TEXT and not any("\ud800" <= one <= "\udfff" for one in text) else None


def _sum(sizes: Any) -> int | None:
    total = 1
    for size in sizes:
        if size is None:
            return None
        total += size
    return total


def _is_seconds(value: object) -> bool:
    return type(value) in (int, float) and 0 < cast("float", value) <= MAX_TIMEOUT


def _map(value: object) -> _Data:
    if type(value) is not dict:
        raise _malformed("a map is missing")
    return cast("_Data", value)


def _malformed(what: str) -> InvalidArgument:
    return InvalidArgument(f"this is no description of a contract: {what}")
