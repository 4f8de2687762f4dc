"""Conversion: what came from the wire, checked against annotations and rebuilt as their types.

A `Conversion` has one struct type for a set of fields; msgspec converts a whole map into it at once, when that has been
prepared (`preparation.py`). `narrow` is the hook msgspec calls for what it does not know: capabilities, functions,
streams. What a stream carries is converted as it comes, by the `ItemConversion` of the type it is declared with.
"""

from __future__ import annotations

import gc
from collections import abc
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache, reduce
from types import NoneType
from typing import Any, Final, get_args, get_origin

import msgspec

from capnet.contract.annotation import ENDS, Annotation, read_annotation
from capnet.contract.callables import callable_contract
from capnet.contract.capability import Cap
from capnet.contract.declaration import declaration_of
from capnet.contract.generics import substitute
from capnet.contract.growth import NO_DEFAULTS, Defaults
from capnet.contract.keys import Prepare
from capnet.contract.preparation import BYTES, Hook, fields_step, preparation
from capnet.contract.sink import Sink
from capnet.contract.unfit import Unfit, judged
from capnet.errors import InvalidArgument, cut_text

__all__ = [
    "INVALID_VALUE",
    "Conversion",
    "ItemConversion",
    "conversion_options",
    "convert_items",
    "item_conversion",
    "narrow",
]

MISSING: Final[Any] = msgspec.UNSET
"""Stands for an optional field that was not sent."""
INVALID_VALUE: Final = "invalid_value"
"""Reason of an error whose cause is what a class of ours has said to a value."""


class Conversion:
    """Makes a struct of a map from the wire; unknown and missing fields are errors, an absent optional one is MISSING.

    Args:
        where: what the struct is called.
        fields: name, type and whether it must be there.
        hook: what is asked about what msgspec does not know; by default `narrow`, for what has arrived.
        of: what an error says first of what does not fit.
    """

    __slots__ = ("_defaults", "_many", "_of", "_options", "_prepare", "_record")

    def __init__(
        self, where: str, fields: Iterable[tuple[str, Annotation, bool]], hook: Hook | None = None, *, of: str = ""
    ) -> None:
        self._of = of and f"{of}: "
        hook = hook or narrow
        fields = list(fields)
        definitions: list[Any] = [
            (name, _type(annotation)) if required else (name, _type(annotation), MISSING)
            for name, annotation, required in fields
        ]
        self._record = msgspec.defstruct(where, definitions, kw_only=True, forbid_unknown_fields=True)
        self._many = any(not isinstance(annotation.shape, str) for _, annotation, _ in fields)
        self._defaults = reduce(Defaults.joined, (annotation.defaults for _, annotation, _ in fields), NO_DEFAULTS)
        self._options = conversion_options([annotation for _, annotation, _ in fields], hook)
        steps = {name: step for name, annotation, _ in fields if (step := preparation(annotation.hint, hook))}
        self._prepare: Prepare | None = fields_step(steps) if steps else None

    def convert(self, value: Any) -> Any:
        """The struct for a map.

        Raises:
            InvalidArgument: it does not fit; the text names the path. With reason `invalid_value` a class has refused
                its value by an error that is the cause, and whose words are not in the text. CapnetError: a class has
                raised that. Others: a class has failed.
        """
        # All that is made here stays, so the collector would go through it many times and find nothing.
        pauses = self._many and gc.isenabled()
        if pauses:
            gc.disable()
        try:
            if self._defaults.made:
                self._defaults.check(value)
            if self._prepare is not None:
                value = self._prepare(value)
            return msgspec.convert(value, self._record, **self._options)
        except Exception as error:
            told = _told(error, self._of)
        finally:
            if pauses:
                gc.enable()
        try:
            raise told
        finally:
            del told  # its traceback refers to this frame


def _type(annotation: Annotation) -> Any:
    return NoneType if annotation.hint is None else annotation.hint


def _told(error: Exception, of: str) -> Exception:
    """What is raised for an error of a conversion; what a class of ours has to say stands as it is."""
    unfit = error if isinstance(error, Unfit) else judged(error)
    if not isinstance(unfit, Unfit):
        return unfit
    told = InvalidArgument(cut_text(f"{of}{unfit}"), reason=None if unfit.cause is None else INVALID_VALUE)
    told.__cause__ = unfit.cause
    return told


def conversion_options(annotations: Iterable[Annotation], hook: Hook) -> dict[str, Any]:
    """The keyword arguments `msgspec.convert` needs for these; each costs time, so only what is needed is there."""
    annotations = list(annotations)
    options: dict[str, Any] = {}
    if any(annotation.has_bytes for annotation in annotations):
        options["builtin_types"] = BYTES
    if any(annotation.has_custom for annotation in annotations):
        options["dec_hook"] = hook
    if any(annotation.text_keys for annotation in annotations):
        options["str_keys"] = True
    return options


def narrow(hint: Any, value: Any) -> Any:
    """What stands for `value` where `hint`, a type unknown to msgspec, is declared.

    What was received (a capability, a stream, a sink) is asked for an object of that type through `__capnet_narrow__`,
    which is looked up on its class so that no data can pretend to have it.

    Raises:
        Unfit: it is something else; msgspec adds the path.
    """
    if hint is object:
        return value
    origin = get_origin(hint) or hint
    if origin is abc.Iterable:
        return convert_items(hint, value, narrow)
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

    __slots__ = ("_anything", "_conversion", "annotation")

    def __init__(self, annotation: Annotation) -> None:
        sequence: Any = list
        self.annotation = annotation
        self._anything = annotation.shape == "any"
        items = replace(annotation, hint=sequence[annotation.hint])
        self._conversion = Conversion("items", [("items", items, True)])

    def one(self, value: Any) -> Any:
        """One item that came from the wire, as the declared type.

        Raises:
            InvalidArgument: it has another type; the text names the path from `$`, which is the item.
        """
        if self._anything:
            return value
        try:
            return self._conversion.convert({"items": [value]}).items[0]
        except InvalidArgument as error:
            text = error.message.replace("`$.items[0]", "`$")
            raise InvalidArgument(text, reason=error.reason) from error.__cause__

    def many(self, values: list[Any]) -> list[Any]:
        """Items that came together, converted at once: much less work than one by one.

        Raises:
            InvalidArgument: at least one has another type. Whoever wants those before it takes them one by one.
        """
        if self._anything:
            return values
        items: list[Any] = self._conversion.convert({"items": values}).items
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
    try:
        return ask(value, contract)
    except TypeError as error:
        raise Unfit(str(error)) from None


def _end(hint: Any, origin: Any, value: object) -> Any:
    """An end of a stream. A capability is none, whatever methods its implementation has."""
    expected = "sink" if origin is Sink else "stream"
    if isinstance(value, Cap):
        raise _unexpected(expected, value)
    if hasattr(type(value), "__capnet_narrow__") or not isinstance(value, origin):
        return _ask(hint, value, expected)
    return value


def convert_items(hint: Any, value: Any, hook: Hook) -> Any:
    """An `Iterable[T]` in a field of a class: anywhere else it is declared to msgspec as a sequence."""
    try:
        record: Any = _items_record(hint)
        return msgspec.convert({"items": value}, record, dec_hook=hook, builtin_types=BYTES, str_keys=True).items
    except Exception as error:
        unfit = judged(error)
        if isinstance(unfit, Unfit):  # the place in the field is left out: msgspec adds that of the field
            raise Unfit(str(unfit).partition(" - at `")[0], unfit.cause) from None
        raise unfit  # noqa: B904 - it has its cause


@lru_cache(maxsize=256)
def _items_record(hint: Any) -> type[msgspec.Struct]:
    """msgspec reads the type of a struct once, and any other each time."""
    sequence: Any = abc.Sequence
    return msgspec.defstruct("Iterable", [("items", sequence[get_args(hint) or Any])])


def _unexpected(expected: str, value: object) -> Unfit:
    return Unfit(f"Expected `{expected}`, got `{type(value).__name__}`")
