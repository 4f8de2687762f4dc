"""Conversion: what came from the wire, checked against annotations and rebuilt as their types.

One struct type is made for a set of fields; msgspec converts a whole map into it at once. `narrow` is the hook msgspec
calls for what it does not know: capabilities, functions, streams. What a stream carries is converted as it comes, by
the `ItemConversion` of the type it is declared with.
"""

from __future__ import annotations

from collections import abc
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, get_args, get_origin

import msgspec

from capnet.contract.annotation import ENDS, Annotation, read_annotation
from capnet.contract.callables import callable_contract
from capnet.contract.capability import Cap, declaration_of
from capnet.contract.generics import substitute
from capnet.contract.sink import Sink
from capnet.errors import InvalidArgument, cut_text

__all__ = ["ItemConversion", "conversion_options", "convert", "item_conversion", "narrow", "record_type"]

MISSING: Final[Any] = msgspec.UNSET
"""Stands for an optional field that was not sent."""
BYTES: Final = (bytes, bytearray, memoryview)


def record_type(where: str, fields: Iterable[tuple[str, Any, bool]]) -> type[msgspec.Struct]:
    """A struct type to convert a map into; unknown and missing fields are errors, an absent optional one is MISSING.

    Args:
        where: contract and method, for the error.
        fields: name, type and whether it must be there.
    """
    definitions = [(name, hint) if required else (name, hint, MISSING) for name, hint, required in fields]
    return msgspec.defstruct(where, definitions, kw_only=True, forbid_unknown_fields=True)


def conversion_options(annotations: Iterable[Annotation]) -> dict[str, Any]:
    """The keyword arguments `msgspec.convert` needs for these; each costs time, so only what is needed is there."""
    annotations = list(annotations)
    options: dict[str, Any] = {}
    if any(annotation.has_bytes for annotation in annotations):
        options["builtin_types"] = BYTES
    if any(annotation.has_custom for annotation in annotations):
        options["dec_hook"] = narrow
    if any(annotation.text_keys for annotation in annotations):
        options["str_keys"] = True
    return options


def convert(value: Any, record: type[msgspec.Struct], options: Mapping[str, Any]) -> Any:
    """`value`, a map from the wire, as a `record`.

    Raises:
        InvalidArgument: it does not fit; the text names the path.
    """
    try:
        return msgspec.convert(value, record, **options)
    # TypeError: items of a set that cannot be hashed.
    except (msgspec.ValidationError, TypeError) as error:
        raise InvalidArgument(cut_text(str(error))) from None


def narrow(hint: Any, value: Any) -> Any:
    """What stands for `value` where `hint`, a type unknown to msgspec, is declared.

    What was received (a capability, a stream, a sink) is asked for an object of that type through `__capnet_narrow__`,
    which is looked up on its class so that no data can pretend to have it.

    Raises:
        TypeError: it is something else; msgspec adds the path.
    """
    if hint is object:
        return value
    origin = get_origin(hint) or hint
    if origin is abc.Iterable:
        return _items(hint, value)
    if origin is Callable:
        return _ask(callable_contract(hint), value, "function")
    if not issubclass(origin, Cap):
        return _end(hint, origin, value)
    return _ask(hint, value, _name(origin))


class ItemConversion:
    """How the items of a stream are checked and rebuilt.

    Attributes:
        annotation: of one item; what lowers items needs its contracts and text keys.
    """

    __slots__ = ("_anything", "_options", "_record", "annotation")

    def __init__(self, annotation: Annotation) -> None:
        sequence: Any = list
        self.annotation = annotation
        self._anything = annotation.shape == "any"
        self._record: Any = record_type("items", [("items", sequence[annotation.hint], True)])
        self._options = conversion_options([annotation])

    def one(self, value: Any) -> Any:
        """One item that came from the wire, as the declared type.

        Raises:
            InvalidArgument: it has another type; the text names the path from `$`, which is the item.
        """
        if self._anything:
            return value
        try:
            return convert({"items": [value]}, self._record, self._options).items[0]
        except InvalidArgument as error:
            raise InvalidArgument(error.message.replace("`$.items[0]", "`$")) from None

    def many(self, values: list[Any]) -> list[Any]:
        """Items that came together, converted at once: much less work than one by one.

        Raises:
            InvalidArgument: at least one has another type. Whoever wants those before it takes them one by one.
        """
        if self._anything:
            return values
        items: list[Any] = convert({"items": values}, self._record, self._options).items
        return items


@lru_cache(maxsize=1024)
def item_conversion(hint: Any) -> ItemConversion | None:
    """The conversion of what a stream or sink carries; None when `hint` is neither.

    Args:
        hint: as `narrow` is given it, such as `AsyncIterable[Msg]`, `Stream[Msg]` or `Sink[Msg]`.
    """
    if (get_origin(hint) or hint) not in ENDS:
        return None
    # Of a bare generic class, msgspec gives the fields with their type variables.
    item = read_annotation(substitute(hint, {}), "items").item
    assert item is not None  # both ends have items
    return ItemConversion(item)


def _name(contract: type) -> str:
    declared = declaration_of(contract)
    return declared.name if declared else "capability"


def _ask(contract: Any, value: object, expected: str) -> Any:
    ask = getattr(type(value), "__capnet_narrow__", None)
    if ask is None:
        raise _unexpected(expected, value)
    return ask(value, contract)


def _end(hint: Any, origin: Any, value: object) -> Any:
    """An end of a stream. A capability is none, whatever methods its implementation has."""
    expected = "sink" if origin is Sink else "stream"
    if isinstance(value, Cap):
        raise _unexpected(expected, value)
    if hasattr(type(value), "__capnet_narrow__") or not isinstance(value, origin):
        return _ask(hint, value, expected)
    return value


def _items(hint: Any, value: Any) -> Any:
    """An `Iterable[T]` inside other types."""
    record, options = _items_record(hint)
    return convert({"items": value}, record, options).items


@lru_cache(maxsize=256)
def _items_record(hint: Any) -> tuple[type[msgspec.Struct], dict[str, Any]]:
    sequence: Any = abc.Sequence
    record = record_type("Iterable", [("items", sequence[get_args(hint) or Any], True)])
    return record, {"dec_hook": narrow, "builtin_types": BYTES, "str_keys": True}


def _unexpected(expected: str, value: object) -> TypeError:
    return TypeError(f"Expected `{expected}`, got `{type(value).__name__}`")
