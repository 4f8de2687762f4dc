"""Conversion: what came from the wire, checked against annotations and rebuilt as their types.

One struct type is made for a set of fields; msgspec converts a whole map into it at once. `narrow` is the hook msgspec
calls for what it does not know: capabilities, functions, streams.
"""

from __future__ import annotations

from collections import abc
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, get_args, get_origin

import msgspec

from capnet.contract.annotation import Annotation
from capnet.contract.callables import CallableCap, callable_contract
from capnet.contract.capability import Cap, declaration_of
from capnet.errors import InvalidArgument, cut_text

__all__ = ["convert", "conversion_options", "narrow", "record_type"]

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

    A capability of ours that came home passes when it is of that type; a received one is asked for a proxy of that type
    through `__capnet_narrow__`, which is looked up on its class so that no data can pretend to have it.

    Raises:
        TypeError: it is something else; msgspec adds the path.
    """
    if hint is object:
        return value
    origin = get_origin(hint) or hint
    if origin is abc.Iterable:
        return _items(hint, value)
    if origin is Callable:
        return _function(hint, value)
    if not issubclass(origin, Cap):
        return _stream(hint, origin, value)
    if isinstance(value, origin):
        return value
    return _ask(hint, value, _name(origin))


def _name(contract: type) -> str:
    declared = declaration_of(contract)
    return declared.name if declared else "capability"


def _ask(contract: Any, value: object, expected: str) -> Any:
    ask = getattr(type(value), "__capnet_narrow__", None)
    if ask is None:
        raise _unexpected(expected, value)
    return ask(value, contract)


def _function(hint: Any, value: Any) -> Any:
    """A function of ours that came home, or a proxy that is called like one.

    An implementation that happens to define `__call__` is refused: its contract does not declare that.
    """
    if isinstance(value, CallableCap) or (callable(value) and not isinstance(value, Cap)):
        return value
    return _ask(callable_contract(hint), value, "function")


def _stream(hint: Any, origin: Any, value: Any) -> Any:
    if isinstance(value, origin) and not isinstance(value, Cap):
        return value
    raise _unexpected("stream", value)


def _items(hint: Any, value: Any) -> Any:
    """An `Iterable[T]` inside other types."""
    record, options = _items_record(hint)
    return convert({"items": value}, record, options).items


@lru_cache(maxsize=256)
def _items_record(hint: Any) -> tuple[type[msgspec.Struct], dict[str, Any]]:
    sequence: Any = abc.Sequence
    record = record_type("Iterable", [("items", sequence[get_args(hint) or Any], True)])
    return record, {"dec_hook": narrow, "builtin_types": BYTES, "str_keys": True}


def _unexpected(expected: str, value: Any) -> TypeError:
    return TypeError(f"Expected `{expected}`, got `{type(value).__name__}`")
