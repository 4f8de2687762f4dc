"""Values that were sent as JSON, by a JSON Schema: what JSON lacks is made of what stands for it."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, cast

from capnet import InvalidArgument

from .values import Handles

__all__ = ["from_schema"]

_Schema = Mapping[str, Any]


def from_schema(value: Any, schema: Any, definitions: _Schema, handles: Handles) -> Any:
    """What a client has sent: base64 becomes bytes, handles what they stand for, and a list a stream.

    Args:
        schema: as `capnet.MethodDescription.parameters_schema` has it.
        definitions: what it refers to.

    Raises:
        CapnetError: it is no base64, or no handle.
    """
    told = _meant(schema, definitions)
    choices = [_meant(one, definitions) for one in told.get("anyOf", ())] or [told]
    if isinstance(value, str):
        return _text(value, choices, handles)
    if isinstance(value, dict):
        part = _first(choices, "object")
        known, rest = part.get("properties", {}), part.get("additionalProperties")
        return {
            key: from_schema(item, known.get(key, rest), definitions, handles)
            for key, item in cast("dict[str, Any]", value).items()
        }
    if isinstance(value, list):
        part = _first(choices, "array")
        items: list[Any] = [*cast("Any", value)]
        places = part.get("prefixItems", ())
        made = [from_schema(*pair, definitions, handles) for pair in zip(items, places, strict=False)]
        made += [from_schema(item, part.get("items"), definitions, handles) for item in items[len(made) :]]
        return _stream(made) if part.get("x-capnet") == {"stream": True} else made
    whole = isinstance(value, float) and value.is_integer() and bool(_first(choices, "integer"))
    return int(value) if whole else value  # to JSON, 1.0 is a whole number


def _text(value: str, choices: Sequence[_Schema], handles: Handles) -> Any:
    if any(one.get("contentEncoding") == "base64" for one in choices):
        try:
            return base64.b64decode(value, validate=True)
        except ValueError as error:
            raise InvalidArgument("this is no base64") from error
    return handles.get(value) if any(one.get("format") == "capnet-handle" for one in choices) else value


def _meant(schema: Any, definitions: _Schema) -> _Schema:
    told: _Schema = cast("dict[str, Any]", schema) if isinstance(schema, dict) else {}
    return definitions.get(str(told["$ref"]).rpartition("/")[2], {}) if "$ref" in told else told


def _first(choices: Sequence[_Schema], kind: str) -> _Schema:
    """The first that is of a type; nothing is known when there is none."""
    nothing: _Schema = {}
    return next((one for one in choices if one.get("type") == kind), nothing)


async def _stream(items: Sequence[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item
