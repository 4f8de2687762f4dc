"""JSON Schema 2020-12 of shapes: what tools that know no capnet are told of a method.

Classes with fields stand in `$defs` by their names and are referred to, so a class may hold itself. What JSON cannot
hold is marked by the keyword `x-capnet`, which says what it is: `{"capability": [name, …]}` with the names that it has,
`{"callable": {"parameters": […], "result": …}}` and `{"sink": …}` with schemas, each a text in JSON; and
`{"stream": true}` at an array of the items.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Protocol, TypeAlias

from capnet.contract.annotation import Shape

__all__ = ["labels_around", "parameters_schema", "schema"]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
MARK: Final = "x-capnet"

_Schema: TypeAlias = "dict[str, Any]"
_Scope: TypeAlias = "Mapping[str, str]"
"""The structs that enclose a shape: label → name in `$defs`."""

_WORDS: Final[Mapping[str, _Schema]] = {
    "any": {},
    "none": {"type": "null"},
    "bool": {"type": "boolean"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "str": {"type": "string"},
    "bytes": {"type": "string", "contentEncoding": "base64"},
    "datetime": {"type": "string", "format": "date-time"},
    "date": {"type": "string", "format": "date"},
    "time": {"type": "string", "format": "time"},
    "timedelta": {"type": "string", "format": "duration"},
    "uuid": {"type": "string", "format": "uuid"},
    "decimal": {"type": "string", "format": "decimal"},
}
_KEYS: Final[Mapping[str, _Schema]] = {**_WORDS, "int": {"pattern": "^-?[0-9]+$"}, "any": {}, "str": {}}
"""The keys of a map are always text."""


class Parameter(Protocol):
    """What is asked of a parameter."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> Shape: ...
    @property
    def required(self) -> bool: ...
    @property
    def doc(self) -> str: ...
    @property
    def default(self) -> Any: ...
    @property
    def has_default(self) -> bool: ...


def schema(shape: Shape) -> _Schema:
    """The schema of a shape, which was checked."""
    making = _Making()
    return making.whole(making.of(shape, {}))


def parameters_schema(parameters: Iterable[Parameter]) -> _Schema:
    """The schema of the arguments of a method by name. It takes no others."""
    making = _Making()
    properties: dict[str, _Schema] = {}
    required: list[str] = []
    for parameter in parameters:
        said: _Schema = {"description": parameter.doc} if parameter.doc else {}
        if parameter.has_default:
            said["default"] = parameter.default
        properties[parameter.name] = {**making.of(parameter.type, {}), **said}
        if parameter.required:
            required.append(parameter.name)
    return making.whole(
        {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    )


class _Making:
    """One schema in the making."""

    def __init__(self) -> None:
        self._definitions: dict[str, _Schema] = {}
        self._names: dict[str, str] = {}  # a struct, with what it refers to around it → its name in `$defs`

    def whole(self, root: _Schema) -> _Schema:
        """The schema with its dialect and definitions."""
        definitions = {"$defs": self._definitions} if self._definitions else {}
        return {"$schema": DIALECT, **root, **definitions}

    def of(self, shape: Shape, scope: _Scope) -> _Schema:
        """The schema of a shape."""
        if isinstance(shape, str):
            return dict(_WORDS[shape])
        form, *parts = shape
        if form == "struct":
            return self._struct(shape, parts[0], parts[1], scope)
        if form == "ref":
            return _reference(scope[parts[0]])
        if form == "literal":
            return {"enum": parts}
        if form == "map":
            return self._map(parts[0], parts[1], scope)
        if form == "cap":
            return _handle({"capability": parts})
        if form == "callable":
            taken = [self.of(part, scope) for part in parts[0]]
            return _handle({"callable": {"parameters": taken, "result": self.of(parts[1], scope)}})
        inner = [self.of(part, scope) for part in parts]
        if form == "union":
            return {"anyOf": inner}
        if form == "tuple":
            return {
                "type": "array",
                **({"prefixItems": inner} if inner else {}),
                "items": False,
                "minItems": len(inner),
            }
        if form == "sink":
            return _handle({"sink": inner[0]})
        array = {"type": "array", "items": inner[0]}
        return {**array, MARK: {"stream": True}} if form == "stream" else array

    def _map(self, key: Shape, value: Shape, scope: _Scope) -> _Schema:
        if isinstance(key, str):
            keys = dict(_KEYS[key])
            keys.pop("type", None)
        else:
            keys = {"enum": [str(one) for one in key[1:]]}
        names = {"propertyNames": keys} if keys else {}
        return {"type": "object", **names, "additionalProperties": self.of(value, scope)}

    def _struct(self, shape: Shape, label: str, fields: Mapping[str, Any], scope: _Scope) -> _Schema:
        around = sorted({(ref, scope[ref]) for ref in labels_around(shape)})
        identity = json.dumps([shape, around])
        name = self._names.get(identity)
        if name is None:
            name = self._names[identity] = self._free_name(label)
            self._definitions[name] = {}  # it may refer to itself, and others inside have other names
            inside = {**scope, label: name}
            properties = {field: self.of(kind, inside) for field, (kind, _) in fields.items()}
            required = [field for field, (_, must) in fields.items() if must]
            self._definitions[name] |= {"type": "object", "properties": properties, "required": required}
        return _reference(name)

    def _free_name(self, label: str) -> str:
        name, number = label, 2
        while name in self._definitions:
            name, number = f"{label}-{number}", number + 1
        return name


def labels_around(shape: Shape, bound: frozenset[str] = frozenset()) -> Iterator[str]:
    """The structs around a shape that it refers to."""
    if isinstance(shape, str):
        return
    form, *parts = shape
    if form == "ref":
        if parts[0] not in bound:
            yield parts[0]
    elif form == "struct":
        for kind, _ in parts[1].values():
            yield from labels_around(kind, bound | {parts[0]})
    elif form not in ("literal", "cap"):
        for part in [*parts[0], parts[1]] if form == "callable" else parts:
            yield from labels_around(part, bound)


def _reference(name: str) -> _Schema:
    from urllib.parse import quote  # takes its time to import, and few programs say a schema

    return {"$ref": "#/$defs/" + quote(name.replace("~", "~0").replace("/", "~1"))}


def _handle(what: _Schema) -> _Schema:
    return {"type": "string", "format": "capnet-handle", MARK: what}
